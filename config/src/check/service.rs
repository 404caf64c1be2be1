//! One service.

use core::net::IpAddr;
use std::collections::BTreeMap;

use tidegate_bgp::speaker::RouteAttributes;

use super::{Role, check_address, distinct};
use crate::desired::{
    Advertise, Affinity, Backend, ForwardingMode, Protocol, Service, ServiceAddr, UdpFlows,
};
use crate::diagnostic::Found;
use crate::raw::{AdvertiseSetting, AdvertiseTable, BackendTable, ServiceTable};
use crate::read::{At, List, Tables};
use crate::value::{AffinityKind, duration_text};

/// Communities of one kind on a route. So many of both kinds leave room for all else in an UPDATE
/// of 4096 bytes (RFC 4271 §4.1).
const COMMUNITIES_MAX: usize = 128;

pub(super) fn check(at: &At<ServiceTable>, found: &mut Found<'_>) -> Option<(String, Service)> {
    let raw = &at.value;
    if let Some(vip) = &raw.vip {
        check_address(vip, "a VIP", Role::Network, found);
    }
    let backends = raw.backends.as_ref().and_then(|list| backends(raw, list, found));
    let health = raw.health.as_ref().map(|health| super::health::check(raw, health, found));
    let advertise = check_advertise(raw, found);
    let affinity = affinity(raw, found);
    let udp = udp(raw, found);
    let backend_port = super::nat::check_service(raw, found);
    let service = Service {
        vip: service_addr(raw)?,
        last_port: raw.port.as_ref()?.value.last,
        mode: raw.mode.as_ref()?.value,
        backend_port: backend_port?,
        affinity: affinity?,
        udp: udp?,
        limits: super::guard::of_service(raw),
        echo: raw.echo.as_ref()?.value,
        drain: raw.drain.as_ref()?.value.0,
        slow_start: raw.slow_start.as_ref()?.value.0,
        min_mtu: raw.min_mtu.as_ref()?.value.0,
        // A check that is there but wrong must not become "no check".
        health: match health {
            Some(health) => Some(health?),
            None => None,
        },
        when_all_down: raw.when_all_down.as_ref()?.value,
        advertise: advertise?,
        backends: backends?,
    };
    Some((raw.name.as_ref()?.value.0.clone(), service))
}

/// VIP, port and protocol, as far as they could be read.
pub(super) fn service_addr(raw: &ServiceTable) -> Option<ServiceAddr> {
    Some(ServiceAddr {
        addrs: raw.vip.as_ref()?.value.0,
        port: raw.port.as_ref()?.value.first,
        protocol: raw.protocol.as_ref()?.value,
    })
}

fn backends(
    raw: &ServiceTable,
    list: &At<Tables<BackendTable>>,
    found: &mut Found<'_>,
) -> Option<BTreeMap<IpAddr, Backend>> {
    let tables = &list.value.0.read;
    let mut first: BTreeMap<IpAddr, &At<IpAddr>> = BTreeMap::new();
    for address in tables.iter().filter_map(|table| table.value.address.as_ref()) {
        check_address(address, "a backend", Role::Network, found);
        check_l2(raw, address, found);
        super::nat::check_backend(raw, address, found);
        if let Some(other) = first.get(&address.value) {
            let line = found.line_of(other.span.start);
            let sentence = format!("{} is a backend already, in line {line}", address.value);
            found.error(&address.span, &address.key, sentence, "remove one of the two");
        } else {
            first.insert(address.value, address);
        }
    }
    let mut backends = BTreeMap::new();
    for table in tables {
        let weight = table.value.weight.as_ref()?.value.0;
        let disabled = table.value.disabled.as_ref()?.value;
        let server_id = table.value.server_id.as_ref().map(|at| at.value);
        let former_server_id = table.value.former_server_id.as_ref().map(|at| at.value);
        let backend = Backend { weight, disabled, server_id, former_server_id };
        backends.insert(table.value.address.as_ref()?.value, backend);
    }
    if list.value.0.typed == 0 {
        let remedy = "add [[service.backend]] below it";
        found.error(&list.span, &list.key, "a service needs a backend", remedy);
    } else if tables.len() == list.value.0.typed
        && !backends.values().any(|backend| backend.takes_flows())
    {
        let sentence = "all backends have weight 0 or are disabled: no flow could ever begin";
        found.error(&list.span, &list.key, sentence, "give at least one a weight from 1 to 1000");
    }
    Some(backends)
}

/// `l2` sends the client's packet as it is, to the MAC address that belongs to the backend's
/// address: both are looked up in one family's neighbours.
fn check_l2(raw: &ServiceTable, backend: &At<IpAddr>, found: &mut Found<'_>) {
    let (Some(mode), Some(vip)) = (&raw.mode, &raw.vip) else { return };
    if mode.value == ForwardingMode::L2 && vip.value.0.addr().is_ipv4() != backend.value.is_ipv4() {
        let sentence =
            format!("in mode l2, {} cannot serve a VIP of the other IP version", backend.value);
        let remedy = "write the backend's address of the VIP's version, or mode = \"ipip\"";
        found.error(&backend.span, &backend.key, sentence, remedy);
    }
}

