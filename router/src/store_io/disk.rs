//! Files that are either the old or the new one, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The file system; in tests, one that breaks off after a number of calls.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Calls that are still done; `None`: all.
    #[cfg(test)]
    pub(super) calls_left: Option<std::cell::Cell<u32>>,
}

impl Disk {
    /// Makes a directory for root alone, and those above it.
    pub(super) fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.call()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        dir.parent().map_or(Ok(()), |above| self.sync_dir(above))
    }

    /// Writes a file in the place of another: beside it, synced, then renamed.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("new");
        self.call()?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        self.call().or_else(|broken_off| {
            // A crash in the middle of a write leaves the part that was written.
            file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            Err(broken_off)
        })?;
        file.write_all(bytes)?;
        self.call()?;
        file.sync_all()?;
        self.call()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        fs::remove_file(path)
    }

    /// A new name in a directory is on disk when the directory is.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call()?;
        File::open(dir)?.sync_all()
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the tests' own has both")]
    fn call(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn call(&self) -> io::Result<()> {
        let Some(left) = &self.calls_left else { return Ok(()) };
        let Some(fewer) = left.get().checked_sub(1) else {
            return Err(io::Error::other("the machine has crashed"));
        };
        left.set(fewer);
        Ok(())
    }
}
