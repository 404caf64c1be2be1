//! Nothing is announced without a proof, and nothing stays announced that has lost it.

use super::*;
use crate::observed::Datapath;
use crate::proof::Flaw;
use tidegate_abi::Counter;

fn held(seconds: (u64, u64)) -> (World, Desired, ServiceAddr) {
    let vip = tcp(VIP, 80);
    let mut spec = service(vip, 1..=2);
    let (hold_down, hold_down_max) =
        (Duration::from_secs(seconds.0), Duration::from_secs(seconds.1));
    let advertise = spec.advertise.take();
    spec.advertise = advertise.map(|old| Advertise { hold_down, hold_down_max, ..old });
    let desired = desired(&[spec]);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    (world, desired, vip)
}

#[test]
fn a_service_that_nobody_has_tried_is_not_announced() {
    let vip = tcp(VIP, 80);
    let desired = desired(&[service(vip, 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.blind = true;
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!((state.proof, state.withheld), (Proof::Pending, Some(Reason::NotProven)));
    world.blind = false;
    assert_eq!(world.settle(&desired), ["advertise 192.0.2.1/32"]);
    assert_eq!(world.state(&desired, vip).proof, Proof::Proven);
    // One that was proven and is not tried for a moment has lost nothing.
    world.blind = true;
    assert_eq!(world.settle(&desired), [""; 0]);
}

#[test]
fn what_is_broken_from_outside_is_withdrawn_with_its_reason_and_mended() {
    type Break = fn(&mut Datapath);
    let cases: [(&str, Break, Counter, &[&str]); 4] = [
        ("service", |maps| maps.services_v4.clear(), Counter::PassNotOurs, &["put service 80"]),
        ("ring", |maps| maps.slots.clear(), Counter::DropNoBackend, &["put 1024 slots"]),
        (
            "backend",
            |maps| maps.backends.retain(|&index, _| index != 1),
            Counter::DropUnresolved,
            &[],
        ),
        (
            "way",
            |maps| maps.backends.get_mut(&2).unwrap().flags = 0,
            Counter::DropUnresolved,
            &["put backend 2"],
        ),
    ];
    for (name, break_it, counter, mended_by) in cases {
        let (mut world, desired, vip) = held((5, 60));
        break_it(&mut world.observed.datapath);
        let steps = world.settle(&desired);
        let reason = Reason::Proof(Flaw::Ended(counter));
        let withdraw = format!("withdraw 192.0.2.1/32: {}", reason.name());
        assert!(steps.contains(&withdraw), "{name}: {steps:?}");
        for step in mended_by {
            assert!(steps.iter().any(|s| s == step), "{name}: {steps:?}");
        }
        let state = world.state(&desired, vip);
        assert_eq!(state.proof, Proof::Proven, "{name}: it is mended");
        assert_eq!(state.withheld, Some(reason), "{name}: people still see why");
        assert_eq!(state.held_until, Some(secs(105)), "{name}");
        world.converge(&desired);
        assert_eq!(world.now, secs(105), "{name}");
        assert!(world.observed.advertised.contains_key(&vip.addrs), "{name}");
    }
}

#[test]
fn a_packet_to_a_wrong_backend_is_mended_without_a_flap() {
    let (mut world, desired, vip) = held((5, 60));
    // As between a neighbour's new MAC address and our write of it.
    world.observed.ways.insert(backend(1), way(99));
    assert_eq!(world.state(&desired, vip).proof, Proof::Pending);
    assert_eq!(world.settle(&desired), ["put backend 1"]);
    assert_eq!(world.state(&desired, vip).proof, Proof::Proven);
}

#[test]
fn a_service_that_is_new_takes_no_vip_off_the_air_but_one_that_is_lost_does() {
    let (old, new) = (tcp(VIP, 80), tcp(VIP, 443));
    let both = desired(&[service(old, 1..=2), service(new, 1..=2)]);
    let mut world = World::new();
    world.all_healthy(&both);
    world.converge(&desired(&[service(old, 1..=2)]));
    let steps = world.settle(&both);
    assert!(!steps.iter().any(|step| step.starts_with("withdraw")), "{steps:?}");
    let MapKey::V4(key) = MapKey::of_service(new) else { unreachable!() };
    world.observed.datapath.services_v4.remove(&key);
    let steps = world.settle(&both);
    assert_eq!(steps[0], "withdraw 192.0.2.1/32: proof-no-service");
}

#[test]
fn a_way_that_is_too_narrow_is_none() {
    let (mut world, desired, vip) = running(2);
    let narrow = |n: u8, mtu: u16| Way { mtu, ..way(n) };
    world.observed.ways.insert(backend(1), narrow(1, 1_300));
    world.settle(&desired);
    assert_eq!(world.state(&desired, vip).usable, 2, "1280 bytes and an outer header");
    world.observed.ways.insert(backend(1), narrow(1, 1_299));
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!(state.backends[&backend(1)].state, BackendState::Narrow);
    assert_eq!((state.usable, state.withheld), (1, None), "the other one has room");
    world.observed.ways.insert(backend(2), narrow(2, 1_299));
    let steps = world.settle(&desired);
    assert_eq!(steps[0], "withdraw 192.0.2.1/32: mtu-too-small");
}

#[test]
fn hold_down_doubles_while_it_flaps_and_starts_anew_when_it_was_quiet() {
    let (mut world, desired, vip) = held((5, 30));
    let check = (vip, backend(1));
    let other = (vip, backend(2));
    let flap = |world: &mut World, quiet_secs: u64| {
        world.now = world.now + Duration::from_secs(quiet_secs);
        let before = world.now;
        world.observed.healthy.clear();
        world.settle(&desired);
        world.observed.healthy.extend([check, other]);
        world.settle(&desired);
        while !world.observed.advertised.contains_key(&vip.addrs) {
            let plan = world.round(&desired);
            world.now = plan.wake_at.filter(|_| plan.steps.is_empty()).unwrap_or(world.now);
        }
        world.now.since(before).as_secs()
    };
    let held: Vec<u64> = (0..5).map(|_| flap(&mut world, 1)).collect();
    assert_eq!(held, [5, 10, 20, 30, 30], "never longer than hold-down-max");
    assert_eq!(flap(&mut world, 29), 30, "not quiet for long enough");
    assert_eq!(flap(&mut world, 30), 5);
}

#[test]
fn what_is_taken_out_of_the_configuration_is_not_held_down() {
    let (mut world, with, _) = held((5, 30));
    world.settle(&desired(&[]));
    world.now = secs(101);
    let steps = world.settle(&with);
    assert!(steps.contains(&"advertise 192.0.2.1/32".to_owned()), "{steps:?}");
}

#[test]
fn when_all_checks_fail_it_closes_or_opens_as_configured() {
    let vip = tcp(VIP, 80);
    for (when_all_down, usable, is_announced) in
        [(AllDown::FailClosed, 0, false), (AllDown::FailOpen, 2, true)]
    {
        let spec = Service { when_all_down, ..service(vip, 1..=2) };
        let desired = desired(&[spec]);
        let mut world = World::new();
        world.all_healthy(&desired);
        world.converge(&desired);
        world.observed.healthy.remove(&(vip, backend(1)));
        world.settle(&desired);
        assert_eq!(world.state(&desired, vip).usable, 1, "{when_all_down:?}: one is left");
        world.observed.healthy.clear();
        world.settle(&desired);
        let state = world.state(&desired, vip);
        assert_eq!((state.usable, state.fails_open), (usable, is_announced), "{when_all_down:?}");
        assert_eq!(world.observed.advertised.contains_key(&vip.addrs), is_announced);
    }
}

#[test]
fn a_service_of_every_port_is_asked_on_one_that_no_other_service_has() {
    let [every, discard, next] = [0, 9, 10].map(|port| tcp(VIP, port));
    let desired = desired(&[every, discard, next].map(|vip| service(vip, 1..=2)));
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    let asked = |vip| {
        let clients =
            crate::proof::clients(desired.router.hash_seed, vip, &world.observed.datapath);
        clients.into_iter().map(|(client, _)| client.port).collect::<Vec<_>>()
    };
    assert_eq!(asked(every), [11, 11], "one packet for each backend");
    assert_eq!(asked(discard), [9, 9]);
}
