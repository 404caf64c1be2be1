//! Services that remember their UDP flows.

use tidegate_abi::{Counter, Slot, UDP_FLOWS_MAX, backend_kinds, features, service_flags};
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, eth};

use crate::xdp::{CLIENT4, INGRESS, UDP, VIP4, Xdp, entry, from_router};

/// Three backends, and the UDP service remembers.
fn xdp() -> Xdp {
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features::UDP_FLOWS;
    });
    xdp.service(2, UDP, service_flags::UDP_FLOWS);
    xdp.backend(2, entry(backend_kinds::IPV4_IN_IPV4));
    xdp.backend(3, entry(backend_kinds::IPV4_IN_IPV4));
    xdp
}

fn datagram(port: u16) -> Frame {
    from_router().ipv4(CLIENT4, VIP4).udp(port, 80)
}

fn backend(xdp: &Xdp, port: u16) -> Option<u32> {
    xdp.run(&datagram(port)).backend
}

#[test]
fn a_udp_flow_stays_while_its_slot_changes_and_new_ones_move() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::settled(1));
    assert_eq!(backend(&xdp, 1), Some(1));
    xdp.all_slots(Slot::in_transition(2, 1));
    assert_eq!(backend(&xdp, 1), Some(1), "older than the change");
    assert_eq!(backend(&xdp, 2), Some(2), "new");
    assert_eq!(backend(&xdp, 2), Some(2));
    xdp.all_slots(Slot::settled(2));
    assert_eq!(backend(&xdp, 1), Some(2), "the drain time is over");
    xdp.all_slots(Slot::in_transition(1, 2));
    assert_eq!(backend(&xdp, 1), Some(2), "and it is at home there");
}

#[test]
fn a_change_that_is_taken_back_moves_no_udp_flow_of_before() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::settled(1));
    assert_eq!(backend(&xdp, 1), Some(1));
    xdp.all_slots(Slot::in_transition(2, 1));
    assert_eq!(backend(&xdp, 1), Some(1));
    assert_eq!(backend(&xdp, 2), Some(2));
    xdp.all_slots(Slot::in_transition(1, 1));
    assert_eq!(backend(&xdp, 1), Some(1));
    assert_eq!(backend(&xdp, 2), Some(1), "opened meanwhile: the slot names its backend no more");
}

#[test]
fn a_udp_flow_leaves_a_backend_that_is_dead() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::settled(1));
    assert_eq!(backend(&xdp, 1), Some(1));
    // What is dead is never the older one.
    xdp.all_slots(Slot::in_transition(2, 2));
    assert_eq!(backend(&xdp, 1), Some(2));
    xdp.all_slots(Slot::in_transition(0, 0));
    assert_eq!(xdp.run(&datagram(1)).counter, Counter::DropNoBackend);
    xdp.all_slots(Slot::settled(3));
    assert_eq!(backend(&xdp, 1), Some(3));
}

#[test]
fn an_error_that_quotes_a_flow_finds_it_and_teaches_nothing() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::settled(1));
    let error = |port| {
        let answer = eth([0; 6], [0; 6]).ipv4(VIP4, CLIENT4).udp(80, port).payload([0; 8]);
        from_router().ipv4(CLIENT4, VIP4).icmp(3, 3, [0; 4]).inner_of(&answer)
    };
    assert_eq!(backend(&xdp, 1), Some(1));
    assert_eq!(xdp.run(&error(2)).backend, Some(1));
    xdp.all_slots(Slot::in_transition(2, 1));
    assert_eq!(xdp.run(&error(1)).backend, Some(1), "the owner of the flow");
    assert_eq!(backend(&xdp, 2), Some(2), "an error alone is no flow");
}

#[test]
fn a_service_that_does_not_remember_moves_its_udp_flows_at_once() {
    let mut xdp = xdp();
    xdp.service(2, UDP, 0);
    xdp.all_slots(Slot::settled(1));
    assert_eq!(backend(&xdp, 1), Some(1));
    xdp.all_slots(Slot::in_transition(2, 1));
    assert_eq!(backend(&xdp, 1), Some(2));
}

#[test]
fn a_flood_of_udp_flows_stops_nobody() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::settled(1));
    for client in 0..2 * UDP_FLOWS_MAX {
        let [_, a, b, c] = client.to_be_bytes();
        let flood = from_router().ipv4([11, a, b, c].into(), VIP4).udp(9, 80);
        xdp.datapath.test_run(&flood.bytes(), INGRESS).unwrap();
    }
    xdp.all_slots(Slot::in_transition(2, 1));
    let of = |client: u32| {
        let [_, a, b, c] = client.to_be_bytes();
        xdp.run(&from_router().ipv4([11, a, b, c].into(), VIP4).udp(9, 80)).backend
    };
    assert_eq!(of(2 * UDP_FLOWS_MAX - 1), Some(1), "the last ones are remembered");
    assert_eq!(of(0), Some(2), "the first ones have made room");
}

#[test]
fn whoever_gets_a_freed_index_gets_no_flow_of_the_one_before() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::settled(2));
    assert_eq!(backend(&xdp, 1), Some(2));
    xdp.all_slots(Slot::settled(3));
    xdp.apply(&Step::FreeBackend { index: 2 });
    xdp.backend(2, entry(backend_kinds::IPV4_IN_IPV4));
    xdp.all_slots(Slot::in_transition(2, 1));
    assert_eq!(backend(&xdp, 2), Some(2), "a flow of its own");
    xdp.all_slots(Slot::in_transition(1, 2));
    assert_eq!(backend(&xdp, 2), Some(2), "and it keeps that");
    assert_eq!(backend(&xdp, 1), Some(1), "new to it");
}
