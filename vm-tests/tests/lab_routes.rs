//! Routes of others through tidegate: from a daemon on one host, over tidegate, to one on another.
//! What is asserted is what the two say, and what `tidegate routes` does.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::frr::Frr;
use tidegate_vm_tests::lab::gobgp::Gobgp;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS};

/// The second daemon, on the backend's host.
const OTHER: &str = "203.0.113.11";
const OTHER_AS: u32 = 64_514;

const PREFIX: &str = "198.18.7.0/24";

/// A peer that may say and hear everything.
fn peer(name: &str, address: &str, asn: u32, more: &str) -> String {
    format!(
        "[[peer]]\nname = \"{name}\"\naddress = \"{address}\"\nasn = {asn}\n\
         connect-retry = \"1s\"\nimport = [\"all\"]\nexport = [\"all\"]\n{more}\n"
    )
}

const ALL: &str = "[[policy]]\nname = \"all\"\ndefault = \"accept\"\n";

/// A BIRD on `local` with two routes to [`PREFIX`], and more lines about session and channel.
fn bird(local: &str, asn: u32, session: &str, channel: &str) -> String {
    let edge = EDGE[0];
    format!(
        "log stderr all;\nrouter id {local};\nprotocol device {{}}\n\
         protocol static one {{ ipv4; route {PREFIX} blackhole; }}\n\
         protocol static two {{ ipv4; route {PREFIX} blackhole; }}\n\
         protocol bgp edge {{\n local {local} as {asn};\n neighbor {edge} as {EDGE_AS};\n \
         connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n{session}\n \
         ipv4 {{ import all; {channel} }};\n}}\n"
    )
}

/// The paths to [`PREFIX`] in one of the views.
fn routes(job: &Interop, view: &[&str]) -> Result<Vec<Value>> {
    let question = [&["routes"], view, &["--prefix", PREFIX, "-o", "json"]].concat();
    let answer: Value = serde_json::from_str(&job.tidegate(&question)?)?;
    let routes = answer.get("routes").and_then(Value::as_array);
    routes.cloned().with_context(|| answer.to_string())
}

#[test]
fn two_paths_of_bird_reach_frr_under_identifiers_of_their_own_and_marked_for_customers() {
    let mut job = Interop::new().unwrap();
    let session = " local role provider;";
    let source = bird(OTHER, OTHER_AS, session, "add paths on; export all;");
    let _source = Bird::start(&job.lab, "b1", &source).unwrap();
    let ([frr_ip, _], [edge, _]) = (PEER, EDGE);
    let config = format!(
        "router bgp {PEER_AS}\n bgp router-id {frr_ip}\n no bgp ebgp-requires-policy\n \
         neighbor {edge} remote-as {EDGE_AS}\n neighbor {edge} timers connect 1\n \
         neighbor {edge} local-role customer\n"
    );
    let sink = Frr::start(&job.lab, "peer", frr_ip, &config).unwrap();
    let several = "add-path = { receive = [\"ipv4-unicast\"] }\nrole = \"customer\"";
    let tells = "add-path = { send = [\"ipv4-unicast\"] }\nrole = \"provider\"";
    let peers = [
        peer("bird", OTHER, OTHER_AS, several),
        peer("frr", frr_ip, PEER_AS, tells),
        ALL.to_owned(),
    ];
    job.configure(&peers.concat()).unwrap();

    let received = job.until("two paths from BIRD", || {
        let routes = routes(&job, &["received"])?;
        ensure!(routes.len() == 2, "{routes:?}");
        Ok(routes)
    });
    let received = received.unwrap();
    assert_ne!(received[0]["path_id"], received[1]["path_id"], "{received:?}");
    // BIRD has marked them itself.
    assert!(received.iter().all(|route| route["only_to_customer"] == OTHER_AS), "{received:?}");

    let shown = job.until("two paths at FRR", || {
        let shown = sink.ask(&job.lab, &format!("show bgp ipv4 unicast {PREFIX} json"))?;
        ensure!(shown["paths"].as_array().is_some_and(|paths| paths.len() == 2), "{shown}");
        Ok(shown)
    });
    let shown = shown.unwrap();
    let paths = shown["paths"].as_array().unwrap();
    assert_ne!(paths[0]["addpathRxId"], paths[1]["addpathRxId"], "{shown:#}");
    assert!(paths.iter().all(|path| path["otc"] == OTHER_AS), "{shown:#}");
}

