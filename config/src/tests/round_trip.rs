//! What is written from a `Desired` is read as the same `Desired`.

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use tidegate_bgp::rib::DecisionRules;
use tidegate_bgp::speaker::{
    Distance, NextHops, Offer, PathLimits, PeerConfig, PeerRange, PrefixLimits, RouteAttributes,
    Transport,
};
use tidegate_bgp::types::{
    Asn, Community, Family, FamilySet, HoldTime, LargeCommunity, Prefix, RouterId,
};
use tidegate_bgp::wire::{GracefulRestart, Role};

use super::accepted;
use crate::desired::{
    Advertise, Affinity, AllDown, Api, AttachMode, Backend, Datapath, Desired, ForwardingMode,
    HealthCheck, Probe, Protocol, Router, Service, ServiceAddr, UdpFlows,
};

/// Addresses come from ranges that do not meet, so that no rule between tables is broken.
fn vip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u8>().prop_map(|n| IpAddr::from([198, 51, 100, n])),
        any::<u16>().prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0x80, 0, 0, 0, 0, n])),
    ]
}

fn backend_v4() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 2]>().prop_map(|[a, b]| IpAddr::from([10, 0, a, b]))
}

fn backend_v6() -> impl Strategy<Value = IpAddr> {
    any::<u16>().prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0x10, 0, 0, 0, 0, n]))
}

fn own_v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u8>().prop_map(|n| Ipv4Addr::new(192, 0, 2, n))
}

fn own_v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u16>().prop_map(|n| Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, n))
}

fn asn() -> impl Strategy<Value = Asn> {
    (1..=u32::MAX).prop_map(|number| Asn::new(number).unwrap())
}

fn millis(range: core::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,12}"
}

fn router() -> impl Strategy<Value = Router> {
    let listen = btree_set((own_v4(), 1_u16..), 1..3);
    let node = (asn(), 1_u32.., listen, btree_set("[a-z]{1,4}[0-9.-]{0,4}", 1..4), any::<u64>());
    let attach =
        prop_oneof![Just(AttachMode::Auto), Just(AttachMode::Native), Just(AttachMode::Generic)];
    let rest =
        (attach, option::of(own_v4()), option::of(own_v6()), "/[ -~é]{0,20}", "/[a-z/]{0,20}");
    let api = (option::of(1_u16..), "/[a-z/\"\\\\]{1,20}");
    (node, rest, api).prop_map(|(node, rest, api)| Router {
        asn: node.0,
        router_id: RouterId::new(Ipv4Addr::from_bits(node.1)).unwrap(),
        listen: node.2.into_iter().map(SocketAddr::from).collect(),
        interfaces: node.3.into_iter().collect(),
        hash_seed: node.4,
        attach: rest.0,
        encap_source_v4: rest.1,
        encap_source_v6: rest.2,
        pin_dir: rest.3.into(),
        state_dir: rest.4.into(),
        api: Api {
            socket: api.1.into(),
            listen: api.0.map(|port| SocketAddr::from((Ipv6Addr::LOCALHOST, port))),
        },
    })
}

/// With varied sources only where the node has no fixed one.
fn datapath() -> impl Strategy<Value = Datapath> {
    let gue = (1_u16.., any::<bool>());
    (0_u32..=1_000_000, any::<bool>(), gue).prop_map(
        |(too_big_rate, too_big_without_df, (gue_port, gue_checksum))| Datapath {
            too_big_rate,
            too_big_without_df,
            gue_port,
            gue_checksum,
            vary_source_v4: Prefix::new(Ipv4Addr::new(10, 99, 0, 0).into(), 16),
            vary_source_v6: Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0).into(), 112),
        },
    )
}

/// The local end of a session lies in another network than the peers.
fn peer() -> impl Strategy<Value = PeerConfig> {
    let remote = (any::<[u8; 2]>(), 1_u16..);
    let hold_time = prop_oneof![Just(0), 3_u16..].prop_map(|s| HoldTime::from_secs(s).unwrap());
    let families = prop_oneof![
        Just(vec![Family::Ipv4Unicast]),
        Just(vec![Family::Ipv6Unicast]),
        Just(Family::UNICAST.to_vec()),
    ];
    let session = (asn(), option::of(own_v4()), any::<bool>(), hold_time, millis(1000..=3_600_000));
    let next_hops = (option::of(own_v4()), option::of(own_v6()));
    (remote, session, families, next_hops).prop_map(
        |((addr, port), session, families, (v4, v6))| PeerConfig {
            local_addr: session.1.map(IpAddr::from),
            passive: session.2,
            hold_time: session.3,
            connect_retry: session.4,
            families,
            next_hops: NextHops { v4, v6 },
            ..PeerConfig::new(
                "".into(),
                SocketAddr::from(([172, 16, addr[0], addr[1]], port)),
                session.0,
            )
        },
    )
}

