//! From a hash to the number of a record that lies elsewhere: open addressing in shards, so that
//! growing never takes more than a fraction of a millisecond.
//!
//! A slot holds half of the hash beside the number, so neither a search nor growing looks at
//! records that are not meant: each look would be a cache miss.

/// Shards, by the lowest bits of the hash.
const SHARDS: usize = 64;

/// A slot without a record.
const FREE: u32 = u32::MAX;

/// Numbers of records, findable by hash.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<Shard>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    id: u32,
}

const EMPTY: Slot = Slot { tag: 0, id: FREE };

#[derive(Debug, Default)]
struct Shard {
    /// None, or a power of two of them, at most three quarters used.
    slots: Vec<Slot>,
    used: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

/// Which shard, and what is kept of the hash: it says too where probing begins.
#[expect(clippy::cast_possible_truncation, reason = "a hash has bits to spare")]
const fn split(hash: u64) -> (usize, u32) {
    (hash as usize % SHARDS, (hash >> 32) as u32)
}

impl Index {
    /// The record with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (shard, tag) = split(hash);
        self.shards.get(shard)?.find(tag, is_it)
    }

    /// Where a search for this hash begins: the record there, if it may be the one. Asked for many
    /// hashes in a row, their cache misses overlap, and the searches that follow have none.
    #[inline]
    pub(super) fn peek(&self, hash: u64) -> Option<u32> {
        let (shard, tag) = split(hash);
        let slots = &self.shards.get(shard)?.slots;
        let slot = slots.get(tag as usize & slots.len().checked_sub(1)?)?;
        (slot.tag == tag).then_some(slot.id)
    }

    /// Adds a record that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        let (shard, tag) = split(hash);
        let Some(shard) = self.shards.get_mut(shard) else { return };
        if (shard.used + 1) * 4 > shard.slots.len() * 3 {
            shard.grow();
        }
        shard.put(Slot { tag, id });
        shard.used += 1;
    }

    /// Removes a record, if it is there.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let (shard, tag) = split(hash);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.remove(tag, id);
        }
    }
}

impl Shard {
    #[inline]
    fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = tag as usize & mask;
        loop {
            let slot = *self.slots.get(at)?;
            if slot.id == FREE {
                return None;
            }
            if slot.tag == tag && is_it(slot.id) {
                return Some(slot.id);
            }
            at = (at + 1) & mask;
        }
    }

    /// There is a free slot.
    fn put(&mut self, new: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = new.tag as usize & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.id == FREE {
                *slot = new;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let wanted = (self.slots.len() * 2).max(4);
        let old = core::mem::replace(&mut self.slots, vec![EMPTY; wanted]);
        for slot in old.into_iter().filter(|slot| slot.id != FREE) {
            self.put(slot);
        }
    }

    /// Those behind it that were pushed aside by it move up, so that no search ends too early.
    fn remove(&mut self, tag: u32, id: u32) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let slot = |slots: &[Slot], at: usize| slots.get(at & mask).copied().unwrap_or(EMPTY);
        let mut hole = tag as usize & mask;
        loop {
            match slot(&self.slots, hole).id {
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
            if moved.id == FREE {
                break;
            }
            // It may stay if its home lies between the hole and where it is.
            let home = moved.tag as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.set(hole, moved);
                hole = at;
            }
        }
        self.set(hole, EMPTY);
    }

    fn set(&mut self, at: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
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
        u64::from(id % 7) << 32 | u64::from(id % 2)
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
                    index.insert(hash_of(id), id);
                } else if !insert {
                    model.remove(&id);
                    index.remove(hash_of(id), id);
                }
                for id in 0..60 {
                    let found = index.find(hash_of(id), |found| found == id);
                    prop_assert_eq!(found.is_some(), model.contains(&id));
                }
            }
        }
    }
}
