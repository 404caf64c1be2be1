//! Rings that were computed before: services with the same backends share them, and a plan that
//! follows another finds nearly all of them made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use crate::ring::Owners;
use crate::ring::{self, Member};

/// Rings that the last plan used. It makes planning faster and never different.
#[derive(Debug, Default)]
pub struct Rings {
    base: Cache<(u64, Vec<Member>, u32)>,
    served: Cache<(u64, Vec<Member>, Vec<u8>, u32)>,
}

#[derive(Debug)]
struct Cache<K> {
    used: BTreeMap<K, Owners>,
    unused: BTreeMap<K, Owners>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { used: BTreeMap::new(), unused: BTreeMap::new() }
    }
}

impl<K: Ord> Cache<K> {
    fn get(&mut self, key: K, make: impl FnOnce() -> Owners) -> Owners {
        if let Some(ring) = self.used.get(&key) {
            return Arc::clone(ring);
        }
        let ring = self.unused.remove(&key).unwrap_or_else(make);
        self.used.insert(key, Arc::clone(&ring));
        ring
    }
}

impl Rings {
    /// Before a plan: what it does not use is forgotten with the one after it.
    pub(crate) fn turn(&mut self) {
        self.base.unused = core::mem::take(&mut self.base.used);
        self.served.unused = core::mem::take(&mut self.served.used);
    }

    /// Builds those of these that are not at hand, all at once.
    pub(crate) fn prepare<'a>(
        &mut self,
        seed: u64,
        sets: impl Iterator<Item = (&'a [Member], u32)>,
    ) {
        let keys = sets.map(|(members, size)| (seed, members.to_vec(), size));
        let Cache { used, unused } = &self.base;
        let missing: BTreeSet<_> =
            keys.filter(|key| !used.contains_key(key) && !unused.contains_key(key)).collect();
        let sets: Vec<(Vec<Member>, u32)> =
            missing.into_iter().map(|(_, members, size)| (members, size)).collect();
        let built = ring::bases(seed, &sets);
        let keys = sets.into_iter().map(|(members, size)| (seed, members, size));
        self.base.unused.extend(keys.zip(built));
    }

    /// The ring of these members, with so many parts of it each ([`ring::lend`]).
    pub(crate) fn served(
        &mut self,
        seed: u64,
        members: &[Member],
        parts: &[u8],
        size: u32,
    ) -> Owners {
        let key = (seed, members.to_vec(), size);
        let base = self.base.get(key, || ring::base(seed, members, size));
        let key = (seed, members.to_vec(), parts.to_vec(), size);
        self.served.get(key, || ring::lend(seed, members, parts, &base))
    }
}
