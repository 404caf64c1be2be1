//! BFD on the wire (RFC 5881, RFC 5883): one task owns every session and what is read from the
//! sockets; it tells the speaker when packets no longer reach a peer.
//!
//! Without a peer that is watched there is neither socket nor timer.

mod hand_over;
mod socket;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_bgp::bfd::{News, Packet, Session, State};
use tidegate_bgp::rng::Rng;
use tidegate_bgp::speaker::{Bfd, Order, PeerConfig, PeerName};
use tidegate_bgp::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::bgp_io::Orders;
use crate::clock::Clock;
use crate::journal::kinds;
pub(crate) use hand_over::{BfdRecord, Inherited, Legacy};
use socket::{Heard, Listeners, Voice};

/// Payloads that wait for the task; when it is full they wait in their socket.
const HEARD_MAX: usize = 64;

/// Between attempts to get a port that somebody else has.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// A session, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BfdStatus {
    /// Ours.
    pub(crate) state: State,
    /// After so much silence it is down; `None`: nothing has been heard.
    pub(crate) detection_time: Option<Duration>,
}

/// Sessions by the name of their peer.
pub(crate) type Snapshot = BTreeMap<PeerName, BfdStatus>;

/// Who is watched, from where, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watched {
    addr: IpAddr,
    local: Option<IpAddr>,
    interface: Option<Arc<str>>,
    /// What comes with less is from somebody farther away than the peer.
    min_ttl: u8,
    bfd: Bfd,
}

impl Watched {
    fn of(peer: &PeerConfig) -> Option<Self> {
        let bfd = peer.bfd?;
        let min_ttl = if bfd.multihop { peer.transport.distance.min_ttl() } else { u8::MAX };
        let interface = peer.transport.interface.clone();
        Some(Self { addr: peer.remote.ip(), local: peer.local_addr, interface, min_ttl, bfd })
    }

    /// Another pace, or another bound on who is heard, does not need another session.
    fn is_same_session(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.addr, it.local, it.interface.clone(), it.bfd.multihop);
        of(self) == of(other)
    }
}

type Wanted = BTreeMap<PeerName, Watched>;

/// Watches peers as long as it lives.
#[derive(Debug)]
pub(crate) struct BfdHandle {
    wanted: watch::Sender<Wanted>,
    snapshot: watch::Receiver<Snapshot>,
    heirs: mpsc::Sender<oneshot::Sender<Legacy>>,
}

impl BfdHandle {
    /// Watches these of the peers that want it from now on. One that is the same as before is not
    /// touched.
    pub(crate) fn set<'a>(&self, peers: impl Iterator<Item = &'a PeerConfig>) {
        let up = peers.filter(|peer| peer.shutdown.is_none());
        let new: Wanted =
            up.filter_map(|peer| Some((peer.name.clone(), Watched::of(peer)?))).collect();
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != new;
            *wanted = new;
            changed
        });
    }

    /// How things stand.
    pub(crate) fn snapshot(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }
}

/// Starts with no session; one that was `left` by another process goes on when it is wanted. What
/// is lost goes to the speaker. Needs a Tokio runtime.
pub(crate) fn start(orders: Orders, clock: Clock, seed: u64, left: Legacy) -> BfdHandle {
    let (wanted, wants) = watch::channel(Wanted::new());
    let (publish, snapshot) = watch::channel(Snapshot::new());
    let (inbox, heard) = mpsc::channel(HEARD_MAX);
    let (heirs, heir) = mpsc::channel(1);
    let mut listeners = Listeners::new(inbox);
    listeners.adopt(left.listeners);
    let hub = Hub {
        sessions: BTreeMap::new(),
        inherited: left.sessions,
        leaving: Vec::new(),
        changed: false,
        listeners,
        rng: Rng::new(seed),
        clock,
        orders,
        publish,
        deaf_until: None,
    };
    tokio::spawn(hub.run(wants, heard, heir));
    BfdHandle { wanted, snapshot, heirs }
}

