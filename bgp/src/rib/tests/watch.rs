//! Somebody who follows from outside, and asks now and then, against what is there.

use std::collections::BTreeSet;

use super::net::{Kind, Net, PLAIN, parse};
use super::several::route;
use super::*;
use crate::bmp::{View as Seen, Views};
use crate::types::FamilySet;

const WATCHER: WatcherId = 7;
const VIEWS: [Seen; 4] = [Seen::PrePolicy, Seen::PostPolicy, Seen::LocRib, Seen::AdjRibOut];

/// What the watcher knows: view and peer (none for Loc-RIB) to paths with AS path and MED.
type Known = BTreeMap<(Seen, Option<u16>), Told>;

type Told = BTreeMap<(Prefix, PathId), (Vec<u32>, Option<u32>)>;

#[derive(Default)]
struct Watcher {
    up: BTreeSet<u16>,
    known: Known,
    ends: BTreeMap<(Seen, Option<u16>), usize>,
}

impl Watcher {
    /// Learns which sessions are up, then what changed; `rounds` times.
    fn ask_lab(&mut self, lab: &mut Lab, rounds: usize) {
        let up = (1..=PEERS).filter(|peer| lab.up[usize::from(*peer)]).map(u16::from).collect();
        self.ask(&mut lab.rib, &up, |_| false, rounds);
    }

    /// `with_ids`: whether paths have identifiers there.
    fn ask(
        &mut self,
        rib: &mut Rib,
        up: &BTreeSet<u16>,
        with_ids: impl Fn((Seen, Option<u16>)) -> bool,
        rounds: usize,
    ) {
        for gone in self.up.clone().difference(up) {
            self.loses(rib, *gone);
        }
        for new in up.difference(&self.up) {
            rib.watch_peer(WATCHER, *new);
        }
        self.up.clone_from(up);
        for _ in 0..rounds {
            let batches = rib.next_batches(WATCHER, |peer| up.contains(&peer));
            if batches.is_empty() {
                return;
            }
            for batch in batches {
                let of = (batch.view, batch.peer);
                self.learn(of, with_ids(of), &batch.updates);
            }
        }
    }

    /// Learns that a session is over.
    fn loses(&mut self, rib: &mut Rib, peer: u16) {
        if self.up.remove(&peer) {
            rib.unwatch_peer(WATCHER, peer);
            self.known.retain(|(_, of), _| *of != Some(peer));
        }
    }

    fn learn(&mut self, of: (Seen, Option<u16>), with_ids: bool, mut rest: &[u8]) {
        let families: FamilySet = Family::UNICAST.into_iter().collect();
        let add_path_receive = if with_ids { families } else { FamilySet::EMPTY };
        let context = Negotiated { four_octet_as: true, families, add_path_receive, ..context(4) };
        let heard = self.known.entry(of).or_default();
        while let Some((raw, len)) = next_message(rest, 65_535).unwrap() {
            rest = &rest[len..];
            let Message::Update(update) = decode(raw, &context).unwrap() else { panic!() };
            assert!(update.repaired.is_empty(), "{:?}", update.repaired);
            if update.end_of_rib.is_some() {
                *self.ends.entry(of).or_default() += 1;
            }
            for (id, prefix) in update.withdrawn().flat_map(Nlri::prefixes) {
                heard.remove(&(prefix, id));
            }
            for announced in update.announced() {
                let attributes = AttributesRef::new(&announced.block);
                let path = path_asns(attributes.as_path.octets()).collect();
                for (id, prefix) in announced.nlri.prefixes() {
                    heard.insert((prefix, id), (Vec::clone(&path), attributes.med));
                }
            }
        }
        assert!(rest.is_empty());
    }
}

/// The same as the tables have it, but for what peers were told.
fn inside(rib: &mut Rib, prefixes: &[Prefix]) -> Known {
    let mut known = Known::new();
    for (view, seen) in [(View::Received, Seen::PrePolicy), (View::Available, Seen::PostPolicy)] {
        for prefix in prefixes {
            let (peer, prefix) = (None, Some(*prefix));
            let query = Query { view, peer, prefix, family: None, from: 0, limit: 100 };
            for route in rib.page(&query).routes {
                let attributes = route.attributes.to_block();
                let attributes = AttributesRef::new(&attributes);
                let path = path_asns(attributes.as_path.octets()).collect::<Vec<u32>>();
                let look = (path, attributes.med);
                if let Some(peer) = route.from {
                    let of = known.entry((seen, Some(peer))).or_default();
                    of.insert((route.prefix, route.path_id), look.clone());
                }
                if seen == Seen::PostPolicy && route.state == PathState::Best {
                    let of = known.entry((Seen::LocRib, None)).or_default();
                    of.insert((route.prefix, PathId(0)), look);
                }
            }
        }
    }
    known
}

