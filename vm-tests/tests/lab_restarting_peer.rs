//! Restarts between two neighbours, both BIRDs: what becomes of the routes at the others when a
//! neighbour is killed and comes back, or does not, and when tidegate itself is restarted.

use anyhow::{Context as _, ensure};
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, SOON, VIPS};

/// AS and address of the neighbour that watches.
const WATCHER: (u32, &str) = (64_514, "203.0.113.11");

/// What is announced by the one that restarts.
const ROUTES: [&str; 2] = ["198.18.0.0/24", "2001:db8:18::/48"];

fn peers() -> String {
    let (watcher_as, watcher) = WATCHER;
    format!(
        "[[policy]]\nname = \"all\"\ndefault = \"accept\"\n\
         [[peer]]\nname = \"other\"\naddress = \"{}\"\nasn = {PEER_AS}\nimport = [\"all\"]\n\
         connect-retry = \"1s\"\nlong-lived-stale-time = \"1h\"\n\
         [[peer]]\nname = \"watcher\"\naddress = \"{watcher}\"\nasn = {watcher_as}\n\
         export = [\"all\"]\nconnect-retry = \"1s\"\nlong-lived-stale-time = \"1h\"\n",
        PEER[0],
    )
}

fn bird((asn, address): (u32, &str), more: &str, v6: &str) -> String {
    format!(
        "log stderr all;\nrouter id {address};\nprotocol device {{}}\n\
         protocol static {{ ipv4; route {} blackhole; }}\n\
         protocol static {{ ipv6; route {} blackhole; }}\n\
         protocol bgp edge {{\n local {address} as {asn};\n neighbor {} as {EDGE_AS};\n \
         connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n{more}\n \
         ipv4 {{ import all; export all; }};\n ipv6 {{ import all; export all; {v6} }};\n}}\n",
        ROUTES[0], ROUTES[1], EDGE[0],
    )
}

fn watcher() -> String {
    let config = bird(WATCHER, " graceful restart on;\n long lived graceful restart on;", "");
    config.replace("protocol static {", "protocol static { disabled;")
}

/// How many routes of IPv4 and IPv6 the watcher was told to forget.
fn withdrawals(watcher: &Bird, job: &Interop) -> anyhow::Result<Vec<String>> {
    let shown = watcher.ask(&job.lab, "show protocols all edge")?;
    let counts = shown.lines().filter_map(|line| line.trim().strip_prefix("Import withdraws:"));
    Ok(counts.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect())
}

#[test]
fn a_planned_restart_of_tidegate_takes_no_route_from_anybody_and_a_stop_takes_all() {
    let mut job = Interop::new().unwrap();
    // These say in their logs what they do with each route.
    let traced =
        |config: &str| config.replace(" connect delay", " debug { routes };\n connect delay");
    let patient = traced(&bird((PEER_AS, PEER[0]), " graceful restart on;", ""));
    let other = Bird::start(&job.lab, "peer", &patient).unwrap();
    let watcher = Bird::start(&job.lab, "b1", &traced(&watcher())).unwrap();
    job.configure(&peers()).unwrap();
    for route in ROUTES.into_iter().chain(VIPS) {
        job.until("the route to reach the watcher", || watcher.route(&job.lab, route)).unwrap();
    }
    for vip in VIPS {
        job.until("the route to reach the other", || other.route(&job.lab, vip)).unwrap();
    }
    job.restart(&peers()).unwrap();
    job.until("both to have heard the end of all routes from who says that it is back", || {
        for bird in [&other, &watcher] {
            let shown = bird.ask(&job.lab, "show protocols all edge")?;
            ensure!(shown.contains("Restart recovery") && !shown.contains("active"), "{shown}");
        }
        Ok(())
    })
    .unwrap();
    for bird in [&other, &watcher] {
        let log = bird.process.printed();
        assert!(log.contains("> added") && !log.contains("> removed"), "{log}");
    }
    assert!(job.edge.as_mut().unwrap().stop(SOON).unwrap().success());
    for bird in [&other, &watcher] {
        job.until("the VIPs to go", || {
            let log = bird.process.printed();
            ensure!(
                VIPS.iter().all(|vip| log.contains(&format!("> removed [sole] {vip}"))),
                "{log}"
            );
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_bird_that_is_killed_keeps_its_routes_everywhere_until_it_is_back_or_its_time_is_over() {
    let mut job = Interop::new().unwrap();
    let (asn, address) = (PEER_AS, PEER[0]);
    let patient = bird((asn, address), " graceful restart on;\n graceful restart time 120;", "");
    let mut other = Bird::start(&job.lab, "peer", &patient).unwrap();
    let watcher = Bird::start(&job.lab, "b1", &watcher()).unwrap();
    job.configure(&peers()).unwrap();
    for route in ROUTES {
        job.until("the route to reach the watcher", || watcher.route(&job.lab, route)).unwrap();
    }
    let other_here = || -> anyhow::Result<serde_json::Value> {
        job.peers()?.pointer("/peers/0").cloned().context("no peer")
    };

    other.process.kill().unwrap();
    job.until("tidegate to notice", || {
        let peer = other_here()?;
        let kept = serde_json::json!(["ipv4-unicast", "ipv6-unicast"]);
        ensure!(peer["state"] != "Established" && peer["stale_families"] == kept, "{peer}");
        Ok(())
    })
    .unwrap();
    let shown = job.tidegate(&["peers", "other"]).unwrap();
    assert!(shown.contains("kept       ipv4-unicast, ipv6-unicast"), "{shown}");

    // Back, and in a hurry from now on: IPv6 is to go with its restart time, IPv4 to stay longer.
    let hasty = " graceful restart on;\n graceful restart time 1;\n \
                 long lived graceful restart on;\n long lived stale time 3600;";
    let hasty = bird((asn, address), hasty, "long lived graceful restart off;");
    let mut other = Bird::restart(&job.lab, "peer", &hasty).unwrap();
    job.until("it to be back with everything", || {
        let peer = other_here()?;
        let nothing = serde_json::json!([]);
        ensure!(peer["state"] == "Established" && peer["stale_families"] == nothing, "{peer}");
        ensure!(peer["prefixes_received"] == 2, "{peer}");
        Ok(())
    })
    .unwrap();
    for route in ROUTES {
        watcher.route(&job.lab, route).unwrap();
    }
    assert_eq!(withdrawals(&watcher, &job).unwrap(), ["0", "0"], "the watcher never lost a route");

    other.process.kill().unwrap();
    job.until("IPv6 to go", || watcher.no_route(&job.lab, ROUTES[1])).unwrap();
    let marked = job.until("IPv4 to be marked", || {
        let route = watcher.route(&job.lab, ROUTES[0])?;
        ensure!(route.contains("(65535, 6)") || route.contains("(65535,6)"), "{route}");
        Ok(())
    });
    marked.unwrap();
    assert_eq!(withdrawals(&watcher, &job).unwrap(), ["0", "1"]);
}
