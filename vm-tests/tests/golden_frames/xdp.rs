//! The program under test, with the few services the tests need.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::unistd::Uid;
use proptest::test_runner::{Config, TestRunner};
use tidegate::bpf_io::{Datapath, Verdict};
use tidegate_abi::{
    Backend, Counter, DatapathConfig, GUE_PORT, Service, Slot, Traffic, backend_flags,
    backend_kinds, service_flags,
};
use tidegate_bgp::types::Prefix;
use tidegate_plan::key::MapKey;
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, Mac, describe, eth};

pub(crate) const ROUTER: Mac = [2, 0, 0, 0, 0, 1];
pub(crate) const US: Mac = [2, 0, 0, 0, 0, 2];
pub(crate) const NEXT_HOP: Mac = [2, 0, 0, 0, 0, 3];

pub(crate) const CLIENT4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(crate) const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const SOURCE4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const BACKEND4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x10);
pub(crate) const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1);
pub(crate) const BACKEND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 2);

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// The interface frames come in by unless a test says otherwise: loopback, which is everywhere.
pub(crate) const INGRESS: u32 = 1;
/// Where the services' ring starts: not at zero, so that the offset matters.
pub(crate) const RING_OFFSET: u32 = 4_096;
pub(crate) const RING_SIZE: u32 = 1_024;

/// Runs a property on one loaded program: loading takes longer than running.
pub(crate) fn runner(cases: u32) -> TestRunner {
    // No file of failures: it would name a place in the tree. The failure prints its case.
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// From the router to us.
pub(crate) fn from_router() -> Frame {
    eth(ROUTER, US)
}

/// From us to the next hop.
pub(crate) fn to_backend() -> Frame {
    eth(US, NEXT_HOP)
}

pub(crate) fn syn4() -> Frame {
    from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 80, tidegate_vm_tests::frame::tcp::SYN)
}

pub(crate) fn syn6() -> Frame {
    from_router().ipv6(CLIENT6, VIP6).tcp(40_000, 80, tidegate_vm_tests::frame::tcp::SYN)
}

/// What came of a frame.
pub(crate) struct Run {
    pub(crate) frame: Vec<u8>,
    /// The one verdict counter that moved.
    pub(crate) counter: Counter,
    /// What was counted beside the verdict.
    pub(crate) events: Vec<Counter>,
    /// Traffic rows that moved, and that by one packet and the length of the frame.
    pub(crate) service: Option<u32>,
    pub(crate) backend: Option<u32>,
}

pub(crate) struct Xdp {
    pub(crate) datapath: Datapath,
    services: Vec<u32>,
    backends: Vec<u32>,
}

impl Xdp {
    /// Nothing in the maps, these constants in the program.
    fn empty_with(change: impl FnOnce(&mut DatapathConfig)) -> Self {
        assert!(Uid::effective().is_root(), "golden frames run in the kernel: run them as root");
        let mut config = DatapathConfig { hash_seed: 0x7469_6465, ..DatapathConfig::default() };
        change(&mut config);
        Self::over(Datapath::load(&config).unwrap())
    }

    /// The tests' services in a packet path that is loaded already.
    pub(crate) fn over(datapath: Datapath) -> Self {
        Self { datapath, services: Vec::new(), backends: Vec::new() }
    }

    /// Both VIPs with echo and a TCP and a UDP service on port 80 each, all slots of whose rings
    /// name backend 1.
    pub(crate) fn with(backend: Backend) -> Self {
        Self::with_constants(backend, |_| {})
    }

    /// The same, with these constants in the program.
    pub(crate) fn with_constants(
        backend: Backend,
        change: impl FnOnce(&mut DatapathConfig),
    ) -> Self {
        let mut xdp = Self::empty_with(change);
        xdp.vip(service_flags::ECHO);
        for (index, proto) in [(1, TCP), (2, UDP)] {
            xdp.service(index, proto, 0);
        }
        xdp.backend(1, backend);
        xdp.all_slots(Slot::settled(1));
        xdp
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        self.datapath.apply(step).unwrap();
    }

