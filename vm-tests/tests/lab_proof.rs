//! No proof, no route: one thing after the other is broken from outside, and the route leaves the
//! router at once, with the right reason; what the daemon can mend it mends, and the route is back.
//!
//! ```text
//!   router (BIRD) ──uplink── edge (tidegate) ──fabric─┬─ b1
//!                                                     └─ b2
//! ```
//!
//! No client sends anything: all that is known of the packet path here comes from test packets.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::bird::{self, Bird, Session};
use tidegate_vm_tests::lab::topology::{Host, Interface, Topology};
use tidegate_vm_tests::lab::{Lab, Process, program};

/// Much longer than it takes: a loaded machine shall not fail a test.
const SOON: Duration = Duration::from_secs(30);

const VIP: &str = "192.0.2.10";
const PREFIX: &str = "192.0.2.10/32";
const BACKENDS: [(&str, &str); 2] = [("b1", "203.0.113.11"), ("b2", "203.0.113.12")];

struct Proofs {
    edge: Process,
    bird: Bird,
    lab: Lab,
}

fn topology() -> Topology {
    let end = |name, segment, address: &str| Interface {
        name,
        segment,
        addresses: vec![address.to_owned()],
        mtu: 1_600,
    };
    let host = |name, interfaces| Host { name, interfaces, ..Host::default() };
    let mut hosts = vec![
        host("router", vec![end("eth0", "uplink", "198.51.100.1/24")]),
        host(
            "edge",
            vec![end("eth0", "uplink", "198.51.100.2/24"), end("eth1", "fabric", "203.0.113.2/24")],
        ),
    ];
    for (name, address) in BACKENDS {
        hosts.push(host(name, vec![end("eth0", "fabric", &format!("{address}/24"))]));
    }
    Topology { hosts }
}

impl Proofs {
    fn start() -> Result<Self> {
        let lab = Lab::new(&topology())?;
        let session = Session {
            name: "edge",
            local: "198.51.100.1",
            local_as: 64_512,
            neighbor: "198.51.100.2",
            neighbor_as: 64_513,
        };
        let quiet = bird::config("198.51.100.1", &[session]);
        let bird = Bird::start(&lab, "router", &format!("debug protocols {{ routes }};\n{quiet}"))?;
        let config = lab.write("tidegate.toml", &Self::config(&lab))?;
        let tidegate = program("tidegate")?.display().to_string();
        let run = [&*tidegate, "run", "--config", &config.display().to_string()];
        let edge = lab.start("edge", "tidegate", &run)?;
        let mut proofs = Self { edge, bird, lab };
        proofs.wait_until_back()?;
        Ok(proofs)
    }

    /// Both backends are needed, so that whatever happens to one of them shows. They are not asked
    /// for their health: nothing but the packet path is in question.
    fn config(lab: &Lab) -> String {
        let backends =
            BACKENDS.map(|(_, address)| format!("[[service.backend]]\naddress = \"{address}\"\n"));
        format!(
            r#"[router]
asn = 64513
router-id = "198.51.100.2"
interfaces = ["eth0", "eth1"]
attach = "native"
pin-dir = "{pins}"

[api]
socket = "{socket}"

[[peer]]
name = "router"
address = "198.51.100.1"
asn = 64512
connect-retry = "1s"

[[service]]
name = "web"
vip = "{VIP}"
port = 80
advertise = {{ min-healthy = "100%", hold-down = "500ms", hold-down-max = "500ms" }}

{backends}"#,
            pins = lab.bpffs().join("edge").display(),
            socket = lab.dir().join("api.sock").display(),
            backends = backends.concat(),
        )
    }

    /// The events tell of each route that went and came back, in their order.
    fn every_break_was_an_event(&self, breaks: usize) -> Result<()> {
        let tidegate = program("tidegate")?.display().to_string();
        let socket = self.lab.dir().join("api.sock").display().to_string();
        let events = [&*tidegate, "events", "-o", "json", "--socket", &socket];
        self.lab.wait_for("an event for each route that went and came back", SOON, || {
            let told: Value = serde_json::from_str(&self.lab.run("edge", &events)?)?;
            let told = told["events"].as_array().context("no events")?;
            let kinds = told.iter().filter_map(|event| event["kind"].as_str());
            let kinds = kinds.filter(|kind| ["vip-announced", "vip-withdrawn"].contains(kind));
            let kinds: Vec<&str> = kinds.collect();
            let mut wanted = vec!["vip-announced"];
            wanted.extend(["vip-withdrawn", "vip-announced"].repeat(breaks));
            ensure!(kinds == wanted, "{kinds:?}");
            ensure!(told.windows(2).all(|pair| pair[0]["id"].as_u64() < pair[1]["id"].as_u64()));
            Ok(())
        })
    }

    fn wait_until_back(&mut self) -> Result<()> {
        self.lab.wait_for("the route", SOON, || {
            self.edge.alive()?;
            self.bird.route(&self.lab, PREFIX)
        })?;
        self.lab.wait_for("the edge to say so", SOON, || {
            let vip = self.vip()?;
            ensure!(vip.get("announced") == Some(&true.into()), "{vip}");
            ensure!(vip.get("proof") == Some(&"proven".into()), "{vip}");
            Ok(())
        })
    }

