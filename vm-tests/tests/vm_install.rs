//! The Debian package in the hands of an operator, under a real systemd: installed, configured,
//! started, reloaded, upgraded, killed, booted again and purged, while clients use the edge.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{MainJob, SOON, VIPS, Variant};
use tidegate_vm_tests::lab::systemd::Systemd;
use tidegate_vm_tests::vm;

const UNIT: &str = "tidegate.service";
const CONFIG: &str = "/etc/tidegate/tidegate.toml";

/// The package of this version.
fn package(version: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    vm::package(&root, Some(version)).unwrap().display().to_string()
}

struct Host {
    systemd: Option<Systemd>,
}

impl Host {
    /// Boots it, for the first time or again: what is pinned does not outlive the kernel.
    fn boot(job: &MainJob) -> Self {
        // The package's unit is where systemd looks, from when it is there.
        let unit = job.lab.dir().join("units").join(UNIT);
        if !unit.is_symlink() {
            fs::create_dir_all(unit.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(format!("/usr/lib/systemd/system/{UNIT}"), unit).unwrap();
        }
        // What starts no service in a chroot; this is none.
        let prepare = "rm -f /usr/sbin/policy-rc.d";
        Self { systemd: Some(Systemd::start(&job.lab, "edge", prepare).unwrap()) }
    }

    fn run(&self, job: &MainJob, command: &str) -> Result<String> {
        let systemd = self.systemd.as_ref().unwrap();
        systemd.run(&job.lab, &["sh", "-ec", &format!("exec 2>&1; {command}")])
    }

    fn property(&self, job: &MainJob, property: &str) -> String {
        self.systemd.as_ref().unwrap().property(&job.lab, UNIT, property).unwrap()
    }

    fn serves(&self, job: &MainJob) {
        for vip in VIPS {
            job.lab.wait_for("the route", SOON, || job.bird.route(&job.lab, vip.prefix)).unwrap();
        }
        let active = || -> Result<()> {
            let said: Value = serde_json::from_str(&self.run(job, "tidegate status -o json")?)?;
            let up = said.pointer("/backends/up").and_then(Value::as_u64);
            ensure!(up == Some(6) && said.get("converged") == Some(&true.into()), "{said}");
            Ok(())
        };
        job.lab.wait_for("all backends", SOON, active).unwrap();
        for vip in VIPS {
            let load = job.load(vip, 200, 10).unwrap();
            assert!(load.failed.is_empty() && load.backends.len() == 3, "{load:?}");
        }
    }
}

/// The lab's configuration, with the places that a package has.
fn config(job: &MainJob) -> String {
    let is_place = |line: &&str| {
        ["pin-dir", "state-dir", "socket", "listen"].iter().any(|key| line.starts_with(key))
    };
    let text = job.edge_config();
    let lines: Vec<&str> = text.lines().filter(|line| !is_place(line)).collect();
    lines.join("\n") + "\n"
}

#[test]
fn vm_install_to_purge_with_clients_all_the_time() {
    let (first, second) = (package("0.1.0-1"), package("0.1.0-2"));
    let mut job = MainJob::new(Variant::default()).unwrap();
    let mut host = Host::boot(&job);

    // Installed, it does nothing until it is told to.
    let installed = host.run(&job, &format!("dpkg --install '{first}'")).unwrap();
    println!("{installed}");
    assert_eq!(host.property(&job, "ActiveState"), "inactive");
    let sample = host.run(&job, &format!("cat {CONFIG}")).unwrap();
    assert!(sample.contains("[router]"), "{sample}");
    let file = job.lab.write("edited.toml", &config(&job)).unwrap();
    host.run(&job, &format!("cp '{}' {CONFIG} && tidegate check", file.display())).unwrap();
    host.run(&job, &format!("systemctl enable --now {UNIT}")).unwrap();
    host.serves(&job);
    job.route_by_hand().unwrap();

    let pid = host.property(&job, "MainPID");
    let reloaded = job.unnoticed(|job| {
        let edit = format!("sed -i 's/^weight = 10$/weight = 3/' {CONFIG}");
        host.run(job, &format!("{edit} && tidegate plan && systemctl reload {UNIT}")).unwrap()
    });
    assert!(reloaded.unwrap().contains("moves"));
    assert_eq!(host.property(&job, "MainPID"), pid);

    // A newer package changes nothing that runs; the new binary takes over when it is told to.
    let upgraded = job.unnoticed(|job| {
        let said = host.run(job, &format!("dpkg --install '{second}'")).unwrap();
        assert_eq!(host.property(job, "MainPID"), pid, "{said}");
        assert!(said.contains("'tidegate upgrade' puts the new one in its place"), "{said}");
        said + &host.run(job, "tidegate upgrade").unwrap()
    });
    println!("{}", upgraded.unwrap());
    assert_ne!(host.property(&job, "MainPID"), pid);
    let kept = host.run(&job, &format!("cat {CONFIG}")).unwrap();
    assert!(kept.contains("weight = 3"), "the configuration is not as it was edited: {kept}");

    job.unnoticed(|job| {
        host.run(job, &format!("systemctl kill --kill-whom=main --signal=KILL {UNIT}")).unwrap();
        let again = || -> Result<()> {
            let restarts = host.property(job, "NRestarts");
            ensure!(restarts == "1" && host.property(job, "ActiveState") == "active", "{restarts}");
            Ok(())
        };
        job.lab.wait_for("the start after a crash", SOON, again).unwrap();
        host.serves(job);
    })
    .unwrap();

    // The kernel forgets the packet path; systemd starts what is enabled.
    host.systemd = None;
    fs::remove_dir_all(job.lab.bpffs().join("tidegate")).unwrap();
    host = Host::boot(&job);
    host.serves(&job);

    host.run(&job, "dpkg --purge tidegate").unwrap();
    // A private /tmp is systemd's own: that of a boot which had its power cut is for its tmpfiles.
    let left = "find /etc /usr/bin /usr/sbin /usr/lib/s* /usr/share /var /run /sys/fs/bpf \
                -path /run/tidegate-lab -prune -o -name 'systemd-private-*' -prune -o \
                -name '*tidegate*' -print";
    assert_eq!(host.run(&job, left).unwrap(), "");
    let link = job.lab.run("edge", &["ip", "link", "show", "dev", "eth0"]).unwrap();
    assert!(!link.contains("xdp"), "{link}");
}