    pub(crate) fn vip(&mut self, flags: u32) {
        let service = Service { index: 9, flags, ..Service::default() };
        self.put(VIP4.into(), 0, 0, service);
        self.put(VIP6.into(), 0, 0, service);
    }

    /// A service on port 80 of both VIPs.
    pub(crate) fn service(&mut self, index: u32, proto: u8, flags: u32) {
        self.service_on(80, index, proto, flags);
    }

    /// A service on this port of both VIPs.
    pub(crate) fn service_on(&mut self, port: u16, index: u32, proto: u8, flags: u32) {
        let service = Service { ring_offset: RING_OFFSET, ring_size: RING_SIZE, index, flags };
        self.put(VIP4.into(), port, proto, service);
        self.put(VIP6.into(), port, proto, service);
        self.services.push(index);
    }

    fn put(&mut self, vip: IpAddr, port: u16, proto: u8, service: Service) {
        self.put_at(Prefix::host(vip), port, proto, service);
    }

    /// The entry of a VIP, or of its service on a port.
    pub(crate) fn put_at(&mut self, vip: Prefix, port: u16, proto: u8, service: Service) {
        let fresh = true;
        self.apply(&match MapKey::new(vip, port, proto) {
            MapKey::V4(key) => Step::PutServiceV4 { key, service, fresh },
            MapKey::V6(key) => Step::PutServiceV6 { key, service, fresh },
        });
    }

    /// A service on port 80 of a VIP that is a prefix, with the ring of the others; `vip` are the
    /// flags of the VIP itself.
    pub(crate) fn prefix_service(&mut self, prefix: Prefix, index: u32, proto: u8, vip: u32) {
        self.put_at(prefix, 0, 0, Service { index: 9, flags: vip, ..Service::default() });
        let flags = 0;
        let service = Service { ring_offset: RING_OFFSET, ring_size: RING_SIZE, index, flags };
        self.put_at(prefix, 80, proto, service);
        self.services.push(index);
    }

    pub(crate) fn backend(&mut self, index: u32, entry: Backend) {
        self.apply(&Step::PutBackend { index, entry, fresh: true });
        if !self.backends.contains(&index) {
            self.backends.push(index);
        }
    }

    pub(crate) fn all_slots(&mut self, slot: Slot) {
        self.slots(|_| slot);
    }

    /// Writes every slot of the ring, by its place in it.
    pub(crate) fn slots(&mut self, slot: impl Fn(u32) -> Slot) {
        let slots = (0..RING_SIZE).map(|place| (RING_OFFSET + place, slot(place))).collect();
        self.apply(&Step::PutSlots { slots });
    }

    /// Runs a frame and checks what is true of every frame: one verdict counter moves, and
    /// traffic rows if, and only if, it was forwarded.
    pub(crate) fn run_from(&self, frame: &[u8], ingress: u32) -> Run {
        let before = self.totals();
        let run = self.datapath.test_run(frame, ingress).unwrap();
        let after = self.totals();
        let mut moved: BTreeMap<Counter, u64> = after.counters.clone();
        for (counter, count) in &mut moved {
            *count -= before.counters[counter];
        }
        moved.retain(|_, count| *count != 0);
        let events = moved.extract_if(.., |counter, _| counter.is_event());
        let events = events.map(|(counter, _)| counter).collect();
        assert_eq!(moved.len(), 1, "{moved:?} for\n{}", describe(frame));
        let (counter, count) = moved.pop_first().unwrap();
        assert_eq!(count, 1, "{counter:?} for\n{}", describe(frame));
        let forwarded = matches!(counter, Counter::ForwardTx | Counter::ForwardRedirect);
        let service = moved_row(&before.services, &after.services, frame.len());
        let backend = moved_row(&before.backends, &after.backends, frame.len());
        assert_eq!(service.is_some(), forwarded, "{counter:?}");
        assert_eq!(backend.is_some(), forwarded, "{counter:?}");
        if verdict_of(counter) == Verdict::Drop || verdict_of(counter) == Verdict::Pass {
            assert_eq!(run.frame, frame, "{counter:?} must leave the frame as it was");
        }
        assert_eq!(run.verdict, verdict_of(counter), "{counter:?}");
        let frame = run.frame;
        Run { frame, counter, events, service, backend }
    }

