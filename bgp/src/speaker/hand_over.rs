//! What a speaker leaves to the one that takes over its sessions, and how that one begins: peers see
//! neither an OPEN nor an UPDATE of it.
//!
//! Moments in a record are those of the clock that its maker used: who takes over goes on with it.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Action, ConnId, Local, Order, PeerName, PeerRange, Speaker};
use crate::fsm::{Peer, PeerRecord};
use crate::rib::{Damaged, PeerId, Policies, Rib, RibRecord};
use crate::time::Timestamp;
use crate::types::HoldTime;

/// A speaker without its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    local: Local,
    ids: u64,
    restarting: Option<Timestamp>,
    ranges: Vec<PeerRange>,
    peers: Vec<PeerRecord>,
    rib: RibRecord,
}

impl Record {
    /// Who it was.
    pub const fn local(&self) -> Local {
        self.local
    }
}

/// A session that goes on under another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its connection.
    pub conn: ConnId,
    /// Where the peer is.
    pub remote: SocketAddr,
    /// After so much silence it gives us up.
    pub hold_time: HoldTime,
}

impl Speaker {
    /// Every peer is told that we are there, ahead of time: a pause follows.
    pub fn assure(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        let (mut turn, peers) = self.turn(now, out);
        for peer in peers.values_mut() {
            peer.assure(&mut turn);
        }
    }

    /// Sessions that can be handed over.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = self.peers.values().filter_map(Peer::kept);
        kept.map(|(conn, remote, hold_time)| Kept { conn, remote, hold_time }).collect()
    }

    /// All that a successor needs. Nothing changes by it: this speaker may go on.
    pub fn record(&mut self) -> Record {
        Record {
            local: self.local,
            ids: self.ids.0,
            restarting: self.restarting,
            ranges: self.ranges.values().cloned().collect(),
            peers: self.peers.values().map(Peer::record).collect(),
            rib: self.rib.record(),
        }
    }

    /// The speaker of a record. `policies` gives those of a peer or range by its name; one that it
    /// does not know is not configured any more, and its session is closed. What `out` asks for is
    /// to be done as soon as the connections are there.
    ///
    /// # Errors
    /// [`Damaged`]: the record cannot be what a speaker wrote.
    pub fn take_over(
        now: Timestamp,
        record: Record,
        seed: u64,
        policies: impl Fn(&str) -> Option<Policies>,
        out: &mut Vec<Action>,
    ) -> Result<Self, Damaged> {
        let mut speaker = Self::new(record.local, seed);
        speaker.ids.0 = record.ids;
        for mut range in record.ranges {
            range.template.policies = policies(&range.template.name).unwrap_or_default();
            speaker.ranges.insert(range.template.name.clone(), range);
        }
        let mut conns = BTreeSet::new();
        let mut sessions = Vec::new();
        let mut by_place: BTreeMap<PeerId, Policies> = BTreeMap::new();
        let mut gone: BTreeSet<PeerName> = BTreeSet::new();
        let mut resting: BTreeSet<PeerName> = BTreeSet::new();
        for record in record.peers {
            let whose = record.range.clone().unwrap_or_else(|| record.config.name.clone());
            let found = policies(&whose);
            if found.is_none() {
                gone.insert(whose);
            }
            if record.is_resting() {
                resting.insert(record.config.name.clone());
            }
            let found = found.unwrap_or_default();
            if let Some(place) = record.rib
                && by_place.insert(place, found.clone()).is_some()
            {
                return Err(Damaged::Twice);
            }
            speaker.of_ranges += usize::from(record.range.is_some());
            let rng = speaker.rng.split();
            let (peer, session) = Peer::restore(now, speaker.local, record, found, rng)?;
            if let Some((conn, ..)) = peer.kept()
                && (!conns.insert(conn) || conn.0 > speaker.ids.0)
            {
                return Err(Damaged::Number);
            }
            sessions.extend(session);
            if speaker.peers.insert(peer.config().name.clone(), peer).is_some() {
                return Err(Damaged::Twice);
            }
        }
        let mut rng = speaker.rng.split();
        speaker.rib = Rib::restore(speaker.local, &mut rng, record.rib, &by_place, sessions)?;
        speaker.restarting = record.restarting;
        speaker.rib.hold_ends(speaker.restarting.is_some());
        for name in gone {
            speaker.on_order(now, Order::RemovePeer(name), out);
        }
        let (mut turn, peers) = speaker.turn(now, out);
        for (name, peer) in peers {
            peer.begin(resting.contains(name), &mut turn);
        }
        speaker.forget_those_that_are_over();
        Ok(speaker)
    }
}

#[cfg(test)]
mod tests;
