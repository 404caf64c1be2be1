//! What differs between two configurations, key by key, and what each difference costs.
//!
//! Compared is what is wanted, not what was typed: a default that is written out, another order or
//! another spelling of a value is no difference.

use core::fmt::{self, Display};
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use tidegate_bgp::policy::{Policy, PrefixSet};
use tidegate_bgp::rib::DecisionRules;
use tidegate_bgp::speaker::RouteAttributes;

mod export;
mod flows;
mod guard;
mod health;
mod nat;
mod peer;

use peer::{of_keychain, of_peer, of_range, place};

use crate::desired::{
    Advertise, Affinity, AllDown, Api, ApiTls, AttachMode, Backend, Datapath, Desired,
    ForwardingMode, Protocol, Router, Service, ServiceAddr, UdpFlows,
};
use crate::impact::{self, Impact};
use crate::value::duration_text;

/// A thing that the configuration describes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// `[router]`
    Router,
    /// `[api]`
    Api,
    /// `[datapath]`
    Datapath,
    /// `[guard]`
    Guard,
    /// `[flows]`
    Flows,
    /// `[nat]`
    Nat,
    /// `[decision]`
    Decision,
    /// A peer or a range of peers, by name.
    Peer(String),
    /// A keychain, by name.
    Keychain(String),
    /// A routing policy, by name.
    Policy(String),
    /// A set of prefixes, by name.
    PrefixSet(String),
    /// An RPKI cache, by name.
    RpkiCache(String),
    /// A BMP station, by name.
    BmpStation(String),
    /// `[mrt]`
    Mrt,
    /// A service, by name.
    Service(String),
    /// A backend of the service of this name, by address.
    Backend(String, IpAddr),
}

impl Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router => f.write_str("router"),
            Self::Api => f.write_str("api"),
            Self::Datapath => f.write_str("datapath"),
            Self::Guard => f.write_str("guard"),
            Self::Flows => f.write_str("flows"),
            Self::Nat => f.write_str("nat"),
            Self::Decision => f.write_str("decision"),
            Self::Peer(name) => write!(f, "peer {name}"),
            Self::Keychain(name) => write!(f, "keychain {name}"),
            Self::Policy(name) => write!(f, "policy {name}"),
            Self::PrefixSet(name) => write!(f, "prefix-set {name}"),
            Self::RpkiCache(name) => write!(f, "rpki-cache {name}"),
            Self::BmpStation(name) => write!(f, "bmp-station {name}"),
            Self::Mrt => f.write_str("mrt"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Backend(service, addr) => write!(f, "service {service} backend {addr}"),
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub object: Object,
    /// How it differs.
    pub what: What,
}

/// How an object differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// One of its keys has another value.
    Changed {
        /// The key, with its table if that lies within the object: `hold-time`, `health.interval`.
        key: String,
        /// What the change costs.
        impact: Impact,
        /// The value before, as a person writes it; `None`: there was none.
        before: Option<String>,
        /// The value after.
        after: Option<String>,
    },
}

impl Change {
    /// What the change costs. A peer that comes or goes has its own session opened or closed, and
    /// touches no other.
    pub const fn impact(&self) -> Impact {
        match (&self.what, &self.object) {
            (What::Changed { impact, .. }, _) => *impact,
            (What::Added | What::Removed, Object::Peer(_)) => Impact::Session,
            (What::Added | What::Removed, _) => Impact::Soft,
        }
    }
}

