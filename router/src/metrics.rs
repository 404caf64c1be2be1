//! Prometheus metrics, made anew from a [`View`] at every scrape: a series lives as long as the
//! object it describes, and nothing is counted twice.
//!
//! One prefix, base units, `_total` on counters only. Labels are names from the configuration,
//! never a client's address.

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use tidegate_abi::Counter;

use crate::view::rpki::Rpki;
use crate::view::upgrade::TakenOver;
use crate::view::{Backend, CounterRow, FamilyPrefixes, Peer, Status, View, Vip};

/// The states of RFC 4271 §8.2.2, of which a peer is in exactly one.
const PEER_STATES: [&str; 6] =
    ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];

/// Backends that may have series of their own, seven each: with more, none has, and a metric says
/// so. Whoever scrapes has to hold them all.
const BACKEND_SERIES_MAX: usize = 10_000;

/// The whole exposition.
pub(crate) fn render(view: &View) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe();
        status(&view.status);
        view.peers.iter().for_each(peer);
        let backends: usize = view.vips.iter().map(|vip| vip.backends.len()).sum();
        let capped = backends > BACKEND_SERIES_MAX;
        gauge!("tidegate_metrics_series_capped").set(flag(capped));
        view.vips.iter().for_each(|row| vip(row, !capped));
        rpki(&view.rpki);
    });
    recorder.handle().render()
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

fn describe() {
    use metrics::{describe_counter, describe_gauge};
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
    }
    for (name, help) in COUNTERS {
        describe_counter!(*name, *help);
    }
}

fn status(status: &Status) {
    gauge!("tidegate_build_info", "version" => status.version.clone()).set(1.0);
    gauge!("tidegate_config_generation").set(exact(status.generation));
    gauge!("tidegate_config_last_apply_success").set(flag(status.config_refused.is_none()));
    let standing = &status.standing;
    gauge!("tidegate_config_unconfirmed").set(flag(standing.unconfirmed.is_some()));
    let left = standing.unconfirmed.as_ref().map_or(0, |waiting| waiting.left_secs);
    gauge!("tidegate_config_unconfirmed_seconds").set(exact(left));
    gauge!("tidegate_config_overlay_objects").set(exact(standing.overlay.len() as u64));
    counter!("tidegate_map_writes_total").absolute(status.map_writes);
    gauge!("tidegate_converged").set(flag(status.converged));
    gauge!("tidegate_uptime_seconds").set(exact(status.uptime_secs));
    if let Some(TakenOver { sessions, paused_millis }) = status.taken_over {
        gauge!("tidegate_taken_over_sessions").set(exact(sessions as u64));
        gauge!("tidegate_taken_over_pause_seconds").set(exact(paused_millis) / 1e3);
    }
    gauge!("tidegate_bgp_timer_lateness_max_seconds")
        .set(exact(status.timer_lateness_max_us) / 1e6);
    gauge!("tidegate_health_check_lateness_max_seconds")
        .set(exact(status.check_lateness_max_us) / 1e6);
    for interface in &status.interfaces {
        let labels = [("interface", interface.name.clone()), ("mode", interface.mode.clone())];
        gauge!("tidegate_interface_attached", &labels).set(flag(interface.mode != "detached"));
    }
    for drain in &status.drains {
        let labels = [("target", drain.what.clone()), ("phase", drain.phase.clone())];
        gauge!("tidegate_drain", &labels).set(1.0);
        gauge!("tidegate_drain_packets_per_second", "target" => drain.what.clone())
            .set(exact(drain.packets_per_sec));
    }
    if let Some(open) = status.nat_connections {
        gauge!("tidegate_nat_connections").set(exact(open));
        gauge!("tidegate_nat_connections_max").set(f64::from(tidegate_abi::NAT_FLOWS_MAX));
    }
    counter!("tidegate_proof_packets_total").absolute(status.proof_packets);
    for station in &status.stations {
        let label = [("station", station.name.clone())];
        gauge!("tidegate_bmp_station_up", &label).set(flag(station.up));
        counter!("tidegate_bmp_sent_bytes_total", &label).absolute(station.sent_bytes);
        counter!("tidegate_bmp_lost_total", &label).absolute(station.lost);
    }
    if let Some(files) = &status.mrt {
        for (outcome, records) in [("written", files.records), ("dropped", files.dropped)] {
            counter!("tidegate_mrt_records_total", "outcome" => outcome).absolute(records);
        }
    }
    for map in &status.maps {
        gauge!("tidegate_map_entries", "map" => map.name.clone()).set(exact(map.entries));
        gauge!("tidegate_map_capacity", "map" => map.name.clone()).set(exact(map.capacity));
    }
    let told = status.flows.told;
    for (fate, packets) in [
        ("logged", told.logged),
        ("sampled-out", told.sampled_out),
        ("left-out", told.left_out),
        ("lost", told.lost),
    ] {
        counter!("tidegate_flow_records_total", "fate" => fate).absolute(packets);
    }
    status.counters.iter().for_each(verdict);
}

fn verdict(row: &CounterRow) {
    counter!("tidegate_datapath_packets_total", "verdict" => row.name.clone())
        .absolute(row.packets);
    let Some(verdict) = Counter::ALL.iter().find(|it| it.name() == row.name) else { return };
    if let Some(reason) = row.name.strip_prefix("drop_") {
        let labels = [("reason", reason.to_owned()), ("stage", verdict.stage().to_owned())];
        counter!("tidegate_drops_total", &labels).absolute(row.packets);
    }
    if let Some(action) = verdict.action() {
        // Several verdicts are one action.
        counter!("tidegate_xdp_actions_total", "action" => action.name()).increment(row.packets);
    }
}

