//! Out of service without a cut flow: a backend under a connection that goes on, then the node, as
//! the router sees it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use anyhow::ensure;
use serde_json::Value;
use tidegate_vm_tests::lab::http::{Held, Holding};
use tidegate_vm_tests::lab::main_job::{EDGE, MainJob, SOON, VIP_V4, VIPS, Variant};

const GRACEFUL_SHUTDOWN: &str = "(65535,0)";

/// Waits until the only drain there is looks so.
fn wait_for_drain(job: &MainJob, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
    let found = job.lab.wait_for(what, SOON, || {
        let status: Value = serde_json::from_str(&job.tidegate(&["status", "-o", "json"])?)?;
        let drains = status["drains"].as_array().map(Vec::as_slice).unwrap_or_default();
        ensure!(drains.len() == 1 && seen(&drains[0]), "{status}");
        Ok(drains[0].clone())
    });
    assert!(found.is_ok(), "{found:?}\n{}", job.lab.log_tails());
    found.unwrap()
}

/// Waits until new connections to the IPv4 VIP reach these backends, and no other.
fn wait_until_served_by(job: &MainJob, backends: &[&str]) {
    let served = job.lab.wait_for(&format!("{backends:?} to serve alone"), SOON, || {
        let load = job.load(VIP_V4, 100, 10)?;
        let by: Vec<&str> = load.backends.keys().map(|name| &**name).collect();
        ensure!(load.failed.is_empty() && by == backends, "{load:?}");
        Ok(())
    });
    served.unwrap();
}

/// Both routes with the community, or both without.
fn wait_for_last_resort(job: &MainJob, wanted: bool) {
    for vip in VIPS {
        let what = format!("{} to be a last resort: {wanted}", vip.prefix);
        let seen = job.lab.wait_for(&what, SOON, || {
            let route = job.bird.route(&job.lab, vip.prefix)?;
            ensure!(route.contains(GRACEFUL_SHUTDOWN) == wanted, "{route}");
            Ok(())
        });
        seen.unwrap();
    }
}

/// A route to the IPv4 VIP that is there when BGP's is not.
fn route_by_hand(job: &MainJob, verb: &str) {
    let route = ["ip", "route", verb, VIP_V4.prefix, "via", EDGE[0], "metric", "4000"];
    job.lab.run("router", &route).unwrap();
}

fn backend_of(job: &MainJob, server: &str) -> String {
    let shown = job.tidegate(&["backends", "-o", "json"]).unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let number: usize = server.trim_start_matches('b').parse().unwrap();
    let rows = shown["backends"].as_array().unwrap();
    let of_v4 = rows.iter().filter(|row| row["service"] == VIP_V4.service);
    of_v4.map(|row| row["address"].as_str().unwrap().to_owned()).nth(number - 1).unwrap()
}

#[test]
fn a_drained_backend_keeps_its_connections_through_a_crash_and_gets_no_new_ones() {
    let mut job = MainJob::announced(Variant { weights: [1, 1, 1], ..Variant::default() }).unwrap();
    wait_until_served_by(&job, &["b1", "b2", "b3"]);
    // Many: connections that follow each other often share a backend.
    let held = job.hold(VIP_V4, 120).unwrap();
    let b1 = backend_of(&job, "b1");
    let order = ["drain", "backend", VIP_V4.service, &b1, "--deadline", "10m", "--quiet", "2s"];
    let told = job.tidegate(&order).unwrap();
    assert!(told.contains("no new flows"), "{told}");
    wait_until_served_by(&job, &["b2", "b3"]);
    let lives = |drain: &Value| {
        // Longer than the quiet time: what is held speaks.
        drain["phase"] == "emptying" && drain["since_secs"].as_u64() >= Some(3)
    };
    wait_for_drain(&job, "the drain to see packets", |drain| {
        lives(drain) && drain["packets_per_sec"].as_u64() > Some(0)
    });

    // With the last backend the VIP would go.
    let [b2, b3] = ["b2", "b3"].map(|server| backend_of(&job, server));
    job.tidegate(&["drain", "backend", VIP_V4.service, &b2]).unwrap();
    let refused = job.tidegate(&["drain", "backend", VIP_V4.service, &b3]).unwrap_err();
    assert!(refused.to_string().contains("0 active backends"), "{refused:#}");
    job.tidegate(&["undrain", "backend", VIP_V4.service, &b2]).unwrap();
    let plan = job.tidegate(&["plan"]).unwrap();
    assert!(plan.contains(&format!("backend {b1} of {}", VIP_V4.service)), "{plan}");

    // State on disk: a crash takes nothing back.
    route_by_hand(&job, "add");
    job.edge().unwrap().kill().unwrap();
    job.start_edge().unwrap();
    job.wait_for_routes().unwrap();
    wait_for_drain(&job, "the drain to go on after a crash", lives);
    wait_until_served_by(&job, &["b2", "b3"]);
    route_by_hand(&job, "del");

    let held = held.finish();
    let kept: Vec<&Held> = held.iter().filter(|held| held.backend == "b1").collect();
    assert!(!kept.is_empty() && held.iter().all(|held| held.broken.is_none()), "{held:?}");
    let drained = wait_for_drain(&job, "nothing to be left", |it| it["phase"] == "drained");
    assert_eq!(drained["cut_packets_per_sec"], 0, "{drained}");
    let shown = job.tidegate(&["backends"]).unwrap();
    let row = shown.lines().find(|line| line.contains(&b1)).unwrap();
    assert!(row.contains("disabled") && row.contains("drained"), "{shown}");
    job.tidegate(&["undrain", "backend", VIP_V4.service, &b1]).unwrap();
    wait_until_served_by(&job, &["b1", "b2", "b3"]);
}

