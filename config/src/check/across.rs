//! What tables must not say about each other, and what they must not exceed together.

use core::net::IpAddr;
use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{BACKENDS_MAX, RING_SLOTS_MAX, SERVICES_MAX, VIP_LENS_MAX, ring_size};
use tidegate_bgp::types::Prefix;

use super::{label, peer, service, tables};
use crate::desired::{ForwardingMode, Protocol};
use crate::diagnostic::Found;
use crate::raw::{AdvertiseSetting, BackendTable, File, PeerTable, ServiceTable};
use crate::read::At;
use crate::value::{Name, Place, Vip};

pub(super) fn check(
    file: &File,
    peers: &[At<PeerTable>],
    services: &[At<ServiceTable>],
    found: &mut Found<'_>,
) {
    names("peer", peers.iter().map(|at| (at.value.name.as_ref(), &at.span)), found);
    names("service", services.iter().map(|at| (at.value.name.as_ref(), &at.span)), found);
    peer_addresses(peers, found);
    unnumbered_interfaces(peers, found);
    service_addresses(services, found);
    vips_in_agreement(services, found);
    vips_of_nobody_else(file, peers, services, found);
    backends_are_no_vips(services, found);
    vip_lengths(services, found);
    vips_with_addresses(services, found);
    limits(services, found);
    super::quic::check_count(services, found);
}

/// Keychains, caches and stations have names of their own.
pub(super) fn names_beside(file: &File, found: &mut Found<'_>) {
    let caches = tables(file.rpki_caches.as_ref());
    let stations = tables(file.bmp_stations.as_ref());
    let chains = tables(file.keychains.as_ref());
    names("keychain", chains.iter().map(|at| (at.value.name.as_ref(), &at.span)), found);
    names("RPKI cache", caches.iter().map(|at| (at.value.name.as_ref(), &at.span)), found);
    names("BMP station", stations.iter().map(|at| (at.value.name.as_ref(), &at.span)), found);
}

/// Names are unique among tables of one kind.
fn names<'a>(
    kind: &str,
    tables: impl Iterator<Item = (Option<&'a At<Name>>, &'a Range<usize>)>,
    found: &mut Found<'_>,
) {
    let mut first: BTreeMap<&Name, &Range<usize>> = BTreeMap::new();
    for (name, span) in tables {
        let Some(name) = name else { continue };
        if let Some(other) = first.get(&name.value) {
            let line = found.line_of(other.start);
            let sentence = format!("the {kind} in line {line} has the same name");
            found.error(&name.span, &name.key, sentence, "give each a name of its own");
        } else {
            first.insert(&name.value, span);
        }
    }
}

fn peer_label(peer: &At<PeerTable>, found: &Found<'_>) -> String {
    label("peer", peer.value.name.as_ref(), &peer.span, found)
}

fn service_label(service: &At<ServiceTable>, found: &Found<'_>) -> String {
    label("service", service.value.name.as_ref(), &service.span, found)
}

/// At the other end of an interface there is one router.
fn unnumbered_interfaces(peers: &[At<PeerTable>], found: &mut Found<'_>) {
    let mut first: BTreeMap<&str, &At<PeerTable>> = BTreeMap::new();
    for peer in peers {
        let Some(interface) = peer::unnumbered(&peer.value) else { continue };
        if let Some(other) = first.get(interface.value.0.as_str()) {
            let sentence =
                format!("{} is unnumbered on the same interface", peer_label(other, found));
            let remedy = "remove one of the two, or give them addresses";
            found.error(&interface.span, &interface.key, sentence, remedy);
        } else {
            first.insert(&interface.value.0, peer);
        }
    }
}

/// One session per address: an incoming connection must belong to one peer. Ranges may overlap:
/// the narrower one counts.
fn peer_addresses(peers: &[At<PeerTable>], found: &mut Found<'_>) {
    let mut first: BTreeMap<Place, &At<PeerTable>> = BTreeMap::new();
    for peer in peers {
        let Some(address) = &peer.value.address else { continue };
        if address.value == Place::Unnumbered {
            continue;
        }
        if let Some(other) = first.get(&address.value) {
            let sentence = format!("{} has the same address", peer_label(other, found));
            let remedy = "remove one of the two: there is one session per address";
            found.error(&address.span, &address.key, sentence, remedy);
        } else {
            first.insert(address.value, peer);
        }
    }
}

