//! The table against a model that keeps everything in maps and compares everything with
//! everything, and what peers hear against what the model says they should.

mod stale;

use core::net::IpAddr;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::policy::{Condition, Policy, PrefixSet, Term, Then};
use crate::rng::Rng;
use crate::speaker::{NextHops, PathLimits};
use crate::types::{Asn, Community, RouterId};
use crate::wire::{
    Announcer, AsSegment, AttributesRef, Message, Negotiated, Nlri, Origin, decode,
    encode_announce, encode_withdraw, next_message, pack_withdrawals,
};

const PEERS: u8 = 4;
const OUR_AS: u32 = 65_000;

/// What a test route looks like; small numbers, so that ties are common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    neighbor: u32,
    hops: u8,
    med: Option<u32>,
    local_pref: Option<u32>,
    origin: u8,
    no_export: bool,
    looped: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Announce(u8, Vec<u8>, Look),
    Withdraw(u8, Vec<u8>),
    Originate(u8, u32),
    WithdrawOwn(u8),
    Up(u8),
    Down(u8),
    Policy(u8, u8),
    Refresh(u8),
    NextHops(u32),
    Work,
    Transmit(u8),
}

fn look() -> impl Strategy<Value = Look> {
    let med = prop_oneof![Just(None), (0..3_u32).prop_map(Some)];
    let local_pref = prop_oneof![3 => Just(None), 1 => (99..102_u32).prop_map(Some)];
    let rare = || prop::bool::weighted(0.1);
    (0..3_u32, 1..4_u8, med, local_pref, 0..2_u8, rare(), rare()).prop_map(
        |(neighbor, hops, med, local_pref, origin, no_export, looped)| {
            let neighbor = 64_500 + neighbor;
            Look { neighbor, hops, med, local_pref, origin, no_export, looped }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 1..=PEERS;
    let prefixes = || prop::collection::vec(0..12_u8, 1..5);
    prop_oneof![
        12 => (peer(), prefixes(), look()).prop_map(|(p, x, l)| Step::Announce(p, x, l)),
        6 => (peer(), prefixes()).prop_map(|(p, x)| Step::Withdraw(p, x)),
        2 => (0..12_u8, 0..3_u32).prop_map(|(x, med)| Step::Originate(x, med)),
        2 => (0..12_u8).prop_map(Step::WithdrawOwn),
        3 => peer().prop_map(Step::Up),
        2 => peer().prop_map(Step::Down),
        2 => (peer(), 0..3_u8).prop_map(|(p, policy)| Step::Policy(p, policy)),
        1 => peer().prop_map(Step::Refresh),
        2 => (0..3_u32).prop_map(Step::NextHops),
        6 => Just(Step::Work),
        8 => peer().prop_map(Step::Transmit),
    ]
}

/// Every third one is IPv6.
fn prefix(number: u8) -> Prefix {
    let text =
        if number % 3 == 2 { format!("2001:db8:{number}::") } else { format!("198.51.{number}.0") };
    let addr: IpAddr = text.parse().unwrap();
    Prefix::new(addr, if addr.is_ipv4() { 24 } else { 48 }).unwrap()
}

fn external(peer: u8) -> bool {
    peer <= 3
}

fn address(peer: u8) -> IpAddr {
    // Not in the order of the identifiers.
    IpAddr::from([10, 0, 1, 100 - peer])
}

fn router_id(peer: u8) -> RouterId {
    RouterId::new([10, 0, 0, 1 + peer / 2].into()).unwrap()
}

fn context(peer: u8) -> Negotiated {
    let families = Family::UNICAST.into_iter().collect();
    let external = external(peer);
    Negotiated { external, four_octet_as: true, families, ..Negotiated::NOTHING }
}

fn local() -> Local {
    let router_id = RouterId::new([10, 0, 0, 200].into()).unwrap();
    Local { asn: Asn::new(OUR_AS).unwrap(), router_id }
}

const OURS: NextHops = NextHops {
    v4: Some(core::net::Ipv4Addr::new(10, 0, 0, 200)),
    v6: Some(core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xc8)),
};

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

fn attributes(peer: u8, look: &Look, family: Family) -> Attributes {
    let mut path = vec![asn(look.neighbor)];
    path.extend((1..look.hops).map(|_| asn(64_999)));
    if look.looped {
        path.push(asn(OUR_AS));
    }
    let next_hop = match family {
        Family::Ipv6Unicast => {
            NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: None }
        }
        _ => NextHop::V4([10, 0, 1, 1].into()),
    };
    Attributes {
        origin: if look.origin == 0 { Origin::Igp } else { Origin::Incomplete },
        as_path: vec![AsSegment::Sequence(path)],
        next_hop: Some(next_hop),
        med: look.med,
        local_pref: look.local_pref.filter(|_| !external(peer)),
        communities: if look.no_export { vec![Community(0xffff_ff01)] } else { vec![] },
        ..Attributes::default()
    }
}

