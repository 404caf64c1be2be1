//! Which backend a flow belongs to, in settled slots and while they change.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use tidegate_abi::{
    Backend, Counter, FLOWS_MAX, Service, ServiceKeyV4, Slot, backend_kinds, flow_hash_v4,
    flow_hash_v6, service_flags, slot_of,
};
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, tcp};

use crate::xdp::{
    CLIENT4, CLIENT6, RING_OFFSET, RING_SIZE, TCP, VIP4, VIP6, Xdp, entry, from_router, syn4,
};

const SEED: u64 = 0x7469_6465;
const OLD: u32 = 1;
const NEW: u32 = 2;

fn segment(port: u16, flags: u8) -> Frame {
    from_router().ipv4(CLIENT4, VIP4).tcp(port, 80, flags)
}

/// An address as two big-endian words.
fn words(addr: Ipv6Addr) -> [u64; 2] {
    let [high, low] = [0..8, 8..16].map(|half| addr.octets()[half].try_into().unwrap());
    [u64::from_be_bytes(high), u64::from_be_bytes(low)]
}

/// Old backend 1, new backend 2.
fn xdp() -> Xdp {
    let mut xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    xdp.backend(NEW, entry(backend_kinds::IPV4_IN_IPV4));
    xdp
}

#[test]
fn the_flow_hash_names_the_slot() {
    // Every slot names a backend of its own, so the backend says which slot was taken.
    let mut xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let both = [backend_kinds::IPV4_IN_IPV4, backend_kinds::IPV6_IN_IPV4].map(entry);
    let slots = (0..RING_SIZE).map(|slot| (RING_OFFSET + slot, Slot::settled(1 + slot))).collect();
    xdp.apply(&Step::PutSlots { slots });
    for (family, entry) in both.into_iter().enumerate() {
        for index in 1..=RING_SIZE {
            let fresh = false;
            xdp.apply(&Step::PutBackend { index, entry, fresh });
        }
        for port in [1_u16, 40_000, 40_001, 65_535] {
            let ports = (u32::from(port) << 16) + 80;
            let (hash, frame) = if family == 0 {
                let addrs = u64::from(u32::from(CLIENT4)) << 32 | u64::from(u32::from(VIP4));
                (flow_hash_v4(SEED, addrs, ports, TCP), segment(port, tcp::SYN))
            } else {
                let (src, dst) = (words(CLIENT6), words(VIP6));
                let frame = from_router().ipv6(CLIENT6, VIP6).tcp(port, 80, tcp::SYN);
                (flow_hash_v6(SEED, src, dst, ports, TCP), frame)
            };
            let backend = 1 + slot_of(hash, RING_SIZE);
            let before = xdp.datapath.backend_traffic(backend).unwrap().packets;
            xdp.datapath.test_run(&frame.bytes(), 1).unwrap();
            let after = xdp.datapath.backend_traffic(backend).unwrap().packets;
            assert_eq!(after, before + 1, "port {port}, family {family}");
        }
    }
}

#[test]
fn with_client_affinity_all_flows_of_a_client_stay_together() {
    let mut xdp = xdp();
    let slots = (0..RING_SIZE).map(|slot| (RING_OFFSET + slot, Slot::settled(1 + slot % 2)));
    xdp.apply(&Step::PutSlots { slots: slots.collect() });
    let backends = |xdp: &Xdp, frame: &dyn Fn(u16) -> Frame| -> BTreeSet<u32> {
        (40_000..40_064).map(|port| xdp.run(&frame(port)).backend.unwrap()).collect()
    };
    let one_client = |port| segment(port, tcp::SYN);
    assert_eq!(backends(&xdp, &one_client).len(), 2, "flows spread by default");
    xdp.service(3, TCP, service_flags::AFFINITY_CLIENT);
    assert_eq!(backends(&xdp, &one_client).len(), 1);
    let many_clients = |port: u16| {
        let [high, low] = port.to_be_bytes();
        from_router().ipv4(Ipv4Addr::new(203, 0, high, low), VIP4).tcp(5, 80, tcp::SYN)
    };
    assert_eq!(backends(&xdp, &many_clients).len(), 2, "clients still spread");

    xdp.backend(1, entry(backend_kinds::IPV6_IN_IPV6));
    xdp.backend(2, entry(backend_kinds::IPV6_IN_IPV6));
    let one_client = |port| from_router().ipv6(CLIENT6, VIP6).tcp(port, 80, tcp::SYN);
    assert_eq!(backends(&xdp, &one_client).len(), 1);
}

