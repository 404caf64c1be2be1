//! Who may come in, and how often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::MapInfo;
use nix::time::{ClockId, clock_gettime};
use tidegate::bpf_io::Verdict;
use tidegate_abi::{
    Counter, DatapathConfig, Rates, SOURCE_BUCKETS, Slot, admissions, backend_kinds, features,
    map_names, service_flags,
};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::Protocol;
use tidegate_plan::proof::{self, Client, Finding};
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, eth, ext, tcp};

use crate::pins::{CONFIG, World};
use crate::xdp::{
    CLIENT4, CLIENT6, INGRESS, TCP, UDP, US, VIP4, VIP6, Xdp, entry, from_router, syn4, syn6,
};

const HOUR: u64 = 3_600_000_000_000;
const PREFIXES: u64 = features::PREFIXES_V4 | features::PREFIXES_V6;

fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn xdp(features: u64) -> Xdp {
    Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features;
        constants.burst_ns = 3 * HOUR;
    })
}

fn say(xdp: &mut Xdp, admission: u32, prefixes: &[&str]) {
    let prefixes = prefixes.iter().map(|text| (prefix(text), admission)).collect();
    xdp.apply(&Step::PutPrefixes { prefixes });
}

/// The TCP service and the UDP service have these limits.
fn limited(xdp: &mut Xdp, rates: Rates) {
    for (index, proto) in [(1, TCP), (2, UDP)] {
        xdp.service(index, proto, service_flags::RATED);
        xdp.apply(&Step::PutRates { index, rates });
    }
}

fn ack_of(client: u32) -> Frame {
    from_router().ipv4(Ipv4Addr::from_bits(client), VIP4).tcp(40_000, 80, tcp::ACK)
}

fn ack4() -> Frame {
    from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 80, tcp::ACK)
}

#[test]
fn whatever_a_denied_client_sends_to_a_vip_ends_here() {
    let mut xdp = xdp(PREFIXES);
    let (v4, v6) = (|| from_router().ipv4(CLIENT4, VIP4), || from_router().ipv6(CLIENT6, VIP6));
    let answer = eth([0; 6], [0; 6]).ipv4(VIP4, CLIENT4).tcp(80, 40_000, tcp::ACK);
    let frames = [
        ("SYN", syn4(), Counter::ForwardTx),
        ("ACK", ack4(), Counter::ForwardTx),
        ("no service", v4().tcp(40_000, 81, tcp::SYN), Counter::DropNoService),
        ("echo", v4().icmp(8, 0, [0; 4]), Counter::EchoReply),
        ("later fragment", v4().fragment(1).proto(6).payload([0; 8]), Counter::DropFragment),
        ("first fragment", v4().fragment(0x2000).udp(1, 80), Counter::ForwardTx),
        ("ICMP error", v4().icmp(3, 3, [0; 4]).inner_of(&answer), Counter::ForwardTx),
        ("malformed", v4().proto(6).payload([0; 4]), Counter::DropMalformed),
        ("behind options", v4().options(&[1; 8]).udp(1, 80), Counter::ForwardTx),
        ("behind a tag", eth(US, US).vlan(7).ipv4(CLIENT4, VIP4).udp(1, 80), Counter::ForwardTx),
        ("IPv6 echo", v6().icmpv6(128, 0, [0; 4]), Counter::EchoReply),
        ("IPv6 no service", v6().udp(1, 81), Counter::DropNoService),
        (
            "IPv6 later fragment",
            v6().extension(ext::DESTINATION, &[0; 6]).fragment_header(3, true).proto(17),
            Counter::DropFragment,
        ),
    ];
    for (name, frame, counter) in &frames {
        assert_eq!(xdp.run(frame).counter, *counter, "{name}, allowed");
    }
    say(&mut xdp, admissions::DENY, &["198.51.100.0/24", "2001:db8:c::/48"]);
    for (name, frame, _) in &frames {
        assert_eq!(xdp.run(frame).counter, Counter::DropDenied, "{name}");
    }
    assert_eq!(xdp.run(&syn6()).counter, Counter::DropDenied);
    assert_eq!(xdp.run(&ack_of(0x0a00_0001)).counter, Counter::ForwardTx, "others come in");
    xdp.apply(&Step::DeletePrefixes { prefixes: vec![prefix("198.51.100.0/24")] });
    assert_eq!(xdp.run(&syn4()).counter, Counter::ForwardTx, "and so do those that were denied");
}

