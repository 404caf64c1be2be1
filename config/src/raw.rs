//! What was typed: the tables and keys of `tidegate.toml`.
//!
//! The doc comments are the text of `docs/reference/config.md` and of the JSON Schema.

pub(crate) mod bgp;
pub(crate) mod export;
pub(crate) mod flows;
pub(crate) mod guard;
pub(crate) mod nat;
pub(crate) mod policy;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator, json_schema};
use tidegate_bgp::types::{Asn, Community, Family, HoldTime, LargeCommunity, Prefix, RouterId};
use tidegate_bgp::wire::Role;
use toml::de::{DeTable, DeValue};

use bgp::{AddPathTable, BfdTable, DecisionTable, KeychainTable};
use export::{BmpStationTable, MrtTable, RpkiCacheTable};
use flows::FlowsTable;
use guard::{GuardTable, ServiceGuardTable};
use nat::NatTable;
use policy::{AsPathSetTable, CommunitySetTable, PolicyTable, PrefixSetTable};

use crate::desired::{
    AllDown, AttachMode, DnsRcode, DnsType, ForwardingMode, Method, Protocol, ServerId, UdpFlows,
};
use crate::diagnostic::Found;
use crate::read::Need::{Default, Optional, Required};
use crate::read::{List, Node, Tables, Value, table};
use crate::value::{
    AffinityKind, BgpListen, BodyText, CommonName, DnsName, GrpcService, HttpHost, HttpPath, Int,
    Interface, MinHealthy, Name, Payload, Place, Port, ProbeKind, Seed, ServicePort, ShutdownText,
    Span, Statuses, Version, ViaWord, Vip,
};

table! {
    /// Configuration of a tidegate node.
    pub(crate) struct File as "tidegate.toml" {
        /// Version of the shape of this file.
        "version" => version: Version, Default("1");
        /// The node itself.
        "router" => router: RouterTable, Required;
        /// The admin API.
        "api" => api: ApiTable, Default("{}");
        /// How packets are treated, whatever service they are for.
        "datapath" => datapath: DatapathTable, Default("{}");
        /// Who may send packets to the VIPs, and how many.
        "guard" => guard: GuardTable, Default("{}");
        /// Which packets `tidegate flows` tells of.
        "flows" => flows: FlowsTable, Default("{}");
        /// How connections of services in mode `"nat"` are translated.
        "nat" => nat: NatTable, Default("{}");
        /// How the best of several paths to a prefix is chosen.
        "decision" => decision: DecisionTable, Default("{}");
        /// BGP peers: routers that learn the VIPs from us.
        "peer" => peers: Tables<PeerTable>, Default("[]");
        /// Keys that sign sessions, by TCP-AO.
        "keychain" => keychains: Tables<KeychainTable>, Default("[]");
        /// Sets of prefixes that policies ask about.
        "prefix-set" => prefix_sets: Tables<PrefixSetTable>, Default("[]");
        /// Sets of AS paths that policies ask about.
        "as-path-set" => as_path_sets: Tables<AsPathSetTable>, Default("[]");
        /// Sets of communities that policies ask about.
        "community-set" => community_sets: Tables<CommunitySetTable>, Default("[]");
        /// Routing policies: what is let in from peers and out to them.
        "policy" => policies: Tables<PolicyTable>, Default("[]");
        /// RPKI caches, the preferred one first.
        "rpki-cache" => rpki_caches: Tables<RpkiCacheTable>, Default("[]");
        /// BMP stations.
        "bmp-station" => bmp_stations: Tables<BmpStationTable>, Default("[]");
        /// Files of routes and messages.
        "mrt" => mrt: MrtTable, Optional;
        /// Services: VIPs, and who serves them.
        "service" => services: Tables<ServiceTable>, Default("[]");
    }
    hints {
        "neighbor" => "write [[peer]]",
        "bgp" => "the node's own BGP settings stand in [router], its peers in [[peer]]",
        "rpki" => "write [[rpki-cache]]",
        "bmp" => "write [[bmp-station]]",
        "key-chain" => "write [[keychain]]",
        "vip" => "write [[service]] with a vip key",
        "backend" => "write [[service.backend]], below the [[service]] it belongs to",
        "asn" => "write it below [router]",
        "router-id" => "write it below [router]",
        "interfaces" => "write it below [router]",
    }
}

