//! A client of QUIC goes where the connection id says that its server gave it, from whatever address it
//! comes. What names nobody goes by the hash, as every flow of UDP.

use std::net::{Ipv4Addr, Ipv6Addr};

use tidegate_abi::{Counter, QuicKey, Slot, backend_kinds, features, service_flags};
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, assert_frame_eq};

use crate::fragments::{parts4, parts6};
use crate::xdp::{
    BACKEND4, CLIENT4, CLIENT6, INGRESS, SOURCE4, UDP, VIP4, VIP6, Xdp, entry, from_router,
    to_backend,
};

/// The service: its row, the configuration that its ids name, and the length of a server id.
const ROW: u32 = 2;
const CONFIG: u8 = 5;
const LEN: usize = 3;
/// Who owns every slot: where the hash leads.
const BY_HASH: u32 = 1;
/// Who is named.
const NAMED: u32 = 2;
const NAMED_ID: [u8; LEN] = [0x0a, 0x00, 0x02];

/// A service with three backends, of which the ring names the first alone.
fn xdp_with(kind: u8, more: u64) -> Xdp {
    let mut xdp = Xdp::with_constants(entry(kind), |constants| {
        constants.features = features::QUIC | more;
    });
    for index in [NAMED, 3] {
        xdp.backend(index, entry(kind));
    }
    let len = u32::try_from(LEN).unwrap() << service_flags::SERVER_ID_LEN;
    xdp.service(ROW, UDP, service_flags::QUIC | len);
    let key = |id: &[u8]| QuicKey::new(ROW, CONFIG, id);
    let servers = vec![(key(&[0x0a, 0, 1]), 1), (key(&NAMED_ID), NAMED), (key(&[0x0a, 0, 3]), 3)];
    xdp.apply(&Step::PutServers { servers });
    xdp
}

fn xdp() -> Xdp {
    xdp_with(backend_kinds::IPV4_IN_IPV4, 0)
}

/// A connection id of eight octets; the low bits of the first say what the server likes.
fn connection_id(config: u8, server_id: &[u8]) -> Vec<u8> {
    let mut id = vec![config << 5 | 0x15];
    id.extend(server_id);
    id.resize(8, 0x77);
    id
}

/// A packet with a short header (RFC 8999 §5.2).
fn short(id: &[u8]) -> Vec<u8> {
    [&[0x43], id, &[0x99; 24]].concat()
}

/// One with a long header (§5.1) of any version, and a connection id of the client's own.
fn long(version: u32, id: &[u8]) -> Vec<u8> {
    let len = u8::try_from(id.len()).unwrap();
    [&[0xc3], &version.to_be_bytes()[..], &[len], id, &[4, 1, 2, 3, 4], &[0x99; 24]].concat()
}

fn v4(client: Ipv4Addr, port: u16, quic: Vec<u8>) -> Frame {
    from_router().ipv4(client, VIP4).udp(port, 80).payload(quic)
}

fn v6(client: Ipv6Addr, port: u16, quic: Vec<u8>) -> Frame {
    from_router().ipv6(client, VIP6).udp(port, 80).payload(quic)
}

/// Where a packet goes that a client of IPv4 sends.
fn goes_to(xdp: &Xdp, quic: Vec<u8>) -> Option<u32> {
    let run = xdp.run(&v4(CLIENT4, 40_000, quic));
    assert_eq!(run.counter, Counter::ForwardTx);
    run.backend
}

#[test]
fn a_client_that_comes_from_another_address_keeps_its_backend() {
    let xdp = xdp();
    for (last, port) in (1..=20).zip(40_000..) {
        let frame =
            v4(Ipv4Addr::new(203, 0, 113, last), port, short(&connection_id(CONFIG, &NAMED_ID)));
        let run = xdp.run(&frame);
        assert_eq!((run.counter, run.events), (Counter::ForwardTx, vec![]));
        assert_eq!((run.service, run.backend), (Some(ROW), Some(NAMED)));
        assert_frame_eq(&run.frame, &to_backend().ipv4(SOURCE4, BACKEND4).inner_of(&frame));
    }
}

