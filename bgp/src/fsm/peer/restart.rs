//! Routes that outlive the session that brought them, because the peer has said that it would be
//! back: graceful restart as the one who helps (RFC 4724 §4.2, RFC 8538, RFC 9494), and what an
//! enhanced refresh has not named again yet (RFC 7313).
//!
//! Promise: what is kept has an end. Each family has a deadline, and is let go of at it, at the
//! peer's End-of-RIB, or when the peer comes back without having kept its forwarding state.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rib::Rib;
use crate::speaker::{DownCause, Expiry, Keeping, Report, Turn};
use crate::time::Timestamp;
use crate::types::Family;
use crate::wire::notification::Notification;
use crate::wire::{GracefulRestart, LongLived, Negotiated};

use super::Peer;

/// Routes of one family that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stale {
    phase: Phase,
    /// The end of that phase.
    until: Timestamp,
    /// The latest End-of-RIB that is waited for while there is a session.
    end_by: Timestamp,
    /// How long they live on after the restart time; zero: not at all.
    long: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Until the peer is back, or its restart time is over.
    Restart,
    /// The restart time is over (RFC 9494).
    LongLived,
    /// There is a session; until the End-of-RIB.
    Refill,
    /// The peer says everything again on a session that stands; until it says that it has.
    Refresh,
}

/// A refresh takes no longer (RFC 7313 §4 wants a bound): the default of `stale-time`, which is
/// about peers that are away.
const REFRESH_MAX: Duration = Duration::from_mins(6);

/// What is kept for one peer, and what it may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restart {
    /// From the OPENs of the session that stands, or stood last.
    said: Option<GracefulRestart>,
    long_lived: Vec<LongLived>,
    stale: BTreeMap<Family, Stale>,
}

impl Restart {
    /// Families of which routes are kept.
    pub(super) fn families(&self) -> Vec<Family> {
        self.stale.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stale.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.stale.values().map(|stale| stale.until).min()
    }

    /// The peer has said that it restarts gracefully: an end without a word is not the end of its
    /// routes, and it may be back before we know that it was gone.
    pub(super) const fn is_agreed(&self) -> bool {
        self.said.is_some()
    }

    /// Whether a NOTIFICATION, too, begins a restart (RFC 8538 §2): both sides have said so.
    pub(super) fn spares_notifications(&self) -> bool {
        self.said.is_some_and(|restart| restart.notification)
    }

    /// A session is up. Gives the families whose routes of before are not to be waited for: the
    /// peer is back without them (RFC 4724 §4.2).
    fn up(&mut self, now: Timestamp, agreed: &Negotiated) -> Vec<Family> {
        self.said = agreed.graceful_restart;
        self.long_lived.clone_from(&agreed.long_lived);
        let has_kept = |family: Family, phase: Phase| {
            let long = self.long_lived.iter().any(|it| it.family == family && it.forwarding);
            let short = self.said.is_some_and(|it| it.forwarding.contains(family));
            let kept = if phase == Phase::LongLived { long } else { short };
            agreed.families.contains(family) && kept
        };
        let all = self.stale.iter();
        let gone = all.filter(|(family, stale)| !has_kept(**family, stale.phase));
        let gone: Vec<Family> = gone.map(|(family, _)| *family).collect();
        self.stale.retain(|family, _| !gone.contains(family));
        for stale in self.stale.values_mut() {
            // What has aged was to be kept so long anyway: its time runs on.
            if stale.phase == Phase::Restart {
                stale.until = stale.end_by.max(now);
            }
            stale.phase = Phase::Refill;
        }
        gone
    }

    /// The session is over. Gives the families whose routes are kept.
    fn lost(&mut self, now: Timestamp, cause: &DownCause, keeping: Keeping) -> Vec<Family> {
        let begins = match cause {
            DownCause::ConnectionLost => true,
            DownCause::Sent(word) => self.spares_notifications() && !is_final(word),
            // Who sends it has chosen: what is final comes as a Hard Reset (RFC 8538 §4).
            DownCause::Received(word) => {
                self.spares_notifications() && (word.code, word.subcode) != HARD_RESET
            }
        };
        let restart = self.said.filter(|_| begins && !keeping.stale_max.is_zero());
        self.stale.clear();
        let Some(restart) = restart else { return Vec::new() };
        let time = Duration::from_secs(restart.restart_time_secs.into());
        for family in Family::UNICAST.into_iter().filter(|it| restart.families.contains(*it)) {
            let mut asked = self.long_lived.iter().filter(|long| long.family == family);
            let asked = asked.next().map_or(0, |long| long.stale_time_secs);
            let long = Duration::from_secs(asked.into()).min(keeping.long_lived_max);
            let until = now + time.min(keeping.stale_max);
            let end_by = now + keeping.stale_max;
            self.stale.insert(family, Stale { phase: Phase::Restart, until, end_by, long });
        }
        self.families()
    }