table! {
    /// The node itself.
    pub(crate) struct RouterTable as "router" {
        /// Our AS number, as a number or, in asdot, as a string: `65001` or `"1.10"`.
        "asn" => asn: Asn, Required;
        /// Our BGP Identifier: four octets, unique in our AS, by habit an IPv4 address of this
        /// node.
        "router-id" => router_id: RouterId, Required;
        /// Interfaces where packets for the VIPs arrive; the packet path is attached to them.
        "interfaces" => interfaces: List<Interface>, Required;
        /// How the packet path is attached. `"native"` runs in the driver and fails if the driver
        /// cannot, `"generic"` works everywhere and is slower, `"auto"` takes the best that works.
        "attach" => attach: AttachMode, Default("\"auto\"");
        /// Where BGP listens; port 179 unless given. An IPv6 address here never stands for IPv4
        /// too. An empty list: nowhere, every session is dialled by us.
        "listen" => listen: List<BgpListen>, Default("[\"0.0.0.0:179\", \"[::]:179\"]");
        /// Seed of the flow hash. Nodes that announce the same VIPs must have the same seed, so
        /// that a flow which moves to another node finds its backend there. A value of your own
        /// keeps outsiders from computing which backend they get. The default is "tidegate" in
        /// ASCII.
        "hash-seed" => hash_seed: Seed, Default("\"0x7469646567617465\"");
        /// Source of the outer header towards IPv4 backends. When absent: the address of the
        /// interface the packet leaves through.
        "encap-source-v4" => encap_source_v4: Ipv4Addr, Optional;
        /// The same towards IPv6 backends.
        "encap-source-v6" => encap_source_v6: Ipv6Addr, Optional;
        /// Directory in a BPF file system where program and maps are pinned, so that they outlive
        /// the daemon.
        "pin-dir" => pin_dir: PathBuf, Default("\"/sys/fs/bpf/tidegate\"");
        /// Directory where the daemon keeps the generations of its configuration and what was
        /// changed over the API, each daemon in a subdirectory named after its configuration file.
        "state-dir" => state_dir: PathBuf, Default("\"/var/lib/tidegate\"");
        /// How long a stop (SIGTERM) may wait for traffic to leave: routers are asked to prefer
        /// other nodes first, as `tidegate drain node` does. `"0s"`: it withdraws and stops at once.
        "drain-on-stop" => drain_on_stop: Span<0, 3_600_000>, Default("\"0s\"");
    }
    hints {
        "as" => "write asn",
        "local-as" => "write asn",
        "id" => "write router-id",
        "interface" => "write interfaces = [ … ]",
    }
}

