//! What is wanted, after every check: no string that could be wrong is left, references are
//! resolved, defaults are written in. Equal intent gives equal values, so a difference between
//! two `Desired` is a difference that matters.

mod nat;
mod quic;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::RangeInclusive;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_bgp::policy::{Policy, PrefixSet};
use tidegate_bgp::rib::DecisionRules;
use tidegate_bgp::speaker::{PeerConfig, PeerRange, RouteAttributes};
use tidegate_bgp::types::{Asn, Prefix, RouterId};

mod api;
mod flows;
mod guard;

pub use api::{Api, ApiTls};
pub use flows::FlowLog;
pub use guard::{Admission, Guard, Limits, OwnLimits};

pub use nat::{Nat, NatTimeouts};
pub use quic::ServerId;

/// Everything a node shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The node itself.
    pub router: Router,
    /// How packets are treated.
    pub datapath: Datapath,
    /// What protects all services.
    pub guard: Guard,
    /// Packets that are told of.
    pub flows: FlowLog,
    /// How connections of services in NAT are translated.
    pub nat: Nat,
    /// How the best of several paths is chosen.
    pub decision: DecisionRules,
    /// BGP peers by name.
    pub peers: BTreeMap<String, PeerConfig>,
    /// Ranges of peers by name; no peer has the name of a range.
    pub ranges: BTreeMap<String, PeerRange>,
    /// What signs sessions, by the name of the peer or range.
    pub signing: BTreeMap<String, Signing>,
    /// Keychains by name, with at least one key each, the preferred one first.
    pub keychains: BTreeMap<String, Vec<AoKey>>,
    /// Routing policies by name; peers have theirs already.
    pub policies: BTreeMap<String, Arc<Policy>>,
    /// Sets of prefixes by name; terms have theirs already.
    pub prefix_sets: BTreeMap<String, Arc<PrefixSet>>,
    /// RPKI caches, the preferred one first.
    pub rpki_caches: Vec<RpkiCache>,
    /// BMP stations.
    pub bmp_stations: Vec<BmpStation>,
    /// Files of routes and messages, if wanted.
    pub mrt: Option<Mrt>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Where BGP listens, ascending; empty: nowhere, every session is dialled. `[::]` does not
    /// include IPv4: the sockets are opened with `IPV6_V6ONLY` (RFC 3493 §5.3).
    pub listen: Vec<SocketAddr>,
    /// Interfaces that the packet path is attached to, by name, ascending.
    pub interfaces: Vec<String>,
    /// How it is attached.
    pub attach: AttachMode,
    /// Seed of the flow hash; equal on all nodes that announce the same VIPs.
    pub hash_seed: u64,
    /// Source of the outer header when encapsulating in IPv4; `None`: the egress's own address.
    pub encap_source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub encap_source_v6: Option<Ipv6Addr>,
    /// Directory under a BPF file system where program, maps and links are pinned.
    pub pin_dir: PathBuf,
    /// Directory where generations of the configuration and what the API changed are kept.
    pub state_dir: PathBuf,
    /// How long a stop waits for traffic to leave; zero: not at all.
    pub drain_on_stop: Duration,
    /// Where the admin API listens.
    pub api: Api,
}

/// What signs a session. Nobody has read the files yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The TCP MD5 password (RFC 2385) in this file.
    Md5(PathBuf),
    /// The keys of the keychain of this name (TCP-AO, RFC 5925).
    Ao(String),
}

/// A key of a keychain, a Master Key Tuple of RFC 5925 §3.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// `SendID`
    pub send_id: u8,
    /// `RecvID`
    pub receive_id: u8,
    /// How it signs.
    pub algorithm: AoAlgorithm,
    /// The file with the key.
    pub file: PathBuf,
}

/// How a key signs (RFC 5926 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96
    HmacSha1,
    /// AES-128-CMAC-96
    Aes128Cmac,
}

/// A server that says which AS may originate which prefix (RFC 8210).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpkiCache {
    /// For people.
    pub name: String,
    /// Where it listens.
    pub remote: SocketAddr,
    /// How often it is asked; `None`: as it says.
    pub refresh: Option<Duration>,
    /// Wait after a failure; `None`: as it says.
    pub retry: Option<Duration>,
    /// How long its last answer counts; `None`: as it says.
    pub expire: Option<Duration>,
}

/// A server that is told of routes (RFC 7854).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmpStation {
    /// For people.
    pub name: String,
    /// Where it listens.
    pub remote: SocketAddr,
    /// What it is told, ascending.
    pub views: Vec<BmpView>,
    /// How often it gets figures; `None`: never.
    pub stats_interval: Option<Duration>,
    /// Wait between attempts to connect.
    pub connect_retry: Duration,
}

/// Routes in one state of their way through us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BmpView {
    /// As a peer announced them.
    PrePolicy,
    /// As they came through its import policies.
    PostPolicy,
    /// Those that were chosen (RFC 9069).
    LocRib,
    /// As a peer was told of them (RFC 8671).
    AdjRibOut,
}

