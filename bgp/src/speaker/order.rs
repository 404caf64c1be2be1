//! What the shell tells the speaker, and what it wants done about it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bfd::Timing;
use crate::mrt;
use crate::origin::{Cover, Vrps};
use crate::types::{Asn, Community, Family, FamilySet, HoldTime, LargeCommunity, Prefix, RouterId};
use crate::wire::notification::Notification;
use crate::wire::{GracefulRestart, LongLived, Role};

/// The configured name of a peer.
pub type PeerName = Arc<str>;

/// One TCP connection. The speaker gives the numbers, for dialled and for accepted ones; a number
/// is never used twice, so words of a connection that is gone cannot reach another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId(pub u64);

/// Who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
}

/// A peer as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerConfig {
    /// Name in configuration, output and log.
    pub name: PeerName,
    /// Where it lives, and the port to dial. The address means nothing if the peer is unnumbered
    /// (see [`Transport::unnumbered`]).
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
    /// The AS that we are in for this peer; `None`: our own. It takes the place of ours in the OPEN
    /// and in the paths that the peer is sent.
    pub local_as: Option<Asn>,
    /// Bounds on what the peer may announce.
    pub prefix_limits: PrefixLimits,
    /// Bounds on paths to one prefix, where several are told (RFC 7911).
    pub path_limits: PathLimits,
    /// Kept down by the operator, with this text for the other side's (RFC 9003); `None`: up.
    pub shutdown: Option<Arc<str>>,
    /// How its connections are made.
    pub transport: Transport,
    /// What else our OPEN offers.
    pub offer: Offer,
    /// What is let in and out.
    #[serde(skip)] // They come from the configuration of who takes over.
    pub policies: crate::rib::Policies,
    /// How long its routes outlive a session.
    pub keeping: Keeping,
    /// Whether and how BFD watches the way to it.
    pub bfd: Option<Bfd>,
}

/// How BFD watches the way to a peer (RFC 5882). The speaker hands it through, and hears of it by
/// [`Order::PathDown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bfd {
    /// How often packets come and go.
    pub timing: Timing,
    /// The peer may be several hops away (RFC 5883 in the place of RFC 5881).
    pub multihop: bool,
}

impl PeerConfig {
    /// A peer with nothing configured but who and where it is.
    pub fn new(name: PeerName, remote: SocketAddr, remote_as: Asn) -> Self {
        Self {
            name,
            remote,
            remote_as,
            local_addr: None,
            passive: false,
            hold_time: HoldTime::DEFAULT,
            connect_retry: CONNECT_RETRY_DEFAULT,
            families: Family::UNICAST.to_vec(),
            next_hops: NextHops::default(),
            local_as: None,
            prefix_limits: PrefixLimits::default(),
            path_limits: PathLimits::default(),
            shutdown: None,
            transport: Transport::default(),
            policies: crate::rib::Policies::default(),
            bfd: None,
            offer: Offer::default(),
            keeping: Keeping::default(),
        }
    }
}

/// How long routes of a peer that restarts may outlive its session, whatever the peer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// From the loss of the session to the End-of-RIB of the next one (RFC 4724 §4.2); zero: they
    /// go with the session.
    pub stale_max: Duration,
    /// From the end of the restart time on, as a last resort (RFC 9494 §4.2); zero: not at all.
    pub long_lived_max: Duration,
}

/// How long stale routes are kept at most, unless configured otherwise: FRR's stalepath-time.
pub const STALE_MAX_DEFAULT: Duration = Duration::from_mins(6);

impl Default for Keeping {
    fn default() -> Self {
        Self { stale_max: STALE_MAX_DEFAULT, long_lived_max: Duration::ZERO }
    }
}

/// Peers that are not known one by one: whoever connects from `prefix` becomes one, and is
/// forgotten when its session ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRange {
    /// Where they may be. Of several ranges the narrowest counts, and before that a configured
    /// peer.
    pub prefix: Prefix,
    /// So many at a time; further ones are refused.
    pub limit: usize,
    /// What they have in common; its name is the range's, and its address means nothing. They are
    /// never dialled.
    pub template: PeerConfig,
}

