//! From netlink messages to a [`Way`]: what the kernel said, and nothing asked.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    VlanProtocol,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use tidegate_bgp::speaker::NextHops;
use tidegate_plan::observed::Way;

/// Why there is no way to an address. Comes and goes with the network; nothing here is a fault of
/// the daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// No route covers the address.
    #[error("no route")]
    NoRoute,
    /// A route of type unreachable, blackhole or prohibit covers it.
    #[error("a route refuses it ({0})")]
    Refused(&'static str),
    /// The address is our own.
    #[error("the address belongs to this host")]
    Local,
    /// A broadcast, multicast or otherwise odd destination.
    #[error("the route is not a unicast route")]
    NotUnicast,
    /// The interface went away between two questions, or lives in another namespace.
    #[error("interface {ifindex} does not exist here")]
    NoInterface {
        /// Its index.
        ifindex: u32,
    },
    /// The interface is down or has no carrier.
    #[error("interface {interface} is down")]
    LinkDown {
        /// Its name.
        interface: String,
    },
    /// A tunnel, a loopback, or another device without MAC addresses.
    #[error("interface {interface} is not an Ethernet interface")]
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// A VLAN device that one 802.1Q tag on a device of this namespace does not describe.
    #[error(
        "interface {interface} is a VLAN device that is stacked, uses 802.1ad, or has its parent \
         in another network namespace"
    )]
    UnsupportedVlan {
        /// Its name.
        interface: String,
    },
    /// The kernel has not heard of the next hop's MAC address yet; it has been asked to find out.
    #[error("neighbour {next_hop} on {interface} is not resolved yet")]
    Unresolved {
        /// Gateway, or the address itself.
        next_hop: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The next hop did not answer; it is asked again.
    #[error("neighbour {next_hop} on {interface} does not answer")]
    NoAnswer {
        /// Gateway, or the address itself.
        next_hop: IpAddr,
        /// Name of the interface.
        interface: String,
    },
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: u32,
    /// Administratively up, and the driver says that packets pass.
    running: bool,
    ethernet: bool,
    vlan: Option<VlanDevice>,
}

/// A VLAN device: a tag on another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VlanDevice {
    /// `None` for what a single 802.1Q tag does not express.
    id: Option<u16>,
    /// `None` when it lies in another namespace.
    parent: Option<u32>,
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Neighbour {
    state: NeighbourState,
    mac: Option<[u8; 6]>,
}

/// An address to resolve on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NextHop {
    pub(super) ifindex: u32,
    pub(super) addr: IpAddr,
}

/// What a route says about one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) next: NextHop,
    pub(super) on_link: bool,
    source: Option<IpAddr>,
    mtu: Option<u32>,
}

impl Hop {
    /// Reads the answer to "which way to `to`?".
    pub(super) fn read(to: IpAddr, route: &RouteMessage) -> Result<Self, NoWay> {
        match route.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Err(NoWay::Local),
            RouteType::Unreachable => return Err(NoWay::Refused("unreachable")),
            RouteType::BlackHole => return Err(NoWay::Refused("blackhole")),
            RouteType::Prohibit => return Err(NoWay::Refused("prohibit")),
            _ => return Err(NoWay::NotUnicast),
        }
        let (mut ifindex, mut gateway, mut source, mut mtu) = (None, None, None, None);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(oif) => ifindex = Some(*oif),
                RouteAttribute::Gateway(RouteAddress::Inet(v4))
                | RouteAttribute::Via(RouteVia::Inet(v4)) => gateway = Some(IpAddr::V4(*v4)),
                RouteAttribute::Gateway(RouteAddress::Inet6(v6))
                | RouteAttribute::Via(RouteVia::Inet6(v6)) => gateway = Some(IpAddr::V6(*v6)),
                RouteAttribute::PrefSource(RouteAddress::Inet(v4)) => source = Some((*v4).into()),
                RouteAttribute::PrefSource(RouteAddress::Inet6(v6)) => source = Some((*v6).into()),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(bytes) if *bytes > 0 => Some(*bytes),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        let ifindex = ifindex.ok_or(NoWay::NoRoute)?;
        let next = NextHop { ifindex, addr: gateway.unwrap_or(to) };
        Ok(Self { next, on_link: gateway.is_none(), source, mtu })
    }
}

