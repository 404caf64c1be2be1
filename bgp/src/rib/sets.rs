//! Sets of path attributes, each kept once however many paths have it.
//!
//! A set is its bytes: an attribute block as [`wire`](crate::wire) makes it. What the decision
//! process asks of it is read once, when the set is new.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use super::PeerId;
use super::attrs::{attributes, find, path_segments};
use super::hash::Hasher;
use super::index::Index;
use super::reach::Reach;
use crate::types::Community;
use crate::wire::code;

/// LOCAL_PREF of a route that has none (RFC 4271 §9.1.1 leaves it to us; everybody uses 100).
pub const LOCAL_PREF_DEFAULT: u32 = 100;

/// A metric of a next hop that cannot be reached.
pub(super) const UNREACHABLE: u32 = u32::MAX;

/// The number of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetId(pub(super) u32);

/// What the decision process looks at, as far as it does not depend on the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rank {
    /// LOCAL_PREF, path length and ORIGIN in one number, lower is better: RFC 4271 §9.1.1 and
    /// §9.1.2.2 (a), (b).
    pub(super) key: u64,
    pub(super) med: u32,
    /// The AS that MED values are compared within: first of the path, zero for an empty one.
    pub(super) neighbor_as: u32,
    /// Cost of the next hop.
    pub(super) metric: u32,
    /// ORIGINATOR_ID, zero without one.
    pub(super) originator: u32,
    pub(super) clusters: u16,
    /// It has outlived its session for long (LLGR_STALE, RFC 9494 §4.3).
    pub(super) stale: bool,
}

impl Rank {
    pub(super) const fn local_pref(&self) -> u32 {
        let [a, b, c, d, ..] = self.key.to_be_bytes();
        u32::MAX - u32::from_be_bytes([a, b, c, d])
    }

    pub(super) const fn path_len(&self) -> u32 {
        let [.., a, b, c, _] = self.key.to_be_bytes();
        u32::from_be_bytes([0, a, b, c])
    }

    pub(super) const fn origin(&self) -> u8 {
        let [.., origin] = self.key.to_be_bytes();
        origin
    }
}

#[derive(Debug)]
struct AttrSet {
    bytes: Box<[u8]>,
    rank: Rank,
    refs: u32,
    /// Who brought it, and answers for its memory.
    owner: PeerId,
    /// Its next hop is.
    followed: bool,
}

/// All sets in use.
#[derive(Debug)]
pub(super) struct Sets {
    all: Vec<AttrSet>,
    free: Vec<u32>,
    index: Index,
    hasher: Hasher,
    /// Bytes that each peer brought and that are still in use.
    owed: BTreeMap<PeerId, usize>,
    reach: Reach,
    /// MULTI_EXIT_DISC of a route without one.
    med_missing: u32,
}

