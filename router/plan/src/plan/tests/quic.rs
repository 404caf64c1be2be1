//! Services with affinity `quic`: which server ids the maps hold.

use tidegate_abi::{QuicKey, server_id_len, service_flags};

use super::*;

const CONFIG: u8 = 3;

fn server_id(n: u8) -> ServerId {
    ServerId::new(&[0x0a, n]).unwrap()
}

fn quic(backends: RangeInclusive<u8>) -> Service {
    let mut spec = service(tcp(VIP, 443), backends);
    spec.affinity = Affinity::Quic { config_id: CONFIG, former: None };
    for (n, backend) in (1..).zip(spec.backends.values_mut()) {
        backend.server_id = Some(server_id(n));
    }
    spec
}

fn world_of(desired: &Desired) -> World {
    let mut world = World::new();
    world.all_healthy(desired);
    world.converge(desired);
    world
}

/// The backends that server ids name.
fn named(world: &World) -> Vec<(Vec<u8>, IpAddr)> {
    let datapath = &world.observed.datapath;
    let address = |index: &u32| entry::identity(&datapath.backends[index]).unwrap().1;
    let named = datapath.quic_servers.iter();
    named.map(|(key, index)| (key.id[..3].to_vec(), address(index))).collect()
}

/// What they shall be.
fn names(backends: impl IntoIterator<Item = u8>) -> Vec<(Vec<u8>, IpAddr)> {
    backends.into_iter().map(|n| (vec![CONFIG << 5, 0x0a, n], backend(n))).collect()
}

fn spec(desired: &mut Desired) -> &mut Service {
    desired.services.values_mut().next().unwrap()
}

#[test]
fn every_server_id_names_its_backend_before_the_vip_is_announced() {
    let wanted = desired(&[quic(1..=3)]);
    let mut world = World::new();
    world.all_healthy(&wanted);
    while world.observed.advertised.is_empty() {
        let before = named(&world);
        world.round(&wanted);
        let is_announced = !world.observed.advertised.is_empty();
        assert!(!is_announced || before == names(1..=3), "{before:?}");
    }
    let entry = key::entries(&world.observed.datapath)[&MapKey::of_service(tcp(VIP, 443))];
    assert_eq!(entry.flags, service_flags::QUIC | 2 << service_flags::SERVER_ID_LEN);
    let rows: Vec<u32> = world.observed.datapath.quic_servers.keys().map(|it| it.service).collect();
    assert_eq!(rows, [entry.index; 3]);
    assert_eq!(world.settle(&wanted), [""; 0]);
}

#[test]
fn a_backend_that_drains_keeps_its_connections_for_as_long_as_it_is_configured() {
    let mut wanted = desired(&[quic(1..=3)]);
    let mut world = world_of(&wanted);
    spec(&mut wanted).backends.get_mut(&backend(2)).unwrap().weight = 0;
    world.converge(&wanted);
    assert_eq!(named(&world), names(1..=3), "the drain time is over");
    assert!(!world.ring(tcp(VIP, 443)).contains(&Some(backend(2))));
}

#[test]
fn a_backend_that_is_removed_keeps_them_for_the_drain_time() {
    let mut wanted = desired(&[quic(1..=3)]);
    let mut world = world_of(&wanted);
    spec(&mut wanted).backends.remove(&backend(2));
    world.settle(&wanted);
    assert_eq!(named(&world), names(1..=3));
    world.converge(&wanted);
    assert_eq!(named(&world), names([1, 3]));
}

#[test]
fn a_backend_that_is_down_disabled_or_without_a_way_has_none() {
    let wanted = desired(&[quic(1..=4)]);
    let mut world = world_of(&wanted);
    let vip = tcp(VIP, 443);
    let mut changed = wanted.clone();
    spec(&mut changed).backends.get_mut(&backend(1)).unwrap().disabled = true;
    world.observed.healthy.remove(&(vip, backend(2)));
    let way = world.observed.ways.remove(&backend(3)).unwrap();
    world.converge(&changed);
    assert_eq!(named(&world), names([4]));
    world.observed.healthy.insert((vip, backend(2)));
    world.observed.ways.insert(backend(3), way);
    world.converge(&wanted);
    assert_eq!(named(&world), names(1..=4));
}