#[test]
fn a_client_of_ipv6_keeps_it_too_whatever_headers_come_before() {
    let xdp = xdp_with(backend_kinds::IPV6_IN_IPV4, 0);
    let quic = || short(&connection_id(CONFIG, &NAMED_ID));
    for word in 1..=5 {
        let client = Ipv6Addr::new(0x2001, 0xdb8, 0xc, word, 0, 0, 0, 7);
        assert_eq!(xdp.run(&v6(client, 40_000 + word, quic())).backend, Some(NAMED));
    }
    let options = from_router().ipv6(CLIENT6, VIP6).extension(60, &[0; 14]);
    assert_eq!(xdp.run(&options.udp(1, 80).payload(quic())).backend, Some(NAMED));
    let tagged = from_router().vlan(7).ipv6(CLIENT6, VIP6).udp(1, 80).payload(quic());
    assert_eq!(xdp.run(&tagged).backend, Some(NAMED));
}

#[test]
fn a_long_header_of_any_version_says_how_long_its_connection_id_is() {
    let xdp = xdp();
    let id = connection_id(CONFIG, &NAMED_ID);
    for version in [1, 0x6b33_43cf, 0xff00_001d, 0x0a0a_0a0a, 0] {
        assert_eq!(goes_to(&xdp, long(version, &id)), Some(NAMED), "version {version:#x}");
    }
    assert_eq!(goes_to(&xdp, long(1, &id[..=LEN])), Some(NAMED), "no octet more than it needs");
    assert_eq!(goes_to(&xdp, long(1, &id[..LEN])), Some(BY_HASH), "its last octet is not its own");
    assert_eq!(goes_to(&xdp, long(1, &[])), Some(BY_HASH), "none");
    let of_twenty = [&id[..], &[0x77; 12]].concat();
    assert_eq!(goes_to(&xdp, long(1, &of_twenty)), Some(NAMED), "the longest of version 1");
}

#[test]
fn a_connection_id_that_names_nobody_goes_by_the_hash() {
    let xdp = xdp();
    let unknown = connection_id(CONFIG, &[0x0a, 0, 9]);
    assert_eq!(goes_to(&xdp, short(&unknown)), Some(BY_HASH), "no such server");
    assert_eq!(goes_to(&xdp, long(1, &unknown)), Some(BY_HASH), "no such server, long");
    for config in (0..8).filter(|config| *config != CONFIG) {
        // 7 is that of ids which name no server.
        let id = connection_id(config, &NAMED_ID);
        assert_eq!(goes_to(&xdp, short(&id)), Some(BY_HASH), "configuration {config}");
        assert_eq!(goes_to(&xdp, long(1, &id)), Some(BY_HASH), "configuration {config}, long");
    }
}

#[test]
fn a_packet_that_ends_within_its_connection_id_has_none() {
    let xdp = xdp();
    let id = connection_id(CONFIG, &NAMED_ID);
    for whole in [short(&id), long(1, &id)] {
        let header_len = if whole[0] & 0x80 == 0 { 1 } else { 6 };
        for len in 0..whole.len() {
            // Sixteen octets from its start on: a packet of QUIC has more.
            let wanted = if len < header_len + 16 { BY_HASH } else { NAMED };
            assert_eq!(goes_to(&xdp, whole[..len].to_vec()), Some(wanted), "{len} bytes");
        }
        // What lies behind the datagram is not its own.
        let frame = v4(CLIENT4, 40_000, whole[..3].to_vec());
        let mut bytes = frame.bytes();
        bytes.extend(&whole[3..]);
        assert_eq!(xdp.run_from(&bytes, INGRESS).backend, Some(BY_HASH));
    }
}

#[test]
fn a_drained_backend_keeps_its_connections_and_one_that_is_gone_has_none() {
    let mut xdp = xdp();
    let quic = || short(&connection_id(CONFIG, &NAMED_ID));
    // No slot names it: it gets no flow but by its id.
    assert_eq!(goes_to(&xdp, quic()), Some(NAMED));
    xdp.all_slots(Slot::in_transition(3, BY_HASH));
    assert_eq!(goes_to(&xdp, quic()), Some(NAMED), "in transition");
    assert_eq!(goes_to(&xdp, short(&connection_id(7, &NAMED_ID))), Some(3), "of none, as all UDP");
    assert_eq!(xdp.datapath.flow_count().unwrap(), 0);
    // Its way is lost.
    let unresolved = tidegate_abi::Backend { flags: 0, ..entry(backend_kinds::IPV4_IN_IPV4) };
    xdp.apply(&Step::PutBackend { index: NAMED, entry: unresolved, fresh: false });
    assert_eq!(goes_to(&xdp, quic()), Some(3), "no way to it");
    xdp.backend(NAMED, entry(backend_kinds::IPV4_IN_IPV4));
    assert_eq!(goes_to(&xdp, quic()), Some(NAMED));
    // It is down, or disabled: the daemon takes its id away.
    let key = QuicKey::new(ROW, CONFIG, &NAMED_ID);
    xdp.apply(&Step::DeleteServers { servers: vec![key] });
    assert_eq!(goes_to(&xdp, quic()), Some(3), "dead");
    // An index that no entry can have.
    xdp.apply(&Step::PutServers { servers: vec![(key, u32::MAX)] });
    assert_eq!(goes_to(&xdp, quic()), Some(3), "out of bounds");
}

