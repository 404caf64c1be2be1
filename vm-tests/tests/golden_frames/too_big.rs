//! Packets that do not fit after encapsulation.

use tidegate_abi::{Backend, Counter, backend_kinds, features};
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, checksums_hold, describe, eth, tcp};

use crate::xdp::{CLIENT4, CLIENT6, ROUTER, US, VIP4, VIP6, Xdp, entry, from_router};

/// Every packet is answered: no second passes between two of them.
const ALWAYS: u64 = 0;

fn xdp(kind: u8) -> Xdp {
    Xdp::with_constants(entry(kind), |constants| {
        constants.features = features::TOO_BIG | features::TOO_BIG_WITHOUT_DF;
        constants.too_big_interval_ns = ALWAYS;
    })
}

/// A TCP segment in an IP packet of this length.
fn segment4(head: Frame, ip_len: usize) -> Frame {
    head.ipv4(CLIENT4, VIP4).tcp(40_000, 80, tcp::ACK).payload(counted(ip_len - 40))
}

fn segment6(head: Frame, ip_len: usize) -> Frame {
    head.ipv6(CLIENT6, VIP6).tcp(40_000, 80, tcp::ACK).payload(counted(ip_len - 60))
}

/// Bytes that differ from their neighbours.
fn counted(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn back() -> Frame {
    eth(US, ROUTER)
}

fn start_of(frame: &Frame, link_len: usize, len: usize) -> Vec<u8> {
    frame.bytes()[link_len..][..len].to_vec()
}

fn needed(head: Frame, mtu: u16) -> Frame {
    let [high, low] = mtu.to_be_bytes();
    head.ipv4(VIP4, CLIENT4).tos(0xc0).icmp(3, 4, [0, 0, high, low])
}

fn too_big(head: Frame, mtu: u16) -> Frame {
    let [high, low] = mtu.to_be_bytes();
    head.ipv6(VIP6, CLIENT6).icmpv6(2, 0, [0, 0, high, low])
}

#[test]
fn what_does_not_fit_is_answered_with_the_size_that_does() {
    let cases = [
        ("4in4", backend_kinds::IPV4_IN_IPV4, 1_480),
        ("4in6", backend_kinds::IPV4_IN_IPV6, 1_460),
        ("l2", backend_kinds::L2, 1_500),
    ];
    for (name, kind, fits) in cases {
        println!("{name}");
        let xdp = xdp(kind);
        assert_eq!(xdp.run(&segment4(from_router(), fits)).counter, Counter::ForwardTx);
        let long = segment4(from_router(), fits + 1);
        let run = xdp.run(&long);
        assert_eq!(run.counter, Counter::AnswerTooBig);
        let mtu = u16::try_from(fits).unwrap();
        assert_frame_eq(&run.frame, &needed(back(), mtu).payload(start_of(&long, 14, 548)));
    }
    let cases = [
        ("6in4", backend_kinds::IPV6_IN_IPV4, 1_480),
        ("6in6", backend_kinds::IPV6_IN_IPV6, 1_460),
    ];
    for (name, kind, fits) in cases {
        println!("{name}");
        let xdp = xdp(kind);
        assert_eq!(xdp.run(&segment6(from_router(), fits)).counter, Counter::ForwardTx);
        let long = segment6(from_router(), fits + 1);
        let run = xdp.run(&long);
        assert_eq!(run.counter, Counter::AnswerTooBig);
        let mtu = u16::try_from(fits).unwrap();
        assert_frame_eq(&run.frame, &too_big(back(), mtu).payload(start_of(&long, 14, 1_232)));
    }
}

#[test]
fn the_answer_keeps_the_tags_and_quotes_the_options() {
    let xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    let tagged = |head: Frame| head.service_vlan(3).vlan(0x2064);
    let long = tagged(from_router())
        .ipv4(CLIENT4, VIP4)
        .options(&[1; 40])
        .tcp(40_000, 80, tcp::ACK)
        .payload(counted(1_450));
    let run = xdp.run(&long);
    let wanted = needed(tagged(back()), 1_480).payload(start_of(&long, 22, 548));
    assert_frame_eq(&run.frame, &wanted);
    let long = segment4(from_router().vlan(7), 1_490);
    let run = xdp.run(&long);
    assert_frame_eq(&run.frame, &needed(back().vlan(7), 1_480).payload(start_of(&long, 18, 548)));
    let padded = segment4(from_router(), 1_490).padded_to(1_600);
    let wanted = needed(back(), 1_480).payload(start_of(&padded, 14, 548));
    assert_frame_eq(&xdp.run(&padded).frame, &wanted);
}

#[test]
fn on_a_link_of_a_few_bytes_less_is_quoted() {
    let mut xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    xdp.backend(1, Backend { mtu: 88, ..entry(backend_kinds::IPV4_IN_IPV4) });
    let long = segment4(from_router(), 69);
    let wanted = needed(back(), 68).payload(start_of(&long, 14, 68));
    assert_frame_eq(&xdp.run(&long).frame, &wanted);
}

#[test]
fn no_sender_is_told_a_size_below_the_smallest_there_is() {
    let mut xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    xdp.backend(1, Backend { mtu: 87, ..entry(backend_kinds::IPV4_IN_IPV4) });
    assert_eq!(xdp.run(&segment4(from_router(), 100)).counter, Counter::DropTooBig);
    xdp.backend(1, Backend { mtu: 1_319, ..entry(backend_kinds::IPV6_IN_IPV6) });
    assert_eq!(xdp.run(&segment6(from_router(), 1_400)).counter, Counter::DropTooBig);
    xdp.backend(1, Backend { mtu: 1_320, ..entry(backend_kinds::IPV6_IN_IPV6) });
    assert_eq!(xdp.run(&segment6(from_router(), 1_400)).counter, Counter::AnswerTooBig);
}

#[test]
fn what_may_be_fragmented_is_answered_only_if_that_is_wanted() {
    let may_be = from_router().ipv4(CLIENT4, VIP4).fragment(0).udp(40_000, 80).payload([0; 1_470]);
    let wanted = xdp(backend_kinds::IPV4_IN_IPV4);
    assert_eq!(wanted.run(&may_be).counter, Counter::AnswerTooBig);
    let unwanted = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features::TOO_BIG;
    });
    assert_eq!(unwanted.run(&may_be).counter, Counter::DropTooBig);
    let long = segment4(from_router(), 1_490);
    assert_eq!(unwanted.run(&long).counter, Counter::AnswerTooBig, "DF is set");
}

