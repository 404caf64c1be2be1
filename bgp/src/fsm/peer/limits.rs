//! How many prefixes a peer may announce (RFC 4486 §4): a warning on the way, then the end.

use std::collections::BTreeSet;

use crate::speaker::{PrefixLimits, Report, Turn};
use crate::types::Family;
use crate::wire::notification::Notification;

use super::super::session::{Again, Event};
use super::Peer;

/// What a count means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// At or above the share from which on the operator wants to know.
    Many,
    TooMany,
}

/// Judges `count` prefixes against the limit `max`.
pub(super) fn judge(limits: &PrefixLimits, max: u32, count: usize) -> Verdict {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    let max = u64::from(max);
    if count > max {
        return Verdict::TooMany;
    }
    let share = |percent| count > 0 && count * 100 >= max * u64::from(percent);
    if limits.warn_percent.is_some_and(share) { Verdict::Many } else { Verdict::Fine }
}

impl Peer {
    /// Looks at what the peer announces now. To be called when that, or the limit, has changed;
    /// a session that goes beyond it is closed.
    pub(super) fn keep_limits(&mut self, turn: &mut Turn<'_>) {
        let Some(at) = self.established() else { return };
        self.watch_paths(turn);
        for (family, max) in self.config.prefix_limits.max.clone() {
            let count = self.rib.map_or(0, |id| turn.rib.received(id, family));
            match judge(&self.config.prefix_limits, max, count) {
                Verdict::Fine => {}
                Verdict::Many => self.warn(family, count, max, turn),
                Verdict::TooMany => {
                    let restart = self.config.prefix_limits.restart;
                    let again = restart.map_or(Again::Never, Again::After);
                    let cease = Notification::maximum_prefixes(family, max);
                    return self.feed(at, Event::AutomaticStop(cease, again), turn);
                }
            }
        }
    }

    /// Paths beyond what the peer may have to one prefix are not taken.
    fn watch_paths(&mut self, turn: &mut Turn<'_>) {
        if !self.warned.paths && self.counts(turn.rib).refused > 0 {
            self.warned.paths = true;
            let max = self.config.path_limits.receive;
            self.report(turn, |peer| Report::ManyPaths { peer, max });
        }
    }

    fn warn(&mut self, family: Family, count: usize, max: u32, turn: &mut Turn<'_>) {
        if self.warned.families.insert(family) {
            let prefixes = u32::try_from(count).unwrap_or(u32::MAX);
            self.report(turn, |peer| Report::ManyPrefixes { peer, family, prefixes, max });
        }
    }
}

/// What the operator has been told on this session.
#[derive(Debug, Default)]
pub(super) struct Warned {
    /// Families with many prefixes.
    families: BTreeSet<Family>,
    /// That paths are not taken.
    paths: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_comes_at_its_share_and_the_end_one_beyond_the_limit() {
        let limits = |warn_percent| PrefixLimits { warn_percent, ..PrefixLimits::default() };
        // Percent, limit, count.
        let cases = [
            ("below", Some(80), 10, 7, Verdict::Fine),
            ("at the share", Some(80), 10, 8, Verdict::Many),
            ("at the limit", Some(80), 10, 10, Verdict::Many),
            ("beyond", Some(80), 10, 11, Verdict::TooMany),
            ("no warning wanted", None, 10, 10, Verdict::Fine),
            ("no warning wanted, beyond", None, 10, 11, Verdict::TooMany),
            ("nothing may come, nothing came", Some(80), 0, 0, Verdict::Fine),
            ("nothing may come", Some(80), 0, 1, Verdict::TooMany),
            ("the largest limit", Some(100), u32::MAX, 4_000_000_000, Verdict::Fine),
        ];
        for (name, percent, max, count, expected) in cases {
            assert_eq!(judge(&limits(percent), max, count), expected, "{name}");
        }
    }
}
