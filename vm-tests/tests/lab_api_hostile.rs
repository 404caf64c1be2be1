//! The admin API on TCP beyond loopback, and those who mean ill of it: wrong tokens, huge bodies,
//! slow clients and ten thousand open connections, while a session with BIRD stands and datagrams
//! are forwarded.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tidegate_vm_tests::lab::main_job::{API, BACKENDS, EDGE, MainJob, SOON, VIP_V4, Variant};
use tidegate_vm_tests::lab::traffic::Traffic;
use tidegate_vm_tests::lab::{Process, program};

/// Port of the API on the fabric, and of the service of datagrams.
const PORTS: [u16; 2] = [9179, 5300];
/// Connections that are open at the same time.
const OPEN: usize = 10_000;
/// They come from so many addresses, each of which has some places at most.
const ADDRESSES: u8 = 100;
/// How long they are held, which is the attack and no wait for anything: longer than a silent one may
/// have its place, so that others take it.
const HELD_FOR: Duration = Duration::from_secs(8);
/// What the daemon may have grown by after all that.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// An answer on the Unix socket, the start of the command included, on a loaded machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);

struct Hostile {
    echoes: Vec<Process>,
    job: MainJob,
    tls: Arc<ClientConfig>,
    /// Of a reader and of an operator.
    tokens: [String; 2],
}

fn file(job: &MainJob, name: &str) -> PathBuf {
    job.lab.dir().join(name)
}

/// Writes an authority's certificate, and one that it has signed for the edge.
fn certify(job: &MainJob) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    job.lab.write("ca.pem", &params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![EDGE[0].to_owned()]).unwrap();
    job.lab.write("edge.pem", &params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    job.lab.write("edge.key", &key.serialize_pem()).unwrap();
}

/// Makes a token by the command, which prints the line for the file.
fn token(job: &MainJob, name: &str, role: &str) -> (String, String) {
    let (tidegate, into) = (program("tidegate").unwrap(), file(job, name));
    let (tidegate, into) = (tidegate.display().to_string(), into.display().to_string());
    let command = [&*tidegate, "token", name, "--role", role, "--into", &into];
    let line = job.lab.run("edge", &command).unwrap();
    (std::fs::read_to_string(into).unwrap().trim().to_owned(), line)
}

fn config(job: &MainJob) -> String {
    let [port, udp] = PORTS;
    let dir = job.lab.dir().display();
    let listen = format!(
        "listen = \"{}:{port}\"\ntls-certificate = \"{dir}/edge.pem\"\n\
         tls-key = \"{dir}/edge.key\"\ntoken-file = \"{dir}/tokens\"\nrequest-rate = 20",
        EDGE[0]
    );
    let mut config = job.edge_config().replace(&format!("listen = \"{API}\""), &listen);
    let service = format!(
        "[[service]]\nname = \"echo\"\nvip = \"{}\"\nport = {udp}\nprotocol = \"udp\"\n\
         mode = \"ipip\"\nadvertise = false\n\
         health = {{ type = \"http\", path = \"/healthz\", port = 80 }}\n",
        VIP_V4.addr
    );
    config += &service;
    for (_, [addr, _]) in BACKENDS {
        config += &["[[service.backend]]\naddress = \"", addr, "\"\n"].concat();
    }
    config
}