table! {
    /// The admin API.
    pub(crate) struct ApiTable as "api" {
        /// Unix socket of the API; the commands use it too.
        "socket" => socket: PathBuf, Default("\"/run/tidegate/api.sock\"");
        /// Address of the API on TCP. One that other hosts reach takes tls-certificate, and
        /// token-file or client-ca. On a loopback address without those two, everybody on this
        /// host may read and nobody change. When absent: no TCP.
        "listen" => listen: SocketAddr, Optional;
        /// File with the certificate that the API shows on TCP, and those above it but for the
        /// root (PEM). It is read anew on a reload, as are all files below.
        "tls-certificate" => tls_certificate: PathBuf, Optional;
        /// File with the private key of that certificate (PEM).
        "tls-key" => tls_key: PathBuf, Optional;
        /// File with the certificates of those who sign certificates of clients (PEM). Whoever has
        /// such a certificate may read.
        "client-ca" => client_ca: PathBuf, Optional;
        /// Clients with such a certificate that may change things too: the common names of its
        /// subject.
        "client-operators" => client_operators: List<CommonName>, Default("[]");
        /// File with the hashes of bearer tokens, a line each as `tidegate token` prints it.
        "token-file" => token_file: PathBuf, Optional;
        /// Requests on TCP that each caller has in a second, and twice as many at once. Those
        /// beyond are answered with 429.
        "request-rate" => request_rate: Int<u32, 1, 10_000>, Default("50");
        /// Whether the API also answers on TCP, at `/birdwatcher/`, as birdwatcher does: for a
        /// looking glass such as Alice-LG.
        "birdwatcher" => birdwatcher: bool, Default("false");
    }
    hints {
        "tls-cert" => "write tls-certificate",
        "certificate" => "write tls-certificate",
        "token" => "write token-file: a token stands in no configuration",
        "tokens" => "write token-file: a token stands in no configuration",
        "rate-limit" => "write request-rate",
    }
}

table! {
    /// How packets are treated, whatever service they are for.
    pub(crate) struct DatapathTable as "datapath" {
        /// How many packets that do not fit after encapsulation are answered with the size that does
        /// ("fragmentation needed", "packet too big"), in each second and on each CPU. 0: none,
        /// they are only dropped and counted.
        "too-big-rate" => too_big_rate: Int<u32, 0, 1_000_000>, Default("1000");
        /// Whether IPv4 packets that may be fragmented are answered like that, too; hosts follow
        /// such an answer. If not, they are dropped and counted.
        "too-big-without-df" => too_big_without_df: bool, Default("true");
        /// UDP port to which packets go in mode `"gue"`.
        "gue-port" => gue_port: Port, Default("6080");
        /// Whether the outer UDP header of `"gue"` has a checksum. It takes a look at every byte of
        /// a packet; without it the checksum is zero, which tunnels may have over IPv6 too.
        "gue-checksum" => gue_checksum: bool, Default("false");
        /// Addresses for the source of outer IPv4 headers, in place of `encap-source-v4`: the flow
        /// chooses one of them, so that the card of a backend spreads flows over its queues. /8 to
        /// /30, such as `"10.99.0.0/24"`.
        "vary-source-v4" => vary_source_v4: Prefix, Optional;
        /// The same for outer IPv6 headers; /96 to /126.
        "vary-source-v6" => vary_source_v6: Prefix, Optional;
    }
    hints {
        "too-big" => "write too-big-rate",
        "mtu" => "remove it: the MTU is that of the way to the backend",
    }
}