/// A session and the socket it speaks with.
struct Watching {
    watched: Watched,
    session: Session,
    voice: Voice,
    /// The last packet could not leave, which has been said.
    mute: bool,
}

impl Watching {
    fn status(&self) -> BfdStatus {
        let (state, detection_time) = (self.session.state(), self.session.detection_time());
        BfdStatus { state, detection_time }
    }

    /// Sends a packet, or says once why it cannot leave: the peer will find the session down.
    fn say(&mut self, name: &PeerName, packet: &Packet) {
        let said = self.voice.say(packet);
        if let Err(error) = &said
            && !self.mute
        {
            let to = self.watched.addr;
            warn!(peer = &**name, "BFD packets to {to} cannot be sent: {error}; trying again");
        }
        self.mute = said.is_err();
    }
}

struct Hub {
    sessions: BTreeMap<PeerName, Watching>,
    /// Of another process, until it is said who is watched.
    inherited: Vec<Inherited>,
    /// Sessions that are over, and until when their peers are told so.
    leaving: Vec<(Timestamp, Watching)>,
    listeners: Listeners,
    rng: Rng,
    clock: Clock,
    orders: Orders,
    publish: watch::Sender<Snapshot>,
    /// Something is to be shown.
    changed: bool,
    /// A port that is needed cannot be had; when it is tried again.
    deaf_until: Option<Timestamp>,
}

impl Hub {
    async fn run(
        mut self,
        mut wants: watch::Receiver<Wanted>,
        mut inbox: mpsc::Receiver<Heard>,
        mut heirs: mpsc::Receiver<oneshot::Sender<Legacy>>,
    ) {
        loop {
            let sessions = self.sessions.values().chain(self.leaving.iter().map(|(_, it)| it));
            let deadlines = sessions.filter_map(|it| it.session.next_deadline());
            let gone = self.leaving.iter().map(|(until, _)| *until);
            let next = deadlines.chain(gone).chain(self.deaf_until).min();
            let news = tokio::select! {
                changed = wants.changed() => {
                    if changed.is_err() {
                        return self.want(Wanted::new()); // Nobody is left who wants anything.
                    }
                    let wanted = wants.borrow_and_update().clone();
                    self.want(wanted);
                    Vec::new()
                }
                Some(heir) = heirs.recv() => return self.leave_to(heir),
                Some(heard) = inbox.recv() => self.on_heard(&heard).into_iter().collect(),
                () = self.clock.sleep_until(next) => self.on_time(),
            };
            for (name, news) in news {
                if !self.tell(name, news).await {
                    return;
                }
            }
            if core::mem::take(&mut self.changed) {
                self.show();
            }
        }
    }

    /// Sessions end and begin; the others go on.
    fn want(&mut self, wanted: Wanted) {
        let now = self.clock.now();
        let goes = |name: &PeerName, it: &mut Watching| {
            !wanted.get(name).is_some_and(|new| new.is_same_session(&it.watched))
        };
        for (name, mut it) in self.sessions.extract_if(.., goes) {
            // The peer is not to take our silence for a failure (RFC 5880 §6.8.16).
            it.session.shut_down(now);
            it.say(&name, &it.session.packet());
            self.leaving.push((now + it.session.detection_time().unwrap_or_default(), it));
        }
        let mut inherited = core::mem::take(&mut self.inherited);
        for (name, watched) in wanted {
            if let Some(known) = self.sessions.get_mut(&name) {
                known.session.set_timing(watched.bfd.timing);
                known.watched = watched;
            } else if let Some(at) = inherited.iter().position(|it| it.is_of(&name, &watched)) {
                self.go_on(inherited.swap_remove(at), watched);
            } else {
                self.begin(name, watched);
            }
        }
        self.listen();
        self.changed = true;
    }

