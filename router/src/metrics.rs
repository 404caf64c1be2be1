//! Prometheus metrics, made anew from a [`View`] at every scrape: a series lives as long as the
//! object it describes, and nothing is counted twice.
//!
//! One prefix, base units, `_total` on counters only. Labels are names from the configuration,
//! never a client's address.

mod exposition;

use std::collections::BTreeMap;

use tidegate_abi::Counter;

use exposition::Exposition;

use crate::view::rpki::Rpki;
use crate::view::upgrade::TakenOver;
use crate::view::{Backend, CounterRow, FamilyPrefixes, Peer, Status, View, Vip};

/// The states of RFC 4271 §8.2.2, of which a peer is in exactly one.
const PEER_STATES: [&str; 6] =
    ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];

/// Backends that may have series of their own, seven each: with more, none has, and a metric says
/// so. Whoever scrapes has to hold them all.
pub(crate) const BACKEND_SERIES_MAX: usize = 10_000;

/// The whole exposition. The API itself counts whom it refuses.
pub(crate) fn render(view: &View, refused: impl Iterator<Item = (&'static str, u64)>) -> String {
    let mut to = Exposition::default();
    for (reason, callers) in refused {
        to.counter("tidegate_api_refused_total", &[("reason", reason)], callers);
    }
    status(&mut to, &view.status);
    view.peers.iter().for_each(|row| peer(&mut to, row));
    let capped = view.status.backends.configured > BACKEND_SERIES_MAX;
    to.gauge("tidegate_metrics_series_capped", &[], flag(capped));
    view.vips.iter().for_each(|row| vip(&mut to, row, !capped));
    rpki(&mut to, &view.rpki);
    to.text(GAUGES.iter().chain(COUNTERS).copied())
}

/// Help texts of all gauges.
const GAUGES: &[(&str, &str)] = &[
    ("tidegate_build_info", "Always 1; the version is a label."),
    ("tidegate_config_generation", "Number of the configuration in force."),
    ("tidegate_config_last_apply_success", "1 unless the last reload was refused."),
    ("tidegate_config_unconfirmed", "1 while a change waits to be confirmed."),
    (
        "tidegate_config_unconfirmed_seconds",
        "Time until a change that waits to be confirmed is undone; 0 while none waits.",
    ),
    ("tidegate_config_overlay_objects", "Peers and services that the API changed."),
    ("tidegate_converged", "1 while the maps hold what is wanted."),
    ("tidegate_drain", "1 while something drains or has drained, by phase."),
    ("tidegate_drain_packets_per_second", "Packets that still come to what drains."),
    ("tidegate_uptime_seconds", "Time since the daemon started."),
    ("tidegate_taken_over_sessions", "BGP sessions that go on from the process before this one."),
    ("tidegate_taken_over_pause_seconds", "For how long they stood still."),
    ("tidegate_interface_attached", "1 while the packet path is attached, by mode."),
    ("tidegate_bfd_session_up", "1 while BFD hears the peer and is heard by it."),
    ("tidegate_bfd_detect_seconds", "Silence after which BFD gives the peer up."),
    ("tidegate_bgp_peer_up", "1 while the session is Established."),
    ("tidegate_bgp_peer_uptime_seconds", "Time since the session is Established."),
    ("tidegate_bgp_peer_hold_time_seconds", "Agreed Hold Time; 0: it never ends for silence."),
    ("tidegate_bgp_peer_state", "1 for the state the session is in."),
    (
        "tidegate_bgp_timer_lateness_max_seconds",
        "How late a BGP timer has fired at worst since the start.",
    ),
    (
        "tidegate_health_check_lateness_max_seconds",
        "How late a health check has begun at worst since the start.",
    ),
    (
        "tidegate_bgp_prefixes",
        "Prefixes of a peer by family; view is received, accepted, filtered or advertised.",
    ),
    ("tidegate_map_entries", "Entries of a map of the packet path that are in use."),
    ("tidegate_map_capacity", "Entries that the map has room for."),
    (
        "tidegate_metrics_series_capped",
        "1 while there are too many backends for series of their own: they have none.",
    ),
    ("tidegate_bmp_station_up", "1 while the BMP station is connected."),
    ("tidegate_rpki_cache_up", "1 while the RPKI cache answers."),
    ("tidegate_rpki_cache_in_use", "1 for the RPKI cache whose VRPs are in force."),
    ("tidegate_rpki_vrps", "VRPs in force by family."),
    ("tidegate_vip_rpki_invalid", "1 while RPKI says that our AS may not announce the VIP."),
    ("tidegate_vip_announced", "1 while the VIP of the service is announced."),
    ("tidegate_vip_proven", "1 while test packets through the packet path reach its backends."),
    ("tidegate_vip_fails_open", "1 while all checks fail and are taken to be wrong."),
    ("tidegate_vip_withheld", "1 while the VIP is not announced; the reason is a label."),
    ("tidegate_vip_healthy_backends", "Backends of the service that take new flows."),
    ("tidegate_backend_up", "1 while the backend takes new flows."),
    ("tidegate_backend_weight", "Configured weight."),
    ("tidegate_backend_connections", "Open connections to the backend, in mode nat."),
    ("tidegate_nat_connections", "Connections in NAT that are remembered."),
    ("tidegate_nat_connections_max", "How many there may be."),
    ("tidegate_backend_ring_share_ratio", "Share of the service's ring, 0 to 1."),
];

/// Help texts of all counters.
const COUNTERS: &[(&str, &str)] = &[
    ("tidegate_api_refused_total", "Callers whom the API refused, by reason."),
    ("tidegate_map_writes_total", "Entries and slots written into the maps."),
    ("tidegate_bgp_peer_flaps_total", "Times the session left Established."),
    ("tidegate_bgp_messages_total", "BGP messages by direction."),
    (
        "tidegate_bgp_malformed_total",
        "Malformed attributes of a peer by what was done (RFC 7606): treatment is discard, \
         withdraw or disable-family.",
    ),
    (
        "tidegate_bgp_notifications_total",
        "NOTIFICATIONs of a session by direction, code and subcode (RFC 4271 §4.5).",
    ),
    ("tidegate_bmp_sent_bytes_total", "Bytes sent to the BMP station."),
    ("tidegate_bmp_lost_total", "Connections to the BMP station that have ended."),
    ("tidegate_mrt_records_total", "Records of updates by outcome: written or dropped."),
    ("tidegate_vip_packets_total", "Packets forwarded for the service."),
    ("tidegate_vip_bytes_total", "Bytes forwarded for the service."),
    ("tidegate_backend_packets_total", "Packets forwarded to the backend."),
    ("tidegate_backend_bytes_total", "Bytes forwarded to the backend."),
    ("tidegate_flow_records_total", "Packets while they are told of, by what became of the word."),
    ("tidegate_proof_packets_total", "Test packets run through the packet path."),
    ("tidegate_drops_total", "Packets dropped, by reason and stage of the packet path."),
    ("tidegate_xdp_actions_total", "Packets by what the packet path told the driver."),
    ("tidegate_datapath_packets_total", "Packets by verdict of the packet path."),
];

fn status(to: &mut Exposition, status: &Status) {
    to.gauge("tidegate_build_info", &[("version", &status.version)], 1.0);
    to.gauge("tidegate_config_generation", &[], exact(status.generation));
    to.gauge("tidegate_config_last_apply_success", &[], flag(status.config_refused.is_none()));
    let standing = &status.standing;
    to.gauge("tidegate_config_unconfirmed", &[], flag(standing.unconfirmed.is_some()));
    let left = standing.unconfirmed.as_ref().map_or(0, |waiting| waiting.left_secs);
    to.gauge("tidegate_config_unconfirmed_seconds", &[], exact(left));
    to.gauge("tidegate_config_overlay_objects", &[], exact(standing.overlay.len() as u64));
    to.counter("tidegate_map_writes_total", &[], status.map_writes);
    to.gauge("tidegate_converged", &[], flag(status.converged));
    to.gauge("tidegate_uptime_seconds", &[], exact(status.uptime_secs));
    if let Some(TakenOver { sessions, paused_millis }) = status.taken_over {
        to.gauge("tidegate_taken_over_sessions", &[], exact(sessions as u64));
        to.gauge("tidegate_taken_over_pause_seconds", &[], exact(paused_millis) / 1e3);
    }
    to.gauge(
        "tidegate_bgp_timer_lateness_max_seconds",
        &[],
        exact(status.timer_lateness_max_us) / 1e6,
    );
    to.gauge(
        "tidegate_health_check_lateness_max_seconds",
        &[],
        exact(status.check_lateness_max_us) / 1e6,
    );
    for interface in &status.interfaces {
        let labels = [("interface", &*interface.name), ("mode", &*interface.mode)];
        to.gauge("tidegate_interface_attached", &labels, flag(interface.mode != "detached"));
    }
    for drain in &status.drains {
        let labels = [("target", &*drain.what), ("phase", &*drain.phase)];
        to.gauge("tidegate_drain", &labels, 1.0);
        to.gauge(
            "tidegate_drain_packets_per_second",
            &[("target", &drain.what)],
            exact(drain.packets_per_sec),
        );
    }
    if let Some(open) = status.nat_connections {
        to.gauge("tidegate_nat_connections", &[], exact(open));
        to.gauge("tidegate_nat_connections_max", &[], f64::from(tidegate_abi::NAT_FLOWS_MAX));
    }
    to.counter("tidegate_proof_packets_total", &[], status.proof_packets);
    for station in &status.stations {
        let label = [("station", &*station.name)];
        to.gauge("tidegate_bmp_station_up", &label, flag(station.up));
        to.counter("tidegate_bmp_sent_bytes_total", &label, station.sent_bytes);
        to.counter("tidegate_bmp_lost_total", &label, station.lost);
    }
    if let Some(files) = &status.mrt {
        for (outcome, records) in [("written", files.records), ("dropped", files.dropped)] {
            to.counter("tidegate_mrt_records_total", &[("outcome", outcome)], records);
        }
    }
    for map in &status.maps {
        to.gauge("tidegate_map_entries", &[("map", &map.name)], exact(map.entries));
        to.gauge("tidegate_map_capacity", &[("map", &map.name)], exact(map.capacity));
    }
    let told = status.flows.told;
    for (fate, packets) in [
        ("logged", told.logged),
        ("sampled-out", told.sampled_out),
        ("left-out", told.left_out),
        ("lost", told.lost),
    ] {
        to.counter("tidegate_flow_records_total", &[("fate", fate)], packets);
    }
    verdicts(to, &status.counters);
}

fn verdicts(to: &mut Exposition, rows: &[CounterRow]) {
    // Several verdicts are one action.
    let mut actions: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        to.counter("tidegate_datapath_packets_total", &[("verdict", &row.name)], row.packets);
        let Some(verdict) = Counter::ALL.iter().find(|it| it.name() == row.name) else { continue };
        if let Some(reason) = row.name.strip_prefix("drop_") {
            let labels = [("reason", reason), ("stage", verdict.stage())];
            to.counter("tidegate_drops_total", &labels, row.packets);
        }
        if let Some(action) = verdict.action() {
            *actions.entry(action.name()).or_default() += row.packets;
        }
    }
    for (action, packets) in actions {
        to.counter("tidegate_xdp_actions_total", &[("action", action)], packets);
    }
}

