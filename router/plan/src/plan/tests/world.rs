//! A node whose maps, peers and backends do as they are told, and what tests say of it.

use tidegate_config::desired::{FlowLog, Guard, OwnLimits};

use super::*;
use crate::admission;
use crate::drain::Drains;
use crate::quic;

/// More rounds than any plan needs.
pub(super) const ROUNDS_MAX: usize = 40;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn secs(secs: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(secs)
}

pub(super) fn tcp(addr: &str, port: u16) -> ServiceAddr {
    ServiceAddr { addrs: Prefix::host(ip(addr)), port, protocol: Protocol::Tcp }
}

pub(super) fn backend(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

pub(crate) fn desired(services: &[Service]) -> Desired {
    Desired {
        router: Router {
            asn: Asn::new(64_512).unwrap(),
            router_id: RouterId::new(Ipv4Addr::LOCALHOST).unwrap(),
            listen: Vec::new(),
            interfaces: vec!["eth0".to_owned()],
            attach: AttachMode::Auto,
            hash_seed: 7,
            encap_source_v4: None,
            encap_source_v6: None,
            pin_dir: "/sys/fs/bpf/tidegate".into(),
            state_dir: "/var/lib/tidegate".into(),
            drain_on_stop: Duration::ZERO,
            api: Api {
                socket: "/run/tidegate.sock".into(),
                listen: None,
                tls: None,
                token_file: None,
                request_rate: 100,
                birdwatcher: false,
            },
        },
        decision: tidegate_bgp::rib::DecisionRules::default(),
        datapath: Datapath {
            too_big_rate: 0,
            too_big_without_df: false,
            gue_port: 6_080,
            gue_checksum: false,
            vary_source_v4: None,
            vary_source_v6: None,
        },
        guard: Guard::default(),
        flows: FlowLog::OFF,
        nat: Nat {
            source_v4: None,
            source_v6: None,
            first_port: 1_024,
            last_port: 32_767,
            timeouts: NatTimeouts {
                tcp_handshake: Duration::ZERO,
                tcp_established: Duration::ZERO,
                tcp_half_closed: Duration::ZERO,
                tcp_closed: Duration::ZERO,
                udp: Duration::ZERO,
            },
        },
        peers: BTreeMap::new(),
        ranges: BTreeMap::new(),
        signing: BTreeMap::new(),
        keychains: BTreeMap::new(),
        policies: BTreeMap::new(),
        prefix_sets: BTreeMap::new(),
        rpki_caches: Vec::new(),
        bmp_stations: Vec::new(),
        mrt: None,
        services: services.iter().map(|s| (format!("{:?}", s.vip), s.clone())).collect(),
    }
}

/// A checked, announced service with backends `first..=last` of weight 1 and 60 s of drain.
pub(super) fn service(vip: ServiceAddr, backends: RangeInclusive<u8>) -> Service {
    Service {
        vip,
        last_port: vip.port,
        mode: ForwardingMode::Ipip,
        backend_port: 0,
        affinity: Affinity::FiveTuple,
        udp: UdpFlows::Hashed,
        limits: OwnLimits::default(),
        echo: true,
        drain: Duration::from_mins(1),
        slow_start: Duration::ZERO,
        min_mtu: 1_280,
        health: Some(HealthCheck {
            probe: Probe::Tcp,
            via: tidegate_config::desired::Via::Direct,
            port: 80,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retry: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }),
        when_all_down: AllDown::FailClosed,
        advertise: Some(Advertise {
            attributes: RouteAttributes::default(),
            min_healthy: 1,
            hold_down: Duration::ZERO,
            hold_down_max: Duration::ZERO,
        }),
        backends: backends.map(|n| (backend(n), Weight::of_weight(1))).collect(),
    }
}

pub(super) fn way(mac: u8) -> Way {
    Way {
        egress_ifindex: 2,
        vlan: None,
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: [2, 0, 0, 0, 1, mac],
        on_link: true,
        mtu: 1500,
        source_v4: Some(Ipv4Addr::new(10, 0, 0, 254)),
        source_v6: Some(Ipv6Addr::LOCALHOST),
    }
}

/// Maps, speaker and clock: does what it is told, and refuses what would hurt.
pub(super) struct World {
    pub(super) observed: Observed,
    pub(super) memory: Memory,
    pub(super) drains: Drains,
    pub(super) rings: Rings,
    pub(super) now: Timestamp,
    /// Nobody runs test packets.
    pub(super) blind: bool,
    /// Services that were found with a ring that overlaps another.
    pub(super) squatters: BTreeSet<MapKey>,
}

impl World {
    /// Attached, everything else empty; a way to backends 1 to 250.
    pub(super) fn new() -> Self {
        let mut observed = Observed::default();
        observed.datapath.attached = true;
        observed.ways = (1..=250).map(|n| (backend(n), way(n))).collect();
        Self {
            observed,
            memory: Memory::default(),
            drains: Drains::default(),
            rings: Rings::default(),
            now: secs(100),
            blind: false,
            squatters: BTreeSet::new(),
        }
    }

    pub(super) fn all_healthy(&mut self, desired: &Desired) {
        let services = desired.services.values();
        self.observed.healthy = services
            .flat_map(|service| service.backends.keys().map(|&addr| (service.vip, addr)))
            .collect();
    }

    pub(super) fn plan(&mut self, desired: &Desired) -> Plan {
        self.observed.drains = self.drains.imposed(desired);
        self.memory.on_look(&mut self.observed, self.now);
        self.observed.proofs = self.prove(desired);
        let plan = plan_with(&mut self.rings, desired, &self.observed, self.now);
        self.memory.on_plan(&plan);
        plan
    }

    /// Test packets, through a model of the packet path.
    pub(super) fn prove(&self, desired: &Desired) -> BTreeMap<ServiceAddr, Vec<Finding>> {
        let tried = desired.services.values().filter(|_| !self.blind).map(|spec| spec.vip);
        crate::proof::expected(desired.router.hash_seed, tried, &self.observed.datapath)
    }

    /// One round: all steps of one plan, safety looked at after each.
    pub(super) fn round(&mut self, desired: &Desired) -> Plan {
        let plan = self.plan(desired);
        self.assert_no_dead_previous(desired, &plan);
        let seen = self.observed.datapath.clone();
        let before = (self.broken_promises(desired), self.broken_maps());
        for step in &plan.steps {
            self.apply(step, desired);
            self.memory.on_step(step, &seen, self.now);
            let promises = self.broken_promises(desired);
            assert!(promises.is_subset(&before.0), "{} broke {promises:?}", brief(step));
            let maps = self.broken_maps();
            assert!(maps.is_subset(&before.1), "{} broke {maps:?}", brief(step));
        }
        assert_eq!(self.broken_promises(desired), BTreeSet::new(), "one round mends them");
        plan
    }

    /// Rounds until nothing is left to do, time included.
    pub(super) fn converge(&mut self, desired: &Desired) -> Vec<Plan> {
        let mut plans = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let plan = self.round(desired);
            if !plan.steps.is_empty() {
                plans.push(plan);
            } else if let Some(wake_at) = plan.wake_at {
                assert!(wake_at > self.now, "a wake-up in the past would spin");
                self.now = wake_at;
            } else {
                assert_eq!(self.broken_maps(), BTreeSet::new());
                return plans;
            }
        }
        let plan = self.plan(desired);
        let steps: Vec<String> = plan.steps.iter().map(brief).collect();
        panic!("no fixed point: {steps:?}, wake at {:?}", plan.wake_at);
    }

    /// Rounds until nothing is left to do at this moment.
    pub(super) fn settle(&mut self, desired: &Desired) -> Vec<String> {
        let mut steps = Vec::new();
        loop {
            let plan = self.round(desired);
            if plan.steps.is_empty() {
                return steps;
            }
            steps.extend(plan.steps.iter().map(brief));
            assert!(steps.len() < 1_000, "no fixed point: {steps:?}");
        }
    }

    pub(super) fn apply(&mut self, step: &Step, desired: &Desired) {
        let datapath = &mut self.observed.datapath;
        match step {
            Step::PutBackend { index, entry, fresh } => {
                assert!((1..tidegate_abi::BACKENDS_MAX).contains(index));
                assert_eq!(datapath.backends.insert(*index, *entry).is_none(), *fresh);
            }
            Step::FreeBackend { index } => {
                assert!(datapath.backends.remove(index).is_some());
                let names_it = |named: &u32| named == index;
                assert!(!datapath.quic_servers.values().any(names_it), "a server id names {index}");
            }
            Step::PutSlots { slots } => {
                assert!(slots.windows(2).all(|pair| pair[0].0 < pair[1].0), "not ascending");
                for &(index, slot) in slots {
                    for named in [slot.current, slot.older()] {
                        let is_resolved = datapath.backends.get(&named).is_some_and(is_resolved);
                        assert!(named == 0 || is_resolved, "slot {index} names {named}");
                    }
                    let at = index as usize;
                    if datapath.slots.len() <= at {
                        datapath.slots.resize(at + 1, Slot::default());
                    }
                    datapath.slots[at] = slot;
                }
                while datapath.slots.last() == Some(&Slot::default()) {
                    datapath.slots.pop();
                }
            }
            Step::PutServiceV4 { key, service, .. } => {
                datapath.services_v4.insert(*key, *service);
                self.squatters.remove(&MapKey::V4(*key));
            }
            Step::PutServiceV6 { key, service, .. } => {
                datapath.services_v6.insert(*key, *service);
                self.squatters.remove(&MapKey::V6(*key));
            }
            Step::DeleteServiceV4 { key } => {
                assert!(datapath.services_v4.remove(key).is_some());
            }
            Step::DeleteServiceV6 { key } => {
                assert!(datapath.services_v6.remove(key).is_some());
            }
            Step::PutPrefixes { .. } | Step::DeletePrefixes { .. } | Step::PutRates { .. } => {
                admission::apply(step, datapath);
            }
            Step::PutServers { servers } => {
                // A backend is there before anything names it.
                let is_there = |(_, index): &(_, u32)| datapath.backends.contains_key(index);
                assert!(servers.iter().all(is_there), "{servers:?}");
                quic::apply(step, datapath);
            }
            Step::DeleteServers { .. } => quic::apply(step, datapath),
            Step::Advertise { prefix, attributes } => {
                assert!(datapath.attached, "announced without a program");
                let is_all_programmed = self.is_all_programmed(*prefix, desired);
                let old = self.observed.advertised.insert(*prefix, attributes.clone());
                assert!(old.is_some() || is_all_programmed, "{prefix} came too early");
            }
            Step::Withdraw { prefix, .. } => {
                assert!(self.observed.advertised.remove(prefix).is_some());
            }
        }
    }

    /// No slot of a ring in use is given a `previous` that is down or has no way.
    pub(super) fn assert_no_dead_previous(&self, desired: &Desired, plan: &Plan) {
        let datapath = &self.observed.datapath;
        let entries = key::entries(datapath);
        let written = plan.steps.iter().flat_map(|step| match step {
            Step::PutSlots { slots } => slots.as_slice(),
            _ => &[],
        });
        let mut checked = BTreeSet::new();
        for &(index, slot) in written.filter(|(_, slot)| !slot.is_settled()) {
            // Rings are a thousand slots at least: a coarse key saves most of the looking.
            if slot.older() == 0 || !checked.insert((index >> 10, slot.older())) {
                continue;
            }
            let (_, addr) = entry::identity(&datapath.backends[&slot.older()]).unwrap();
            let service = desired.services.values().find(|service| {
                let ring = entries.get(&MapKey::of_service(service.vip)).and_then(Span::of);
                ring.is_some_and(|ring| (ring.offset..ring.end()).contains(&index))
            });
            let Some(service) = service.filter(|s| s.backends.contains_key(&addr)) else {
                continue; // In a ring that is being built, or no longer configured: it drains.
            };
            let check = (service.vip, addr);
            let is_up = service.health.is_none()
                || opens(&self.observed, service)
                || self.observed.healthy.contains(&check)
                || self.observed.unproven.contains(&check);
            assert!(is_up && self.observed.ways.contains_key(&addr), "{check:?} is dead");
        }
    }

    /// Announced prefixes whose packets would not reach a backend.
    pub(super) fn broken_promises(&self, desired: &Desired) -> BTreeSet<String> {
        let entries = key::entries(&self.observed.datapath);
        let asks = |key: &MapKey| {
            desired.services.values().any(|service| {
                MapKey::of_service(service.vip) == *key && service.advertise.is_some()
            })
        };
        let mut broken = BTreeSet::new();
        for &prefix in self.observed.advertised.keys() {
            let mut services = entries
                .iter()
                .filter(|(key, _)| key.vip() == prefix && key.service().is_some())
                .peekable();
            if services.peek().is_none() {
                broken.insert(format!("{prefix}: no service"));
            }
            for (key, entry) in services.filter(|(key, _)| asks(key)) {
                if !self.is_served(entry) {
                    broken.insert(format!("{prefix}: {key:?} is not served"));
                }
            }
        }
        broken
    }

    /// Every slot names entries that frames can be sent with.
    pub(super) fn is_served(&self, entry: &Entry) -> bool {
        let datapath = &self.observed.datapath;
        Span::of(entry).is_some_and(|ring| {
            let all: Vec<Slot> = ring.slots(&datapath.slots).collect();
            let is_full = all.iter().all(|slot| slot.current != 0 && slot.older() != 0);
            let named = (0..).zip(slots::named(&all)).filter(|&(_, is_named)| is_named);
            is_full && { named }.all(|(i, _)| datapath.backends.get(&i).is_some_and(is_resolved))
        })
    }

    pub(super) fn is_all_programmed(&self, prefix: Prefix, desired: &Desired) -> bool {
        let entries = key::entries(&self.observed.datapath);
        let mut asking = desired
            .services
            .values()
            .filter(|service| service.vip.addrs == prefix && service.advertise.is_some())
            .peekable();
        asking.peek().is_some()
            && entries.contains_key(&MapKey::of_vip(prefix))
            && asking.all(|service| {
                entries
                    .get(&MapKey::of_service(service.vip))
                    .is_some_and(|entry| self.is_served(entry))
            })
    }

    /// What must never be in the maps: a slot that names a free entry, two rings in one place,
    /// two services in one traffic row.
    pub(super) fn broken_maps(&self) -> BTreeSet<String> {
        let datapath = &self.observed.datapath;
        let mut broken = BTreeSet::new();
        for (index, is_named) in (0..).zip(slots::named(&datapath.slots)) {
            if is_named && !datapath.backends.contains_key(&index) {
                broken.insert(format!("a slot names {index}, which is free"));
            }
        }
        let services: Vec<(MapKey, Entry)> =
            key::entries(datapath).into_iter().filter(|(key, _)| key.service().is_some()).collect();
        for (n, (key, entry)) in services.iter().enumerate() {
            let ring = Span::of(entry);
            if ring.is_none() {
                broken.insert(format!("{key:?} has no ring"));
            }
            for (other, other_entry) in &services[..n] {
                let (key, other) = (service_of(*key), service_of(*other));
                if key == other {
                    continue; // Two of its ports.
                }
                if other_entry.index == entry.index {
                    broken.insert(format!("{key:?} and {other:?} share a row"));
                }
                let Some((one, two)) = ring.zip(Span::of(other_entry)) else { continue };
                let apart = one.end() <= two.offset || two.end() <= one.offset;
                // What was found in somebody else's place has no place of its own.
                let squats = |of| self.squatters.iter().any(|key| service_of(*key) == of);
                if !apart && one != two && !squats(key) && !squats(other) {
                    broken.insert(format!("the rings of {key:?} and {other:?} overlap"));
                }
            }
        }
        broken
    }

    pub(super) fn state(&mut self, desired: &Desired, vip: ServiceAddr) -> VipState {
        self.plan(desired).vips.remove(&vip).unwrap()
    }

    /// The backend that new flows of each slot go to.
    pub(super) fn ring(&self, vip: ServiceAddr) -> Vec<Option<IpAddr>> {
        let datapath = &self.observed.datapath;
        let entry = key::entries(datapath)[&MapKey::of_service(vip)];
        let addr = |slot: Slot| entry::identity(datapath.backends.get(&slot.current)?);
        Span::of(&entry)
            .unwrap()
            .slots(&datapath.slots)
            .map(|slot| addr(slot).map(|(_, addr)| addr))
            .collect()
    }
}