/// 0: nothing configured; 1: everything passes; 2: only even prefixes of IPv4, with MED 7.
fn chain(number: u8) -> MaybeChain {
    let policy = match number {
        0 => return None,
        1 => Policy { name: "all".into(), terms: vec![], default: Then::Accept },
        _ => {
            let ranges = (0..12)
                .filter(|it| it % 2 == 0 && it % 3 != 2)
                .map(|number| format!("{} le 32", prefix(number)).parse().unwrap());
            let set = Arc::new(PrefixSet::new("even", ranges.collect()));
            let edits = crate::policy::Edits { med: Some(Some(7)), ..Default::default() };
            let term = Term {
                name: "even".into(),
                conditions: vec![Condition::Prefix(set)],
                edits,
                then: Then::Accept,
            };
            Policy { name: "some".into(), terms: vec![term], default: Then::Reject }
        }
    };
    Some(Arc::new(Chain { policies: vec![Arc::new(policy)] }))
}

/// What a policy does to a route: whether it passes, and the MED it has then.
#[expect(clippy::option_option, reason = "whether it passes, and with which MED if with any")]
fn passes(policy: u8, number: u8, vip: bool, med: Option<u32>) -> Option<Option<u32>> {
    match policy {
        1 => Some(med),
        2 if number.is_multiple_of(2) && number % 3 != 2 => Some(Some(7)),
        _ => vip.then_some(med),
    }
}

/// What a peer has heard of a prefix: path and MED.
type Heard = BTreeMap<Prefix, (Vec<u32>, Option<u32>)>;

struct Lab {
    rib: Rib,
    up: [bool; PEERS as usize + 1],
    policy: [u8; PEERS as usize + 1],
    announced: BTreeMap<(u8, u8), Look>,
    own: BTreeMap<u8, u32>,
    heard: Vec<Heard>,
}

/// A route in the model.
#[derive(Clone, Debug)]
struct Known {
    peer: u8,
    look: Look,
    med: Option<u32>,
}