impl BmpView {
    /// The word in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrePolicy => "pre-policy",
            Self::PostPolicy => "post-policy",
            Self::LocRib => "loc-rib",
            Self::AdjRibOut => "adj-rib-out",
        }
    }
}

/// Files of routes and messages (RFC 6396).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mrt {
    /// Where they lie.
    pub directory: PathBuf,
    /// Whether every UPDATE is written down.
    pub updates: bool,
    /// How long a file of updates is.
    pub rotate: Duration,
    /// How often all routes are written; `None`: only on order.
    pub dump_interval: Option<Duration>,
    /// Files of each kind that are kept.
    pub keep: u32,
}

/// How packets are treated, whatever service they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datapath {
    /// Packets that do not fit after encapsulation and are answered, per second and CPU; 0: none.
    pub too_big_rate: u32,
    /// Whether IPv4 packets that may be fragmented are answered, too.
    pub too_big_without_df: bool,
    /// UDP port that takes GUE.
    pub gue_port: u16,
    /// Whether the outer UDP header has a checksum.
    pub gue_checksum: bool,
    /// Sources of outer IPv4 headers, of which the flow chooses one.
    pub vary_source_v4: Option<Prefix>,
    /// Sources of outer IPv6 headers.
    pub vary_source_v6: Option<Prefix>,
}

/// How the packet path is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// Native if the driver can, else generic.
    Auto,
    /// In the driver.
    Native,
    /// In the kernel's generic hook: works everywhere, slower.
    Generic,
}

/// A VIP with port and protocol, and who serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Address, port and protocol.
    pub vip: ServiceAddr,
    /// The last of its ports, the first of which is that of `vip`; mostly they are one.
    pub last_port: u16,
    /// How packets reach a backend.
    pub mode: ForwardingMode,
    /// The port of the backends, in mode `nat`; 0: the one that the client asks.
    pub backend_port: u16,
    /// What keeps a client on one backend.
    pub affinity: Affinity,
    /// What becomes of UDP flows when backends change.
    pub udp: UdpFlows,
    /// Its own limits.
    pub limits: OwnLimits,
    /// Whether ICMP echo to the VIP is answered.
    pub echo: bool,
    /// How long flows of before a change of backends stay where they are.
    pub drain: Duration,
    /// Largest packet of a client, in bytes, that must fit on its way to a backend.
    pub min_mtu: u16,
    /// How long a backend that comes takes to get its whole share; 0: it has it at once.
    pub slow_start: Duration,
    /// How a backend's health is found out; `None`: every backend counts as healthy.
    pub health: Option<HealthCheck>,
    /// What happens when the checks of all backends fail.
    pub when_all_down: AllDown,
    /// How the VIP is announced; `None`: the service neither announces it nor holds it back.
    pub advertise: Option<Advertise>,
    /// Backends by address, in ascending order: the order of the file makes no difference.
    pub backends: BTreeMap<IpAddr, Backend>,
}

/// What a packet must be addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceAddr {
    /// The VIP: one address, or all of a prefix.
    pub addrs: Prefix,
    /// Port, the first one if there are several; 0: every port that no other service of the VIP and
    /// protocol has.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl ServiceAddr {
    /// The VIP's address, the first one if it is a prefix.
    pub const fn addr(self) -> IpAddr {
        self.addrs.addr()
    }

    /// The length of a VIP that is a prefix; `None`: it is one address.
    pub fn prefix_len(self) -> Option<u8> {
        Some(self.addrs.bits()).filter(|_| self.addrs != Prefix::host(self.addr()))
    }

    /// The VIP as it is written: `192.0.2.10` or `198.51.100.0/28`.
    pub fn vip(self) -> String {
        self.prefix_len().map_or_else(|| self.addr().to_string(), |_| self.addrs.to_string())
    }
}

/// Protocols a service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardingMode {
    /// In an IP header of the backend's family.
    Ipip,
    /// In IP and UDP headers (GUE, variant 1).
    Gue,
    /// With the backend's MAC address; it must share a link with us.
    L2,
    /// From an address of ours, and the answers go through us, too.
    Nat,
}

/// What keeps a client on one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Each flow by itself: addresses, ports, protocol.
    FiveTuple,
    /// All flows of one client address together.
    ClientAddress,
    /// All flows together whose client addresses share so many first bits: 8 to 32 of an IPv4
    /// address, 16 to 64 of an IPv6 address.
    ClientPrefix(u8),
    /// Each connection of QUIC, by the server id in the connection ids that its server gives out; each
    /// flow by itself until the client has one.
    Quic {
        /// The configuration that such ids name, 0 to 6.
        config_id: u8,
        /// The one that ids of older connections name, if there was another one.
        former: Option<u8>,
    },
}

/// What becomes of UDP flows, which do not say when they are new, when backends change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpFlows {
    /// They go by the hash, at once.
    Hashed,
    /// They are remembered, and stay for the drain time.
    Remembered,
}

