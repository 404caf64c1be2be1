use rtnetlink::packet_core::{Emitable as _, Parseable as _};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::InfoKind;

use super::*;

const ETH: u32 = 2;
const VLAN: u32 = 3;
const US: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Through the wire form, as the kernel would send it.
fn link(index: u32, name: &str, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = LinkFlags::Up | LinkFlags::Running;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(US.to_vec()),
        LinkAttribute::Mtu(1500),
    ];
    message.attributes.extend(attributes);
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    LinkMessage::parse(&bytes[..]).unwrap()
}

fn vlan(protocol: VlanProtocol) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100), InfoVlan::Protocol(protocol)])),
    ])
}

fn neighbour(ifindex: u32, addr: &str, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = ifindex;
    message.header.state = state;
    let addr = match ip(addr) {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(addr),
        NeighbourAttribute::LinkLayerAddress(GATEWAY_MAC.to_vec()),
    ];
    message
}

fn address(ifindex: u32, addr: &str, flags: AddressHeaderFlags) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = ifindex;
    message.header.flags = flags;
    message.header.scope = match ip(addr) {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => AddressScope::Link,
        _ => AddressScope::Universe,
    };
    message.attributes = vec![AddressAttribute::Address(ip(addr))];
    message
}

fn route(attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.attributes = attributes;
    message
}

/// eth0 with addresses and a resolved gateway in both families.
fn tables() -> Tables {
    let mut tables = Tables::default();
    tables.add_link(&link(ETH, "eth0", vec![]));
    let none = AddressHeaderFlags::empty();
    tables.add_address(&address(ETH, "fe80::1", none));
    tables.add_address(&address(ETH, "2001:db8::bad", AddressHeaderFlags::Tentative));
    tables.add_address(&address(ETH, "192.0.2.1", none));
    tables.add_address(&address(ETH, "2001:db8::1", none));
    tables.add_neighbour(&neighbour(ETH, "192.0.2.254", NeighbourState::Reachable));
    tables.add_neighbour(&neighbour(ETH, "fe80::fe", NeighbourState::Stale));
    tables
}

fn way(tables: &Tables, attributes: Vec<RouteAttribute>) -> Result<Way, NoWay> {
    tables.way(&Hop::read(ip("198.51.100.1"), &route(attributes))?)
}

fn gateway(addr: &str) -> RouteAttribute {
    RouteAttribute::Gateway(RouteAddress::from(ip(addr)))
}

#[test]
fn a_gateway_an_mtu_and_a_source_are_taken_from_the_route() {
    let found = way(
        &tables(),
        vec![
            RouteAttribute::Oif(ETH),
            gateway("192.0.2.254"),
            RouteAttribute::PrefSource(RouteAddress::from(ip("192.0.2.9"))),
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)]),
        ],
    );
    let expected = Way {
        egress_ifindex: ETH,
        vlan: None,
        source_mac: US,
        next_hop_mac: GATEWAY_MAC,
        on_link: false,
        mtu: 1400,
        source_v4: Some("192.0.2.9".parse().unwrap()),
        source_v6: Some("2001:db8::1".parse().unwrap()),
    };
    assert_eq!(found, Ok(expected));
}

#[test]
fn an_ipv4_route_may_have_an_ipv6_gateway() {
    let via = RouteAttribute::Via(RouteVia::Inet6("fe80::fe".parse().unwrap()));
    let found = way(&tables(), vec![RouteAttribute::Oif(ETH), via]).unwrap();
    assert_eq!((found.next_hop_mac, found.on_link), (GATEWAY_MAC, false));
    assert_eq!(found.source_v4, Some("192.0.2.1".parse().unwrap()));
}

#[test]
fn a_vlan_device_leads_out_of_its_parent_with_a_tag() {
    let mut tables = tables();
    let attributes = vec![vlan(VlanProtocol::Ieee8021Q), LinkAttribute::Link(ETH)];
    tables.add_link(&link(VLAN, "eth0.100", attributes));
    tables.add_neighbour(&neighbour(VLAN, "192.0.2.254", NeighbourState::Permanent));
    let found = way(&tables, vec![RouteAttribute::Oif(VLAN), gateway("192.0.2.254")]).unwrap();
    assert_eq!((found.egress_ifindex, found.vlan), (ETH, Some(100)));
}