impl Lab {
    fn new() -> Self {
        let mut rib = Rib::new(local(), &mut Rng::new(1));
        for peer in 1..=PEERS {
            let id = rib.add_peer(address(peer), external(peer), Policies::default());
            assert_eq!(id, u16::from(peer));
        }
        let heard = vec![Heard::new(); usize::from(PEERS) + 1];
        let (up, policy) = Default::default();
        Self { rib, up, policy, announced: BTreeMap::new(), own: BTreeMap::new(), heard }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Announce(peer, numbers, look) if self.up[usize::from(*peer)] => {
                for family in Family::UNICAST {
                    let prefixes: Vec<Prefix> = numbers.iter().map(|it| prefix(*it)).collect();
                    let attributes = attributes(*peer, look, family);
                    let sent = encode_announce(family, &attributes, &prefixes, &context(*peer));
                    self.receive(*peer, sent.unwrap());
                }
                for number in numbers {
                    self.announced.insert((*peer, *number), look.clone());
                }
            }
            Step::Withdraw(peer, numbers) if self.up[usize::from(*peer)] => {
                for family in Family::UNICAST {
                    let prefixes: Vec<Prefix> = numbers.iter().map(|it| prefix(*it)).collect();
                    self.receive(*peer, encode_withdraw(family, &prefixes, &context(*peer)));
                }
                for number in numbers {
                    self.announced.remove(&(*peer, *number));
                }
            }
            Step::Originate(number, med) => {
                let route = RouteAttributes { med: Some(*med), ..RouteAttributes::default() };
                self.rib.originate(prefix(*number), &route);
                self.own.insert(*number, *med);
            }
            Step::WithdrawOwn(number) => {
                self.rib.withdraw_own(prefix(*number));
                self.own.remove(number);
            }
            Step::Up(peer) if !self.up[usize::from(*peer)] => {
                let terms = SessionTerms {
                    router_id: router_id(*peer),
                    context: context(*peer),
                    next_hops: OURS,
                    local_as: asn(OUR_AS),
                    remote_as: asn(64_500),
                    paths: PathLimits::default(),
                };
                self.rib.up(u16::from(*peer), terms);
                self.up[usize::from(*peer)] = true;
            }
            Step::Down(peer) => {
                self.rib.down(u16::from(*peer));
                self.up[usize::from(*peer)] = false;
                self.announced.retain(|(of, _), _| of != peer);
                self.heard[usize::from(*peer)].clear();
            }
            Step::Policy(peer, policy) => {
                let policies = Policies {
                    import: chain(*policy),
                    export: chain(*policy),
                    ..Policies::default()
                };
                self.rib.set_policies(u16::from(*peer), policies);
                self.policy[usize::from(*peer)] = *policy;
            }
            Step::Refresh(peer) => {
                for family in Family::UNICAST {
                    self.rib.refresh(u16::from(*peer), family);
                }
            }
            Step::NextHops(metric) => {
                // Equally far for all: everything is decided again, and comes out the same.
                let metrics = self.rib.next_hops().into_iter().map(|it| (it, Some(*metric)));
                self.rib.set_next_hops(&metrics.collect());
            }
            Step::Work => drop(self.rib.work()),
            Step::Transmit(peer) => self.transmit(*peer),
            Step::Announce(..) | Step::Withdraw(..) | Step::Up(_) => {}
        }
    }

    fn receive(&mut self, peer: u8, messages: Vec<Vec<u8>>) {
        for message in messages {
            let (raw, _) = next_message(&message, 4096).unwrap().unwrap();
            let context = context(peer);
            let Message::Update(update) = decode(raw, &context).unwrap() else { panic!() };
            self.rib.update(u16::from(peer), &update).unwrap();
        }
    }

    /// One segment, if there is one.
    fn transmit(&mut self, peer: u8) {
        let Some(bytes) = self.rib.transmit(u16::from(peer)) else { return };
        let heard = &mut self.heard[usize::from(peer)];
        let mut rest = bytes.as_slice();
        while let Some((raw, len)) = next_message(rest, 4096).unwrap() {
            rest = &rest[len..];
            let context = context(peer);
            let Message::Update(update) = decode(raw, &context).unwrap() else { continue };
            assert!(update.repaired.is_empty());
            for (_, prefix) in update.withdrawn().flat_map(Nlri::prefixes) {
                assert!(heard.remove(&prefix).is_some(), "{prefix} was never promised to {peer}");
            }
            for announced in update.announced() {
                let attributes = AttributesRef::new(&announced.block);
                let path: Vec<u32> = path_asns(attributes.as_path.octets()).collect();
                for (_, prefix) in announced.nlri.prefixes() {
                    heard.insert(prefix, (path.clone(), attributes.med));
                }
            }
        }
        assert!(rest.is_empty(), "messages are sent whole");
    }

    fn settle(&mut self) {
        while self.rib.work() {}
        for peer in 1..=PEERS {
            while self.rib.is_behind(u16::from(peer)) {
                self.transmit(peer);
            }
        }
        while self.rib.work() {}
    }

    /// The best route by the book.
    fn best(&self, number: u8) -> Option<Known> {
        let mut left: Vec<Known> = Vec::new();
        for ((peer, _), look) in self.announced.iter().filter(|((_, of), _)| *of == number) {
            let policy = self.policy[usize::from(*peer)];
            let open = policy != 0 || !external(*peer);
            let policy = if policy == 0 { 1 } else { policy };
            if let Some(med) = passes(policy, number, false, look.med)
                && open
                && !look.looped
            {
                left.push(Known { peer: *peer, look: look.clone(), med });
            }
        }
        let pref =
            |known: &Known| known.look.local_pref.filter(|_| !external(known.peer)).unwrap_or(100);
        keep(&mut left, |known| u32::MAX - pref(known));
        keep(&mut left, |known| u32::from(known.look.hops));
        keep(&mut left, |known| u32::from(known.look.origin));
        let all = left.clone();
        left.retain(|one| {
            !all.iter().any(|other| {
                other.look.neighbor == one.look.neighbor
                    && other.med.unwrap_or(0) < one.med.unwrap_or(0)
            })
        });
        keep(&mut left, |known| u32::from(!external(known.peer)));
        keep(&mut left, |known| router_id(known.peer).get());
        left.into_iter().min_by_key(|known| address(known.peer))
    }

    fn expected(&self, to: u8) -> Heard {
        let mut heard = Heard::new();
        if !self.up[usize::from(to)] {
            return heard;
        }
        for number in 0..12 {
            let policy = self.policy[usize::from(to)];
            let inside = u8::from(policy == 0 && !external(to));
            if let Some(med) = self.own.get(&number) {
                let med = passes(policy.max(inside), number, true, Some(*med)).unwrap();
                let path = if external(to) { vec![OUR_AS] } else { vec![] };
                heard.insert(prefix(number), (path, med));
                continue;
            }
            let Some(best) = self.best(number) else { continue };
            let stays = best.peer == to
                || !external(best.peer) && !external(to)
                || best.look.no_export && external(to);
            let Some(med) = passes(policy.max(inside), number, false, best.med) else { continue };
            if stays {
                continue;
            }
            let mut path: Vec<u32> = if external(to) { vec![OUR_AS] } else { vec![] };
            path.push(best.look.neighbor);
            path.extend((1..best.look.hops).map(|_| 64_999));
            let med = if external(to) && policy != 2 { None } else { med };
            heard.insert(prefix(number), (path, med));
        }
        heard
    }

    fn check(&mut self) {
        self.settle();
        for peer in 1..=PEERS {
            assert_eq!(self.heard[usize::from(peer)], self.expected(peer), "peer {peer}");
            let counts = self.rib.counts(u16::from(peer));
            let announced = self.announced.keys().filter(|(of, _)| *of == peer).count();
            assert_eq!(counts.received, announced, "peer {peer}");
            assert_eq!(counts.advertised, self.heard[usize::from(peer)].len(), "peer {peer}");
        }
    }
}