fn rpki(to: &mut Exposition, rpki: &Rpki) {
    if rpki.caches.is_empty() {
        return;
    }
    for cache in &rpki.caches {
        let label = [("cache", &*cache.name)];
        to.gauge("tidegate_rpki_cache_up", &label, flag(cache.up));
        to.gauge("tidegate_rpki_cache_in_use", &label, flag(cache.in_use));
    }
    for (family, vrps) in [("ipv4", rpki.vrps_ipv4), ("ipv6", rpki.vrps_ipv6)] {
        to.gauge("tidegate_rpki_vrps", &[("family", family)], exact(vrps as u64));
    }
}

fn peer(to: &mut Exposition, peer: &Peer) {
    let label = [("peer", &*peer.name)];
    to.gauge("tidegate_bgp_peer_up", &label, flag(peer.state == "Established"));
    for state in PEER_STATES {
        let labels = [("peer", &*peer.name), ("state", state)];
        to.gauge("tidegate_bgp_peer_state", &labels, flag(peer.state == state));
    }
    if peer.state == "Established" {
        to.gauge("tidegate_bgp_peer_uptime_seconds", &label, exact(peer.since_secs));
    }
    if let Some(secs) = peer.hold_time_secs {
        to.gauge("tidegate_bgp_peer_hold_time_seconds", &label, f64::from(secs));
    }
    peer.prefixes.iter().for_each(|of_family| prefixes(to, peer, of_family));
    for kind in &peer.notifications {
        let (code, subcode) = (kind.code.to_string(), kind.subcode.to_string());
        let labels = [
            ("peer", &*peer.name),
            ("direction", &*kind.direction),
            ("code", &*code),
            ("subcode", &*subcode),
        ];
        to.counter("tidegate_bgp_notifications_total", &labels, kind.messages);
    }
    for (direction, messages) in
        [("received", peer.messages_received), ("sent", peer.messages_sent)]
    {
        let labels = [("peer", &*peer.name), ("direction", direction)];
        to.counter("tidegate_bgp_messages_total", &labels, messages);
    }
    for (treatment, malformed) in [
        ("discard", peer.malformed_discarded),
        ("withdraw", peer.malformed_withdrawn),
        ("disable-family", peer.malformed_families),
    ] {
        let labels = [("peer", &*peer.name), ("treatment", treatment)];
        to.counter("tidegate_bgp_malformed_total", &labels, malformed);
    }
    to.counter("tidegate_bgp_peer_flaps_total", &label, peer.flaps);
    if let Some(state) = &peer.bfd {
        to.gauge("tidegate_bfd_session_up", &label, flag(state == "Up"));
    }
    if let Some(detect_us) = peer.bfd_detect_us {
        to.gauge("tidegate_bfd_detect_seconds", &label, exact(detect_us) / 1e6);
    }
}