table! {
    /// A BGP peer: a router that learns the VIPs from us.
    pub(crate) struct PeerTable as "peer" {
        /// Its name in commands, metrics and the log.
        "name" => name: Name, Required;
        /// Its address. A prefix such as `"192.0.2.0/24"` stands for a range of peers: whoever
        /// connects from there is one as long as its session lasts, named after this table and
        /// its address; we dial none of them. `"unnumbered"`: it is the router at the other end of
        /// `interface`, found by its IPv6 router advertisements, and the session is between
        /// link-local addresses.
        "address" => address: Place, Default("\"unnumbered\"");
        /// How many peers of a range there may be at a time. When absent: 100.
        "range-limit" => range_limit: Int<u16, 1, 10_000>, Optional;
        /// The port we dial.
        "port" => port: Port, Default("179");
        /// Its AS number; equal to ours on an internal session.
        "asn" => asn: Asn, Required;
        /// The AS that we are in for this peer. When absent: `router.asn`, whose place it takes
        /// in what the peer is told and sent.
        "local-asn" => local_asn: Asn, Optional;
        /// Source address of the session. When absent: what the kernel chooses.
        "local-address" => local_address: IpAddr, Optional;
        /// The interface, or VRF, that carries the session: what comes in by another one is not
        /// heard. When absent: the routing table decides. What a peer dials into a VRF is heard
        /// where the sysctl `net.ipv4.tcp_l3mdev_accept` is 1.
        "interface" => interface: Interface, Optional;
        /// How many hops away the peer may be: the TTL of what we send. When absent: 1 for an
        /// external peer, which has to be on a link of ours, and 255 for an internal one.
        "multihop" => multihop: Int<u8, 1, 255>, Optional;
        /// In place of multihop: how many hops away the peer may be, by a TTL that nobody farther
        /// away can forge (GTSM, RFC 5082); 1 for a peer on a link of ours. The peer has to do
        /// the same.
        "ttl-security" => ttl_security: Int<u8, 1, 254>, Optional;
        /// Never dial, only accept.
        "passive" => passive: bool, Default("false");
        /// Hold Time that we propose. A peer that is silent for so long is given up; `"0s"`:
        /// never.
        "hold-time" => hold_time: HoldTime, Default("\"90s\"");
        /// How long the peer may take nothing of what is sent to it (RFC 9687), longer than
        /// hold-time; `"0s"`: for ever. When absent: twice the hold-time, and 8m at least.
        "send-hold-time" => send_hold_time: Span<0, 604_800_000>, Optional;
        /// How long what was sent may stay unacknowledged before TCP gives the session up. When
        /// absent: as the kernel has it, about a quarter of an hour.
        "tcp-user-timeout" => tcp_user_timeout: Span<1000, 3_600_000>, Optional;
        /// Wait between attempts to dial.
        "connect-retry" => connect_retry: Span<1000, 3_600_000>, Default("\"5s\"");
        /// Address families that we offer: `"ipv4-unicast"`, `"ipv6-unicast"`, and, to receive
        /// rules that are shown and neither acted on nor passed on, `"ipv4-flowspec"`,
        /// `"ipv6-flowspec"`.
        "families" => families: List<Family>, Default("[\"ipv4-unicast\", \"ipv6-unicast\"]");
        /// Several paths to one prefix (ADD-PATH, RFC 7911). When absent: one each way.
        "add-path" => add_path: AddPathTable, Optional;
        /// Whether the next hop of an IPv4 prefix may be an IPv6 address, both ways (RFC 8950).
        /// When absent: with an unnumbered peer.
        "extended-next-hop" => extended_next_hop: bool, Optional;
        /// Next hop of IPv4 VIPs. When absent: our own address on the session's interface.
        "next-hop-v4" => next_hop_v4: Ipv4Addr, Optional;
        /// Next hop of IPv6 VIPs, never an IPv4-mapped address. When absent: our own address on
        /// the session's interface.
        "next-hop-v6" => next_hop_v6: Ipv6Addr, Optional;
        /// How long the peer may keep our routes when the daemon is gone without a word, until its
        /// session is back (RFC 4724): packets are forwarded meanwhile. In whole seconds; `"0s"`:
        /// routes go with the session.
        "graceful-restart" => graceful_restart: Span<0, 4_095_000>, Default("\"120s\"");
        /// How long the peer may go on with our routes after that, as a last resort (RFC 9494). In
        /// whole seconds; `"0s"`: not at all.
        "long-lived-graceful-restart" => long_lived_graceful_restart: Span<0, 16_777_215_000>,
            Default("\"0s\"");
        /// How long we keep the peer's routes while it restarts, from the loss of the session until
        /// it has announced them again, however long it asks for (RFC 4724); `"0s"`: they go with
        /// the session.
        "stale-time" => stale_time: Span<0, 86_400_000>, Default("\"6m\"");
        /// How long we go on with the peer's routes when it has not come back in its restart time,
        /// where there are no others, however long it asks for (RFC 9494); `"0s"`: not at all.
        "long-lived-stale-time" => long_lived_stale_time: Span<0, 16_777_215_000>,
            Default("\"0s\"");
        /// What we are to an external peer (RFC 9234): a session between roles that do not fit is
        /// refused. When absent: nothing is said.
        "role" => role: Role, Optional;
        /// Refuse a peer that names no role of its own; only with role.
        "role-required" => role_required: bool, Default("false");
        /// File with the TCP MD5 password of the session; its first line counts. A reload that
        /// finds another password there changes it on the open session too.
        "password-file" => password_file: PathBuf, Optional;
        /// Keychain that signs the session by TCP-AO (RFC 5925), in place of a password. Keys that a
        /// reload adds, or prefers, are taken up by the open session too.
        "keychain" => keychain: Name, Optional;
        /// Policies that its routes pass on the way in, in this order. When absent: nothing from
        /// another AS is let in (RFC 8212), everything from inside ours.
        "import" => import: List<Name>, Optional;
        /// Policies that routes pass on the way out to it, in this order. When absent: nothing but
        /// VIPs goes to another AS (RFC 8212).
        "export" => export: List<Name>, Optional;
        /// How many prefixes the peer may announce. When absent: as many as fit.
        "max-prefixes" => max_prefixes: MaxPrefixesTable, Optional;
        /// Before the session is shut down: the peer is told to prefer other routes than ours, and
        /// its own come last here, while packets still find both (GRACEFUL_SHUTDOWN, RFC 8326).
        "graceful-shutdown" => graceful_shutdown: bool, Default("false");
        /// Whether an external peer may ask for the same: its routes with the community
        /// `graceful-shutdown` get LOCAL_PREF 0, whatever its policies say.
        "heed-graceful-shutdown" => heed_graceful_shutdown: bool, Default("true");
        /// Watch by BFD whether packets reach the peer; `{}` for what is usual. When absent: its
        /// silence is noticed after the hold-time.
        "bfd" => bfd: BfdTable, Optional;
        /// Keeps the session down, and tells the peer's operator this text (RFC 9003).
        "shutdown" => shutdown: ShutdownText, Optional;
    }
    hints {
        "tcp-ao" => "write keychain, and a [[keychain]] of that name",
        "password" => "write it into a file and name that: password-file = \"/etc/tidegate/…\"",
        "local-as" => "write local-asn",
        "prefix" => "write address",
        "range" => "write address",
        "ebgp-multihop" => "write multihop",
        "gtsm" => "write ttl-security",
        "maximum-prefix" => "write max-prefixes",
        "update-source" => "write local-address",
        "remote-as" => "write asn",
        "peer-as" => "write asn",
        "next-hop" => "write next-hop-v4 or next-hop-v6",
        "addpath" => "write add-path",
        "ip" => "write address",
    }
}

