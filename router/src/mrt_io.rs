//! Files of routes and messages (MRT, RFC 6396): `updates.YYYYMMDD.HHMMSS.UUUUUU.mrt` with every UPDATE and
//! change of state, one after the other, and `rib.….mrt` with all routes.
//!
//! A thread writes; what it is given waits in a bounded queue. When that is full, records of
//! updates are dropped and counted, since a session must not wait for a disk, and so are those that
//! a disk does not take; a dump waits, and there is one at a time. A file of routes has its name when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tidegate_config::desired::Mrt;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::bgp_io::{Outside, Tap};

/// Records of updates that wait for the disk. When it is full, they are dropped and counted.
const RECORDS_MAX: usize = 4096;

/// How long a disk that has failed is left alone; what comes meanwhile is dropped and counted.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Figures of the files, as others see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MrtStatus {
    /// Records written since the start.
    pub(crate) records: u64,
    /// Records dropped since the start.
    pub(crate) dropped: u64,
}

/// A dump that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dumped {
    pub(crate) file: PathBuf,
    pub(crate) destinations: u64,
    pub(crate) bytes: u64,
}

/// A dump could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    /// There is no place for it.
    #[error("no directory for dumps is configured: add [mrt] with a directory")]
    Unconfigured,
    /// The disk.
    #[error("cannot write into {}: {cause}", directory.display())]
    Write {
        /// Where.
        directory: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Another one has not ended.
    #[error("a dump is running: try again when it is written")]
    Running,
    /// The speaker.
    #[error(transparent)]
    Stopped(#[from] crate::bgp_io::Stopped),
}

/// Writes files as long as it lives.
#[derive(Debug)]
pub(crate) struct MrtHandle {
    dumps: Dumps,
    wanted: watch::Sender<Option<Mrt>>,
    running: Option<Running>,
    records: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

/// Writes all routes into a file on order.
#[derive(Clone, Debug)]
pub(crate) struct Dumper {
    dumps: Dumps,
    mrt: watch::Receiver<Option<Mrt>>,
}

impl Dumper {
    /// Now; the work is done by who waits for it.
    pub(crate) async fn dump(&self) -> Result<Dumped, DumpError> {
        let mrt = self.mrt.borrow().clone();
        self.dumps.dump(&mrt.ok_or(DumpError::Unconfigured)?).await
    }
}

#[derive(Debug)]
struct Running {
    mrt: Mrt,
    timer: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

/// Starts without files.
pub(crate) fn start(outside: Outside) -> MrtHandle {
    let (wanted, _) = watch::channel(None);
    MrtHandle {
        dumps: Dumps { outside, one: Arc::default() },
        wanted,
        running: None,
        records: Arc::default(),
        dropped: Arc::default(),
    }
}

impl MrtHandle {
    /// Writes these files from now on. The same as before are gone on with.
    pub(crate) async fn set(&mut self, mrt: Option<&Mrt>) {
        if self.running.as_ref().map(|running| &running.mrt) == mrt {
            return;
        }
        self.running = None;
        self.wanted.send_replace(mrt.cloned());
        let tap = mrt.filter(|mrt| mrt.updates).map(|mrt| {
            let (records, inbox) = mpsc::channel(RECORDS_MAX);
            let (mrt, written) = (mrt.clone(), Arc::clone(&self.records));
            let dropped = Arc::clone(&self.dropped);
            // Ends when the speaker has another tap, or none.
            thread::spawn(move || write_updates(&mrt, inbox, &written, &dropped));
            Tap { records, dropped: Arc::clone(&self.dropped) }
        });
        if self.dumps.outside.tap(tap).await.is_err() {
            return; // The speaker has stopped.
        }
        self.running = mrt.map(|mrt| Running {
            mrt: mrt.clone(),
            timer: mrt
                .dump_interval
                .map(|every| tokio::spawn(dump_every(self.dumps.clone(), mrt.clone(), every))),
        });
    }

    pub(crate) fn status(&self) -> Option<MrtStatus> {
        self.running.as_ref().map(|_| MrtStatus {
            records: self.records.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        })
    }

    /// What writes all routes into a file on order.
    pub(crate) fn dumper(&self) -> Dumper {
        Dumper { dumps: self.dumps.clone(), mrt: self.wanted.subscribe() }
    }
}

async fn dump_every(dumps: Dumps, mrt: Mrt, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match dumps.dump(&mrt).await {
            Ok(Dumped { file, destinations, .. }) => {
                info!(file = %file.display(), destinations, "routes written");
            }
            Err(DumpError::Stopped(_)) => return,
            Err(error) => warn!("routes not written: {error}"),
        }
    }
}

/// Writes files of all routes, one at a time.
#[derive(Clone, Debug)]
struct Dumps {
    outside: Outside,
    /// Held as long as one is written: all have the same name until they are whole.
    one: Arc<Mutex<()>>,
}

impl Dumps {
    async fn dump(&self, mrt: &Mrt) -> Result<Dumped, DumpError> {
        let _one = self.one.try_lock().map_err(|_running| DumpError::Running)?;
        let failed = |cause| DumpError::Write { directory: mrt.directory.clone(), cause };
        fs::create_dir_all(&mrt.directory).map_err(failed)?;
        // What a crash has left there is of no use to anybody.
        let part = Part(Some(mrt.directory.join(".rib.part")));
        let mut file = part.create().map_err(failed)?;
        let (mut destinations, mut bytes, mut from) = (0, 0, None);
        loop {
            let dump = self.outside.dump(from).await?;
            destinations += u64::from(dump.destinations);
            bytes += dump.records.len() as u64;
            from = dump.next;
            let write = move || file.write_all(&dump.records).map(|()| file);
            let written = tokio::task::spawn_blocking(write).await.map_err(io::Error::from);
            file = written.flatten().map_err(failed)?;
            if from.is_none() {
                break;
            }
        }
        let synced = tokio::task::spawn_blocking(move || file.sync_all()).await;
        synced.map_err(io::Error::from).flatten().map_err(failed)?;
        let whole = path(mrt, "rib");
        part.finish(&whole).map_err(failed)?;
        keep(mrt, "rib");
        Ok(Dumped { file: whole, destinations, bytes })
    }
}

/// A file that is not whole yet; it goes unless it is finished.
struct Part(Option<PathBuf>);

impl Part {
    fn create(&self) -> io::Result<File> {
        File::create(self.0.as_deref().ok_or(io::ErrorKind::NotFound)?)
    }

    /// It is whole: this is its name from now on.
    fn finish(mut self, whole: &Path) -> io::Result<()> {
        fs::rename(self.0.as_deref().ok_or(io::ErrorKind::NotFound)?, whole)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            drop(fs::remove_file(path));
        }
    }
}

/// The name of a file that begins now: by name they are in the order of time.
fn path(mrt: &Mrt, kind: &str) -> PathBuf {
    let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let now: String = now.chars().filter(char::is_ascii_digit).collect();
    let (day, time) = now.split_at_checked(8).unwrap_or((&now, ""));
    let (time, micros) = time.split_at_checked(6).unwrap_or((time, ""));
    mrt.directory.join(format!("{kind}.{day}.{time}.{micros}.mrt"))
}

/// Removes the oldest files of a kind beyond those that are kept.
fn keep(mrt: &Mrt, kind: &str) {
    let mut files: Vec<PathBuf> = match fs::read_dir(&mrt.directory) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_gone) => return,
    };
    files.retain(|path| is_ours(path, kind));
    files.sort();
    let extra = files.len().saturating_sub(mrt.keep as usize);
    for file in files.iter().take(extra) {
        if let Err(error) = fs::remove_file(file) {
            warn!(file = %file.display(), %error, "an old file cannot be removed");
        }
    }
}

