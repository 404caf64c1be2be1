//! The unit under a real systemd: what starts has what it needs and no more, a restart and an upgrade
//! are no news to a peer, a crash and a hang are answered, and the journal has it all.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]
#![expect(clippy::format_push_string, reason = "configurations read best this way")]

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, VIPS};
use tidegate_vm_tests::lab::systemd::Systemd;
use tidegate_vm_tests::lab::{Lab, program};

const UNIT: &str = "tidegate.service";

/// A service under systemd, and BIRD, which says what it hears.
struct Job {
    systemd: Systemd,
    other: Bird,
    net: Interop,
}

impl Job {
    fn new() -> Self {
        let net = Interop::new().unwrap();
        let other = Bird::start(&net.lab, "peer", &bird()).unwrap();
        let units = net.lab.dir().join("units");
        fs::create_dir(&units).unwrap();
        let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/tidegate.service");
        fs::copy(unit, units.join(UNIT)).unwrap();
        net.lab.write("tidegate.toml", &config("")).unwrap();
        let binary = program("tidegate").unwrap();
        let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");
        let prepare = format!(
            "cp '{packaging}/tidegate.sysusers' /usr/lib/sysusers.d/tidegate.conf\n\
             cp '{packaging}/tidegate.tmpfiles' /usr/lib/tmpfiles.d/tidegate.conf\n\
             systemd-sysusers tidegate.conf\n\
             cp '{}' /usr/sbin/tidegate; mkdir -p /etc/tidegate; cp '{}' /etc/tidegate",
            binary.display(),
            net.lab.dir().join("tidegate.toml").display()
        );
        let systemd = Systemd::start(&net.lab, "edge", &prepare).unwrap();
        Self { systemd, other, net }
    }

    fn lab(&self) -> &Lab {
        &self.net.lab
    }

    fn control(&self, arguments: &[&str]) {
        let done = self.systemd.control(self.lab(), arguments);
        let journal = || self.journal().map(|it| format!("{it:#?}"));
        assert!(done.is_ok(), "{done:?}\n{journal:?}", journal = journal());
    }

    fn property(&self, property: &str) -> String {
        self.systemd.property(self.lab(), UNIT, property).unwrap()
    }

    fn journal(&self) -> Result<Vec<Value>> {
        self.systemd.journal(self.lab(), UNIT)
    }

    /// What the command says, on the host itself.
    fn tidegate(&self, arguments: &[&str]) -> Result<String> {
        self.systemd.run(self.lab(), &[&["tidegate"], arguments].concat())
    }

    fn peer(&self) -> Result<Value> {
        let said: Value = serde_json::from_str(&self.tidegate(&["peers", "-o", "json"])?)?;
        Ok(said["peers"][0].clone())
    }

    /// Waits until BIRD has the VIPs and the session is up.
    fn serves(&self) {
        for vip in VIPS {
            self.net.until("BIRD's route", || self.other.route(self.lab(), vip)).unwrap();
        }
        self.net
            .until("the session", || {
                let peer = self.peer()?;
                ensure!(peer["state"] == "Established", "{peer}");
                Ok(())
            })
            .unwrap();
    }

    /// Waits for a KEEPALIVE, and checks that BIRD has heard nothing else since.
    fn is_no_news(&self, before: [usize; 3], of: &str) {
        self.net
            .until("a KEEPALIVE", || {
                ensure!(self.other.heard()[2] > before[2] + 1, "{:?}", self.other.heard());
                Ok(())
            })
            .unwrap();
        assert_eq!(self.other.heard()[..2], before[..2], "{of}: {:#?}", self.journal());
        assert_eq!(self.peer().unwrap()["state"], "Established");
        assert_eq!(self.property("NFileDescriptorStore"), "0", "{of}");
    }
}

fn config(more: &str) -> String {
    let mut config = format!(
        "[router]\nasn = {EDGE_AS}\nrouter-id = \"{}\"\ninterfaces = [\"eth0\"]\n\
         [[peer]]\nname = \"other\"\naddress = \"{}\"\nasn = {PEER_AS}\nconnect-retry = \"1s\"\n{more}\n",
        EDGE[0], PEER[0]
    );
    for (name, vip, backend) in
        [("web-v4", VIPS[0], "203.0.113.11"), ("web-v6", VIPS[1], "2001:db8:f::11")]
    {
        let vip = vip.split('/').next().unwrap();
        config += &format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = 80\nadvertise = {{}}\n\
             [[service.backend]]\naddress = \"{backend}\"\n"
        );
    }
    config
}

