//! BFD with BIRD and FRR, over one hop and several: sessions come up at the agreed pace, a way that
//! is cut without a word closes the BGP session long before its hold time, and a restart that is
//! meant does not.

use anyhow::{Context as _, ensure};
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::frr::Frr;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, VIPS};

fn peer(more: &str) -> String {
    let address = PEER[0];
    format!(
        "[[peer]]\nname = \"other\"\naddress = \"{address}\"\nasn = {PEER_AS}\n\
         connect-retry = \"1s\"\n{more}\n"
    )
}

fn bird(bfd: &str) -> String {
    let ([peer, _], [edge, _]) = (PEER, EDGE);
    format!(
        "log stderr all;\nrouter id {peer};\nprotocol device {{}}\nprotocol bfd {{ {bfd} }}\n\
         protocol bgp edge {{\n local {peer} as {PEER_AS};\n neighbor {edge} as {EDGE_AS};\n \
         connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n bfd on;\n \
         ipv4 {{ import all; export none; }};\n ipv6 {{ import all; export none; }};\n}}\n"
    )
}

#[test]
fn bird_and_we_agree_and_a_way_that_is_cut_is_known_at_once() {
    let mut job = Interop::new().unwrap();
    let config = bird("interface \"eth0\" { interval 100 ms; multiplier 4; };");
    let other = Bird::start(&job.lab, "peer", &config).unwrap();
    job.configure(&peer("bfd = { interval = \"50ms\" }")).unwrap();
    job.wait_until_established().unwrap();
    let shown = job.until("BFD to be up in BIRD", || {
        let shown = other.ask(&job.lab, "show bfd sessions")?;
        // The slower one's interval, and three of them.
        ensure!(shown.contains("Up") && shown.contains("0.100"), "{shown}");
        ensure!(shown.contains("0.300"), "{shown}");
        Ok(shown)
    });
    assert!(shown.unwrap().contains(EDGE[0]));
    job.until("BFD to be up here", || {
        let peer = job.peer()?;
        ensure!(peer["bfd"] == "Up" && peer["bfd_detect_us"] == 400_000, "{peer}");
        Ok(())
    })
    .unwrap();
    job.until("BIRD's route", || other.route(&job.lab, VIPS[0])).unwrap();

    // What BIRD sends goes astray from now on; its hold time is four minutes, ours a minute and a
    // half.
    let neighbor = |what: &str| {
        let command = format!("ip neighbor {what} dev eth0");
        job.lab.run("peer", &command.split(' ').collect::<Vec<_>>()).unwrap();
    };
    let [edge, _] = EDGE;
    neighbor(&format!("replace {edge} lladdr 02:00:00:00:00:99 nud permanent"));
    job.until("us to notice", || {
        let peer = job.peer()?;
        let why = peer["last_down"].as_str().unwrap_or_default();
        ensure!(why.contains("BFD Down (6/10)"), "{peer}");
        ensure!(peer["bfd"] == "Down", "{peer}");
        Ok(())
    })
    .unwrap();
    // It hears from us that we do not hear it, and forgets the route.
    job.until("BIRD to forget", || other.no_route(&job.lab, VIPS[0])).unwrap();
    neighbor(&format!("del {edge}"));
    job.wait_until_established().unwrap();
    job.until("BIRD's route", || other.route(&job.lab, VIPS[0])).unwrap();
}

#[test]
fn a_peer_that_does_without_bfd_loses_nothing() {
    let mut job = Interop::new().unwrap();
    let other = Bird::start(&job.lab, "peer", &bird("").replace(" bfd on;\n", "")).unwrap();
    job.configure(&peer("bfd = {}")).unwrap();
    job.wait_until_established().unwrap();
    job.until("BIRD's route", || other.route(&job.lab, VIPS[0])).unwrap();
    let peer = job.peer().unwrap();
    assert_eq!((&peer["bfd"], &peer["flaps"]), (&"Down".into(), &0.into()), "{peer}");
}

/// Addresses of both that are on no link: each reaches the other's by the link's addresses.
const FAR: [(&str, &str, &str); 2] =
    [("edge", "198.51.100.2", PEER[0]), ("peer", "198.51.100.1", EDGE[0])];

