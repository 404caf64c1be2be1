//! What the results of a health check say about a backend: rise and fall.

use serde::{Deserialize, Serialize};

/// What is known of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Too few results so far to call it up or down.
    Unknown,
    /// It takes flows.
    Up,
    /// It takes none.
    Down,
}

/// A verdict that a result has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The backend is up from now on.
    Up,
    /// The backend is down from now on.
    Down,
}

/// The state of one check of one backend.
///
/// It starts as [`Verdict::Unknown`], and there one good result is enough, so that a start takes
/// one check and not `rise`; but bad ones must be `fall` in a row, so that one lost packet after a
/// restart takes no backend out of a ring that worked. After that it is `rise` good ones in a row
/// to come up, `fall` bad ones to go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    rise: u32,
    fall: u32,
    verdict: Verdict,
    /// Results in a row against the verdict.
    against: u32,
}

impl Health {
    /// `rise` and `fall` in results, at least 1 each; 0 counts as 1.
    pub const fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, verdict: Verdict::Unknown, against: 0 }
    }

    /// What is known now.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What another process knew.
    pub const fn restore(&mut self, verdict: Verdict) {
        self.verdict = verdict;
        self.against = 0;
    }

    /// Other thresholds after a change of the configuration; what is known stays.
    pub const fn set_thresholds(&mut self, rise: u32, fall: u32) {
        self.rise = rise;
        self.fall = fall;
    }

    /// Takes one result in; `Some` if it changed the verdict.
    pub const fn on_result(&mut self, good: bool) -> Option<Change> {
        let needed = match (self.verdict, good) {
            (Verdict::Up, true) | (Verdict::Down, false) => {
                self.against = 0;
                return None;
            }
            (Verdict::Unknown, true) => 1,
            (Verdict::Down, true) => self.rise,
            (Verdict::Unknown | Verdict::Up, false) => self.fall,
        };
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        self.against = 0;
        if good {
            self.verdict = Verdict::Up;
            Some(Change::Up)
        } else {
            self.verdict = Verdict::Down;
            Some(Change::Down)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_and_fall_count_results_in_a_row() {
        // Results ('+' good, '-' bad) and what the last one of them changed.
        let up = Some(Change::Up);
        let down = Some(Change::Down);
        let cases = [
            ("the first good result brings up", 3, 3, "+", up, Verdict::Up),
            ("one bad result at the start decides nothing", 2, 3, "-", None, Verdict::Unknown),
            ("bad at first, then good", 3, 3, "--+", up, Verdict::Up),
            ("never good", 2, 3, "---", down, Verdict::Down),
            ("down is said once", 2, 3, "----", None, Verdict::Down),
            ("up is said once", 2, 3, "++", None, Verdict::Up),
            ("two of three bad", 2, 3, "+--", None, Verdict::Up),
            ("three of three bad", 2, 3, "+---", down, Verdict::Down),
            ("a good one starts the count anew", 2, 3, "+--+--", None, Verdict::Up),
            ("after a fall one good is not enough", 2, 3, "+---+", None, Verdict::Down),
            ("after a fall two good ones are", 2, 3, "+---++", up, Verdict::Up),
            ("a bad one starts the count anew", 2, 3, "+---+-+", None, Verdict::Down),
            ("one bad is enough", 1, 1, "+-", down, Verdict::Down),
            ("zero counts as one", 0, 0, "+-", down, Verdict::Down),
        ];
        for (name, rise, fall, results, change, verdict) in cases {
            let mut health = Health::new(rise, fall);
            let mut last = None;
            for result in results.chars() {
                last = health.on_result(result == '+');
            }
            assert_eq!((last, health.verdict()), (change, verdict), "{name}");
        }
    }

    #[test]
    fn new_thresholds_keep_what_is_known() {
        let mut health = Health::new(2, 3);
        assert_eq!(health.on_result(true), Some(Change::Up));
        health.set_thresholds(2, 1);
        assert_eq!(health.verdict(), Verdict::Up);
        assert_eq!(health.on_result(false), Some(Change::Down));
    }
}