/// A port of a VIP and protocol is one service's. (One of every port takes what others leave.)
fn service_addresses(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    // By VIP, protocol and first port: the last port, and whose they are.
    let mut taken: BTreeMap<(Prefix, Protocol, u16), (u16, &At<ServiceTable>)> = BTreeMap::new();
    for at in services {
        let Some(addr) = service::service_addr(&at.value) else { continue };
        let Some(port) = &at.value.port else { continue };
        let begins = |port| (addr.addrs, addr.protocol, port);
        // Of those that begin before this one ends, the last: none of them overlap.
        let before = taken.range(begins(0)..=begins(port.value.last)).next_back();
        if let Some((_, (_, other))) = before.filter(|(_, (last, _))| *last >= port.value.first) {
            let what = if other.value.port.as_ref().is_some_and(|at| at.value == port.value) {
                "has the same vip, port and protocol"
            } else {
                "has some of these ports of the same vip and protocol"
            };
            let sentence = format!("{} {what}", service_label(other, found));
            let remedy = "merge their backends into one service, or change the port";
            // Of the three keys the port is the one that is most likely wrong.
            found.error(&port.span, &port.key, sentence, remedy);
        } else {
            taken.insert(begins(port.value.first), (port.value.last, at));
        }
    }
}

/// A VIP has one route and one answer to a ping, however many services share it.
fn vips_in_agreement(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    let mut echoes = BTreeMap::new();
    let mut routes = BTreeMap::new();
    for at in services {
        let Some(vip) = &at.value.vip else { continue };
        if let Some(echo) = &at.value.echo {
            let (first, value) = *echoes.entry(vip.value).or_insert((at, echo.value));
            if value != echo.value {
                let other = service_label(first, found);
                let sentence =
                    format!("echo is {} here, but {value} for {other} on the same VIP", echo.value);
                let remedy = "write the same echo in both: a VIP answers a ping or it does not";
                found.error(&echo.span, &echo.key, sentence, remedy);
            }
        }
        let Some(advertise) = &at.value.advertise else { continue };
        let AdvertiseSetting::On(table) = &advertise.value else { continue };
        let Some(attributes) = service::attributes(table) else { continue };
        let (first, route) = routes.entry(vip.value).or_insert((at, attributes.clone()));
        if *route != attributes {
            let other = service_label(first, found);
            let sentence = format!("{other} announces {} with other attributes", text(vip.value));
            let remedy = "a VIP has one route: write the same communities, large-communities, med, \
                          local-pref and prepend in both, or advertise = false in one";
            found.error(&advertise.span, &advertise.key, sentence, remedy);
        }
    }
}

/// The packet path answers or drops everything addressed to a VIP, so nobody else can have it.
fn vips_of_nobody_else(
    file: &File,
    peers: &[At<PeerTable>],
    services: &[At<ServiceTable>],
    found: &mut Found<'_>,
) {
    let mut taken: BTreeMap<IpAddr, String> = BTreeMap::new();
    if let Some(At { value: nat, .. }) = &file.nat {
        let sources_v4 = nat.source_v4.iter().map(|at| IpAddr::from(at.value));
        let sources_v6 = nat.source_v6.iter().map(|at| IpAddr::from(at.value));
        for source in sources_v4.chain(sources_v6) {
            taken.insert(source, "the source of connections in NAT".to_owned());
        }
    }
    if let Some(At { value: router, .. }) = &file.router {
        for listen in router.listen.iter().flat_map(|list| &list.value.read) {
            taken.insert(listen.value.0.ip(), "where BGP listens (router.listen)".to_owned());
        }
        let sources_v4 = router.encap_source_v4.iter().map(|at| IpAddr::from(at.value));
        let sources_v6 = router.encap_source_v6.iter().map(|at| IpAddr::from(at.value));
        for source in sources_v4.chain(sources_v6) {
            taken.insert(source, "the source of encapsulated packets".to_owned());
        }
    }
    for at in peers {
        let raw = &at.value;
        let next_hops_v4 = raw.next_hop_v4.iter().map(|at| IpAddr::from(at.value));
        let next_hops_v6 = raw.next_hop_v6.iter().map(|at| IpAddr::from(at.value));
        let other = peer_label(at, found);
        for next_hop in next_hops_v4.chain(next_hops_v6) {
            taken.insert(next_hop, format!("our next hop towards {other}"));
        }
        if let Some(local) = &raw.local_address {
            taken.insert(local.value, format!("our own end of the session with {other}"));
        }
        if let Some(address) = peer::address(raw) {
            taken.insert(address.value, format!("the address of {other}"));
        }
    }
    for vip in services.iter().filter_map(|at| at.value.vip.as_ref()) {
        let Vip(prefix) = vip.value;
        let in_vip = |addr: &IpAddr| Prefix::new(*addr, prefix.bits()) == Some(prefix);
        // Those of the prefix follow its first address.
        let other = taken.range(prefix.addr()..).next().filter(|(addr, _)| in_vip(addr));
        if let Some((addr, role)) = other.filter(|(addr, _)| !addr.is_unspecified()) {
            let sentence = format!("{addr} is {role}: it cannot be a VIP too");
            let remedy = if prefix == Prefix::host(*addr) {
                "give the service an address of its own"
            } else {
                "give the service a prefix of its own"
            };
            found.error(&vip.span, &vip.key, sentence, remedy);
        }
    }
}

