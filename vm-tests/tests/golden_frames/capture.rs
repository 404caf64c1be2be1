//! Packets that somebody captures: which, both frames of each, and that every one is accounted for.

use aya::programs::{TestRun as _, TestRunOptions, Xdp as PinnedXdp};
use aya_obj::programs::XdpAttachType;
use tidegate::bpf_io::{Captures, Datapath};
use tidegate_abi::{
    Backend, CAPTURE_RING_BYTES, CAPTURE_SNAP_MAX, CaptureFilter, CaptureHead, Counter,
    DatapathConfig, Service, Slot, backend_kinds, features, ip_proto, service_flags,
};
use tidegate_bgp::types::Prefix;
use tidegate_plan::capture::{self, Wanted, verdicts};
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, eth, tcp};

use crate::pins::{CONFIG, World};
use crate::xdp::{
    BACKEND4, CLIENT4, CLIENT6, INGRESS, NEXT_HOP, ROUTER, SOURCE4, TCP, UDP, US, VIP4, VIP6, Xdp,
    entry, from_router, syn4, syn6,
};

/// Everything, for ever.
const ALL: u64 = u64::MAX;

fn all() -> Wanted {
    Wanted { verdicts: verdicts(None), snap: 256, ..Wanted::default() }
}

/// A record, with its frames.
#[derive(Debug)]
struct Seen {
    verdict: Counter,
    service: Option<u32>,
    backend: Option<u32>,
    ingress: u32,
    before: Vec<u8>,
    before_len: u32,
    after: Option<Vec<u8>>,
    took_ns: u64,
}

struct Capturing {
    xdp: Xdp,
    captures: Captures,
}

impl Capturing {
    fn new(filter: &CaptureFilter, backend: Backend, more: u64) -> Self {
        let wanted = features::GUE | features::GUE_CHECKSUM | features::TOO_BIG | more;
        let config = DatapathConfig { features: wanted, ..CONFIG };
        let mut datapath = Datapath::load_capturing(&config, filter, None).unwrap();
        let captures = datapath.take_captures().unwrap();
        assert!(datapath.take_captures().is_none());
        let mut xdp = Xdp::over(datapath);
        xdp.vip(service_flags::ECHO);
        xdp.service(1, TCP, 0);
        xdp.service(2, UDP, 0);
        xdp.backend(1, backend);
        xdp.all_slots(Slot::settled(1));
        Self { xdp, captures }
    }

    fn wanted(wanted: &Wanted) -> Self {
        Self::new(&wanted.filter(ALL), entry(backend_kinds::IPV4_IN_IPV4), 0)
    }

    fn read(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        self.captures.drain(usize::MAX, |bytes| {
            let it = capture::read(bytes).expect("a record");
            all.push(Seen {
                verdict: it.verdict,
                service: it.service,
                backend: it.backend,
                ingress: it.ingress_ifindex,
                before: it.before.bytes.to_vec(),
                before_len: it.before.len,
                after: it.after.map(|after| after.bytes.to_vec()),
                took_ns: it.after.map_or(0, |after| after.at_ns - it.before.at_ns),
            });
        });
        all
    }

