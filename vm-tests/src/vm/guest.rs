//! The guest's side: the first process of a virtual machine, which runs what the host asks for.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

use super::initramfs::MODULES;
use super::wire::{Hello, Order, Outcome, PORT, receive, send};

const PORTS: &str = "/sys/class/virtio-ports";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What `vm-guest` does: sets up the machine, then serves the host.
///
/// # Errors
/// Whatever goes wrong: the host sees it on the console.
pub fn run() -> Result<()> {
    mount_all()?;
    load_modules()?;
    serve()
}

fn mount_all() -> Result<()> {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("bpf", "/sys/fs/bpf"),
    ] {
        let flags = MsFlags::empty();
        mount(Some(kind), place, Some(kind), flags, None::<&str>)
            .with_context(|| format!("cannot mount {place}"))?;
    }
    Ok(())
}

fn load_modules() -> Result<()> {
    let Ok(listed) = fs::read_dir(MODULES) else { return Ok(()) };
    let mut paths: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        finit_module(File::open(&path)?, c"", ModuleInitFlags::empty())
            .with_context(|| format!("cannot load {}", path.display()))?;
    }
    Ok(())
}

fn serve() -> Result<()> {
    let port = wait_for(find_port);
    let mut answers = File::options().read(true).write(true).open(&port)?;
    let mut orders = BufReader::new(answers.try_clone()?);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim_end().to_owned();
    send(&mut answers, &Hello { release })?;
    loop {
        let order: Order = receive(&mut orders)?;
        let outcome = perform(&order).unwrap_or_else(|error| Outcome {
            status: None,
            out: String::new(),
            err: format!("{error:#}"),
        });
        send(&mut answers, &outcome)?;
    }
}

fn find_port() -> Option<PathBuf> {
    fs::read_dir(PORTS).ok()?.flatten().find_map(|port| {
        let name = fs::read_to_string(port.path().join("name")).ok()?;
        (name.trim_end() == PORT).then(|| Path::new("/dev").join(port.file_name()))
    })
}

fn wait_for<T>(look: impl Fn() -> Option<T>) -> T {
    loop {
        match look() {
            Some(found) => return found,
            None => thread::sleep(LOOK_AGAIN),
        }
    }
}

/// Runs a script to its end. What it prints goes to files, so that something it leaves running
/// holds nobody up.
fn perform(order: &Order) -> Result<Outcome> {
    let (out, err) = (Path::new("/run/order.out"), Path::new("/run/order.err"));
    let mut child = Command::new("/bin/sh")
        .args(["-ec", &order.script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(File::create(out)?)
        .stderr(File::create(err)?)
        .spawn()?;
    let end = Instant::now() + Duration::from_secs(order.secs_max);
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status.code(),
            None if Instant::now() < end => thread::sleep(LOOK_AGAIN),
            None => {
                child.kill()?;
                child.wait()?;
                break None;
            }
        }
    };
    Ok(Outcome { status, out: text(out)?, err: text(err)? })
}

fn text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}
