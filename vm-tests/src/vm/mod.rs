//! Virtual machines: other kernels than this one, and drivers that namespaces do not have. QEMU in
//! software, so they run anywhere; a boot takes some seconds.
//!
//! A machine is its kernel and an archive made for it (`initramfs`). The first process in it is
//! `vm-guest`, which runs what the host asks for, one script after another ([`Vm::run`]). A machine
//! ends with the value that holds it; when it was a panic that dropped it, its console is kept.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub mod guest;
mod initramfs;
mod kernel;
pub mod load;
pub mod network;
mod program;
mod wire;

use initramfs::Initramfs;
pub use kernel::{KERNELS, Kernel};
pub use program::{package, test_program, tests_in};
pub use wire::Outcome;
use wire::{Hello, Order};

/// From QEMU's start until the guest says that it is up. Three seconds on a machine with nothing else
/// to do.
const BOOT_MAX: Duration = Duration::from_mins(4);
/// How often a machine that does not come up is booted.
const TRIES: u32 = 3;
/// A script that has not ended by then is killed, unless it is given longer.
const SCRIPT_SECS_MAX: u64 = 300;
/// A machine lives no longer, in seconds, even if nobody is left to end it.
const LIFE_MAX: &str = "1800";
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Lines of the console that a failure shows; all of it is in the file.
const CONSOLE_LINES: usize = 40;

/// Where kernels, images and consoles lie: under `target`.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/vm")
}

/// A path that nobody else uses, for what goes away again. Short: it may become a socket's.
fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("tidegate-vm-{}-{next}-{name}", std::process::id()))
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// Its name, in messages and in the name of its console's file.
    pub name: &'a str,
    /// Its kernel.
    pub kernel: Kernel,
    /// Modules to load, with what they need.
    pub modules: &'a [&'a str],
    /// Programs of this host, by name or path, to have there under `/usr/bin`.
    pub programs: &'a [&'a str],
    /// Where it is plugged in, one network interface each.
    pub wires: &'a [WireEnd<'a>],
    /// In MiB.
    pub memory: u32,
}

impl Default for Machine<'_> {
    fn default() -> Self {
        let [kernel, ..] = KERNELS;
        Self { name: "vm", kernel, modules: &[], programs: &[], wires: &[], memory: 256 }
    }
}

/// A wire between two machines. Frames go as datagrams over Unix sockets, so the guest's driver
/// sees a network without offloads, and neither root nor an order of starting is needed.
#[derive(Debug)]
pub struct Wire(PathBuf);