fn prefixes(to: &mut Exposition, peer: &Peer, of_family: &FamilyPrefixes) {
    let FamilyPrefixes { family, received, accepted, filtered, advertised } = of_family;
    for (view, prefixes) in [
        ("received", received),
        ("accepted", accepted),
        ("filtered", filtered),
        ("advertised", advertised),
    ] {
        let labels = [("peer", &*peer.name), ("afi_safi", family.as_str()), ("view", view)];
        to.gauge("tidegate_bgp_prefixes", &labels, exact(*prefixes));
    }
}

fn vip(to: &mut Exposition, vip: &Vip, with_backends: bool) {
    let label = [("service", &*vip.service)];
    to.gauge("tidegate_vip_announced", &label, flag(vip.announced));
    to.gauge("tidegate_vip_proven", &label, flag(vip.proof == "proven"));
    if let Some(validity) = &vip.rpki {
        to.gauge("tidegate_vip_rpki_invalid", &label, flag(validity == "invalid"));
    }
    to.gauge("tidegate_vip_fails_open", &label, flag(vip.fails_open));
    if let Some(reason) = &vip.reason {
        let labels = [("service", &*vip.service), ("reason", reason.as_str())];
        to.gauge("tidegate_vip_withheld", &labels, 1.0);
    }
    let healthy = exact(vip.active_backends as u64);
    to.gauge("tidegate_vip_healthy_backends", &label, healthy);
    to.counter("tidegate_vip_packets_total", &label, vip.packets);
    to.counter("tidegate_vip_bytes_total", &label, vip.bytes);
    for row in vip.backends.iter().filter(|_| with_backends) {
        backend(to, &vip.service, row);
    }
}

fn backend(to: &mut Exposition, service: &str, backend: &Backend) {
    let address = backend.address.to_string();
    let labels = [("service", service), ("backend", &*address)];
    to.gauge("tidegate_backend_up", &labels, flag(backend.state == "active"));
    to.gauge("tidegate_backend_weight", &labels, f64::from(backend.weight));
    to.gauge("tidegate_backend_ring_share_ratio", &labels, f64::from(backend.share) / 10_000.0);
    if let Some(open) = backend.connections {
        to.gauge("tidegate_backend_connections", &labels, exact(open));
    }
    to.counter("tidegate_backend_packets_total", &labels, backend.packets);
    to.counter("tidegate_backend_bytes_total", &labels, backend.bytes);
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; these stay far below 2^53")]
fn exact(value: u64) -> f64 {
    value as f64
}
