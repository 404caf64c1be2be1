//! `tidegate doctor`: each misconfiguration that can be made in namespaces has its finding, and the
//! command that the finding names mends it. What cannot be made here (LRO, a card that merges, a full
//! conntrack table, an old kernel) is in `tidegate-plan`: `doctor`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed step fails the test"
)]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;
use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{BACKENDS, MainJob, SOON, VIP_V4, VIP_V6, Variant};
use tidegate_vm_tests::lab::{Process, program};

/// What doctor says of the machine that the labs run on, and not of the lab.
const OF_THE_MACHINE: [&str; 1] = ["clock-unsynchronised"];

/// What doctor has found.
#[derive(Debug)]
struct Examined {
    code: i32,
    report: Value,
}

impl Examined {
    fn findings(&self) -> impl Iterator<Item = &Value> {
        let all = self.report["findings"].as_array().unwrap().iter();
        all.filter(|finding| !OF_THE_MACHINE.contains(&finding["code"].as_str().unwrap()))
    }

    fn codes(&self) -> BTreeSet<&str> {
        self.findings().map(|finding| finding["code"].as_str().unwrap()).collect()
    }

    fn unknown(&self) -> BTreeSet<&str> {
        let all = self.report["skipped"].as_array().unwrap().iter();
        all.map(|skipped| skipped["check"].as_str().unwrap()).collect()
    }
}

fn doctor(job: &MainJob, more: &[&str]) -> Examined {
    let tidegate = program("tidegate").unwrap().display().to_string();
    let socket = job.api_socket().display().to_string();
    let mut command = vec![&*tidegate, "doctor", "-o", "json", "--socket", &socket];
    command.extend(more);
    let output = job.lab.command("edge", &command).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&printed).unwrap_or_else(|error| {
        panic!("{error}: {printed}{}", String::from_utf8_lossy(&output.stderr))
    });
    Examined { code: output.status.code().unwrap(), report }
}

/// Host of the lab with this address; the edge is where doctor runs.
fn host(on: &str) -> &'static str {
    let backend = BACKENDS.into_iter().find(|(_, addrs)| addrs.contains(&on));
    backend.map_or("edge", |(name, _)| name)
}

/// Exactly these findings are there, and their own commands make them go.
fn is_found_and_mended(job: &MainJob, code: &str, more: &[&str]) {
    let examined = doctor(job, more);
    assert_eq!(examined.codes(), [code].into(), "{examined:#?}");
    assert_ne!(examined.code, 0, "{examined:?}");
    for finding in examined.findings() {
        let on = finding["on"].as_str().unwrap();
        job.lab.run(host(on), &["sh", "-c", finding["command"].as_str().unwrap()]).unwrap();
    }
    is_well(job, more);
}

fn is_well(job: &MainJob, more: &[&str]) {
    let examined = doctor(job, more);
    assert_eq!(examined.codes(), BTreeSet::new(), "{examined:#?}");
    assert_eq!(examined.code, 0, "{examined:?}");
}

fn shell(job: &MainJob, host: &str, script: &str) {
    job.lab.run(host, &["sh", "-ec", script]).unwrap();
}

#[test]
fn backends_that_are_set_up_wrongly_are_found_and_their_commands_mend_them() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let healthy = doctor(&job, &[]);
    assert_eq!(healthy.codes(), BTreeSet::new(), "{healthy:#?}");
    assert_eq!((healthy.code, &healthy.report["daemon"]), (0, &true.into()), "{healthy:?}");
    // The setting is that of the machine, and not to be seen from a namespace.
    assert_eq!(healthy.unknown(), ["jit-off"].into(), "{healthy:#?}");

    // Packets that the edge takes to fit are lost at the last cable.
    shell(&job, "switch", "ip link set dev b1-eth0 mtu 1400");
    shell(&job, "b1", "ip link set dev eth0 mtu 1400");
    is_found_and_mended(&job, "path-mtu", &[]);

    for vip in [VIP_V4, VIP_V6] {
        shell(&job, "b2", &format!("ip address del {} dev lo", vip.prefix));
    }
    is_found_and_mended(&job, "no-vip", &[]);

    shell(&job, "b3", "echo 0 | tee /proc/sys/net/ipv4/conf/*/arp_ignore");
    is_found_and_mended(&job, "vip-arp", &[]);
    shell(&job, "b3", &format!("ip address add {} dev eth0 nodad", VIP_V6.prefix));
    shell(&job, "b3", &format!("ip address del {} dev lo", VIP_V6.prefix));
    is_found_and_mended(&job, "vip-arp", &[]);

    let _decap = no_tunnel(&mut job);

    let b3 = BACKENDS[2].1[0];
    shell(&job, "edge", &format!("ip route add blackhole {b3}/32"));
    let examined = doctor(&job, &["--backend", b3]);
    assert_eq!((examined.codes(), examined.code), (["no-way"].into(), 5), "{examined:#?}");
    shell(&job, "edge", &format!("ip route del blackhole {b3}/32"));

    job.stop_tunnel(2).unwrap();
    shell(&job, "b3", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all");
    let examined = doctor(&job, &["--backend", b3]);
    assert_eq!((examined.codes(), examined.code), (["silent"].into(), 5), "{examined:#?}");
    // Who asks for others hears nothing of it.
    is_well(&job, &["--backend", BACKENDS[0].1[0]]);
}

