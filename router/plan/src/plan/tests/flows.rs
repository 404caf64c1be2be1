//! No flow leaves a backend that lives: packets between every two steps, through a model of what
//! the packet path picks.

use core::fmt::Debug;

use proptest::prelude::*;
use tidegate_abi::slot_of;

use super::*;
use crate::drain::{Target, Terms};
use crate::observed::Datapath;

/// More than a ring of the smallest size is for, twice over.
const BACKENDS: u8 = 18;

/// Longer than any of these tests.
const TERMS: Terms = Terms { deadline: Duration::from_mins(5), quiet: Duration::from_secs(5) };

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Up(u8),
    Down(u8),
    /// Adds a backend that is not there.
    Weight(u8, u16),
    Remove(u8),
    LoseWay(u8),
    FindWay(u8),
    Drain(u8),
    Undrain(u8),
    Restart,
}

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let n = || 1..=BACKENDS;
    let weight = prop_oneof![Just(0_u16), Just(1), Just(5)];
    prop_oneof![
        3 => n().prop_map(Change::Up),
        2 => n().prop_map(Change::Down),
        4 => (n(), weight).prop_map(|(n, weight)| Change::Weight(n, weight)),
        3 => n().prop_map(Change::Remove),
        1 => n().prop_map(Change::LoseWay),
        1 => n().prop_map(Change::FindWay),
        2 => n().prop_map(Change::Drain),
        2 => n().prop_map(Change::Undrain),
        1 => Just(Change::Restart),
    ]
}

/// Both services have the same backends; a change is made to one of them.
pub(super) fn services() -> [ServiceAddr; 2] {
    [tcp(VIP, 80), tcp(VIP, 443)]
}

impl Change {
    /// It is everybody's, not one service's.
    pub(super) const fn is_of_all(self) -> bool {
        matches!(self, Self::LoseWay(_) | Self::FindWay(_) | Self::Restart)
    }

    pub(super) fn make(self, vip: ServiceAddr, world: &mut World, desired: &mut Desired) {
        let service = format!("{vip:?}");
        let of = |n: u8| Target::Backend { service: service.clone(), backend: backend(n) };
        let spec = desired.services.values_mut().find(|spec| spec.vip == vip).unwrap();
        match self {
            Self::Up(n) => drop(world.observed.healthy.insert((vip, backend(n)))),
            Self::Down(n) => drop(world.observed.healthy.remove(&(vip, backend(n)))),
            Self::Weight(n, weight) => {
                // One that comes new is as it was called when it went; mostly up.
                spec.backends.insert(backend(n), Weight::of_weight(weight));
            }
            // The configuration has no service without backends.
            Self::Remove(n) if spec.backends.len() > 1 => drop(spec.backends.remove(&backend(n))),
            Self::Remove(_) => {}
            Self::LoseWay(n) => drop(world.observed.ways.remove(&backend(n))),
            Self::FindWay(n) => drop(world.observed.ways.insert(backend(n), way(n))),
            Self::Drain(n) => world.drains.order(of(n), TERMS, world.now),
            Self::Undrain(n) => drop(world.drains.undrain(&of(n))),
            Self::Restart => world.memory = Memory::default(),
        }
    }
}

#[derive(Clone, Copy)]
struct Flow {
    vip: ServiceAddr,
    hash: u32,
    backend: IpAddr,
}

/// The packet path with its flow table, and clients.
#[derive(Default)]
struct Packets {
    table: BTreeMap<(ServiceAddr, u32), u32>,
    flows: Vec<Flow>,
    seed: u32,
}

impl Packets {
    /// The backend that a packet is sent to: `pick.rs`, in words that need no kernel.
    fn pick(&mut self, datapath: &Datapath, flow: (ServiceAddr, u32), opens: bool) -> u32 {
        let entry = key::entries(datapath)[&MapKey::of_service(flow.0)];
        let row = entry.ring_offset + slot_of(flow.1, entry.ring_size);
        let slot = slots::at(&datapath.slots, row);
        if slot.is_settled() {
            return slot.current;
        }
        if opens {
            if slot.current != 0 {
                self.table.insert(flow, slot.current);
            }
            return slot.current;
        }
        let older = if slot.older() == 0 { slot.current } else { slot.older() };
        self.table.get(&flow).copied().unwrap_or(older)
    }

