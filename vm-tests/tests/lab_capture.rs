//! `tidegate capture` against what really happens, read with Wireshark's own eyes (tshark).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{API, BACKENDS, CLIENT, MainJob, SOON, VIP_V4, Variant};
use tidegate_vm_tests::lab::{Process, program};

const REQUESTS: usize = 20;
const KNOCKS: usize = 7;

/// Name of the program that the edge's interface runs.
fn attached(job: &MainJob) -> Result<String> {
    let said = job.lab.run("edge", &["bpftool", "--json", "net", "show"])?;
    let shown: Value = serde_json::from_str(&said)?;
    let id = shown[0]["xdp"][0]["id"].as_u64().context("nothing is attached")?.to_string();
    let said = job.lab.run("edge", &["bpftool", "--json", "prog", "show", "id", &id])?;
    let shown: Value = serde_json::from_str(&said)?;
    Ok(shown["name"].as_str().context("without a name")?.to_owned())
}

fn wait_for_program(job: &MainJob, name: &str) {
    job.lab
        .wait_for(&format!("the program {name}"), SOON, || {
            let attached = attached(job)?;
            ensure!(attached == name, "{attached}");
            Ok(())
        })
        .unwrap();
}

/// A capture that runs, into this file.
fn capture(job: &MainJob, file: &str, arguments: &[&str]) -> Process {
    let tidegate = program("tidegate").unwrap().display().to_string();
    let socket = job.api_socket().display().to_string();
    let command = [&*tidegate, "capture", "--socket", &socket, "-w", file];
    let mut capture =
        job.lab.start("edge", "capture", &[&command[..], arguments].concat()).unwrap();
    capture.alive().unwrap();
    wait_for_program(job, "tidegate_before");
    capture
}

fn file(job: &MainJob, name: &str) -> String {
    job.lab.dir().join(name).display().to_string()
}

/// Datagrams to a port of the VIP where no service is.
fn knock(job: &MainJob, count: usize, pause: Duration) -> Result<()> {
    let closed = SocketAddr::new(VIP_V4.addr.parse()?, 81);
    job.lab.inside("client", || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for nth in 0..count {
            socket.send_to(&nth.to_be_bytes().repeat(8), closed)?;
            std::thread::sleep(pause);
        }
        anyhow::Ok(())
    })?
}

