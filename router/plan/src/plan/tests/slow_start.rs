//! Backends that come into service part by part.

use super::*;

/// A service of ten backends that takes 80 s to give one that comes its whole share, running.
fn slow() -> (World, Desired, ServiceAddr) {
    let vip = tcp(VIP, 80);
    let spec = Service { slow_start: Duration::from_secs(80), ..service(vip, 1..=10) };
    let desired = desired(&[spec]);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    (world, desired, vip)
}

/// Slots that give a backend new flows.
fn share(world: &World, vip: ServiceAddr, n: u8) -> usize {
    world.ring(vip).into_iter().filter(|&owner| owner == Some(backend(n))).count()
}

#[test]
fn a_service_that_comes_up_as_a_whole_needs_no_start() {
    let (world, _, vip) = slow();
    for n in 1..=10 {
        assert!((204..=205).contains(&share(&world, vip, n)), "{}", share(&world, vip, n));
    }
}

#[test]
fn a_backend_that_comes_back_gets_its_share_by_eighths() {
    let (mut world, desired, vip) = slow();
    let before = world.ring(vip);
    let whole = share(&world, vip, 3);
    world.observed.healthy.remove(&(vip, backend(3)));
    world.converge(&desired);
    assert_eq!(share(&world, vip, 3), 0);
    world.observed.healthy.insert((vip, backend(3)));
    let begin = world.now;
    for parts in 1..=8_u32 {
        world.settle(&desired);
        let wanted = whole * parts as usize / 8;
        let found = share(&world, vip, 3);
        assert!(found.abs_diff(wanted) <= 40, "part {parts}: {found} of {whole}");
        let state = world.state(&desired, vip);
        let is_starting = state.starting.contains_key(&backend(3));
        assert_eq!(is_starting, parts < 8);
        if is_starting {
            assert_eq!(state.starting[&backend(3)], begin);
            assert_eq!(world.plan(&desired).wake_at, Some(begin + Duration::from_secs(10) * parts));
        }
        world.now = begin + Duration::from_secs(10) * parts;
    }
    assert!(world.ring(vip) == before, "in the end it has the slots that it had");
    world.converge(&desired);
}

#[test]
fn a_backend_that_comes_new_starts_slowly_and_one_that_fails_starts_anew() {
    let (mut world, mut desired, vip) = slow();
    for spec in desired.services.values_mut() {
        spec.backends.insert(backend(11), Weight::of_weight(1));
    }
    world.observed.healthy.insert((vip, backend(11)));
    world.settle(&desired);
    let first = share(&world, vip, 11);
    assert!((1..60).contains(&first), "{first} slots");
    world.now = world.now + Duration::from_secs(40);
    world.settle(&desired);
    assert!(share(&world, vip, 11) > 80, "half of its share");
    world.observed.healthy.remove(&(vip, backend(11)));
    world.settle(&desired);
    world.observed.healthy.insert((vip, backend(11)));
    world.settle(&desired);
    assert_eq!(share(&world, vip, 11), first);
}

#[test]
fn a_daemon_that_remembers_nothing_gives_it_the_rest_at_once() {
    let (mut world, desired, vip) = slow();
    world.observed.healthy.remove(&(vip, backend(3)));
    world.converge(&desired);
    world.observed.healthy.insert((vip, backend(3)));
    world.settle(&desired);
    world.memory = Memory::default();
    world.settle(&desired);
    assert!(share(&world, vip, 3) >= 204);
}
