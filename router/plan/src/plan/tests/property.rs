//! From every start the planner converges, and safety holds after every single step.

use proptest::prelude::*;
use tidegate_abi::{ServiceKeyV4, backend_kinds};

use super::*;
use crate::drain::{Drains, Target, Terms};
use crate::entry::Outer;

/// Two services on one VIP, one on an IPv6 prefix and one, of UDP, on an address of that.
fn vip(n: u8) -> ServiceAddr {
    let addrs = match n {
        0 | 1 => Prefix::host(ip("192.0.2.1")),
        2 => Prefix::new(ip("2001:db8::"), 64).unwrap(),
        _ => Prefix::host(ip("2001:db8::")),
    };
    let protocol = if n == 3 { Protocol::Udp } else { Protocol::Tcp };
    ServiceAddr { addrs, port: [80, 443][usize::from(n % 2)], protocol }
}

/// Ten IPv4 addresses, then IPv6 ones.
fn address(n: u8) -> IpAddr {
    if n < 10 { backend(n + 1) } else { Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into() }
}

fn any_service() -> impl Strategy<Value = Service> {
    // Two: disabled.
    let weight =
        prop_oneof![1 => Just(0_u16), 5 => Just(1_u16), 1 => Just(2_u16), 1 => Just(10_u16)];
    let backends = proptest::collection::btree_map(0..12_u8, weight, 0..12);
    let drain = prop_oneof![Just(0), Just(5), Just(60)];
    let advertise =
        proptest::option::weighted(0.8, (1..4_u32, proptest::option::of(1..3_u32), 0..9_u64));
    (0..4_u8, backends, drain, advertise, any::<(bool, bool, bool, bool, bool)>()).prop_map(
        |(n, backends, drain, advertise, (l2, client, echo, checked, opens))| {
            let mut spec = service(vip(n), 1..=1);
            spec.last_port += u16::from(!echo);
            spec.mode = match (l2, opens) {
                (true, true) => ForwardingMode::Nat,
                (true, false) => ForwardingMode::L2,
                (false, _) => ForwardingMode::Ipip,
            };
            spec.affinity = match (client, echo) {
                (true, _) => Affinity::ClientAddress,
                (false, true) => Affinity::Quic { config_id: n, former: l2.then_some(n + 1) },
                (false, false) => Affinity::FiveTuple,
            };
            spec.echo = echo;
            spec.when_all_down = if opens { AllDown::FailOpen } else { AllDown::FailClosed };
            spec.drain = Duration::from_secs(drain);
            spec.slow_start = if client { Duration::from_secs(4) } else { Duration::ZERO };
            spec.health = spec.health.filter(|_| checked);
            spec.advertise = advertise.map(|(min_healthy, med, hold_down)| Advertise {
                attributes: RouteAttributes { med, ..RouteAttributes::default() },
                min_healthy,
                hold_down: Duration::from_secs(hold_down),
                hold_down_max: Duration::from_secs(hold_down * 3),
            });
            spec.backends = backends
                .into_iter()
                .map(|(n, weight)| {
                    let (server_id, former) = (ServerId::new(&[n]), ServerId::new(&[n, n]));
                    let disabled = weight == 2;
                    (address(n), Weight { weight, disabled, server_id, former_server_id: former })
                })
                .collect();
            spec
        },
    )
}

pub(super) fn any_desired() -> impl Strategy<Value = Desired> {
    proptest::collection::vec(any_service(), 0..4).prop_map(|services| {
        // One service for each address, as the configuration's check makes sure.
        let by_addr: BTreeMap<ServiceAddr, Service> =
            services.into_iter().map(|service| (service.vip, service)).collect();
        desired(&by_addr.into_values().collect::<Vec<_>>())
    })
}

/// Health, ways and program, as bits.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    healthy: u64,
    pub(super) unproven: u64,
    ways: u16,
    mac: u8,
    attached: bool,
}

pub(super) fn any_weather() -> impl Strategy<Value = Weather> {
    let mostly = prop_oneof![Just(u64::MAX), any::<u64>(), Just(0)];
    let rarely = prop_oneof![Just(0), Just(0), any::<u64>()];
    let ways = prop_oneof![Just(u16::MAX), Just(u16::MAX), any::<u16>()];
    (mostly, rarely, ways, 0..2_u8, proptest::bool::weighted(0.9)).prop_map(
        |(healthy, unproven, ways, mac, attached)| Weather {
            healthy,
            unproven,
            ways,
            mac,
            attached,
        },
    )
}