/// Which service a key is of: in these tests services with many ports have neighbouring ones.
pub(super) fn service_of(key: MapKey) -> Option<ServiceAddr> {
    key.service().map(|service| ServiceAddr { port: service.port / 100, ..service })
}

pub(super) fn is_resolved(entry: &Backend) -> bool {
    entry.flags & backend_flags::RESOLVED != 0
}

/// The checks of all backends fail, which is taken as the checks' own failure.
pub(super) fn opens(observed: &Observed, service: &Service) -> bool {
    let drains = |addr: IpAddr| observed.drains.backend(service.vip, addr).is_some();
    let mut taking =
        service.backends.iter().filter(|&(&addr, backend)| backend.takes_flows() && !drains(addr));
    let is_down = |addr: IpAddr| {
        let check = (service.vip, addr);
        !observed.healthy.contains(&check) && !observed.unproven.contains(&check)
    };
    service.when_all_down == AllDown::FailOpen && taking.all(|(&addr, _)| is_down(addr))
}

/// A step in a word or two: slots by number only.
pub(super) fn brief(step: &Step) -> String {
    match step {
        Step::PutBackend { index, .. } => format!("put backend {index}"),
        Step::FreeBackend { index } => format!("free backend {index}"),
        Step::PutSlots { slots } => format!("put {} slots", slots.len()),
        Step::PutServiceV4 { key, .. } => brief_key("put", MapKey::V4(*key)),
        Step::PutServiceV6 { key, .. } => brief_key("put", MapKey::V6(*key)),
        Step::DeleteServiceV4 { key } => brief_key("delete", MapKey::V4(*key)),
        Step::DeleteServiceV6 { key } => brief_key("delete", MapKey::V6(*key)),
        Step::PutPrefixes { prefixes } => format!("put {} prefixes", prefixes.len()),
        Step::DeletePrefixes { prefixes } => format!("delete {} prefixes", prefixes.len()),
        Step::PutRates { index, .. } => format!("put rates {index}"),
        Step::PutServers { servers } => format!("put {} servers", servers.len()),
        Step::DeleteServers { servers } => format!("delete {} servers", servers.len()),
        Step::Advertise { prefix, .. } => format!("advertise {prefix}"),
        Step::Withdraw { prefix, reason, .. } => format!("withdraw {prefix}: {}", reason.name()),
    }
}

pub(super) fn brief_key(verb: &str, key: MapKey) -> String {
    match key.service() {
        Some(service) => format!("{verb} service {}", service.port),
        None => format!("{verb} vip {}", key.vip().addr()),
    }
}

pub(super) const VIP: &str = "192.0.2.1";

/// One service with backends 1 to `last`, all healthy, running.
pub(super) fn running(last: u8) -> (World, Desired, ServiceAddr) {
    let vip = tcp(VIP, 80);
    let desired = desired(&[service(vip, 1..=last)]);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    (world, desired, vip)
}