/// Every difference, in the order of objects and keys. Equal configurations have none, and others
/// have at least one.
pub fn changes(before: &Desired, after: &Desired) -> Vec<Change> {
    let mut changes = Vec::new();
    let (router, api) = of_router(&before.router);
    let (router_after, api_after) = of_router(&after.router);
    compare(&Object::Router, &router, &router_after, &mut changes);
    compare(&Object::Api, &api, &api_after, &mut changes);
    let datapath = [before, after].map(|desired| of_datapath(&desired.datapath));
    let [datapath, datapath_after] = datapath;
    compare(&Object::Datapath, &datapath, &datapath_after, &mut changes);
    let [guard, guard_after] = [before, after].map(|desired| guard::of_guard(&desired.guard));
    compare(&Object::Guard, &guard, &guard_after, &mut changes);
    let [flows, flows_after] = [before, after].map(|desired| flows::of_flows(desired.flows));
    compare(&Object::Flows, &flows, &flows_after, &mut changes);
    let [nat, nat_after] = [before, after].map(|desired| nat::of_nat(&desired.nat));
    compare(&Object::Nat, &nat, &nat_after, &mut changes);
    let [decision, decision_after] = [before, after].map(|desired| of_decision(desired.decision));
    compare(&Object::Decision, &decision, &decision_after, &mut changes);
    for name in union(&before.peers, &after.peers) {
        let rows = |desired: &Desired| {
            let peer = desired.peers.get(name)?;
            Some(of_peer(peer, &place(peer), desired.signing.get(name)))
        };
        let object = || Object::Peer(name.clone());
        both(&object, rows(before), rows(after), &mut changes);
    }
    for name in union(&before.ranges, &after.ranges) {
        let rows = |desired: &Desired| {
            let range = desired.ranges.get(name)?;
            Some(of_range(range, desired.signing.get(name)))
        };
        let (object, first) = (|| Object::Peer(name.clone()), changes.len());
        both(&object, rows(before), rows(after), &mut changes);
        changes.iter_mut().skip(first).for_each(of_all_sessions);
    }
    for name in union(&before.keychains, &after.keychains) {
        let rows = |desired: &Desired| desired.keychains.get(name).map(|keys| of_keychain(keys));
        both(&|| Object::Keychain(name.clone()), rows(before), rows(after), &mut changes);
    }
    for name in union(&before.policies, &after.policies) {
        let rows = |desired: &Desired| desired.policies.get(name).map(|policy| of_policy(policy));
        both(&|| Object::Policy(name.clone()), rows(before), rows(after), &mut changes);
    }
    for name in union(&before.prefix_sets, &after.prefix_sets) {
        let (before, after) = (before.prefix_sets.get(name), after.prefix_sets.get(name));
        if before != after {
            let rows = |set: &Arc<PrefixSet>| of_prefix_set(set);
            let object = || Object::PrefixSet(name.clone());
            both(&object, before.map(rows), after.map(rows), &mut changes);
        }
    }
    export::changes(before, after, &mut changes);
    for name in union(&before.services, &after.services) {
        let (before, after) = (before.services.get(name), after.services.get(name));
        if before == after {
            continue; // Nearly all of them, in a large configuration.
        }
        let object = || Object::Service(name.clone());
        both(&object, before.map(of_service), after.map(of_service), &mut changes);
        // What is within a service that comes or goes, comes or goes with it.
        let (Some(before), Some(after)) = (before, after) else { continue };
        for addr in union(&before.backends, &after.backends) {
            let rows = |service: &Service| service.backends.get(addr).copied().map(of_backend);
            let object = || Object::Backend(name.clone(), *addr);
            both(&object, rows(before), rows(after), &mut changes);
        }
    }
    changes
}

/// The keys of both maps, ascending.
fn union<'a, K: Ord, V>(one: &'a BTreeMap<K, V>, other: &'a BTreeMap<K, V>) -> BTreeSet<&'a K> {
    one.keys().chain(other.keys()).collect()
}

/// A range that changes makes its peers anew, whatever it was.
fn of_all_sessions(change: &mut Change) {
    if let What::Changed { key, impact, .. } = &mut change.what
        && !["password-file", "keychain"].contains(&key.as_str())
    {
        *impact = Impact::Session;
    }
}

/// What became of one object.
fn both(
    object: &impl Fn() -> Object,
    before: Option<Rows>,
    after: Option<Rows>,
    changes: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(before), Some(after)) => compare(&object(), &before, &after, changes),
        (Some(_), None) => changes.push(Change { object: object(), what: What::Removed }),
        (None, Some(_)) => changes.push(Change { object: object(), what: What::Added }),
        (None, None) => {}
    }
}

fn compare(object: &Object, before: &Rows, after: &Rows, changes: &mut Vec<Change>) {
    let value = |rows: &Rows, row: &Row| {
        rows.0.iter().find(|other| other.is_same(row)).map(|other| other.value.clone())
    };
    let gone = before.0.iter().filter(|row| value(after, row).is_none());
    for row in after.0.iter().chain(gone) {
        let (before, after) = (value(before, row), value(after, row));
        if before != after {
            let key = row.shown_key();
            let impact = impact::of(row.table, row.key);
            let what = What::Changed { key, impact, before, after };
            changes.push(Change { object: object.clone(), what });
        }
    }
}

/// The keys of one object that have a value.
#[derive(Default)]
struct Rows(Vec<Row>);

/// One key with its value, as a person writes it.
struct Row {
    table: &'static str,
    key: &'static str,
    value: String,
}