fn bird() -> String {
    let ([peer, _], [edge, _]) = (PEER, EDGE);
    format!(
        "log stderr all;\nrouter id {peer};\nprotocol device {{}}\n\
         protocol bgp edge {{\n debug {{ states, packets }};\n local {peer} as {PEER_AS};\n \
         neighbor {edge} as {EDGE_AS};\n hold time 18;\n connect delay time 1;\n \
         error wait time 1, 2;\n graceful restart on;\n ipv4 {{ import all; export all; }};\n \
         ipv6 {{ import all; export none; }};\n}}\n"
    )
}

#[test]
fn a_restart_and_an_upgrade_under_systemd_are_no_news_to_a_peer() {
    let it = Job::new();
    it.control(&["start", UNIT]);
    it.serves();

    let before = it.other.heard();
    let pid = it.property("MainPID");
    it.control(&["restart", UNIT]);
    assert_ne!(it.property("MainPID"), pid);
    it.is_no_news(before, "a restart");
    let status: Value =
        serde_json::from_str(&it.tidegate(&["status", "-o", "json"]).unwrap()).unwrap();
    assert_eq!(status["taken_over"]["sessions"], 1, "{status}");
    println!("a restart: the session stood still for {} ms", status["taken_over"]["paused_millis"]);

    // A start that fails leaves the sessions where they are, for one that does not.
    let before = it.other.heard();
    let swap = |with: &str| {
        let script = format!(
            "{with} > /usr/sbin/new; chmod 755 /usr/sbin/new; \
                              mv /usr/sbin/new /usr/sbin/tidegate"
        );
        it.systemd.run(it.lab(), &["sh", "-ec", &script]).unwrap();
    };
    swap("cp /usr/sbin/tidegate /run/good; printf '#!/bin/sh\\nexit 1\\n'");
    assert!(it.systemd.control(it.lab(), &["restart", UNIT]).is_err());
    swap("cat /run/good");
    it.net
        .until("the next start", || {
            let state = it.property("ActiveState");
            ensure!(state == "active", "{state}");
            Ok(())
        })
        .unwrap();
    it.is_no_news(before, "a start after one that failed");

    let before = it.other.heard();
    let pid = it.property("MainPID");
    let upgraded = it.tidegate(&["upgrade", "-o", "json"]).unwrap();
    let upgraded: Value = serde_json::from_str(&upgraded).unwrap();
    assert_eq!(upgraded["pid"].to_string(), it.property("MainPID"));
    assert_ne!(it.property("MainPID"), pid);
    it.is_no_news(before, "an upgrade");
    assert_eq!(it.property("ActiveState"), "active");

    // The new main process is one like any other.
    let before = it.other.heard();
    it.control(&["restart", UNIT]);
    it.is_no_news(before, "a restart after an upgrade");

    // Sessions belong to a configuration: under another one they are opened anew.
    it.systemd.run(it.lab(), &["sh", "-c", "echo >> /etc/tidegate/tidegate.toml"]).unwrap();
    let [opens, ..] = it.other.heard();
    it.control(&["restart", UNIT]);
    it.serves();
    assert_eq!(it.other.heard()[0], opens + 1);
    assert_eq!(it.property("NFileDescriptorStore"), "0");
}

