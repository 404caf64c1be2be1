//! Layouts: an attribute is flags, type, length (two octets with flag 0x10), value.

use super::*;
use crate::types::{Asn, Community, ExtendedCommunity, LargeCommunity, Prefix};
use crate::wire::flat::Flat;
use crate::wire::{Aggregator, AsSegment, Attributes, NextHop, Origin};

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// 10.0.0.0/8
const NLRI: &[u8] = &[8, 10];
/// AFI 2, SAFI 1, next hop 2001:db8::1, reserved, 2001:db8:1::/48.
const MP_REACH: &[u8] = &[
    0x80, 14, 28, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 48, 0x20,
    1, 0xd, 0xb8, 0, 1,
];
/// AFI 2, SAFI 1, 2001:db8:2::/48.
const MP_UNREACH: &[u8] = &[0x80, 15, 10, 0, 2, 1, 48, 0x20, 1, 0xd, 0xb8, 0, 2];

fn context() -> Negotiated {
    Negotiated {
        external: true,
        four_octet_as: true,
        families: Family::UNICAST.into_iter().collect(),
        ..Negotiated::NOTHING
    }
}

fn only(family: Family) -> Negotiated {
    Negotiated { families: [family].into_iter().collect(), ..context() }
}

fn decode(body: &[u8], context: &Negotiated) -> Result<Flat, Notification> {
    super::decode(body, context).map(Flat::from)
}

fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let len = |field: &[u8]| u16::try_from(field.len()).unwrap().to_be_bytes();
    [&len(withdrawn), withdrawn, &len(&attributes), &attributes, nlri].concat()
}

fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

/// A sound announcement of 10.0.0.0/8 with these attributes besides the mandatory ones.
fn with(extra: &[&[u8]]) -> Vec<u8> {
    body(&[], &[&[ORIGIN, AS_PATH, NEXT_HOP], extra].concat(), NLRI)
}

#[test]
fn a_sound_update_is_read_whole() {
    let communities = [0xc0, 8, 8, 0xff, 0xff, 0xff, 1, 0, 1, 0, 2];
    let large = [0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    let attributes = [
        ORIGIN,
        AS_PATH,
        NEXT_HOP,
        &[0x80, 4, 4, 0, 0, 0, 50],            // MULTI_EXIT_DISC
        &[0x40, 5, 4, 0, 0, 0, 200],           // LOCAL_PREF
        &[0x40, 6, 0],                         // ATOMIC_AGGREGATE
        &[0xc0, 7, 8, 0, 0, 0, 9, 1, 2, 3, 4], // AGGREGATOR
        &communities,
        &[0x80, 9, 4, 1, 1, 1, 1],              // ORIGINATOR_ID
        &[0x80, 10, 4, 2, 2, 2, 2],             // CLUSTER_LIST
        &[0xc0, 16, 8, 0, 2, 0, 1, 0, 0, 0, 1], // EXTENDED COMMUNITIES
        &large,
        &[0xc0, 35, 4, 0, 0, 0, 1], // ONLY_TO_CUSTOMER
        &[0xe0, 99, 0],             // unknown, optional, transitive, partial
    ];
    // Withdrawn 192.0.2.0/24; announced 10.128.0.0/9 with host bits set, and the default route.
    let bytes = body(&[24, 192, 0, 2], &attributes, &[9, 10, 0xff, 0]);
    let internal = Negotiated { external: false, ..context() };
    let update = decode(&bytes, &internal).unwrap();
    let expected = Flat {
        withdrawn: vec![prefix("192.0.2.0/24")],
        announced: vec![prefix("10.128.0.0/9"), prefix("0.0.0.0/0")],
        attributes: Some(Attributes {
            origin: Origin::Igp,
            as_path: vec![AsSegment::Sequence(vec![Asn::new(65_001).unwrap()])],
            next_hop: Some(NextHop::V4([192, 0, 2, 1].into())),
            med: Some(50),
            local_pref: Some(200),
            atomic_aggregate: true,
            aggregator: Some(Aggregator { asn: Asn::new(9).unwrap(), addr: [1, 2, 3, 4].into() }),
            communities: vec![Community(0xffff_ff01), Community(0x0001_0002)],
            originator_id: Some([1, 1, 1, 1].into()),
            cluster_list: vec![[2, 2, 2, 2].into()],
            extended_communities: vec![ExtendedCommunity([0, 2, 0, 1, 0, 0, 0, 1])],
            large_communities: vec![LargeCommunity([1, 2, 3])],
            only_to_customer: Some(1),
            others: vec![0xe0, 99, 0],
        }),
        ..Flat::default()
    };
    assert_eq!(update, expected);
}

#[test]
fn a_default_route_in_front_is_not_a_path_identifier() {
    // zettabgp's guess takes two zero octets for ADD-PATH.
    let update = decode(&body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[0, 0, 8, 10, 0]), &context());
    let announced = update.unwrap().announced;
    let expected = ["0.0.0.0/0", "0.0.0.0/0", "10.0.0.0/8", "0.0.0.0/0"];
    assert_eq!(announced, expected.map(prefix));
}

