//! BMP stations (RFC 7854): connects to each, and passes on what the speaker has for it.
//!
//! A task per station asks for the next piece when the last one is written, so that a slow station
//! hears less often and slows nobody. One that takes nothing for a minute is left, and begins anew.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use tidegate_bgp::bmp::{self, View};
use tidegate_config::desired::{BmpStation, BmpView};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tracing::{info, warn};

use crate::bgp_io::Outside;
use crate::journal::kinds;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a station may take nothing.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// How long the last word may take.
const PART_WITHIN: Duration = Duration::from_secs(1);

/// A station, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StationStatus {
    pub(crate) name: String,
    pub(crate) remote: SocketAddr,
    /// It is connected.
    pub(crate) up: bool,
    /// Since when it is so.
    pub(crate) since: SystemTime,
    /// Octets sent since the start.
    pub(crate) sent_bytes: u64,
    /// Connections that have ended, since the start.
    pub(crate) lost: u64,
    /// Why the last one ended, or did not come about.
    pub(crate) problem: Option<String>,
}

/// A station that is followed.
#[derive(Debug)]
struct Followed {
    station: BmpStation,
    status: watch::Receiver<StationStatus>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// Feeds stations as long as it lives.
#[derive(Debug)]
pub(crate) struct BmpHandle {
    outside: Outside,
    numbers: Arc<AtomicU32>,
    /// What this node is called.
    node: String,
    followed: Vec<Followed>,
}

/// Starts with no station.
pub(crate) fn start(outside: Outside) -> BmpHandle {
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let node = node.trim().to_owned();
    BmpHandle { outside, numbers: Arc::default(), node, followed: Vec::new() }
}

impl BmpHandle {
    /// Feeds these from now on. One that is the same as before is not touched.
    pub(crate) fn set(&mut self, stations: &[BmpStation]) {
        self.followed.retain(|it| stations.contains(&it.station));
        for station in stations {
            if self.followed.iter().any(|it| it.station == *station) {
                continue;
            }
            let (feeder, status, stop) = self.feeder(station);
            let task = tokio::spawn(feeder.run());
            self.followed.push(Followed { station: station.clone(), status, stop, task });
        }
    }

    fn feeder(
        &self,
        station: &BmpStation,
    ) -> (Feeder, watch::Receiver<StationStatus>, watch::Sender<()>) {
        let (publish, status) = watch::channel(StationStatus {
            name: station.name.clone(),
            remote: station.remote,
            up: false,
            since: SystemTime::now(),
            sent_bytes: 0,
            lost: 0,
            problem: None,
        });
        let (stop, stopped) = watch::channel(());
        let feeder = Feeder {
            station: station.clone(),
            outside: self.outside.clone(),
            numbers: Arc::clone(&self.numbers),
            node: self.node.clone(),
            publish,
            stopped,
        };
        (feeder, status, stop)
    }

    /// How they stand.
    pub(crate) fn status(&self) -> Vec<StationStatus> {
        self.followed.iter().map(|it| it.status.borrow().clone()).collect()
    }

