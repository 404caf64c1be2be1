//! tidegate and the BGP daemons that it meets: FRR, BIRD, GoBGP and ExaBGP, as Debian has them.
//! What is asserted is what the other side says.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::exabgp::Exabgp;
use tidegate_vm_tests::lab::frr::Frr;
use tidegate_vm_tests::lab::gobgp::Gobgp;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, VIPS};

/// The peer's table at tidegate, with more keys.
fn peer(more: &str) -> String {
    let (address, asn) = (PEER[0], PEER_AS);
    format!(
        "[[peer]]\nname = \"other\"\naddress = \"{address}\"\nasn = {asn}\n\
         connect-retry = \"1s\"\n{more}\n"
    )
}

/// FRR's configuration, with more lines about the session.
fn frr(more: &str) -> String {
    let (peer, edge) = (PEER[0], EDGE[0]);
    format!(
        "router bgp {PEER_AS}\n bgp router-id {peer}\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n neighbor {edge} remote-as {EDGE_AS}\n \
         neighbor {edge} timers connect 1\n{more}\n \
         address-family ipv4 unicast\n  network 198.18.0.0/24\n  network 198.18.1.0/24\n \
         exit-address-family\n address-family ipv6 unicast\n  neighbor {edge} activate\n \
         exit-address-family\n"
    )
}

/// BIRD's configuration, with more lines about the session.
fn bird(more: &str) -> String {
    let ([peer, _], [edge, _]) = (PEER, EDGE);
    format!(
        "log stderr all;\nrouter id {peer};\nprotocol device {{}}\n\
         protocol static {{ ipv4; route 198.18.0.0/24 blackhole; route 198.18.1.0/24 blackhole; }}\n\
         protocol bgp edge {{\n local {peer} as {PEER_AS};\n neighbor {edge} as {EDGE_AS};\n \
         connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n{more}\n \
         ipv4 {{ import all; export all; }};\n ipv6 {{ import all; export all; }};\n}}\n"
    )
}

fn is(value: &Value, pointer: &str, wanted: &str) -> anyhow::Result<()> {
    let found = value.pointer(pointer).with_context(|| format!("no {pointer} in {value}"))?;
    let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
    ensure!(found == wanted, "{pointer} is {found}, not {wanted}");
    Ok(())
}

