//! Rings that were computed before: services with the same backends share them, and a plan that
//! follows another finds nearly all of them made.

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use crate::ring::Owners;
use crate::ring::{self, Member};

/// Rings that the last plan used. It makes planning faster and never different.
#[derive(Debug, Default)]
pub struct Rings {
    base: Cache<(u64, Vec<Member>, u32)>,
    served: Cache<(u64, Vec<Member>, Vec<bool>, u32)>,
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

    /// The ring of these members, of which these are usable.
    pub(crate) fn served(
        &mut self,
        seed: u64,
        members: &[Member],
        usable: &[bool],
        size: u32,
    ) -> Owners {
        let key = (seed, members.to_vec(), size);
        let base = self.base.get(key, || ring::base(seed, members, size));
        let key = (seed, members.to_vec(), usable.to_vec(), size);
        self.served.get(key, || ring::lend(seed, members, usable, &base))
    }
}