/// What tshark says of these fields in each packet that its filter takes.
fn tshark(job: &MainJob, file: &str, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = vec!["tshark", "-r", file, "-Y", filter, "-T", "fields"];
    // It knows no GUE; of the variant that is used here, IP follows UDP at once.
    command.extend(["-d", "udp.port==6080,ip"]);
    for field in fields {
        command.extend(["-e", field]);
    }
    let said = job.lab.run("edge", &command)?;
    Ok(said.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// Counters of the edge, by name.
fn counter(job: &MainJob, name: &str) -> Result<u64> {
    let status: Value = serde_json::from_str(&job.tidegate(&["status", "-o", "json"])?)?;
    let counters = status["counters"].as_array().context("no counters")?;
    let row = counters.iter().find(|row| row["name"] == name).context("no such counter")?;
    row["packets"].as_u64().context("no number")
}

#[test]
fn every_packet_is_there_as_it_came_and_as_it_left_in_every_mode() {
    for mode in ["ipip", "gue", "l2", "nat"] {
        in_mode(mode);
    }
}

fn in_mode(mode: &'static str) {
    const FIELDS: [&str; 7] = [
        "frame.comment",
        "frame.packet_flags_direction",
        "frame.interface_name",
        "ip.src",
        "ip.dst",
        "tcp.dstport",
        "_ws.malformed",
    ];
    let job = MainJob::announced(Variant { mode, ..Variant::default() }).unwrap();
    let out = file(&job, "out.pcapng");
    let mut capture = capture(&job, &out, &["--vip", VIP_V4.service, "--seconds", "600"]);
    let sums = || ["forward_tx", "answer_tx"].map(|name| counter(&job, name).unwrap());
    let before = sums();
    let load = job.load(VIP_V4, REQUESTS, 4).unwrap();
    assert!(load.failed.is_empty(), "{load:?}");
    knock(&job, KNOCKS, Duration::ZERO).unwrap();
    let [forwarded, answered] = {
        let now = sums();
        [now[0] - before[0], now[1] - before[1]]
    };
    // All has been read when nothing more comes: the last of them is seen in the file.
    job.lab
        .wait_for("what was dropped to be in the file", SOON, || {
            let drops = tshark(&job, &out, "udp.dstport == 81", &["frame.comment"])?;
            ensure!(drops.len() == KNOCKS, "{} drops", drops.len());
            Ok(())
        })
        .unwrap();
    capture.signal(Signal::SIGINT).unwrap();
    assert!(capture.ended(SOON).unwrap().success(), "{}", capture.printed());
    wait_for_program(&job, "tidegate");

    let comes = |what: &str| format!("frame.packet_flags_direction == 1 && {what}");
    let drops = tshark(&job, &out, &comes("udp.dstport == 81"), &FIELDS).unwrap();
    assert_eq!(drops.len(), KNOCKS);
    for drop in &drops {
        let why =
            "dropped (drop_no_service): a VIP of ours, but no service on this port and protocol";
        assert_eq!((&*drop[0], &*drop[2]), (why, "eth0"), "{mode}: {drop:?}");
        assert_eq!((&*drop[3], &*drop[4]), (CLIENT[0], VIP_V4.addr), "{mode}: {drop:?}");
    }
    let came = tshark(&job, &out, &comes("frame.comment contains \"(forward_tx)\""), &FIELDS);
    let came = came.unwrap();
    assert_eq!(came.len() as u64, forwarded, "{mode}");
    assert!(forwarded > 3 * REQUESTS as u64, "{mode}: {forwarded}");
    let left = "frame.packet_flags_direction == 2";
    let left =
        tshark(&job, &out, &format!("{left} && frame.comment contains \"(forward_tx)\""), &FIELDS);
    let left = left.unwrap();
    assert_eq!(left.len(), came.len(), "{mode}: one each");
    let is_backend = |addr: &str| BACKENDS.iter().any(|(_, [v4, _])| *v4 == addr);
    for packet in &left {
        assert!(packet[0].contains("service web-v4; backend 203.0.113.1"), "{mode}: {packet:?}");
        // Of a packet in a packet both addresses are told, the outer one first.
        let dst: Vec<&str> = packet[4].split(',').collect();
        match mode {
            "ipip" | "gue" => {
                assert!(is_backend(dst[0]) && dst[1..] == [VIP_V4.addr], "{mode}: {packet:?}");
            }
            "l2" => assert_eq!(dst, [VIP_V4.addr], "{packet:?}"),
            _ => assert!(dst.len() == 1 && is_backend(dst[0]), "{packet:?}"),
        }
        assert_eq!((&*packet[5], &*packet[6]), ("80", ""), "{mode}: {packet:?}");
    }
    let answers = tshark(&job, &out, "frame.comment contains \"(answer_tx)\"", &FIELDS).unwrap();
    assert_eq!(answers.len() as u64, 2 * answered, "{mode}: as they came and as they left");
    assert_eq!(answered > 0, mode == "nat", "{answered} answers");
    the_file_says_what_it_is(&job, &out, came.len() + KNOCKS + usize::try_from(answered).unwrap());
}

fn the_file_says_what_it_is(job: &MainJob, out: &str, packets: usize) {
    let about = job.lab.run("edge", &["capinfos", out]).unwrap();
    for part in ["tidegate capture", "vip=web-v4", "Linux", "tidegate 0.", "nanoseconds", "eth0"] {
        assert!(about.contains(part), "no {part:?} in {about}");
    }
    let ids = tshark(job, out, "frame", &["frame.packet_id"]).unwrap();
    let mut ids: Vec<u64> = ids.iter().map(|row| row[0].parse().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids, (1..=packets as u64).collect::<Vec<_>>(), "each once, in its order");
    let times = tshark(job, out, "frame", &["frame.time_epoch"]).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ago = |row: &Vec<String>| now.as_secs_f64() - row[0].parse::<f64>().unwrap();
    assert!(times.iter().all(|row| (0.0..300.0).contains(&ago(row))), "by the clock of the wall");
}

#[test]
fn no_datagram_is_lost_while_captures_come_and_go_and_all_that_are_wanted_are_there() {
    const DATAGRAMS: usize = 6_000;
    let job = MainJob::announced(Variant::default()).unwrap();
    let before = counter(&job, "drop_no_service").unwrap();
    let (sent, captures) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| knock(&job, DATAGRAMS, Duration::from_millis(1)));
        let loader = scope.spawn(|| job.load(VIP_V4, 2_000, 4));
        let mut captures = 0;
        while !sender.is_finished() {
            let out = file(&job, &format!("{captures}.pcapng"));
            let one = ["capture", "--drops", "--count", "50", "--seconds", "20", "-w", &out];
            job.tidegate(&one).unwrap();
            captures += 1;
        }
        let load = loader.join().unwrap().unwrap();
        assert!(load.failed.is_empty(), "{load:?}");
        (sender.join().unwrap(), captures)
    });
    sent.unwrap();
    assert!(captures >= 3, "{captures} captures in that time");
    wait_for_program(&job, "tidegate");
    job.lab
        .wait_for("every datagram to be counted", SOON, || {
            let dropped = counter(&job, "drop_no_service")? - before;
            ensure!(dropped == DATAGRAMS as u64, "{dropped} of {DATAGRAMS}");
            Ok(())
        })
        .unwrap();
    println!("{captures} captures came and went");
    let first = tshark(&job, &file(&job, "0.pcapng"), "frame", &["frame.comment"]).unwrap();
    assert_eq!(first.len(), 50);
    assert!(first.iter().all(|row| row[0].starts_with("dropped (drop_no_service)")), "{first:?}");
}

