//! The packet path outlives the daemon, and a new daemon finds it as it should be.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use serde_json::Value;
use tidegate_vm_tests::lab::http::Holding;
use tidegate_vm_tests::lab::main_job::{MainJob, SOON, VIPS, Variant};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn wait_until_converged(job: &MainJob) {
    let converged = job.lab.wait_for("tidegate to have converged", SOON, || {
        let status: Value = serde_json::from_str(&job.tidegate(&["status", "-o", "json"])?)?;
        anyhow::ensure!(status["converged"] == true, "{status}");
        Ok(())
    });
    converged.unwrap();
}

#[test]
fn packets_flow_on_when_the_daemon_is_killed_and_a_restart_changes_no_map_entry() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    wait_until_converged(&job);
    job.route_by_hand().unwrap();
    let held = VIPS.map(|vip| job.hold(vip, 20).unwrap());
    let before = job.steering_maps().unwrap();

    job.edge().unwrap().kill().unwrap();
    for vip in VIPS {
        let load = job.load(vip, 1_000, 20).unwrap();
        assert!(load.failed.is_empty(), "{load:?}\n{}", job.lab.log_tails());
        assert_eq!(load.backends.len(), 3, "{load:?}");
    }
    assert_eq!(job.steering_maps().unwrap(), before);

    job.start_edge().unwrap();
    job.wait_for_routes().unwrap();
    wait_until_converged(&job);
    assert_eq!(job.steering_maps().unwrap(), before);
    for vip in VIPS {
        let load = job.load(vip, 200, 10).unwrap();
        assert!(load.failed.is_empty(), "{load:?}\n{}", job.lab.log_tails());
    }
    for held in held.into_iter().flat_map(Holding::finish) {
        assert_eq!(held.broken, None, "{held:?}");
    }
}

#[test]
fn a_restart_after_sigterm_changes_no_map_entry_either() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    wait_until_converged(&job);
    let before = job.steering_maps().unwrap();
    assert!(job.edge().unwrap().stop(SOON).unwrap().success());
    job.start_edge().unwrap();
    job.wait_for_routes().unwrap();
    wait_until_converged(&job);
    assert_eq!(job.steering_maps().unwrap(), before);
}

#[test]
fn bpftool_reads_program_and_maps_by_their_types() {
    let job = MainJob::announced(Variant::default()).unwrap();
    wait_until_converged(&job);
    let fields = ["ring_size", "ring_size", "mtu", "value"];
    for (dump, field) in job.steering_maps().unwrap().iter().zip(fields) {
        // Without BTF, bpftool prints bytes.
        assert!(dump.beginning.contains(&format!("\"{field}\": ")), "{dump:?}");
    }
    let shown = json(&job.lab.run("edge", &["bpftool", "--json", "net", "show"]).unwrap());
    let id = shown[0]["xdp"][0]["id"].as_u64().unwrap().to_string();
    let program = job.lab.run("edge", &["bpftool", "--json", "prog", "show", "id", &id]).unwrap();
    let program = json(&program);
    assert_eq!((&program["type"], &program["name"]), (&"xdp".into(), &"tidegate".into()));
    assert!(program["btf_id"].is_u64(), "{program}");
}

/// What is pinned for a daemon whose entries of backends had another layout: all that is in that
/// layout, or names backends by their places, under the names that its version would give them.
fn pins_of_another_version(job: &MainJob) {
    let pins = job.lab.bpffs().join("edge");
    for map in [
        "SERVICES_V4",
        "SERVICES_V6",
        "BACKENDS",
        "BACKEND_TRAFFIC",
        "RING_SLOTS",
        "FLOWS",
        "UDP_FLOWS",
        "QUIC_SERVERS",
        "NAT_FLOWS",
        "NAT_ANSWERS",
        "RARE",
    ] {
        std::fs::rename(pins.join(map), pins.join(format!("{map}_9"))).unwrap();
    }
}

fn pinned(job: &MainJob) -> Vec<String> {
    let pins = std::fs::read_dir(job.lab.bpffs().join("edge")).unwrap();
    pins.map(|pin| pin.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_version_with_other_layouts_fills_its_maps_before_packets_meet_them() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    wait_until_converged(&job);
    job.route_by_hand().unwrap();
    // The next start is of another version, after a crash; and once more, in the middle of it.
    for is_half_done in [false, true] {
        let noticed = job.unnoticed(|job| {
            job.edge().unwrap().kill().unwrap();
            pins_of_another_version(job);
            if is_half_done {
                std::fs::create_dir(job.lab.bpffs().join("edge/filling")).unwrap();
            }
            job.start_edge().unwrap();
            job.wait_for_routes().unwrap();
            wait_until_converged(job);
        });
        noticed.unwrap();
        let pinned = pinned(&job);
        assert!(!pinned.iter().any(|it| it.ends_with("_9") || it == "filling"), "{pinned:?}");
        assert!(pinned.iter().any(|it| it == "BACKENDS"), "{pinned:?}");
        let said = job.edge().unwrap().printed();
        assert_eq!(
            said.matches("packets meet the maps of this version").count(),
            1 + usize::from(is_half_done),
            "{said}"
        );
    }
    for vip in VIPS {
        let load = job.load(vip, 300, 10).unwrap();
        assert!(load.failed.is_empty() && load.backends.len() == 3, "{load:?}");
    }
}
