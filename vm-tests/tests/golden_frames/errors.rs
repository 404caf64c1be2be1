//! ICMP errors that quote a packet of a service.

use proptest::prelude::*;
use tidegate_abi::{Counter, Slot, backend_kinds};
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, eth, ext, tcp};

use crate::xdp::{
    BACKEND4, BACKEND6, CLIENT4, CLIENT6, SOURCE4, SOURCE6, VIP4, VIP6, Xdp, entry, from_router,
    runner, to_backend,
};

/// A router on the way to the client.
const HOP4: core::net::Ipv4Addr = core::net::Ipv4Addr::new(203, 0, 113, 1);
const HOP6: core::net::Ipv6Addr = core::net::Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 1);

fn answer4() -> Frame {
    eth([0; 6], [0; 6]).ipv4(VIP4, CLIENT4)
}

fn answer6() -> Frame {
    eth([0; 6], [0; 6]).ipv6(VIP6, CLIENT6)
}

fn error4(kind: u8, code: u8) -> Frame {
    from_router().ipv4(HOP4, VIP4).icmp(kind, code, [0, 0, 5, 0xb4])
}

fn error6(kind: u8, code: u8) -> Frame {
    from_router().ipv6(HOP6, VIP6).icmpv6(kind, code, [0, 0, 5, 0xb4])
}

/// The first bytes of the IP packet in a frame.
fn start_of(frame: &Frame, len: usize) -> Vec<u8> {
    frame.bytes()[14..][..len].to_vec()
}

fn assert_forwarded(xdp: &Xdp, name: &str, error: &Frame, wanted: &Frame) {
    let run = xdp.run(error);
    let counted = (run.counter, run.events);
    assert_eq!(counted, (Counter::ForwardTx, vec![Counter::IcmpErrorForwarded]), "{name}");
    assert_frame_eq(&run.frame, wanted);
}

#[test]
fn an_error_reaches_the_backend_that_sent_what_it_quotes() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let tcp_answer = answer4().tcp(80, 40_000, tcp::ACK);
    let cases = [
        ("fragmentation needed", error4(3, 4).inner_of(&tcp_answer)),
        ("port unreachable", error4(3, 3).inner_of(&answer4().udp(80, 40_000).payload(*b"hi"))),
        ("time exceeded", error4(11, 0).inner_of(&tcp_answer)),
        ("parameter problem", error4(12, 0).inner_of(&tcp_answer)),
        ("eight bytes of transport", error4(3, 4).payload(start_of(&tcp_answer, 28))),
        (
            "options in what is quoted",
            error4(3, 4).payload(start_of(&answer4().options(&[1; 40]).tcp(80, 40_000, 16), 68)),
        ),
        (
            "options around it",
            from_router()
                .ipv4(HOP4, VIP4)
                .options(&[1; 40])
                .icmp(3, 4, [0; 4])
                .payload(start_of(&tcp_answer, 28)),
        ),
        ("a first fragment", error4(3, 4).inner_of(&answer4().fragment(0x2000).tcp(80, 1, 16))),
    ];
    for (name, error) in cases {
        let wanted = to_backend().ipv4(SOURCE4, BACKEND4).inner_of(&error);
        assert_forwarded(&xdp, name, &error, &wanted);
        let tagged = from_router().vlan(9).inner_of(&error);
        assert_forwarded(&xdp, name, &tagged, &wanted);
    }
}

#[test]
fn an_error_of_icmpv6_does_so_too() {
    let xdp = Xdp::with(entry(backend_kinds::IPV6_IN_IPV6));
    let tcp_answer = answer6().tcp(80, 40_000, tcp::ACK);
    let padding = [1, 4, 0, 0, 0, 0];
    let extended = answer6()
        .extension(ext::HOP_BY_HOP, &padding)
        .extension(ext::DESTINATION, &[0; 254])
        .fragment_header(0, true)
        .udp(80, 40_000);
    let cases = [
        ("unreachable", error6(1, 4).inner_of(&answer6().udp(80, 40_000))),
        ("packet too big", error6(2, 0).inner_of(&tcp_answer)),
        ("time exceeded", error6(3, 0).inner_of(&tcp_answer)),
        ("parameter problem", error6(4, 1).inner_of(&tcp_answer)),
        ("eight bytes of transport", error6(2, 0).payload(start_of(&tcp_answer, 48))),
        ("extension headers in what is quoted", error6(2, 0).inner_of(&extended)),
        (
            "extension headers around it",
            from_router()
                .ipv6(HOP6, VIP6)
                .extension(ext::DESTINATION, &[0; 254])
                .icmpv6(2, 0, [0; 4])
                .inner_of(&extended),
        ),
    ];
    for (name, error) in cases {
        let wanted = to_backend().ipv6(SOURCE6, BACKEND6).inner_of(&error);
        assert_forwarded(&xdp, name, &error, &wanted);
    }
}