fn there(lab: &mut Lab) -> Known {
    let mut known = inside(&mut lab.rib, &(0..12).map(prefix).collect::<Vec<_>>());
    for peer in 1..=PEERS {
        let heard = lab.heard[usize::from(peer)].iter();
        let heard = heard.map(|(prefix, look)| ((*prefix, PathId(0)), look.clone())).collect();
        known.insert((Seen::AdjRibOut, Some(u16::from(peer))), heard);
    }
    known.retain(|_, heard| !heard.is_empty());
    known
}

const PREFIXES: [&str; 4] =
    ["198.51.100.0/24", "2001:db8:1::/48", "203.0.113.0/24", "2001:db8:2::/48"];

/// What happens among peers of which some tell or hear of several paths.
#[derive(Clone, Debug)]
enum Turn {
    Say(PeerId, u32, usize, u8),
    Unsay(PeerId, u32, usize),
    /// The peer says everything again from here on, and what it has not said again by the end goes.
    Begin(PeerId),
    End(PeerId),
    Down(PeerId),
    Policy(PeerId, u8),
    Hear(PeerId),
    Work,
    Ask(usize),
}

fn turn() -> impl Strategy<Value = Turn> {
    let peer = || 1..=3_u16;
    let which = || (peer(), 0..3_u32, 0..PREFIXES.len());
    prop_oneof![
        10 => (which(), 1..4_u8).prop_map(|((peer, id, at), hops)| Turn::Say(peer, id, at, hops)),
        5 => which().prop_map(|(peer, id, at)| Turn::Unsay(peer, id, at)),
        2 => peer().prop_map(Turn::Begin),
        2 => peer().prop_map(Turn::End),
        1 => peer().prop_map(Turn::Down),
        1 => (peer(), 0..3_u8).prop_map(|(peer, policy)| Turn::Policy(peer, policy)),
        3 => peer().prop_map(Turn::Hear),
        3 => Just(Turn::Work),
        4 => (0..3_usize).prop_map(Turn::Ask),
    ]
}

/// One that speaks plainly, one that tells several paths, and one that hears of several as well.
struct Several {
    net: Net,
    watcher: Watcher,
}

impl Several {
    fn new() -> Self {
        let mut net = Net::new();
        net.peer(64_501, PLAIN);
        net.peer(64_502, Kind { tells: Some(2), ..PLAIN });
        net.peer(64_503, Kind { tells: Some(3), told: Some(2), ..PLAIN });
        net.rib.watch(WATCHER, VIEWS.into_iter().collect::<Views>());
        Self { net, watcher: Watcher::default() }
    }

    fn turn(&mut self, turn: &Turn) {
        let Self { net, watcher } = self;
        // What has no identifiers has one path.
        let id_of = |peer: PeerId, id: u32| if peer == 1 { 0 } else { id };
        match *turn {
            Turn::Say(peer, id, at, hops) => {
                let id = id_of(peer, id);
                net.say(peer, id, PREFIXES[at], &route(peer, id, hops, PREFIXES[at]));
            }
            Turn::Unsay(peer, id, at) => net.unsay(peer, id_of(peer, id), PREFIXES[at]),
            Turn::Begin(peer) => {
                for family in Family::UNICAST {
                    net.rib.begin_refresh(peer, family);
                }
            }
            Turn::End(peer) => {
                for family in Family::UNICAST {
                    net.rib.drop_stale(peer, family);
                }
            }
            Turn::Down(peer) => {
                // What a refresh has left over goes first, as peers have it done.
                for family in Family::UNICAST {
                    net.rib.drop_stale(peer, family);
                }
                net.rib.down(peer);
                watcher.loses(&mut net.rib, peer);
                net.up(peer);
            }
            Turn::Policy(peer, policy) => {
                let (import, export) = (chain(policy), chain(policy.max(1)));
                net.rib.set_policies(peer, Policies { import, export, ..Policies::default() });
            }
            Turn::Hear(peer) => drop(net.heard(peer)),
            Turn::Work => drop(net.rib.work()),
            Turn::Ask(rounds) => self.ask(rounds),
        }
    }

    fn ask(&mut self, rounds: usize) {
        let with_ids = |of| match of {
            (Seen::PrePolicy | Seen::PostPolicy, Some(peer)) => peer > 1,
            (Seen::AdjRibOut, Some(peer)) => peer == 3,
            (_, _) => false,
        };
        self.watcher.ask(&mut self.net.rib, &[1, 2, 3].into(), with_ids, rounds);
    }