/// `rib.20261125.120000.000000.mrt`, and nothing that somebody else may have put there.
fn is_ours(path: &Path, kind: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let inner = name.strip_prefix(kind).and_then(|rest| rest.strip_suffix(".mrt"));
    inner.is_some_and(|inner| {
        inner.len() >= 16 && inner.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// Writes records until nobody sends any.
fn write_updates(
    mrt: &Mrt,
    mut inbox: mpsc::Receiver<Vec<u8>>,
    written: &AtomicU64,
    dropped: &AtomicU64,
) {
    let files = Directory { mrt, newest: PathBuf::new() };
    let mut series = Series::new(files, mrt, [written, dropped]);
    while let Some(record) = inbox.blocking_recv() {
        series.put(Instant::now(), &record, !inbox.is_empty());
    }
    series.close(Instant::now());
}

/// Where the files of a series are.
trait Files {
    type File: io::Write;

    /// A new one, still empty.
    fn begin(&mut self) -> io::Result<Self::File>;

    /// The newest one holds whole records: it is worth more than the oldest.
    fn is_sound(&mut self);

    /// The newest one holds nothing that could be relied on: it goes.
    fn discard(&mut self);
}

struct Directory<'a> {
    mrt: &'a Mrt,
    newest: PathBuf,
}

impl Files for Directory<'_> {
    type File = File;

    fn begin(&mut self) -> io::Result<File> {
        fs::create_dir_all(&self.mrt.directory)?;
        let path = path(self.mrt, "updates");
        let file = File::create_new(&path)?;
        self.newest = path;
        Ok(file)
    }

    fn is_sound(&mut self) {
        keep(self.mrt, "updates");
    }

    fn discard(&mut self) {
        drop(fs::remove_file(&self.newest));
    }
}

/// Files of records, one after the other.
struct Series<'a, F: Files> {
    files: F,
    mrt: &'a Mrt,
    open: Option<Open<F::File>>,
    /// The disk has failed, and is left alone until then.
    failed: Option<Instant>,
    written: &'a AtomicU64,
    dropped: &'a AtomicU64,
}

