//! GUE, and outer sources that vary with the flow.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use aya::maps::{Map, MapData, ProgramArray};
use tidegate_abi::{
    Backend, Counter, DatapathConfig, GUE_PORT, Slot, backend_flags, backend_kinds, features,
    map_names, rare,
};
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, checksums_hold, describe, tcp};

use crate::pins::{CONFIG, World};
use crate::xdp::{
    BACKEND4, BACKEND6, CLIENT4, CLIENT6, SOURCE4, SOURCE6, TCP, VIP4, VIP6, Xdp, entry,
    from_router, syn4, syn6, to_backend,
};

const GUE: u8 = backend_kinds::GUE;

fn gue(kind: u8, flags: u8) -> Xdp {
    let entry = entry(kind | GUE);
    let entry = Backend { flags: entry.flags | flags, mtu: 9_000, ..entry };
    Xdp::with_constants(entry, |constants| {
        constants.features = features::GUE | features::GUE_CHECKSUM;
    })
}

/// Takes the source port of an untagged frame's outer UDP header out of it.
fn source_port(frame: &[u8]) -> u16 {
    let at = if frame[12..14] == [8, 0] { 34 } else { 54 };
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn outer(kind: u8) -> Frame {
    match kind {
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV6_IN_IPV4 => {
            to_backend().ipv4(SOURCE4, BACKEND4)
        }
        _ => to_backend().ipv6(SOURCE6, BACKEND6),
    }
}

const COMBINATIONS: [(&str, u8); 4] = [
    ("4in4", backend_kinds::IPV4_IN_IPV4),
    ("6in4", backend_kinds::IPV6_IN_IPV4),
    ("4in6", backend_kinds::IPV4_IN_IPV6),
    ("6in6", backend_kinds::IPV6_IN_IPV6),
];

fn client_packet(kind: u8, len: usize) -> Frame {
    let head = match kind {
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV4_IN_IPV6 => {
            from_router().ipv4(CLIENT4, VIP4)
        }
        _ => from_router().ipv6(CLIENT6, VIP6),
    };
    let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect();
    head.tcp(40_000, 80, tcp::ACK).payload(payload)
}

#[test]
fn gue_in_all_four_combinations_without_a_checksum_and_with_one() {
    for (name, kind) in COMBINATIONS {
        for flags in [0, backend_flags::CHECKSUM] {
            println!("{name}, flags {flags}");
            let xdp = gue(kind, flags);
            let packet = client_packet(kind, 5);
            let run = xdp.run(&packet);
            assert_eq!(run.counter, Counter::ForwardTx);
            let port = source_port(&run.frame);
            assert!(port >= 49_152, "{port} is no dynamic port");
            let wanted = outer(kind).udp(port, GUE_PORT).inner_of(&packet).bytes();
            let mut wanted_frame = wanted.clone();
            if flags == 0 {
                let at = if run.frame[12..14] == [8, 0] { 40 } else { 60 };
                wanted_frame[at..at + 2].fill(0);
            }
            assert_eq!(run.frame, wanted_frame, "{}\n{}", describe(&run.frame), describe(&wanted));
        }
    }
}

#[test]
fn the_checksum_holds_for_every_length() {
    for (name, kind) in COMBINATIONS {
        let xdp = gue(kind, backend_flags::CHECKSUM);
        for len in (0..70).chain(400..600).chain((1_000..3_000).step_by(11)) {
            let run = xdp.run(&client_packet(kind, len));
            assert_eq!(run.counter, Counter::ForwardTx);
            assert!(checksums_hold(&run.frame), "{name}, {len}\n{}", describe(&run.frame));
            let port = source_port(&run.frame);
            let wanted = outer(kind).udp(port, GUE_PORT).inner_of(&client_packet(kind, len));
            assert_frame_eq(&run.frame, &wanted);
        }
    }
}

#[test]
fn what_is_inside_makes_no_difference_to_the_checksum() {
    // A datagram without a checksum, and an ICMP error: where others derive the outer checksum from
    // the inner one, these come out wrong.
    let xdp = gue(backend_kinds::IPV4_IN_IPV4, backend_flags::CHECKSUM);
    let mut without = from_router().ipv4(CLIENT4, VIP4).udp(40_000, 80).payload(*b"odd").bytes();
    without[40..42].fill(0);
    let quoted = to_backend().ipv4(VIP4, CLIENT4).tcp(80, 40_000, tcp::ACK);
    let error = from_router().ipv4(CLIENT4, VIP4).icmp(3, 4, [0; 4]).inner_of(&quoted).bytes();
    let padded = from_router().ipv4(CLIENT4, VIP4).tcp(1, 80, tcp::ACK).padded_to(60).bytes();
    for frame in [without, error, padded] {
        let run = xdp.run_from(&frame, 1);
        assert_eq!(run.counter, Counter::ForwardTx);
        assert!(checksums_hold(&run.frame), "{}", describe(&run.frame));
        let head = describe(&run.frame);
        assert!(head.contains(&format!("-> {GUE_PORT}")) && !head.contains("none"), "{head}");
    }
}

#[test]
fn the_tag_of_the_way_changes_nothing_about_it() {
    let entry = entry(backend_kinds::IPV4_IN_IPV4 | GUE);
    let flags = entry.flags | backend_flags::CHECKSUM;
    let tagged = Backend { vlan_tci: [0x20, 0x64], flags, ..entry };
    let xdp = Xdp::with_constants(tagged, |constants| {
        constants.features = features::GUE | features::GUE_CHECKSUM;
    });
    let run = xdp.run(&syn4());
    let port = u16::from_be_bytes([run.frame[38], run.frame[39]]);
    let wanted = to_backend().vlan(0x2064).ipv4(SOURCE4, BACKEND4).udp(port, GUE_PORT);
    assert_frame_eq(&run.frame, &wanted.inner_of(&syn4()));
}

#[test]
fn flows_differ_in_their_source_port_and_a_flow_keeps_its_own() {
    let xdp = gue(backend_kinds::IPV4_IN_IPV4, 0);
    let port_of = |port| {
        let frame = from_router().ipv4(CLIENT4, VIP4).tcp(port, 80, tcp::ACK);
        source_port(&xdp.run(&frame).frame)
    };
    let ports: BTreeSet<u16> = (1_000..1_500).map(port_of).collect();
    assert!(ports.len() > 450, "{} ports for 500 flows", ports.len());
    assert_eq!(port_of(1_000), port_of(1_000));
}

#[test]
fn a_program_without_the_feature_sends_no_gue() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4 | GUE));
    assert_eq!(xdp.run(&syn4()).counter, Counter::DropUnresolved);
    let other = gue(backend_kinds::IPV6_IN_IPV4, 0);
    assert_eq!(other.run(&syn4()).counter, Counter::DropUnresolved, "for the other family");
}

