//! What the daemon shows of itself: the bodies of the API's answers, and what the command line
//! makes its tables from. No inner type is serialised; the reconcile task fills these by hand.

pub mod capture;
pub mod doctor;
pub mod drain;
pub mod event;
pub mod export;
pub mod flow;
pub mod history;
pub(crate) mod offload;
pub mod routes;
pub mod rpki;
pub mod said;
pub mod upgrade;
pub mod why;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub mod change;

/// Version of these shapes; grows when a field changes its meaning or goes.
pub const API_VERSION: &str = "v1";

/// What of a [`View`] is made: services and their backends may be many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The node and its peers.
    Node,
    /// All services, with their backends unless there are more than so many in all.
    Figures {
        /// So many.
        backends_max: usize,
    },
    /// Some services, with all of their backends.
    Services(Page),
    /// Some backends, within their services.
    Backends(Page),
}

/// Which of many, in the order of names, then of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Of this service on, or the next one if there is none of this name.
    pub service: String,
    /// And of it this backend on.
    pub backend: Option<IpAddr>,
    /// So many, at most.
    pub limit: usize,
}

/// Everything that was asked for at one moment, as the reconcile task answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// `/api/v1/status`
    pub status: Status,
    /// `/api/v1/peers`
    pub peers: Vec<Peer>,
    /// `/api/v1/vips`, backends inside
    pub vips: Vec<Vip>,
    /// Where the next page of them begins.
    pub next: Option<String>,
    /// `/api/v1/rpki`
    pub rpki: rpki::Rpki,
}

/// The daemon on one screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// [`API_VERSION`]
    pub api_version: String,
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    #[serde(default)]
    pub pid: u32,
    /// Number of the configuration in force; grows with every reload.
    pub generation: u64,
    /// The file it came from.
    pub config_file: String,
    /// Why the last reload was refused; absent when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_refused: Option<String>,
    /// What is special about the configuration in force.
    #[serde(default)]
    pub standing: change::Standing,
    /// Entries and slots written into the maps since the start, fewer being better.
    #[serde(default)]
    pub map_writes: u64,
    /// What is being taken out of service, or was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drains: Vec<drain::Drain>,
    /// The maps hold what the configuration and the backends' health ask for.
    pub converged: bool,
    /// What stands in the way of converging, if anything failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What works and should still be looked at, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// BMP stations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stations: Vec<export::Station>,
    /// Files of messages, if any are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mrt: Option<export::Files>,
    /// RPKI caches that answer.
    #[serde(default)]
    pub rpki_caches: Tally,
    /// RFC 3339
    pub started_at: String,
    /// Seconds since then.
    pub uptime_secs: u64,
    /// Sessions of the process before this one, if it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<upgrade::TakenOver>,
    /// Our AS.
    pub asn: u32,
    /// Our BGP Identifier.
    pub router_id: String,
    /// Where the packet path is attached, and how.
    pub interfaces: Vec<Interface>,
    /// BGP sessions.
    pub peers: Tally,
    /// Services whose VIP is announced.
    pub vips: Tally,
    /// Backends that take traffic.
    pub backends: Tally,
    /// How late a BGP timer has fired at worst since the start, in microseconds.
    #[serde(default)]
    pub timer_lateness_max_us: u64,
    /// How late a health check has begun at worst since the start, in microseconds.
    #[serde(default)]
    pub check_lateness_max_us: u64,
    /// Test packets that were run through the packet path since the start.
    pub proof_packets: u64,
    /// Connections in NAT that are remembered; absent where there is none in mode `nat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_connections: Option<u64>,
    /// How full the maps are, as of the last look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<Map>,
    /// Packets that are told of.
    #[serde(default)]
    pub flows: FlowsTold,
    /// Verdicts and events of the packet path since it was loaded.
    pub counters: Vec<CounterRow>,
}

/// How much is told of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowsTold {
    /// One in so many packets is told of by chance; 0: none is told of at all.
    pub sampled_one_in: u32,
    /// What became of the words.
    pub told: flow::Told,
}