#[test]
fn it_ends_with_its_time_and_goes_through_a_pipe() {
    let job = MainJob::announced(Variant::default()).unwrap();
    let tidegate = program("tidegate").unwrap().display().to_string();
    let piped = format!(
        "{tidegate} capture --socket {} --to {} --port 81 --seconds 3 -w - \
         | tshark -r - -T fields -e frame.comment -e udp.dstport",
        job.api_socket().display(),
        VIP_V4.prefix,
    );
    let said = std::thread::scope(|scope| {
        let piped = scope.spawn(|| job.lab.run("edge", &["sh", "-c", &piped]));
        wait_for_program(&job, "tidegate_before");
        knock(&job, KNOCKS, Duration::ZERO).unwrap();
        piped.join().unwrap().unwrap()
    });
    let drops = said.lines().filter(|line| line.ends_with("\t81")).count();
    assert_eq!(drops, KNOCKS, "{said}");
    wait_for_program(&job, "tidegate");
}

#[test]
fn nobody_leaves_it_on() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let mut client = capture(&job, &file(&job, "gone.pcapng"), &["--seconds", "600"]);
    client.kill().unwrap();
    wait_for_program(&job, "tidegate");

    // A reload that needs another program ends it; the file is whole.
    let out = file(&job, "reload.pcapng");
    let mut client = capture(&job, &out, &["--seconds", "600"]);
    let text = job.edge_config() + "\n[flows]\nsample = 1\n";
    let config = job.lab.write("tidegate.toml", &text).unwrap().display().to_string();
    job.tidegate(&["apply", &config]).unwrap();
    assert!(client.ended(SOON).unwrap().success(), "{}", client.printed());
    wait_for_program(&job, "tidegate");

    // Packets are told of while some are captured, and afterwards.
    let mut client = capture(&job, &out, &["--force", "--seconds", "600"]);
    job.load(VIP_V4, 5, 1).unwrap();
    let told = job.tidegate(&["flows", "--vip", VIP_V4.service, "--last", "1000"]).unwrap();
    assert!(told.lines().count() >= 20, "{told}");

    // The daemon is killed: packets find their way, and its successor knows of no capture.
    job.edge().unwrap().kill().unwrap();
    let ended = client.ended(SOON).unwrap();
    assert_eq!(ended.code(), Some(3), "{}", client.printed());
    assert!(client.printed().contains("packets in"), "{}", client.printed());
    assert_eq!(attached(&job).unwrap(), "tidegate_before");
    let route = ["ip", "route", "add", VIP_V4.prefix, "via", "203.0.113.2", "metric", "4000"];
    job.lab.run("router", &route).unwrap();
    let load = job.load(VIP_V4, 50, 4).unwrap();
    assert!(load.failed.is_empty(), "{load:?}");
    assert!(!tshark(&job, &out, "frame", &["frame.comment"]).unwrap().is_empty());
    job.start_edge().unwrap();
    job.wait_for_routes().unwrap();
    wait_for_program(&job, "tidegate");

    // Nor does one that is stopped leave it.
    let mut client = capture(&job, &out, &["--force", "--seconds", "600"]);
    assert!(job.edge().unwrap().stop(SOON).unwrap().success());
    client.ended(SOON).unwrap();
    assert_eq!(attached(&job).unwrap(), "tidegate");
}

#[test]
fn what_cannot_be_is_said() {
    let job = MainJob::announced(Variant::default()).unwrap();
    let out = file(&job, "out.pcapng");
    let refused = |arguments: &[&str]| {
        let command = [&["capture", "-w", &out][..], arguments].concat();
        format!("{:#}", job.tidegate(&command).unwrap_err())
    };
    let said = refused(&["--vip", "wbe"]);
    assert!(
        said.contains("no service and no VIP \"wbe\", but web-v4 (192.0.2.10/32), web-v6"),
        "{said}"
    );
    assert!(!std::path::Path::new(&out).exists(), "an empty file is left");
    let said = refused(&["--vip", "web-v4", "--protocol", "ipx"]);
    assert!(said.contains("protocol is one of tcp, udp"), "{said}");

    let mut first = capture(&job, &out, &["--seconds", "600"]);
    job.lab
        .wait_for("its file", SOON, || {
            ensure!(std::path::Path::new(&out).exists(), "none is there");
            Ok(())
        })
        .unwrap();
    let said = refused(&["--seconds", "1"]);
    assert!(said.contains("is there already"), "{said}");
    let command = ["capture", "-w", &file(&job, "other.pcapng")];
    let said = format!("{:#}", job.tidegate(&command).unwrap_err());
    assert!(said.contains("root (uid 0") && said.contains("captures packets already"), "{said}");
    first.signal(Signal::SIGINT).unwrap();
    assert!(first.ended(SOON).unwrap().success());
    wait_for_program(&job, "tidegate");

    // Over TCP nobody says who he is, and so he gets nobody's packets.
    let answer = job.lab.inside("edge", || {
        let mut stream = TcpStream::connect(API)?;
        let head =
            "POST /api/v1/capture?seconds=1 HTTP/1.1\r\nHost: edge\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::Ok(answer)
    });
    let answer = answer.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let events = job.tidegate(&["events", "-o", "json"]).unwrap();
    assert!(events.contains("POST /api/v1/capture?seconds=600, by root (uid 0"), "{events}");
    assert_eq!(attached(&job).unwrap(), "tidegate");
}