#[test]
fn the_outer_source_is_one_of_the_prefix_and_the_flows_own() {
    let varied = |kind, mask| {
        let entry = entry(kind);
        let entry = Backend { flags: entry.flags | backend_flags::VARIED, ..entry };
        Xdp::with_constants(entry, |constants| {
            constants.features = features::VARY_V4 | features::VARY_V6;
            (constants.vary_v4, constants.vary_v6) = (mask, 0xffff_0000);
        })
    };
    // The second is wider than the prefix that the entry was written for.
    for mask in [0xfff0, 0xffff] {
        let xdp = varied(backend_kinds::IPV4_IN_IPV4, mask);
        let mut sources = BTreeSet::new();
        for port in 1_000..1_500 {
            let frame = from_router().ipv4(CLIENT4, VIP4).tcp(port, 80, tcp::ACK);
            let run = xdp.run(&frame);
            let source = u32::from_be_bytes(run.frame[26..30].try_into().unwrap());
            assert_eq!(source & !mask, u32::from(SOURCE4) & !mask, "only the open bits");
            let wanted = to_backend().ipv4(Ipv4Addr::from(source), BACKEND4).inner_of(&frame);
            assert_frame_eq(&run.frame, &wanted);
            assert_eq!(xdp.run(&frame).frame, run.frame, "a flow keeps its own");
            sources.insert(source);
        }
        assert!(sources.len() > 400, "{} sources for 500 flows", sources.len());
    }
    let xdp = varied(backend_kinds::IPV6_IN_IPV6, 0xfff0);
    let run = xdp.run(&syn6());
    let source: [u8; 16] = run.frame[22..38].try_into().unwrap();
    assert_eq!(u128::from_be_bytes(source) & !0xffff_0000, u128::from(SOURCE6));
    assert_ne!(source, SOURCE6.octets());
    assert_frame_eq(&run.frame, &to_backend().ipv6(source.into(), BACKEND6).inner_of(&syn6()));
}

#[test]
fn a_program_that_somebody_took_out_is_missed_and_counted() {
    let world = World::new("gue");
    let features = features::GUE | features::GUE_CHECKSUM;
    let mut xdp = Xdp::over(world.load_with(&DatapathConfig { features, ..CONFIG }));
    xdp.vip(0);
    xdp.service(1, TCP, 0);
    let entry = entry(backend_kinds::IPV4_IN_IPV4 | GUE);
    xdp.backend(1, Backend { flags: entry.flags | backend_flags::CHECKSUM, ..entry });
    xdp.all_slots(Slot::settled(1));
    let pinned = MapData::from_pin(world.pin(map_names::RARE)).unwrap();
    let mut rows = ProgramArray::try_from(Map::ProgramArray(pinned)).unwrap();

    let run = xdp.run(&syn4());
    assert_eq!((run.counter, run.events), (Counter::ForwardTx, vec![]));
    rows.clear_index(&rare::CHECKSUM_TX).unwrap();
    let run = xdp.run(&syn4());
    let wanted = (Counter::ForwardTx, vec![Counter::ChecksumMissing]);
    assert_eq!((run.counter, run.events), wanted);
    assert_eq!(run.frame[40..42], [0; 2], "without a checksum, and not with a wrong one");
    rows.clear_index(&rare::OUTER).unwrap();
    assert_eq!(xdp.run(&syn4()).counter, Counter::DropNoProgram);
}
