//! The crate `bgpkit-parser`.

use core::net::{IpAddr, Ipv4Addr};

use bgpkit_parser::models::{
    AsPath as TheirPath, Asn as TheirAsn, AsnLength, BgpElem, BgpMessage, MetaCommunity,
    MrtMessage, TableDumpV2Message,
};
use bgpkit_parser::parser::bgp::parse_bgp_message;
use bgpkit_parser::{Elementor, parse_mrt_record};
use tidegate_bgp::bmp::WallTime;
use tidegate_bgp::mrt::{self, Entry, IndexedPeer, Reading, Session};
use tidegate_bgp::speaker::State;
use tidegate_bgp::types::{
    Asn, Community, ExtendedCommunity, Family, FamilySet, LargeCommunity, PathId, Prefix, RouterId,
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

/// What it makes of a file of records, all of which it has to understand.
fn of_file(mut file: &[u8]) -> Vec<BgpElem> {
    let mut elementor = Elementor::new();
    let mut elems = Vec::new();
    while !file.is_empty() {
        elems.extend(elementor.record_to_elems(parse_mrt_record(&mut file).unwrap()));
    }
    elems
}

/// The path identifiers in a dump, which it does not pass on to its elements.
fn identifiers(mut file: &[u8]) -> Vec<Option<u32>> {
    let mut found = Vec::new();
    while !file.is_empty() {
        let record = parse_mrt_record(&mut file).unwrap();
        if let MrtMessage::TableDumpV2Message(TableDumpV2Message::RibAfi(rib)) = record.message {
            found.extend(rib.rib_entries.iter().map(|entry| entry.path_id));
        }
    }
    found
}

#[test]
fn bgpkit_reads_our_dumps_with_path_identifiers_and_without() {
    let time = WallTime { secs: 1_700_000_000, micros: 0 };
    let peer =
        |last: u8, asn| IndexedPeer { router_id: 9, addr: IpAddr::from([10, 0, 0, last]), asn };
    let peers = [IndexedPeer::NOBODY, peer(1, 64_512), peer(2, 4_200_000_002)];
    let collector = RouterId::new([10, 0, 0, 9].into()).unwrap();
    let v4 = attributes(NextHop::V4(Ipv4Addr::new(192, 0, 2, 1))).to_block();
    let global = "2001:db8::1".parse().unwrap();
    let v6 = attributes(NextHop::V6 { global, link_local: None }).to_block();
    for (text, block) in [("198.51.100.0/24", &v4), ("2001:db8:1::/48", &v6)] {
        let entry = |peer, path_id| Entry { peer, originated: 1_600_000_000, path_id, block };
        // Zero is an identifier like any other, where there are any.
        let paths = [(1, None), (2, Some(PathId(0))), (2, Some(PathId(7)))];
        let mut file = mrt::peer_index(time, collector, &peers);
        let entries = paths.map(|(peer, path_id)| entry(peer, path_id));
        mrt::push_destination(&mut file, time, 0, prefix(text), &entries);
        let elems = of_file(&file);
        assert_eq!(elems.len(), paths.len(), "{text}");
        assert_eq!(identifiers(&file), paths.map(|(_, path_id)| path_id.map(|it| it.0)), "{text}");
        for (elem, (peer, _)) in elems.iter().zip(paths) {
            assert_eq!(elem.prefix.prefix.to_string(), text);
            let IndexedPeer { addr, asn, .. } = peers[usize::from(peer)];
            assert_eq!((elem.peer_ip, elem.peer_asn.into()), (addr, asn), "{text}");
            check_elem(text, elem);
        }
    }
}

#[test]
fn bgpkit_reads_our_files_of_messages_however_they_are_to_be_read() {
    let time = WallTime { secs: 1_700_000_000, micros: 42 };
    let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    let family = Family::Ipv4Unicast;
    let one: FamilySet = [family].into_iter().collect();
    for (four_octet_as, add_path) in [(true, false), (false, false), (true, true), (false, true)] {
        let name = format!("four octets: {four_octet_as}, path identifiers: {add_path}");
        let context = Negotiated {
            external: false,
            four_octet_as,
            families: one,
            add_path_send: if add_path { one } else { FamilySet::EMPTY },
            ..Negotiated::NOTHING
        };
        let announcer = Announcer::new(family, &attributes(next_hop).to_block(), &context).unwrap();
        let mut update = Vec::new();
        announcer.pack([(PathId(0), prefix("198.51.100.0/24"))], &mut update);
        let (remote, local) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let session = Session { remote_as: 64_512, local_as: 65_001, remote, local };
        let mut file = mrt::state_change(time, &session, State::OpenConfirm, State::Established);
        file.extend(mrt::message(time, &session, Reading { four_octet_as, add_path }, &update));
        let elems = of_file(&file);
        assert_eq!(elems.len(), 1, "{name}");
        let elem = &elems[0];
        assert_eq!((elem.peer_ip, elem.peer_asn.into()), (remote, 64_512_u32), "{name}");
        assert_eq!(elem.prefix.path_id, add_path.then_some(0), "{name}");
        assert_eq!(elem.prefix.prefix.to_string(), "198.51.100.0/24", "{name}");
        check_elem(&name, elem);
    }
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