/// A packet sent to a VIP would come back to us, or to a node that balances it again.
fn backends_are_no_vips(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    let mut vips: BTreeMap<Prefix, &At<ServiceTable>> = BTreeMap::new();
    for at in services {
        if let Some(vip) = &at.value.vip {
            vips.entry(vip.value.0).or_insert(at);
        }
    }
    let lens: BTreeSet<u8> = vips.keys().map(|prefix| prefix.bits()).collect();
    for at in services {
        let backends = at.value.backends.iter().flat_map(|list| &list.value.0.read);
        for address in backends.filter_map(|backend| backend.value.address.as_ref()) {
            let of_len = |&len: &u8| vips.get_key_value(&Prefix::new(address.value, len)?);
            if let Some((vip, owner)) = lens.iter().rev().find_map(of_len) {
                let owner = service_label(owner, found);
                let is = if *vip == Prefix::host(address.value) { "is" } else { "lies in" };
                let sentence = format!("{} {is} the VIP of {owner}", address.value);
                let remedy = "write the address that the backend host has on its own network";
                found.error(&address.span, &address.key, sentence, remedy);
            }
        }
    }
}

/// The VIP as it is written.
fn text(Vip(prefix): Vip) -> String {
    let addr = prefix.addr();
    if prefix == Prefix::host(addr) { addr.to_string() } else { prefix.to_string() }
}

/// Each length of a VIP's prefix costs packets a look-up.
fn vip_lengths(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    let mut lens: BTreeSet<(bool, u8)> = BTreeSet::new();
    for vip in services.iter().filter_map(|at| at.value.vip.as_ref()) {
        let Vip(prefix) = vip.value;
        let is_v4 = prefix.addr().is_ipv4();
        let is_new = prefix != Prefix::host(prefix.addr()) && lens.insert((is_v4, prefix.bits()));
        let count = lens.iter().filter(|(of_v4, _)| *of_v4 == is_v4).count();
        if is_new && count > VIP_LENS_MAX {
            let version = if is_v4 { "IPv4" } else { "IPv6" };
            let sentence =
                format!("VIPs of {version} would be prefixes of {count} different lengths");
            let remedy = format!("{VIP_LENS_MAX} are possible: give it the length of another one");
            found.error(&vip.span, &vip.key, sentence, remedy);
        }
    }
}

/// An address is served by the longest VIP that it lies in: where every address of a prefix is or
/// lies in another VIP, no packet reaches its services, and no test packet could prove them.
fn vips_with_addresses(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    let vip = |at: &At<ServiceTable>| at.value.vip.as_ref().map(|vip| vip.value.0);
    let vips: BTreeSet<Prefix> = services.iter().filter_map(vip).collect();
    for vip in services.iter().filter_map(|at| at.value.vip.as_ref()) {
        let Vip(prefix) = vip.value;
        if halves(prefix).is_some_and(|halves| halves.iter().all(|&half| is_covered(half, &vips))) {
            let sentence = "every address of it belongs to a longer VIP, which counts";
            found.error(&vip.span, &vip.key, sentence, "leave it an address, or remove it");
        }
    }
}

/// Whether every address of a prefix lies in one of these. Looks no further where none begins.
fn is_covered(prefix: Prefix, vips: &BTreeSet<Prefix>) -> bool {
    let begins_here = |vip: &&Prefix| Prefix::new(vip.addr(), prefix.bits()) == Some(prefix);
    if vips.contains(&prefix) {
        return true;
    }
    // They are in order of their addresses.
    vips.range(prefix..).next().is_some_and(|vip| begins_here(&vip))
        && halves(prefix).is_some_and(|halves| halves.iter().all(|&half| is_covered(half, vips)))
}

