//! Parts of a datagram, all of which belong to the backend of its flow.

use tidegate_abi::{
    Backend, Counter, FRAGMENTS_MAX, Slot, backend_flags, backend_kinds, features, service_flags,
};
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, checksums_hold, describe, ext, tcp};

use crate::xdp::{
    BACKEND4, CLIENT4, CLIENT6, INGRESS, SOURCE4, TCP, UDP, VIP4, VIP6, Xdp, entry, from_router,
    to_backend,
};

const LINK_LEN: usize = 14;

/// Three backends, one slot after the other.
fn three(kind: u8) -> Xdp {
    let mut xdp = Xdp::with(entry(kind));
    xdp.backend(2, entry(kind));
    xdp.backend(3, entry(kind));
    xdp.slots(|place| Slot::settled(1 + place % 3));
    xdp
}

/// The same for clients of IPv4.
fn xdp() -> Xdp {
    three(backend_kinds::IPV4_IN_IPV4)
}

/// The same for clients of IPv6.
fn xdp6() -> Xdp {
    three(backend_kinds::IPV6_IN_IPV4)
}

/// Cuts an IPv4 packet into parts of so many bytes, a multiple of eight, as a router does
/// (RFC 791 §3.2). The checksum of the header is left to those who look at it.
pub(crate) fn parts4(whole: &Frame, id: u16, size: usize) -> Vec<Vec<u8>> {
    let whole = whole.bytes();
    let (header, payload) = whole.split_at(LINK_LEN + 20);
    let last = (payload.len() - 1) / size;
    let part = |(nth, bytes): (usize, &[u8])| {
        let mut part = [header, bytes].concat();
        let total = u16::try_from(20 + bytes.len()).unwrap();
        part[LINK_LEN + 2..][..2].copy_from_slice(&total.to_be_bytes());
        part[LINK_LEN + 4..][..2].copy_from_slice(&id.to_be_bytes());
        let more = if nth == last { 0 } else { 0x2000 };
        let field = more | u16::try_from(nth * size / 8).unwrap();
        part[LINK_LEN + 6..][..2].copy_from_slice(&field.to_be_bytes());
        part
    };
    payload.chunks(size).enumerate().map(part).collect()
}

/// The same for IPv6, as its sender does (RFC 8200 §4.5); `before` bytes of headers stand in front
/// of the fragment's in every part.
pub(crate) fn parts6(whole: &Frame, id: u32, size: usize, before: usize) -> Vec<Vec<u8>> {
    let whole = whole.bytes();
    let (header, payload) = whole.split_at(LINK_LEN + 40 + before);
    // Where the type of what is cut is named.
    let named_at = if before == 0 { LINK_LEN + 6 } else { LINK_LEN + 40 };
    let last = (payload.len() - 1) / size;
    let part = |(nth, bytes): (usize, &[u8])| {
        let more = u16::from(nth != last);
        let field = u16::try_from(nth * size).unwrap() | more;
        let mut part = header.to_vec();
        part.extend([whole[named_at], 0]);
        part.extend(field.to_be_bytes());
        part.extend(id.to_be_bytes());
        part.extend(bytes);
        part[named_at] = ext::FRAGMENT;
        let len = u16::try_from(before + 8 + bytes.len()).unwrap();
        part[LINK_LEN + 4..][..2].copy_from_slice(&len.to_be_bytes());
        part
    };
    payload.chunks(size).enumerate().map(part).collect()
}

fn datagram4(port: u16, proto: u8) -> Frame {
    let head = from_router().ipv4(CLIENT4, VIP4);
    let head = if proto == TCP { head.tcp(port, 80, tcp::ACK) } else { head.udp(port, 80) };
    head.payload([5; 3_000])
}

fn datagram6(port: u16, proto: u8) -> Frame {
    let head = from_router().ipv6(CLIENT6, VIP6);
    let head = if proto == TCP { head.tcp(port, 80, tcp::ACK) } else { head.udp(port, 80) };
    head.payload([5; 3_000])
}

/// The backend that has the flow, by a packet that is none of many.
fn owner(xdp: &Xdp, whole: &Frame) -> Option<u32> {
    let run = xdp.run_from(&cut_to_fit(whole), INGRESS);
    assert_eq!(run.counter, Counter::ForwardTx);
    run.backend
}

