//! `tidegate run`: starts the parts in order, hands them to the reconcile task, ends in order.
//!
//! Nothing that packets see is changed before everything that can be refused has been had: a good
//! configuration, the packet path for ourselves alone, the interfaces, the ports and the socket.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use tidegate_bgp::speaker::{ConnId, Local, Report};
use tidegate_bgp::time::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::bfd_io::BfdHandle;
use crate::bgp_io::BgpHandle;
use crate::bpf_io::{self, Datapath};
use crate::clock::Clock;
use crate::config_file::ConfigFile;
use crate::control::{self, Control};
use crate::hand_over::store::Stored;
use crate::hand_over::{Body, Predecessor, Sockets, Turn};
use crate::journal::{Events, kinds};
use crate::link_io::{Changes, Links};
use crate::lock::Lock;
use crate::reconcile::{self, End, Known, Order, Parts, Reconciler};
use crate::view::upgrade::TakenOver;
use crate::{
    api, bfd_io, bgp_io, bmp_io, change, flows_io, health_io, journal, link_io, mrt_io, rpki_io,
};

/// Session events on their way to the journal. When full, the speaker drops and counts them.
const REPORTS_MAX: usize = 256;

/// Runs until SIGTERM, SIGINT or SIGUSR1.
///
/// # Errors
/// What kept it from starting, or from stopping cleanly, in one line.
pub(crate) async fn run(config: &Path) -> anyhow::Result<()> {
    let events = journal::start();
    let (config, control) = control::at_start(&std::path::absolute(config)?)?;
    if !config.warnings.is_empty() {
        warn!("{}", config.warnings);
    }
    let (file, generation) = (config.path.display(), control.generation);
    info!(
        event = kinds::STARTED,
        version = env!("CARGO_PKG_VERSION"),
        config = %file,
        generation,
        "starting"
    );
    let (orders, inbox) = mpsc::channel(4); // Full: signals wait their turn, none is lost.
    forward_signals(&orders)?;
    let lock = Lock::take(&config.desired.router.pin_dir)?;
    let reconciler = start(config, control, lock, events).await?;
    serve(reconciler, inbox).await;
    Ok(())
}

/// Takes over from the process that started this one, and then is what [`run`] is.
///
/// # Errors
/// Why it could not; the other process goes on then, and knows.
pub(crate) async fn take_over(config: &Path) -> anyhow::Result<()> {
    let events = journal::start();
    let predecessor = Predecessor::find()?;
    let ready = ready(config).inspect_err(|why| predecessor.refuse(why));
    let (config, control, datapath) = ready?;
    let (turn, body, sockets) = predecessor.inherit().await?.into_parts();
    let heir = heir(&config, body, sockets).inspect_err(|why| turn.refuse(why));
    let (orders, inbox) = mpsc::channel(4);
    forward_signals(&orders)?;
    let reconciler = succeed((config, control), datapath, heir?, &turn, events)?;
    serve(reconciler, inbox).await;
    Ok(())
}

async fn serve(reconciler: Reconciler, inbox: mpsc::Receiver<Order>) {
    Box::pin(reconciler.run(inbox)).await;
    info!(event = kinds::STOPPED, "stopped; the packet path stays pinned");
}

/// All that can be refused before anybody stands still for us.
fn ready(config: &Path) -> anyhow::Result<(ConfigFile, Control, Datapath)> {
    let (config, control) = control::at_start(&std::path::absolute(config)?)?;
    for interface in &config.desired.router.interfaces {
        bpf_io::index_of(interface)?;
    }
    let datapath = reconcile::load(&config.desired)?;
    Ok((config, control, datapath))
}

/// What was left to us, made ready for use.
struct Inheritance {
    speaking: Speaking,
    listeners: api::Listeners,
    lock: Lock,
}

/// A speaker that goes on, and what is known beside it.
struct Speaking {
    clock: Clock,
    bgp: bgp_io::Heir,
    known: Known,
    sessions: usize,
    /// When they came to a standstill.
    since: Timestamp,
}

impl Speaking {
    /// What is told of it, as of now.
    fn taken_over(&self) -> TakenOver {
        let paused = self.clock.now().since(self.since).as_millis();
        let paused_millis = u64::try_from(paused).unwrap_or(u64::MAX);
        TakenOver { sessions: self.sessions, paused_millis }
    }
}

/// Makes of a record what goes on. Nothing that anybody sees is touched.
fn heir(config: &ConfigFile, body: Body, sockets: Sockets) -> anyhow::Result<Inheritance> {
    let Sockets { lock, api: (unix, tcp), listeners, conns } = sockets;
    anyhow::ensure!(conns.len() == body.conns.len(), "a connection did not come along");
    let mut speaking = speaker_of(config, body, conns)?;
    for (at, socket) in listeners {
        speaking.bgp.listens(at, socket);
    }
    let listeners = api::Listeners::inherited(unix, tcp)?;
    Ok(Inheritance { speaking, listeners, lock: Lock::inherited(lock) })
}