impl Weather {
    pub(super) fn blow(&self, world: &mut World) {
        let of = |bits: u64| {
            (0..48_u8)
                .filter(|n| bits >> n & 1 == 1)
                .map(|n| (vip(n / 12), address(n % 12)))
                .collect()
        };
        world.observed.unproven = of(self.unproven);
        world.observed.healthy = of(self.healthy & !self.unproven);
        world.observed.ways = (0..12_u8)
            .filter(|n| self.ways >> n & 1 == 1)
            .map(|n| (address(n), way(n + 16 * self.mac)))
            .collect();
        world.observed.datapath.attached = self.attached;
    }
}

/// What somebody left in the maps, and in the speaker.
#[derive(Clone, Debug)]
struct Garbage {
    services: Vec<(u8, u32, u32, u32)>,
    backends: BTreeMap<u32, (u8, u8, bool)>,
    slots: (u16, u32, u32),
    advertised: Vec<u8>,
}

fn any_garbage() -> impl Strategy<Value = Garbage> {
    let size = prop_oneof![Just(1024_u32), Just(2048), Just(0), Just(700), any::<u32>()];
    let offset = prop_oneof![Just(0_u32), Just(1024), Just(1500), Just(3072), any::<u32>()];
    let services = proptest::collection::vec((0..8_u8, offset, size, 0..4_u32), 0..5);
    let backend = (0..8_u8, 0..14_u8, any::<bool>());
    let backends = proptest::collection::btree_map(0..8_u32, backend, 0..8);
    let slots = (0..4096_u16, any::<u32>(), 1..10_u32);
    let advertised = proptest::collection::vec(0..6_u8, 0..4);
    (services, backends, slots, advertised).prop_map(|(services, backends, slots, advertised)| {
        Garbage { services, backends, slots, advertised }
    })
}

impl Garbage {
    fn strew(&self, world: &mut World) {
        let datapath = &mut world.observed.datapath;
        for &(n, ring_offset, ring_size, index) in &self.services {
            let entry = Entry { ring_offset, ring_size, index, flags: index };
            let key = match n {
                0..4 => MapKey::of_service(vip(n)),
                4..6 => MapKey::of_vip(vip(n - 3).addrs),
                _ => MapKey::V4(ServiceKeyV4 {
                    addr: [192, 0, 2, n],
                    port: [0, 9],
                    proto: n,
                    prefix_len: n,
                }),
            };
            match key {
                MapKey::V4(key) => drop(datapath.services_v4.insert(key, entry)),
                MapKey::V6(key) => drop(datapath.services_v6.insert(key, entry)),
            }
        }
        for (&index, &(kind, addr, resolved)) in &self.backends {
            let mut entry = entry::build((kind, address(addr)), &way(200), Outer::default())
                .unwrap_or(Backend { kind, ..Backend::FREE });
            if !resolved {
                entry.flags = 0;
            }
            if kind != backend_kinds::NONE {
                datapath.backends.insert(index, entry);
            }
        }
        world.squatters = key::entries(datapath).into_keys().collect();
        let (len, seed, spread) = self.slots;
        datapath.slots = (0..u32::from(len))
            .map(|n| {
                let bits = n.wrapping_add(seed).wrapping_mul(0x9e37_79b9) >> 16;
                Slot { current: bits % spread, previous: (bits >> 8) % spread }
            })
            .collect();
        for &n in &self.advertised {
            let prefix = Prefix::host(Ipv4Addr::new(192, 0, 2, n).into());
            world.observed.advertised.insert(prefix, RouteAttributes::default());
        }
    }
}

/// Backends that take new flows, by service.
fn usable(observed: &Observed, desired: &Desired) -> BTreeMap<ServiceAddr, BTreeSet<IpAddr>> {
    let is_usable = |service: &Service, addr: IpAddr, backend: Weight| {
        let identity = entry::wanted(service.mode, service.vip.addr(), addr);
        let is_up = service.health.is_none()
            || opens(observed, service)
            || observed.healthy.contains(&(service.vip, addr));
        let has_way = observed
            .ways
            .get(&addr)
            .is_some_and(|way| entry::build(identity, way, Outer::default()).is_some());
        backend.takes_flows() && is_up && has_way
    };
    let of = |service: &Service| {
        let all = service.backends.iter();
        all.filter(|&(&addr, backend)| is_usable(service, addr, *backend))
            .map(|(&addr, _)| addr)
            .collect()
    };
    desired.services.values().map(|service| (service.vip, of(service))).collect()
}