table! {
    /// How many prefixes a peer may announce; more end the session with Cease/1 (RFC 4486).
    pub(crate) struct MaxPrefixesTable as "peer.max-prefixes" {
        /// IPv4 prefixes. When absent: as many as fit.
        "ipv4" => ipv4: Int<u32, 0, 4_294_967_295>, Optional;
        /// IPv6 prefixes. When absent: as many as fit.
        "ipv6" => ipv6: Int<u32, 0, 4_294_967_295>, Optional;
        /// Percent of a limit from which on the log warns.
        "warn-percent" => warn_percent: Int<u8, 1, 100>, Default("80");
        /// How long the peer is left alone after that. When absent: until its configuration
        /// changes, or tidegate is started anew.
        "restart" => restart: Span<1000, 604_800_000>, Optional;
    }
}

table! {
    /// A service: a VIP with port and protocol, and who serves it.
    pub(crate) struct ServiceTable as "service" {
        /// Its name in commands, metrics and the log.
        "name" => name: Name, Required;
        /// The address that clients use, or a prefix such as `"198.51.100.0/28"`: every address of
        /// it, announced as that prefix. Of several VIPs that a packet's address lies in, the one
        /// with the longest prefix counts. Prefixes may have four lengths in each IP version.
        "vip" => vip: Vip, Required;
        /// The port that clients use; backends listen on the same. A range such as `"8000-8100"`:
        /// each of them, with one set of backends. `"any"`: every port of the VIP and protocol that
        /// no other service has.
        "port" => port: ServicePort, Required;
        /// The protocol.
        "protocol" => protocol: Protocol, Default("\"tcp\"");
        /// How packets reach a backend. `"ipip"`: in an IP header addressed to it; `"gue"`: in IP
        /// and UDP headers addressed to it, with a source port that differs from flow to flow;
        /// `"l2"`: with its MAC address, for backends on a link of ours. These leave the packet as it
        /// is, and the backend answers the client directly. `"nat"`: from an address of ours to its
        /// own, for backends that know nothing of the VIP; answers come back through this node, which
        /// remembers the connection, and connections end when another node takes over. TCP and UDP
        /// only, without fragments; backends have the VIP's IP version.
        "mode" => mode: ForwardingMode, Default("\"ipip\"");
        /// The port that backends listen on, in mode `"nat"`. When absent: the one that the client
        /// asks.
        "backend-port" => backend_port: Port, Optional;
        /// What keeps a client on one backend. `"5-tuple"`: each flow by itself;
        /// `"client-address"`: all flows of one address together; `"client-prefix"`: all flows of
        /// addresses that share their first bits, as `client-prefix` says; `"quic"`: each connection
        /// of QUIC, by the `server-id` that its backend has put into the connection id, so that a
        /// client keeps it when its address changes.
        "affinity" => affinity: AffinityKind, Default("\"5-tuple\"");
        /// Bits that client addresses share, for affinity `"client-prefix"`: 8 to 32 with an IPv4
        /// VIP, 16 to 64 with an IPv6 VIP. When absent: 24 and 56.
        "client-prefix" => client_prefix: Int<u8, 8, 64>, Optional;
        /// For affinity `"quic"`: the configuration that connection ids name in their first three bits.
        "quic-config-id" => quic_config_id: Int<u8, 0, 6>, Optional;
        /// For affinity `"quic"`: the configuration that was in use before. While it stands here,
        /// connections with ids of it keep their backends, which these name by their
        /// `former-server-id`.
        "quic-former-config-id" => quic_former_config_id: Int<u8, 0, 6>, Optional;
        /// What becomes of UDP flows when backends change. `"hash"`: they go where the ring says, at
        /// once and on every node alike; right for DNS and the like. `"flow"`: they are remembered,
        /// as many as 65536 on a node, and those that a change would move stay for the `drain` time.
        "udp" => udp: UdpFlows, Default("\"hash\"");
        /// Limits of the service that differ from those in `[guard]`.
        "guard" => guard: ServiceGuardTable, Optional;
        /// Whether a ping to the VIP is answered. Services that share a VIP must agree.
        "echo" => echo: bool, Default("true");
        /// How long flows stay on their backend after a change of backends would move them.
        "drain" => drain: Span<0, 86_400_000>, Default("\"60s\"");
        /// How long a backend that comes back, or comes new, takes to get its whole share of new
        /// flows: an eighth at once, another one after each eighth of this time. Others have the
        /// rest meanwhile. `"0s"`: all at once.
        "slow-start" => slow_start: Span<0, 3_600_000>, Default("\"0s\"");
        /// Largest packet of a client, in bytes, that must fit on its way to a backend, the outer
        /// header not counted. A backend whose way has less room takes no flows. Write 1500 where
        /// clients send full packets and shall not be asked for smaller ones.
        "min-mtu" => min_mtu: Int<u16, 576, 3_400>, Default("1280");
        /// How a backend's health is found out. When absent: every backend counts as healthy.
        "health" => health: HealthTable, Optional;
        /// What a service does when the checks of all its backends fail: `"fail-closed"` takes it
        /// out of service; `"fail-open"` takes it that the checks are wrong and sends to all.
        "when-all-down" => when_all_down: AllDown, Default("\"fail-closed\"");
        /// How the VIP is announced. `false`: this service does not announce it; `true` or a
        /// table: it does, while it has enough healthy backends. Services that share a VIP must
        /// agree on the attributes.
        "advertise" => advertise: AdvertiseSetting, Default("true");
        /// The backends, at least one.
        "backend" => backends: Tables<BackendTable>, Required;
    }
    hints {
        "address" => "write vip",
        "backends" => "write [[service.backend]] below this service, once per backend",
        "healthcheck" => "write health",
        "health-check" => "write health",
        "communities" => "write it in advertise = { … }",
    }
}