#[test]
fn what_is_not_for_a_vip_is_not_asked() {
    let mut xdp = xdp(PREFIXES);
    say(&mut xdp, admissions::DENY, &["0.0.0.0/0", "::/0"]);
    let (us4, us6) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
    let cases = [
        ("BGP", from_router().ipv4(CLIENT4, us4).tcp(40_000, 179, tcp::SYN), Counter::PassNotOurs),
        ("SSH", from_router().ipv6(CLIENT6, us6).tcp(40_000, 22, tcp::SYN), Counter::PassNotOurs),
        ("BFD", from_router().ipv4(CLIENT4, us4).udp(49_152, 3_784), Counter::PassNotOurs),
        ("ARP", from_router().ether_type(0x0806).payload([0; 46]), Counter::PassNotIp),
        (
            "neighbour discovery of a VIP's link",
            from_router().ipv6(CLIENT6, VIP6).ttl(255).icmpv6(135, 0, [0; 4]).payload([0; 16]),
            Counter::PassNeighbour,
        ),
        (
            "a group frame",
            eth(US, [0xff; 6]).ipv4(CLIENT4, VIP4).udp(1, 80),
            Counter::PassGroupFrame,
        ),
    ];
    for (name, frame, counter) in cases {
        assert_eq!(xdp.run(&frame).counter, counter, "{name}");
    }
    assert_eq!(xdp.run(&syn4()).counter, Counter::DropDenied);
}

#[test]
fn the_longest_prefix_counts() {
    let mut xdp = xdp(PREFIXES);
    say(&mut xdp, admissions::DENY, &["10.0.0.0/8", "10.1.2.0/24", "2001:db8::/32"]);
    say(&mut xdp, admissions::ALLOW, &["10.1.0.0/16", "10.1.2.3/32", "2001:db8:c::7/128"]);
    let cases = [
        ("10.0.0.1", Counter::DropDenied),
        ("10.1.0.1", Counter::ForwardTx),
        ("10.1.2.1", Counter::DropDenied),
        ("10.1.2.3", Counter::ForwardTx),
        ("11.0.0.1", Counter::ForwardTx),
    ];
    for (client, counter) in cases {
        let client: Ipv4Addr = client.parse().unwrap();
        assert_eq!(xdp.run(&ack_of(client.to_bits())).counter, counter, "{client}");
    }
    let other = from_router().ipv6(Ipv6Addr::from_bits(CLIENT6.to_bits() + 1), VIP6).udp(1, 80);
    assert_eq!(xdp.run(&other).counter, Counter::DropDenied);
    // The backend takes IPv4 only: that far it came.
    assert_eq!(xdp.run(&syn6()).counter, Counter::DropUnresolved);
    // Nobody but those that are allowed.
    say(&mut xdp, admissions::DENY, &["0.0.0.0/0"]);
    assert_eq!(xdp.run(&ack_of(0x0b00_0001)).counter, Counter::DropDenied);
    assert_eq!(xdp.run(&ack_of(0x0a01_0001)).counter, Counter::ForwardTx);
}

