//! What somebody who looks for the reason of a failure asks the kernel beyond what the daemon needs.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use tidegate_plan::observed::Way;
use tokio::time::{Instant, sleep};

use super::tables::NextHop;
use super::{Error, Kernel, Links, NoWay, each};

/// Between two looks at what the kernel has been asked to find out.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The way to an address, with the names that people know it by.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// Name of the interface that it leads out of.
    pub(crate) interface: String,
    /// Its index.
    pub(crate) ifindex: u32,
    /// The gateway, if there is one.
    pub(crate) gateway: Option<IpAddr>,
    /// The way itself.
    pub(crate) way: Result<Way, NoWay>,
}

/// An interface as it is now.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkNow {
    /// Up, and packets pass.
    pub(crate) running: bool,
    /// Largest IP packet.
    pub(crate) mtu: u32,
    /// The XDP program on it: whether it is in the generic hook, and its id.
    pub(crate) xdp: Option<(bool, u32)>,
}

impl Links {
    /// Asks without following changes.
    pub(crate) const fn unfollowed() -> Self {
        Self(())
    }

    /// The way to each address; waits until `within` is over for neighbours to answer.
    pub(crate) async fn reached(
        &self,
        addrs: &BTreeSet<IpAddr>,
        within: Duration,
    ) -> Result<BTreeMap<IpAddr, Result<Reached, NoWay>>, Error> {
        let end = Instant::now() + within;
        loop {
            let ways = self.ways(addrs).await?;
            let is_open = |way: &Result<Way, NoWay>| matches!(way, Err(NoWay::Unresolved { .. }));
            if Instant::now() < end && ways.values().any(is_open) {
                sleep(LOOK_AGAIN).await;
                continue;
            }
            let kernel = Kernel::open()?;
            let tables = kernel.tables().await?;
            let mut reached = BTreeMap::new();
            for (addr, way) in ways {
                let hop = kernel.hop(addr).await?;
                reached.insert(
                    addr,
                    hop.map(|hop| Reached {
                        interface: tables.name(hop.next.ifindex),
                        ifindex: hop.next.ifindex,
                        gateway: (!hop.on_link).then_some(hop.next.addr),
                        way,
                    }),
                );
            }
            return Ok(reached);
        }
    }

    /// The interface that packets to an address would leave by; `None`: there is no way.
    pub(crate) async fn egress(&self, to: IpAddr) -> Result<Option<String>, Error> {
        let kernel = Kernel::open()?;
        let Ok(hop) = kernel.hop(to).await? else { return Ok(None) };
        Ok(Some(kernel.tables().await?.name(hop.next.ifindex)))
    }

    /// Who answers on a link when asked for the MAC address of `addr` (ARP, or neighbour discovery);
    /// `None`: nobody does `within` this time. What the kernel learns by that is forgotten again.
    pub(crate) async fn who_has(
        &self,
        ifindex: u32,
        addr: IpAddr,
        within: Duration,
    ) -> Result<Option<[u8; 6]>, Error> {
        let kernel = Kernel::open()?;
        kernel.forget(ifindex, addr).await;
        let next_hop = NextHop { ifindex, addr };
        kernel.resolve(next_hop).await;
        let end = Instant::now() + within;
        let answer = loop {
            let answer = kernel.tables().await?.neighbour_mac(next_hop);
            if answer.is_some() || Instant::now() >= end {
                break answer;
            }
            sleep(LOOK_AGAIN).await;
        };
        kernel.forget(ifindex, addr).await;
        Ok(answer)
    }

    /// All interfaces by name.
    pub(crate) async fn all(&self) -> Result<BTreeMap<String, LinkNow>, Error> {
        let kernel = Kernel::open()?;
        let mut all = BTreeMap::new();
        let links = kernel.handle.link().get().execute();
        each("links", links, |message| {
            let (name, link) = now(&message);
            all.insert(name, link);
        })
        .await?;
        Ok(all)
    }
}

impl Kernel {
    /// Lets the kernel forget what it knows of a neighbour; that it knows nothing is fine.
    async fn forget(&self, ifindex: u32, addr: IpAddr) {
        let mut message = NeighbourMessage::default();
        message.header.family =
            if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = ifindex;
        message.header.state = NeighbourState::None;
        let addr = match addr {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message.attributes.push(NeighbourAttribute::Destination(addr));
        let request = self.handle.neighbours().del(message).execute();
        drop(tokio::time::timeout(super::ANSWER_TIMEOUT, request).await);
    }
}

fn now(message: &LinkMessage) -> (String, LinkNow) {
    let mut name = String::new();
    let mut link = LinkNow {
        running: message.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        ..LinkNow::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(given) => name.clone_from(given),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Xdp(parts) => link.xdp = xdp(parts),
            _ => {}
        }
    }
    (name, link)
}

/// The program on an interface. With several, that in the driver is the one packets meet first.
fn xdp(parts: &[LinkXdp]) -> Option<(bool, u32)> {
    let (mut generic, mut id) = (false, None);
    for part in parts {
        match part {
            LinkXdp::Attached(XdpAttached::SocketBuffer) => generic = true,
            LinkXdp::ProgId(program) => id = id.or(Some(*program)),
            LinkXdp::DrvProgId(program) | LinkXdp::HwProgId(program) => id = Some(*program),
            _ => {}
        }
    }
    id.filter(|id| *id > 0).map(|id| (generic, id))
}