fn transport(hold_time: HoldTime) -> impl Strategy<Value = Transport> {
    let distance =
        prop_oneof![(1_u8..).prop_map(Distance::Ttl), (1_u8..255).prop_map(Distance::Guarded)];
    let longer = u64::from(hold_time.as_secs()) * 1000 + 1;
    let user_timeout = option::of(millis(1000..=3_600_000));
    (distance, option::of("[a-z]{1,9}"), user_timeout, option::of(millis(longer..=604_800_000)))
        .prop_map(|(distance, interface, user_timeout, send_hold)| Transport {
            distance,
            interface: interface.map(Into::into),
            user_timeout,
            send_hold,
        })
}

const ROLES: [(&str, Role); 5] = [
    ("provider", Role::Provider),
    ("customer", Role::Customer),
    ("peer", Role::Peer),
    ("rs", Role::RouteServer),
    ("rs-client", Role::RouteServerClient),
];

fn offer(families: Vec<Family>) -> impl Strategy<Value = Offer> {
    let role = option::of(proptest::sample::select(ROLES.map(|(_, role)| role).to_vec()));
    (role, any::<bool>(), 0_u16..4096).prop_map(move |(role, required, restart_time_secs)| Offer {
        graceful_restart: (restart_time_secs > 0).then(|| GracefulRestart {
            restart_time_secs,
            families: families.iter().copied().collect(),
            forwarding: families.iter().copied().collect(),
            ..GracefulRestart::default()
        }),
        role,
        role_required: required && role.is_some(),
        ..Offer::default()
    })
}

fn add_path(
    families: &[Family],
) -> impl Strategy<Value = (FamilySet, FamilySet, PathLimits, bool)> + use<> {
    let some = || proptest::sample::subsequence(families.to_vec(), 0..=families.len());
    let set = |families: Vec<Family>| -> FamilySet { families.into_iter().collect() };
    let limits = (1_u8.., 1_u8..).prop_map(|(send, receive)| PathLimits { send, receive });
    (some().prop_map(set), some().prop_map(set), limits, any::<bool>())
}

fn limits(families: Vec<Family>) -> impl Strategy<Value = PrefixLimits> {
    let max = (any::<bool>(), any::<u32>(), any::<u32>()).prop_map(move |(one, first, second)| {
        let limits = families.iter().copied().zip([first, second]);
        limits.take(if one { 1 } else { 2 }).collect::<BTreeMap<_, _>>()
    });
    (max, 1_u8..=100, option::of(millis(1000..=604_800_000)))
        .prop_map(|(max, warn, restart)| PrefixLimits { max, warn_percent: Some(warn), restart })
}

/// A peer with all that its session can have.
fn whole_peer() -> impl Strategy<Value = PeerConfig> {
    peer().prop_flat_map(|peer| {
        let limits = option::of(limits(peer.families.clone()));
        let text = option::of("[ -!#-\\[\\]-~]{1,99}");
        let offer = (offer(peer.families.clone()), add_path(&peer.families));
        let more = (transport(peer.hold_time), limits, text, offer);
        (more, option::of((1_u32..64_512).prop_map(|asn| Asn::new(asn).unwrap()))).prop_map(
            move |((transport, limits, shutdown, (offer, add_path)), local_as)| PeerConfig {
                transport,
                path_limits: add_path.2,
                prefix_limits: limits.unwrap_or_default(),
                shutdown: shutdown.map(Into::into),
                local_as,
                offer: Offer {
                    add_path_send: add_path.0,
                    add_path_receive: add_path.1,
                    extended_next_hop: [Family::Ipv4Unicast]
                        .into_iter()
                        .filter(|_| add_path.3)
                        .collect(),
                    ..offer
                },
                ..peer.clone()
            },
        )
    })
}

