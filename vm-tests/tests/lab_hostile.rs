//! Rubbish from a peer, from a stranger and from whoever wrote the configuration.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use tidegate_vm_tests::lab::main_job::{EDGE, MainJob, ROGUES, ROUTER_AS, SOON, Variant};
use tidegate_vm_tests::lab::program;

/// A BGP message of RFC 4271 §4.1.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()
}

/// An OPEN without capabilities (§4.2).
fn open(version: u8, asn: u16, hold_time: u16) -> Vec<u8> {
    let [asn, hold_time] = [asn, hold_time].map(u16::to_be_bytes);
    message(1, &[&[version], &asn[..], &hold_time, &[203, 0, 113, 66], &[0]].concat())
}

/// Sends `words` to the edge's BGP port, and reads to the end: code and subcode of the
/// NOTIFICATION that came.
fn notification_for(words: &[u8]) -> Result<(u8, u8)> {
    let mut stream = TcpStream::connect((EDGE[0], 179))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(words)?;
    loop {
        let mut header = [0; 19];
        stream.read_exact(&mut header).context("closed without a NOTIFICATION")?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length.checked_sub(19).context("a length below 19")?];
        stream.read_exact(&mut body)?;
        if header[18] == 3 {
            ensure!(stream.read(&mut [0])? == 0, "more after a NOTIFICATION");
            return Ok((body[0], body[1]));
        }
    }
}

/// How often the session with BIRD, which is up, has been lost. BIRD's own line on it has the time
/// since when it is up, reckoned anew each time, which moves when the clock is set.
fn losses(job: &MainJob) -> u64 {
    job.bird.established(&job.lab, "edge").unwrap();
    let shown = job.tidegate(&["peers", "-o", "json"]).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let mut peers = shown["peers"].as_array().unwrap().iter();
    peers.find(|peer| peer["name"] == "router").unwrap()["flaps"].as_u64().unwrap()
}

#[test]
fn a_peer_that_talks_rubbish_is_told_so_and_the_other_session_stays() {
    let variant = Variant { rogues: true, ..Variant::default() };
    let mut job = MainJob::announced(variant).unwrap();
    let before = losses(&job);
    let router_as = u16::try_from(ROUTER_AS).unwrap();
    let mut bad_marker = message(4, &[]);
    bad_marker[3] = 0;
    let cases: [(&str, Vec<u8>, (u8, u8)); 8] = [
        ("a web browser", b"GET / HTTP/1.1\r\nHost: bgp\r\n\r\n".to_vec(), (1, 1)),
        ("a bad marker", bad_marker, (1, 1)),
        ("a message that is too long", [&[0xff; 16], &[0x10, 0x01, 2][..]].concat(), (1, 2)),
        ("an unknown type", message(9, &[]), (1, 3)),
        ("another version", open(3, router_as, 90), (2, 1)),
        ("another AS", open(4, router_as + 7, 90), (2, 2)),
        ("a hold time that is forbidden", open(4, router_as, 1), (2, 6)),
        ("an UPDATE before the OPEN", message(2, &[0, 0, 0, 0]), (5, 1)),
    ];
    // A peer each: one that has failed is left alone for a while.
    for ((name, words, expected), rogue) in cases.into_iter().zip(ROGUES) {
        let from = ["ip", "route", "replace", "203.0.113.0/24", "dev", "eth0", "src", rogue];
        job.lab.run("rogue", &from).unwrap();
        let told = job.lab.wait_for(&format!("a NOTIFICATION for {name}"), SOON, || {
            job.lab.inside("rogue", || notification_for(&words))?
        });
        assert_eq!(told.unwrap(), expected, "{name}");
    }
    job.edge().unwrap().alive().unwrap();
    assert_eq!(losses(&job), before);
}

#[test]
fn a_stranger_gets_no_session() {
    let job = MainJob::announced(Variant::default()).unwrap();
    let before = losses(&job);
    let answer = job.lab.inside("b1", || notification_for(&open(4, 64_999, 90))).unwrap();
    // Closed at once, or with Cease/5 (Connection Rejected, RFC 4486).
    assert!(answer.is_err() || answer.is_ok_and(|told| told == (6, 5)));
    assert_eq!(losses(&job), before);
}

#[test]
fn a_bad_configuration_starts_nothing_and_a_bad_reload_changes_nothing() {
    let mut job = MainJob::new(Variant::default()).unwrap();
    let well = job.edge_config();
    let bad =
        well.replace("weight = 5", "wait = 5").replace("hold-time = \"30s\"", "hold-time = 1");
    let file = job.lab.write("bad.toml", &bad).unwrap().display().to_string();
    let tidegate = program("tidegate").unwrap().display().to_string();
    for command in [vec![&*tidegate, "check", &file], vec![&*tidegate, "run", "--config", &file]] {
        let refused = job.lab.command("edge", &command).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        for part in ["bad.toml:", "wait", "weight", "hold-time"] {
            assert!(said.contains(part), "{part} is not in\n{said}");
        }
    }
    assert!(!job.pin_dir().exists());

    job.start_edge().unwrap();
    job.wait_for_routes().unwrap();
    let before = losses(&job);
    job.lab.write("tidegate.toml", &bad).unwrap();
    job.edge().unwrap().signal(Signal::SIGHUP).unwrap();
    let refused = job.lab.wait_for("the reload to be refused", SOON, || {
        let status = job.tidegate(&["status", "-o", "json"])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let Some(why) = status["config_refused"].as_str() else { bail!("{status}") };
        Ok(why.to_owned())
    });
    assert!(!refused.unwrap().is_empty());
    assert_eq!(losses(&job), before);
    job.wait_for_routes().unwrap();
}

#[test]
fn what_the_kernel_does_not_have_is_one_line_with_a_remedy() {
    let job = MainJob::new(Variant::default()).unwrap();
    let tidegate = program("tidegate").unwrap().display().to_string();
    let well = job.edge_config();
    let nowhere = job.lab.dir().join("not-bpffs").display().to_string();
    let cases = [
        ("no such interface", well.replace("[\"eth0\"]", "[\"eth9\"]"), "eth9"),
        (
            "pins on another file system",
            well.replace(&job.pin_dir().display().to_string(), &nowhere),
            "not-bpffs",
        ),
    ];
    for (name, config, names) in cases {
        let file = job.lab.write("refused.toml", &config).unwrap().display().to_string();
        let command = [&*tidegate, "run", "--config", &file];
        let refused = job.lab.command("edge", &command).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{name}: {said}");
        let complaint: Vec<_> =
            said.lines().filter(|line| line.starts_with("tidegate: ")).collect();
        assert!(matches!(complaint[..], [line] if line.contains(names)), "{name}: {said}");
    }
}
