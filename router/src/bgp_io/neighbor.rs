//! Finds the routers at the other end of interfaces, for peers without an address of their own: by
//! their router advertisements (RFC 4861). They find us the same way, so we send some too, which
//! make nobody's default router of us: their lifetime is zero.
//!
//! Everything on the link is a stranger's: an advertisement counts with a Hop Limit of 255, which
//! nothing that was forwarded has, and as RFC 4861 §6.1.2 has it in every field. What it says
//! besides "I am a router" is not used. However many come, one in a second is passed on.

use core::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_bgp::speaker::PeerName;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::Inbound;
use super::conn::AbortOnDrop;
use super::sockopt::{want_icmp_v6, watch};

/// ICMPv6 types (RFC 4861 §4.1, §4.2).
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;

/// "Is there a router?"
const SOLICIT: [u8; 8] = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];

/// "I am one, for nobody": every field zero, the Router Lifetime too. The kernel writes the checksum.
const ADVERTISE: [u8; 16] = [ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// From one advertisement of ours to the next.
const ADVERTISE_EVERY: Duration = Duration::from_secs(10);

/// Between advertisements that were asked for, at least (MIN_DELAY_BETWEEN_RAS, RFC 4861 §10).
const ANSWER_EVERY: Duration = Duration::from_secs(3);

/// Solicitations of ours, at most (MAX_RTR_SOLICITATIONS).
const SOLICITATIONS_MAX: u32 = 3;

/// Between routers heard that are passed on, at least.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Until an interface that is not there, or went away, is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// More of a message is not read: only its options follow, which are walked by their lengths.
const READ_BYTES_MAX: usize = 2048;

/// Who is being looked for; a search ends when it is removed.
pub(super) struct Neighbors {
    searches: BTreeMap<(PeerName, Arc<str>), AbortOnDrop>,
    inbound: mpsc::Sender<Inbound>,
}

impl Neighbors {
    pub(super) const fn new(inbound: mpsc::Sender<Inbound>) -> Self {
        Self { searches: BTreeMap::new(), inbound }
    }

    /// Looks for these peers on their interfaces, and for no others.
    pub(super) fn follow<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a PeerName, &'a Arc<str>)>,
    ) {
        let wanted: Vec<_> =
            wanted.map(|(peer, interface)| (Arc::clone(peer), Arc::clone(interface))).collect();
        self.searches.retain(|search, _| wanted.contains(search));
        for (peer, interface) in wanted {
            let inbound = self.inbound.clone();
            self.searches.entry((Arc::clone(&peer), Arc::clone(&interface))).or_insert_with(|| {
                AbortOnDrop(tokio::spawn(search(peer, interface, inbound)).abort_handle())
            });
        }
    }
}

/// Looks for ever, over an interface that comes and goes.
async fn search(peer: PeerName, interface: Arc<str>, inbound: mpsc::Sender<Inbound>) {
    let mut last = String::new();
    loop {
        let ended = match Link::open(&interface) {
            Ok(link) => {
                if !core::mem::take(&mut last).is_empty() {
                    info!(%peer, %interface, "the interface is there: looking for the peer again");
                }
                link.search(&peer, &inbound).await
            }
            Err(error) => error,
        };
        let error = ended.to_string();
        if inbound.is_closed() {
            return;
        }
        if error != last {
            warn!(%peer, %interface, %error, "cannot look for the peer; trying again{}", hint(&ended));
            last = error;
        }
        sleep(RETRY).await;
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (an unnumbered peer needs root or CAP_NET_RAW)",
        io::ErrorKind::NotFound => " (there is no interface of that name: `ip link` lists them)",
        _ => "",
    }
}

/// A raw ICMPv6 socket on one interface.
struct Link {
    socket: AsyncFd<Socket>,
    index: u32,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// A router, here.
    Router(Ipv6Addr),
    /// Somebody asks for routers.
    Solicitation,
}

impl Link {
    fn open(interface: &str) -> io::Result<Self> {
        let index = if_nametoindex(interface).or(Err(io::ErrorKind::NotFound))?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        want_icmp_v6(&socket, &[SOLICITATION, ADVERTISEMENT])?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_unicast_hops_v6(255)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        Ok(Self { socket: watch(socket)?, index })
    }

