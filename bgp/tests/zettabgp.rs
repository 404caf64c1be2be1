//! What was found wrong in zettabgp 0.6.0, one test each: on the wire ours does it right, and none
//! of the octets that break the crate break us. Which entrances to it are left, and what is checked
//! before each, stands in `wire::zetta`.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test")]

use core::net::Ipv4Addr;

use tidegate_bgp::types::{
    Asn, Community, Family, FamilySet, LargeCommunity, PathId, Prefix, RouterId,
};
use tidegate_bgp::wire::{
    self, Aggregator, Announcer, AsSegment, Attributes, AttributesRef, Capability, Message,
    Negotiated, NextHop, Notification, Open, Treatment, Update, decode, next_message,
};

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

fn context() -> Negotiated {
    Negotiated { four_octet_as: true, families: FamilySet::ALL, ..Negotiated::NOTHING }
}

fn host(last: u32) -> (PathId, Prefix) {
    (PathId(0), Prefix::host(Ipv4Addr::from_bits(0x0a00_0000 + last).into()))
}

/// The octets of one route with these attributes.
fn sent(attributes: &Attributes, context: &Negotiated) -> Vec<u8> {
    let next_hop = Some(NextHop::V4([192, 0, 2, 1].into()));
    let block = Attributes { next_hop, ..attributes.clone() }.to_block();
    let announcer = Announcer::new(Family::Ipv4Unicast, &block, context).unwrap();
    let mut out = Vec::new();
    assert_eq!(announcer.pack([host(1)], &mut out), 1);
    out
}

fn holds(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}

/// An UPDATE of 10.0.0.0/8 with these attributes.
fn framed(attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let len = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    let body = [&[0, 0][..], &len(attributes.len()), attributes, nlri].concat();
    [&[0xff; 16][..], &len(19 + body.len()), &[2], &body].concat()
}

fn read<'a>(message: &'a [u8], context: &Negotiated) -> Result<Update<'a>, Notification> {
    let (raw, _) = next_message(message, context.message_bytes_max())?.unwrap();
    match decode(raw, context)? {
        Message::Update(update) => Ok(update),
        other => panic!("{other:?}"),
    }
}

/// ORIGIN, an empty AS_PATH, NEXT_HOP, and this.
fn with(attribute: &[u8]) -> Vec<u8> {
    let sound = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1];
    framed(&[&sound, attribute].concat(), &[8, 10])
}

#[test]
fn finding_1_a_sequence_goes_out_as_a_sequence() {
    let as_path = vec![AsSegment::Sequence(vec![asn(64_512), asn(3356)])];
    let message = sent(&Attributes { as_path, ..Attributes::default() }, &context());
    assert!(holds(&message, &[0x40, 2, 10, 2, 2, 0, 0, 0xfc, 0, 0, 0, 0x0d, 0x1c]));
}

#[test]
fn finding_2_an_aggregator_has_its_value_and_flags() {
    let aggregator = Some(Aggregator { asn: asn(65_536), addr: [10, 9, 9, 9].into() });
    let attributes = Attributes { aggregator, ..Attributes::default() };
    assert!(holds(&sent(&attributes, &context()), &[0xc0, 7, 8, 0, 1, 0, 0, 10, 9, 9, 9]));
    let old = Negotiated { four_octet_as: false, ..context() };
    let message = sent(&attributes, &old);
    assert!(holds(&message, &[0xc0, 7, 6, 0x5b, 0xa0, 10, 9, 9, 9]), "AS_TRANS");
    assert!(holds(&message, &[0xc0, 18, 8, 0, 1, 0, 0, 10, 9, 9, 9]), "AS4_AGGREGATOR");
}

#[test]
fn finding_3_lengths_and_flags_of_the_small_attributes_are_right() {
    let attributes = Attributes {
        atomic_aggregate: true,
        large_communities: vec![LargeCommunity([1, 2, 3])],
        only_to_customer: Some(7),
        ..Attributes::default()
    };
    let message = sent(&attributes, &context());
    assert!(holds(&message, &[0x40, 6, 0]), "ATOMIC_AGGREGATE is empty");
    assert!(holds(&message, &[0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]), "not Partial");
    assert!(holds(&message, &[0xc0, 35, 4, 0, 0, 0, 7]), "not Partial");
    let hold_time = tidegate_bgp::types::HoldTime::DEFAULT;
    let router_id = RouterId::new([10, 0, 0, 1].into()).unwrap();
    // What it could not read back: a name, with its length in front (draft-walton-bgp-hostname).
    let capabilities = vec![Capability::Unknown { code: 73, value: vec![2, b'h', b'i', 0] }];
    let open = Open { my_as: 1, hold_time, router_id, capabilities };
    let message = wire::encode_open(&open);
    let (raw, _) = next_message(&message, wire::MESSAGE_BYTES_MAX).unwrap().unwrap();
    assert_eq!(decode(raw, &Negotiated::NOTHING), Ok(Message::Open(open)));
}

