//! What reaches the speaker's task.

use core::net::SocketAddr;

use bytes::Bytes;
use tidegate_bgp::fsm::History;
use tidegate_bgp::speaker::{
    ConnId, NextHops, Order, PeerName, Refreshed, Routes, RoutesQuery, Way,
};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::Keys;
use super::hand_over::Legacy;
use super::outside::Ask;
use super::resolver::Distances;

/// From the handle to the speaker's task.
#[derive(Debug)]
pub(super) enum Input {
    Order(Box<Order>),
    Keys(Keys),
    History(String, oneshot::Sender<Option<History>>),
    Routes(RoutesQuery, oneshot::Sender<Routes>),
    Outside(Ask),
    Refresh(String, Way, oneshot::Sender<Refreshed>),
    /// Everything stands still until it is said who goes on.
    HandOver(oneshot::Sender<Legacy>),
    /// Others may still hold an [`Asker`](super::Asker): they must not keep the task alive.
    Stop,
}

/// From the connections to the speaker's task.
pub(super) enum Inbound {
    /// Somebody connected.
    Accepted { stream: TcpStream, remote: SocketAddr, next_hops: NextHops },
    /// A dialled connection is up.
    Connected { conn: ConnId, stream: TcpStream, remote: SocketAddr, next_hops: NextHops },
    /// It is not.
    ConnectFailed { conn: ConnId },
    /// The peer sent this.
    Bytes { conn: ConnId, bytes: Bytes },
    /// The peer takes nothing of what is sent to it.
    Stalled { conn: ConnId },
    /// The connection ended by itself.
    Closed { conn: ConnId },
    /// A router was heard at the other end of the link of an unnumbered peer.
    Neighbor { peer: PeerName, at: SocketAddr },
    /// What the next hops of routes cost.
    NextHops(Distances),
}
