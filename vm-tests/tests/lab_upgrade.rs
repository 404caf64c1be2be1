//! `tidegate upgrade` hands sessions over: peers see neither an OPEN nor an UPDATE, BFD does not
//! notice, and a binary that does not take over changes nothing. What clients see is in `lab_pair`.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::ensure;
use serde_json::Value;
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::frr::Frr;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, VIPS};

/// So many routes has the peer.
const ROUTES: u32 = 20_000;

fn peer(more: &str) -> String {
    format!(
        "[[peer]]\nname = \"other\"\naddress = \"{}\"\nasn = {PEER_AS}\nimport = [\"all\"]\n\
         connect-retry = \"1s\"\n{more}\n[[policy]]\nname = \"all\"\ndefault = \"accept\"\n",
        PEER[0]
    )
}

/// BIRD, which says what it hears.
fn bird() -> String {
    let ([peer, _], [edge, _]) = (PEER, EDGE);
    let route = |n: u32| {
        let [_, _, a, b] = n.to_be_bytes();
        format!("route 10.{a}.{b}.0/24 blackhole;\n")
    };
    let routes: String = (0..ROUTES).map(route).collect();
    format!(
        "log stderr all;\nrouter id {peer};\nprotocol device {{}}\n\
         protocol static {{ ipv4;\n{routes}}}\n\
         protocol static one {{ ipv4; route 198.18.0.0/24 blackhole; }}\n\
         protocol bgp edge {{\n debug {{ states, packets }};\n local {peer} as {PEER_AS};\n \
         neighbor {edge} as {EDGE_AS};\n hold time 30;\n connect delay time 1;\n \
         error wait time 1, 2;\n ipv4 {{ import all; export all; }};\n \
         ipv6 {{ import all; export none; }};\n}}\n"
    )
}

