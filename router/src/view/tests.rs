//! A sample of everything, for those who show it.

use super::*;

/// When everything in the sample began.
const SINCE: &str = "2026-11-23T08:00:00Z";

/// A small node in the middle of its day.
pub(crate) fn sample() -> View {
    let refused = Some("connection refused");
    let withheld = Some(("too-few-healthy", "too few healthy backends"));
    let web = vec![backend(11, "active", None, 10_000, 1_200), backend(12, "down", refused, 0, 34)];
    let last_down = Some("received Cease/Administrative Shutdown (6/2)");
    View {
        status: status(),
        peers: vec![peer("tor-1", 1, "Established", None), peer("tor-2", 3, "Active", last_down)],
        vips: vec![
            vip("web", 10, None, web),
            vip("web-old", 11, withheld, vec![backend(13, "down", refused, 0, 0)]),
        ],
        next: None,
        rpki: rpki::Rpki::default(),
    }
}

fn status() -> Status {
    Status {
        api_version: API_VERSION.into(),
        version: "0.1.0".into(),
        pid: 4711,
        generation: 3,
        config_file: "/etc/tidegate/tidegate.toml".into(),
        config_refused: None,
        standing: change::Standing::default(),
        map_writes: 0,
        drains: Vec::new(),
        converged: true,
        problem: None,
        warnings: Vec::new(),
        stations: Vec::new(),
        mrt: None,
        rpki_caches: Tally::default(),
        started_at: SINCE.into(),
        uptime_secs: 97_260,
        taken_over: None,
        asn: 65_001,
        router_id: "10.0.0.2".into(),
        interfaces: vec![Interface { name: "eth0".into(), mode: "native".into(), note: None }],
        peers: Tally { up: 1, configured: 2 },
        vips: Tally { up: 1, configured: 2 },
        backends: Tally { up: 1, configured: 3 },
        timer_lateness_max_us: 0,
        check_lateness_max_us: 0,
        proof_packets: 1_024,
        nat_connections: None,
        maps: vec![Map { name: "backends".into(), entries: 3, capacity: 16_384 }],
        flows: FlowsTold::default(),
        counters: vec![
            CounterRow {
                name: "forward_tx".into(),
                packets: 1_234_567,
                help: "Sent to a backend through the interface it came in by.".into(),
                remedy: None,
            },
            CounterRow {
                name: "drop_no_service".into(),
                packets: 0,
                help: "x".into(),
                remedy: None,
            },
        ],
    }
}

fn peer(name: &str, last: u8, state: &str, last_down: Option<&str>) -> Peer {
    Peer {
        bfd: None,
        bfd_detect_us: None,
        name: name.into(),
        remote: SocketAddr::from(([10, 0, 0, last], 179)),
        asn: 65_000,
        state: state.into(),
        since: SINCE.into(),
        since_secs: 97_200,
        router_id: Some("10.0.0.1".into()),
        hold_time_secs: Some(90),
        families: vec!["ipv4-unicast".into(), "ipv6-unicast".into()],
        stale_families: vec![],
        messages_received: 3_241,
        messages_sent: 3_239,
        queued_received_bytes: 0,
        queued_to_send_bytes: 19,
        prefixes_received: 12,
        prefixes_advertised: 2,
        prefixes: vec![FamilyPrefixes {
            family: "ipv4-unicast".into(),
            received: 12,
            accepted: 10,
            filtered: 2,
            advertised: 2,
        }],
        notifications: vec![Notifications {
            direction: "received".into(),
            code: 6,
            subcode: 2,
            messages: 1,
        }],
        malformed_discarded: 0,
        malformed_withdrawn: 0,
        malformed_families: 0,
        flaps: 1,
        last_down: last_down.map(str::to_owned),
    }
}

fn vip(service: &str, last: u8, withheld: Option<(&str, &str)>, backends: Vec<Backend>) -> Vip {
    Vip {
        service: service.into(),
        address: IpAddr::from([192, 0, 2, last]),
        prefix_len: None,
        port: 80,
        last_port: None,
        protocol: "tcp".into(),
        mode: "ipip".into(),
        announced: withheld.is_none(),
        rpki: None,
        proof: "proven".into(),
        life: "announced".into(),
        drain: None,
        held_down_secs: None,
        fails_open: false,
        reason: withheld.map(|(code, _)| code.into()),
        reason_text: withheld.map(|(_, text)| text.into()),
        since: SINCE.into(),
        since_secs: 67,
        packets: 1_234_567,
        bytes: 81_481_422,
        slots_in_transition: 0,
        active_backends: backends.iter().filter(|it| it.state == "active").count(),
        backends,
    }
}

fn backend(last: u8, state: &str, reason: Option<&str>, share: u32, packets: u64) -> Backend {
    Backend {
        address: IpAddr::from([10, 0, 0, last]),
        weight: 10,
        state: state.into(),
        reason: reason.map(str::to_owned),
        since: SINCE.into(),
        since_secs: 3_725,
        share,
        packets,
        bytes: packets * 66,
        connections: None,
    }
}
