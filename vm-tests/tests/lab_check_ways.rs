//! Health checks that take the way of clients' packets (`via = "tunnel"`), of all kinds and in every
//! mode: a backend without its VIP or its tunnel fails them, though it answers at its own address.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{BACKENDS, MainJob, SOON, VIP_V4, VIP_V6, Variant};
use tidegate_vm_tests::lab::{Process, program};

/// Services of the VIP of IPv4, each with another kind of check, and those of IPv6.
const SERVICES_V4: [&str; 4] = ["web-v4", "tcp-v4", "udp-v4", "ping-v4"];
const SERVICES_V6: [&str; 4] = ["web-v6", "tcp-v6", "udp-v6", "ping-v6"];
/// Where backends answer datagrams, at the VIP.
const UDP_PORT: u16 = 7;

/// The states of a backend in these services.
fn states(job: &MainJob, services: &[&str], backend: usize) -> Result<Vec<(String, String)>> {
    let shown: Value = serde_json::from_str(&job.tidegate(&["backends", "-o", "json"])?)?;
    let rows = shown["backends"].as_array().context("no backends")?;
    let state = |service: &&str| {
        let row = rows.iter().filter(|row| row["service"] == **service).nth(backend);
        let row = row.context("no such backend")?;
        let text = |of: &str| row[of].as_str().unwrap_or_default().to_owned();
        Ok((text("state"), text("reason")))
    };
    services.iter().map(state).collect()
}

fn wait_until(job: &MainJob, services: &[&str], backend: usize, state: &str) {
    let what = format!("backend {backend} to be {state} in {services:?}");
    let waited = job.lab.wait_for(&what, SOON, || {
        let states = states(job, services, backend)?;
        ensure!(states.iter().all(|(is, _)| is == state), "{states:?}");
        Ok(())
    });
    waited.unwrap();
}

