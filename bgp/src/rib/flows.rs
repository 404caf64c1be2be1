//! FlowSpec rules of all peers (RFC 8955, RFC 8956): kept to be looked at. Nothing acts on them, and
//! they are passed on to nobody.
//!
//! Whether a rule could be obeyed is asked when somebody looks (RFC 8955 §6, RFC 9117): it has a
//! destination, and who brought it brought the best route there too. That no other neighbour has
//! a more specific route is not checked.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::key::Key;
use super::sets::SetId;
use super::table::Table;
use super::{PeerId, Rib, TooMuch};
use crate::types::{Family, Prefix};
use crate::wire::{Attributes, FlowSpec, Nlri};

/// More rules than this end the session.
pub const FLOWS_MAX: usize = 10_000;

/// What tells two rules apart, and whose they are.
type FlowKey = (Family, Box<[u8]>, PeerId);

#[derive(Clone, Copy, Debug)]
struct Kept {
    set: SetId,
    /// Not said again since the peer began to say everything again.
    aged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Flows {
    rules: BTreeMap<FlowKey, Kept>,
    /// By peer.
    counts: BTreeMap<PeerId, usize>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// Its components, as `dst 192.0.2.0/24 proto =6`.
    pub rule: String,
    /// Who brought it.
    pub from: PeerId,
    /// Its attributes; what is to be done stands in the extended communities.
    pub attributes: Attributes,
    /// Whether it could be obeyed.
    pub state: FlowState,
}

/// Whether a rule could be obeyed (RFC 8955 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// Nothing speaks against it.
    Feasible,
    /// It names no destination.
    NoDestination,
    /// There is no route to its destination.
    NoRoute,
    /// The best route to its destination is another peer's.
    OfAnother,
}

impl FlowState {
    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Feasible => "feasible",
            Self::NoDestination => "it names no destination",
            Self::NoRoute => "no route to its destination",
            Self::OfAnother => "the route to its destination is another peer's",
        }
    }
}

impl Flows {
    /// All of them: family, octets, whose, set of attributes, and whether it has aged.
    pub(super) fn all(&self) -> impl Iterator<Item = (Family, &[u8], PeerId, SetId, bool)> {
        self.rules.iter().map(|((family, octets, peer), kept)| {
            (*family, octets.as_ref(), *peer, kept.set, kept.aged)
        })
    }

    /// Takes one in, with its set.
    pub(super) fn restore(
        &mut self,
        (family, octets, peer): (Family, &[u8], PeerId),
        (set, aged): (SetId, bool),
    ) {
        if self.rules.insert((family, octets.into(), peer), Kept { set, aged }).is_none() {
            *self.counts.entry(peer).or_default() += 1;
        }
    }
}

impl Rib {
    pub(super) fn announce_flows(
        &mut self,
        peer: PeerId,
        nlri: Nlri<'_>,
        set: SetId,
    ) -> Result<(), TooMuch> {
        for rule in nlri.flow_specs() {
            let key = (nlri.family(), rule.octets().into(), peer);
            let count = self.flows.counts.entry(peer).or_default();
            if *count >= FLOWS_MAX && !self.flows.rules.contains_key(&key) {
                return Err(TooMuch::Prefixes { family: nlri.family(), max: FLOWS_MAX });
            }
            self.sets.hold(set);
            match self.flows.rules.insert(key, Kept { set, aged: false }) {
                Some(old) => self.sets.release(old.set),
                None => *count += 1,
            }
        }
        Ok(())
    }

    pub(super) fn withdraw_flows(&mut self, peer: PeerId, nlri: Nlri<'_>) {
        for rule in nlri.flow_specs() {
            let key = (nlri.family(), rule.octets().into(), peer);
            if let Some(rule) = self.flows.rules.remove(&key) {
                self.sets.release(rule.set);
                if let Some(count) = self.flows.counts.get_mut(&peer) {
                    *count -= 1;
                }
            }
        }
    }

    /// Rules of a peer go, those of one family or all.
    pub(super) fn forget_flows(&mut self, peer: PeerId, family: Option<Family>) {
        self.drop_flows(peer, |of, _| family.is_none_or(|family| family == of));
    }

    /// The peer begins to say all rules of a family again.
    pub(super) fn age_flows(&mut self, peer: PeerId, family: Family) {
        for ((of, _, from), rule) in &mut self.flows.rules {
            rule.aged |= *from == peer && *of == family;
        }
    }

    /// It has said them: the others go.
    pub(super) fn drop_aged_flows(&mut self, peer: PeerId, family: Family) {
        self.drop_flows(peer, |of, aged| of == family && aged);
    }

    fn drop_flows(&mut self, peer: PeerId, goes: impl Fn(Family, bool) -> bool) {
        let Some(count) = self.flows.counts.get_mut(&peer).filter(|count| **count > 0) else {
            return;
        };
        let sets = &mut self.sets;
        self.flows.rules.retain(|(of, _, from), rule| {
            let goes = *from == peer && goes(*of, rule.aged);
            if goes {
                sets.release(rule.set);
                *count -= 1;
            }
            !goes
        });
    }

    /// Rules of a family, from number `from` on, and where the next page begins.
    pub(super) fn flows_of(
        &self,
        family: Family,
        peer: Option<PeerId>,
        (from, limit): (u64, usize),
    ) -> (Vec<FlowView>, Option<u64>) {
        let start = (family, Box::default(), PeerId::MIN);
        let rules = self.flows.rules.range((Bound::Included(start), Bound::Unbounded));
        let rules = rules.take_while(|((of, ..), _)| *of == family);
        let rules = rules.filter(|((_, _, from), _)| peer.is_none_or(|peer| peer == *from));
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        let mut rules = rules.skip(skip);
        let flows: Vec<FlowView> = rules
            .by_ref()
            .take(limit)
            .map(|((family, octets, from), kept)| {
                let rule = FlowSpec::new(*family, octets);
                FlowView {
                    rule: rule.to_string(),
                    from: *from,
                    attributes: Attributes::from_block(self.sets.bytes(kept.set)),
                    state: self.flow_state(rule, *from),
                }
            })
            .collect();
        let next = from.saturating_add(u64::try_from(flows.len()).unwrap_or(u64::MAX));
        let more = rules.next().is_some();
        (flows, more.then_some(next))
    }

    fn flow_state(&self, rule: FlowSpec<'_>, from: PeerId) -> FlowState {
        let Some(destination) = rule.destination() else { return FlowState::NoDestination };
        let best = match destination.family() {
            Family::Ipv4Unicast => self.best_towards(&self.v4, destination),
            _ => self.best_towards(&self.v6, destination),
        };
        match best {
            None => FlowState::NoRoute,
            Some(peer) if peer == from => FlowState::Feasible,
            Some(_) => FlowState::OfAnother,
        }
    }

    /// Who brought the best route to the longest prefix that covers this one.
    fn best_towards<K: Key>(&self, table: &Table<K>, destination: Prefix) -> Option<PeerId> {
        (0..=destination.bits()).rev().find_map(|bits| {
            let cover = K::of(Prefix::new(destination.addr(), bits)?)?;
            let (peer, _) = table.best(table.find(cover, self.hasher)?)?;
            Some(peer)
        })
    }
}
