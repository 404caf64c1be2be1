//! Packets that are told of: which, as what, and that every one is accounted for.

use std::collections::BTreeMap;

use aya::maps::{Map, MapData, RingBuf};
use tidegate_abi::{
    Backend, Counter, DatapathConfig, FLOW_RING_BYTES, FlowRecord, Slot, Told, backend_kinds,
    features, map_names,
};
use tidegate_plan::record::{self, Record, Why};
use tidegate_vm_tests::frame::{Frame, tcp};

use crate::pins::{CONFIG, World};
use crate::xdp::{
    BACKEND4, BACKEND6, CLIENT4, CLIENT6, TCP, UDP, VIP4, VIP6, Xdp, entry, from_router,
};

struct Telling {
    xdp: Xdp,
    ring: RingBuf<MapData>,
    _world: World,
}

impl Telling {
    /// Every packet, or those alone that are always told of.
    fn new(name: &str, chance: u32, interval_ns: u64, backend: Backend) -> Self {
        let world = World::new(name);
        let wanted = features::FLOWS | features::GUE | features::GUE_CHECKSUM | features::TOO_BIG;
        let mut xdp = Xdp::over(world.load_with(&DatapathConfig {
            features: wanted,
            flow_chance: chance,
            flow_interval_ns: interval_ns,
            ..CONFIG
        }));
        xdp.vip(0);
        xdp.service(1, TCP, 0);
        xdp.service(2, UDP, 0);
        xdp.backend(1, backend);
        xdp.all_slots(Slot::settled(1));
        let pinned = MapData::from_pin(world.pin(map_names::FLOW_RECORDS)).unwrap();
        let ring = RingBuf::try_from(Map::RingBuf(pinned)).unwrap();
        Self { xdp, ring, _world: world }
    }

    fn read(&mut self) -> Vec<Record> {
        let mut all = Vec::new();
        while let Some(bytes) = self.ring.next() {
            all.push(record::read(&bytes).expect("a record"));
        }
        all
    }

    /// What is told of this one.
    fn one(&mut self, frame: &Frame) -> Record {
        self.xdp.run(frame);
        let mut told = self.read();
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }

    fn told(&self) -> BTreeMap<Told, u64> {
        self.xdp.datapath.told().unwrap()
    }
}

fn segment(flags: u8) -> Frame {
    from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 80, flags)
}

#[test]
fn what_is_forwarded_is_told_with_its_client_service_and_backend_in_every_mode() {
    let kinds = [
        (backend_kinds::IPV4_IN_IPV4, Some(BACKEND4.into())),
        (backend_kinds::IPV4_IN_IPV6, Some(BACKEND6.into())),
        (backend_kinds::L2, None),
        (backend_kinds::IPV4_IN_IPV4 | backend_kinds::GUE, Some(BACKEND4.into())),
    ];
    for (kind, towards) in kinds {
        let mut telling = Telling::new("told", u32::MAX, 0, entry(kind));
        for (flags, why) in [
            (tcp::SYN, Why::Opens),
            (tcp::ACK, Why::Sampled),
            (tcp::ACK | tcp::FIN, Why::Ends),
            (tcp::RST, Why::Ends),
            (tcp::SYN | tcp::ACK, Why::Sampled),
        ] {
            let told = telling.one(&segment(flags));
            let flow = told.flow.unwrap();
            assert_eq!((flow.src, flow.src_port), (CLIENT4.into(), 40_000), "{kind}");
            assert_eq!((flow.dst, flow.dst_port, flow.proto), (VIP4.into(), 80, TCP), "{kind}");
            assert_eq!((told.verdict, told.why), (Counter::ForwardTx, why), "{kind}");
            assert_eq!((told.service, told.backend), (Some(1), Some(1)), "{kind}");
            assert_eq!((told.tcp_flags, told.towards, told.len), (Some(flags), towards, 40));
        }
    }
}

#[test]
fn ipv6_and_udp_are_told_of_and_the_record_has_the_frame_that_left() {
    let mut telling = Telling::new("told", u32::MAX, 0, entry(backend_kinds::IPV6_IN_IPV6));
    let frame = from_router().ipv6(CLIENT6, VIP6).udp(4_000, 80).payload([7; 300]);
    let run = telling.xdp.run(&frame);
    let told = telling.read().remove(0);
    let flow = told.flow.unwrap();
    assert_eq!((flow.src, flow.dst, flow.proto), (CLIENT6.into(), VIP6.into(), UDP));
    assert_eq!((flow.src_port, flow.dst_port, told.tcp_flags), (4_000, 80, None));
    assert_eq!((told.service, told.towards), (Some(2), Some(BACKEND6.into())));
    assert_eq!(told.len, 40 + 8 + 300);
    assert_eq!(told.frame_len as usize, run.frame.len());
    assert_eq!(told.frame, run.frame[..told.frame.len()]);
}

