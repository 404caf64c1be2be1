//! Removing labs: one's own, and those whose process is gone.
//!
//! Each lab holds a lock on a file in its directory. The kernel frees the lock with the process,
//! whatever ended it, so a lab is dead exactly when its lock can be had. (A process id could be
//! somebody else's by then.)

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::finish;

/// Where all labs have their directories.
const LABS: &str = "/run/tidegate-lab";

/// Where `ip netns` keeps the names of namespaces.
pub(super) const NAMESPACES: &str = "/run/netns";

/// A killed process leaves its namespace within this time.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// What becomes of labs that were left up on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// They stay.
    Spare,
    /// They go too.
    Remove,
}

/// Makes a directory for a new lab: its name, the directory, and the lock that keeps it.
pub(super) fn claim() -> Result<(String, PathBuf, File)> {
    let _creation = lock_all()?;
    let pid = std::process::id();
    for number in 0_u32.. {
        let name = format!("tg{pid}-{number}");
        let dir = Path::new(LABS).join(&name);
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", dir.display()));
            }
        }
        let lock = File::create(dir.join("lock"))?;
        lock.lock()?;
        return Ok((name, dir, lock));
    }
    anyhow::bail!("{LABS} is full")
}

/// Removes every lab whose process is gone; their names.
///
/// # Errors
/// When the directory of all labs can't be read.
pub fn dead_labs(kept: Kept) -> Result<Vec<String>> {
    let _creation = lock_all()?;
    let mut removed = Vec::new();
    for entry in fs::read_dir(LABS)? {
        let dir = entry?.path();
        let (Some(name), true) = (dir.file_name().and_then(|name| name.to_str()), dir.is_dir())
        else {
            continue;
        };
        if (kept == Kept::Spare && is_kept(&dir)) || is_alive(&dir)? {
            continue;
        }
        remove(name, &dir);
        removed.push(name.to_owned());
    }
    Ok(removed)
}

/// Removes the lab `name`, unless it was left up on purpose or is gone.
///
/// # Errors
/// When the directory of all labs can't be read.
pub fn abandoned(name: &str) -> Result<bool> {
    let _creation = lock_all()?;
    let dir = Path::new(LABS).join(name);
    if !dir.exists() || is_kept(&dir) || is_alive(&dir)? {
        return Ok(false);
    }
    remove(name, &dir);
    Ok(true)
}

/// Held while a lab is claimed or swept, so that no sweep sees a lab that has no lock yet.
fn lock_all() -> Result<File> {
    fs::create_dir_all(LABS).with_context(|| format!("cannot make {LABS}: are you root?"))?;
    let lock = File::create(Path::new(LABS).join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn is_alive(dir: &Path) -> Result<bool> {
    match File::options().read(true).open(dir.join("lock")) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error.into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn mark_kept(dir: &Path) -> Result<()> {
    File::create(dir.join("kept"))?;
    Ok(())
}

pub(super) fn is_kept(dir: &Path) -> bool {
    dir.join("kept").exists()
}

/// Ends what runs in the lab, and takes away its namespaces, its mount and its directory. What
/// cannot be removed is left for the next sweep.
pub(super) fn remove(name: &str, dir: &Path) {
    let namespaces = namespaces_of(name);
    let end = Instant::now() + GONE_WITHIN;
    while kill_all(&namespaces) && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    let mut clean = true;
    for namespace in &namespaces {
        clean &= finish(Command::new("ip").args(["netns", "delete"]).arg(namespace)).is_ok();
    }
    let bpffs = dir.join("bpf");
    while umount2(&bpffs, MntFlags::MNT_DETACH).is_ok() {}
    if clean {
        // The lock file goes last but for the directory: without it the lab counts as dead.
        drop(fs::remove_dir_all(dir));
    }
}

/// Paths of the lab's namespaces.
fn namespaces_of(name: &str) -> Vec<String> {
    let prefix = format!("{name}-");
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|namespace| namespace.starts_with(&prefix))
        .collect()
}

/// Kills every process in the namespaces; whether there was any.
fn kill_all(namespaces: &[String]) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    let ours: Vec<_> = namespaces
        .iter()
        .filter_map(|namespace| identity(&Path::new(NAMESPACES).join(namespace)))
        .collect();
    let mut found = false;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        // A zombie has no namespace any more, so it is not waited for.
        let namespace = identity(&process.path().join("ns/net"));
        if namespace.is_some_and(|namespace| ours.contains(&namespace)) {
            found = true;
            // It may have ended since.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
    found
}
