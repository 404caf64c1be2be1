//! The backend's side: what the packet path puts around a packet comes off again.

use std::collections::BTreeSet;

use nix::unistd::Uid;
use tidegate::bpf_io::Verdict;
use tidegate::decap::Decap;
use tidegate_abi::{DecapCounter, GUE_PORT};
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, tcp};

use crate::xdp::{
    BACKEND4, BACKEND6, CLIENT4, CLIENT6, SOURCE4, SOURCE6, VIP4, syn4, syn6, to_backend,
};

fn decap() -> Decap {
    assert!(Uid::effective().is_root(), "golden frames run in the kernel: run them as root");
    let mut decap = Decap::load(GUE_PORT).unwrap();
    decap.take_for(&BTreeSet::from([BACKEND4.into(), BACKEND6.into()])).unwrap();
    decap
}

/// Runs a frame, and asserts that exactly this counter moved.
fn run(decap: &Decap, frame: &[u8], counter: DecapCounter) -> Vec<u8> {
    let all = [DecapCounter::Unwrapped, DecapCounter::PassNotOurs, DecapCounter::DropMalformed];
    let before = all.map(|counter| decap.count(counter).unwrap());
    let run = decap.test_run(frame).unwrap();
    for (one, before) in all.into_iter().zip(before) {
        let moved = decap.count(one).unwrap() - before;
        assert_eq!(moved, u64::from(one == counter), "{one:?}, {counter:?} wanted");
    }
    let dropped = counter == DecapCounter::DropMalformed;
    assert_eq!(run.verdict, if dropped { Verdict::Drop } else { Verdict::Pass });
    if counter != DecapCounter::Unwrapped {
        assert_eq!(run.frame, frame, "only what is taken is touched");
    }
    run.frame
}

fn outer4() -> Frame {
    to_backend().ipv4(SOURCE4, BACKEND4)
}

fn outer6() -> Frame {
    to_backend().ipv6(SOURCE6, BACKEND6)
}

#[test]
fn all_four_combinations_come_out_as_they_went_in() {
    let decap = decap();
    let syn_with_options =
        to_backend().ipv4(CLIENT4, VIP4).options(&[1; 12]).tcp(1, 80, tcp::SYN).payload(*b"x");
    let cases = [
        ("4in4", outer4(), syn4()),
        ("6in4", outer4(), syn6()),
        ("4in6", outer6(), syn4()),
        ("6in6", outer6(), syn6()),
        ("inner options", outer4(), syn_with_options),
        ("outer options", outer4().options(&[1; 40]), syn6()),
    ];
    for (name, outer, inner) in cases {
        println!("{name}");
        let frame = outer.inner_of(&inner).bytes();
        let out = run(&decap, &frame, DecapCounter::Unwrapped);
        assert_frame_eq(&out, &to_backend().inner_of(&inner));
    }
    let tagged = to_backend().vlan(0x2064).ipv4(SOURCE4, BACKEND4).inner_of(&syn6());
    let out = run(&decap, &tagged.bytes(), DecapCounter::Unwrapped);
    assert_frame_eq(&out, &to_backend().vlan(0x2064).inner_of(&syn6()));
}

