//! What is written from a `Desired` is read as the same `Desired`.

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use tidegate_bgp::bfd::Timing;
use tidegate_bgp::rib::{DecisionRules, Policies};
use tidegate_bgp::speaker::{
    Bfd, Distance, Keeping, NextHops, Offer, PathLimits, PeerConfig, PeerRange, PrefixLimits,
    RouteAttributes, Transport,
};
use tidegate_bgp::types::{
    Asn, Community, Family, FamilySet, HoldTime, LargeCommunity, Prefix, RouterId,
};
use tidegate_bgp::wire::{GracefulRestart, LongLived, Role};

mod render;

pub(crate) use render::render;

use super::accepted;
use crate::desired::{
    Advertise, Affinity, AllDown, AoAlgorithm, AoKey, Api, ApiTls, AttachMode, Backend, Datapath,
    Desired, DnsProbe, DnsRcode, DnsType, FlowLog, ForwardingMode, HealthCheck, HttpProbe, Method,
    Nat, Probe, Protocol, Router, ServerId, Service, ServiceAddr, Signing, Tls, UdpFlows, Via,
};

/// Addresses come from ranges that do not meet, so that no rule between tables is broken.
fn vip() -> impl Strategy<Value = Prefix> {
    let v4 = (any::<u8>(), 28_u8..=32)
        .prop_map(|(n, len)| Prefix::new(IpAddr::from([198, 51, 100, n]), len).unwrap());
    let v6 = (any::<u16>(), prop_oneof![Just(64_u8), Just(127), Just(128)]).prop_map(|(n, len)| {
        Prefix::new(IpAddr::from([0x2001, 0xdb8, 0x80, 0, 0, 0, 0, n]), len).unwrap()
    });
    prop_oneof![v4, v6]
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
    let rest = (
        attach,
        option::of(own_v4()),
        option::of(own_v6()),
        "/[ -~é]{0,20}",
        "/[a-z/]{0,20}",
        millis(0..=3_600_000),
    );
    (node, rest, api()).prop_map(|(node, rest, api)| Router {
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
        drain_on_stop: rest.5,
        api,
    })
}

/// On an address of this host, or of all hosts with what that takes.
fn api() -> impl Strategy<Value = Api> {
    let path = || "/[a-z/\"\\\\]{1,20}".prop_map(PathBuf::from);
    let names = btree_set("[ -~]{1,5}", 1..3).prop_map(|names| names.into_iter().collect());
    let clients = option::of((path(), prop_oneof![Just(vec![]), names]));
    let tls = (path(), path(), clients).prop_map(|(certificate, key, clients)| {
        let (client_ca, client_operators) = clients.unzip();
        let client_operators = client_operators.unwrap_or_default();
        ApiTls { certificate, key, client_ca, client_operators }
    });
    let rest = (option::of(path()), 1_u32..=10_000, any::<bool>());
    (path(), option::of(1_u16..), option::of(tls), rest).prop_map(|(socket, port, tls, rest)| {
        let (token_file, request_rate, birdwatcher) = rest;
        let known = token_file.is_some() || tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let is_open = tls.is_some() && known;
        let addr = if is_open { Ipv6Addr::UNSPECIFIED } else { Ipv6Addr::LOCALHOST };
        let listen = port.map(|port| SocketAddr::from((addr, port)));
        Api { socket, listen, tls, token_file, request_rate, birdwatcher }
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
            unnumbered: false,
        })
}

const ROLES: [(&str, Role); 5] = [
    ("provider", Role::Provider),
    ("customer", Role::Customer),
    ("peer", Role::Peer),
    ("rs", Role::RouteServer),
    ("rs-client", Role::RouteServerClient),
];

