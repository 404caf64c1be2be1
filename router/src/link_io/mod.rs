//! Routes, neighbours, links and addresses of the kernel, over rtnetlink: the way to a backend,
//! and the addresses we speak BGP from.
//!
//! Level, not edge: [`Changes`] says that something changed, never what; [`Links`] then asks the
//! kernel anew. Turning the answers into a way is `tables`' matter.

pub(crate) mod look;
mod tables;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt as _};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage};
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use rtnetlink::{Handle, MulticastGroup};
use tidegate_bgp::speaker::NextHops;
use tidegate_plan::observed::Way;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

pub use tables::NoWay;
use tables::{Hop, NextHop, Tables};

/// The kernel answers in microseconds. An answer that is still missing then was lost, or could
/// not be decoded.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Groups whose messages can mean that a way changed.
const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

/// The kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket.
    #[error("cannot open a netlink socket to the kernel")]
    Open(#[source] io::Error),
    /// It refused, or said something that makes no sense.
    #[error("the kernel does not tell its {what}")]
    Answer {
        /// What was asked for.
        what: &'static str,
        /// What it said instead.
        source: rtnetlink::Error,
    },
    /// It did not answer.
    #[error("the kernel did not tell its {what} within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent {
        /// What was asked for.
        what: &'static str,
    },
    /// There is no interface of this name.
    #[error("there is no interface {name}; `ip link` lists those there are")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// It has no MAC address.
    #[error("interface {name} is not an Ethernet interface")]
    NotEthernet {
        /// Its name.
        name: String,
    },
}

/// An Ethernet interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Index.
    pub index: u32,
    /// MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: u32,
}

/// Says when to look again. Any number of events while nobody waits are one: that bounds it, and
/// loses nothing, since an event has no content.
#[derive(Debug)]
pub struct Changes {
    events: Arc<Notify>,
    monitor: JoinHandle<()>,
}

impl Changes {
    /// Waits until something changed since the last call returned.
    pub async fn changed(&self) {
        self.events.notified().await;
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}

/// Asks the kernel. Every question opens a socket of its own, so there is no connection that could
/// break and stay broken.
#[derive(Clone, Copy, Debug)]
pub struct Links(());

/// Subscribes to changes, so that none between this call and the first look is missed. Needs a
/// Tokio runtime; the network namespace is the calling thread's.
///
/// # Errors
/// [`Error::Open`] when the kernel gives no socket.
pub fn start() -> Result<(Links, Changes), Error> {
    let socket = subscribe().map_err(Error::Open)?;
    let events = Arc::new(Notify::new());
    let monitor = tokio::spawn(monitor(socket, Arc::clone(&events)));
    Ok((Links(()), Changes { events, monitor }))
}

fn subscribe() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(rtnetlink::sys::protocols::NETLINK_ROUTE)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        socket.socket_mut().add_membership(group as u32)?;
    }
    Ok(socket)
}

