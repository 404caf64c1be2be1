//! Services in NAT.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tidegate_abi::{
    Backend, Counter, DatapathConfig, Service, Slot, backend_kinds, features, service_flags,
};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{NatTimeouts, Protocol, ServiceAddr};
use tidegate_plan::proof::{self, Client, Finding};
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, Mac, assert_frame_eq, describe, eth, ext, tcp};

use crate::pins::{CONFIG, World};
use crate::xdp::{
    BACKEND4, BACKEND6, CLIENT4, CLIENT6, INGRESS, NEXT_HOP, ROUTER, Run, SOURCE4, SOURCE6, TCP,
    UDP, US, VIP4, VIP6, Xdp, entry, from_router, to_backend,
};

/// Where the backends listen.
const PORT: u16 = 8_080;
const FIRST: u32 = 2_000;
const CLIENT_PORT: u16 = 40_000;
/// What follows a transport header.
type More = fn(Frame) -> Frame;
/// Another router in front of us.
const OTHER: Mac = [2, 0, 0, 0, 0, 9];
/// On the way to a client or a backend.
const HOP4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const HOP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 1);

/// TCP and UDP on both VIPs in NAT, with so many ports to choose from.
pub(crate) fn nat(backend: Backend, ports: u32, more: u64) -> Xdp {
    let mut xdp = Xdp::with_constants(backend, |config| {
        config.features = features::NAT | more;
        (config.nat_port_first, config.nat_port_count) = (FIRST, ports);
    });
    let flags = service_flags::NAT | u32::from(PORT) << service_flags::BACKEND_PORT;
    for (index, proto) in [(1, TCP), (2, UDP)] {
        xdp.service(index, proto, flags);
    }
    for source in [SOURCE4.into(), SOURCE6.into()] {
        let own = Service { flags: service_flags::NAT_SOURCE, ..Service::default() };
        xdp.put_at(Prefix::host(source), 0, 0, own);
    }
    xdp
}

fn nat4() -> Xdp {
    nat(entry(backend_kinds::NAT_V4), 20_000, 0)
}

fn nat6() -> Xdp {
    nat(entry(backend_kinds::NAT_V6), 20_000, 0)
}

/// From the backend's router to us.
fn from_backend() -> Frame {
    eth(NEXT_HOP, US)
}

/// From us to the client's router.
fn to_client() -> Frame {
    eth(US, ROUTER)
}

/// From the client to the VIP.
fn asked4(flags: u8) -> Frame {
    from_router().ipv4(CLIENT4, VIP4).tcp(CLIENT_PORT, 80, flags)
}

/// Our port in a frame to a backend that has no tags, and no options in its IP header.
fn port_in(run: &Run) -> u16 {
    let at = if run.frame[12..14] == [0x08, 0x00] { 34 } else { 54 };
    let port = u16::from_be_bytes([run.frame[at], run.frame[at + 1]]);
    assert!(u32::from(port) >= FIRST, "{}", describe(&run.frame));
    port
}

/// Opens a connection with this frame; returns our port.
fn open(xdp: &Xdp, frame: &Frame) -> u16 {
    let run = xdp.run(frame);
    assert_eq!(
        (run.counter, run.events.as_slice()),
        (Counter::ForwardTx, &[Counter::NatOpened][..])
    );
    assert_eq!(run.backend, Some(1));
    port_in(&run)
}

fn assert_becomes(xdp: &Xdp, name: &str, frame: &Frame, counter: Counter, wanted: &Frame) {
    let run = xdp.run(frame);
    assert_eq!((run.counter, run.events.as_slice()), (counter, &[][..]), "{name}");
    assert_frame_eq(&run.frame, wanted);
}