    fn there(&mut self) -> Known {
        let told: Vec<_> = (1..=3).map(|peer| (peer, self.net.heard(peer))).collect();
        let mut known = inside(&mut self.net.rib, &PREFIXES.map(parse));
        for (peer, heard) in told {
            let look = |(of, attributes): (_, Attributes)| {
                let block = attributes.to_block();
                let attributes = AttributesRef::new(&block);
                let path = path_asns(attributes.as_path.octets()).collect();
                (of, (path, attributes.med))
            };
            let heard = heard.into_iter().map(look).collect();
            known.insert((Seen::AdjRibOut, Some(peer)), heard);
        }
        known.retain(|_, heard| !heard.is_empty());
        known
    }
}

#[test]
fn nothing_comes_together_for_views_that_a_watcher_does_not_have() {
    let mut net = Net::new();
    let peer = net.peer(64_501, Kind { tells: Some(2), told: Some(2), ..PLAIN });
    let cases = [("Loc-RIB", Seen::LocRib, false), ("before policy", Seen::PrePolicy, true)];
    for (id, (_, view, _)) in (1..).zip(&cases) {
        net.rib.watch(id, [*view].into_iter().collect::<Views>());
        net.rib.watch_peer(id, peer);
    }
    let prefix = "198.51.100.0/24";
    for _ in 0..70_000 {
        net.say(peer, 1, prefix, &route(peer, 1, 1, prefix));
        net.unsay(peer, 1, prefix);
    }
    for (id, (name, _, is_lost)) in (1..).zip(cases) {
        assert_eq!(net.rib.has_lost(id), is_lost, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_watcher_knows_what_is_there_however_seldom_it_asks(
        steps in prop::collection::vec((step(), prop::option::weighted(0.3, 0..3_usize)), 1..120),
        late in 0..60_usize,
    ) {
        let mut lab = Lab::new();
        let mut watcher = Watcher::default();
        for (at, (step, asks)) in steps.iter().enumerate() {
            if at == late.min(steps.len() - 1) {
                lab.rib.watch(WATCHER, VIEWS.into_iter().collect::<Views>());
            }
            lab.step(step);
            // A session that came and went between two questions is another one.
            if let Step::Down(peer) = step
                && at >= late.min(steps.len() - 1)
            {
                watcher.loses(&mut lab.rib, u16::from(*peer));
            }
            if let Some(rounds) = asks
                && at >= late.min(steps.len() - 1)
            {
                watcher.ask_lab(&mut lab, *rounds);
            }
        }
        lab.settle();
        watcher.ask_lab(&mut lab, usize::MAX);
        let mut known = watcher.known.clone();
        known.retain(|_, heard| !heard.is_empty());
        prop_assert_eq!(known, there(&mut lab));
        let of_loc_rib = watcher.ends.get(&(Seen::LocRib, None));
        prop_assert_eq!(of_loc_rib, Some(&2), "an End-of-RIB for each family");

        // Nothing is kept for a watcher that knows everything.
        for peer in 1..=PEERS {
            lab.step(&Step::Down(peer));
        }
        for number in 0..12 {
            lab.step(&Step::WithdrawOwn(number));
        }
        lab.settle();
        watcher.ask_lab(&mut lab, usize::MAX);
        prop_assert!(watcher.known.values().all(BTreeMap::is_empty));
        assert_eq!((lab.rib.v4.len(), lab.rib.v6.len(), lab.rib.sets_len()), (0, 0, 0));
    }

    #[test]
    fn a_watcher_knows_which_of_several_paths_are_there_through_every_refresh(
        turns in prop::collection::vec(turn(), 1..100),
    ) {
        let mut several = Several::new();
        for turn in &turns {
            several.turn(turn);
        }
        let expected = several.there();
        several.ask(usize::MAX);
        several.watcher.known.retain(|_, told| !told.is_empty());
        prop_assert_eq!(&several.watcher.known, &expected);
        for peer in 1..=3 {
            // One that has begun ends first: another beginning within it is none.
            for turn in [Turn::End(peer), Turn::Begin(peer), Turn::End(peer)] {
                several.turn(&turn);
            }
        }
        several.there();
        several.ask(usize::MAX);
        prop_assert!(several.watcher.known.values().all(BTreeMap::is_empty));
        let rib = &mut several.net.rib;
        while rib.work() {}
        assert_eq!((rib.v4.len(), rib.v6.len(), rib.sets_len()), (0, 0, 0));
    }
}
