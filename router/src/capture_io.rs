//! Packets that somebody captures, from the ring of the packet path to the file that he gets.
//!
//! Nothing is kept here: who reads too slowly finds the ring full, and what is lost is counted. The
//! program that captures is in place for as long as [`Capture`] or its stream lives.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream::{self, Stream};
use nix::net::if_::if_indextoname;
use tidegate_abi::Counter;
use tidegate_plan::capture::{self, Captured, Frame};
use tidegate_plan::export::pcapng::{self, Direction, Packet, Section, Statistics};
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Interval, interval, sleep_until};
use tracing::info;

use crate::bpf_io::records::Records;
use crate::bpf_io::{CaptureCounts, Captures};
use crate::flows_io::{Names, boot};

/// Packets that are read at once, before others have their turn.
const BATCH: usize = 256;
/// How many were lost is told so often, also for those who break off.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What is in the packet path when the time is over has left it after so long.
const GRACE: Duration = Duration::from_millis(20);
/// Interfaces that are described: more than that are one for all others.
const INTERFACES_MAX: usize = 256;

/// A capture that has begun.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) captures: Captures,
    /// What services and backends are called.
    pub(crate) names: watch::Receiver<Arc<Names>>,
    /// The interfaces that packets come in by.
    pub(crate) interfaces: Vec<(u32, String)>,
    pub(crate) snap: u32,
    /// So many at most.
    pub(crate) count: u64,
    /// The end.
    pub(crate) until: Instant,
    pub(crate) who: String,
    /// What was asked for.
    pub(crate) words: String,
    /// Dropped, it says that nobody reads any more; closed, that nothing more comes.
    pub(crate) reader: oneshot::Sender<Infallible>,
}