fn keep(left: &mut Vec<Known>, key: impl Fn(&Known) -> u32) {
    let least = left.iter().map(&key).min();
    left.retain(|known| Some(key(known)) == least);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn peers_hear_what_the_model_says_however_things_come(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut lab = Lab::new();
        for (at, step) in steps.iter().enumerate() {
            lab.step(step);
            if at % 50 == 49 {
                lab.check();
            }
        }
        lab.check();
        // Without routes nothing is left of the table, nor of the attributes.
        for peer in 1..=PEERS {
            lab.step(&Step::Down(peer));
        }
        for number in 0..12 {
            lab.step(&Step::WithdrawOwn(number));
        }
        lab.settle();
        assert_eq!((lab.rib.v4.len(), lab.rib.v6.len(), lab.rib.sets_len()), (0, 0, 0));
    }

    #[test]
    fn the_choice_does_not_depend_on_the_order_of_arrival(
        looks in prop::collection::vec(look(), PEERS as usize),
        order in Just((1..=PEERS).collect::<Vec<u8>>()).prop_shuffle(),
    ) {
        let mut heard = Vec::new();
        for order in [(1..=PEERS).collect(), order] {
            let mut lab = Lab::new();
            for peer in 1..=PEERS {
                lab.step(&Step::Policy(peer, 1));
                lab.step(&Step::Up(peer));
            }
            for peer in order {
                let look = looks[usize::from(peer) - 1].clone();
                lab.step(&Step::Announce(peer, vec![0], look));
            }
            lab.check();
            heard.push(lab.heard);
        }
        assert_eq!(heard[0], heard[1]);
    }
}

mod chaos;
mod flows;
mod inside;
mod multipath;
mod net;
mod origins;
mod reach;
mod refresh;
mod roles;
mod several;
mod watch;