#[test]
fn a_restart_takes_no_server_id_away_before_the_first_verdicts() {
    let mut wanted = desired(&[quic(1..=3)]);
    let mut world = world_of(&wanted);
    // One drains, and no slot names it: only its connection ids do.
    spec(&mut wanted).backends.get_mut(&backend(2)).unwrap().weight = 0;
    world.converge(&wanted);
    let vip = tcp(VIP, 443);
    world.observed.healthy.clear();
    world.observed.unproven = (1..=3).map(|n| (vip, backend(n))).collect();
    assert_eq!(world.settle(&wanted), [""; 0]);
    assert_eq!(named(&world), names(1..=3));
}

#[test]
fn another_server_id_takes_the_place_of_the_one_before() {
    let mut wanted = desired(&[quic(1..=2)]);
    let mut world = world_of(&wanted);
    spec(&mut wanted).backends.get_mut(&backend(2)).unwrap().server_id = Some(server_id(9));
    world.converge(&wanted);
    let ids: Vec<Vec<u8>> = named(&world).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [vec![CONFIG << 5, 0x0a, 1], vec![CONFIG << 5, 0x0a, 9]]);
}

/// Servers get other ids, longer ones, of another configuration.
#[test]
fn ids_of_the_configuration_of_before_name_their_servers_until_it_is_taken_out() {
    const NEXT: u8 = CONFIG + 1;
    let mut wanted = desired(&[quic(1..=3)]);
    let mut world = world_of(&wanted);
    let service = spec(&mut wanted);
    service.affinity = Affinity::Quic { config_id: NEXT, former: Some(CONFIG) };
    for (n, backend) in (1..).zip(service.backends.values_mut()) {
        backend.former_server_id = backend.server_id;
        backend.server_id = ServerId::new(&[0x0b, n, n]);
    }
    // No packet of before finds its server gone meanwhile.
    while !world.round(&wanted).steps.is_empty() {
        let held = named(&world);
        assert!(names(1..=3).iter().all(|it| held.contains(it)), "{held:?}");
    }
    let entry = key::entries(&world.observed.datapath)[&MapKey::of_service(tcp(VIP, 443))];
    let len = |config: u8| server_id_len(entry.flags, config.into());
    assert_eq!((len(CONFIG), len(NEXT), len(0)), (2, 3, 3));
    assert_eq!(named(&world).len(), 6);

    let service = spec(&mut wanted);
    service.affinity = Affinity::Quic { config_id: NEXT, former: None };
    service.backends.values_mut().for_each(|backend| backend.former_server_id = None);
    world.converge(&wanted);
    let ids: Vec<u8> = named(&world).into_iter().map(|(id, _)| id[0]).collect();
    assert_eq!(ids, [NEXT << 5; 3]);
}

#[test]
fn what_nobody_wants_leaves_the_map_and_the_program() {
    let before = desired(&[quic(1..=2)]);
    let mut world = world_of(&before);
    // Somebody has written what is none of ours.
    let stray = QuicKey::new(77, 1, &[1]);
    world.observed.datapath.quic_servers.insert(stray, 1);
    world.converge(&before);
    assert_eq!(named(&world), names(1..=2));

    let after = desired(&[service(tcp(VIP, 443), 1..=2)]);
    let features = |desired: &Desired| crate::constants(desired).features & features::QUIC;
    assert_eq!((features(&before), features(&after)), (features::QUIC, 0));
    let leftovers = crate::with_leftovers(crate::constants(&after), &world.observed.datapath);
    assert_ne!(leftovers.features & features::QUIC, 0, "the service still goes by them");
    world.converge(&after);
    assert_eq!(named(&world), []);
}
