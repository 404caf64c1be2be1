//! A connection of ours, and the addresses that we have on it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tidegate_bgp::bmp::Ends;
use tidegate_bgp::speaker::{NextHops, Transport};
use tokio::net::TcpStream;
use tracing::warn;

use super::keys::Keys;
use super::socket;
use crate::link_io::{self, Links};

pub(super) async fn connect(
    to: SocketAddr,
    from: Option<IpAddr>,
    transport: &Transport,
    keys: &Keys,
    links: Links,
) -> io::Result<(TcpStream, NextHops)> {
    let stream = socket::dial(to, from, transport, keys).await?;
    if transport.unnumbered {
        let next_hops = on_the_link(&stream);
        return Ok((stream, next_hops));
    }
    let next_hops = next_hops(&stream, links).await?;
    Ok((stream, next_hops))
}

/// The next hop where both ends know each other by link-local addresses only (RFC 8950).
pub(super) fn on_the_link(stream: &TcpStream) -> NextHops {
    let v6 = match stream.local_addr() {
        Ok(SocketAddr::V6(local)) => Some(*local.ip()),
        Ok(SocketAddr::V4(_)) | Err(_) => None,
    };
    NextHops { v4: None, v6 }
}

/// Our addresses on the interface that carries the connection. When the kernel does not tell, the
/// connection's own address has to do.
pub(super) async fn next_hops(stream: &TcpStream, links: Links) -> io::Result<NextHops> {
    let local = stream.local_addr()?.ip();
    Ok(links.next_hops(local).await.unwrap_or_else(|error| {
        warn!(%local, %error, "next hops of the other address family are not known");
        link_io::session_next_hops(local)
    }))
}

/// Both ends of a connection; `None`: it is broken already.
pub(super) fn ends(stream: &TcpStream) -> Option<Ends> {
    Some(Ends { local: stream.local_addr().ok()?, remote: stream.peer_addr().ok()? })
}
