//! One peer: at most two sessions, the connections under them, and what was promised on them.
//!
//! The unit that is pure and whole: collisions (RFC 4271 §6.8) are settled here and nowhere else.
//! Nothing outside knows that there may be two sessions.
//!
//! Promise: two speakers of this make that dial each other at the same moment keep one connection,
//! and the same one, in whatever order their messages cross:
//!
//! - The side with the higher identifier decides as soon as it sees both connections and has an
//!   OPEN on one. It confirms the peer's connection only while its own dial is not up, and then
//!   gives that up.
//! - The other side closes its own connection only for one on which an OPEN has come, that is,
//!   for one that the first side has decided to keep.

use core::net::SocketAddr;

use crate::rib::PeerId;
use crate::rng::Rng;
use crate::speaker::{
    Action, ConnId, DownCause, Local, Malformed, NextHops, PeerConfig, PeerName, Report, State,
    Turn, same_host,
};
use crate::time::Timestamp;
use crate::types::{Family, RouterId};
use crate::wire::notification::Notification;
use crate::wire::{self, Message, Negotiated, Open, RefreshKind, RouteRefresh};

use super::collision::{Keep, is_collision, resolve_collision};
use super::open::{negotiate, our_open};
use super::session::{Again, Effect, Event, STABLE_AFTER, Session};

mod connection;
pub(crate) mod hand_over;
pub mod history;
mod limits;
mod orders;
mod outside;
mod restart;
mod routes;
mod status;

use connection::{Connection, Origin};
use history::{History, Transition};
use limits::Warned;
use restart::{Restart, is_final};

/// A session and its connection. A session without one is in `Idle` or `Active`.
#[derive(Debug)]
struct Attempt {
    session: Session,
    connection: Option<Connection>,
}

/// A configured peer.
#[derive(Debug)]
pub struct Peer {
    /// Who we are to everybody; to this peer, [`Self::local`].
    node: Local,
    config: PeerConfig,
    /// The range that made it, if it is not configured by itself.
    range: Option<PeerName>,
    /// Where it is, if it is unnumbered and was heard.
    found: Option<SocketAddr>,
    /// One, or two while two connections compete.
    attempts: Vec<Attempt>,
    /// Its number in the RIB, from the first session on.
    rib: Option<PeerId>,
    /// What is kept of a session that is over.
    restart: Restart,
    warned: Warned,
    history: History,
    messages_received: u64,
    messages_sent: u64,
    malformed: Malformed,
    flaps: u64,
    last_down: Option<DownCause>,
}

impl Peer {
    /// In `Idle`, not started.
    pub(crate) fn new(now: Timestamp, node: Local, config: PeerConfig, rng: Rng) -> Self {
        let session = Session::new(now, config.passive, config.connect_retry, rng);
        Self {
            node,
            config,
            range: None,
            found: None,
            attempts: vec![Attempt { session, connection: None }],
            rib: None,
            restart: Restart::default(),
            warned: Warned::default(),
            history: History::default(),
            messages_received: 0,
            messages_sent: 0,
            malformed: Malformed::default(),
            flaps: 0,
            last_down: None,
        }
    }

    /// As [`Self::new`], for somebody in a range.
    pub(crate) fn of_range(
        now: Timestamp,
        node: Local,
        config: PeerConfig,
        range: PeerName,
        rng: Rng,
    ) -> Self {
        Self { range: Some(range), ..Self::new(now, node, config, rng) }
    }

    pub(crate) const fn config(&self) -> &PeerConfig {
        &self.config
    }

    pub(crate) const fn range(&self) -> Option<&PeerName> {
        self.range.as_ref()
    }

    /// One of a range has nothing to wait for once its connection is gone, unless it restarts.
    pub(crate) fn is_over(&self) -> bool {
        self.range.is_some()
            && self.restart.is_empty()
            && self.attempts.iter().all(|attempt| attempt.connection.is_none())
    }