    /// Listens for whom there is a session; what cannot be had is tried again, and told of once.
    fn listen(&mut self) {
        let hosts = self.sessions.values().map(|it| &it.watched);
        let hosts = hosts.map(|it| ((it.addr, it.bfd.multihop), it.min_ttl));
        match self.listeners.need(hosts.collect()) {
            Ok(()) => self.deaf_until = None,
            Err((port, error)) => {
                if self.deaf_until.is_none() {
                    warn!(
                        "cannot listen for BFD on UDP port {port}: {error}; peers with bfd are not \
                         watched: stop what else listens there, such as FRR's bfdd or BIRD (`ss \
                         -ulnp` names it); trying again"
                    );
                }
                self.deaf_until = Some(self.clock.now() + LISTEN_RETRY);
            }
        }
    }

    fn begin(&mut self, name: PeerName, watched: Watched) {
        let (addr, local) = (watched.addr, watched.local);
        let voice = Voice::new(addr, local, watched.interface.clone(), watched.bfd.multihop);
        let discriminator = self.discriminator();
        let rng = self.rng.split();
        let session = Session::new(self.clock.now(), watched.bfd.timing, discriminator, rng);
        self.sessions.insert(name, Watching { watched, session, voice, mute: false });
    }

    /// One that is not zero, not easily guessed, and of no other session (RFC 5880 §6.3).
    fn discriminator(&mut self) -> u32 {
        loop {
            let [.., a, b, c, d] = self.rng.next_u64().to_be_bytes();
            let number = u32::from_be_bytes([a, b, c, d]);
            let taken = self.sessions.values().any(|it| it.session.discriminator() == number);
            if number != 0 && !taken {
                return number;
            }
        }
    }

    /// A payload from somewhere. What is no packet of a session of ours is nobody's: RFC 5880
    /// §6.8.6 wants it dropped, and it costs no memory and no line in the log.
    fn on_heard(&mut self, heard: &Heard) -> Option<(PeerName, News)> {
        let packet = Packet::decode(heard.payload()).ok()?;
        let of_session = |it: &Watching| {
            let asked = packet.your_discriminator;
            it.watched.addr == heard.from
                && it.watched.bfd.multihop == heard.multihop
                && (asked == 0 || asked == it.session.discriminator())
        };
        let (name, it) = self.sessions.iter_mut().find(|(_, it)| of_session(it))?;
        let before = it.status();
        let (answer, news) = it.session.received(self.clock.now(), &packet);
        self.changed |= it.status() != before;
        if let Some(answer) = answer {
            it.say(name, &answer);
        }
        Some((name.clone(), news?))
    }

    fn on_time(&mut self) -> Vec<(PeerName, News)> {
        let now = self.clock.now();
        if self.deaf_until.is_some_and(|until| until <= now) {
            self.listen();
        }
        let mut all = Vec::new();
        for (name, it) in &mut self.sessions {
            let before = it.status();
            let (packet, news) = it.session.on_time(now);
            if let Some(packet) = packet {
                it.say(name, &packet);
            }
            self.changed |= it.status() != before;
            all.extend(news.map(|news| (name.clone(), news)));
        }
        self.leaving.retain_mut(|(until, it)| {
            if let (Some(packet), _) = it.session.on_time(now) {
                drop(it.voice.say(&packet)); // It is nobody's any more.
            }
            *until > now
        });
        all
    }

    /// `false`: the speaker has stopped.
    async fn tell(&self, peer: PeerName, news: News) -> bool {
        match news {
            News::Up => info!(event = kinds::BFD_UP, peer = &*peer, "BFD session up"),
            News::AdminDown => {
                info!(peer = &*peer, "BFD session taken down by the peer's operator; BGP goes on");
            }
            News::Down(why) => {
                warn!(
                    event = kinds::BFD_DOWN,
                    peer = &*peer,
                    "BFD session down: {}; closing the BGP session",
                    why.name()
                );
                return self.orders.give(Order::PathDown(peer)).await.is_ok();
            }
        }
        true
    }

    fn show(&self) {
        let now: Snapshot =
            self.sessions.iter().map(|(name, it)| (name.clone(), it.status())).collect();
        self.publish.send_replace(now);
    }
}
