//! The speaker's shell: TCP connections, time and orders in, actions out.
//!
//! One task owns the [`Speaker`]; a task per connection moves its bytes. Nothing here knows what
//! a message means, and nothing waits for a peer.

mod accept;
#[cfg(test)]
mod alone;
mod asker;
mod conn;
mod conns;
mod dial;
mod end;
mod error;
mod guard;
mod hand_over;
mod input;
mod keys;
mod neighbor;
mod outside;
mod resolver;
mod socket;
mod sockopt;
mod tcp_ao;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tidegate_bgp::speaker::{
    Action, ConnEvent, Local, Order, PeerStatus, Report, RouteAttributes, Routes, RoutesQuery,
    Speaker,
};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::warn;

use crate::clock::Clock;
use crate::link_io::{Changes, Links};
#[cfg(test)]
pub(crate) use alone::alone;
pub(crate) use asker::Orders;
pub use asker::{Asker, Histories};
pub use conn::Queued;
use conn::{AbortOnDrop, Shared};
use conns::{Conn, Conns};
pub use error::{Error, Stopped};
pub use hand_over::Heir;
pub(crate) use hand_over::Legacy;
use input::{Inbound, Input};
pub use keys::{Keys, Signer};
use neighbor::Neighbors;
use outside::Outsiders;
pub(crate) use outside::{Outside, Tap};
pub use tcp_ao::{AoKey, try_keys};

/// Orders that wait for the speaker; when it is full, who orders waits.
const ORDERS_MAX: usize = 256;

/// Events of all connections that wait for the speaker. When it is full, readers wait in the order
/// they came, so a peer that floods takes its turn with the others.
const INBOUND_MAX: usize = 64;

/// Events that came meanwhile are taken along for this long, so that what they change is told once;
/// timers wait no longer than that either.
const TURN: Duration = Duration::from_millis(4);

/// A snapshot is published at most this often: one after each message would cost more than the
/// message.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);

/// What has not been announced again by then after a restart is not going to be: peers may forget
/// it (Selection_Deferral_Timer, RFC 4724 §4.1).
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// What the speaker is made of.
pub struct Settings {
    /// Who we are.
    pub local: Local,
    /// Where to listen; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// What signs sessions, for listening and dialling.
    pub keys: Keys,
    /// Seed of the speaker's jitter.
    pub seed: u64,
    /// What was announced before this process is still forwarded: peers that kept the routes are
    /// to keep them until [`Order::Settled`].
    pub restarted: bool,
    /// Says when the way to a next hop may have changed; `None`: next hops are not looked up, and
    /// all count as near.
    pub next_hops: Option<Changes>,
    /// Sessions and listeners that another process has left to us; `restarted` means nothing then.
    pub heir: Option<Heir>,
}

/// The speaker as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All peers.
    pub peers: Vec<PeerStatus>,
    /// What we originate.
    pub originated: BTreeMap<Prefix, RouteAttributes>,
    /// What is queued from and to those that are connected, by their addresses. A change of this
    /// alone is no news.
    pub queued: BTreeMap<IpAddr, Queued>,
    /// How late a timer (Hold, KeepAlive, ConnectRetry) has fired at worst since the start.
    pub timer_lateness_max: Duration,
}

/// The running speaker. Dropping it ends every session; [`stop`](Self::stop) does so politely.
pub struct BgpHandle {
    inputs: mpsc::Sender<Input>,
    snapshot: watch::Receiver<Snapshot>,
    reports_dropped: Arc<AtomicU64>,
    listening: Vec<SocketAddr>,
    clock: Clock,
    task: JoinHandle<()>,
}

impl BgpHandle {
    /// Hands an order to the speaker. What came of it shows in the [`Snapshot`].
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn order(&self, order: Order) -> Result<(), Stopped> {
        self.inputs.send(Input::Order(Box::new(order))).await.or(Err(Stopped))
    }

    /// A page of routes.
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn routes(&self, query: RoutesQuery) -> Result<Routes, Stopped> {
        self.asker().ask(query).await
    }

    /// What asks for routes, for those who have no business with orders.
    pub fn asker(&self) -> Asker {
        Asker(self.inputs.clone())
    }