#[test]
fn a_drop_is_told_with_its_reason_as_it_came() {
    let mut telling = Telling::new("told", 0, 0, entry(backend_kinds::IPV4_IN_IPV4));
    let other = from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 81, tcp::ACK);
    let told = telling.one(&other);
    assert_eq!((told.verdict, told.why), (Counter::DropNoService, Why::Dropped));
    assert_eq!((told.service, told.backend, told.towards), (None, None, None));
    assert_eq!(told.frame, other.bytes());
    assert_eq!(told.flow.unwrap().dst_port, 81);
    // What is known of one packet is not the next one's.
    telling.one(&segment(tcp::SYN));
    let told = telling.one(&other);
    assert_eq!((told.service, told.backend, told.why), (None, None, Why::Dropped));
}

#[test]
fn a_packet_for_a_service_that_was_answered_says_whose_it_was() {
    let small = Backend { mtu: 1_000, ..entry(backend_kinds::IPV4_IN_IPV4) };
    let mut telling = Telling::new("told", u32::MAX, 0, small);
    let big = from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 80, tcp::ACK).payload([0; 1_200]);
    let told = telling.one(&big);
    assert_eq!((told.verdict, told.why), (Counter::AnswerTooBig, Why::Sampled));
    assert_eq!(told.service, Some(1));
}

#[test]
fn chance_decides_of_the_others_and_never_of_these() {
    let mut telling = Telling::new("told", 0, 0, entry(backend_kinds::IPV4_IN_IPV4));
    let (ack, syn) = (segment(tcp::ACK), segment(tcp::SYN));
    for _ in 0..100 {
        telling.xdp.run(&ack);
    }
    telling.xdp.run(&syn);
    let told = telling.read();
    assert_eq!((told.len(), told[0].why), (1, Why::Opens));
    let counts =
        [Told::Logged, Told::SampledOut, Told::LeftOut, Told::Lost].map(|it| telling.told()[&it]);
    assert_eq!(counts, [1, 100, 0, 0]);

    let half = Telling::new("told", u32::MAX / 2, 0, entry(backend_kinds::IPV4_IN_IPV4));
    for _ in 0..4_000 {
        half.xdp.datapath.test_run(&ack.bytes(), 1).unwrap();
    }
    let told = half.told();
    let (logged, out) = (told[&Told::Logged], told[&Told::SampledOut]);
    assert_eq!(logged + out, 4_000);
    // Seven times the deviation of a fair coin.
    assert!(logged.abs_diff(2_000) < 222, "{logged} of 4000");
}

#[test]
fn of_one_kind_only_so_many_are_told_of_and_the_rest_is_counted() {
    let hour = 3_600_000_000_000;
    let mut telling = Telling::new("told", 0, hour, entry(backend_kinds::IPV4_IN_IPV4));
    let other = from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 81, tcp::ACK);
    for _ in 0..10 {
        for frame in [&other, &segment(tcp::SYN), &segment(tcp::RST)] {
            telling.xdp.datapath.test_run(&frame.bytes(), 1).unwrap();
        }
    }
    let told = telling.read();
    let cpus = u64::try_from(told.len()).unwrap() / 3;
    assert!((1..=2).contains(&cpus) && told.len().is_multiple_of(3), "one of each on each CPU");
    let whys: Vec<Why> = told.iter().map(|it| it.why).collect();
    assert!(whys.starts_with(&[Why::Dropped, Why::Opens, Why::Ends]), "{whys:?}");
    assert_eq!(telling.told()[&Told::LeftOut], 30 - 3 * cpus);
}

#[test]
fn a_full_ring_loses_and_every_packet_is_accounted_for() {
    const PACKETS: u64 = 20_000;
    let room = FLOW_RING_BYTES as usize / (size_of::<FlowRecord>() + 8);
    let mut telling = Telling::new("told", u32::MAX, 0, entry(backend_kinds::IPV4_IN_IPV4));
    let ack = segment(tcp::ACK).bytes();
    for _ in 0..PACKETS {
        telling.xdp.datapath.test_run(&ack, 1).unwrap();
    }
    let told = telling.told();
    assert_eq!(told.values().sum::<u64>(), PACKETS);
    assert!(told[&Told::Lost] > 0, "{told:?}");
    assert!(told[&Told::Logged].abs_diff(room as u64) <= 1, "{told:?} in room for {room}");
    assert_eq!(telling.read().len() as u64, told[&Told::Logged]);
    // There is room again.
    telling.one(&segment(tcp::ACK));
}