#[test]
fn a_connection_is_translated_both_ways_with_sound_checksums() {
    let xdp = nat4();
    let port = open(&xdp, &asked4(tcp::SYN));
    let run = xdp.run(&asked4(tcp::SYN));
    assert_eq!((run.counter, run.events.len()), (Counter::ForwardTx, 0), "the same one again");
    assert_frame_eq(
        &run.frame,
        &to_backend().ipv4(SOURCE4, BACKEND4).ttl(63).tcp(port, PORT, tcp::SYN),
    );
    let layers: [(&str, More); 5] = [
        ("nothing more", |frame| frame),
        ("data of an odd length", |frame| frame.payload(*b"hello")),
        ("TCP options", |frame| frame.options(&[1; 12]).payload(*b"a")),
        ("many bytes", |frame| frame.payload(vec![0xff; 1_400])),
        ("padding", |frame| frame.padded_to(80)),
    ];
    for (name, more) in layers {
        let asked = more(asked4(tcp::ACK));
        let sent = to_backend().ipv4(SOURCE4, BACKEND4).ttl(63);
        let wanted = more(sent.tcp(port, PORT, tcp::ACK));
        assert_becomes(&xdp, name, &asked, Counter::ForwardTx, &wanted);
        let answer = more(from_backend().ipv4(BACKEND4, SOURCE4).ttl(9).tcp(PORT, port, tcp::ACK));
        let wanted = more(to_client().ipv4(VIP4, CLIENT4).ttl(8).tcp(80, CLIENT_PORT, tcp::ACK));
        assert_becomes(&xdp, name, &answer, Counter::AnswerTx, &wanted);
    }
    let options = from_router().ipv4(CLIENT4, VIP4).options(&[1; 8]).tos(0xb8);
    let wanted = to_backend().ipv4(SOURCE4, BACKEND4).options(&[1; 8]).tos(0xb8).ttl(63);
    let (frame, wanted) =
        (options.tcp(CLIENT_PORT, 80, tcp::ACK), wanted.tcp(port, PORT, tcp::ACK));
    assert_becomes(&xdp, "IP options", &frame, Counter::ForwardTx, &wanted);
}

#[test]
fn so_is_one_of_ipv6_behind_extension_headers_too() {
    let xdp = nat6();
    let asked = || from_router().ipv6(CLIENT6, VIP6);
    let port = open(&xdp, &asked().tcp(CLIENT_PORT, 80, tcp::SYN));
    let sent = || to_backend().ipv6(SOURCE6, BACKEND6).ttl(63);
    let padding = [1, 4, 0, 0, 0, 0];
    for (name, asked, sent) in [
        ("plain", asked(), sent()),
        (
            "an extension header",
            asked().extension(ext::DESTINATION, &padding),
            sent().extension(ext::DESTINATION, &padding),
        ),
    ] {
        let asked = asked.tcp(CLIENT_PORT, 80, tcp::ACK).payload(*b"hello");
        let sent = sent.tcp(port, PORT, tcp::ACK).payload(*b"hello");
        assert_becomes(&xdp, name, &asked, Counter::ForwardTx, &sent);
    }
    let answer = from_backend().ipv6(BACKEND6, SOURCE6).tcp(PORT, port, tcp::ACK).payload(*b"you");
    let wanted = to_client().ipv6(VIP6, CLIENT6).ttl(63).tcp(80, CLIENT_PORT, tcp::ACK);
    assert_becomes(&xdp, "back", &answer, Counter::AnswerTx, &wanted.payload(*b"you"));
}

#[test]
fn udp_opens_with_any_datagram_and_keeps_having_no_checksum() {
    let xdp = nat4();
    let asked = || from_router().ipv4(CLIENT4, VIP4).udp(CLIENT_PORT, 80);
    let port = open(&xdp, &asked());
    let answer = from_backend().ipv4(BACKEND4, SOURCE4).udp(PORT, port).payload(*b"hello");
    let wanted = to_client().ipv4(VIP4, CLIENT4).ttl(63).udp(80, CLIENT_PORT).payload(*b"hello");
    assert_becomes(&xdp, "an answer", &answer, Counter::AnswerTx, &wanted);
    // Every value of a word: the checksum comes to zero, and stands there as its complement.
    for word in 0..=u16::MAX {
        let asked = asked().payload(word.to_be_bytes());
        if word % 256 == 0 || is_full(port, word) {
            let wanted = to_backend().ipv4(SOURCE4, BACKEND4).ttl(63).udp(port, PORT);
            let wanted = wanted.payload(word.to_be_bytes());
            assert_becomes(&xdp, "a word", &asked, Counter::ForwardTx, &wanted);
        }
    }
    let mut bytes = asked().bytes();
    bytes[40..42].fill(0);
    let run = xdp.run_from(&bytes, INGRESS);
    assert_eq!(run.frame[40..42], [0; 2], "{}", describe(&run.frame));
}

