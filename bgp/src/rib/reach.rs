//! Next hops in use, and what each costs (RFC 4271 §9.1.2.1). The RIB says which they are; the
//! shell finds out what the host's own routes make of them, and says so.
//!
//! One that is not known yet counts as near: it is looked up in a moment. So do those that nobody
//! could look up, link-local ones, and those beyond [`NEXT_HOPS_MAX`]: a peer that invents next
//! hops costs no more lookups than that.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::sets::UNREACHABLE;

/// As many different next hops are followed.
pub const NEXT_HOPS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Use {
    /// Sets of attributes that name it.
    sets: u32,
    metric: u32,
}

#[derive(Debug, Default)]
pub(super) struct Reach {
    uses: BTreeMap<IpAddr, Use>,
    /// Counts how often one more came into use, or one went out of it.
    changes: u64,
}

const fn is_followed(next_hop: IpAddr) -> bool {
    match next_hop {
        IpAddr::V4(addr) => !addr.is_unspecified(),
        IpAddr::V6(addr) => !addr.is_unspecified() && !addr.is_unicast_link_local(),
    }
}

impl Reach {
    /// One more set names this next hop. What it costs; `None`: it is not followed.
    pub(super) fn hold(&mut self, next_hop: IpAddr) -> Option<u32> {
        if let Some(known) = self.uses.get_mut(&next_hop) {
            known.sets += 1;
            return Some(known.metric);
        }
        if !is_followed(next_hop) || self.uses.len() >= NEXT_HOPS_MAX {
            return None;
        }
        self.uses.insert(next_hop, Use { sets: 1, metric: 0 });
        self.changes += 1;
        Some(0)
    }

    /// One set less names a next hop that [`Self::hold`] follows.
    pub(super) fn release(&mut self, next_hop: IpAddr) {
        let Some(known) = self.uses.get_mut(&next_hop) else { return };
        known.sets -= 1;
        if known.sets == 0 {
            self.uses.remove(&next_hop);
            self.changes += 1;
        }
    }

    /// What a next hop costs.
    pub(super) fn metric(&self, next_hop: IpAddr) -> u32 {
        self.uses.get(&next_hop).map_or(0, |known| known.metric)
    }

    /// What next hops cost from now on, `None`: they cannot be reached. Whether that is news.
    pub(super) fn set(&mut self, metrics: &BTreeMap<IpAddr, Option<u32>>) -> bool {
        let mut news = false;
        for (next_hop, metric) in metrics {
            let Some(known) = self.uses.get_mut(next_hop) else { continue };
            let metric = metric.map_or(UNREACHABLE, |metric| metric.min(UNREACHABLE - 1));
            news |= core::mem::replace(&mut known.metric, metric) != metric;
        }
        news
    }

    /// What each costs, as [`Self::set`] takes it.
    pub(super) fn metrics(&self) -> BTreeMap<IpAddr, Option<u32>> {
        let metric = |known: &Use| Some(known.metric).filter(|metric| *metric != UNREACHABLE);
        self.uses.iter().map(|(next_hop, known)| (*next_hop, metric(known))).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.uses.keys().copied()
    }

    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_next_hop_is_followed_as_long_as_a_set_names_it() {
        let mut reach = Reach::default();
        assert_eq!((reach.hold(v4(7)), reach.hold(v4(7)), reach.changes()), (Some(0), Some(0), 1));
        assert!(reach.set(&BTreeMap::from([(v4(7), Some(20)), (v4(8), None)])));
        assert!(!reach.set(&BTreeMap::from([(v4(7), Some(20))])), "no news");
        assert_eq!(reach.hold(v4(7)), Some(20));
        (0..3).for_each(|_| reach.release(v4(7)));
        assert_eq!((reach.all().count(), reach.changes()), (0, 2));
        assert_eq!(reach.hold(v4(7)), Some(0), "it is looked up anew");
    }

    #[test]
    fn no_peer_makes_us_follow_more_than_there_is_room_for() {
        let mut reach = Reach::default();
        let followed = (1..100_000).filter(|n| reach.hold(v4(*n)).is_some()).count();
        assert_eq!((followed, reach.all().count()), (NEXT_HOPS_MAX, NEXT_HOPS_MAX));
        for odd in ["0.0.0.0", "::", "fe80::1"] {
            assert_eq!(Reach::default().hold(odd.parse().unwrap()), None, "{odd}");
        }
    }
}
