//! `tidegate why` against what really happens: connections of a real client, each asked about by its
//! ports, end at the backend that was named.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tidegate_vm_tests::lab::http::Seen;
use tidegate_vm_tests::lab::main_job::{
    BACKENDS, CLIENT, MainJob, SOON, VIP_V4, VIP_V6, VIPS, Variant, Vip,
};
use tidegate_vm_tests::lab::program;

const FIRST_PORT: u16 = 41_000;

/// A connection from a port of the client's.
fn connect(job: &MainJob, vip: Vip, port: u16) -> Result<BufReader<TcpStream>> {
    let to = vip.socket()?;
    job.lab.inside("client", || {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => CLIENT[0].parse()?,
            SocketAddr::V6(_) => CLIENT[1].parse()?,
        };
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(any, port).into())?;
        socket.connect_timeout(&to.into(), SOON)?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(SOON))?;
        Ok(BufReader::new(stream))
    })?
}

/// Who answers the next request on it.
fn answerer(connection: &mut BufReader<TcpStream>) -> Result<String> {
    connection.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(connection.read_line(&mut line)? > 0, "the server hung up");
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(serde_json::from_slice::<Seen>(&body)?.backend)
}

/// What `tidegate why` says in JSON, and with which code it ends.
fn why(job: &MainJob, arguments: &[&str]) -> Result<(Value, i32)> {
    let tidegate = program("tidegate")?.display().to_string();
    let socket = job.api_socket().display().to_string();
    let mut command = vec![&*tidegate, "why"];
    command.extend(arguments);
    command.extend(["--socket", &socket, "-o", "json"]);
    let output = job.lab.command("edge", &command).output()?;
    let (said, complained) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    let said = serde_json::from_slice(&said).with_context(|| complained)?;
    Ok((said, output.status.code().context("it was killed")?))
}

fn ends(vip: Vip, port: u16) -> [String; 2] {
    let client = if vip.addr.contains(':') { CLIENT[1] } else { CLIENT[0] };
    let from = SocketAddr::new(client.parse().unwrap(), port);
    [from.to_string(), vip.socket().unwrap().to_string()]
}

/// The backend that is named for a flow.
fn named(job: &MainJob, vip: Vip, port: u16, more: &[&str]) -> Result<String> {
    let [from, to] = ends(vip, port);
    let mut arguments = vec![&*from, &*to];
    arguments.extend(more);
    let (said, code) = why(job, &arguments)?;
    ensure!(code == 0 && said["sent"] == true && said["program"] == "agrees", "{code}: {said}");
    let addr = said["backend"].as_str().context("no backend")?;
    let host = BACKENDS.iter().find(|(_, addrs)| addrs.contains(&addr));
    Ok(host.context("a backend that there is not")?.0.to_owned())
}

fn stage<'a>(said: &'a Value, name: &str) -> &'a str {
    let stages = said["stages"].as_array().unwrap();
    let found = stages.iter().find(|stage| stage["name"] == name);
    found.map(|stage| stage["text"].as_str().unwrap()).unwrap_or_default()
}

#[test]
fn a_connection_ends_where_it_was_said_to() {
    let job = MainJob::announced(Variant { weights: [1, 1, 1], ..Variant::default() }).unwrap();
    job.wait_until_all_active().unwrap();
    let mut held = Vec::new();
    for vip in VIPS {
        for port in FIRST_PORT..FIRST_PORT + 12 {
            let before = named(&job, vip, port, &[]).unwrap();
            let mut connection = connect(&job, vip, port).unwrap();
            assert_eq!(answerer(&mut connection).unwrap(), before, "{} {port}", vip.addr);
            held.push((vip, port, before, connection));
        }
    }
    let to_first = held.iter().filter(|(_, _, to, _)| to == "b1").count();
    assert!((1..held.len()).contains(&to_first), "they are spread");

    // A drain: what there is stays, what is new goes elsewhere, and both are told.
    for (service, addr) in [(VIP_V4, BACKENDS[0].1[0]), (VIP_V6, BACKENDS[0].1[1])] {
        job.tidegate(&["drain", "backend", service.service, addr]).unwrap();
    }
    for (vip, port, to, mut connection) in held {
        let now = named(&job, vip, port, &["--established"]).unwrap();
        assert_eq!(now, to, "{} {port}", vip.addr);
        assert_eq!(answerer(&mut connection).unwrap(), to, "{} {port}", vip.addr);
        let again = named(&job, vip, port, &[]).unwrap();
        assert_eq!(again == to, to != "b1", "{} {port}: a new one to {again}", vip.addr);
        if to == "b1" {
            let [from, to] = ends(vip, port);
            let (said, _) = why(&job, &[&from, &to, "--established"]).unwrap();
            assert!(stage(&said, "slot").contains("in transition"), "{said}");
            assert!(stage(&said, "backend").contains("draining"), "{said}");
        }
    }
}

