//! Services with the same backends share a ring, and nobody can tell.

use proptest::prelude::*;

use super::flows::{any_change, both_running, services};
use super::*;

/// Where the ring of a service lies.
fn span(world: &World, vip: ServiceAddr) -> Span {
    Span::of(&key::entries(&world.observed.datapath)[&MapKey::of_service(vip)]).unwrap()
}

/// What each slot of a service's ring holds, by address; nothing of where it lies.
fn held(world: &World, vip: ServiceAddr) -> Vec<(Option<IpAddr>, Option<IpAddr>, bool)> {
    let datapath = &world.observed.datapath;
    let addr = |index: u32| Some(entry::identity(datapath.backends.get(&index)?)?.1);
    let held = |slot: Slot| (addr(slot.current), addr(slot.older()), slot.is_settled());
    span(world, vip).slots(&datapath.slots).map(held).collect()
}

/// Services on ports 1 to `count`, all with the same backends, all up.
fn many(count: u16, last: u8) -> (World, Desired) {
    let all: Vec<Service> = (1..=count).map(|port| service(tcp(VIP, port), 1..=last)).collect();
    let desired = desired(&all);
    let mut world = World::new();
    world.all_healthy(&desired);
    (world, desired)
}

#[test]
fn services_with_the_same_backends_share_one_ring() {
    let (mut world, desired) = many(50, 3);
    let steps = world.settle(&desired);
    let writes = steps.iter().filter(|step| step.ends_with("slots"));
    assert_eq!(writes.collect::<Vec<_>>(), ["put 1024 slots"]);
    assert_eq!(world.observed.datapath.slots.len(), 1024);
    for spec in desired.services.values() {
        assert_eq!(span(&world, spec.vip), Span { offset: 0, size: 1024 });
    }
}

#[test]
fn a_change_that_all_want_is_made_in_place() {
    let (mut world, desired) = many(50, 3);
    world.settle(&desired);
    world.observed.healthy.retain(|&(_, addr)| addr != backend(2));
    let steps = world.settle(&desired);
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!(world.observed.datapath.slots.len(), 1024);
}

#[test]
fn who_wants_another_change_leaves_and_comes_back() {
    let (mut world, desired) = many(3, 3);
    world.settle(&desired);
    let [one, two, three] = [1, 2, 3].map(|port| tcp(VIP, port));
    let before = held(&world, two);
    world.observed.healthy.remove(&(one, backend(2)));
    assert_eq!(world.settle(&desired), ["put 1024 slots", "put service 1"]);
    assert_ne!(span(&world, one), span(&world, two));
    assert!(held(&world, two) == before, "the others' ring is as it was");

    // The next one that finds out has nothing to build.
    world.observed.healthy.remove(&(two, backend(2)));
    assert_eq!(world.settle(&desired), ["put service 2"]);
    assert_eq!(span(&world, one), span(&world, two));

    // And the last one, alone in the old ring, changes that before it leaves it.
    world.observed.healthy.remove(&(three, backend(2)));
    let steps = world.settle(&desired);
    assert_eq!(steps[1..], ["put service 3", "put 1024 slots"], "{steps:?}");
    assert_eq!(span(&world, one), span(&world, three));
}

#[test]
fn rings_that_come_to_hold_the_same_become_one() {
    let [one, two] = [1, 2].map(|port| tcp(VIP, port));
    let mut wanted = desired(&[service(one, 1..=3), service(two, 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&wanted);
    world.settle(&wanted);
    assert_ne!(span(&world, one), span(&world, two));
    for spec in wanted.services.values_mut() {
        *spec = service(spec.vip, 1..=3);
    }
    world.all_healthy(&wanted);
    world.settle(&wanted);
    assert_ne!(span(&world, one), span(&world, two), "old flows are on their way");
    world.converge(&wanted);
    assert_eq!(span(&world, one), span(&world, two));
    assert_eq!(world.observed.datapath.slots.len(), 1024, "the other one is cleared");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Two services that may share, against each of them alone.
    #[test]
    fn what_a_packet_finds_does_not_depend_on_who_shares(
        first in 1..=12_u8,
        changes in proptest::collection::vec((any_change(), any::<bool>(), 0..90_u64), 1..10),
    ) {
        let (mut together, mut both) = both_running(first);
        let mut alone = services().map(|vip| {
            let mut one = both.clone();
            one.services.retain(|_, spec| spec.vip == vip);
            let mut world = World::new();
            world.observed.healthy.clone_from(&together.observed.healthy);
            world.converge(&one);
            world.now = together.now;
            (vip, world, one)
        });
        for (change, other, wait_secs) in changes {
            let of = services()[usize::from(other)];
            for (vip, world, one) in &mut alone {
                // Ways and restarts are everybody's.
                if *vip == of || change.is_of_all() {
                    change.make(*vip, world, one);
                }
                world.settle(one);
            }
            change.make(of, &mut together, &mut both);
            together.settle(&both);
            for (vip, world, one) in &mut alone {
                let (here, there) = (held(&together, *vip), held(world, *vip));
                let differ = here.iter().zip(&there).find(|(one, other)| one != other);
                prop_assert_eq!(here.len(), there.len());
                prop_assert_eq!(differ, None, "{:?} {:?}: together, alone", vip, change);
                world.now = world.now + Duration::from_secs(wait_secs);
                world.settle(one);
            }
            together.now = together.now + Duration::from_secs(wait_secs);
            together.settle(&both);
        }
    }
}