#[test]
fn a_crash_and_a_hang_are_answered_and_a_stop_withdraws() {
    let it = Job::new();
    let soon = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n";
    let dropins = it.lab().dir().join("units").join(format!("{UNIT}.d"));
    fs::create_dir(&dropins).unwrap();
    fs::write(dropins.join("soon.conf"), soon).unwrap();
    it.control(&["daemon-reload"]);
    it.control(&["start", UNIT]);
    it.serves();

    has_what_its_unit_gives_it_and_no_more(&it);

    // A reload is an apply: another MED arrives, and the process stays.
    let pid = it.property("MainPID");
    let script = "sed -i 's/advertise = {}/advertise = { med = 77 }/' /etc/tidegate/tidegate.toml";
    it.systemd.run(it.lab(), &["sh", "-ec", script]).unwrap();
    it.control(&["reload", UNIT]);
    it.net
        .until("the new MED", || {
            let route = it.other.route(it.lab(), VIPS[0])?;
            ensure!(route.contains("BGP.med: 77"), "{route}");
            Ok(())
        })
        .unwrap();
    assert_eq!(it.property("MainPID"), pid);

    let restarts = |it: &Job, wanted: &str, of: &str| {
        it.net
            .until(of, || {
                let (restarts, state) = (it.property("NRestarts"), it.property("ActiveState"));
                ensure!(restarts == wanted && state == "active", "{restarts} {state}");
                Ok(())
            })
            .unwrap();
        it.serves();
    };
    it.control(&["kill", "--kill-whom=main", "--signal=KILL", UNIT]);
    restarts(&it, "1", "the start after a crash");
    it.control(&["kill", "--kill-whom=main", "--signal=STOP", UNIT]);
    restarts(&it, "2", "the start after a hang");

    // What an upgrade has started is stopped like any other: it withdraws first.
    it.tidegate(&["upgrade"]).unwrap();
    it.control(&["stop", UNIT]);
    for vip in VIPS {
        it.net.until("BIRD to forget", || it.other.no_route(it.lab(), vip)).unwrap();
    }
    assert_eq!(it.property("Result"), "success", "{:#?}", it.journal());

    the_journal_has_kinds_and_fields(&it);
}

fn has_what_its_unit_gives_it_and_no_more(it: &Job) {
    let status = format!("/proc/{}/status", it.property("MainPID"));
    let status = it.systemd.run(it.lab(), &["cat", &status]).unwrap();
    let of = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    // NET_BIND_SERVICE, NET_ADMIN, NET_RAW, PERFMON, BPF (linux/capability.h).
    let wanted = [10, 12, 13, 38, 39].iter().fold(0_u64, |all, bit| all | 1 << bit);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(u64::from_str_radix(&of(set), 16).unwrap(), wanted, "{set}");
    }
    assert_eq!((&*of("NoNewPrivs"), &*of("Seccomp")), ("1", "2"));
    for (path, is_writable) in [
        ("/var/lib/tidegate/touched", true),
        ("/etc/tidegate/tidegate.toml", false),
        ("/usr/sbin/tidegate", false),
    ] {
        let script = format!("nsenter --target {} --mount touch {path}", it.property("MainPID"));
        let touched = it.systemd.run(it.lab(), &["sh", "-ec", &script]);
        assert_eq!(touched.is_ok(), is_writable, "{path}: {touched:?}");
    }
    let socket = it.systemd.run(it.lab(), &["stat", "-c", "%a %G", "/run/tidegate/api.sock"]);
    assert_eq!(socket.unwrap(), "660 tidegate\n");
    let user = it.systemd.run(it.lab(), &["id", "-u", "tidegate"]).unwrap();
    let [uid, gid] = [of("Uid"), of("Gid")].map(|ids| ids.split('\t').next().unwrap().to_owned());
    assert_eq!(uid, user.trim());
    assert!(uid != "0" && gid != "0", "{uid} {gid}");
}

fn the_journal_has_kinds_and_fields(it: &Job) {
    let journal = it.journal().unwrap();
    let with = |field: &str, value: &str| journal.iter().filter(|it| it[field] == value).count();
    assert!(with("TIDEGATE_EVENT", "vip-announced") >= 2);
    assert_eq!(with("TIDEGATE_EVENT", "taken-over"), 1);
    let up = journal.iter().find(|it| it["TIDEGATE_EVENT"] == "peer-up").unwrap();
    assert_eq!(up["TIDEGATE_PEER"], "other");
    assert_eq!(up["MESSAGE_ID"], "b0f14589b169523db9d2ec27c663a9b3");
    assert_eq!((&up["PRIORITY"], &up["SYSLOG_IDENTIFIER"]), (&"6".into(), &"tidegate".into()));
    let by_id = ["MESSAGE_ID=b0f14589b169523db9d2ec27c663a9b3", "-o", "cat", "--no-pager"];
    let by_id = it.systemd.run(it.lab(), &[&["journalctl"][..], &by_id].concat()).unwrap();
    assert!(by_id.starts_with("BGP session established peer="), "{by_id}");
}