/// The two longer prefixes that are all of this one.
fn halves(prefix: Prefix) -> Option<[Prefix; 2]> {
    let bits = prefix.bits().checked_add(1)?;
    let upper = match prefix.addr() {
        IpAddr::V4(addr) => {
            let bit = 1_u32.checked_shl(32_u32.checked_sub(bits.into())?)?;
            IpAddr::V4((addr.to_bits() | bit).into())
        }
        IpAddr::V6(addr) => {
            let bit = 1_u128.checked_shl(128_u32.checked_sub(bits.into())?)?;
            IpAddr::V6((addr.to_bits() | bit).into())
        }
    };
    Some([Prefix::new(prefix.addr(), bits)?, Prefix::new(upper, bits)?])
}

/// What the maps hold.
fn limits(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    for (version, is_v4) in [("IPv4", true), ("IPv6", false)] {
        let mut vips = BTreeSet::new();
        let mut entries = 0;
        let vip = |at: &At<ServiceTable>| at.value.vip.as_ref().map(|vip| vip.value.0);
        let is_of_version = |vip: Prefix| vip.addr().is_ipv4() == is_v4;
        let of_version = services.iter().filter(|at| vip(at).is_some_and(is_of_version));
        for at in of_version {
            // One entry for each port of the service, and one for its VIP.
            let ports = at.value.port.as_ref().map_or(0, |at| at.value.last - at.value.first);
            let needed = 1 + u32::from(ports) + u32::from(vips.insert(vip(at)));
            let left = SERVICES_MAX - entries;
            if needed > left {
                let sentence =
                    format!("it needs {needed} entries for {version}, and {left} are left");
                let remedy = format!(
                    "{SERVICES_MAX} fit: one for each VIP and one for each port of a service; \
                     port = \"any\" needs one for all"
                );
                found.error(&at.span, &at.key, sentence, remedy);
                break;
            }
            entries += needed;
        }
    }
    backends_and_rings(services, found);
}

/// Services with the same backends are counted with one ring, which they share while the same of
/// them are up.
fn backends_and_rings(services: &[At<ServiceTable>], found: &mut Found<'_>) {
    let mut sets: BTreeSet<(Kind, BackendSet)> = BTreeSet::new();
    let mut identities: BTreeSet<(Kind, IpAddr)> = BTreeSet::new();
    let mut slots = 0_u64;
    for at in services {
        let is_v4 = at.value.vip.as_ref().map(|vip| vip.value.0.addr().is_ipv4());
        let kind = (at.value.mode.as_ref().map(|mode| mode.value), is_v4);
        let Some(list) = at.value.backends.as_ref().map(|list| &list.value.0) else { continue };
        let addrs = list.read.iter().filter_map(|backend| backend.value.address.as_ref());
        let fitted = identities.len() < BACKENDS_MAX as usize;
        identities.extend(addrs.map(|addr| (kind, addr.value)));
        // Backend 0 is never used.
        if fitted && identities.len() >= BACKENDS_MAX as usize {
            let sentence = "with this service there are too many backends";
            let remedy = format!(
                "{} fit, counted once for all services of the same mode and IP version",
                BACKENDS_MAX - 1
            );
            found.error(&at.span, &at.key, sentence, remedy);
        }
        if !sets.insert((kind, backend_set(&list.read))) {
            continue; // They share a ring.
        }
        let fitted = slots <= u64::from(RING_SLOTS_MAX);
        slots += u64::from(ring_size(u32::try_from(list.typed).unwrap_or(u32::MAX)));
        if fitted && slots > u64::from(RING_SLOTS_MAX) {
            let sentence = "with this service the rings need too much room";
            let remedy = format!(
                "{RING_SLOTS_MAX} slots fit: each set of backends takes 128 per backend, rounded \
                 up to a power of two, at least 1024 and at most 65536; services with the same \
                 backends and weights share theirs"
            );
            found.error(&at.span, &at.key, sentence, remedy);
        }
    }
}

/// Forwarding mode and IP version: what backends of the same address differ by.
type Kind = (Option<ForwardingMode>, Option<bool>);

/// What decides a ring: addresses, weights, and which take no packets.
type BackendSet = Vec<(Option<IpAddr>, u16, bool)>;

/// The set in one order.
fn backend_set(backends: &[At<BackendTable>]) -> BackendSet {
    let key = |backend: &At<BackendTable>| {
        let BackendTable { address, weight, disabled, server_id: _, former_server_id: _ } =
            &backend.value;
        let weight = weight.as_ref().map_or(1, |it| it.value.0);
        let is_disabled = disabled.as_ref().is_some_and(|it| it.value);
        (address.as_ref().map(|it| it.value), weight, is_disabled)
    };
    let mut set: Vec<_> = backends.iter().map(key).collect();
    set.sort_unstable();
    set
}
