//! One BGP session: the finite state machine of RFC 4271 §8 over a single TCP connection.
//!
//! Pure: time is an argument, output is a list of [`Effect`]s. Which of two connections survives
//! is [`peer`](super::peer)'s matter (§6.8); bytes are [`wire`](crate::wire)'s.
//!
//! Promise: every event is legal in every state. A surprise ends in `Idle`, never in a panic.
//! `docs/reference/fsm.md` is this file as a table, written by its test.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::speaker::{DownCause, State};
use crate::time::Timestamp;
use crate::types::HoldTime;
use crate::wire::notification::Notification;

use super::collision::is_collision;

/// How long an OPEN may take to come: the "large value" of RFC 4271 §8.2.2.
pub const HOLD_TIME_LARGE: Duration = Duration::from_mins(4);

/// IdleHoldTime after the first failure; it doubles with each further one (DampPeerOscillations,
/// RFC 4271 §8.1.1).
pub const IDLE_HOLD_MIN: Duration = Duration::from_secs(1);

/// IdleHoldTime does not grow beyond this.
pub const IDLE_HOLD_MAX: Duration = Duration::from_mins(1);

/// A session that was Established this long did not oscillate: its end counts as a first failure.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// A shorter ConnectRetryTime would only load the network.
const CONNECT_RETRY_MIN: Duration = Duration::from_secs(1);

/// The events of RFC 4271 §8.1, with their numbers, and one of RFC 2918.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// 1: the operator configured the peer.
    ManualStart,
    /// 2: the operator wants it closed, with this Cease.
    ManualStop(Notification),
    /// 4: start, but wait for the peer to connect.
    ManualStartWithPassiveTcp,
    /// 8: the speaker itself wants it closed, with this NOTIFICATION, and left alone so long.
    AutomaticStop(Notification, Again),
    /// 9
    ConnectRetryTimerExpires,
    /// 10
    HoldTimerExpires,
    /// 11
    KeepaliveTimerExpires,
    /// 13; stands for the automatic starts (3, 5, 6, 7) as well, which it triggers.
    IdleHoldTimerExpires,
    /// 16: the connection that we dialled is up.
    TcpCrAcked,
    /// 17: the peer's connection was accepted.
    TcpConnectionConfirmed,
    /// 18: the connection broke, was closed, or did not come up.
    TcpConnectionFails,
    /// 19: an OPEN that we agree with; the Hold Time that both agree on.
    BgpOpen(HoldTime),
    /// 21: the stream makes no sense; the answer to it.
    BgpHeaderErr(Notification),
    /// 22: an OPEN that we do not agree with; the answer to it.
    BgpOpenMsgErr(Notification),
    /// 23: this connection lost against the other one.
    OpenCollisionDump,
    /// 24: a NOTIFICATION that the version is not supported.
    NotifMsgVerErr(Notification),
    /// 25: any other NOTIFICATION.
    NotifMsg(Notification),
    /// 26
    KeepAliveMsg,
    /// 27
    UpdateMsg,
    /// 28: an UPDATE beyond repair; the answer to it.
    UpdateMsgErr(Notification),
    /// 29: the peer takes nothing of what is sent to it (RFC 9687 §3.1).
    SendHoldTimerExpires,
    /// ROUTE-REFRESH (RFC 2918), which RFC 4271 does not know.
    RouteRefreshMsg,
}

impl Event {
    /// The name in RFC 4271 §8.1, or RFC 9687 and RFC 2918.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ManualStart => "ManualStart",
            Self::ManualStop(_) => "ManualStop",
            Self::ManualStartWithPassiveTcp => "ManualStart_with_PassiveTcpEstablishment",
            Self::AutomaticStop(..) => "AutomaticStop",
            Self::ConnectRetryTimerExpires => "ConnectRetryTimer_Expires",
            Self::HoldTimerExpires => "HoldTimer_Expires",
            Self::KeepaliveTimerExpires => "KeepaliveTimer_Expires",
            Self::IdleHoldTimerExpires => "IdleHoldTimer_Expires",
            Self::TcpCrAcked => "Tcp_CR_Acked",
            Self::TcpConnectionConfirmed => "TcpConnectionConfirmed",
            Self::TcpConnectionFails => "TcpConnectionFails",
            Self::BgpOpen(_) => "BGPOpen",
            Self::BgpHeaderErr(_) => "BGPHeaderErr",
            Self::BgpOpenMsgErr(_) => "BGPOpenMsgErr",
            Self::OpenCollisionDump => "OpenCollisionDump",
            Self::NotifMsgVerErr(_) => "NotifMsgVerErr",
            Self::NotifMsg(_) => "NotifMsg",
            Self::KeepAliveMsg => "KeepAliveMsg",
            Self::UpdateMsg => "UpdateMsg",
            Self::UpdateMsgErr(_) => "UpdateMsgErr",
            Self::SendHoldTimerExpires => "SendHoldTimer_Expires",
            Self::RouteRefreshMsg => "RouteRefreshMsg",
        }
    }
}