#[test]
fn damage_of_the_message_or_of_prefixes_resets_the_session() {
    let error = |subcode, data: &[u8]| Notification::with_data(3, subcode, data);
    let sound = [ORIGIN, AS_PATH, NEXT_HOP];
    let list = || error(1, &[]);
    let network = || error(10, &[]);
    let unknown = [0x40, 99, 1, 7];
    let transitive_reach = [&[0xc0], &MP_REACH[1..]].concat();
    let cases = [
        ("empty body", (vec![], list())),
        ("withdrawn over the end", (vec![0, 1, 0, 0], list())),
        ("attributes over the end", (vec![0, 0, 0, 1], list())),
        ("no attributes length", (vec![0, 1, 0], list())),
        ("withdrawn /33", (body(&[33, 1, 2, 3, 4, 5], &[], &[]), network())),
        ("withdrawn cut off", (body(&[24, 10, 0], &[], &[]), network())),
        ("NLRI /33", (body(&[], &sound, &[33, 1, 2, 3, 4, 5]), network())),
        ("NLRI /255", (body(&[], &sound, &[255]), network())),
        ("NLRI cut off", (body(&[], &sound, &[8]), network())),
        ("MP_REACH twice", (body(&[], &[MP_REACH, MP_REACH], &[]), list())),
        ("MP_UNREACH twice", (body(&[], &[MP_UNREACH, MP_UNREACH], &[]), list())),
        ("MP_REACH cut off", (body(&[], &[&MP_REACH[..9]], NLRI), list())),
        ("MP_REACH transitive", (with(&[&transitive_reach]), error(4, &transitive_reach))),
        ("unknown and well-known", (with(&[&unknown]), error(2, &unknown))),
        (
            "MP_REACH without a family",
            (with(&[&[0x80, 14, 2, 0, 2]]), error(9, &[0x80, 14, 2, 0, 2])),
        ),
        (
            "MP_UNREACH without a family",
            (with(&[&[0x80, 15, 2, 2, 0]]), error(9, &[0x80, 15, 2, 2, 0])),
        ),
    ];
    for (name, (bytes, expected)) in cases {
        assert_eq!(decode(&bytes, &context()), Err(expected), "{name}");
    }
}

