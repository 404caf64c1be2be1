//! Telling others: a BMP station that reads with `bgpkit-parser`, and files that it reads as well as
//! Debian's bgpdump. The routes come from BIRD.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context as _, anyhow, ensure};
use bgpkit_parser::models::BgpMessage;
use bgpkit_parser::parser::bmp::messages::{BmpMessage, BmpMessageBody, PerPeerFlags};
use bgpkit_parser::parser::bmp::parse_bmp_msg;
use bgpkit_parser::{Elementor, parse_mrt_record};
use tidegate_vm_tests::lab::bird::Bird;
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, VIPS, bird};

const STATION: u16 = 11_019;

/// A policy that takes one of the IPv4 prefixes, a station, and files.
fn keys(job: &Interop, more: &str) -> String {
    let [peer, _] = PEER;
    let directory = job.lab.dir().join("mrt");
    format!(
        "[[peer]]\nname = \"other\"\naddress = \"{peer}\"\nasn = {PEER_AS}\n\
         connect-retry = \"1s\"\nimport = [\"some\"]\n{more}\n\
         [[prefix-set]]\nname = \"some\"\nprefixes = [\"198.18.0.0/24\", \"2001:db8:18::/48\"]\n\
         [[policy]]\nname = \"some\"\n[[policy.term]]\nname = \"some\"\n\
         match = {{ prefix-set = \"some\" }}\nthen = \"accept\"\n\
         [[bmp-station]]\nname = \"collector\"\naddress = \"{peer}\"\nport = {STATION}\n\
         views = [\"pre-policy\", \"post-policy\", \"loc-rib\", \"adj-rib-out\"]\n\
         stats-interval = \"1s\"\nconnect-retry = \"1s\"\n\
         [mrt]\ndirectory = \"{}\"\n",
        directory.display()
    )
}

/// Everything that the station has heard, a line for each message.
type Heard = Arc<Mutex<Vec<String>>>;

/// A station on the peer's host; it listens until the test is over.
fn station(job: &Interop) -> anyhow::Result<Heard> {
    let heard = Heard::default();
    let listener = job.lab.inside("peer", || TcpListener::bind(("0.0.0.0", STATION)))??;
    let log = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), mut unread) = (stream, Vec::new()) else { return };
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = stream.read(&mut piece) {
                unread.extend_from_slice(piece.get(..len).unwrap_or_default());
                while let Some(line) = next(&mut unread) {
                    log.lock().unwrap().push(line);
                }
            }
        }
    });
    Ok(heard)
}

/// The first whole message, in words.
fn next(unread: &mut Vec<u8>) -> Option<String> {
    let length = unread.get(1..5)?.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
    if unread.len() < length {
        return None;
    }
    let message: Vec<u8> = unread.drain(..length).collect();
    Some(match parse_bmp_msg(&mut message.into()) {
        Ok(message) => words(&message),
        Err(error) => format!("damaged: {error}"),
    })
}

fn words(message: &BmpMessage) -> String {
    let header = message.per_peer_header.as_ref();
    let view = header.map_or("", |header| match &header.peer_flags {
        PerPeerFlags::LocalRibPeerFlags(_) => "loc-rib",
        PerPeerFlags::PeerFlags(flags) => match (flags.is_adj_rib_out(), flags.is_post_policy()) {
            (true, true) => "out",
            (true, false) => "out before policy",
            (false, true) => "post",
            (false, false) => "pre",
        },
    });
    let peer = header.map(|it| format!("{} AS{}", it.peer_ip, it.peer_asn)).unwrap_or_default();
    let what = match &message.message_body {
        BmpMessageBody::InitiationMessage(_) => "initiation".to_owned(),
        BmpMessageBody::TerminationMessage(_) => "termination".to_owned(),
        BmpMessageBody::PeerUpNotification(up) => {
            let opens = [&up.sent_open, &up.received_open].map(|open| match open {
                BgpMessage::Open(open) => open.asn.to_string(),
                other => format!("{other:?}"),
            });
            format!("up {} {}", up.local_addr, opens.join(" "))
        }
        BmpMessageBody::PeerDownNotification(_) => "down".to_owned(),
        BmpMessageBody::StatsReport(_) => "figures".to_owned(),
        BmpMessageBody::RouteMirroring(_) => "mirror".to_owned(),
        BmpMessageBody::RouteMonitoring(routes) => match &routes.bgp_message {
            BgpMessage::Update(update) => {
                let mut prefixes: BTreeSet<String> =
                    update.announced_prefixes.iter().map(|it| format!("+{it}")).collect();
                prefixes.extend(update.withdrawn_prefixes.iter().map(|it| format!("-{it}")));
                if let Some(reach) = update.attributes.get_reachable_nlri() {
                    prefixes.extend(reach.prefixes.iter().map(|it| format!("+{it}")));
                }
                if let Some(gone) = update.attributes.get_unreachable_nlri() {
                    prefixes.extend(gone.prefixes.iter().map(|it| format!("-{it}")));
                }
                prefixes.into_iter().collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        },
    };
    format!("{view} {peer}: {what}").trim_start().to_owned()
}

/// Waits until all of these lines were heard.
fn until_heard(job: &Interop, heard: &Heard, lines: &[&str]) -> anyhow::Result<()> {
    job.until("the station to hear it", || {
        let heard = heard.lock().unwrap();
        let missing: Vec<_> =
            lines.iter().filter(|line| !heard.iter().any(|it| it.contains(**line))).collect();
        ensure!(missing.is_empty(), "{missing:?} of {heard:#?}");
        Ok(())
    })
}

/// What bgpdump reads out of the files whose names begin so.
fn dumped(job: &Interop, kind: &str) -> anyhow::Result<String> {
    let mut all = String::new();
    for entry in std::fs::read_dir(job.lab.dir().join("mrt"))? {
        let path = entry?.path();
        if path.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with(kind)) {
            let path = path.to_str().context("a path that is no text")?;
            all += &job.lab.run("edge", &["bgpdump", "-m", path])?;
        }
    }
    Ok(all)
}

