//! Somebody who follows from outside, and asks now and then, against what is there.

use super::*;
use crate::bmp::{View as Seen, Views};

const WATCHER: WatcherId = 7;
const VIEWS: [Seen; 4] = [Seen::PrePolicy, Seen::PostPolicy, Seen::LocRib, Seen::AdjRibOut];

/// What the watcher knows: view and peer (none for Loc-RIB) to prefixes with AS path and MED.
type Known = BTreeMap<(Seen, Option<u16>), Heard>;

#[derive(Default)]
struct Watcher {
    up: [bool; PEERS as usize + 1],
    known: Known,
    ends: BTreeMap<(Seen, Option<u16>), usize>,
}

impl Watcher {
    /// Learns which sessions are up, then what changed; `rounds` times.
    fn ask(&mut self, lab: &mut Lab, rounds: usize) {
        for peer in 1..=PEERS {
            let (id, now) = (u16::from(peer), lab.up[usize::from(peer)]);
            if self.up[usize::from(peer)] && !now {
                lab.rib.unwatch_peer(WATCHER, id);
                self.known.retain(|(_, of), _| *of != Some(id));
            } else if !self.up[usize::from(peer)] && now {
                lab.rib.watch_peer(WATCHER, id);
            }
            self.up[usize::from(peer)] = now;
        }
        for _ in 0..rounds {
            let up = self.up;
            let batches = lab.rib.next_batches(WATCHER, |peer| up[usize::from(peer)]);
            if batches.is_empty() {
                return;
            }
            for batch in batches {
                self.learn((batch.view, batch.peer), &batch.updates);
            }
        }
    }

    fn learn(&mut self, of: (Seen, Option<u16>), mut rest: &[u8]) {
        let families = Family::UNICAST.into_iter().collect();
        let context = Negotiated { four_octet_as: true, families, ..context(4) };
        let heard = self.known.entry(of).or_default();
        while let Some((raw, len)) = next_message(rest, 65_535).unwrap() {
            rest = &rest[len..];
            let Message::Update(update) = decode(raw, &context).unwrap() else { panic!() };
            assert!(update.repaired.is_empty(), "{:?}", update.repaired);
            if update.end_of_rib.is_some() {
                *self.ends.entry(of).or_default() += 1;
            }
            for (_, prefix) in update.withdrawn().flat_map(Nlri::prefixes) {
                heard.remove(&prefix);
            }
            for announced in update.announced() {
                let attributes = AttributesRef::new(&announced.block);
                let path = path_asns(attributes.as_path.octets()).collect();
                for (_, prefix) in announced.nlri.prefixes() {
                    heard.insert(prefix, (Vec::clone(&path), attributes.med));
                }
            }
        }
        assert!(rest.is_empty());
    }
}

/// The same as the tables have it.
fn there(lab: &mut Lab) -> Known {
    let mut known = Known::new();
    for (view, seen) in [(View::Received, Seen::PrePolicy), (View::Available, Seen::PostPolicy)] {
        for number in 0..12 {
            let (peer, prefix) = (None, Some(prefix(number)));
            let query = Query { view, peer, prefix, family: None, from: 0, limit: 100 };
            for route in lab.rib.page(&query).routes {
                let attributes = route.attributes.to_block();
                let attributes = AttributesRef::new(&attributes);
                let path = path_asns(attributes.as_path.octets()).collect::<Vec<u32>>();
                let look = (path, attributes.med);
                if let Some(peer) = route.from {
                    let of = known.entry((seen, Some(peer))).or_default();
                    of.insert(route.prefix, look.clone());
                }
                if seen == Seen::PostPolicy && route.state == PathState::Best {
                    known.entry((Seen::LocRib, None)).or_default().insert(route.prefix, look);
                }
            }
        }
    }
    for peer in 1..=PEERS {
        let heard = lab.heard[usize::from(peer)].clone();
        known.insert((Seen::AdjRibOut, Some(u16::from(peer))), heard);
    }
    known.retain(|_, heard| !heard.is_empty());
    known
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
                && core::mem::take(&mut watcher.up[usize::from(*peer)])
            {
                lab.rib.unwatch_peer(WATCHER, u16::from(*peer));
                watcher.known.retain(|(_, of), _| *of != Some(u16::from(*peer)));
            }
            if let Some(rounds) = asks
                && at >= late.min(steps.len() - 1)
            {
                watcher.ask(&mut lab, *rounds);
            }
        }
        lab.settle();
        watcher.ask(&mut lab, usize::MAX);
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
        watcher.ask(&mut lab, usize::MAX);
        prop_assert!(watcher.known.values().all(BTreeMap::is_empty));
        assert_eq!((lab.rib.v4.len(), lab.rib.v6.len(), lab.rib.sets_len()), (0, 0, 0));
    }
}