/// Whether the datagram's checksum would be zero behind us.
fn is_full(port: u16, word: u16) -> bool {
    let sent = to_backend().ipv4(SOURCE4, BACKEND4).udp(port, PORT).payload(word.to_be_bytes());
    sent.bytes()[40..42] == [0xff; 2]
}

#[test]
fn what_opens_nothing_and_is_of_no_connection_goes_nowhere() {
    let xdp = nat4();
    for flags in [tcp::ACK, tcp::SYN | tcp::ACK, tcp::FIN, tcp::RST, 0] {
        let run = xdp.run(&asked4(flags));
        assert_eq!(run.counter, Counter::DropNatUnknown, "{flags:#x}");
    }
    // It may be for a socket of this host.
    let port = open(&xdp, &asked4(tcp::SYN));
    let answer = |from, to| from_backend().ipv4(BACKEND4, SOURCE4).tcp(from, to, tcp::ACK);
    let other = from_backend().ipv4(HOP4, SOURCE4).tcp(PORT, port, tcp::ACK);
    let ping = from_backend().ipv4(BACKEND4, SOURCE4).icmp(8, 0, [0; 4]);
    let part = from_backend().ipv4(BACKEND4, SOURCE4).fragment(0x2000).udp(PORT, port);
    let unknown = [
        ("another port", answer(PORT, port ^ 1)),
        ("another port of the backend", answer(PORT ^ 1, port)),
        ("another backend", other),
        ("another protocol", from_backend().ipv4(BACKEND4, SOURCE4).udp(PORT, port)),
        ("a ping", ping),
        ("a fragment", part),
    ];
    for (name, frame) in unknown {
        assert_eq!(xdp.run(&frame).counter, Counter::PassNotOurs, "{name}");
    }
    assert_eq!(xdp.run(&answer(PORT, port)).counter, Counter::AnswerTx);
    let fragment = from_router().ipv4(CLIENT4, VIP4).fragment(0x2000).udp(CLIENT_PORT, 80);
    assert_eq!(xdp.run(&fragment).counter, Counter::DropFragment);
}

#[test]
fn a_connection_keeps_its_backend_whatever_becomes_of_the_ring() {
    let mut xdp = nat4();
    let mut second = entry(backend_kinds::NAT_V4);
    second.ip[19] = 3;
    second.macs[5] = 9;
    xdp.backend(2, second);
    open(&xdp, &asked4(tcp::SYN));
    let backend = |xdp: &Xdp, port, flags| {
        xdp.run(&from_router().ipv4(CLIENT4, VIP4).tcp(port, 80, flags)).backend
    };
    for slot in [Slot::in_transition(2, 1), Slot::settled(2), Slot::settled(0)] {
        xdp.all_slots(slot);
        assert_eq!(backend(&xdp, CLIENT_PORT, tcp::ACK), Some(1), "{slot:?}");
    }
    assert_eq!(backend(&xdp, 40_001, tcp::SYN), None, "nobody is in the ring");
    xdp.all_slots(Slot::in_transition(2, 1));
    assert_eq!(backend(&xdp, 40_001, tcp::SYN), Some(2), "a new one goes where new ones go");
    assert_eq!(backend(&xdp, 40_001, tcp::ACK), Some(2));
    // Ports are used again: the same SYN is the old connection's until that is over.
    assert_eq!(backend(&xdp, CLIENT_PORT, tcp::SYN), Some(1));
    backend(&xdp, CLIENT_PORT, tcp::ACK | tcp::RST);
    assert_eq!(backend(&xdp, CLIENT_PORT, tcp::SYN), Some(2));
    // One whose backend cannot be reached does not hold its client.
    xdp.backend(2, Backend { flags: 0, ..second });
    xdp.all_slots(Slot::settled(1));
    let lost = xdp.run(&from_router().ipv4(CLIENT4, VIP4).tcp(40_001, 80, tcp::ACK));
    assert_eq!(lost.counter, Counter::DropUnresolved);
    assert_eq!(backend(&xdp, 40_001, tcp::SYN), Some(1));
}