/// When a session that the speaker closed itself comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// As after any failure.
    Soon,
    /// After this time.
    After(Duration),
    /// When it is started.
    Never,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection to the peer.
    Dial,
    /// Close the connection, or give up dialling.
    Close,
    /// Send our OPEN.
    SendOpen,
    /// Send a KEEPALIVE.
    SendKeepAlive,
    /// Send this.
    SendNotification(Notification),
    /// Established is reached.
    Up,
    /// A connection that was up is given up.
    Down(DownCause),
}

/// What follows a stay in `Idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing, until the operator starts it.
    Stopped,
    /// A new attempt after IdleHoldTime.
    BackOff,
    /// A new attempt after this time.
    For(Duration),
    /// Listening at once, and a new attempt after this time: the peer is not reachable, or said
    /// that its own connection is on the way.
    Listen(Duration),
}

impl From<Again> for Rest {
    fn from(again: Again) -> Self {
        match again {
            Again::Soon => Self::BackOff,
            Again::After(wait) => Self::For(wait),
            Again::Never => Self::Stopped,
        }
    }
}

/// The machine. Its timers are deadlines it keeps, so none can fire that was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    state: State,
    since: Timestamp,
    passive: bool,
    connect_retry_time: Duration,
    /// Failures since the last stable session: ConnectRetryCounter.
    failures: u32,
    /// How long the next automatic start listens before it dials; `None`: it dials.
    listen_first: Option<Duration>,
    hold_time: HoldTime,
    connect_retry: Option<Timestamp>,
    hold: Option<Timestamp>,
    keepalive: Option<Timestamp>,
    idle_hold: Option<Timestamp>,
    #[serde(skip)]
    last_event: &'static str,
    rng: Rng,
}

impl Session {
    /// In `Idle`, not started. `passive`: never dials (PassiveTcpEstablishment).
    pub fn new(now: Timestamp, passive: bool, connect_retry_time: Duration, rng: Rng) -> Self {
        Self {
            state: State::Idle,
            since: now,
            passive,
            connect_retry_time: connect_retry_time.max(CONNECT_RETRY_MIN),
            failures: 0,
            listen_first: None,
            hold_time: HoldTime::DEFAULT,
            connect_retry: None,
            hold: None,
            keepalive: None,
            idle_hold: None,
            last_event: "",
            rng,
        }
    }

    /// Another one for the same peer, as experienced as this one.
    #[must_use]
    pub fn sibling(&mut self, now: Timestamp) -> Self {
        let fresh = Self::new(now, self.passive, self.connect_retry_time, self.rng.split());
        Self { failures: self.failures, ..fresh }
    }