#[test]
fn while_a_slot_changes_old_flows_stay_and_new_ones_move() {
    let mut xdp = xdp();
    assert_eq!(xdp.run(&segment(1, tcp::SYN)).backend, Some(OLD), "the old flow opens");
    xdp.all_slots(Slot { current: NEW, previous: OLD });

    assert_eq!(xdp.run(&segment(1, tcp::ACK)).backend, Some(OLD), "and stays");
    assert_eq!(xdp.run(&segment(2, tcp::ACK)).backend, Some(OLD), "so does one never seen");
    assert_eq!(xdp.run(&segment(3, tcp::SYN)).backend, Some(NEW), "a new one moves");
    for flags in [tcp::ACK, tcp::SYN | tcp::ACK, tcp::FIN | tcp::ACK, tcp::RST] {
        assert_eq!(xdp.run(&segment(3, flags)).backend, Some(NEW), "and is remembered");
    }
    let datagram = from_router().ipv4(CLIENT4, VIP4).udp(1, 80);
    assert_eq!(xdp.run(&datagram).backend, Some(NEW), "UDP has no SYN");
    assert_eq!(xdp.datapath.flow_count().unwrap(), 1, "only the SYN was remembered");

    xdp.all_slots(Slot { current: NEW, previous: 0 });
    assert_eq!(xdp.run(&segment(1, tcp::ACK)).backend, Some(NEW), "nobody is left there");
}

#[test]
fn a_change_that_is_taken_back_moves_nobody() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::in_transition(NEW, OLD));
    assert_eq!(xdp.run(&segment(3, tcp::SYN)).backend, Some(NEW));
    xdp.all_slots(Slot::in_transition(OLD, OLD));
    assert_eq!(xdp.run(&segment(1, tcp::ACK)).backend, Some(OLD), "older than both changes");
    assert_eq!(xdp.run(&segment(3, tcp::ACK)).backend, Some(NEW), "came in between");
    assert_eq!(xdp.run(&segment(4, tcp::SYN)).backend, Some(OLD), "new");
    xdp.all_slots(Slot::in_transition(0, 0));
    assert_eq!(xdp.run(&segment(3, tcp::ACK)).backend, Some(NEW), "no new ones, old ones drain");
    assert_eq!(xdp.run(&segment(5, tcp::SYN)).counter, Counter::DropNoBackend);
    assert_eq!(xdp.run(&segment(5, tcp::ACK)).counter, Counter::DropNoBackend);
}

#[test]
fn only_a_segment_that_can_open_a_connection_is_new() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::in_transition(NEW, OLD));
    for more in [tcp::ACK, tcp::FIN, tcp::RST, tcp::FIN | tcp::RST] {
        assert_eq!(xdp.run(&segment(1, tcp::SYN | more)).backend, Some(OLD));
    }
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0);
    let ecn = 0xc0; // CWR and ECE ask for ECN (RFC 3168 §6.1.1).
    assert_eq!(xdp.run(&segment(1, tcp::SYN | ecn)).backend, Some(NEW));
}

#[test]
fn flows_of_a_settled_service_are_forgotten_while_another_changes() {
    let mut xdp = xdp();
    let ring_offset = RING_OFFSET + RING_SIZE;
    let service = Service { ring_offset, ring_size: RING_SIZE, index: 5, flags: 0 };
    let key = ServiceKeyV4 { addr: VIP4.octets(), port: [0, 81], proto: TCP, reserved: 0 };
    xdp.apply(&Step::PutServiceV4 { key, service, fresh: true });
    let other = (ring_offset..ring_offset + RING_SIZE)
        .map(|index| (index, Slot::in_transition(NEW, OLD)))
        .collect();
    xdp.apply(&Step::PutSlots { slots: other });
    xdp.all_slots(Slot::in_transition(NEW, OLD));
    let syn = from_router().ipv4(CLIENT4, VIP4).tcp(3, 81, tcp::SYN).bytes();
    xdp.datapath.test_run(&syn, 1).unwrap();
    xdp.run(&segment(3, tcp::SYN));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 2);
    xdp.all_slots(Slot::settled(NEW));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 1, "the other service's");
    xdp.apply(&Step::DeleteServiceV4 { key });
    xdp.all_slots(Slot::settled(NEW));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0, "a service that is gone has no flows");
}

#[test]
fn a_remembered_flow_stays_through_the_next_change() {
    let mut xdp = xdp();
    xdp.all_slots(Slot { current: NEW, previous: OLD });
    assert_eq!(xdp.run(&segment(3, tcp::SYN)).backend, Some(NEW));
    xdp.all_slots(Slot { current: OLD, previous: OLD + 4 });
    assert_eq!(xdp.run(&segment(3, tcp::ACK)).backend, Some(NEW));
}

