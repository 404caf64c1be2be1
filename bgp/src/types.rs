//! The words of BGP as types: values that are wrong by the RFCs cannot be made.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU32;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// An autonomous system number, 1 to 4294967295. Zero is reserved (RFC 7607).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Asn(NonZeroU32);

impl Asn {
    /// AS_TRANS, which stands in for a 4-octet number where only two fit (RFC 6793 §9).
    pub const TRANS: u16 = 23_456;

    /// `None` for zero.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Not an AS number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an AS number is 1 to 4294967295, or asdot such as 1.10 (RFC 5396)")]
pub struct BadAsn;

impl FromStr for Asn {
    type Err = BadAsn;

    /// asplain or asdot (RFC 5396).
    fn from_str(text: &str) -> Result<Self, BadAsn> {
        let number = match text.split_once('.') {
            Some((high, low)) => {
                let high: u16 = high.parse().or(Err(BadAsn))?;
                let low: u16 = low.parse().or(Err(BadAsn))?;
                u32::from(high) << 16 | u32::from(low)
            }
            None => text.parse().or(Err(BadAsn))?,
        };
        Self::new(number).ok_or(BadAsn)
    }
}

/// The BGP Identifier: four octets, not zero (RFC 6286 §2.1), written like an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouterId(NonZeroU32);

impl RouterId {
    /// `None` for 0.0.0.0.
    pub const fn new(address: Ipv4Addr) -> Option<Self> {
        match NonZeroU32::new(address.to_bits()) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The identifier as an unsigned integer, which is how collisions compare it.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from_bits(self.0.get()).fmt(f)
    }
}

/// Hold Time in whole seconds; zero means "never time out" (RFC 4271 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct HoldTime(u16);

/// A Hold Time of one or two seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hold time is 0 (never) or at least 3 seconds, not {0} (RFC 4271 §4.2)")]
pub struct BadHoldTime(pub u16);

impl HoldTime {
    /// What we propose unless configured otherwise, in seconds (RFC 4271 §10).
    pub const DEFAULT: Self = Self(90);

    /// # Errors
    /// [`BadHoldTime`] for 1 and 2, which RFC 4271 §4.2 forbids. To a peer, answer 2/6 (§6.2).
    pub const fn from_secs(secs: u16) -> Result<Self, BadHoldTime> {
        match secs {
            1 | 2 => Err(BadHoldTime(secs)),
            _ => Ok(Self(secs)),
        }
    }

    /// Seconds as they stand in an OPEN.
    pub const fn as_secs(self) -> u16 {
        self.0
    }

    /// `None` when the session never times out.
    pub const fn duration(self) -> Option<Duration> {
        match self.0 {
            0 => None,
            secs => Some(Duration::from_secs(secs as u64)),
        }
    }

    /// A third of the Hold Time (RFC 4271 §4.4), `None` when no KEEPALIVEs are sent.
    pub fn keepalive(self) -> Option<Duration> {
        self.duration().map(|hold| hold / 3)
    }
}

impl TryFrom<u16> for HoldTime {
    type Error = BadHoldTime;

    fn try_from(secs: u16) -> Result<Self, BadHoldTime> {
        Self::from_secs(secs)
    }
}

impl From<HoldTime> for u16 {
    fn from(hold_time: HoldTime) -> Self {
        hold_time.as_secs()
    }
}

/// An address family we carry (AFI/SAFI, RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
    /// AFI 1, SAFI 133 (RFC 8955); received and shown, never sent.
    Ipv4Flowspec,
    /// AFI 2, SAFI 133 (RFC 8956); received and shown, never sent.
    Ipv6Flowspec,
}

impl Family {
    /// Those whose NLRI are prefixes, in the order of their AFI.
    pub const UNICAST: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Ipv4Unicast, Self::Ipv6Unicast, Self::Ipv4Flowspec, Self::Ipv6Flowspec];

    /// Address Family Identifier and Subsequent Address Family Identifier.
    pub const fn afi_safi(self) -> (u16, u8) {
        match self {
            Self::Ipv4Unicast => (1, 1),
            Self::Ipv6Unicast => (2, 1),
            Self::Ipv4Flowspec => (1, 133),
            Self::Ipv6Flowspec => (2, 133),
        }
    }

    /// The family of these identifiers, if we carry it.
    pub const fn from_afi_safi(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4Unicast),
            (2, 1) => Some(Self::Ipv6Unicast),
            (1, 133) => Some(Self::Ipv4Flowspec),
            (2, 133) => Some(Self::Ipv6Flowspec),
            _ => None,
        }
    }

    /// The name in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
            Self::Ipv4Flowspec => "ipv4-flowspec",
            Self::Ipv6Flowspec => "ipv6-flowspec",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the families we carry; iterates in the order of [`Family::ALL`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(from = "u8", into = "u8")]