    /// The state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// When it entered that state.
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// The name of the event that came last.
    pub const fn last_event(&self) -> &'static str {
        self.last_event
    }

    /// The next moment at which [`Self::on_time`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.hold, self.connect_retry, self.keepalive, self.idle_hold].into_iter().flatten().min()
    }

    /// Changes what can change while the session lives.
    pub fn reconfigure(&mut self, now: Timestamp, passive: bool, connect_retry_time: Duration) {
        self.passive = passive;
        self.connect_retry_time = connect_retry_time.max(CONNECT_RETRY_MIN);
        if self.state == State::Active {
            self.restart_connect_retry_timer(now, self.connect_retry_time);
        }
    }

    /// An UPDATE says as much as a KEEPALIVE (RFC 4271 §4.4).
    pub fn update_sent(&mut self, now: Timestamp) {
        self.restart_keepalive_timer(now);
    }

    /// Fires what is due. Hold before KEEPALIVE: nothing is sent on a connection that is given up.
    pub fn on_time(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if due(&mut self.hold, now) {
            self.step(now, Event::HoldTimerExpires, out);
        }
        if due(&mut self.connect_retry, now) {
            self.step(now, Event::ConnectRetryTimerExpires, out);
        }
        if due(&mut self.keepalive, now) {
            self.step(now, Event::KeepaliveTimerExpires, out);
        }
        if due(&mut self.idle_hold, now) {
            self.step(now, Event::IdleHoldTimerExpires, out);
        }
    }

    /// One event. RFC 4271 §8.2.2.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        self.last_event = event.name();
        match self.state {
            State::Idle => self.step_idle(now, &event, out),
            State::Connect => self.step_connect(now, &event, out),
            State::Active => self.step_active(now, &event, out),
            State::OpenSent => self.step_open_sent(now, event, out),
            State::OpenConfirm => self.step_open_confirm(now, event, out),
            State::Established => self.step_established(now, event, out),
        }
    }

    fn step_idle(&mut self, now: Timestamp, event: &Event, out: &mut Vec<Effect>) {
        match event {
            Event::ManualStart => {
                self.forget_failures();
                self.start(now, out);
            }
            Event::ManualStartWithPassiveTcp => {
                self.forget_failures();
                self.listen_first = Some(self.connect_retry_time);
                self.start(now, out);
            }
            Event::IdleHoldTimerExpires => self.start(now, out),
            // The RFC ignores it here; but a stopped peer must not start again by itself.
            Event::ManualStop(_) => {
                self.forget_failures();
                self.idle_hold = None;
            }
            _ => {} // §8.2.2: any other event is ignored in Idle.
        }
    }

    fn step_connect(&mut self, now: Timestamp, event: &Event, out: &mut Vec<Effect>) {
        match event {
            Event::ManualStart | Event::ManualStartWithPassiveTcp => {}
            Event::ManualStop(_) => {
                out.push(Effect::Close);
                self.rest(now, Rest::Stopped);
            }
            Event::ConnectRetryTimerExpires if self.passive => {
                out.push(Effect::Close); // Configured so since the dial began.
                self.enter(now, State::Active);
            }
            Event::ConnectRetryTimerExpires => {
                out.extend([Effect::Close, Effect::Dial]);
                self.restart_connect_retry_timer(now, self.connect_retry_time);
            }
            Event::TcpCrAcked => self.greet(now, out),
            Event::TcpConnectionConfirmed => {
                out.push(Effect::Close); // The attempt under way; the peer was faster.
                self.greet(now, out);
            }
            Event::TcpConnectionFails => {
                out.push(Effect::Close);
                self.rest(now, Rest::Listen(self.connect_retry_time));
            }
            _ => {
                // §8.2.2: any other event; what needs a connection cannot come without one.
                out.push(Effect::Close);
                self.rest(now, Rest::BackOff);
            }
        }
    }

    fn step_active(&mut self, now: Timestamp, event: &Event, out: &mut Vec<Effect>) {
        match event {
            Event::ManualStart | Event::ManualStartWithPassiveTcp => {}
            Event::ManualStop(_) => self.rest(now, Rest::Stopped),
            Event::ConnectRetryTimerExpires => {
                out.push(Effect::Dial);
                self.restart_connect_retry_timer(now, self.connect_retry_time);
                self.enter(now, State::Connect);
            }
            Event::TcpCrAcked | Event::TcpConnectionConfirmed => self.greet(now, out),
            _ => self.rest(now, Rest::BackOff), // §8.2.2: any other event.
        }
    }

    fn step_open_sent(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        match event {
            // A second connection is a second session: `peer` decides between them.
            Event::ManualStart
            | Event::ManualStartWithPassiveTcp
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed => {}
            Event::ManualStop(cease) => self.fail(now, cease, Rest::Stopped, out),
            Event::AutomaticStop(answer, again) => self.fail(now, answer, again.into(), out),
            Event::BgpHeaderErr(answer) | Event::BgpOpenMsgErr(answer) => {
                self.fail(now, answer, Rest::BackOff, out);
            }
            Event::HoldTimerExpires => {
                self.fail(now, Notification::HOLD_TIMER_EXPIRED, Rest::BackOff, out);
            }
            Event::SendHoldTimerExpires => {
                self.fail(now, Notification::SEND_HOLD_TIMER_EXPIRED, Rest::BackOff, out);
            }
            Event::TcpConnectionFails => {
                out.extend([Effect::Close, Effect::Down(DownCause::ConnectionLost)]);
                self.stop_timers();
                self.restart_connect_retry_timer(now, self.connect_retry_time);
                self.enter(now, State::Active);
            }
            Event::BgpOpen(hold_time) => {
                self.hold_time = hold_time;
                out.push(Effect::SendKeepAlive);
                self.restart_keepalive_timer(now);
                self.restart_hold_timer(now);
                self.enter(now, State::OpenConfirm);
            }
            Event::OpenCollisionDump => self.yield_to_the_other(now, out),
            // The RFC answers a NOTIFICATION with another one here; nobody would read it.
            Event::NotifMsgVerErr(theirs) | Event::NotifMsg(theirs) => self.told(now, theirs, out),
            _ => self.fail(now, Notification::UNEXPECTED_IN_OPEN_SENT, Rest::BackOff, out),
        }
    }

    fn step_open_confirm(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::ManualStart
            | Event::ManualStartWithPassiveTcp
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed => {} // As in OpenSent.
            Event::ManualStop(cease) => self.fail(now, cease, Rest::Stopped, out),
            Event::AutomaticStop(answer, again) => self.fail(now, answer, again.into(), out),
            Event::BgpHeaderErr(answer) | Event::BgpOpenMsgErr(answer) => {
                self.fail(now, answer, Rest::BackOff, out);
            }
            Event::HoldTimerExpires => {
                self.fail(now, Notification::HOLD_TIMER_EXPIRED, Rest::BackOff, out);
            }
            Event::SendHoldTimerExpires => {
                self.fail(now, Notification::SEND_HOLD_TIMER_EXPIRED, Rest::BackOff, out);
            }
            Event::KeepaliveTimerExpires => self.keep_alive(now, out),
            Event::TcpConnectionFails => self.lost(now, out),
            Event::OpenCollisionDump => self.yield_to_the_other(now, out),
            Event::NotifMsgVerErr(theirs) | Event::NotifMsg(theirs) => self.told(now, theirs, out),
            Event::KeepAliveMsg => {
                self.restart_hold_timer(now);
                self.enter(now, State::Established);
                out.push(Effect::Up);
            }
            // An OPEN too: §6.8 compares connections, and this is one that has had its OPEN.
            _ => self.fail(now, Notification::UNEXPECTED_IN_OPEN_CONFIRM, Rest::BackOff, out),
        }
    }

    fn step_established(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        match event {
            // Connections as in OpenSent; ROUTE-REFRESH does not feed the HoldTimer.
            Event::ManualStart
            | Event::ManualStartWithPassiveTcp
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed
            | Event::RouteRefreshMsg => {}
            Event::ManualStop(cease) => self.fail(now, cease, Rest::Stopped, out),
            // §8.2.2 answers a header error with 5/3 here; §6.1 says 1/x, which tells more.
            Event::AutomaticStop(answer, again) => self.fail(now, answer, again.into(), out),
            Event::BgpHeaderErr(answer) | Event::UpdateMsgErr(answer) => {
                self.fail(now, answer, Rest::BackOff, out);
            }
            Event::HoldTimerExpires => {
                self.fail(now, Notification::HOLD_TIMER_EXPIRED, Rest::BackOff, out);
            }
            Event::SendHoldTimerExpires => {
                self.fail(now, Notification::SEND_HOLD_TIMER_EXPIRED, Rest::BackOff, out);
            }
            Event::KeepaliveTimerExpires => self.keep_alive(now, out),
            Event::TcpConnectionFails => self.lost(now, out),
            Event::OpenCollisionDump => self.yield_to_the_other(now, out),
            Event::NotifMsgVerErr(theirs) | Event::NotifMsg(theirs) => self.told(now, theirs, out),
            Event::KeepAliveMsg | Event::UpdateMsg => self.restart_hold_timer(now),
            _ => self.fail(now, Notification::UNEXPECTED_IN_ESTABLISHED, Rest::BackOff, out),
        }
    }

    /// Out of `Idle`: dials, or listens first.
    fn start(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.idle_hold = None;
        let wait = self.listen_first.take();
        self.restart_connect_retry_timer(now, wait.unwrap_or(self.connect_retry_time));
        if self.passive || wait.is_some() {
            self.enter(now, State::Active);
        } else {
            out.push(Effect::Dial);
            self.enter(now, State::Connect);
        }
    }

    /// A connection is up.
    fn greet(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.stop_timers();
        out.push(Effect::SendOpen);
        self.hold = Some(now + HOLD_TIME_LARGE);
        self.enter(now, State::OpenSent);
    }

    fn keep_alive(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        out.push(Effect::SendKeepAlive);
        self.restart_keepalive_timer(now);
    }

    /// Ends a connection with a NOTIFICATION of ours.
    fn fail(&mut self, now: Timestamp, answer: Notification, rest: Rest, out: &mut Vec<Effect>) {
        out.push(Effect::SendNotification(answer.clone()));
        self.end(now, DownCause::Sent(answer), rest, out);
    }

    /// The connection broke without a word.
    fn lost(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.end(now, DownCause::ConnectionLost, Rest::BackOff, out);
    }

    /// The peer ended it with a NOTIFICATION.
    fn told(&mut self, now: Timestamp, theirs: Notification, out: &mut Vec<Effect>) {
        let rest = if is_collision(&theirs) {
            // The other connection may not have reached us yet: refusing it would lose both.
            self.failures = self.failures.saturating_add(1);
            Rest::Listen(idle_hold_time(self.failures))
        } else {
            Rest::BackOff
        };
        self.end(now, DownCause::Received(theirs), rest, out);
    }

    /// This connection lost against the other one (§6.8).
    fn yield_to_the_other(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.fail(now, Notification::CONNECTION_COLLISION_RESOLUTION, Rest::BackOff, out);
    }

    fn end(&mut self, now: Timestamp, cause: DownCause, rest: Rest, out: &mut Vec<Effect>) {
        if self.state == State::Established && now.since(self.since) >= STABLE_AFTER {
            self.failures = 0;
        }
        out.extend([Effect::Close, Effect::Down(cause)]);
        self.rest(now, rest);
    }

    /// Into `Idle`.
    fn rest(&mut self, now: Timestamp, rest: Rest) {
        self.stop_timers();
        match rest {
            Rest::Stopped => self.forget_failures(),
            Rest::BackOff => {
                self.failures = self.failures.saturating_add(1);
                let wait = self.rng.jittered(idle_hold_time(self.failures));
                self.idle_hold = Some(now + wait);
            }
            Rest::For(wait) => {
                self.forget_failures();
                self.idle_hold = Some(now + wait);
            }
            Rest::Listen(wait) => {
                self.listen_first = Some(wait);
                self.idle_hold = Some(now);
            }
        }
        self.enter(now, State::Idle);
    }

    const fn enter(&mut self, now: Timestamp, state: State) {
        self.state = state;
        self.since = now;
    }

    const fn forget_failures(&mut self) {
        self.failures = 0;
        self.listen_first = None;
    }

    const fn stop_timers(&mut self) {
        self.connect_retry = None;
        self.hold = None;
        self.keepalive = None;
        self.idle_hold = None;
    }

    fn restart_connect_retry_timer(&mut self, now: Timestamp, wait: Duration) {
        let wait = self.rng.jittered(wait);
        self.connect_retry = (!self.passive).then_some(now + wait);
    }

    fn restart_hold_timer(&mut self, now: Timestamp) {
        self.hold = self.hold_time.duration().map(|hold| now + hold);
    }

    fn restart_keepalive_timer(&mut self, now: Timestamp) {
        let wait = self.hold_time.keepalive().map(|third| self.rng.jittered(third));
        self.keepalive = wait.map(|wait| now + wait);
    }
}

/// Stops the timer if its time has come.
fn due(timer: &mut Option<Timestamp>, now: Timestamp) -> bool {
    timer.take_if(|deadline| *deadline <= now).is_some()
}

/// Before jitter: doubles with each failure, from [`IDLE_HOLD_MIN`] to [`IDLE_HOLD_MAX`].
fn idle_hold_time(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (IDLE_HOLD_MIN * (1 << doublings)).min(IDLE_HOLD_MAX)
}

#[cfg(test)]
mod tests;
