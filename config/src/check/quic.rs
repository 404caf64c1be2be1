//! Services that go by the connection ids of QUIC.

use core::net::IpAddr;
use std::collections::BTreeMap;

use tidegate_abi::QUIC_SERVERS_MAX;

use crate::desired::{ForwardingMode, Protocol, ServerId};
use crate::diagnostic::Found;
use crate::raw::{BackendTable, ServiceTable};
use crate::read::At;
use crate::value::{AffinityKind, Int};

/// Checks what a service says of connection ids; returns the configuration that they name, and the one
/// of before.
pub(super) fn check(
    raw: &ServiceTable,
    kind: AffinityKind,
    found: &mut Found<'_>,
) -> (u8, Option<u8>) {
    let tables: Vec<&At<BackendTable>> =
        raw.backends.iter().flat_map(|list| &list.value.0.read).collect();
    if kind == AffinityKind::Quic {
        check_transport(raw, found);
        check_present(&tables, found);
        check_ids(tables.iter().filter_map(|table| table.value.server_id.as_ref()), found);
        let former = tables.iter().filter_map(|table| table.value.former_server_id.as_ref());
        check_ids(former, found);
        check_former(raw, &tables, found);
    } else {
        let remedy = "write affinity = \"quic\", or remove this key";
        let sentence = "this has no effect: affinity is not \"quic\"";
        for at in [&raw.quic_config_id, &raw.quic_former_config_id].into_iter().flatten() {
            found.warning(&at.span, &at.key, sentence, remedy);
        }
        for table in tables {
            let BackendTable { server_id, former_server_id, .. } = &table.value;
            for at in [server_id, former_server_id].into_iter().flatten() {
                found.warning(&at.span, &at.key, sentence, remedy);
            }
        }
    }
    let value = |at: &Option<At<Int<u8, 0, 6>>>| at.as_ref().map(|at| at.value.0);
    (value(&raw.quic_config_id).unwrap_or(0), value(&raw.quic_former_config_id))
}

/// The configuration of before is another one, and somebody has an id of it.
fn check_former(raw: &ServiceTable, tables: &[&At<BackendTable>], found: &mut Found<'_>) {
    let mut ids = tables.iter().filter_map(|table| table.value.former_server_id.as_ref());
    let Some(former) = &raw.quic_former_config_id else {
        let sentence = "this has no effect: the service has no quic-former-config-id";
        for id in ids {
            found.warning(&id.span, &id.key, sentence, "add that key, or remove this one");
        }
        return;
    };
    if former.value.0 == raw.quic_config_id.as_ref().map_or(0, |at| at.value.0) {
        let sentence = format!("{} is the configuration that is in use now", former.value.0);
        let remedy = "write the one of before here, and another one as quic-config-id";
        found.error(&former.span, &former.key, sentence, remedy);
    }
    if ids.next().is_none() {
        let sentence = "this has no effect: no backend has a former-server-id";
        found.warning(
            &former.span,
            &former.key,
            sentence,
            "add it to those that were there before",
        );
    }
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

/// Every backend has a server id.
fn check_present(tables: &[&At<BackendTable>], found: &mut Found<'_>) {
    for table in tables.iter().filter(|table| table.value.server_id.is_none()) {
        if let Some(address) = &table.value.address
            && !is_malformed(address, found)
        {
            let sentence = format!("{} needs a server id for affinity \"quic\"", address.value);
            let remedy = "add server-id = \"...\", as its server puts it into connection ids";
            found.error(&address.span, &address.key, sentence, remedy);
        }
    }
}

/// No two are the same, and all are of one length: nothing in a connection id says how long that is.
fn check_ids<'a>(ids: impl Iterator<Item = &'a At<ServerId>>, found: &mut Found<'_>) {
    let mut seen: BTreeMap<ServerId, &At<ServerId>> = BTreeMap::new();
    let mut first: Option<&At<ServerId>> = None;
    for id in ids {
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
        let of_each = 1 + usize::from(at.value.quic_former_config_id.is_some());
        count += backends.map_or(0, |list| list.value.0.typed) * of_each;
        let max = QUIC_SERVERS_MAX as usize;
        if before <= max && count > max {
            let sentence = "with this service there are too many server ids";
            let remedy = format!("{QUIC_SERVERS_MAX} of all services fit");
            found.error(&at.span, &at.key, sentence, remedy);
        }
    }
}
