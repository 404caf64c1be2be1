//! The Control Packet (RFC 5880 §4.1).

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// Of a Control Packet without authentication.
pub const PACKET_BYTES: usize = 24;

/// What the sender thinks of the session (RFC 5880 §4.1, `Sta`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// Kept down by an operator.
    AdminDown,
    /// Nothing is heard from the other side.
    Down,
    /// It is heard, and does not hear us yet.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    const fn of(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        }
    }
}

/// Why a session was last left (RFC 5880 §4.1, `Diag`); numbers without a name are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// No packet came within the Detection Time.
    pub const TIME_EXPIRED: Self = Self(1);
    /// The other side has said that the session is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);

    /// An operator keeps it down.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    /// For people, in the words of the RFC.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            _ => "unknown diagnostic",
        }
    }
}

/// A packet is not to be looked at (RFC 5880 §6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discarded {
    /// Not version 1.
    #[error("version {0}, not 1")]
    Version(u8),
    /// Shorter than a packet, or than it says.
    #[error("{0} bytes are too few")]
    Length(usize),
    /// A Detect Mult of zero.
    #[error("its detect multiplier is zero")]
    DetectMult,
    /// The Multipoint bit.
    #[error("it is a multipoint packet")]
    Multipoint,
    /// A My Discriminator of zero.
    #[error("its own discriminator is zero")]
    MyDiscriminator,
    /// It answers nobody, in a state in which it must.
    #[error("it names no session of ours, in state {}", .0.name())]
    YourDiscriminator(State),
    /// It is authenticated; we have no key.
    #[error("it is authenticated, which is not configured")]
    Authenticated,
}

/// A Control Packet, as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session was last left.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// The sender wants a packet with `fin` at once.
    pub poll: bool,
    /// The answer to `poll`.
    pub fin: bool,
    /// The sender would like to hear from us only on demand.
    pub demand: bool,
    /// So many intervals without a packet are too many.
    pub detect_mult: u8,
    /// The sender's number for the session.
    pub my_discriminator: u32,
    /// Ours, zero while the sender does not know it.
    pub your_discriminator: u32,
    /// The sender would like to send no more often, in microseconds.
    pub desired_min_tx_us: u32,
    /// The sender can take no more often, in microseconds; zero: nothing at all.
    pub required_min_rx_us: u32,
}

impl Packet {
    /// Reads a UDP payload.
    ///
    /// # Errors
    /// [`Discarded`], by the rules of §6.8.6 that need no session.
    pub fn decode(payload: &[u8]) -> Result<Self, Discarded> {
        let Some((head, _)) = payload.split_first_chunk::<PACKET_BYTES>() else {
            return Err(Discarded::Length(payload.len()));
        };
        let [first, flags, detect_mult, length, words @ ..] = head;
        let mut words = words.chunks_exact(4).map(|word| match word {
            [a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => 0,
        });
        let mut word = || words.next().unwrap_or_default();
        let packet = Self {
            diagnostic: Diagnostic(first & 0x1f),
            state: State::of(flags >> 6),
            poll: flags & 0x20 != 0,
            fin: flags & 0x10 != 0,
            demand: flags & 0x02 != 0,
            detect_mult: *detect_mult,
            my_discriminator: word(),
            your_discriminator: word(),
            desired_min_tx_us: word(),
            required_min_rx_us: word(),
        };
        let length = usize::from(*length);
        match packet {
            _ if first >> 5 != 1 => Err(Discarded::Version(first >> 5)),
            _ if !(PACKET_BYTES..=payload.len()).contains(&length) => {
                Err(Discarded::Length(payload.len()))
            }
            Self { detect_mult: 0, .. } => Err(Discarded::DetectMult),
            _ if flags & 0x01 != 0 => Err(Discarded::Multipoint),
            Self { my_discriminator: 0, .. } => Err(Discarded::MyDiscriminator),
            Self { your_discriminator: 0, state: State::Init | State::Up, .. } => {
                Err(Discarded::YourDiscriminator(packet.state))
            }
            _ if flags & 0x04 != 0 => Err(Discarded::Authenticated),
            _ => Ok(packet),
        }
    }

    /// As a UDP payload.
    pub fn encode(&self) -> [u8; PACKET_BYTES] {
        let state = match self.state {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        };
        let flags = state << 6
            | u8::from(self.poll) << 5
            | u8::from(self.fin) << 4
            | u8::from(self.demand) << 1;
        let mut bytes = [0; PACKET_BYTES];
        let head = [1 << 5 | self.diagnostic.0 & 0x1f, flags, self.detect_mult, 24];
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx_us,
            self.required_min_rx_us,
            0, // No echo: Required Min Echo RX Interval.
        ];
        let all = head.into_iter().chain(words.into_iter().flat_map(u32::to_be_bytes));
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// Microseconds of the wire.
pub(super) const fn micros(us: u32) -> Duration {
    Duration::from_micros(us as u64)
}
