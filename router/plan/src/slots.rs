//! Slots: what is written into one, what a ring holds, and where rings lie.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{BACKENDS_MAX, RING_SIZE_MAX, RING_SIZE_MIN, RING_SLOTS_MAX, Service, Slot};

/// What a slot shall hold next.
///
/// `target` is the index of its owner, 0 for none. `alive` says of an index whether old flows may
/// still go there; what is not alive is never the older one. `drained` says that the drain time of
/// this ring's transitions is over.
///
/// A slot in transition stays so until then, whatever becomes of its backends: the flow table may
/// hold flows that a third one has taken.
pub(crate) fn next(slot: Slot, target: u32, drained: bool, alive: impl Fn(u32) -> bool) -> Slot {
    if slot == Slot::settled(target) || (slot.current == target && drained) {
        return Slot::settled(target); // Nearly always.
    }
    let older = if !slot.is_settled() && alive(slot.older()) {
        slot.older() // The flows that `current` has taken since then are in the flow table.
    } else if alive(slot.current) {
        slot.current
    } else {
        target
    };
    if slot.is_settled() && older == target {
        return Slot::settled(target);
    }
    Slot::in_transition(target, older)
}

/// A ring's place in `RING_SLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) offset: u32,
    pub(crate) size: u32,
}

impl Span {
    /// The ring of a service; `None` for one that we never write.
    pub(crate) fn of(service: &Service) -> Option<Self> {
        let Service { ring_offset: offset, ring_size: size, .. } = *service;
        let sound = size.is_power_of_two()
            && (RING_SIZE_MIN..=RING_SIZE_MAX).contains(&size)
            && offset.checked_add(size).is_some_and(|end| end <= RING_SLOTS_MAX);
        sound.then_some(Self { offset, size })
    }

    pub(crate) const fn end(self) -> u32 {
        self.offset.saturating_add(self.size)
    }

    /// The slots of this ring.
    pub(crate) fn slots(self, all: &[Slot]) -> impl Iterator<Item = Slot> {
        (self.offset..self.end()).map(|index| at(all, index))
    }

    /// The slot that holds the flows of slot `index` of a ring of `size` slots: both sizes are
    /// powers of two, and a slot is the first bits of the hash.
    pub(crate) fn covering(self, all: &[Slot], index: u32, size: u32) -> Slot {
        let place = u64::from(index) * u64::from(self.size) / u64::from(size.max(1));
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        at(all, self.offset.saturating_add(place))
    }
}

/// A slot of the array; those beyond what was seen are zero.
pub(crate) fn at(all: &[Slot], index: u32) -> Slot {
    all.get(index as usize).copied().unwrap_or_default()
}

/// Which parts of `RING_SLOTS` are taken.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// Start to end.
    taken: BTreeMap<u32, u32>,
}

impl Spans {
    /// Takes the span unless a part of it is taken already.
    pub(crate) fn take(&mut self, span: Span) -> bool {
        let before = self.taken.range(..span.end()).next_back();
        if before.is_some_and(|(_, &end)| end > span.offset) {
            return false;
        }
        self.taken.insert(span.offset, span.end());
        true
    }

    /// Takes the span, unless another one takes a part of it.
    pub(crate) fn share(&mut self, span: Span) -> bool {
        self.taken.get(&span.offset) == Some(&span.end()) || self.take(span)
    }

    /// Takes the first free span of this size.
    pub(crate) fn first_fit(&mut self, size: u32) -> Option<Span> {
        let mut offset = 0;
        for (&start, &end) in &self.taken {
            if start.saturating_sub(offset) >= size {
                break;
            }
            offset = end;
        }
        let span = Span { offset, size };
        (span.end() <= RING_SLOTS_MAX && self.take(span)).then_some(span)
    }