#[test]
fn gue_comes_off_in_variant_1_and_in_variant_0_without_options() {
    let decap = decap();
    let padded = |inner: &Frame| to_backend().inner_of(inner);
    for (name, outer) in
        [("IPv4", outer4()), ("IPv6", outer6()), ("options", outer4().options(&[1; 40]))]
    {
        for inner in [syn4(), syn6()] {
            println!("{name}");
            let udp = || outer.clone().udp(50_000, GUE_PORT);
            let out = run(&decap, &udp().inner_of(&inner).bytes(), DecapCounter::Unwrapped);
            assert_frame_eq(&out, &padded(&inner));
            let proto = if inner.bytes()[14] >> 4 == 4 { 4 } else { 41 };
            let variant_0 = udp().payload([0, proto, 0, 0]).inner_of(&inner).bytes();
            let out = run(&decap, &variant_0, DecapCounter::Unwrapped);
            assert_frame_eq(&out, &padded(&inner));
        }
    }
    let udp = || outer4().udp(50_000, GUE_PORT);
    let cases = [
        ("another port", outer4().udp(50_000, 6_081).inner_of(&syn4())),
        ("no packet", udp().payload([0x45, 0, 0])),
        ("a control message", udp().payload([0x20, 4, 0, 0]).inner_of(&syn4())),
        ("optional fields", udp().payload([0x01, 4, 0, 0, 0, 0, 0, 0]).inner_of(&syn4())),
        ("flags", udp().payload([0, 4, 0, 1]).inner_of(&syn4())),
        ("another protocol", udp().payload([0, 47, 0, 0]).inner_of(&syn4())),
        ("UDP again", udp().payload([0, 17, 0, 0]).inner_of(&syn4())),
    ];
    for (name, frame) in cases {
        println!("{name}");
        run(&decap, &frame.bytes(), DecapCounter::PassNotOurs);
    }
    for len in 14..udp().inner_of(&syn4()).bytes().len() {
        run(&decap, &udp().inner_of(&syn4()).bytes()[..len], DecapCounter::PassNotOurs);
    }
    // The UDP header leaves less room than the packet inside takes.
    let mut short = udp().inner_of(&syn4()).bytes();
    short[38..40].copy_from_slice(&47_u16.to_be_bytes());
    run(&decap, &short, DecapCounter::DropMalformed);
}

#[test]
fn everything_else_is_passed_untouched() {
    let mut decap = decap();
    let cases = [
        ("plain", syn4()),
        ("plain IPv6", syn6()),
        ("to another host", to_backend().ipv4(SOURCE4, VIP4).inner_of(&syn4())),
        ("to another host, IPv6", to_backend().ipv6(SOURCE6, CLIENT6).inner_of(&syn4())),
        ("outer fragment", outer4().fragment(0x2000).inner_of(&syn4())),
        ("ARP", to_backend().ether_type(0x0806).payload([0; 28])),
        ("GRE", outer4().proto(47).payload([0; 40])),
    ];
    for (name, frame) in cases {
        println!("{name}");
        run(&decap, &frame.bytes(), DecapCounter::PassNotOurs);
    }
    decap.take_for(&BTreeSet::from([BACKEND6.into()])).unwrap();
    let frame = outer4().inner_of(&syn4()).bytes();
    run(&decap, &frame, DecapCounter::PassNotOurs);
    let frame = outer6().inner_of(&syn4()).bytes();
    run(&decap, &frame, DecapCounter::Unwrapped);
}

#[test]
fn an_inner_packet_that_lies_is_dropped() {
    let decap = decap();
    // Byte of the frame, new value: the inner header starts at 34.
    let cases = [
        ("inner version", outer4().inner_of(&syn4()), 34, 0x65),
        ("inner header length", outer4().inner_of(&syn4()), 34, 0x44),
        ("inner header beyond its packet", outer4().inner_of(&syn4()), 34, 0x4f),
        ("inner length beyond the outer", outer4().inner_of(&syn4()), 37, 41),
        ("inner version, IPv6", outer4().inner_of(&syn6()), 34, 0x45),
        ("inner length, IPv6", outer4().inner_of(&syn6()), 39, 21),
    ];
    for (name, frame, at, value) in cases {
        println!("{name}");
        let mut frame = frame.bytes();
        frame[at] = value;
        run(&decap, &frame, DecapCounter::DropMalformed);
    }
    for len in 0..20 {
        let cut = outer4().proto(4).payload(vec![0x45; len]).bytes();
        run(&decap, &cut, DecapCounter::DropMalformed);
    }
}

#[test]
fn a_frame_may_end_anywhere() {
    let decap = decap();
    for frame in [outer4().inner_of(&syn6()), outer6().inner_of(&syn4())] {
        let whole = frame.bytes();
        for len in 14..whole.len() {
            run(&decap, &whole[..len], DecapCounter::PassNotOurs);
        }
    }
}
