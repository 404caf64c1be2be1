use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

use tidegate_abi::{
    Backend, DatapathConfig, Service as Entry, Slot, backend_flags, features, ring_size,
};
use tidegate_bgp::speaker::RouteAttributes;
use tidegate_bgp::types::{Asn, RouterId};
use tidegate_config::desired::{
    Advertise, Affinity, AllDown, Api, AttachMode, Backend as Weight, Datapath, ForwardingMode,
    HealthCheck, Nat, NatTimeouts, Probe, Protocol, Router, ServerId, UdpFlows,
};

use super::*;
use crate::observed::Way;
use crate::proof::Finding;
use crate::view::{BackendState, Programmed, Proof};
use crate::{Memory, entry};

mod drains;
mod explain;
mod flows;
mod life;
mod nat;
mod ports;
mod prefixes;
mod proof;
mod property;
mod quic;
mod sharing;
mod slow_start;
pub(crate) mod world;

use world::*;

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
        spec.backends.insert(backend(2), Weight::of_weight(0));
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
fn a_service_that_is_new_here_waits_for_the_verdicts_of_all_and_then_has_no_past() {
    let vip = tcp(VIP, 80);
    let mut desired = desired(&[service(vip, 1..=4)]);
    for spec in desired.services.values_mut() {
        spec.backends.insert(backend(4), Weight::of_weight(0)); // It may stay without.
    }
    let mut world = World::new();
    world.observed.unproven = (1..=4).map(|n| (vip, backend(n))).collect();
    world.observed.healthy.clear();
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!(state.backends[&backend(1)].state, BackendState::Unproven);
    assert_eq!((state.programmed, state.withheld), (None, Some(Reason::NotChecked)));
    world.observed.unproven = [(vip, backend(2)), (vip, backend(4))].into();
    world.observed.healthy = [(vip, backend(1))].into();
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!((state.programmed, state.withheld), (None, Some(Reason::NotChecked)));
    assert!(world.observed.advertised.is_empty());

    // Flows that other nodes have opened find the same backends here: no slot has a previous one.
    world.observed.unproven = [(vip, backend(4))].into();
    world.observed.healthy = [(vip, backend(1)), (vip, backend(2))].into();
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!(state.programmed.unwrap().unsettled, 0);
    assert!(world.ring(vip).iter().all(|owner| *owner != Some(backend(3))));
    assert!(world.observed.advertised.contains_key(&vip.addrs));
}

#[test]
fn a_new_backend_without_a_verdict_stays_out_of_a_ring_until_it_has_one() {
    let (mut world, mut desired, vip) = running(1);
    for spec in desired.services.values_mut() {
        spec.backends.insert(backend(2), Weight::of_weight(1));
    }
    world.observed.unproven = [(vip, backend(2))].into();
    world.settle(&desired);
    assert_eq!(world.state(&desired, vip).backends[&backend(2)].state, BackendState::Unproven);
    assert!(world.ring(vip).iter().all(|owner| *owner == Some(backend(1))));
    assert!(world.observed.advertised.contains_key(&vip.addrs));
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
    assert!(world.observed.advertised.contains_key(&vip.addrs));
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
    assert!(world.observed.advertised.contains_key(&vip.addrs));
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
    spec.backends.insert(backend(2), Weight::of_weight(0));
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
    assert_eq!(world.observed.advertised[&vip.addrs].med, Some(5));
    let both = features::UDP_FLOWS | features::AFFINITY_CLIENT;
    let wanted = crate::constants(&desired).features & both;
    let in_use =
        crate::with_leftovers(DatapathConfig::default(), &world.observed.datapath).features;
    assert_eq!((wanted, in_use), (both, both));
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
    assert_eq!(world.settle(&desired), ["put service 443"], "its ring is there");
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
    assert!(world.observed.advertised.contains_key(&http.addrs));
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
    assert_eq!(world.settle(&one), ["delete service 443"], "their ring stays");
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
            &Step::Withdraw { prefix: other.addrs, reason: Reason::NotConfigured, hold_down: None },
            &world.observed.datapath,
            secs(99),
        );
    }
    world.settle(&desired);
    let state = world.state(&desired, vip);
    assert_eq!((state.programmed, state.withheld), (None, Some(Reason::NoRoom)));
    world.converge(&desired);
    assert_eq!(world.now, secs(101));
    assert!(world.observed.advertised.contains_key(&vip.addrs));
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
        base.iter().map(|owner| owner.map(|owner| members[owner.index()].addr)).collect();
    assert!(world.ring(vip) == owners, "whoever else computes it gets the same");
}
