use core::net::Ipv4Addr;

use proptest::prelude::*;
use tidegate_abi::{
    Backend, Counter, Service, ServiceKeyV4, Slot, admissions, backend_flags, backend_kinds,
    features, service_flags,
};
use tidegate_bgp::types::Prefix;

use super::*;
use crate::model::Flow;
use crate::proof::frame_of;

const RING: u32 = 1_024;
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// One service on 192.0.2.10:80/tcp, its slots given.
fn maps(slot: Slot) -> Datapath {
    let key = ServiceKeyV4 { addr: VIP.octets(), port: [0, 80], proto: 6, prefix_len: 0 };
    let vip = ServiceKeyV4 { port: [0; 2], proto: 0, ..key };
    let service = Service { ring_offset: 0, ring_size: RING, index: 5, flags: 0 };
    let mut ip = [0; 40];
    ip[..20].copy_from_slice(&[
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 4, 0, 0, 203, 0, 113, 2, 203, 0, 113, 11,
    ]);
    let entry = Backend {
        kind: backend_kinds::IPV4_IN_IPV4,
        flags: backend_flags::RESOLVED,
        egress_ifindex: 2,
        mtu: 1_500,
        ip,
        ..Backend::FREE
    };
    Datapath {
        services_v4: [(key, service), (vip, Service::default())].into(),
        backends: [(1, entry), (2, entry)].into(),
        slots: vec![slot; RING as usize],
        ..Datapath::default()
    }
}

fn packet(opens: bool, dst_port: u16, len: u16) -> Vec<u8> {
    let src = Ipv4Addr::new(198, 51, 100, 7).into();
    frame_of(&Flow { src, dst: VIP.into(), src_port: 40_000, dst_port, proto: 6 }, opens, len)
}

fn ask(maps: &Datapath, remembered: Remembered, frame: &[u8]) -> Why {
    why(DatapathConfig::default(), maps, remembered, frame, 1)
}

#[test]
fn each_stage_says_what_it_made_of_the_packet() {
    let maps = maps(Slot::settled(1));
    let Why { trace, expected } = ask(&maps, Remembered::default(), &packet(true, 80, 0));
    assert_eq!(trace.outcome.verdict, Counter::ForwardRedirect);
    assert_eq!(trace.service.unwrap().1.index, 5);
    assert_eq!(trace.slot.unwrap().1, Slot::settled(1));
    assert_eq!(trace.owner.unwrap().0, 1);
    assert!(matches!(expected, Some(Finding::Sent(_))), "{expected:?}");

    let Why { trace, expected } = ask(&maps, Remembered::default(), &packet(true, 81, 0));
    assert_eq!((trace.service, trace.slot, trace.owner), (None, None, None));
    assert_eq!(trace.outcome.verdict, Counter::DropNoService);
    assert_eq!(expected, Some(Finding::Ended(Counter::DropNoService)));
}

#[test]
fn a_flow_in_transition_is_whose_it_was_and_a_new_one_is_not() {
    let maps = maps(Slot::in_transition(2, 1));
    let owner =
        |remembered, opens| ask(&maps, remembered, &packet(opens, 80, 0)).trace.owner.unwrap().0;
    assert_eq!(owner(Remembered::default(), true), 2);
    assert_eq!(owner(Remembered::default(), false), 1, "older than the change");
    let remembered = Remembered { flow: Some(2), ..Remembered::default() };
    assert_eq!(owner(remembered, false), 2, "began after the change");
}

#[test]
fn what_the_guard_denies_says_by_which_prefix_and_is_not_asked_of_a_proof_copy() {
    let mut maps = maps(Slot::settled(1));
    let prefix = Prefix::new(Ipv4Addr::new(198, 51, 100, 0).into(), 24).unwrap();
    maps.prefixes = std::sync::Arc::new([(prefix, admissions::DENY)].into());
    let constants = DatapathConfig { features: features::PREFIXES_V4, ..DatapathConfig::default() };
    let Why { trace, expected } =
        why(constants, &maps, Remembered::default(), &packet(true, 80, 0), 1);
    assert_eq!(trace.admission, Some((prefix, admissions::DENY)));
    assert_eq!(trace.outcome.verdict, Counter::DropDenied);
    assert!(matches!(expected, Some(Finding::Sent(_))), "{expected:?}");
}

#[test]
fn too_big_is_answered_and_a_proof_copy_says_that_it_does_not_fit() {
    let constants = DatapathConfig { features: features::TOO_BIG, ..DatapathConfig::default() };
    let frame = packet(true, 80, 1_500);
    let Why { trace, expected } =
        why(constants, &maps(Slot::settled(1)), Remembered::default(), &frame, 1);
    assert_eq!(trace.outcome.verdict, Counter::AnswerTooBig);
    assert_eq!(expected, Some(Finding::Ended(Counter::DropTooBig)));
}

#[test]
fn a_connection_in_nat_is_known_by_what_the_map_holds() {
    let mut maps = maps(Slot::settled(1));
    for service in maps.services_v4.values_mut().filter(|it| it.ring_size > 0) {
        service.flags |= service_flags::NAT;
    }
    for entry in maps.backends.values_mut() {
        entry.kind = backend_kinds::NAT_V4;
    }
    let later = packet(false, 80, 0);
    let Why { trace, expected } = ask(&maps, Remembered::default(), &later);
    assert_eq!(trace.outcome.verdict, Counter::DropNatUnknown);
    assert_eq!(expected, None);

    let mut source = [0; 16];
    source[12..].copy_from_slice(&[203, 0, 113, 2]);
    let mut backend_addr = [0; 16];
    backend_addr[12..].copy_from_slice(&[203, 0, 113, 11]);
    let flow = NatFlow {
        source,
        backend_addr,
        backend_port: [0, 80],
        source_port: [0x80, 0],
        backend: 1,
        service: 5,
        ..NatFlow::default()
    };
    let remembered = Remembered { nat: Some(flow), ..Remembered::default() };
    let Why { trace, .. } = ask(&maps, remembered, &later);
    assert_eq!(trace.outcome.verdict, Counter::ForwardRedirect);
}

#[test]
fn whatever_is_dropped_has_a_remedy() {
    for counter in Counter::ALL.iter().filter(|counter| counter.is_drop()) {
        assert!(remedy(*counter).is_some(), "{}", counter.name());
    }
}

proptest! {
    #[test]
    fn any_frame_has_a_way(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let maps = maps(Slot::in_transition(2, 1));
        let why = ask(&maps, Remembered::default(), &frame);
        prop_assert!(why.trace.owner.is_none() || why.trace.service.is_some());
    }
}