#[test]
fn every_backend_has_all_ports_and_no_connection_makes_room() {
    let ports = 64;
    let mut xdp = nat(entry(backend_kinds::NAT_V4), ports, 0);
    let syn = |port| from_router().ipv4(CLIENT4, VIP4).tcp(port, 80, tcp::SYN);
    let (mut taken, mut refused) = (BTreeSet::new(), 0);
    for port in 1..=200 {
        let run = xdp.run(&syn(port));
        match run.counter {
            Counter::ForwardTx => assert!(taken.insert(port_in(&run)), "a port twice"),
            counter => {
                assert_eq!(counter, Counter::DropNatNoPort);
                refused += 1;
            }
        }
    }
    assert!(taken.len() > 56, "{} of {ports} ports found, {refused} refused", taken.len());
    let mut second = entry(backend_kinds::NAT_V4);
    second.ip[19] = 3;
    xdp.backend(2, second);
    xdp.all_slots(Slot::settled(2));
    let run = xdp.run(&syn(300));
    assert_eq!((run.counter, run.backend), (Counter::ForwardTx, Some(2)));
}

#[test]
fn a_packet_loses_a_hop_and_goes_no_further_than_it_may() {
    let xdp = nat4();
    let asked = |ttl| from_router().ipv4(CLIENT4, VIP4).ttl(ttl).tcp(CLIENT_PORT, 80, tcp::SYN);
    for ttl in [0, 1] {
        let run = xdp.run(&asked(ttl));
        assert_eq!((run.counter, run.events.len()), (Counter::PassExpired, 0), "and opens nothing");
    }
    let port = open(&xdp, &asked(2));
    let answer = |ttl| from_backend().ipv4(BACKEND4, SOURCE4).ttl(ttl).tcp(PORT, port, tcp::ACK);
    // To the kernel this address is its own: it would reset the connection.
    assert_eq!(xdp.run(&answer(1)).counter, Counter::DropExpired);
    let wanted = to_client().ipv4(VIP4, CLIENT4).ttl(1).tcp(80, CLIENT_PORT, tcp::ACK);
    assert_becomes(&xdp, "the last hop", &answer(2), Counter::AnswerTx, &wanted);
}

#[test]
fn answers_go_back_the_way_the_clients_last_packet_came() {
    let mut tagged = entry(backend_kinds::NAT_V4);
    tagged.vlan_tci = [0, 7];
    let xdp = nat(tagged, 20_000, 0);
    let came: [(&str, Frame, Frame); 4] = [
        ("untagged", from_router(), to_client()),
        ("a tag", from_router().vlan(5), to_client().vlan(5)),
        ("two tags", from_router().service_vlan(4).vlan(5), to_client().service_vlan(4).vlan(5)),
        ("another router", eth(OTHER, US), eth(US, OTHER)),
    ];
    let first = from_router().ipv4(CLIENT4, VIP4).tcp(CLIENT_PORT, 80, tcp::SYN);
    let run = xdp.run(&first);
    let port = u16::from_be_bytes([run.frame[38], run.frame[39]]);
    for (name, asked, back) in came {
        let asked = asked.ipv4(CLIENT4, VIP4).tcp(CLIENT_PORT, 80, tcp::ACK);
        let sent = to_backend().vlan(7).ipv4(SOURCE4, BACKEND4).ttl(63).tcp(port, PORT, tcp::ACK);
        assert_becomes(&xdp, name, &asked, Counter::ForwardTx, &sent);
        let answer = from_backend().vlan(7).ipv4(BACKEND4, SOURCE4).tcp(PORT, port, tcp::ACK);
        let wanted = back.ipv4(VIP4, CLIENT4).ttl(63).tcp(80, CLIENT_PORT, tcp::ACK);
        assert_becomes(&xdp, name, &answer, Counter::AnswerTx, &wanted);
    }
}

