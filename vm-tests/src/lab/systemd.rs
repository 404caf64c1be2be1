//! A real systemd with its journal on a host of a lab: the first process of a process namespace, with
//! units of the lab's own, and a copy of the file system that is thrown away with it.
//!
//! No machine is booted for it: it is up in a tenth of a second. What it starts has the machine's
//! programs, libraries and kernel, and the network of its host.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{LOOK_AGAIN, Lab, Process};

/// What units of ours stand before and after, and systemd itself wants to see.
const TARGETS: [&str; 12] = [
    "basic",
    "multi-user",
    "sysinit",
    "shutdown",
    "final",
    "umount",
    "local-fs",
    "sockets",
    "timers",
    "paths",
    "network-pre",
    "network-online",
];

/// Units of Debian's systemd that are wanted as they are.
const UNITS: [&str; 3] =
    ["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"];

/// Up, or asked to end: no longer than this.
const SOON: Duration = Duration::from_secs(30);

/// A systemd.
pub struct Systemd {
    process: Process,
    cgroup: PathBuf,
    host: String,
}

impl Systemd {
    /// Starts it on `host`. `prepare` is a script that runs before, with the file system that
    /// everything will see: `/etc`, `/usr` and `/var` are copies that last as long as the lab, `/run` is
    /// new, the lab's directory is as it is, and its BPF file system is where an operator's is.
    ///
    /// # Errors
    /// When it is not installed, or does not come up.
    pub fn start(lab: &Lab, host: &str, prepare: &str) -> Result<Self> {
        let units = lab.dir().join("units");
        fs::create_dir_all(&units)?;
        for target in TARGETS {
            let text = format!("[Unit]\nDescription={target}\nDefaultDependencies=no\n");
            fs::write(units.join(format!("{target}.target")), text)?;
        }
        for unit in UNITS {
            fs::copy(Path::new("/lib/systemd/system").join(unit), units.join(unit))
                .with_context(|| format!("{unit} is not there: is systemd installed?"))?;
        }
        let wants =
            "Requires=basic.target multi-user.target systemd-journald.service\nAfter=basic.target";
        let text = format!("[Unit]\nDescription=A lab\n{wants}\n");
        fs::write(units.join("default.target"), text)?;
        let cgroup = cgroup2()?.join(lab.namespace(host));
        // In a lab that starts it again it is gone by now.
        fs::create_dir(&cgroup)
            .with_context(|| format!("cannot make the control group {}", cgroup.display()))?;
        let boot = lab.write("boot.sh", &boot(lab, &units, prepare))?;
        let script = format!(
            "echo $$ > '{}/cgroup.procs'; exec unshare --pid --mount --uts --ipc --cgroup --fork \
             --kill-child sh -e '{}'",
            cgroup.display(),
            boot.display()
        );
        let started = lab.start(host, "systemd", &["sh", "-ec", &script]);
        let process = started.inspect_err(|_| remove(&cgroup))?;
        let systemd = Self { process, cgroup, host: host.to_owned() };
        lab.wait_for("systemd", SOON, || systemd.control(lab, &["is-active", "default.target"]))?;
        Ok(systemd)
    }

    /// `systemctl` with these arguments; what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn control(&self, lab: &Lab, arguments: &[&str]) -> Result<String> {
        self.run(lab, &[&["systemctl", "--no-pager"], arguments].concat())
    }

    /// What systemd knows of a unit.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn property(&self, lab: &Lab, unit: &str, property: &str) -> Result<String> {
        let shown = self.control(lab, &["show", "--value", "--property", property, unit])?;
        Ok(shown.trim_end().to_owned())
    }

    /// What the journal holds of a unit.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn journal(&self, lab: &Lab, unit: &str) -> Result<Vec<Value>> {
        let shown = self.run(lab, &["journalctl", "--no-pager", "-o", "json", "-u", unit])?;
        shown.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Runs a command to its end beside it.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, lab: &Lab, command: &[&str]) -> Result<String> {
        let first = self.first()?.to_string();
        let enter = ["nsenter", "--target", &first, "--mount", "--pid", "--cgroup", "--"];
        lab.run(&self.host, &[&enter, command].concat())
    }

    /// Its number outside: the child of `unshare`.
    fn first(&self) -> Result<u32> {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let first = children.split_whitespace().next().context("systemd has not started")?;
        Ok(first.parse()?)
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // SIGRTMIN+4 would power it off; all that is in a process namespace ends with its first.
        if let Ok(first) = self.first() {
            let first = nix::unistd::Pid::from_raw(first.cast_signed());
            nix::sys::signal::kill(first, Signal::SIGKILL).unwrap_or_default();
        }
        drop(self.process.ended(SOON));
        remove(&self.cgroup);
    }
}

/// What runs before systemd, and becomes it.
fn boot(lab: &Lab, units: &Path, prepare: &str) -> String {
    let (units, dir) = (units.display(), lab.dir().display());
    format!(
        "mount --make-rprivate /\nmount -t proc proc /proc\n\
         mount --rbind '{dir}' /mnt\nmount -t tmpfs tmpfs /run\n\
         mkdir -p '{dir}' /run/lock /run/log/journal /run/systemd\nmount --move /mnt '{dir}'\n\
         for place in etc usr var; do\n over='{dir}'/copy/$place\n mkdir -p $over/upper $over/work\n \
         mount -t overlay -o lowerdir=/$place,upperdir=$over/upper,workdir=$over/work copy /$place\n\
         done\n\
         umount -l /sys/fs/cgroup\nmount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         mount --rbind '{dir}/bpf' /sys/fs/bpf\n\
         {prepare}\n\
         exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab SYSTEMD_UNIT_PATH={units}:/etc/systemd/system \
         /lib/systemd/systemd --system --unit=default.target --show-status=no \
         --log-target=journal-or-kmsg\n"
    )
}

/// Where the second version's control groups are mounted.
fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut of_type = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    });
    of_type.next().context("no cgroup2 file system is mounted, which systemd needs")
}

/// Removes a control group and those below it, as soon as what was in them is gone.
fn remove(cgroup: &Path) {
    let end = Instant::now() + SOON;
    while cgroup.exists() && Instant::now() < end {
        fs::write(cgroup.join("cgroup.kill"), "1").unwrap_or_default();
        remove_empty(cgroup);
        thread::sleep(LOOK_AGAIN);
    }
}

fn remove_empty(cgroup: &Path) {
    for below in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if below.path().is_dir() {
            remove_empty(&below.path());
        }
    }
    fs::remove_dir(cgroup).unwrap_or_default();
}
