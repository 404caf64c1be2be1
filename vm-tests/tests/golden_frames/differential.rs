//! The same frames, sound and hostile, under the same made-up maps, through the loaded program and
//! through the model in words: verdict, whole frame and counters must agree. So no frame makes the
//! program fail, loop, or leave bytes in a frame that are not this frame's.
//!
//! Always the same frames, unless told otherwise:
//! `FUZZ_SEED=7 FUZZ_WORLDS=1000 cargo test -p tidegate-vm-tests --test golden_frames differential`

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use tidegate::bpf_io::Datapath;
use tidegate_abi::{
    Backend, Counter, DatapathConfig, FLOWS_MAX, NAT_FLOWS_MAX, QuicKey, RING_SIZE_MIN, Rates,
    Service, Slot, Traffic, admissions, backend_flags, backend_kinds, features, ip_proto::SCTP,
    service_flags, vip_lens,
};
use tidegate_bgp::types::Prefix;
use tidegate_plan::key::MapKey;
use tidegate_plan::model::{Connections, Flow, Model, Outcome};
use tidegate_plan::observed;
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::{Frame, describe, eth, ext};

use crate::pins::run as command;
use crate::xdp::{
    CLIENT4, CLIENT6, ROUTER, SOURCE4, SOURCE6, TCP, UDP, US, VIP4, VIP6, verdict_of,
};

const WORLDS: u64 = 24;
const FRAMES: usize = 800;
/// Limits of sources too.
const OF_SOURCES: u64 = features::RATES | features::SOURCE_RATES;
/// In a unit of it no token comes back while the test runs.
const HOUR: u64 = 3_600_000_000_000;
/// After so many frames the counters are read.
const BATCH: usize = 50;
const BACKENDS: u32 = 8;
const SERVICES: u32 = 30;
const PORTS: [u16; 3] = [80, 443, 53];
const LENS_V4: [u8; 2] = [28, 25];
const LENS_V6: [u8; 2] = [112, 64];

/// SplitMix64: chance that a seed repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn bytes<const LEN: usize>(&mut self) -> [u8; LEN] {
        core::array::from_fn(|_| self.byte())
    }
}

/// An entry that may be anything; enough go well.
fn any_backend(index: u32, dice: &mut Dice, devices: &[u32]) -> Backend {
    let mut entry = Backend {
        macs: dice.bytes(),
        vlan_tci: if dice.one_in(3) { dice.bytes() } else { [0; 2] },
        ip: dice.bytes(),
        // Those that there are, and one that there is not.
        kind: 1 + dice.byte() % 8,
        flags: if dice.one_in(6) { 0 } else { backend_flags::RESOLVED },
        egress_ifindex: dice.of(devices),
        mtu: dice.of(&[1_500, 1_500, 100, 65_535]),
        gue_port: [0; 2],
    };
    if index <= 6 {
        // Enough that go well: one of each kind of header, and NAT of both versions, always
        // from one address.
        entry.kind = [1, 2, 3, 4, 6, 7][index as usize - 1];
        entry.flags = backend_flags::RESOLVED;
    }
    match entry.kind {
        backend_kinds::NAT_V4 => entry.ip[12..16].copy_from_slice(&SOURCE4.octets()),
        backend_kinds::NAT_V6 => entry.ip[8..24].copy_from_slice(&SOURCE6.octets()),
        _ => {}
    }
    entry
}

