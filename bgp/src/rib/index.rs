//! From a hash to the number of a record that lies elsewhere: open addressing in shards, so that
//! growing never takes more than a fraction of a millisecond.

/// Shards, by the lowest bits of the hash.
const SHARDS: usize = 64;

/// A slot without a record.
const FREE: u32 = u32::MAX;

/// Numbers of records, findable by hash.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Empty, or a power of two of them, at most seven eighths used.
    slots: Vec<u32>,
    used: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

/// Which shard, and where its probing begins.
#[expect(clippy::cast_possible_truncation, reason = "a hash has bits to spare")]
const fn split(hash: u64) -> (usize, usize) {
    (hash as usize % SHARDS, (hash >> 6) as usize)
}

impl Index {
    /// The record with this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (shard, start) = split(hash);
        self.shards.get(shard)?.find(start, is_it)
    }

    /// Adds a record that is not there yet; `hash_of` gives the hash of any record in the index.
    pub(super) fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        let (shard, start) = split(hash);
        let Some(shard) = self.shards.get_mut(shard) else { return };
        if (shard.used + 1) * 8 > shard.slots.len() * 7 {
            shard.grow(hash_of);
        }
        shard.put(start, id);
        shard.used += 1;
    }

    /// Removes a record, if it is there.
    pub(super) fn remove(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        let (shard, start) = split(hash);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.remove(start, id, hash_of);
        }
    }
}

impl Shard {
    fn find(&self, start: usize, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = start & mask;
        loop {
            let id = *self.slots.get(at)?;
            if id == FREE {
                return None;
            }
            if is_it(id) {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
    }

    /// There is a free slot.
    fn put(&mut self, start: usize, id: u32) {
        let mask = self.slots.len() - 1;
        let mut at = start & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == FREE {
                *slot = id;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let wanted = (self.slots.len() * 2).max(4);
        let old = core::mem::replace(&mut self.slots, vec![FREE; wanted]);
        for id in old.into_iter().filter(|id| *id != FREE) {
            self.put(split(hash_of(id)).1, id);
        }
    }

    /// Those behind it that were pushed aside by it move up, so that no search ends too early.
    fn remove(&mut self, start: usize, id: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let slot = |slots: &[u32], at: usize| slots.get(at & mask).copied().unwrap_or(FREE);
        let mut hole = start & mask;
        loop {
            match slot(&self.slots, hole) {
                FREE => return,
                found if found == id => break,
                _ => hole = (hole + 1) & mask,
            }
        }
        self.used -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let moved = slot(&self.slots, at);
            if moved == FREE {
                break;
            }
            let home = split(hash_of(moved)).1 & mask;
            // It may stay if its home lies between the hole and where it is.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.set(hole, moved);
                hole = at;
            }
        }
        self.set(hole, FREE);
    }

    fn set(&mut self, at: usize, id: u32) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    /// Few distinct hashes, so that everything collides.
    fn hash_of(id: u32) -> u64 {
        u64::from(id % 7) << 6 | u64::from(id % 2)
    }

    proptest! {
        #[test]
        fn it_finds_what_was_put_in_and_not_taken_out(
            steps in proptest::collection::vec((any::<bool>(), 0..60_u32), 0..400)
        ) {
            let mut index = Index::default();
            let mut model = BTreeSet::new();
            for (insert, id) in steps {
                if insert && model.insert(id) {
                    index.insert(hash_of(id), id, hash_of);
                } else if !insert {
                    model.remove(&id);
                    index.remove(hash_of(id), id, hash_of);
                }
                for id in 0..60 {
                    let found = index.find(hash_of(id), |found| found == id);
                    prop_assert_eq!(found.is_some(), model.contains(&id));
                }
            }
        }
    }
}