impl Row {
    fn is_same(&self, other: &Self) -> bool {
        (self.table, self.key) == (other.table, other.key)
    }

    fn shown_key(&self) -> String {
        match self.table.split_once('.') {
            Some((_, "backend")) | None => self.key.to_owned(),
            Some((_, inner)) => format!("{inner}.{}", self.key),
        }
    }
}

impl Rows {
    fn put(&mut self, table: &'static str, key: &'static str, value: impl Display) {
        self.0.push(Row { table, key, value: value.to_string() });
    }

    fn maybe(&mut self, table: &'static str, key: &'static str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(table, key, value);
        }
    }
}

// The patterns below name every field, so that none can be forgotten.

fn of_router(router: &Router) -> (Rows, Rows) {
    let Router {
        asn,
        router_id,
        listen,
        interfaces,
        attach,
        hash_seed,
        encap_source_v4,
        encap_source_v6,
        pin_dir,
        state_dir,
        drain_on_stop,
        api,
    } = router;
    let attach = match attach {
        AttachMode::Auto => "auto",
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
    };
    let mut rows = Rows::default();
    rows.put("router", "asn", asn);
    rows.put("router", "router-id", router_id);
    rows.put("router", "interfaces", list(interfaces));
    rows.put("router", "attach", attach);
    rows.put("router", "listen", list(listen));
    rows.put("router", "hash-seed", format_args!("0x{hash_seed:016x}"));
    rows.maybe("router", "encap-source-v4", encap_source_v4.as_ref());
    rows.maybe("router", "encap-source-v6", encap_source_v6.as_ref());
    rows.put("router", "pin-dir", pin_dir.display());
    rows.put("router", "state-dir", state_dir.display());
    rows.put("router", "drain-on-stop", duration_text(*drain_on_stop));
    (rows, of_api(api))
}

fn of_api(api: &Api) -> Rows {
    let Api { socket, listen, tls, token_file, request_rate, birdwatcher } = api;
    let mut rows = Rows::default();
    rows.put("api", "socket", socket.display());
    rows.maybe("api", "listen", listen.as_ref());
    if let Some(ApiTls { certificate, key, client_ca, client_operators }) = tls {
        rows.put("api", "tls-certificate", certificate.display());
        rows.put("api", "tls-key", key.display());
        rows.maybe("api", "client-ca", client_ca.as_ref().map(|path| path.display()));
        rows.put("api", "client-operators", list(client_operators));
    }
    rows.maybe("api", "token-file", token_file.as_ref().map(|path| path.display()));
    rows.put("api", "request-rate", request_rate);
    rows.put("api", "birdwatcher", birdwatcher);
    rows
}

fn of_datapath(datapath: &Datapath) -> Rows {
    let Datapath {
        too_big_rate,
        too_big_without_df,
        gue_port,
        gue_checksum,
        vary_source_v4,
        vary_source_v6,
    } = datapath;
    let mut rows = Rows::default();
    rows.put("datapath", "too-big-rate", too_big_rate);
    rows.put("datapath", "too-big-without-df", too_big_without_df);
    rows.put("datapath", "gue-port", gue_port);
    rows.put("datapath", "gue-checksum", gue_checksum);
    rows.maybe("datapath", "vary-source-v4", vary_source_v4.as_ref());
    rows.maybe("datapath", "vary-source-v6", vary_source_v6.as_ref());
    rows
}

fn of_decision(rules: DecisionRules) -> Rows {
    let DecisionRules {
        always_compare_med,
        med_missing_is_worst,
        multipath_external,
        multipath_internal,
        multipath_relax,
        link_bandwidth,
    } = rules;
    let mut rows = Rows::default();
    rows.put("decision", "always-compare-med", always_compare_med);
    rows.put("decision", "missing-med-is-worst", med_missing_is_worst);
    rows.put("decision", "multipath-external", multipath_external);
    rows.put("decision", "multipath-internal", multipath_internal);
    rows.put("decision", "multipath-relax", multipath_relax);
    rows.put("decision", "link-bandwidth", link_bandwidth);
    rows
}

/// Terms are shown by their names. What they and the sets that they name say is too long for a
/// line: a digest of it tells that something of it is another.
fn of_policy(policy: &Policy) -> Rows {
    let Policy { name: _, terms, default } = policy;
    let mut digest = DefaultHasher::new();
    format!("{terms:?} {default:?}").hash(&mut digest);
    let names: Vec<&str> = terms.iter().map(|term| term.name.as_str()).collect();
    let mut rows = Rows::default();
    let terms = format_args!("{} #{:08x}", list(&names), digest.finish() >> 32);
    rows.put("policy.term", "name", terms);
    rows
}

