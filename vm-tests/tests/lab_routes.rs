//! Routes of others through tidegate: from a daemon on one host, over tidegate, to one on another.
//! What is asserted is what the two say, and what `tidegate routes` does.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::exabgp::Exabgp;
use tidegate_vm_tests::lab::frr::Frr;
use tidegate_vm_tests::lab::gobgp::Gobgp;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, VIPS};

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
    let of = |state: &str| received.iter().find(|route| route["state"] == state).unwrap();
    let (best, lost) = (of("best"), of("lost"));
    assert_eq!(lost["lost_to"]["peer"], "bird", "{lost}");
    assert_eq!(lost["lost_to"]["path_id"], best["path_id"], "{lost}");
    let shown = job.tidegate(&["routes"]).unwrap();
    assert!(shown.contains(&format!("lost to bird#{}: ", best["path_id"])), "{shown}");
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

    // A soft reset of either direction, by order.
    let asked = job.tidegate(&["refresh", "frr", "in"]).unwrap();
    assert_eq!(asked, "frr is asked for its routes again: ipv4-unicast\n");
    job.until("FRR to be asked", || {
        let neighbor = sink.neighbor(&job.lab, edge)?;
        let asked = neighbor.pointer("/messageStats/routeRefreshRecv").and_then(Value::as_u64);
        ensure!(asked >= Some(1), "{neighbor}");
        Ok(())
    })
    .unwrap();
    let told = job.tidegate(&["refresh", "frr", "out"]).unwrap();
    assert_eq!(told, "frr is told all routes again: ipv4-unicast\n");
    job.until("FRR to hear both ends of that", || {
        let neighbor = sink.neighbor(&job.lab, edge)?;
        let heard = neighbor.pointer("/messageStats/routeRefreshRecv").and_then(Value::as_u64);
        ensure!(heard >= Some(3), "{neighbor}");
        Ok(())
    })
    .unwrap();
    let unknown = job.tidegate(&["refresh", "nobody", "in"]).unwrap_err().to_string();
    assert!(unknown.contains("there is no peer \"nobody\""), "{unknown}");
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
fn a_path_of_one_who_shuts_down_gracefully_is_the_last_choice_and_we_ask_for_the_same() {
    let mut job = Interop::new().unwrap();
    let asks = "export filter { if proto = \"two\" then bgp_community.add((65535, 0)); accept; };";
    let leaving = Bird::start(&job.lab, "b1", &bird(OTHER, OTHER_AS, "", asks)).unwrap();
    let longer = "export filter { bgp_path.prepend(64999); accept; };";
    let staying = Bird::start(&job.lab, "peer", &bird(PEER[0], PEER_AS, "", longer)).unwrap();
    let configure = |job: &mut Interop, more: &str| {
        let leaving = peer("leaving", OTHER, OTHER_AS, "");
        job.configure(&[leaving, peer("staying", PEER[0], PEER_AS, more), ALL.to_owned()].concat())
    };
    configure(&mut job, "").unwrap();
    let preferred = |job: &Interop, best: &str, lost: &str| {
        job.until(&format!("{best} to be preferred"), || {
            let routes = routes(job, &["available"])?;
            let of = |state: &str| routes.iter().find(|it| it["state"] == state).cloned();
            let (is, other) = (of("best").unwrap_or_default(), of("lost").unwrap_or_default());
            ensure!(is["peer"] == best && other["peer"] == lost, "{routes:?}");
            ensure!(other["lost_to"]["peer"] == best, "{routes:?}");
            Ok(other)
        })
    };
    preferred(&job, "leaving", "staying").unwrap();
    leaving.ask(&job.lab, "disable one").unwrap();
    let lost = preferred(&job, "staying", "leaving").unwrap();
    assert_eq!((&lost["local_pref"], &lost["reason"]), (&0.into(), &"lower LOCAL_PREF".into()));
    assert_eq!(lost["communities"][0], "graceful-shutdown", "{lost}");

    // The other way: whoever hears us is asked to, too.
    let [vip, _] = VIPS;
    let plain = job.until("the VIP at BIRD", || staying.route(&job.lab, vip)).unwrap();
    assert!(!plain.contains("(65535,0)"), "{plain}");
    configure(&mut job, "graceful-shutdown = true").unwrap();
    job.until("BIRD to be asked to prefer others", || {
        let route = staying.route(&job.lab, vip)?;
        ensure!(route.contains("(65535,0)"), "{route}");
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
    // Until it was looked up, it may have been passed on.
    job.until("no route at the other end", || sink.no_route(&job.lab, PREFIX)).unwrap();
    let route = ["ip", "route", "add", "10.99.0.0/24", "via", OTHER];
    job.lab.run("edge", &route).unwrap();
    fate("best", "best");
    job.until("the route at the other end", || sink.route(&job.lab, PREFIX)).unwrap();
    job.lab.run("edge", &["ip", "route", "del", "10.99.0.0/24"]).unwrap();
    fate("unusable", "next hop unreachable");
    job.until("the route to go there", || sink.no_route(&job.lab, PREFIX)).unwrap();
}

/// What `tidegate routes` says of the rules of a family.
fn rules(job: &Interop, family: &str) -> Result<Vec<Value>> {
    let question = ["routes", "--family", family, "-o", "json"];
    let answer: Value = serde_json::from_str(&job.tidegate(&question)?)?;
    answer.get("routes").and_then(Value::as_array).cloned().with_context(|| answer.to_string())
}

/// Waits for a rule of IPv6 of each of both, as they put them.
fn until_rules_of_ipv6(job: &Interop) -> Result<()> {
    let both = job.until("a rule of IPv6 of each", || {
        let rules = rules(job, "ipv6-flowspec")?;
        ensure!(rules.len() == 2, "{rules:?}");
        Ok(rules)
    })?;
    for (peer, rule, action) in [
        ("exabgp", "dst 2001:db8:18::/48 proto =6 flow-label =7", "discard"),
        ("gobgp", "dst 2001:db8:77::/48 proto =17 dst-port >=1024&<=2048", "rate-bytes:0:9600"),
    ] {
        let shown = both.iter().any(|it| {
            it["peer"] == peer
                && it["prefix"] == rule
                && it["extended_communities"] == serde_json::json!([action])
                && it["reason"] == "no route to its destination"
        });
        ensure!(shown, "{peer}: {both:?}");
    }
    Ok(())
}

/// A GoBGP with a rule of each family, and a route that one of them is about.
fn gobgp_with_rules(job: &Interop) -> Result<Gobgp> {
    let edge = EDGE[0];
    let families = ["ipv4-unicast", "ipv4-flowspec", "ipv6-flowspec"].map(|name| {
        format!(
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n"
        )
    });
    let config = format!(
        "[global.config]\nas = {OTHER_AS}\nrouter-id = \"{OTHER}\"\n\
         local-address-list = [\"{OTHER}\"]\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"{edge}\"\npeer-as = {EDGE_AS}\n\
         [neighbors.timers.config]\nconnect-retry = 5\n{}",
        families.concat(),
    );
    let gobgp = Gobgp::start(&job.lab, "b1", &config)?;
    let add = |words: &[&[&str]]| {
        let words = words.concat();
        gobgp.ask(&job.lab, &[&["global", "rib"][..], &words].concat())
    };
    add(&[&["-a", "ipv4-flowspec", "add"], &RULE])?;
    let to = ["match", "destination", "2001:db8:77::/48", "protocol", "udp"];
    let rest = ["destination-port", ">=1024&<=2048", "then", "rate-limit", "9600"];
    add(&[&["-a", "ipv6-flowspec", "add"], &to, &rest])?;
    add(&[&["add", PREFIX]])?;
    Ok(gobgp)
}

/// The one of IPv4, in the words of its command line.
const RULE: [&str; 9] = [
    "match",
    "destination",
    "198.18.7.0/24",
    "protocol",
    "tcp",
    "destination-port",
    "==80",
    "then",
    "discard",
];

#[test]
fn rules_of_gobgp_and_exabgp_are_shown_and_passed_on_to_neither() {
    let mut job = Interop::new().unwrap();
    let (edge, exabgp_ip) = (EDGE[0], PEER[0]);
    let gobgp = gobgp_with_rules(&job).unwrap();
    let config = format!(
        "neighbor {edge} {{\n router-id {exabgp_ip};\n local-address {exabgp_ip};\n \
         local-as {PEER_AS};\n peer-as {EDGE_AS};\n family {{ ipv4 unicast; ipv4 flow; ipv6 flow; }}\n \
         flow {{ route r {{ match {{ destination 198.18.7.0/24; source 203.0.113.0/24; }} \
         then {{ rate-limit 9600; }} }}\n \
         route r6 {{ match {{ destination 2001:db8:18::/48/0; next-header =tcp; \
         flow-label =7; }} then {{ discard; }} }} }}\n}}\n"
    );
    let mut exabgp = Exabgp::start(&job.lab, "peer", &config).unwrap();
    let families = "families = [\"ipv4-unicast\", \"ipv4-flowspec\", \"ipv6-flowspec\"]";
    let peers = [
        peer("gobgp", OTHER, OTHER_AS, families),
        peer("exabgp", exabgp_ip, PEER_AS, families),
        ALL.to_owned(),
    ];
    job.configure(&peers.concat()).unwrap();
    let both = job.until("a rule of each, and the route", || {
        let rules = rules(&job, "ipv4-flowspec")?;
        ensure!(rules.len() == 2 && routes(&job, &["available"])?.len() == 1, "{rules:?}");
        Ok(rules)
    });
    let both = both.unwrap();
    let of = |name: &str| both.iter().find(|rule| rule["peer"] == name).unwrap();
    let gobgps = of("gobgp");
    assert_eq!(gobgps["prefix"], "dst 198.18.7.0/24 proto =6 dst-port =80");
    assert_eq!(gobgps["extended_communities"][0], "discard");
    // It has the route there, too.
    assert_eq!(gobgps["reason"], "feasible");
    let exabgps = of("exabgp");
    assert_eq!(exabgps["prefix"], "dst 198.18.7.0/24 src 203.0.113.0/24");
    assert_eq!(exabgps["extended_communities"][0], "rate-bytes:0:9600");
    assert_eq!(exabgps["reason"], "the route to its destination is another peer's");
    until_rules_of_ipv6(&job).unwrap();
    // Both have heard the end of what we have of these families, and no rule of the other.
    job.until("ExaBGP to have heard everything", || exabgp.heard(&["(ipv4 flow)"])).unwrap();
    let heard = exabgp.process.printed();
    assert!(!heard.contains("destination-port"), "{heard}");
    let table = gobgp.ask(&job.lab, &["global", "rib", "-a", "ipv4-flowspec"]).unwrap();
    assert!(!table.contains("203.0.113.0/24"), "{table}");
    gobgp
        .ask(&job.lab, &[&["global", "rib", "-a", "ipv4-flowspec", "del"][..], &RULE].concat())
        .unwrap();
    job.until("the rule to go", || {
        let rules = rules(&job, "ipv4-flowspec")?;
        ensure!(rules.len() == 1, "{rules:?}");
        Ok(())
    })
    .unwrap();
    let shown = job.tidegate(&["routes", "--family", "ipv4-flowspec"]).unwrap();
    assert!(shown.contains("rate-bytes:0:9600"), "{shown}");
}

#[test]
fn ipv4_routes_of_frr_come_with_an_ipv6_next_hop() {
    let mut job = Interop::new().unwrap();
    let ([frr_ip, frr_v6], [_, edge_v6]) = (PEER, EDGE);
    let config = format!(
        "router bgp {PEER_AS}\n bgp router-id {frr_ip}\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n neighbor {edge_v6} remote-as {EDGE_AS}\n \
         neighbor {edge_v6} timers connect 1\n neighbor {edge_v6} capability extended-nexthop\n \
         address-family ipv4 unicast\n  network {PREFIX}\n  neighbor {edge_v6} activate\n \
         exit-address-family\n"
    );
    let frr = Frr::start(&job.lab, "peer", frr_v6, &config).unwrap();
    let peers = [peer("frr", frr_v6, PEER_AS, "extended-next-hop = true"), ALL.to_owned()];
    job.configure(&peers.concat()).unwrap();
    let route = job.until("FRR's route", || {
        let routes = routes(&job, &["available"])?;
        ensure!(routes.len() == 1 && routes[0]["state"] == "best", "{routes:?}");
        Ok(routes[0].clone())
    });
    assert_eq!(route.unwrap()["next_hop"], frr_v6);
    let neighbor = frr.neighbor(&job.lab, edge_v6).unwrap();
    let agreed = neighbor.pointer("/neighborCapabilities/extendedNexthop").unwrap();
    assert_eq!(agreed, "advertisedAndReceived", "{neighbor}");
}
