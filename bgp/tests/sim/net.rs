//! A network in memory: whole speakers, TCP as far as BGP can see it, time that only moves when
//! nothing else can happen. The seed decides delays and how streams are cut.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_bgp::bmp::WallTime;
use tidegate_bgp::fsm::History;
use tidegate_bgp::rng::Rng;
use tidegate_bgp::speaker::{
    Action, ConnEvent, ConnId, Dump, DumpCursor, Local, NextHops, Order, PeerConfig, PeerStatus,
    Refreshed, Report, RouteAttributes, Speaker, State, Way,
};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::{Asn, Prefix, RouterId};

/// The last steps are enough to see what went wrong.
const TRACE_LINES: usize = 200;

pub(crate) type Name = &'static str;

/// What a run can be repeated by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

/// Printed, with the seed, by any test that panics while it holds one.
pub(crate) struct Sim {
    pub(crate) now: Timestamp,
    seed: Seed,
    rng: Rng,
    delay_max: Duration,
    nodes: BTreeMap<Name, Node>,
    pipes: Vec<Pipe>,
    agenda: BTreeMap<(Timestamp, u64), Happening>,
    agenda_seq: u64,
    /// Pairs of nodes between which nothing arrives.
    dark: BTreeSet<(Name, Name)>,
    trace: VecDeque<String>,
}

struct Node {
    number: u8,
    local: Local,
    /// `None`: switched off; its host answers SYNs with RST.
    speaker: Option<Speaker>,
    reports: Vec<(Timestamp, Report)>,
}

/// One TCP connection; end 0 dialled.
struct Pipe {
    ends: [End; 2],
    /// What is on its way to end 0 and to end 1.
    ways: [VecDeque<(Timestamp, Parcel)>; 2],
}