#[test]
fn a_hundred_thousand_prefixes_of_each_version_hold_and_are_read_back() {
    const COUNT: u32 = 100_000;
    let mut xdp = xdp(PREFIXES);
    let v4 = |n: u32| Prefix::host(Ipv4Addr::from_bits(0x1400_0000 + 2 * n).into());
    let v6 = |n: u32| {
        let addr = Ipv6Addr::from_bits((0x2a00 << 112) + (u128::from(2 * n) << 64));
        Prefix::new(addr.into(), 64).unwrap()
    };
    let all: Vec<Prefix> = (0..COUNT).flat_map(|n| [v4(n), v6(n)]).collect();
    let start = Instant::now();
    for part in all.chunks(4_096) {
        let prefixes = part.iter().map(|prefix| (*prefix, admissions::DENY)).collect();
        xdp.apply(&Step::PutPrefixes { prefixes });
    }
    println!("{} prefixes written in {:?}", all.len(), start.elapsed());
    assert_eq!(xdp.datapath.observe().unwrap().prefixes.len(), all.len());
    for n in [0, 1, 65_535, COUNT - 1] {
        let run = |addr: IpAddr, next: u8| match addr {
            IpAddr::V4(v4) => xdp.run(&ack_of(v4.to_bits() + u32::from(next))).counter,
            IpAddr::V6(v6) => {
                let client = Ipv6Addr::from_bits(v6.to_bits() + (u128::from(next) << 64));
                xdp.run(&from_router().ipv6(client, VIP6).udp(1, 80)).counter
            }
        };
        for prefix in [v4(n), v6(n)] {
            assert_eq!(run(prefix.addr(), 0), Counter::DropDenied, "{prefix}");
            assert_ne!(run(prefix.addr(), 1), Counter::DropDenied, "beside {prefix}");
        }
    }
    // In a step, as many that are not there: they are no mistake.
    let start = Instant::now();
    for part in all.chunks(4_096) {
        xdp.apply(&Step::DeletePrefixes { prefixes: part.to_vec() });
    }
    println!("and removed in {:?}", start.elapsed());
    xdp.apply(&Step::DeletePrefixes { prefixes: vec![v4(1), v4(2), v6(3)] });
    assert!(xdp.datapath.observe().unwrap().prefixes.is_empty());
    assert_eq!(xdp.run(&ack_of(0x1400_0000)).counter, Counter::ForwardTx);
}

#[test]
fn a_restart_adopts_what_the_maps_hold_and_a_program_without_limits_has_no_buckets() {
    let world = World::new("guard");
    let with = |features| DatapathConfig { features, ..CONFIG };
    let buckets = || MapInfo::from_pin(world.pin(map_names::SOURCE_BUCKETS)).unwrap().max_entries();
    let mut datapath = world.load_with(&with(0));
    assert_eq!(buckets(), 1);
    let prefixes = ["0.0.0.0/0", "10.0.0.0/9", "10.1.2.3/32", "::/0", "2001:db8::/33"];
    let prefixes = prefixes.map(|text| (prefix(text), admissions::ALLOW)).to_vec();
    datapath.apply(&Step::PutPrefixes { prefixes }).unwrap();
    let rates = Rates { source_ns: 7, ..Rates::default() };
    datapath.apply(&Step::PutRates { index: 3, rates }).unwrap();
    let before = datapath.observe().unwrap();
    assert_eq!((before.prefixes.len(), before.rates.get(&3)), (5, Some(&rates)));
    drop(datapath);
    for features in [features::RATES | features::SOURCE_RATES, features::RATES, u64::MAX >> 1, 0] {
        let datapath = world.load_with(&with(features));
        assert_eq!(datapath.observe().unwrap(), before);
        let has_buckets = features & features::SOURCE_RATES != 0;
        assert_eq!(buckets(), if has_buckets { SOURCE_BUCKETS } else { 1 });
    }
}

#[test]
fn each_source_has_so_many_packets_and_no_more() {
    let mut xdp = xdp(features::RATES | features::SOURCE_RATES);
    limited(&mut xdp, Rates { source_ns: HOUR, ..Rates::default() });
    for client in [1, 2] {
        for n in 0..3 {
            assert_eq!(xdp.run(&ack_of(client)).counter, Counter::ForwardTx, "{client}: {n}");
        }
        assert_eq!(xdp.run(&ack_of(client)).counter, Counter::DropSourceRate);
        assert_eq!(xdp.run(&ack_of(client)).counter, Counter::DropSourceRate);
    }
    let udp = |client| from_router().ipv4(Ipv4Addr::from_bits(client), VIP4).udp(1, 80);
    assert_eq!(xdp.run(&udp(1)).counter, Counter::ForwardTx, "another service has its own");
    xdp.apply(&Step::PutRates { index: 1, rates: Rates::default() });
    assert_eq!(xdp.run(&ack_of(1)).counter, Counter::ForwardTx, "no limit any more");
}

