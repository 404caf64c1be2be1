//! The routes of all peers in one table: what they announced (`AdjRibIn`, before and after
//! policy), what was chosen (`LocRib`), and what each was told (`AdjRibOut`).
//!
//! Attributes are interned (`sets`) and a path is a small record that names two sets: what came,
//! and what policy made of it. Those are the two views of `AdjRibIn`; a change of policy goes
//! through the records again. `LocRib` is the best path of each destination. `AdjRibOut` is one
//! bit per peer and destination: what a promise looked like follows from the best path and the
//! policy, and is encoded once per group of peers (`export`).
//!
//! Whatever concerns all that a session brought (its loss, a change of policy) is done in slices
//! by [`Rib::work`], so that nobody waits for it.
//!
//! Promise: the choice depends on what the peers announce, not on the order in which it came; and
//! memory is bounded per peer by [`PREFIXES_MAX`] and [`ATTRIBUTE_BYTES_MAX`].

pub(crate) mod attrs;
mod bitmap;
mod decision;
mod dump;
mod export;
pub(crate) mod flows;
pub(crate) mod hand_over;
mod hash;
mod index;
mod journal;
mod key;
mod origins;
mod otc;
mod peer;
mod post;
mod reach;
mod sets;
mod table;
mod update;
mod view;
mod watch;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::origin::{Cover, Origins};
use crate::policy::{Chain, Source};
use crate::rng::Rng;
use crate::speaker::{Local, RouteAttributes};
use crate::types::{Family, PathId, Prefix};
use crate::wire::{self, Attributes, NextHop};

pub(crate) use attrs::path_asns;
pub use decision::{DecisionRules, Filter};
pub use flows::{FLOWS_MAX, FlowState, FlowView};
pub use hand_over::{Damaged, Resumed, RibRecord};
pub use peer::{Counts, Policies, SessionTerms};
pub use post::Rejected;
pub use reach::NEXT_HOPS_MAX;
pub use sets::LOCAL_PREF_DEFAULT;
pub use update::{ATTRIBUTE_BYTES_MAX, PREFIXES_MAX, TooMuch};
pub use view::{Page, PathState, Query, RouteView, View};
pub use watch::WatcherId;

use decision::Standing;
use export::{Group, Sending};
use flows::Flows;
use hash::Hasher;
use key::Key;
use peer::RibPeer;
use post::Post;
use sets::Sets;
use table::{Around, Table};

/// Number of a peer in the RIB.
pub type PeerId = u16;

/// We, as the peer who brings the VIPs.
pub(crate) const OURSELVES: PeerId = 0;

/// Chunks of paths that one call of [`Rib::work`] goes through, at most: about a millisecond.
const CHUNKS_PER_SLICE: usize = 32;

/// Journal entries that one call of [`Rib::work`] lets go of, at most.
const ENTRIES_PER_SLICE: usize = 16_384;

/// The table of one family, with what both have in common left out.
macro_rules! of_family {
    ($rib:expr, $family:expr, $table:ident => $do:expr) => {
        match $family {
            Family::Ipv4Unicast => {
                let $table = &mut $rib.v4;
                $do
            }
            Family::Ipv6Unicast => {
                let $table = &mut $rib.v6;
                $do
            }
            Family::Ipv4Flowspec | Family::Ipv6Flowspec => Default::default(),
        }
    };
}
use of_family;

/// What a table asks of the rest of the RIB; the tables are left free to be borrowed.
macro_rules! around {
    ($rib:expr) => {
        $crate::rib::table::Around {
            sets: &mut $rib.sets,
            standings: &$rib.standings,
            rules: $rib.rules,
            hasher: $rib.hasher,
        }
    };
}
use around;

/// Work on the paths of a session that is left to be done.
#[derive(Debug)]
enum Task {
    /// They go.
    Drop { family: Family, chunks: Vec<u32> },
    /// They are judged by the present policy; `aged`: they have outlived the peer's restart time,
    /// and are marked so before.
    Judge { family: Family, peer: PeerId, chunks: Vec<u32>, aged: bool },
    /// Every destination is decided again, from this one on.
    Decide { family: Family, next: u32 },
    /// Destinations below changed VRPs are judged and told again, from this one on.
    Revalidate { family: Family, next: u32, changed: Vec<Arc<Cover>> },
    /// The place of a peer is free.
    Vacate(PeerId),
}

/// All routes.
#[derive(Debug)]
pub struct Rib {
    local: Local,
    origins: Origins,
    hasher: Hasher,
    rules: DecisionRules,
    sets: Sets,
    v4: Table<key::V4>,
    v6: Table<key::V6>,
    peers: Vec<RibPeer>,
    /// By peer, for the decision process.
    standings: Vec<Standing>,
    /// By peer, for policy.
    sources: Vec<Source>,
    groups: Vec<Group>,
    tasks: VecDeque<Task>,
    originated: BTreeMap<Prefix, RouteAttributes>,
    flows: Flows,
    /// No peer is told yet that it has been told everything.
    holds_ends: bool,
}