#[test]
fn an_icmp_error_that_is_too_big_is_not_answered() {
    let xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    let quoted = eth([0; 6], [0; 6]).ipv4(VIP4, CLIENT4).tcp(80, 1, 16).payload([0; 1_430]);
    let error = from_router().ipv4(CLIENT4, VIP4).icmp(3, 4, [0; 4]).inner_of(&quoted);
    assert_eq!(xdp.run(&error).counter, Counter::DropTooBig);
}

#[test]
fn answers_are_limited() {
    let xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features::TOO_BIG;
        constants.too_big_interval_ns = 3_000_000_000_000_000_000; // A century.
    });
    let long = segment4(from_router(), 1_490);
    // The bucket is this CPU's, and the run may be moved to another one.
    let answered = (0..1_000).filter(|_| xdp.run(&long).counter == Counter::AnswerTooBig).count();
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!((1..=cpus).contains(&answered), "{answered} answers on {cpus} CPUs");
}

#[test]
fn any_length_gets_a_sound_answer() {
    let xdp = xdp(backend_kinds::IPV4_IN_IPV4);
    for ip_len in (1_481..3_000).step_by(13) {
        let run = xdp.run(&segment4(from_router(), ip_len));
        assert_eq!(run.counter, Counter::AnswerTooBig);
        // What is quoted is cut off, so only the headers of the answer can be judged.
        let text = describe(&run.frame);
        assert!(text.contains("icmp (proto 1)") && checksums_hold(&run.frame), "{text}");
    }
}