/// Maps that are sound only as far as the daemon's types go.
fn fill(datapath: &mut Datapath, dice: &mut Dice, devices: &[u32], guarded: bool) {
    let mut apply = |step: Step| datapath.apply(&step).unwrap();
    for index in 1..=BACKENDS {
        let entry = any_backend(index, dice, devices);
        apply(Step::PutBackend { index, entry, fresh: true });
    }
    let slots = (0..4 * RING_SIZE_MIN).map(|index| {
        // Those in NAT more often: a packet finds one only of its own version.
        let current = if dice.one_in(2) { 5 + dice.byte() % 2 } else { dice.byte() % 10 };
        let older = dice.byte() % 10;
        let (current, older) = (u32::from(current), u32::from(older));
        let slot = if dice.one_in(2) {
            Slot::settled(current)
        } else {
            Slot::in_transition(current, older)
        };
        (index, slot)
    });
    apply(Step::PutSlots { slots: slots.collect() });
    for index in 1..=SERVICES {
        let mut service = Service {
            ring_offset: dice.of(&[0, 1, RING_SIZE_MIN, u32::MAX]),
            ring_size: dice.of(&[RING_SIZE_MIN, RING_SIZE_MIN, 2 * RING_SIZE_MIN, 1, 0]),
            index,
            flags: u32::from(dice.byte() % 8)
                | uncounted(index % 2 == 0, dice)
                | nat(dice)
                | dice.of(&[0, service_flags::QUIC, service_flags::QUIC])
                | if guarded { dice.of(&[0, service_flags::RATED]) } else { 0 },
        };
        // Both VIPs, then each port in two protocols, then every port, then another protocol. Then
        // prefixes, each without some of its entries.
        let nth = index as usize / 2;
        let (port, proto) = match index {
            1 | 2 | 19..=22 => (0, 0),
            3..=14 => (PORTS[nth % 3], [TCP, UDP][nth / 3 % 2]),
            15 | 16 => (0, TCP),
            17 | 18 => (80, SCTP),
            _ => dice.of(&[(80, TCP), (443, TCP), (53, UDP), (0, UDP)]),
        };
        if proto == SCTP {
            service.flags &= !service_flags::NAT; // Every configuration is refused that has it.
        }
        let is_v4 = index % 2 == 0;
        let len = match (index, is_v4) {
            (..=18, _) => {
                if is_v4 {
                    32
                } else {
                    128
                }
            }
            (_, true) => LENS_V4[nth % 2],
            (_, false) => LENS_V6[nth % 2],
        };
        let vip = if is_v4 { VIP4.into() } else { VIP6.into() };
        let vip = Prefix::new(vip, len).unwrap();
        let fresh = true;
        if index > 18 && dice.one_in(3) {
            continue;
        }
        apply(name_servers(service, dice));
        apply(match MapKey::new(vip, port, proto) {
            MapKey::V4(key) => Step::PutServiceV4 { key, service, fresh },
            MapKey::V6(key) => Step::PutServiceV6 { key, service, fresh },
        });
    }
}

/// Server ids of a service, of its length; some name a backend that there is not.
fn name_servers(service: Service, dice: &mut Dice) -> Step {
    let id_len = service.flags >> service_flags::SERVER_ID_LEN & 0xf;
    let key = |config: u8, id: u8| {
        QuicKey::new(service.index, config, &[id; 15][..usize::try_from(id_len).unwrap()])
    };
    let servers: BTreeMap<QuicKey, u32> = (0..12)
        .map(|_| (key(dice.byte() % 3, dice.byte() % 3), u32::from(dice.byte()) % 10))
        .collect();
    Step::PutServers { servers: servers.into_iter().collect() }
}

/// What may be a packet of QUIC: short or long, with a connection id that may name a server, maybe cut
/// off, or with a length that is wrong.
fn quic(dice: &mut Dice) -> Vec<u8> {
    let [form, first, any] = [dice.of(&[0x40, 0xc0, 0x00, 0xff]), dice.byte(), dice.byte()];
    let config = dice.of(&[0, 1, 2, 7]) << 5;
    let mut packet = vec![form];
    if form & 0x80 != 0 {
        packet.extend([0, 0, 0, 1, dice.of(&[0, 1, 2, 8, 9, 16, 20, any])]);
    }
    packet.push(config | first & 0x1f);
    packet.extend([dice.of(&[0, 1, 2, any]); 15]);
    packet.extend(vec![any; dice.below(40)]);
    if dice.one_in(4) {
        packet.truncate(dice.below(packet.len()));
    }
    packet
}

