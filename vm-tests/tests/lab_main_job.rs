//! The main job, with a real router: a VIP is announced, packets reach backends through XDP. Each
//! test has a lab of its own.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_vm_tests::lab::http::{Held, Load};
use tidegate_vm_tests::lab::main_job::{
    CLIENT, EDGE, MainJob, SOON, VIP_V4, VIP_V6, VIPS, Variant, Vip,
};

/// All requests were answered, each by one of `backends`, and each backend saw the client.
fn check_answers(load: &Load, vip: Vip, backends: &[&str]) -> Result<()> {
    ensure!(load.failed.is_empty(), "{load:?}");
    ensure!(load.backends.keys().all(|name| backends.contains(&&**name)), "{load:?}");
    let client = if vip.addr.contains(':') { CLIENT[1] } else { CLIENT[0] };
    ensure!(load.clients.keys().all(|seen| seen.to_string() == client), "{load:?}");
    Ok(())
}

/// Waits until new connections reach `backends` alone.
fn wait_until_served_by(job: &MainJob, vip: Vip, backends: &[&str]) {
    let what = format!("{} to be served by {backends:?} alone", vip.addr);
    let served =
        job.lab.wait_for(&what, SOON, || check_answers(&job.load(vip, 100, 10)?, vip, backends));
    served.unwrap();
}

#[test]
fn the_router_learns_both_vips_with_attributes_and_next_hops() {
    let job = MainJob::announced(Variant::default()).unwrap();
    for (vip, next_hop) in VIPS.into_iter().zip(EDGE) {
        let route = job.bird.route(&job.lab, vip.prefix).unwrap();
        for line in ["BGP.as_path: 64513 64513", "BGP.med: 50", "BGP.community: (64513,80)"] {
            assert!(route.contains(line), "{line} is not in\n{route}");
        }
        assert!(route.contains(&format!("BGP.next_hop: {next_hop}")), "{route}");
        assert!(!route.contains("::ffff:"), "{route}");
        let way = job.lab.run("router", &["ip", "route", "get", vip.addr]).unwrap();
        assert!(way.contains(&format!("via {next_hop}")), "{way}");
    }
    a_vip_that_is_a_prefix_is_added(&job);
}

/// The router learns the prefix, and requests to its first and its last address are answered.
fn a_vip_that_is_a_prefix_is_added(job: &MainJob) {
    const POOL: &str = "192.0.2.64/28";
    job.lab.run("b1", &["ip", "route", "add", "local", POOL, "dev", "lo"]).unwrap();
    let service = format!(
        "\n[[service]]\nname = \"pool\"\nvip = \"{POOL}\"\nport = 80\n\
         [[service.backend]]\naddress = \"203.0.113.11\"\n"
    );
    let file = job.lab.write("pool.toml", &(job.edge_config() + &service)).unwrap();
    job.tidegate(&["apply", &file.display().to_string()]).unwrap();
    let route = job.lab.wait_for("a route to the prefix", SOON, || job.bird.route(&job.lab, POOL));
    assert!(route.unwrap().contains(&format!("BGP.next_hop: {}", EDGE[0])));
    for addr in ["192.0.2.64", "192.0.2.79"] {
        wait_until_served_by(job, Vip { service: "pool", addr, prefix: POOL }, &["b1"]);
    }
    let vips = job.tidegate(&["vips"]).unwrap();
    assert!(vips.contains("192.0.2.64/28:80/tcp"), "{vips}");
}

#[test]
fn ten_thousand_requests_are_spread_ten_to_one_and_none_fails() {
    let variant = Variant { weights: [10, 1, 0], ..Variant::default() };
    let job = MainJob::announced(variant).unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b1", "b2"]);
        let load = job.load(vip, 10_000, 50).unwrap();
        let well = check_answers(&load, vip, &["b1", "b2"]);
        assert!(well.is_ok(), "{well:?}\n{}", job.lab.log_tails());
        // 10,000 fair draws have a standard deviation of 29; this is more than eight of them.
        let first = load.backends.get("b1").copied().unwrap_or(0);
        assert!((8_840..=9_340).contains(&first), "{load:?}");
    }
}

#[test]
fn a_dead_backend_is_left_and_then_nothing_fails() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    wait_until_served_by(&job, VIP_V4, &["b1", "b2", "b3"]);
    job.kill_server(0).unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b2", "b3"]);
        check_answers(&job.load(vip, 1_000, 20).unwrap(), vip, &["b2", "b3"]).unwrap();
    }
    job.start_server(0).unwrap();
    let back = job.lab.wait_for("b1 to be back", SOON, || {
        let load = job.load(VIP_V4, 100, 10)?;
        ensure!(load.failed.is_empty() && load.backends.contains_key("b1"), "{load:?}");
        Ok(())
    });
    back.unwrap();
}

