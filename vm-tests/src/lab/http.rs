//! The servers and the client of a lab, as small as HTTP/1.1 allows: a server says which backend
//! it is and whom it saw; the client counts what it was told. `lab-http` is their command line.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A connection that is silent for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Between two requests on a connection that is held.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest line of a head, and largest body, in bytes.
const SIZE_MAX: u64 = 4096;

/// What a server answers on every path but `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The server's name.
    pub backend: String,
    /// The client's address, as the server saw it.
    pub client: IpAddr,
    /// The address the client asked for.
    pub vip: IpAddr,
    /// The path it asked for, many times: an answer that is damaged or another one's shows.
    #[serde(default)]
    pub echo: String,
}

/// What became of many requests, each on a connection of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Answered with 200.
    pub answered: usize,
    /// The others: how many, by reason.
    pub failed: BTreeMap<String, usize>,
    /// Answers by backend.
    pub backends: BTreeMap<String, usize>,
    /// Answers by the client address that the backend saw.
    pub clients: BTreeMap<IpAddr, usize>,
    /// Half of the answers were there within this time, in microseconds.
    pub median_micros: u64,
    /// 99 of 100 were.
    pub p99_micros: u64,
    /// All were.
    pub max_micros: u64,
}

/// What became of one connection that was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who answered first.
    pub backend: String,
    /// Requests answered.
    pub answered: usize,
    /// Why it ended before it was told to.
    pub broken: Option<String>,
}

/// Serves on every address of this host until killed. While `sick_when` exists, `/healthz` says
/// 503; all else goes on.
///
/// # Errors
/// When the port is taken.
pub fn serve(name: &str, port: u16, sick_when: Option<&Path>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    loop {
        // A client that is gone before it was accepted is its own concern.
        let Ok((stream, client)) = listener.accept() else { continue };
        let name = name.to_owned();
        let sick_when = sick_when.map(PathBuf::from);
        thread::spawn(move || converse(&stream, client, &name, sick_when.as_deref()));
    }
}

/// Answers the requests of one connection, until the client has had enough.
fn converse(
    stream: &TcpStream,
    client: SocketAddr,
    name: &str,
    sick_when: Option<&Path>,
) -> io::Result<()> {
    let mut seen = Seen {
        backend: name.to_owned(),
        client: client.ip().to_canonical(),
        vip: stream.local_addr()?.ip().to_canonical(),
        echo: String::new(),
    };
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut answers = stream;
    loop {
        let head = read_head(&mut requests)?;
        let Some(first) = head.first() else { return Ok(()) };
        let sick = first.contains(" /healthz ") && sick_when.is_some_and(Path::exists);
        seen.echo = echo(first.split(' ').nth(1).unwrap_or_default());
        let (status, body) = if sick {
            ("503 Sick", "sick".to_owned())
        } else {
            ("200 OK", serde_json::to_string(&seen)?)
        };
        let close = head.iter().any(|line| line.eq_ignore_ascii_case("connection: close"));
        let word = if close { "close" } else { "keep-alive" };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: {word}\r\n\r\n{body}"
        );
        answers.write_all(answer.as_bytes())?;
        if close {
            return Ok(());
        }
    }
}

/// So often that it takes more than one segment.
fn echo(path: &str) -> String {
    const LEN: usize = 2_000;
    path.repeat(LEN / path.len().max(1))
}

/// The lines of a request's or an answer's head; none when the other side has closed.
fn read_head(from: &mut BufReader<TcpStream>) -> io::Result<Vec<String>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        from.by_ref().take(SIZE_MAX).read_line(&mut line)?;
        match (line.trim_end(), head.len()) {
            ("", 0) if line.is_empty() => return Ok(head),
            ("", _) if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            ("", _) => return Ok(head),
            (_, 100..) => return Err(io::Error::other("a head without an end")),
            (line, _) => head.push(line.to_owned()),
        }
    }
}

/// A client's side of one connection.
pub(super) struct Client {
    answers: BufReader<TcpStream>,
    /// Requests so far.
    requests: u64,
}