/// Prefixes around the clients that there are, and limits that are reached.
fn fill_guard(datapath: &mut Datapath, dice: &mut Dice) {
    let mut prefixes = Vec::new();
    for _ in 0..8 {
        let [high, low] = [dice.byte() % 4, dice.byte()];
        let v4 = dice.of(&[CLIENT4, Ipv4Addr::new(203, 0, high, low)]);
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xc, high.into(), 0, 0, 0, low.into());
        let v6 = dice.of(&[CLIENT6, v6]);
        let admission = dice.of(&[admissions::DENY, admissions::ALLOW, 7]);
        let v4 = Prefix::new(v4.into(), dice.of(&[9, 22, 24, 25, 30, 32]));
        let v6 = Prefix::new(v6.into(), dice.of(&[48, 62, 64, 121, 128]));
        prefixes.extend([v4, v6].map(|prefix| (prefix.unwrap(), admission)));
    }
    datapath.apply(&Step::PutPrefixes { prefixes }).unwrap();
    for index in 1..=SERVICES {
        let rates = Rates {
            source_ns: dice.of(&[0, 20 * HOUR]),
            source_syn_ns: dice.of(&[0, 20 * HOUR]),
            service_ns: dice.of(&[0, 0, HOUR]),
            service_syn_ns: dice.of(&[0, 3 * HOUR]),
        };
        datapath.apply(&Step::PutRates { index, rates }).unwrap();
    }
}

/// The own entries of the addresses that connections in NAT come from.
fn fill_sources(datapath: &mut Datapath) {
    let service = Service { flags: service_flags::NAT_SOURCE, ..Service::default() };
    for source in [SOURCE4.into(), SOURCE6.into()] {
        let fresh = true;
        let step = match MapKey::of_vip(Prefix::host(source)) {
            MapKey::V4(key) => Step::PutServiceV4 { key, service, fresh },
            MapKey::V6(key) => Step::PutServiceV6 { key, service, fresh },
        };
        datapath.apply(&step).unwrap();
    }
}

/// A third of the services are in NAT, some of them with a port of their own.
fn nat(dice: &mut Dice) -> u32 {
    let port = dice.of(&[0, 0, 8_080]) << service_flags::BACKEND_PORT;
    if dice.one_in(3) { service_flags::NAT | port } else { 0 }
}

/// What comes to an address that connections in NAT come from: an answer, or an error about what was
/// sent to a backend; now and then of nobody that is known.
fn inside(dice: &mut Dice, nat: &Connections) -> Frame {
    let answers: Vec<Flow> = nat.answers().collect();
    let mut frame = eth(ROUTER, if dice.one_in(30) { [0xff; 6] } else { US });
    if dice.one_in(3) {
        frame = frame.vlan(dice.short());
    }
    let Some(mut flow) = (!answers.is_empty()).then(|| dice.of(&answers)) else {
        return frame.ipv4(CLIENT4, SOURCE4).tcp(1, 2, 0x10);
    };
    if dice.one_in(10) {
        flow.dst_port ^= 1;
    }
    let ttl = dice.of(&[0, 1, 2, 64, 255]);
    let addressed = |frame: Frame, src, dst| match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => frame.ipv4(src, dst),
        (IpAddr::V6(src), IpAddr::V6(dst)) => frame.ipv6(src, dst),
        _ => unreachable!("a flow has one version"),
    };
    let (ours, port, to, to_port) = (flow.dst, flow.dst_port, flow.src, flow.src_port);
    let flags = dice.of(&[0x12, 0x10, 0x11, 0x04]);
    let transport = |frame: Frame, from, to, flags| match flow.proto {
        TCP => frame.tcp(from, to, flags),
        _ => frame.udp(from, to),
    };
    if !dice.one_in(3) {
        let frame = addressed(frame, flow.src, ours).ttl(ttl);
        return transport(frame, to_port, port, flags).payload(vec![9; dice.below(90)]);
    }
    // What we have sent, and a router on the way there did not like.
    let mut sent = addressed(eth(US, ROUTER), ours, to);
    if dice.one_in(6) && ours.is_ipv6() {
        sent = sent.extension(ext::DESTINATION, &[0; 6]);
    }
    let sent = transport(sent, port, to_port, 0x10).payload(vec![7; dice.below(60)]);
    let mut quoted = sent.bytes().split_off(14);
    if dice.one_in(3) {
        quoted.truncate(dice.of(&[28, 48, 20, 30, 38, 60]));
    }
    let router = if ours.is_ipv4() { CLIENT4.into() } else { CLIENT6.into() };
    let frame = addressed(frame, router, ours).ttl(ttl);
    let frame = if ours.is_ipv4() {
        frame.icmp(dice.of(&[3, 11, 12, 5, 8]), 4, dice.bytes())
    } else {
        frame.icmpv6(dice.of(&[1, 2, 3, 4, 128]), 0, dice.bytes())
    };
    frame.payload(quoted)
}