impl Rib {
    /// Empty. `rng` keys the hashes, so that no peer can aim at them.
    pub fn new(local: Local, rng: &mut Rng) -> Self {
        let hasher = Hasher::new(rng);
        let mut rib = Self {
            local,
            origins: Origins::unknown(local.asn),
            hasher,
            rules: DecisionRules::default(),
            sets: Sets::new(hasher),
            v4: Table::default(),
            v6: Table::default(),
            peers: Vec::new(),
            standings: Vec::new(),
            sources: Vec::new(),
            groups: Vec::new(),
            tasks: VecDeque::new(),
            originated: BTreeMap::new(),
            flows: Flows::default(),
            holds_ends: false,
        };
        rib.add_ourselves();
        rib
    }

    /// How paths are compared from now on.
    pub fn set_rules(&mut self, rules: DecisionRules) {
        if self.rules != rules {
            if self.rules.med_missing_is_worst != rules.med_missing_is_worst {
                let med = if rules.med_missing_is_worst { u32::MAX } else { 0 };
                self.sets.set_med_missing(med);
            }
            self.rules = rules;
            self.decide_all();
        }
    }

    /// What next hops cost, `None`: they cannot be reached and paths with them do not count
    /// (RFC 4271 §9.1.2.1). Next hops that have never been named count as near.
    pub fn set_next_hops(&mut self, metrics: &BTreeMap<IpAddr, Option<u32>>) {
        if self.sets.set_metrics(metrics) {
            self.decide_all();
        }
    }

    /// Next hops in use, of which it should be found out what they cost.
    pub fn next_hops(&self) -> BTreeSet<IpAddr> {
        self.sets.reach().all().collect()
    }

    /// Another number whenever [`Self::next_hops`] is something else.
    pub const fn next_hops_changes(&self) -> u64 {
        self.sets.reach().changes()
    }

    /// Begins from the start if it is being done already.
    fn decide_all(&mut self) {
        self.tasks.retain(|task| !matches!(task, Task::Decide { .. }));
        for family in Family::UNICAST {
            self.tasks.push_back(Task::Decide { family, next: 0 });
        }
    }

    /// A prefix is ours to announce, with these attributes; one that is so already changes.
    pub fn originate(&mut self, prefix: Prefix, route: &RouteAttributes) {
        self.originated.insert(prefix, route.clone());
        let block = self.own_block(prefix, route);
        let set = self.sets.intern(&block, OURSELVES);
        let mut around = around!(self);
        let post = Post::Accepted(set);
        announce_in(&mut self.v4, prefix, (set, post), &mut around);
        announce_in(&mut self.v6, prefix, (set, post), &mut around);
    }

    /// A prefix is no longer ours.
    pub fn withdraw_own(&mut self, prefix: Prefix) {
        self.originated.remove(&prefix);
        self.withdraw(OURSELVES, PathId(0), prefix);
    }

    /// What we originate.
    pub const fn originated(&self) -> &BTreeMap<Prefix, RouteAttributes> {
        &self.originated
    }

    /// Our AS stands in the path as often as it is to be prepended; what crosses the border of the
    /// AS gets it once more.
    fn own_block(&self, prefix: Prefix, route: &RouteAttributes) -> Vec<u8> {
        let path = vec![self.local.asn; route.prepend.into()];
        let as_path =
            if path.is_empty() { Vec::new() } else { vec![wire::AsSegment::Sequence(path)] };
        let next_hop = match prefix.family() {
            Family::Ipv6Unicast | Family::Ipv6Flowspec => {
                NextHop::V6 { global: core::net::Ipv6Addr::UNSPECIFIED, link_local: None }
            }
            Family::Ipv4Unicast | Family::Ipv4Flowspec => {
                NextHop::V4(core::net::Ipv4Addr::UNSPECIFIED)
            }
        };
        let attributes = Attributes {
            origin: wire::Origin::Igp,
            as_path,
            next_hop: Some(next_hop),
            med: route.med,
            local_pref: route.local_pref,
            communities: route.communities.clone(),
            large_communities: route.large_communities.clone(),
            ..Attributes::default()
        };
        attributes.to_block()
    }

    fn withdraw(&mut self, peer: PeerId, path_id: PathId, prefix: Prefix) {
        let mut around = around!(self);
        if let Some(key) = key::V4::of(prefix) {
            self.v4.withdraw(peer, (path_id, key), &mut around);
        }
        if let Some(key) = key::V6::of(prefix) {
            self.v6.withdraw(peer, (path_id, key), &mut around);
        }
    }

    /// Does a slice of what is left to be done; `false`: nothing is left.
    pub fn work(&mut self) -> bool {
        self.v4.tidy(self.hasher, ENTRIES_PER_SLICE);
        self.v6.tidy(self.hasher, ENTRIES_PER_SLICE);
        let Some(task) = self.tasks.pop_front() else { return false };
        let left = match task {
            Task::Drop { family, chunks } => self.drop_some(family, chunks),
            Task::Judge { family, peer, chunks, aged } => {
                self.judge_some((family, peer), chunks, aged)
            }
            Task::Decide { family, next } => self.decide_some(family, next),
            Task::Revalidate { family, next, changed } => {
                self.revalidate_some(family, next, changed)
            }
            Task::Vacate(peer) => {
                if let Some(peer) = self.peers.get_mut(usize::from(peer)) {
                    peer.vacant = true;
                }
                None
            }
        };
        if let Some(task) = left {
            self.tasks.push_front(task);
        }
        !self.tasks.is_empty()
    }