    /// Replaces the keys that sign, those of open connections too. Whether a connection is signed at
    /// all was settled when it was made.
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn set_keys(&self, keys: Keys) -> Result<(), Stopped> {
        self.inputs.send(Input::Keys(keys)).await.or(Err(Stopped))
    }

    /// The way for orders of those who do not end with the speaker.
    pub(crate) fn orders(&self) -> Orders {
        Orders(self.inputs.downgrade())
    }

    /// The way for those who follow from outside.
    pub(crate) fn outside(&self) -> Outside {
        Outside(self.inputs.downgrade())
    }

    /// The way to what single peers have been through.
    pub fn histories(&self) -> Histories {
        Histories::new(self.inputs.downgrade(), self.clock)
    }

    /// The state of the speaker, a twentieth of a second old at most; it can be waited on.
    pub fn snapshot(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }

    /// Reports that found their channel full and were dropped, since start.
    pub fn reports_dropped_total(&self) -> u64 {
        self.reports_dropped.load(Ordering::Relaxed)
    }

    /// Where it listens; the real port where port 0 was asked for.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }
}

/// Starts the speaker. Reports for journal and metrics go to `reports`; when that is full they are
/// dropped and counted, since a session must not wait for a journal. Needs a Tokio runtime.
///
/// # Errors
/// [`Error::Listen`]: nothing has been started then.
pub fn start(
    settings: Settings,
    clock: Clock,
    links: Links,
    reports: mpsc::Sender<Report>,
) -> Result<BgpHandle, Error> {
    let Settings { local, listen, keys, seed, restarted, next_hops, heir } = settings;
    let mut heir = heir.unwrap_or_default();
    let mut listeners = Vec::new();
    let mut listening = Vec::new();
    for addr in listen {
        let socket = heir.listener(addr).unwrap_or_else(|| socket::listen(addr, &keys));
        let bound = socket.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (addr, socket) = bound.map_err(|source| Error::Listen { addr, source })?;
        listening.push(addr);
        listeners.push(Arc::new(socket));
    }
    let (inputs, orders) = mpsc::channel(ORDERS_MAX);
    let (inbound, events) = mpsc::channel(INBOUND_MAX);
    let (publish, snapshot) = watch::channel(Snapshot::default());
    let reports_dropped = Arc::new(AtomicU64::new(0));
    let mut accepting = JoinSet::new();
    for listener in &listeners {
        accepting.spawn(accept::all(Arc::clone(listener), links, clock, inbound.clone()));
    }
    let neighbors = Neighbors::new(inbound.clone());
    let (wanted, lookups) = watch::channel(BTreeSet::new());
    let resolver = next_hops.map(|changes| {
        let follow = resolver::follow(links, changes, lookups, inbound.clone());
        AbortOnDrop(tokio::spawn(follow).abort_handle())
    });
    let speaker = heir.speaker.take().unwrap_or_else(|| {
        let speaker = Speaker::new(local, seed);
        if restarted { speaker.restarted(clock.now() + SETTLE_WITHIN) } else { speaker }
    });
    let mut shell = Shell {
        speaker,
        clock,
        neighbors,
        out: Vec::new(),
        conns: Conns {
            open: BTreeMap::new(),
            overflowed: Vec::new(),
            tasks: JoinSet::new(),
            listeners,
            keys: Arc::new(keys),
            guards: None,
            inbound,
            links,
            drained: Arc::default(),
        },
        reports,
        reports_dropped: Arc::clone(&reports_dropped),
        publish,
        publish_from: Timestamp::default(),
        unpublished: false,
        outsiders: Outsiders::default(),
        wanted,
        wanted_as_of: 0,
        _resolver: resolver,
        timer_lateness_max: Duration::ZERO,
    };
    shell.inherit(heir);
    let task = tokio::spawn(shell.run(orders, events, accepting));
    Ok(BgpHandle { inputs, snapshot, reports_dropped, listening, clock, task })
}