/// The last bits of the client's address that do not count, in a service's flags.
fn uncounted(is_v4: bool, dice: &mut Dice) -> u32 {
    let bits = if is_v4 { dice.of(&[0, 1, 8, 24]) } else { dice.of(&[0, 64, 72, 112]) };
    bits << service_flags::UNCOUNTED_BITS
}

/// A frame that is sound in all its layers.
fn sound(dice: &mut Dice) -> Frame {
    let mut frame = eth(ROUTER, if dice.one_in(20) { [0xff; 6] } else { US });
    for _ in 0..dice.of(&[0, 0, 0, 1, 2, 3]) {
        let tci = dice.short();
        frame = if dice.one_in(2) { frame.vlan(tci) } else { frame.service_vlan(tci) };
    }
    let is_v4 = dice.one_in(2);
    frame = if is_v4 { ipv4(frame, dice) } else { ipv6(frame, dice) };
    let ports = (dice.of(&[1_u16, 2, 40_000]), dice.of(&[80, 443, 53, 9]));
    let flags = dice.of(&[0x02, 0x10, 0x12, 0x11, 0x04, 0xc2, 0x00]);
    let (kind, code, rest) = (dice.byte(), dice.byte(), dice.bytes());
    frame = match (dice.below(12), is_v4) {
        (0..5, _) => frame.tcp(ports.0, ports.1, flags),
        (5..=6, _) if dice.one_in(3) => frame.udp(ports.0, ports.1),
        (5..=6, _) => return padded(frame.udp(ports.0, ports.1).payload(quic(dice)), dice),
        (7, _) => return sctp(frame, ports, dice),
        (8, true) => frame.icmp(8, 0, rest),
        (8, false) => frame.icmpv6(128, 0, rest),
        (9, true) => frame.icmp(kind, code, rest),
        (9, false) => frame.icmpv6(dice.of(&[kind, 133, 135, 137]), code, rest),
        (10, _) => return error(frame, dice, is_v4),
        _ => frame.proto(dice.byte()),
    };
    let len = dice.of(&[0, 1, 7, 60, 61, 400, 1_400, 1_440, 1_459]);
    let fill = dice.byte();
    padded(frame.payload(vec![fill; len]), dice)
}

fn padded(frame: Frame, dice: &mut Dice) -> Frame {
    if dice.one_in(8) {
        frame.clone().padded_to(frame.bytes().len() + dice.below(20))
    } else {
        frame
    }
}

