//! The crate `bgpkit-parser`.

use core::net::{IpAddr, Ipv4Addr};

use bgpkit_parser::Elementor;
use bgpkit_parser::models::{
    AsPath as TheirPath, Asn as TheirAsn, AsnLength, BgpElem, BgpMessage, MetaCommunity,
};
use bgpkit_parser::parser::bgp::parse_bgp_message;
use tidegate_bgp::types::{
    Asn, Community, ExtendedCommunity, Family, FamilySet, LargeCommunity, PathId, Prefix,
};
use tidegate_bgp::wire::{
    Aggregator, Announcer, AsSegment, Attributes, Negotiated, NextHop, Origin,
};

use super::{NEW, context, messages, text_of, update};

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

fn prefix(text: &str) -> Prefix {
    let (addr, bits) = text.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), bits.parse().unwrap()).unwrap()
}

fn attributes(next_hop: NextHop) -> Attributes {
    Attributes {
        origin: Origin::Egp,
        as_path: vec![
            AsSegment::Sequence(vec![asn(64_512), asn(4_200_000_002)]),
            AsSegment::Set(vec![asn(7), asn(65_536)]),
        ],
        next_hop: Some(next_hop),
        med: Some(50),
        local_pref: Some(200),
        atomic_aggregate: true,
        aggregator: Some(Aggregator { asn: asn(4_200_000_009), addr: [10, 9, 9, 9].into() }),
        communities: vec![Community(0x0001_0002), Community(0xffff_ff01)],
        extended_communities: vec![ExtendedCommunity([0, 2, 0xfd, 0xe8, 0, 0, 0, 7])],
        large_communities: vec![LargeCommunity([4_200_000_001, 1, 2])],
        only_to_customer: Some(4_200_000_003),
        ..Attributes::default()
    }
}

fn theirs(message: &[u8], add_path: bool, length: AsnLength) -> BgpMessage {
    parse_bgp_message(&mut message.to_vec().into(), add_path, &length).unwrap()
}

fn elems(message: BgpMessage) -> Vec<BgpElem> {
    let peer: IpAddr = [10, 0, 0, 1].into();
    Elementor::bgp_to_elems(message, 0.0, &peer, &TheirAsn::new_32bit(65_001))
}

#[test]
fn bgpkit_reads_what_we_write() {
    let v4 = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    let v6 = NextHop::V6 {
        global: "2001:db8::1".parse().unwrap(),
        link_local: Some("fe80::1".parse().unwrap()),
    };
    // A default route in front is what it takes for a Path Identifier.
    let v4_prefixes = ["10.128.0.0/9", "198.51.100.7/32", "0.0.0.0/0"].map(prefix);
    let v6_prefixes = ["2001:db8:1::/48", "2001:db8::7/128", "::/0"].map(prefix);
    let cases = [
        ("IPv4", Family::Ipv4Unicast, v4, v4_prefixes, false, true),
        ("IPv4 with path ids", Family::Ipv4Unicast, v4, v4_prefixes, true, true),
        ("IPv4, old peer", Family::Ipv4Unicast, v4, v4_prefixes, false, false),
        ("IPv6", Family::Ipv6Unicast, v6, v6_prefixes, false, true),
        ("IPv6 with path ids", Family::Ipv6Unicast, v6, v6_prefixes, true, true),
        ("RFC 8950", Family::Ipv4Unicast, v6, v4_prefixes, false, true),
    ];
    for (name, family, next_hop, prefixes, add_path, wide) in cases {
        let one: FamilySet = [family].into_iter().collect();
        let context = Negotiated {
            external: false,
            four_octet_as: wide,
            families: one,
            add_path_send: if add_path { one } else { FamilySet::EMPTY },
            extended_next_hop: one,
            ..Negotiated::NOTHING
        };
        let announcer = Announcer::new(family, &attributes(next_hop).to_block(), &context).unwrap();
        let mut out = Vec::new();
        announcer.pack(prefixes.map(|prefix| (PathId(9), prefix)), &mut out);
        let length = if wide { AsnLength::Bits32 } else { AsnLength::Bits16 };
        let elems = elems(theirs(&out, add_path, length));
        assert_eq!(elems.len(), prefixes.len(), "{name}");
        for (elem, prefix) in elems.iter().zip(prefixes) {
            assert_eq!(elem.prefix.prefix.to_string(), prefix.to_string(), "{name}");
            assert_eq!(elem.prefix.path_id, add_path.then_some(9), "{name}");
            assert_eq!(elem.next_hop, Some(next_hop.addr()), "{name}");
            check_elem(name, elem);
        }
    }
}

fn check_elem(name: &str, elem: &BgpElem) {
    let path = elem.as_path.as_ref().map(TheirPath::to_string);
    assert_eq!(path.as_deref(), Some("64512 4200000002 {7,65536}"), "{name}");
    assert_eq!((elem.med, elem.local_pref, elem.atomic), (Some(50), Some(200), true), "{name}");
    assert_eq!(elem.origin, Some(bgpkit_parser::models::Origin::EGP), "{name}");
    assert_eq!(elem.aggr_asn.map(u32::from), Some(4_200_000_009), "{name}");
    assert_eq!(elem.only_to_customer.map(u32::from), Some(4_200_000_003), "{name}");
    let communities: Vec<String> =
        elem.communities.iter().flatten().map(MetaCommunity::to_string).collect();
    for expected in ["1:2", "no-export", ":65000:00000007", "4200000001:1:2"] {
        assert!(communities.iter().any(|c| c.ends_with(expected)), "{name}: {communities:?}");
    }
    assert_eq!(communities.len(), 4, "{name}");
}

#[test]
fn we_read_what_bgpkit_writes() {
    let mut messages_total = 0;
    for (daemon, hex) in NEW {
        let context = context(daemon);
        for message in messages(hex) {
            let Some(ours) = update(&message, &context) else { continue };
            if ours.announced().any(|routes| routes.nlri.flow_specs().next().is_some()) {
                continue; // Its FlowSpec encoder is not asked.
            }
            let family = ours.announced().next().map(|routes| routes.nlri.family());
            let add_path = family.is_some_and(|family| context.add_path_receive.contains(family));
            let rewritten = theirs(&message, add_path, AsnLength::Bits32);
            let rewritten = rewritten.encode(AsnLength::Bits32).unwrap();
            let again = update(&rewritten, &context).unwrap();
            assert_eq!(text_of(&again), text_of(&ours), "{daemon}");
            messages_total += 1;
        }
    }
    assert!(messages_total >= 15, "{messages_total}");
}
