//! Several paths to one prefix (RFC 7911), both ways.

use super::net::{Kind, Net, PLAIN, parse, path};
use super::*;

const PREFIXES: [&str; 3] = ["198.51.100.0/24", "2001:db8:1::/48", "203.0.113.0/24"];

/// The peer and its identifier, written into the route itself.
fn mark(peer: PeerId, id: u32) -> Community {
    Community(u32::from(peer) << 16 | id)
}

pub(super) fn route(peer: PeerId, id: u32, hops: u8, prefix: &str) -> Attributes {
    let mut asns = vec![64_500 + u32::from(peer)];
    asns.extend((1..hops).map(|_| 64_999));
    let next_hop = if prefix.contains(':') {
        NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: None }
    } else {
        NextHop::V4([10, 0, 2, 99].into())
    };
    Attributes { communities: vec![mark(peer, id)], next_hop: Some(next_hop), ..path(&asns) }
}

#[derive(Clone, Debug)]
enum Step {
    Say(PeerId, u32, usize, u8),
    Unsay(PeerId, u32, usize),
    Down(PeerId),
    Listen,
}

fn step() -> impl Strategy<Value = Step> {
    let which = || (1..=3_u16, 1..=3_u32, 0..PREFIXES.len());
    prop_oneof![
        8 => (which(), 1..4_u8).prop_map(|((peer, id, at), hops)| Step::Say(peer, id, at, hops)),
        4 => which().prop_map(|(peer, id, at)| Step::Unsay(peer, id, at)),
        1 => (1..=3_u16).prop_map(Step::Down),
        3 => Just(Step::Listen),
    ]
}

/// What has been said: hops, by prefix, peer and identifier, and how often it was said anew.
type Said = BTreeMap<(usize, PeerId, u32), (u8, u32)>;

/// The best paths to a prefix, without those of one peer.
fn expected(said: &Said, at: usize, count: usize, to: PeerId) -> Vec<Community> {
    let mut paths: Vec<_> = said
        .iter()
        .filter(|((of, ..), _)| *of == at)
        .map(|((_, peer, id), (hops, _))| (*hops, *peer, *id))
        .collect();
    paths.sort_unstable();
    let told = paths.into_iter().take(count).filter(|(_, peer, _)| *peer != to);
    let mut told: Vec<_> = told.map(|(_, peer, id)| mark(peer, id)).collect();
    told.sort_unstable();
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Peers 1 to 3 tell up to three paths each, and 3 is told four; 4 is told two; 5 is told the best
    /// one without an identifier.
    #[test]
    fn each_is_told_the_best_paths_and_an_identifier_stays_with_its_path(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut net = Net::new();
        let talks = |told| Kind { tells: Some(3), told, ..PLAIN };
        for told in [None, None, Some(4)] {
            let number = 64_501 + u32::try_from(net.rib.peers.len() - 1).unwrap();
            net.peer(number, talks(told));
        }
        net.peer(64_504, Kind { told: Some(2), ..PLAIN });
        net.peer(64_505, PLAIN);
        let (mut said, mut times) = (Said::new(), 0);
        let mut known: BTreeMap<(PeerId, usize, Community), (PathId, u32)> = BTreeMap::new();
        let mut silent: Vec<PeerId> = Vec::new();
        for step in steps.iter().chain([&Step::Listen]) {
            match step {
                Step::Say(peer, id, at, hops) if !silent.contains(peer) => {
                    net.say(*peer, *id, PREFIXES[*at], &route(*peer, *id, *hops, PREFIXES[*at]));
                    times += 1;
                    let age = said.get(&(*at, *peer, *id)).map_or(times, |(_, age)| *age);
                    said.insert((*at, *peer, *id), (*hops, age));
                }
                Step::Unsay(peer, id, at) if !silent.contains(peer) => {
                    net.unsay(*peer, *id, PREFIXES[*at]);
                    said.remove(&(*at, *peer, *id));
                }
                Step::Down(peer) => {
                    net.rib.down(*peer);
                    silent.push(*peer);
                    said.retain(|(_, of, _), _| of != peer);
                }
                Step::Listen => {
                    for (peer, count) in [(3, 4), (4, 2), (5, 1)] {
                        if silent.contains(&peer) {
                            continue;
                        }
                        let heard = net.heard(peer);
                        for (at, prefix) in PREFIXES.iter().enumerate() {
                            let of = heard.iter().filter(|((it, _), _)| *it == parse(prefix));
                            let mut marks = Vec::new();
                            for ((_, id), attributes) in of {
                                let mark = attributes.communities[0];
                                marks.push(mark);
                                let source = (at, u16::try_from(mark.0 >> 16).unwrap(),
                                    mark.0 & 0xffff);
                                let age = said.get(&source).map_or(0, |(_, age)| *age);
                                let before = known.insert((peer, at, mark), (*id, age));
                                if let Some((before, _)) = before.filter(|(_, old)| *old == age) {
                                    prop_assert_eq!(before, *id, "the identifier has changed");
                                }
                            }
                            marks.sort_unstable();
                            prop_assert_eq!(marks, expected(&said, at, count, peer),
                                "{} to {}", prefix, peer);
                        }
                    }
                }
                Step::Say(..) | Step::Unsay(..) => {}
            }
        }
        // Nothing is left when everybody has gone.
        (1..=5).for_each(|peer| net.rib.down(peer));
        while net.rib.work() {}
        net.rib.work();
        prop_assert_eq!((net.rib.v4.len(), net.rib.v6.len(), net.rib.sets_len()), (0, 0, 0));
    }
}