#[test]
fn a_peer_on_no_link_of_ours_is_watched_over_several_hops() {
    let mut job = Interop::new().unwrap();
    let [(_, edge, _), (_, peer, _)] = FAR;
    for ((host, own, by), other) in FAR.into_iter().zip([peer, edge]) {
        let script = format!("ip address add {own}/32 dev lo; ip route add {other}/32 via {by}");
        job.lab.run(host, &["sh", "-ec", &script]).unwrap();
    }
    let config = bird("multihop { interval 100 ms; multiplier 3; };");
    let config = config.replace(PEER[0], peer).replace(EDGE[0], edge);
    let other = Bird::start(&job.lab, "peer", &config.replace(" bfd on", " multihop;\n bfd on"));
    let other = other.unwrap();
    let more = format!("local-address = \"{edge}\"\nmultihop = 4\nbfd = {{ interval = \"50ms\" }}");
    let at = self::peer(&more).replace(PEER[0], peer);
    job.configure(&at).unwrap();
    job.wait_until_established().unwrap();
    job.until("BFD to be up in BIRD", || {
        let shown = other.ask(&job.lab, "show bfd sessions")?;
        ensure!(shown.contains("Up") && shown.contains("0.300"), "{shown}");
        Ok(())
    })
    .unwrap();
    job.until("BFD to be up here", || {
        let peer = job.peer()?;
        ensure!(peer["bfd"] == "Up", "{peer}");
        Ok(())
    })
    .unwrap();
    let listens = job.lab.run("edge", &["ss", "-Huln", "sport = :4784 or sport = :3784"]).unwrap();
    assert!(listens.contains(":4784") && !listens.contains(":3784"), "{listens}");
    job.until("BIRD's route", || other.route(&job.lab, VIPS[0])).unwrap();

    job.lab.run("peer", &["ip", "route", "replace", "blackhole", &format!("{edge}/32")]).unwrap();
    job.until("us to notice", || {
        let peer = job.peer()?;
        let why = peer["last_down"].as_str().unwrap_or_default();
        ensure!(why.contains("BFD Down (6/10)"), "{peer}");
        Ok(())
    })
    .unwrap();
    job.until("BIRD to forget", || other.no_route(&job.lab, VIPS[0])).unwrap();
}

#[test]
fn frr_and_we_watch_each_other() {
    let mut job = Interop::new().unwrap();
    let ([peer, _], [edge, _]) = (PEER, EDGE);
    let config = format!(
        "router bgp {PEER_AS}\n bgp router-id {peer}\n no bgp ebgp-requires-policy\n \
         neighbor {edge} remote-as {EDGE_AS}\n neighbor {edge} timers connect 1\n \
         neighbor {edge} bfd 3 100 100\n"
    );
    let other = Frr::start_with_bfdd(&job.lab, "peer", &config).unwrap();
    job.configure(&self::peer("bfd = { interval = \"50ms\" }")).unwrap();
    job.wait_until_established().unwrap();
    let session = || -> anyhow::Result<serde_json::Value> {
        let shown = other.ask(&job.lab, &format!("show bfd peer {edge} json"))?;
        Ok(shown)
    };
    job.until("BFD to be up in FRR", || {
        let shown = session()?;
        ensure!(shown["status"] == "up", "{shown}");
        Ok(())
    })
    .unwrap();
    job.until("BFD to be up here", || {
        let peer = job.peer()?;
        // Three of the slower one's interval.
        ensure!(peer["bfd"] == "Up" && peer["bfd_detect_us"] == 300_000, "{peer}");
        Ok(())
    })
    .unwrap();
    job.until("FRR's route", || other.path(&job.lab, VIPS[0])).unwrap();

    // Stopped: what FRR notices first is that it hears nothing of us any more.
    let daemon = job.edge.as_ref().unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGSTOP).unwrap();
    job.until("FRR to notice", || {
        let neighbor = other.neighbor(&job.lab, edge)?;
        // What it tells us is Cease with "BFD Down" (RFC 9384), in a Hard Reset.
        let told =
            neighbor["lastErrorCodeSubcode"].as_str().with_context(|| neighbor.to_string())?;
        ensure!(neighbor["bgpState"] != "Established" && told.starts_with("06"), "{neighbor}");
        Ok(())
    })
    .unwrap();
    job.until("FRR to forget", || {
        ensure!(other.path(&job.lab, VIPS[0]).is_err(), "it still has the route");
        Ok(())
    })
    .unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGCONT).unwrap();
    job.wait_until_established().unwrap();
    job.until("FRR's route", || other.path(&job.lab, VIPS[0])).unwrap();
}

#[test]
fn a_planned_restart_is_no_failure_of_the_way() {
    let mut job = Interop::new().unwrap();
    let config = bird("interface \"eth0\" { interval 50 ms; multiplier 3; };");
    // A BIRD that is not told `graceful` takes every end of BFD for a failure, also of a session
    // that has ended gracefully before, where RFC 5882 §4.3.2 has it wait.
    let graceful = " debug { routes };\n graceful restart on;\n bfd graceful";
    let other = Bird::start(&job.lab, "peer", &config.replace(" bfd on", graceful)).unwrap();
    let peers = peer("bfd = { interval = \"50ms\" }");
    job.configure(&peers).unwrap();
    let watched = |job: &Interop| {
        job.until("BFD to be up", || {
            let shown = other.ask(&job.lab, "show bfd sessions")?;
            let peer = job.peer()?;
            ensure!(shown.contains("Up") && peer["bfd"] == "Up", "{shown}{peer}");
            ensure!(peer["state"] == "Established", "{peer}");
            Ok(())
        })
        .unwrap();
    };
    watched(&job);
    for vip in VIPS {
        job.until("the route to reach BIRD", || other.route(&job.lab, vip)).unwrap();
    }
    job.restart(&peers).unwrap();
    job.until("BIRD to have heard the end of all routes from who says that it is back", || {
        let shown = other.ask(&job.lab, "show protocols all edge")?;
        ensure!(shown.contains("Restart recovery") && !shown.contains("active"), "{shown}");
        Ok(())
    })
    .unwrap();
    watched(&job);
    let log = other.process.printed();
    assert!(log.contains("> added") && !log.contains("> removed"), "{log}");
}
