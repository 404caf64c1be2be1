//! A program that runs in a lab.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::LOOK_AGAIN;

/// A program that runs in a lab; killed when dropped. What it prints goes to a log.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// It stays when this is dropped.
    left: bool,
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
        Ok(Self { name: name.to_owned(), child, log, left: false })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
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
        let ended = self.child.try_wait()?;
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
            if let Some(status) = self.child.try_wait()? {
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
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
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
    }
}