#[test]
fn backends_on_the_link_are_asked_as_clients_packets_come_there() {
    let job = MainJob::announced(Variant { mode: "l2", ..Variant::default() }).unwrap();
    let healthy = doctor(&job, &[]);
    assert_eq!(healthy.codes(), BTreeSet::new(), "{healthy:#?}");
    assert_eq!(healthy.unknown(), ["jit-off"].into(), "{healthy:#?}");

    for vip in [VIP_V4, VIP_V6] {
        shell(&job, "b2", &format!("ip address del {} dev lo", vip.prefix));
    }
    is_found_and_mended(&job, "no-vip", &[]);

    shell(&job, "switch", "ip link set dev b1-eth0 mtu 1400");
    shell(&job, "b1", "ip link set dev eth0 mtu 1400");
    is_found_and_mended(&job, "path-mtu", &[]);
}

/// A backend without the other end of the tunnel; the command starts one, which stays.
fn no_tunnel(job: &mut MainJob) -> Process {
    job.stop_tunnel(0).unwrap();
    let examined = doctor(job, &[]);
    assert_eq!(examined.codes(), ["no-decap"].into(), "{examined:#?}");
    assert_eq!((examined.code, examined.findings().count()), (5, 2), "{examined:?}");
    let command = examined.findings().next().unwrap()["command"].as_str().unwrap().to_owned();
    let here = program("tidegate").unwrap().parent().unwrap().display().to_string();
    let with_path = format!("PATH={here}:$PATH; exec {command}");
    let decap = job.lab.start("b1", "mended", &["sh", "-c", &with_path]).unwrap();
    let mended = job.lab.wait_for("the tunnel to have an end again", SOON, || {
        let examined = doctor(job, &[]);
        ensure!(examined.codes().is_empty(), "{examined:#?}");
        Ok(())
    });
    assert!(mended.is_ok(), "{mended:?}\n{}", decap.printed());
    decap
}

#[test]
fn a_node_that_is_set_up_wrongly_is_found_while_the_daemon_runs() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let vip = VIP_V4.prefix;

    // Answers from the VIP come in by eth0, and packets to it would leave by another interface.
    shell(
        &job,
        "edge",
        &format!(
            "ip link add x0 type veth peer name x1; ip link set x0 up; ip link set x1 up
             ip route add {vip} dev x0 src 203.0.113.2
             echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter"
        ),
    );
    is_found_and_mended(&job, "rp-filter-strict", &[]);
    shell(&job, "edge", &format!("ip route del {vip} dev x0; ip link del x0"));

    shell(&job, "edge", &format!("ip address add {vip} dev lo"));
    is_found_and_mended(&job, "vip-local", &[]);

    let pid = job.edge().unwrap().pid();
    shell(&job, "edge", &format!("prlimit --pid {pid} --nofile=256:"));
    is_found_and_mended(&job, "few-descriptors", &[]);

    shell(&job, "edge", "ip link set dev eth0 mtu 1290");
    let examined = doctor(&job, &[]);
    assert_eq!(examined.codes(), ["narrow"].into(), "{examined:#?}");
    shell(&job, "edge", "ip link set dev eth0 mtu 1600");

    job.edge().unwrap().stop(SOON).unwrap();
    let config = job.lab.write("tidegate.toml", &job.edge_config()).unwrap();
    let tidegate = program("tidegate").unwrap().display().to_string();
    let config = config.display().to_string();
    let without = ["setpriv", "--bounding-set=-net_raw", &tidegate, "run", "--config", &config];
    job.edge = Some(job.lab.start("edge", "tidegate", &without).unwrap());
    job.wait_for_routes().unwrap();
    job.wait_until_all_active().unwrap();
    let examined = doctor(&job, &[]);
    assert_eq!(examined.codes(), ["capability-missing"].into(), "{examined:#?}");
    let what = examined.findings().next().unwrap()["what"].as_str().unwrap();
    assert!(what.ends_with("lacks CAP_NET_RAW"), "{what}");
}