/// Body of `/api/v1/drops`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    /// [`API_VERSION`]
    pub api_version: String,
    /// Reasons for which packets were dropped since the packet path was loaded.
    pub drops: Vec<CounterRow>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tally {
    /// Established, announced, active.
    pub up: usize,
    /// Configured.
    pub configured: usize,
}

/// One interface of the packet path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// `native`, `generic` or `detached`.
    pub mode: String,
    /// Why not a better mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One counter of the packet path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CounterRow {
    /// Stable name, as in the metrics.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// One line for an operator.
    pub help: String,
    /// What to do, if somebody can do something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A BGP peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Configured name.
    pub name: String,
    /// Configured address and port.
    #[schema(value_type = String)]
    pub remote: SocketAddr,
    /// Configured AS.
    pub asn: u32,
    /// RFC 4271's name of the state.
    pub state: String,
    /// RFC 3339: when it entered that state.
    pub since: String,
    /// Seconds since then.
    pub since_secs: u64,
    /// BGP Identifier from its OPEN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// Agreed Hold Time, in seconds, while Established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_time_secs: Option<u16>,
    /// Agreed families, while Established.
    pub families: Vec<String>,
    /// Families of which routes of an earlier session are kept, until the peer has restarted.
    #[serde(default)]
    pub stale_families: Vec<String>,
    /// Whole messages since start.
    pub messages_received: u64,
    /// Whole messages since start.
    pub messages_sent: u64,
    /// Bytes from the peer that wait to be heard.
    #[serde(default)]
    pub queued_received_bytes: u64,
    /// Bytes to the peer that wait to be written; what the kernel has is not counted.
    #[serde(default)]
    pub queued_to_send_bytes: u64,
    /// Prefixes the peer announces now.
    pub prefixes_received: u64,
    /// Prefixes it has been promised now.
    pub prefixes_advertised: u64,
    /// The same by family, and what became of those received.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<FamilyPrefixes>,
    /// NOTIFICATIONs since start, by direction, code and subcode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<Notifications>,
    /// Malformed attributes that were dropped while their routes stayed (RFC 7606).
    #[serde(default)]
    pub malformed_discarded: u64,
    /// Malformed attributes that took the routes of their UPDATE along.
    #[serde(default)]
    pub malformed_withdrawn: u64,
    /// Families given up for a session because their prefixes could not be read.
    #[serde(default)]
    pub malformed_families: u64,
    /// BFD's name of its state, where BFD watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
    /// After so much silence BFD gives the peer up, in microseconds, once it has heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_detect_us: Option<u64>,
    /// Times the session left Established.
    pub flaps: u64,
    /// Why the last session or attempt ended, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_down: Option<String>,
}

/// Prefixes of a peer in one family, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FamilyPrefixes {
    /// Such as `ipv4-unicast`.
    pub family: String,
    /// It announces so many.
    pub received: u64,
    /// So many of these passed loop checks and policy.
    pub accepted: u64,
    /// So many did not.
    pub filtered: u64,
    /// It has been promised so many.
    pub advertised: u64,
}

/// NOTIFICATIONs of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notifications {
    /// `received` or `sent`.
    pub direction: String,
    /// RFC 4271 §4.5; 0 stands for all those beyond the first 32 kinds.
    pub code: u8,
    /// Its subcode.
    pub subcode: u8,
    /// How many.
    pub messages: u64,
}

/// A map of the packet path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Map {
    /// Its name in the kernel, in lower case.
    pub name: String,
    /// In use.
    pub entries: u64,
    /// How many there may be.
    pub capacity: u64,
}

/// `192.0.2.10:80/tcp`, as services are named everywhere; `192.0.2.10:8000-8100/tcp` with some ports,
/// `192.0.2.10:any/tcp` with every one. `vip` may be a prefix: `198.51.100.0/28:80/tcp`.
pub(crate) fn service_name(vip: &str, port: u16, last_port: Option<u16>, protocol: &str) -> String {
    let vip = if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() };
    match (port, last_port) {
        (0, _) => format!("{vip}:any/{protocol}"),
        (port, Some(last)) => format!("{vip}:{port}-{last}/{protocol}"),
        (port, None) => format!("{vip}:{port}/{protocol}"),
    }
}

