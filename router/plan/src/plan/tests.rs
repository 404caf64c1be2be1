use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

use tidegate_abi::{Backend, Service as Entry, Slot, backend_flags, features, ring_size};
use tidegate_bgp::speaker::RouteAttributes;
use tidegate_bgp::types::{Asn, RouterId};
use tidegate_config::desired::{
    Advertise, Affinity, AllDown, Api, AttachMode, Backend as Weight, Datapath, ForwardingMode,
    HealthCheck, Probe, Protocol, Router, UdpFlows,
};

use super::*;
use crate::observed::Way;
use crate::proof::Finding;
use crate::view::{BackendState, Programmed, Proof};
use crate::{Memory, entry};

mod explain;
mod flows;
mod ports;
mod proof;
mod property;

/// More rounds than any plan needs.
const ROUNDS_MAX: usize = 40;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(secs)
}

fn tcp(addr: &str, port: u16) -> ServiceAddr {
    ServiceAddr { addr: ip(addr), port, protocol: Protocol::Tcp }
}

fn backend(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

fn desired(services: &[Service]) -> Desired {
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
            api: Api { socket: "/run/tidegate.sock".into(), listen: None },
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
        peers: BTreeMap::new(),
        ranges: BTreeMap::new(),
        password_files: BTreeMap::new(),
        policies: BTreeMap::new(),
        rpki_caches: Vec::new(),
        bmp_stations: Vec::new(),
        mrt: None,
        services: services.iter().map(|s| (format!("{:?}", s.vip), s.clone())).collect(),
    }
}