/// ConnectRetryTime unless configured otherwise.
pub const CONNECT_RETRY_DEFAULT: Duration = Duration::from_secs(5);

/// Bounds on the number of prefixes that a peer may announce, by family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixLimits {
    /// More than this end the session with Cease/1 (RFC 4486 §4).
    pub max: BTreeMap<Family, u32>,
    /// Percent of the limit from which on the operator is warned; `None`: never.
    pub warn_percent: Option<u8>,
    /// How long the peer is left alone after that; `None`: until its configuration changes or the
    /// speaker is started anew.
    pub restart: Option<Duration>,
}

/// Bounds on paths to one prefix, for families of which several are told (RFC 7911).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathLimits {
    /// The peer is told the best so many.
    pub send: u8,
    /// Paths beyond so many are not taken from the peer.
    pub receive: u8,
}

impl Default for PathLimits {
    fn default() -> Self {
        Self { send: 8, receive: 16 }
    }
}

/// What the sockets of a peer's connections are told. The speaker hands it through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    /// How far away the peer may be.
    pub distance: Distance,
    /// The interface, or VRF, that carries the session; `None`: by the routing table.
    pub interface: Option<Arc<str>>,
    /// How long what was sent may stay unacknowledged (RFC 5482); `None`: as the kernel has it.
    pub user_timeout: Option<Duration>,
    /// How long the peer may take nothing of what is sent to it (SendHoldTime, RFC 9687); `None`:
    /// for ever.
    pub send_hold: Option<Duration>,
    /// The peer is whoever is at the other end of `interface`: it is found by its router
    /// advertisements ([`Speaker::on_neighbor`](super::Speaker::on_neighbor)), and link-local
    /// addresses are the next hops.
    pub unnumbered: bool,
}

/// SendHoldTime unless configured otherwise: eight minutes (RFC 9687 §6).
pub const SEND_HOLD_DEFAULT: Duration = Duration::from_mins(8);

impl Default for Transport {
    fn default() -> Self {
        Self {
            distance: Distance::Ttl(u8::MAX),
            interface: None,
            user_timeout: None,
            send_hold: Some(SEND_HOLD_DEFAULT),
            unnumbered: false,
        }
    }
}

/// How far away a peer may be, in hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distance {
    /// What we send dies after so many.
    Ttl(u8),
    /// What comes from farther away is refused, by a TTL that nobody in between can forge (GTSM,
    /// RFC 5082). A peer on a link of ours is one hop away.
    Guarded(u8),
}

impl Distance {
    /// The smallest TTL with which packets of the peer are taken.
    pub const fn min_ttl(self) -> u8 {
        match self {
            Self::Ttl(_) => 0,
            Self::Guarded(hops) => u8::MAX - hops.saturating_sub(1),
        }
    }
}

/// What our OPEN offers besides families, route refresh (plain and enhanced) and four-octet AS
/// numbers, which are always there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHops {
    /// For IPv4 prefixes.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 prefixes; never an IPv4-mapped address.
    pub v6: Option<Ipv6Addr>,
}

/// Attributes of a route that we originate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// The time of routes that were kept is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The peer is not back; they are used on as a last resort (RFC 9494).
    Ages,
    /// The peer is not back, or has not said all again; they are gone.
    Gone,
    /// The peer began to say everything again and did not end (RFC 7313 §4); what it has not said
    /// again is gone.
    NotRepeated,
}