#[test]
fn without_a_daemon_a_file_says_what_to_look_at() {
    let job = MainJob::new(Variant::default()).unwrap();
    let tidegate = program("tidegate").unwrap().display().to_string();
    let socket = job.api_socket().display().to_string();
    let command = [&*tidegate, "doctor", "--socket", &socket];
    let refused = job.lab.command("edge", &command).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--config"), "{refused:?}");

    let file = |name: &str, text: &str| job.lab.write(name, text).unwrap().display().to_string();
    let good = file("good.toml", &job.edge_config());
    let examined = doctor(&job, &["--config", &good]);
    assert_eq!((examined.codes(), examined.code), (BTreeSet::new(), 0), "{examined:#?}");
    assert_eq!(examined.report["daemon"], false);
    let unknown = ["daemon-problem", "jit-off", "xdp-generic"];
    assert_eq!(examined.unknown(), unknown.into(), "{examined:#?}");

    let elsewhere = job.edge_config().replace("\"eth0\"", "\"eth9\"");
    let examined = doctor(&job, &["--config", &file("interface.toml", &elsewhere)]);
    assert_eq!((examined.codes(), examined.code), (["no-interface"].into(), 5), "{examined:#?}");

    no_bpffs(&job, &tidegate);

    let another = job.lab.start("edge", "another", &[&tidegate, "decap", "-i", "eth0"]).unwrap();
    let found = job.lab.wait_for("another program to be found", SOON, || {
        let examined = doctor(&job, &["--config", &good]);
        ensure!(examined.codes() == ["xdp-occupied"].into(), "{examined:#?}");
        Ok(())
    });
    assert!(found.is_ok(), "{found:?} {}", another.printed());
}

/// The command mounts one, in a mount namespace that goes with it.
fn no_bpffs(job: &MainJob, tidegate: &str) {
    let pin_dir = job.lab.dir().join("plain/edge");
    let text = job.edge_config();
    let text = text.replace(&job.pin_dir().display().to_string(), &pin_dir.display().to_string());
    let file = job.lab.write("bpffs.toml", &text).unwrap().display().to_string();
    let examined = doctor(job, &["--config", &file]);
    assert_eq!((examined.codes(), examined.code), (["no-bpffs"].into(), 5), "{examined:#?}");
    let command = examined.findings().next().unwrap()["command"].as_str().unwrap().to_owned();
    assert!(
        Path::new(&pin_dir).parent().is_some_and(|dir| command.contains(&*dir.to_string_lossy()))
    );
    let mended = format!("{command} && {tidegate} doctor --config {file} --backend 192.0.2.99");
    let said = job.lab.run("edge", &["unshare", "--mount", "sh", "-c", &mended]).unwrap();
    assert!(!said.contains("no-bpffs"), "{said}");
}

#[test]
fn a_packet_path_in_generic_mode_is_a_warning() {
    // A veth refuses a program in its driver when the MTU of the other end is beyond a page.
    let mut job = MainJob::new(Variant { fabric_mtu: 4_000, ..Variant::default() }).unwrap();
    let config = job.edge_config().replace("attach = \"native\"", "attach = \"auto\"");
    let file = job.lab.write("tidegate.toml", &config).unwrap();
    job.restart_edge(&file).unwrap();
    job.wait_for_routes().unwrap();
    job.wait_until_all_active().unwrap();
    let examined = doctor(&job, &[]);
    assert_eq!((examined.codes(), examined.code), (["xdp-generic"].into(), 4), "{examined:#?}");
    let what = examined.findings().next().unwrap()["what"].as_str().unwrap();
    assert!(what.contains("driver veth") && what.contains("refuses"), "{what}");
}