/// The state of the speaker's task.
struct Shell {
    speaker: Speaker,
    clock: Clock,
    neighbors: Neighbors,
    out: Vec<Action>,
    conns: Conns,
    reports: mpsc::Sender<Report>,
    reports_dropped: Arc<AtomicU64>,
    publish: watch::Sender<Snapshot>,
    publish_from: Timestamp,
    unpublished: bool,
    outsiders: Outsiders,
    /// Next hops to be looked up, and the speaker's number for them.
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    wanted_as_of: u64,
    _resolver: Option<AbortOnDrop>,
    timer_lateness_max: Duration,
}

impl Shell {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Input>,
        mut events: mpsc::Receiver<Inbound>,
        accepting: JoinSet<()>,
    ) {
        let drained = Arc::clone(&self.conns.drained);
        let mut more = false;
        loop {
            let publish_at = self.unpublished.then_some(self.publish_from);
            let timer_at = self.speaker.next_deadline();
            let wake_at =
                timer_at.into_iter().chain(publish_at).chain(self.outsiders.wake_at()).min();
            let wake_at = if more { Some(Timestamp::default()) } else { wake_at };
            tokio::select! {
                Some(event) = events.recv() => self.on_inbounds(event, &mut events),
                () = drained.notified() => {}
                input = orders.recv() => match input {
                    Some(Input::Order(order)) => {
                        let of_routes = matches!(*order, Order::Advertise(..) | Order::Withdraw(_));
                        self.speaker.on_order(self.clock.now(), *order, &mut self.out);
                        if !of_routes {
                            self.neighbors.follow(self.speaker.unnumbered());
                            self.conns.guard(self.speaker.guards());
                        }
                    }
                    Some(Input::Keys(keys)) => self.conns.set_keys(keys),
                    Some(Input::History(name, reply)) => {
                        // Who asked may have gone away by now.
                        drop(reply.send(self.speaker.history(&name).cloned()));
                    }
                    Some(Input::Routes(query, reply)) => self.answer(&query, reply),
                    Some(Input::Outside(ask)) => self.on_ask(ask),
                    Some(Input::Refresh(peer, way, reply)) => {
                        let now = self.clock.now();
                        drop(reply.send(self.speaker.refresh(now, &peer, way, &mut self.out)));
                    }
                    Some(Input::HandOver(reply)) => {
                        if self.hand_over(reply, &mut events).await {
                            return; // The sockets are another process's; closing ours says nothing.
                        }
                    }
                    Some(Input::Stop) | None => break,
                },
                () = self.clock.sleep_until(wake_at) => {}
            }
            // Every turn: a busy socket must not starve a HoldTimer.
            let now = self.clock.now();
            let late = timer_at.map_or(Duration::ZERO, |timer| now.since(timer));
            self.timer_lateness_max = self.timer_lateness_max.max(late);
            self.speaker.on_time(now, &mut self.out);
            self.perform();
            more = self.speaker.work();
            self.transmit();
            self.publish();
            self.serve_stations();
            while self.conns.tasks.try_join_next().is_some() {}
        }
        drop(accepting);
        drop(events);
        self.conns.close_all().await;
    }

    /// An event and those behind it, until it is time to look at timers again.
    fn on_inbounds(&mut self, first: Inbound, events: &mut mpsc::Receiver<Inbound>) {
        let until = self.clock.now() + TURN;
        self.on_inbound(first);
        while self.clock.now() < until
            && let Ok(event) = events.try_recv()
        {
            // What an event closes must be closed before the next one is looked at.
            self.perform();
            self.on_inbound(event);
        }
    }

    /// Gives every connection that can take more what it is to be told, in turns, so that peers
    /// that are told the same share it.
    fn transmit(&mut self) {
        let mut behind = self.speaker.behind();
        while !behind.is_empty() {
            behind.retain(|conn| {
                self.conns.wants_more(*conn)
                    && match self.speaker.transmit(self.clock.now(), *conn, &mut self.out) {
                        Some(bytes) => {
                            self.conns.send(*conn, Bytes::from_owner(Shared(bytes)));
                            true
                        }
                        None => false,
                    }
            });
        }
        self.perform();
    }

    /// Routes for somebody who may have gone away by now.
    fn answer(&mut self, query: &RoutesQuery, reply: oneshot::Sender<Routes>) {
        drop(reply.send(self.speaker.routes(query)));
    }

    fn on_inbound(&mut self, event: Inbound) {
        let now = self.clock.now();
        let out = &mut self.out;
        match event {
            Inbound::Accepted { stream, remote, next_hops } => {
                // A connection that the speaker does not want is closed by dropping it.
                let Some(transport) = self.speaker.transport(remote) else { return };
                let send_hold = transport.send_hold;
                let next_hops =
                    if transport.unnumbered { dial::on_the_link(&stream) } else { next_hops };
                if let Err(error) = socket::adopt(&stream, transport) {
                    // One that is not guarded as configured is none; a broken one says so itself.
                    warn!(%remote, %error, "socket options cannot be set; connection refused");
                    return;
                }
                if let Some(conn) = self.speaker.accept(now, remote, next_hops, out) {
                    if let Some(ends) = dial::ends(&stream) {
                        self.speaker.on_ends(conn, ends);
                    }
                    self.conns.open(conn, remote, send_hold, stream);
                }
            }
            Inbound::Connected { conn, stream, remote, next_hops } => {
                if let Some(Conn::Dialling { send_hold, .. }) = self.conns.open.get(&conn) {
                    if let Some(ends) = dial::ends(&stream) {
                        self.speaker.on_ends(conn, ends);
                    }
                    self.conns.open(conn, remote, *send_hold, stream);
                    self.speaker.on_conn(now, ConnEvent::Connected { conn, next_hops }, out);
                }
            }
            Inbound::ConnectFailed { conn } => {
                self.conns.open.remove(&conn);
                self.speaker.on_conn(now, ConnEvent::ConnectFailed { conn }, out);
            }
            Inbound::Bytes { conn, bytes } => {
                self.conns.heard(conn, bytes.len());
                self.speaker.on_bytes(now, conn, &bytes, out);
            }
            Inbound::Stalled { conn } => {
                self.speaker.on_conn(now, ConnEvent::Stalled { conn }, out);
            }
            Inbound::Neighbor { peer, at } => {
                self.speaker.on_neighbor(now, &peer, at, out);
                self.conns.guard(self.speaker.guards());
            }
            Inbound::Closed { conn } => {
                self.conns.open.remove(&conn);
                self.speaker.on_conn(now, ConnEvent::Closed { conn }, out);
            }
            Inbound::NextHops(distances) => self.speaker.set_next_hops(&distances),
        }
    }

    /// Does what the speaker wants done. Never waits: a full send queue comes back as an event.
    fn perform(&mut self) {
        while !self.out.is_empty() {
            for action in self.out.drain(..) {
                match action {
                    Action::Dial { peer, conn, to, from, transport } => {
                        self.conns.dial(&peer, conn, to, from, transport);
                    }
                    Action::Send { conn, bytes } => self.conns.send(conn, bytes),
                    Action::Close { conn } => drop(self.conns.open.remove(&conn)),
                    Action::Heard(heard) => self.outsiders.on_heard(&heard),
                    Action::Report(report) => {
                        if self.reports.try_send(report).is_err() {
                            self.reports_dropped.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
            for conn in core::mem::take(&mut self.conns.overflowed) {
                let closed = ConnEvent::Closed { conn };
                self.speaker.on_conn(self.clock.now(), closed, &mut self.out);
            }
        }
    }

    /// Shows the speaker's state to others, unless it has been shown a moment ago; then the next
    /// turn that is late enough does, and one is sure to come.
    fn publish(&mut self) {
        let now = self.clock.now();
        self.unpublished = now < self.publish_from;
        if self.unpublished {
            return;
        }
        self.publish_from = now + PUBLISH_INTERVAL;
        if let Some((next_hops, as_of)) = self.speaker.next_hops(self.wanted_as_of) {
            self.wanted_as_of = as_of;
            self.wanted.send_replace(next_hops);
        }
        let peers = self.speaker.peers();
        let originated = self.speaker.originated();
        let timer_lateness_max = self.timer_lateness_max;
        let queued = self.conns.queued();
        self.publish.send_if_modified(|snapshot| {
            snapshot.timer_lateness_max = timer_lateness_max;
            snapshot.queued = queued;
            let changed = snapshot.peers != peers || snapshot.originated != *originated;
            if changed {
                snapshot.peers = peers;
                snapshot.originated.clone_from(originated);
            }
            changed
        });
    }
}