#[test]
fn paths_beyond_what_a_peer_may_tell_are_not_taken_and_counted() {
    let mut net = Net::new();
    let peer = net.peer(64_501, Kind { tells: Some(2), ..PLAIN });
    let hears = net.peer(64_502, Kind { told: Some(9), ..PLAIN });
    for id in 1..=5 {
        net.say(peer, id, PREFIXES[0], &route(peer, id, 1, PREFIXES[0]));
    }
    net.say(peer, 1, PREFIXES[2], &route(peer, 1, 1, PREFIXES[2]));
    let counts = net.rib.counts(peer);
    assert_eq!((counts.received, counts.accepted, counts.refused), (3, 3, 3));
    assert_eq!(net.heard(hears).len(), 3);
    // One that is there may change, and one that goes makes room.
    net.say(peer, 2, PREFIXES[0], &route(peer, 2, 3, PREFIXES[0]));
    net.unsay(peer, 1, PREFIXES[0]);
    net.say(peer, 5, PREFIXES[0], &route(peer, 5, 1, PREFIXES[0]));
    let ids: Vec<_> = net.fates(PREFIXES[0]).iter().map(|route| route.path_id.0).collect();
    assert_eq!(ids, [2, 5]);
    assert_eq!(net.rib.counts(peer).refused, 3);
}

#[test]
fn a_change_beside_the_best_path_is_told_to_those_who_are_told_several() {
    let mut net = Net::new();
    let (first, second) = (net.peer(64_501, PLAIN), net.peer(64_502, PLAIN));
    let several = net.peer(64_503, Kind { told: Some(2), ..PLAIN });
    let one = net.peer(64_504, PLAIN);
    net.say(first, 0, PREFIXES[0], &route(first, 0, 1, PREFIXES[0]));
    assert_eq!((net.heard(several).len(), net.heard(one).len()), (1, 1));
    drop((net.heard(first), net.heard(second)));
    net.rib.work(); // Everybody has read what there is.
    net.say(second, 0, PREFIXES[0], &route(second, 0, 2, PREFIXES[0]));
    assert_eq!(net.heard(several).len(), 2);
    while let Some(bytes) = net.rib.transmit(one) {
        assert!(bytes.is_empty(), "the best path is what it was");
    }
    let told = Query {
        view: View::Advertised,
        family: None,
        peer: Some(several),
        prefix: Some(parse(PREFIXES[0])),
        from: 0,
        limit: 10,
    };
    let shown: Vec<_> = net.rib.page(&told).routes.iter().map(|it| it.path_id.0).collect();
    let heard: Vec<_> = net.heard(several).keys().map(|(_, id)| id.0).collect();
    let mut shown = shown;
    shown.sort_unstable();
    assert_eq!(shown, heard, "what is shown is what was told");
}
