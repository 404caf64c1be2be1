//! A member's walk over the slots of a ring, in steps of its own, to one that is free.
//!
//! Rings of this kind have 2^16 slots at most, so slots and steps are counted in 16 bits: what
//! lies above makes no difference to where a walk is.

/// Where a member looks next, and how far its steps are: an odd number.
pub(super) struct Walk {
    pub(super) at: u16,
    pub(super) step: u16,
}

/// The bits that make a difference.
#[expect(clippy::cast_possible_truncation, reason = "what is above is not wanted")]
pub(super) const fn low(x: u64) -> u16 {
    x as u16
}

/// Which slots are free: 1 for each that is.
pub(super) struct Taken(Box<[u8; SLOTS_MAX]>);

/// As many as 16 bits can name, so that no look is beyond the end.
const SLOTS_MAX: usize = 1 << 16;

impl Taken {
    /// None yet.
    #[expect(clippy::large_stack_arrays, reason = "64 KiB on their way to the heap")]
    pub(super) fn new() -> Self {
        Self(Box::new([1; SLOTS_MAX]))
    }

    fn is_free(&self, slot: u16) -> u8 {
        self.0.get(usize::from(slot)).copied().unwrap_or(1)
    }

    fn take(&mut self, slot: u16) {
        if let Some(free) = self.0.get_mut(usize::from(slot)) {
            *free = 0;
        }
    }
}

/// The slots that are free, in any order.
pub(super) struct Free {
    slots: Vec<u16>,
    /// By slot, where it is in `slots`.
    places: Vec<u16>,
}

impl Free {
    pub(super) fn new(taken: &Taken, mask: u16) -> Self {
        let slots: Vec<u16> = (0..=mask).filter(|&slot| taken.is_free(slot) == 1).collect();
        let mut places = vec![0; usize::from(mask) + 1];
        for (place, &slot) in (0..).zip(&slots) {
            if let Some(to) = places.get_mut(usize::from(slot)) {
                *to = place;
            }
        }
        Self { slots, places }
    }

    fn take(&mut self, slot: u16) {
        let place = self.places.get(usize::from(slot)).copied().unwrap_or_default();
        if usize::from(place) < self.slots.len() {
            self.slots.swap_remove(usize::from(place));
        }
        if let Some(&moved) = self.slots.get(usize::from(place))
            && let Some(to) = self.places.get_mut(usize::from(moved))
        {
            *to = place;
        }
    }
}

impl Walk {
    /// Steps to the first free slot, and takes it. One has to be free.
    ///
    /// Looks at four slots before it decides: where a walk ends is for no processor to foresee,
    /// and to be wrong costs it more than three looks.
    pub(super) fn step_to_free(&mut self, mask: u16, taken: &mut Taken) -> u16 {
        let mut at = self.at;
        loop {
            let ahead = |n: u16| at.wrapping_add(self.step.wrapping_mul(n));
            let free = (0..4_u16).fold(0, |free, n| free | taken.is_free(ahead(n) & mask) << n);
            if free != 0 {
                at = ahead(low(free.trailing_zeros().into()));
                break;
            }
            at = ahead(4);
        }
        taken.take(at & mask);
        self.at = at.wrapping_add(self.step);
        at & mask
    }

    /// The same slot as [`Self::step_to_free`] finds, by how many steps each free one is away.
    pub(super) fn jump_to_free(&mut self, mask: u16, free: &mut Free) -> Option<u16> {
        let (at, inverse) = (self.at, inverse(self.step));
        let away = |slot: u16| slot.wrapping_sub(at).wrapping_mul(inverse) & mask;
        free.slots.first()?;
        let steps = free.slots.iter().fold(mask, |least, &slot| least.min(away(slot)));
        let slot = at.wrapping_add(steps.wrapping_mul(self.step));
        free.take(slot & mask);
        self.at = slot.wrapping_add(self.step);
        Some(slot & mask)
    }
}

/// What an odd number gives 1 with, modulo 2^16: each round doubles the bits that are right, and an
/// odd number is its own inverse modulo 8.
const fn inverse(odd: u16) -> u16 {
    let mut x = odd;
    let mut round = 0;
    while round < 3 {
        x = x.wrapping_mul(2_u16.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_odd_number_has_an_inverse() {
        for odd in (1..=u16::MAX).step_by(2) {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1, "{odd}");
        }
    }

    #[test]
    fn the_nearest_is_where_the_walk_leads() {
        for size in [1_u16, 2, 64, 256, 1_024] {
            let mask = size - 1;
            for (at, step) in [(0, 1), (5, 3), (1_000, 64_223), (65_535, 65_535), (77, 12_345)] {
                let mut taken = Taken::new();
                let mut free = Free::new(&taken, mask);
                let mut walks = [Walk { at, step }, Walk { at, step }];
                let [walking, asking] = &mut walks;
                for _ in 0..size {
                    let found = walking.step_to_free(mask, &mut taken);
                    assert_eq!(asking.jump_to_free(mask, &mut free), Some(found), "{size} {at}");
                }
                assert_eq!(asking.jump_to_free(mask, &mut free), None);
            }
        }
    }
}
