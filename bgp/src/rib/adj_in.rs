//! `AdjRibIn`: the prefixes that a peer announces to us.
//!
//! Their number is what is looked at so far; nothing is chosen from them.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Family, Prefix};
use crate::wire::notification::Notification;
use crate::wire::{Nlri, Update};

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
    pub fn apply(&mut self, update: &Update<'_>) -> Result<(), TooMany> {
        if let Some(family) = update.disable {
            self.len -= self.prefixes.remove(&family).map_or(0, |gone| gone.len());
        }
        for (_, prefix) in update.withdrawn().flat_map(Nlri::prefixes) {
            let family = self.prefixes.entry(prefix.family()).or_default();
            self.len -= usize::from(family.remove(&prefix));
        }
        for (_, prefix) in update.announced().flat_map(|routes| routes.nlri.prefixes()) {
            let family = self.prefixes.entry(prefix.family()).or_default();
            self.len += usize::from(family.insert(prefix));
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
    use crate::wire::{self, Attributes, Message, Negotiated, NextHop, RawMessage};

    const V4: NextHop = NextHop::V4(core::net::Ipv4Addr::LOCALHOST);
    const V6: NextHop = NextHop::V6 { global: core::net::Ipv6Addr::LOCALHOST, link_local: None };

    fn context() -> Negotiated {
        let families = Family::UNICAST.into_iter().collect();
        Negotiated { families, ..Negotiated::NOTHING }
    }

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| Prefix::host(text.parse().unwrap())).collect()
    }

    /// Withdraws, announces, and applies the messages in this order.
    fn apply(rib: &mut AdjRibIn, withdrawn: &[&str], announced: &[&str]) -> Result<(), TooMany> {
        let mut messages = Vec::new();
        for (family, next_hop) in Family::UNICAST.into_iter().zip([V4, V6]) {
            let attributes = Attributes { next_hop: Some(next_hop), ..Attributes::default() };
            messages.extend(wire::encode_withdraw(family, &prefixes(withdrawn), &context()));
            let announced = prefixes(announced);
            messages.extend(
                wire::encode_announce(family, &attributes, &announced, &context()).unwrap(),
            );
        }
        messages.iter().try_for_each(|message| rib.apply(&read(message)))
    }

    fn read(message: &[u8]) -> Update<'_> {
        let (raw, _): (RawMessage<'_>, usize) =
            wire::next_message(message, wire::MESSAGE_BYTES_MAX).unwrap().unwrap();
        let Ok(Message::Update(update)) = wire::decode(raw, &context()) else {
            panic!("no UPDATE")
        };
        update
    }

    #[test]
    fn announcing_twice_counts_once_and_withdrawing_what_is_not_there_counts_nothing() {
        let mut rib = AdjRibIn::default();
        apply(&mut rib, &[], &["192.0.2.1", "192.0.2.1", "2001:db8::1"]).unwrap();
        apply(&mut rib, &[], &["192.0.2.1"]).unwrap();
        assert_eq!((rib.len_of(Family::Ipv4Unicast), rib.len_of(Family::Ipv6Unicast)), (1, 1));
        apply(&mut rib, &["192.0.2.1", "192.0.2.9"], &[]).unwrap();
        assert_eq!((rib.len_of(Family::Ipv4Unicast), rib.len()), (0, 1));
    }

    #[test]
    fn a_prefix_withdrawn_and_announced_in_one_message_stays() {
        let mut rib = AdjRibIn::default();
        let attributes = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1];
        let body = [&[0, 2, 8, 10, 0, 14][..], &attributes, &[8, 10]].concat();
        let message = [&[0xff; 16][..], &[0, 41, 2], &body].concat();
        rib.apply(&read(&message)).unwrap();
        assert_eq!(rib.len(), 1);
    }

    #[test]
    fn one_prefix_too_many_is_answered_with_its_family_and_the_limit() {
        let mut rib = AdjRibIn::with_max(2);
        apply(&mut rib, &[], &["192.0.2.1", "192.0.2.2"]).unwrap();
        let too_many = apply(&mut rib, &[], &["2001:db8::1"]).unwrap_err();
        let cease = too_many.answer();
        assert_eq!((cease.code, cease.subcode), (6, 1));
        assert_eq!(cease.data, [0, 2, 1, 0, 0, 0, 2]);
    }
}