#[test]
fn vips_without_backends_are_withdrawn_and_come_back_with_one() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    for backend in 0..3 {
        job.kill_server(backend).unwrap();
    }
    job.wait_for_no_routes().unwrap();
    for vip in job.wait_until_none_announced().unwrap() {
        assert_eq!(vip["reason"], "too-few-healthy", "{vip}");
    }
    // The session is none the worse for it.
    job.bird.established(&job.lab, "edge").unwrap();
    job.start_server(1).unwrap();
    job.wait_for_routes().unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b2"]);
    }
}

#[test]
fn no_connection_to_the_others_breaks_when_a_backend_leaves_the_ring() {
    let variant = Variant { weights: [1, 1, 1], ..Variant::default() };
    let job = MainJob::announced(variant).unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b1", "b2", "b3"]);
    }
    let held = VIPS.map(|vip| job.hold(vip, 60).unwrap());
    job.make_sick(0, true).unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b2", "b3"]);
    }
    job.make_sick(0, false).unwrap();
    let back = job.lab.wait_for("b1 to be back", SOON, || {
        let load = job.load(VIP_V6, 100, 10)?;
        ensure!(load.backends.contains_key("b1"), "{load:?}");
        Ok(())
    });
    back.unwrap();
    for holding in held {
        let others: Vec<Held> =
            holding.finish().into_iter().filter(|held| held.backend != "b1").collect();
        assert!(others.len() > 20, "{others:?}");
        assert!(others.iter().all(|held| held.broken.is_none()), "{others:?}");
    }
}

#[test]
fn a_backend_whose_mac_address_changes_is_followed() {
    let job = MainJob::announced(Variant { weights: [1, 1, 0], ..Variant::default() }).unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b1", "b2"]);
    }
    let [edge_v4, edge_v6] = EDGE;
    let change = format!(
        "ip link set dev eth0 address 02:00:5e:10:00:01 && ip neigh flush dev eth0 && \
         ping -n -c 1 -W 5 {edge_v4} && ping -n -c 1 -W 5 {edge_v6}"
    );
    job.lab.run("b1", &["sh", "-c", &change]).unwrap();
    for vip in VIPS {
        let followed = job.lab.wait_for("b1 to be reached at its new address", SOON, || {
            let load = job.load(vip, 100, 10)?;
            check_answers(&load, vip, &["b1", "b2"])?;
            ensure!(load.backends.len() == 2, "{load:?}");
            Ok(())
        });
        followed.unwrap();
    }
}

#[test]
fn a_vip_answers_ping_and_drops_what_is_for_no_service_of_it() {
    let job = MainJob::announced(Variant::default()).unwrap();
    for vip in VIPS {
        // 1,400 bytes: the checksum of the answer is not right by chance.
        let ping = ["ping", "-n", "-c", "5", "-i", "0.2", "-W", "5", "-s", "1400", vip.addr];
        let answers = job.lab.run("client", &ping).unwrap();
        assert!(answers.contains("5 received, 0% packet loss"), "{answers}");
        let mut elsewhere = vip.socket().unwrap();
        elsewhere.set_port(81);
        let connected = job.lab.inside("client", || {
            TcpStream::connect_timeout(&elsewhere, Duration::from_millis(500))
        });
        let refused = connected.unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut, "{refused}");
    }
    let status = job.tidegate(&["status", "-o", "json"]).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let counted = |name: &str| {
        let rows = status["counters"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["packets"].as_u64().unwrap()
    };
    assert_eq!(counted("echo_reply"), 10, "{status}");
    assert!(counted("drop_no_service") >= 2, "{status}");
}

#[test]
fn sigterm_withdraws_then_stops() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let status = job.edge().unwrap().stop(SOON).unwrap();
    assert!(status.success(), "{status}");
    job.wait_for_no_routes().unwrap();
    // BIRD reads the withdrawals first, and the NOTIFICATION a moment later.
    let told = job.lab.wait_for("the router to be told why", SOON, || {
        let session = job.bird.ask(&job.lab, "show protocols all edge")?;
        ensure!(session.contains("Received: Administrative shutdown"), "{session}");
        Ok(())
    });
    told.unwrap();
}

/// Both VIPs, with whatever lies between edge and backends.
fn carries_requests(variant: Variant) {
    let job = MainJob::announced(variant).unwrap();
    for vip in VIPS {
        wait_until_served_by(&job, vip, &["b1", "b2", "b3"]);
        let load = job.load(vip, 500, 20).unwrap();
        check_answers(&load, vip, &["b1", "b2", "b3"]).unwrap();
        assert_eq!(load.backends.len(), 3, "{load:?}");
    }
}

#[test]
fn ipv4_reaches_backends_inside_ipv6_and_ipv6_inside_ipv4() {
    carries_requests(Variant { crossed: true, ..Variant::default() });
}

#[test]
fn gue_carries_requests_as_well() {
    carries_requests(Variant { mode: "gue", crossed: true, ..Variant::default() });
}

#[test]
fn requests_reach_backends_by_their_mac_address() {
    carries_requests(Variant { mode: "l2", ..Variant::default() });
}

#[test]
fn a_session_over_ipv6_announces_ipv4_too() {
    carries_requests(Variant { session_over_v6: true, ..Variant::default() });
}