/// A checked, announced service with backends `first..=last` of weight 1 and 60 s of drain.
fn service(vip: ServiceAddr, backends: RangeInclusive<u8>) -> Service {
    Service {
        vip,
        last_port: vip.port,
        mode: ForwardingMode::Ipip,
        affinity: Affinity::FiveTuple,
        udp: UdpFlows::Hashed,
        echo: true,
        drain: Duration::from_mins(1),
        min_mtu: 1_280,
        health: Some(HealthCheck {
            probe: Probe::Tcp,
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
        backends: backends.map(|n| (backend(n), Weight { weight: 1 })).collect(),
    }
}

fn way(mac: u8) -> Way {
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
struct World {
    observed: Observed,
    memory: Memory,
    rings: Rings,
    now: Timestamp,
    /// Nobody runs test packets.
    blind: bool,
    /// Services that were found with a ring that overlaps another.
    squatters: BTreeSet<MapKey>,
}

impl World {
    /// Attached, everything else empty; a way to backends 1 to 250.
    fn new() -> Self {
        let mut observed = Observed::default();
        observed.datapath.attached = true;
        observed.ways = (1..=250).map(|n| (backend(n), way(n))).collect();
        Self {
            observed,
            memory: Memory::default(),
            rings: Rings::default(),
            now: secs(100),
            blind: false,
            squatters: BTreeSet::new(),
        }
    }

    fn all_healthy(&mut self, desired: &Desired) {
        let services = desired.services.values();
        self.observed.healthy = services
            .flat_map(|service| service.backends.keys().map(|&addr| (service.vip, addr)))
            .collect();
    }

    fn plan(&mut self, desired: &Desired) -> Plan {
        self.memory.on_look(&mut self.observed, self.now);
        self.observed.proofs = self.prove(desired);
        let plan = plan_with(&mut self.rings, desired, &self.observed, self.now);
        self.memory.on_plan(&plan);
        plan
    }

    /// Test packets, through a model of the packet path.
    fn prove(&self, desired: &Desired) -> BTreeMap<ServiceAddr, Vec<Finding>> {
        let tried = desired.services.values().filter(|_| !self.blind).map(|spec| spec.vip);
        crate::proof::expected(desired.router.hash_seed, tried, &self.observed.datapath)
    }

    /// One round: all steps of one plan, safety looked at after each.
    fn round(&mut self, desired: &Desired) -> Plan {
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
    fn converge(&mut self, desired: &Desired) -> Vec<Plan> {
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
    fn settle(&mut self, desired: &Desired) -> Vec<String> {
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

    fn apply(&mut self, step: &Step, desired: &Desired) {
        let datapath = &mut self.observed.datapath;
        match step {
            Step::PutBackend { index, entry, fresh } => {
                assert!((1..tidegate_abi::BACKENDS_MAX).contains(index));
                assert_eq!(datapath.backends.insert(*index, *entry).is_none(), *fresh);
            }
            Step::FreeBackend { index } => {
                assert!(datapath.backends.remove(index).is_some());
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
    fn assert_no_dead_previous(&self, desired: &Desired, plan: &Plan) {
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
    fn broken_promises(&self, desired: &Desired) -> BTreeSet<String> {
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
                .filter(|(key, _)| Prefix::host(key.vip()) == prefix && key.service().is_some())
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
    fn is_served(&self, entry: &Entry) -> bool {
        let datapath = &self.observed.datapath;
        Span::of(entry).is_some_and(|ring| {
            let all: Vec<Slot> = ring.slots(&datapath.slots).collect();
            let is_full = all.iter().all(|slot| slot.current != 0 && slot.older() != 0);
            let named = (0..).zip(slots::named(&all)).filter(|&(_, is_named)| is_named);
            is_full && { named }.all(|(i, _)| datapath.backends.get(&i).is_some_and(is_resolved))
        })
    }

    fn is_all_programmed(&self, prefix: Prefix, desired: &Desired) -> bool {
        let entries = key::entries(&self.observed.datapath);
        let mut asking = desired
            .services
            .values()
            .filter(|service| service.vip.prefix() == prefix && service.advertise.is_some())
            .peekable();
        asking.peek().is_some()
            && entries.contains_key(&MapKey::of_vip(prefix.addr()))
            && asking.all(|service| {
                entries
                    .get(&MapKey::of_service(service.vip))
                    .is_some_and(|entry| self.is_served(entry))
            })
    }

    /// What must never be in the maps: a slot that names a free entry, two rings in one place,
    /// two services in one traffic row.
    fn broken_maps(&self) -> BTreeSet<String> {
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
                if !apart && !squats(key) && !squats(other) {
                    broken.insert(format!("the rings of {key:?} and {other:?} overlap"));
                }
            }
        }
        broken
    }

    fn state(&mut self, desired: &Desired, vip: ServiceAddr) -> VipState {
        self.plan(desired).vips.remove(&vip).unwrap()
    }

    /// The backend that new flows of each slot go to.
    fn ring(&self, vip: ServiceAddr) -> Vec<Option<IpAddr>> {
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
fn service_of(key: MapKey) -> Option<ServiceAddr> {
    key.service().map(|service| ServiceAddr { port: service.port / 100, ..service })
}

fn is_resolved(entry: &Backend) -> bool {
    entry.flags & backend_flags::RESOLVED != 0
}

/// The checks of all backends fail, which is taken as the checks' own failure.
fn opens(observed: &Observed, service: &Service) -> bool {
    let mut taking = service.backends.iter().filter(|(_, backend)| backend.weight > 0);
    let is_down = |addr: IpAddr| {
        let check = (service.vip, addr);
        !observed.healthy.contains(&check) && !observed.unproven.contains(&check)
    };
    service.when_all_down == AllDown::FailOpen && taking.all(|(&addr, _)| is_down(addr))
}

/// A step in a word or two: slots by number only.
fn brief(step: &Step) -> String {
    match step {
        Step::PutBackend { index, .. } => format!("put backend {index}"),
        Step::FreeBackend { index } => format!("free backend {index}"),
        Step::PutSlots { slots } => format!("put {} slots", slots.len()),
        Step::PutServiceV4 { key, .. } => brief_key("put", MapKey::V4(*key)),
        Step::PutServiceV6 { key, .. } => brief_key("put", MapKey::V6(*key)),
        Step::DeleteServiceV4 { key } => brief_key("delete", MapKey::V4(*key)),
        Step::DeleteServiceV6 { key } => brief_key("delete", MapKey::V6(*key)),
        Step::Advertise { prefix, .. } => format!("advertise {prefix}"),
        Step::Withdraw { prefix, reason, .. } => format!("withdraw {prefix}: {}", reason.name()),
    }
}

fn brief_key(verb: &str, key: MapKey) -> String {
    match key.service() {
        Some(service) => format!("{verb} service {}", service.port),
        None => format!("{verb} vip {}", key.vip()),
    }
}

const VIP: &str = "192.0.2.1";

/// One service with backends 1 to `last`, all healthy, running.
fn running(last: u8) -> (World, Desired, ServiceAddr) {
    let vip = tcp(VIP, 80);
    let desired = desired(&[service(vip, 1..=last)]);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    (world, desired, vip)
}

#[test]
fn a_service_comes_up_from_the_ground() {
    let vip = tcp(VIP, 80);
    let desired = desired(&[service(vip, 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&desired);
    let rounds: Vec<Vec<String>> = world
        .converge(&desired)
        .iter()
        .map(|plan| plan.steps.iter().map(brief).collect())
        .collect();
    assert_eq!(
        rounds,
        [
            vec!["put backend 1", "put backend 2", "put vip 192.0.2.1"],
            vec!["put 1024 slots"],
            vec!["put service 80"],
            vec!["advertise 192.0.2.1/32"],
        ]
    );
    let state = world.state(&desired, vip);
    assert_eq!((state.usable, state.reason, state.withheld), (2, None, None));
    let programmed = Programmed { index: 1, ring_offset: 0, ring_size: 1024, unsettled: 0 };
    assert_eq!(state.programmed, Some(programmed));
    assert_eq!(state.backends[&backend(1)].slots, 512);
    assert_eq!(state.backends[&backend(1)].index, Some(1));
}

#[test]
fn a_restart_under_an_unchanged_file_touches_no_map() {
    let (mut world, desired, vip) = running(3);
    // The maps are pinned; everything else is forgotten, and no check has an answer yet.
    world.memory = Memory::default();
    world.observed.advertised.clear();
    world.observed.unproven = core::mem::take(&mut world.observed.healthy);
    assert_eq!(world.settle(&desired), ["advertise 192.0.2.1/32"]);
    // The answers come in, one of them bad.
    world.observed.unproven.clear();
    world.observed.healthy = [(vip, backend(1)), (vip, backend(2))].into();
    let steps = world.settle(&desired);
    assert_eq!(steps, ["put 341 slots"], "only the third backend's slots");
}

#[test]
fn a_restart_in_the_middle_of_a_drain_keeps_the_drain() {
    let (mut world, mut desired, vip) = running(2);
    for spec in desired.services.values_mut() {
        spec.backends.insert(backend(2), Weight { weight: 0 });
    }
    world.settle(&desired);
    world.now = secs(150);
    world.memory = Memory::default();
    world.observed.unproven = core::mem::take(&mut world.observed.healthy);
    assert_eq!(world.settle(&desired), [""; 0]);
    assert_eq!(world.state(&desired, vip).programmed.unwrap().unsettled, 512);
    world.converge(&desired);
    assert_eq!(world.now, secs(210), "nobody knows when it began: it begins anew");
}

#[test]
fn a_backend_without_a_verdict_stays_out_until_it_has_one() {
    let vip = tcp(VIP, 80);
    let desired = desired(&[service(vip, 1..=2)]);
    let mut world = World::new();
    world.observed.unproven = [(vip, backend(1)), (vip, backend(2))].into();
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!(state.backends[&backend(1)].state, BackendState::Unproven);
    assert_eq!((state.programmed, state.withheld), (None, Some(Reason::TooFewHealthy)));
    world.observed.unproven = [(vip, backend(2))].into();
    world.observed.healthy = [(vip, backend(1))].into();
    world.settle(&desired);
    assert!(world.ring(vip).iter().all(|owner| *owner == Some(backend(1))));
    assert!(world.observed.advertised.contains_key(&vip.prefix()));
}

#[test]
fn a_flap_moves_only_that_backends_slots_and_gives_the_same_back() {
    let (mut world, desired, vip) = running(5);
    let before = world.ring(vip);
    world.observed.healthy.remove(&(vip, backend(2)));
    world.settle(&desired);
    let during = world.ring(vip);
    for (before, during) in before.iter().zip(&during) {
        assert!(before == during || *before == Some(backend(2)));
        assert!(*during != Some(backend(2)));
    }
    let state = world.state(&desired, vip);
    assert_eq!(state.programmed.unwrap().unsettled, 0, "a dead backend keeps no flows");
    world.observed.healthy.insert((vip, backend(2)));
    world.settle(&desired);
    assert!(world.ring(vip) == before);
    let unsettled = world.state(&desired, vip).programmed.unwrap().unsettled;
    assert_eq!(unsettled, 205, "flows that others took meanwhile stay with them");
    world.converge(&desired);
    assert_eq!(world.state(&desired, vip).programmed.unwrap().unsettled, 0);
    assert_eq!(world.now, secs(160), "after the drain time");
}

#[test]
fn the_last_healthy_backend_takes_the_vip_with_it_and_brings_it_back() {
    let (mut world, desired, vip) = running(2);
    world.observed.healthy.clear();
    let steps = world.settle(&desired);
    assert_eq!(steps, ["withdraw 192.0.2.1/32: too-few-healthy", "put 1024 slots"]);
    assert!(world.observed.datapath.slots.is_empty(), "an empty ring is a state of its own");
    assert_eq!(world.state(&desired, vip).withheld, Some(Reason::TooFewHealthy));
    world.observed.healthy.insert((vip, backend(1)));
    assert_eq!(world.settle(&desired), ["put 1024 slots", "advertise 192.0.2.1/32"]);
}

#[test]
fn too_few_is_less_than_min_healthy() {
    let vip = tcp(VIP, 80);
    let mut spec = service(vip, 1..=3);
    spec.advertise.as_mut().unwrap().min_healthy = 2;
    let desired = desired(&[spec]);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    world.observed.healthy.remove(&(vip, backend(1)));
    world.converge(&desired);
    assert!(world.observed.advertised.contains_key(&vip.prefix()));
    world.observed.healthy.remove(&(vip, backend(2)));
    let steps = world.settle(&desired);
    assert_eq!(steps[0], "withdraw 192.0.2.1/32: too-few-healthy");
    assert!(world.ring(vip).iter().all(|owner| *owner == Some(backend(3))), "still served");
}

#[test]
fn without_a_way_slots_leave_first_and_the_reason_says_so() {
    let (mut world, desired, vip) = running(2);
    world.observed.ways.remove(&backend(2));
    let steps = world.settle(&desired);
    assert_eq!(steps, ["put 512 slots", "put backend 2"]);
    assert!(!is_resolved(&world.observed.datapath.backends[&2]), "never sent to again");
    assert_eq!(world.state(&desired, vip).backends[&backend(2)].state, BackendState::NoWay);
    world.observed.ways.remove(&backend(1));
    let steps = world.settle(&desired);
    assert_eq!(steps[0], "withdraw 192.0.2.1/32: no-way");
    world.observed.ways = [(backend(1), way(1)), (backend(2), way(2))].into();
    world.settle(&desired);
    assert_eq!(world.state(&desired, vip).backends[&backend(2)].index, Some(2), "as before");
    assert!(world.observed.advertised.contains_key(&vip.prefix()));
}

#[test]
fn a_new_mac_address_is_one_write() {
    let (mut world, desired, _) = running(3);
    world.observed.ways.insert(backend(2), way(99));
    assert_eq!(world.settle(&desired), ["put backend 2"]);
    assert_eq!(world.observed.datapath.backends[&2].macs[5], 99);
}

#[test]
fn weight_zero_drains() {
    let (mut world, mut desired, vip) = running(2);
    let name = desired.services.keys().next().unwrap().clone();
    let spec = desired.services.get_mut(&name).unwrap();
    spec.backends.insert(backend(2), Weight { weight: 0 });
    assert_eq!(world.settle(&desired), ["put 512 slots"]);
    let state = world.state(&desired, vip);
    assert_eq!(state.backends[&backend(2)].state, BackendState::Draining);
    assert_eq!(state.backends[&backend(2)].slots, 0);
    assert_eq!(state.programmed.unwrap().unsettled, 512, "old flows stay");
    world.now = secs(159);
    assert_eq!(world.settle(&desired), [""; 0]);
    world.now = secs(160);
    assert_eq!(world.settle(&desired), ["put 512 slots"], "the drain time is over");
}

#[test]
fn a_removed_backend_drains_and_then_frees_its_entry() {
    let (mut world, _, vip) = running(3);
    let desired = desired(&[service(vip, 1..=2)]);
    world.settle(&desired);
    assert!(world.observed.datapath.backends.contains_key(&3), "old flows still go there");
    assert!(world.ring(vip).iter().all(|owner| *owner != Some(backend(3))));
    world.converge(&desired);
    assert!(!world.observed.datapath.backends.contains_key(&3));
    assert_eq!(world.now, secs(160));
}

#[test]
fn flows_drain_from_one_forwarding_mode_to_the_other_unless_the_backend_dies() {
    let (mut world, mut desired, vip) = running(2);
    for spec in desired.services.values_mut() {
        spec.mode = ForwardingMode::L2;
    }
    world.settle(&desired);
    assert_eq!(world.observed.datapath.backends.len(), 4, "each in both modes");
    assert_eq!(world.state(&desired, vip).programmed.unwrap().unsettled, 1024);
    let with_old_flows = |world: &World| {
        let slots = world.observed.datapath.slots.iter();
        slots.filter(|slot| slot.older() != slot.current).count()
    };
    assert_eq!(with_old_flows(&world), 1024);
    world.observed.healthy.remove(&(vip, backend(1)));
    world.settle(&desired);
    assert_eq!(with_old_flows(&world), 512);
    world.converge(&desired);
    assert_eq!(world.observed.datapath.backends.len(), 2);
}

#[test]
fn a_second_change_gives_its_flows_the_whole_drain_time() {
    let (mut world, _, vip) = running(4);
    world.settle(&desired(&[service(vip, 1..=3)]));
    world.now = secs(150);
    world.converge(&desired(&[service(vip, 1..=2)]));
    assert_eq!(world.now, secs(210));
}

#[test]
fn a_ring_grows_beside_the_old_one_and_the_vip_stays() {
    let (mut world, _, vip) = running(8);
    let before = world.ring(vip);
    assert_eq!(before.len(), 1024);
    let desired = desired(&[service(vip, 1..=9)]);
    world.all_healthy(&desired);
    let steps = world.settle(&desired);
    assert_eq!(steps, ["put backend 9", "put 2048 slots", "put service 80", "put 1024 slots"]);
    let after = world.ring(vip);
    assert_eq!(after.len(), 2048);
    let datapath = &world.observed.datapath;
    let ring = Span { offset: 1024, size: 2048 };
    for (place, slot) in (0..).zip(ring.slots(&datapath.slots)) {
        let old = entry::identity(&datapath.backends[&slot.older()]).unwrap().1;
        assert_eq!(Some(old), before[place / 2], "old flows stay where they were");
    }
    let moved = after.iter().enumerate().filter(|(i, owner)| **owner != before[i / 2]).count();
    assert!((228..300).contains(&moved), "{moved} of 2048 slots moved, 227 had to");
}

#[test]
fn a_changed_service_stays_on_the_air() {
    let (mut world, mut desired, vip) = running(2);
    let name = desired.services.keys().next().unwrap().clone();
    let spec = desired.services.get_mut(&name).unwrap();
    spec.affinity = Affinity::ClientAddress;
    spec.udp = UdpFlows::Remembered;
    spec.echo = false;
    spec.advertise.as_mut().unwrap().attributes.med = Some(5);
    let steps = world.settle(&desired);
    assert_eq!(steps, ["put vip 192.0.2.1", "put service 80", "advertise 192.0.2.1/32"]);
    assert_eq!(world.observed.advertised[&vip.prefix()].med, Some(5));
    let wanted = crate::constants(&desired).features & features::UDP_FLOWS;
    let in_use = crate::features_in_use(&world.observed.datapath);
    assert_eq!((wanted, in_use), (features::UDP_FLOWS, features::UDP_FLOWS));
}

#[test]
fn a_service_added_to_a_vip_does_not_take_it_off_the_air() {
    let (mut world, desired_before, vip) = running(2);
    let spec = desired_before.services.values().next().unwrap().clone();
    let added = tcp(VIP, 443);
    let desired = desired(&[spec, service(added, 1..=2)]);
    world.observed.unproven = [(added, backend(1)), (added, backend(2))].into();
    assert_eq!(world.settle(&desired), [""; 0], "not before it is known to work");
    world.observed.unproven.clear();
    world.all_healthy(&desired);
    assert_eq!(world.settle(&desired), ["put 1024 slots", "put service 443"]);
    let rows = [vip, added].map(|vip| world.state(&desired, vip).programmed.unwrap().index);
    assert_eq!(rows, [1, 2]);
}

#[test]
fn all_services_of_a_vip_must_work_before_it_is_announced() {
    let (http, https) = (tcp(VIP, 80), tcp(VIP, 443));
    let desired = desired(&[service(http, 1..=2), service(https, 1..=2)]);
    let mut world = World::new();
    world.observed.healthy = [(http, backend(1))].into();
    world.settle(&desired);
    assert!(world.observed.advertised.is_empty());
    let state = world.state(&desired, http);
    assert_eq!((state.reason, state.withheld), (None, Some(Reason::TooFewHealthy)));
    world.observed.healthy.insert((https, backend(2)));
    world.settle(&desired);
    assert!(world.observed.advertised.contains_key(&http.prefix()));
}

#[test]
fn a_removed_service_is_withdrawn_then_deleted_then_its_entries_freed() {
    let (mut world, _, _) = running(2);
    let nothing = desired(&[]);
    assert_eq!(world.settle(&nothing), ["withdraw 192.0.2.1/32: not-configured"]);
    let plan = world.plan(&nothing);
    assert_eq!((plan.steps.len(), plan.wake_at), (0, Some(secs(102))));
    world.now = secs(102);
    assert_eq!(
        world.settle(&nothing),
        [
            "delete service 80",
            "put 1024 slots",
            "delete vip 192.0.2.1",
            "free backend 1",
            "free backend 2"
        ]
    );
    assert_eq!(world.observed.datapath, World::new().observed.datapath, "nothing is left");
}

#[test]
fn one_service_of_two_leaves_at_once_and_the_vip_stays() {
    let (http, https) = (tcp(VIP, 80), tcp(VIP, 443));
    let both = desired(&[service(http, 1..=2), service(https, 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&both);
    world.converge(&both);
    let one = desired(&[service(http, 1..=2)]);
    assert_eq!(world.settle(&one), ["delete service 443", "put 1024 slots"]);
}

#[test]
fn without_the_program_nothing_is_announced() {
    let (mut world, desired, vip) = running(2);
    world.observed.datapath.attached = false;
    assert_eq!(world.settle(&desired), ["withdraw 192.0.2.1/32: not-attached"]);
    assert_eq!(world.state(&desired, vip).withheld, Some(Reason::NotAttached));
    world.observed.datapath.attached = true;
    assert_eq!(world.settle(&desired), ["advertise 192.0.2.1/32"]);
}

#[test]
fn a_service_that_finds_no_room_says_so_and_gets_it_when_there_is_some() {
    let vip = tcp(VIP, 80);
    let desired = desired(&[service(vip, 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&desired);
    // Sixteen of the largest rings fill everything; their service is gone since a second ago.
    for n in 0..16 {
        let other = tcp("198.51.100.1", 1000 + n);
        let (ring_size, index) = (tidegate_abi::RING_SIZE_MAX, u32::from(n) + 1);
        let entry = Entry { ring_offset: u32::from(n) * ring_size, ring_size, index, flags: 0 };
        let MapKey::V4(key) = MapKey::of_service(other) else { unreachable!() };
        world.observed.datapath.services_v4.insert(key, entry);
        world.memory.on_step(
            &Step::Withdraw {
                prefix: other.prefix(),
                reason: Reason::NotConfigured,
                hold_down: None,
            },
            &world.observed.datapath,
            secs(99),
        );
    }
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!((state.programmed, state.withheld), (None, Some(Reason::NoRoom)));
    world.converge(&desired);
    assert_eq!(world.now, secs(101));
    assert!(world.observed.advertised.contains_key(&vip.prefix()));
}

#[test]
fn a_backend_that_finds_no_room_says_so() {
    let vip = tcp(VIP, 80);
    let desired = desired(&[service(vip, 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&desired);
    // All entries but one are named by slots of a service that must stay a while.
    let index_max = tidegate_abi::BACKENDS_MAX - 1;
    world.observed.datapath.slots = (1..index_max).map(Slot::settled).collect();
    let seen = entry::build((1, backend(250)), &way(1), entry::Outer::default()).unwrap();
    world.observed.datapath.backends = (1..index_max).map(|index| (index, seen)).collect();
    let plan = world.plan(&desired);
    let states: Vec<BackendState> =
        plan.vips[&vip].backends.values().map(|backend| backend.state).collect();
    assert_eq!(states, [BackendState::Active, BackendState::NoRoom]);
    assert_eq!(brief(&plan.steps[0]), format!("put backend {index_max}"));
}

#[test]
fn a_stop_withdraws_everything() {
    let (world, _, _) = running(2);
    let steps: Vec<String> = stop(&world.observed).iter().map(brief).collect();
    assert_eq!(steps, ["withdraw 192.0.2.1/32: stopping"]);
}

#[test]
fn the_ring_is_the_ring_of_the_configuration() {
    let (world, desired, vip) = running(3);
    let spec = desired.services.values().next().unwrap();
    let members: Vec<crate::ring::Member> = spec
        .backends
        .iter()
        .map(|(&addr, backend)| crate::ring::Member { addr, weight: backend.weight })
        .collect();
    let base = crate::ring::base(7, &members, ring_size(3));
    let owners: Vec<Option<IpAddr>> =
        base.iter().map(|owner| owner.map(|owner| members[owner as usize].addr)).collect();
    assert!(world.ring(vip) == owners, "whoever else computes it gets the same");
}
