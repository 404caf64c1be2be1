//! Everything that can happen to the table, in any order: what holds of it holds after each step,
//! peers know what the table says they were told, and in the end nothing is left.

use std::collections::BTreeSet;

use super::net::{Kind, Net, PLAIN, parse};
use super::several::route;
use super::*;
use crate::bmp::{View as Seen, Views, WallTime};
use crate::types::FamilySet;

const PREFIXES: [&str; 6] = [
    "198.51.100.0/24",
    "2001:db8:1::/48",
    "203.0.113.0/24",
    "2001:db8:2::/48",
    "198.51.100.0/25",
    "0.0.0.0/0",
];
const WATCHER: WatcherId = 3;

#[derive(Clone, Debug)]
enum Act {
    Say(PeerId, u32, usize, u8),
    Unsay(PeerId, u32, usize),
    Up(PeerId),
    Down(PeerId),
    DownKeeping(PeerId, FamilySet),
    DropStale(PeerId, Family),
    AgeStale(PeerId, Family),
    BeginRefresh(PeerId, Family),
    ForgetFamily(PeerId, Family),
    Refresh(PeerId, Family),
    Policy(PeerId, u8, bool, bool),
    Remove(PeerId),
    NextHops(Option<u32>, Option<u32>),
    Rules(bool, u8),
    Originate(usize, u32),
    WithdrawOwn(usize),
    Watch(bool),
    Follow(PeerId, bool),
    Ask,
    Dump(u32),
    Work,
    HearSome(PeerId),
    HandOver,
}

fn act() -> impl Strategy<Value = Act> {
    let peer = || 1..=4_u16;
    let family = || prop::sample::select(Family::UNICAST.to_vec());
    let at = || 0..PREFIXES.len();
    let metric = || prop::option::of(0..3_u32);
    let kept = prop::collection::vec(family(), 1..3).prop_map(|it| it.into_iter().collect());
    let often = prop_oneof![
        8 => (peer(), 0..3_u32, at(), 1..4_u8).prop_map(|(p, i, x, h)| Act::Say(p, i, x, h)),
        5 => (peer(), 0..3_u32, at()).prop_map(|(p, i, x)| Act::Unsay(p, i, x)),
        3 => Just(Act::Work),
        2 => peer().prop_map(Act::HearSome),
        1 => Just(Act::Ask),
        1 => Just(Act::HandOver),
    ];
    let session = prop_oneof![
        peer().prop_map(Act::Up),
        peer().prop_map(Act::Down),
        (peer(), kept).prop_map(|(p, kept)| Act::DownKeeping(p, kept)),
        (peer(), family()).prop_map(|(p, f)| Act::DropStale(p, f)),
        (peer(), family()).prop_map(|(p, f)| Act::AgeStale(p, f)),
        (peer(), family()).prop_map(|(p, f)| Act::BeginRefresh(p, f)),
        (peer(), family()).prop_map(|(p, f)| Act::ForgetFamily(p, f)),
        (peer(), family()).prop_map(|(p, f)| Act::Refresh(p, f)),
        peer().prop_map(Act::Remove),
    ];
    let around = prop_oneof![
        (peer(), 0..3_u8, any::<bool>(), any::<bool>())
            .prop_map(|(p, x, shuts, heeds)| Act::Policy(p, x, shuts, heeds)),
        (metric(), metric()).prop_map(|(one, other)| Act::NextHops(one, other)),
        (any::<bool>(), 1..4_u8).prop_map(|(med, count)| Act::Rules(med, count)),
        (at(), 0..3_u32).prop_map(|(x, med)| Act::Originate(x, med)),
        at().prop_map(Act::WithdrawOwn),
        any::<bool>().prop_map(Act::Watch),
        (peer(), any::<bool>()).prop_map(|(p, on)| Act::Follow(p, on)),
        (0..9_u32).prop_map(Act::Dump),
    ];
    prop_oneof![4 => often, 2 => session, 1 => around]
}

struct Chaos {
    net: Net,
    up: BTreeSet<PeerId>,
}

impl Chaos {
    fn new() -> Self {
        let mut net = Net::new();
        let several = Kind { tells: Some(2), told: Some(2), ..PLAIN };
        for (number, kind) in
            [(64_501, PLAIN), (64_502, several), (OUR_AS, PLAIN), (64_504, several)]
        {
            net.peer(number, kind);
        }
        Self { net, up: (1..=4).collect() }
    }

    /// What has no identifiers has one path.
    fn id_of(peer: PeerId, id: u32) -> u32 {
        if peer.is_multiple_of(2) { id } else { 0 }
    }