    pub(crate) fn run(&self, frame: &Frame) -> Run {
        self.run_from(&frame.bytes(), INGRESS)
    }

    fn totals(&self) -> Totals {
        let row = |row: &u32| (*row, self.datapath.service_traffic(*row).unwrap());
        let services = self.services.iter().map(row).collect();
        let row = |row: &u32| (*row, self.datapath.backend_traffic(*row).unwrap());
        let backends = self.backends.iter().map(row).collect();
        Totals { counters: self.datapath.counters().unwrap(), services, backends }
    }
}

struct Totals {
    counters: BTreeMap<Counter, u64>,
    services: BTreeMap<u32, Traffic>,
    backends: BTreeMap<u32, Traffic>,
}

fn moved_row(
    before: &BTreeMap<u32, Traffic>,
    after: &BTreeMap<u32, Traffic>,
    frame_len: usize,
) -> Option<u32> {
    let mut moved = after.iter().filter(|(row, traffic)| before[row] != **traffic);
    let (&row, traffic) = moved.next()?;
    assert_eq!(moved.next(), None, "two rows for one frame");
    assert_eq!(traffic.packets, before[&row].packets + 1);
    assert_eq!(traffic.bytes, before[&row].bytes + frame_len as u64);
    Some(row)
}

/// What the kernel does with a frame of that verdict.
pub(crate) fn verdict_of(counter: Counter) -> Verdict {
    match counter {
        Counter::PassNotOurs
        | Counter::PassNotIp
        | Counter::PassBadHeader
        | Counter::PassGroupFrame
        | Counter::PassNeighbour
        | Counter::PassExpired => Verdict::Pass,
        Counter::ForwardTx | Counter::EchoReply | Counter::AnswerTooBig | Counter::AnswerTx => {
            Verdict::Tx
        }
        Counter::ForwardRedirect | Counter::AnswerRedirect => Verdict::Redirect,
        _ => Verdict::Drop,
    }
}

/// A backend's entry as the daemon writes it, made from the frame builder's own headers.
pub(crate) fn entry(kind: u8) -> Backend {
    let is_gue = kind & backend_kinds::GUE != 0;
    let base = kind & !backend_kinds::GUE;
    let carries_v6 = matches!(base, backend_kinds::IPV6_IN_IPV4 | backend_kinds::IPV6_IN_IPV6);
    let proto = match (is_gue, carries_v6) {
        (true, _) => 17,
        (false, true) => 41,
        (false, false) => 4,
    };
    let mut ip = [0; 40];
    match base {
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV6_IN_IPV4 => {
            ip[..20]
                .copy_from_slice(&to_backend().ipv4(SOURCE4, BACKEND4).proto(proto).bytes()[14..]);
            // The template has total length zero: take the 20 out of length and checksum.
            let sum = u16::from_be_bytes([ip[10], ip[11]]) + 20;
            assert!(sum >= 20, "no carry for these addresses");
            ip[2..4].fill(0);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        backend_kinds::IPV4_IN_IPV6 | backend_kinds::IPV6_IN_IPV6 => {
            ip.copy_from_slice(&to_backend().ipv6(SOURCE6, BACKEND6).proto(proto).bytes()[14..]);
        }
        backend_kinds::NAT_V4 => {
            ip[..20].copy_from_slice(&to_backend().ipv4(SOURCE4, BACKEND4).proto(0).bytes()[14..]);
        }
        backend_kinds::NAT_V6 => {
            ip.copy_from_slice(&to_backend().ipv6(SOURCE6, BACKEND6).proto(0).bytes()[14..]);
        }
        _ => ip[..16].copy_from_slice(&BACKEND4.to_ipv6_mapped().octets()),
    }
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&NEXT_HOP);
    macs[6..].copy_from_slice(&US);
    Backend {
        macs,
        vlan_tci: [0; 2],
        ip,
        kind,
        flags: backend_flags::RESOLVED,
        egress_ifindex: INGRESS,
        mtu: 1_500,
        gue_port: if is_gue { GUE_PORT.to_be_bytes() } else { [0; 2] },
    }
}