async fn monitor(socket: TokioSocket, events: Arc<Notify>) {
    let mut unread = Vec::with_capacity(1 << 16);
    loop {
        unread.clear();
        let read = socket.recv(&mut unread).await;
        // Also after an error: ENOBUFS says that events were lost, which is an event.
        events.notify_one();
        if let Err(error) = read
            && error.raw_os_error() != Some(libc::ENOBUFS)
        {
            warn!(%error, "the kernel's change events cannot be read; trying again in a second");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

impl Links {
    /// The way to each of `addrs`, or why there is none. Asks the kernel to resolve the next hops
    /// it does not know and to make sure of the stale ones; what comes of it is an event.
    ///
    /// # Errors
    /// [`Error`] when the kernel could not be asked; nothing is known then.
    pub async fn ways(
        &self,
        addrs: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Result<Way, NoWay>>, Error> {
        let kernel = Kernel::open()?;
        // Routes first: a neighbour or link that a route needs and that vanished since is seen to
        // be missing, and the event of its going makes the caller look again.
        let mut hops = BTreeMap::new();
        for addr in addrs {
            hops.insert(*addr, kernel.hop(*addr).await?);
        }
        let tables = kernel.tables().await?;
        let next_hops: BTreeSet<NextHop> = hops.values().flatten().map(|hop| hop.next).collect();
        for next_hop in next_hops.into_iter().filter(|hop| tables.wants_resolving(*hop)) {
            kernel.resolve(next_hop).await;
        }
        let way = |hop: Result<Hop, NoWay>| hop.and_then(|hop| tables.way(&hop));
        Ok(hops.into_iter().map(|(addr, hop)| (addr, way(hop))).collect())
    }

    /// How far away each of `addrs` is as a next hop: nothing on a link of ours, else the metric of
    /// the route that leads there; `None`: there is no way. Asks the kernel to try neighbours anew
    /// that did not answer.
    ///
    /// # Errors
    /// [`Error`] when the kernel could not be asked; nothing is known then.
    pub async fn distances(
        &self,
        addrs: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Option<u32>>, Error> {
        let mut distances = BTreeMap::new();
        if addrs.is_empty() {
            return Ok(distances);
        }
        let kernel = Kernel::open()?;
        let mut hops = BTreeMap::new();
        for addr in addrs {
            hops.insert(*addr, kernel.hop(*addr).await?);
        }
        let tables = kernel.tables().await?;
        for (addr, hop) in hops {
            let distance = match hop {
                Ok(hop) if tables.is_silent(hop.next) => {
                    kernel.resolve(hop.next).await;
                    None
                }
                Ok(hop) if tables.is_running(hop.next) => {
                    if hop.on_link {
                        Some(0)
                    } else {
                        kernel.metric(addr).await?
                    }
                }
                Ok(_) | Err(_) => None,
            };
            distances.insert(addr, distance);
        }
        Ok(distances)
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::NotEthernet`], or the kernel could not be asked.
    pub async fn interface(&self, name: &str) -> Result<Interface, Error> {
        let tables = Kernel::open()?.tables().await?;
        let no_interface = || Error::NoInterface { name: name.to_owned() };
        let (index, link) = tables.link_by_name(name).ok_or_else(no_interface)?;
        let mac = link.mac.ok_or_else(|| Error::NotEthernet { name: name.to_owned() })?;
        Ok(Interface { index, mac, mtu: link.mtu })
    }

    /// Addresses of the interface that holds `local`, the local address of a BGP session: `local`
    /// itself for its own family, the interface's first global address for the other. A
    /// link-local address is no next hop (RFC 2545 §3 wants a global one).
    ///
    /// # Errors
    /// [`Error`] when the kernel could not be asked.
    pub async fn next_hops(&self, local: IpAddr) -> Result<NextHops, Error> {
        Ok(Kernel::open()?.tables().await?.next_hops(local.to_canonical()))
    }
}

/// What is known of a session's next hops without asking the kernel: its own address, for its own
/// family.
pub fn session_next_hops(local: IpAddr) -> NextHops {
    Tables::default().next_hops(local.to_canonical())
}

/// One netlink connection, for the questions of one look.
struct Kernel {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Kernel {
    fn open() -> Result<Self, Error> {
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(Error::Open)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    async fn tables(&self) -> Result<Tables, Error> {
        let mut tables = Tables::default();
        let links = self.handle.link().get().execute();
        each("links", links, |message| tables.add_link(&message)).await?;
        let addresses = self.handle.address().get().execute();
        each("addresses", addresses, |message| tables.add_address(&message)).await?;
        let neighbours = self.handle.neighbours().get().execute();
        each("neighbours", neighbours, |message| tables.add_neighbour(&message)).await?;
        Ok(tables)
    }

    /// The metric of the route that leads to an address; `None`: there is none any more.
    async fn metric(&self, to: IpAddr) -> Result<Option<u32>, Error> {
        let mut question = which_way(to);
        question.header.flags |= RouteFlags::FibMatch; // The route, not what the packet gets.
        let answer = self.handle.route().get(question).execute();
        let mut metric = None;
        let read = each("routes", answer, |route| {
            let priority = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Priority(metric) => Some(*metric),
                _ => None,
            });
            metric = Some(priority.unwrap_or(0));
        });
        match read.await {
            Err(Error::Answer { source, .. }) if no_route(&source).is_some() => Ok(None),
            read => read.map(|()| metric),
        }
    }

    /// Asks for the route to one address.
    async fn hop(&self, to: IpAddr) -> Result<Result<Hop, NoWay>, Error> {
        let answer = self.handle.route().get(which_way(to)).execute();
        let mut hop = Err(NoWay::NoRoute);
        match each("routes", answer, |route| hop = Hop::read(to, &route)).await {
            Ok(()) => Ok(hop),
            Err(Error::Answer { what, source }) => match no_route(&source) {
                Some(no_way) => Ok(Err(no_way)),
                None => Err(Error::Answer { what, source }),
            },
            Err(error) => Err(error),
        }
    }

    /// Makes the kernel believe that a packet is about to go to this neighbour: it resolves an
    /// unknown address and checks a stale one. Never overwrites an entry that works. One that does
    /// not answer fails after three seconds, which is an event: it is asked every three seconds.
    async fn resolve(&self, next_hop: NextHop) {
        let NextHop { ifindex, addr } = next_hop;
        let request = self
            .handle
            .neighbours()
            .add(ifindex, addr)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace()
            .execute();
        // A failure means that the interface is going down or the table is full; the next look
        // tells, and tries again.
        match tokio::time::timeout(ANSWER_TIMEOUT, request).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%addr, ifindex, %error, "neighbour cannot be resolved"),
            Err(_elapsed) => debug!(%addr, ifindex, "no answer when resolving a neighbour"),
        }
    }
}

/// The question for the route to an address.
fn which_way(to: IpAddr) -> RouteMessage {
    let mut question = RouteMessage::default();
    (question.header.address_family, question.header.destination_prefix_length) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.attributes.push(RouteAttribute::Destination(RouteAddress::from(to)));
    question
}

/// Feeds every message of an answer to `take`.
async fn each<M>(
    what: &'static str,
    answer: impl Stream<Item = Result<M, rtnetlink::Error>>,
    mut take: impl FnMut(M),
) -> Result<(), Error> {
    let all = answer.try_for_each(|message| {
        take(message);
        core::future::ready(Ok(()))
    });
    match tokio::time::timeout(ANSWER_TIMEOUT, all).await {
        Ok(result) => result.map_err(|source| Error::Answer { what, source }),
        Err(_elapsed) => Err(Error::Silent { what }),
    }
}

/// What the error code of a route lookup says about the route, if it is about the route.
fn no_route(error: &rtnetlink::Error) -> Option<NoWay> {
    let rtnetlink::Error::NetlinkError(message) = error else { return None };
    match message.code.map(|code| -code.get()) {
        Some(libc::ENETUNREACH) => Some(NoWay::NoRoute),
        Some(libc::EHOSTUNREACH) => Some(NoWay::Refused("unreachable")),
        Some(libc::EINVAL) => Some(NoWay::Refused("blackhole")),
        Some(libc::EACCES) => Some(NoWay::Refused("prohibit")),
        _ => None,
    }
}