    /// Takes leave of all of them.
    pub(crate) async fn stop(self) {
        for Followed { stop, task, .. } in self.followed {
            drop(stop);
            drop(timeout(2 * PART_WITHIN, task).await);
        }
    }
}

struct Feeder {
    station: BmpStation,
    outside: Outside,
    numbers: Arc<AtomicU32>,
    node: String,
    publish: watch::Sender<StationStatus>,
    /// Ends when nobody wants the station fed any more.
    stopped: watch::Receiver<()>,
}

impl Feeder {
    async fn run(mut self) {
        loop {
            let name = &self.station.name;
            let mut stopped = self.stopped.clone();
            let stream = tokio::select! {
                stream = timeout(CONNECT_WITHIN, TcpStream::connect(self.station.remote)) => stream,
                _gone = stopped.changed() => return,
            };
            let ended = match stream.map_err(io::Error::from).flatten() {
                Ok(stream) => {
                    info!(event = kinds::BMP_UP, station = name, "BMP station connected");
                    self.note(true, None);
                    let id = self.numbers.fetch_add(1, Ordering::Relaxed);
                    let ended = self.feed(id, stream).await;
                    if self.outside.close(id).await.is_err() {
                        return;
                    }
                    match ended {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let was = self.publish.borrow().clone();
            if was.up || was.problem.is_none() {
                let (station, why) = (&self.station.name, lost(&self.station, was.up, &ended));
                warn!(event = kinds::BMP_DOWN, station, "{why}");
            }
            self.note(false, Some(ended.to_string()));
            tokio::select! {
                () = sleep(self.station.connect_retry) => {}
                _gone = stopped.changed() => return,
            }
        }
    }

    fn note(&self, up: bool, problem: Option<String>) {
        self.publish.send_modify(|status| {
            if status.up != up {
                status.since = SystemTime::now();
                status.lost += u64::from(!up);
            }
            (status.up, status.problem) = (up, problem);
        });
    }

    /// Until it is to be stopped, which is no error.
    async fn feed(&mut self, id: u32, stream: TcpStream) -> io::Result<()> {
        let (mut read, mut write) = stream.into_split();
        let gone = |_stopped| io::Error::other("the BGP speaker has stopped");
        self.outside
            .open(id, self.station.views.iter().copied().map(view).collect())
            .await
            .map_err(gone)?;
        let what = concat!("tidegate ", env!("CARGO_PKG_VERSION"));
        self.write(&mut write, &bmp::initiation(what, &self.node)).await?;
        let every = self.station.stats_interval.unwrap_or(Duration::from_hours(1));
        let mut ticks = interval_at(Instant::now() + every, every);
        let mut stopped = self.stopped.clone();
        let outside = self.outside.clone();
        loop {
            // What is told is not told again: the question outlives everything else.
            let mut told = std::pin::pin!(outside.tell(id));
            let told = loop {
                tokio::select! {
                    told = &mut told => break told,
                    _tick = ticks.tick(), if self.station.stats_interval.is_some() => {
                        outside.figures(id).await.map_err(gone)?;
                    }
                    ended = ended(&mut read) => return Err(ended),
                    _gone = stopped.changed() => {
                        // A station that does not take the last word misses it.
                        let last = bmp::termination();
                        drop(timeout(PART_WITHIN, write.write_all(&last)).await);
                        return Ok(());
                    }
                }
            };
            let behind = |_lost| io::Error::other("it has fallen too far behind, and begins anew");
            let bytes = told.map_err(gone)?.map_err(behind)?;
            self.write(&mut write, &bytes).await?;
        }
    }

    /// However slowly it is taken, as long as it is.
    async fn write(
        &self,
        write: &mut (impl tokio::io::AsyncWrite + Unpin),
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let written =
                timeout(STALLED_AFTER, write.write(bytes)).await.map_err(|_elapsed| {
                    io::Error::new(io::ErrorKind::TimedOut, "it has taken nothing for a minute")
                })??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
            self.publish.send_modify(|status| status.sent_bytes += written as u64);
        }
        Ok(())
    }
}

/// A conversation has ended, or did not come about.
fn lost(station: &BmpStation, was_up: bool, why: &io::Error) -> String {
    let (remote, retry) = (station.remote, humantime::format_duration(station.connect_retry));
    if was_up {
        format!("BMP station at {remote} lost, and is tried again in {retry}: {why}")
    } else {
        format!("BMP station cannot be reached at {remote}, and is tried every {retry}: {why}")
    }
}

/// Waits for the end of what a station says, which means nothing.
async fn ended(read: &mut OwnedReadHalf) -> io::Error {
    let mut unread = [0; 512];
    loop {
        match read.read(&mut unread).await {
            Ok(0) => return io::Error::other("it closed the connection"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

const fn view(view: BmpView) -> View {
    match view {
        BmpView::PrePolicy => View::PrePolicy,
        BmpView::PostPolicy => View::PostPolicy,
        BmpView::LocRib => View::LocRib,
        BmpView::AdjRibOut => View::AdjRibOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn station() -> BmpStation {
        BmpStation {
            name: "collector".into(),
            remote: SocketAddr::from(([192, 0, 2, 9], 11_019)),
            views: vec![BmpView::LocRib],
            stats_interval: None,
            connect_retry: Duration::from_secs(30),
        }
    }

    #[tokio::test]
    async fn a_slow_station_is_waited_for_and_one_that_takes_nothing_is_left() {
        const JUST_IN_TIME: Duration = Duration::from_secs(59);
        let bgp = crate::bgp_io::alone();
        let (feeder, _status, _stop) = start(bgp.outside()).feeder(&station());
        tokio::time::pause();
        let (mut ours, mut theirs) = tokio::io::duplex(1);
        let began = Instant::now();
        let taken = async {
            for _ in 0..9 {
                sleep(JUST_IN_TIME).await;
                theirs.read_u8().await.unwrap();
            }
            core::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = feeder.write(&mut ours, &[0; 11]) => ended.unwrap_err(),
            () = taken => unreachable!(),
        };
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        let last_taken = 9 * JUST_IN_TIME;
        assert_eq!(began.elapsed().as_secs(), (last_taken + STALLED_AFTER).as_secs());
        assert_eq!(feeder.publish.borrow().sent_bytes, 10);
    }

    #[test]
    fn an_operator_reads_whether_a_station_was_ever_there_and_where() {
        let station = station();
        let cases = [
            (
                false,
                "BMP station cannot be reached at 192.0.2.9:11019, and is tried every 30s: \
                 connection refused",
            ),
            (
                true,
                "BMP station at 192.0.2.9:11019 lost, and is tried again in 30s: \
                 connection refused",
            ),
        ];
        for (was_up, expected) in cases {
            let refused = io::ErrorKind::ConnectionRefused.into();
            assert_eq!(lost(&station, was_up, &refused), expected);
        }
    }
}