/// A speaker of a record, with the connections that came along: sessions without theirs are over.
fn speaker_of(
    config: &ConfigFile,
    body: Body,
    connected: Vec<(ConnId, OwnedFd)>,
) -> anyhow::Result<Speaking> {
    let Body { clock: (at, then), speaker, conns, known, .. } = body;
    let clock =
        Clock::resumed(at, then).context("the clock of the other process makes no sense")?;
    let (desired, local) = (&config.desired, speaker.local());
    let router = &desired.router;
    anyhow::ensure!(
        local == Local { asn: router.asn, router_id: router.router_id },
        "the AS or router ID has changed, which takes a restart"
    );
    let policies = |name: &str| {
        let of_peer = desired.peers.get(name).map(|peer| &peer.policies);
        let of_range = || desired.ranges.get(name).map(|range| &range.template.policies);
        of_peer.or_else(of_range).cloned()
    };
    let mut bgp = bgp_io::Heir::new(clock.now(), speaker, random_seed(), policies)?;
    let sessions = connected.len();
    let mut connected: BTreeMap<ConnId, OwnedFd> = connected.into_iter().collect();
    for (conn, remote, unsent) in conns {
        if let Some(socket) = connected.remove(&conn) {
            bgp.conn(conn, remote, unsent, socket);
        }
    }
    Ok(Speaking { clock, bgp, known, sessions, since: at })
}

/// Goes on with the sessions that systemd has kept through a planned restart; `None`: there are
/// none, or they are lost, and opened anew.
fn out_of_store(config: &ConfigFile, generation: u64) -> Option<Speaking> {
    let made = from_store(config, generation, Stored::take()?);
    made.inspect_err(|why| warn!("sessions of the former process are opened anew: {why:#}")).ok()
}

fn from_store(config: &ConfigFile, generation: u64, stored: Stored) -> anyhow::Result<Speaking> {
    let (body, conns) = stored.open()?;
    anyhow::ensure!(
        body.generation == generation,
        "the configuration has changed since (a reload would have kept them)"
    );
    let patience = body.patience;
    let speaking = speaker_of(config, body, conns)?;
    let paused = speaking.clock.now().since(speaking.since);
    anyhow::ensure!(
        paused <= patience,
        "they have stood still for {paused:.1?}, and half of the shortest hold time is {patience:?}"
    );
    let TakenOver { sessions, paused_millis } = speaking.taken_over();
    info!(
        event = kinds::TAKEN_OVER,
        version = env!("CARGO_PKG_VERSION"),
        generation,
        "goes on with {sessions} BGP sessions, which stood still for {paused_millis} ms"
    );
    Ok(speaking)
}

/// Waits for our turn, and goes on: those first whose peers wait the shortest time.
fn succeed(
    (config, control): (ConfigFile, Control),
    mut datapath: Datapath,
    inheritance: Inheritance,
    turn: &Turn,
    events: Events,
) -> anyhow::Result<Reconciler> {
    let Inheritance { speaking, listeners, lock } = inheritance;
    let watching = turn.take()?;
    let taken_over = speaking.taken_over();
    let Speaking { clock, bgp, known, .. } = speaking;
    let generation = control.generation;
    info!(
        event = kinds::TAKEN_OVER,
        version = env!("CARGO_PKG_VERSION"),
        generation,
        "takes over from the running daemon"
    );
    let (bgp, wiring) = speak(&config, clock, Some(bgp), false)?;
    let bfd = bfd_io::start(bgp.orders(), clock, random_seed(), watching);
    bfd.set(config.desired.peers.values());
    let router = &config.desired.router;
    // What cannot be attached now is tried again by the loop; packets still have the old program.
    if !datapath.is_behind()
        && let Err(refused) = datapath.attach(&router.interfaces, router.attach)
    {
        error!("{refused}");
    }
    let parts = parts(&config, datapath, (bgp, wiring, bfd), listeners, lock, events);
    Ok(Reconciler::new(config, control, clock, parts).inherit(known, taken_over))
}

/// What a speaker is started with, as far as the loop needs it too.
struct Wiring {
    links: Links,
    link_changes: Changes,
    reports: mpsc::Receiver<Report>,
}

