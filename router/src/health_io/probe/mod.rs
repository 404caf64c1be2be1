//! One question to one backend.
//!
//! All of it happens in the caller's task, which bounds its time: when the caller gives up, socket
//! and memory are gone. What is read is bounded here.

mod datagram;
mod grpc;
mod http;
pub(crate) mod icmp;
pub(super) mod tls;

use core::net::SocketAddr;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use socket2::{SockRef, Socket};
use tidegate_config::desired::Probe;
use tokio::net::{TcpSocket, TcpStream};

use super::Failure;

/// Longest response header we read, in bytes. More is not the answer of a health page.
pub(super) const HEADER_BYTES_MAX: usize = 16 << 10;

/// Segments of checks that take the way of clients' packets: whatever goes around them, they fit where
/// IPv6 does.
const SEGMENT_BYTES: u32 = 1_120;

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    /// Backend, or VIP.
    pub(super) addr: SocketAddr,
    /// Mark of the sockets whose packets take the way of clients'.
    pub(super) mark: Option<u32>,
}

/// Asks once. `trust` is for a check over TLS. Takes as long as it takes: the caller bounds the time.
pub(super) async fn ask(
    probe: &Probe,
    trust: Option<&Arc<ClientConfig>>,
    to: To,
) -> Result<(), Failure> {
    let target = to.addr;
    match probe {
        Probe::Tcp => connect(to).await.map(drop),
        Probe::Http(asks) => {
            let stream = connect(to).await?;
            match (&asks.tls, trust) {
                (Some(tls), Some(trust)) => {
                    let stream = tls::open(stream, asks, tls, trust, target).await?;
                    http::ask(stream, asks, target).await
                }
                _ => http::ask(stream, asks, target).await,
            }
        }
        Probe::Grpc { service, host } => {
            grpc::ask(connect(to).await?, service, host.as_deref(), target).await
        }
        Probe::Udp { send, expect } => datagram::ask(send, expect, to).await,
        Probe::Dns(asks) => datagram::ask_name(asks, to).await,
        Probe::Icmp => icmp::ask(target.ip(), to.mark).await,
    }
}

async fn connect(to: To) -> Result<TcpStream, Failure> {
    let connected = async {
        let socket = match to.addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(mark) = to.mark {
            let socket = SockRef::from(&socket);
            go_through(&socket, to.addr.is_ipv4(), mark)?;
            socket.set_tcp_mss(SEGMENT_BYTES)?;
        }
        socket.connect(to.addr).await
    };
    connected.await.map_err(|error| Failure::of_connection(&error))
}

/// Has a socket's packets take the way of clients'. One that misses it gets no farther than the first
/// router: whoever answered it would be somebody else.
fn go_through(socket: &Socket, is_v4: bool, mark: u32) -> io::Result<()> {
    socket.set_mark(mark)?;
    if is_v4 { socket.set_ttl_v4(1) } else { socket.set_unicast_hops_v6(1) }
}
