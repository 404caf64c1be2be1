//! What the operator wants of a peer: started, stopped, configured otherwise.

use core::net::SocketAddr;

use crate::speaker::{PeerConfig, Turn};
use crate::wire::notification::Notification;

use super::super::session::{Again, Event};
use super::Peer;
use crate::speaker::State;

impl Peer {
    /// Starts it, unless the operator keeps it down.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>) {
        if self.config.shutdown.is_some() || self.remote().is_none() {
            return;
        }
        let event =
            if self.config.passive { Event::ManualStartWithPassiveTcp } else { Event::ManualStart };
        self.feed(0, event, turn);
    }

    /// A router was heard at the other end of its link.
    pub(crate) fn found(&mut self, mut at: SocketAddr, turn: &mut Turn<'_>) {
        at.set_port(self.config.remote.port());
        let connected = self.state() >= State::OpenSent;
        if !self.config.transport.unnumbered || connected || self.found == Some(at) {
            return;
        }
        // Who was there before is dialled no more; a new one does not make us dial sooner.
        if self.found.replace(at).is_none() && turn.running {
            self.start(turn);
        }
    }

    pub(crate) fn stop(&mut self, cease: &Notification, turn: &mut Turn<'_>) {
        for at in 0..self.attempts.len() {
            self.feed(at, Event::ManualStop(cease.clone()), turn);
        }
        self.drop_losers();
        self.drop_all_kept(turn.rib);
    }

    /// We are about to be started again.
    pub(crate) fn leave(&mut self, turn: &mut Turn<'_>) {
        if let Some(at) = self.established().filter(|_| self.restart.is_agreed()) {
            self.feed(at, Event::TcpConnectionFails, turn); // It is we who break it: that is all.
        }
        self.stop(&Notification::ADMINISTRATIVE_RESET, turn);
    }

    /// No packet reaches it any more.
    pub(crate) fn path_down(&mut self, turn: &mut Turn<'_>) {
        if let Some(at) = self.established() {
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
        if self.config.transport.interface != config.transport.interface {
            self.found = None;
        }
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