#[test]
fn frr_with_a_password_a_ttl_guard_roles_both_families_and_communities() {
    let mut job = Interop::new().unwrap();
    let password = job.lab.write("password", "secret\n").unwrap();
    let [edge, _] = EDGE;
    let config = frr(&format!(
        " neighbor {edge} password secret\n neighbor {edge} ttl-security hops 1\n \
         neighbor {edge} local-role provider strict-mode"
    ));
    let other = Frr::start(&job.lab, "peer", PEER[0], &config).unwrap();
    let keys = "ttl-security = 1\nrole = \"customer\"\nrole-required = true";
    job.configure(&peer(&format!("{keys}\npassword-file = \"{}\"", password.display()))).unwrap();

    let lab = &job.lab;
    let neighbor = job.until("FRR's session", || {
        let neighbor = other.neighbor(lab, edge)?;
        is(&neighbor, "/bgpState", "Established")?;
        Ok(neighbor)
    });
    let neighbor = neighbor.unwrap();
    for (pointer, wanted) in [
        ("/authenticationEnabled", "1"),
        ("/externalBgpNbrMaxHopsAway", "1"),
        ("/localRole", "provider"),
        ("/remoteRole", "customer"),
        ("/neighborCapabilities/role", "advertisedAndReceived"),
        ("/neighborCapabilities/4byteAs", "advertisedAndReceived"),
        ("/neighborCapabilities/extendedMessage", "advertisedAndReceived"),
        ("/neighborCapabilities/routeRefresh", "advertisedAndReceivedNew"),
        ("/neighborCapabilities/enhancedRouteRefresh", "advertisedAndReceived"),
        ("/gracefulRestartInfo/timers/receivedRestartTimer", "120"),
        ("/neighborCapabilities/multiprotocolExtensions/ipv4Unicast/advertisedAndReceived", "true"),
        ("/neighborCapabilities/multiprotocolExtensions/ipv6Unicast/advertisedAndReceived", "true"),
    ] {
        is(&neighbor, pointer, wanted).unwrap();
    }
    for (vip, next_hop) in VIPS.into_iter().zip(EDGE) {
        let path = job.until("FRR's path", || other.path(lab, vip)).unwrap();
        is(&path, "/aspath/string", &EDGE_AS.to_string()).unwrap();
        is(&path, "/metric", "50").unwrap();
        is(&path, "/community/string", &format!("{EDGE_AS}:7")).unwrap();
        is(&path, "/largeCommunity/string", &format!("{EDGE_AS}:1:2")).unwrap();
        is(&path, "/nexthops/0/ip", next_hop).unwrap();
    }
    job.until("its prefixes here", || is(&job.peer()?, "/prefixes_received", "4")).unwrap();
    // A soft clear asks us for everything once more, and everything comes.
    let updates = |neighbor: &Value| {
        neighbor.pointer("/messageStats/updatesRecv").and_then(Value::as_u64).unwrap_or_default()
    };
    let before = updates(&other.neighbor(lab, edge).unwrap());
    other.ask(lab, &format!("clear bgp {edge} soft in")).unwrap_err(); // It answers nothing.
    job.until("its refresh, and our answer", || {
        let neighbor = other.neighbor(lab, edge)?;
        let asked = neighbor.pointer("/messageStats/routeRefreshSent").and_then(Value::as_u64);
        ensure!(asked >= Some(1) && updates(&neighbor) >= before + 2, "{before}: {neighbor}");
        is(&neighbor, "/bgpState", "Established")
    })
    .unwrap();
}

#[test]
fn a_session_with_frr_never_comes_up_between_roles_that_do_not_fit() {
    let mut job = Interop::new().unwrap();
    let [edge, _] = EDGE;
    let config = frr(&format!(" neighbor {edge} local-role provider"));
    let other = Frr::start(&job.lab, "peer", PEER[0], &config).unwrap();
    job.configure(&peer("role = \"peer\"")).unwrap();
    job.until("the refusal", || {
        let peer = job.peer()?;
        let last_down = peer["last_down"].as_str().unwrap_or_default();
        ensure!(last_down.contains("Role Mismatch (2/11)"), "{peer}");
        let neighbor = other.neighbor(&job.lab, edge)?;
        ensure!(neighbor["messageStats"]["opensSent"].as_u64() >= Some(2), "{neighbor}");
        is(&neighbor, "/connectionsEstablished", "0")
    })
    .unwrap();
}

#[test]
fn frr_keeps_our_routes_while_the_daemon_is_killed_and_started_again() {
    let mut job = Interop::new().unwrap();
    let [edge, _] = EDGE;
    let other = Frr::start(&job.lab, "peer", PEER[0], &frr("")).unwrap();
    job.configure(&peer("")).unwrap();
    job.wait_until_established().unwrap();
    for vip in VIPS {
        job.until("FRR's path", || other.path(&job.lab, vip)).unwrap();
    }
    job.crash().unwrap();
    for vip in VIPS {
        job.until("FRR to call it stale", || {
            let path = other.path(&job.lab, vip)?;
            is(&path, "/stale", "true")
        })
        .unwrap();
    }
    job.configure(&peer("")).unwrap();
    job.wait_until_established().unwrap();
    for vip in VIPS {
        job.until("FRR to call it fresh", || {
            let path = other.path(&job.lab, vip)?;
            ensure!(path.get("stale").is_none(), "{path}");
            Ok(())
        })
        .unwrap();
    }
    let neighbor = other.neighbor(&job.lab, edge).unwrap();
    is(&neighbor, "/gracefulRestartInfo/rBit", "true").unwrap();
    is(&neighbor, "/gracefulRestartInfo/timers/receivedRestartTimer", "120").unwrap();
    for family in ["ipv4Unicast", "ipv6Unicast"] {
        let pointer = format!("/gracefulRestartInfo/endOfRibRecv/{family}");
        let ended = || is(&other.neighbor(&job.lab, edge)?, &pointer, "true");
        job.until("FRR to have heard the end of our routes", ended).unwrap();
    }
}

