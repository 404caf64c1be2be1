//! The balancer on a network card: what of the maps goes there, what of a configuration it can serve,
//! and whether a card would take the program at all.
//!
//! What the card is not sure of goes up to the packet path in the driver, which has the same tables, so
//! that a service which the card cannot serve is slower and never wrong.

pub mod device;

use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{
    CardBackend, CardConfig, DatapathConfig, Service as Entry, ServiceKeyV4, ServiceKeyV6,
    features, service_flags,
};
use tidegate_config::Desired;
use tidegate_config::desired::{Affinity, ForwardingMode, Protocol, Service, UdpFlows};

use crate::observed::Datapath;

/// What the maps of a card hold beside slots, which are those of `RING_SLOTS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// `CARD_SERVICES_V4`
    pub services_v4: BTreeMap<ServiceKeyV4, Entry>,
    /// `CARD_SERVICES_V6`
    pub services_v6: BTreeMap<ServiceKeyV6, Entry>,
    /// `CARD_BACKENDS`, by index.
    pub backends: BTreeMap<u32, CardBackend>,
    /// `CARD_CONFIG`
    pub config: CardConfig,
}

/// What a service may have on a card: nothing that takes memory of flows, connections or rates.
const ON_CARD: u32 = service_flags::AFFINITY_CLIENT
    | service_flags::ECHO
    | (u32::MAX << service_flags::UNCOUNTED_BITS);
const OFF_CARD: u32 = service_flags::UDP_FLOWS
    | service_flags::RATED
    | service_flags::QUIC
    | service_flags::NAT
    | service_flags::NAT_SOURCE;

/// What goes to the card of the port with this index, of a packet path with these constants.
pub fn image(maps: &Datapath, constants: &DatapathConfig, port_ifindex: u32) -> Image {
    let denies = features::PREFIXES_V4 | features::PREFIXES_V6;
    let asks_always = constants.features & denies != 0;
    let backends = maps.backends.iter();
    let [seed_low, seed_high] = [constants.hash_seed, constants.hash_seed >> 32].map(low_half);
    Image {
        services_v4: of_family(&maps.services_v4, parts_v4, asks_always),
        services_v6: of_family(&maps.services_v6, parts_v6, asks_always),
        backends: backends.map(|(at, it)| (*at, CardBackend::of(it, port_ifindex))).collect(),
        config: CardConfig { seed_low, seed_high },
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half")]
const fn low_half(word: u64) -> u32 {
    word as u32
}

/// Address, port, protocol and length of a key.
type Parts<A> = (A, [u8; 2], u8, u8);

fn parts_v4(key: ServiceKeyV4) -> Parts<[u8; 4]> {
    (key.addr, key.port, key.proto, key.prefix_len)
}

fn parts_v6(key: ServiceKeyV6) -> Parts<[u8; 16]> {
    (key.addr, key.port, key.proto, key.prefix_len)
}

fn of_family<K: Copy + Ord, A: Ord>(
    services: &BTreeMap<K, Entry>,
    parts: impl Fn(K) -> Parts<A>,
    asks_always: bool,
) -> BTreeMap<K, Entry> {
    // A VIP with a service of all ports: whose a packet is, only the host knows.
    let of_all_ports = services
        .keys()
        .copied()
        .map(&parts)
        .filter(|(_, port, proto, len)| *port == [0; 2] && *proto != 0 && *len == 0);
    let of_all_ports: BTreeSet<A> = of_all_ports.map(|(addr, ..)| addr).collect();
    let on_card = services.iter().filter_map(|(key, entry)| {
        let (addr, port, proto, len) = parts(*key);
        let is_vip = port == [0; 2] && proto == 0;
        let is_left_out = len != 0
            || (port == [0; 2] && !is_vip)
            || (is_vip && entry.flags & service_flags::NAT_SOURCE != 0);
        if is_left_out {
            return None;
        }
        let asks = asks_always || (is_vip && of_all_ports.contains(&addr));
        let entry = match (is_vip, asks || entry.flags & OFF_CARD != 0) {
            (true, _) => {
                Entry { flags: if asks { service_flags::ASK_HOST } else { 0 }, ..Entry::default() }
            }
            (false, true) => Entry { index: entry.index, ..Entry::default() },
            (false, false) => Entry { flags: entry.flags & ON_CARD, ..*entry },
        };
        Some((*key, entry))
    });
    on_card.collect()
}

/// Why the card passes all packets of a service up; empty: it serves it.
pub fn why_up(name: &str, desired: &Desired) -> Vec<&'static str> {
    let Some(service) = desired.services.get(name) else { return vec!["there is no such service"] };
    let datapath = &desired.datapath;
    let varies = datapath.vary_source_v4.is_some() || datapath.vary_source_v6.is_some();
    let limits = service.limits.or(desired.guard.limits);
    let is_limited =
        [limits.source_rate, limits.source_syn_rate, limits.service_rate, limits.service_syn_rate];
    let guard = &desired.guard;
    let denies =
        !guard.prefixes.is_empty() || !guard.deny_files.is_empty() || !guard.allow_files.is_empty();
    let reasons = [
        (service.mode == ForwardingMode::Gue, "mode = \"gue\": write \"ipip\" or \"l2\""),
        (service.mode == ForwardingMode::Nat, "mode = \"nat\" takes memory of connections"),
        (
            matches!(service.affinity, Affinity::Quic { .. }),
            "affinity = \"quic\" takes a look into the packet",
        ),
        (remembers(service), "udp = \"flow\" takes memory of flows: write \"hash\""),
        (service.vip.prefix_len().is_some(), "the VIP is a prefix: write single addresses"),
        (service.vip.port == 0, "all ports: name them"),
        (service.vip.protocol == Protocol::Sctp, "SCTP is left to the host"),
        (is_limited.iter().any(|rate| *rate > 0), "limits take memory of rates"),
        (denies, "guard.deny and guard.allow take a search by prefixes"),
        (varies && service.mode == ForwardingMode::Ipip, "vary-source writes more than a copy"),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, why)| why).collect()
}

fn remembers(service: &Service) -> bool {
    service.udp == UdpFlows::Remembered && service.vip.protocol == Protocol::Udp
}

#[cfg(test)]
mod tests;