/// The edge's configuration with all of them, checked through the tunnel.
fn config(job: &MainJob, variant: Variant) -> String {
    let plain = job.edge_config();
    let web = r#"type = "http", path = "/healthz""#;
    let mut config = plain.replace(web, &format!(r#"{web}, via = "tunnel""#));
    assert_ne!(config, plain);
    for (vip, v6) in [(VIP_V4, false), (VIP_V6, true)] {
        let checks = [
            ("tcp", "tcp", 81, r#"type = "tcp", port = 80"#),
            ("udp", "udp", UDP_PORT, r#"type = "udp", send = "alive?", expect = "alive?""#),
            ("ping", "udp", 8, r#"type = "icmp""#),
        ];
        for (kind, protocol, port, check) in checks {
            write!(
                config,
                "[[service]]\nname = \"{kind}-{family}\"\nvip = \"{addr}\"\nport = {port}\n\
                 protocol = \"{protocol}\"\nmode = \"{mode}\"\nadvertise = false\n\
                 health = {{ {check}, via = \"tunnel\", interval = \"1s\", rise = 1, fall = 2 }}\n",
                family = if v6 { "v6" } else { "v4" },
                addr = vip.addr,
                mode = variant.mode,
            )
            .unwrap();
            for (_, addrs) in BACKENDS {
                let [v4, v6_addr] = addrs;
                let addr = if v6 == variant.crossed { v4 } else { v6_addr };
                writeln!(config, "[[service.backend]]\naddress = \"{addr}\"").unwrap();
            }
        }
    }
    config
}

/// Servers of datagrams on all backends.
fn echo(job: &MainJob) -> Vec<Process> {
    let http = program("lab-http").unwrap().display().to_string();
    let start = |(host, vip): (&str, &str)| {
        let at = std::net::SocketAddr::new(vip.parse().unwrap(), UDP_PORT).to_string();
        job.lab.start(host, "echo", &[&http, "echo", "--name", host, "--at", &at]).unwrap()
    };
    let hosts = BACKENDS.into_iter().map(|(host, _)| host);
    hosts.flat_map(|host| [(host, VIP_V4.addr), (host, VIP_V6.addr)]).map(start).collect()
}

fn all_kinds_fail_without_vip_and_tunnel(variant: Variant, more: &str) -> (MainJob, Vec<Process>) {
    let mut job = MainJob::announced(variant).unwrap();
    let servers = echo(&job);
    let text = config(&job, variant) + more;
    let file = job.lab.write("tunnelled.toml", &text).unwrap();
    job.tidegate(&["apply", &file.display().to_string()]).unwrap();
    let all = [SERVICES_V4, SERVICES_V6].concat();
    for backend in 0..BACKENDS.len() {
        wait_until(&job, &all, backend, "active");
    }

    // A VIP that is not there: only checks of that VIP see it.
    job.lab.run("b1", &["ip", "addr", "del", VIP_V4.prefix, "dev", "lo"]).unwrap();
    wait_until(&job, &SERVICES_V4, 0, "down");
    wait_until(&job, &SERVICES_V6, 0, "active");
    job.lab.run("b1", &["ip", "addr", "add", VIP_V4.prefix, "dev", "lo"]).unwrap();
    wait_until(&job, &all, 0, "active");

    // What it answers counts, as it does at its own address.
    job.make_sick(2, true).unwrap();
    wait_until(&job, &["web-v4", "web-v6"], 2, "down");
    let why = states(&job, &["web-v4"], 2).unwrap();
    assert!(why[0].1.contains("503"), "{why:?}");
    wait_until(&job, &["tcp-v4", "ping-v6"], 2, "active");
    job.make_sick(2, false).unwrap();
    wait_until(&job, &all, 2, "active");

    if variant.mode != "l2" {
        job.stop_tunnel(1).unwrap();
        wait_until(&job, &all, 1, "down");
        wait_until(&job, &all, 0, "active");
    }
    (job, servers)
}

#[test]
fn checks_of_all_kinds_go_through_ipip() {
    let (mut job, _servers) = all_kinds_fail_without_vip_and_tunnel(Variant::default(), "");

    // Without the program nothing of it gets farther than the first router, which would send it to
    // this edge again, and so to a backend that is well.
    let on_eth0 = || SchedClassifier::query_tcx("eth0", TcAttachType::Egress).unwrap();
    let (_, programs) = job.lab.inside("edge", on_eth0).unwrap();
    let programs: Vec<u64> = programs.iter().map(|it| it.id().into()).collect();
    let links = job.lab.run("edge", &["bpftool", "-j", "link", "show"]).unwrap();
    let links: Value = serde_json::from_str(&links).unwrap();
    let ours = |it: &&Value| it["prog_id"].as_u64().is_some_and(|id| programs.contains(&id));
    let ours = links.as_array().unwrap().iter().filter(ours);
    let ids: Vec<String> = ours.map(|it| it["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{links}");
    job.lab.run("edge", &["bpftool", "link", "detach", "id", &ids[0]]).unwrap();
    wait_until(&job, &SERVICES_V4, 0, "down");
    wait_until(&job, &SERVICES_V6, 0, "down");

    // Another process has a program of its own.
    job.edge().unwrap().stop(SOON).unwrap();
    let file = job.lab.dir().join("tunnelled.toml");
    job.restart_edge(&file).unwrap();
    wait_until(&job, &SERVICES_V4, 0, "active");
    wait_until(&job, &SERVICES_V6, 0, "active");
}

/// The outer checksum is right though nobody has looked at what is inside.
#[test]
fn checks_of_all_kinds_go_through_gue_of_the_other_version() {
    let variant = Variant { mode: "gue", crossed: true, ..Variant::default() };
    let (job, _servers) =
        all_kinds_fail_without_vip_and_tunnel(variant, "[datapath]\ngue-checksum = true\n");
    let captured = job
        .lab
        .run(
            "switch",
            &[
                "timeout",
                "20",
                "tshark",
                "-i",
                "b1-eth0",
                "-c",
                "40",
                "-o",
                "udp.check_checksum:TRUE",
                "-f",
                "ip6 or udp",
                "-Y",
                "udp.dstport == 6080",
                "-T",
                "fields",
                "-e",
                "udp.checksum.status",
                "-e",
                "udp.checksum",
            ],
        )
        .unwrap();
    let good = captured.lines().filter(|line| line.starts_with("1\t"));
    assert!(good.count() >= 8, "{captured}");
    assert!(captured.lines().all(|line| line.starts_with("1\t")), "{captured}");
}

#[test]
fn checks_of_all_kinds_go_to_backends_on_the_link() {
    let variant = Variant { mode: "l2", ..Variant::default() };
    let (_job, _servers) = all_kinds_fail_without_vip_and_tunnel(variant, "");
}
