//! How many callers were refused, by reason: a handful of counts for all of the API.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a caller gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// He showed no good token and no certificate.
    Unauthorized,
    /// He may only read.
    ReadOnly,
    /// He asks too often.
    TooFast,
    /// His address has as many connections as one may have.
    Connections,
    /// He did not shake hands, or not in time.
    Handshake,
    /// The daemon had no time, or no place to wait.
    Busy,
}

static COUNTS: [AtomicU64; Refusal::ALL.len()] = [const { AtomicU64::new(0) }; Refusal::ALL.len()];

impl Refusal {
    const ALL: [Self; 6] = [
        Self::Unauthorized,
        Self::ReadOnly,
        Self::TooFast,
        Self::Connections,
        Self::Handshake,
        Self::Busy,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::ReadOnly => "read-only",
            Self::TooFast => "too-fast",
            Self::Connections => "connections",
            Self::Handshake => "handshake",
            Self::Busy => "busy",
        }
    }

    /// One more.
    pub(super) fn count(self) {
        if let Some(count) = COUNTS.get(self as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Of each kind so many since the start.
pub(crate) fn counts() -> impl Iterator<Item = (&'static str, u64)> {
    let all = Refusal::ALL.into_iter().zip(&COUNTS);
    all.map(|(kind, count)| (kind.name(), count.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_of_its_own() {
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, at, "{refusal:?} is not in the order of its counts");
        }
        // Others count too meanwhile.
        let of = |wanted: &str| counts().find(|(name, _)| *name == wanted).unwrap().1;
        let before = of("handshake");
        Refusal::Handshake.count();
        assert!(of("handshake") > before);
    }
}
