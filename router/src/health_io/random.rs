//! Chance for spreading checks over time; worth nothing for secrets.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// Marsaglia's xorshift64, seeded by the standard library from the operating system.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        // Zero is the one state that xorshift never leaves.
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    fn next(&mut self) -> [u8; 8] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()
    }

    /// Any octets.
    pub(crate) fn octets<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| {
            let [first, ..] = self.next();
            first
        })
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u16 {
        u16::from_be_bytes(self.octets())
    }

    /// At least 0, less than 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        let [high @ .., _, _, _, _] = self.next();
        f64::from(u32::from_be_bytes(high)) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_stay_in_range_and_spread() {
        let mut random = Random::new();
        let fractions: Vec<f64> = (0..1000).map(|_| random.fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        assert!(fractions.iter().any(|fraction| *fraction < 0.1));
        assert!(fractions.iter().any(|fraction| *fraction > 0.9));
    }
}
