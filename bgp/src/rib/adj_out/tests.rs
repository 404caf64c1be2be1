use super::*;
use crate::types::{Community, LargeCommunity};

fn us() -> Asn {
    Asn::new(65_001).unwrap()
}

const HOP: NextHop = NextHop::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

fn host(text: &str) -> Prefix {
    Prefix::host(text.parse().unwrap())
}

#[test]
fn outside_our_as_the_path_begins_with_us_and_local_pref_stays_home() {
    let route = RouteAttributes { prepend: 2, med: Some(7), ..RouteAttributes::default() };
    let sent = export(&route, HOP, us(), true);
    assert_eq!(sent.as_path, [AsSegment::Sequence(vec![us(); 3])]);
    assert_eq!((sent.origin, sent.med, sent.local_pref), (Origin::Igp, Some(7), None));
}

#[test]
fn inside_our_as_the_path_is_empty_and_local_pref_is_there() {
    let route = RouteAttributes { prepend: 2, ..RouteAttributes::default() };
    let sent = export(&route, HOP, us(), false);
    assert_eq!((sent.as_path, sent.local_pref), (vec![], Some(LOCAL_PREF_DEFAULT)));
    let route = RouteAttributes { local_pref: Some(0), ..route };
    assert_eq!(export(&route, HOP, us(), false).local_pref, Some(0));
}

#[test]
fn a_path_longer_than_a_segment_takes_two() {
    let route = RouteAttributes { prepend: 255, ..RouteAttributes::default() };
    let path = export(&route, HOP, us(), true).as_path;
    let lens: Vec<usize> = path
        .iter()
        .map(|segment| match segment {
            AsSegment::Sequence(part) => part.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lens, [255, 1]);
}

#[test]
fn communities_go_out_sorted_and_once() {
    let route = RouteAttributes {
        communities: vec![Community(2), Community(1), Community(2)],
        large_communities: vec![LargeCommunity([9, 0, 0]), LargeCommunity([1, 2, 3])],
        ..RouteAttributes::default()
    };
    let sent = export(&route, HOP, us(), true);
    assert_eq!(sent.communities, [Community(1), Community(2)]);
    assert_eq!(sent.large_communities, [LargeCommunity([1, 2, 3]), LargeCommunity([9, 0, 0])]);
}

#[test]
fn the_next_hop_is_the_configured_one_else_ours_and_never_a_useless_one() {
    let hops = |v4: &str, v6: &str| NextHops { v4: v4.parse().ok(), v6: v6.parse().ok() };
    let v4 = Family::Ipv4Unicast;
    let v6 = Family::Ipv6Unicast;
    let cases = [
        ("ours", v4, hops("", ""), hops("10.0.0.1", "2001:db8::1"), Some("10.0.0.1")),
        ("ours", v6, hops("", ""), hops("10.0.0.1", "2001:db8::1"), Some("2001:db8::1")),
        ("configured", v4, hops("10.9.9.9", ""), hops("10.0.0.1", ""), Some("10.9.9.9")),
        ("configured", v6, hops("", "2001:db8::9"), hops("10.0.0.1", ""), Some("2001:db8::9")),
        ("none", v6, hops("10.9.9.9", ""), hops("10.0.0.1", ""), None),
        ("IPv4-mapped", v6, hops("", ""), hops("", "::ffff:10.0.0.1"), None),
        ("IPv4-mapped, configured", v6, hops("", "::ffff:10.0.0.1"), hops("", ""), None),
        ("unspecified", v4, hops("", ""), hops("0.0.0.0", ""), None),
        ("unspecified", v6, hops("", ""), hops("", "::"), None),
    ];
    for (name, family, configured, session, expected) in cases {
        let found = next_hop(family, configured, session).map(NextHop::addr);
        assert_eq!(found, expected.map(|addr| addr.parse().unwrap()), "{name} {family}");
    }
}

#[test]
fn a_promise_is_taken_back_once() {
    let mut rib = AdjRibOut::default();
    rib.promise(&[host("192.0.2.1"), host("192.0.2.2"), host("2001:db8::1")]);
    assert!(rib.take_back(host("192.0.2.1")));
    assert!(!rib.take_back(host("192.0.2.1")));
    assert_eq!(rib.take_back_family(Family::Ipv4Unicast), [host("192.0.2.2")]);
    assert_eq!(rib.len(), 1);
}

#[test]
fn prefixes_with_equal_attributes_go_together() {
    let plain = RouteAttributes::default();
    let tagged = RouteAttributes { med: Some(1), ..plain.clone() };
    let originated = BTreeMap::from([
        (host("192.0.2.1"), plain.clone()),
        (host("192.0.2.2"), tagged.clone()),
        (host("192.0.2.3"), plain.clone()),
        (host("2001:db8::1"), plain.clone()),
    ]);
    let groups = by_attributes(&originated, Family::Ipv4Unicast);
    assert_eq!(groups[&plain], [host("192.0.2.1"), host("192.0.2.3")]);
    assert_eq!(groups[&tagged], [host("192.0.2.2")]);
}
