//! Listening and dialling, with the socket options that BGP wants.
//!
//! A listener answers with the largest TTL, since a peer may demand that of us (GTSM, RFC 5082)
//! before we know who it is; what is sent afterwards has the TTL that is configured for the peer.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::io;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use tidegate_bgp::speaker::{Distance, Transport};

use super::guard;
use super::keys::{self, Keys};
use super::sockopt::set_min_ttl;

/// DSCP CS6, network control, as the whole octet.
const TOS_NETWORK_CONTROL: u32 = 0xc0;

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`. Beyond it
/// SYNs are dropped, and peers try again.
const BACKLOG: i32 = 1024;

/// Five SYNs of Linux fit into it. The speaker may give up earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A socket that accepts connections to `addr`, once it knows its [`guard`]s; one for `[::]` takes
/// IPv6 only, so that a peer never shows up as an IPv4-mapped address.
pub(super) fn listen(addr: SocketAddr, keys: &Keys) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of a daemon that just ended linger in TIME_WAIT; they must not keep us out.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    mark(&socket, addr)?;
    set_ttl(&socket, addr.is_ipv6(), u8::MAX)?;
    keys::put(&socket, addr.is_ipv6(), keys)?;
    guard::deafen(&socket)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Opens a connection.
pub(super) async fn dial(
    to: SocketAddr,
    from: Option<IpAddr>,
    transport: &Transport,
    keys: &Keys,
) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    mark(&SockRef::from(&socket), to)?;
    configure(&socket, to.is_ipv6(), transport)?;
    keys::put_first(&socket, to.ip(), keys)?;
    if let Some(from) = from {
        socket.bind(source(from, to))?;
    }
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(to)).await;
    let stream = connected.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Prepares an accepted connection; the rest it has from its listener.
pub(super) fn adopt(stream: &TcpStream, transport: &Transport) -> io::Result<()> {
    let local = stream.local_addr()?;
    stream.set_nodelay(true)?;
    mark(&SockRef::from(stream), local)?;
    configure(stream, local.is_ipv6(), transport)
}

/// What the peer's configuration asks of a socket. Bound to an interface, a connection that came in
/// by another one hears nothing more.
fn configure(socket: &impl AsFd, is_ipv6: bool, transport: &Transport) -> io::Result<()> {
    let Transport { distance, interface, user_timeout, send_hold: _, unnumbered: _ } = transport;
    let borrowed = SockRef::from(socket);
    match *distance {
        Distance::Ttl(ttl) => set_ttl(&borrowed, is_ipv6, ttl)?,
        guarded @ Distance::Guarded(_) => {
            set_ttl(&borrowed, is_ipv6, u8::MAX)?;
            set_min_ttl(socket, is_ipv6, guarded.min_ttl())?;
        }
    }
    if let Some(interface) = interface {
        borrowed.bind_device(Some(interface.as_bytes()))?;
    }
    if user_timeout.is_some() {
        borrowed.set_tcp_user_timeout(*user_timeout)?;
    }
    Ok(())
}

fn set_ttl(socket: &Socket, is_ipv6: bool, ttl: u8) -> io::Result<()> {
    if is_ipv6 { socket.set_unicast_hops_v6(ttl.into()) } else { socket.set_ttl_v4(ttl.into()) }
}

/// Marks what the socket sends as network control, which routers queue first: a KEEPALIVE that
/// waits behind user traffic is a session lost.
fn mark(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => socket.set_tos_v4(TOS_NETWORK_CONTROL),
        SocketAddr::V6(_) => socket.set_tclass_v6(TOS_NETWORK_CONTROL),
    }
}

/// The source address to bind, with the scope of a link-local destination.
fn source(from: IpAddr, to: SocketAddr) -> SocketAddr {
    match (from, to) {
        (IpAddr::V6(from), SocketAddr::V6(to)) => {
            SocketAddrV6::new(from, 0, 0, to.scope_id()).into()
        }
        (from, _) => SocketAddr::new(from, 0),
    }
}

/// What an operator can do about a connection that did not come up.
pub(super) fn hint(error: &io::Error, transport: &Transport) -> &'static str {
    match (error.kind(), &transport.distance) {
        (io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut, Distance::Ttl(1)) => {
            " (an external peer has to be on a link of ours, unless multihop is set)"
        }
        (io::ErrorKind::TimedOut, Distance::Guarded(_)) => {
            " (with ttl-security, the peer has to send with TTL 255)"
        }
        (io::ErrorKind::NotFound, _) if transport.interface.is_some() => {
            " (there is no interface of that name: `ip link` lists those there are)"
        }
        _ => "",
    }
}
