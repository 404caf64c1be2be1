//! Chance as the pure core sees it: a seeded sequence, so that a run can be repeated.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// SplitMix64: enough to keep two speakers from doing everything at the same moment; no secret
/// may depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng(u64);

impl Rng {
    /// The sequence that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A sequence of its own, which draws nothing from this one later.
    #[must_use]
    pub const fn split(&mut self) -> Self {
        Self(self.next_u64())
    }

    /// Between 75 % and 100 % of `full` (RFC 4271 §10), in steps of a thousandth.
    pub fn jittered(&mut self, full: Duration) -> Duration {
        let thousandths = 750 + u32::try_from(self.next_u64() % 251).unwrap_or(0);
        full / 1000 * thousandths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_three_quarters_and_the_whole() {
        let mut rng = Rng::new(1);
        let full = Duration::from_mins(1);
        let drawn: Vec<Duration> = (0..1000).map(|_| rng.jittered(full)).collect();
        assert!(drawn.iter().all(|wait| (full * 3 / 4..=full).contains(wait)), "{drawn:?}");
        assert!(drawn.iter().max() > drawn.iter().min(), "no jitter at all");
    }

    #[test]
    fn the_same_seed_gives_the_same_sequence_and_another_one_does_not() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
