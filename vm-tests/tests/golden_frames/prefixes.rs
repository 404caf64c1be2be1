//! VIPs that are prefixes: all their addresses are served, and the longest prefix counts.

use std::net::{Ipv4Addr, Ipv6Addr};

use tidegate_abi::{
    Counter, DatapathConfig, Service, Slot, backend_kinds, features, service_flags, vip_lens,
};
use tidegate_bgp::types::Prefix;
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, eth, tcp};

use crate::xdp::{
    BACKEND4, CLIENT4, CLIENT6, SOURCE4, TCP, UDP, VIP4, Xdp, entry, from_router, to_backend,
};

fn prefix(addr: impl Into<std::net::IpAddr>, len: u8) -> Prefix {
    Prefix::new(addr.into(), len).unwrap()
}

/// Programs with /28 and /20 for IPv4, /64 and /48 for IPv6.
fn lens(constants: &mut DatapathConfig) {
    (constants.vip_lens_v4, constants.vip_lens_v6) = (vip_lens([28, 20]), vip_lens([64, 48]));
}

fn xdp(kind: u8) -> Xdp {
    Xdp::with_constants(entry(kind), lens)
}

fn syn(to: [u8; 4]) -> Frame {
    from_router().ipv4(CLIENT4, to.into()).tcp(40_000, 80, tcp::SYN)
}

#[test]
fn every_address_of_a_prefix_is_served_and_those_beside_it_are_not() {
    let mut xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    xdp.prefix_service(prefix([198, 51, 100, 16], 28), 3, TCP, 0);
    for last in 0..=255 {
        let run = xdp.run(&syn([198, 51, 100, last]));
        let wanted = if (16..32).contains(&last) {
            (Counter::ForwardTx, Some(3))
        } else {
            (Counter::PassNotOurs, None)
        };
        assert_eq!((run.counter, run.service), wanted, "{last}");
    }
    let run = xdp.run(&syn([198, 51, 100, 20]));
    let wanted = to_backend().ipv4(SOURCE4, BACKEND4).inner_of(&syn([198, 51, 100, 20]));
    assert_frame_eq(&run.frame, &wanted);
    let other = from_router().ipv4(CLIENT4, [198, 51, 100, 20].into());
    assert_eq!(xdp.run(&other.clone().tcp(5, 81, tcp::SYN)).counter, Counter::DropNoService);
    assert_eq!(xdp.run(&other.udp(5, 80)).counter, Counter::DropNoService, "another protocol");
    assert_eq!(xdp.run(&crate::xdp::syn4()).service, Some(1), "a VIP of one address");
}

#[test]
fn the_same_for_ipv6() {
    let mut xdp = xdp(backend_kinds::IPV6_IN_IPV6);
    let net: Ipv6Addr = "2001:db8:5:8000::".parse().unwrap();
    xdp.prefix_service(prefix(net, 64), 3, TCP, 0);
    xdp.prefix_service(prefix("2001:db8:6::".parse::<Ipv6Addr>().unwrap(), 48), 4, TCP, 0);
    let cases = [
        ("2001:db8:5:8000::", Some(3)),
        ("2001:db8:5:8000:ffff:ffff:ffff:ffff", Some(3)),
        ("2001:db8:5:8001::", None),
        ("2001:db8:5:7fff:ffff:ffff:ffff:ffff", None),
        ("2001:db8:6:1:2:3:4:5", Some(4)),
        ("2001:db8:7::", None),
    ];
    for (to, wanted) in cases {
        let frame = from_router().ipv6(CLIENT6, to.parse().unwrap()).tcp(5, 80, tcp::SYN);
        assert_eq!(xdp.run(&frame).service, wanted, "{to}");
    }
}

