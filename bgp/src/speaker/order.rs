//! What the shell tells the speaker, and what it wants done about it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use crate::types::{Asn, Community, Family, FamilySet, HoldTime, LargeCommunity, Prefix, RouterId};
use crate::wire::notification::Notification;
use crate::wire::{GracefulRestart, LongLived, Role};

/// The configured name of a peer.
pub type PeerName = Arc<str>;

/// One TCP connection. The speaker gives the numbers, for dialled and for accepted ones; a number
/// is never used twice, so words of a connection that is gone cannot reach another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
}

/// A peer as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Name in configuration, output and log.
    pub name: PeerName,
    /// Where it lives, and the port to dial.
    pub remote: SocketAddr,
    /// Its AS; equal to ours on an internal session.
    pub remote_as: Asn,
    /// Source address for dialling; `None`: the kernel chooses.
    pub local_addr: Option<IpAddr>,
    /// Never dial, only accept.
    pub passive: bool,
    /// Proposed Hold Time.
    pub hold_time: HoldTime,
    /// Wait between attempts to dial (ConnectRetryTime, RFC 4271 §8), jittered by the speaker.
    pub connect_retry: Duration,
    /// Families to offer.
    pub families: Vec<Family>,
    /// Next hops to announce instead of the session's own addresses.
    pub next_hops: NextHops,
    /// What else our OPEN offers.
    pub offer: Offer,
}

/// What our OPEN offers besides families, route refresh (plain and enhanced) and four-octet AS
/// numbers, which are always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Messages of up to 65535 octets (RFC 8654).
    pub extended_messages: bool,
    /// IPv4 families whose next hop may be an IPv6 address (RFC 8950).
    pub extended_next_hop: FamilySet,
    /// Families of which we send several paths (RFC 7911).
    pub add_path_send: FamilySet,
    /// Families of which we take several paths.
    pub add_path_receive: FamilySet,
    /// How we restart (RFC 4724); `None`: not gracefully, nor do we help the peer to.
    pub graceful_restart: Option<GracefulRestart>,
    /// Families whose stale routes live on after that (RFC 9494); nothing without the former.
    pub long_lived: Vec<LongLived>,
    /// What we are to the peer (RFC 9234); external sessions only.
    pub role: Option<Role>,
    /// A peer that names no role is refused (strict mode, RFC 9234 §4.2).
    pub role_required: bool,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            extended_messages: true,
            extended_next_hop: FamilySet::EMPTY,
            add_path_send: FamilySet::EMPTY,
            add_path_receive: FamilySet::EMPTY,
            graceful_restart: None,
            long_lived: Vec::new(),
            role: None,
            role_required: false,
        }
    }
}

/// Our own addresses towards a peer, one per family: next hops of what we announce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    /// For IPv4 prefixes.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 prefixes; never an IPv4-mapped address.
    pub v6: Option<Ipv6Addr>,
}

/// Attributes of a route that we originate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteAttributes {
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF on internal sessions; 100 when absent.
    pub local_pref: Option<u32>,
    /// How many times more than usual our AS stands in the path.
    pub prepend: u8,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITIES.
    pub large_communities: Vec<LargeCommunity>,
}

/// What the owner of the speaker wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Add a peer, or change one: what can change without a reset does, otherwise the session is
    /// closed with Cease/6 (Other Configuration Change, RFC 4486) and started anew. An unchanged
    /// peer is not touched.
    PutPeer(PeerConfig),
    /// Close the session with Cease/3 (Peer De-configured) and forget the peer.
    RemovePeer(PeerName),
    /// Originate a prefix, or change its attributes.
    Advertise(Prefix, RouteAttributes),
    /// No longer originate it.
    Withdraw(Prefix),
    /// Close every session with Cease/2 (Administrative Shutdown) and accept none.
    Shutdown,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnEvent {
    /// A dialled connection is up.
    Connected {
        /// As given in [`Action::Dial`].
        conn: ConnId,
        /// Addresses of the interface that carries the session.
        next_hops: NextHops,
    },
    /// A dialled connection did not come up.
    ConnectFailed {
        /// As given in [`Action::Dial`].
        conn: ConnId,
    },
    /// The peer closed it, it broke, or its send queue overflowed.
    Closed {
        /// Which.
        conn: ConnId,
    },
}

/// What the shell does for the speaker, in this order. Never answered with an error: what goes
/// wrong comes back as a [`ConnEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a TCP connection; answer with `Connected` or `ConnectFailed`.
    Dial {
        /// For the log and per-peer socket options.
        peer: PeerName,
        /// Its number from now on.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
        /// Source address.
        from: Option<IpAddr>,
    },
    /// Queue these bytes: one or more whole messages.
    Send {
        /// On this connection.
        conn: ConnId,
        /// Whole messages.
        bytes: Vec<u8>,
    },
    /// Write what is queued (within a second), then close. No event follows.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Something an operator wants to read in the journal.
    Report(Report),
}

/// Events for journal and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The session reached Established.
    Up {
        /// Whose.
        peer: PeerName,
        /// The Hold Time both sides agreed on.
        hold_time: HoldTime,
    },
    /// The session left Established, or an attempt failed after the connection was up.
    Down {
        /// Whose.
        peer: PeerName,
        /// Why.
        cause: DownCause,
    },
    /// Prefixes of a family are not sent to this peer, because there is no next hop for them.
    NoNextHop {
        /// To whom.
        peer: PeerName,
        /// Which family.
        family: Family,
    },
    /// Routes cannot be written down for this peer: it is not told of them.
    Unsendable {
        /// To whom.
        peer: PeerName,
        /// Of which family.
        family: Family,
        /// Why not.
        error: crate::wire::EncodeError,
    },
    /// A malformed UPDATE was repaired (RFC 7606).
    Repaired {
        /// From whom.
        peer: PeerName,
        /// What.
        repair: crate::wire::Repair,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownCause {
    /// We sent this.
    Sent(Notification),
    /// The peer sent this.
    Received(Notification),
    /// TCP ended without a NOTIFICATION.
    ConnectionLost,
}