pub struct FamilySet(u8);

impl FamilySet {
    /// None of them.
    pub const EMPTY: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self(0b1111);

    const fn bit(family: Family) -> u8 {
        1 << family as u8
    }

    /// Whether it holds this one.
    pub const fn contains(self, family: Family) -> bool {
        self.0 & Self::bit(family) != 0
    }

    /// Adds one.
    pub const fn insert(&mut self, family: Family) {
        self.0 |= Self::bit(family);
    }

    /// Takes one out.
    pub const fn remove(&mut self, family: Family) {
        self.0 &= !Self::bit(family);
    }

    /// How many it holds.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In the order of [`Family::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family))
    }
}

impl From<u8> for FamilySet {
    /// Bits that mean no family are dropped.
    fn from(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl From<FamilySet> for u8 {
    fn from(set: FamilySet) -> Self {
        set.0
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        let mut set = Self::EMPTY;
        families.into_iter().for_each(|family| set.insert(family));
        set
    }
}

/// The Path Identifier that tells several paths of one peer to one prefix apart (RFC 7911 §3); zero
/// on a session without ADD-PATH.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PathId(pub u32);

/// An IP prefix whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(IpAddr, u8)", into = "(IpAddr, u8)")]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// Clears the host bits; `None` when `len` exceeds the address's bits.
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        let addr = match addr {
            IpAddr::V4(v4) if len <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) if len <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { addr, len })
    }

    /// The /32 or /128 of one address.
    pub const fn host(addr: IpAddr) -> Self {
        let len = match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self { addr, len }
    }

    /// The network address.
    pub const fn addr(self) -> IpAddr {
        self.addr
    }

    /// Prefix length in bits.
    pub const fn bits(self) -> u8 {
        self.len
    }

    /// The family whose NLRI carry this prefix.
    pub const fn family(self) -> Family {
        match self.addr {
            IpAddr::V4(_) => Family::Ipv4Unicast,
            IpAddr::V6(_) => Family::Ipv6Unicast,
        }
    }
}

/// A prefix longer than its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix of {0}/{1} has more bits than the address")]
pub struct BadPrefix(pub IpAddr, pub u8);

impl TryFrom<(IpAddr, u8)> for Prefix {
    type Error = BadPrefix;

    fn try_from((addr, bits): (IpAddr, u8)) -> Result<Self, BadPrefix> {
        Self::new(addr, bits).ok_or(BadPrefix(addr, bits))
    }
}

impl From<Prefix> for (IpAddr, u8) {
    fn from(prefix: Prefix) -> Self {
        (prefix.addr, prefix.len)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// A BGP community (RFC 1997).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Community(pub u32);

/// Not a community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a community is AS:VALUE with two numbers up to 65535, or one of no-export, no-advertise, \
     no-export-subconfed, no-peer, graceful-shutdown, blackhole, llgr-stale, no-llgr"
)]
pub struct BadCommunity;

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326): the route will go soon; use another one.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// LLGR_STALE (RFC 9494): the route has outlived its session for long.
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// NO_LLGR (RFC 9494): the route is not to outlive its session for long.
    pub const NO_LLGR: Self = Self(0xffff_0007);
}

/// Communities with a registered name (IANA "BGP Well-known Communities").
const NAMED_COMMUNITIES: [(&str, u32); 8] = [
    ("graceful-shutdown", 0xffff_0000),
    ("llgr-stale", 0xffff_0006),
    ("no-llgr", 0xffff_0007),
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
    ("no-peer", 0xffff_ff04),
];

impl FromStr for Community {
    type Err = BadCommunity;