#[test]
fn flows_without_a_connection_id_are_remembered_and_the_others_are_not() {
    let mut xdp = xdp_with(backend_kinds::IPV4_IN_IPV4, features::UDP_FLOWS);
    let len = u32::try_from(LEN).unwrap() << service_flags::SERVER_ID_LEN;
    xdp.service(ROW, UDP, service_flags::QUIC | service_flags::UDP_FLOWS | len);
    let client_chosen = || long(1, &[0xff; 8]);
    assert_eq!(goes_to(&xdp, client_chosen()), Some(BY_HASH));
    xdp.all_slots(Slot::in_transition(3, BY_HASH));
    assert_eq!(goes_to(&xdp, client_chosen()), Some(BY_HASH), "in the handshake");
    assert_eq!(goes_to(&xdp, short(&connection_id(CONFIG, &NAMED_ID))), Some(NAMED));
}

#[test]
fn another_service_does_not_know_the_server_ids_of_this_one() {
    let mut xdp = xdp();
    let len = u32::try_from(LEN).unwrap() << service_flags::SERVER_ID_LEN;
    xdp.service_on(81, 3, UDP, service_flags::QUIC | len);
    xdp.service_on(82, 4, UDP, 0);
    let quic = short(&connection_id(CONFIG, &NAMED_ID));
    for port in [81, 82] {
        let frame = from_router().ipv4(CLIENT4, VIP4).udp(40_000, port).payload(quic.clone());
        assert_eq!(xdp.run(&frame).backend, Some(BY_HASH), "port {port}");
    }
}

#[test]
fn every_length_of_a_server_id_is_told_from_its_neighbours() {
    let mut xdp = xdp();
    for len in 1..=15_usize {
        let bits = u32::try_from(len).unwrap() << service_flags::SERVER_ID_LEN;
        xdp.service(ROW, UDP, service_flags::QUIC | bits);
        let id = &[0xa5; 15][..len];
        let key = QuicKey::new(ROW, 0, id);
        xdp.apply(&Step::PutServers { servers: vec![(key, NAMED)] });
        let with_nonce = |id: &[u8]| [&[0x1f], id, &[0x3c; 4]].concat();
        assert_eq!(goes_to(&xdp, short(&with_nonce(id))), Some(NAMED), "{len} octets");
        let mut other = id.to_vec();
        other[len - 1] ^= 1;
        assert_eq!(goes_to(&xdp, short(&with_nonce(&other))), Some(BY_HASH), "{len} octets");
        xdp.apply(&Step::DeleteServers { servers: vec![key] });
    }
}

#[test]
fn ids_of_the_configuration_of_before_have_a_length_of_their_own() {
    const FORMER: u8 = 2;
    let mut xdp = xdp();
    let len = u32::try_from(LEN).unwrap() << service_flags::SERVER_ID_LEN;
    let former =
        u32::from(FORMER + 1) << service_flags::FORMER_CONFIG | 1 << service_flags::FORMER_ID_LEN;
    xdp.service(ROW, UDP, service_flags::QUIC | len | former);
    let servers = vec![(QuicKey::new(ROW, FORMER, &[0x0c]), 3)];
    xdp.apply(&Step::PutServers { servers });
    let now = connection_id(CONFIG, &NAMED_ID);
    assert_eq!(goes_to(&xdp, short(&now)), Some(NAMED));
    // Behind the one octet stands whatever the server likes.
    for id in [[0x0c, 0, 1], [0x0c, 7, 9]] {
        let before = connection_id(FORMER, &id);
        assert_eq!(goes_to(&xdp, short(&before)), Some(3));
        assert_eq!(goes_to(&xdp, long(1, &before)), Some(3));
        assert_eq!(goes_to(&xdp, long(1, &before[..2])), Some(3), "no longer than it must be");
        assert_eq!(goes_to(&xdp, long(1, &before[..1])), Some(BY_HASH));
    }
    assert_eq!(goes_to(&xdp, short(&connection_id(FORMER, &NAMED_ID))), Some(BY_HASH));
    assert_eq!(goes_to(&xdp, short(&connection_id(CONFIG, &[0x0c, 0, 1]))), Some(BY_HASH));
}

