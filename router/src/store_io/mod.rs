//! The state directory: generations of the configuration, which of them is in force, and what the
//! API changed.
//!
//! One file per generation, never changed once written, and one file, `state.json`, that says which
//! generation counts. Both are written beside their place, synced and renamed into it; the rename
//! of `state.json` is the one moment at which something new counts. A crash at any other moment
//! leaves the old state, and at most a file that nobody asks for.

mod disk;
mod drains;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use disk::Disk;

/// Generations that are kept, the one in force included; the oldest go first.
pub(crate) const KEPT_MAX: usize = 50;
/// Version of the files' shape.
const VERSION: u32 = 1;
/// The largest file that is read: a configuration, written as JSON.
const FILE_BYTES_MAX: u64 = 4 * tidegate_config::FILE_BYTES_MAX as u64;

/// One generation of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its number; grows with every change.
    pub(crate) generation: u64,
    /// RFC 3339: when it came into force.
    pub(crate) at: String,
    /// Who asked for it.
    pub(crate) who: String,
    /// What was done: `start`, `reload`, `apply`, `edit`, `rollback`, `undo`.
    pub(crate) cause: String,
    /// Why, in the words of who asked, or in ours.
    pub(crate) comment: String,
    /// Where the text came from.
    pub(crate) file: PathBuf,
    /// The file's text.
    pub(crate) text: String,
    /// What the API changed, as [`tidegate_config::overlay::Overlay`] writes it.
    pub(crate) overlay: String,
}

/// What counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    /// The generation to come back to after a start: the last one that was confirmed.
    pub(crate) confirmed: u64,
    /// The generation that runs, if it still waits to be confirmed.
    pub(crate) unconfirmed: Option<u64>,
    /// The daemon's own file as it was when this was decided: one that has changed since then is a
    /// new decision of the operator's.
    pub(crate) file_seen: String,
}

/// What is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) state: State,
    /// The confirmed generation.
    pub(crate) confirmed: Record,
    /// The largest number that was ever given.
    pub(crate) newest: u64,
}

/// The state cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file system refused.
    #[error("cannot {what} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A file is there, but not one that we wrote.
    #[error("{} is damaged: {cause}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        cause: String,
    },
}

/// A state directory.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    disk: Disk,
}

impl Store {
    /// The directory of the daemon with this configuration file, below the configured one.
    pub(crate) fn new(state_dir: &Path, config: &Path) -> Self {
        Self::with(state_dir.join(escaped(config)), Disk::default())
    }

    fn with(dir: PathBuf, disk: Disk) -> Self {
        Self { dir, disk }
    }

    /// What was kept; `None` when nothing was.
    ///
    /// # Errors
    /// [`Error`]
    pub(crate) fn load(&self) -> Result<Option<Kept>, Error> {
        let Some(state) = self.read::<State>(&self.dir.join("state.json"))? else {
            return Ok(None);
        };
        if state.version != VERSION {
            let cause = format!("version {} is not {VERSION}", state.version);
            return Err(Error::Damaged { path: self.dir.join("state.json"), cause });
        }
        let confirmed = self.record(state.confirmed)?;
        let newest = self.newest().max(state.confirmed);
        Ok(Some(Kept { state, confirmed, newest }))
    }

    /// The largest number that was given to a generation which is still there.
    pub(crate) fn newest(&self) -> u64 {
        self.numbers().unwrap_or_default().into_iter().max().unwrap_or(0)
    }

    /// A generation that is still kept.
    ///
    /// # Errors
    /// [`Error`], with `NotFound` when it is not kept.
    pub(crate) fn record(&self, generation: u64) -> Result<Record, Error> {
        let path = self.path_of(generation);
        self.read(&path)?.ok_or_else(|| Error::Io {
            what: "read",
            path,
            cause: io::ErrorKind::NotFound.into(),
        })
    }

    /// Every generation that is kept and can be read, the newest first.
    pub(crate) fn history(&self) -> Result<Vec<Record>, Error> {
        let mut numbers = self.numbers()?;
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers.into_iter().filter_map(|number| self.record(number).ok()).collect())
    }

    /// Makes a generation count: confirmed, or until something else is. What is on disk is the old
    /// state until this returns, or, if it fails in the very last step, the new one.
    ///
    /// # Errors
    /// [`Error`]: what is in force is then still the old state.
    pub(crate) fn put(&self, record: &Record, state: &State) -> Result<(), Error> {
        self.disk.make_dir(&self.dir).map_err(|cause| self.failed("make", &self.dir, cause))?;
        self.write(&self.path_of(record.generation), record)?;
        self.set(state)?;
        self.forget_the_oldest(state);
        Ok(())
    }

    /// Makes another state count, of generations that are there.
    ///
    /// # Errors
    /// [`Error`]
    pub(crate) fn set(&self, state: &State) -> Result<(), Error> {
        self.write(&self.dir.join("state.json"), state)
    }

    /// What is not needed any more costs disk, and nothing else: a failure is none.
    fn forget_the_oldest(&self, state: &State) {
        let mut numbers = self.numbers().unwrap_or_default();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for number in numbers.into_iter().skip(KEPT_MAX) {
            if number != state.confirmed {
                drop(self.disk.remove(&self.path_of(number)));
            }
        }
    }

    fn path_of(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("generation-{generation}.json"))
    }

    /// The generations whose files are there.
    fn numbers(&self) -> Result<Vec<u64>, Error> {
        let failed = |cause| self.failed("read", &self.dir, cause);
        let entries = match std::fs::read_dir(&self.dir) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let number = |entry: io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix("generation-")?.strip_suffix(".json")?.parse().ok()
        };
        Ok(entries.filter_map(number).collect())
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Result<Option<T>, Error> {
        let failed = |cause| self.failed("read", path, cause);
        let damaged = |cause: String| Error::Damaged { path: path.to_owned(), cause };
        let length = match std::fs::metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(failed)?.len(),
        };
        if length > FILE_BYTES_MAX {
            return Err(damaged(format!("{length} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        serde_json::from_str(&text).map(Some).map_err(|error| damaged(error.to_string()))
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec(value)
            .map_err(|error| Error::Damaged { path: path.to_owned(), cause: error.to_string() })?;
        self.disk.replace(path, &text).map_err(|cause| self.failed("write", path, cause))
    }

    #[expect(clippy::unused_self, reason = "reads best beside the calls it explains")]
    fn failed(&self, what: &'static str, path: &Path, cause: io::Error) -> Error {
        Error::Io { what, path: path.to_owned(), cause }
    }
}

impl State {
    /// This generation counts, whatever becomes of the daemon.
    pub(crate) fn confirmed(generation: u64, file_seen: String) -> Self {
        Self { version: VERSION, confirmed: generation, unconfirmed: None, file_seen }
    }

    /// The newer one runs, and counts no longer than the daemon lives.
    pub(crate) fn unconfirmed(confirmed: u64, running: u64, file_seen: String) -> Self {
        Self { version: VERSION, confirmed, unconfirmed: Some(running), file_seen }
    }
}

/// A path as the name of a directory: `/etc/tidegate/tidegate.toml` becomes
/// `etc-tidegate-tidegate.toml`. Different paths have different names.
fn escaped(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut name = String::new();
    for byte in path.as_os_str().as_bytes().iter().skip_while(|byte| **byte == b'/') {
        match byte {
            b'/' => name.push('-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' => name.push(char::from(*byte)),
            // Writing to a string cannot fail.
            other => write!(name, "%{other:02x}").unwrap_or_default(),
        }
    }
    name
}

#[cfg(test)]
mod tests;
