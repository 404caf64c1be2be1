use core::net::Ipv4Addr;

use tidegate_abi::{Backend, ServiceKeyV4, Slot, backend_flags, backend_kinds};

use super::*;

const RING: u32 = 1_024;

/// One service on 192.0.2.10:80/tcp with backend 1 in every slot.
fn maps() -> Datapath {
    let key = ServiceKeyV4 { addr: [192, 0, 2, 10], port: [0, 80], proto: 6, prefix_len: 0 };
    let vip = ServiceKeyV4 { port: [0; 2], proto: 0, ..key };
    let service = Service { ring_offset: 0, ring_size: RING, index: 5, flags: 0 };
    let entry = Backend {
        kind: backend_kinds::IPV4_IN_IPV4,
        flags: backend_flags::RESOLVED,
        egress_ifindex: 1,
        mtu: 1_500,
        ..Backend::FREE
    };
    Datapath {
        services_v4: [(key, service), (vip, Service::default())].into(),
        backends: [(1, entry), (2, entry)].into(),
        slots: vec![Slot::settled(1); RING as usize],
        ..Datapath::default()
    }
}

fn model(maps: &Datapath) -> Model<'_> {
    Model {
        constants: DatapathConfig::default(),
        maps,
        flows: BTreeMap::new(),
        udp_flows: BTreeMap::new(),
        fragments: BTreeMap::new(),
        source_buckets: BTreeMap::new(),
        service_buckets: BTreeMap::new(),
        nat: Connections::default(),
        flows_max: 2,
        devices: BTreeSet::new(),
    }
}

/// A TCP segment without options or data, from 198.51.100.7.
fn segment(src_port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend(Ipv4Addr::new(198, 51, 100, 7).octets());
    frame.extend([192, 0, 2, 10]);
    frame.extend(src_port.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    frame
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

#[test]
fn a_packet_leaves_in_a_header_and_says_where_to() {
    let maps = maps();
    let outcome = model(&maps).run(&segment(1, SYN), 1);
    assert_eq!(outcome.verdict, Counter::ForwardTx);
    assert_eq!(outcome.frame.len(), 54 + 20);
    let forwarded = outcome.forwarded.unwrap();
    assert_eq!((forwarded.service, forwarded.backend), (5, 1));
    assert!(forwarded.slot < RING);
    assert_eq!(model(&maps).run(&segment(1, SYN), 2).verdict, Counter::DropUnresolved);
}

#[test]
fn a_full_table_leaves_flows_where_the_next_packet_finds_them() {
    let mut maps = maps();
    maps.slots = vec![Slot::in_transition(2, 1); RING as usize];
    let mut model = model(&maps);
    let mut backend = |port, flags| {
        let outcome = model.run(&segment(port, flags), 1);
        (outcome.forwarded.unwrap().backend, outcome.events)
    };
    assert_eq!(backend(9, ACK), (1, vec![]), "unknown: older than the change");
    assert_eq!(backend(1, SYN), (2, vec![]));
    assert_eq!(backend(2, SYN), (2, vec![]));
    assert_eq!(backend(3, SYN), (1, vec![Counter::FlowTableFull]));
    assert_eq!(backend(3, ACK), (1, vec![]));
    assert_eq!(backend(1, ACK), (2, vec![]));
    assert_eq!(backend(1, SYN), (2, vec![]), "its place is its own");
}

#[test]
fn any_cut_of_a_frame_has_a_verdict() {
    let maps = maps();
    let frame = segment(1, SYN);
    for len in 0..frame.len() {
        let outcome = model(&maps).run(&frame[..len], 1);
        assert!(outcome.forwarded.is_none(), "{len} bytes");
        assert_eq!(outcome.frame, frame[..len], "{len} bytes");
    }
}