/// Drains something, perhaps to the end; or nothing.
fn order_drain(world: &mut World, desired: &Desired, which: u8) {
    let Some((name, service)) = desired.services.iter().next() else { return };
    let first = service.backends.keys().next().copied();
    let target = match (which / 2, first) {
        (0, _) => Target::Node,
        (1, _) => Target::Vip(service.vip.addrs),
        (2, Some(backend)) => Target::Backend { service: name.clone(), backend },
        _ => return,
    };
    let second = Duration::from_secs(1);
    world.drains.order(target, Terms { deadline: second * 20, quiet: second }, world.now);
    if which % 2 == 1 {
        world.drains.look(world.now, |_| Some(1));
        world.drains.look(world.now + second, |_| Some(1));
    }
}

/// What must stand in maps and speaker in the end.
fn assert_as_wanted(world: &World, desired: &Desired) {
    let observed = &world.observed;
    let usable = usable(observed, desired);
    for (&vip, usable) in &usable {
        let wanted: BTreeSet<Option<IpAddr>> = if usable.is_empty() {
            [None].into()
        } else {
            usable.iter().copied().map(Some).collect()
        };
        let ring: BTreeSet<Option<IpAddr>> = world.ring(vip).into_iter().collect();
        assert_eq!(ring, wanted, "{vip:?}");
    }
    assert!(observed.datapath.slots.iter().all(|slot| slot.is_settled()));
    let keys: BTreeSet<MapKey> = key::entries(&observed.datapath).into_keys().collect();
    let sources = observed.datapath.backends.values().filter_map(entry::nat_source);
    let wanted: BTreeSet<MapKey> = desired
        .services
        .values()
        .flat_map(|spec| MapKey::of_ports(spec).chain([MapKey::of_vip(spec.vip.addrs)]))
        // And the addresses that answers in NAT come to.
        .chain(sources.map(|source| MapKey::of_vip(Prefix::host(source))))
        .collect();
    assert_eq!(keys, wanted);
    let is_announced = |addrs: Prefix| {
        let of_vip = desired.services.values().filter(|service| service.vip.addrs == addrs);
        let asking: Vec<(u32, usize)> = of_vip
            .filter_map(|s| Some((s.advertise.as_ref()?.min_healthy, usable[&s.vip].len())))
            .collect();
        observed.datapath.attached
            && !asking.is_empty()
            && asking.iter().all(|&(min, usable)| usable >= min as usize)
    };
    let announced: BTreeSet<Prefix> =
        usable.keys().map(|vip| vip.addrs).filter(|&addrs| is_announced(addrs)).collect();
    assert_eq!(observed.advertised.keys().copied().collect::<BTreeSet<_>>(), announced);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn it_converges_from_every_start_and_every_step_is_safe(
        garbage in proptest::option::of(any_garbage()),
        acts in proptest::collection::vec(
            (any_desired(), any_weather(), 0..6_usize, 0..30_u64, 0..8_u8), 0..4
        ),
        end in any_desired(),
        mut weather in any_weather(),
    ) {
        let mut world = World::new();
        if let Some(garbage) = garbage {
            garbage.strew(&mut world);
        }
        for (desired, weather, rounds, wait_secs, drain) in acts {
            weather.blow(&mut world);
            order_drain(&mut world, &desired, drain);
            for _ in 0..rounds {
                world.round(&desired);
            }
            world.now = world.now + Duration::from_secs(wait_secs);
        }
        world.drains = Drains::default();
        weather.unproven = 0;
        weather.blow(&mut world);
        world.converge(&end);
        assert_as_wanted(&world, &end);
        // A daemon that remembers nothing finds nothing to do.
        world.memory = Memory::default();
        prop_assert_eq!(world.plan(&end).steps, []);
    }

    #[test]
    fn the_same_input_gives_the_same_plan(
        garbage in any_garbage(),
        desired in any_desired(),
        weather in any_weather(),
    ) {
        let mut world = World::new();
        garbage.strew(&mut world);
        weather.blow(&mut world);
        let fresh = plan(&desired, &world.observed, world.now);
        let mut rings = Rings::default();
        for _ in 0..3 {
            prop_assert_eq!(&fresh, &plan_with(&mut rings, &desired, &world.observed, world.now));
        }
    }

    #[test]
    fn a_flap_moves_no_slot_of_another_backend(last in 2..12_u8, down in any::<u8>()) {
        let down = down % last + 1;
        let (mut world, desired, vip) = running(last);
        let before = world.ring(vip);
        world.observed.healthy.remove(&(vip, backend(down)));
        world.converge(&desired);
        for (before, after) in before.iter().zip(world.ring(vip)) {
            prop_assert!(*before == after || *before == Some(backend(down)));
        }
        world.observed.healthy.insert((vip, backend(down)));
        world.converge(&desired);
        prop_assert!(before == world.ring(vip));
    }
}
