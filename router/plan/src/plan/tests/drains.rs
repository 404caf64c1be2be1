//! What a drain does to maps and routes.

use super::*;
use crate::drain::{Drains, Phase, Target, Terms};
use tidegate_bgp::types::Community;

const TERMS: Terms = Terms { deadline: Duration::from_mins(10), quiet: Duration::from_secs(30) };

fn target(vip: ServiceAddr, n: u8) -> Target {
    Target::Backend { service: format!("{vip:?}"), backend: backend(n) }
}

/// Packets that never end.
fn steady(world: &World) -> impl Fn(&Target) -> Option<u64> + use<> {
    let now = world.now.as_nanos();
    move |_| Some(now)
}

fn route(world: &World) -> Option<&RouteAttributes> {
    world.observed.advertised.get(&Prefix::host(ip(VIP)))
}

/// Where new flows go, and where flows of before a change do.
fn slots_of(world: &World, n: u8) -> (usize, usize) {
    let datapath = &world.observed.datapath;
    let of = |index: u32| datapath.backends.get(&index).and_then(entry::identity);
    let is = |index: u32| of(index).is_some_and(|(_, addr)| addr == backend(n));
    let slots = || datapath.slots.iter();
    (slots().filter(|s| is(s.current)).count(), slots().filter(|s| is(s.older())).count())
}

#[test]
fn a_backend_keeps_its_flows_for_the_deadline_and_gets_its_slots_back() {
    // Whatever the service's own drain time is.
    for drain in [0, 5, 3_600] {
        let (mut world, mut desired, vip) = running(3);
        desired.services.values_mut().for_each(|it| it.drain = Duration::from_secs(drain));
        let ring = world.ring(vip);
        let (mine, _) = slots_of(&world, 2);
        world.drains.order(target(vip, 2), TERMS, world.now);
        let begun = world.now;
        while world.now < begun + Duration::from_secs(599) {
            world.settle(&desired);
            assert_eq!(slots_of(&world, 2), (0, mine), "{drain}");
            let state = world.state(&desired, vip);
            assert_eq!(state.backends[&backend(2)].state, BackendState::Draining);
            assert_eq!((state.usable, state.withheld), (2, None));
            world.now = world.now + Duration::from_secs(13);
            let packets = steady(&world);
            if world.now < begun + TERMS.deadline {
                assert_eq!(world.drains.look(world.now, packets), []);
            }
        }
        world.now = begun + TERMS.deadline;
        let packets = steady(&world);
        assert_eq!(world.drains.look(world.now, packets)[0].to, Phase::Drained);
        world.converge(&desired);
        assert_eq!(slots_of(&world, 2), (0, 0), "cut");
        let state = world.state(&desired, vip);
        assert_eq!(state.backends[&backend(2)].state, BackendState::Disabled);
        assert!(world.drains.undrain(&target(vip, 2)));
        world.converge(&desired);
        assert!(world.ring(vip) == ring, "the same slots as before");
    }
}

#[test]
fn a_vip_is_a_last_resort_first_then_withdrawn_and_comes_back() {
    for target in [Target::Vip(Prefix::host(ip(VIP))), Target::Node] {
        let (mut world, desired, vip) = running(3);
        let before = route(&world).cloned();
        let maps = world.observed.datapath.clone();
        world.drains.order(target.clone(), TERMS, world.now);
        assert_eq!(world.settle(&desired), ["advertise 192.0.2.1/32"]);
        assert_eq!(route(&world).unwrap().communities, [Community::GRACEFUL_SHUTDOWN]);
        assert_eq!(world.state(&desired, vip).withheld, None);
        let is_quiet = |_: &Target| Some(5);
        for at in [0, 30, 31] {
            world.drains.look(world.now + Duration::from_secs(at), is_quiet);
        }
        assert_eq!(world.settle(&desired), ["withdraw 192.0.2.1/32: drained"]);
        assert_eq!(world.state(&desired, vip).withheld, Some(Reason::Drained));
        world.drains.look(world.now + Duration::from_secs(61), is_quiet);
        assert_eq!(world.drains.get(&target).unwrap().phase, Phase::Drained);
        assert_eq!(world.settle(&desired), Vec::<String>::new());
        assert_eq!(world.observed.datapath, maps, "packets that still come are forwarded");
        // A failure meanwhile is no news, and no reason to wait afterwards.
        world.observed.healthy.clear();
        world.converge(&desired);
        assert_eq!(world.state(&desired, vip).withheld, Some(Reason::Drained));
        world.all_healthy(&desired);
        world.drains.undrain(&target);
        world.converge(&desired);
        assert_eq!(route(&world).cloned(), before);
    }
}

#[test]
fn a_node_that_starts_drained_announces_nothing() {
    let desired = desired(&[service(tcp(VIP, 80), 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.drains.order(Target::Node, TERMS, world.now);
    world.drains.look(world.now + TERMS.deadline, |_| None);
    let kept = world.drains.keep(world.now);
    world.drains = Drains::resume(kept, secs(0));
    world.converge(&desired);
    assert_eq!(route(&world), None);
}

#[test]
fn backends_that_drain_do_not_make_the_others_fail_open() {
    let (mut world, mut desired, vip) = running(3);
    desired.services.values_mut().for_each(|it| it.when_all_down = AllDown::FailOpen);
    world.drains.order(target(vip, 3), TERMS, world.now);
    world.observed.healthy.remove(&(vip, backend(1)));
    world.settle(&desired);
    assert!(!world.state(&desired, vip).fails_open, "backend 2 is up");
    world.observed.healthy.remove(&(vip, backend(2)));
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert!(state.fails_open, "those that shall take flows are all down");
    assert_eq!(state.backends[&backend(3)].state, BackendState::Draining);
}

#[test]
fn what_the_configuration_does_not_know_is_forgotten() {
    let (mut world, desired, vip) = running(2);
    world.drains.order(target(vip, 2), TERMS, world.now);
    world.drains.order(target(vip, 3), TERMS, world.now);
    world.drains.order(Target::Vip(Prefix::host(ip("192.0.2.9"))), TERMS, world.now);
    world.drains.order(Target::Node, TERMS, world.now);
    let unknown = world.drains.forget_unknown(&desired);
    assert_eq!(unknown, [target(vip, 3), Target::Vip(Prefix::host(ip("192.0.2.9")))]);
    assert_eq!(world.drains.iter().count(), 2);
}