    fn from_str(text: &str) -> Result<Self, BadCommunity> {
        if let Some((_, value)) = NAMED_COMMUNITIES.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*value));
        }
        let (high, low) = text.split_once(':').ok_or(BadCommunity)?;
        let high: u16 = high.parse().or(Err(BadCommunity))?;
        let low: u16 = low.parse().or(Err(BadCommunity))?;
        Ok(Self(u32::from(high) << 16 | u32::from(low)))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED_COMMUNITIES.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// A large community (RFC 8092).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LargeCommunity(pub [u32; 3]);

/// Not a large community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a large community is GLOBAL:LOCAL1:LOCAL2, three numbers up to 4294967295 (RFC 8092)")]
pub struct BadLargeCommunity;

impl FromStr for LargeCommunity {
    type Err = BadLargeCommunity;

    fn from_str(text: &str) -> Result<Self, BadLargeCommunity> {
        let mut parts = text.split(':').map(|part| part.parse::<u32>().or(Err(BadLargeCommunity)));
        let mut next = || parts.next().unwrap_or(Err(BadLargeCommunity));
        let value = [next()?, next()?, next()?];
        match parts.next() {
            None => Ok(Self(value)),
            Some(_) => Err(BadLargeCommunity),
        }
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([global, local_1, local_2]) = self;
        write!(f, "{global}:{local_1}:{local_2}")
    }
}

/// An extended community as its eight octets (RFC 4360).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// Whether it may leave the AS: bit 0x40 of the type is clear.
    pub const fn is_transitive(self) -> bool {
        let Self([kind, ..]) = self;
        kind & 0x40 == 0
    }

    /// The AS and the bandwidth in octets per second of a Link Bandwidth community
    /// (draft-ietf-idr-link-bandwidth §2): type 0x00 or 0x40, subtype 4, an IEEE 754 single.
    pub const fn link_bandwidth(self) -> Option<(u16, f32)> {
        match self.0 {
            [0x00 | 0x40, 4, high, low, a, b, c, d] => {
                Some((u16::from_be_bytes([high, low]), f32::from_be_bytes([a, b, c, d])))
            }
            _ => None,
        }
    }
}

impl ExtendedCommunity {
    /// What a FlowSpec rule with it asks for (RFC 8955 §7), in words.
    fn flow_action(self) -> Option<String> {
        let Self([0x80, kind, high, low, a, b, c, d]) = self else { return None };
        let asn = u16::from_be_bytes([high, low]);
        let rate = f32::from_be_bytes([a, b, c, d]);
        let number = u32::from_be_bytes([a, b, c, d]);
        Some(match kind {
            6 | 0x0c if rate == 0.0 => "discard".into(),
            6 => format!("rate-bytes:{asn}:{rate}"),
            0x0c => format!("rate-packets:{asn}:{rate}"),
            7 => match d & 3 {
                0 => "action:none".into(),
                1 => "action:terminal".into(),
                2 => "action:sample".into(),
                _ => "action:sample,terminal".into(),
            },
            8 => format!("redirect:{asn}:{number}"),
            9 => format!("mark:{}", d & 0x3f),
            _ => return None,
        })
    }
}

impl fmt::Display for ExtendedCommunity {
    /// `rt:65000:100`, `soo:192.0.2.1:7`, `bandwidth:65000:125000`, and what a FlowSpec rule asks
    /// for (RFC 8955 §7): `discard`, `rate-bytes:65000:125000`; all others in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((asn, bandwidth)) = self.link_bandwidth() {
            return write!(f, "bandwidth:{asn}:{bandwidth}");
        }
        if let Some(action) = self.flow_action() {
            return f.write_str(&action);
        }
        let value = u64::from_be_bytes(self.0);
        let name = match value >> 48 & 0xff {
            2 => "rt",
            3 => "soo",
            _ => return write!(f, "0x{value:016x}"),
        };
        let (high_16, low_32) = (value >> 32 & 0xffff, value & 0xffff_ffff);
        let (high_32, low_16) = (value >> 16 & 0xffff_ffff, value & 0xffff);
        match value >> 56 {
            0x00 => write!(f, "{name}:{high_16}:{low_32}"),
            0x01 => {
                let addr = Ipv4Addr::from_bits(u32::try_from(high_32).unwrap_or_default());
                write!(f, "{name}:{addr}:{low_16}")
            }
            0x02 => write!(f, "{name}:{high_32}:{low_16}"),
            _ => write!(f, "0x{value:016x}"),
        }
    }
}

#[cfg(test)]
mod tests;