#[test]
fn settled_slots_neither_fill_nor_ask_the_table() {
    let mut xdp = xdp();
    xdp.run(&segment(1, tcp::SYN));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0);
    xdp.all_slots(Slot { current: NEW, previous: OLD });
    xdp.run(&segment(2, tcp::SYN));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 1);
    xdp.all_slots(Slot::settled(OLD));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0, "it serves no slot any more");
    assert_eq!(xdp.run(&segment(2, tcp::ACK)).backend, Some(OLD));
}

#[test]
fn a_freed_backend_is_forgotten_with_its_flows() {
    let mut xdp = xdp();
    xdp.all_slots(Slot { current: NEW, previous: OLD });
    assert_eq!(xdp.run(&segment(3, tcp::SYN)).backend, Some(NEW));
    xdp.all_slots(Slot { current: OLD, previous: 0 });
    xdp.apply(&Step::FreeBackend { index: NEW });
    assert_eq!(xdp.run(&segment(3, tcp::ACK)).backend, Some(OLD), "whoever has the index next");
}

#[test]
fn a_full_flow_table_is_counted_and_breaks_nobody() {
    let mut xdp = xdp();
    xdp.all_slots(Slot { current: NEW, previous: OLD });
    for flow in 0..FLOWS_MAX {
        let client = Ipv4Addr::from(0x0a00_0000 + flow);
        let syn = from_router().ipv4(client, VIP4).tcp(1, 80, tcp::SYN).bytes();
        xdp.datapath.test_run(&syn, 1).unwrap();
    }
    assert_eq!(xdp.datapath.counters().unwrap()[&Counter::FlowTableFull], 0);
    assert_eq!(xdp.datapath.flow_count().unwrap(), FLOWS_MAX as usize);
    // One more cannot be remembered: it goes where its next packet will be sent.
    let run = xdp.run(&syn4());
    assert_eq!((run.counter, run.backend), (Counter::ForwardTx, Some(OLD)));
    assert_eq!(run.events, [Counter::FlowTableFull]);
    let ack = from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 80, tcp::ACK);
    let run = xdp.run(&ack);
    assert_eq!((run.backend, run.events), (Some(OLD), vec![]));
    // Of those that are remembered none has made room, and each may open again.
    for flow in [0, 1, FLOWS_MAX / 2, FLOWS_MAX - 1] {
        let client = Ipv4Addr::from(0x0a00_0000 + flow);
        for flags in [tcp::ACK, tcp::SYN] {
            let run = xdp.run(&from_router().ipv4(client, VIP4).tcp(1, 80, flags));
            assert_eq!((run.backend, run.events), (Some(NEW), vec![]), "flow {flow}");
        }
    }
    // Without an old backend all go to the new one.
    xdp.all_slots(Slot { current: NEW, previous: 0 });
    assert_eq!(xdp.run(&syn4()).backend, Some(NEW));
    xdp.all_slots(Slot::settled(NEW));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0);
}

#[test]
fn the_daemon_reads_back_what_it_wrote() {
    let mut xdp = xdp();
    xdp.all_slots(Slot { current: NEW, previous: OLD });
    xdp.run(&segment(3, tcp::SYN));
    let seen = xdp.datapath.observe().unwrap();
    assert!(seen.attached, "to all of no interfaces");
    assert_eq!((seen.services_v4.len(), seen.services_v6.len()), (3, 3));
    assert_eq!(seen.backends.keys().copied().collect::<Vec<_>>(), [OLD, NEW]);
    assert_eq!(seen.backends[&NEW], entry(backend_kinds::IPV4_IN_IPV4));
    assert_eq!(seen.slots.len(), (RING_OFFSET + RING_SIZE) as usize);
    assert_eq!(seen.slots[0], Slot::settled(0));
    assert_eq!(seen.slots.last(), Some(&Slot { current: NEW, previous: OLD }));

    assert_eq!(xdp.datapath.backend_traffic(NEW).unwrap().packets, 1);
    let entry = Backend::FREE;
    xdp.apply(&Step::PutBackend { index: NEW, entry, fresh: true });
    assert_eq!(xdp.datapath.backend_traffic(NEW).unwrap().packets, 0, "a fresh row starts at 0");
    assert_eq!(xdp.datapath.observe().unwrap().backends.len(), 1);

    let key = *seen.services_v4.keys().next().unwrap();
    for _ in 0..2 {
        xdp.apply(&Step::DeleteServiceV4 { key }); // Doing it twice does no harm.
        assert_eq!(xdp.datapath.observe().unwrap().services_v4.len(), 2);
    }
    let step = Step::PutSlots { slots: vec![(tidegate_abi::RING_SLOTS_MAX, Slot::settled(1))] };
    let error = xdp.datapath.apply(&step).unwrap_err().to_string();
    assert!(error.contains("no row 1048576 in RING_SLOTS"), "{error}");
}