#[test]
fn finding_4_a_peer_of_two_octets_gets_as_trans_and_as4_path() {
    let as_path = vec![AsSegment::Sequence(vec![asn(65_536), asn(7)])];
    let old = Negotiated { four_octet_as: false, ..context() };
    let message = sent(&Attributes { as_path, ..Attributes::default() }, &old);
    assert!(holds(&message, &[0x40, 2, 6, 2, 2, 0x5b, 0xa0, 0, 7]));
    assert!(holds(&message, &[0xc0, 17, 10, 2, 2, 0, 1, 0, 0, 0, 0, 0, 7]));
}

#[test]
fn finding_5_no_message_is_longer_than_the_session_allows() {
    let next_hop = Some(NextHop::V4([192, 0, 2, 1].into()));
    let block = Attributes { next_hop, ..Attributes::default() }.to_block();
    for (extended_messages, max) in [(false, 4096), (true, 65_535)] {
        let context = Negotiated { extended_messages, ..context() };
        let announcer = Announcer::new(Family::Ipv4Unicast, &block, &context).unwrap();
        let mut out = Vec::new();
        let count = announcer.pack((0..30_000).map(host), &mut out);
        let mut rest = out.as_slice();
        let mut lens = Vec::new();
        while let Some((_, len)) = next_message(rest, max).unwrap() {
            lens.push(len);
            rest = &rest[len..];
        }
        assert_eq!((lens.len(), rest), (count, &[][..]));
        lens.pop();
        assert!(lens.iter().all(|len| *len > max - 5 && *len <= max), "full: {lens:?}");
    }
}

#[test]
fn finding_6_the_as_path_that_looped_is_treated_as_withdrawn() {
    let loops = [0x40, 1, 1, 0, 0x40, 2, 3, 1, 0, 4, 0x40, 3, 4, 192, 0, 2, 1];
    let message = framed(&loops, &[8, 10]);
    let update = read(&message, &context()).unwrap();
    assert_eq!((update.announced().count(), update.withdrawn().count()), (0, 1));
    // Inside ATTR_SET too: that is an attribute we only pass on.
    let message = with(&[0xc0, 128, 10, 0, 0, 0, 1, 0x40, 2, 3, 1, 0, 4]);
    assert_eq!(read(&message, &context()).unwrap().announced().count(), 1);
}

#[test]
fn finding_7_short_values_at_which_it_panics_cost_routes_and_nothing_else() {
    let internal = Negotiated { external: false, ..context() };
    let cases: [(&str, &[u8]); 9] = [
        ("LARGE_COMMUNITIES of 1", &[0xc0, 32, 1, 0x93]),
        ("COMMUNITIES of 1", &[0xc0, 8, 1, 0x19]),
        ("ORIGINATOR_ID of 0", &[0x80, 9, 0]),
        ("ONLY_TO_CUSTOMER of 1", &[0xc0, 35, 1, 1]),
        ("extended communities of 5", &[0xc0, 16, 5, 0, 0, 0, 0, 0]),
        ("CLUSTER_LIST of 3", &[0x80, 10, 3, 1, 1, 1]),
        ("header cut off", &[0xc0]),
        ("length cut off", &[0xd0, 8, 0]),
        ("value cut off", &[0xc0, 8, 8, 1]),
    ];
    for (name, attribute) in cases {
        let message = with(attribute);
        let update = read(&message, &internal).unwrap();
        assert_eq!((update.announced().count(), update.withdrawn().count()), (0, 1), "{name}");
        assert_eq!(update.repaired[0].treatment, Treatment::TreatAsWithdraw, "{name}");
    }
    // PMSI and ATTR_SET are passed on unread; EVPN, MVPN, MDT and VPLS are never negotiated.
    for attribute in [&[0xc0, 22, 5, 0, 0, 0, 0, 0][..], &[0xc0, 128, 5, 0, 0, 0, 1, 2]] {
        assert_eq!(read(&with(attribute), &internal).unwrap().repaired, []);
    }
    for (afi, safi) in [(25, 70), (1, 5), (1, 66), (25, 65)] {
        let message = with(&[0x80, 14, 5, 0, afi, safi, 0, 0]);
        let update = read(&message, &internal).unwrap();
        assert_eq!(update.repaired[0].treatment, Treatment::AttributeDiscard);
    }
    for value in [&[0x80, 14, 2, 0, 2][..], &[0x80, 14, 3, 0, 1, 0x42], &[0x80, 15, 2, 2, 0x80]] {
        drop(read(&with(value), &internal)); // A verdict, whichever; no panic.
    }
}

