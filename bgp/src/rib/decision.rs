//! The decision process (RFC 4271 §9.1.2.2) as a list of named filters.
//!
//! Each [`Filter`] leaves those paths of a destination that are best by it. MULTI_EXIT_DISC is
//! compared among paths of the same neighbouring AS only, so paths have no total order; filtering
//! the whole set by each rule in turn gives one answer whatever the order of arrival, which
//! comparing pairs does not.

use core::cmp::Ordering;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::sets::{Rank, UNREACHABLE};

/// The filters, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// A route of ours (a VIP) is preferred to a learned one.
    Local,
    /// One that is not stale for long before one that is (RFC 9494 §4.3).
    LongStale,
    /// Higher LOCAL_PREF (§9.1.1).
    LocalPref,
    /// Shorter AS_PATH (§9.1.2.2 a).
    PathLength,
    /// Lower ORIGIN (b).
    Origin,
    /// Lower MULTI_EXIT_DISC among paths of one neighbouring AS (c).
    Med,
    /// External before internal (d).
    External,
    /// Nearer next hop (e).
    NextHopMetric,
    /// Lower BGP Identifier, or ORIGINATOR_ID (f; RFC 4456 §9).
    RouterId,
    /// Shorter CLUSTER_LIST (RFC 4456 §9).
    ClusterList,
    /// Lower address of the peer (g).
    PeerAddress,
    /// Lower Path Identifier of one peer (RFC 7911), the present session before one kept stale.
    PathId,
}

impl Filter {
    /// Why a path that this filter removed lost, in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Local => "a VIP of ours is preferred",
            Self::LongStale => "long-lived stale",
            Self::LocalPref => "lower LOCAL_PREF",
            Self::PathLength => "longer AS path",
            Self::Origin => "worse origin",
            Self::Med => "higher MED",
            Self::External => "internal, the best is external",
            Self::NextHopMetric => "next hop farther away",
            Self::RouterId => "higher router ID",
            Self::ClusterList => "longer cluster list",
            Self::PeerAddress => "higher peer address",
            Self::PathId => "higher path ID",
        }
    }
}

/// How the decision is made, as far as an operator chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRules {
    /// Compare MED between different neighbouring ASes too.
    pub always_compare_med: bool,
    /// A path without MED is as bad as one with the highest, not as good as one with zero.
    pub med_missing_is_worst: bool,
    /// Paths of equal standing used together if the best is external, at most; 1: only the best.
    pub multipath_external: u8,
    /// The same if the best is internal.
    pub multipath_internal: u8,
    /// Paths of the same length count as equal even if they lead through different ASes.
    pub multipath_relax: bool,
    /// Paths used together share the traffic by their Link Bandwidth.
    pub link_bandwidth: bool,
}

impl Default for DecisionRules {
    fn default() -> Self {
        Self {
            always_compare_med: false,
            med_missing_is_worst: false,
            multipath_external: 1,
            multipath_internal: 1,
            multipath_relax: false,
            link_bandwidth: false,
        }
    }
}

/// Where the paths of a peer stand in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Ourselves.
    pub(super) local: bool,
    /// In another AS.
    pub(super) external: bool,
    pub(super) router_id: u32,
    pub(super) addr: IpAddr,
}

/// One path of a destination, as the filters see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What the caller knows it by.
    pub(super) path: u32,
    pub(super) rank: Rank,
    pub(super) standing: Standing,
    pub(super) path_id: u32,
    /// From a session that has ended, kept until the peer has restarted.
    pub(super) stale: bool,
}

impl Candidate {
    /// Whether its next hop can be reached (§9.1.2.1).
    pub(super) const fn is_usable(&self) -> bool {
        self.rank.metric != UNREACHABLE
    }

    /// `Less` is better. MED itself is for `beaten_by_med`, which asks after this.
    fn before_med(&self, other: &Self) -> Ordering {
        (other.standing.local.cmp(&self.standing.local))
            .then(self.rank.stale.cmp(&other.rank.stale))
            .then(self.rank.key.cmp(&other.rank.key))
    }

    /// The filters behind MED, as far as equal cost goes.
    fn cost(&self, other: &Self) -> Ordering {
        (other.standing.external.cmp(&self.standing.external))
            .then(self.rank.metric.cmp(&other.rank.metric))
    }

    /// The filters that only make the answer unique.
    fn tie_break(&self, other: &Self) -> Ordering {
        self.router_id()
            .cmp(&other.router_id())
            .then(self.rank.clusters.cmp(&other.rank.clusters))
            .then_with(|| self.standing.addr.cmp(&other.standing.addr))
            .then(self.stale.cmp(&other.stale))
            .then(self.path_id.cmp(&other.path_id))
    }

    fn after_med(&self, other: &Self) -> Ordering {
        self.cost(other).then_with(|| self.tie_break(other))
    }