impl Hostile {
    fn new() -> Self {
        let mut job = MainJob::new(Variant::default()).unwrap();
        certify(&job);
        let made = [("looks", "read-only"), ("ops", "operator")]
            .map(|(name, role)| token(&job, name, role));
        let lines: String = made.iter().map(|(_, line)| line.as_str()).collect();
        job.lab.write("tokens", &lines).unwrap();
        let config = job.lab.write("tidegate.toml", &config(&job)).unwrap();
        job.restart_edge(&config).unwrap();
        let http = program("lab-http").unwrap().display().to_string();
        let at = format!("{}:{}", VIP_V4.addr, PORTS[1]);
        let echo = |(host, _)| {
            job.lab.start(host, "echo", &[&http, "echo", "--name", host, "--at", &at]).unwrap()
        };
        let echoes = BACKENDS.map(echo).into();
        job.wait_for_routes().unwrap();
        job.lab
            .wait_for("all backends to be active", SOON, || {
                let backends = job.tidegate(&["backends", "-o", "json"])?;
                ensure!(backends.matches("\"state\": \"active\"").count() == 9, "{backends}");
                Ok(())
            })
            .unwrap();
        for id in 0..ADDRESSES {
            let address = format!("203.0.113.{}/24", 100 + u16::from(id));
            job.lab.run("rogue", &["ip", "address", "add", &address, "dev", "eth0"]).unwrap();
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file(&job, "ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { echoes, job, tls: Arc::new(tls), tokens: made.map(|(token, _)| token) }
    }

    /// A command of tidegate on another host, over TCP with a token.
    fn elsewhere(&self, token: &str, arguments: &[&str]) -> Result<String> {
        let tidegate = program("tidegate")?.display().to_string();
        let url = format!("https://{}:{}", EDGE[0], PORTS[0]);
        let (token, ca) = (file(&self.job, token), file(&self.job, "ca.pem"));
        let (token, ca) = (token.display().to_string(), ca.display().to_string());
        let way = ["--url", &*url, "--token-file", &token, "--ca-file", &ca];
        self.job.lab.run("b1", &[&[&*tidegate], arguments, &way].concat())
    }

    /// Sends this over TLS from an address of the rogue's: the number of the answer, zero for none.
    fn sent(&self, from: Ipv4Addr, octets: &[u8]) -> u16 {
        let tls = Arc::clone(&self.tls);
        let said = move || -> Result<String> {
            let stream = connect(from)?;
            let name = ServerName::try_from(EDGE[0])?;
            let mut stream = StreamOwned::new(ClientConnection::new(tls, name)?, stream);
            // Whoever is refused before all of it was read is cut off: that is no failure.
            drop(stream.write_all(octets));
            let mut said = Vec::new();
            drop(stream.read_to_end(&mut said));
            Ok(String::from_utf8_lossy(&said).into_owned())
        };
        let said = self.job.lab.inside("rogue", said).unwrap().unwrap_or_default();
        said.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn peer(&self) -> Value {
        let peers: Value =
            serde_json::from_str(&self.job.tidegate(&["peers", "-o", "json"]).unwrap()).unwrap();
        peers["peers"][0].clone()
    }
}

fn request(method: &str, path: &str, token: &str, length: usize) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\n\r\n",
        EDGE[0]
    )
    .into_bytes()
}

fn rogue(id: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 100 + id % ADDRESSES)
}

fn connect(from: Ipv4Addr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    let to: SocketAddr = format!("{}:{}", EDGE[0], PORTS[0]).parse()?;
    socket.connect_timeout(&to.into(), SOON)?;
    socket.set_read_timeout(Some(SOON))?;
    socket.set_write_timeout(Some(SOON))?;
    Ok(socket.into())
}

/// Connections that are being opened or open, all of them at once; nobody says a word on them.
fn open_many() -> Result<Vec<Socket>> {
    let to: SocketAddr = format!("{}:{}", EDGE[0], PORTS[0]).parse()?;
    let mut open = Vec::new();
    for number in 0..OPEN {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let from = rogue(u8::try_from(number % usize::from(ADDRESSES))?);
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.set_nonblocking(true)?;
        // It goes on by itself: what is wanted here is that it has begun.
        drop(socket.connect(&to.into()));
        open.push(socket);
    }
    Ok(open)
}

/// Memory that a process holds, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// Wrong tokens, huge bodies and slow clients get the answers that are theirs.
fn each_by_itself(lab: &Hostile) {
    let [looks, ops] = &lab.tokens;
    let get = |token: &str| request("GET", "/api/v1/status", token, 0);
    assert_eq!(lab.sent(rogue(1), &get(looks)), 200);
    let guesses: Vec<u16> =
        (0..100).map(|guess| lab.sent(rogue(2), &get(&format!("tidegate_{guess:043}")))).collect();
    assert_eq!(guesses[0], 401, "{guesses:?}");
    assert!(guesses.iter().all(|it| [401, 429].contains(it)), "{guesses:?}");
    assert_eq!(lab.sent(rogue(2), &get(looks)), 200, "who is known is not taken for who guesses");

    // Refused by its head; whoever sends all of it may be cut off before it reads why.
    const HUGE: usize = 32 << 20;
    for (token, refusal) in [("tidegate_wrong", 401), (looks, 403), (ops, 413)] {
        let head = request("POST", "/api/v1/apply", token, HUGE);
        assert_eq!(lab.sent(rogue(3), &head), refusal);
        let said = lab.sent(rogue(3), &[head, vec![b'x'; HUGE]].concat());
        assert!([refusal, 0].contains(&said), "{said} instead of {refusal}");
    }

    // The body, and the head, that never end.
    assert_eq!(lab.sent(rogue(4), &request("POST", "/api/v1/apply", ops, 10)), 408);
    assert_eq!(lab.sent(rogue(4), b"GET /api/v1/status HTTP/1.1\r\nx-slow: "), 0);
    // No TLS at all, rubbish and half a handshake.
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4000], &[0x16, 3, 1, 2, 0, 1]] {
        let said = lab.job.lab.inside("rogue", || {
            let mut stream = connect(rogue(5)).unwrap();
            drop(stream.write_all(words));
            let mut said = Vec::new();
            drop(stream.read_to_end(&mut said));
            said
        });
        assert!(!String::from_utf8_lossy(&said.unwrap()).contains("HTTP"));
    }
}