/// A binary that does this.
fn script(job: &Interop, name: &str, lines: &str) -> String {
    let path = job.lab.write(name, &format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn bird_hears_nothing_of_an_upgrade_nor_of_one_that_fails() {
    let mut job = Interop::new().unwrap();
    let other = Bird::start(&job.lab, "peer", &bird()).unwrap();
    let config = peer("");
    job.configure(&config).unwrap();
    let all = |peer: Value| -> anyhow::Result<Value> {
        ensure!(peer["prefixes_received"] == ROUTES + 1, "{peer}");
        Ok(peer)
    };
    let before = job.until("all routes", || all(job.peer()?)).unwrap();
    for vip in VIPS {
        job.until("BIRD's route", || other.route(&job.lab, vip)).unwrap();
    }
    let [opens, updates, _] = other.heard();
    assert!(opens == 1 && updates > 0, "{opens} {updates}");

    let refuse = |job: &Interop, binary: &str, why: &str| {
        let said = job.tidegate(&["upgrade", "--binary", binary, "--within", "2s"]);
        let said = said.unwrap_err().to_string();
        assert!(said.contains(why) && said.contains("runs on as before"), "{said}");
    };
    refuse(&job, "/nonexistent/tidegate", "cannot start /nonexistent/tidegate");
    refuse(&job, &script(&job, "fails", "exit 7"), "it has hung up; if it said why");
    refuse(&job, &script(&job, "hangs", "exec sleep 60"), "it said nothing for 2s");
    // These take over, in format 3, until the sessions stand still, and go then: with nothing, and
    // with a part.
    for (name, dies) in [("early", "exit 7"), ("late", "head -c 1 <&0; exit 7")] {
        let lines = format!("printf '\\000\\003\\0039.9' >&0; {dies}");
        refuse(&job, &script(&job, name, &lines), "it has hung up");
    }
    let other_format = script(&job, "other", "printf '\\000c\\0039.9' >&0; exec sleep 60");
    refuse(&job, &other_format, "version 9.9 takes over in format 99");
    // A file that has changed is a change of its own.
    let file = job.lab.dir().join("tidegate.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n# seen by nobody\n")).unwrap();
    refuse(&job, "/bin/true", "apply it first");
    fs::write(&file, text).unwrap();
    // After all that, and a KEEPALIVE of each side: the same session.
    let [.., alive] = other.heard();
    job.until("a KEEPALIVE", || {
        ensure!(other.heard()[2] > alive, "{:?}", other.heard());
        Ok(())
    })
    .unwrap();
    assert_eq!(other.heard()[..2], [opens, updates], "{}", job.lab.log_tails());

    for turn in 0..2 {
        let upgraded = job.upgrade(&[]).unwrap();
        assert_eq!(upgraded["sessions"], 1, "{upgraded}");
        let after = job.peer().unwrap();
        for field in ["state", "prefixes_received", "prefixes_advertised", "flaps", "router_id"] {
            assert_eq!(after[field], before[field], "turn {turn}, {field}: {after}");
        }
        let [.., alive] = other.heard();
        job.until("a KEEPALIVE of the new process", || {
            ensure!(other.heard()[2] > alive, "{:?}", other.heard());
            Ok(())
        })
        .unwrap();
        assert_eq!(other.heard()[..2], [opens, updates], "{}", job.lab.log_tails());
    }

    // It goes on in both directions: a route that BIRD takes back, and a VIP that is drained.
    other.ask(&job.lab, "disable one").unwrap();
    job.until("a route less", || {
        let peer = job.peer()?;
        ensure!(peer["prefixes_received"] == ROUTES, "{peer}");
        Ok(())
    })
    .unwrap();
    job.tidegate(&["drain", "vip", VIPS[0], "--deadline", "1s", "--quiet", "1s"]).unwrap();
    job.until("BIRD to forget", || other.no_route(&job.lab, VIPS[0])).unwrap();
    assert_eq!(other.heard()[0], opens);
}

#[test]
fn frr_with_a_password_and_bfd_hears_nothing_of_an_upgrade() {
    let mut job = Interop::new().unwrap();
    let password = job.lab.write("password", "secret\n").unwrap();
    let ([address, _], [edge, _]) = (PEER, EDGE);
    let config = format!(
        "router bgp {PEER_AS}\n bgp router-id {address}\n no bgp ebgp-requires-policy\n \
         neighbor {edge} remote-as {EDGE_AS}\n neighbor {edge} timers connect 1\n \
         neighbor {edge} password secret\n neighbor {edge} bfd 3 300 300\n"
    );
    let other = Frr::start_with_bfdd(&job.lab, "peer", &config).unwrap();
    let more =
        format!("password-file = \"{}\"\nbfd = {{ interval = \"300ms\" }}", password.display());
    job.configure(&peer(&more)).unwrap();
    job.wait_until_established().unwrap();
    let bfd = |job: &Interop| other.ask(&job.lab, &format!("show bfd peer {edge} json"));
    job.until("BFD to be up", || {
        let (shown, peer) = (bfd(&job)?, job.peer()?);
        ensure!(shown["status"] == "up" && peer["bfd"] == "Up", "{shown}{peer}");
        Ok(())
    })
    .unwrap();
    job.until("FRR's route", || other.path(&job.lab, VIPS[0])).unwrap();
    let facts = |neighbor: &Value| {
        [
            "/connectionsEstablished",
            "/connectionsDropped",
            "/messageStats/opensRecv",
            "/messageStats/updatesRecv",
            "/messageStats/notificationsRecv",
        ]
        .map(|fact| neighbor.pointer(fact).cloned().unwrap())
    };
    let of_bfd = |bfd: &Value| ["id", "remote-id", "uptime"].map(|fact| bfd[fact].clone());
    let before = facts(&other.neighbor(&job.lab, edge).unwrap());
    let [id, remote_id, _] = of_bfd(&bfd(&job).unwrap());

    let upgraded = job.upgrade(&[]).unwrap();
    assert_eq!(upgraded["sessions"], 1, "{upgraded}");
    job.until("a message of the new process", || {
        let neighbor = other.neighbor(&job.lab, edge)?;
        ensure!(neighbor["bgpState"] == "Established", "{neighbor}");
        let peer = job.peer()?;
        ensure!(peer["bfd"] == "Up" && peer["state"] == "Established", "{peer}");
        Ok(())
    })
    .unwrap();
    let shown = bfd(&job).unwrap();
    assert_eq!(of_bfd(&shown)[..2], [id, remote_id], "{shown}");
    assert_eq!(shown["status"], "up", "{shown}");
    assert_eq!(facts(&other.neighbor(&job.lab, edge).unwrap()), before, "{}", job.lab.log_tails());
    // The listener has the key too: who is reset comes back.
    let reset = other.ask(&job.lab, &format!("clear bgp {edge}"));
    drop(reset); // It answers nothing, and so no JSON.
    job.until("a new session", || {
        let neighbor = other.neighbor(&job.lab, edge)?;
        ensure!(neighbor["bgpState"] == "Established", "{neighbor}");
        ensure!(facts(&neighbor)[0] != before[0], "{neighbor}");
        Ok(())
    })
    .unwrap();
}
