//! What is done when everybody has heard: entries and destinations are let go of.

use super::{NONE, Table, low_half};
use crate::rib::hash::Hasher;
use crate::rib::key::Key;

/// Destinations that are forgotten together.
const TIDY_BATCH: usize = 64;

impl<K: Key> Table<K> {
    /// Lets go of journal entries that every peer has read, and of destinations that are then
    /// without paths and remembered by nobody; `limit` at a time.
    pub(in crate::rib) fn tidy(&mut self, hasher: Hasher, limit: usize) {
        let cursors = self.lanes.iter().filter_map(|lane| lane.cursor);
        let slowest = cursors.min().unwrap_or(self.journal.tail());
        for _ in 0..limit / TIDY_BATCH {
            let mut empty = Vec::new();
            while empty.len() < TIDY_BATCH
                && let Some((at, id)) = self.journal.pop_read(slowest)
            {
                let dest = self.dests.get(id as usize).filter(|dest| dest.head == NONE);
                if let Some(dest) = dest.filter(|_| self.counts(at, id)) {
                    empty.push((id, dest.key.hash(hasher)));
                }
            }
            if empty.is_empty() {
                break;
            }
            self.warm(empty.iter().map(|(_, hash)| *hash));
            for (id, hash) in empty {
                self.forget(id, hash);
            }
        }
        if self.journal.is_bloated(self.len()) {
            let dests = &mut self.dests;
            let old: Vec<u32> = dests.iter().map(|dest| dest.entry).collect();
            self.journal.compact(
                |at, id| old.get(id as usize) == Some(&low_half(at)),
                |id, at| {
                    if let Some(dest) = dests.get_mut(id as usize) {
                        dest.entry = low_half(at);
                    }
                },
                self.lanes.iter_mut().filter_map(|lane| lane.cursor.as_mut()),
            );
        }
    }

    /// A destination without paths that everybody has forgotten.
    fn forget(&mut self, id: u32, hash: u64) {
        if self.lanes.iter().any(|lane| lane.told.contains(id)) {
            return;
        }
        if self.is_watched(id) {
            self.held.insert(id);
            return;
        }
        self.held.remove(id);
        self.index.remove(hash, id);
        self.free_dests.push(id);
    }

    /// Forgets what only watchers had to hear of, as far as they have. What is in use again, or
    /// waits in the journal, comes by itself.
    pub(in crate::rib) fn release_held(&mut self, hasher: Hasher) {
        for id in self.held.take(usize::MAX) {
            let empty = self.dests.get(id as usize).filter(|dest| dest.head == NONE);
            let Some(hash) = empty.map(|dest| dest.key.hash(hasher)) else { continue };
            if self.entry_of(id).is_none() {
                self.forget(id, hash);
            }
        }
    }
}