/// An SCTP packet with one chunk, maybe an INIT, maybe cut off.
fn sctp(frame: Frame, (from, to): (u16, u16), dice: &mut Dice) -> Frame {
    let mut bytes = vec![0; dice.of(&[16, 16, 40, 15])];
    bytes[..2].copy_from_slice(&from.to_be_bytes());
    bytes[2..4].copy_from_slice(&to.to_be_bytes());
    bytes[12] = dice.of(&[0, 1, 2]);
    frame.proto(SCTP).payload(bytes)
}

/// An ICMP error that quotes what a service has answered, maybe cut off, maybe of somebody else.
fn error(frame: Frame, dice: &mut Dice, is_v4: bool) -> Frame {
    let mut answer = eth(US, ROUTER);
    let other = dice.one_in(8);
    answer = if is_v4 {
        let from = if other { CLIENT4 } else { VIP4 };
        answer.ipv4(from, CLIENT4).fragment(dice.of(&[0, 0, 0, 0x2000, 0x0001]))
    } else {
        let answer = answer.ipv6(if other { CLIENT6 } else { VIP6 }, CLIENT6);
        match dice.below(6) {
            0 => answer.extension(ext::DESTINATION, &[0; 6]),
            1 => answer.fragment_header(dice.of(&[0, 1]), true),
            _ => answer,
        }
    };
    let (port, client) = (dice.of(&[80, 443, 53, 9]), dice.of(&[1, 2, 40_000]));
    answer = if dice.one_in(3) { answer.udp(port, client) } else { answer.tcp(port, client, 0x10) };
    let mut quoted = answer.payload(vec![7; dice.below(60)]).bytes().split_off(14);
    if dice.one_in(3) {
        quoted.truncate(dice.below(quoted.len()));
    } else if is_v4 && dice.one_in(2) {
        quoted.truncate(28); // All that an old router quotes.
    }
    let frame = if is_v4 {
        frame.icmp(dice.of(&[3, 11, 12, 5]), dice.byte() % 5, dice.bytes())
    } else {
        frame.icmpv6(dice.of(&[1, 2, 3, 4, 5]), 0, dice.bytes())
    };
    frame.payload(quoted)
}

fn ipv4(frame: Frame, dice: &mut Dice) -> Frame {
    let [high, low] = [dice.byte() % 4, dice.byte()];
    let client = if dice.one_in(3) { CLIENT4 } else { Ipv4Addr::new(203, 0, high, low) };
    let to = if dice.one_in(4) { Ipv4Addr::new(192, 0, 2, low) } else { VIP4 };
    let (any, tos) = (dice.byte(), dice.byte());
    let mut frame = frame.ipv4(client, to).ttl(dice.of(&[any, any, any, 1])).tos(tos);
    if dice.one_in(4) {
        frame = frame.options(&vec![1; 4 * (1 + dice.below(10))]);
    }
    if dice.one_in(4) {
        frame.fragment(dice.of(&[0x4000, 0x2000, 0x0001, 0x3fff, 0x8000]))
    } else {
        frame
    }
}

fn ipv6(frame: Frame, dice: &mut Dice) -> Frame {
    let [high, low] = [dice.byte() % 4, dice.byte()];
    let other = |word: u16| Ipv6Addr::new(0x2001, 0xdb8, 0xc, word, 0, 0, 0, low.into());
    let client = if dice.one_in(3) { CLIENT6 } else { other(high.into()) };
    let beside = Ipv6Addr::from_bits(VIP6.to_bits() ^ u128::from(low) << dice.of(&[0, 12, 56]));
    let to = dice.of(&[VIP6, VIP6, VIP6, VIP6, VIP6, VIP6, other(0xf), beside]);
    let mut frame = frame.ipv6(client, to).ttl(dice.of(&[255, 64, 1]));
    for _ in 0..dice.of(&[0, 0, 0, 1, 2, 7, 8]) {
        let kind = dice.of(&[ext::HOP_BY_HOP, ext::ROUTING, ext::DESTINATION, ext::AUTHENTICATION]);
        let len =
            if kind == ext::AUTHENTICATION { 4 * dice.below(5) + 6 } else { 8 * dice.below(4) + 6 };
        frame = frame.extension(kind, &vec![0; len]);
    }
    while dice.one_in(4) {
        frame = frame.fragment_header(dice.of(&[0, 0, 1, 99]), dice.one_in(2));
        if dice.one_in(4) {
            frame = frame.extension(ext::DESTINATION, &[0; 6]);
        }
    }
    frame
}