    /// Slots that are in no span and yet not zero, as steps to clear them.
    pub(crate) fn leftovers(&self, all: &[Slot]) -> Vec<(u32, Slot)> {
        let len = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let starts = core::iter::once(0).chain(self.taken.values().copied());
        let ends = self.taken.keys().copied().chain([len]);
        starts
            .zip(ends)
            .flat_map(|(start, end)| start..end.min(len))
            .filter(|&index| at(all, index) != Slot::default())
            .map(|index| (index, Slot::default()))
            .collect()
    }
}

/// Stores slots, as the packet path's array would: beyond the end they are zero.
pub(crate) fn store(all: &mut Vec<Slot>, slots: &[(u32, Slot)]) {
    let end = slots.iter().map(|&(index, _)| index as usize + 1).max().unwrap_or(0);
    if all.len() < end.min(RING_SLOTS_MAX as usize) {
        all.resize(end, Slot::default());
    }
    for &(index, slot) in slots {
        if let Some(place) = all.get_mut(index as usize) {
            *place = slot;
        }
    }
    let used = all.iter().rposition(|slot| *slot != Slot::default()).map_or(0, |last| last + 1);
    all.truncate(used);
}

/// Which backend indices any slot names; index 0 is none.
pub(crate) fn named(all: &[Slot]) -> Vec<bool> {
    let mut named = vec![false; BACKENDS_MAX as usize];
    for slot in all {
        for index in [slot.current, slot.older()] {
            if let Some(named) = named.get_mut(index as usize) {
                *named = true;
            }
        }
    }
    if let Some(none) = named.first_mut() {
        *none = false;
    }
    named
}

/// What a ring holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// How many slots have this index as `current`.
    pub(crate) current: BTreeMap<u32, u32>,
    /// Indices that slots in transition have as the older one.
    pub(crate) previous: BTreeSet<u32>,
    /// Slots in transition.
    pub(crate) unsettled: u32,
}

impl Scan {
    pub(crate) fn of(slots: impl Iterator<Item = Slot>) -> Self {
        let mut scan = Self::default();
        let mut counts = vec![0_u32; 256]; // By index; grows with the largest one seen.
        for slot in slots {
            let row = slot.current as usize;
            if row >= counts.len() && slot.current < BACKENDS_MAX {
                counts.resize(row.saturating_mul(2), 0);
            }
            match counts.get_mut(row) {
                Some(count) => *count += 1,
                None => *scan.current.entry(slot.current).or_default() += 1, // No valid index.
            }
            if !slot.is_settled() {
                scan.previous.insert(slot.older());
                scan.unsettled += 1;
            }
        }
        scan.current.extend((0..).zip(counts).filter(|&(_, count)| count > 0));
        scan
    }

