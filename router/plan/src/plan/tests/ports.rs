//! Services with a range of ports: one ring, one row, an entry for each port.

use super::*;

/// A service on these ports.
fn range(ports: RangeInclusive<u16>) -> Service {
    Service { last_port: *ports.end(), ..service(tcp(VIP, *ports.start()), 1..=2) }
}

fn up(spec: &Service) -> (World, Desired) {
    let desired = desired(core::slice::from_ref(spec));
    let mut world = World::new();
    world.all_healthy(&desired);
    world.settle(&desired);
    (world, desired)
}

/// The ports that the maps have an entry for, and how many entries differ.
fn ports(world: &World) -> (Vec<u16>, usize) {
    let entries = key::entries(&world.observed.datapath);
    let services = entries.iter().filter_map(|(key, entry)| Some((key.service()?.port, entry)));
    let (ports, entries): (Vec<u16>, BTreeSet<&Entry>) = services.unzip();
    (ports, entries.len())
}

#[test]
fn every_port_of_a_range_has_the_service() {
    let spec = range(8_000..=8_099);
    let (mut world, desired) = up(&spec);
    assert_eq!(ports(&world), ((8_000..=8_099).collect(), 1));
    assert!(world.observed.advertised.contains_key(&spec.vip.addrs));
    assert_eq!(world.settle(&desired), [""; 0]);
}

#[test]
fn a_range_that_grows_or_shrinks_writes_those_ports_and_no_slot() {
    let (mut world, _) = up(&range(8_000..=8_001));
    let steps = world.settle(&desired(&[range(8_000..=8_003)]));
    assert_eq!(steps, ["put service 8002", "put service 8003"]);
    let steps = world.settle(&desired(&[range(8_000..=8_000)]));
    assert_eq!(steps, ["delete service 8001", "delete service 8002", "delete service 8003"]);
}

#[test]
fn a_port_that_somebody_took_out_is_put_back_and_a_wrong_one_mended() {
    let (mut world, desired) = up(&range(8_000..=8_002));
    let MapKey::V4(gone) = MapKey::of_service(tcp(VIP, 8_001)) else { unreachable!() };
    world.observed.datapath.services_v4.remove(&gone).unwrap();
    let MapKey::V4(wrong) = MapKey::of_service(tcp(VIP, 8_002)) else { unreachable!() };
    world.observed.datapath.services_v4.get_mut(&wrong).unwrap().ring_size = 0;
    assert_eq!(world.settle(&desired), ["put service 8001", "put service 8002"]);
    assert_eq!(ports(&world).1, 1);
}

#[test]
fn all_ports_of_a_range_move_to_its_new_ring() {
    let small = range(8_000..=8_002);
    let (mut world, _) = up(&small);
    let large = Service { backends: service(small.vip, 1..=9).backends, ..small };
    let desired = desired(&[large]);
    world.all_healthy(&desired);
    world.settle(&desired);
    world.now = secs(1_000);
    world.settle(&desired);
    assert_eq!(ports(&world), ((8_000..=8_002).collect(), 1));
    assert_eq!(world.state(&desired, small.vip).programmed.unwrap().ring_size, 2_048);
}

#[test]
fn a_range_waits_until_there_is_room_for_all_of_it() {
    let (mut world, _) = up(&range(8_000..=8_000));
    let others = world.observed.datapath.services_v4.clone();
    for n in 0..SERVICES_MAX - 3 {
        let [_, a, b, c] = n.to_be_bytes();
        let MapKey::V4(key) = MapKey::of_vip(Prefix::host(Ipv4Addr::new(9, a, b, c).into())) else {
            unreachable!()
        };
        world.observed.datapath.services_v4.insert(key, Entry::default());
    }
    let spec = range(8_000..=8_002);
    let desired = desired(core::slice::from_ref(&spec));
    let plan = world.plan(&desired);
    let is_put = |step: &Step| matches!(step, Step::PutServiceV4 { .. });
    assert!(!plan.steps.iter().any(is_put), "there is room for one port");
    assert_eq!(plan.vips[&spec.vip].reason, Some(Reason::NoRoom));
    world.observed.datapath.services_v4 = others;
    assert_eq!(world.settle(&desired), ["put service 8001", "put service 8002"]);
}

#[test]
fn a_range_that_begins_elsewhere_keeps_its_ring_and_the_flows_that_drain() {
    let before = Service { backends: service(tcp(VIP, 1), 1..=3).backends, ..range(8_010..=8_011) };
    let (mut world, _) = up(&before);
    let backends = service(tcp(VIP, 1), 1..=2).backends;
    let mut draining = Vec::new();
    for begins in [8_010..=8_011, 8_005..=8_011, 8_009..=8_012] {
        let spec = Service { backends: backends.clone(), ..range(begins) };
        let desired = desired(core::slice::from_ref(&spec));
        world.all_healthy(&desired);
        world.settle(&desired);
        let unsettled = world.observed.datapath.slots.iter().filter(|slot| !slot.is_settled());
        draining.push(unsettled.count());
        assert_eq!(ports(&world), ((spec.vip.port..=spec.last_port).collect(), 1));
        assert_eq!(world.state(&desired, spec.vip).programmed.unwrap().ring_size, 1_024);
    }
    let [first, ..] = draining[..] else { unreachable!() };
    assert!((300..400).contains(&first), "a third of the slots: {first}");
    assert_eq!(draining, [first; 3]);
}