    const fn router_id(&self) -> u32 {
        if self.rank.originator == 0 { self.standing.router_id } else { self.rank.originator }
    }
}

impl DecisionRules {
    const fn compares_med(self, one: &Candidate, other: &Candidate) -> bool {
        self.always_compare_med || one.rank.neighbor_as == other.rank.neighbor_as
    }

    /// Whether a path that can be used has a lower MED; one that cannot takes no part (§9.1.2).
    fn beaten_by_med(self, one: &Candidate, others: &[Candidate]) -> bool {
        others.iter().any(|other| self.beats_by_med(other, one))
    }

    fn beats_by_med(self, other: &Candidate, one: &Candidate) -> bool {
        other.is_usable()
            && other.rank.med < one.rank.med
            && other.before_med(one).is_eq()
            && self.compares_med(one, other)
    }

    /// Whether a destination keeps its best path when `new` joins it; `None`: all have to be
    /// looked at.
    ///
    /// A path that loses to the best one cannot change the choice: what it removes by MED was not
    /// the best. One that wins earlier than by MED leaves no other.
    pub(super) fn keeps_best(self, best: &Candidate, new: &Candidate) -> Option<bool> {
        match new.before_med(best) {
            Ordering::Less => return Some(false),
            Ordering::Greater => return Some(true),
            Ordering::Equal => {}
        }
        if self.compares_med(best, new) {
            match new.rank.med.cmp(&best.rank.med) {
                Ordering::Greater => return Some(true),
                Ordering::Less => return None,
                Ordering::Equal => {}
            }
        }
        if new.after_med(best).is_gt() { Some(true) } else { None }
    }

    /// The best of all, unless none can be used.
    pub(super) fn best(self, candidates: &[Candidate]) -> Option<Candidate> {
        let usable = || candidates.iter().filter(|candidate| candidate.is_usable());
        let first = usable().min_by(|one, other| one.before_med(other))?;
        let level = || usable().filter(|candidate| candidate.before_med(first).is_eq());
        if level().all(|candidate| candidate.rank.med == first.rank.med) {
            return level().min_by(|one, other| one.after_med(other)).copied();
        }
        level()
            .filter(|candidate| !self.beaten_by_med(candidate, candidates))
            .min_by(|one, other| one.after_med(other))
            .copied()
    }

    /// Which filter removed `loser`, given that `best` won, and the path that was preferred: the
    /// best one, except that MED may prefer one that lost to the best itself later.
    pub(super) fn why_lost(
        self,
        loser: &Candidate,
        best: &Candidate,
        candidates: &[Candidate],
    ) -> (Filter, u32) {
        let better = candidates.iter().filter(|other| self.beats_by_med(other, loser));
        let by_med = better.min_by_key(|other| (other.rank.med, other.path != best.path));
        let checks = [
            (Filter::Local, loser.standing.local != best.standing.local),
            (Filter::LongStale, loser.rank.stale != best.rank.stale),
            (Filter::LocalPref, loser.rank.local_pref() != best.rank.local_pref()),
            (Filter::PathLength, loser.rank.path_len() != best.rank.path_len()),
            (Filter::Origin, loser.rank.origin() != best.rank.origin()),
            (Filter::Med, by_med.is_some()),
            (Filter::External, loser.standing.external != best.standing.external),
            (Filter::NextHopMetric, loser.rank.metric != best.rank.metric),
            (Filter::RouterId, loser.router_id() != best.router_id()),
            (Filter::ClusterList, loser.rank.clusters != best.rank.clusters),
            (Filter::PeerAddress, loser.standing.addr != best.standing.addr),
        ];
        let decided = checks.into_iter().find(|(_, differs)| *differs);
        let filter = decided.map_or(Filter::PathId, |(filter, _)| filter);
        let winner = by_med.filter(|_| filter == Filter::Med).unwrap_or(best);
        (filter, winner.path)
    }

    /// The paths that are used together, the best one first.
    pub(super) fn used(self, best: &Candidate, all: &[Candidate]) -> Vec<u32> {
        let external = best.standing.external;
        let max = if external { self.multipath_external } else { self.multipath_internal };
        let is_other = |one: &&Candidate| one.path != best.path;
        let mut equal: Vec<&Candidate> =
            all.iter().filter(|one| is_other(one) && self.is_equal_cost(one, best, all)).collect();
        equal.sort_by(|one, other| one.tie_break(other));
        let used = core::iter::once(best).chain(equal).take(max.max(1).into());
        used.map(|one| one.path).collect()
    }

    /// Whether a path is as good as the best one but for the tie-breaks.
    fn is_equal_cost(self, one: &Candidate, best: &Candidate, all: &[Candidate]) -> bool {
        one.is_usable()
            && one.before_med(best).is_eq()
            && !self.beaten_by_med(one, all)
            && one.cost(best).is_eq()
            && (self.multipath_relax || one.rank.neighbor_as == best.rank.neighbor_as)
    }
}
