//! Labs: small networks on this machine, each in namespaces of its own, gone when it is dropped.
//!
//! A lab is named after nothing that another one could have too, so that any number of them run
//! side by side. It disappears in every case: when dropped, also by a panic; when its process is
//! killed, by [`sweep`], for which a child waits. Only [`Lab::keep`] leaves it.
//!
//! Conditions are waited for with a bound ([`Lab::wait_for`]), never a time.

#![expect(clippy::format_push_string, reason = "configurations and scripts read best this way")]

pub mod bird;
pub mod chromium;
pub mod exabgp;
pub mod failover;
pub mod frr;
pub mod gobgp;
pub mod http;
pub mod interop;
pub mod main_job;
pub mod pair;
mod process;
pub mod relay;
pub mod stayrtr;
pub mod sweep;
pub mod systemd;
pub mod topology;
pub mod traffic;
mod unnoticed;
pub mod wire;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};

pub use process::Process;
use topology::Topology;

/// Between two looks at a condition that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A command that has not ended by then is stopped, in seconds.
const COMMAND_SECS_MAX: u32 = 60;

/// A lab: its namespaces, its directory, its BPF file system.
pub struct Lab {
    name: String,
    dir: PathBuf,
    /// Held as long as the lab lives: a lab whose lock is free is nobody's.
    #[cfg_attr(not(test), expect(dead_code, reason = "held, not read"))]
    lock: File,
    sweeper: Option<Child>,
}

impl Lab {
    /// Builds the network of `topology`, after sweeping what killed labs left behind.
    ///
    /// # Errors
    /// Without root, without iproute2 or ethtool, or on a kernel without veth or bridges.
    pub fn new(topology: &Topology) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "a lab is made of network namespaces and BPF programs: run this as root"
        );
        sweep::dead_labs(sweep::Kept::Spare)?;
        let (name, dir, lock) = sweep::claim()?;
        let sweeper = start_sweeper(&name)?;
        let lab = Self { name, dir, lock, sweeper: Some(sweeper) };
        lab.build(topology)?;
        Ok(lab)
    }

    fn build(&self, topology: &Topology) -> Result<()> {
        fs::create_dir(self.dir.join("logs"))?;
        let bpffs = self.bpffs();
        fs::create_dir(&bpffs)?;
        mount(Some("tidegate-lab"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("cannot mount a BPF file system: does this kernel have BPF?")?;
        for host in topology.host_names() {
            let namespace = self.namespace(host);
            finish(Command::new("ip").args(["netns", "add", &namespace]))?;
        }
        // The switch first: it makes the cables, and plugs their other ends into the hosts.
        let switch = topology.switch_script(|host| self.namespace(host));
        self.run(topology::SWITCH, &["sh", "-ec", &switch])?;
        for host in &topology.hosts {
            self.run(host.name, &["sh", "-ec", &host.script()])
                .with_context(|| format!("cannot set up host {}", host.name))?;
        }
        Ok(())
    }

    /// The lab's directory: configurations, sockets, logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the lab's own BPF file system is mounted.
    pub fn bpffs(&self) -> PathBuf {
        self.dir.join("bpf")
    }

    /// Name of the namespace of `host`, as `ip netns` knows it.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// Writes a file into the lab's directory.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Runs a command on `host` to its end; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it printed on stderr, or does not end within a minute.
    pub fn run(&self, host: &str, command: &[&str]) -> Result<String> {
        finish(&mut self.command(host, command))
    }

    /// The command that runs `command` on `host`, for at most a minute. Not by `ip netns exec`,
    /// which would hide the lab's BPF file system from it.
    pub fn command(&self, host: &str, command: &[&str]) -> Command {
        let mut entered = Command::new("timeout");
        entered.arg(COMMAND_SECS_MAX.to_string()).arg("nsenter").arg(self.net_flag(host));
        entered.arg("--").args(command);
        entered
    }

    /// Does something on `host` without a process: in a thread that has entered its namespace, as
    /// have all threads and sockets that it makes there.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    pub fn inside<T: Send>(&self, host: &str, act: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = File::open(Path::new(sweep::NAMESPACES).join(self.namespace(host)))?;
        let entered = move || -> Result<T> {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(act())
        };
        match thread::scope(|scope| scope.spawn(entered).join()) {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a program on `host` that stays; `name` names its log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, host: &str, name: &str, command: &[&str]) -> Result<Process> {
        let mut entered = Command::new("nsenter");
        // A group of its own: Ctrl-C is for the one who watches, not for what it watches.
        entered.arg(self.net_flag(host)).arg("--").args(command).process_group(0);
        entered.env("TIDEGATE_LOG_FORMAT", "text"); // Logs are for people here.
        let log = self.dir.join("logs").join(format!("{host}-{name}.log"));
        Process::start(&mut entered, &format!("{name} on {host}"), log)
    }

    fn net_flag(&self, host: &str) -> String {
        format!("--net={}/{}", sweep::NAMESPACES, self.namespace(host))
    }

    /// Looks until `look` finds what it wants, for at most `bound`.
    ///
    /// # Errors
    /// When the bound is over: says what was waited for, what was seen last, and how the lab's
    /// logs end.
    pub fn wait_for<T>(
        &self,
        what: &str,
        bound: Duration,
        mut look: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let end = Instant::now() + bound;
        loop {
            match look() {
                Ok(found) => return Ok(found),
                Err(_) if Instant::now() < end => thread::sleep(LOOK_AGAIN),
                Err(seen) => bail!(
                    "waited {} s for {what}; last seen: {seen:#}\n{}",
                    bound.as_secs(),
                    self.log_tails()
                ),
            }
        }
    }

    /// The last lines of each log of the lab.
    pub fn log_tails(&self) -> String {
        const LINES: usize = 15;
        let mut tails = String::new();
        let logs = fs::read_dir(self.dir.join("logs")).into_iter().flatten().flatten();
        for log in logs {
            let text = fs::read(log.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
            tails += &format!("--- {}\n{}\n", log.file_name().display(), tail.join("\n"));
        }
        tails
    }

    /// Leaves the lab as it is. `make clean-labs` removes it.
    ///
    /// # Errors
    /// When that can't be noted in the lab's directory.
    pub fn keep(&self) -> Result<()> {
        sweep::mark_kept(&self.dir)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !sweep::is_kept(&self.dir) {
            sweep::remove(&self.name, &self.dir);
        }
        // Its standard input ends with this, so it wakes, finds nothing to do, and ends.
        if let Some(mut sweeper) = self.sweeper.take() {
            drop(sweeper.stdin.take());
            drop(sweeper.wait());
        }
    }
}

/// A child that removes the lab should this process be killed: its standard input ends then.
fn start_sweeper(name: &str) -> Result<Child> {
    Command::new(program("lab-sweep")?)
        .args(["--when-stdin-ends", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start lab-sweep")
}

/// Path of a program that the workspace builds: it lies beside this one.
///
/// # Errors
/// When it was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: run `cargo build --workspace`"))
}

/// Runs a command to its end; what it printed.
fn finish(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| explain_missing(error, command))
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(
        output.status.success(),
        "{shown}: {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end(),
        String::from_utf8_lossy(&output.stdout).trim_end(),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn explain_missing(error: io::Error, command: &Command) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound {
        let program = command.get_program().display();
        return anyhow::anyhow!("{program} is not installed: run `make setup`");
    }
    error.into()
}

#[cfg(test)]
mod tests;