#[test]
fn frr_at_the_other_end_of_an_interface_is_found_and_takes_ipv4_by_way_of_ipv6() {
    let mut job = Interop::new().unwrap();
    let config = format!(
        "router bgp {PEER_AS}\n bgp router-id {}\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n neighbor eth0 interface remote-as external\n \
         neighbor eth0 timers connect 1\n address-family ipv4 unicast\n  \
         network 198.18.0.0/24\n exit-address-family\n address-family ipv6 unicast\n  \
         neighbor eth0 activate\n exit-address-family\n",
        PEER[0]
    );
    let other = Frr::start_with_zebra(&job.lab, "peer", &config).unwrap();
    job.configure(&format!(
        "[[peer]]\nname = \"other\"\ninterface = \"eth0\"\nasn = {PEER_AS}\n\
         connect-retry = \"1s\"\n"
    ))
    .unwrap();
    let seen = job.wait_until_established().unwrap();
    let remote = seen["remote"].as_str().unwrap();
    assert!(remote.starts_with("[fe80::"), "{remote}");
    let neighbor = job.until("FRR's session", || {
        let neighbor = other.neighbor(&job.lab, "eth0")?;
        is(&neighbor, "/bgpState", "Established")?;
        Ok(neighbor)
    });
    let neighbor = neighbor.unwrap();
    is(&neighbor, "/neighborCapabilities/extendedNexthop", "advertisedAndReceived").unwrap();
    for vip in VIPS {
        let path = job.until("FRR's path", || {
            let path = other.path(&job.lab, vip)?;
            is(&path, "/valid", "true")?;
            Ok(path)
        });
        let path = path.unwrap();
        is(&path, "/nexthops/0/afi", "ipv6").unwrap();
        let next_hop = path["nexthops"][0]["ip"].as_str().unwrap();
        assert!(next_hop.starts_with("fe80:"), "{path}");
    }
    // Its own, and our VIPs once more.
    job.until("its prefixes here", || is(&job.peer()?, "/prefixes_received", "3")).unwrap();
}

