//! `tidegate run`: starts the parts in order, hands them to the reconcile task, ends in order.
//!
//! Nothing is changed before the configuration is known to be good; the session's sockets and
//! the API come last, when there is something to say.

use std::path::Path;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::bgp_io::{self, Bgp};
use crate::bpf_io::Datapath;
use crate::clock::Clock;
use crate::config_file::{self, ConfigFile};
use crate::health_io::Checks;
use crate::link_io::Links;
use crate::reconcile::{Order, Parts, Reconciler};
use crate::{api, journal};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting, or from stopping cleanly, in one line.
pub async fn run(config: &Path) -> anyhow::Result<()> {
    let config = config_file::read(config)?;
    journal::start();
    info!(version = env!("CARGO_PKG_VERSION"), config = %config.path.display(), "starting");
    let (orders, inbox) = mpsc::channel(4); // Full: signals wait their turn, none is lost.
    forward_signals(orders)?;
    let reconciler = start(config).await?;
    reconciler.run(inbox).await;
    info!("stopped; the packet path stays pinned");
    Ok(())
}

async fn start(config: ConfigFile) -> anyhow::Result<Reconciler> {
    let router = &config.desired.router;
    let clock = Clock::start();
    let (links, link_changes) = Links::start().await?;
    let datapath = Datapath::load(router)?;
    let (checks, results) = Checks::start();
    let (bgp, reports) = Bgp::start(bgp_io::Config {
        local: config.desired.local(),
        listen: router.listen.clone(),
        md5: secrets(&config)?,
    }, clock, links.clone()).await?;
    let (views, questions) = api::view_channel();
    api::serve(&router.api, views).await?;
    Ok(Reconciler::new(
        config,
        clock,
        Parts { datapath, links, link_changes, checks, results, bgp, reports, questions },
    ))
}

/// SIGHUP reloads; SIGTERM and SIGINT stop.
fn forward_signals(orders: mpsc::Sender<Order>) -> anyhow::Result<()> {
    for (kind, order) in [
        (SignalKind::hangup(), Order::Reload),
        (SignalKind::terminate(), Order::Stop),
        (SignalKind::interrupt(), Order::Stop),
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
