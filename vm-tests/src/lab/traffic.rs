//! What clients notice of a change: connections that stay, connections that come and go, and
//! datagrams at a constant rate, all through it, and what became of each.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::{Client, Holding, Load, tally};

/// Clients that open one connection after the other.
const CALLERS: usize = 4;
/// Between two of their connections.
const CALL_PAUSE: Duration = Duration::from_millis(5);
/// Sockets that send datagrams, each on its own.
const SENDERS: usize = 8;
/// Between two datagrams of one of them.
const SEND_PAUSE: Duration = Duration::from_millis(5);
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A datagram: its number, then octets that say the same.
const DATAGRAM: usize = 64;

/// Answers datagrams with this server's name and what they hold, until killed. The address is
/// one of its own, so that answers come from where questions went to.
///
/// # Errors
/// When the address is not there, or taken.
pub fn echo(name: &str, at: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    let mut question = [0; DATAGRAM];
    loop {
        // A client that is gone is its own concern.
        let Ok((len, client)) = socket.recv_from(&mut question) else { continue };
        let answer = [question.get(..len).unwrap_or_default(), name.as_bytes()].concat();
        socket.send_to(&answer, client).ok();
    }
}

/// Traffic that goes on until it is told to end.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    held: Vec<Holding>,
    callers: Vec<JoinHandle<Load>>,
    senders: Vec<JoinHandle<io::Result<Stream>>>,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Connections that stayed, of all that were there; and requests answered on them.
    pub held: usize,
    /// Requests answered on them.
    pub answered: usize,
    /// Those that broke: by the backend that they were with, and why.
    pub broken: Vec<(String, String)>,
    /// Connections that came and went.
    pub calls: Load,
    /// Datagrams.
    pub streams: Vec<Stream>,
}

/// What became of one socket's datagrams.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Sent.
    pub sent: usize,
    /// Numbers of those that nobody answered; one is sent every 5 ms, if not later.
    pub lost: Vec<u64>,
    /// Answers that say something else than was sent.
    pub wrong: usize,
    /// Whoever answered, in this order.
    pub backends: Vec<String>,
}

impl Outcome {
    /// Connections that broke though the backend that they were with is none of these.
    pub fn broken_but_of(&self, dead: &[&str]) -> usize {
        self.broken.iter().filter(|(backend, _)| !dead.contains(&&**backend)).count()
    }

    /// Datagrams sent, and those that nobody answered.
    pub fn datagrams(&self) -> (usize, usize) {
        let sent: usize = self.streams.iter().map(|it| it.sent).sum();
        (sent, self.streams.iter().map(|it| it.lost.len()).sum())
    }

    /// Flows of datagrams that another backend answered than before, though that one is none of
    /// these; and answers that say something wrong.
    pub fn moved_but_of(&self, dead: &[&str]) -> usize {
        let moved = |stream: &&Stream| {
            stream.backends.iter().rev().skip(1).any(|left| !dead.contains(&&**left))
        };
        self.streams.iter().filter(moved).count()
    }
}

impl Traffic {
    /// Opens connections to all of `web` and sends datagrams to `udp`, from this thread's host.
    ///
    /// # Errors
    /// When not all connections are answered.
    pub fn start(web: &[SocketAddr], connections: usize, udp: SocketAddr) -> io::Result<Self> {
        let held = web.iter().map(|&to| Holding::start(to, connections));
        let held = held.collect::<io::Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let callers = web.iter().cycle().take(CALLERS).map(|&to| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || call(to, &stop))
        });
        let callers = callers.collect();
        let senders = (0..SENDERS).map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || send(udp, &stop))
        });
        let senders = senders.collect();
        Ok(Self { stop, held, callers, senders })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When datagrams could not be sent at all.
    pub fn finish(self) -> io::Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcome = Outcome::default();
        for held in self.held.into_iter().flat_map(Holding::finish) {
            outcome.held += 1;
            outcome.answered += held.answered;
            outcome.broken.extend(held.broken.map(|why| (held.backend, why)));
        }
        let calls = self.callers.into_iter().filter_map(|it| it.join().ok());
        outcome.calls = calls.fold(Load::default(), Load::and);
        let streams = self.senders.into_iter().filter_map(|it| it.join().ok());
        outcome.streams = streams.collect::<io::Result<_>>()?;
        Ok(outcome)
    }
}

/// One connection after the other.
fn call(to: SocketAddr, stop: &AtomicBool) -> Load {
    let mut outcomes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let answer = Client::connect(to).and_then(|mut client| client.ask("close"));
        outcomes.push((answer, start.elapsed()));
        thread::sleep(CALL_PAUSE);
    }
    tally(outcomes)
}

/// One datagram after the other, not faster than by the clock, and whatever comes back meanwhile.
fn send(to: SocketAddr, stop: &AtomicBool) -> io::Result<Stream> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    let mut stream = Stream::default();
    let mut waited_for = BTreeSet::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let number = stream.sent as u64;
        // A host that is away says so by ICMP, to the next call: then this one is lost.
        socket.send(&datagram(number)).ok();
        waited_for.insert(number);
        stream.sent += 1;
        // Who was kept from sending does not make up for it: a burst is more than queues hold.
        due = (due + SEND_PAUSE).max(Instant::now());
        take_until(&socket, due, &mut waited_for, &mut stream)?;
    }
    let end = Instant::now() + ANSWER_MAX;
    while !waited_for.is_empty() && Instant::now() < end {
        let soon = Instant::now() + Duration::from_millis(20);
        take_until(&socket, soon, &mut waited_for, &mut stream)?;
    }
    stream.lost.extend(waited_for);
    Ok(stream)
}

fn take_until(
    socket: &UdpSocket,
    end: Instant,
    waited_for: &mut BTreeSet<u64>,
    stream: &mut Stream,
) -> io::Result<()> {
    let mut answer = [0; DATAGRAM * 2];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        socket.set_read_timeout(Some(left.max(Duration::from_micros(1))))?;
        // Silence, or ICMP's word for it.
        let Ok(len) = socket.recv(&mut answer) else { continue };
        let answer = answer.get(..len).unwrap_or_default();
        let Some((number, name)) = understood(answer) else {
            stream.wrong += 1;
            continue;
        };
        if waited_for.remove(&number) && stream.backends.last() != Some(&name) {
            stream.backends.push(name);
        }
    }
}

/// A number, eight times.
fn datagram(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(DATAGRAM / 8)
}

fn understood(answer: &[u8]) -> Option<(u64, String)> {
    let (question, name) = answer.split_at_checked(DATAGRAM)?;
    let number = u64::from_be_bytes(*question.first_chunk()?);
    let name = str::from_utf8(name).ok()?.to_owned();
    (question == datagram(number)).then_some((number, name))
}

impl Load {
    /// Both together; of times, the longer ones.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        fn add<K: Ord>(to: &mut BTreeMap<K, usize>, from: BTreeMap<K, usize>) {
            for (key, count) in from {
                *to.entry(key).or_default() += count;
            }
        }
        self.answered += other.answered;
        add(&mut self.failed, other.failed);
        add(&mut self.backends, other.backends);
        add(&mut self.clients, other.clients);
        self.median_micros = self.median_micros.max(other.median_micros);
        self.p99_micros = self.p99_micros.max(other.p99_micros);
        self.max_micros = self.max_micros.max(other.max_micros);
        self
    }
}