    /// Where it is; `None`: nobody was heard yet at the other end of its link.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        if self.config.transport.unnumbered { self.found } else { Some(self.config.remote) }
    }

    /// Whether a connection from there is the peer's.
    pub(crate) fn is_at(&self, from: SocketAddr) -> bool {
        self.remote().is_some_and(|remote| same_host(remote, from))
    }

    /// Who we are to this peer.
    fn local(&self) -> Local {
        Local { asn: self.config.local_as.unwrap_or(self.node.asn), ..self.node }
    }

    /// The peer has connected to us; `None`: the connection is refused.
    pub(crate) fn accept(&mut self, next_hops: NextHops, turn: &mut Turn<'_>) -> Option<ConnId> {
        let furthest = self.attempts.iter().map(|attempt| attempt.session.state()).max()?;
        if furthest == State::Idle {
            return None; // §8.2.2: Idle refuses all connections.
        }
        let id = turn.ids.next();
        if furthest == State::Established && !self.restart.is_agreed() {
            // §6.8: an Established session is not given up for a newcomer.
            let cease = Notification::CONNECTION_COLLISION_RESOLUTION;
            self.send(id, wire::encode_notification(&cease), turn);
            turn.out.push(Action::Close { conn: id });
            return Some(id);
        }
        let connection = Connection::new(id, Origin::Accepted, next_hops);
        let at = self.seat(turn)?;
        self.attempts.get_mut(at)?.connection = Some(connection);
        self.feed(at, Event::TcpConnectionConfirmed, turn);
        Some(id)
    }

    /// Where a connection that was accepted goes: to the session that waits for one, else to a
    /// second session. A third connection takes the place of the older accepted one, which the
    /// peer must have given up: it dials one at a time.
    fn seat(&mut self, turn: &mut Turn<'_>) -> Option<usize> {
        if self.attempts.len() > 1 {
            let is_accepted = |attempt: &Attempt| {
                attempt.session.state() != State::Established
                    && attempt
                        .connection
                        .as_ref()
                        .is_some_and(|conn| conn.origin == Origin::Accepted)
            };
            let oldest = self.attempts.iter().position(is_accepted)?;
            self.feed(oldest, Event::OpenCollisionDump, turn);
            self.drop_losers();
        }
        let first = self.attempts.first_mut()?;
        if first.session.state() != State::Active {
            let mut session = first.session.sibling(turn.now);
            session.step(turn.now, Event::ManualStartWithPassiveTcp, &mut Vec::new());
            self.attempts.push(Attempt { session, connection: None });
        }
        Some(self.attempts.len() - 1)
    }

    /// The dialled connection is up; `false`: no such connection.
    pub(crate) fn connected(
        &mut self,
        conn: ConnId,
        next_hops: NextHops,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(at) = self.find(conn) else { return false };
        if let Some(connection) = self.connection_mut(at)
            && connection.origin == Origin::Dialled
        {
            connection.next_hops = next_hops;
        }
        self.feed(at, Event::TcpCrAcked, turn);
        true
    }

    /// The connection is gone; `false`: no such connection.
    pub(crate) fn closed(&mut self, conn: ConnId, turn: &mut Turn<'_>) -> bool {
        let Some(at) = self.find(conn) else { return false };
        if let Some(attempt) = self.attempts.get_mut(at) {
            attempt.connection = None; // Nothing is left to be closed.
        }
        self.feed(at, Event::TcpConnectionFails, turn);
        self.drop_losers();
        true
    }

    /// It takes nothing of what is sent to it; `false`: no such connection.
    pub(crate) fn stalled(&mut self, conn: ConnId, turn: &mut Turn<'_>) -> bool {
        let Some(at) = self.find(conn) else { return false };
        self.feed(at, Event::SendHoldTimerExpires, turn);
        self.drop_losers();
        true
    }

    /// Bytes came; `false`: no such connection.
    pub(crate) fn received(&mut self, conn: ConnId, bytes: &[u8], turn: &mut Turn<'_>) -> bool {
        let Some(connection) = self.find(conn).and_then(|at| self.connection_mut(at)) else {
            return false;
        };
        let mut joined = core::mem::take(&mut connection.unread);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            joined.as_slice()
        };
        let nothing = Negotiated::NOTHING;
        // A message may end the connection: what follows it is not read.
        while let Some(at) = self.find(conn) {
            let context = self.agreed(at).map_or(&nothing, |(_, agreed)| agreed);
            let (read, message) = match wire::next_message(rest, context.message_bytes_max()) {
                Ok(Some((raw, len))) => {
                    let message = wire::decode(raw, context);
                    let whole = rest.get(..len).unwrap_or_default();
                    if turn.tapped
                        && let Ok(message) = &message
                    {
                        self.tap_update(message, context, whole, turn);
                    }
                    self.history.received(turn.now, whole);
                    if raw.kind() == wire::MessageType::Open
                        && let Some(connection) = self.connection_mut(at)
                    {
                        connection.opens.1 = whole.to_vec();
                    }
                    (len, message)
                }
                Ok(None) => {
                    if let Some(connection) = self.connection_mut(at) {
                        connection.unread = rest.to_vec();
                    }
                    break;
                }
                Err(answer) => (rest.len(), Err(answer)),
            };
            rest = rest.get(read..).unwrap_or_default();
            self.messages_received += 1;
            match message {
                Ok(message) => self.heard(at, message, turn),
                Err(answer) => self.feed(at, bad_message(answer), turn),
            }
        }
        self.drop_losers();
        true
    }

    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) {
        for at in 0..self.attempts.len() {
            self.drive(at, turn, Session::on_time);
        }
        self.drop_losers();
        self.expire_kept(turn);
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let timers = self.attempts.iter().filter_map(|attempt| attempt.session.next_deadline());
        timers.chain(self.restart.next_deadline()).min()
    }

    /// A message whose content is sound.
    fn heard(&mut self, at: usize, message: Message<'_>, turn: &mut Turn<'_>) {
        match message {
            Message::Open(open) => self.heard_open(at, &open, turn),
            Message::Notification(theirs) if (theirs.code, theirs.subcode) == (2, 1) => {
                self.feed(at, Event::NotifMsgVerErr(theirs), turn);
            }
            Message::Notification(theirs) => self.feed(at, Event::NotifMsg(theirs), turn),
            Message::KeepAlive => self.feed(at, Event::KeepAliveMsg, turn),
            Message::Update(update) => {
                self.feed(at, Event::UpdateMsg, turn);
                if self.established() != Some(at) {
                    return;
                }
                for repair in &update.repaired {
                    self.malformed.count(repair.treatment);
                    let repair = repair.clone();
                    self.report(turn, |peer| Report::Repaired { peer, repair });
                }
                if let Some(family) = update.disable {
                    self.disable(at, family);
                }
                let taken = self.rib.map_or(Ok(()), |id| turn.rib.update(id, &update));
                if let Err(too_much) = taken {
                    let stop = Event::AutomaticStop(too_much.answer(), Again::Soon);
                    return self.feed(at, stop, turn);
                }
                if let Some(family) = update.end_of_rib {
                    if let Some(connection) = self.connection_mut(at) {
                        connection.ended.insert(family);
                    }
                    self.heard_end_of_rib(family, turn.rib);
                }
                self.keep_limits(turn);
            }
            Message::RouteRefresh(refresh) => {
                self.feed(at, Event::RouteRefreshMsg, turn);
                self.heard_refresh(at, refresh, turn);
            }
        }
    }

    fn heard_refresh(&mut self, at: usize, refresh: RouteRefresh, turn: &mut Turn<'_>) {
        let (Some(family), Some((_, agreed))) = (refresh.family, self.agreed(at)) else { return };
        let (marks, reads) = (agreed.enhanced_refresh, agreed.reads(family));
        if self.established() != Some(at) {
            return;
        }
        match refresh.kind {
            RefreshKind::Request => {
                if let Some(id) = self.rib {
                    turn.rib.refresh(id, family);
                }
            }
            RefreshKind::Begin if marks && reads => self.begin_refresh(family, turn),
            RefreshKind::End if marks && reads => self.heard_end_of_refresh(family, turn.rib),
            RefreshKind::Begin | RefreshKind::End | RefreshKind::Unknown(_) => {}
        }
    }

    /// The family is not read any more on this session (AFI/SAFI-disable, RFC 4760 §7).
    fn disable(&mut self, at: usize, family: Family) {
        let connection = self.connection_mut(at);
        if let Some((_, agreed)) = connection.and_then(|connection| connection.agreed.as_mut()) {
            agreed.disable(family);
        }
    }

    fn heard_open(&mut self, at: usize, open: &Open, turn: &mut Turn<'_>) {
        let agreed = match negotiate(self.local(), &self.config, open) {
            Ok(agreed) => agreed,
            Err(answer) => return self.feed(at, Event::BgpOpenMsgErr(answer), turn),
        };
        let hold_time = agreed.hold_time;
        let in_open_sent = |attempt: &Attempt| attempt.session.state() == State::OpenSent;
        if self.attempts.get(at).is_some_and(in_open_sent) {
            if !self.survives(at, open.router_id, turn) {
                return self.feed(at, Event::OpenCollisionDump, turn);
            }
            if let Some(connection) = self.connection_mut(at) {
                connection.agreed = Some((open.router_id, agreed));
            }
        }
        self.feed(at, Event::BgpOpen(hold_time), turn);
    }

    /// An OPEN has come on this connection: is there another, and which of them goes on? The
    /// module's header says why.
    fn survives(&mut self, at: usize, remote_id: RouterId, turn: &mut Turn<'_>) -> bool {
        let mine = self.attempts.get(at).and_then(|attempt| attempt.connection.as_ref());
        let mut others = self.attempts.iter().enumerate().filter(|(other, _)| *other != at);
        let (Some(mine), Some((other_at, other))) = (mine, others.next()) else { return true };
        let Some(theirs) = &other.connection else { return true };
        if other.session.state() == State::Established {
            return self.is_back(other_at, turn);
        }
        let Local { asn, router_id } = self.local();
        let local = (router_id, asn);
        let keep = resolve_collision(local, (remote_id, self.config.remote_as));
        let stays = if other.session.state() == State::Connect {
            true // A dial that is not up is no connection yet.
        } else if mine.origin == theirs.origin {
            mine.id > theirs.id // The peer dialled twice: it has forgotten the first one.
        } else {
            (keep == Keep::Ours) == (mine.origin == Origin::Dialled)
        };
        if stays {
            self.feed(other_at, Event::OpenCollisionDump, turn);
            return true;
        }
        let decided = theirs.origin == Origin::Dialled || theirs.agreed.is_some();
        !decided
    }

    /// Whether a connection beside an Established session is the peer back from a restart, which
    /// it was faster to end than we to notice; that session is gone then, without a word (RFC 4724
    /// §5). The RFC is content with a connection; we want an OPEN that we agree with, and a session
    /// that has stood for a while: at its beginning, it is the other half of a collision.
    fn is_back(&mut self, established: usize, turn: &mut Turn<'_>) -> bool {
        let Some(attempt) = self.attempts.get(established) else { return true };
        if turn.now.since(attempt.session.since()) < STABLE_AFTER {
            return false;
        }
        self.feed(established, Event::TcpConnectionFails, turn);
        true
    }

    /// One event for one session.
    fn feed(&mut self, at: usize, event: Event, turn: &mut Turn<'_>) {
        self.drive(at, turn, |session, now, effects| session.step(now, event, effects));
    }

    fn drive(
        &mut self,
        at: usize,
        turn: &mut Turn<'_>,
        act: impl FnOnce(&mut Session, Timestamp, &mut Vec<Effect>),
    ) {
        let Some(attempt) = self.attempts.get_mut(at) else { return };
        let from = attempt.session.state();
        let conn = attempt.connection.as_ref().map(|connection| connection.id);
        let mut effects = Vec::new();
        act(&mut attempt.session, turn.now, &mut effects);
        let to = attempt.session.state();
        if from != to {
            let event = attempt.session.last_event();
            self.history.step(Transition { at: turn.now, conn, from, to, event });
            self.tap_state(from, to, turn);
        }
        if from == State::Established && to != State::Established {
            self.flaps += 1;
            let cause = effects.iter().find_map(|effect| match effect {
                Effect::Down(cause) => Some(cause),
                _ => None,
            });
            self.begin_restart(cause.unwrap_or(&DownCause::ConnectionLost), turn);
            self.warned = Warned::default();
        }
        for effect in effects {
            self.perform(at, effect, turn);
        }
    }

    fn perform(&mut self, at: usize, effect: Effect, turn: &mut Turn<'_>) {
        let Some(attempt) = self.attempts.get_mut(at) else { return };
        let conn = attempt.connection.as_ref().map(|connection| connection.id);
        match effect {
            Effect::Dial => {
                let id = turn.ids.next();
                let connection = Connection::new(id, Origin::Dialled, NextHops::default());
                attempt.connection = Some(connection);
                let to = self.found.unwrap_or(self.config.remote);
                let from = self.config.local_addr;
                let (peer, transport) = (self.config.name.clone(), self.config.transport.clone());
                turn.out.push(Action::Dial { peer, conn: id, to, from, transport });
            }
            Effect::Close => {
                attempt.connection = None;
                turn.out.extend(conn.map(|conn| Action::Close { conn }));
            }
            Effect::SendOpen => {
                let open = our_open(self.local(), &self.config, turn.restarting);
                let open = wire::encode_open(&open);
                if let Some(connection) = self.connection_mut(at) {
                    connection.opens.0.clone_from(&open);
                }
                self.send_if(conn, open, turn);
            }
            Effect::SendKeepAlive => self.send_if(conn, wire::encode_keepalive(), turn),
            Effect::SendNotification(word) => {
                let established = attempt.connection.as_ref().is_some_and(|it| it.is_up);
                let wrapped = established && self.restart.spares_notifications() && is_final(&word);
                let word = if wrapped { Notification::hard_reset(&word) } else { word };
                self.send_if(conn, wire::encode_notification(&word), turn);
            }
            Effect::Up => self.on_up(at, turn),
            Effect::Down(cause) => self.on_down(at, cause, turn),
        }
    }

    fn on_up(&mut self, at: usize, turn: &mut Turn<'_>) {
        for other in (0..self.attempts.len()).filter(|other| *other != at) {
            self.feed(other, Event::OpenCollisionDump, turn);
        }
        let Some(connection) = self.connection_mut(at) else { return };
        connection.is_up = true;
        let Some((router_id, agreed)) = connection.agreed.clone() else { return };
        let hold_time = agreed.hold_time;
        self.report(turn, |peer| Report::Up { peer, hold_time });
        self.end_restart(&agreed, turn);
        self.join_rib(at, (router_id, agreed), turn);
    }

    fn on_down(&mut self, at: usize, cause: DownCause, turn: &mut Turn<'_>) {
        if self.established().is_some_and(|established| established != at) {
            return; // A connection beside the session came to nothing.
        }
        let of_a_collision = match &cause {
            DownCause::Sent(last_word) | DownCause::Received(last_word) => is_collision(last_word),
            DownCause::ConnectionLost => false,
        };
        if of_a_collision && self.attempts.len() > 1 {
            return; // No loss: the other connection goes on.
        }
        self.last_down = Some(cause.clone());
        self.report(turn, |peer| Report::Down { peer, cause });
    }

    /// Of two sessions, one without a connection has nothing to add.
    fn drop_losers(&mut self) {
        while self.attempts.len() > 1 {
            let is_loser = |attempt: &Attempt| attempt.connection.is_none();
            let Some(loser) = self.attempts.iter().position(is_loser) else { return };
            self.attempts.remove(loser);
        }
    }

    fn send_if(&mut self, conn: Option<ConnId>, message: Vec<u8>, turn: &mut Turn<'_>) {
        if let Some(conn) = conn {
            self.send(conn, message, turn);
        }
    }

    fn send(&mut self, conn: ConnId, bytes: Vec<u8>, turn: &mut Turn<'_>) {
        self.messages_sent += 1;
        self.history.sent(turn.now, &bytes);
        turn.out.push(Action::Send { conn, bytes });
    }

    fn report(&self, turn: &mut Turn<'_>, report: impl FnOnce(PeerName) -> Report) {
        turn.out.push(Action::Report(report(self.config.name.clone())));
    }

    fn find(&self, conn: ConnId) -> Option<usize> {
        let holds = |attempt: &Attempt| {
            attempt.connection.as_ref().is_some_and(|connection| connection.id == conn)
        };
        self.attempts.iter().position(holds)
    }

    fn connection_mut(&mut self, at: usize) -> Option<&mut Connection> {
        self.attempts.get_mut(at)?.connection.as_mut()
    }

    fn agreed(&self, at: usize) -> Option<&(RouterId, Negotiated)> {
        self.attempts.get(at)?.connection.as_ref()?.agreed.as_ref()
    }

    fn established(&self) -> Option<usize> {
        let is_established = |attempt: &Attempt| attempt.session.state() == State::Established;
        self.attempts.iter().position(is_established)
    }
}

/// The event for a message that is wrong in itself, by the NOTIFICATION that answers it.
const fn bad_message(answer: Notification) -> Event {
    match answer.code {
        1 => Event::BgpHeaderErr(answer),
        2 => Event::BgpOpenMsgErr(answer),
        _ => Event::UpdateMsgErr(answer),
    }
}

#[cfg(test)]
mod tests;