/// A service with its VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vip {
    /// Configured name of the service.
    pub service: String,
    /// The VIP; its first address if it is a prefix.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The length of a VIP that is a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_len: Option<u8>,
    /// Its port; 0: every port that no other service has.
    pub port: u16,
    /// The last of its ports, if there are several; `port` is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_port: Option<u16>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Forwarding mode: `ipip` or `l2`.
    pub mode: String,
    /// The VIP is in the RIB, and so at every established peer.
    pub announced: bool,
    /// Whether our AS may announce it (RFC 6811): `valid`, `invalid` or `not-found`; absent while
    /// there is no word from an RPKI cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpki: Option<String>,
    /// What test packets through the packet path show: `proven`, `pending`, or a code of what
    /// failed.
    pub proof: String,
    /// Where the VIP is in its life: `silent`, `waiting`, `programming`, `proving`, `held-down`,
    /// `announced`, `shedding`, `emptying` or `drained`.
    #[serde(default)]
    pub life: String,
    /// It drains: `shedding`, `emptying` or `drained`, by itself or with the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// Seconds until it is announced again: it works, but has failed too recently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_down_secs: Option<u64>,
    /// The checks of all backends fail, and are taken to be wrong.
    #[serde(default)]
    pub fails_open: bool,
    /// Why it is not, as a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_text: Option<String>,
    /// RFC 3339: since when it is announced or withheld.
    pub since: String,
    /// Seconds since then.
    pub since_secs: u64,
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Slots of its ring in transition: flows of before a change still go where they went.
    #[serde(default)]
    pub slots_in_transition: u32,
    /// How many of those who serve it take new flows.
    #[serde(default)]
    pub active_backends: usize,
    /// Who serves it.
    pub backends: Vec<Backend>,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Configured weight.
    pub weight: u16,
    /// `active`, `draining`, `disabled`, `unproven`, `down`, `no-way`, `narrow` or `no-room`.
    pub state: String,
    /// Why it is not active, or not with its whole share, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// RFC 3339: when it entered that state.
    pub since: String,
    /// Seconds since then.
    pub since_secs: u64,
    /// Share of the service's ring, in hundredths of a percent.
    pub share: u32,
    /// Packets forwarded to it, by all services that reach it in the same way.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Connections that are open, of a service in mode `nat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

/// Body of `/api/v1/peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peers {
    /// [`API_VERSION`]
    pub api_version: String,
    /// By name.
    pub peers: Vec<Peer>,
}

/// Body of `/api/v1/vips`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vips {
    /// [`API_VERSION`]
    pub api_version: String,
    /// By name of the service.
    pub vips: Vec<Vip>,
    /// What to write as `from` for the next page; absent on the last one. A page may be short
    /// without being the last: services with many backends fill it sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Body of `/api/v1/backends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backends {
    /// [`API_VERSION`]
    pub api_version: String,
    /// By name of the service, then by address.
    pub backends: Vec<ServiceBackend>,
    /// What to write as `from` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A backend, with the service it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceBackend {
    /// Configured name of the service.
    pub service: String,
    /// The backend.
    #[serde(flatten)]
    pub backend: Backend,
}

impl View {
    /// `/api/v1/peers`
    pub fn peers(self) -> Peers {
        Peers { api_version: API_VERSION.into(), peers: self.peers }
    }

    /// `/api/v1/vips`
    pub fn vips(self) -> Vips {
        Vips { api_version: API_VERSION.into(), vips: self.vips, next: self.next }
    }

    /// `/api/v1/drops`
    pub fn drops(self) -> Drops {
        let counters = self.status.counters.into_iter();
        let dropped = counters.filter(|row| row.name.starts_with("drop_") && row.packets > 0);
        Drops { api_version: API_VERSION.into(), drops: dropped.collect() }
    }

    /// `/api/v1/backends`
    pub fn backends(self) -> Backends {
        let backends = self.vips.into_iter().flat_map(|Vip { service, backends, .. }| {
            let of_service = move |backend| ServiceBackend { service: service.clone(), backend };
            backends.into_iter().map(of_service)
        });
        Backends { api_version: API_VERSION.into(), backends: backends.collect(), next: self.next }
    }
}

#[cfg(test)]
pub(crate) mod tests;
