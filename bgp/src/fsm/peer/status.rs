//! A peer as others see it.

use crate::rib::Rib;
use crate::speaker::{PeerStatus, State};
use crate::time::Timestamp;

use super::{History, Peer};

impl Peer {
    /// The furthest state of its connections.
    pub(crate) fn state(&self) -> State {
        let states = self.attempts.iter().map(|attempt| attempt.session.state());
        states.max().unwrap_or(State::Idle)
    }

    pub(crate) fn status(&self, rib: &Rib) -> PeerStatus {
        let counts = self.counts(rib);
        let furthest = self.attempts.iter().max_by_key(|attempt| attempt.session.state());
        let established = self.established().and_then(|at| self.agreed(at));
        let connection = furthest.and_then(|attempt| attempt.connection.as_ref());
        PeerStatus {
            name: self.config.name.clone(),
            remote: self.remote().unwrap_or(self.config.remote),
            remote_as: self.config.remote_as,
            state: self.state(),
            since: furthest.map_or(Timestamp::default(), |attempt| attempt.session.since()),
            router_id: connection.and_then(|conn| conn.agreed.as_ref()).map(|(id, _)| *id),
            hold_time: established.map(|(_, agreed)| agreed.hold_time),
            families: established
                .map_or(Vec::new(), |(_, agreed)| agreed.families.iter().collect()),
            messages_received: self.messages_received,
            messages_sent: self.messages_sent,
            prefixes_received: count(counts.received),
            prefixes_advertised: count(counts.advertised),
            counts: self.rib.map_or(Vec::new(), |id| rib.counts_by_family(id).to_vec()),
            notifications: self.history.notifications.clone(),
            malformed: self.malformed,
            flaps: self.flaps,
            last_down: self.last_down.clone(),
            range: self.range.clone(),
            shutdown: self.config.shutdown.clone(),
            stale: self.restart.families(),
        }
    }

    pub(crate) const fn history(&self) -> &History {
        &self.history
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
