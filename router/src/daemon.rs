//! `tidegate run`: starts the parts in order, hands them to the reconcile task, ends in order.
//!
//! Nothing that packets see is changed before everything that can be refused has been had: a good
//! configuration, the packet path for ourselves alone, the interfaces, the ports and the socket.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use anyhow::Context as _;
use tidegate_bgp::speaker::Local;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::bpf_io;
use crate::clock::Clock;
use crate::config_file::ConfigFile;
use crate::control::{self, Control};
use crate::lock::Lock;
use crate::reconcile::{self, End, Order, Parts, Reconciler};
use crate::{api, bfd_io, bgp_io, bmp_io, change, health_io, journal, link_io, mrt_io, rpki_io};

/// Session events on their way to the journal. When full, the speaker drops and counts them.
const REPORTS_MAX: usize = 256;

/// Runs until SIGTERM, SIGINT or SIGUSR1.
///
/// # Errors
/// What kept it from starting, or from stopping cleanly, in one line.
pub(crate) async fn run(config: &Path) -> anyhow::Result<()> {
    journal::start();
    let (config, control) = control::at_start(&std::path::absolute(config)?)?;
    if !config.warnings.is_empty() {
        warn!("{}", config.warnings);
    }
    let (file, generation) = (config.path.display(), control.generation);
    info!(version = env!("CARGO_PKG_VERSION"), config = %file, generation, "starting");
    let (orders, inbox) = mpsc::channel(4); // Full: signals wait their turn, none is lost.
    forward_signals(&orders)?;
    // Held until the end: a second daemon on the same maps is refused.
    let _lock = Lock::take(&config.desired.router.pin_dir)?;
    let reconciler = start(config, control).await?;
    Box::pin(reconciler.run(inbox)).await;
    info!("stopped; the packet path stays pinned");
    Ok(())
}

async fn start(config: ConfigFile, control: Control) -> anyhow::Result<Reconciler> {
    let router = &config.desired.router;
    let clock = Clock::start();
    for interface in &router.interfaces {
        bpf_io::index_of(interface)?;
    }
    let (links, link_changes) = link_io::start()?;
    let (checks, results) = health_io::start();
    let (report, reports) = mpsc::channel(REPORTS_MAX);
    let is_first = std::fs::read_dir(&router.pin_dir)?.next().is_none();
    let (_, next_hop_changes) = link_io::start()?;
    let settings = bgp_io::Settings {
        next_hops: Some(next_hop_changes),
        local: Local { asn: router.asn, router_id: router.router_id },
        listen: router.listen.clone(),
        keys: config.keys.clone(),
        seed: random_seed(),
        restarted: !is_first,
    };
    let bgp = bgp_io::start(settings, clock, links, report)?;
    let rpki = rpki_io::start(bgp.orders());
    let bfd = bfd_io::start(bgp.orders(), clock, random_seed());
    let listeners = api::listen(&router.api).await?;
    let mut datapath = reconcile::load(&config.desired)?;
    if let Err(refused) = datapath.attach(&router.interfaces, router.attach) {
        if is_first {
            datapath.detach()?; // Nobody's packets went through it: leave nothing behind.
        }
        return Err(refused.into());
    }
    let (views, questions) = api::view_channel();
    let (asks, asked) = mpsc::channel(change::ASKS_MAX);
    let (bmp, mrt) = (bmp_io::start(bgp.outside()), mrt_io::start(bgp.outside()));
    let (asker, histories, dumper) = (bgp.asker(), bgp.histories(), mrt.dumper());
    let api = api::serve(listeners, &router.api, views, asks, asker, histories, dumper);
    let parts = Parts {
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
        bfd,
        asks: asked,
        api,
    };
    Ok(Reconciler::new(config, control, clock, parts))
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