#[test]
fn a_node_is_a_last_resort_before_it_is_withdrawn_and_so_it_is_at_a_stop() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let held = job.hold(VIP_V4, 5).unwrap();
    job.tidegate(&["drain", "node", "--deadline", "10m", "--quiet", "2s"]).unwrap();
    wait_for_last_resort(&job, true);
    wait_for_drain(&job, "the node to shed traffic", |drain| {
        drain["phase"] == "shedding" && drain["since_secs"].as_u64() >= Some(3)
    });
    let shown = job.tidegate(&["vips"]).unwrap();
    assert_eq!(shown.matches("shedding").count(), VIPS.len(), "{shown}");
    assert!(held.finish().iter().all(|held| held.broken.is_none()));
    job.wait_for_no_routes().unwrap();
    for vip in job.wait_until_none_announced().unwrap() {
        assert_eq!(vip["reason"], "drained", "{vip}");
    }
    job.bird.established(&job.lab, "edge").unwrap();
    let drained = wait_for_drain(&job, "the node to be drained", |it| it["phase"] == "drained");
    assert_eq!(drained["cut_packets_per_sec"], 0, "{drained}");
    job.tidegate(&["undrain", "node"]).unwrap();
    job.wait_for_routes().unwrap();
    wait_for_last_resort(&job, false);

    // A stop does the same where the configuration says so.
    let config = job.edge_config().replace("[router]\n", "[router]\ndrain-on-stop = \"10m\"\n");
    job.lab.write("tidegate.toml", &config).unwrap();
    job.tidegate(&["apply"]).unwrap();
    let held: Holding = job.hold(VIP_V4, 5).unwrap();
    job.edge().unwrap().signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_for_last_resort(&job, true);
    assert_eq!(held.broken(), 0);
    assert!(held.finish().iter().all(|held| held.broken.is_none()));
    assert!(job.edge().unwrap().ended(SOON).unwrap().success());
    job.wait_for_no_routes().unwrap();
}

#[test]
fn what_somebody_says_of_a_backend_counts_until_its_time_is_over() {
    let job = MainJob::announced(Variant { weights: [1, 1, 1], ..Variant::default() }).unwrap();
    wait_until_served_by(&job, &["b1", "b2", "b3"]);
    let [b1, b2] = ["b1", "b2"].map(|server| backend_of(&job, server));
    let say = |arguments: &[&str]| job.tidegate(&[&["health"], arguments].concat());
    let web = VIP_V4.service;

    // Against a check that is content, and for as long as is said.
    let told = say(&["set", web, &b1, "down", "--ttl", "3s", "--reason", "its disk fails"]);
    assert!(told.unwrap().contains("counts as down for 3s"));
    wait_until_served_by(&job, &["b2", "b3"]);
    wait_until_served_by(&job, &["b1", "b2", "b3"]);

    // Until it is taken back; those who look are told who and why.
    say(&["set", web, &b1, "down", "--ttl", "1h", "--reason", "its disk fails"]).unwrap();
    wait_until_served_by(&job, &["b2", "b3"]);
    let shown = job.tidegate(&["backends", "-o", "json"]).unwrap();
    let why = "by root (uid 0";
    assert!(shown.contains("said to be down") && shown.contains(why), "{shown}");
    assert!(shown.contains("its disk fails"), "{shown}");
    say(&["clear", web, &b1]).unwrap();
    wait_until_served_by(&job, &["b1", "b2", "b3"]);

    // Against one that is not.
    job.make_sick(1, true).unwrap();
    wait_until_served_by(&job, &["b1", "b3"]);
    say(&["set", web, &b2, "up", "--ttl", "1h"]).unwrap();
    wait_until_served_by(&job, &["b1", "b2", "b3"]);
    say(&["clear", web, &b2]).unwrap();
    wait_until_served_by(&job, &["b1", "b3"]);

    for (arguments, why) in [
        (["set", "nobody", &b1, "down", "--ttl", "1m"], "no service"),
        (["set", web, "192.0.2.99", "down", "--ttl", "1m"], "no backend"),
        (["set", web, &b1, "down", "--ttl", "9d"], "not from 1s to 24h"),
        (["set", web, &b1, "down", "--ttl", "soon"], "is no time"),
    ] {
        let refused = say(&arguments).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}
