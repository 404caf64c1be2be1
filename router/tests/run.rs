//! `tidegate run` as systemd and an operator meet it: readiness, watchdog, a second daemon on the
//! same packet path, the end. Needs root; namespaces and mounts go with the daemons.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BOUND: Duration = Duration::from_secs(30);
const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A daemon in a network and a mount namespace of its own, and what it tells systemd.
struct Daemon {
    dir: PathBuf,
    told: UnixDatagram,
    child: Child,
}

impl Daemon {
    fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("bpf")).unwrap();
        let told = UnixDatagram::bind(dir.join("notify")).unwrap();
        told.set_read_timeout(Some(BOUND)).unwrap();
        let shown = dir.display();
        let config = format!(
            "[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"tg0\"]\n\
             attach = \"generic\"\nlisten = []\npin-dir = \"{shown}/bpf/edge\"\nstate-dir = \"{shown}/state\"\n\
             [api]\nsocket = \"{shown}/api.sock\"\n"
        );
        fs::write(dir.join("tidegate.toml"), config).unwrap();
        let script = format!(
            "mount -t bpf bpf {shown}/bpf && ip link set lo up && \
             ip link add tg0 type veth peer name tg1 && ip link set tg0 up && \
             export WATCHDOG_PID=$$ && exec {TIDEGATE} run --config {shown}/tidegate.toml"
        );
        let child = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", &script])
            .env("NOTIFY_SOCKET", dir.join("notify"))
            .env("TIDEGATE_LOG_FORMAT", "text")
            .env_remove("WATCHDOG_USEC")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { dir, told, child }
    }

    /// Reads what it tells systemd until that is said; all of it.
    fn tells(&self, wanted: &str) -> Vec<String> {
        self.tells_any(wanted, |line| line == wanted)
    }

    fn tells_any(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        let mut message = [0; 4096];
        while !said.iter().any(|line| is_wanted(line)) {
            let Ok(bytes) = self.told.recv(&mut message) else {
                panic!("{what} was not said, but {said:?}");
            };
            let text = String::from_utf8_lossy(&message[..bytes]).into_owned();
            said.extend(text.lines().map(str::to_owned));
        }
        said
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// A path in its own mount namespace.
    fn inside(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(self.dir.strip_prefix("/").unwrap()).join(path)
    }

    /// Runs our command in its namespaces.
    fn beside(&self, command: &str, key: &str, file: &str) -> Output {
        let target = self.child.id().to_string();
        Command::new("nsenter")
            .args(["--target", &target, "--net", "--mount", TIDEGATE, command, key])
            .arg(self.dir.join(file))
            .output()
            .unwrap()
    }

    /// SIGTERM; its exit code.
    fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, which is fine, or is what failed the test.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let mut log = String::new();
            drop(self.child.stderr.take().map(|mut from| from.read_to_string(&mut log)));
            println!("{log}");
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn systemd_is_told_of_start_life_and_end() {
    let mut daemon = Daemon::start("watched", &[("WATCHDOG_USEC", "400000")]);
    daemon.tells("READY=1");
    // Nothing happens on its network, and still it shows that it lives.
    daemon.tells("WATCHDOG=1");
    daemon.tells("WATCHDOG=1");
    daemon.signal(Signal::SIGTERM);
    daemon.tells("STOPPING=1");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_watchdog_that_nobody_asked_for_is_not_fed_and_the_status_line_tells_a_refused_reload() {
    let mut daemon = Daemon::start("unwatched", &[]);
    let mut said = daemon.tells("READY=1");
    fs::write(daemon.dir.join("tidegate.toml"), "[router]\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    let refused = "STATUS=0 of 0 services announced, 0 of 0 peers established, configuration 1; \
                   the last reload was refused";
    said.extend(daemon.tells(refused));
    daemon.signal(Signal::SIGTERM);
    said.extend(daemon.tells("STOPPING=1"));
    assert!(!said.iter().any(|line| line == "WATCHDOG=1"), "{said:?}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_second_daemon_is_refused_before_it_touches_the_first_ones_packet_path() {
    let mut daemon = Daemon::start("first", &[]);
    daemon.tells("READY=1");
    let pins = ["bpf/edge/program", "bpf/edge/SERVICES_V4", "bpf/edge/RING_SLOTS"];
    let before = pins.map(|pin| inode(&daemon.inside(pin)));
    for command in ["run", "detach"] {
        let refused = daemon.beside(command, "--config", "tidegate.toml");
        let words = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{command}: {words}");
        assert!(words.contains("another tidegate runs"), "{command}: {words}");
    }
    assert_eq!(pins.map(|pin| inode(&daemon.inside(pin))), before, "pins were replaced");
    assert_eq!(daemon.stop(), Some(0));
}

/// A process that took over, which is nobody's child here.
struct Successor(Pid);

impl Drop for Successor {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGKILL).unwrap_or_default(); // It may have ended, as it should.
    }
}

#[test]
fn systemd_is_told_who_takes_over_and_that_one_feeds_the_watchdog() {
    let mut daemon = Daemon::start("upgraded", &[("WATCHDOG_USEC", "10000000")]);
    daemon.tells("READY=1");
    let old = daemon.child.id();
    let upgraded = daemon.beside("upgrade", "--socket", "api.sock");
    assert!(upgraded.status.success(), "{upgraded:?}");
    // The old one says it, from which systemd takes it: `NotifyAccess=main`.
    let said = daemon.tells_any("MAINPID", |line| line.starts_with("MAINPID="));
    let pid = said.iter().find_map(|line| line.strip_prefix("MAINPID=")).unwrap();
    let new = Successor(Pid::from_raw(pid.parse().unwrap()));
    assert_ne!(new.0.as_raw().unsigned_abs(), old);
    assert!(!said.iter().any(|line| line == "STOPPING=1"), "{said:?}");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "the old one ends well");
    daemon.tells("READY=1");
    // It feeds the watchdog, though that was set for a process of another number.
    daemon.tells("WATCHDOG=1");
    kill(new.0, Signal::SIGTERM).unwrap();
    daemon.tells("STOPPING=1");
}