#[test]
fn clients_of_one_prefix_are_one_source() {
    let mut xdp = Xdp::with_constants(entry(backend_kinds::L2), |constants| {
        constants.features = features::RATES | features::SOURCE_RATES;
        (constants.source_open_v4, constants.source_open_v6) = (8, 16);
    });
    // A burst of nothing: one packet may always come.
    limited(&mut xdp, Rates { source_ns: HOUR, ..Rates::default() });
    let v6 = |high: u64, low: u64| {
        let client = u128::from(0x2001_0db8_000c_0000 + high) << 64 | u128::from(low);
        from_router().ipv6(Ipv6Addr::from_bits(client), VIP6).udp(1, 80)
    };
    let cases = [
        ("the first", ack_of(0x0a00_0001), Counter::ForwardTx),
        ("its neighbour", ack_of(0x0a00_00ff), Counter::DropSourceRate),
        ("the next prefix", ack_of(0x0a00_0101), Counter::ForwardTx),
        ("IPv6", v6(0, 1), Counter::ForwardTx),
        ("its neighbour", v6(0, u64::MAX), Counter::DropSourceRate),
        ("of the same /48", v6(0xffff, 1), Counter::DropSourceRate),
        ("of another /48", v6(0x1_0000, 1), Counter::ForwardTx),
    ];
    for (name, frame, counter) in cases {
        assert_eq!(xdp.run(&frame).counter, counter, "{name}");
    }
}

#[test]
fn limits_of_connections_leave_open_ones_alone() {
    let mut xdp = xdp(features::RATES | features::SOURCE_RATES);
    let rates = Rates { source_syn_ns: HOUR, service_syn_ns: HOUR / 2, ..Rates::default() };
    limited(&mut xdp, rates);
    let syn = |client, flags| {
        from_router().ipv4(Ipv4Addr::from_bits(client), VIP4).tcp(40_000, 80, flags)
    };
    let run = |client, flags| xdp.run(&syn(client, flags)).counter;
    for _ in 0..3 {
        assert_eq!(run(1, tcp::SYN), Counter::ForwardTx);
    }
    assert_eq!(run(1, tcp::SYN), Counter::DropSourceSynRate);
    for flags in [tcp::ACK, tcp::SYN | tcp::ACK, tcp::ACK | tcp::FIN, tcp::RST] {
        assert_eq!(run(1, flags), Counter::ForwardTx);
    }
    for client in 2..5 {
        assert_eq!(run(client, tcp::SYN), Counter::ForwardTx, "six in all");
    }
    assert_eq!(run(5, tcp::SYN), Counter::DropServiceSynRate);
    assert_eq!(run(5, tcp::ACK), Counter::ForwardTx);
}

