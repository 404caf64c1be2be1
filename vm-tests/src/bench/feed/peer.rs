//! Our ends of the sessions: senders that write as fast as the daemon reads, and a receiver that
//! knows what it ought to hear.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};
use tidegate_bgp::types::{Asn, HoldTime, RouterId};
use tidegate_bgp::wire::{self, Capability, Open};

use super::table::{self, SENDER_AS};

/// A session that does not come up, or a table that does not come through.
const WITHIN: Duration = Duration::from_mins(2);

/// A session that is up.
pub struct Session {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Opens a session from one of our addresses and waits until it is up.
///
/// # Errors
/// When the daemon does not want it.
pub fn open(from: u32, asn: u32, to: SocketAddr, hold_secs: u16) -> Result<Session> {
    let until = Instant::now() + WITHIN;
    loop {
        match try_open(from, asn, to, hold_secs) {
            Ok(session) => return Ok(session),
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(200)),
            Err(error) => return Err(error),
        }
    }
}

fn try_open(from: u32, asn: u32, to: SocketAddr, hold_secs: u16) -> Result<Session> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::from_bits(from), 0)).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut session = Session { stream, buffer: Vec::new() };
    let asn = Asn::new(asn).context("AS 0")?;
    session.stream.write_all(&hello(from, asn, hold_secs)?)?;
    // Its OPEN, its KEEPALIVE.
    for kind in [1, 4] {
        let message = session.message()?;
        ensure!(message.get(18) == Some(&kind), "not what was expected: {message:?}");
    }
    session.stream.set_read_timeout(Some(WITHIN))?;
    Ok(session)
}

/// What a speaker at this address says first: OPEN and KEEPALIVE.
///
/// # Errors
/// For a hold time of one or two seconds.
pub fn hello(from: u32, asn: Asn, hold_secs: u16) -> Result<Vec<u8>> {
    let open = Open {
        my_as: u16::try_from(asn.get()).unwrap_or(Asn::TRANS),
        hold_time: HoldTime::from_secs(hold_secs)?,
        router_id: RouterId::new(Ipv4Addr::from_bits(from)).context("no identifier")?,
        capabilities: vec![
            Capability::Multiprotocol { afi: 1, safi: 1 },
            Capability::RouteRefresh,
            Capability::FourOctetAs(asn),
        ],
    };
    Ok([wire::encode_open(&open), wire::encode_keepalive()].concat())
}

impl Session {
    /// One whole message.
    fn message(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(len) = message_len(&self.buffer)
                && self.buffer.len() >= len
            {
                let rest = self.buffer.split_off(len);
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut chunk = vec![0; 1 << 18];
        let read = self.stream.read(&mut chunk)?;
        ensure!(read > 0, "the daemon has closed the session");
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(())
    }

    /// Another handle on it, to write.
    ///
    /// # Errors
    /// Without descriptors.
    pub fn writer(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    /// Reads and forgets until the session ends.
    pub fn drain(mut self) {
        while self.fill().is_ok() {
            self.buffer.clear();
        }
    }

    /// Ends it for both directions.
    pub fn close(&self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }

    /// The longest pause between two messages until `until`.
    ///
    /// # Errors
    /// When the session ends.
    pub fn longest_pause(&mut self, until: Instant) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        while Instant::now() < until {
            self.message()?;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        Ok(longest)
    }
}

fn message_len(bytes: &[u8]) -> Option<usize> {
    match bytes.get(16..18)? {
        [high, low] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// Writes a whole table.
///
/// # Errors
/// When the session ends.
pub fn blast(stream: &mut TcpStream, table: &[u8]) -> Result<()> {
    stream.write_all(table).context("the daemon does not take the table")
}

/// What the receiver knows.
pub struct Receiver {
    session: Session,
    /// By prefix: the sender whose path it has, plus one; zero: none.
    holds: Vec<u8>,
    /// Prefixes by such a value.
    counts: [u32; 256],
}

impl Receiver {
    /// On a session, for so many prefixes.
    pub fn new(session: Session, prefixes: u32) -> Self {
        let mut counts = [0; 256];
        counts[0] = prefixes;
        Self { session, holds: vec![0; prefixes as usize], counts }
    }

    /// Reads until the path of this sender has come for every prefix; `None`: until there is none.
    ///
    /// # Errors
    /// When the session ends, or that does not happen in time.
    pub fn until_all_from(&mut self, sender: Option<u8>) -> Result<Instant> {
        let wanted = sender.map_or(0, |sender| usize::from(sender) + 1);
        let all = u32::try_from(self.holds.len())?;
        let until = Instant::now() + WITHIN;
        while self.counts.get(wanted) != Some(&all) {
            if Instant::now() > until {
                bail!("only {:?} of {all} came through", self.counts.get(wanted));
            }
            self.session.fill()?;
            let mut at = 0;
            let buffer = std::mem::take(&mut self.session.buffer);
            while let Some(len) = buffer.get(at..).and_then(message_len)
                && let Some(message) = buffer.get(at..at + len)
            {
                self.hear(message);
                at += len;
            }
            self.session.buffer = buffer.get(at..).unwrap_or_default().to_vec();
        }
        Ok(Instant::now())
    }

    /// An UPDATE; of its attributes only the path counts, whose second AS is the sender's.
    fn hear(&mut self, message: &[u8]) {
        let two = |at: usize| match message.get(at..at + 2) {
            Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        };
        if message.get(18) != Some(&2) {
            return;
        }
        let withdrawn = 21 + two(19);
        self.note(message.get(21..withdrawn).unwrap_or_default(), 0);
        let attributes = withdrawn + 2 + two(withdrawn);
        let announced = message.get(attributes..).unwrap_or_default();
        if announced.is_empty() {
            return;
        }
        let mut rest = message.get(withdrawn + 2..attributes).unwrap_or_default();
        while let [flags, code, tail @ ..] = rest {
            let (len, value) = match (flags & 0x10, tail) {
                (0, [len, value @ ..]) => (usize::from(*len), value),
                (_, [high, low, value @ ..]) => {
                    (usize::from(u16::from_be_bytes([*high, *low])), value)
                }
                _ => return,
            };
            if *code == 2 {
                let from = value.get(6..10).and_then(|it| it.first_chunk::<4>());
                let from = from.map_or(0, |it| u32::from_be_bytes(*it));
                let sender = u8::try_from(from.wrapping_sub(SENDER_AS)).unwrap_or(254);
                return self.note(announced, sender + 1);
            }
            rest = value.get(len..).unwrap_or_default();
        }
    }

    fn note(&mut self, mut nlri: &[u8], value: u8) {
        while let [bits, rest @ ..] = nlri {
            let len = usize::from(bits.div_ceil(8));
            let mut octets = [0; 4];
            for (to, from) in octets.iter_mut().zip(rest.get(..len).unwrap_or_default()) {
                *to = *from;
            }
            let place = table::number(octets).and_then(|number| self.holds.get_mut(number));
            if let Some(place) = place {
                if let Some(count) = self.counts.get_mut(usize::from(*place)) {
                    *count -= 1;
                }
                *place = value;
                if let Some(count) = self.counts.get_mut(usize::from(value)) {
                    *count += 1;
                }
            }
            nlri = rest.get(len..).unwrap_or_default();
        }
    }
}
