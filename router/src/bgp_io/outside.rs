//! Between the speaker and those who follow it from outside: BMP stations, dumps, files of messages.
//!
//! Nothing is queued here. A station asks, and is answered when there is something; a dump asks for
//! one stretch after the other. A message for the files is offered to their writer, and dropped and
//! counted if that is behind.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tidegate_bgp::bmp::{Views, WallTime};
use tidegate_bgp::rib::WatcherId;
use tidegate_bgp::speaker::{Dump, DumpCursor, Heard, Lost};
use tidegate_bgp::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{Input, Shell, Stopped};

/// Stations are answered at most this often: what changes meanwhile is told once.
const PACE: Duration = Duration::from_millis(20);

/// What a station is told, or that it has to begin anew.
type Told = Result<Vec<u8>, Lost>;

/// What those outside want.
#[derive(Debug)]
pub(super) enum Ask {
    Open(WatcherId, Views),
    Close(WatcherId),
    Tell(WatcherId, oneshot::Sender<Told>),
    Figures(WatcherId),
    Dump(Option<DumpCursor>, oneshot::Sender<Dump>),
    Tap(Option<Tap>),
}

/// Where records of messages go.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    pub(crate) records: mpsc::Sender<Vec<u8>>,
    /// Records that found the writer behind.
    pub(crate) dropped: Arc<AtomicU64>,
}

/// The way to the speaker for those outside. Keeps nothing alive.
#[derive(Clone, Debug)]
pub(crate) struct Outside(pub(super) mpsc::WeakSender<Input>);

impl Outside {
    async fn ask(&self, ask: Ask) -> Result<(), Stopped> {
        let inputs = self.0.upgrade().ok_or(Stopped)?;
        inputs.send(Input::Outside(ask)).await.or(Err(Stopped))
    }

    pub(crate) async fn open(&self, id: WatcherId, views: Views) -> Result<(), Stopped> {
        self.ask(Ask::Open(id, views)).await
    }

    pub(crate) async fn close(&self, id: WatcherId) -> Result<(), Stopped> {
        self.ask(Ask::Close(id)).await
    }

    /// Waits until there is something to tell. What is told is not told again: an answer must not
    /// be thrown away.
    pub(crate) async fn tell(&self, id: WatcherId) -> Result<Told, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Tell(id, reply)).await?;
        answer.await.or(Err(Stopped))
    }

    /// What is told next has figures too.
    pub(crate) async fn figures(&self, id: WatcherId) -> Result<(), Stopped> {
        self.ask(Ask::Figures(id)).await
    }

    pub(crate) async fn dump(&self, from: Option<DumpCursor>) -> Result<Dump, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Dump(from, reply)).await?;
        answer.await.or(Err(Stopped))
    }

    pub(crate) async fn tap(&self, tap: Option<Tap>) -> Result<(), Stopped> {
        self.ask(Ask::Tap(tap)).await
    }
}

/// Those outside, as the speaker's task knows them.
#[derive(Default)]
pub(super) struct Outsiders {
    /// Stations that wait for something to be told; one question of each.
    waiting: BTreeMap<WatcherId, oneshot::Sender<Told>>,
    /// They are looked after no sooner.
    from: Timestamp,
    /// Something may have changed since they were.
    stale: bool,
    tap: Option<Tap>,
}

impl Outsiders {
    /// When stations are to be looked after.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        (self.stale && !self.waiting.is_empty()).then_some(self.from)
    }

    pub(super) fn on_heard(&self, heard: &Heard) {
        if let Some(tap) = &self.tap
            && tap.records.try_send(heard.record(wall_time())).is_err()
        {
            tap.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shell {
    pub(super) fn on_ask(&mut self, ask: Ask) {
        // Who asked may have gone away by now.
        match ask {
            Ask::Open(id, views) => self.speaker.open_station(id, views),
            Ask::Close(id) => {
                self.speaker.close_station(id);
                self.outsiders.waiting.remove(&id);
            }
            Ask::Tell(id, reply) => drop(self.outsiders.waiting.insert(id, reply)),
            Ask::Figures(id) => self.speaker.want_figures(id),
            Ask::Dump(from, reply) => {
                drop(reply.send(self.speaker.dump(self.clock.now(), wall_time(), from)));
            }
            Ask::Tap(tap) => {
                self.speaker.set_tapped(tap.is_some());
                self.outsiders.tap = tap;
            }
        }
    }

    /// Answers stations for which there is something. To be called after every turn.
    pub(super) fn serve_stations(&mut self) {
        let now = self.clock.now();
        self.outsiders.stale = true;
        if self.outsiders.waiting.is_empty() || now < self.outsiders.from {
            return;
        }
        self.outsiders.from = now + PACE;
        self.outsiders.stale = false;
        for (id, reply) in std::mem::take(&mut self.outsiders.waiting) {
            match self.speaker.tell_station(id, wall_time()) {
                Ok(nothing) if nothing.is_empty() => {
                    self.outsiders.waiting.insert(id, reply);
                }
                told => drop(reply.send(told)),
            }
        }
    }
}

/// What clocks on walls show.
pub(crate) fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime {
        secs: u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
        micros: since.subsec_micros(),
    }
}