#[test]
fn a_service_takes_so_many_packets_from_all_and_its_fragments_and_errors_count() {
    let mut xdp = xdp(features::RATES);
    limited(&mut xdp, Rates { service_ns: HOUR / 2, ..Rates::default() });
    let part = |offset: u16| {
        let frame = from_router().ipv4(CLIENT4, VIP4);
        if offset == 0 {
            frame.fragment(0x2000).udp(1, 80)
        } else {
            frame.fragment(offset).proto(UDP).payload([0; 8])
        }
    };
    let answer = eth([0; 6], [0; 6]).ipv4(VIP4, CLIENT4).udp(80, 1);
    let error = from_router().ipv4(CLIENT4, VIP4).icmp(3, 3, [0; 4]).inner_of(&answer);
    for frame in [&part(0), &part(1), &part(2), &error, &part(3), &error] {
        assert_eq!(xdp.run(frame).counter, Counter::ForwardTx);
    }
    for frame in [&part(0), &part(1), &error] {
        assert_eq!(xdp.run(frame).counter, Counter::DropServiceRate);
    }
    for client in 0..6 {
        assert_eq!(xdp.run(&ack_of(client)).counter, Counter::ForwardTx, "the other service");
    }
    assert_eq!(xdp.run(&ack_of(9)).counter, Counter::DropServiceRate);
    xdp.all_slots(Slot::settled(0));
    assert_eq!(xdp.run(&ack_of(9)).counter, Counter::DropServiceRate, "before the backend");
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

/// Every verdict fits what a bucket of this rate and size must say at the moment of the packet, of
/// which is known between which two looks at the program's own clock it was.
#[test]
fn a_bucket_gives_what_its_rate_gives() {
    const INTERVAL: u64 = 4_000_000;
    const BURST: u64 = 4 * INTERVAL;
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features::RATES | features::SOURCE_RATES;
        constants.burst_ns = BURST;
    });
    limited(&mut xdp, Rates { source_ns: INTERVAL, ..Rates::default() });
    let frame = ack4().bytes();
    // When the next token comes, at the earliest and at the latest.
    let (mut earliest, mut latest) = (0, 0);
    let (mut admitted, mut dropped) = (0, 0);
    let give_up = Instant::now() + Duration::from_mins(1);
    while admitted < 50 || dropped < 50 {
        assert!(Instant::now() < give_up, "{admitted} admitted, {dropped} dropped");
        let before = monotonic_ns();
        let run = xdp.datapath.test_run(&frame, INGRESS).unwrap();
        let after = monotonic_ns();
        let slack = BURST - INTERVAL;
        if run.verdict == Verdict::Tx {
            admitted += 1;
            assert!(earliest <= after + slack, "too early by {} ns", earliest - after - slack);
            (earliest, latest) = (earliest.max(before) + INTERVAL, latest.max(after) + INTERVAL);
        } else {
            dropped += 1;
            assert!(latest > before + slack, "too late by {} ns", before + slack - latest);
        }
    }
    println!("{admitted} admitted, {dropped} dropped");
}

#[test]
fn however_many_cpus_take_from_a_bucket_each_takes_one_too_many_at_most() {
    const THREADS: usize = 4;
    let cpus = thread::available_parallelism().unwrap().get();
    let mut xdp = Xdp::with_constants(entry(backend_kinds::IPV4_IN_IPV4), |constants| {
        constants.features = features::RATES | features::SOURCE_RATES;
        constants.burst_ns = 1_000 * HOUR;
    });
    limited(&mut xdp, Rates { source_ns: HOUR, ..Rates::default() });
    let (frame, datapath) = (ack4().bytes(), &xdp.datapath);
    let admitted: usize = thread::scope(|scope| {
        let run = || datapath.test_run(&frame, INGRESS).unwrap().verdict == Verdict::Tx;
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(move || (0..1_000).filter(|_| run()).count()))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert!((1_000..=1_000 + cpus).contains(&admitted), "{admitted}");
}

#[test]
fn test_packets_are_not_asked_and_take_no_tokens() {
    let world = World::new("guarded");
    let features = PREFIXES | features::RATES | features::SOURCE_RATES;
    let mut xdp = Xdp::over(world.load_with(&DatapathConfig { features, ..CONFIG }));
    xdp.vip(0);
    limited(&mut xdp, Rates { source_ns: HOUR, service_ns: HOUR, ..Rates::default() });
    xdp.backend(1, entry(backend_kinds::IPV4_IN_IPV4));
    xdp.all_slots(Slot::settled(1));
    let client = Client { addr: CLIENT4.into(), vip: VIP4.into(), port: 80 };
    let frame = proof::frame(Protocol::Tcp, client, 1_280);
    let prove = |xdp: &Xdp| {
        for _ in 0..5 {
            let finding = xdp.datapath.prove(&frame, INGRESS);
            assert!(matches!(finding, Finding::Sent(_)), "{finding:?}");
        }
    };
    prove(&xdp);
    assert_eq!(xdp.run(&ack_of(1)).counter, Counter::ForwardTx, "the only token was left");
    assert_eq!(xdp.run(&ack_of(2)).counter, Counter::DropServiceRate);
    say(&mut xdp, admissions::DENY, &["0.0.0.0/0", "::/0"]);
    assert_eq!(xdp.run(&ack_of(3)).counter, Counter::DropDenied);
    prove(&xdp);
}
