//! Sockets of BFD: who listens, and with what TTL.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_bgp::bfd::{PACKET_BYTES, Packet};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Of RFC 5881 §4 and RFC 5883 §5.
const PORT: u16 = 3784;
const MULTIHOP_PORT: u16 = 4784;

/// What packets leave with. A neighbour's come with it too, which nobody farther away can forge
/// (RFC 5881 §5).
const TTL: u8 = 255;

/// Source ports (RFC 5881 §4).
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// More than a packet with any authentication there is.
const PAYLOAD_MAX: usize = 64;

/// A payload that came in, from a host that may be who it says it is.
pub(super) struct Heard {
    pub(super) from: IpAddr,
    pub(super) multihop: bool,
    bytes: [u8; PAYLOAD_MAX],
    len: usize,
}

impl Heard {
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Who is listened to: address and whether several hops are allowed, and the least TTL.
pub(super) type Hosts = BTreeMap<(IpAddr, bool), u8>;

/// At most one for each address family and port.
pub(super) struct Listeners {
    all: Vec<Listener>,
    hosts: watch::Sender<Hosts>,
    inbox: mpsc::Sender<Heard>,
}

/// Reads as long as it lives. What comes while the inbox is full waits in the socket, and is lost
/// when that is full too: BFD sends again.
struct Listener {
    v4: bool,
    multihop: bool,
    socket: Arc<UdpSocket>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listeners {
    /// None yet. What they hear goes to `inbox`.
    pub(super) fn new(inbox: mpsc::Sender<Heard>) -> Self {
        Self { all: Vec::new(), hosts: watch::Sender::new(Hosts::new()), inbox }
    }

    /// Listens for these hosts. What comes from others is dropped where it is read.
    ///
    /// # Errors
    /// With the port that cannot be had: nothing is heard of those who need it until this is
    /// called again and succeeds. The others are heard.
    pub(super) fn need(&mut self, hosts: Hosts) -> Result<(), (u16, io::Error)> {
        let kinds: BTreeSet<(bool, bool)> =
            hosts.keys().map(|(addr, multihop)| (addr.is_ipv4(), *multihop)).collect();
        self.hosts.send_replace(hosts);
        self.all.retain(|it| kinds.contains(&(it.v4, it.multihop)));
        let mut missing = Ok(());
        for (v4, multihop) in kinds {
            if self.all.iter().any(|it| (it.v4, it.multihop) == (v4, multihop)) {
                continue;
            }
            match listen(v4, multihop) {
                Err(error) => missing = Err((port(multihop), error)),
                Ok(socket) => self.hear(v4, multihop, socket),
            }
        }
        missing
    }

    fn hear(&mut self, v4: bool, multihop: bool, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let heard = hear(Arc::clone(&socket), multihop, self.hosts.subscribe(), self.inbox.clone());
        self.all.push(Listener { v4, multihop, socket, task: tokio::spawn(heard) });
    }

    /// Goes on with sockets of another process. One that cannot be used is made anew when it is
    /// needed.
    pub(super) fn adopt(&mut self, sockets: Vec<(bool, bool, OwnedFd)>) {
        for (v4, multihop, socket) in sockets {
            if let Ok(socket) = UdpSocket::from_std(socket.into()) {
                self.hear(v4, multihop, socket);
            }
        }
    }

    /// The sockets, for another process.
    pub(super) fn sockets(&self) -> Vec<(bool, bool, OwnedFd)> {
        let cloned = |it: &Listener| it.socket.as_fd().try_clone_to_owned().ok();
        self.all.iter().filter_map(|it| Some((it.v4, it.multihop, cloned(it)?))).collect()
    }
}

async fn hear(
    socket: Arc<UdpSocket>,
    multihop: bool,
    hosts: watch::Receiver<Hosts>,
    inbox: mpsc::Sender<Heard>,
) {
    while socket.readable().await.is_ok() {
        // An error is one of a datagram, or there was nothing: the next one may be good.
        let Ok((heard, ttl)) = socket.try_io(Interest::READABLE, || read(&socket, multihop)) else {
            continue;
        };
        let least = hosts.borrow().get(&(heard.from, multihop)).copied();
        if least.is_some_and(|least| i32::from(least) <= ttl) && inbox.send(heard).await.is_err() {
            return;
        }
    }
}

/// A datagram, and its TTL.
fn read(socket: &UdpSocket, multihop: bool) -> io::Result<(Heard, i32)> {
    let mut bytes = [0; PAYLOAD_MAX];
    let mut control = nix::cmsg_space!(i32, i32);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
    let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags)?;
    let ttl = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => Some(ttl),
        _ => None,
    });
    let (len, from) = (message.bytes, message.address.as_ref().and_then(address));
    let from = from.ok_or(io::ErrorKind::InvalidData)?;
    Ok((Heard { from, multihop, bytes, len }, ttl.unwrap_or(-1)))
}

