//! Keyed hashing: peers choose what is hashed, so the key must be unknown to them.

/// Two secrets, drawn once per speaker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher {
    left: u64,
    right: u64,
}

impl Hasher {
    pub(super) const fn new(rng: &mut crate::rng::Rng) -> Self {
        Self { left: rng.next_u64(), right: rng.next_u64() | 1 }
    }

    /// Two words.
    pub(super) const fn words(self, a: u64, b: u64) -> u64 {
        fold(fold(a ^ self.left, b ^ self.right), self.left | 1)
    }

    /// Any bytes.
    pub(super) fn bytes(self, bytes: &[u8]) -> u64 {
        let mut state = self.left ^ bytes.len() as u64;
        let mut rest = bytes;
        while let Some((block, after)) = rest.split_first_chunk::<16>() {
            let [a, b] = halves(*block);
            state = fold(a ^ state, b ^ self.right);
            rest = after;
        }
        let mut last = [0; 16];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let [a, b] = halves(last);
        fold(fold(a ^ state, b ^ self.right), self.left | 1)
    }
}

const fn halves(block: [u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(block);
    [low(both), low(both >> 64)]
}

/// Multiplies to twice the width and folds the halves onto each other.
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    low(product) ^ low(product >> 64)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(wide: u128) -> u64 {
    wide as u64
}