impl Sets {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
            index: Index::default(),
            hasher,
            owed: BTreeMap::new(),
            reach: Reach::default(),
            med_missing: 0,
        }
    }

    /// The number of this set, which is held once more from now on.
    pub(super) fn intern(&mut self, bytes: &[u8], owner: PeerId) -> SetId {
        let hash = self.hasher.bytes(bytes);
        let known = self.index.find(hash, |id| self.bytes(SetId(id)) == bytes);
        if let Some(id) = known {
            self.hold(SetId(id));
            return SetId(id);
        }
        let metric = next_hop_of(bytes).and_then(|next_hop| self.reach.hold(next_hop));
        let rank = rank_of(bytes, metric.unwrap_or(0), self.med_missing);
        let followed = metric.is_some();
        let set = AttrSet { bytes: bytes.into(), rank, refs: 1, owner, followed };
        let id = if let Some(id) = self.free.pop() {
            if let Some(place) = self.all.get_mut(id as usize) {
                *place = set;
            }
            id
        } else {
            self.all.push(set);
            u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
        };
        *self.owed.entry(owner).or_default() += bytes.len();
        self.index.insert(hash, id);
        SetId(id)
    }

    /// One holder more.
    pub(super) fn hold(&mut self, id: SetId) {
        if let Some(set) = self.all.get_mut(id.0 as usize) {
            set.refs += 1;
        }
    }

    /// One holder less; the last one takes the set along.
    pub(super) fn release(&mut self, id: SetId) {
        let Some(set) = self.all.get_mut(id.0 as usize) else { return };
        set.refs -= 1;
        if set.refs > 0 {
            return;
        }
        let (hash, len) = (self.hasher.bytes(&set.bytes), set.bytes.len());
        if let Some(owed) = self.owed.get_mut(&set.owner) {
            *owed -= len;
        }
        let next_hop = if set.followed { next_hop_of(&set.bytes) } else { None };
        set.bytes = Box::default();
        if let Some(next_hop) = next_hop {
            self.reach.release(next_hop);
        }
        self.index.remove(hash, id.0);
        self.free.push(id.0);
    }

    /// The attributes.
    pub(super) fn bytes(&self, id: SetId) -> &[u8] {
        self.all.get(id.0 as usize).map_or(&[], |set| &set.bytes)
    }

    pub(super) fn rank(&self, id: SetId) -> Rank {
        self.all.get(id.0 as usize).map_or_else(Rank::default, |set| set.rank)
    }

    /// Who answers for a set.
    pub(super) fn owner(&self, id: SetId) -> PeerId {
        self.all.get(id.0 as usize).map_or(super::OURSELVES, |set| set.owner)
    }

    /// Bytes of sets that this peer was the first to bring.
    pub(super) fn owed_by(&self, peer: PeerId) -> usize {
        self.owed.get(&peer).copied().unwrap_or(0)
    }

    /// Sets in use.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// MULTI_EXIT_DISC of routes without one, from now on.
    pub(super) fn set_med_missing(&mut self, med: u32) {
        self.med_missing = med;
        for set in self.all.iter_mut().filter(|set| set.refs > 0) {
            set.rank = rank_of(&set.bytes, set.rank.metric, med);
        }
    }

    /// What next hops cost from now on, `None`: they cannot be reached. Paths have to be compared
    /// again if this says so.
    pub(super) fn set_metrics(&mut self, metrics: &BTreeMap<IpAddr, Option<u32>>) -> bool {
        if !self.reach.set(metrics) {
            return false;
        }
        for set in self.all.iter_mut().filter(|set| set.refs > 0 && set.followed) {
            if let Some(next_hop) = next_hop_of(&set.bytes) {
                set.rank.metric = self.reach.metric(next_hop);
            }
        }
        true
    }

    /// Next hops in use.
    pub(super) const fn reach(&self) -> &Reach {
        &self.reach
    }
}

fn rank_of(bytes: &[u8], metric: u32, med_missing: u32) -> Rank {
    let mut rank = Rank { metric, med: med_missing, ..Rank::default() };
    let mut local_pref = LOCAL_PREF_DEFAULT;
    let (mut hops, mut origin) = (0_usize, 2_u8);
    for attribute in attributes(bytes) {
        match (attribute.code, attribute.value) {
            (code::ORIGIN, [value]) => origin = *value,
            (code::AS_PATH, value) => (hops, rank.neighbor_as) = measure(value),
            (code::MULTI_EXIT_DISC, &[a, b, c, d]) => rank.med = u32::from_be_bytes([a, b, c, d]),
            (code::LOCAL_PREF, &[a, b, c, d]) => local_pref = u32::from_be_bytes([a, b, c, d]),
            (code::ORIGINATOR_ID, &[a, b, c, d]) => {
                rank.originator = u32::from_be_bytes([a, b, c, d]);
            }
            (code::COMMUNITIES, value) => {
                rank.stale = super::attrs::words(value).any(|it| it == Community::LLGR_STALE.0);
            }
            (code::CLUSTER_LIST, value) => {
                rank.clusters = u16::try_from(value.len() / 4).unwrap_or(u16::MAX);
            }
            _ => {}
        }
    }
    let hops = u64::try_from(hops).unwrap_or(u64::MAX).min(0xff_ffff);
    rank.key = u64::from(u32::MAX - local_pref) << 32 | hops << 8 | u64::from(origin);
    rank
}

/// Length of a path for comparison, and its first AS.
fn measure(path: &[u8]) -> (usize, u32) {
    let mut hops = 0;
    let mut neighbor = None;
    for (kind, asns) in path_segments(path) {
        match kind {
            1 => hops += 1,
            2 => hops += asns.len() / 4,
            _ => {}
        }
        if matches!(kind, 1 | 2) && neighbor.is_none() {
            neighbor = Some(match (kind, asns.first_chunk::<4>()) {
                (2, Some(first)) => u32::from_be_bytes(*first),
                _ => 0,
            });
        }
    }
    (hops, neighbor.unwrap_or(0))
}

/// The next hop in a set; the global one of two.
pub(super) fn next_hop_of(bytes: &[u8]) -> Option<IpAddr> {
    let value = find(bytes, code::NEXT_HOP)?;
    match value.first_chunk::<16>() {
        Some(octets) => Some(IpAddr::V6(Ipv6Addr::from(*octets))),
        None => value.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets))),
    }
}