#[test]
fn the_parts_of_a_datagram_follow_the_first_that_has_the_connection_id() {
    let quic = [short(&connection_id(CONFIG, &NAMED_ID)), vec![0x55; 2_000]].concat();
    let cases = [
        (xdp(), parts4(&v4(CLIENT4, 40_000, quic.clone()), 7, 1_000)),
        (xdp_with(backend_kinds::IPV6_IN_IPV4, 0), parts6(&v6(CLIENT6, 40_000, quic), 7, 1_000, 0)),
    ];
    for (mut xdp, parts) in cases {
        let run = |xdp: &Xdp, part: &[u8]| {
            let run = xdp.run_from(part, INGRESS);
            assert_eq!(run.events, [Counter::FragmentForwarded]);
            run.backend
        };
        for part in &parts {
            assert_eq!(run(&xdp, part), Some(NAMED));
        }
        // One whose backend is gone meanwhile follows the ring, and so do parts of its successor's time.
        xdp.apply(&Step::FreeBackend { index: NAMED });
        assert_eq!(run(&xdp, &parts[1]), Some(BY_HASH));
        let (index, fresh) = (NAMED, true);
        let entry = xdp.datapath.observe().unwrap().backends[&BY_HASH];
        xdp.apply(&Step::PutBackend { index, entry, fresh });
        assert_eq!(xdp.run_from(&parts[1], INGRESS).counter, Counter::DropFragment, "forgotten");
    }
}

#[test]
fn a_first_part_that_ends_within_the_connection_id_names_nobody() {
    let quic = [short(&connection_id(CONFIG, &NAMED_ID)), vec![0x55; 100]].concat();
    let (xdp, parts) = (xdp(), parts4(&v4(CLIENT4, 40_000, quic), 7, 16));
    for part in &parts {
        assert_eq!(xdp.run_from(part, INGRESS).backend, Some(BY_HASH));
    }
}

/// What the error quotes is the server's: the connection id in it is the client's own, and says
/// nothing. So it goes where the flow's hash says, as for every service.
#[test]
fn an_icmp_error_goes_to_the_owner_of_the_quoted_flow_by_its_hash() {
    let xdp = xdp();
    let answer = to_backend()
        .ipv4(VIP4, CLIENT4)
        .udp(80, 40_000)
        .payload(short(&connection_id(CONFIG, &NAMED_ID)));
    let quoted = answer.bytes().split_off(14);
    let error = from_router().ipv4(CLIENT4, VIP4).icmp(3, 4, [0, 0, 5, 0]).payload(quoted);
    let run = xdp.run(&error);
    assert_eq!((run.counter, run.backend), (Counter::ForwardTx, Some(BY_HASH)));
    assert_eq!(run.events, [Counter::IcmpErrorForwarded]);
}

#[test]
fn a_packet_that_is_too_big_for_the_named_backend_is_answered_with_its_size() {
    let mut xdp = xdp_with(backend_kinds::IPV4_IN_IPV4, features::TOO_BIG);
    let narrow = tidegate_abi::Backend { mtu: 1_300, ..entry(backend_kinds::IPV4_IN_IPV4) };
    xdp.apply(&Step::PutBackend { index: NAMED, entry: narrow, fresh: false });
    let quic = |id: [u8; LEN]| [short(&connection_id(CONFIG, &id)), vec![0; 1_300]].concat();
    let head = || from_router().ipv4(CLIENT4, VIP4).fragment(0x4000);
    let frame = |id| head().udp(40_000, 80).payload(quic(id));
    let answer = xdp.run(&frame(NAMED_ID));
    assert_eq!(answer.counter, Counter::AnswerTooBig);
    let mtu = u16::from_be_bytes([answer.frame[40], answer.frame[41]]);
    assert_eq!(mtu, 1_300 - 20);
    assert_eq!(xdp.run(&frame([0x0a, 0, 3])).counter, Counter::ForwardTx);
}