/// What the owner of the speaker wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Add a peer, or change one: what can change without a reset does, otherwise the session is
    /// closed with Cease/6 (Other Configuration Change, RFC 4486) and started anew. An unchanged
    /// peer is not touched.
    PutPeer(PeerConfig),
    /// Add a range of peers, or change it: then the sessions of those it has made are closed with
    /// Cease/6. An unchanged one is not touched.
    PutRange(PeerRange),
    /// Close the session with Cease/3 (Peer De-configured) and forget the peer, or the range and
    /// all peers that it has made.
    RemovePeer(PeerName),
    /// No packet reaches the peer any more, says BFD: its session is closed with Cease/10 (RFC 9384)
    /// and tried again. Nothing for a peer whose session is not Established.
    PathDown(PeerName),
    /// Originate a prefix, or change its attributes.
    Advertise(Prefix, RouteAttributes),
    /// No longer originate it.
    Withdraw(Prefix),
    /// Choose among paths by these rules from now on.
    SetRules(crate::rib::DecisionRules),
    /// All that we originated before a restart is originated again: once every peer has said what it
    /// has, too, each may forget what it kept for us (RFC 4724 §4.1). Says nothing in a speaker that
    /// was not [restarted].
    ///
    /// [restarted]: super::Speaker::restarted
    Settled,
    /// Other VRPs are in force (RFC 6811); the second covers every prefix whose VRPs differ.
    Vrps(Arc<Vrps>, Arc<Cover>),
    /// Close every session with Cease/2 (Administrative Shutdown) and accept none.
    Shutdown,
    /// We are about to be started again. A session whose peer keeps our routes meanwhile (RFC 4724)
    /// is closed without a word, since a NOTIFICATION would end them for those without RFC 8538;
    /// any other with Cease/4 (Administrative Reset). None is accepted any more.
    Restart,
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
    /// The peer took nothing of what was sent to it for its [`Transport::send_hold`].
    Stalled {
        /// Which; it is still open.
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
        /// What the socket is told.
        transport: Transport,
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
    /// Something that is written down, if that is [wanted](super::Speaker::set_tapped).
    Heard(Heard),
}

/// What came from a peer, or became of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Between whom.
    pub session: mrt::Session,
    /// What.
    pub what: HeardWhat,
}

/// See [`Heard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeardWhat {
    /// This UPDATE came, a whole message.
    Update {
        /// How to read it.
        reading: mrt::Reading,
        /// As it came.
        bytes: Vec<u8>,
    },
    /// The session went from one state to another.
    State {
        /// From here.
        from: super::State,
        /// To there.
        to: super::State,
    },
}

impl Heard {
    /// As an MRT record.
    pub fn record(&self, time: crate::bmp::WallTime) -> Vec<u8> {
        match &self.what {
            HeardWhat::Update { reading, bytes } => {
                mrt::message(time, &self.session, *reading, bytes)
            }
            HeardWhat::State { from, to } => mrt::state_change(time, &self.session, *from, *to),
        }
    }
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
    /// The peer announces nearly as many prefixes as it may, or as many; once per session.
    ManyPrefixes {
        /// Who.
        peer: PeerName,
        /// Of which family.
        family: Family,
        /// How many.
        prefixes: u32,
        /// More end the session.
        max: u32,
    },
    /// The peer has more paths to a prefix than it may; those beyond are not taken. Once per
    /// session.
    ManyPaths {
        /// Who.
        peer: PeerName,
        /// How many there may be.
        max: u8,
    },
    /// Somebody in a range was refused, because it has as many peers as it may.
    RangeFull {
        /// Name of the range.
        range: PeerName,
        /// Who.
        remote: SocketAddr,
    },
    /// The session is over, and the peer's routes are kept: it has said that it would be back.
    Kept {
        /// Whose.
        peer: PeerName,
        /// For so long at least.
        until: Duration,
    },
    /// The peer has not come back in time, or has not said all again.
    Expired {
        /// Whose.
        peer: PeerName,
        /// Its routes of this family are concerned.
        family: Family,
        /// What becomes of them.
        expiry: Expiry,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownCause {
    /// We sent this.
    Sent(Notification),
    /// The peer sent this.
    Received(Notification),
    /// TCP ended without a NOTIFICATION.
    ConnectionLost,
}