impl Client {
    pub(super) fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, SILENCE_MAX)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self { answers: BufReader::new(stream), requests: 0 })
    }

    /// Asks once; `connection` is the header of that name.
    pub(super) fn ask(&mut self, connection: &str) -> io::Result<Seen> {
        self.requests += 1;
        let path = format!("/{}", self.requests);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: vip\r\nConnection: {connection}\r\n\r\n");
        self.answers.get_mut().write_all(request.as_bytes())?;
        let head = read_head(&mut self.answers)?;
        let status = head.first().ok_or_else(|| io::Error::other("closed without an answer"))?;
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(status.clone()));
        }
        let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| io::Error::other("an answer without a length"))?;
        let mut body = Vec::new();
        self.answers.by_ref().take(SIZE_MAX.min(length)).read_to_end(&mut body)?;
        let seen: Seen = serde_json::from_slice(&body)?;
        if seen.echo != echo(&path) {
            return Err(io::Error::other("the answer is damaged"));
        }
        Ok(seen)
    }
}

/// Makes `requests` requests, each on a connection of its own, at most `concurrency` at a time.
pub fn load(to: SocketAddr, requests: usize, concurrency: usize) -> Load {
    let next = AtomicUsize::new(0);
    let (outcomes, arrived) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..concurrency {
            let (outcomes, next) = (outcomes.clone(), &next);
            scope.spawn(move || {
                while next.fetch_add(1, Ordering::Relaxed) < requests {
                    let start = Instant::now();
                    let answer = Client::connect(to).and_then(|mut client| client.ask("close"));
                    // The receiver outlives the scope.
                    drop(outcomes.send((answer, start.elapsed())));
                }
            });
        }
    });
    drop(outcomes);
    tally(arrived)
}

pub(super) fn tally(outcomes: impl IntoIterator<Item = (io::Result<Seen>, Duration)>) -> Load {
    let mut load = Load::default();
    let mut micros = Vec::new();
    for (answer, took) in outcomes {
        match answer {
            Ok(seen) => {
                load.answered += 1;
                *load.backends.entry(seen.backend).or_default() += 1;
                *load.clients.entry(seen.client).or_default() += 1;
                micros.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Err(error) => *load.failed.entry(error.to_string()).or_default() += 1,
        }
    }
    micros.sort_unstable();
    let at = |of_hundred: usize| {
        let place = (micros.len() * of_hundred).div_ceil(100).saturating_sub(1);
        micros.get(place).copied().unwrap_or(0)
    };
    (load.median_micros, load.p99_micros, load.max_micros) = (at(50), at(99), at(100));
    load
}

/// Connections that are held, each asking again and again.
pub struct Holding {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Held>>,
}

impl Holding {
    /// Opens `connections` connections and waits for the first answer on each.
    ///
    /// # Errors
    /// When not all of them get one.
    pub fn start(to: SocketAddr, connections: usize) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (first, answered) = mpsc::channel();
        let spawn = |_| {
            let (stop, first) = (Arc::clone(&stop), first.clone());
            thread::spawn(move || hold_one(to, &stop, &first))
        };
        let threads = (0..connections).map(spawn).collect();
        drop(first);
        let holding = Self { stop, threads };
        // The channel stays open until the last thread has ended, so a timeout is the way out.
        for _ in 0..connections {
            if answered.recv_timeout(SILENCE_MAX).is_err() {
                let broken = holding.finish().into_iter().filter_map(|held| held.broken);
                return Err(io::Error::other(broken.collect::<Vec<_>>().join("; ")));
            }
        }
        Ok(holding)
    }

    /// How many of the connections have ended.
    pub fn broken(&self) -> usize {
        self.threads.iter().filter(|thread| thread.is_finished()).count()
    }

    /// Lets go: what became of each connection.
    pub fn finish(self) -> Vec<Held> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    }
}

fn hold_one(to: SocketAddr, stop: &AtomicBool, first: &mpsc::Sender<()>) -> Held {
    let mut held = Held { backend: String::new(), answered: 0, broken: None };
    let mut talk = || -> io::Result<()> {
        let mut client = Client::connect(to)?;
        while !stop.load(Ordering::Relaxed) {
            let seen = client.ask("keep-alive")?;
            if held.answered == 0 {
                held.backend = seen.backend;
                // Nobody listens any more only if another connection has failed.
                first.send(()).ok();
            } else if held.backend != seen.backend {
                return Err(io::Error::other(format!("moved to {}", seen.backend)));
            }
            held.answered += 1;
            thread::sleep(PAUSE);
        }
        Ok(())
    };
    let outcome = talk();
    held.broken = outcome.err().map(|error| error.to_string());
    held
}
