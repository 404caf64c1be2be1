//! What changed, and who has still to be told: the journal of the table, and its readers.

use std::collections::BTreeSet;

use super::{Chosen, NONE, Table};
use crate::rib::PeerId;
use crate::rib::hash::Hasher;
use crate::rib::journal::Position;
use crate::rib::key::Key;

/// Destinations that are forgotten together.
const TIDY_BATCH: usize = 64;

impl<K: Key> Table<K> {
    /// Enters a destination into the journal if its best path is another one now, or if it has
    /// none any more: when everybody has read that, its number is free.
    pub(super) fn note_change(&mut self, id: u32, before: Chosen) {
        let is_empty = self.dests.get(id as usize).is_none_or(|dest| dest.head == NONE);
        let best = is_empty || self.chosen(id) != before;
        if best || self.several {
            self.enter(id, best);
        }
    }

    /// Enters a destination into the journal.
    pub(in crate::rib) fn enter(&mut self, id: u32, best: bool) {
        if best {
            self.mark_best(id);
        }
        let last = self.entry_of(id);
        let at = self.journal.enter(id, last, best);
        if let Some(dest) = self.dest_mut(id) {
            dest.entry = low_half(at);
        }
    }

    /// Where the journal holds a destination's last entry.
    fn entry_of(&self, id: u32) -> Option<Position> {
        let entry = self.dests.get(id as usize)?.entry;
        let base = self.journal.base();
        Some(base + u64::from(entry.wrapping_sub(low_half(base))))
            .filter(|at| self.journal.holds(*at, id))
    }

    /// Whether a journal entry is the last one of its destination.
    pub(in crate::rib) fn counts(&self, at: Position, id: u32) -> bool {
        self.dests.get(id as usize).is_some_and(|dest| dest.entry == low_half(at))
    }

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

    /// From here on a peer is told everything, and what changes; of `several` paths if wanted.
    pub(in crate::rib) fn attach(&mut self, peer: PeerId, several: bool) {
        let (cursor, attached_at) = (self.journal.attach(), self.journal.changes());
        let sweep = 0..self.dests_end();
        if let Some(lane) = self.lane_mut(peer) {
            (lane.cursor, lane.attached_at, lane.sweep) = (Some(cursor), attached_at, sweep);
            lane.told_paths = several.then(BTreeSet::new);
            lane.since = lane.session;
        }
        self.several = self.lanes.iter().any(|lane| lane.told_paths.is_some());
    }

    /// A peer is told everything once more.
    pub(in crate::rib) fn sweep_again(&mut self, peer: PeerId) {
        let (end, changes) = (self.dests_end(), self.journal.changes());
        if let Some(lane) = self.lane_mut(peer).filter(|lane| lane.cursor.is_some()) {
            (lane.sweep, lane.attached_at) = (0..end, changes);
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

#[expect(clippy::cast_possible_truncation, reason = "the other half is known from where it is")]
const fn low_half(at: Position) -> u32 {
    at as u32
}