    /// What is captured of this one.
    fn one(&mut self, frame: &Frame) -> Seen {
        self.xdp.run(frame);
        let mut seen = self.read();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    fn takes(&mut self, frame: &Frame) -> bool {
        self.xdp.datapath.test_run(&frame.bytes(), INGRESS).unwrap();
        self.read().len() == 1
    }
}

#[test]
fn what_is_forwarded_is_there_as_it_came_and_as_it_left_in_every_mode() {
    let ipv4 = [
        backend_kinds::IPV4_IN_IPV4,
        backend_kinds::IPV4_IN_IPV6,
        backend_kinds::L2,
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::GUE,
    ];
    let ipv6 = [backend_kinds::IPV6_IN_IPV4, backend_kinds::IPV6_IN_IPV6];
    let kinds = ipv4.map(|kind| (kind, syn4())).into_iter();
    for (kind, frame) in kinds.chain(ipv6.map(|kind| (kind, syn6()))) {
        for vlan_tci in [[0; 2], [0, 7]] {
            let backend = Backend { vlan_tci, ..entry(kind) };
            let mut capturing = Capturing::new(&all().filter(ALL), backend, 0);
            let run = capturing.xdp.run(&frame);
            let seen = capturing.read().remove(0);
            assert_eq!(seen.verdict, Counter::ForwardTx, "{kind}");
            assert_eq!((seen.service, seen.backend), (Some(1), Some(1)), "{kind}");
            assert_eq!((seen.ingress, seen.before), (INGRESS, frame.bytes()), "{kind}");
            assert_eq!(seen.after.unwrap(), run.frame, "{kind}");
            assert!((1..1_000_000_000).contains(&seen.took_ns), "{} ns", seen.took_ns);
        }
    }
}

#[test]
fn what_is_dropped_or_passed_is_there_only_as_it_came() {
    let mut capturing = Capturing::wanted(&all());
    let arp = eth(ROUTER, US).ether_type(0x0806).payload([0; 28]);
    let tagged = from_router().vlan(5).ipv4(CLIENT4, VIP4).tcp(40_000, 81, tcp::ACK);
    let cases = [
        ("no service", tagged, Counter::DropNoService),
        ("not ours", from_router().ipv4(CLIENT4, CLIENT4).tcp(1, 2, 0), Counter::PassNotOurs),
        ("no IP", arp, Counter::PassNotIp),
    ];
    for (name, frame, verdict) in cases {
        let seen = capturing.one(&frame);
        assert_eq!((seen.verdict, seen.after), (verdict, None), "{name}");
        assert_eq!((seen.service, seen.backend), (None, None), "{name}");
        assert_eq!(seen.before, frame.bytes(), "{name}");
    }
    // What we answer ourselves leaves too.
    let echo = from_router().ipv4(CLIENT4, VIP4).icmp(8, 0, [0, 1, 0, 1]).payload([9; 40]);
    let run = capturing.xdp.run(&echo);
    let seen = capturing.read().remove(0);
    assert_eq!((seen.verdict, seen.before), (Counter::EchoReply, echo.bytes()));
    assert_eq!(seen.after.unwrap(), run.frame);
}

#[test]
fn of_long_frames_so_much_is_there_as_was_asked_for() {
    let long = from_router().ipv4(CLIENT4, VIP4).udp(4_000, 80).payload([7; 1_300]);
    for snap in [1, 14, 60, 255, 256, 257, 1_342, 4_096, u32::MAX] {
        let mut capturing = Capturing::wanted(&Wanted { snap, ..all() });
        let run = capturing.xdp.run(&long);
        let seen = capturing.read().remove(0);
        let bytes = long.bytes();
        let cut = |frame: &[u8]| frame[..frame.len().min(snap as usize)].to_vec();
        assert_eq!(seen.before_len as usize, bytes.len(), "{snap}");
        assert_eq!(seen.before, cut(&bytes), "{snap}");
        assert_eq!(seen.after.unwrap(), cut(&run.frame), "{snap}");
    }
}

#[test]
fn only_what_is_asked_for_is_captured() {
    let tcp4 = syn4();
    let udp4 = from_router().service_vlan(3).vlan(4).ipv4(CLIENT4, VIP4).udp(4_000, 80);
    let other4 = from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 81, tcp::SYN);
    let (tcp6, arp) = (syn6(), eth(ROUTER, US).ether_type(0x0806).payload([0; 28]));
    let part4 = from_router().ipv4(CLIENT4, VIP4).fragment(100).proto(TCP).payload([0; 40]);
    let frames = [&tcp4, &udp4, &other4, &tcp6, &arp, &part4];
    let net = |text: &str, bits| Prefix::new(text.parse().unwrap(), bits);
    let cases = [
        ("all", all(), [1, 1, 1, 1, 1, 1]),
        ("the VIP", Wanted { vip: Some(Prefix::host(VIP4.into())), ..all() }, [1, 1, 1, 0, 0, 1]),
        ("its network", Wanted { vip: net("192.0.2.0", 28), ..all() }, [1, 1, 1, 0, 0, 1]),
        ("another one", Wanted { vip: net("192.0.2.16", 28), ..all() }, [0; 6]),
        ("any IPv4", Wanted { vip: net("0.0.0.0", 0), ..all() }, [1, 1, 1, 0, 0, 1]),
        ("IPv6", Wanted { vip: Some(Prefix::host(VIP6.into())), ..all() }, [0, 0, 0, 1, 0, 0]),
        (
            "a client",
            Wanted { from: Some(Prefix::host(CLIENT6.into())), ..all() },
            [0, 0, 0, 1, 0, 0],
        ),
        ("a network", Wanted { from: net("198.51.100.0", 24), ..all() }, [1, 1, 1, 0, 0, 1]),
        ("the end of it", Wanted { from: net("198.51.100.128", 25), ..all() }, [0; 6]),
        ("UDP", Wanted { proto: Some(ip_proto::UDP), ..all() }, [0, 1, 0, 0, 0, 0]),
        ("TCP", Wanted { proto: Some(ip_proto::TCP), ..all() }, [1, 0, 1, 1, 0, 1]),
        ("a port", Wanted { port: Some(81), ..all() }, [0, 0, 1, 0, 0, 0]),
        // The backend's headers are for IPv4 alone.
        ("drops", Wanted { verdicts: Counter::DROPS, ..all() }, [0, 0, 1, 1, 0, 1]),
        ("passed", Wanted { verdicts: verdicts(Some("passed")), ..all() }, [0, 0, 0, 0, 1, 0]),
    ];
    for (name, wanted, takes) in cases {
        let mut capturing = Capturing::wanted(&wanted);
        let found = frames.map(|frame| u8::from(capturing.takes(frame)));
        assert_eq!(found, takes, "{name}");
        assert_eq!(capturing.captures.lost().unwrap(), 0);
    }
}

