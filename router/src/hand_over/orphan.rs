//! A process that is not our child.
//!
//! systemd waits for the end of a main process that is its own child, and kills any other at once. So
//! the new process is started by one that ends right after: its parent is systemd from then on.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that was killed is gone after this.
const GONE_WITHIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The process.
#[derive(Debug)]
pub(super) struct Orphan {
    pid: u32,
    /// `None`: it had ended before it could be got hold of.
    held: Option<OwnedFd>,
}

impl Orphan {
    /// Has `binary` started to take over, with this as its standard input.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    pub(super) fn start(binary: &Path, config: &Path, stdin: OwnedFd) -> Result<Self, String> {
        let mut starter = Command::new("/proc/self/exe");
        starter.args(["run", "--orphan"]).arg(binary).arg("--config").arg(config);
        let starter = starter.stdin(stdin).stderr(Stdio::inherit());
        let said = starter.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let pid: u32 = match text.parse() {
            Ok(pid) if said.status.success() => pid,
            _ if text.is_empty() => return Err(format!("what starts it ended: {}", said.status)),
            _ => return Err(text),
        };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let held = raw.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self { pid, held })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&self) {
        let Some(held) = &self.held else { return };
        // Either fails only if it is gone already, which is what is wanted.
        pidfd_send_signal(held, Signal::KILL).unwrap_or_default();
        let mut polled = [PollFd::new(held, PollFlags::IN)];
        poll(&mut polled, Some(&GONE_WITHIN)).unwrap_or_default();
    }
}

/// What the process between does: starts the new one, and tells on standard output its number, or
/// what keeps it from starting.
///
/// # Errors
/// As told.
pub(crate) fn start(binary: &Path, config: &Path) -> io::Result<()> {
    let mut command = Command::new(binary);
    command.args(["run", "--take-over", "--config"]).arg(config);
    // It is not for a process of this number that the watchdog is meant.
    command.env_remove("WATCHDOG_PID");
    // Our own standard output is heard to its end.
    command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
    let spawned = command.spawn();
    let mut out = io::stdout().lock();
    match &spawned {
        Ok(child) => writeln!(out, "{}", child.id())?,
        Err(error) => writeln!(out, "{error}")?,
    }
    spawned.map(drop)
}
