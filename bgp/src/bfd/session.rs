//! One session (RFC 5880 §6): its state machine, its intervals, its Poll Sequences.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::packet::{Diagnostic, Packet, State, micros};
use crate::rng::Rng;
use crate::time::Timestamp;

/// While a session is not Up it sends no more often (§6.8.3).
const SLOW_TX_US: u32 = 1_000_000;

/// How often packets are to come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// We would like to send no more often than this, in microseconds.
    pub desired_min_tx_us: u32,
    /// We can take no more often than this, in microseconds; not zero.
    pub required_min_rx_us: u32,
    /// So many intervals without a packet are too many; not zero.
    pub detect_mult: u8,
}

impl Timing {
    const fn is_sound(self) -> bool {
        self.detect_mult > 0 && self.required_min_rx_us > 0
    }
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Both sides hear each other.
    Up,
    /// They no longer do.
    Down(Diagnostic),
    /// The other side's operator has taken the session down: that says nothing of the way to it,
    /// and whoever relies on it must not take it for a failure (RFC 5882 §4.2).
    AdminDown,
}

/// A session with one neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// As the other side knows it.
    timing: Timing,
    /// As it is to be from the end of the Poll Sequence on.
    wanted: Timing,
    rng: Rng,
    state: State,
    diagnostic: Diagnostic,
    discriminator: u32,
    /// Zero while the other side's is not known.
    remote_discriminator: u32,
    remote_state: State,
    remote_min_rx_us: u32,
    remote_min_tx_us: u32,
    remote_mult: u8,
    remote_demand: bool,
    /// A Poll Sequence is on: every packet asks until one answers.
    polling: bool,
    next_tx: Timestamp,
    /// When the last packet came that counted.
    heard: Option<Timestamp>,
}

impl Session {
    /// Down, in the Active role: it sends at once. `discriminator` is ours alone, not zero.
    pub fn new(now: Timestamp, timing: Timing, discriminator: u32, rng: Rng) -> Self {
        Self {
            timing,
            wanted: timing,
            rng,
            state: State::Down,
            diagnostic: Diagnostic::default(),
            discriminator,
            remote_discriminator: 0,
            remote_state: State::Down,
            remote_min_rx_us: 1,
            remote_min_tx_us: 0,
            remote_mult: 0,
            remote_demand: false,
            polling: false,
            next_tx: now,
            heard: None,
        }
    }

    /// Whether it can be what a session was: one that comes from another process is asked.
    pub const fn is_sound(&self) -> bool {
        self.timing.is_sound() && self.wanted.is_sound() && self.discriminator != 0
    }

    /// Goes on after a pause that was ours: what the other side sent meanwhile is still to be read.
    pub fn resume(&mut self, now: Timestamp) {
        self.heard = self.heard.map(|_| now);
        self.next_tx = now;
    }

    /// Its state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// What the other side last said of itself.
    pub const fn remote_state(&self) -> State {
        self.remote_state
    }

    /// Why it was last left.
    pub const fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// Our number of it.
    pub const fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// After so much silence it is down (§6.8.4); `None`: nothing has been heard yet.
    pub fn detection_time(&self) -> Option<Duration> {
        // §6.8.3: until the other side has heard that we can take more, it sends as before.
        let required = self.timing.required_min_rx_us.max(self.wanted.required_min_rx_us);
        let interval = required.max(self.remote_min_tx_us);
        (self.remote_mult > 0).then(|| micros(interval) * u32::from(self.remote_mult))
    }

    /// The interval between our packets before jitter (§6.8.7); `None`: the other side wants none.
    pub fn tx_interval(&self) -> Option<Duration> {
        let silent = self.remote_min_rx_us == 0
            || self.remote_demand && self.state == State::Up && self.remote_state == State::Up;
        let interval = self.desired_min_tx_us().max(self.remote_min_rx_us);
        (!silent || self.polling).then(|| micros(interval))
    }

    /// Other timing from now on; the other side is told by a Poll Sequence.
    pub fn set_timing(&mut self, timing: Timing) {
        if self.wanted == timing {
            return;
        }
        self.wanted = timing;
        if self.state == State::Up {
            self.polling = true;
        } else {
            self.timing = timing;
        }
    }

    /// Keeps the session down from now on: the other side is told so, and does not take our silence
    /// for a failure (§6.8.16). To be sent until the Detection Time is over.
    pub fn shut_down(&mut self, now: Timestamp) {
        self.fall(Diagnostic::ADMINISTRATIVELY_DOWN);
        self.state = State::AdminDown;
        self.next_tx = now;
    }

