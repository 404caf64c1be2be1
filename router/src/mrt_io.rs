//! Files of routes and messages (MRT, RFC 6396): `updates.YYYYMMDD.HHMMSS.UUUUUU.mrt` with every UPDATE and
//! change of state, one after the other, and `rib.….mrt` with all routes.
//!
//! A thread writes; what it is given waits in a bounded queue. When that is full, records of
//! updates are dropped and counted, since a session must not wait for a disk; a dump waits, and
//! there is one at a time. A file of routes has its name when it is whole.

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
            // Ends when the speaker has another tap, or none.
            thread::spawn(move || write_updates(&mrt, inbox, &written));
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
        let (mut destinations, mut bytes, mut from) = (0, 0, Some(0));
        while let Some(next) = from {
            let dump = self.outside.dump(next).await?;
            destinations += u64::from(dump.destinations);
            bytes += dump.records.len() as u64;
            from = dump.next;
            let write = move || file.write_all(&dump.records).map(|()| file);
            let written = tokio::task::spawn_blocking(write).await.map_err(io::Error::from);
            file = written.flatten().map_err(failed)?;
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
fn write_updates(mrt: &Mrt, mut inbox: mpsc::Receiver<Vec<u8>>, written: &AtomicU64) {
    let mut writer: Option<(BufWriter<File>, Instant)> = None;
    let mut failed = false;
    while let Some(record) = inbox.blocking_recv() {
        let is_over = |(_, began): &(_, Instant)| began.elapsed() >= mrt.rotate;
        if writer.as_ref().is_none_or(is_over) {
            writer = None; // Dropped, and so written, before the next one begins.
        }
        let done = match &mut writer {
            Some((file, _)) => file.write_all(&record),
            None => begin(mrt).and_then(|mut file| {
                file.write_all(&record)?;
                writer = Some((file, Instant::now()));
                Ok(())
            }),
        };
        // What waits is written together; what does not wait is to be seen.
        let done = match &mut writer {
            Some((file, _)) if done.is_ok() && inbox.is_empty() => file.flush(),
            _ => done,
        };
        match done {
            Ok(()) => {
                written.fetch_add(1, Ordering::Relaxed);
                failed = false;
            }
            Err(error) => {
                writer = None;
                if !failed {
                    let directory = mrt.directory.display();
                    warn!(%directory, %error, "updates cannot be written down; they are lost");
                }
                failed = true;
            }
        }
    }
}

fn begin(mrt: &Mrt) -> io::Result<BufWriter<File>> {
    fs::create_dir_all(&mrt.directory)?;
    let file = File::create_new(path(mrt, "updates"))?;
    keep(mrt, "updates");
    Ok(BufWriter::new(file))
}

#[cfg(test)]
mod tests {
    use tidegate_bgp::speaker::Local;
    use tidegate_bgp::types::{Asn, RouterId};

    use super::*;
    use crate::bgp_io::{self, BgpHandle, Keys, Settings};
    use crate::clock::Clock;

    fn mrt(directory: PathBuf, rotate: Duration) -> Mrt {
        Mrt { directory, updates: true, rotate, dump_interval: None, keep: 2 }
    }

    fn directory(name: &str) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        directory
    }

    /// A speaker without routes, and what dumps them.
    fn dumps() -> (BgpHandle, Dumps) {
        let router_id = RouterId::new([10, 0, 0, 1].into()).unwrap();
        let settings = Settings {
            local: Local { asn: Asn::new(65_001).unwrap(), router_id },
            listen: Vec::new(),
            md5: Keys::default(),
            seed: 1,
            restarted: false,
            next_hops: None,
        };
        let (links, _) = crate::link_io::start().unwrap();
        let (reports, _) = mpsc::channel(1);
        let bgp = bgp_io::start(settings, Clock::start(), links, reports).unwrap();
        let dumps = start(bgp.outside()).dumps;
        (bgp, dumps)
    }

    #[tokio::test]
    async fn there_is_one_dump_at_a_time_and_what_a_crash_left_is_in_nobodys_way() {
        let (bgp, dumps) = dumps();
        let mrt = mrt(directory("mrt-dump"), Duration::ZERO);
        fs::create_dir_all(&mrt.directory).unwrap();
        let part = mrt.directory.join(".rib.part");
        fs::write(&part, "longer than a file without any routes will be, by far".repeat(9))
            .unwrap();
        let (first, second) = tokio::join!(dumps.dump(&mrt), dumps.dump(&mrt));
        let first = first.unwrap();
        assert_eq!(fs::metadata(&first.file).unwrap().len(), first.bytes);
        assert!(matches!(second, Err(DumpError::Running)), "{second:?}");
        assert!(dumps.dump(&mrt).await.is_ok());

        // One that fails takes its beginnings with it, and is in nobody's way either.
        bgp.stop().await;
        assert!(matches!(dumps.dump(&mrt).await, Err(DumpError::Stopped(_))));
        assert!(matches!(dumps.dump(&mrt).await, Err(DumpError::Stopped(_))));
        assert!(!part.exists());
        fs::remove_dir_all(&mrt.directory).unwrap();
    }

    #[test]
    fn files_follow_each_other_and_old_ones_go() {
        let mrt = mrt(directory("mrt-rotate"), Duration::ZERO);
        let (records, inbox) = mpsc::channel(8);
        for record in [b"one", b"two", b"six"] {
            records.try_send(record.to_vec()).unwrap();
        }
        drop(records);
        fs::create_dir_all(&mrt.directory).unwrap();
        fs::write(mrt.directory.join("updates.of-somebody.mrt"), "keep me").unwrap();
        let written = AtomicU64::new(0);
        write_updates(&mrt, inbox, &written);
        assert_eq!(written.load(Ordering::Relaxed), 3);
        let mut left: Vec<String> = fs::read_dir(&mrt.directory)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["keep me", "six", "two"]);
        fs::remove_dir_all(&mrt.directory).unwrap();
    }

    #[test]
    fn a_disk_that_fails_loses_records_and_ends_nothing() {
        let file = directory("mrt-file");
        fs::write(&file, "in the way").unwrap();
        let mrt = mrt(file.join("below"), Duration::from_mins(1));
        let (records, inbox) = mpsc::channel(8);
        records.try_send(vec![1]).unwrap();
        drop(records);
        let written = AtomicU64::new(0);
        write_updates(&mrt, inbox, &written);
        assert_eq!(written.load(Ordering::Relaxed), 0);
        fs::remove_file(file).unwrap();
    }
}