table! {
    /// A backend of the service above it.
    pub(crate) struct BackendTable as "service.backend" {
        /// Its address.
        "address" => address: IpAddr, Required;
        /// Its share of new flows relative to the other backends; 0: no new flows.
        "weight" => weight: Int<u16, 0, 1000>, Default("1");
        /// Takes it out of service at once: it gets neither new flows nor old ones. To let old ones
        /// end first, use weight 0 or `tidegate drain backend`.
        "disabled" => disabled: bool, Default("false");
        /// What it calls itself in connection ids of QUIC, in hexadecimal: of affinity `"quic"` every
        /// backend has one, all of one length.
        "server-id" => server_id: ServerId, Optional;
        /// What it called itself in connection ids of `quic-former-config-id`, the same or something
        /// else; those that have one, all in one length. When absent: no older connection is its.
        "former-server-id" => former_server_id: ServerId, Optional;
    }
    hints {
        "port" => "remove it: backends listen on the service's port, or, in mode \"nat\", on its backend-port",
        "name" => "remove it: a backend is known by its address",
    }
}

table! {
    /// How a backend's health is found out.
    pub(crate) struct HealthTable as "service.health" {
        /// `"tcp"`: a connection opens; `"http"` and `"https"`: a request is answered with the right
        /// status and body; `"grpc"`: the server says `SERVING` (`grpc.health.v1`, without TLS);
        /// `"udp"`: a datagram is answered; `"dns"`: a query over UDP is answered; `"icmp"`: a ping
        /// is answered.
        "type" => kind: ProbeKind, Required;
        /// Port that is asked; not for type `"icmp"`. When absent: the service's port, or its
        /// `backend-port`.
        "port" => port: Port, Optional;
        /// The way of the question. `"direct"`: to the backend's own address; `"tunnel"`: to the VIP, as
        /// packets of clients are sent to the backend, in any mode but `"nat"`: so that one whose tunnel
        /// or VIP is missing fails. When absent: `"direct"`.
        "via" => via: ViaWord, Optional;
        /// Request method, for types `"http"` and `"https"`. When absent: `GET`.
        "method" => method: Method, Optional;
        /// Path that is requested, for types `"http"` and `"https"`. When absent: `/`.
        "path" => path: HttpPath, Optional;
        /// Host header, for types `"http"`, `"https"` and `"grpc"`. When absent: the backend's
        /// address.
        "host" => host: HttpHost, Optional;
        /// The statuses that mean healthy, for types `"http"` and `"https"`. When absent: 200.
        "status" => status: Statuses, Optional;
        /// What the first 64 KiB of the response's body must hold, for types `"http"` and `"https"`.
        /// When absent: anything.
        "body" => body: BodyText, Optional;
        /// The name that is asked for by SNI and that the certificate must have, for type
        /// `"https"`. When absent: that of `host`, and without one the backend's address.
        "server-name" => server_name: DnsName, Optional;
        /// File of the certificates, in PEM, that may have signed the backend's, for type `"https"`;
        /// it is read when the check begins. When absent: those that the system trusts.
        "ca-file" => ca_file: PathBuf, Optional;
        /// The service that is asked for, for type `"grpc"`. When absent: the server as a whole.
        "grpc-service" => grpc_service: GrpcService, Optional;
        /// What is sent, for type `"udp"`: a text, or `"hex:…"` for any bytes.
        "send" => send: Payload, Optional;
        /// What the answer must begin with, for type `"udp"`. When absent: any answer will do.
        "expect" => expect: Payload, Optional;
        /// The name that is asked for, for type `"dns"`.
        "query" => query: DnsName, Optional;
        /// The type of records that are asked for, for type `"dns"`. When absent: `A`.
        "query-type" => query_type: DnsType, Optional;
        /// The response code that means healthy, for type `"dns"`. When absent: `NOERROR`, and a
        /// record of the type must be there.
        "rcode" => rcode: DnsRcode, Optional;
        /// From the start of one check to the start of the next.
        "interval" => interval: Span<100, 3_600_000>, Default("\"2s\"");
        /// A check that is not over by then has failed; not longer than the interval. When
        /// absent: 1s, or the interval if that is shorter.
        "timeout" => timeout: Span<10, 3_600_000>, Optional;
        /// After a failed check of a backend that was up, the next one comes this soon, if that is
        /// sooner than the interval: so a backend that is dead is known to be after `fall` of these.
        "retry" => retry: Span<10, 3_600_000>, Default("\"250ms\"");
        /// Good checks in a row until a backend is up.
        "rise" => rise: Int<u32, 1, 100>, Default("2");
        /// Failed checks in a row until it is down.
        "fall" => fall: Int<u32, 1, 100>, Default("3");
    }
}