    /// A packet of the other side's, for this session. An answer that is due at once comes back.
    pub fn received(&mut self, now: Timestamp, packet: &Packet) -> (Option<Packet>, Option<News>) {
        self.remote_discriminator = packet.my_discriminator;
        self.remote_state = packet.state;
        self.remote_demand = packet.demand;
        self.remote_min_rx_us = packet.required_min_rx_us;
        self.remote_min_tx_us = packet.desired_min_tx_us;
        self.remote_mult = packet.detect_mult;
        if packet.fin && self.polling {
            self.polling = false;
            self.timing = self.wanted;
        }
        self.heard = Some(now);
        let news = self.step(packet.state);
        if news.is_some() {
            self.next_tx = now; // Both sides are to know soon.
        } else if let Some(interval) = self.tx_interval() {
            self.next_tx = self.next_tx.min(now + interval); // It may have become shorter.
        }
        let answer = packet.poll.then(|| Packet { poll: false, fin: true, ..self.packet() });
        (answer, news)
    }

    /// The state machine of §6.8.6.
    fn step(&mut self, remote: State) -> Option<News> {
        match (self.state, remote) {
            (State::Down, State::Down) => {
                self.state = State::Init;
                None
            }
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.state = State::Up;
                self.diagnostic = Diagnostic::default();
                // Our interval gets shorter, which the other side is to be told.
                self.polling = self.wanted.desired_min_tx_us < SLOW_TX_US;
                Some(News::Up)
            }
            (State::Up, State::Down) => {
                Some(News::Down(self.fall(Diagnostic::NEIGHBOR_SIGNALED_DOWN)))
            }
            (State::Up, State::AdminDown) => {
                self.fall(Diagnostic::NEIGHBOR_SIGNALED_DOWN);
                Some(News::AdminDown)
            }
            (State::Init, State::AdminDown) => {
                self.fall(Diagnostic::NEIGHBOR_SIGNALED_DOWN);
                None
            }
            _ => None,
        }
    }

    fn fall(&mut self, why: Diagnostic) -> Diagnostic {
        self.state = State::Down;
        self.diagnostic = why;
        self.polling = false;
        self.timing = self.wanted;
        why
    }

    /// What is due: a packet to be sent, and the end of a session that has gone silent.
    pub fn on_time(&mut self, now: Timestamp) -> (Option<Packet>, Option<News>) {
        let mut news = None;
        if self.silent_at().is_some_and(|at| at <= now) {
            if matches!(self.state, State::Init | State::Up) {
                let was_up = self.state == State::Up;
                let why = self.fall(Diagnostic::TIME_EXPIRED);
                news = was_up.then_some(News::Down(why));
                self.next_tx = now;
            }
            // §6.8.1: forgotten, so that one who starts anew is not taken for the old one.
            self.remote_discriminator = 0;
            self.remote_min_rx_us = 1;
            self.heard = None;
        }
        if self.next_tx > now {
            return (None, news);
        }
        let Some(interval) = self.tx_interval() else { return (None, news) };
        self.next_tx = now + self.jittered(interval);
        (Some(self.packet()), news)
    }

    /// When [`Self::on_time`] has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let next_tx = self.tx_interval().map(|_| self.next_tx);
        next_tx.into_iter().chain(self.silent_at()).min()
    }

    fn silent_at(&self) -> Option<Timestamp> {
        Some(self.heard? + self.detection_time()?)
    }

    /// The interval that we send at, as far as it is ours to say.
    fn desired_min_tx_us(&self) -> u32 {
        match self.state {
            // §6.8.3: until the other side has heard that we send less often, we do not.
            State::Up => self.timing.desired_min_tx_us.min(self.wanted.desired_min_tx_us),
            State::AdminDown => self.wanted.desired_min_tx_us,
            State::Down | State::Init => self.wanted.desired_min_tx_us.max(SLOW_TX_US),
        }
    }

    /// §6.8.7: 75 to 100 %; with a multiplier of one at most 90 %, so that not one packet is late.
    fn jittered(&mut self, interval: Duration) -> Duration {
        let jittered = self.rng.jittered(interval);
        if self.wanted.detect_mult == 1 { jittered.min(interval * 9 / 10) } else { jittered }
    }

    /// What we say of ourselves now.
    pub fn packet(&self) -> Packet {
        let said = match self.state {
            State::Up => self.wanted.desired_min_tx_us,
            _ => self.desired_min_tx_us(),
        };
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.polling,
            fin: false,
            demand: false,
            detect_mult: self.wanted.detect_mult,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote_discriminator,
            desired_min_tx_us: said,
            required_min_rx_us: self.wanted.required_min_rx_us,
        }
    }
}