#[test]
fn every_stage_has_its_word_and_a_packet_that_is_lost_its_remedy() {
    let job = MainJob::announced(Variant::default()).unwrap();
    job.wait_until_all_active().unwrap();
    let [from, to] = ends(VIP_V4, FIRST_PORT);
    let said = job.lab.wait_for("the VIP to be announced", SOON, || {
        let (said, _) = why(&job, &[&from, &to])?;
        ensure!(stage(&said, "service").contains(", announced"), "{said}");
        Ok(said)
    });
    let said = said.unwrap();
    for (name, wanted) in [
        ("announced", "192.0.2.10/32 to router, next hop"),
        ("announced", "MED 50, communities 64513:80"),
        ("guard", "not denied: no prefix of [guard] has this client"),
        ("service", "web-v4, 192.0.2.10:80/tcp, announced, proven"),
        ("slot", "by addresses and ports"),
        ("backend", "active for"),
        ("wrap", "ipip: "),
        ("out", "eth0"),
    ] {
        assert!(stage(&said, name).contains(wanted), "{name}: {said}");
    }
    let shown = job.tidegate(&["why", &from, &to]).unwrap();
    assert!(shown.contains("checked     the loaded program says the same"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    // No counter has moved.
    let before = job.tidegate(&["vips", "-o", "json"]).unwrap();
    let before: Value = serde_json::from_str(&before).unwrap();
    assert!(before["vips"].as_array().unwrap().iter().all(|vip| vip["packets"] == 0), "{before}");

    let (said, code) = why(&job, &[&from, "192.0.2.10:81"]).unwrap();
    assert_eq!((code, &said["verdict"]), (1, &"drop_no_service".into()), "{said}");
    assert!(stage(&said, "service").contains("web-v4 at 80/tcp"), "{said}");
    let (said, code) = why(&job, &[&from, "198.51.100.99:80"]).unwrap();
    assert_eq!((code, &said["verdict"]), (1, &"pass_not_ours".into()), "{said}");
    assert_eq!(said["program"], "agrees", "{said}");
    let (said, code) = why(&job, &[&from, &to, "--length", "1600"]).unwrap();
    assert_eq!((code, &said["verdict"]), (1, &"answer_too_big".into()), "{said}");
    assert_eq!(said["program"], "agrees", "{said}");

    // The same by a configuration that is not in force.
    let denied = format!("{}\n[guard]\ndeny = [\"{}/32\"]\n", job.edge_config(), CLIENT[0]);
    let file = job.lab.write("denied.toml", &denied).unwrap().display().to_string();
    let (said, code) = why(&job, &[&from, &to, "--config", &file]).unwrap();
    assert_eq!((code, &said["verdict"]), (1, &"drop_denied".into()), "{said}");
    assert!(stage(&said, "guard").contains(&format!("denied by {}/32", CLIENT[0])), "{said}");
    let (said, code) = why(&job, &[&from, &to]).unwrap();
    assert_eq!((code, &said["sent"]), (0, &true.into()), "nothing has changed: {said}");

    a_captured_packet_is_asked_about(&job);
}

/// tcpdump writes down what the client sends, and it is asked about that.
fn a_captured_packet_is_asked_about(job: &MainJob) {
    let capture = job.lab.dir().join("client.pcap").display().to_string();
    let filter = [
        "tcpdump",
        "-Z",
        "root",
        "-U",
        "-i",
        "eth0",
        "-c",
        "1",
        "-w",
        &capture,
        "dst",
        VIP_V4.addr,
    ];
    let mut tcpdump = job.lab.start("client", "tcpdump", &filter).unwrap();
    let caught = job.lab.wait_for("tcpdump to see a packet", SOON, || {
        drop(connect(job, VIP_V4, 0)?);
        tcpdump.ended(Duration::from_secs(1))
    });
    assert!(caught.unwrap().success(), "{}", tcpdump.printed());
    let (said, code) = why(job, &["--pcap", &capture]).unwrap();
    assert_eq!((code, &said["program"]), (0, &"agrees".into()), "{said}");
    let client: Ipv4Addr = CLIENT[0].parse().unwrap();
    let packet = said["packet"].as_str().unwrap();
    assert!(packet.starts_with(&format!("tcp {client}:")), "{packet}");
    assert!(packet.contains("192.0.2.10:80, the first packet (SYN)"), "{packet}");
}