#[test]
fn two_paths_of_gobgp_reach_bird_and_a_leak_of_birds_is_not_taken() {
    let mut job = Interop::new().unwrap();
    let (edge, bird_ip) = (EDGE[0], PEER[0]);
    let config = format!(
        "[global.config]\nas = {OTHER_AS}\nrouter-id = \"{OTHER}\"\n\
         local-address-list = [\"{OTHER}\"]\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"{edge}\"\npeer-as = {EDGE_AS}\n\
         [neighbors.timers.config]\nconnect-retry = 5\n\
         [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
         [neighbors.afi-safis.add-paths.config]\nsend-max = 8\nreceive = true\n"
    );
    let source = Gobgp::start(&job.lab, "b1", &config).unwrap();
    for (identifier, med) in [("1", "10"), ("2", "20")] {
        let route = ["global", "rib", "add", PREFIX, "identifier", identifier, "med", med];
        source.ask(&job.lab, &route).unwrap();
    }
    // It says nothing of roles, and has a mark on its own route that only a provider could set.
    let leak = "add paths on; export filter { bgp_otc = 64999; accept; };";
    let sink = Bird::start(&job.lab, "peer", &bird(bird_ip, PEER_AS, "", leak)).unwrap();
    let several = "add-path = { receive = [\"ipv4-unicast\"] }";
    let tells = "add-path = { send = [\"ipv4-unicast\"], receive = [\"ipv4-unicast\"] }\n\
                 role = \"provider\"";
    let peers = [
        peer("gobgp", OTHER, OTHER_AS, several),
        peer("bird", bird_ip, PEER_AS, tells),
        ALL.to_owned(),
    ];
    job.configure(&peers.concat()).unwrap();
    let shown = job.until("two paths at BIRD", || {
        let shown = sink.ask(&job.lab, &format!("show route {PREFIX} protocol edge all"))?;
        ensure!(shown.matches("BGP.next_hop").count() == 2, "{shown}");
        Ok(shown)
    });
    // For a customer, they are marked with our AS.
    let shown = shown.unwrap();
    assert_eq!(shown.matches(&format!("BGP.otc: {EDGE_AS}")).count(), 2, "{shown}");
    job.until("the leak", || {
        let routes = routes(&job, &["received", "--peer", "bird"])?;
        ensure!(
            routes.len() == 2 && routes.iter().all(|it| it["state"] == "rejected"),
            "{routes:?}"
        );
        let reason = routes[0]["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("route leak"), "{routes:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_route_follows_the_way_to_its_next_hop() {
    let mut job = Interop::new().unwrap();
    let bird_ip = PEER[0];
    let far = "export filter { bgp_next_hop = 10.99.0.1; accept; };";
    let _source = Bird::start(&job.lab, "b1", &bird(OTHER, OTHER_AS, "", far)).unwrap();
    let sink = bird(bird_ip, PEER_AS, "", "export none;").replace(PREFIX, "198.18.8.0/24");
    let sink = Bird::start(&job.lab, "peer", &sink).unwrap();
    let peers =
        [peer("far", OTHER, OTHER_AS, ""), peer("near", bird_ip, PEER_AS, ""), ALL.to_owned()];
    job.configure(&peers.concat()).unwrap();
    let fate = |wanted: &str, reason: &str| {
        job.until(reason, || {
            let routes = routes(&job, &["available"])?;
            let is_there = routes.iter().any(|it| it["state"] == wanted && it["reason"] == reason);
            ensure!(is_there, "{routes:?}");
            Ok(())
        })
        .unwrap();
    };
    fate("unusable", "next hop unreachable");
    sink.no_route(&job.lab, PREFIX).unwrap();
    let route = ["ip", "route", "add", "10.99.0.0/24", "via", OTHER];
    job.lab.run("edge", &route).unwrap();
    fate("best", "best");
    job.until("the route at the other end", || sink.route(&job.lab, PREFIX)).unwrap();
    job.lab.run("edge", &["ip", "route", "del", "10.99.0.0/24"]).unwrap();
    fate("unusable", "next hop unreachable");
    job.until("the route to go there", || sink.no_route(&job.lab, PREFIX)).unwrap();
}