    /// What the executor does to the flow table.
    fn on_step(&mut self, step: &Step, datapath: &Datapath) {
        match step {
            Step::FreeBackend { index } => self.table.retain(|_, backend| backend != index),
            Step::PutSlots { slots } if slots.iter().any(|(_, slot)| slot.is_settled()) => {
                let entries = key::entries(datapath);
                self.table.retain(|(vip, _), _| {
                    let ring = Span::of(&entries[&MapKey::of_service(*vip)]).unwrap();
                    ring.slots(&datapath.slots).any(|slot| !slot.is_settled())
                });
            }
            _ => {}
        }
    }

    fn open(&mut self, datapath: &Datapath) {
        for vip in services() {
            for _ in 0..4 {
                self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let hash = self.seed;
                let index = self.pick(datapath, (vip, hash), true);
                if let Some(entry) = datapath.backends.get(&index) {
                    let (_, backend) = entry::identity(entry).unwrap();
                    self.flows.push(Flow { vip, hash, backend });
                }
            }
        }
    }

    /// Flows end with their backend. One that is no longer configured has its drain time.
    fn end_dead(&mut self, observed: &Observed, desired: &Desired) {
        self.flows.retain(|flow| {
            let spec = desired.services.values().find(|spec| spec.vip == flow.vip).unwrap();
            !spec.backends.contains_key(&flow.backend)
                || (observed.healthy.contains(&(flow.vip, flow.backend))
                    && observed.ways.contains_key(&flow.backend))
        });
    }

    /// One round, with packets after each step; false if there was nothing to do.
    fn round(&mut self, world: &mut World, desired: &Desired, change: &dyn Debug) -> bool {
        let plan = world.plan(desired);
        let seen = world.observed.datapath.clone();
        for step in &plan.steps {
            world.apply(step, desired);
            world.memory.on_step(step, &seen, world.now);
            self.on_step(step, &world.observed.datapath);
            let after = format!("{change:?}, {}", brief(step));
            self.assert_all_stay(&world.observed.datapath, &after);
            self.open(&world.observed.datapath);
            self.end_dead(&world.observed, desired);
        }
        !plan.steps.is_empty()
    }

    fn assert_all_stay(&mut self, datapath: &Datapath, after: &str) {
        for at in 0..self.flows.len() {
            let Flow { vip, hash, backend } = self.flows[at];
            let index = self.pick(datapath, (vip, hash), false);
            let found = datapath.backends.get(&index).and_then(entry::identity);
            assert_eq!(found.map(|(_, addr)| addr), Some(backend), "{hash:#x} after {after}");
        }
    }
}

/// Both services with backends 1 to `last`; all backends there can be are up.
pub(super) fn both_running(last: u8) -> (World, Desired) {
    let desired = desired(&services().map(|vip| service(vip, 1..=last)));
    let mut world = World::new();
    world.observed.healthy = services()
        .into_iter()
        .flat_map(|vip| (1..=BACKENDS).map(move |n| (vip, backend(n))))
        .collect();
    world.converge(&desired);
    (world, desired)
}