#[test]
fn an_error_that_quotes_no_packet_of_a_service_is_dropped() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let cases = [
        ("another address", error4(3, 4).inner_of(&eth([0; 6], [0; 6]).ipv4(HOP4, CLIENT4))),
        ("from a port without service", error4(3, 4).inner_of(&answer4().tcp(81, 1, 16))),
        ("to the VIP", error4(3, 4).inner_of(&eth([0; 6], [0; 6]).ipv4(CLIENT4, VIP4))),
        ("of ICMP", error4(3, 4).inner_of(&answer4().icmp(0, 0, [0; 4]))),
        ("IPv6 port", error6(2, 0).inner_of(&answer6().udp(81, 1))),
    ];
    for (name, error) in cases {
        let error = error.payload([0; 8]);
        assert_eq!(xdp.run(&error).counter, Counter::DropNoService, "{name}");
    }
}

#[test]
fn an_error_that_quotes_too_little_or_lies_is_malformed() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let (v4, v6) = (answer4().tcp(80, 1, tcp::ACK), answer6().tcp(80, 1, tcp::ACK));
    for len in 0..28 {
        let error = error4(3, 4).payload(start_of(&v4, len));
        assert_eq!(xdp.run(&error).counter, Counter::DropMalformed, "{len} bytes");
        let padded = error.padded_to(120);
        assert_eq!(xdp.run(&padded).counter, Counter::DropMalformed, "{len} bytes, padded");
    }
    for len in 0..48 {
        let error = error6(2, 0).payload(start_of(&v6, len));
        assert_eq!(xdp.run(&error).counter, Counter::DropMalformed, "{len} bytes of IPv6");
        let padded = error.padded_to(140);
        assert_eq!(xdp.run(&padded).counter, Counter::DropMalformed, "{len} bytes, padded");
    }
    let later = answer4().fragment(0x2001).proto(6).payload([0; 24]);
    let later6 = answer6().fragment_header(1, true).proto(6).payload([0; 24]);
    let many = (0..7).fold(answer6(), |frame, _| frame.extension(ext::DESTINATION, &[0; 6]));
    let cases = [
        ("a later fragment", error4(3, 4).inner_of(&later)),
        ("a later fragment, IPv6", error6(2, 0).inner_of(&later6)),
        ("IPv6 in ICMP", error4(3, 4).inner_of(&v6)),
        ("IPv4 in ICMPv6", error6(2, 0).inner_of(&v4).payload([0; 40])),
        ("more extension headers than anyone needs", error6(2, 0).inner_of(&many.udp(80, 1))),
    ];
    for (name, error) in cases {
        assert_eq!(xdp.run(&error).counter, Counter::DropMalformed, "{name}");
    }
}

#[test]
fn every_error_goes_where_its_flow_goes() {
    let mut xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    for index in 2..=5 {
        xdp.backend(index, entry(backend_kinds::IPV4_IN_IPV4));
    }
    xdp.slots(|place| Slot::settled(1 + place % 5));
    let ports = any::<(u16, [u8; 4], bool)>();
    runner(500)
        .run(&ports, |(port, client, is_udp)| {
            let client = client.into();
            let (there, back) =
                (from_router().ipv4(client, VIP4), eth([0; 6], [0; 6]).ipv4(VIP4, client));
            let (there, back) = if is_udp {
                (there.udp(port, 80), back.udp(80, port))
            } else {
                (there.tcp(port, 80, tcp::ACK), back.tcp(80, port, tcp::ACK))
            };
            let owner = xdp.run(&there).backend;
            prop_assert_eq!(xdp.run(&error4(3, 4).inner_of(&back)).backend, owner);
            Ok(())
        })
        .unwrap();
}

#[test]
fn in_transition_an_error_goes_to_the_older_backend_or_where_the_table_says() {
    let mut xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    xdp.backend(2, entry(backend_kinds::IPV4_IN_IPV4));
    xdp.all_slots(Slot::in_transition(2, 1));
    let error = |port| error4(3, 4).payload(start_of(&answer4().tcp(80, port, tcp::ACK), 28));
    assert_eq!(xdp.run(&error(7)).backend, Some(1), "an old flow");
    xdp.run(&from_router().ipv4(CLIENT4, VIP4).tcp(8, 80, tcp::SYN));
    assert_eq!(xdp.run(&error(8)).backend, Some(2), "a new one");
    assert_eq!(xdp.datapath.flow_count().unwrap(), 1, "an error is no packet of the flow");
}