#[test]
fn nlri_beyond_repair_disable_their_family_or_reset_a_session_without_another() {
    let reach = |nlri: &[u8]| (14, [&MP_REACH[3..24], nlri].concat());
    type Attribute = (u8, Vec<u8>);
    let cases: [(&str, Family, Attribute); 11] = [
        ("no next hop length", Family::Ipv6Unicast, (14, vec![0, 2, 1])),
        ("next hop over the end", Family::Ipv6Unicast, (14, vec![0, 2, 1, 16, 0, 0])),
        (
            "IPv4 next hop for IPv6",
            Family::Ipv6Unicast,
            (14, [&[0, 2, 1, 4, 192, 0, 2, 1, 0], &[0; 12][..]].concat()),
        ),
        (
            "IPv6 next hop for IPv4",
            Family::Ipv4Unicast,
            (14, [&[0, 1, 1, 16], &[1; 17][..]].concat()),
        ),
        ("next hop of 24", Family::Ipv6Unicast, (14, [&[0, 2, 1, 24], &[1; 25][..]].concat())),
        ("next hop of 0", Family::Ipv6Unicast, (14, vec![0, 2, 1, 0, 0, 8, 10])),
        ("reach /129", Family::Ipv6Unicast, reach(&[&[129], &[0; 17][..]].concat())),
        ("reach cut off", Family::Ipv6Unicast, reach(&[48, 0x20, 1, 0xd, 0xb8, 0])),
        ("unreach /33", Family::Ipv4Unicast, (15, vec![0, 1, 1, 33, 1, 2, 3, 4, 5])),
        ("unreach cut off", Family::Ipv6Unicast, (15, vec![0, 2, 1, 48, 0x20])),
        ("nothing behind the next hop", Family::Ipv6Unicast, (14, MP_REACH[3..23].to_vec())),
    ];
    for (name, family, (code, value)) in cases {
        let attribute = [&[0x80, code, u8::try_from(value.len()).unwrap()], &value[..]].concat();
        let bytes = body(&[], &[&attribute, ORIGIN, AS_PATH, NEXT_HOP], &[]);
        let reset = Notification::with_data(3, 9, &attribute);
        assert_eq!(decode(&bytes, &only(family)), Err(reset), "{name}");

        let update = decode(&bytes, &context()).unwrap();
        assert_eq!(update.disable, Some(family), "{name}");
        assert_eq!((update.announced, update.withdrawn), (vec![], vec![]), "{name}");
        assert_eq!(update.repaired[0].1, Treatment::FamilyDisable, "{name}");

        // From then on it is not read, and not judged.
        let mut later = context();
        later.disable(family);
        let update = decode(&bytes, &later).unwrap();
        assert_eq!(update.disable, None, "{name}");
    }
}

#[test]
fn a_repair_tells_the_log_what_and_where_with_the_octets() {
    let repaired = |bytes: &[u8]| {
        let update = super::decode(bytes, &context()).unwrap();
        update.repaired.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        repaired(&with(&[&[0xc0, 8, 1, 0x19]])),
        ["attribute 8, not a multiple of four octets: routes withdrawn; c0080119"]
    );
    assert_eq!(
        repaired(&body(&[], &[ORIGIN, AS_PATH], NLRI)),
        ["attribute 3, missing: routes withdrawn"]
    );
    let long = [&[0xd0, 8, 0, 101][..], &[7; 101]].concat();
    let text = repaired(&with(&[&long])).concat();
    assert!(text.ends_with("07... (105 octets)") && text.len() < 250, "{text}");
    // A message can hold thousands; what takes the routes along is told even if it comes last.
    let many = vec![[0x40_u8, 1, 1, 0].as_slice(); 1000];
    let last: &[u8] = &[0xc0, 8, 1, 0x19];
    let bytes = with(&[&many[..], &[last]].concat());
    let repaired = super::decode(&bytes, &context()).unwrap().repaired;
    assert_eq!(repaired.len(), 16);
    assert_eq!(repaired.last().unwrap().treatment, Treatment::TreatAsWithdraw);
}