#[test]
fn a_packet_needs_no_room_for_a_header_and_one_too_big_is_answered() {
    let xdp = nat(entry(backend_kinds::NAT_V4), 20_000, features::TOO_BIG);
    open(&xdp, &asked4(tcp::SYN));
    let of_len = |len: usize| asked4(tcp::ACK).payload(vec![0; len - 40]);
    assert_eq!(xdp.run(&of_len(1_500)).counter, Counter::ForwardTx);
    let run = xdp.run(&of_len(1_501));
    assert_eq!(run.counter, Counter::AnswerTooBig);
    assert_eq!(run.frame[40..42], 1_500_u16.to_be_bytes(), "{}", describe(&run.frame));
}

/// An error, in both directions, about what both ends have sent.
#[test]
fn an_error_shows_each_end_the_packet_that_it_has_sent() {
    let xdp = nat4();
    let events = [Counter::IcmpErrorForwarded];
    for is_tcp in [true, false] {
        let transport = |frame: Frame, from, to| {
            if is_tcp { frame.tcp(from, to, tcp::ACK) } else { frame.udp(from, to) }
        };
        let asked = || from_router().ipv4(CLIENT4, VIP4);
        let first = if is_tcp { asked4(tcp::SYN) } else { asked().udp(CLIENT_PORT, 80) };
        let port = open(&xdp, &first);
        let bare = || eth([0; 6], [0; 6]);
        // What crosses the two networks: the same packet before and behind us.
        let sent = transport(bare().ipv4(SOURCE4, BACKEND4), port, PORT).payload(*b"hello there");
        let asked = transport(bare().ipv4(CLIENT4, VIP4), CLIENT_PORT, 80).payload(*b"hello there");
        let answered =
            transport(bare().ipv4(VIP4, CLIENT4), 80, CLIENT_PORT).payload(*b"hello there");
        let answer = transport(bare().ipv4(BACKEND4, SOURCE4), PORT, port).payload(*b"hello there");
        for len in [28, 48, 33].into_iter().filter(|&len| is_tcp || len < 34) {
            let cut = |frame: &Frame| frame.bytes()[14..][..len].to_vec();
            let at_backends = from_backend().ipv4(HOP4, SOURCE4).icmp(3, 4, [0, 0, 5, 0]);
            let wanted = to_client().ipv4(VIP4, CLIENT4).ttl(63).icmp(3, 4, [0, 0, 5, 0]);
            let run = xdp.run(&at_backends.payload(cut(&sent)));
            assert_eq!((run.counter, run.events.as_slice()), (Counter::AnswerTx, &events[..]));
            assert_frame_eq(&run.frame, &wanted.payload(cut(&asked)));

            let at_clients = from_router().ipv4(HOP4, VIP4).icmp(11, 0, [0; 4]);
            let wanted = to_backend().ipv4(SOURCE4, BACKEND4).ttl(63).icmp(11, 0, [0; 4]);
            let run = xdp.run(&at_clients.payload(cut(&answered)));
            assert_eq!((run.counter, run.events.as_slice()), (Counter::ForwardTx, &events[..]));
            assert_frame_eq(&run.frame, &wanted.payload(cut(&answer)));
        }
        let other = transport(bare().ipv4(SOURCE4, BACKEND4), port ^ 1, PORT);
        let error = from_backend().ipv4(HOP4, SOURCE4).icmp(3, 4, [0; 4]).inner_of(&other);
        assert_eq!(xdp.run(&error).counter, Counter::PassNotOurs, "about a socket of this host");
        let other = transport(bare().ipv4(VIP4, CLIENT4), 80, CLIENT_PORT ^ 1);
        let error = from_router().ipv4(HOP4, VIP4).icmp(3, 4, [0; 4]).inner_of(&other);
        assert_eq!(xdp.run(&error).counter, Counter::DropNatUnknown);
    }
}

