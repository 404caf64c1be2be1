//! What the operator wants of a peer: started, stopped, configured otherwise.

use crate::speaker::{PeerConfig, Turn};
use crate::wire::notification::Notification;

use super::super::session::{Again, Event};
use super::Peer;
use crate::speaker::State;

impl Peer {
    /// Starts it, unless the operator keeps it down.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>) {
        if self.config.shutdown.is_some() {
            return;
        }
        let event =
            if self.config.passive { Event::ManualStartWithPassiveTcp } else { Event::ManualStart };
        self.feed(0, event, turn);
    }

    pub(crate) fn stop(&mut self, cease: &Notification, turn: &mut Turn<'_>) {
        for at in 0..self.attempts.len() {
            self.feed(at, Event::ManualStop(cease.clone()), turn);
        }
        self.drop_losers();
    }

    /// No packet reaches it any more.
    pub(crate) fn path_down(&mut self, turn: &mut Turn<'_>) {
        let established = |attempt: &super::Attempt| attempt.session.state() == State::Established;
        if let Some(at) = self.attempts.iter().position(established) {
            self.feed(at, Event::AutomaticStop(Notification::BFD_DOWN, Again::Soon), turn);
            self.drop_losers();
        }
    }

    /// Takes the new configuration; resets the session only if it depends on what changed.
    pub(crate) fn reconfigure(&mut self, config: PeerConfig, turn: &mut Turn<'_>) {
        let softly = PeerConfig {
            passive: self.config.passive,
            connect_retry: self.config.connect_retry,
            next_hops: self.config.next_hops,
            prefix_limits: self.config.prefix_limits.clone(),
            shutdown: self.config.shutdown.clone(),
            policies: self.config.policies.clone(),
            bfd: self.config.bfd,
            ..config.clone()
        };
        let needs_reset = softly != self.config;
        let limits_changed = config.prefix_limits != self.config.prefix_limits;
        match &config.shutdown {
            Some(text) => self.stop(&Notification::administrative_shutdown(text), turn),
            None if needs_reset => self.stop(&Notification::OTHER_CONFIGURATION_CHANGE, turn),
            None => {}
        }
        if needs_reset {
            self.forget_routes(turn.rib);
        }
        for attempt in &mut self.attempts {
            attempt.session.reconfigure(turn.now, config.passive, config.connect_retry);
        }
        let was_down = self.config.shutdown.is_some();
        self.config = config;
        // A session that went beyond its limit may wait for a new one.
        let waits = limits_changed && self.state() == State::Idle;
        if turn.running && (needs_reset || was_down || waits) {
            self.start(turn);
        }
        if limits_changed {
            self.keep_limits(turn);
        }
        self.readvertise(turn);
    }
}