#[test]
fn of_several_vips_the_longest_prefix_counts_with_its_own_services_alone() {
    let mut xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    xdp.prefix_service(prefix([198, 51, 96, 0], 20), 3, TCP, service_flags::ECHO);
    xdp.prefix_service(prefix([198, 51, 100, 16], 28), 4, UDP, 0);
    let host = prefix([198, 51, 100, 17], 32);
    xdp.put_at(host, 0, 0, Service::default());
    let counter = |frame: &Frame| {
        let run = xdp.run(frame);
        (run.counter, run.service)
    };
    let tcp = |to: [u8; 4]| counter(&syn(to));
    let udp = |to: [u8; 4]| counter(&from_router().ipv4(CLIENT4, to.into()).udp(5, 80));
    let ping = |to: [u8; 4]| {
        counter(&from_router().ipv4(CLIENT4, to.into()).icmp(8, 0, [0; 4]).payload([1; 8])).0
    };
    let none = (Counter::DropNoService, None);
    // In the /20 alone; in the /28; the address that is a VIP of its own.
    assert_eq!(tcp([198, 51, 101, 1]), (Counter::ForwardTx, Some(3)));
    assert_eq!(tcp([198, 51, 100, 18]), none);
    assert_eq!(tcp([198, 51, 100, 17]), none);
    assert_eq!(udp([198, 51, 101, 1]), none);
    assert_eq!(udp([198, 51, 100, 18]), (Counter::ForwardTx, Some(4)));
    assert_eq!(udp([198, 51, 100, 17]), none);
    assert_eq!(ping([198, 51, 101, 1]), Counter::EchoReply);
    assert_eq!(ping([198, 51, 100, 18]), Counter::DropNoService);
    assert_eq!(ping([198, 51, 100, 17]), Counter::DropNoService);
}

#[test]
fn an_error_and_parts_of_a_datagram_find_the_service_of_a_prefix() {
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        lens(constants);
        constants.features = features::ANY_PORT;
    });
    let to = Ipv4Addr::new(198, 51, 100, 20);
    xdp.prefix_service(prefix(to, 28), 3, UDP, service_flags::ECHO);
    let quoted = eth([0; 6], [0; 6]).ipv4(to, CLIENT4).udp(80, 5).payload([0; 8]);
    let error = from_router().ipv4(CLIENT4, to).icmp(3, 4, [0; 4]).inner_of(&quoted);
    assert_eq!(xdp.run(&error).service, Some(3));
    let first = from_router().ipv4(CLIENT4, to).fragment(0x2000).udp(5, 80).payload([5; 800]);
    let later = from_router().ipv4(CLIENT4, to).fragment(0x0064).proto(UDP).payload([5; 800]);
    assert_eq!(xdp.run(&later).counter, Counter::DropFragment, "before the first one");
    assert_eq!(xdp.run(&first).service, Some(3));
    assert_eq!(xdp.run(&later).service, Some(3));
    let ping = from_router().ipv4(CLIENT4, to).icmp(8, 0, [0, 1, 0, 2]).payload([1; 8]);
    let run = xdp.run(&ping);
    let wanted = eth(crate::xdp::US, crate::xdp::ROUTER).ipv4(to, CLIENT4).icmp(0, 0, [0, 1, 0, 2]);
    assert_eq!(run.counter, Counter::EchoReply);
    assert_frame_eq(&run.frame, &wanted.payload([1; 8]));
}

#[test]
fn flows_to_an_address_of_a_prefix_are_remembered_while_its_ring_changes() {
    let mut xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    xdp.prefix_service(prefix([198, 51, 100, 16], 28), 3, TCP, 0);
    xdp.backend(2, entry(backend_kinds::IPV4_IN_IPV4));
    xdp.all_slots(Slot::in_transition(2, 1));
    let ack = |to: [u8; 4]| from_router().ipv4(CLIENT4, to.into()).tcp(40_000, 80, tcp::ACK);
    assert_eq!(xdp.run(&ack([198, 51, 100, 20])).backend, Some(1), "older than the change");
    assert_eq!(xdp.run(&syn([198, 51, 100, 20])).backend, Some(2));
    assert_eq!(xdp.run(&ack([198, 51, 100, 20])).backend, Some(2));
    assert_eq!(xdp.run(&ack([198, 51, 100, 21])).backend, Some(1), "another flow");
    // One slot is settled: the others still ask.
    xdp.apply(&tidegate_plan::step::Step::PutSlots { slots: vec![(0, Slot::settled(0))] });
    assert_eq!(xdp.datapath.flow_count().unwrap(), 1);
    xdp.all_slots(Slot::settled(2));
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0);
}

#[test]
fn a_program_without_the_length_does_not_look_for_it() {
    let mut xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    xdp.prefix_service(prefix([198, 51, 100, 16], 28), 3, TCP, 0);
    assert_eq!(xdp.run(&syn([198, 51, 100, 20])).counter, Counter::PassNotOurs);
    xdp.prefix_service(prefix(VIP4, 28), 4, TCP, 0);
    assert_eq!(xdp.run(&crate::xdp::syn4()).service, Some(1));
}