fn offer(families: Vec<Family>) -> impl Strategy<Value = (Offer, Keeping)> {
    let role = option::of(proptest::sample::select(ROLES.map(|(_, role)| role).to_vec()));
    let long = prop_oneof![Just(0), 1_u32..16_777_216];
    let times = (prop_oneof![Just(0), 1_u16..4096], long.clone(), long.clone(), long);
    (role, any::<bool>(), times).prop_map(move |(role, required, times)| {
        let (time, long, stale, kept) = times;
        let stale_max = Duration::from_secs(u64::from(stale % 86_401));
        let keeping = Keeping { stale_max, long_lived_max: Duration::from_secs(u64::from(kept)) };
        let ours = families.iter().copied().filter(|_| time > 0 || long > 0);
        let restart = GracefulRestart {
            restarting: false,
            notification: true,
            restart_time_secs: time,
            families: ours.clone().collect(),
            forwarding: ours.collect(),
        };
        let wanted = time > 0 || long > 0 || !stale_max.is_zero();
        let in_order = families.iter().copied().collect::<FamilySet>();
        let long_lived = in_order.iter().filter(|_| long > 0 || kept > 0);
        let offer = Offer {
            graceful_restart: wanted.then_some(restart),
            long_lived: long_lived
                .map(|family| LongLived { family, forwarding: true, stale_time_secs: long })
                .collect(),
            role,
            role_required: required && role.is_some(),
            ..Offer::default()
        };
        (offer, keeping)
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
fn bfd() -> impl Strategy<Value = Bfd> {
    (10..60_001_u32, 2_u8.., any::<bool>()).prop_map(|(millis, detect_mult, multihop)| {
        let us = millis * 1000;
        let timing = Timing { desired_min_tx_us: us, required_min_rx_us: us, detect_mult };
        Bfd { timing, multihop }
    })
}

fn whole_peer() -> impl Strategy<Value = PeerConfig> {
    peer().prop_flat_map(|peer| {
        let limits = option::of(limits(peer.families.clone()));
        let text = option::of("[ -!#-\\[\\]-~]{1,99}");
        let offer = (offer(peer.families.clone()), add_path(&peer.families));
        let more = (transport(peer.hold_time), limits, text, offer);
        let local_as = option::of((1_u32..64_512).prop_map(|asn| Asn::new(asn).unwrap()));
        (more, local_as, option::of(bfd())).prop_map(
            move |((transport, limits, shutdown, ((offer, keeping), add_path)), local_as, bfd)| {
                PeerConfig {
                    transport,
                    path_limits: add_path.2,
                    prefix_limits: limits.unwrap_or_default(),
                    shutdown: shutdown.map(Into::into),
                    local_as,
                    bfd,
                    policies: Policies {
                        shuts_down: keeping.stale_max.is_zero(),
                        heeds_shutdown: offer.role_required,
                        ..peer.policies.clone()
                    },
                    keeping,
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
                }
            },
        )
    })
}

fn probe() -> impl Strategy<Value = Probe> {
    let name = || option::of("[a-z0-9]{1,20}(\\.[a-z-]{1,9})?");
    let tls = (name(), option::of("/[a-z]{1,9}"))
        .prop_map(|(server_name, ca)| Tls { server_name, ca_file: ca.map(Into::into) });
    // Apart from each other, as equal sets are equal values.
    let statuses = prop_oneof![
        (100_u16..600).prop_map(|status| vec![status..=status]),
        (100_u16..300, 300_u16..=400, 402_u16..600)
            .prop_map(|(first, last, other)| vec![first..=last, other..=other]),
    ];
    let asked = prop_oneof![
        (Just(Method::Get), option::of("[ -~]{1,20}")),
        (prop_oneof![Just(Method::Head), Just(Method::Options)], Just(None)),
    ];
    let http =
        (asked, "/[!-\"$-~]{0,20}", option::of("[a-z0-9.:-]{1,20}"), statuses, option::of(tls));
    let octets = |least| proptest::collection::vec(any::<u8>(), least..20);
    let types = prop_oneof![Just(DnsType::A), Just(DnsType::Aaaa), Just(DnsType::Srv)];
    let rcodes = prop_oneof![Just(DnsRcode::NoError), Just(DnsRcode::Refused)];
    prop_oneof![
        Just(Probe::Tcp),
        Just(Probe::Icmp),
        http.prop_map(|((method, body), path, host, statuses, tls)| {
            Probe::Http(HttpProbe { method, path, host, statuses, body, tls })
        }),
        ("[a-z.]{0,20}", name()).prop_map(|(service, host)| Probe::Grpc { service, host }),
        (octets(1), octets(0)).prop_map(|(send, expect)| Probe::Udp { send, expect }),
        ("[a-z]{1,20}", types, rcodes).prop_map(|(query, query_type, rcode)| {
            Probe::Dns(DnsProbe { query, query_type, rcode })
        }),
    ]
}

fn health() -> impl Strategy<Value = HealthCheck> {
    let times = (100_u64..=3_600_000)
        .prop_flat_map(|interval| (Just(interval), 10..=interval, 10..=interval));
    (probe(), any::<bool>(), 1_u16.., times, 1_u32..=100, 1_u32..=100).prop_map(
        |(probe, tunnelled, port, (interval, timeout, retry), rise, fall)| HealthCheck {
            // The mode is that of the service.
            via: if tunnelled { Via::Tunnel(ForwardingMode::Ipip) } else { Via::Direct },
            port: if probe == Probe::Icmp { 0 } else { port },
            probe,
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

/// This affinity, if a service can have it, with the server ids that it needs.
fn named(
    affinity: Affinity,
    nat: bool,
    protocol: Protocol,
    backends: &mut BTreeMap<IpAddr, Backend>,
) -> Affinity {
    let Affinity::Quic { config_id, former } = affinity else { return affinity };
    if nat || protocol != Protocol::Udp {
        return Affinity::FiveTuple;
    }
    for (nth, backend) in (config_id..).zip(backends.values_mut()) {
        backend.server_id = ServerId::new(&[nth; 15][config_id.into()..]);
        backend.former_server_id = former.and_then(|it| ServerId::new(&[nth; 15][it.into()..]));
    }
    affinity
}

fn affinity() -> impl Strategy<Value = Affinity> {
    prop_oneof![
        Just(Affinity::FiveTuple),
        Just(Affinity::ClientAddress),
        (16_u8..=32).prop_map(Affinity::ClientPrefix), // Of both versions.
        (0_u8..7, 0_u8..7).prop_map(|(config_id, former)| {
            let former = Some(former).filter(|it| *it != config_id);
            Affinity::Quic { config_id, former }
        }),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let backends_v4 = btree_map(backend_v4(), (1_u16..=1000).prop_map(Backend::of_weight), 1..5);
    let backends_v6 = btree_map(
        backend_v6(),
        (0_u16..=1000, any::<bool>())
            .prop_map(|(weight, disabled)| Backend { disabled, ..Backend::of_weight(weight) }),
        0..3,
    );
    let addr = (
        vip(),
        // A range of ports takes the room of as many services.
        (any::<u16>(), prop_oneof![Just(0_u16), 0_u16..300]),
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)],
    );
    let all_down = prop_oneof![Just(AllDown::FailClosed), Just(AllDown::FailOpen)];
    let times = ((millis(0..=86_400_000), millis(0..=3_600_000)), 576_u16..=3_400, all_down);
    let options = (any::<bool>(), affinity(), any::<bool>(), (times, super::guard::own_limits()));
    (addr, options, option::of(health()), option::of(advertise()), backends_v4, backends_v6)
        .prop_map(
            |(
                (addrs, (port, more), protocol),
                (l2, affinity, echo, (((drain, slow_start), min_mtu, when_all_down), limits)),
                health,
                advertise,
                v4,
                v6,
            )| {
                let mut backends = v4;
                // In l2 and nat all backends have the VIP's IP version; one of IPv4 always has a
                // weight.
                let l2 = l2 && addrs.addr().is_ipv4();
                let nat = l2 && !echo && protocol != Protocol::Sctp;
                if !l2 {
                    backends.extend(v6);
                }
                let mode = match (l2, nat) {
                    (_, true) => ForwardingMode::Nat,
                    (true, false) => ForwardingMode::L2,
                    (false, false) => ForwardingMode::Ipip,
                };
                let health = health.map(|check| match check.via {
                    Via::Tunnel(_) if !nat => HealthCheck { via: Via::Tunnel(mode), ..check },
                    Via::Tunnel(_) | Via::Direct => HealthCheck { via: Via::Direct, ..check },
                });
                let affinity = named(affinity, nat, protocol, &mut backends);
                Service {
                    vip: ServiceAddr { addrs, port, protocol },
                    last_port: if port == 0 { 0 } else { port.saturating_add(more) },
                    mode,
                    backend_port: if nat { min_mtu } else { 0 },
                    affinity,
                    udp: if echo && protocol == Protocol::Udp {
                        UdpFlows::Remembered
                    } else {
                        UdpFlows::Hashed
                    },
                    limits,
                    echo,
                    drain,
                    slow_start,
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

/// A password file, and keys that are used in place of it if there are any.
fn signed() -> impl Strategy<Value = (String, Vec<AoKey>)> {
    let key = (any::<u8>(), any::<bool>(), "/[a-z]{1,9}");
    let keys = btree_map(any::<u8>(), key, 0..4).prop_map(|keys| {
        let key = |(send_id, (shift, is_sha, file)): (u8, (u8, bool, String))| AoKey {
            send_id,
            receive_id: send_id ^ (shift & 0x80),
            algorithm: if is_sha { AoAlgorithm::HmacSha1 } else { AoAlgorithm::Aes128Cmac },
            file: file.into(),
        };
        let mut keys: Vec<AoKey> = keys.into_iter().map(key).collect();
        keys.sort_by_key(|key| key.send_id.reverse_bits());
        let mut seen = BTreeSet::new();
        keys.retain(|key| seen.insert(key.receive_id));
        keys
    });
    ("/[a-z]{1,9}", keys)
}

fn flows() -> impl Strategy<Value = FlowLog> {
    let collector = || option::of(any::<u16>().prop_map(|port| ([192, 0, 2, 7], port).into()));
    let all = (0_u32..=9, 0_u32..=9, 100_u32..=200, collector(), collector());
    all.prop_map(|(sample, rate, keep, ipfix, sflow)| FlowLog { sample, rate, keep, ipfix, sflow })
}

pub(crate) fn desired() -> impl Strategy<Value = Desired> {
    let peers = btree_map(name(), (whole_peer(), option::of(signed()), any::<bool>()), 0..4);
    let services = btree_map(name(), service(), 0..5);
    let beside = (decision(), super::export::beside(), super::nat::nat(), flows());
    let datapath = (datapath(), super::guard::guard());
    let parts = (router(), datapath, peers, beside, services);
    parts.prop_map(|(router, (datapath, guard), peers, beside, services)| {
        let (decision, (rpki_caches, bmp_stations, mrt), nat, flows) = beside;
        let mut desired = Desired {
            decision,
            flows,
            nat,
            datapath: Datapath {
                vary_source_v4: datapath
                    .vary_source_v4
                    .filter(|_| router.encap_source_v4.is_none()),
                vary_source_v6: datapath
                    .vary_source_v6
                    .filter(|_| router.encap_source_v6.is_none()),
                ..datapath
            },
            guard,
            router,
            peers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            signing: BTreeMap::new(),
            keychains: BTreeMap::new(),
            policies: BTreeMap::new(),
            prefix_sets: BTreeMap::new(),
            rpki_caches,
            bmp_stations,
            mrt,
            services: BTreeMap::new(),
        };
        let mut addresses = BTreeSet::new();
        for (name, (mut peer, signed, is_range)) in peers {
            if addresses.insert(Prefix::new(peer.remote.ip(), 31)) {
                peer.name = name.as_str().into();
                // A next hop without its family is accepted, but only with a warning.
                let signing = signed.map(|(file, keys)| {
                    if keys.is_empty() {
                        return Signing::Md5(file.into());
                    }
                    desired.keychains.insert(name.clone(), keys);
                    Signing::Ao(name.clone())
                });
                desired.signing.extend(signing.map(|signing| (name.clone(), signing)));
                if is_range {
                    let prefix = Prefix::new(peer.remote.ip(), 31).unwrap();
                    let remote = SocketAddr::new(prefix.addr(), peer.remote.port());
                    let template =
                        PeerConfig { remote, local_addr: None, passive: true, bfd: None, ..peer };
                    let limit = 7;
                    desired.ranges.insert(name, PeerRange { prefix, limit, template });
                } else {
                    desired.peers.insert(name, peer);
                }
            }
        }
        let mut vips = BTreeSet::new();
        for (name, service) in services {
            if vips.insert(service.vip.addrs) {
                desired.services.insert(name, service);
            }
        }
        desired
    })
}