fn affinity(raw: &ServiceTable, found: &mut Found<'_>) -> Option<Affinity> {
    let kind = raw.affinity.as_ref()?.value;
    let is_v4 = raw.vip.as_ref()?.value.0.addr().is_ipv4();
    let (least, most, usual) = if is_v4 { (8, 32, 24) } else { (16, 64, 56) };
    if let Some(bits) = &raw.client_prefix {
        if kind != AffinityKind::ClientPrefix {
            let sentence = "this has no effect: affinity is not \"client-prefix\"";
            let remedy = "write affinity = \"client-prefix\", or remove this key";
            found.warning(&bits.span, &bits.key, sentence, remedy);
        }
        if !(least..=most).contains(&bits.value.0) {
            let version = if is_v4 { "IPv4" } else { "IPv6" };
            let sentence = format!("{} bits are not possible for {version} clients", bits.value.0);
            found.error(&bits.span, &bits.key, sentence, format!("write {least} to {most}"));
        }
    }
    let (config_id, former) = super::quic::check(raw, kind, found);
    Some(match kind {
        AffinityKind::Quic => Affinity::Quic { config_id, former },
        AffinityKind::FiveTuple => Affinity::FiveTuple,
        AffinityKind::ClientAddress => Affinity::ClientAddress,
        AffinityKind::ClientPrefix => {
            Affinity::ClientPrefix(raw.client_prefix.as_ref().map_or(usual, |bits| bits.value.0))
        }
    })
}

fn udp(raw: &ServiceTable, found: &mut Found<'_>) -> Option<UdpFlows> {
    let udp = raw.udp.as_ref()?;
    if let Some(protocol) = &raw.protocol
        && udp.value == UdpFlows::Remembered
        && protocol.value != Protocol::Udp
    {
        let sentence = "this has no effect: the service is not UDP";
        let remedy = "remove this key: TCP and SCTP flows are kept without it";
        found.warning(&udp.span, &udp.key, sentence, remedy);
        return Some(UdpFlows::Hashed);
    }
    let is_nat = raw.mode.as_ref().is_some_and(|mode| mode.value == ForwardingMode::Nat);
    if is_nat && udp.value == UdpFlows::Remembered {
        let sentence = "this has no effect: in mode \"nat\" every flow is remembered";
        found.warning(&udp.span, &udp.key, sentence, "remove this key");
        return Some(UdpFlows::Hashed);
    }
    Some(udp.value)
}

#[expect(clippy::option_option, reason = "outer: could it be read; inner: is it wanted")]
fn check_advertise(raw: &ServiceTable, found: &mut Found<'_>) -> Option<Option<Advertise>> {
    let table = match &raw.advertise.as_ref()?.value {
        AdvertiseSetting::Off => return Some(None),
        AdvertiseSetting::On(table) => table,
    };
    if let Some(list) = &table.communities {
        check_communities(list, found);
    }
    if let Some(list) = &table.large_communities {
        check_communities(list, found);
    }
    let min_healthy = table.min_healthy.as_ref()?;
    let backends = raw.backends.as_ref().map(|list| list.value.0.typed);
    let wanted = min_healthy.value.of(backends.unwrap_or(0));
    if let Some(backends) = backends.filter(|count| (*count as u64) < u64::from(wanted))
        && backends > 0
    {
        let sentence = format!(
            "the VIP would never be announced: {wanted} healthy backends are asked for, and there are \
             {backends}"
        );
        let remedy = format!("write at most {backends}, or add backends");
        found.error(&min_healthy.span, &min_healthy.key, sentence, remedy);
    }
    let attributes = attributes(table)?;
    check_hold_down(table, found);
    let hold_down = table.hold_down.as_ref()?.value.0;
    let hold_down_max = table.hold_down_max.as_ref()?.value.0;
    Some(Some(Advertise { attributes, min_healthy: wanted, hold_down, hold_down_max }))
}

fn check_hold_down(table: &AdvertiseTable, found: &mut Found<'_>) {
    if let (Some(first), Some(max)) = (&table.hold_down, &table.hold_down_max)
        && first.value.0 > max.value.0
    {
        let sentence = format!(
            "a hold-down that starts with {} and grows to at most {} cannot be",
            duration_text(first.value.0),
            duration_text(max.value.0)
        );
        let remedy = "make hold-down-max as long as hold-down, or longer";
        found.error(&first.span, &first.key, sentence, remedy);
    }
}

fn check_communities<T: Ord + Clone>(list: &At<List<T>>, found: &mut Found<'_>) {
    distinct(&list.value.read, found);
    if list.value.typed > COMMUNITIES_MAX {
        let sentence = format!("{} do not fit into one UPDATE", list.value.typed);
        found.error(&list.span, &list.key, sentence, format!("write at most {COMMUNITIES_MAX}"));
    }
}

/// Attributes of the route, as far as they could be read.
pub(super) fn attributes(table: &AdvertiseTable) -> Option<RouteAttributes> {
    let mut communities: Vec<_> =
        table.communities.as_ref()?.value.read.iter().map(|at| at.value).collect();
    let mut large_communities: Vec<_> =
        table.large_communities.as_ref()?.value.read.iter().map(|at| at.value).collect();
    // Both are sets (RFC 1997, RFC 8092): the order of the file makes no difference.
    communities.sort_unstable();
    large_communities.sort_unstable();
    Some(RouteAttributes {
        med: table.med.as_ref().map(|at| at.value.0),
        local_pref: table.local_pref.as_ref().map(|at| at.value.0),
        prepend: table.prepend.as_ref()?.value.0,
        communities,
        large_communities,
    })
}
