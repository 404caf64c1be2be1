//! A peer as a successor gets it: an Established session goes on where it was, anything else begins
//! anew.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::bmp::Ends;
use crate::rib::{Damaged, PeerId, Policies, Resumed, SessionTerms};
use crate::rng::Rng;
use crate::speaker::{ConnId, DownCause, Local, Malformed, NextHops, PeerConfig, PeerName, State};
use crate::time::Timestamp;
use crate::types::{FamilySet, HoldTime, RouterId};
use crate::wire::{self, Negotiated};

use super::connection::{Connection, Origin};
use super::history::Notifications;
use super::restart::Restart;
use super::{Attempt, Peer, Session};

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRecord {
    /// Without policies.
    pub(crate) config: PeerConfig,
    /// Says whether the policies are the same.
    policies: u64,
    pub(crate) range: Option<PeerName>,
    found: Option<SocketAddr>,
    pub(crate) rib: Option<PeerId>,
    restart: Restart,
    messages_received: u64,
    messages_sent: u64,
    notifications: Notifications,
    malformed: Malformed,
    flaps: u64,
    last_down: Option<DownCause>,
    session: Option<SessionRecord>,
    /// In Idle, with what it waits for, if that is where it is.
    resting: Option<Session>,
}

/// An Established session and its connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SessionRecord {
    session: Session,
    conn: ConnId,
    origin: Origin,
    next_hops: NextHops,
    router_id: RouterId,
    agreed: Negotiated,
    ended: FamilySet,
    ends: Option<Ends>,
    opens: (Vec<u8>, Vec<u8>),
    unread: Vec<u8>,
}

/// A number that policies have in common only if they are the same (FNV-1a of how they look).
fn print_of(policies: &Policies) -> u64 {
    let looks = format!("{policies:?}");
    looks.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl PeerRecord {
    pub(crate) const fn is_resting(&self) -> bool {
        self.resting.is_some()
    }
}

impl Peer {
    pub(crate) fn record(&self) -> PeerRecord {
        let attempt = self.established().and_then(|at| self.attempts.get(at));
        PeerRecord {
            config: self.config.clone(),
            policies: print_of(&self.config.policies),
            range: self.range.clone(),
            found: self.found,
            rib: self.rib,
            restart: self.restart.clone(),
            messages_received: self.messages_received,
            messages_sent: self.messages_sent,
            notifications: self.history.notifications.clone(),
            malformed: self.malformed,
            flaps: self.flaps,
            last_down: self.last_down.clone(),
            session: attempt.and_then(SessionRecord::of),
            resting: self.resting().cloned(),
        }
    }

    /// The peer of a record, with the policies of now, and its session if it has one.
    ///
    /// # Errors
    /// [`Damaged`]
    pub(crate) fn restore(
        now: Timestamp,
        node: Local,
        record: PeerRecord,
        policies: Policies,
        rng: Rng,
    ) -> Result<(Self, Option<Resumed>), Damaged> {
        let again = print_of(&policies) != record.policies;
        let config = PeerConfig { policies, ..record.config };
        let mut peer = Self::new(now, node, config, rng);
        peer.range = record.range;
        peer.found = record.found;
        peer.rib = record.rib;
        peer.restart = record.restart;
        peer.messages_received = record.messages_received;
        peer.messages_sent = record.messages_sent;
        peer.history.notifications = record.notifications;
        peer.malformed = record.malformed;
        peer.flaps = record.flaps;
        peer.last_down = record.last_down;
        let Some(session) = record.session else {
            if let Some(session) = record.resting {
                if session.state() != State::Idle {
                    return Err(Damaged::State);
                }
                peer.attempts = vec![Attempt { session, connection: None }];
            }
            return Ok((peer, None));
        };
        let router_id = session.router_id;
        let context = session.agreed.clone();
        peer.attempts = vec![session.attempt()?];
        let terms = SessionTerms {
            router_id,
            context,
            next_hops: peer.next_hops(0),
            local_as: peer.local().asn,
            remote_as: peer.config.remote_as,
            paths: peer.config.path_limits,
        };
        let id = peer.rib.ok_or(Damaged::Number)?;
        Ok((peer, Some(Resumed { peer: id, terms, again })))
    }

    /// The session of one that waits in Idle: until it is started, or for a while.
    fn resting(&self) -> Option<&Session> {
        let [Attempt { session, connection: None }] = self.attempts.as_slice() else { return None };
        Some(session).filter(|session| session.state() == State::Idle)
    }

    /// Begins anew, unless it rests.
    pub(crate) fn begin(&mut self, is_resting: bool, turn: &mut crate::speaker::Turn<'_>) {
        if self.established().is_none() && !is_resting {
            self.start(turn);
        }
    }

    /// Connection, address and Hold Time of the Established session.
    pub(crate) fn kept(&self) -> Option<(ConnId, SocketAddr, HoldTime)> {
        let at = self.established()?;
        let (_, agreed) = self.agreed(at)?;
        let remote = self.remote().unwrap_or(self.config.remote);
        Some((self.established_conn()?, remote, agreed.hold_time))
    }

    /// Says that we are there, ahead of time: there may be a pause after it.
    pub(crate) fn assure(&mut self, turn: &mut crate::speaker::Turn<'_>) {
        if let Some(at) = self.established() {
            let conn = self.established_conn();
            self.send_if(conn, wire::encode_keepalive(), turn);
            if let Some(attempt) = self.attempts.get_mut(at) {
                attempt.session.update_sent(turn.now);
            }
        }
    }
}

impl SessionRecord {
    fn of(attempt: &Attempt) -> Option<Self> {
        let connection = attempt.connection.as_ref()?;
        let (router_id, agreed) = connection.agreed.clone()?;
        Some(Self {
            session: attempt.session.clone(),
            conn: connection.id,
            origin: connection.origin,
            next_hops: connection.next_hops,
            router_id,
            agreed,
            ended: connection.ended,
            ends: connection.ends,
            opens: connection.opens.clone(),
            unread: connection.unread.clone(),
        })
    }

    fn attempt(self) -> Result<Attempt, Damaged> {
        if self.session.state() != State::Established {
            return Err(Damaged::State);
        }
        if self.unread.len() >= self.agreed.message_bytes_max() {
            return Err(Damaged::Number);
        }
        let connection = Connection {
            id: self.conn,
            origin: self.origin,
            next_hops: self.next_hops,
            agreed: Some((self.router_id, self.agreed)),
            is_up: true,
            ended: self.ended,
            ends: self.ends,
            opens: self.opens,
            unread: self.unread,
        };
        Ok(Attempt { session: self.session, connection: Some(connection) })
    }
}