    fn vip(&self) -> Result<Value> {
        let tidegate = program("tidegate")?.display().to_string();
        let socket = self.lab.dir().join("api.sock").display().to_string();
        let ask = [&*tidegate, "vips", "--output", "json", "--socket", &socket];
        let answer: Value = serde_json::from_str(&self.lab.run("edge", &ask)?)?;
        answer.pointer("/vips/0").cloned().context("no VIP")
    }

    fn pin(&self, map: &str) -> String {
        self.lab.bpffs().join("edge").join(map).display().to_string()
    }

    /// Does what breaks it and waits until BIRD has taken the route out; how long that took.
    fn breaks(&self, what: &str, reason: &str, commands: &[Vec<String>]) -> Result<Duration> {
        let (seen, said) = (self.bird.process.printed().len(), self.edge.printed().len());
        let started = Instant::now();
        for command in commands {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            self.lab.run("edge", &words)?;
        }
        self.lab.wait_for(&format!("BIRD to lose the route: {what}"), SOON, || {
            let log = self.bird.process.printed();
            let news = log.get(seen..).unwrap_or_default();
            let is_gone = |line: &str| line.contains("removed") && line.contains(PREFIX);
            ensure!(news.lines().any(is_gone), "{news}");
            Ok(())
        })?;
        let took = started.elapsed();
        self.lab.wait_for(&format!("the journal to say why: {what}"), SOON, || {
            let log = self.edge.printed();
            let news = log.get(said..).unwrap_or_default();
            let says = |line: &str| line.contains("VIP withdrawn") && line.contains(reason);
            ensure!(news.lines().any(says), "{reason} is not in:\n{news}");
            Ok(())
        })?;
        Ok(took)
    }

    /// Waits until the edge shows this reason.
    fn shows(&self, reason: &str) -> Result<()> {
        self.lab.wait_for(&format!("the edge to show {reason}"), SOON, || {
            let vip = self.vip()?;
            ensure!(vip.get("reason") == Some(&reason.into()), "{vip}");
            Ok(())
        })
    }
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn whatever_breaks_takes_the_route_away_with_its_reason_and_the_mended_one_comes_back() {
    let mut proofs = Proofs::start().unwrap();
    let [services, backends, devices] =
        ["SERVICES_V4", "BACKENDS", "DEVICES"].map(|m| proofs.pin(m));
    let zeros = "0 ".repeat(64);
    let shown = proofs.lab.run("edge", &["ip", "-json", "link", "show", "eth1"]).unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let fabric = shown.pointer("/0/ifindex").and_then(Value::as_u64).unwrap();
    let pinned_link = format!("{}/link_{fabric}_native", proofs.lab.bpffs().join("edge").display());
    // Nothing tells the daemon of these; it finds out, and mends it.
    let mended = [
        (
            "the service's entry is deleted",
            "proof-no-service",
            format!("bpftool map delete pinned {services} key 192 0 2 10 0 80 6 0"),
        ),
        (
            "a backend's entry is zeroed",
            "proof-unresolved",
            format!("bpftool map update pinned {backends} key 1 0 0 0 value {zeros}"),
        ),
        (
            "the device is taken out of the map of devices",
            "proof-unresolved",
            format!(
                "bpftool map delete pinned {devices} key {} {} 0 0",
                fabric % 256,
                fabric / 256
            ),
        ),
        (
            "the program is detached",
            "not-attached",
            format!("bpftool link detach pinned {pinned_link}"),
        ),
        ("a neighbour is removed", "no-way", "ip neigh del 203.0.113.11 dev eth1".to_owned()),
    ];
    let mut table = Vec::new();
    for (what, reason, command) in mended {
        let took = proofs.breaks(what, reason, &[words(&command)]).unwrap();
        table.push(format!("{:>7} ms  {reason:<17} {what}\n", took.as_millis()));
        proofs.wait_until_back().unwrap();
    }
    proofs.every_break_was_an_event(table.len()).unwrap();
    // These stay broken until somebody takes them back.
    let lasting = [
        (
            "the MTU is lowered",
            "mtu-too-small",
            "ip link set eth1 mtu 1299",
            "ip link set eth1 mtu 1600",
        ),
        ("the link is down", "no-way", "ip link set eth1 down", "ip link set eth1 up"),
    ];
    for (what, reason, command, back) in lasting {
        let took = proofs.breaks(what, reason, &[words(command)]).unwrap();
        table.push(format!("{:>7} ms  {reason:<17} {what}\n", took.as_millis()));
        if reason == "mtu-too-small" {
            proofs.shows(reason).unwrap();
        }
        proofs
            .lab
            .run("edge", &words(back).iter().map(String::as_str).collect::<Vec<_>>())
            .unwrap();
        proofs.wait_until_back().unwrap();
    }
    let table = format!("from the break to the route's leaving BIRD:\n{}", table.concat());
    std::io::stdout().write_all(table.as_bytes()).unwrap();
}
