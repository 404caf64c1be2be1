//! `AdjRibIn`: the prefixes that a peer announces to us.
//!
//! Their number is what is looked at so far; nothing is chosen from them.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Family, Prefix};
use crate::wire::Update;
use crate::wire::notification::Notification;

/// More prefixes than this, over all families, end the session: about twice the Internet's table.
/// It bounds the memory that a peer can make us use.
pub const PREFIXES_MAX: usize = 2_000_000;

/// What one peer announces now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjRibIn {
    prefixes: BTreeMap<Family, BTreeSet<Prefix>>,
    len: usize,
    max: usize,
}

/// The peer announces more than the limit; the family of the prefix that was one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    family: Family,
    max: usize,
}

impl TooMany {
    /// Cease/1, data: AFI, SAFI and the limit (RFC 4486 §4).
    pub fn answer(self) -> Notification {
        Notification::maximum_prefixes(self.family, u32::try_from(self.max).unwrap_or(u32::MAX))
    }
}

impl Default for AdjRibIn {
    fn default() -> Self {
        Self::with_max(PREFIXES_MAX)
    }
}

impl AdjRibIn {
    /// Empty, for at most `max` prefixes.
    pub const fn with_max(max: usize) -> Self {
        Self { prefixes: BTreeMap::new(), len: 0, max }
    }

    /// Prefixes announced now, over all families.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the peer announces nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Prefixes of one family announced now.
    pub fn len_of(&self, family: Family) -> usize {
        self.prefixes.get(&family).map_or(0, BTreeSet::len)
    }

    /// Withdraws first, then announces: a prefix in both stays (RFC 4271 §4.3).
    ///
    /// # Errors
    /// [`TooMany`] at the first prefix beyond the limit; the session is to be closed.
    pub fn apply(&mut self, update: &Update) -> Result<(), TooMany> {
        for prefix in &update.withdrawn {
            let family = self.prefixes.entry(prefix.family()).or_default();
            self.len -= usize::from(family.remove(prefix));
        }
        let second = update.announced_second.iter().flat_map(|(_, prefixes)| prefixes);
        for prefix in update.announced.iter().chain(second) {
            let family = self.prefixes.entry(prefix.family()).or_default();
            self.len += usize::from(family.insert(*prefix));
            if self.len > self.max {
                return Err(TooMany { family: prefix.family(), max: self.max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| Prefix::host(text.parse().unwrap())).collect()
    }

    fn announce(texts: &[&str]) -> Update {
        Update { announced: prefixes(texts), ..Update::default() }
    }

    #[test]
    fn announcing_twice_counts_once_and_withdrawing_what_is_not_there_counts_nothing() {
        let mut rib = AdjRibIn::default();
        rib.apply(&announce(&["192.0.2.1", "192.0.2.1", "2001:db8::1"])).unwrap();
        rib.apply(&announce(&["192.0.2.1"])).unwrap();
        assert_eq!((rib.len_of(Family::Ipv4Unicast), rib.len_of(Family::Ipv6Unicast)), (1, 1));
        let withdrawn = prefixes(&["192.0.2.1", "192.0.2.9"]);
        rib.apply(&Update { withdrawn, ..Update::default() }).unwrap();
        assert_eq!((rib.len_of(Family::Ipv4Unicast), rib.len()), (0, 1));
    }

    #[test]
    fn a_prefix_withdrawn_and_announced_in_one_message_stays() {
        let mut rib = AdjRibIn::default();
        let both = prefixes(&["192.0.2.1"]);
        let update = Update { withdrawn: both.clone(), announced: both, ..Update::default() };
        rib.apply(&update).unwrap();
        assert_eq!(rib.len(), 1);
    }

    #[test]
    fn one_prefix_too_many_is_answered_with_its_family_and_the_limit() {
        let mut rib = AdjRibIn::with_max(2);
        rib.apply(&announce(&["192.0.2.1", "192.0.2.2"])).unwrap();
        let too_many = rib.apply(&announce(&["2001:db8::1"])).unwrap_err();
        let cease = too_many.answer();
        assert_eq!((cease.code, cease.subcode), (6, 1));
        assert_eq!(cease.data, [0, 2, 1, 0, 0, 0, 2]);
    }
}