struct Open<W: io::Write> {
    file: BufWriter<W>,
    began: Instant,
    /// Something in it has reached the disk.
    is_sound: bool,
    /// Records of which that is not known.
    waiting: u64,
}

impl<'a, F: Files> Series<'a, F> {
    fn new(files: F, mrt: &'a Mrt, [written, dropped]: [&'a AtomicU64; 2]) -> Self {
        Self { files, mrt, open: None, failed: None, written, dropped }
    }

    /// `more`: others wait behind it, with which it is written together. What does not wait is to
    /// be seen.
    fn put(&mut self, now: Instant, record: &[u8], more: bool) {
        if self.open.as_ref().is_some_and(|it| now - it.began >= self.mrt.rotate) {
            self.close(now);
        }
        if self.failed.is_some_and(|until| now < until) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let done = self.write(now, record).and_then(|()| if more { Ok(()) } else { self.flush() });
        if let Err(error) = done {
            self.fail(now, &error);
        }
    }

    /// The present file is over.
    fn close(&mut self, now: Instant) {
        match self.flush() {
            Ok(()) => self.open = None,
            Err(error) => self.fail(now, &error),
        }
    }

    fn write(&mut self, now: Instant, record: &[u8]) -> io::Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            None => match self.files.begin() {
                Ok(file) => {
                    let file = BufWriter::new(file);
                    self.open.insert(Open { file, began: now, is_sound: false, waiting: 0 })
                }
                Err(error) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    return Err(error);
                }
            },
        };
        open.waiting += 1;
        open.file.write_all(record)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.flush()?;
        self.written.fetch_add(core::mem::take(&mut open.waiting), Ordering::Relaxed);
        self.failed = None;
        if !core::mem::replace(&mut open.is_sound, true) {
            self.files.is_sound();
        }
        Ok(())
    }

    /// Told of once. The file ends where it is.
    fn fail(&mut self, now: Instant, error: &io::Error) {
        if let Some(open) = self.open.take() {
            self.dropped.fetch_add(open.waiting, Ordering::Relaxed);
            drop(open.file.into_parts()); // What it holds is lost, and not written once more.
            if !open.is_sound {
                self.files.discard();
            }
        }
        if self.failed.is_none() {
            let (directory, again_secs) = (self.mrt.directory.display(), RETRY_AFTER.as_secs());
            warn!(%directory, %error, again_secs, "updates are lost until they can be written down");
        }
        self.failed = Some(now + RETRY_AFTER);
    }
}

#[cfg(test)]
mod tests;
