//! Routes of our own AS, by way of a reflector (RFC 4456), and what stays where (RFC 1997, 4360).

use core::net::Ipv4Addr;

use super::net::{Net, PLAIN, parse, path};
use super::*;
use crate::types::ExtendedCommunity;

const PREFIX: &str = "198.51.100.0/24";

#[test]
fn a_reflected_route_that_has_been_here_is_not_taken() {
    let us: Ipv4Addr = [10, 0, 0, 200].into();
    let other: Ipv4Addr = [10, 0, 0, 9].into();
    let cases = [
        ("reflected", Some(other), vec![other], "best"),
        ("ours", Some(us), vec![other], "our router ID is the originator"),
        ("been here", Some(other), vec![other, us], "our router ID is in the cluster list"),
    ];
    for (name, originator_id, cluster_list, reason) in cases {
        let mut net = Net::new();
        let reflector = net.peer(OUR_AS, PLAIN);
        let route = Attributes { originator_id, cluster_list, ..path(&[64_501]) };
        net.say(reflector, 0, PREFIX, &route);
        assert_eq!(net.reasons(PREFIX), [(reflector, reason)], "{name}");
    }
}

#[test]
fn of_reflected_routes_the_originator_and_then_the_shorter_way_decide() {
    let id = |n: u8| Ipv4Addr::from([10, 0, 0, n]);
    let route = |originator: Option<u8>, clusters: &[u8]| Attributes {
        originator_id: originator.map(id),
        cluster_list: clusters.iter().copied().map(id).collect(),
        ..path(&[64_501])
    };
    // The second reflector has the higher identifier itself, 10.0.2.2.
    let cases = [
        (
            "by the originator, not by who says it",
            route(Some(9), &[1]),
            route(Some(8), &[1, 2, 3]),
            ["higher router ID", "best"],
        ),
        (
            "without an originator by who says it",
            route(None, &[]),
            route(None, &[]),
            ["best", "higher router ID"],
        ),
        (
            "an originator against none",
            route(Some(9), &[1]),
            route(None, &[]),
            ["best", "higher router ID"],
        ),
        (
            "the same originator, by the way",
            route(Some(9), &[1, 2]),
            route(Some(9), &[3]),
            ["longer cluster list", "best"],
        ),
        (
            "the same in everything",
            route(Some(9), &[1]),
            route(Some(9), &[2]),
            ["best", "higher peer address"],
        ),
    ];
    for (name, first, second, expected) in cases {
        let mut net = Net::new();
        let reflectors = [net.peer(OUR_AS, PLAIN), net.peer(OUR_AS, PLAIN)];
        net.say(reflectors[0], 0, PREFIX, &first);
        net.say(reflectors[1], 0, PREFIX, &second);
        let expected: Vec<_> = reflectors.into_iter().zip(expected).collect();
        assert_eq!(net.reasons(PREFIX), expected, "{name}");
    }
}

#[test]
fn a_client_passes_nothing_on_inside_and_the_marks_of_reflection_stay_inside() {
    let mut net = Net::new();
    let reflector = net.peer(OUR_AS, PLAIN);
    let other = net.peer(OUR_AS, PLAIN);
    let outside = net.peer(64_502, PLAIN);
    let id: Ipv4Addr = [10, 0, 0, 9].into();
    let route = Attributes {
        originator_id: Some(id),
        cluster_list: vec![id],
        local_pref: Some(200),
        ..path(&[64_501])
    };
    net.say(reflector, 0, PREFIX, &route);
    assert!(net.heard(other).is_empty(), "we are no reflector");
    let heard = net.heard(outside).remove(&(parse(PREFIX), PathId(0))).unwrap();
    assert_eq!((heard.originator_id, heard.local_pref), (None, None));
    assert!(heard.cluster_list.is_empty());
}

#[test]
fn well_known_communities_keep_a_route_where_they_say() {
    // Whether it reaches a peer inside, and one outside.
    let cases = [
        ("none", 0, true, true),
        ("no-export", 0xffff_ff01, true, false),
        ("no-export-subconfed", 0xffff_ff03, true, false),
        ("no-advertise", 0xffff_ff02, false, false),
        ("blackhole", 0xffff_029a, true, true),
    ];
    for (name, community, inside, outside) in cases {
        let mut net = Net::new();
        let source = net.peer(64_501, PLAIN);
        let sinks = [net.peer(OUR_AS, PLAIN), net.peer(64_502, PLAIN)];
        let communities = if community == 0 { vec![] } else { vec![Community(community)] };
        net.say(source, 0, PREFIX, &Attributes { communities, ..path(&[64_501]) });
        let heard = sinks.map(|sink| !net.heard(sink).is_empty());
        assert_eq!(heard, [inside, outside], "{name}");
    }
}

#[test]
fn extended_communities_that_are_not_transitive_stay_inside() {
    let bandwidth = ExtendedCommunity([0x40, 4, 0xfb, 0xf5, 0x49, 0x74, 0x24, 0]);
    let target = ExtendedCommunity([0, 2, 0xfb, 0xf5, 0, 0, 0, 7]);
    let extended_communities = vec![bandwidth, target];
    let mut net = Net::new();
    let source = net.peer(OUR_AS, PLAIN);
    let outside = net.peer(64_502, PLAIN);
    net.say(source, 0, PREFIX, &Attributes { extended_communities, ..path(&[64_501]) });
    let heard = net.heard(outside).remove(&(parse(PREFIX), PathId(0))).unwrap();
    assert_eq!(heard.extended_communities, [target]);

    let mut net = Net::new();
    let source = net.peer(OUR_AS, PLAIN);
    let outside = net.peer(64_502, PLAIN);
    let extended_communities = vec![bandwidth];
    net.say(source, 0, PREFIX, &Attributes { extended_communities, ..path(&[64_501]) });
    let heard = net.heard(outside).remove(&(parse(PREFIX), PathId(0))).unwrap();
    assert_eq!(heard.extended_communities, [], "and no empty attribute is left");
}