/// A packet of the same flow that fits.
fn cut_to_fit(whole: &Frame) -> Vec<u8> {
    let mut bytes = whole.bytes();
    bytes.truncate(LINK_LEN + 100);
    let (is_v4, len_at, udp_len_at) = match bytes[LINK_LEN] >> 4 {
        4 => (true, LINK_LEN + 2, LINK_LEN + 20 + 4),
        _ => (false, LINK_LEN + 4, LINK_LEN + 40 + 4),
    };
    let (ip_len, headers) = if is_v4 { (100_u16, 20) } else { (60, 0) };
    bytes[len_at..][..2].copy_from_slice(&ip_len.to_be_bytes());
    let proto = if is_v4 { bytes[LINK_LEN + 9] } else { bytes[LINK_LEN + 6] };
    if proto == UDP {
        bytes[udp_len_at..][..2].copy_from_slice(&(ip_len - headers).to_be_bytes());
    }
    bytes
}

#[test]
fn every_part_of_a_datagram_goes_to_the_backend_of_its_flow() {
    let (xdp4, xdp6) = (xdp(), xdp6());
    for (nth, proto) in (0_u16..40).zip([TCP, UDP].into_iter().cycle()) {
        let port = 1_000 + nth;
        let cases = [
            (&xdp4, datagram4(port, proto), parts4(&datagram4(port, proto), nth, 1_000)),
            (&xdp6, datagram6(port, proto), parts6(&datagram6(port, proto), nth.into(), 1_200, 0)),
        ];
        for (xdp, whole, parts) in cases {
            let owner = owner(xdp, &whole);
            assert!(parts.len() > 2);
            for part in parts {
                let run = xdp.run_from(&part, INGRESS);
                let counted = (run.counter, run.events);
                let wanted = (Counter::ForwardTx, vec![Counter::FragmentForwarded]);
                assert_eq!(counted, wanted, "{}", describe(&part));
                assert_eq!(run.backend, owner, "{}", describe(&part));
            }
        }
    }
}

#[test]
fn a_part_leaves_as_it_came_in_the_backends_header() {
    let xdp = xdp();
    for part in parts4(&datagram4(40_000, UDP), 7, 1_000) {
        let wanted = to_backend().ipv4(SOURCE4, BACKEND4).proto(4).payload(&part[LINK_LEN..]);
        assert_frame_eq(&xdp.run_from(&part, INGRESS).frame, &wanted);
    }
}

#[test]
fn parts_are_known_by_addresses_identification_and_protocol() {
    let xdp = xdp();
    let [first, second, ..] = &parts4(&datagram4(40_000, UDP), 7, 1_000)[..] else { panic!() };
    let counter = |part: &[u8]| xdp.run_from(part, INGRESS).counter;
    assert_eq!(counter(second), Counter::DropFragment, "before the first one");
    assert_eq!(counter(first), Counter::ForwardTx);
    assert_eq!(counter(second), Counter::ForwardTx);
    assert_eq!(counter(second), Counter::ForwardTx, "again");
    for (name, at) in [("client", 29), ("identification", 18), ("protocol", 23)] {
        let mut other = second.clone();
        other[at] ^= 1;
        assert_eq!(counter(&other), Counter::DropFragment, "{name}");
    }
    // The same identification again, of another flow: the last one counts.
    let [first, ..] = &parts4(&datagram4(40_001, UDP), 7, 1_000)[..] else { panic!() };
    assert_eq!(counter(first), Counter::ForwardTx);
    let run = xdp.run_from(second, INGRESS);
    assert_eq!(run.backend, owner(&xdp, &datagram4(40_001, UDP)));
}

#[test]
fn headers_before_and_behind_that_of_the_fragment_are_looked_through() {
    let xdp = xdp6();
    let udp = |head: Frame| head.udp(40_000, 80).payload([5; 2_000]);
    let before = from_router().ipv6(CLIENT6, VIP6).extension(ext::HOP_BY_HOP, &[0; 6]);
    let behind = from_router().ipv6(CLIENT6, VIP6).extension(ext::DESTINATION, &[0; 14]);
    for (id, parts) in
        [parts6(&udp(before), 1, 1_200, 8), parts6(&udp(behind), 2, 1_200, 0)].iter().enumerate()
    {
        for part in parts {
            assert_eq!(xdp.run_from(part, INGRESS).counter, Counter::ForwardTx, "case {id}");
        }
    }
    let options = from_router().ipv4(CLIENT4, VIP4).options(&[1; 8]).fragment(0x2000);
    let run = self::xdp().run(&options.udp(40_000, 80).payload([5; 800]));
    assert_eq!(run.counter, Counter::ForwardTx, "IPv4 options");
}

#[test]
fn what_is_for_no_service_is_not_remembered() {
    let xdp = xdp();
    let whole = from_router().ipv4(CLIENT4, VIP4).udp(40_000, 81).payload([5; 2_000]);
    let parts = parts4(&whole, 7, 1_000);
    let counters = parts.iter().map(|part| xdp.run_from(part, INGRESS).counter);
    let wanted = [Counter::DropNoService, Counter::DropFragment, Counter::DropFragment];
    assert_eq!(counters.collect::<Vec<_>>(), wanted);
}

