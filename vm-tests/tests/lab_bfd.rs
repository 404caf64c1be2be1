//! BFD with BIRD: sessions come up at the agreed pace, and a way that is cut without a word closes
//! the BGP session long before its hold time.

use anyhow::ensure;
use tidegate_vm_tests::lab::bird::Bird;
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