/// Links, neighbours and addresses as one look found them.
#[derive(Debug, Default)]
pub(super) struct Tables {
    links: BTreeMap<u32, Link>,
    neighbours: BTreeMap<NextHop, Neighbour>,
    /// Usable addresses with global scope, in the kernel's order.
    addresses: Vec<(u32, IpAddr)>,
    /// Every address, whatever its scope.
    owners: BTreeMap<IpAddr, u32>,
}

impl Tables {
    pub(super) fn add_link(&mut self, message: &LinkMessage) {
        self.links.insert(message.header.index, read_link(message));
    }

    pub(super) fn add_neighbour(&mut self, message: &NeighbourMessage) {
        let (mut addr, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    addr = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    addr = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.as_slice().try_into().ok();
                }
                _ => {}
            }
        }
        if let Some(addr) = addr {
            let next_hop = NextHop { ifindex: message.header.ifindex, addr };
            self.neighbours.insert(next_hop, Neighbour { state: message.header.state, mac });
        }
    }

    pub(super) fn add_address(&mut self, message: &AddressMessage) {
        let ifindex = message.header.index;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                // On a point-to-point link `Address` is the other end and `Local` is ours; IPv6
                // has no `Local` elsewhere.
                AddressAttribute::Local(addr) => local = Some(*addr),
                AddressAttribute::Address(addr) => address = Some(*addr),
                AddressAttribute::Flags(all) => flags |= *all,
                _ => {}
            }
        }
        let Some(addr) = local.or(address) else { return };
        self.owners.insert(addr, ifindex);
        let unfit = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
        if message.header.scope == AddressScope::Universe && !flags.intersects(unfit) {
            self.addresses.push((ifindex, addr));
        }
    }

    /// The interface of this name, with its index.
    pub(super) fn link_by_name(&self, name: &str) -> Option<(u32, &Link)> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, link)| (*index, link))
    }

    /// The way that `hop` describes.
    pub(super) fn way(&self, hop: &Hop) -> Result<Way, NoWay> {
        let NextHop { ifindex, addr: next_hop } = hop.next;
        let link = self.running_link(ifindex)?;
        let interface = || link.name.clone();
        let (egress_ifindex, vlan) = match link.vlan {
            None => (ifindex, None),
            Some(VlanDevice { id: Some(id), parent: Some(parent) }) => {
                if self.running_link(parent)?.vlan.is_some() {
                    return Err(NoWay::UnsupportedVlan { interface: interface() });
                }
                (parent, Some(id))
            }
            Some(_) => return Err(NoWay::UnsupportedVlan { interface: interface() }),
        };
        let (true, Some(source_mac)) = (link.ethernet, link.mac) else {
            return Err(NoWay::NotEthernet { interface: interface() });
        };
        let neighbour = self.neighbours.get(&hop.next);
        let next_hop_mac = match neighbour.map(|neighbour| (neighbour.state, neighbour.mac)) {
            Some((state, Some(mac))) if is_usable(state) => mac,
            Some((NeighbourState::Failed, _)) => {
                return Err(NoWay::NoAnswer { next_hop, interface: interface() });
            }
            _ => return Err(NoWay::Unresolved { next_hop, interface: interface() }),
        };
        let mtu = link.mtu.min(hop.mtu.unwrap_or(u32::MAX));
        let ours = self.global_addresses(ifindex);
        Ok(Way {
            egress_ifindex,
            vlan,
            source_mac,
            next_hop_mac,
            on_link: hop.on_link,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            source_v4: hop.source.and_then(as_v4).or(ours.v4),
            source_v6: hop.source.and_then(as_v6).or(ours.v6),
        })
    }

    /// The name of an interface.
    pub(super) fn name(&self, ifindex: u32) -> String {
        self.links.get(&ifindex).map_or_else(|| ifindex.to_string(), |link| link.name.clone())
    }

    /// The MAC address of a neighbour that has answered.
    pub(super) fn neighbour_mac(&self, next_hop: NextHop) -> Option<[u8; 6]> {
        let neighbour = self.neighbours.get(&next_hop)?;
        neighbour.mac.filter(|_| is_usable(neighbour.state))
    }

    /// Whether packets pass the interface of a next hop.
    pub(super) fn is_running(&self, next_hop: NextHop) -> bool {
        self.running_link(next_hop.ifindex).is_ok()
    }

    /// Whether the neighbour was asked for and did not answer.
    pub(super) fn is_silent(&self, next_hop: NextHop) -> bool {
        let neighbour = self.neighbours.get(&next_hop);
        neighbour.is_some_and(|it| it.state == NeighbourState::Failed)
    }

    /// Whether the kernel must be told to find out the next hop's MAC address, or to make sure of
    /// it: it does neither for a neighbour that only the packet path uses.
    pub(super) fn wants_resolving(&self, next_hop: NextHop) -> bool {
        let resolvable = self.running_link(next_hop.ifindex).is_ok_and(|link| link.ethernet);
        let state = self.neighbours.get(&next_hop).map(|neighbour| neighbour.state);
        resolvable
            && matches!(
                state,
                None | Some(NeighbourState::None | NeighbourState::Stale | NeighbourState::Failed)
            )
    }

    /// Addresses of the interface that holds `local`: itself for its own family, the first global
    /// one for the other.
    pub(super) fn next_hops(&self, local: IpAddr) -> NextHops {
        let others = match self.owners.get(&local) {
            Some(ifindex) => self.global_addresses(*ifindex),
            None => NextHops::default(),
        };
        let own_v6 = as_v6(local).filter(|v6| !v6.is_unicast_link_local());
        NextHops { v4: as_v4(local).or(others.v4), v6: own_v6.or(others.v6) }
    }

    fn running_link(&self, ifindex: u32) -> Result<&Link, NoWay> {
        let link = self.links.get(&ifindex).ok_or(NoWay::NoInterface { ifindex })?;
        if link.running { Ok(link) } else { Err(NoWay::LinkDown { interface: link.name.clone() }) }
    }

    /// The first global address per family of an interface.
    fn global_addresses(&self, ifindex: u32) -> NextHops {
        let ours = || self.addresses.iter().filter(|(index, _)| *index == ifindex);
        NextHops {
            v4: ours().find_map(|(_, addr)| as_v4(*addr)),
            v6: ours().find_map(|(_, addr)| as_v6(*addr)),
        }
    }
}

fn read_link(message: &LinkMessage) -> Link {
    let mut link = Link {
        name: String::new(),
        mac: None,
        mtu: 0,
        // The kernel sets RUNNING from the operational state: up, or unknown to the driver.
        running: message.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        vlan: None,
    };
    let (mut parent, mut parent_is_elsewhere) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkNetNsId(_) => parent_is_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                link.vlan = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vlan(data)) => Some(read_vlan(data)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    if let Some(vlan) = &mut link.vlan {
        vlan.parent = parent.filter(|_| !parent_is_elsewhere);
    }
    link
}

fn read_vlan(data: &[InfoVlan]) -> VlanDevice {
    let other_tag = data.iter().any(
        |item| matches!(item, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q),
    );
    let id = data.iter().find_map(|item| match item {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    });
    VlanDevice { id: id.filter(|_| !other_tag), parent: None }
}

/// States in which the kernel itself would send to the neighbour.
fn is_usable(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    )
}

fn as_v4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr.to_canonical() {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn as_v6(addr: IpAddr) -> Option<Ipv6Addr> {
    match addr.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    }
}

#[cfg(test)]
mod tests;
