//! A configuration in words.

use core::ops::RangeInclusive;

use super::*;

/// `key = value`.
fn key(out: &mut String, key: &str, value: impl Into<toml::Value>) {
    writeln!(out, "{key} = {}", value.into()).unwrap();
}

/// `key = "value"`.
fn text(out: &mut String, name: &str, value: &impl ToString) {
    key(out, name, value.to_string());
}

/// `key = ["value", …]`.
fn texts<T: ToString>(out: &mut String, name: &str, values: &[T]) {
    key(out, name, values.iter().map(ToString::to_string).collect::<Vec<_>>());
}

fn time(out: &mut String, name: &str, duration: Duration) {
    text(out, name, &format!("{}ms", duration.as_millis()));
}

/// `key = "value"`, if there is one.
fn maybe<T: ToString>(out: &mut String, name: &str, value: Option<&T>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

pub(crate) fn render(desired: &Desired) -> String {
    let mut out = String::new();
    render_router(&mut out, &desired.router);
    render_datapath(&mut out, &desired.datapath);
    super::super::guard::render(&mut out, &desired.guard);
    render_flows(&mut out, desired.flows);
    render_nat(&mut out, &desired.nat);
    render_decision(&mut out, desired.decision);
    for (name, peer) in &desired.peers {
        render_peer(&mut out, peer, &peer.remote.ip());
        render_signing(&mut out, desired.signing.get(name));
    }
    for (name, range) in &desired.ranges {
        render_peer(&mut out, &range.template, &range.prefix);
        key(&mut out, "range-limit", i64::try_from(range.limit).unwrap());
        render_signing(&mut out, desired.signing.get(name));
    }
    render_keychains(&mut out, desired);
    super::super::export::render(&mut out, desired);
    for (name, service) in &desired.services {
        out.push_str("[[service]]\n");
        text(&mut out, "name", &name);
        render_service(&mut out, service);
    }
    out
}

fn render_signing(out: &mut String, signing: Option<&Signing>) {
    match signing {
        Some(Signing::Md5(file)) => text(out, "password-file", &file.display()),
        Some(Signing::Ao(chain)) => text(out, "keychain", &chain),
        None => {}
    }
}

fn render_keychains(out: &mut String, desired: &Desired) {
    for (name, keys) in &desired.keychains {
        out.push_str("[[keychain]]\n");
        text(out, "name", &name);
        for key in keys {
            out.push_str("[[keychain.key]]\n");
            self::key(out, "id", i64::from(key.send_id));
            self::key(out, "receive-id", i64::from(key.receive_id));
            let algorithm = match key.algorithm {
                AoAlgorithm::HmacSha1 => "hmac-sha-1-96",
                AoAlgorithm::Aes128Cmac => "aes-128-cmac-96",
            };
            text(out, "algorithm", &algorithm);
            text(out, "file", &key.file.display());
        }
    }
}

fn render_router(out: &mut String, router: &Router) {
    out.push_str("[router]\n");
    key(out, "asn", i64::from(router.asn.get()));
    text(out, "router-id", &router.router_id);
    texts(out, "listen", &router.listen);
    texts(out, "interfaces", &router.interfaces);
    let attach = match router.attach {
        AttachMode::Auto => "auto",
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
    };
    text(out, "attach", &attach);
    text(out, "hash-seed", &format!("{:x}", router.hash_seed));
    maybe(out, "encap-source-v4", router.encap_source_v4.as_ref());
    maybe(out, "encap-source-v6", router.encap_source_v6.as_ref());
    text(out, "pin-dir", &router.pin_dir.display());
    text(out, "state-dir", &router.state_dir.display());
    time(out, "drain-on-stop", router.drain_on_stop);
    render_api(out, &router.api);
}

fn render_api(out: &mut String, api: &Api) {
    out.push_str("[api]\n");
    text(out, "socket", &api.socket.display());
    maybe(out, "listen", api.listen.as_ref());
    if let Some(tls) = &api.tls {
        text(out, "tls-certificate", &tls.certificate.display());
        text(out, "tls-key", &tls.key.display());
        maybe(out, "client-ca", tls.client_ca.as_ref().map(|path| path.display()).as_ref());
        texts(out, "client-operators", &tls.client_operators);
    }
    maybe(out, "token-file", api.token_file.as_ref().map(|path| path.display()).as_ref());
    key(out, "request-rate", i64::from(api.request_rate));
    key(out, "birdwatcher", api.birdwatcher);
}

fn render_datapath(out: &mut String, datapath: &Datapath) {
    out.push_str("[datapath]\n");
    key(out, "too-big-rate", i64::from(datapath.too_big_rate));
    key(out, "too-big-without-df", datapath.too_big_without_df);
    key(out, "gue-port", i64::from(datapath.gue_port));
    key(out, "gue-checksum", datapath.gue_checksum);
    maybe(out, "vary-source-v4", datapath.vary_source_v4.as_ref());
    maybe(out, "vary-source-v6", datapath.vary_source_v6.as_ref());
}

fn render_flows(out: &mut String, flows: FlowLog) {
    out.push_str("[flows]\n");
    key(out, "sample", i64::from(flows.sample));
    key(out, "rate", i64::from(flows.rate));
    key(out, "keep", i64::from(flows.keep));
    maybe(out, "ipfix", flows.ipfix.as_ref());
    maybe(out, "sflow", flows.sflow.as_ref());
}

fn render_nat(out: &mut String, nat: &Nat) {
    out.push_str("[nat]\n");
    maybe(out, "source-v4", nat.source_v4.as_ref());
    maybe(out, "source-v6", nat.source_v6.as_ref());
    text(out, "ports", &format!("{}-{}", nat.first_port, nat.last_port));
    time(out, "tcp-handshake", nat.timeouts.tcp_handshake);
    time(out, "tcp-established", nat.timeouts.tcp_established);
    time(out, "tcp-half-closed", nat.timeouts.tcp_half_closed);
    time(out, "tcp-closed", nat.timeouts.tcp_closed);
    time(out, "udp", nat.timeouts.udp);
}

fn render_decision(out: &mut String, rules: DecisionRules) {
    out.push_str("[decision]\n");
    key(out, "always-compare-med", rules.always_compare_med);
    key(out, "missing-med-is-worst", rules.med_missing_is_worst);
    key(out, "multipath-external", i64::from(rules.multipath_external));
    key(out, "multipath-internal", i64::from(rules.multipath_internal));
    key(out, "multipath-relax", rules.multipath_relax);
    key(out, "link-bandwidth", rules.link_bandwidth);
}

fn render_peer(out: &mut String, peer: &PeerConfig, place: &impl ToString) {
    out.push_str("[[peer]]\n");
    text(out, "name", &&peer.name);
    text(out, "address", place);
    key(out, "port", i64::from(peer.remote.port()));
    key(out, "asn", i64::from(peer.remote_as.get()));
    maybe(out, "local-address", peer.local_addr.as_ref());
    key(out, "passive", peer.passive);
    text(out, "hold-time", &format!("{}s", peer.hold_time.as_secs()));
    time(out, "connect-retry", peer.connect_retry);
    texts(out, "families", &peer.families);
    maybe(out, "next-hop-v4", peer.next_hops.v4.as_ref());
    maybe(out, "next-hop-v6", peer.next_hops.v6.as_ref());
    if let Some(asn) = peer.local_as {
        key(out, "local-asn", i64::from(asn.get()));
    }
    maybe(out, "shutdown", peer.shutdown.as_ref());
    let restart = peer.offer.graceful_restart.map_or(0, |restart| restart.restart_time_secs);
    text(out, "graceful-restart", &format!("{restart}s"));
    let long = peer.offer.long_lived.first().map_or(0, |long| long.stale_time_secs);
    text(out, "long-lived-graceful-restart", &format!("{long}s"));
    key(out, "graceful-shutdown", peer.policies.shuts_down);
    key(out, "heed-graceful-shutdown", peer.policies.heeds_shutdown);
    time(out, "stale-time", peer.keeping.stale_max);
    time(out, "long-lived-stale-time", peer.keeping.long_lived_max);
    if let Some(role) = peer.offer.role {
        let name = ROLES.iter().find(|(_, this)| *this == role).unwrap().0;
        key(out, "role", name);
    }
    key(out, "role-required", peer.offer.role_required);
    render_transport(out, &peer.transport);
    key(out, "extended-next-hop", !peer.offer.extended_next_hop.is_empty());
    key(out, "add-path", add_path_table(peer));
    if peer.prefix_limits != PrefixLimits::default() {
        let mut table = toml::Table::new();
        for (family, max) in &peer.prefix_limits.max {
            let name = if *family == Family::Ipv4Unicast { "ipv4" } else { "ipv6" };
            table.insert(name.to_owned(), i64::from(*max).into());
        }
        let percent = peer.prefix_limits.warn_percent.unwrap();
        table.insert("warn-percent".to_owned(), i64::from(percent).into());
        if let Some(restart) = peer.prefix_limits.restart {
            table.insert("restart".to_owned(), format!("{}ms", restart.as_millis()).into());
        }
        key(out, "max-prefixes", table);
    }
    if let Some(Bfd { timing, multihop }) = peer.bfd {
        let mut table = toml::Table::new();
        let interval = timing.desired_min_tx_us / 1000;
        table.insert("interval".to_owned(), format!("{interval}ms").into());
        table.insert("multiplier".to_owned(), i64::from(timing.detect_mult).into());
        table.insert("multihop".to_owned(), multihop.into());
        key(out, "bfd", table);
    }
}

fn add_path_table(peer: &PeerConfig) -> toml::Table {
    let names = |set: FamilySet| -> toml::Value {
        set.iter().map(|family| family.to_string()).collect::<Vec<_>>().into()
    };
    let PathLimits { send, receive } = peer.path_limits;
    let mut table = toml::Table::new();
    table.insert("send".to_owned(), names(peer.offer.add_path_send));
    table.insert("receive".to_owned(), names(peer.offer.add_path_receive));
    table.insert("send-max".to_owned(), i64::from(send).into());
    table.insert("receive-max".to_owned(), i64::from(receive).into());
    table
}

fn render_transport(out: &mut String, transport: &Transport) {
    match transport.distance {
        Distance::Ttl(hops) => key(out, "multihop", i64::from(hops)),
        Distance::Guarded(hops) => key(out, "ttl-security", i64::from(hops)),
    }
    maybe(out, "interface", transport.interface.as_ref());
    if let Some(timeout) = transport.user_timeout {
        time(out, "tcp-user-timeout", timeout);
    }
    time(out, "send-hold-time", transport.send_hold.unwrap_or_default());
}

fn render_mode(out: &mut String, service: &Service) {
    text(
        out,
        "mode",
        &match service.mode {
            ForwardingMode::Ipip => "ipip",
            ForwardingMode::Gue => "gue",
            ForwardingMode::L2 => "l2",
            ForwardingMode::Nat => "nat",
        },
    );
    if service.backend_port != 0 {
        key(out, "backend-port", i64::from(service.backend_port));
    }
}

fn render_service(out: &mut String, service: &Service) {
    text(out, "vip", &service.vip.vip());
    match service.vip.port {
        0 => text(out, "port", &"any"),
        port if port == service.last_port => key(out, "port", i64::from(port)),
        port => text(out, "port", &format!("{port}-{}", service.last_port)),
    }
    let protocol = match service.vip.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    text(out, "protocol", &protocol);
    render_mode(out, service);
    render_affinity(out, service.affinity);
    let remembers = service.udp == UdpFlows::Remembered;
    text(out, "udp", &if remembers { "flow" } else { "hash" });
    key(out, "echo", service.echo);
    time(out, "drain", service.drain);
    time(out, "slow-start", service.slow_start);
    key(out, "min-mtu", i64::from(service.min_mtu));
    let when_all_down = match service.when_all_down {
        AllDown::FailClosed => "fail-closed",
        AllDown::FailOpen => "fail-open",
    };
    text(out, "when-all-down", &when_all_down);
    if service.advertise.is_none() {
        key(out, "advertise", false);
    }
    super::super::guard::render_own(out, service.limits);
    if let Some(health) = &service.health {
        render_health(out, health);
    }
    if let Some(Advertise { attributes, min_healthy, hold_down, hold_down_max }) =
        &service.advertise
    {
        out.push_str("[service.advertise]\n");
        texts(out, "communities", &attributes.communities);
        texts(out, "large-communities", &attributes.large_communities);
        if let Some(med) = attributes.med {
            key(out, "med", i64::from(med));
        }
        if let Some(local_pref) = attributes.local_pref {
            key(out, "local-pref", i64::from(local_pref));
        }
        key(out, "prepend", i64::from(attributes.prepend));
        key(out, "min-healthy", i64::from(*min_healthy));
        time(out, "hold-down", *hold_down);
        time(out, "hold-down-max", *hold_down_max);
    }
    for (address, backend) in &service.backends {
        out.push_str("[[service.backend]]\n");
        text(out, "address", &address);
        key(out, "weight", i64::from(backend.weight));
        key(out, "disabled", backend.disabled);
        if let Some(id) = backend.server_id {
            text(out, "server-id", &id);
        }
        if let Some(id) = backend.former_server_id {
            text(out, "former-server-id", &id);
        }
    }
}

fn render_affinity(out: &mut String, affinity: Affinity) {
    let affinity = match affinity {
        Affinity::FiveTuple => "5-tuple",
        Affinity::ClientAddress => "client-address",
        Affinity::ClientPrefix(bits) => {
            key(out, "client-prefix", i64::from(bits));
            "client-prefix"
        }
        Affinity::Quic { config_id, former } => {
            key(out, "quic-config-id", i64::from(config_id));
            if let Some(former) = former {
                key(out, "quic-former-config-id", i64::from(former));
            }
            "quic"
        }
    };
    text(out, "affinity", &affinity);
}

fn render_health(out: &mut String, health: &HealthCheck) {
    out.push_str("[service.health]\n");
    if health.via != Via::Direct {
        key(out, "via", "tunnel");
    }
    match &health.probe {
        Probe::Tcp => key(out, "type", "tcp"),
        Probe::Icmp => key(out, "type", "icmp"),
        Probe::Http(http) => {
            text(out, "type", if http.tls.is_some() { &"https" } else { &"http" });
            text(out, "method", &http.method.name());
            text(out, "path", &http.path);
            maybe(out, "host", http.host.as_ref());
            let range = |range: &RangeInclusive<u16>| format!("{}-{}", range.start(), range.end());
            key(out, "status", http.statuses.iter().map(range).collect::<Vec<_>>());
            maybe(out, "body", http.body.as_ref());
            if let Some(Tls { server_name, ca_file }) = &http.tls {
                maybe(out, "server-name", server_name.as_ref());
                maybe(out, "ca-file", ca_file.as_ref().map(|file| file.display()).as_ref());
            }
        }
        Probe::Grpc { service, host } => {
            text(out, "type", &"grpc");
            maybe(out, "grpc-service", Some(service).filter(|name| !name.is_empty()));
            maybe(out, "host", host.as_ref());
        }
        Probe::Udp { send, expect } => {
            let hex = |octets: &[u8]| {
                octets.iter().fold("hex:".to_owned(), |text, octet| format!("{text}{octet:02x}"))
            };
            text(out, "type", &"udp");
            text(out, "send", &hex(send));
            maybe(
                out,
                "expect",
                Some(expect).filter(|it| !it.is_empty()).map(|it| hex(it)).as_ref(),
            );
        }
        Probe::Dns(DnsProbe { query, query_type, rcode }) => {
            text(out, "type", &"dns");
            text(out, "query", &query);
            text(out, "query-type", &query_type.name());
            text(out, "rcode", &rcode.name());
        }
    }
    if health.probe != Probe::Icmp {
        key(out, "port", i64::from(health.port));
    }
    time(out, "interval", health.interval);
    time(out, "timeout", health.timeout);
    time(out, "retry", health.retry);
    key(out, "rise", i64::from(health.rise));
    key(out, "fall", i64::from(health.fall));
}

proptest! {
    #[test]
    fn what_is_wanted_survives_its_file(desired in desired()) {
        prop_assert_eq!(accepted(&render(&desired)).desired, desired);
    }
}