struct End {
    node: Name,
    conn: Option<ConnId>,
    tcp: Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tcp {
    /// The speaker does not know it yet, or has not been told that it is up.
    Opening,
    Open,
    Closed,
}

enum Parcel {
    Bytes(Vec<u8>),
    Fin,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The SYN reaches the other host.
    Syn(usize),
    /// The dialler hears that it is up.
    SynAck(usize),
    /// Nobody listens there.
    Refused(usize),
    /// The listener is handed the connection.
    Accept(usize),
    /// Something has reached this end of the pipe.
    Arrive(usize, usize),
}

impl Sim {
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            now: Timestamp::default(),
            seed,
            rng: Rng::new(seed.0),
            delay_max: Duration::from_millis(50),
            nodes: BTreeMap::new(),
            pipes: Vec::new(),
            agenda: BTreeMap::new(),
            agenda_seq: 0,
            dark: BTreeSet::new(),
            trace: VecDeque::new(),
        }
    }

    /// Node number `number`: 10.0.0.`number`, which is its identifier too, in AS `asn`.
    pub(crate) fn node(mut self, name: Name, number: u8, asn: u32) -> Self {
        let router_id = RouterId::new(address(number)).unwrap();
        let local = Local { asn: Asn::new(asn).unwrap(), router_id };
        let speaker = Some(Speaker::new(local, self.rng.next_u64()));
        self.nodes.insert(name, Node { number, local, speaker, reports: Vec::new() });
        self
    }

    /// How `a` is configured to peer with `b`.
    pub(crate) fn config(&self, a: Name, b: Name) -> PeerConfig {
        assert_ne!(a, b);
        let remote = &self.nodes[b];
        let there = SocketAddr::new(IpAddr::V4(address(remote.number)), 179);
        PeerConfig::new(b.into(), there, remote.local.asn)
    }

    /// Configures each to peer with the other.
    pub(crate) fn link(mut self, a: Name, b: Name) -> Self {
        for (one, other) in [(a, b), (b, a)] {
            let config = self.config(one, other);
            self.order(one, Order::PutPeer(config));
        }
        self
    }

    pub(crate) fn established(mut self) -> Self {
        self.run_until(Duration::from_secs(30), "everybody Established", Self::all_established);
        self
    }

    pub(crate) fn all_established(&self) -> bool {
        self.nodes
            .values()
            .flat_map(|node| &node.speaker)
            .flat_map(Speaker::peers)
            .all(|peer| is_up(&peer))
    }

    pub(crate) fn order(&mut self, name: Name, order: Order) {
        self.note(format_args!("{name}: order {order:?}"));
        self.input(name, |speaker, now, out| speaker.on_order(now, order, out));
    }

    pub(crate) fn refresh(&mut self, name: Name, peer: Name, way: Way) -> Refreshed {
        self.note(format_args!("{name}: refresh {peer} {way:?}"));
        let mut came = Refreshed::UnknownPeer;
        self.input(name, |speaker, now, out| came = speaker.refresh(now, peer, way, out));
        came
    }

    /// A stretch of a dump.
    pub(crate) fn dump(&mut self, name: Name, from: Option<DumpCursor>) -> Dump {
        let mut dump = None;
        let time = WallTime::default();
        self.input(name, |speaker, now, _| dump = Some(speaker.dump(now, time, from)));
        dump.unwrap()
    }

    pub(crate) fn advertise(&mut self, name: Name, prefix: &str) {
        self.order(name, Order::Advertise(host(prefix), RouteAttributes::default()));
    }

    pub(crate) fn withdraw(&mut self, name: Name, prefix: &str) {
        self.order(name, Order::Withdraw(host(prefix)));
    }

    /// The process dies: the kernel closes its connections, nothing listens.
    pub(crate) fn kill(&mut self, name: Name) {
        self.note(format_args!("{name}: killed"));
        self.nodes.get_mut(name).unwrap().speaker = None;
        for pipe in 0..self.pipes.len() {
            for end in 0..2 {
                if self.pipes[pipe].ends[end].node == name {
                    self.close(pipe, end);
                }
            }
        }
    }

    /// A new process, with nothing configured.
    pub(crate) fn revive(&mut self, name: Name) {
        self.note(format_args!("{name}: revived"));
        let seed = self.rng.next_u64();
        let node = self.nodes.get_mut(name).unwrap();
        node.speaker = Some(Speaker::new(node.local, seed));
    }

    /// From now on nothing arrives between the two; TCP stays up.
    pub(crate) fn blackhole(&mut self, a: Name, b: Name) {
        self.note(format_args!("{a}-{b}: dark"));
        self.dark.insert(pair(a, b));
    }

    pub(crate) fn restore(&mut self, a: Name, b: Name) {
        self.note(format_args!("{a}-{b}: light"));
        self.dark.remove(&pair(a, b));
    }

    /// Both ends of every connection between the two find it broken.
    pub(crate) fn cut(&mut self, a: Name, b: Name) {
        self.note(format_args!("{a}-{b}: cut"));
        for pipe in 0..self.pipes.len() {
            if pair(self.pipes[pipe].ends[0].node, self.pipes[pipe].ends[1].node) == pair(a, b) {
                self.pipes[pipe].ways = Default::default();
                for end in 0..2 {
                    self.fin(pipe, end);
                }
            }
        }
    }

    /// Puts bytes into the stream to `to`, as if `from` had sent them.
    pub(crate) fn inject(&mut self, from: Name, to: Name, bytes: &[u8]) {
        let (pipe, end) = self.open_pipe(to, from).unwrap();
        self.send(pipe, 1 - end, bytes);
    }

    pub(crate) fn peers(&self, name: Name) -> Vec<PeerStatus> {
        self.nodes[name].speaker.as_ref().map_or(Vec::new(), Speaker::peers)
    }

    pub(crate) fn history(&self, name: Name, peer: Name) -> History {
        self.nodes[name].speaker.as_ref().unwrap().history(peer).unwrap().clone()
    }

    pub(crate) fn peer(&self, name: Name, peer: Name) -> PeerStatus {
        let speaker = self.nodes[name].speaker.as_ref().unwrap();
        speaker.peers().into_iter().find(|status| &*status.name == peer).unwrap()
    }

    pub(crate) fn state(&self, name: Name, peer: Name) -> State {
        self.peer(name, peer).state
    }

    pub(crate) fn reports(&self, name: Name) -> &[(Timestamp, Report)] {
        &self.nodes[name].reports
    }

    /// Connections between the two that both ends hold open.
    pub(crate) fn connections(&self, a: Name, b: Name) -> usize {
        let is_whole = |pipe: &&Pipe| {
            pair(pipe.ends[0].node, pipe.ends[1].node) == pair(a, b)
                && pipe.ends.iter().all(|end| end.tcp == Tcp::Open)
        };
        self.pipes.iter().filter(is_whole).count()
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.advance(end) {}
        self.now = end;
    }

    /// # Panics
    /// When `bound` is over first.
    pub(crate) fn run_until(
        &mut self,
        bound: Duration,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) {
        let end = self.now + bound;
        while !condition(self) {
            assert!(self.advance(end), "not within {bound:?}: {what}");
        }
    }

    /// One step, if there is one not later than `end`.
    fn advance(&mut self, end: Timestamp) -> bool {
        let happening = self.agenda.first_key_value().map(|(key, _)| *key);
        let timer = self
            .nodes
            .iter()
            .filter_map(|(name, node)| Some((node.speaker.as_ref()?.next_deadline()?, *name)))
            .min();
        match (happening, timer) {
            (Some(key), timer) if key.0 <= end && timer.is_none_or(|(at, _)| key.0 <= at) => {
                self.now = key.0;
                let happening = self.agenda.remove(&key).unwrap();
                self.happen(happening);
            }
            (_, Some((at, name))) if at <= end => {
                assert!(at >= self.now, "{name} wanted to be woken in the past");
                self.now = at;
                self.note(format_args!("{name}: timer"));
                self.input(name, |_, _, _| {});
            }
            _ => return false,
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Syn(pipe) => {
                let [from, to] = self.nodes_of(pipe);
                if self.dark.contains(&pair(from, to)) {
                    return;
                }
                if self.nodes[to].speaker.is_none() {
                    return self.later(Happening::Refused(pipe));
                }
                self.later(Happening::SynAck(pipe));
                self.later(Happening::Accept(pipe));
            }
            Happening::Refused(pipe) => {
                self.pipes[pipe].ends[1].tcp = Tcp::Closed;
                self.tell_closed(pipe, 0);
            }
            Happening::SynAck(pipe) => self.connected(pipe),
            Happening::Accept(pipe) => self.accept(pipe),
            Happening::Arrive(pipe, end) => self.arrive(pipe, end),
        }
    }

    fn connected(&mut self, pipe: usize) {
        let end = &mut self.pipes[pipe].ends[0];
        if end.tcp != Tcp::Opening {
            return;
        }
        end.tcp = Tcp::Open;
        let (name, conn) = (end.node, end.conn.unwrap());
        let next_hops = self.next_hops(name);
        self.note(format_args!("{name}: {conn:?} connected"));
        let event = ConnEvent::Connected { conn, next_hops };
        self.input(name, |speaker, now, out| speaker.on_conn(now, event, out));
        self.arrive(pipe, 0);
    }

    fn accept(&mut self, pipe: usize) {
        let [from, to] = self.nodes_of(pipe);
        if self.pipes[pipe].ends[1].tcp != Tcp::Opening || self.nodes[to].speaker.is_none() {
            return;
        }
        let remote = SocketAddr::new(IpAddr::V4(address(self.nodes[from].number)), 40_000);
        let next_hops = self.next_hops(to);
        let mut out = Vec::new();
        let speaker = self.nodes.get_mut(to).unwrap().speaker.as_mut().unwrap();
        let conn = speaker.accept(self.now, remote, next_hops, &mut out);
        self.note(format_args!("{to}: accepts from {from}: {conn:?}"));
        self.pipes[pipe].ends[1].conn = conn;
        if conn.is_some() {
            self.pipes[pipe].ends[1].tcp = Tcp::Open;
        } else {
            self.close(pipe, 1);
        }
        self.perform(to, out);
        self.input(to, |_, _, _| {});
        self.arrive(pipe, 1);
    }

    /// Hands over all that has arrived by now, in one piece.
    fn arrive(&mut self, pipe: usize, end: usize) {
        let mut bytes = Vec::new();
        let mut fin = false;
        if self.pipes[pipe].ends[end].tcp != Tcp::Open {
            return;
        }
        while let Some((at, _)) = self.pipes[pipe].ways[end].front() {
            if *at > self.now {
                break;
            }
            match self.pipes[pipe].ways[end].pop_front().unwrap().1 {
                Parcel::Bytes(more) => bytes.extend(more),
                Parcel::Fin => fin = true,
            }
        }
        let (name, conn) = (self.pipes[pipe].ends[end].node, self.pipes[pipe].ends[end].conn);
        let conn = conn.unwrap();
        if !bytes.is_empty() {
            self.note(format_args!("{name}: {conn:?} {} octets", bytes.len()));
            self.input(name, |speaker, now, out| speaker.on_bytes(now, conn, &bytes, out));
        }
        if fin {
            self.tell_closed(pipe, end);
        }
    }

    fn tell_closed(&mut self, pipe: usize, end: usize) {
        let was = core::mem::replace(&mut self.pipes[pipe].ends[end].tcp, Tcp::Closed);
        let (name, conn) = (self.pipes[pipe].ends[end].node, self.pipes[pipe].ends[end].conn);
        let event = match (was, conn) {
            (Tcp::Opening, Some(conn)) => ConnEvent::ConnectFailed { conn },
            (Tcp::Open, Some(conn)) => ConnEvent::Closed { conn },
            (_, None) | (Tcp::Closed, _) => return,
        };
        self.note(format_args!("{name}: {event:?}"));
        self.input(name, |speaker, now, out| speaker.on_conn(now, event, out));
    }

    /// One input to a speaker, then what the shell does every turn.
    fn input(&mut self, name: Name, input: impl FnOnce(&mut Speaker, Timestamp, &mut Vec<Action>)) {
        let now = self.now;
        let Some(speaker) = self.nodes.get_mut(name).unwrap().speaker.as_mut() else { return };
        let mut out = Vec::new();
        input(speaker, now, &mut out);
        speaker.on_time(now, &mut out);
        speaker.transmit_all(now, &mut out);
        let next = speaker.next_deadline();
        assert!(next.is_none_or(|next| next > now), "{name}: something due was not done");
        self.perform(name, out);
    }

    fn perform(&mut self, name: Name, out: Vec<Action>) {
        for action in out {
            match action {
                Action::Dial { peer, conn, to, .. } => {
                    self.note(format_args!("{name}: dials {peer} as {conn:?}"));
                    self.dial(name, conn, to);
                }
                Action::Send { conn, bytes } => {
                    let kind = bytes[18];
                    self.note(format_args!("{name}: {conn:?} sends type {kind}, {bytes:?}"));
                    let (pipe, end) = self.end_of(name, conn);
                    let tcp = self.pipes[pipe].ends[end].tcp;
                    assert_eq!(tcp, Tcp::Open, "{name} sends on {conn:?}");
                    self.send(pipe, end, &bytes);
                }
                Action::Close { conn } => {
                    self.note(format_args!("{name}: closes {conn:?}"));
                    let (pipe, end) = self.end_of(name, conn);
                    let tcp = self.pipes[pipe].ends[end].tcp;
                    assert_ne!(tcp, Tcp::Closed, "{name} closes {conn:?} again");
                    self.close(pipe, end);
                }
                Action::Heard(_) => {}
                Action::Report(report) => {
                    self.note(format_args!("{name}: {report:?}"));
                    let now = self.now;
                    self.nodes.get_mut(name).unwrap().reports.push((now, report));
                }
            }
        }
    }

    fn dial(&mut self, name: Name, conn: ConnId, to: SocketAddr) {
        let is_there = |node: &Node| IpAddr::V4(address(node.number)) == to.ip();
        let there = *self.nodes.iter().find(|(_, node)| is_there(node)).unwrap().0;
        let end = |node, conn| End { node, conn, tcp: Tcp::Opening };
        let ends = [end(name, Some(conn)), end(there, None)];
        self.pipes.push(Pipe { ends, ways: Default::default() });
        self.later(Happening::Syn(self.pipes.len() - 1));
    }

    /// Cut at random places, each piece with a delay of its own, in order.
    fn send(&mut self, pipe: usize, end: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // As often whole as cut.
            let at = self.below(2 * u64::try_from(rest.len()).unwrap());
            let at = usize::try_from(at).unwrap().clamp(1, rest.len());
            let (piece, after) = rest.split_at(at);
            self.post(pipe, 1 - end, Parcel::Bytes(piece.to_vec()));
            rest = after;
        }
    }

    /// This end closes. Sometimes what it had sent is lost with it, as after a RST.
    fn close(&mut self, pipe: usize, end: usize) {
        if self.pipes[pipe].ends[end].tcp == Tcp::Closed {
            return;
        }
        self.pipes[pipe].ends[end].tcp = Tcp::Closed;
        if self.below(5) == 0 {
            self.pipes[pipe].ways[1 - end].clear();
        }
        self.fin(pipe, 1 - end);
    }

    fn fin(&mut self, pipe: usize, to_end: usize) {
        self.post(pipe, to_end, Parcel::Fin);
    }

    fn post(&mut self, pipe: usize, to_end: usize, parcel: Parcel) {
        let [a, b] = self.nodes_of(pipe);
        if self.dark.contains(&pair(a, b)) {
            return;
        }
        let last = self.pipes[pipe].ways[to_end].back().map_or(self.now, |(at, _)| *at);
        let at = last.max(self.now + self.delay());
        self.pipes[pipe].ways[to_end].push_back((at, parcel));
        self.at(at, Happening::Arrive(pipe, to_end));
    }

    fn later(&mut self, happening: Happening) {
        let at = self.now + self.delay();
        self.at(at, happening);
    }

    fn at(&mut self, at: Timestamp, happening: Happening) {
        self.agenda_seq += 1;
        self.agenda.insert((at, self.agenda_seq), happening);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(self.below(u64::try_from(self.delay_max.as_micros()).unwrap()))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn end_of(&self, name: Name, conn: ConnId) -> (usize, usize) {
        // The newest: a revived node counts from one again.
        let is_it = |end: &End| end.node == name && end.conn == Some(conn);
        let ends = self.pipes.iter().enumerate().rev();
        let mut found =
            ends.filter_map(|(pipe, p)| p.ends.iter().position(is_it).map(|end| (pipe, end)));
        found.next().unwrap()
    }

    fn open_pipe(&self, name: Name, peer: Name) -> Option<(usize, usize)> {
        self.pipes.iter().enumerate().find_map(|(pipe, p)| {
            let end = p.ends.iter().position(|end| end.node == name)?;
            let is_open = p.ends.iter().all(|end| end.tcp == Tcp::Open);
            (p.ends[1 - end].node == peer && is_open).then_some((pipe, end))
        })
    }

    fn nodes_of(&self, pipe: usize) -> [Name; 2] {
        [self.pipes[pipe].ends[0].node, self.pipes[pipe].ends[1].node]
    }

    fn next_hops(&self, name: Name) -> NextHops {
        let number = self.nodes[name].number;
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number));
        NextHops { v4: Some(address(number)), v6: Some(v6) }
    }

    fn note(&mut self, what: fmt::Arguments<'_>) {
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        let secs = Duration::from_nanos(self.now.as_nanos()).as_secs_f64();
        self.trace.push_back(format!("{secs:10.6} {what}"));
    }
}

impl Drop for Sim {
    #[expect(clippy::print_stderr, reason = "this is how a failure is understood")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let trace: Vec<&str> = self.trace.iter().map(String::as_str).collect();
            eprintln!("{:?}, the last steps:\n{}", self.seed, trace.join("\n"));
        }
    }
}

pub(crate) fn host(addr: &str) -> Prefix {
    Prefix::host(addr.parse().unwrap())
}

fn is_up(peer: &PeerStatus) -> bool {
    peer.state == State::Established
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

fn pair(a: Name, b: Name) -> (Name, Name) {
    (a.min(b), a.max(b))
}