/// Bytes that somebody means harm with, or that are a sound frame.
fn any_frame(dice: &mut Dice, nat: &Connections) -> Vec<u8> {
    let frame = if dice.one_in(4) { inside(dice, nat) } else { sound(dice) };
    let mut bytes = frame.bytes();
    match dice.below(10) {
        0 => bytes.truncate(14 + dice.below(80)), // The kernel runs no shorter ones.
        1 | 2 => {
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len().min(120));
                bytes[at] = dice.byte();
            }
        }
        3 => {
            // A length, an offset or a type at the edge of what fits.
            let at = 12 + dice.below(bytes.len().min(100) - 12);
            bytes[at] =
                dice.of(&[0, 1, 4, 5, 0x0f, 0x3f, 0x40, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff]);
        }
        4 if dice.one_in(4) => {
            for byte in bytes.iter_mut().skip(12) {
                *byte = dice.byte();
            }
        }
        _ => {}
    }
    bytes
}

/// What moved since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Moved {
    counters: BTreeMap<Counter, u64>,
    services: BTreeMap<u32, Traffic>,
    backends: BTreeMap<u32, Traffic>,
}

impl Moved {
    fn seen(datapath: &Datapath) -> Self {
        let row = |row| (row, datapath.service_traffic(row).unwrap());
        let services = (1..=SERVICES).map(row).collect();
        let row = |row| (row, datapath.backend_traffic(row).unwrap());
        let backends = (1..=BACKENDS).map(row).collect();
        Self { counters: datapath.counters().unwrap(), services, backends }
    }

    fn add(&mut self, outcome: &Outcome, frame_len: usize) {
        for counter in outcome.events.iter().chain([&outcome.verdict]) {
            *self.counters.get_mut(counter).unwrap() += 1;
        }
        if let Some(to) = outcome.forwarded {
            let rows = [
                self.services.get_mut(&to.service).unwrap(),
                self.backends.get_mut(&to.backend).unwrap(),
            ];
            for row in rows {
                row.packets += 1;
                row.bytes += frame_len as u64;
            }
        }
    }
}

/// How many frames moved which counter: a run that drops everything shows nothing.
type Seen = BTreeMap<Counter, u64>;

fn guard_features(dice: &mut Dice) -> u64 {
    dice.of(&[0, features::PREFIXES_V4 | features::PREFIXES_V6])
        | dice.of(&[0, features::RATES, OF_SOURCES, OF_SOURCES])
}