struct Interface {
    ifindex: u32,
    delivered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begins,
    Reads,
    /// What is left in the ring, and then the end.
    Ends(&'static str),
    Over,
}

struct Reading {
    records: AsyncFd<Records>,
    counts: CaptureCounts,
    names: watch::Receiver<Arc<Names>>,
    interfaces: Vec<Interface>,
    /// What is to be written next.
    head: Vec<u8>,
    snap: u32,
    left: u64,
    id: u64,
    until: Instant,
    tell: Interval,
    /// When the kernel's monotonic clock began: once, so that all times of a file go together.
    boot_ns: u64,
    from_ns: u64,
    who: String,
    /// `None`: it is over.
    reader: Option<oneshot::Sender<Infallible>>,
    phase: Phase,
}

/// The file, in pieces.
///
/// # Errors
/// The ring cannot be waited for.
pub(crate) fn stream(
    capture: Capture,
) -> io::Result<impl Stream<Item = Result<Bytes, Infallible>> + Send> {
    let Capture { captures, names, interfaces, snap, count, until, who, words, reader } = capture;
    let mut head = Vec::new();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    pcapng::section(
        &mut head,
        &Section {
            hardware: std::env::consts::ARCH,
            os: &format!("Linux {}", release.trim()),
            application: concat!("tidegate ", env!("CARGO_PKG_VERSION")),
            comment: &format!("tidegate capture {words}"),
        },
    );
    let mut reading = Reading {
        records: captures.records.watch()?,
        counts: captures.counts,
        names,
        interfaces: Vec::new(),
        head,
        snap,
        left: count,
        id: 0,
        until,
        tell: interval(TELL_EVERY),
        boot_ns: nanoseconds(boot()),
        from_ns: nanoseconds(SystemTime::now()),
        who,
        reader: Some(reader),
        phase: Phase::Begins,
    };
    for (ifindex, name) in interfaces {
        reading.describe(ifindex, &name);
    }
    Ok(Box::pin(stream::unfold(reading, |mut reading| async move {
        let piece = reading.piece().await?;
        Some((Ok(Bytes::from(piece)), reading))
    })))
}

/// Waits until nothing more comes.
async fn closed(reader: &mut Option<oneshot::Sender<Infallible>>) {
    if let Some(reader) = reader {
        reader.closed().await;
    }
}

/// A batch of records, no more than there shall be.
fn taken(ring: &mut Records, left: u64) -> Vec<Vec<u8>> {
    let most = BATCH.min(usize::try_from(left).unwrap_or(usize::MAX));
    let mut records = Vec::with_capacity(most);
    ring.drain(most, |bytes| records.push(bytes.to_vec()));
    records
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Reading {
    /// The next piece; `None`: that was all.
    async fn piece(&mut self) -> Option<Vec<u8>> {
        match self.phase {
            Phase::Begins => {
                self.phase = Phase::Reads;
                Some(core::mem::take(&mut self.head))
            }
            Phase::Reads => Some(self.read().await),
            Phase::Ends(why) => {
                let rest = taken(self.records.get_mut(), self.left);
                if !rest.is_empty() {
                    return Some(self.written(&rest));
                }
                self.phase = Phase::Over;
                self.reader = None; // Before the last piece: who has that may begin anew.
                let packets: u64 = self.interfaces.iter().map(|it| it.delivered).sum();
                info!(who = self.who, packets, lost = self.lost(), "capture ended: {why}");
                Some(self.statistics(why))
            }
            Phase::Over => None,
        }
    }

    /// What there is, when there is something; empty, when it comes to the end.
    async fn read(&mut self) -> Vec<u8> {
        loop {
            tokio::select! {
                () = closed(&mut self.reader) => {
                    self.phase = Phase::Ends("the packet path was loaded anew");
                    return Vec::new();
                }
                () = sleep_until(self.until + GRACE) => {
                    self.phase = Phase::Ends("the time is over");
                    return Vec::new();
                }
                _ = self.tell.tick() => return self.statistics("so far"),
                ready = self.records.readable_mut() => {
                    let Ok(mut ready) = ready else {
                        self.phase = Phase::Ends("the ring cannot be read");
                        return Vec::new();
                    };
                    let records = taken(ready.get_inner_mut(), self.left);
                    if records.len() < BATCH {
                        ready.clear_ready();
                    }
                    drop(ready);
                    if records.is_empty() {
                        continue;
                    }
                    let piece = self.written(&records);
                    if self.left == 0 {
                        self.phase = Phase::Ends("the count is reached");
                    }
                    return piece;
                }
            }
        }
    }

    /// These records, as they stand in the file.
    fn written(&mut self, records: &[Vec<u8>]) -> Vec<u8> {
        let names = Arc::clone(&self.names.borrow());
        for captured in records.iter().filter_map(|bytes| capture::read(bytes)) {
            self.add(&captured, &names);
        }
        core::mem::take(&mut self.head)
    }

    /// Writes what came, and what left of it, to the head of what is to come.
    fn add(&mut self, captured: &Captured<'_>, names: &Names) {
        self.left = self.left.saturating_sub(1);
        self.id += 1;
        let interface = self.number(captured.ingress_ifindex);
        if let Some(it) = self.interfaces.get_mut(interface) {
            it.delivered += 1;
        }
        let service = captured.service.and_then(|index| names.services.get(&index));
        let backend = captured.backend.and_then(|index| names.backends.get(&index)).copied();
        let sentence = capture::sentence(captured.verdict, service.map(|name| &**name), backend);
        let action = capture::xdp_action(captured.verdict);
        let (id, boot_ns) = (self.id, self.boot_ns);
        let packet = |interface: usize, direction, frame: &Frame<'_>, comment: &str| {
            let mut out = Vec::new();
            let it = Packet {
                interface: u32::try_from(interface).unwrap_or(0),
                at_ns: boot_ns.saturating_add(frame.at_ns),
                direction,
                id,
                action,
                frame: frame.bytes,
                len: frame.len,
                comment,
            };
            pcapng::packet(&mut out, &it);
            out
        };
        self.head.append(&mut packet(interface, Direction::In, &captured.before, &sentence));
        if let Some(after) = &captured.after {
            let egress = captured.backend.and_then(|index| names.egress.get(&index)).copied();
            let elsewhere = egress.filter(|_| captured.verdict == Counter::ForwardRedirect);
            let by = elsewhere.map_or(interface, |ifindex| self.number(ifindex));
            let comment = format!("as packet {id} left: {sentence}");
            self.head.append(&mut packet(by, Direction::Out, after, &comment));
        }
    }

    /// The number of an interface, which is described when it is the first time.
    fn number(&mut self, ifindex: u32) -> usize {
        let known = self.interfaces.iter().position(|it| it.ifindex == ifindex);
        if let Some(known) = known {
            return known;
        }
        if self.interfaces.len() >= INTERFACES_MAX {
            return 0;
        }
        let name = if_indextoname(ifindex).ok().and_then(|name| name.into_string().ok());
        self.describe(ifindex, &name.unwrap_or_else(|| format!("interface {ifindex}")));
        self.interfaces.len() - 1
    }

    fn describe(&mut self, ifindex: u32, name: &str) {
        pcapng::interface(&mut self.head, name, self.snap);
        self.interfaces.push(Interface { ifindex, delivered: 0 });
    }

    fn lost(&self) -> u64 {
        self.counts.lost().unwrap_or(0)
    }

    /// What is known of all interfaces. What was lost stands at the first one: the packet path counts it
    /// for all of them.
    fn statistics(&self, why: &str) -> Vec<u8> {
        let (mut out, to_ns) = (Vec::new(), nanoseconds(SystemTime::now()));
        let lost = self.lost();
        let comment = format!("{why}; lost for want of room, of all interfaces: {lost}");
        for (interface, it) in (0..).zip(&self.interfaces) {
            let statistics = Statistics {
                interface,
                from_ns: self.from_ns,
                to_ns,
                delivered: it.delivered,
                lost: (interface == 0).then_some(lost),
                comment: if interface == 0 { &comment } else { "" },
            };
            pcapng::statistics(&mut out, &statistics);
        }
        out
    }
}
