//! Messages as values. What the RFCs forbid either cannot be written down here or is answered by
//! the decoder with the [`Notification`] that RFC 4271 §6 names.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::types::{Asn, Community, Family, HoldTime, LargeCommunity, Prefix, RouterId};

use super::notification::Notification;

/// One BGP message (RFC 4271 §4, RFC 2918).
#[expect(clippy::large_enum_variant, reason = "nearly every message is an UPDATE: no box for each")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// §4.2
    Open(Open),
    /// §4.3
    Update(Update),
    /// §4.5
    Notification(Notification),
    /// §4.4
    KeepAlive,
    /// RFC 2918; `None`: a family that we do not carry.
    RouteRefresh(Option<Family>),
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

/// A capability (RFC 5492).
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
    /// Code 65 (RFC 6793).
    FourOctetAs(Asn),
    /// Any other.
    Unknown {
        /// Capability code.
        code: u8,
        /// Its value, uninterpreted.
        value: Vec<u8>,
    },
}

/// What both OPENs together allow on a session: the context every UPDATE is read and written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer is in another AS: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST do not cross.
    pub external: bool,
    /// AS numbers in AS_PATH and AGGREGATOR are four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Families both sides named; IPv4 unicast too when the peer sent no multiprotocol capability.
    pub families: Vec<Family>,
    /// The peer accepts ROUTE-REFRESH.
    pub route_refresh: bool,
    /// The smaller of both Hold Times.
    pub hold_time: HoldTime,
}

impl Negotiated {
    /// The context before both OPENs are in: enough to read every message but an UPDATE.
    pub const NOTHING: Self = Self {
        external: true,
        four_octet_as: false,
        families: Vec::new(),
        route_refresh: false,
        hold_time: HoldTime::DEFAULT,
    };
}

/// An UPDATE after the walk of RFC 7606: what is left is sound. `withdrawn` applies first: a
/// prefix that is announced as well stays (RFC 4271 §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Prefixes no longer reachable, of all families, including those whose attributes were
    /// malformed (treat-as-withdraw, RFC 7606 §2).
    pub withdrawn: Vec<Prefix>,
    /// Prefixes now reachable with `attributes`.
    pub announced: Vec<Prefix>,
    /// Prefixes of a second family in the same message, and the next hop that stands for
    /// `attributes.next_hop` there. Nobody should send that, everybody must read it
    /// (RFC 7606 §5.1).
    pub announced_second: Option<(NextHop, Vec<Prefix>)>,
    /// Absent when nothing is announced.
    pub attributes: Option<Attributes>,
    /// The family of an End-of-RIB marker (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// Damage that was repaired: one entry per malformed attribute, for counters and log.
    pub repaired: Vec<Repair>,
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
}

/// How far the damage of one bad attribute reaches, when it does not reset the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The attribute is dropped, the routes stay.
    AttributeDiscard,
    /// The routes of the UPDATE are withdrawn.
    TreatAsWithdraw,
}

/// Path attributes that we read or write. Others are checked for shape and skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// ORIGIN (§5.1.1).
    pub origin: Origin,
    /// AS_PATH (§5.1.2), with AS4_PATH merged in (RFC 6793 §4.2.3).
    pub as_path: Vec<AsSegment>,
    /// NEXT_HOP or the next hop of MP_REACH_NLRI.
    pub next_hop: NextHop,
    /// MULTI_EXIT_DISC (§5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF (§5.1.5); only inside an AS.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997), sorted, without repeats.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITIES (RFC 8092), sorted, without repeats.
    pub large_communities: Vec<LargeCommunity>,
}

/// ORIGIN values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// 0
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

/// Where packets for the announced prefixes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// IPv4, for IPv4 unicast.
    V4(Ipv4Addr),
    /// IPv6, for IPv6 unicast: global, and link-local when both sides share a link (RFC 2545 §3).
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
