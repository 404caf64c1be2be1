//! A program that runs in a lab.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::LOOK_AGAIN;

/// A program that runs in a lab; killed when dropped. What it prints goes to a log.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// It stays when this is dropped.
    left: bool,
    /// Who has taken over from it.
    successor: Option<Pid>,
}

impl Process {
    pub(super) fn start(command: &mut Command, name: &str, log: PathBuf) -> Result<Self> {
        // Appended to, so that a program that is started twice keeps what it said the first time.
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        // Orphans are ours: a process that has taken over from its parent is waited for like any.
        set_child_subreaper(true)?;
        Ok(Self { name: name.to_owned(), child, log, left: false, successor: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.successor.map_or(self.child.id(), |pid| pid.as_raw().unsigned_abs())
    }

    /// Another process has taken over from it, and is who is meant from now on.
    ///
    /// # Errors
    /// When this one has not ended well within `bound`.
    pub fn succeeded_by(&mut self, pid: u32, bound: Duration) -> Result<()> {
        let status = self.ended(bound)?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        self.successor = Some(Pid::from_raw(i32::try_from(pid)?));
        self.alive()
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let Some(pid) = self.successor else { return Ok(self.child.try_wait()?) };
        Ok(match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(_, signal, _) => Some(ExitStatus::from_raw(signal as i32)),
            _ => None,
        })
    }

    /// Where its standard output and error go.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All it has printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Lets it run on when this is dropped.
    pub fn leave(&mut self) {
        self.left = true;
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// When it has ended, with its status and all it printed.
    pub fn alive(&mut self) -> Result<()> {
        let ended = self.try_wait()?;
        ensure!(
            ended.is_none(),
            "{} ended: {}\n{}",
            self.name,
            ended.map(|status| status.to_string()).unwrap_or_default(),
            self.printed()
        );
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid())?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Errors
    /// When it has not ended within `bound`.
    pub fn stop(&mut self, bound: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended(bound)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended within `bound`.
    pub fn ended(&mut self, bound: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + bound;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} still runs after {} s:\n{}", self.name, bound.as_secs(), self.printed());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// SIGKILL: it gets no chance to tidy up.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.alive()?;
        self.signal(Signal::SIGKILL)?;
        self.ended(Duration::from_secs(10)).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // It may have ended by itself, and a lab that is removed ends all that runs in it.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(pid) = self.successor {
            kill(pid, Signal::SIGKILL).unwrap_or_default();
            waitpid(pid, None).map(drop).unwrap_or_default();
        }
    }
}