table! {
    /// How a VIP is announced.
    pub(crate) struct AdvertiseTable as "service.advertise" {
        /// Communities of the route, such as `"65001:100"` or `"no-export"`; at most 128.
        "communities" => communities: List<Community>, Default("[]");
        /// Large communities of the route, such as `"65001:1:2"`; at most 128.
        "large-communities" => large_communities: List<LargeCommunity>, Default("[]");
        /// MULTI_EXIT_DISC of the route. When absent: none.
        "med" => med: Int<u32, 0, 4_294_967_295>, Optional;
        /// LOCAL_PREF on internal sessions. When absent: 100.
        "local-pref" => local_pref: Int<u32, 0, 4_294_967_295>, Optional;
        /// How many times more than usual our AS stands in the path.
        "prepend" => prepend: Int<u8, 0, 10>, Default("0");
        /// Fewest healthy backends with which the VIP is announced: a number, or a share of the
        /// backends that are configured, rounded up.
        "min-healthy" => min_healthy: MinHealthy, Default("1");
        /// How long a VIP stays withdrawn at least after something failed. The time doubles each
        /// time it fails again, and starts anew when the VIP was announced for `hold-down-max`.
        /// `"0s"`: it is announced as soon as it works.
        "hold-down" => hold_down: Span<0, 3_600_000>, Default("\"1s\"");
        /// The longest hold-down.
        "hold-down-max" => hold_down_max: Span<0, 86_400_000>, Default("\"1m\"");
    }
}

/// `advertise = false | true | { … }`.
#[derive(Clone, Debug)]
pub(crate) enum AdvertiseSetting {
    Off,
    On(Box<AdvertiseTable>),
}

impl Value for AdvertiseSetting {
    fn kind() -> String {
        "true, false or a table of service.advertise keys".to_owned()
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<AdvertiseTable>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, table] })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let on = |table| Self::On(Box::new(table));
        match node.value {
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::Boolean(true) => {
                let defaults = Node { value: &DeValue::Table(DeTable::new()), ..node.clone() };
                AdvertiseTable::read(&defaults, found).map(on)
            }
            DeValue::Table(_) => AdvertiseTable::read(node, found).map(on),
            _ => {
                node.wrong(found, &Self::kind(), "write true, false or { … }");
                None
            }
        }
    }
}
