//! One bit per number, as long as the highest one set.

use serde::{Deserialize, Serialize};

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u64>", into = "Vec<u64>")]
pub(super) struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

const fn place(id: u32) -> (usize, u64) {
    (id as usize / 64, 1 << (id % 64))
}

impl From<Vec<u64>> for Bitmap {
    fn from(words: Vec<u64>) -> Self {
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        Self { words, len }
    }
}

impl From<Bitmap> for Vec<u64> {
    fn from(bitmap: Bitmap) -> Self {
        bitmap.words
    }
}

impl Bitmap {
    /// Behind the highest number in it.
    pub(super) fn end(&self) -> u32 {
        let last = (0..).zip(&self.words).filter(|(_, word)| **word != 0).last();
        last.map_or(0, |(at, word): (u32, &u64)| {
            at.saturating_mul(64).saturating_add(64 - word.leading_zeros())
        })
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        let (word, bit) = place(id);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many numbers it holds.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `false`: it was there already.
    pub(super) fn insert(&mut self, id: u32) -> bool {
        let (at, bit) = place(id);
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let Some(word) = self.words.get_mut(at) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        self.len += usize::from(new);
        new
    }

    /// Takes out the lowest numbers, `limit` of them at most.
    pub(super) fn take(&mut self, limit: usize) -> Vec<u32> {
        let mut taken = Vec::new();
        for (at, word) in self.words.iter_mut().enumerate() {
            while *word != 0 && taken.len() < limit {
                let id = at * 64 + word.trailing_zeros() as usize;
                taken.push(u32::try_from(id).unwrap_or(u32::MAX));
                *word &= *word - 1;
            }
            if taken.len() == limit {
                break;
            }
        }
        self.len -= taken.len();
        taken
    }

    /// `false`: it was not there.
    pub(super) fn remove(&mut self, id: u32) -> bool {
        let (at, bit) = place(id);
        let Some(word) = self.words.get_mut(at) else { return false };
        let old = *word & bit != 0;
        *word &= !bit;
        self.len -= usize::from(old);
        old
    }
}