#[test]
fn an_error_of_icmpv6_does_so_too() {
    let xdp = nat6();
    let asked = || from_router().ipv6(CLIENT6, VIP6);
    let port = open(&xdp, &asked().tcp(CLIENT_PORT, 80, tcp::SYN));
    let bare = || eth([0; 6], [0; 6]);
    let sent = bare().ipv6(SOURCE6, BACKEND6).tcp(port, PORT, tcp::ACK).payload(*b"hi");
    let asked = bare().ipv6(CLIENT6, VIP6).tcp(CLIENT_PORT, 80, tcp::ACK).payload(*b"hi");
    let error = from_backend().ipv6(HOP6, SOURCE6).icmpv6(2, 0, [0, 0, 5, 0]).inner_of(&sent);
    let run = xdp.run(&error);
    assert_eq!(run.counter, Counter::AnswerTx);
    let wanted = to_client().ipv6(VIP6, CLIENT6).ttl(63).icmpv6(2, 0, [0, 0, 5, 0]);
    assert_frame_eq(&run.frame, &wanted.inner_of(&asked));
    let answered = bare().ipv6(VIP6, CLIENT6).tcp(80, CLIENT_PORT, tcp::ACK).payload(*b"hi");
    let answer = bare().ipv6(BACKEND6, SOURCE6).tcp(PORT, port, tcp::ACK).payload(*b"hi");
    let error = from_router().ipv6(HOP6, VIP6).icmpv6(3, 0, [0; 4]).inner_of(&answered);
    let run = xdp.run(&error);
    assert_eq!(run.counter, Counter::ForwardTx);
    let wanted = to_backend().ipv6(SOURCE6, BACKEND6).ttl(63).icmpv6(3, 0, [0; 4]);
    assert_frame_eq(&run.frame, &wanted.inner_of(&answer));
}

/// All times so long, but for one.
fn timeouts(change: impl FnOnce(&mut NatTimeouts)) -> NatTimeouts {
    const LONG: Duration = Duration::from_hours(1);
    let mut timeouts = NatTimeouts {
        tcp_handshake: LONG,
        tcp_established: LONG,
        tcp_half_closed: LONG,
        tcp_closed: LONG,
        udp: LONG,
    };
    change(&mut timeouts);
    timeouts
}

#[test]
fn what_is_silent_for_too_long_or_with_a_dead_backend_is_forgotten_on_both_sides() {
    let mut xdp = nat4();
    let asked = |port, flags| from_router().ipv4(CLIENT4, VIP4).tcp(port, 80, flags);
    let answer = |port, flags| from_backend().ipv4(BACKEND4, SOURCE4).tcp(PORT, port, flags);
    let [half_open, open_one, closed] = [1, 2, 3].map(|port| open(&xdp, &asked(port, tcp::SYN)));
    for (client, ours) in [(2, open_one), (3, closed)] {
        xdp.run(&answer(ours, tcp::SYN | tcp::ACK));
        xdp.run(&asked(client, tcp::ACK));
    }
    xdp.run(&answer(closed, tcp::FIN | tcp::ACK));
    xdp.run(&asked(3, tcp::FIN | tcp::ACK));
    let mut left = |timeouts: NatTimeouts, dead: &[(u32, u32)]| {
        assert!(xdp.datapath.sweep_nat(&timeouts, &dead.iter().copied().collect()).unwrap());
        let known = [half_open, open_one, closed]
            .map(|port| xdp.run(&answer(port, tcp::ACK)).counter == Counter::AnswerTx);
        (xdp.datapath.nat_connections().values().sum::<u64>(), known)
    };
    let none = timeouts(|_| {});
    assert_eq!(left(none, &[(1, 7), (7, 1)]), (3, [true, true, true]), "others are dead");
    let short = timeouts(|it| it.udp = Duration::ZERO);
    assert_eq!(left(short, &[]), (3, [true, true, true]), "none of them is UDP");
    // The backend has just been heard of again, and so has said ACK: the handshake waits for the
    // client alone.
    let short = timeouts(|it| it.tcp_handshake = Duration::ZERO);
    assert_eq!(left(short, &[]), (2, [false, true, true]));
    let short = timeouts(|it| it.tcp_closed = Duration::ZERO);
    assert_eq!(left(short, &[]), (1, [false, true, false]));
    assert_eq!(left(timeouts(|_| {}), &[(1, 1)]), (0, [false; 3]));
    assert_eq!(xdp.run(&asked(2, tcp::ACK)).counter, Counter::DropNatUnknown);
    assert_ne!(open(&xdp, &asked(2, tcp::SYN)), 0);
}