/// What bgpkit reads out of them: peer, prefix and path, a line each.
fn parsed(job: &Interop, kind: &str) -> anyhow::Result<String> {
    let (mut all, mut elementor) = (Vec::new(), Elementor::new());
    for entry in std::fs::read_dir(job.lab.dir().join("mrt"))? {
        let path = entry?.path();
        if !path.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with(kind)) {
            continue;
        }
        let file = std::fs::read(&path)?;
        let mut rest = file.as_slice();
        while !rest.is_empty() {
            let record = parse_mrt_record(&mut rest).map_err(|error| anyhow!("{error}"))?;
            for elem in elementor.record_to_elems(record) {
                let as_path = elem.as_path.map(|path| path.to_string()).unwrap_or_default();
                let (peer, asn, prefix) = (elem.peer_ip, elem.peer_asn, elem.prefix);
                all.push(format!("{peer} AS{asn} {prefix} [{as_path}]"));
            }
        }
    }
    Ok(all.join("\n"))
}

#[test]
fn a_station_and_files_have_every_route_before_and_behind_policy() {
    let mut job = Interop::new().unwrap();
    let heard = station(&job).unwrap();
    let other = Bird::start(&job.lab, "peer", &bird()).unwrap();
    job.configure(&keys(&job, "")).unwrap();
    job.wait_until_established().unwrap();
    let [vip, vip6] = VIPS;
    let of_peer = |view: &str, what: &str| format!("{view} {} AS{PEER_AS}: {what}", PEER[0]);
    let lines = [
        "initiation".to_owned(),
        of_peer("pre", &format!("up {} {EDGE_AS} {PEER_AS}", EDGE[0])),
        of_peer("pre", "+198.18.0.0/24 +198.18.1.0/24"),
        of_peer("pre", "+2001:db8:18::/48"),
        of_peer("post", "+198.18.0.0/24"),
        of_peer("post", "+2001:db8:18::/48"),
        of_peer("out", &format!("+{vip}")),
        of_peer("out", &format!("+{vip6}")),
        of_peer("pre", "figures"),
        format!("loc-rib 0.0.0.0 AS{EDGE_AS}: up"),
        format!("+{vip}"),
    ];
    until_heard(&job, &heard, &lines.each_ref().map(String::as_str)).unwrap();
    let said = heard.lock().unwrap().join("\n");
    assert!(!said.contains("damaged"), "{said}");
    assert!(!said.contains(&of_peer("post", "+198.18.0.0/24 +198.18.1.0/24")), "{said}");

    // All routes in a file, on order; the messages they came in in another.
    let shown = job.tidegate(&["dump"]).unwrap();
    assert!(shown.starts_with("4 prefixes in "), "{shown}");
    let rib = dumped(&job, "rib").unwrap();
    for line in [
        format!("|B|{}|{PEER_AS}|198.18.0.0/24|{PEER_AS}|IGP|", PEER[0]),
        format!("|B|{}|{PEER_AS}|2001:db8:18::/48|{PEER_AS}|IGP|", PEER[0]),
        format!("|B|0.0.0.0|{EDGE_AS}|{vip}||IGP|"),
        format!("|{vip6}||IGP|"),
    ] {
        assert!(rib.contains(&line), "{line}: {rib}");
    }
    assert!(!rib.contains("198.18.1.0/24"), "{rib}");
    let updates = dumped(&job, "updates").unwrap();
    for line in [
        format!("|A|{}|{PEER_AS}|198.18.1.0/24|{PEER_AS}|IGP|", PEER[0]),
        format!("|A|{}|{PEER_AS}|2001:db8:18::/48|{PEER_AS}|IGP|", PEER[0]),
        format!("|STATE|{}|{PEER_AS}|5|6", PEER[0]),
    ] {
        assert!(updates.contains(&line), "{line}: {updates}");
    }

    // bgpkit reads the same out of them, every record.
    let (rib, updates) = (parsed(&job, "rib").unwrap(), parsed(&job, "updates").unwrap());
    let [peer, _] = PEER;
    for prefix in ["198.18.0.0/24", "2001:db8:18::/48"] {
        let line = format!("{peer} AS{PEER_AS} {prefix} [{PEER_AS}]");
        assert!(rib.contains(&line) && updates.contains(&line), "{line}: {rib} {updates}");
    }
    assert!(rib.contains(&format!("0.0.0.0 AS{EDGE_AS} {vip} []")), "{rib}");

    // Routes go: the station hears that in every view that had them.
    other.ask(&job.lab, "disable static1").unwrap();
    let gone = [
        of_peer("pre", "-198.18.0.0/24"),
        of_peer("post", "-198.18.0.0/24"),
        format!("loc-rib 0.0.0.0 AS{EDGE_AS}: -198.18.0.0/24"),
    ];
    until_heard(&job, &heard, &gone.each_ref().map(String::as_str)).unwrap();

    // The session ends: the station hears why. It is closed: so is the conversation.
    job.configure(&keys(&job, "shutdown = \"later\"")).unwrap();
    until_heard(&job, &heard, &[&of_peer("pre", "down")]).unwrap();
    job.configure(&keys(&job, "").replace("11019", "11020")).unwrap();
    until_heard(&job, &heard, &["termination"]).unwrap();
    let status = job.until("the status", || {
        let status = job.tidegate(&["status"])?;
        ensure!(status.contains("collector DOWN"), "{status}");
        Ok(status)
    });
    assert!(status.unwrap().contains("refused"));
}