fn address(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

fn udp(v4: bool) -> io::Result<Socket> {
    let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if !v4 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

const fn any(v4: bool) -> IpAddr {
    if v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}

const fn port(multihop: bool) -> u16 {
    if multihop { MULTIHOP_PORT } else { PORT }
}

fn listen(v4: bool, multihop: bool) -> io::Result<UdpSocket> {
    let socket = udp(v4)?;
    if v4 {
        setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    }
    socket.bind(&SocketAddr::new(any(v4), port(multihop)).into())?;
    UdpSocket::from_std(socket.into())
}

/// What one session speaks with. Its socket is made when there is something to say, and made anew
/// after an error: an address may come back.
pub(super) struct Voice {
    to: SocketAddr,
    local: Option<IpAddr>,
    /// By which it leaves; `None`: by the routing table.
    interface: Option<Arc<str>>,
    socket: Option<Socket>,
    /// The last source port that was tried.
    port: u16,
}

impl Voice {
    pub(super) fn new(
        to: IpAddr,
        local: Option<IpAddr>,
        interface: Option<Arc<str>>,
        multihop: bool,
    ) -> Self {
        let to = SocketAddr::new(to, port(multihop));
        Self { to, local, interface, socket: None, port: *SOURCE_PORTS.end() }
    }

    /// With a socket of another process, so that the source port stays (RFC 5881 §4).
    pub(super) fn with(mut self, socket: Option<OwnedFd>) -> Self {
        self.socket = socket.map(Socket::from);
        self
    }

    /// The socket, for another process.
    pub(super) fn into_socket(self) -> Option<OwnedFd> {
        self.socket.map(OwnedFd::from)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// When it cannot leave; the next one may.
    pub(super) fn say(&mut self, packet: &Packet) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open()?,
        };
        let bytes: [u8; PACKET_BYTES] = packet.encode();
        let mut said = socket.send(&bytes);
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
        // An ICMP error about an earlier packet: nobody listens there yet, and that is no matter.
        if said.as_ref().is_err_and(|error| error.kind() == ConnectionRefused) {
            said = socket.send(&bytes);
        }
        // The source port stays (RFC 5881 §4) as long as it is the way that is missing, and not
        // the address or the interface.
        let is_way = |error: &io::Error| {
            let ways = [ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable];
            ways.contains(&error.kind())
        };
        if said.as_ref().map_or_else(is_way, |_| true) {
            self.socket = Some(socket);
        }
        said.map(drop)
    }

    fn open(&mut self) -> io::Result<Socket> {
        let v4 = self.to.is_ipv4();
        let socket = udp(v4)?;
        if v4 {
            socket.set_ttl_v4(TTL.into())?;
        } else {
            socket.set_unicast_hops_v6(TTL.into())?;
        }
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        let local = self.local.unwrap_or(any(v4));
        for _ in SOURCE_PORTS {
            self.port =
                if self.port < *SOURCE_PORTS.end() { self.port + 1 } else { *SOURCE_PORTS.start() };
            match socket.bind(&SocketAddr::new(local, self.port).into()) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    socket.connect(&self.to.into())?;
                    return Ok(socket);
                }
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}
