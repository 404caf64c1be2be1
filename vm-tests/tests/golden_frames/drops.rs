//! What ends here, and under which name it is counted.

use tidegate_abi::{Backend, Counter, Service, ServiceKeyV4, Slot, backend_kinds};
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, ext, tcp};

use crate::xdp::{
    CLIENT4, CLIENT6, RING_OFFSET, TCP, VIP4, VIP6, Xdp, entry, from_router, syn4, syn6,
};

fn v4() -> Frame {
    from_router().ipv4(CLIENT4, VIP4)
}

fn v6() -> Frame {
    from_router().ipv6(CLIENT6, VIP6)
}

#[test]
fn what_is_for_no_service_of_a_vip_is_dropped() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let cases = [
        ("TCP port", v4().tcp(40_000, 81, tcp::SYN)),
        ("UDP port", v4().udp(40_000, 53)),
        ("TCP port 0", v4().tcp(40_000, 0, tcp::SYN)),
        ("SCTP", v4().proto(132).payload([0; 16])),
        ("protocol 0", v4().proto(0).payload([0; 12])),
        ("no payload at all", v4().proto(59)),
        ("echo reply", v4().icmp(0, 0, [0; 4])),
        ("redirect", v4().icmp(5, 1, [0; 4]).payload([0; 28])),
        ("ICMPv6 in IPv4", v4().icmpv6(128, 0, [0; 4])),
        ("IPv6 TCP port", v6().tcp(40_000, 81, tcp::SYN)),
        ("neighbour solicitation from afar", v6().icmpv6(135, 0, [0; 4]).payload([0; 16])),
        ("no error and no query", v6().icmpv6(0, 0, [0; 4]).payload([0; 48])),
        ("no neighbour discovery", v6().ttl(255).icmpv6(138, 0, [0; 4]).payload([0; 16])),
        ("ICMP in IPv6", v6().icmp(8, 0, [0; 4])),
        ("no next header", v6()),
    ];
    for (name, frame) in cases {
        assert_eq!(xdp.run(&frame).counter, Counter::DropNoService, "{name}");
    }
}

#[test]
fn fragments_whose_ports_nobody_knows_are_dropped() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let cases = [
        ("middle", v4().fragment(0x2001).proto(6).payload([0; 24])),
        ("last", v4().fragment(0x0001).proto(6).payload([0; 4])),
        ("tiny", v4().fragment(0x2000).proto(6).payload([0; 8])),
        ("of an echo request", v4().fragment(0x2000).icmp(8, 0, [0; 4])),
        ("tiny, IPv6", v6().fragment_header(0, true).proto(6).payload([0; 16])),
        ("a part of a part", v6().fragment_header(0, true).fragment_header(0, true).udp(1, 80)),
        ("last, IPv6", v6().fragment_header(1, false).proto(6).payload([0; 4])),
        (
            "behind options",
            v6().extension(ext::HOP_BY_HOP, &[0; 6]).fragment_header(3, true).proto(17),
        ),
    ];
    for (name, frame) in cases {
        assert_eq!(xdp.run(&frame).counter, Counter::DropFragment, "{name}");
    }
}

#[test]
fn headers_that_lie_about_lengths_are_malformed() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let udp = |len: u16| {
        let [high, low] = len.to_be_bytes();
        v4().proto(17).payload([0x9c, 0x40, 0, 80, high, low, 0, 0, 1, 2])
    };
    let tcp_with = |data_offset: u8, len: usize| {
        let mut header = vec![0; len];
        header[12..].iter_mut().take(1).for_each(|byte| *byte = data_offset << 4);
        header[2..4].copy_from_slice(&[0, 80]);
        v4().proto(6).payload(header)
    };
    let seven = (0..7).fold(v6(), |frame, _| frame.extension(ext::DESTINATION, &[0; 6]));
    let cases = [
        ("UDP length beyond the packet", udp(11)),
        ("UDP length below its header", udp(7)),
        ("UDP cut off", v4().proto(17).payload([0; 7])),
        ("TCP cut off", tcp_with(5, 19)),
        ("TCP header below its minimum", tcp_with(4, 20)),
        ("TCP options beyond the packet", tcp_with(6, 20)),
        ("ICMP cut off", v4().proto(1).payload([8, 0, 0, 0])),
        ("TCP cut off, IPv6", v6().proto(6).payload([0; 19])),
        ("hop by hop cut off", v6().proto(0).payload([6, 0, 0])),
        ("hop by hop beyond the packet", v6().proto(0).payload([6, 1, 0, 0, 0, 0, 0, 0])),
        ("fragment header cut off", v6().proto(44).payload([6, 0, 0])),
        ("more extension headers than anyone needs", seven.tcp(40_000, 80, tcp::SYN)),
    ];
    for (name, frame) in cases {
        assert_eq!(xdp.run(&frame).counter, Counter::DropMalformed, "{name}");
        let padded = frame.padded_to(128);
        assert_eq!(xdp.run(&padded).counter, Counter::DropMalformed, "{name}, padded");
    }
}

#[test]
fn a_service_without_a_way_to_a_backend_drops() {
    let good = entry(backend_kinds::IPV4_IN_IPV4);
    let cases = [
        ("free entry", Backend::FREE),
        ("not resolved", Backend { flags: 0, ..good }),
        ("unknown kind", Backend { kind: 200, ..good }),
        ("for the other family", Backend { kind: backend_kinds::IPV6_IN_IPV4, ..good }),
        ("device that is not in the map", Backend { egress_ifindex: 0, ..good }),
    ];
    for (name, backend) in cases {
        println!("{name}");
        let xdp = Xdp::with(backend);
        // The last one is found out only after the headers are on, so the frame is another.
        let before = xdp.datapath.counters().unwrap();
        xdp.datapath.test_run(&syn4().bytes(), 1).unwrap();
        let mut moved = xdp.datapath.counters().unwrap();
        moved.retain(|counter, count| *count != before[counter]);
        assert_eq!(moved.into_keys().collect::<Vec<_>>(), [Counter::DropUnresolved], "{name}");
    }
}

#[test]
fn an_empty_ring_drops() {
    let mut xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    xdp.all_slots(Slot::settled(0));
    assert_eq!(xdp.run(&syn4()).counter, Counter::DropNoBackend);
    xdp.all_slots(Slot { current: 0, previous: 1 });
    assert_eq!(xdp.run(&syn4()).counter, Counter::DropNoBackend, "no backend for new flows");
    assert_eq!(xdp.run(&syn6()).counter, Counter::DropNoBackend);
    let ack = v4().tcp(40_000, 80, tcp::ACK);
    assert_eq!(xdp.run(&ack).backend, Some(1), "old flows drain");

    // A service without a ring must not fall into somebody else's.
    let service = Service { ring_offset: RING_OFFSET, index: 1, ..Service::default() };
    let key = ServiceKeyV4 { addr: VIP4.octets(), port: [0, 80], proto: TCP, prefix_len: 0 };
    xdp.apply(&Step::PutServiceV4 { key, service, fresh: false });
    xdp.all_slots(Slot::settled(1));
    assert_eq!(xdp.run(&syn4()).counter, Counter::DropNoBackend);
    assert_eq!(xdp.run(&syn6()).counter, Counter::DropUnresolved, "IPv6 has its ring");
}