    fn act(&mut self, act: &Act) {
        let Self { net, up } = self;
        match *act {
            Act::Say(peer, id, at, hops) if up.contains(&peer) => {
                let id = Self::id_of(peer, id);
                net.say(peer, id, PREFIXES[at], &route(peer, id, hops, PREFIXES[at]));
            }
            Act::Unsay(peer, id, at) if up.contains(&peer) => {
                net.unsay(peer, Self::id_of(peer, id), PREFIXES[at]);
            }
            Act::HearSome(peer) if up.contains(&peer) => drop(net.hear_one(peer)),
            Act::Up(peer) => {
                net.up(peer);
                up.insert(peer);
            }
            Act::Down(peer) => {
                net.rib.down(peer);
                up.remove(&peer);
            }
            Act::DownKeeping(peer, kept) => {
                net.rib.down_keeping(peer, &kept.iter().collect::<Vec<_>>());
                up.remove(&peer);
            }
            Act::Remove(peer) => {
                net.rib.remove_peer(peer);
                up.remove(&peer);
                while net.rib.work() {}
                let kind = if peer.is_multiple_of(2) {
                    Kind { tells: Some(2), told: Some(2), ..PLAIN }
                } else {
                    PLAIN
                };
                // It takes the place that is free now.
                assert_eq!(net.peer(64_500 + u32::from(peer), kind), peer);
                up.insert(peer);
            }
            Act::DropStale(peer, family) => net.rib.drop_stale(peer, family),
            Act::AgeStale(peer, family) => net.rib.age_stale(peer, family),
            Act::BeginRefresh(peer, family) if up.contains(&peer) => {
                net.rib.begin_refresh(peer, family);
            }
            Act::ForgetFamily(peer, family) if up.contains(&peer) => {
                net.rib.forget_family(peer, family);
            }
            Act::Refresh(peer, family) => net.rib.refresh(peer, family),
            // Without a session there is nothing to say.
            Act::Say(..)
            | Act::Unsay(..)
            | Act::HearSome(_)
            | Act::BeginRefresh(..)
            | Act::ForgetFamily(..) => {}
            _ => self.around(act),
        }
    }

    fn around(&mut self, act: &Act) {
        let Self { net, up } = self;
        match *act {
            Act::Policy(peer, policy, shuts_down, heeds_shutdown) => {
                let (import, export) = (chain(policy), chain(policy.max(1)));
                let policies = Policies { import, export, shuts_down, heeds_shutdown };
                net.rib.set_policies(peer, policies);
            }
            Act::NextHops(one, other) => {
                let hops = net.rib.next_hops().into_iter();
                let metric = |hop: IpAddr| (hop, if hop.is_ipv4() { one } else { other });
                let metrics = hops.map(metric).collect();
                net.rib.set_next_hops(&metrics);
            }
            Act::Rules(always_compare_med, multipath_external) => {
                net.rib.set_rules(DecisionRules {
                    always_compare_med,
                    multipath_external,
                    ..DecisionRules::default()
                });
            }
            Act::Originate(at, med) => {
                let route = RouteAttributes { med: Some(med), ..RouteAttributes::default() };
                net.rib.originate(parse(PREFIXES[at]), &route);
            }
            Act::WithdrawOwn(at) => net.rib.withdraw_own(parse(PREFIXES[at])),
            Act::Watch(true) => {
                let views = [Seen::PrePolicy, Seen::PostPolicy, Seen::LocRib, Seen::AdjRibOut];
                net.rib.watch(WATCHER, views.into_iter().collect::<Views>());
            }
            Act::Watch(false) => net.rib.unwatch(WATCHER),
            Act::Follow(peer, true) => net.rib.watch_peer(WATCHER, peer),
            Act::Follow(peer, false) => net.rib.unwatch_peer(WATCHER, peer),
            Act::Ask => drop(net.rib.next_batches(WATCHER, |peer| up.contains(&peer))),
            Act::Dump(from) => {
                let originated = vec![Some(7); net.rib.places()];
                net.rib.dump(from.into(), WallTime::default(), &originated, &mut Vec::new());
            }
            Act::Work => drop(net.rib.work()),
            Act::HandOver => net.hand_over(),
            _ => unreachable!("{act:?}"),
        }
    }

    fn check(&self) {
        self.net.rib.v4.check(self.net.rib.hasher);
        self.net.rib.v6.check(self.net.rib.hasher);
    }

    /// What a peer was told, as the table has it.
    fn told(&mut self, peer: PeerId) -> BTreeSet<(Prefix, PathId)> {
        let query = Query {
            view: View::Advertised,
            family: None,
            peer: Some(peer),
            prefix: None,
            from: 0,
            limit: 1000,
        };
        let mut told = BTreeSet::new();
        let mut from = Some(0);
        while let Some(at) = from {
            let page = self.net.rib.page(&Query { from: at, ..query });
            told.extend(page.routes.iter().map(|route| (route.prefix, route.path_id)));
            from = page.next;
        }
        told
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_happens_the_table_holds_together_and_nothing_is_left_of_it_in_the_end(
        acts in prop::collection::vec(act(), 1..160),
    ) {
        let mut chaos = Chaos::new();
        for act in &acts {
            chaos.act(act);
            chaos.check();
        }
        for peer in chaos.up.clone() {
            let heard: BTreeSet<_> = chaos.net.heard(peer).into_keys().collect();
            prop_assert_eq!(heard, chaos.told(peer), "peer {}", peer);
        }
        chaos.check();
        for peer in 1..=4 {
            chaos.net.rib.down(peer);
            for family in Family::UNICAST {
                chaos.net.rib.drop_stale(peer, family);
            }
        }
        for at in 0..PREFIXES.len() {
            chaos.act(&Act::WithdrawOwn(at));
        }
        chaos.act(&Act::Watch(false));
        while chaos.net.rib.work() {}
        while chaos.net.rib.work() {}
        chaos.check();
        let rib = &chaos.net.rib;
        prop_assert_eq!((rib.v4.len(), rib.v6.len(), rib.sets_len()), (0, 0, 0));
    }
}
