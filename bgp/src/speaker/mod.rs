//! All peers and what we originate: the door through which the shell talks to the core.
//!
//! Every turn of the shell's loop gives one input, then calls [`Speaker::on_time`], then performs
//! the actions in order. Peers are served in the order of their names, so the same inputs give the
//! same actions.

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fsm::{History, Peer};
use crate::rib::Rib;
use crate::rng::Rng;
use crate::time::Timestamp;
use crate::types::Prefix;
use crate::wire::notification::Notification;

mod dump;
mod hand_over;
mod order;
mod range;
mod refresh;
mod routes;
mod station;
mod status;

pub use dump::{Dump, DumpCursor};
pub use hand_over::{Kept, Record};
pub use order::*;
pub use refresh::{Refreshed, Way};
pub use routes::*;
pub use station::Lost;
pub use status::*;

/// Where numbers of connections come from.
#[derive(Debug, Default)]
pub(crate) struct ConnIds(u64);

impl ConnIds {
    /// A number that no connection had before.
    pub(crate) const fn next(&mut self) -> ConnId {
        self.0 += 1;
        ConnId(self.0)
    }
}

/// What a peer needs to answer one input.
pub(crate) struct Turn<'a> {
    pub(crate) now: Timestamp,
    pub(crate) ids: &'a mut ConnIds,
    pub(crate) rib: &'a mut Rib,
    /// Not shutting down.
    pub(crate) running: bool,
    /// Peers keep our routes of before for us, until we say that all are announced again.
    pub(crate) restarting: bool,
    /// Somebody wants to have every UPDATE and every change of state.
    pub(crate) tapped: bool,
    pub(crate) out: &'a mut Vec<Action>,
}

/// We, as a BGP speaker.
#[derive(Debug)]
pub struct Speaker {
    local: Local,
    rng: Rng,
    ids: ConnIds,
    peers: BTreeMap<PeerName, Peer>,
    ranges: BTreeMap<PeerName, PeerRange>,
    /// How many of the peers come from a range.
    of_ranges: usize,
    /// Ranges that have refused somebody since they were last not full.
    full: BTreeSet<PeerName>,
    rib: Rib,
    /// When the restart is over at the latest (Selection_Deferral_Timer, RFC 4724 §4.1).
    restarting: Option<Timestamp>,
    /// What we originate ourselves is announced again.
    settled: bool,
    shut_down: bool,
    stations: BTreeMap<crate::rib::WatcherId, station::Station>,
    tapped: bool,
    stale_events_total: u64,
}

