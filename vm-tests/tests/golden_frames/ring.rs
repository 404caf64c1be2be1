//! Which backend a flow belongs to, in settled slots and while they change.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use tidegate_abi::{
    Backend, Counter, DatapathConfig, FLOWS_MAX, Service, ServiceKeyV4, Slot, backend_flags,
    backend_kinds, features, flow_hash_v4, flow_hash_v6, service_flags, slot_of,
};
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, eth, tcp};

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

/// Old backend 1, new backend 2, in a program that can keep clients together.
fn xdp() -> Xdp {
    let wanted = |constants: &mut DatapathConfig| constants.features = features::AFFINITY_CLIENT;
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), wanted);
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
fn with_affinity_by_prefix_neighbouring_clients_stay_together() {
    let mut xdp = xdp();
    xdp.slots(|place| Slot::settled(if place % 2 == 0 { OLD } else { NEW }));
    let uncounted = |bits: u32| bits << service_flags::UNCOUNTED_BITS;
    let backends_of = |xdp: &Xdp, frames: Vec<Frame>| -> BTreeSet<Option<u32>> {
        frames.iter().map(|frame| xdp.run(frame).backend).collect()
    };
    let client4 = |net: u8, host: u8| {
        let client = Ipv4Addr::new(203, 0, net, host);
        from_router().ipv4(client, VIP4).tcp(5, 80, tcp::SYN)
    };
    xdp.service(3, TCP, service_flags::AFFINITY_CLIENT | uncounted(8));
    let one_net = (0..=255).map(|host| client4(7, host)).collect();
    assert_eq!(backends_of(&xdp, one_net).len(), 1);
    let many_nets = (0..=255).map(|net| client4(net, 7)).collect();
    assert_eq!(backends_of(&xdp, many_nets).len(), 2, "networks still spread");

    xdp.backend(OLD, entry(backend_kinds::IPV6_IN_IPV6));
    xdp.backend(NEW, entry(backend_kinds::IPV6_IN_IPV6));
    let client6 = |net: u16, subnet: u16, host: u16| {
        let client = [0x2001, 0xdb8, net, subnet, 0, host, 0, host].into();
        from_router().ipv6(client, VIP6).tcp(5, 80, tcp::SYN)
    };
    xdp.service(3, TCP, service_flags::AFFINITY_CLIENT | uncounted(72)); // A /56.
    let one_net = (0..=255).map(|n| client6(7, 0x1100 | n, n)).collect();
    assert_eq!(backends_of(&xdp, one_net).len(), 1);
    let many_nets = (0..256).map(|n| client6(7, n << 8, 1)).collect();
    assert_eq!(backends_of(&xdp, many_nets).len(), 2);
    xdp.service(3, TCP, service_flags::AFFINITY_CLIENT);
    let many_hosts = (0..256).map(|n| client6(7, 1, n)).collect();
    assert_eq!(backends_of(&xdp, many_hosts).len(), 2, "by address, all of it counts");
}

#[test]
fn a_service_of_every_port_takes_what_no_other_has() {
    let any_port = |constants: &mut DatapathConfig| constants.features = features::ANY_PORT;
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), any_port);
    let to = |port| from_router().ipv4(CLIENT4, VIP4).tcp(5, port, tcp::SYN);
    assert_eq!(xdp.run(&to(81)).counter, Counter::DropNoService);
    xdp.service_on(0, 3, TCP, 0);
    assert_eq!(xdp.run(&to(80)).service, Some(1), "its own port");
    for port in [0, 1, 79, 81, 65_535] {
        assert_eq!(xdp.run(&to(port)).service, Some(3), "{port}");
    }
    let datagram = from_router().ipv4(CLIENT4, VIP4).udp(5, 81);
    assert_eq!(xdp.run(&datagram).counter, Counter::DropNoService, "another protocol");
    let quoted = eth([0; 6], [0; 6]).ipv4(VIP4, CLIENT4).tcp(81, 5, tcp::ACK);
    let error = from_router().ipv4(CLIENT4, VIP4).icmp(3, 4, [0; 4]).inner_of(&quoted);
    assert_eq!(xdp.run(&error).service, Some(3));
    // The flow is remembered as long as its service has a slot in transition.
    xdp.all_slots(Slot::in_transition(1, 2));
    assert_eq!(xdp.run(&to(81)).backend, Some(1));
    xdp.apply(&Step::PutSlots { slots: vec![(0, Slot::settled(0))] });
    assert_eq!(xdp.datapath.flow_count().unwrap(), 1);
    xdp.all_slots(Slot::settled(1));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0);
}

