//! Paths that are used together, their shares, and the rules that an operator chooses.

use super::net::{Net, PLAIN, parse, path};
use super::*;
use crate::types::ExtendedCommunity;

const PREFIX: &str = "198.51.100.0/24";

fn rules(external: u8, internal: u8) -> DecisionRules {
    DecisionRules {
        multipath_external: external,
        multipath_internal: internal,
        ..DecisionRules::default()
    }
}

/// With a Link Bandwidth of so many octets per second.
fn wide(attributes: Attributes, bandwidth: f32) -> Attributes {
    let [a, b, c, d] = bandwidth.to_be_bytes();
    let extended_communities = vec![ExtendedCommunity([0, 4, 0xfb, 0xf5, a, b, c, d])];
    Attributes { extended_communities, ..attributes }
}

#[test]
fn as_many_paths_of_equal_standing_are_used_as_the_rules_say() {
    let together = "used beside the best";
    let relax = DecisionRules { multipath_relax: true, ..rules(4, 1) };
    let (farther, higher) = ("higher router ID", "internal, the best is external");
    // The first peers of two neighbouring ASes, a second one of the first AS, one inside.
    let cases = [
        ("only the best", rules(1, 1), ["best", farther, farther, higher]),
        ("of one neighbour", rules(4, 1), ["best", farther, together, higher]),
        ("of any neighbour", relax, ["best", together, together, higher]),
        (
            "two at most",
            DecisionRules { multipath_external: 2, ..relax },
            ["best", together, farther, higher],
        ),
        ("inside does not count", rules(1, 4), ["best", farther, farther, higher]),
    ];
    for (name, rules, expected) in cases {
        let mut net = Net::new();
        let peers = [64_501, 64_502, 64_501, OUR_AS].map(|number| net.peer(number, PLAIN));
        net.rib.set_rules(rules);
        for (peer, first) in peers.into_iter().zip([64_501, 64_502, 64_501, 64_501]) {
            net.say(peer, 0, PREFIX, &path(&[first, 64_510]));
        }
        let expected: Vec<_> = peers.into_iter().zip(expected).collect();
        assert_eq!(net.reasons(PREFIX), expected, "{name}");
    }
    let mut net = Net::new();
    let peers = [net.peer(OUR_AS, PLAIN), net.peer(OUR_AS, PLAIN)];
    net.rib.set_rules(rules(1, 2));
    for peer in peers {
        net.say(peer, 0, PREFIX, &path(&[64_501]));
    }
    assert_eq!(net.reasons(PREFIX), [(peers[0], "best"), (peers[1], together)], "inside");
}

#[test]
fn paths_share_by_bandwidth_if_every_one_has_one() {
    let by_bandwidth = DecisionRules { link_bandwidth: true, ..rules(3, 1) };
    let cases = [
        ("by bandwidth", by_bandwidth, [Some(3e9), Some(1e9)], [Some(7500), Some(2500)]),
        ("one has none", by_bandwidth, [Some(3e9), None], [Some(5000), Some(5000)]),
        ("nonsense is none", by_bandwidth, [Some(f32::NAN), Some(1e9)], [Some(5000); 2]),
        ("less than nothing too", by_bandwidth, [Some(-1.0), Some(1e9)], [Some(5000); 2]),
        ("without end too", by_bandwidth, [Some(f32::INFINITY), Some(1e9)], [Some(5000); 2]),
        ("not asked for", rules(3, 1), [Some(3e9), Some(1e9)], [Some(5000); 2]),
        ("alone", rules(1, 1), [Some(3e9), Some(1e9)], [None; 2]),
    ];
    for (name, rules, bandwidths, expected) in cases {
        let mut net = Net::new();
        net.rib.set_rules(rules);
        let peers = [64_501, 64_501].map(|number| net.peer(number, PLAIN));
        for (peer, bandwidth) in peers.into_iter().zip(bandwidths) {
            let route = path(&[64_501]);
            net.say(peer, 0, PREFIX, &bandwidth.map_or(route.clone(), |it| wide(route, it)));
        }
        let shares: Vec<_> = net.fates(PREFIX).iter().map(|route| route.share).collect();
        assert_eq!(shares, expected, "{name}");
    }
}

#[test]
fn med_counts_as_the_rules_say() {
    let med = |med| Attributes { med, ..path(&[64_501]) };
    let other = |med| Attributes { med, ..path(&[64_502]) };
    let always = DecisionRules { always_compare_med: true, ..DecisionRules::default() };
    let worst = DecisionRules { med_missing_is_worst: true, ..DecisionRules::default() };
    let cases = [
        ("lower", DecisionRules::default(), med(Some(5)), med(Some(4)), ["higher MED", "best"]),
        ("missing", DecisionRules::default(), med(Some(5)), med(None), ["higher MED", "best"]),
        ("missing is worst", worst, med(Some(5)), med(None), ["best", "higher MED"]),
        (
            "of another AS",
            DecisionRules::default(),
            med(Some(5)),
            other(Some(4)),
            ["best", "higher router ID"],
        ),
        ("always", always, med(Some(5)), other(Some(4)), ["higher MED", "best"]),
    ];
    for (name, rules, first, second, expected) in cases {
        let mut net = Net::new();
        let peers = [net.peer(64_501, PLAIN), net.peer(64_502, PLAIN)];
        net.say(peers[0], 0, PREFIX, &first);
        net.say(peers[1], 0, PREFIX, &second);
        net.rib.set_rules(rules); // What is there already is judged anew.
        let expected: Vec<_> = peers.into_iter().zip(expected).collect();
        assert_eq!(net.reasons(PREFIX), expected, "{name}");
    }
}

#[test]
fn a_path_that_lost_says_to_whose_even_if_that_one_is_not_the_best() {
    let mut net = Net::new();
    let [first, second, third] = [64_502, 64_501, 64_501].map(|asn| (net.peer(asn, PLAIN), asn));
    for ((peer, asn), med) in [(first, 9), (second, 5), (third, 4)] {
        net.say(peer, 0, PREFIX, &Attributes { med: Some(med), ..path(&[asn]) });
    }
    let lost =
        |by, (peer, _): (PeerId, u32)| PathState::Lost { by, to: Some(peer), path_id: PathId(0) };
    let expected = [PathState::Best, lost(Filter::Med, third), lost(Filter::RouterId, first)];
    let fates = net.fates(PREFIX);
    assert!(fates.iter().map(|route| route.state).eq(expected), "{fates:?}");

    // Ours is nobody's.
    net.rib.originate(parse(PREFIX), &RouteAttributes::default());
    let fates = net.fates(PREFIX);
    let ours = PathState::Lost { by: Filter::Local, to: None, path_id: PathId(0) };
    let lost = fates.iter().filter(|route| route.state == ours);
    assert_eq!(lost.count(), 3, "{fates:?}");
}