impl Speaker {
    /// Without peers and routes. `seed` feeds the jitter of timers.
    pub fn new(local: Local, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            local,
            rib: Rib::new(local, &mut rng.split()),
            rng,
            ids: ConnIds::default(),
            peers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            of_ranges: 0,
            full: BTreeSet::new(),
            restarting: None,
            settled: false,
            shut_down: false,
            stations: BTreeMap::new(),
            tapped: false,
            stale_events_total: 0,
        }
    }

    /// We are not new: peers that could keep our routes (RFC 4724) have them still. They are told
    /// that we have restarted, and that all is announced again when [`Order::Settled`] has come and
    /// every peer has said all it has to say, at `until` at the latest.
    #[must_use]
    pub fn restarted(mut self, until: Timestamp) -> Self {
        self.rib.hold_ends(true);
        Self { restarting: Some(until), ..self }
    }

    /// What the owner wants.
    pub fn on_order(&mut self, now: Timestamp, order: Order, out: &mut Vec<Action>) {
        match order {
            Order::PutPeer(config) => self.put_peer(now, config, out),
            Order::PutRange(range) => self.put_range(now, range, out),
            Order::RemovePeer(name) => {
                if self.ranges.remove(&name).is_some() {
                    self.stop_range(now, &name, &Notification::PEER_DE_CONFIGURED, out);
                }
                let Some(mut peer) = self.peers.remove(&name) else { return };
                let mut turn = self.turn(now, out).0;
                peer.stop(&Notification::PEER_DE_CONFIGURED, &mut turn);
                peer.forget_routes(turn.rib);
            }
            Order::PathDown(name) => {
                let (mut turn, peers) = self.turn(now, out);
                if let Some(peer) = peers.get_mut(&name) {
                    peer.path_down(&mut turn);
                }
            }
            Order::Advertise(prefix, route) => {
                if self.originated().get(&prefix) != Some(&route) {
                    self.rib.originate(prefix, &route);
                }
            }
            Order::Withdraw(prefix) => self.rib.withdraw_own(prefix),
            Order::SetRules(rules) => self.rib.set_rules(rules),
            Order::Settled => self.settled = true,
            Order::Vrps(vrps, changed) => self.rib.set_vrps(vrps, &changed),
            Order::Shutdown => {
                self.end(now, out, |peer, turn| {
                    peer.stop(&Notification::ADMINISTRATIVE_SHUTDOWN, turn);
                });
            }
            Order::Restart => self.end(now, out, Peer::leave),
        }
    }

    /// A TCP connection was accepted; `None`: refuse it (unknown peer, a peer that waits in Idle,
    /// shutting down). `out` may already hold the answer to it, and its end.
    pub fn accept(
        &mut self,
        now: Timestamp,
        remote: SocketAddr,
        next_hops: NextHops,
        out: &mut Vec<Action>,
    ) -> Option<ConnId> {
        if self.configured_peer(remote).is_none() {
            self.make_peer_of_range(now, remote, out)?;
        }
        let (mut turn, peers) = self.turn(now, out);
        let peer = peers.values_mut().find(|peer| peer.is_at(remote))?;
        let conn = peer.accept(next_hops, &mut turn);
        self.forget_those_that_are_over();
        conn
    }

    /// What the socket of a connection from there is told, before it is [accepted](Self::accept);
    /// `None`: refuse it.
    pub fn transport(&self, remote: SocketAddr) -> Option<&Transport> {
        let of_range = || self.range_of(remote).map(|range| &range.template);
        let config = self.configured_peer(remote).map(Peer::config).or_else(of_range)?;
        Some(&config.transport)
    }

    /// A router was heard on the link of an unnumbered peer, at this link-local address with its
    /// scope. It is the peer, unless that is connected from another address: whoever speaks on a
    /// link must not be able to end a session.
    pub fn on_neighbor(
        &mut self,
        now: Timestamp,
        name: &str,
        at: SocketAddr,
        out: &mut Vec<Action>,
    ) {
        let (mut turn, peers) = self.turn(now, out);
        if let Some(peer) = peers.get_mut(name) {
            peer.found(at, &mut turn);
        }
    }

    /// Peers that are to be looked for, and the interface of each.
    pub fn unnumbered(&self) -> impl Iterator<Item = (&PeerName, &Arc<str>)> {
        let configs = self.peers.values().map(Peer::config);
        configs
            .filter(|config| config.transport.unnumbered && config.shutdown.is_none())
            .filter_map(|config| Some((&config.name, config.transport.interface.as_ref()?)))
    }

    /// Something happened to a connection.
    pub fn on_conn(&mut self, now: Timestamp, event: ConnEvent, out: &mut Vec<Action>) {
        let (mut turn, peers) = self.turn(now, out);
        let known = peers.values_mut().any(|peer| match event {
            ConnEvent::Connected { conn, next_hops } => peer.connected(conn, next_hops, &mut turn),
            ConnEvent::Stalled { conn } => peer.stalled(conn, &mut turn),
            ConnEvent::ConnectFailed { conn } | ConnEvent::Closed { conn } => {
                peer.closed(conn, &mut turn)
            }
        });
        self.forget_those_that_are_over();
        self.stale_events_total += u64::from(!known);
    }

    /// Bytes came in, cut anywhere.
    pub fn on_bytes(&mut self, now: Timestamp, conn: ConnId, bytes: &[u8], out: &mut Vec<Action>) {
        let (mut turn, peers) = self.turn(now, out);
        let known = peers.values_mut().any(|peer| peer.received(conn, bytes, &mut turn));
        self.forget_those_that_are_over();
        self.stale_events_total += u64::from(!known);
    }

    /// Fires every timer that is due. To be called after each input, so that a busy connection
    /// cannot starve another one's HoldTimer.
    pub fn on_time(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        if self.restarting.is_some_and(|until| until <= now || self.has_settled()) {
            self.restarting = None;
            self.rib.hold_ends(false);
        }
        let (mut turn, peers) = self.turn(now, out);
        for peer in peers.values_mut() {
            peer.on_time(&mut turn);
        }
        self.forget_those_that_are_over();
    }

    /// What is to be sent next on a connection, as whole UPDATEs; `None`: the peer knows
    /// everything. To be asked when the connection can take more, and only then: nothing is
    /// queued, so a slow peer hears of the last state only.
    pub fn transmit(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        out: &mut Vec<Action>,
    ) -> Option<Arc<Vec<u8>>> {
        let (mut turn, peers) = self.turn(now, out);
        let peer = peers.values_mut().find(|peer| peer.established_conn() == Some(conn))?;
        peer.transmit(&mut turn)
    }

    /// Connections for which [`Self::transmit`] has something.
    pub fn behind(&self) -> Vec<ConnId> {
        let behind = self.peers.values().filter(|peer| peer.is_behind(&self.rib));
        behind.filter_map(Peer::established_conn).collect()
    }

    /// Does a slice, about a millisecond long, of what the loss of a session or a change of policy
    /// has left to be done; `false`: nothing is left.
    pub fn work(&mut self) -> bool {
        self.rib.work()
    }

    /// All that is left to be done and to be sent at once, for those whose connections take
    /// anything.
    pub fn transmit_all(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        while self.work() {}
        for conn in self.behind() {
            while let Some(bytes) = self.transmit(now, conn, out) {
                out.push(Action::Send { conn, bytes: bytes.to_vec() });
            }
        }
    }

    /// Whether every UPDATE and every change of state is handed out as [`Action::Heard`].
    pub const fn set_tapped(&mut self, tapped: bool) {
        self.tapped = tapped;
    }

    /// What the next hops of routes cost, `None`: they cannot be reached.
    pub fn set_next_hops(&mut self, metrics: &BTreeMap<IpAddr, Option<u32>>) {
        self.rib.set_next_hops(metrics);
    }

    /// Next hops of routes, to be looked up whenever they are others than `known` says: which, and
    /// what to ask with next time.
    pub fn next_hops(&self, known: u64) -> Option<(BTreeSet<IpAddr>, u64)> {
        let changes = self.rib.next_hops_changes();
        (changes != known).then(|| (self.rib.next_hops(), changes))
    }

    /// The routes.
    pub const fn rib(&mut self) -> &mut Rib {
        &mut self.rib
    }

    /// When [`Self::on_time`] has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.peers.values().filter_map(Peer::next_deadline).chain(self.restarting).min()
    }

    /// Every peer, in the order of names.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers.values().map(|peer| peer.status(&self.rib)).collect()
    }

    /// What a peer has been through lately; `None`: no such peer.
    pub fn history(&self, name: &str) -> Option<&History> {
        self.peers.get(name).map(Peer::history)
    }

    /// What we originate.
    pub const fn originated(&self) -> &BTreeMap<Prefix, RouteAttributes> {
        self.rib.originated()
    }

    /// Events and bytes of connections that were gone already, and were dropped.
    pub const fn stale_events_total(&self) -> u64 {
        self.stale_events_total
    }

    fn put_peer(&mut self, now: Timestamp, config: PeerConfig, out: &mut Vec<Action>) {
        let rng = self.rng.split();
        let local = self.local;
        let (mut turn, peers) = self.turn(now, out);
        if let Some(peer) = peers.get_mut(&config.name) {
            if *peer.config() != config {
                peer.reconfigure(config, &mut turn);
            }
            return;
        }
        let mut peer = Peer::new(now, local, config, rng);
        if turn.running {
            peer.start(&mut turn);
        }
        peers.insert(peer.config().name.clone(), peer);
    }

    /// Ends all sessions in one turn, so that no peer hears of the others' end.
    fn end(
        &mut self,
        now: Timestamp,
        out: &mut Vec<Action>,
        end: impl Fn(&mut Peer, &mut Turn<'_>),
    ) {
        self.shut_down = true;
        let (mut turn, peers) = self.turn(now, out);
        for peer in peers.values_mut() {
            end(peer, &mut turn);
        }
    }

    fn has_settled(&self) -> bool {
        self.settled && self.peers.values().all(Peer::has_said_all)
    }

    fn turn<'a>(
        &'a mut self,
        now: Timestamp,
        out: &'a mut Vec<Action>,
    ) -> (Turn<'a>, &'a mut BTreeMap<PeerName, Peer>) {
        let turn = Turn {
            now,
            ids: &mut self.ids,
            rib: &mut self.rib,
            running: !self.shut_down,
            restarting: self.restarting.is_some(),
            tapped: self.tapped,
            out,
        };
        (turn, &mut self.peers)
    }
}

/// The same address, and for link-local ones the same link. The port is the peer's choice.
pub(crate) fn same_host(configured: SocketAddr, remote: SocketAddr) -> bool {
    let scope = |addr: SocketAddr| match addr {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
        SocketAddr::V4(_) | SocketAddr::V6(_) => 0,
    };
    let host = |addr: SocketAddr| -> IpAddr { addr.ip().to_canonical() };
    (host(configured), scope(configured)) == (host(remote), scope(remote))
}

#[cfg(test)]
mod tests;