#[test]
fn what_operators_do_in_a_hurry_moves_no_flow() {
    use Change::{Down, Drain, Remove, Restart, Undrain, Up, Weight};
    let cases: [(&str, u8, &[Change]); 9] = [
        ("drained by order, and back", 3, &[Drain(2), Restart, Undrain(2)]),
        ("one after the other", 3, &[Drain(2), Drain(1), Undrain(2), Weight(3, 0), Undrain(1)]),
        ("drain and undrain", 3, &[Weight(2, 0), Weight(2, 1)]),
        ("a backend added and taken back", 3, &[Weight(4, 1), Remove(4)]),
        ("and added once more", 3, &[Weight(4, 1), Remove(4), Weight(4, 1)]),
        ("all drained, all back", 2, &[Weight(1, 0), Weight(2, 0), Weight(1, 1), Weight(2, 1)]),
        ("a ring that shrinks", 9, &[Remove(9)]),
        ("a ring that grows and shrinks", 8, &[Weight(9, 1), Weight(10, 1), Remove(9), Remove(1)]),
        ("a flap in a drain", 3, &[Weight(2, 0), Down(1), Up(1), Restart, Weight(2, 1)]),
    ];
    for (name, last, changes) in cases {
        let (mut world, mut desired) = both_running(last);
        let mut packets = Packets::default();
        for _ in 0..20 {
            packets.open(&world.observed.datapath);
        }
        for change in changes {
            for vip in services() {
                change.make(vip, &mut world, &mut desired);
            }
            packets.end_dead(&world.observed, &desired);
            while packets.round(&mut world, &desired, &(name, change)) {}
        }
        assert!(packets.flows.len() >= 40, "{name}: too few flows to show anything");
        let rings = services().map(|vip| world.ring(vip));
        world.converge(&desired);
        // When the drain time is over, new flows go where they went: the rings were right before.
        for (before, vip) in rings.iter().zip(services()) {
            let after = world.ring(vip);
            let copies = before.len() / after.len();
            let same = |at: usize| before[at] == after[at / copies];
            assert!((0..before.len()).all(same), "{name}");
        }
        assert!(world.observed.datapath.slots.iter().all(|slot| slot.is_settled()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_flow_leaves_a_backend_that_lives(
        first in 1..=BACKENDS,
        changes in proptest::collection::vec(
            (any_change(), any::<bool>(), 0..6_usize, 0..3_u64), 1..16
        ),
        seed in any::<u32>(),
    ) {
        let (mut world, mut desired) = both_running(first);
        let mut packets = Packets { seed, ..Packets::default() };
        packets.open(&world.observed.datapath);
        // All within one drain time: after it, old flows may be moved.
        for (change, other, rounds, wait_secs) in changes {
            change.make(services()[usize::from(other)], &mut world, &mut desired);
            packets.end_dead(&world.observed, &desired);
            for _ in 0..rounds {
                packets.round(&mut world, &desired, &change);
            }
            world.now = world.now + Duration::from_secs(wait_secs);
        }
    }

    #[test]
    fn a_flow_that_moves_to_another_node_keeps_its_backend(
        first in 1..=BACKENDS,
        changes in proptest::collection::vec(
            (any_change(), any::<bool>(), 0..6_usize, 0..6_usize), 1..12
        ),
        seed in any::<u32>(),
    ) {
        // Two nodes see the same, but one may be slower than the other. Their first flows are
        // opened at one of them, and each has packets of them all.
        let (mut here, mut desired) = both_running(first);
        let (mut there, _) = both_running(first);
        let mut opened = Packets { seed, ..Packets::default() };
        opened.open(&here.observed.datapath);
        let mut at_here = Packets { seed: seed ^ 1, flows: opened.flows.clone(), ..Packets::default() };
        let mut at_there = Packets { seed: seed ^ 2, flows: opened.flows, ..Packets::default() };
        for (change, other, rounds_here, rounds_there) in changes {
            let vip = services()[usize::from(other)];
            change.make(vip, &mut there, &mut desired.clone());
            change.make(vip, &mut here, &mut desired);
            at_here.end_dead(&here.observed, &desired);
            at_there.end_dead(&there.observed, &desired);
            for _ in 0..rounds_here {
                at_here.round(&mut here, &desired, &change);
            }
            for _ in 0..rounds_there {
                at_there.round(&mut there, &desired, &change);
            }
        }
        here.converge(&desired);
        there.converge(&desired);
        for vip in services() {
            prop_assert!(here.ring(vip) == there.ring(vip), "the same rings in the end");
        }
    }
}

#[test]
fn a_flow_opened_in_a_change_and_moved_within_it_is_the_one_that_breaks() {
    // Known: the other node has not seen the SYN, so it takes the flow for an older one. Telling
    // would take state shared between nodes. Bounded by the slots of the change and its drain time.
    let (mut here, mut desired) = both_running(3);
    let (mut there, _) = both_running(3);
    desired.services.values_mut().for_each(|spec| {
        spec.backends.insert(backend(2), Weight::of_weight(0));
    });
    let [mut at_here, mut at_there] = [(); 2].map(|()| Packets::default());
    while at_here.round(&mut here, &desired, &"drain") {}
    while at_there.round(&mut there, &desired, &"drain") {}
    at_here.flows.clear();
    for _ in 0..50 {
        at_here.open(&here.observed.datapath);
    }
    let moved = at_here.flows.clone().into_iter().filter(|flow| {
        let maps = &there.observed.datapath;
        let index = at_there.pick(maps, (flow.vip, flow.hash), false);
        maps.backends.get(&index).and_then(entry::identity).map(|(_, addr)| addr)
            != Some(flow.backend)
    });
    let moved: Vec<Flow> = moved.collect();
    assert!(!moved.is_empty(), "none: then say so where this is documented");
    let slots = &there.observed.datapath.slots;
    let entries = key::entries(&there.observed.datapath);
    for flow in moved {
        let ring = entries[&MapKey::of_service(flow.vip)];
        let row = ring.ring_offset + slot_of(flow.hash, ring.ring_size);
        assert!(!slots::at(slots, row).is_settled(), "only in slots of the change");
    }
}
