//! systemd's descriptor store (`FDSTORE=1` of sd_notify(3)): through a planned restart of the service
//! it keeps the record and the connections of the sessions, and gives them to the next process.
//!
//! ```text
//! SIGUSR1: sessions stand still            systemd holds record and connections
//!   record, connections ─────────────────►   │
//!   ends; closing its copies says nothing    ▼
//!                            next process:  makes a speaker of the record, has the store emptied,
//!                                           goes on where the other one stood
//! ```
//!
//! While the store holds a connection, nobody's end closes it. So it is emptied by whoever takes
//! things out, used or not, and is never filled before a planned end.

#![expect(unsafe_code, reason = "descriptors that systemd has opened for this process")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use sd_notify::NotifyState;
use tidegate_bgp::speaker::ConnId;

use super::{Body, envelope};

/// The name of the record in the store; a connection's is this with its place in the record.
const RECORD: &str = "tidegate-record";
const CONN: &str = "tidegate-conn-";
const PROBE: &str = "tidegate-probe";

/// systemd is asked whether it has got what it was sent, and has so long to answer.
const BARRIER_WITHIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Record(#[from] envelope::Error),
    #[error("systemd did not answer in time")]
    Silent,
    #[error("the unit has no room for them: FileDescriptorStoreMax=4096 in it gives some")]
    NoRoom,
    #[error("there is no record among what was stored")]
    NoRecord,
}

/// Whether it is systemd that has started this process.
pub(crate) fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Finds out whether what is put there stays open when it is closed here. An old systemd does not
/// tell, and none says that it has no room.
///
/// # Errors
/// [`Error::NoRoom`], and what else keeps it from being used.
pub(crate) fn probe() -> Result<(), Error> {
    let (ours, theirs) = pipe()?;
    put(PROBE, theirs.as_fd())?;
    drop(theirs);
    barrier()?;
    let kept = !hung_up(&ours, Timespec { tv_sec: 0, tv_nsec: 0 })?;
    forget(PROBE)?;
    if kept { Ok(()) } else { Err(Error::NoRoom) }
}

/// Puts everything there.
///
/// # Errors
/// What went wrong; nothing is there then.
pub(crate) fn fill(body: &Body, conns: &[(ConnId, OwnedFd)]) -> Result<(), Error> {
    let filled = try_fill(body, conns);
    if filled.is_err() {
        empty(conns.len());
    }
    filled
}

fn try_fill(body: &Body, conns: &[(ConnId, OwnedFd)]) -> Result<(), Error> {
    let record = envelope::sealed(body)?;
    put(RECORD, record.as_fd())?;
    for (at, (_, conn)) in conns.iter().enumerate() {
        put(&format!("{CONN}{at}"), conn.as_fd())?;
    }
    barrier()
}

/// Empties the store of a record and so many connections.
fn empty(conns: usize) {
    let names = (0..conns).map(|at| format!("{CONN}{at}"));
    for name in names.chain([RECORD.to_owned()]) {
        // systemd is gone then, and its store with it.
        forget(&name).unwrap_or_default();
    }
}

fn put(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(name)], &[fd])
}

fn forget(name: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])
}

/// Waits until systemd has read all that it was sent.
fn barrier() -> Result<(), Error> {
    let (ours, theirs) = pipe()?;
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[theirs.as_fd()])?;
    drop(theirs);
    if hung_up(&ours, BARRIER_WITHIN)? { Ok(()) } else { Err(Error::Silent) }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Whether the other end of a pipe has been closed everywhere, or is within this time.
fn hung_up(pipe: &OwnedFd, within: Timespec) -> io::Result<bool> {
    let mut polled = [PollFd::new(pipe, PollFlags::IN)];
    Ok(poll(&mut polled, Some(&within))? > 0)
}

/// What an earlier process has left there.
#[derive(Debug)]
pub(crate) struct Stored {
    record: Option<OwnedFd>,
    /// By their place in the record.
    conns: Vec<(usize, OwnedFd)>,
}

impl Stored {
    /// Takes out what is there; `None`: nothing is.
    pub(crate) fn take() -> Option<Self> {
        // Refused: what is in the environment is not for us, or makes no sense.
        let given = sd_notify::listen_fds_with_names().ok()?;
        let mut stored = Self { record: None, conns: Vec::new() };
        for (fd, name) in given {
            // SAFETY: systemd has opened it for this process (LISTEN_PID), nobody else knows of it,
            // and it is asked for once, at the start.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            if name == RECORD {
                stored.record = Some(fd);
            } else if let Some(Ok(at)) = name.strip_prefix(CONN).map(str::parse) {
                stored.conns.push((at, fd));
            }
        }
        (stored.record.is_some() || !stored.conns.is_empty()).then_some(stored)
    }

    /// Reads the record, and has the store emptied: from here on, what is dropped is closed.
    ///
    /// # Errors
    /// What cannot be used.
    pub(crate) fn open(self) -> Result<(Body, Vec<(ConnId, OwnedFd)>), Error> {
        let last = self.conns.iter().map(|(at, _)| at + 1).max();
        empty(last.unwrap_or_default());
        let record = self.record.ok_or(Error::NoRecord)?;
        let body: Body = envelope::opened(File::from(record))?;
        let known = |(at, fd): (usize, _)| body.conns.get(at).map(|(conn, ..)| (*conn, fd));
        let conns = self.conns.into_iter().filter_map(known).collect();
        Ok((body, conns))
    }
}
