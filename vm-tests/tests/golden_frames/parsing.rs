//! What is not ours, what is not sound, and frames that end anywhere.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use tidegate_abi::{Counter, backend_kinds};
use tidegate_vm_tests::frame::{eth, ext, tcp};

use crate::xdp::{
    CLIENT4, CLIENT6, INGRESS, ROUTER, US, VIP4, VIP6, Xdp, entry, from_router, runner, syn4, syn6,
};

fn xdp() -> Xdp {
    Xdp::with(entry(backend_kinds::IPV4_IN_IPV4))
}

#[test]
fn what_is_not_ours_is_passed_untouched() {
    let other4 = Ipv4Addr::new(192, 0, 2, 11);
    let other6 = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x11);
    let cases = [
        ("other address", from_router().ipv4(CLIENT4, other4).tcp(40_000, 80, tcp::SYN)),
        ("from a VIP", from_router().ipv4(VIP4, CLIENT4).tcp(80, 40_000, tcp::ACK)),
        ("echo", from_router().ipv4(CLIENT4, other4).icmp(8, 0, [0; 4])),
        ("fragment", from_router().ipv4(CLIENT4, other4).fragment(0x2001).proto(6)),
        ("malformed", from_router().ipv4(CLIENT4, other4).proto(6).payload([0; 3])),
        ("other address, IPv6", from_router().ipv6(CLIENT6, other6).tcp(40_000, 80, tcp::SYN)),
        ("neighbour discovery", from_router().ipv6(CLIENT6, other6).icmpv6(135, 0, [0; 4])),
        ("tagged", from_router().vlan(5).ipv4(CLIENT4, other4).udp(1, 80)),
    ];
    let xdp = xdp();
    for (name, frame) in cases {
        assert_eq!(xdp.run(&frame).counter, Counter::PassNotOurs, "{name}");
    }
}

#[test]
fn frames_for_a_group_of_hosts_are_the_kernels() {
    let xdp = xdp();
    for group in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
        let (v4, v6) =
            (eth(ROUTER, group).ipv4(CLIENT4, VIP4), eth(ROUTER, group).ipv6(CLIENT6, VIP6));
        let cases = [
            v4.clone().tcp(40_000, 80, tcp::SYN),
            v4.clone().udp(40_000, 81),
            v4.clone().icmp(8, 0, [0; 4]),
            v4.fragment(0x2000).proto(6).payload([0; 24]),
            v6.clone().tcp(40_000, 80, tcp::SYN),
            v6.icmpv6(128, 0, [0; 4]),
        ];
        for frame in cases {
            assert_eq!(xdp.run(&frame).counter, Counter::PassGroupFrame);
        }
        let other = eth(ROUTER, group).ipv4(CLIENT4, Ipv4Addr::BROADCAST).udp(68, 67);
        assert_eq!(xdp.run(&other).counter, Counter::PassNotOurs);
    }
}

#[test]
fn neighbour_discovery_of_a_vip_on_link_is_the_kernels() {
    let xdp = xdp();
    for kind in 133..=137 {
        let plain = from_router().ipv6(CLIENT6, VIP6);
        let tagged = from_router().vlan(7).ipv6(CLIENT6, VIP6);
        for frame in [plain, tagged] {
            let from_the_link = frame.ttl(255).icmpv6(kind, 0, [0; 4]).payload([0; 16]);
            assert_eq!(xdp.run(&from_the_link).counter, Counter::PassNeighbour, "type {kind}");
        }
    }
}

#[test]
fn what_is_not_ip_is_passed_untouched() {
    let cases = [
        ("ARP", eth(ROUTER, [0xff; 6]).ether_type(0x0806).payload([0; 28])),
        ("LLDP", eth(ROUTER, US).ether_type(0x88cc).payload([0; 40])),
        ("802.3 length", eth(ROUTER, US).ether_type(38).payload([0x42; 46])),
        ("three tags", eth(ROUTER, US).vlan(1).vlan(2).vlan(3).inner_of(&syn4())),
        ("tag cut off", eth(ROUTER, US).ether_type(0x8100).payload([0, 1, 8])),
    ];
    let xdp = xdp();
    for (name, frame) in cases {
        assert_eq!(xdp.run(&frame).counter, Counter::PassNotIp, "{name}");
    }
}

#[test]
fn an_unsound_ip_header_is_the_kernels_to_judge() {
    // Byte of the frame, new value.
    let v4 = [
        ("version 5", 14, 0x55),
        ("header below its minimum", 14, 0x44),
        ("header beyond the packet", 14, 0x4f),
        ("length beyond the frame", 16, 0x01),
        ("length below the header", 17, 19),
    ];
    let v6 = [("version 4", 14, 0x45), ("version 0", 14, 0), ("length beyond the frame", 19, 21)];
    let xdp = xdp();
    for (frame, cases) in [(syn4().bytes(), &v4[..]), (syn6().bytes(), &v6[..])] {
        for &(name, at, value) in cases {
            let mut frame = frame.clone();
            frame[at] = value;
            let run = xdp.run_from(&frame, INGRESS);
            assert_eq!(run.counter, Counter::PassBadHeader, "{name}");
        }
    }
}