#[test]
fn a_syn_in_parts_opens_a_flow_in_a_slot_that_changes() {
    let mut xdp = xdp();
    xdp.all_slots(Slot::in_transition(2, 1));
    let head = || from_router().ipv4(CLIENT4, VIP4);
    let opening = head().tcp(40_000, 80, tcp::SYN).payload([5; 1_500]);
    for part in parts4(&opening, 1, 1_000) {
        assert_eq!(xdp.run_from(&part, INGRESS).backend, Some(2));
    }
    let older = head().tcp(40_001, 80, tcp::ACK).payload([5; 1_500]);
    for part in parts4(&older, 2, 1_000) {
        assert_eq!(xdp.run_from(&part, INGRESS).backend, Some(1));
    }
    assert_eq!(xdp.datapath.flow_count().unwrap(), 1);
}

#[test]
fn affinity_by_client_holds_for_parts() {
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features::AFFINITY_CLIENT;
    });
    xdp.service(2, UDP, service_flags::AFFINITY_CLIENT);
    xdp.backend(2, entry(backend_kinds::IPV4_IN_IPV4));
    xdp.slots(|place| Slot::settled(1 + place % 2));
    let wanted = owner(&xdp, &datagram4(1, UDP));
    for port in 1..10 {
        for part in parts4(&datagram4(port, UDP), port, 1_000) {
            assert_eq!(xdp.run_from(&part, INGRESS).backend, wanted);
        }
    }
}

#[test]
fn a_flood_of_first_parts_pushes_out_the_oldest_and_nothing_else() {
    let xdp = xdp();
    let parts = parts4(&datagram4(40_000, UDP), 0, 1_000);
    let of_client = |part: &[u8], client: u32| {
        let mut part = part.to_vec();
        part[LINK_LEN + 12..][..4].copy_from_slice(&client.to_be_bytes());
        part
    };
    for client in 0..2 * FRAGMENTS_MAX {
        let first = of_client(&parts[0], 0x0b00_0000 + client);
        xdp.datapath.test_run(&first, INGRESS).unwrap();
    }
    let second =
        |client| xdp.run_from(&of_client(&parts[1], 0x0b00_0000 + client), INGRESS).counter;
    assert_eq!(second(2 * FRAGMENTS_MAX - 1), Counter::ForwardTx, "the last one");
    let known = (0..2 * FRAGMENTS_MAX).step_by(64).filter(|&c| second(c) == Counter::ForwardTx);
    let known = u32::try_from(known.count()).unwrap() * 64;
    // The kernel's LRU is near enough to one: it has lists for each CPU.
    let wanted = FRAGMENTS_MAX / 2..=FRAGMENTS_MAX;
    assert!(wanted.contains(&known), "{known} of {FRAGMENTS_MAX}");
    assert_eq!(xdp.run(&crate::xdp::syn4()).counter, Counter::ForwardTx);
}

#[test]
fn a_part_that_does_not_fit_is_answered() {
    let change = |constants: &mut tidegate_abi::DatapathConfig| {
        constants.features = features::TOO_BIG | features::TOO_BIG_WITHOUT_DF;
    };
    let v4 = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), change);
    let v6 = Xdp::with_constants(entry(backend_kinds::IPV6_IN_IPV4), change);
    let cases = [
        (v4, parts4(&datagram4(40_000, UDP), 1, 1_480)),
        (v6, parts6(&datagram6(40_000, UDP), 1, 1_448, 0)),
    ];
    for (xdp, parts) in cases {
        let counters: Vec<Counter> =
            parts.iter().map(|part| xdp.run_from(part, INGRESS).counter).collect();
        // The last part is short.
        let wanted = [Counter::AnswerTooBig, Counter::AnswerTooBig, Counter::ForwardTx];
        assert_eq!(counters, wanted);
    }
}

#[test]
fn parts_in_gue_have_one_source_port_and_a_sound_checksum() {
    let entry = entry(backend_kinds::IPV4_IN_IPV4 | backend_kinds::GUE);
    let flags = entry.flags | backend_flags::CHECKSUM;
    let xdp = Xdp::with_constants(Backend { flags, ..entry }, |constants| {
        constants.features = features::GUE | features::GUE_CHECKSUM;
    });
    let mut ports = Vec::new();
    for part in parts4(&datagram4(40_000, UDP), 7, 1_000) {
        let run = xdp.run_from(&part, INGRESS);
        assert_eq!(run.counter, Counter::ForwardTx);
        assert!(checksums_hold(&run.frame), "{}", describe(&run.frame));
        ports.push([run.frame[34], run.frame[35]]);
    }
    ports.dedup();
    assert_eq!(ports.len(), 1, "{ports:?}");
}