    /// Every index that some slot names, 0 too.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        self.current.keys().chain(&self.previous).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_changes_by_the_rule() {
        const ASKS: u32 = Slot::ASKS;
        // Backends 1, 2 and 3 are alive, 8 and 9 are not. Drain time over: '!'.
        let cases = [
            ("nothing to do", (1, 1), 1, "", (1, 1)),
            ("a change starts a transition", (1, 1), 2, "", (2, 1)),
            ("a transition goes on", (2, 1), 2, "", (2, 1)),
            ("a transition settles", (2, 1), 2, "!", (2, 2)),
            ("a dead previous: others took flows", (2, 9), 2, "", (2, 2 | ASKS)),
            ("and it settles in time", (2, 2 | ASKS), 2, "!", (2, 2)),
            ("a second change keeps the oldest flows", (2, 1), 3, "", (3, 1)),
            ("a second change, oldest dead", (2, 9), 3, "", (3, 2)),
            ("a second change, all dead", (8, 9), 3, "", (3, 3 | ASKS)),
            ("a change starts anew though old ones are over", (1, 1), 2, "!", (2, 1)),
            ("dead current", (9, 9), 1, "", (1, 1)),
            ("back to where it came from", (2, 1), 1, "", (1, 1 | ASKS)),
            ("and away again", (1, 1 | ASKS), 2, "", (2, 1)),
            ("back after the drain time", (2, 1), 1, "!", (1, 1 | ASKS)),
            ("from an empty ring", (0, 0), 1, "", (1, 1)),
            ("into an empty ring", (9, 9), 0, "", (0, 0)),
            ("into an empty ring, old flows drain", (1, 1), 0, "", (0, 1)),
            ("and the drain time ends", (0, 1), 0, "!", (0, 0)),
            ("and comes back", (0, 1), 1, "", (1, 1 | ASKS)),
        ];
        for (name, (current, previous), target, drained, (to_current, to_previous)) in cases {
            let found = next(Slot { current, previous }, target, drained == "!", |index| {
                (1..=3).contains(&index)
            });
            let wanted = Slot { current: to_current, previous: to_previous };
            assert_eq!(found, wanted, "{name}");
        }
    }

    #[test]
    fn a_ring_is_placed_in_the_first_gap_that_holds_it() {
        let mut spans = Spans::default();
        assert!(spans.take(Span { offset: 1024, size: 1024 }));
        assert!(spans.take(Span { offset: 4096, size: 2048 }));
        assert!(!spans.take(Span { offset: 5000, size: 1024 }), "overlaps");
        assert!(!spans.take(Span { offset: 3500, size: 1024 }), "overlaps");
        assert!(!spans.take(Span { offset: 1024, size: 1024 }), "the same");
        assert_eq!(spans.first_fit(2048), Some(Span { offset: 2048, size: 2048 }));
        assert_eq!(spans.first_fit(1024), Some(Span { offset: 0, size: 1024 }));
        assert_eq!(spans.first_fit(1024), Some(Span { offset: 6144, size: 1024 }));
        for _ in 0..15 {
            assert!(spans.first_fit(RING_SIZE_MAX).is_some());
        }
        assert_eq!(spans.first_fit(RING_SIZE_MAX), None, "full");
    }

    #[test]
    fn only_slots_outside_all_spans_are_left_over() {
        let mut spans = Spans::default();
        assert!(spans.take(Span { offset: 2, size: 2 }));
        assert!(spans.take(Span { offset: 6, size: 8 }));
        let all = [1, 0, 1, 1, 1, 1, 1].map(Slot::settled);
        let left: Vec<u32> = spans.leftovers(&all).into_iter().map(|(index, _)| index).collect();
        assert_eq!(left, [0, 4, 5]);
        assert_eq!(Spans::default().leftovers(&all).len(), 6);
    }

    #[test]
    fn a_slot_of_another_size_is_found_by_the_hash() {
        let all: Vec<Slot> = (0..8).map(Slot::settled).collect();
        let ring = Span { offset: 4, size: 4 };
        let grown: Vec<u32> = (0..8).map(|i| ring.covering(&all, i, 8).current).collect();
        assert_eq!(grown, [4, 4, 5, 5, 6, 6, 7, 7]);
        let shrunk: Vec<u32> = (0..2).map(|i| ring.covering(&all, i, 2).current).collect();
        assert_eq!(shrunk, [4, 6]);
    }

    #[test]
    fn rings_that_we_never_write_are_no_rings() {
        let cases = [
            ("sound", 0, 1024, true),
            ("at the end", RING_SLOTS_MAX - 1024, 1024, true),
            ("beyond the end", RING_SLOTS_MAX - 1023, 1024, false),
            ("wraps", u32::MAX, 1024, false),
            ("empty", 0, 0, false),
            ("too small", 0, 512, false),
            ("too large", 0, RING_SIZE_MAX * 2, false),
            ("no power of two", 0, 1500, false),
        ];
        for (name, ring_offset, ring_size, sound) in cases {
            let service = Service { ring_offset, ring_size, ..Service::default() };
            assert_eq!(Span::of(&service).is_some(), sound, "{name}");
        }
    }
}