#[test]
fn sctp_is_a_service_of_its_own_and_an_init_opens_a_flow() {
    const SCTP: u8 = 132;
    let mut xdp = xdp();
    let packet = |port: u16, chunk: u8| {
        let mut bytes = vec![0; 20];
        bytes[..2].copy_from_slice(&port.to_be_bytes());
        (bytes[3], bytes[12], bytes[15]) = (80, chunk, 8);
        from_router().ipv4(CLIENT4, VIP4).proto(SCTP).payload(bytes)
    };
    assert_eq!(xdp.run(&packet(1, 1)).counter, Counter::DropNoService);
    xdp.service(3, SCTP, 0);
    assert_eq!(xdp.run(&packet(1, 1)).service, Some(3));
    xdp.all_slots(Slot::in_transition(NEW, OLD));
    assert_eq!(xdp.run(&packet(1, 0)).backend, Some(OLD), "DATA of an old association");
    assert_eq!(xdp.run(&packet(2, 1)).backend, Some(NEW), "INIT");
    assert_eq!(xdp.run(&packet(2, 0)).backend, Some(NEW), "DATA after it");
    let short = from_router().ipv4(CLIENT4, VIP4).proto(SCTP).payload([0; 15]);
    assert_eq!(xdp.run(&short).counter, Counter::DropMalformed);
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
    let key = ServiceKeyV4 { addr: VIP4.octets(), port: [0, 81], proto: TCP, prefix_len: 0 };
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

/// Opens as many flows as the table takes.
fn fill_the_table(xdp: &mut Xdp) {
    xdp.all_slots(Slot { current: NEW, previous: OLD });
    for flow in 0..FLOWS_MAX {
        let client = Ipv4Addr::from(0x0a00_0000 + flow);
        let syn = from_router().ipv4(client, VIP4).tcp(1, 80, tcp::SYN).bytes();
        xdp.datapath.test_run(&syn, 1).unwrap();
    }
    assert_eq!(xdp.datapath.counters().unwrap()[&Counter::FlowTableFull], 0);
    assert_eq!(xdp.datapath.flow_count().unwrap(), FLOWS_MAX as usize);
}

#[test]
fn a_full_flow_table_is_counted_once_where_two_programs_look_for_the_owner() {
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features::VARY_V4;
        constants.vary_v4 = 0xff;
    });
    let entry = entry(backend_kinds::IPV4_IN_IPV4);
    xdp.backend(OLD, Backend { flags: entry.flags | backend_flags::VARIED, ..entry });
    xdp.backend(NEW, entry);
    fill_the_table(&mut xdp);
    let run = xdp.run(&syn4());
    assert_eq!((run.backend, run.events), (Some(OLD), vec![Counter::FlowTableFull]));
    // And once where the first program sends it on by itself.
    xdp.all_slots(Slot { current: OLD, previous: NEW });
    let run = xdp.run(&syn4());
    assert_eq!((run.backend, run.events), (Some(NEW), vec![Counter::FlowTableFull]));
}

#[test]
fn a_full_flow_table_is_counted_and_breaks_nobody() {
    let mut xdp = xdp();
    fill_the_table(&mut xdp);
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