#[test]
fn vlan_devices_that_one_tag_cannot_express_give_no_way() {
    let vlan_of = |protocol, more: Vec<LinkAttribute>| {
        let mut tables = tables();
        tables.add_link(&link(7, "eth0.7", vec![vlan(protocol), LinkAttribute::Link(ETH)]));
        let mut attributes = vec![vlan(protocol)];
        attributes.extend(more);
        tables.add_link(&link(VLAN, "v", attributes));
        tables.add_neighbour(&neighbour(VLAN, "192.0.2.254", NeighbourState::Permanent));
        way(&tables, vec![RouteAttribute::Oif(VLAN), gateway("192.0.2.254")])
    };
    let dot1q = VlanProtocol::Ieee8021Q;
    let elsewhere = vec![LinkAttribute::Link(ETH), LinkAttribute::LinkNetNsId(1)];
    let cases = [
        ("802.1ad", vlan_of(VlanProtocol::Ieee8021Ad, vec![LinkAttribute::Link(ETH)])),
        ("stacked", vlan_of(dot1q, vec![LinkAttribute::Link(7)])),
        ("parent in another namespace", vlan_of(dot1q, elsewhere)),
    ];
    for (name, found) in cases {
        assert_eq!(found, Err(NoWay::UnsupportedVlan { interface: "v".to_owned() }), "{name}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let eth = || "eth0".to_owned();
    let down = {
        let mut message = link(4, "eth1", vec![]);
        message.header.flags = LinkFlags::Up;
        message
    };
    let tunnel = {
        let mut message = link(5, "tun0", vec![]);
        message.header.link_layer_type = LinkLayerType::Tunnel;
        message
    };
    let mut tables = tables();
    tables.add_link(&down);
    tables.add_link(&tunnel);
    tables.add_neighbour(&neighbour(ETH, "192.0.2.7", NeighbourState::Failed));
    tables.add_neighbour(&neighbour(ETH, "192.0.2.8", NeighbourState::Incomplete));
    let on = RouteAttribute::Oif;
    let next_hop = ip;
    let cases = [
        ("no interface in the answer", vec![], NoWay::NoRoute),
        ("unknown interface", vec![on(99)], NoWay::NoInterface { ifindex: 99 }),
        ("no carrier", vec![on(4)], NoWay::LinkDown { interface: "eth1".to_owned() }),
        ("tunnel", vec![on(5)], NoWay::NotEthernet { interface: "tun0".to_owned() }),
        (
            "dead gateway",
            vec![on(ETH), gateway("192.0.2.7")],
            NoWay::NoAnswer { next_hop: next_hop("192.0.2.7"), interface: eth() },
        ),
        (
            "gateway being resolved",
            vec![on(ETH), gateway("192.0.2.8")],
            NoWay::Unresolved { next_hop: next_hop("192.0.2.8"), interface: eth() },
        ),
        (
            "unknown neighbour",
            vec![on(ETH)],
            NoWay::Unresolved { next_hop: next_hop("198.51.100.1"), interface: eth() },
        ),
    ];
    for (name, attributes, expected) in cases {
        assert_eq!(way(&tables, attributes), Err(expected), "{name}");
    }
}

#[test]
fn routes_that_do_not_forward_give_no_way() {
    let cases = [
        (RouteType::Local, NoWay::Local),
        (RouteType::BlackHole, NoWay::Refused("blackhole")),
        (RouteType::Unreachable, NoWay::Refused("unreachable")),
        (RouteType::Prohibit, NoWay::Refused("prohibit")),
        (RouteType::Broadcast, NoWay::NotUnicast),
    ];
    for (kind, expected) in cases {
        let mut message = route(vec![RouteAttribute::Oif(ETH)]);
        message.header.kind = kind;
        assert_eq!(Hop::read(ip("198.51.100.1"), &message), Err(expected), "{kind:?}");
    }
}

#[test]
fn the_kernel_is_asked_to_resolve_what_it_does_not_look_after_itself() {
    let cases = [
        (NeighbourState::None, true),
        (NeighbourState::Stale, true),
        (NeighbourState::Failed, true),
        (NeighbourState::Incomplete, false),
        (NeighbourState::Reachable, false),
        (NeighbourState::Delay, false),
        (NeighbourState::Probe, false),
        (NeighbourState::Permanent, false),
        (NeighbourState::Noarp, false),
    ];
    for (state, wanted) in cases {
        let mut tables = tables();
        tables.add_neighbour(&neighbour(ETH, "192.0.2.7", state));
        let next_hop = NextHop { ifindex: ETH, addr: ip("192.0.2.7") };
        assert_eq!(tables.wants_resolving(next_hop), wanted, "{state}");
    }
    assert!(tables().wants_resolving(NextHop { ifindex: ETH, addr: ip("192.0.2.77") }));
    assert!(!tables().wants_resolving(NextHop { ifindex: 99, addr: ip("192.0.2.77") }));
}

#[test]
fn next_hops_are_the_sessions_own_address_and_the_interfaces_other_one() {
    let hops = |v4: &str, v6: &str| NextHops { v4: v4.parse().ok(), v6: v6.parse().ok() };
    let cases = [
        ("IPv4 session", "192.0.2.1", hops("192.0.2.1", "2001:db8::1")),
        ("IPv6 session", "2001:db8::1", hops("192.0.2.1", "2001:db8::1")),
        ("link-local session", "fe80::1", hops("192.0.2.1", "2001:db8::1")),
        ("IPv4-mapped", "::ffff:192.0.2.1", hops("192.0.2.1", "")),
        ("nobody's address", "192.0.2.99", hops("192.0.2.99", "")),
    ];
    for (name, local, expected) in cases {
        assert_eq!(tables().next_hops(ip(local)), expected, "{name}");
    }
}