#[test]
fn finding_8_the_header_is_judged_before_anything_is_read() {
    let header = |len: u16, kind| [&[0xff; 16][..], &len.to_be_bytes(), &[kind]].concat();
    for (len, kind) in [(0, 2), (18, 4), (4097, 2), (22, 2), (28, 1), (20, 4)] {
        let answer = next_message(&header(len, kind), wire::MESSAGE_BYTES_MAX).unwrap_err();
        assert_eq!((answer.code, answer.subcode), (1, 2), "{len} of type {kind}");
        assert_eq!(answer.data, len.to_be_bytes());
    }
}

#[test]
fn finding_9_ipv6_next_hops_are_read_whole() {
    let extended_next_hop = [Family::Ipv4Unicast].into_iter().collect();
    let context = Negotiated { extended_next_hop, ..context() };
    let global = "2001:db8::1".parse::<core::net::Ipv6Addr>().unwrap();
    let link_local = "fe80::1".parse::<core::net::Ipv6Addr>().unwrap();
    for link_local in [None, Some(link_local)] {
        let addrs = [Some(global), link_local].into_iter().flatten().flat_map(|a| a.octets());
        let addrs: Vec<u8> = addrs.collect();
        let value = [&[0, 1, 1, u8::try_from(addrs.len()).unwrap()], &addrs[..], &[0, 8, 10]];
        let value = value.concat();
        let attribute = [&[0x80, 14, u8::try_from(value.len()).unwrap()], &value[..]].concat();
        let message = framed(&[&[0x40, 1, 1, 0, 0x40, 2, 0][..], &attribute].concat(), &[]);
        let update = read(&message, &context).unwrap();
        let routes = update.announced().next().unwrap();
        let next_hop = AttributesRef::new(&routes.block).next_hop;
        assert_eq!(next_hop, Some(NextHop::V6 { global, link_local }));
    }
}

#[test]
fn findings_10_and_11_nothing_is_guessed_from_transport_or_zeros() {
    // A default route in front is a default route, not a Path Identifier.
    let sound = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1];
    let message = framed(&sound, &[0, 0, 8, 10, 0]);
    let update = read(&message, &context()).unwrap();
    let prefixes = update.announced().flat_map(|routes| routes.nlri.prefixes());
    let shown: Vec<String> = prefixes.map(|(_, prefix)| prefix.to_string()).collect();
    assert_eq!(shown, ["0.0.0.0/0", "0.0.0.0/0", "10.0.0.0/8", "0.0.0.0/0"]);
}

#[test]
fn finding_12_lengths_flags_and_repeats_are_checked() {
    for attribute in [
        &[0x80, 4, 5, 0, 0, 0, 0, 0][..], // MULTI_EXIT_DISC of five octets
        &[0xc0, 4, 4, 0, 0, 0, 0],        // transitive
        &[0x80, 8, 4, 0, 0, 0, 0],        // COMMUNITIES, not transitive
    ] {
        assert_eq!(read(&with(attribute), &context()).unwrap().withdrawn().count(), 1);
    }
    // Trailing octets of ADD-PATH; a segment whose count exceeds its octets.
    let add_path_receive = FamilySet::ALL;
    let add_path = Negotiated { add_path_receive, ..context() };
    let message = framed(&[], &[0, 0, 0, 1, 8, 10, 0, 0]);
    assert_eq!(read(&message, &add_path).unwrap_err().subcode, 10);
    let path = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 2, 0, 0, 0, 1, 0x40, 3, 4, 192, 0, 2, 1];
    assert_eq!(read(&framed(&path, &[8, 10]), &context()).unwrap().withdrawn().count(), 1);
    // A family that we do not know is no error for the whole UPDATE.
    let message = with(&[0x80, 15, 3, 0, 1, 250]);
    assert_eq!(read(&message, &context()).unwrap().announced().count(), 1);
}

#[test]
fn finding_13_host_bits_are_cleared() {
    let sound = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1];
    let message = framed(&sound, &[9, 10, 255]);
    let update = read(&message, &context()).unwrap();
    let (_, prefix) = update.announced().next().unwrap().nlri.prefixes().next().unwrap();
    assert_eq!(prefix.to_string(), "10.128.0.0/9");
}

#[test]
fn finding_14_as_65536_is_not_as_1_and_communities_keep_order_and_repeats() {
    assert_ne!(asn(65_536), asn(1));
    let message = with(&[0xc0, 8, 12, 0, 2, 0, 2, 0, 1, 0, 1, 0, 2, 0, 2]);
    let update = read(&message, &context()).unwrap();
    let routes = update.announced().next().unwrap();
    let communities: Vec<Community> = AttributesRef::new(&routes.block).communities().collect();
    assert_eq!(communities, [0x0002_0002, 0x0001_0001, 0x0002_0002].map(Community));
}

// Finding 15, negotiation by equality, is `fsm::open`'s: what_both_offer_is_agreed_and_nothing_else.
