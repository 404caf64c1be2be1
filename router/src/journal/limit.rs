//! No kind of line more often than somebody could read it: what repeats is left out and counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::entry::Entry;

/// Lines of one place in the program at once.
const BURST: u32 = 200;
/// After that, one more each time so much has gone by.
const EVERY: Duration = Duration::from_millis(100);

/// Target of lines of which none is left out: who changed what. Only those who may change something
/// can make them.
pub(crate) const AUDIT: &str = "tidegate::audit";

/// One for each place in the program that logs, so there is an end to them.
static PLACES: Mutex<Option<HashMap<Identifier, Place>>> = Mutex::new(None);

struct Place {
    left: u32,
    filled_at: Instant,
    left_out: u64,
    /// One of the lines that were left out.
    example: String,
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { left: BURST, filled_at: now, left_out: 0, example: String::new() }
    }

    /// Takes one; `false`: there is none.
    fn take(&mut self, now: Instant) -> bool {
        let come = now.duration_since(self.filled_at).as_millis() / EVERY.as_millis();
        let come = u32::try_from(come).unwrap_or(u32::MAX);
        if come > 0 {
            self.left = self.left.saturating_add(come).min(BURST);
            self.filled_at = now;
        }
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }
}

/// Lets lines through, or not.
#[derive(Debug)]
pub(super) struct Limit;

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) -> bool {
        if event.metadata().target() == AUDIT {
            return true;
        }
        let now = Instant::now();
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let places = places.get_or_insert_default();
        let place = places.entry(event.metadata().callsite()).or_insert_with(|| Place::new(now));
        let passes = place.take(now);
        if !passes {
            if place.left_out == 0 {
                place.example = Entry::of(event).message;
            }
            place.left_out += 1;
        }
        passes
    }
}

/// Says what was left out since the last time.
pub(crate) fn tell_left_out() {
    let taken: Vec<(u64, String)> = {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let places = places.iter_mut().flat_map(HashMap::values_mut);
        let with = places.filter(|place| place.left_out > 0);
        with.map(|it| (std::mem::take(&mut it.left_out), std::mem::take(&mut it.example))).collect()
    };
    // Not while it is locked: this is a line of its own.
    for (left_out, example) in taken {
        warn!(left_out, "lines were left out such as: {example}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_ten_a_second() {
        let start = Instant::now();
        let mut place = Place::new(start);
        let passed = (0..2 * BURST).filter(|_| place.take(start)).count();
        assert_eq!(passed, BURST as usize);
        let second = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| place.take(second)).count(), 10);
        let hour = start + Duration::from_hours(1);
        assert_eq!((0..2 * BURST).filter(|_| place.take(hour)).count(), BURST as usize);
    }
}
