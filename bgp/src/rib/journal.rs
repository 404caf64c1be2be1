//! What changed, in the order of change: the one pending set that all peers read, each with a
//! cursor of its own.
//!
//! An entry is the number of a destination. A destination that changes again is entered again and
//! its older entry counts no more, so a peer that reads slowly is told of the last state only,
//! and the journal is never much longer than the table.
//!
//! Where several paths are told (RFC 7911), what changes beside the best path is entered as well,
//! marked so that all others pass it over.

use std::collections::VecDeque;

/// Below this length it is not worth looking for entries that count no more.
const COMPACT_MIN: usize = 1 << 16;

/// In an entry: the best path is what it was, or somebody will read the entry of its change.
const ASIDE: u32 = 1 << 31;

/// A position between two entries.
pub(super) type Position = u64;

#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<u32>,
    /// Position of the first entry that is kept.
    base: Position,
    /// The furthest that anybody has read.
    read: Position,
    /// Counts every change, those too that need no new entry.
    changes: u64,
}

impl Journal {
    /// Behind the newest entry.
    pub(super) fn tail(&self) -> Position {
        self.base + self.entries.len() as u64
    }

    /// In front of the oldest entry.
    pub(super) const fn base(&self) -> Position {
        self.base
    }

    /// A cursor for somebody who hears of changes from now on.
    pub(super) fn attach(&mut self) -> Position {
        self.read = self.tail();
        self.read
    }

    /// Changes so far.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Enters a destination; `last` is the place of its last entry, `best` says whether its best
    /// path is another one. Gives the place of the entry that counts now: the last one if nobody
    /// has read it yet.
    pub(super) fn enter(&mut self, id: u32, last: Option<Position>, best: bool) -> Position {
        self.changes += 1;
        if let Some(last) = last
            && let Some(entry) = self.entry_mut(last)
        {
            let aside = *entry & ASIDE != 0 && !best;
            if best {
                *entry &= !ASIDE;
            }
            if last >= self.read {
                return last;
            }
            // That one counts no more: whoever has not read it is to learn of the best path here.
            let at = self.tail();
            self.entries.push_back(if aside { id | ASIDE } else { id });
            return at;
        }
        let at = self.tail();
        self.entries.push_back(if best { id } else { id | ASIDE });
        at
    }

    fn entry_mut(&mut self, at: Position) -> Option<&mut u32> {
        let index = at.checked_sub(self.base).and_then(|index| usize::try_from(index).ok())?;
        self.entries.get_mut(index)
    }

    /// Entries from `from` on, `limit` of them at most: place, destination, and whether its best
    /// path may be another one.
    pub(super) fn read(
        &mut self,
        from: Position,
        limit: usize,
    ) -> impl Iterator<Item = (Position, u32, bool)> {
        let skip = usize::try_from(from.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let start = skip.min(self.entries.len());
        let end = start.saturating_add(limit).min(self.entries.len());
        self.read = self.read.max(self.base + end as u64);
        let first = self.base + start as u64;
        let entries = (first..).zip(self.entries.range(start..end));
        entries.map(|(at, entry)| (at, entry & !ASIDE, entry & ASIDE == 0))
    }

    /// Destinations entered from `from` on, without reading them.
    pub(super) fn behind(&self, from: Position) -> impl Iterator<Item = u32> {
        let skip = usize::try_from(from.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip).map(|entry| entry & !ASIDE)
    }

    /// Whether the entry at a place is of this destination.
    pub(super) fn holds(&self, at: Position, id: u32) -> bool {
        let index = at.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.entries.get(index)).is_some_and(|entry| entry & !ASIDE == id)
    }

    /// Takes out the oldest entry if every reader has passed it; `slowest` is where the slowest
    /// one is.
    pub(super) fn pop_read(&mut self, slowest: Position) -> Option<(Position, u32)> {
        if self.base >= slowest {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.base += 1;
        Some((self.base - 1, entry & !ASIDE))
    }

    /// Whether so many entries count no more that [`Self::compact`] is worth its time.
    pub(super) fn is_bloated(&self, live: usize) -> bool {
        self.entries.len() > COMPACT_MIN.max(2 * live)
    }

    /// Drops entries that count no more. `moved(id, at)` hears the new places of the others;
    /// `cursors` are adjusted.
    pub(super) fn compact<'a>(
        &mut self,
        counts: impl Fn(Position, u32) -> bool,
        mut moved: impl FnMut(u32, Position),
        cursors: impl Iterator<Item = &'a mut Position>,
    ) {
        let old_base = self.base;
        // New positions lie behind all old ones, so that no old one can be taken for a new one.
        let new_base = self.tail();
        let mut kept = VecDeque::new();
        // For each old position, how many entries before it were kept.
        let mut before = Vec::with_capacity(self.entries.len() + 1);
        for (at, entry) in (old_base..).zip(self.entries.iter().copied()) {
            before.push(kept.len() as u64);
            if counts(at, entry & !ASIDE) {
                moved(entry & !ASIDE, new_base + kept.len() as u64);
                kept.push_back(entry);
            }
        }
        before.push(kept.len() as u64);
        let place = |old: Position| {
            let skipped = usize::try_from(old.saturating_sub(old_base)).unwrap_or(usize::MAX);
            new_base + before.get(skipped).or(before.last()).copied().unwrap_or(0)
        };
        self.read = place(self.read);
        cursors.for_each(|cursor| *cursor = place(*cursor));
        self.base = new_base;
        self.entries = kept;
    }
}