/// Returns how many packets went where a connection id said.
fn compare(dice: &mut Dice, guarded: bool, devices: &[u32], seen: &mut Seen) -> usize {
    let wanted = [0, features::TOO_BIG, features::TOO_BIG | features::TOO_BIG_WITHOUT_DF];
    let constants = DatapathConfig {
        hash_seed: dice.roll(),
        features: dice.of(&wanted)
            | dice.of(&[0, features::UDP_FLOWS])
            | dice.of(&[0, features::QUIC, features::QUIC])
            | dice.of(&[0, features::ANY_PORT])
            | dice.of(&[0, features::NAT, features::NAT])
            | if guarded { guard_features(dice) } else { 0 },
        burst_ns: 10 * HOUR,
        source_open_v4: if guarded { dice.of(&[0, 8]) } else { 0 },
        source_open_v6: if guarded { dice.of(&[0, 16]) } else { 0 },
        nat_port_first: 2_000,
        nat_port_count: dice.of(&[1, 1, 2, 7, 20_000]),
        vip_lens_v4: dice.of(&[0, 28, vip_lens(LENS_V4)]),
        vip_lens_v6: dice.of(&[0, 112, vip_lens(LENS_V6)]),
        // No interval: as often as it is due, because the model knows no time.
        ..DatapathConfig::default()
    };
    let mut datapath = Datapath::load(&constants).unwrap();
    fill(&mut datapath, dice, devices, guarded);
    if guarded {
        fill_guard(&mut datapath, dice);
    }
    fill_sources(&mut datapath);
    let maps: observed::Datapath = datapath.observe().unwrap();
    let is_resolved = |entry: &&Backend| entry.flags & backend_flags::RESOLVED != 0;
    let resolved = maps.backends.values().filter(is_resolved);
    let mut model = Model {
        constants,
        maps: &maps,
        flows: BTreeMap::new(),
        udp_flows: BTreeMap::new(),
        fragments: BTreeMap::new(),
        source_buckets: BTreeMap::new(),
        service_buckets: BTreeMap::new(),
        nat: Connections::none_of(NAT_FLOWS_MAX as usize),
        flows_max: FLOWS_MAX as usize,
        // Those that an entry has brought: nothing is attached here.
        devices: resolved.map(|entry| entry.egress_ifindex).collect::<BTreeSet<u32>>(),
    };
    let mut wanted = Moved::seen(&datapath);
    let mut named = 0;
    for turn in 1..=FRAMES {
        let frame = any_frame(dice, &model.nat);
        let ingress = dice.of(devices);
        let outcome = model.run(&frame, ingress);
        let run = datapath.test_run(&frame, ingress).unwrap();
        let what = || format!("{:?} for\n{}", outcome.verdict, describe(&frame));
        assert_eq!(run.verdict, verdict_of(outcome.verdict), "{}", what());
        assert!(run.frame == outcome.frame, "{}\n{}", what(), describe(&run.frame));
        wanted.add(&outcome, frame.len());
        named += usize::from(outcome.forwarded.is_some_and(|to| to.is_named));
        for counter in outcome.events.iter().chain([&outcome.verdict]) {
            *seen.entry(*counter).or_default() += 1;
        }
        if turn % BATCH == 0 || turn == FRAMES {
            assert_eq!(Moved::seen(&datapath), wanted, "one of the {BATCH} frames before {turn}");
        }
    }
    named
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().expect(name))
}

#[test]
fn the_program_and_the_model_agree_on_every_frame() {
    // A namespace of this thread, which goes with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    command("ip link add tg-a type veth peer name tg-b");
    let devices = ["lo", "tg-a", "tg-b"].map(|name| if_nametoindex(name).unwrap());
    let seed = number("FUZZ_SEED", 1);
    let mut seen = Seen::new();
    let mut named = 0;
    for world in 0..number("FUZZ_WORLDS", WORLDS) {
        println!("FUZZ_SEED={} FUZZ_WORLDS=1 repeats it", seed + world);
        let guarded = (seed + world).is_multiple_of(3);
        named += compare(&mut Dice(seed + world), guarded, &devices, &mut seen);
    }
    assert!(named > 0, "no frame had a connection id that names a backend");
    println!("{seen:?}, {named} by a connection id");
    // A test run has room enough, the table is larger than this, and nothing is taken out.
    let impossible = [
        Counter::DropNoHeadroom,
        Counter::FlowTableFull,
        Counter::DropNoProgram,
        Counter::ChecksumMissing,
        Counter::DropNatFull,
    ];
    let missing: Vec<_> = Counter::ALL
        .iter()
        .filter(|counter| !impossible.contains(counter))
        .filter(|counter| !seen.contains_key(counter))
        .collect();
    assert!(missing.is_empty(), "no frame was for {missing:?}");
}
