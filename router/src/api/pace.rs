//! How fast callers may ask, in memory that no number of them makes grow.
//!
//! Pure: time is an argument. Each caller has a place by a hash of its name; those who meet there
//! share what one may have. Places of callers who are known are others than those of strangers, so
//! that no stranger takes anything from who is known.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers of a kind with places of their own, nearly.
const PLACES: usize = 1024;
/// So much of a second's worth may come at once.
const BURST: Duration = Duration::from_secs(2);

/// Callers of one kind.
#[derive(Debug)]
pub(super) struct Pace {
    hashes: RandomState,
    /// When all that was asked so far would have been asked, at the rate that there is (the generic
    /// cell rate algorithm: the theoretical arrival time).
    places: Mutex<Vec<Option<Instant>>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { hashes: RandomState::new(), places: Mutex::new(vec![None; PLACES]) }
    }
}

impl Pace {
    /// Takes note of a request.
    ///
    /// # Errors
    /// It is one too many: how long to wait.
    pub(super) fn take(&self, who: impl Hash, rate: u32, now: Instant) -> Result<(), Duration> {
        let place = usize::try_from(self.hashes.hash_one(who) % PLACES as u64).unwrap_or(0);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = places.get_mut(place) else { return Ok(()) };
        let asked = place.map_or(now, |it| it.max(now)) + Duration::from_secs(1) / rate.max(1);
        let ahead = asked.duration_since(now);
        let beyond = ahead.saturating_sub(BURST);
        if !beyond.is_zero() {
            return Err(beyond);
        }
        *place = Some(asked);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_burst_and_then_its_rate_whatever_others_do() {
        let (pace, start) = (Pace::default(), Instant::now());
        let granted = |who: &str, now| (0..100).filter(|_| pace.take(who, 10, now).is_ok()).count();
        assert_eq!(granted("one", start), 20);
        let wait = pace.take("one", 10, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(granted("one", start + wait), 1);
        assert_eq!(granted("one", start + wait + Duration::from_secs(1)), 10);
        assert_eq!(granted("one", start + Duration::from_hours(1)), 20, "no more is saved up");
        // Of many others nearly all have places of their own, and none has more than one.
        let others = (0..50).map(|it| granted(&format!("other {it}"), start));
        let others: Vec<usize> = others.collect();
        assert!(others.iter().all(|it| *it <= 20), "{others:?}");
        assert!(others.iter().filter(|it| **it == 20).count() > 30, "{others:?}");
    }
}
