//! Services in mode `nat`: the addresses that their connections come from.

use tidegate_abi::{backend_kinds, service_flags};

use super::*;

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);

fn nat(port: u16, backends: RangeInclusive<u8>) -> Service {
    Service { mode: ForwardingMode::Nat, backend_port: 8_080, ..service(tcp(VIP, port), backends) }
}

/// The addresses whose packets may be answers.
fn sources(world: &World) -> Vec<IpAddr> {
    let entries = key::entries(&world.observed.datapath);
    let is_source = |entry: &Entry| entry.flags & service_flags::NAT_SOURCE != 0;
    entries.iter().filter(|(_, it)| is_source(it)).map(|(key, _)| key.vip().addr()).collect()
}

fn world_of(desired: &Desired) -> World {
    let mut world = World::new();
    world.all_healthy(desired);
    world.converge(desired);
    world
}

#[test]
fn the_address_of_the_way_is_known_before_the_vip_is_announced_and_leaves_with_the_service() {
    let before = desired(&[nat(80, 1..=2), service(tcp(VIP, 81), 3..=3)]);
    let mut world = world_of(&before);
    assert_eq!(sources(&world), [way(0).source_v4.unwrap()]);
    assert!(!world.observed.advertised.is_empty());
    let entry = key::entries(&world.observed.datapath)[&MapKey::of_service(tcp(VIP, 80))];
    assert_eq!(entry.flags, service_flags::NAT | 8_080 << service_flags::BACKEND_PORT);
    let entries = world.observed.datapath.backends.values();
    assert_eq!(entries.filter(|it| it.kind == backend_kinds::NAT_V4).count(), 2);
    assert_eq!(world.settle(&before), [""; 0]);

    let after = desired(&[service(tcp(VIP, 81), 3..=3)]);
    assert_ne!(crate::constants(&before).features & features::NAT, 0);
    assert_eq!(crate::constants(&after).features & features::NAT, 0);
    let leftovers = crate::with_leftovers(crate::constants(&after), &world.observed.datapath);
    assert_ne!(leftovers.features & features::NAT, 0, "connections are still open");
    world.converge(&after);
    world.settle(&after);
    assert_eq!(sources(&world), [] as [IpAddr; 0]);
}

#[test]
fn a_source_of_its_own_is_in_every_entry() {
    let mut wanted = desired(&[nat(80, 1..=2)]);
    wanted.nat.source_v4 = Some(SOURCE);
    let mut world = world_of(&wanted);
    assert_eq!(sources(&world), [IpAddr::from(SOURCE)]);
    let entries = world.observed.datapath.backends.values().copied();
    assert!(entries.map(|it| entry::nat_source(&it)).all(|it| it == Some(SOURCE.into())));
    // Back to the address of the way: the one before is no longer ours to translate.
    wanted.nat.source_v4 = None;
    world.converge(&wanted);
    assert_eq!(sources(&world), [way(0).source_v4.unwrap()]);
}

#[test]
fn a_backend_that_is_down_or_disabled_keeps_no_connection_and_one_that_drains_does() {
    let mut wanted = desired(&[nat(80, 1..=4)]);
    let mut world = world_of(&wanted);
    let spec = wanted.services.values_mut().next().unwrap();
    let vip = spec.vip;
    spec.backends.get_mut(&backend(1)).unwrap().disabled = true;
    spec.backends.get_mut(&backend(2)).unwrap().weight = 0;
    world.observed.healthy.remove(&(vip, backend(3)));
    world.converge(&wanted);
    let plan = plan(&wanted, &world.observed, world.now);
    let dead = crate::nat::dead(&plan.vips);
    let state = &plan.vips[&vip];
    let row = state.programmed.unwrap().index;
    let place = |n| (row, state.backends[&backend(n)].index.unwrap());
    assert_eq!(dead, [place(1), place(3)].into());
}
