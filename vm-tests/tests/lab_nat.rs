//! Services in NAT: backends that have neither the VIP nor a tunnel.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::http::{Holding, Load};
use tidegate_vm_tests::lab::main_job::{BACKENDS, EDGE, MainJob, SOON, VIP_V4, VIPS, Variant, Vip};

/// All requests were answered, by one of `backends` each, which saw the edge as the client.
fn check(load: &Load, vip: Vip, backends: &[&str]) -> Result<()> {
    ensure!(load.failed.is_empty() && load.answered > 0, "{load:?}");
    ensure!(load.backends.keys().all(|name| backends.contains(&&**name)), "{load:?}");
    ensure!(load.backends.len() == backends.len(), "{load:?}");
    let edge = if vip.addr.contains(':') { EDGE[1] } else { EDGE[0] };
    ensure!(load.clients.keys().all(|seen| seen.to_string() == edge), "{load:?}");
    Ok(())
}

fn wait_until_served_by(job: &MainJob, vip: Vip, backends: &[&str]) {
    let what = format!("{} to be served by {backends:?}", vip.addr);
    let served = job.lab.wait_for(&what, SOON, || check(&job.load(vip, 100, 10)?, vip, backends));
    assert!(served.is_ok(), "{served:?}\n{}", job.lab.log_tails());
}

/// What the edge says of a backend of the IPv4 service.
fn backend(job: &MainJob, number: usize) -> Result<Value> {
    let answer: Value = serde_json::from_str(&job.tidegate(&["backends", "-o", "json"])?)?;
    let rows = answer["backends"].as_array().cloned().unwrap_or_default();
    let is_it =
        |row: &&Value| row["service"] == VIP_V4.service && row["address"] == BACKENDS[number].1[0];
    Ok(rows.iter().find(is_it).cloned().unwrap_or_default())
}

/// Waits until the connections of a backend are as many as they shall be.
fn wait_for_connections(job: &MainJob, number: usize, wanted: impl Fn(u64) -> bool) {
    let counted = job.lab.wait_for("connections to be counted", SOON, || {
        let row = backend(job, number)?;
        ensure!(row["connections"].as_u64().is_some_and(&wanted), "{row}");
        Ok(())
    });
    counted.unwrap();
}

/// The routers keep the way to the VIPs while the daemon is gone.
fn route_by_hand(job: &MainJob) {
    for (vip, via) in VIPS.into_iter().zip(EDGE) {
        let route = ["ip", "route", "add", vip.prefix, "via", via, "metric", "4000"];
        job.lab.run("router", &route).unwrap();
    }
}

#[test]
fn backends_without_vip_and_tunnel_serve_and_connections_outlive_a_change_and_the_daemon() {
    let mut job =
        MainJob::new(Variant { weights: [1, 1, 1], mode: "nat", ..Variant::default() }).unwrap();
    for (host, _) in BACKENDS {
        for vip in VIPS {
            job.lab.run(host, &["ip", "addr", "del", vip.prefix, "dev", "lo"]).unwrap();
        }
    }
    job.start_edge().unwrap();
    job.wait_for_routes().unwrap();
    job.wait_until_all_active().unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b1", "b2", "b3"]);
    }

    // The way back to the client is narrower than both ends think: the answers are longer than one
    // segment, and only an error that reaches the backend, about the packet that it has sent, makes
    // them shorter.
    job.lab.run("router", &["ip", "link", "set", "dev", "eth1", "mtu", "1400"]).unwrap();
    for (vip, edge) in VIPS.into_iter().zip(EDGE) {
        wait_until_served_by(&job, vip, &["b1", "b2", "b3"]);
        let route = job.lab.run("b1", &["ip", "route", "get", edge]).unwrap();
        assert!(route.contains("mtu 1400"), "{route}\n{}", job.tidegate(&["status"]).unwrap());
    }

    // So many that each backend has some, whatever the hash says.
    let held = VIPS.map(|vip| job.hold(vip, 50).unwrap());
    wait_for_connections(&job, 0, |open| open > 0);
    let b1 = BACKENDS[0].1[0];
    job.tidegate(&["drain", "backend", VIP_V4.service, b1]).unwrap();
    wait_until_served_by(&job, VIP_V4, &["b2", "b3"]);
    let shown = job.tidegate(&["status"]).unwrap();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" "); // Lines are folded.
    assert!(shown.contains("connections of old ones"), "{shown}");
    route_by_hand(&job);
    job.edge().unwrap().kill().unwrap();
    wait_until_served_by(&job, VIP_V4, &["b2", "b3"]);
    job.start_edge().unwrap();
    job.wait_for_routes().unwrap();
    wait_for_connections(&job, 0, |open| open > 0);
    let held: Vec<_> = held.into_iter().flat_map(Holding::finish).collect();
    assert!(held.iter().any(|held| held.backend == "b1"), "{held:?}");
    for held in held {
        assert_eq!(held.broken, None, "{held:?}\n{}", job.lab.log_tails());
    }

    // Nobody is kept waiting for a backend that is dead.
    let held = job.hold(VIP_V4, 30).unwrap();
    wait_for_connections(&job, 1, |open| open > 0);
    job.make_sick(1, true).unwrap();
    wait_for_connections(&job, 1, |open| open == 0);
    wait_until_served_by(&job, VIP_V4, &["b3"]);
    assert!(held.finish().iter().any(|held| held.backend == "b2" && held.broken.is_some()));
}
