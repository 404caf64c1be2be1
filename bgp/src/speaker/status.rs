//! What can be seen of a peer from outside.

use core::net::SocketAddr;
use std::sync::Arc;

use crate::time::Timestamp;
use crate::types::{Asn, Family, HoldTime, RouterId};

use super::order::{DownCause, PeerName};

/// The six states of RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Refuses connections, waits to start.
    Idle,
    /// Waits for the outgoing TCP connection.
    Connect,
    /// Listens; the next attempt is a timer away.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received and accepted; waits for a KEEPALIVE.
    OpenConfirm,
    /// UPDATEs flow.
    Established,
}

impl State {
    /// All six, in the RFC's order.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Connect,
        Self::Active,
        Self::OpenSent,
        Self::OpenConfirm,
        Self::Established,
    ];

    /// The RFC's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

/// A peer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Configured name.
    pub name: PeerName,
    /// Configured address and port.
    pub remote: SocketAddr,
    /// Configured AS.
    pub remote_as: Asn,
    /// The furthest state of its connections.
    pub state: State,
    /// When it entered that state.
    pub since: Timestamp,
    /// From its OPEN.
    pub router_id: Option<RouterId>,
    /// Agreed, while Established.
    pub hold_time: Option<HoldTime>,
    /// Agreed, while Established.
    pub families: Vec<Family>,
    /// Whole messages received since start.
    pub messages_received: u64,
    /// Whole messages sent since start.
    pub messages_sent: u64,
    /// Prefixes the peer announces now.
    pub prefixes_received: u64,
    /// Prefixes it has been promised now.
    pub prefixes_advertised: u64,
    /// Times the session left Established.
    pub flaps: u64,
    /// Why the last session or attempt ended.
    pub last_down: Option<DownCause>,
    /// The range that made it, if it is not configured by itself.
    pub range: Option<PeerName>,
    /// Kept down by the operator, with this text.
    pub shutdown: Option<Arc<str>>,
}
