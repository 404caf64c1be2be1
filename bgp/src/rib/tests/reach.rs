//! Next hops: what cannot be reached is not used, what is nearer is preferred (RFC 4271 §9.1.2).

use super::net::{Net, PLAIN, parse, path};
use super::*;

const PREFIX: &str = "198.51.100.0/24";

fn by(next_hop: [u8; 4]) -> Attributes {
    Attributes { next_hop: Some(NextHop::V4(next_hop.into())), ..path(&[64_501]) }
}

#[test]
fn the_nearer_next_hop_wins_and_one_that_cannot_be_reached_does_not_count() {
    let [near, far] = [[10, 1, 0, 1], [10, 1, 0, 2]];
    let mut net = Net::new();
    let peers = [net.peer(OUR_AS, PLAIN), net.peer(OUR_AS, PLAIN)];
    let outside = net.peer(64_502, PLAIN);
    net.say(peers[0], 0, PREFIX, &by(far));
    net.say(peers[1], 0, PREFIX, &by(near));
    assert_eq!(net.rib.next_hops(), [near, far].map(IpAddr::from).into());
    let (farther, gone) = ("next hop farther away", "next hop unreachable");
    // What the first and the second cost, and how they fare; each follows the one before.
    let cases = [
        ("equally near", Some(5), Some(5), ["best", "higher router ID"]),
        ("the second is nearer", Some(20), Some(10), [farther, "best"]),
        ("it goes away", Some(20), None, ["best", gone]),
        ("both are away", None, None, [gone, gone]),
        ("one is back", None, Some(u32::MAX), [gone, "best"]),
        ("both are", Some(0), Some(1), ["best", farther]),
    ];
    for (name, first, second, expected) in cases {
        let metrics = [(far, first), (near, second)].map(|(hop, it)| (IpAddr::from(hop), it));
        net.rib.set_next_hops(&metrics.into());
        let expected: Vec<_> = peers.into_iter().zip(expected).collect();
        assert_eq!(net.reasons(PREFIX), expected, "{name}");
        let is_there = expected.iter().any(|(_, reason)| *reason == "best");
        assert_eq!(
            net.heard(outside).contains_key(&(parse(PREFIX), PathId(0))),
            is_there,
            "{name}"
        );
    }
    // What comes later by a next hop that is known fares by it at once.
    net.rib.set_next_hops(&[(IpAddr::from(near), None)].into());
    net.say(peers[1], 0, "203.0.113.0/24", &by(near));
    assert_eq!(net.reasons("203.0.113.0/24"), [(peers[1], gone)]);
    for (peer, prefix) in [(0, PREFIX), (1, PREFIX), (1, "203.0.113.0/24")] {
        net.unsay(peers[peer], 0, prefix);
    }
    assert!(net.rib.next_hops().is_empty(), "nobody is followed for nothing");
}

#[test]
fn a_path_that_cannot_be_reached_beats_no_other_by_its_med() {
    let mut net = Net::new();
    let peers = [10, 20, 30].map(|med| (net.peer(OUR_AS, PLAIN), med));
    let outside = net.peer(64_502, PLAIN);
    for (at, (peer, med)) in (1..).zip(peers) {
        net.say(peer, 0, PREFIX, &Attributes { med: Some(med), ..by([10, 1, 0, at]) });
    }
    let hop = |at| IpAddr::from([10, 1, 0, at]);
    net.rib.set_next_hops(&[(hop(1), None), (hop(2), Some(5)), (hop(3), Some(5))].into());
    let reasons: Vec<_> = net.reasons(PREFIX).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["next hop unreachable", "best", "higher MED"]);
    assert!(net.heard(outside).contains_key(&(parse(PREFIX), PathId(0))));
}
