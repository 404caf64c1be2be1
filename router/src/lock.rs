//! One daemon per packet path: the lock on its pin directory.
//!
//! Two daemons that write the same maps would undo each other's work, and the second one to start
//! would put its program in the place of the first one's. The lock ends with the process that
//! holds it, however that ends.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::bpf_io;

/// The packet path could not be had for ourselves alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A living process has it.
    #[error(
        "another tidegate runs with the packet path in {}: stop it first, or choose another \
         router.pin-dir and other interfaces",
        .0.display()
    )]
    Taken(PathBuf),
    /// The directory cannot be locked.
    #[error("cannot lock the directory {}: {cause}; run as root", path.display())]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is no such directory, and none can be made.
    #[error(transparent)]
    Directory(#[from] bpf_io::Error),
}

/// The packet path in a directory is ours for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// The same lock, for another process: it ends when both have let go of it.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// The lock of a process that has left it to us.
    pub(crate) fn inherited(lock: OwnedFd) -> Self {
        Self(lock.into())
    }

    /// Takes it, or says who has it; waits for nobody. Makes the directory if it is missing.
    pub(crate) fn take(pin_dir: &Path) -> Result<Self, Error> {
        loop {
            bpf_io::prepare_pin_dir(pin_dir)?;
            if let Some(lock) = Self::take_existing(pin_dir)? {
                return Ok(lock);
            }
        }
    }

    /// The same where nothing is to be made: `None` if there is no directory.
    pub(crate) fn take_existing(pin_dir: &Path) -> Result<Option<Self>, Error> {
        let failed = |cause: io::Error| Error::Lock { path: pin_dir.to_owned(), cause };
        let directory = match File::open(pin_dir) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Taken(pin_dir.to_owned())),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        // `tidegate detach` may have removed the directory between the two calls: then this is a
        // lock on nothing.
        let locked = directory.metadata().map_err(failed)?;
        let there = std::fs::metadata(pin_dir);
        let same =
            there.is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()));
        Ok(same.then_some(Self(directory)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_and_is_free_when_that_is_gone() {
        let dir = std::env::temp_dir().join(format!("tidegate-lock-{}", std::process::id()));
        assert!(Lock::take_existing(&dir).unwrap().is_none(), "nothing is made");
        std::fs::create_dir(&dir).unwrap();
        let first = Lock::take_existing(&dir).unwrap().unwrap();
        let refused = Lock::take_existing(&dir).unwrap_err().to_string();
        assert!(refused.contains("another tidegate runs"), "{refused}");
        let other = Lock::inherited(first.try_clone().unwrap());
        drop(first);
        assert!(Lock::take_existing(&dir).is_err(), "it was left to another one");
        drop(other);
        assert!(Lock::take_existing(&dir).unwrap().is_some());
        std::fs::remove_dir(&dir).unwrap();
    }
}