    /// Gives the families whose present phase is over, and what that means for their routes.
    fn expire(&mut self, now: Timestamp) -> Vec<(Family, Expiry)> {
        let mut over = Vec::new();
        self.stale.retain(|family, stale| {
            if stale.until > now {
                return true;
            }
            let ages = stale.phase == Phase::Restart && !stale.long.is_zero();
            over.push((
                *family,
                match stale.phase {
                    Phase::Refresh => Expiry::NotRepeated,
                    _ if ages => Expiry::Ages,
                    _ => Expiry::Gone,
                },
            ));
            (stale.phase, stale.until) = (Phase::LongLived, now + stale.long);
            ages
        });
        over
    }
}

/// Cease/9 (RFC 8538 §3).
const HARD_RESET: (u8, u8) = (6, 9);

/// Whether a NOTIFICATION of ours ends a session for good even where others begin a restart. What is sent
/// so is wrapped in a Hard Reset (RFC 8538 §3): the operator, or a limit, wants the routes gone, or
/// BFD has seen that packets do not arrive.
pub(super) fn is_final(word: &Notification) -> bool {
    matches!((word.code, word.subcode), (6, 1..=3 | 8..=10))
}

impl Peer {
    /// A session is up: before anything is heard on it.
    pub(super) fn end_restart(&mut self, agreed: &Negotiated, turn: &mut Turn<'_>) {
        for family in self.restart.up(turn.now, agreed) {
            self.drop_kept(family, turn.rib);
        }
    }

    /// Whether nothing of it has to be waited for before others are told that they know all that we
    /// announced before our restart (RFC 4724 §4.1). One without the capability may send no
    /// End-of-RIB, and one that restarts as we do waits for ours.
    pub(crate) fn has_said_all(&self) -> bool {
        let established = self.established().and_then(|at| self.attempts.get(at));
        let Some(connection) = established.and_then(|attempt| attempt.connection.as_ref()) else {
            return self.config.shutdown.is_some();
        };
        let Some((_, agreed)) = &connection.agreed else { return true };
        let mut read = agreed.families.iter().filter(|family| agreed.reads(*family));
        agreed.graceful_restart.is_none_or(|it| it.restarting)
            || read.all(|family| connection.ended.contains(family))
    }

    /// The session is over; its routes go, or are kept for a while.
    pub(super) fn begin_restart(&mut self, cause: &DownCause, turn: &mut Turn<'_>) {
        let Some(id) = self.rib else { return };
        for family in self.restart.families() {
            turn.rib.drop_stale(id, family); // RFC 4724 §4.2: of restarts in a row, the last counts.
        }
        let kept = self.restart.lost(turn.now, cause, self.config.keeping);
        if kept.is_empty() {
            return turn.rib.down(id);
        }
        turn.rib.down_keeping(id, &kept);
        let until = self.restart.next_deadline().map_or(Duration::ZERO, |at| at.since(turn.now));
        self.report(turn, |peer| Report::Kept { peer, until });
    }

    /// The peer has said everything of a family, on a new session.
    pub(super) fn heard_end_of_rib(&mut self, family: Family, rib: &mut Rib) {
        self.heard_all(family, Phase::Refill, rib);
    }

    /// It has done so again (RFC 7313 §4).
    pub(super) fn heard_end_of_refresh(&mut self, family: Family, rib: &mut Rib) {
        self.heard_all(family, Phase::Refresh, rib);
    }

    fn heard_all(&mut self, family: Family, phase: Phase, rib: &mut Rib) {
        if self.restart.stale.get(&family).is_some_and(|stale| stale.phase == phase) {
            self.restart.stale.remove(&family);
            self.drop_kept(family, rib);
        }
    }

    /// The peer begins to say everything of a family again (RFC 7313 §4).
    pub(super) fn begin_refresh(&mut self, family: Family, turn: &mut Turn<'_>) {
        if !self.rib.is_some_and(|id| turn.rib.begin_refresh(id, family)) {
            return;
        }
        let until = turn.now + REFRESH_MAX;
        let (phase, long) = (Phase::Refresh, Duration::ZERO);
        self.restart.stale.insert(family, Stale { phase, until, end_by: until, long });
    }

    /// Lets go of what is kept, or counts it as stale for long, when its time is over.
    pub(super) fn expire_kept(&mut self, turn: &mut Turn<'_>) {
        for (family, expiry) in self.restart.expire(turn.now) {
            if expiry == Expiry::Ages {
                if let Some(id) = self.rib {
                    turn.rib.age_stale(id, family);
                }
            } else {
                self.drop_kept(family, turn.rib);
            }
            self.report(turn, |peer| Report::Expired { peer, family, expiry });
        }
    }

    /// Everything that is kept goes at once.
    pub(super) fn drop_all_kept(&mut self, rib: &mut Rib) {
        for family in core::mem::take(&mut self.restart.stale).into_keys() {
            self.drop_kept(family, rib);
        }
    }

    fn drop_kept(&self, family: Family, rib: &mut Rib) {
        if let Some(id) = self.rib {
            rib.drop_stale(id, family);
        }
    }
}