fn health() -> impl Strategy<Value = HealthCheck> {
    let http = ("/[!-\"$-~]{0,20}", option::of("[a-z0-9.:-]{1,20}"), 100_u16..600);
    let probe = prop_oneof![
        Just(Probe::Tcp),
        http.prop_map(|(path, host, status)| Probe::Http { path, host, status }),
    ];
    let times = (100_u64..=3_600_000)
        .prop_flat_map(|interval| (Just(interval), 10..=interval, 10..=interval));
    (probe, 1_u16.., times, 1_u32..=100, 1_u32..=100).prop_map(
        |(probe, port, (interval, timeout, retry), rise, fall)| HealthCheck {
            probe,
            port,
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
            retry: Duration::from_millis(retry),
            rise,
            fall,
        },
    )
}

fn advertise() -> impl Strategy<Value = Advertise> {
    let numbers = (option::of(any::<u32>()), option::of(any::<u32>()), 0_u8..=10);
    let communities = btree_set(any::<u32>().prop_map(Community), 0..4);
    let large = btree_set(any::<[u32; 3]>().prop_map(LargeCommunity), 0..4);
    let hold_down = (0..=3_600_000_u64, 0..=60_000_u64);
    (numbers, communities, large, hold_down).prop_map(
        |(numbers, communities, large, (hold_down, longer))| {
            let (med, local_pref, prepend) = numbers;
            Advertise {
                attributes: RouteAttributes {
                    med,
                    local_pref,
                    prepend,
                    communities: communities.into_iter().collect(),
                    large_communities: large.into_iter().collect(),
                },
                min_healthy: 1,
                hold_down: Duration::from_millis(hold_down),
                hold_down_max: Duration::from_millis(hold_down + longer),
            }
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let backends_v4 =
        btree_map(backend_v4(), (1_u16..=1000).prop_map(|weight| Backend { weight }), 1..5);
    let backends_v6 =
        btree_map(backend_v6(), (0_u16..=1000).prop_map(|weight| Backend { weight }), 0..3);
    let affinity = prop_oneof![
        Just(Affinity::FiveTuple),
        Just(Affinity::ClientAddress),
        (16_u8..=32).prop_map(Affinity::ClientPrefix), // Of both versions.
    ];
    let addr = (
        vip(),
        // A range of ports takes the room of as many services.
        (any::<u16>(), prop_oneof![Just(0_u16), 0_u16..300]),
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)],
    );
    let all_down = prop_oneof![Just(AllDown::FailClosed), Just(AllDown::FailOpen)];
    let times = (millis(0..=86_400_000), 576_u16..=3_400, all_down);
    let options = (any::<bool>(), affinity, any::<bool>(), times);
    (addr, options, option::of(health()), option::of(advertise()), backends_v4, backends_v6)
        .prop_map(
            |(
                (addr, (port, more), protocol),
                (l2, affinity, echo, (drain, min_mtu, when_all_down)),
                health,
                advertise,
                v4,
                v6,
            )| {
                let mut backends = v4;
                // In l2 all backends have the VIP's IP version; one of IPv4 always has a weight.
                let l2 = l2 && addr.is_ipv4();
                if !l2 {
                    backends.extend(v6);
                }
                Service {
                    vip: ServiceAddr { addr, port, protocol },
                    last_port: if port == 0 { 0 } else { port.saturating_add(more) },
                    mode: if l2 { ForwardingMode::L2 } else { ForwardingMode::Ipip },
                    affinity,
                    udp: if echo && protocol == Protocol::Udp {
                        UdpFlows::Remembered
                    } else {
                        UdpFlows::Hashed
                    },
                    echo,
                    drain,
                    min_mtu,
                    when_all_down,
                    health,
                    advertise,
                    backends,
                }
            },
        )
}

fn decision() -> impl Strategy<Value = DecisionRules> {
    (any::<[bool; 4]>(), 1_u8..=64, 1_u8..=64).prop_map(|(rules, external, internal)| {
        let [always_compare_med, med_missing_is_worst, multipath_relax, link_bandwidth] = rules;
        DecisionRules {
            always_compare_med,
            med_missing_is_worst,
            multipath_external: external,
            multipath_internal: internal,
            multipath_relax,
            link_bandwidth,
        }
    })
}