    /// Whether [`Self::work`] has something to do.
    pub fn has_work(&self) -> bool {
        !self.tasks.is_empty()
    }

    fn drop_some(&mut self, family: Family, mut chunks: Vec<u32>) -> Option<Task> {
        let mut around = around!(self);
        let slice = chunks.split_off(chunks.len().saturating_sub(CHUNKS_PER_SLICE));
        for chunk in slice.into_iter().rev() {
            of_family!(self, family, table => table.drop_chunk(chunk, &mut around));
        }
        (!chunks.is_empty()).then_some(Task::Drop { family, chunks })
    }

    fn judge_some(
        &mut self,
        (family, peer): (Family, PeerId),
        mut chunks: Vec<u32>,
        aged: bool,
    ) -> Option<Task> {
        let mut around = around!(self);
        let judge = self
            .peers
            .get(usize::from(peer))
            .map(|it| it.judge(peer, self.local, &self.origins))?;
        let slice = chunks.split_off(chunks.len().saturating_sub(CHUNKS_PER_SLICE));
        for chunk in slice {
            let judged = |prefix, set, sets: &mut Sets| judge.post(prefix, set, sets);
            of_family!(self, family, table => {
                if aged {
                    table.age_chunk((chunk, peer), &mut around, judged);
                } else {
                    table.judge_chunk(chunk, &mut around, judged);
                }
            });
        }
        (!chunks.is_empty()).then_some(Task::Judge { family, peer, chunks, aged })
    }

    fn decide_some(&mut self, family: Family, next: u32) -> Option<Task> {
        let around = around!(self);
        of_family!(self, family, table => {
            let limit = u32::try_from(CHUNKS_PER_SLICE).unwrap_or(1) * table::CHUNK;
            let end = table.dests_end().min(next.saturating_add(limit));
            (next..end).for_each(|id| table.decide_again(id, &around));
            (end < table.dests_end()).then_some(Task::Decide { family, next: end })
        })
    }

    /// What a peer is to be told next, as whole messages; `None`: it knows everything.
    pub fn transmit(&mut self, peer: PeerId) -> Option<Arc<Vec<u8>>> {
        loop {
            let session = self.peers.get_mut(usize::from(peer))?.session.as_mut()?;
            if let Some(first) = session.firsts.pop_front() {
                return Some(Arc::new(first));
            }
            let families = session.families.clone();
            let group = self.groups.get_mut(session.group)?;
            let mut found = None;
            for family in families {
                let sending = Sending {
                    family,
                    sets: &self.sets,
                    sources: &self.sources,
                    standings: &self.standings,
                    rules: self.rules,
                    origins: &self.origins,
                };
                let next: Option<_> =
                    of_family!(self, family, table => table.next_for(peer, group, &sending));
                if let Some((bytes, unsendable)) = next {
                    if let Some(error) = unsendable {
                        session.complain(family, error);
                    }
                    found = Some(bytes);
                    break;
                }
                if !self.holds_ends
                    && let Some(last) = session.finish(family)
                {
                    return Some(Arc::new(last));
                }
            }
            if found.as_ref().is_none_or(|bytes| !bytes.is_empty()) {
                return found;
            }
        }
    }

    /// Whether the last word of each family, that all has been told, is held back: after a restart
    /// there may be more to come (RFC 4724 §4.1).
    pub const fn hold_ends(&mut self, hold: bool) {
        self.holds_ends = hold;
    }

    /// Whether a peer has something left to be told.
    pub fn is_behind(&self, peer: PeerId) -> bool {
        let session = self.peers.get(usize::from(peer)).and_then(|peer| peer.session.as_ref());
        session.is_some_and(|session| {
            !session.firsts.is_empty()
                || (!session.finals.is_empty() && !self.holds_ends)
                || self.v4.is_behind(peer)
                || self.v6.is_behind(peer)
        })
    }

    /// Distinct sets of attributes in use.
    pub fn sets_len(&self) -> usize {
        self.sets.len()
    }

    /// Destinations of a family.
    pub fn len(&mut self, family: Family) -> usize {
        of_family!(self, family, table => table.len())
    }
}

fn announce_in<K: Key>(
    table: &mut Table<K>,
    prefix: Prefix,
    attributes: (sets::SetId, Post),
    around: &mut Around<'_>,
) {
    if let Some(key) = K::of(prefix) {
        let route = (PathId(0), key, key.hash(around.hasher));
        table.announce(OURSELVES, route, attributes, around);
    }
}

/// What is let in and out, per direction; `None`: no policy is configured.
pub(crate) type MaybeChain = Option<Arc<Chain>>;

#[cfg(test)]
mod tests;