#[test]
fn a_backend_whose_entry_becomes_free_leaves_no_connection_to_who_gets_it_next() {
    let mut xdp = nat4();
    open(&xdp, &asked4(tcp::SYN));
    xdp.apply(&Step::FreeBackend { index: 1 });
    xdp.backend(1, entry(backend_kinds::NAT_V4));
    assert_eq!(xdp.run(&asked4(tcp::ACK)).counter, Counter::DropNatUnknown);
}

#[test]
fn a_test_packet_shows_backend_and_source_and_opens_nothing() {
    let world = World::new("nat-proof");
    let mut xdp = Xdp::over(world.load_with(&DatapathConfig { features: features::NAT, ..CONFIG }));
    xdp.vip(0);
    xdp.service(1, TCP, service_flags::NAT);
    xdp.service(2, UDP, service_flags::NAT);
    xdp.all_slots(Slot::settled(1));
    for (vip, kind) in [(VIP4.into(), backend_kinds::NAT_V4), (VIP6.into(), backend_kinds::NAT_V6)]
    {
        let wanted = entry(kind);
        xdp.backend(1, wanted);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let service = ServiceAddr { addrs: Prefix::host(vip), port: 80, protocol };
            let observed = xdp.datapath.observe().unwrap();
            let clients = proof::clients(CONFIG.hash_seed, service, &observed);
            let frame = proof::frame(protocol, clients[0].0, 1_280);
            let before = xdp.datapath.counters().unwrap();
            let finding = xdp.datapath.prove(&frame, INGRESS);
            assert_eq!(xdp.datapath.counters().unwrap(), before);
            let is_as = matches!(finding, Finding::Sent(it) if proof::is_as(&it, &wanted));
            assert!(is_as, "{service:?}: {finding:?}");
            let nobody = [].into();
            assert!(xdp.datapath.sweep_nat(&timeouts(|_| {}), &nobody).unwrap());
            assert!(xdp.datapath.nat_connections().is_empty(), "{service:?}");
        }
    }
    // What a client sends leaves with the same headers.
    xdp.backend(1, entry(backend_kinds::NAT_V4));
    let client = Client { addr: CLIENT4.into(), vip: VIP4.into(), port: 80 };
    let frame = proof::frame(Protocol::Tcp, client, 1_280);
    let finding = xdp.datapath.prove(&frame, INGRESS);
    let sent = xdp.datapath.test_run(&frame, INGRESS).unwrap();
    assert_eq!(proof::read(Counter::ForwardTx as u32, &sent.frame), finding);
}

#[test]
fn a_restart_of_the_daemon_finds_every_connection() {
    let world = World::new("nat-restart");
    let config = DatapathConfig { features: features::NAT, ..CONFIG };
    let fill = |xdp: &mut Xdp| {
        xdp.vip(0);
        xdp.service(1, TCP, service_flags::NAT | u32::from(PORT) << service_flags::BACKEND_PORT);
        let own = Service { flags: service_flags::NAT_SOURCE, ..Service::default() };
        xdp.put_at(Prefix::host(SOURCE4.into()), 0, 0, own);
        xdp.backend(1, entry(backend_kinds::NAT_V4));
        xdp.all_slots(Slot::settled(1));
    };
    let mut xdp = Xdp::over(world.load_with(&config));
    fill(&mut xdp);
    let port = port_in(&xdp.run(&asked4(tcp::SYN)));
    drop(xdp);
    let mut xdp = Xdp::over(world.load_with(&config));
    fill(&mut xdp);
    let run = xdp.run(&asked4(tcp::ACK));
    assert_eq!((run.counter, port_in(&run)), (Counter::ForwardTx, port));
    assert!(xdp.datapath.sweep_nat(&timeouts(|_| {}), &[].into()).unwrap());
    assert_eq!(xdp.datapath.nat_connections(), &[((1, 1), 1)].into());
}