#[test]
fn a_frame_may_end_anywhere() {
    let frames = [
        syn4().payload(*b"GET /"),
        syn6().payload(*b"GET /"),
        from_router().service_vlan(1).vlan(2).inner_of(&syn4()),
        from_router().ipv4(CLIENT4, VIP4).options(&[1; 40]).udp(1, 80).payload([0; 9]),
        from_router().ipv4(CLIENT4, VIP4).icmp(8, 0, [0; 4]).payload([0; 9]),
        from_router()
            .ipv6(CLIENT6, VIP6)
            .extension(ext::HOP_BY_HOP, &[0; 14])
            .extension(ext::AUTHENTICATION, &[0; 10])
            .fragment_header(0, false)
            .extension(ext::DESTINATION, &[0; 6])
            .icmpv6(128, 0, [0; 4])
            .payload([0; 9]),
    ];
    let xdp = xdp();
    for frame in frames {
        let whole = frame.bytes();
        // The kernel takes no shorter frame for a test run.
        for len in 14..whole.len() {
            let run = xdp.run_from(&whole[..len], INGRESS);
            let tags = whole[12..].chunks(4).take_while(|tag| [0x81, 0x88].contains(&tag[0]));
            let l3 = 14 + 4 * tags.count();
            let wanted = if len < l3 { Counter::PassNotIp } else { Counter::PassBadHeader };
            assert_eq!(run.counter, wanted, "cut to {len} bytes of {}", whole.len());
        }
        let run = xdp.run_from(&whole, INGRESS);
        // The backend is one for IPv4 clients.
        let whole = [Counter::ForwardTx, Counter::EchoReply, Counter::DropUnresolved];
        assert!(whole.contains(&run.counter), "{:?}", run.counter);
    }
}

#[test]
fn a_packet_may_end_anywhere() {
    // The same, but with IP headers that know it: then the transport header is cut off.
    let xdp = xdp();
    let headers = [
        (from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 80, tcp::SYN).bytes(), 14 + 20),
        (from_router().ipv4(CLIENT4, VIP4).udp(40_000, 80).bytes(), 14 + 20),
        (from_router().ipv4(CLIENT4, VIP4).icmp(8, 0, [0; 4]).bytes(), 14 + 20),
        (from_router().ipv6(CLIENT6, VIP6).tcp(40_000, 80, tcp::SYN).bytes(), 14 + 40),
        (from_router().ipv6(CLIENT6, VIP6).fragment_header(0, false).udp(1, 80).bytes(), 14 + 40),
    ];
    for (mut whole, start) in headers {
        for len in start..whole.len() {
            let at = if start == 34 { 16 } else { 18 };
            let ip_len = if start == 34 { len - 14 } else { len - start };
            whole[at..at + 2].copy_from_slice(&u16::try_from(ip_len).unwrap().to_be_bytes());
            for frame in [&whole[..len], &whole] {
                let run = xdp.run_from(frame, INGRESS);
                assert_eq!(run.counter, Counter::DropMalformed, "IP packet ends at {len}");
            }
        }
    }
}

#[test]
fn any_bytes_get_exactly_one_verdict() {
    // `run` checks it. Mostly plausible versions, so that more than the first check is reached.
    let xdp = xdp();
    let ether_types = prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x8100), any::<u16>()];
    let bytes = proptest::collection::vec(any::<u8>(), 1..120);
    let any_frame = (ether_types, bytes).prop_map(|(ether_type, mut bytes)| {
        bytes[0] = if ether_type == 0x86dd { 0x60 } else { 0x45 };
        eth(ROUTER, US).ether_type(ether_type).payload(bytes)
    });
    runner(1_000)
        .run(&any_frame, |frame| {
            let counter = xdp.run(&frame).counter;
            prop_assert_ne!(counter, Counter::ForwardTx, "chance cannot hit a VIP");
            Ok(())
        })
        .unwrap();
}

/// How many frames had a verdict.
fn verdicts(xdp: &Xdp) -> u64 {
    let counters = xdp.datapath.counters().unwrap().into_iter();
    counters.filter(|(counter, _)| !counter.is_event()).map(|(_, count)| count).sum()
}

#[test]
fn any_changed_byte_of_a_good_frame_gets_exactly_one_verdict() {
    let xdp = xdp();
    let v4 = from_router().vlan(3).inner_of(&syn4()).padded_to(128).bytes();
    let v6 = from_router()
        .ipv6(CLIENT6, VIP6)
        .extension(ext::DESTINATION, &[0; 14])
        .tcp(1, 80, tcp::SYN)
        .padded_to(128)
        .bytes();
    let good = prop_oneof![Just(v4), Just(v6)];
    runner(2_000)
        .run(&(good, 12_usize..120, any::<u8>()), |(mut frame, at, value)| {
            frame[at] = value;
            let before = verdicts(&xdp);
            xdp.datapath.test_run(&frame, INGRESS).unwrap();
            let after = verdicts(&xdp);
            prop_assert_eq!(after, before + 1);
            Ok(())
        })
        .unwrap();
}