/// By how many there are and a sum: there may be very many.
fn of_prefix_set(set: &PrefixSet) -> Rows {
    let mut digest = DefaultHasher::new();
    format!("{:?}", set.ranges()).hash(&mut digest);
    let mut rows = Rows::default();
    let prefixes = format_args!("{} prefixes #{:08x}", set.ranges().len(), digest.finish() >> 32);
    rows.put("prefix-set", "prefixes", prefixes);
    rows
}

fn of_backend(backend: Backend) -> Rows {
    let Backend { weight, disabled, server_id, former_server_id } = backend;
    let mut rows = Rows::default();
    rows.put("service.backend", "weight", weight);
    rows.put("service.backend", "disabled", disabled);
    rows.maybe("service.backend", "server-id", server_id.as_ref());
    rows.maybe("service.backend", "former-server-id", former_server_id.as_ref());
    rows
}

fn of_service(service: &Service) -> Rows {
    let Service {
        vip,
        last_port,
        mode,
        backend_port,
        affinity,
        udp,
        limits,
        echo,
        drain,
        slow_start,
        min_mtu,
        health,
        when_all_down,
        advertise,
        backends: _, // Objects of their own.
    } = service;
    let ServiceAddr { addrs: _, port, protocol } = vip;
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let mode = match mode {
        ForwardingMode::Ipip => "ipip",
        ForwardingMode::Gue => "gue",
        ForwardingMode::L2 => "l2",
        ForwardingMode::Nat => "nat",
    };
    let mut rows = Rows::default();
    let when_all_down = match when_all_down {
        AllDown::FailClosed => "fail-closed",
        AllDown::FailOpen => "fail-open",
    };
    rows.put("service", "vip", vip.vip());
    match port {
        0 => rows.put("service", "port", "any"),
        port if port == last_port => rows.put("service", "port", port),
        port => rows.put("service", "port", format_args!("{port}-{last_port}")),
    }
    rows.put("service", "protocol", protocol);
    rows.put("service", "mode", mode);
    rows.maybe("service", "backend-port", Some(backend_port).filter(|port| **port != 0));
    of_affinity(*affinity, &mut rows);
    let udp = match udp {
        UdpFlows::Hashed => "hash",
        UdpFlows::Remembered => "flow",
    };
    rows.put("service", "udp", udp);
    guard::of_service(*limits, &mut rows);
    rows.put("service", "echo", echo);
    rows.put("service", "drain", duration_text(*drain));
    rows.put("service", "slow-start", duration_text(*slow_start));
    rows.put("service", "min-mtu", min_mtu);
    rows.put("service", "when-all-down", when_all_down);
    if let Some(health) = health {
        health::of_health(health, &mut rows);
    }
    if let Some(advertise) = advertise {
        of_advertise(advertise, &mut rows);
    }
    rows
}

fn of_affinity(affinity: Affinity, rows: &mut Rows) {
    let affinity = match affinity {
        Affinity::FiveTuple => "5-tuple",
        Affinity::ClientAddress => "client-address",
        Affinity::ClientPrefix(bits) => {
            rows.put("service", "client-prefix", bits);
            "client-prefix"
        }
        Affinity::Quic { config_id, former } => {
            rows.put("service", "quic-config-id", config_id);
            rows.maybe("service", "quic-former-config-id", former.as_ref());
            "quic"
        }
    };
    rows.put("service", "affinity", affinity);
}

fn of_advertise(advertise: &Advertise, rows: &mut Rows) {
    let Advertise {
        attributes: RouteAttributes { med, local_pref, prepend, communities, large_communities },
        min_healthy,
        hold_down,
        hold_down_max,
    } = advertise;
    rows.put("service.advertise", "communities", list(communities));
    rows.put("service.advertise", "large-communities", list(large_communities));
    rows.maybe("service.advertise", "med", med.as_ref());
    rows.maybe("service.advertise", "local-pref", local_pref.as_ref());
    rows.put("service.advertise", "prepend", prepend);
    rows.put("service.advertise", "min-healthy", min_healthy);
    rows.put("service.advertise", "hold-down", duration_text(*hold_down));
    rows.put("service.advertise", "hold-down-max", duration_text(*hold_down_max));
}

/// `[a, b]`.
fn list<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("[{}]", values.join(", "))
}

#[cfg(test)]
mod tests;