fn speak(
    config: &ConfigFile,
    clock: Clock,
    heir: Option<bgp_io::Heir>,
    restarted: bool,
) -> anyhow::Result<(BgpHandle, Wiring)> {
    let router = &config.desired.router;
    let (links, link_changes) = link_io::start()?;
    let (report, reports) = mpsc::channel(REPORTS_MAX);
    let (_, next_hop_changes) = link_io::start()?;
    let settings = bgp_io::Settings {
        next_hops: Some(next_hop_changes),
        local: Local { asn: router.asn, router_id: router.router_id },
        listen: router.listen.clone(),
        keys: config.keys.clone(),
        seed: random_seed(),
        restarted,
        heir,
    };
    let bgp = bgp_io::start(settings, clock, links, report)?;
    Ok((bgp, Wiring { links, link_changes, reports }))
}

async fn start(
    config: ConfigFile,
    control: Control,
    lock: Lock,
    events: Events,
) -> anyhow::Result<Reconciler> {
    let router = &config.desired.router;
    for interface in &router.interfaces {
        bpf_io::index_of(interface)?;
    }
    let is_first = std::fs::read_dir(&router.pin_dir)?.next().is_none();
    let mut datapath = reconcile::load(&config.desired)?;
    match begin(&config, control.generation, &mut datapath, is_first).await {
        Ok(Begun { clock, speaking, listeners, inherited }) => {
            let parts = parts(&config, datapath, speaking, listeners, lock, events);
            let reconciler = Reconciler::new(config, control, clock, parts);
            Ok(match inherited {
                Some((known, taken_over)) => reconciler.inherit(known, taken_over),
                None => reconciler,
            })
        }
        Err(refused) => {
            if is_first {
                datapath.detach()?; // Nobody's packets went through it: leave nothing behind.
            }
            Err(refused)
        }
    }
}

/// What a start has begun.
struct Begun {
    clock: Clock,
    speaking: (BgpHandle, Wiring, BfdHandle),
    listeners: api::Listeners,
    inherited: Option<(Known, TakenOver)>,
}

/// Ports, socket and interfaces: what is ours alone from here on.
async fn begin(
    config: &ConfigFile,
    generation: u64,
    datapath: &mut Datapath,
    is_first: bool,
) -> anyhow::Result<Begun> {
    let router = &config.desired.router;
    let listeners = api::listen(&router.api).await?;
    let (mut clock, mut heir, mut inherited) = (Clock::start(), None, None);
    if let Some(speaking) = out_of_store(config, generation) {
        let taken_over = speaking.taken_over();
        (clock, heir) = (speaking.clock, Some(speaking.bgp));
        inherited = Some((speaking.known, taken_over));
    }
    let (bgp, wiring) = speak(config, clock, heir, !is_first)?;
    let bfd = bfd_io::start(bgp.orders(), clock, random_seed(), bfd_io::Legacy::default());
    if !datapath.is_behind() {
        datapath.attach(&router.interfaces, router.attach)?;
    }
    Ok(Begun { clock, speaking: (bgp, wiring, bfd), listeners, inherited })
}

/// What the loop is wired to.
fn parts(
    config: &ConfigFile,
    datapath: Datapath,
    (bgp, wiring, bfd): (BgpHandle, Wiring, BfdHandle),
    listeners: api::Listeners,
    lock: Lock,
    events: Events,
) -> Parts {
    let Wiring { links, link_changes, reports } = wiring;
    let (checks, results) = health_io::start();
    let rpki = rpki_io::start(bgp.orders());
    let (views, questions) = api::view_channel();
    let (asks, asked) = mpsc::channel(change::ASKS_MAX);
    let (bmp, mrt) = (bmp_io::start(bgp.outside()), mrt_io::start(bgp.outside()));
    let (asker, histories, dumper) = (bgp.asker(), bgp.histories(), mrt.dumper());
    let flows = flows_io::start();
    let wires = api::Wires { views, asks, asker, histories, dumper, events, flows: flows.log() };
    let api = api::serve(listeners, config, wires);
    Parts {
        datapath,
        links,
        link_changes,
        checks,
        results,
        bgp,
        reports,
        questions,
        rpki,
        bmp,
        mrt,
        flows,
        bfd,
        asks: asked,
        api,
        lock,
    }
}

/// Chance for the speaker's jitter, from the keys that std draws for its hash maps.
fn random_seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// SIGHUP reloads; SIGTERM and SIGINT withdraw and stop; SIGUSR1 stops for a restart, which is what
/// systemd sends in its place then (`RestartKillSignal=`): SIGTERM alone does not say.
fn forward_signals(orders: &mpsc::Sender<Order>) -> anyhow::Result<()> {
    for (kind, order) in [
        (SignalKind::hangup(), Order::Reload),
        (SignalKind::terminate(), Order::Stop(End::Withdraw)),
        (SignalKind::interrupt(), Order::Stop(End::Withdraw)),
        (SignalKind::user_defined1(), Order::Stop(End::Keep)),
    ] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let orders = orders.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if orders.send(order).await.is_err() {
                    warn!("a signal came after the end");
                    return;
                }
            }
        });
    }
    Ok(())
}