/// Runs one extra or replaced attribute through a session and tells what became of it.
fn verdict(bytes: &[u8], context: &Negotiated) -> (bool, Vec<(u8, Treatment)>) {
    let update = decode(bytes, context).unwrap();
    let announced = update.announced == [prefix("10.0.0.0/8")];
    assert_eq!(announced, update.attributes.is_some());
    assert_eq!(!announced, update.withdrawn == [prefix("10.0.0.0/8")], "lost, not withdrawn");
    (announced, update.repaired.iter().map(|(code, treatment, _)| (*code, *treatment)).collect())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each way to be malformed")]
fn a_malformed_attribute_is_treated_as_rfc_7606_7_says() {
    use Treatment::{AttributeDiscard as Discard, TreatAsWithdraw as Withdraw};
    let external = context();
    let internal = Negotiated { external: false, ..context() };
    let old = Negotiated { four_octet_as: false, ..context() };
    let old_path: &[u8] = &[0x40, 2, 4, 2, 1, 0xfd, 0xe9];
    let add = |attribute: &[u8]| with(&[attribute]);
    let add_old = |attribute: &[u8]| body(&[], &[ORIGIN, old_path, NEXT_HOP, attribute], NLRI);
    let origin = |a: &[u8]| body(&[], &[a, AS_PATH, NEXT_HOP], NLRI);
    let path = |a: &[u8]| body(&[], &[ORIGIN, a, NEXT_HOP], NLRI);
    let next_hop = |a: &[u8]| body(&[], &[ORIGIN, AS_PATH, a], NLRI);
    let cases: Vec<(&str, Vec<u8>, &Negotiated, u8, Treatment)> = vec![
        ("ORIGIN of 0", origin(&[0x40, 1, 0]), &external, 1, Withdraw),
        ("ORIGIN of 2", origin(&[0x40, 1, 2, 0, 0]), &external, 1, Withdraw),
        ("ORIGIN 3", origin(&[0x40, 1, 1, 3]), &external, 1, Withdraw),
        ("ORIGIN optional", origin(&[0xc0, 1, 1, 0]), &external, 1, Withdraw),
        ("ORIGIN not transitive", origin(&[0, 1, 1, 0]), &external, 1, Withdraw),
        ("no ORIGIN", origin(&[]), &external, 1, Withdraw),
        ("endless loop of zettabgp", path(&[0x40, 2, 3, 1, 0, 4]), &external, 2, Withdraw),
        ("AS 0", path(&[0x40, 2, 6, 2, 1, 0, 0, 0, 0]), &external, 2, Withdraw),
        ("AS_CONFED_SEQUENCE", path(&[0x40, 2, 6, 3, 1, 0, 0, 0, 1]), &external, 2, Withdraw),
        ("AS_CONFED_SET", path(&[0x40, 2, 6, 4, 1, 0, 0, 0, 1]), &external, 2, Withdraw),
        ("no AS_PATH", path(&[]), &external, 2, Withdraw),
        ("NEXT_HOP of 3", next_hop(&[0x40, 3, 3, 1, 2, 3]), &external, 3, Withdraw),
        (
            "NEXT_HOP of 16",
            next_hop(&[&[0x40, 3, 16][..], &[1; 16]].concat()),
            &external,
            3,
            Withdraw,
        ),
        ("NEXT_HOP 0.0.0.0", next_hop(&[0x40, 3, 4, 0, 0, 0, 0]), &external, 3, Withdraw),
        ("NEXT_HOP 224.0.0.1", next_hop(&[0x40, 3, 4, 224, 0, 0, 1]), &external, 3, Withdraw),
        ("no NEXT_HOP", next_hop(&[]), &external, 3, Withdraw),
        ("MED of 5", add(&[0x80, 4, 5, 0, 0, 0, 0, 0]), &external, 4, Withdraw),
        ("LOCAL_PREF from outside", add(&[0x40, 5, 4, 0, 0, 0, 1]), &external, 5, Discard),
        ("malformed LOCAL_PREF from outside", add(&[0xc0, 5, 1, 0]), &external, 5, Discard),
        ("LOCAL_PREF of 3", add(&[0x40, 5, 3, 0, 0, 0]), &internal, 5, Withdraw),
        ("ATOMIC_AGGREGATE of 4", add(&[0x40, 6, 4, 0, 0, 0, 0]), &external, 6, Discard),
        ("AGGREGATOR of 6", add(&[0xc0, 7, 6, 0, 1, 1, 1, 1, 1]), &external, 7, Discard),
        (
            "AGGREGATOR of 8 from an old peer",
            add_old(&[0xc0, 7, 8, 0, 0, 0, 1, 1, 1, 1, 1]),
            &old,
            7,
            Discard,
        ),
        ("AGGREGATOR AS 0", add(&[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1]), &external, 7, Discard),
        ("COMMUNITIES of 0", add(&[0xc0, 8, 0]), &external, 8, Withdraw),
        ("COMMUNITIES of 1", add(&[0xc0, 8, 1, 0x19]), &external, 8, Withdraw),
        ("COMMUNITIES not transitive", add(&[0x80, 8, 4, 0, 1, 0, 1]), &external, 8, Withdraw),
        ("ORIGINATOR_ID from outside", add(&[0x80, 9, 4, 1, 1, 1, 1]), &external, 9, Discard),
        ("ORIGINATOR_ID of 0", add(&[0x80, 9, 0]), &internal, 9, Withdraw),
        ("CLUSTER_LIST from outside", add(&[0x80, 10, 4, 1, 1, 1, 1]), &external, 10, Discard),
        ("CLUSTER_LIST of 0", add(&[0x80, 10, 0]), &internal, 10, Withdraw),
        ("CLUSTER_LIST of 6", add(&[0x80, 10, 6, 1, 1, 1, 1, 1, 1]), &internal, 10, Withdraw),
        (
            "ext. communities of 7",
            add(&[0xc0, 16, 7, 0, 0, 0, 0, 0, 0, 0]),
            &external,
            16,
            Withdraw,
        ),
        ("AS4_PATH from a new peer", add(&[0xc0, 17, 6, 2, 1, 0, 1, 0, 0]), &external, 17, Discard),
        ("AS4_PATH cut off", add_old(&[0xc0, 17, 4, 2, 1, 0, 1]), &old, 17, Discard),
        ("AS4_PATH empty", add_old(&[0xc0, 17, 0]), &old, 17, Discard),
        ("AS4_PATH with AS 0", add_old(&[0xc0, 17, 6, 2, 1, 0, 0, 0, 0]), &old, 17, Discard),
        ("AS4_AGGREGATOR of 6", add_old(&[0xc0, 18, 6, 0, 1, 1, 1, 1, 1]), &old, 18, Discard),
        (
            "IPv6 ext. communities of 8",
            add(&[&[0xc0, 25, 8][..], &[0; 8]].concat()),
            &external,
            25,
            Withdraw,
        ),
        ("LARGE of 1", add(&[0xc0, 32, 1, 0x93]), &external, 32, Withdraw),
        ("LARGE of 0", add(&[0xc0, 32, 0]), &external, 32, Withdraw),
        ("OTC of 1", add(&[0xc0, 35, 1, 1]), &external, 35, Withdraw),
        ("repeated ORIGIN", add(&[0x40, 1, 1, 2]), &external, 1, Discard),
        ("header cut off", add(&[0xc0, 8]), &external, 8, Withdraw),
        ("one octet left", add(&[0xc0]), &external, 0, Withdraw),
        ("extended length cut off", add(&[0xd0, 8, 0]), &external, 8, Withdraw),
        ("value over the end", add(&[0xc0, 8, 8, 0, 0, 0, 1]), &external, 8, Withdraw),
        ("family not negotiated", add(&[0x80, 15, 3, 0, 25, 70]), &external, 15, Discard),
    ];
    for (name, bytes, context, attribute, treatment) in cases {
        let kept = treatment == Discard;
        assert_eq!(verdict(&bytes, context), (kept, vec![(attribute, treatment)]), "{name}");
    }
}

#[test]
fn the_first_of_two_equal_attributes_counts() {
    let twice: &[&[u8]] = &[&[0x80, 4, 4, 0, 0, 0, 1], &[0x80, 4, 4, 0, 0, 0, 2]];
    assert_eq!(decode(&with(twice), &context()).unwrap().attributes.unwrap().med, Some(1));
    // Also when the first was malformed and the second is not.
    let (kept, _) = verdict(&with(&[&[0x80, 4, 1, 0], twice[0]]), &context());
    assert!(!kept);
}

#[test]
fn without_routes_a_malformed_attribute_resets_the_session() {
    // RFC 7606 §5.2: the damage may hide the routes.
    let cases: [(&str, &[u8], u8, &[u8]); 7] = [
        ("flags", &[0xc0, 1, 1, 0], 4, &[0xc0, 1, 1, 0]),
        ("length", &[0x80, 4, 1, 0], 5, &[0x80, 4, 1, 0]),
        ("ORIGIN", &[0x40, 1, 1, 3], 6, &[0x40, 1, 1, 3]),
        ("NEXT_HOP", &[0x40, 3, 4, 0, 0, 0, 0], 8, &[0x40, 3, 4, 0, 0, 0, 0]),
        ("AS_PATH", &[0x40, 2, 3, 1, 0, 4], 11, &[0x40, 2, 3, 1, 0, 4]),
        ("overrun", &[0x40, 2, 9], 1, &[]),
        ("half a header", &[0x40], 1, &[]),
    ];
    for (name, attribute, subcode, data) in cases {
        let expected = Err(Notification::with_data(3, subcode, data));
        assert_eq!(
            decode(&body(&[24, 192, 0, 2], &[attribute], &[]), &context()),
            expected,
            "{name}"
        );
        let withdrawing = decode(&body(&[], &[MP_UNREACH, attribute], &[]), &context());
        assert_eq!(withdrawing, expected, "{name}, with MP_UNREACH");
    }
    // Attribute-discard alone does not; nor do sound attributes without routes.
    let discard = decode(&body(&[], &[&[0x40, 6, 1, 0]], &[]), &context()).unwrap();
    assert_eq!(discard.repaired.len(), 1);
    assert_eq!(decode(&body(&[], &[ORIGIN], &[]), &context()), Ok(Flat::default()));
}

#[test]
fn ipv6_routes_come_in_mp_attributes() {
    let update = decode(&body(&[], &[MP_REACH, MP_UNREACH, ORIGIN, AS_PATH], &[]), &context());
    let update = update.unwrap();
    assert_eq!(update.announced, [prefix("2001:db8:1::/48")]);
    assert_eq!(update.withdrawn, [prefix("2001:db8:2::/48")]);
    let global = "2001:db8::1".parse().unwrap();
    let next_hop = NextHop::V6 { global, link_local: None };
    assert_eq!(update.attributes.unwrap().next_hop, Some(next_hop));
    assert_eq!(update.repaired, []);

    // A malformed attribute withdraws them as well.
    let damaged = decode(&body(&[], &[MP_REACH, &[0x40, 1, 1, 9], AS_PATH], &[]), &context());
    let damaged = damaged.unwrap();
    assert_eq!((damaged.announced, damaged.withdrawn), (vec![], vec![prefix("2001:db8:1::/48")]));
}

#[test]
fn two_families_in_one_update_keep_their_next_hops() {
    let update = decode(&with(&[MP_REACH]), &context()).unwrap();
    assert_eq!(update.announced, [prefix("10.0.0.0/8")]);
    let first = NextHop::V4([192, 0, 2, 1].into());
    assert_eq!(update.attributes.unwrap().next_hop, Some(first));
    let global = "2001:db8::1".parse().unwrap();
    let second = (NextHop::V6 { global, link_local: None }, vec![prefix("2001:db8:1::/48")]);
    assert_eq!(update.announced_second, Some(second));

    let damaged = decode(&with(&[MP_REACH, &[0xc0, 8, 1, 0]]), &context()).unwrap();
    assert_eq!(damaged.withdrawn, ["10.0.0.0/8", "2001:db8:1::/48"].map(prefix));
    assert_eq!((damaged.announced, damaged.announced_second), (vec![], None));
}

#[test]
fn ipv6_next_hops_are_read_as_rfc_2545_and_the_field_write_them() {
    let read = |first: &str, second: Option<&str>| {
        let octets = |addr: &str| addr.parse::<core::net::Ipv6Addr>().unwrap().octets();
        let addrs = [Some(first), second].into_iter().flatten().flat_map(octets);
        let addrs: Vec<u8> = addrs.collect();
        let nlri = [0, 32, 0x20, 1, 0xd, 0xb8];
        let head = [0, 2, 1, u8::try_from(addrs.len()).unwrap()];
        let value = [&head[..], &addrs, &nlri].concat();
        let attribute = [&[0x80, 14, u8::try_from(value.len()).unwrap()], &value[..]].concat();
        let update = decode(&body(&[], &[&attribute, ORIGIN, AS_PATH], &[]), &context()).unwrap();
        assert_eq!(update.announced.len() + update.withdrawn.len(), 1);
        update.attributes.and_then(|attributes| attributes.next_hop)
    };
    let v6 = |global: &str, link_local: Option<&str>| {
        let link_local = link_local.map(|addr| addr.parse().unwrap());
        Some(NextHop::V6 { global: global.parse().unwrap(), link_local })
    };
    let (global, link_local) = ("2001:db8::1", "fe80::1");
    assert_eq!(read(global, Some(link_local)), v6(global, Some(link_local)));
    assert_eq!(read(link_local, None), v6(link_local, None));
    assert_eq!(read("::", Some(link_local)), v6(link_local, None));
    assert_eq!(read(global, Some("::")), v6(global, None));
    assert_eq!(read("::", None), None);
    assert_eq!(read("ff02::1", None), None);
}

#[test]
fn families_that_were_not_negotiated_are_ignored_with_a_note() {
    let ignored = |attribute| (attribute, Treatment::AttributeDiscard, "family not in use");
    let v4_only = only(Family::Ipv4Unicast);
    let update = decode(&with(&[MP_REACH, MP_UNREACH]), &v4_only).unwrap();
    assert_eq!(update.announced, [prefix("10.0.0.0/8")]);
    assert_eq!((update.withdrawn, update.announced_second), (vec![], None));
    assert_eq!(update.repaired, [ignored(14), ignored(15)]);

    let v6_only = only(Family::Ipv6Unicast);
    let bytes = body(&[24, 192, 0, 2], &[MP_REACH, ORIGIN, AS_PATH, NEXT_HOP], NLRI);
    let update = decode(&bytes, &v6_only).unwrap();
    assert_eq!(update.announced, [prefix("2001:db8:1::/48")]);
    assert_eq!((update.withdrawn.len(), update.repaired.len()), (0, 1));
    assert_eq!(update.repaired[0].0, 0);

    // Their routes were there, so a malformed attribute has hidden none: no reset.
    let bytes = body(&[], &[MP_REACH, &[0x40, 1, 1, 3]], &[]);
    let update = decode(&bytes, &v4_only).unwrap();
    assert_eq!((update.announced.len(), update.withdrawn.len()), (0, 0));
}

#[test]
fn end_of_rib_is_an_update_without_routes() {
    let marker = |bytes: &[u8], context: &Negotiated| decode(bytes, context).unwrap().end_of_rib;
    let v6_only = only(Family::Ipv6Unicast);
    let empty = body(&[], &[], &[]);
    let unreach = |afi| body(&[], &[&[0x80, 15, 3, 0, afi, 1]], &[]);
    assert_eq!(marker(&empty, &context()), Some(Family::Ipv4Unicast));
    assert_eq!(marker(&unreach(2), &context()), Some(Family::Ipv6Unicast));
    assert_eq!(marker(&unreach(1), &context()), Some(Family::Ipv4Unicast));
    assert_eq!(marker(&empty, &v6_only), None);
    assert_eq!(marker(&unreach(1), &v6_only), None);
    assert_eq!(marker(&body(&[], &[MP_UNREACH], &[]), &context()), None);
    assert_eq!(marker(&body(&[8, 10], &[], &[]), &context()), None);
    assert_eq!(marker(&body(&[], &[&[0x80, 15, 3, 0, 2, 1], ORIGIN], &[]), &context()), None);
}

#[test]
fn as4_path_is_merged_unless_the_aggregator_is_old() {
    let old = Negotiated { four_octet_as: false, ..context() };
    // AS_PATH [9, AS_TRANS], AS4_PATH [70000], AGGREGATOR and AS4_AGGREGATOR.
    let path: &[u8] = &[0x40, 2, 6, 2, 2, 0, 9, 0x5b, 0xa0];
    let as4_path: &[u8] = &[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70];
    let trans: &[u8] = &[0xc0, 7, 6, 0x5b, 0xa0, 1, 1, 1, 1];
    let seven: &[u8] = &[0xc0, 7, 6, 0, 7, 1, 1, 1, 1];
    let as4_aggregator: &[u8] = &[0xc0, 18, 8, 0, 1, 0x11, 0x70, 1, 1, 1, 1];
    let cases: [(&str, &[&[u8]], u32); 4] = [
        ("AS4_PATH alone", &[as4_path], 70_000),
        ("aggregated by AS_TRANS", &[trans, as4_path, as4_aggregator], 70_000),
        ("aggregated by AS 7, both", &[seven, as4_path, as4_aggregator], 23_456),
        ("aggregated by AS 7, no AS4_AGGREGATOR", &[seven, as4_path], 70_000),
    ];
    for (name, extra, last) in cases {
        let bytes = body(&[], &[&[ORIGIN, path, NEXT_HOP], extra].concat(), NLRI);
        let path = decode(&bytes, &old).unwrap().attributes.unwrap().as_path;
        let expected = [9, last].map(|asn| Asn::new(asn).unwrap());
        assert_eq!(path, [AsSegment::Sequence(expected.to_vec())], "{name}");
    }
}

#[test]
fn confederation_segments_stay_inside_an_as() {
    let confed: &[u8] = &[0x40, 2, 6, 3, 1, 0, 0, 0xfd, 0xe9];
    let bytes = body(&[], &[ORIGIN, confed, NEXT_HOP], NLRI);
    let internal = Negotiated { external: false, ..context() };
    let path = decode(&bytes, &internal).unwrap().attributes.unwrap().as_path;
    assert_eq!(path, [AsSegment::ConfedSequence(vec![Asn::new(65_001).unwrap()])]);
}
