//! Listening and dialling, with the socket options that BGP wants.
//!
//! The TTL stays the system's default: that works over any number of hops, which a TTL of 1 (what
//! other daemons set for directly connected peers) does not. GTSM (RFC 5082) is the real guard.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::sockopt::set_md5_key;

/// TCP MD5 keys by peer address.
pub type Keys = BTreeMap<IpAddr, Vec<u8>>;

/// DSCP CS6, network control, as the whole octet.
const TOS_NETWORK_CONTROL: u32 = 0xc0;

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`. Beyond it
/// SYNs are dropped, and peers try again.
const BACKLOG: i32 = 1024;

/// Five SYNs of Linux fit into it. The speaker may give up earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A socket that accepts connections to `addr`; one for `[::]` takes IPv6 only, so that a peer
/// never shows up as an IPv4-mapped address.
pub(super) fn listen(addr: SocketAddr, keys: &Keys) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of a daemon that just ended linger in TIME_WAIT; they must not keep us out.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    mark(&socket, addr)?;
    for (peer, key) in keys.iter().filter(|(peer, _)| peer.is_ipv6() == addr.is_ipv6()) {
        set_md5_key(&socket, *peer, key)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Makes a listener hold the keys of `new` instead of those of `old`. Connections that are open
/// keep the key they were made with.
pub(super) fn change_keys(listener: &TcpListener, old: &Keys, new: &Keys) -> io::Result<()> {
    let is_ipv6 = listener.local_addr()?.is_ipv6();
    let ours = |keys: &'_ Keys| -> Keys {
        let same_family = keys.iter().filter(|(peer, _)| peer.is_ipv6() == is_ipv6);
        same_family.map(|(peer, key)| (*peer, key.clone())).collect()
    };
    let (old, new) = (ours(old), ours(new));
    for peer in old.keys().filter(|peer| !new.contains_key(peer)) {
        set_md5_key(listener, *peer, &[])?;
    }
    for (peer, key) in new.iter().filter(|(peer, key)| old.get(peer) != Some(key)) {
        set_md5_key(listener, *peer, key)?;
    }
    Ok(())
}

/// Opens a connection.
pub(super) async fn dial(
    to: SocketAddr,
    from: Option<IpAddr>,
    keys: &Keys,
) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    mark(&SockRef::from(&socket), to)?;
    if let Some(key) = keys.get(&to.ip()) {
        set_md5_key(&socket, to.ip(), key)?;
    }
    if let Some(from) = from {
        socket.bind(source(from, to))?;
    }
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(to)).await;
    let stream = connected.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Prepares an accepted connection; the rest it has from its listener.
pub(super) fn adopt(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    mark(&SockRef::from(stream), stream.local_addr()?)
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