    /// Until the socket breaks, or nobody wants to know any more.
    async fn search(&self, peer: &PeerName, inbound: &mpsc::Sender<Inbound>) -> io::Error {
        let mut turns = interval(ADVERTISE_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut solicitations = 0;
        let (mut report_from, mut answer_from) = (Instant::now(), Instant::now());
        loop {
            let done = tokio::select! {
                _ = turns.tick() => {
                    solicitations += 1;
                    let solicits = solicitations <= SOLICITATIONS_MAX;
                    let asked = if solicits { self.send(&SOLICIT, ALL_ROUTERS) } else { Ok(()) };
                    asked.and_then(|()| self.send(&ADVERTISE, ALL_NODES))
                }
                heard = self.hear() => match heard {
                    Ok(Some(Heard::Router(from))) if report_from <= Instant::now() => {
                        report_from = Instant::now() + REPORT_EVERY;
                        let at = SocketAddr::from(SocketAddrV6::new(from, 0, 0, self.index));
                        let found = Inbound::Neighbor { peer: Arc::clone(peer), at };
                        inbound.send(found).await.or(Err(io::ErrorKind::BrokenPipe.into()))
                    }
                    Ok(Some(Heard::Solicitation)) if answer_from <= Instant::now() => {
                        answer_from = Instant::now() + ANSWER_EVERY;
                        self.send(&ADVERTISE, ALL_NODES)
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    /// A full send buffer loses a message, and the next one follows soon.
    fn send(&self, message: &[u8], to: Ipv6Addr) -> io::Result<()> {
        let to = SocketAddrV6::new(to, 0, 0, self.index);
        match self.socket.get_ref().send_to(message, &to.into()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn hear(&self) -> io::Result<Option<Heard>> {
        self.socket.readable().await?.try_io(|fd| read(fd.get_ref())).unwrap_or(Ok(None))
    }
}

/// One message, if it makes sense.
fn read(socket: &Socket) -> io::Result<Option<Heard>> {
    let mut bytes = [0; READ_BYTES_MAX];
    let mut into = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(libc::c_int);
    let message = recvmsg::<SockaddrIn6>(
        socket.as_raw_fd(),
        &mut into,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let hop_limit = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv6HopLimit(hop_limit) => Some(hop_limit),
        _ => None,
    });
    let from = message.address.map(|address| address.ip());
    let len = message.bytes;
    let (Some(from), Some(255)) = (from, hop_limit) else { return Ok(None) };
    Ok(judge(from, bytes.get(..len).unwrap_or_default()))
}

/// What a message with a Hop Limit of 255 says (RFC 4861 §6.1.1, §6.1.2).
fn judge(from: Ipv6Addr, message: &[u8]) -> Option<Heard> {
    let ([kind, code, ..], len) = (*message.first_chunk::<4>()?, message.len());
    match (kind, code) {
        (SOLICITATION, 0) if len >= SOLICIT.len() => {
            options_end(message.get(SOLICIT.len()..)?).then_some(Heard::Solicitation)
        }
        (ADVERTISEMENT, 0) if len >= ADVERTISE.len() && from.is_unicast_link_local() => {
            options_end(message.get(ADVERTISE.len()..)?).then_some(Heard::Router(from))
        }
        _ => None,
    }
}

/// Whether options follow each other to the end: none is empty, none is longer than what is left.
fn options_end(mut options: &[u8]) -> bool {
    while let [_kind, units, ..] = *options {
        let len = usize::from(units) * 8;
        match options.get(len..) {
            Some(rest) if len > 0 => options = rest,
            _ => return false,
        }
    }
    options.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_counts_as_the_rfc_has_it_and_not_otherwise() {
        let router: Ipv6Addr = "fe80::1".parse().unwrap();
        let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let with = |more: &[u8]| [&ADVERTISE[..], more].concat();
        let mac = [1, 1, 2, 0, 0, 0, 0, 1];
        let found = Some(Heard::Router(router));
        let cases: [(&str, Ipv6Addr, Vec<u8>, Option<Heard>); 11] = [
            ("plain", router, with(&[]), found),
            ("with a link-layer address", router, with(&mac), found),
            ("with two options", router, with(&[mac, mac].concat()), found),
            ("a global source", global, with(&[]), None),
            ("no source", Ipv6Addr::UNSPECIFIED, with(&[]), None),
            ("too short", router, ADVERTISE[..15].to_vec(), None),
            ("nothing", router, vec![], None),
            ("another code", router, [&[ADVERTISEMENT, 1], &ADVERTISE[2..]].concat(), None),
            ("an option of length zero", router, with(&[1, 0, 0, 0, 0, 0, 0, 0]), None),
            ("an option beyond the end", router, with(&[1, 2, 0, 0, 0, 0, 0, 0]), None),
            ("half an option", router, with(&[1]), None),
        ];
        for (name, from, message, heard) in cases {
            assert_eq!(judge(from, &message), heard, "{name}");
        }
        assert_eq!(judge(global, &SOLICIT), Some(Heard::Solicitation));
        assert_eq!(judge(router, &SOLICIT[..7]), None);
        assert_eq!(judge(router, &[135, 0, 0, 0, 0, 0, 0, 0]), None, "a neighbour's solicitation");
    }

    #[tokio::test]
    async fn an_interface_that_is_not_there_is_an_error_with_a_remedy() {
        let error = Link::open("nowhere0").map(|_| ()).unwrap_err();
        assert!(hint(&error).contains("ip link"), "{error}");
    }
}