/// What the Unix socket answers while `act` goes on: how often, and the longest time it took.
fn answers_while<T: Send>(lab: &Hostile, act: impl FnOnce() -> T + Send) -> (T, usize, Duration) {
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                lab.job.tidegate(&["status"]).unwrap();
                longest = longest.max(start.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
            }
            longest
        });
        let done = act();
        over.store(true, Ordering::Relaxed);
        (done, count.load(Ordering::Relaxed), asking.join().unwrap())
    })
}

#[test]
fn hostile_callers_move_no_session_lose_no_datagram_and_keep_nobody_from_the_socket() {
    // As many descriptors as connections; a test may have fewer to begin with.
    let this = std::process::id().to_string();
    let limit = format!("--nofile={}", OPEN + 2_000);
    let raised = std::process::Command::new("prlimit").args(["--pid", &this, &limit]).status();
    assert!(raised.unwrap().success(), "{OPEN} descriptors are needed");

    let mut lab = Hostile::new();
    let pid = lab.job.edge().unwrap().pid();
    let before = lab.peer();
    let held_before = resident_kib(pid);
    let udp = SocketAddr::new(VIP_V4.addr.parse().unwrap(), PORTS[1]);
    let traffic = lab.job.lab.inside("client", || Traffic::start(&[], 0, udp)).unwrap().unwrap();

    each_by_itself(&lab);
    let flood = || -> Result<usize> {
        lab.job.lab.inside("rogue", || {
            let open = open_many()?;
            thread::sleep(HELD_FOR);
            let connected = open.iter().filter(|it| it.peer_addr().is_ok()).count();
            Ok(connected)
        })?
    };
    let (connected, answered, longest) = answers_while(&lab, flood);
    let held_during = resident_kib(pid);
    let connected = connected.unwrap();
    assert!(connected > 200, "the listener was not full: {connected}");
    assert!(answered > 3 && longest < ANSWER_MAX, "{answered} answers, the longest {longest:?}");

    // When they have gone, whoever means well is let in again, and changes what he may.
    lab.job
        .lab
        .wait_for("an answer over TCP", SOON, || lab.elsewhere("looks", &["status"]))
        .unwrap();
    let denied = lab.elsewhere("looks", &["drain", "backend", "echo", BACKENDS[2].1[0]]);
    let denied = denied.unwrap_err().to_string();
    assert!(denied.contains("token looks is read-only"), "{denied}");
    lab.elsewhere("ops", &["apply"]).unwrap();

    let outcome = traffic.finish().unwrap();
    let (sent, lost) = outcome.datagrams();
    assert!(sent > 5_000, "{sent} datagrams");
    assert_eq!(lost, 0, "of {sent} datagrams");
    lab.job.edge().unwrap().alive().unwrap();
    let after = lab.peer();
    assert_eq!((&after["flaps"], &after["since"]), (&before["flaps"], &before["since"]), "{after}");
    lab.job.bird.established(&lab.job.lab, "edge").unwrap();
    let grown = held_during.max(resident_kib(pid)).saturating_sub(held_before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more than before");
    audited(&mut lab);
    eprintln!(
        "{connected} of {OPEN} connected, {answered} answers on the socket meanwhile, the longest \
         after {longest:?}; {grown} KiB more; {sent} datagrams, none lost"
    );
    for echo in &mut lab.echoes {
        echo.alive().unwrap();
    }
}

/// Who changed what is told, and no secret is.
fn audited(lab: &mut Hostile) {
    let events = |kind: &str| -> Vec<Value> {
        let told = lab.job.tidegate(&["events", "--kind", kind, "-o", "json"]).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        told["events"].as_array().context("no events").unwrap().clone()
    };
    let changed = events("api-changed");
    let by_ops =
        changed.iter().find(|it| it["text"].to_string().contains("token ops (203.0.113.11)"));
    let by_ops = by_ops.with_context(|| format!("{changed:?}")).unwrap();
    assert!(by_ops["text"].to_string().contains("POST /api/v1/apply"), "{by_ops}");
    let refused = events("api-refused");
    let of_looks = |it: &Value| it["text"].to_string().contains("token looks");
    assert!(refused.iter().any(of_looks), "{refused:?}");
    let printed = lab.job.edge().unwrap().printed();
    for token in &lab.tokens {
        assert!(!printed.contains(token), "a token is in the log");
    }
}