/// One end of a wire.
#[derive(Clone, Copy, Debug)]
pub struct WireEnd<'a> {
    wire: &'a Wire,
    side: Side,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    A = 1,
    B = 2,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl Wire {
    /// A wire that nothing is plugged into yet.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub fn new() -> Result<Self> {
        let dir = scratch("wire");
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// Its two ends. Interfaces there have MAC addresses that end in 01 and 02.
    pub const fn ends(&self) -> [WireEnd<'_>; 2] {
        [WireEnd { wire: self, side: Side::A }, WireEnd { wire: self, side: Side::B }]
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Programs of every machine: a shell, and what scripts use.
const TOOLS: [&str; 12] =
    ["cat", "dash", "grep", "head", "ip", "ls", "mkdir", "mount", "sleep", "setsid", "tail", "wc"];

/// A virtual machine that runs.
pub struct Vm {
    name: String,
    qemu: Child,
    dir: PathBuf,
    orders: UnixStream,
    answers: BufReader<UnixStream>,
    /// As `uname -r` prints it.
    pub release: String,
    /// From QEMU's start to the guest's first word.
    pub boot: Duration,
}

impl Vm {
    /// Boots a machine, and waits until it is up. One that does not come up is tried again: what
    /// fails there is the emulation of a starved processor, and not what is tested.
    ///
    /// # Errors
    /// Something of it is not here, QEMU does not start, or the guest is not up in time: with the
    /// end of its console.
    pub fn boot(machine: &Machine<'_>) -> Result<Self> {
        let mut outcome = Self::try_boot(machine);
        for _ in 1..TRIES {
            if outcome.is_ok() {
                break;
            }
            outcome = Self::try_boot(machine);
        }
        outcome
    }

    fn try_boot(machine: &Machine<'_>) -> Result<Self> {
        let start = Instant::now();
        let dir = scratch(machine.name);
        fs::create_dir_all(&dir)?;
        let archive = dir.join("initramfs");
        fs::write(&archive, archive_of(machine)?)?;
        let qemu = start_qemu(machine, &dir)?;
        let port = connect(&dir.join("port"), start + BOOT_MAX)?;
        let answers = BufReader::new(port.try_clone()?);
        let (name, release) = (machine.name.to_owned(), String::new());
        let mut vm = Self { name, qemu, dir, orders: port, answers, release, boot: Duration::ZERO };
        vm.wait_for_hello()?;
        vm.boot = start.elapsed();
        fs::remove_file(archive)?;
        Ok(vm)
    }

    fn wait_for_hello(&mut self) -> Result<()> {
        self.answers.get_ref().set_read_timeout(Some(BOOT_MAX))?;
        let hello: Result<Hello> = wire::receive(&mut self.answers);
        let hello = hello.with_context(|| self.account("is not up"))?;
        self.release = hello.release;
        Ok(())
    }

    /// Runs a script in the guest; what it printed.
    ///
    /// # Errors
    /// When it fails or does not end in time: with all that it printed.
    pub fn run(&mut self, script: &str) -> Result<String> {
        self.run_within(script, SCRIPT_SECS_MAX)
    }

    /// The same with another bound, in seconds.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub fn run_within(&mut self, script: &str, secs_max: u64) -> Result<String> {
        let outcome = self.outcome(script, secs_max)?;
        let Outcome { status, out, err } = &outcome;
        let how = match status {
            Some(0) => return Ok(outcome.out),
            Some(status) => format!("exit status {status}"),
            None => format!("killed, not done within {secs_max} s"),
        };
        bail!("{}: {script}: {how}\n{out}{err}", self.name)
    }

    /// The same for a script that may fail.
    ///
    /// # Errors
    /// When the guest does not answer: with the end of its console.
    pub fn outcome(&mut self, script: &str, secs_max: u64) -> Result<Outcome> {
        // The guest kills it; should the guest itself hang, a little later we do.
        let patience = Duration::from_secs(secs_max + 60);
        self.orders.set_write_timeout(Some(patience))?;
        self.answers.get_ref().set_read_timeout(Some(patience))?;
        let order = Order { script: script.to_owned(), secs_max };
        wire::send(&mut self.orders, &order)
            .and_then(|()| wire::receive(&mut self.answers))
            .with_context(|| self.account(&format!("did not answer to: {script}")))
    }

    /// Runs a script again and again until `wanted` is satisfied with what it printed.
    ///
    /// # Errors
    /// When the bound is over: with what was seen last.
    pub fn wait_for(
        &mut self,
        what: &str,
        bound: Duration,
        script: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let end = Instant::now() + bound;
        loop {
            let Outcome { status, out, err } = self.outcome(script, SCRIPT_SECS_MAX)?;
            if status == Some(0) && wanted(&out) {
                return Ok(out);
            }
            ensure!(
                Instant::now() < end,
                "{}: waited {} s for {what}; last seen of {script}:\n{out}{err}",
                self.name,
                bound.as_secs()
            );
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn account(&self, what: &str) -> String {
        let console = fs::read(self.dir.join("console")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(CONSOLE_LINES)..).unwrap_or_default();
        format!("{} {what}; its console ends with:\n{}", self.name, tail.join("\n"))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // To `timeout`, which passes it on.
        if let Ok(pid) = i32::try_from(self.qemu.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        drop(self.qemu.wait());
        if thread::panicking() {
            let kept = directory().join(format!("console-{}", self.name));
            drop(fs::rename(self.dir.join("console"), kept));
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn archive_of(machine: &Machine<'_>) -> Result<Vec<u8>> {
    let mut archive = Initramfs::new(&crate::lab::program("vm-guest")?)?;
    let mut modules = vec!["virtio_pci", "virtio_console"];
    if !machine.wires.is_empty() {
        modules.push("virtio_net");
    }
    for tool in TOOLS {
        archive.program(&find_program(tool)?, &format!("/usr/bin/{tool}"))?;
    }
    archive.link("/usr/bin/sh", "dash")?;
    modules.extend(machine.modules);
    archive.modules(&machine.kernel.modules(&modules)?)?;
    for name in machine.programs {
        let program = find_program(name)?;
        let file = program.file_name().unwrap_or_default().display();
        archive.stripped(&program, &format!("/usr/bin/{file}"))?;
    }
    archive.finish()
}

/// A program by its path, or by its name where a shell of root's finds it.
fn find_program(name: &str) -> Result<PathBuf> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed: run `vm-tests/setup vm`"))
}

fn start_qemu(machine: &Machine<'_>, dir: &Path) -> Result<Child> {
    let shown = |name: &str| dir.join(name).display().to_string();
    let mut command = Command::new("timeout");
    command.args([LIFE_MAX, "qemu-system-x86_64"]);
    // Never KVM: a device node that is there does not mean that it works. And QEMU 7.2 damages
    // flags in its emulated cmpxchg16b, on which 6.12 kernels die at boot.
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max,-cx16", "-nodefaults", "-nographic"]);
    command.args(["-m", &machine.memory.to_string(), "-smp", "1", "-monitor", "none"]);
    command.arg("-kernel").arg(machine.kernel.image());
    command.args(["-initrd", &shown("initramfs")]);
    // On a loaded machine the kernel would find that its timer does not tick in time, and panic.
    command.args(["-append", "console=ttyS0 panic=-1 mitigations=off no_timer_check"]);
    command.args(["-serial", &format!("file:{}", shown("console"))]);
    command.args(["-chardev", &format!("socket,id=p,path={},server=on,wait=off", shown("port"))]);
    command.args(["-device", "virtio-serial-pci"]);
    command.args(["-device", &format!("virtserialport,chardev=p,name={}", wire::PORT)]);
    command.arg("-no-reboot"); // A panic of the kernel's ends the machine at once.
    for (number, end) in machine.wires.iter().enumerate() {
        wire_up(&mut command, number, end);
    }
    let said = File::create(dir.join("qemu"))?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("QEMU is not installed: run `vm-tests/setup vm`"),
        _ => error.into(),
    })
}

fn wire_up(command: &mut Command, number: usize, end: &WireEnd<'_>) {
    let path = |side: Side| end.wire.0.join(side.name()).display().to_string();
    let (local, remote) = (path(end.side), path(end.side.other()));
    let last = end.side as u8;
    command.args([
        "-netdev",
        &format!(
            "dgram,id=n{number},local.type=unix,local.path={local},remote.type=unix,\
             remote.path={remote}"
        ),
        "-device",
        &format!("virtio-net-pci,netdev=n{number},mac=52:54:00:00:{number:02}:{last:02},romfile="),
    ]);
}

fn connect(path: &Path, end: Instant) -> Result<UnixStream> {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < end => thread::sleep(LOOK_AGAIN),
            Err(error) => {
                let said = path.with_file_name("qemu");
                let said = fs::read_to_string(said).unwrap_or_default();
                return Err(error).context(format!("QEMU does not answer; it said: {said}"));
            }
        }
    }
}