fn rpki(rpki: &Rpki) {
    if rpki.caches.is_empty() {
        return;
    }
    for cache in &rpki.caches {
        let label = [("cache", cache.name.clone())];
        gauge!("tidegate_rpki_cache_up", &label).set(flag(cache.up));
        gauge!("tidegate_rpki_cache_in_use", &label).set(flag(cache.in_use));
    }
    for (family, vrps) in [("ipv4", rpki.vrps_ipv4), ("ipv6", rpki.vrps_ipv6)] {
        gauge!("tidegate_rpki_vrps", "family" => family).set(exact(vrps as u64));
    }
}

fn peer(peer: &Peer) {
    let label = [("peer", peer.name.clone())];
    gauge!("tidegate_bgp_peer_up", &label).set(flag(peer.state == "Established"));
    for state in PEER_STATES {
        let labels = [("peer", peer.name.clone()), ("state", state.to_owned())];
        gauge!("tidegate_bgp_peer_state", &labels).set(flag(peer.state == state));
    }
    if peer.state == "Established" {
        gauge!("tidegate_bgp_peer_uptime_seconds", &label).set(exact(peer.since_secs));
    }
    if let Some(secs) = peer.hold_time_secs {
        gauge!("tidegate_bgp_peer_hold_time_seconds", &label).set(f64::from(secs));
    }
    peer.prefixes.iter().for_each(|of_family| prefixes(peer, of_family));
    for kind in &peer.notifications {
        let labels = [
            ("peer", peer.name.clone()),
            ("direction", kind.direction.clone()),
            ("code", kind.code.to_string()),
            ("subcode", kind.subcode.to_string()),
        ];
        counter!("tidegate_bgp_notifications_total", &labels).absolute(kind.messages);
    }
    for (direction, messages) in
        [("received", peer.messages_received), ("sent", peer.messages_sent)]
    {
        let labels = [("peer", peer.name.clone()), ("direction", direction.to_owned())];
        counter!("tidegate_bgp_messages_total", &labels).absolute(messages);
    }
    for (treatment, malformed) in [
        ("discard", peer.malformed_discarded),
        ("withdraw", peer.malformed_withdrawn),
        ("disable-family", peer.malformed_families),
    ] {
        let labels = [("peer", peer.name.clone()), ("treatment", treatment.to_owned())];
        counter!("tidegate_bgp_malformed_total", &labels).absolute(malformed);
    }
    counter!("tidegate_bgp_peer_flaps_total", &label).absolute(peer.flaps);
    if let Some(state) = &peer.bfd {
        gauge!("tidegate_bfd_session_up", &label).set(flag(state == "Up"));
    }
    if let Some(detect_us) = peer.bfd_detect_us {
        gauge!("tidegate_bfd_detect_seconds", &label).set(exact(detect_us) / 1e6);
    }
}

fn prefixes(peer: &Peer, of_family: &FamilyPrefixes) {
    let FamilyPrefixes { family, received, accepted, filtered, advertised } = of_family;
    for (view, prefixes) in [
        ("received", received),
        ("accepted", accepted),
        ("filtered", filtered),
        ("advertised", advertised),
    ] {
        let labels =
            [("peer", peer.name.clone()), ("afi_safi", family.clone()), ("view", view.to_owned())];
        gauge!("tidegate_bgp_prefixes", &labels).set(exact(*prefixes));
    }
}

fn vip(vip: &Vip, with_backends: bool) {
    let label = [("service", vip.service.clone())];
    gauge!("tidegate_vip_announced", &label).set(flag(vip.announced));
    gauge!("tidegate_vip_proven", &label).set(flag(vip.proof == "proven"));
    if let Some(validity) = &vip.rpki {
        gauge!("tidegate_vip_rpki_invalid", &label).set(flag(validity == "invalid"));
    }
    gauge!("tidegate_vip_fails_open", &label).set(flag(vip.fails_open));
    if let Some(reason) = &vip.reason {
        let labels = [("service", vip.service.clone()), ("reason", reason.clone())];
        gauge!("tidegate_vip_withheld", &labels).set(1.0);
    }
    let healthy = vip.backends.iter().filter(|backend| backend.state == "active").count();
    gauge!("tidegate_vip_healthy_backends", &label).set(exact(healthy as u64));
    counter!("tidegate_vip_packets_total", &label).absolute(vip.packets);
    counter!("tidegate_vip_bytes_total", &label).absolute(vip.bytes);
    for row in vip.backends.iter().filter(|_| with_backends) {
        backend(&vip.service, row);
    }
}

fn backend(service: &str, backend: &Backend) {
    let labels = [("service", service.to_owned()), ("backend", backend.address.to_string())];
    gauge!("tidegate_backend_up", &labels).set(flag(backend.state == "active"));
    gauge!("tidegate_backend_weight", &labels).set(f64::from(backend.weight));
    gauge!("tidegate_backend_ring_share_ratio", &labels).set(f64::from(backend.share) / 10_000.0);
    if let Some(open) = backend.connections {
        gauge!("tidegate_backend_connections", &labels).set(exact(open));
    }
    counter!("tidegate_backend_packets_total", &labels).absolute(backend.packets);
    counter!("tidegate_backend_bytes_total", &labels).absolute(backend.bytes);
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; these stay far below 2^53")]
fn exact(value: u64) -> f64 {
    value as f64
}