#[test]
fn bird_keeps_our_routes_while_the_daemon_is_killed_and_started_again() {
    let mut job = Interop::new().unwrap();
    let other = Bird::start(&job.lab, "peer", &bird("")).unwrap();
    job.configure(&peer("")).unwrap();
    job.wait_until_established().unwrap();
    for vip in VIPS {
        job.until("BIRD's route", || other.route(&job.lab, vip)).unwrap();
    }
    job.crash().unwrap();
    job.until("BIRD to wait for us", || {
        let shown = other.ask(&job.lab, "show protocols all edge")?;
        ensure!(shown.contains("Neighbor graceful restart active"), "{shown}");
        Ok(())
    })
    .unwrap();
    for vip in VIPS {
        other.route(&job.lab, vip).unwrap();
    }
    job.configure(&peer("")).unwrap();
    job.wait_until_established().unwrap();
    job.until("BIRD to be done with the restart", || {
        let shown = other.ask(&job.lab, "show protocols all edge")?;
        ensure!(!shown.contains("restart active") && shown.contains("Established"), "{shown}");
        Ok(())
    })
    .unwrap();
    for vip in VIPS {
        other.route(&job.lab, vip).unwrap();
    }
    // The word of an operator is no crash: everything goes at once.
    job.configure(&peer("shutdown = \"moving to rack 4\"")).unwrap();
    job.until("BIRD to hear why", || {
        let shown = other.ask(&job.lab, "show protocols all edge")?;
        ensure!(shown.contains("Administrative shutdown"), "{shown}");
        let log = other.process.printed();
        ensure!(log.contains("moving to rack 4"), "{log}");
        Ok(())
    })
    .unwrap();
    for vip in VIPS {
        job.until("the route to go", || other.no_route(&job.lab, vip)).unwrap();
    }
    // Let up again, but with room for one prefix where two come.
    job.configure(&peer("max-prefixes = { ipv4 = 1 }")).unwrap();
    job.until("BIRD to hear that it is too much", || {
        let shown = other.ask(&job.lab, "show protocols all edge")?;
        ensure!(shown.to_lowercase().contains("maximum number of prefixes"), "{shown}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn bird_out_of_a_range_shares_its_password_and_sees_the_as_that_is_meant_for_it() {
    let mut job = Interop::new().unwrap();
    let password = job.lab.write("password", "shared").unwrap();
    let range = peer(&format!(
        "local-asn = 64999\ninterface = \"eth0\"\npassword-file = \"{}\"",
        password.display()
    ));
    let range = range.replace(PEER[0], "203.0.113.0/24").replace("other", "fabric");
    job.configure(&range).unwrap();
    let config = bird(" password \"shared\";").replace(&EDGE_AS.to_string(), "64999");
    let other = Bird::start(&job.lab, "peer", &config).unwrap();
    let seen = job.wait_until_established().unwrap();
    is(&seen, "/name", &format!("fabric/{}", PEER[0])).unwrap();
    let route = job.until("BIRD's route", || other.route(&job.lab, VIPS[0])).unwrap();
    assert!(route.contains("BGP.as_path: 64999\n"), "{route}");
}

#[test]
fn gobgp_reads_both_families_and_says_what_it_made_of_them() {
    let mut job = Interop::new().unwrap();
    let (peer_ip, edge) = (PEER[0], EDGE[0]);
    let family = |name| {
        format!(
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n\
             [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
        )
    };
    let config = format!(
        "[global.config]\nas = {PEER_AS}\nrouter-id = \"{peer_ip}\"\n\
         local-address-list = [\"{peer_ip}\"]\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"{edge}\"\npeer-as = {EDGE_AS}\nauth-password = \"gobgp\"\n\
         [neighbors.transport.config]\nlocal-address = \"{peer_ip}\"\n\
         [neighbors.timers.config]\nconnect-retry = 5\nhold-time = 30\n\
         [neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60\n{}{}",
        family("ipv4-unicast"),
        family("ipv6-unicast"),
    );
    let password = job.lab.write("password", "gobgp").unwrap();
    let other = Gobgp::start(&job.lab, "peer", &config).unwrap();
    job.configure(&peer(&format!("password-file = \"{}\"", password.display()))).unwrap();
    job.wait_until_established().unwrap();
    let shown = job.until("GoBGP's session", || {
        let shown = other.ask(&job.lab, &["neighbor", edge])?;
        ensure!(shown.contains("BGP state = ESTABLISHED"), "{shown}");
        Ok(shown)
    });
    let shown = shown.unwrap();
    for line in [
        "ipv4-unicast:\tadvertised and received",
        "ipv6-unicast:\tadvertised and received",
        "graceful-restart:\tadvertised and received",
        "4-octet-as:\tadvertised and received",
        "Hold time is 30,",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    for vip in VIPS {
        let attributes = job.until("GoBGP's path", || other.attributes(&job.lab, vip)).unwrap();
        let value = |code: u64| {
            let found = attributes.iter().find(|attribute| attribute["type"] == code);
            found.map_or(Value::Null, Value::clone)
        };
        assert_eq!(value(2)["as_paths"][0]["asns"][0], EDGE_AS, "{attributes:?}");
        assert_eq!(value(4)["metric"], 50, "{attributes:?}");
        assert_eq!(value(8)["communities"][0], EDGE_AS << 16 | 7, "{attributes:?}");
        assert_eq!(value(32)["value"][0]["LocalData2"], 2, "{attributes:?}");
    }
}

#[test]
fn exabgp_hears_every_route_and_the_end_of_them() {
    let mut job = Interop::new().unwrap();
    let ([peer_ip, _], [edge, edge_v6]) = (PEER, EDGE);
    let config = format!(
        "neighbor {edge} {{\n router-id {peer_ip};\n local-address {peer_ip};\n \
         local-as {PEER_AS};\n peer-as {EDGE_AS};\n hold-time 30;\n \
         family {{ ipv4 unicast; ipv6 unicast; }}\n \
         static {{ route 198.18.1.0/24 next-hop {peer_ip}; }}\n}}\n"
    );
    job.configure(&peer("")).unwrap();
    let mut other = Exabgp::start(&job.lab, "peer", &config).unwrap();
    job.wait_until_established().unwrap();
    let routes = VIPS.into_iter().zip([edge, edge_v6]);
    let mut wanted: Vec<String> =
        routes.map(|(vip, next_hop)| format!("{vip} next-hop {next_hop}")).collect();
    wanted.extend(["(ipv4 unicast)", "(ipv6 unicast)"].map(str::to_owned));
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    job.until("ExaBGP's log", || other.heard(&wanted)).unwrap();
    job.until("its prefix here", || is(&job.peer()?, "/prefixes_received", "1")).unwrap();

    // What has passed between the two can be read here too.
    let shown = job.tidegate(&["peers", "other"]).unwrap();
    for words in ["OpenConfirm  Established  KeepAliveMsg", "in   OPEN", "out  UPDATE"] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    let unknown = job.tidegate(&["peers", "nobody"]).unwrap_err().to_string();
    assert!(unknown.contains("there is no peer nobody"), "{unknown}");
}

#[test]
fn bird_has_a_session_for_each_family_and_its_operators_words_reach_ours() {
    let mut job = Interop::new().unwrap();
    let session = |name: &str, at: usize, family: &str| {
        format!(
            "protocol bgp {name} {{\n local {} as {PEER_AS};\n neighbor {} as {EDGE_AS};\n \
             connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n \
             {family} {{ import all; export none; }};\n}}\n",
            PEER[at], EDGE[at]
        )
    };
    let config = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{}}\n{}{}",
        PEER[0],
        session("edge4", 0, "ipv4"),
        session("edge6", 1, "ipv6")
    );
    let other = Bird::start(&job.lab, "peer", &config).unwrap();
    let second = peer("families = [\"ipv6-unicast\"]").replace(PEER[0], PEER[1]);
    let second = second.replace("\"other\"", "\"other-v6\"");
    job.configure(&(peer("families = [\"ipv4-unicast\"]") + &second)).unwrap();
    for (name, vip, strange) in [("edge4", VIPS[0], "ipv6"), ("edge6", VIPS[1], "ipv4")] {
        job.until("BIRD's session", || other.established(&job.lab, name)).unwrap();
        let route = job.until("BIRD's route", || other.route(&job.lab, vip)).unwrap();
        assert!(route.contains(name), "{route}");
        let shown = other.ask(&job.lab, &format!("show protocols all {name}")).unwrap();
        let offered = shown.split("Neighbor capabilities").nth(1).unwrap();
        let families = offered.lines().find(|line| line.contains("AF announced")).unwrap();
        assert!(!families.contains(strange), "{shown}");
    }
    other.ask(&job.lab, "disable edge6 \"maintenance until six\"").unwrap();
    job.until("BIRD's words", || {
        let peers = job.peers()?;
        let last_down = peers["peers"][1]["last_down"].as_str().unwrap_or_default();
        ensure!(last_down.contains("maintenance until six"), "{peers}");
        is(&peers, "/peers/0/state", "Established")
    })
    .unwrap();
}
