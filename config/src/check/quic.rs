//! Services that go by the connection ids of QUIC.

use core::net::IpAddr;
use std::collections::BTreeMap;

use tidegate_abi::QUIC_SERVERS_MAX;

use crate::desired::{ForwardingMode, Protocol, ServerId};
use crate::diagnostic::Found;
use crate::raw::{BackendTable, ServiceTable};
use crate::read::At;
use crate::value::AffinityKind;

/// Checks what a service says of connection ids; returns the configuration that they name.
pub(super) fn check(raw: &ServiceTable, kind: AffinityKind, found: &mut Found<'_>) -> u8 {
    let tables = raw.backends.iter().flat_map(|list| &list.value.0.read);
    if kind == AffinityKind::Quic {
        check_transport(raw, found);
        check_ids(tables, found);
    } else {
        let remedy = "write affinity = \"quic\", or remove this key";
        let sentence = "this has no effect: affinity is not \"quic\"";
        if let Some(at) = &raw.quic_config_id {
            found.warning(&at.span, &at.key, sentence, remedy);
        }
        for at in tables.filter_map(|table| table.value.server_id.as_ref()) {
            found.warning(&at.span, &at.key, sentence, remedy);
        }
    }
    raw.quic_config_id.as_ref().map_or(0, |at| at.value.0)
}

fn check_transport(raw: &ServiceTable, found: &mut Found<'_>) {
    let Some(affinity) = &raw.affinity else { return };
    if raw.protocol.as_ref().is_some_and(|at| at.value != Protocol::Udp) {
        let remedy = "write protocol = \"udp\", or another affinity";
        found.error(&affinity.span, &affinity.key, "QUIC is carried by UDP", remedy);
    }
    if raw.mode.as_ref().is_some_and(|at| at.value == ForwardingMode::Nat) {
        let sentence = "in mode \"nat\" a connection is known by its addresses";
        let remedy = "write another mode, or another affinity";
        found.error(&affinity.span, &affinity.key, sentence, remedy);
    }
}

/// Every backend has a server id of its own, and all are of one length: nothing in a connection id
/// says how long that is.
fn check_ids<'a>(tables: impl Iterator<Item = &'a At<BackendTable>>, found: &mut Found<'_>) {
    let mut seen: BTreeMap<ServerId, &At<ServerId>> = BTreeMap::new();
    let mut first: Option<&At<ServerId>> = None;
    for table in tables {
        let Some(id) = &table.value.server_id else {
            if let Some(address) = &table.value.address
                && !is_malformed(address, found)
            {
                let sentence = format!("{} needs a server id for affinity \"quic\"", address.value);
                let remedy = "add server-id = \"...\", as its server puts it into connection ids";
                found.error(&address.span, &address.key, sentence, remedy);
            }
            continue;
        };
        let of_first = *first.get_or_insert(id);
        if let Some(other) = seen.insert(id.value, id) {
            let line = found.line_of(other.span.start);
            let sentence = format!("{} is the server id in line {line}, too", id.value);
            found.error(&id.span, &id.key, sentence, "give each backend another one");
        } else if id.value.octets().len() != of_first.value.octets().len() {
            let line = found.line_of(of_first.span.start);
            let sentence =
                format!("it is of another length than {} in line {line}", of_first.value);
            found.error(&id.span, &id.key, sentence, "write all of a service in one length");
        }
    }
}

/// Whether a server id stands beside this address, and it was told that it is none.
fn is_malformed(address: &At<IpAddr>, found: &Found<'_>) -> bool {
    let table = address.key.strip_suffix("address");
    table.is_some_and(|table| found.has_told_of(&format!("{table}server-id")))
}

/// What the map holds.
pub(super) fn check_count(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    let mut count = 0;
    for at in services {
        let before = count;
        let is_quic = at.value.affinity.as_ref().is_some_and(|at| at.value == AffinityKind::Quic);
        let backends = at.value.backends.as_ref().filter(|_| is_quic);
        count += backends.map_or(0, |list| list.value.0.typed);
        let max = QUIC_SERVERS_MAX as usize;
        if before <= max && count > max {
            let sentence = "with this service there are too many server ids";
            let remedy = format!("{QUIC_SERVERS_MAX} of all services fit");
            found.error(&at.span, &at.key, sentence, remedy);
        }
    }
}