/// What a service does when the checks of all its backends fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllDown {
    /// It is out of service.
    FailClosed,
    /// The checks are taken to be wrong: every backend counts as healthy.
    FailOpen,
}

/// A backend of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Share of the ring relative to the others, 1 to 1000; 0 takes no new flows.
    pub weight: u16,
    /// Takes no packet at all.
    pub disabled: bool,
    /// What it calls itself in connection ids of QUIC; all of a service with that affinity have one,
    /// and the others none.
    pub server_id: Option<ServerId>,
    /// What it calls itself in ids of the configuration of before, if it has any.
    pub former_server_id: Option<ServerId>,
}

impl Backend {
    /// One in service.
    pub const fn of_weight(weight: u16) -> Self {
        Self { weight, disabled: false, server_id: None, former_server_id: None }
    }

    /// Whether new flows may go there.
    pub const fn takes_flows(self) -> bool {
        self.weight > 0 && !self.disabled
    }
}

/// How a backend's health is found out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// The way of the question.
    pub via: Via,
    /// Port asked; 0 where there is none.
    pub port: u16,
    /// From the start of one check to the start of the next, before jitter.
    pub interval: Duration,
    /// A check without an answer by then has failed; not longer than the interval.
    pub timeout: Duration,
    /// From the start of a failed check of a backend that was up to the start of the next; not
    /// longer than the interval.
    pub retry: Duration,
    /// Good checks in a row until a backend is up.
    pub rise: u32,
    /// Failed checks in a row until it is down.
    pub fall: u32,
}

/// Whom a health check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// The backend at its own address.
    Direct,
    /// The VIP, by packets that go to the backend as those of clients do in this mode, which is not NAT.
    Tunnel(ForwardingMode),
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// A TCP connection that opens.
    Tcp,
    /// An HTTP/1.1 request, with or without TLS.
    Http(HttpProbe),
    /// `grpc.health.v1.Health/Check`, over HTTP/2 without TLS.
    Grpc {
        /// The service that is asked for; empty: the server as a whole.
        service: String,
        /// The `:authority`; the backend's address when absent.
        host: Option<String>,
    },
    /// A datagram that is answered.
    Udp {
        /// What is sent.
        send: Vec<u8>,
        /// What the answer begins with.
        expect: Vec<u8>,
    },
    /// A DNS query over UDP.
    Dns(DnsProbe),
    /// An ICMP or ICMPv6 echo.
    Icmp,
}

/// What is asked of a web server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// How it is asked.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Host header; the backend's address when absent.
    pub host: Option<String>,
    /// The statuses that mean healthy, ascending, without overlap.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// What the body holds.
    pub body: Option<String>,
    /// TLS, if it is spoken.
    pub tls: Option<Tls>,
}

impl HttpProbe {
    /// The statuses as they are written: `200, 300-399`.
    pub fn statuses_text(&self) -> String {
        let texts: Vec<String> = self
            .statuses
            .iter()
            .map(|range| match (range.start(), range.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            })
            .collect();
        texts.join(", ")
    }
}

/// How a backend proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The name that is asked for (SNI) and that the certificate has; when absent, that of the host
    /// header, and without one the backend's address.
    pub server_name: Option<String>,
    /// Who may have signed the certificate; when absent, whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

/// A request method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// OPTIONS
    Options,
}

impl Method {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }
}

/// What is asked of a name server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsProbe {
    /// The name.
    pub query: String,
    /// The type of record.
    pub query_type: DnsType,
    /// The response code that means healthy.
    pub rcode: DnsRcode,
}

/// A type of DNS records.
#[expect(missing_docs, reason = "the names are those of RFC 1035, RFC 2782 and RFC 3596")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DnsType {
    #[default]
    A,
    Aaaa,
    Ns,
    Soa,
    Ptr,
    Mx,
    Txt,
    Srv,
}

impl DnsType {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ns => "NS",
            Self::Soa => "SOA",
            Self::Ptr => "PTR",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Srv => "SRV",
        }
    }
}

/// A DNS response code (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DnsRcode {
    /// 0, with at least one record of the type that was asked for.
    #[default]
    NoError,
    /// 3: there is no such name.
    NxDomain,
    /// 5: the server does not answer for it.
    Refused,
}

impl DnsRcode {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::NxDomain => "NXDOMAIN",
            Self::Refused => "REFUSED",
        }
    }

    /// As it is sent.
    pub const fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::NxDomain => 3,
            Self::Refused => 5,
        }
    }
}

/// How a VIP is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Attributes of the route; communities ascending.
    pub attributes: RouteAttributes,
    /// Fewest healthy backends with which the VIP is announced, at least 1.
    pub min_healthy: u32,
    /// How long it stays withdrawn after the first failure.
    pub hold_down: Duration,
    /// The longest that this grows to; a VIP that works for so long starts anew.
    pub hold_down_max: Duration,
}