#[test]
fn answers_of_a_service_in_nat_are_captured_by_the_address_that_the_client_sees() {
    let wanted = Wanted {
        vip: Some(Prefix::host(VIP4.into())),
        from: Some(Prefix::host(CLIENT4.into())),
        port: Some(80),
        proto: Some(TCP),
        ..all()
    };
    let nat = features::NAT;
    let mut capturing = Capturing::new(&wanted.filter(ALL), entry(backend_kinds::NAT_V4), nat);
    let port = 8_080_u32;
    let flags = service_flags::NAT | port << service_flags::BACKEND_PORT;
    capturing.xdp.service(1, TCP, flags);
    let own = Service { flags: service_flags::NAT_SOURCE, ..Service::default() };
    capturing.xdp.put_at(Prefix::host(SOURCE4.into()), 0, 0, own);
    let seen = capturing.one(&syn4());
    assert_eq!((seen.verdict, seen.backend), (Counter::ForwardTx, Some(1)));
    let sent = seen.after.unwrap();
    let ours = u16::from_be_bytes([sent[34], sent[35]]);
    let answer = eth(NEXT_HOP, US).ipv4(BACKEND4, SOURCE4).tcp(8_080, ours, tcp::SYN | tcp::ACK);
    let seen = capturing.one(&answer);
    assert_eq!((seen.verdict, seen.before), (Counter::AnswerTx, answer.bytes()));
    let wanted = eth(US, ROUTER).ipv4(VIP4, CLIENT4).ttl(63).tcp(80, 40_000, tcp::SYN | tcp::ACK);
    assert_frame_eq(&seen.after.unwrap(), &wanted);
    let stray = eth(NEXT_HOP, US).ipv4(BACKEND4, SOURCE4).tcp(9, 9, tcp::ACK);
    assert!(!capturing.takes(&stray), "it is nobody's answer");
}

#[test]
fn nothing_is_captured_when_the_time_is_over() {
    let mut capturing = Capturing::new(&all().filter(1), entry(backend_kinds::IPV4_IN_IPV4), 0);
    assert!(!capturing.takes(&syn4()));
    assert_eq!(capturing.captures.lost().unwrap(), 0);
}

#[test]
fn a_full_ring_loses_and_every_packet_is_accounted_for() {
    const PACKETS: u64 = 40_000;
    let frame = from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 81, tcp::ACK).payload([1; 200]);
    let mut capturing = Capturing::wanted(&Wanted { verdicts: Counter::DROPS, ..all() });
    for _ in 0..PACKETS {
        capturing.xdp.datapath.test_run(&frame.bytes(), INGRESS).unwrap();
        capturing.xdp.datapath.test_run(&syn4().bytes(), INGRESS).unwrap();
    }
    let lost = capturing.captures.lost().unwrap();
    let kept = capturing.read().len() as u64;
    assert_eq!(kept + lost, PACKETS);
    let record = size_of::<CaptureHead>() + frame.bytes().len() + 8;
    let room = u64::from(CAPTURE_RING_BYTES) / (record as u64).next_multiple_of(8);
    assert!(kept.abs_diff(room) <= 1, "{kept} in room for {room}");
    assert!(capturing.takes(&frame), "there is room again");
    const { assert!(size_of::<CaptureHead>() + 2 * CAPTURE_SNAP_MAX < 32_768) };
}

#[test]
fn a_capture_goes_in_and_out_of_a_packet_path_that_works_on() {
    let world = World::new("captured");
    let run = |datapath: &Datapath| datapath.test_run(&syn4().bytes(), INGRESS).unwrap();
    let mut xdp = Xdp::over(world.load());
    xdp.vip(0);
    xdp.service(1, TCP, 0);
    xdp.backend(1, entry(backend_kinds::IPV4_IN_IPV4));
    xdp.all_slots(Slot::settled(1));
    let plain = run(&xdp.datapath);
    let dir = world.pin("program");
    let dir = dir.parent();
    let mut with = Datapath::load_capturing(&CONFIG, &all().filter(ALL), dir).unwrap();
    let mut captures = with.take_captures().unwrap();
    assert_eq!(run(&with), plain);
    // The one of before goes on while both are there.
    assert_eq!(run(&xdp.datapath), plain);
    assert_eq!(captures.drain(9, |_| {}), 1, "one of them");
    // A daemon that is killed lets go of all but the pins: what is attached must still find its way.
    let attached = PinnedXdp::from_pin(world.pin("program"), XdpAttachType::Interface);
    drop((with, xdp));
    let attached = attached.unwrap();
    let mut out = vec![0; 200];
    let frame = syn4().bytes();
    let options = TestRunOptions {
        data_in: Some(&frame),
        data_out: Some(&mut out),
        ..TestRunOptions::default()
    };
    let result = attached.test_run(options).unwrap();
    assert_eq!(&out[..result.data_size_out as usize], &plain.frame);
    // The next start knows of no capture.
    let mut after = world.load();
    assert_eq!(run(&after), plain);
    assert!(after.take_captures().is_none());
    assert_eq!(captures.drain(9, |_| {}), 1, "that of the program that was left alone");
}
