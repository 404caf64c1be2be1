//! Messages as values. What the RFCs forbid either cannot be written down here or is answered by
//! the decoder with the [`Notification`] that RFC 4271 §6 names.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::types::{Asn, Family, FamilySet, HoldTime, RouterId};

use super::notification::Notification;
use super::update::Update;

/// One BGP message (RFC 4271 §4, RFC 2918); an UPDATE borrows from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// §4.2
    Open(Open),
    /// §4.3
    Update(Update<'a>),
    /// §4.5
    Notification(Notification),
    /// §4.4
    KeepAlive,
    /// RFC 2918
    RouteRefresh(RouteRefresh),
}

/// ROUTE-REFRESH (RFC 2918, RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// `None`: a family that we do not carry; to be ignored.
    pub family: Option<Family>,
    /// What it says about that family.
    pub kind: RefreshKind,
}

/// The subtype of a ROUTE-REFRESH (RFC 7313 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// 0: "send me your routes again".
    Request,
    /// 1: "all my routes follow"; what was known before is stale.
    Begin,
    /// 2: "those were all"; what is still stale is gone.
    End,
    /// Any other: to be ignored.
    Unknown(u8),
}

/// An OPEN whose version is 4, whose Hold Time is legal and whose BGP Identifier is not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The My Autonomous System field; [`Asn::TRANS`] when the number needs four octets.
    pub my_as: u16,
    /// The sender's proposal.
    pub hold_time: HoldTime,
    /// BGP Identifier.
    pub router_id: RouterId,
    /// In the order received; unknown ones kept.
    pub capabilities: Vec<Capability>,
}

/// A capability (RFC 5492). Lists of families leave out those that we do not carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Code 1 (RFC 4760): AFI and SAFI as received, carried by us or not.
    Multiprotocol {
        /// Address Family Identifier.
        afi: u16,
        /// Subsequent Address Family Identifier.
        safi: u8,
    },
    /// Code 2 (RFC 2918).
    RouteRefresh,
    /// Code 5 (RFC 8950): families whose next hop may be an IPv6 address.
    ExtendedNextHop(FamilySet),
    /// Code 6 (RFC 8654).
    ExtendedMessage,
    /// Code 9 (RFC 9234).
    Role(Role),
    /// Code 64 (RFC 4724, RFC 8538).
    GracefulRestart(GracefulRestart),
    /// Code 65 (RFC 6793).
    FourOctetAs(Asn),
    /// Code 69 (RFC 7911), from the sender's point of view.
    AddPath {
        /// Families it wants to send several paths of.
        send: FamilySet,
        /// Families it is able to receive several paths of.
        receive: FamilySet,
    },
    /// Code 70 (RFC 7313).
    EnhancedRouteRefresh,
    /// Code 71 (RFC 9494).
    LongLivedGracefulRestart(Vec<LongLived>),
    /// Any other.
    Unknown {
        /// Capability code.
        code: u8,
        /// Its value, uninterpreted.
        value: Vec<u8>,
    },
}

/// What a speaker says about its restarts (RFC 4724 §3, RFC 8538 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GracefulRestart {
    /// R: it has restarted just now, and does not wait for the End-of-RIB of others that have.
    pub restarting: bool,
    /// N: a NOTIFICATION other than a Hard Reset, or an expired Hold Timer, is a restart too.
    pub notification: bool,
    /// How long a restart may take until the session is up again, in seconds, at most 4095.
    pub restart_time_secs: u16,
    /// Families it keeps forwarding while it restarts.
    pub families: FamilySet,
    /// F: of these, those whose forwarding state it did keep over the last restart.
    pub forwarding: FamilySet,
}

/// What a speaker says about one family whose routes outlive the restart time (RFC 9494 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongLived {
    /// Which family.
    pub family: Family,
    /// F: its forwarding state was kept over the last restart.
    pub forwarding: bool,
    /// How long stale routes may be used, in seconds, at most 16777215.
    pub stale_time_secs: u32,
}

/// What a speaker is to its peer (RFC 9234 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// 0: sells transit to the peer.
    Provider,
    /// 1: a route server.
    RouteServer,
    /// 2: a client of a route server.
    RouteServerClient,
    /// 3: buys transit from the peer.
    Customer,
    /// 4: exchanges its own and its customers' routes.
    Peer,
}

/// Damage short of a session reset (RFC 7606 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Attribute type code; zero: the message itself.
    pub attribute: u8,
    /// What was done about it.
    pub treatment: Treatment,
    /// What was wrong, lower case, no full stop.
    pub what: &'static str,
    /// The offending attribute as received (flags, code, length, value), its first
    /// [`Self::OCTETS_MAX`] octets.
    pub octets: Box<[u8]>,
    /// How long it was in all, in octets.
    pub len: usize,
}

impl Repair {
    /// As much of an attribute as goes into the log, in octets.
    pub const OCTETS_MAX: usize = 64;
}

/// `attribute 8, not a multiple of four octets: routes withdrawn; c0080119`: what, where, what was
/// done, and the octets, bounded in length and safe in a log.
impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attribute {
            0 => write!(f, "{}: {}", self.what, self.treatment.outcome())?,
            code => {
                write!(f, "attribute {code}, {}: {}", self.what, self.treatment.outcome())?;
            }
        }
        if self.octets.is_empty() {
            return Ok(());
        }
        f.write_str("; ")?;
        self.octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        if self.len > self.octets.len() {
            write!(f, "... ({} octets)", self.len)?;
        }
        Ok(())
    }
}

impl Treatment {
    const fn outcome(self) -> &'static str {
        match self {
            Self::AttributeDiscard => "attribute dropped, routes kept",
            Self::TreatAsWithdraw => "routes withdrawn",
            Self::FamilyDisable => "family given up for this session",
        }
    }
}

/// How far the damage of one bad attribute reaches, when it does not reset the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The attribute is dropped, the routes stay.
    AttributeDiscard,
    /// The routes of the UPDATE are withdrawn.
    TreatAsWithdraw,
    /// All routes of the family are dropped, and it is not read any more on this session.
    FamilyDisable,
}

/// ORIGIN values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// 0
    #[default]
    Igp,
    /// 1
    Egp,
    /// 2
    Incomplete,
}

/// One segment of an AS_PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsSegment {
    /// AS_SET (type 1).
    Set(Vec<Asn>),
    /// AS_SEQUENCE (type 2).
    Sequence(Vec<Asn>),
    /// AS_CONFED_SEQUENCE (type 3, RFC 5065).
    ConfedSequence(Vec<Asn>),
    /// AS_CONFED_SET (type 4, RFC 5065).
    ConfedSet(Vec<Asn>),
}

/// Who aggregated a route (RFC 4271 §5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP Identifier or address.
    pub addr: Ipv4Addr,
}

/// Where packets for the announced prefixes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// IPv4, for IPv4 prefixes.
    V4(Ipv4Addr),
    /// IPv6, for IPv6 prefixes and, where negotiated, for IPv4 ones (RFC 8950): global, and
    /// link-local when both sides share a link (RFC 2545 §3).
    V6 {
        /// Global address (or, alone, a link-local one).
        global: Ipv6Addr,
        /// Link-local address.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The address that counts: the global one.
    pub const fn addr(self) -> IpAddr {
        match self {
            Self::V4(addr) => IpAddr::V4(addr),
            Self::V6 { global, .. } => IpAddr::V6(global),
        }
    }
}
