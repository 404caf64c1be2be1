//! Reads the records that the packet path leaves of packets, and keeps the latest.

mod export;
mod log;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use tidegate_bgp::policy::PrefixSet;
use tidegate_plan::record;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use export::Exports;
pub(crate) use export::To;
pub(crate) use log::{FlowLog, Names, Told};

use crate::bpf_io::records::Records;

/// Records that are read at once, before others have their turn.
const BATCH: usize = 1_024;

/// What it means when the ring is not read, and what to do.
const UNREAD: &str = "`tidegate flows` and collectors hear of no packet until the daemon is restarted \
                      (`systemctl restart tidegate`; forwarding is not touched)";

/// What the reconcile task holds.
#[derive(Debug)]
pub(crate) struct FlowsHandle {
    /// Full: the task has not come to the last one yet. There is one for each new program.
    sources: mpsc::Sender<Option<Records>>,
    names: watch::Sender<Arc<Names>>,
    to: watch::Sender<Option<To>>,
    log: FlowLog,
}

impl FlowsHandle {
    /// Sends them there from now on.
    pub(crate) fn export(&self, to: To) {
        self.to.send_if_modified(|before| {
            let is_new = *before != Some(to);
            *before = Some(to);
            is_new
        });
    }

    /// Reads these from now on, or nothing.
    pub(crate) async fn read(&self, records: Option<Records>) {
        if self.sources.send(records).await.is_err() {
            warn!("{UNREAD}: its task has ended");
        }
    }

    /// Keeps so many of the latest.
    pub(crate) fn keep(&self, most: u32) {
        self.log.keep(usize::try_from(most).unwrap_or(usize::MAX));
    }

    /// What services and backends are called from now on.
    pub(crate) fn name(&self, names: Names) {
        self.names.send_replace(Arc::new(names));
    }

    /// Sets of prefixes that clients may be in.
    pub(crate) fn know(&self, sets: impl Iterator<Item = Arc<PrefixSet>>) {
        self.log.know(sets.collect());
    }

    /// The same for others who read of them.
    pub(crate) fn names(&self) -> watch::Receiver<Arc<Names>> {
        self.names.subscribe()
    }

    pub(crate) fn log(&self) -> FlowLog {
        self.log.clone()
    }
}

/// Starts the task that reads.
pub(crate) fn start() -> FlowsHandle {
    let (sources, inbox) = mpsc::channel(2);
    let (names, named) = watch::channel(Arc::default());
    let log = FlowLog::default();
    let (to, collectors) = watch::channel(None);
    tokio::spawn(run(inbox, named, collectors, log.clone()));
    FlowsHandle { sources, names, to, log }
}

async fn run(
    mut inbox: mpsc::Receiver<Option<Records>>,
    names: watch::Receiver<Arc<Names>>,
    mut collectors: watch::Receiver<Option<To>>,
    log: FlowLog,
) {
    let mut exports: Option<Exports> = None;
    let mut flush = tokio::time::interval(export::EVERY);
    let mut source: Option<AsyncFd<Records>> = None;
    loop {
        tokio::select! {
            next = inbox.recv() => match next {
                Some(records) => source = records.and_then(watched),
                None => return,
            },
            Ok(()) = collectors.changed() => {
                exports.iter_mut().for_each(Exports::flush);
                exports = collectors.borrow_and_update().map(Exports::new);
            }
            _ = flush.tick() => exports.iter_mut().for_each(Exports::flush),
            read = next(&mut source, &names, &log, &mut exports) => if let Err(error) = read {
                warn!("{UNREAD}: {error}");
                source = None;
            },
        }
    }
}

/// Reads a batch when there is one; without a source there never is.
async fn next(
    source: &mut Option<AsyncFd<Records>>,
    names: &watch::Receiver<Arc<Names>>,
    log: &FlowLog,
    exports: &mut Option<Exports>,
) -> std::io::Result<()> {
    let Some(source) = source else { return std::future::pending().await };
    let mut ready = source.readable_mut().await?;
    let (names, boot) = (Arc::clone(&names.borrow()), boot());
    let records = ready.get_inner_mut();
    let count = records.drain(BATCH, |bytes| match record::read(bytes) {
        Some(record) => {
            let at = boot + Duration::from_nanos(record.at_ns);
            if let Some(exports) = exports {
                exports.add(&record, at);
            }
            log.put(record, at, &names);
        }
        None => log.put_unreadable(),
    });
    if count < BATCH {
        ready.clear_ready();
    }
    drop(ready);
    tokio::task::yield_now().await;
    Ok(())
}

fn watched(records: Records) -> Option<AsyncFd<Records>> {
    records.watch().inspect_err(|error| warn!("{UNREAD}: {error}")).ok()
}

/// When the kernel's monotonic clock began, by the clock of the wall.
pub(crate) fn boot() -> SystemTime {
    let up = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    SystemTime::now().checked_sub(up).unwrap_or(SystemTime::UNIX_EPOCH)
}