pub(crate) fn desired() -> impl Strategy<Value = Desired> {
    let peers = btree_map(name(), (whole_peer(), option::of("/[a-z]{1,9}"), any::<bool>()), 0..4);
    let services = btree_map(name(), service(), 0..5);
    let beside = (decision(), super::export::beside());
    let parts = (router(), datapath(), peers, beside, services);
    parts.prop_map(|(router, datapath, peers, (decision, beside), services)| {
        let (rpki_caches, bmp_stations, mrt) = beside;
        let mut desired = Desired {
            decision,
            datapath: Datapath {
                vary_source_v4: datapath
                    .vary_source_v4
                    .filter(|_| router.encap_source_v4.is_none()),
                vary_source_v6: datapath
                    .vary_source_v6
                    .filter(|_| router.encap_source_v6.is_none()),
                ..datapath
            },
            router,
            peers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            password_files: BTreeMap::new(),
            policies: BTreeMap::new(),
            rpki_caches,
            bmp_stations,
            mrt,
            services: BTreeMap::new(),
        };
        let mut addresses = BTreeSet::new();
        for (name, (mut peer, password_file, is_range)) in peers {
            if addresses.insert(Prefix::new(peer.remote.ip(), 31)) {
                peer.name = name.as_str().into();
                // A next hop without its family is accepted, but only with a warning.
                desired.password_files.extend(password_file.map(|f| (name.clone(), f.into())));
                if is_range {
                    let prefix = Prefix::new(peer.remote.ip(), 31).unwrap();
                    let remote = SocketAddr::new(prefix.addr(), peer.remote.port());
                    let template = PeerConfig { remote, local_addr: None, passive: true, ..peer };
                    let limit = 7;
                    desired.ranges.insert(name, PeerRange { prefix, limit, template });
                } else {
                    desired.peers.insert(name, peer);
                }
            }
        }
        let mut vips = BTreeSet::new();
        for (name, service) in services {
            if vips.insert(service.vip.addr) {
                desired.services.insert(name, service);
            }
        }
        desired
    })
}

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
    render_decision(&mut out, desired.decision);
    for (name, peer) in &desired.peers {
        render_peer(&mut out, peer, &peer.remote.ip());
        let file = desired.password_files.get(name).map(|file| file.display());
        maybe(&mut out, "password-file", file.as_ref());
    }
    for (name, range) in &desired.ranges {
        render_peer(&mut out, &range.template, &range.prefix);
        key(&mut out, "range-limit", i64::try_from(range.limit).unwrap());
        let file = desired.password_files.get(name).map(|file| file.display());
        maybe(&mut out, "password-file", file.as_ref());
    }
    super::export::render(&mut out, desired);
    for (name, service) in &desired.services {
        out.push_str("[[service]]\n");
        text(&mut out, "name", &name);
        render_service(&mut out, service);
    }
    out
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
    out.push_str("[api]\n");
    text(out, "socket", &router.api.socket.display());
    maybe(out, "listen", router.api.listen.as_ref());
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

fn render_service(out: &mut String, service: &Service) {
    text(out, "vip", &service.vip.addr);
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
    text(
        out,
        "mode",
        &match service.mode {
            ForwardingMode::Ipip => "ipip",
            ForwardingMode::Gue => "gue",
            ForwardingMode::L2 => "l2",
        },
    );
    let affinity = match service.affinity {
        Affinity::FiveTuple => "5-tuple",
        Affinity::ClientAddress => "client-address",
        Affinity::ClientPrefix(bits) => {
            key(out, "client-prefix", i64::from(bits));
            "client-prefix"
        }
    };
    text(out, "affinity", &affinity);
    let remembers = service.udp == UdpFlows::Remembered;
    text(out, "udp", &if remembers { "flow" } else { "hash" });
    key(out, "echo", service.echo);
    time(out, "drain", service.drain);
    key(out, "min-mtu", i64::from(service.min_mtu));
    let when_all_down = match service.when_all_down {
        AllDown::FailClosed => "fail-closed",
        AllDown::FailOpen => "fail-open",
    };
    text(out, "when-all-down", &when_all_down);
    if service.advertise.is_none() {
        key(out, "advertise", false);
    }
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
    }
}

fn render_health(out: &mut String, health: &HealthCheck) {
    out.push_str("[service.health]\n");
    match &health.probe {
        Probe::Tcp => key(out, "type", "tcp"),
        Probe::Http { path, host, status } => {
            text(out, "type", &"http");
            text(out, "path", &path);
            maybe(out, "host", host.as_ref());
            key(out, "status", i64::from(*status));
        }
    }
    key(out, "port", i64::from(health.port));
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
