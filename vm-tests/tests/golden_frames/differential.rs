//! The same frames, sound and hostile, under the same made-up maps, through the loaded program and
//! through the model in words: verdict, whole frame and counters must agree. So no frame makes the
//! program fail, loop, or leave bytes in a frame that are not this frame's.
//!
//! Always the same frames, unless told otherwise:
//! `FUZZ_SEED=7 FUZZ_WORLDS=1000 cargo test -p tidegate-vm-tests --test golden_frames differential`

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::{Ipv4Addr, Ipv6Addr};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use tidegate::bpf_io::Datapath;
use tidegate_abi::{
    Backend, CaptureFilter, Counter, DatapathConfig, FLOWS_MAX, NAT_FLOWS_MAX, QuicKey,
    RING_SIZE_MIN, Rates, Service, Slot, Traffic, admissions, backend_flags, backend_kinds,
    features, ip_proto::SCTP, server_id_len, service_flags, vip_lens,
};
use tidegate_bgp::types::Prefix;
use tidegate_plan::key::MapKey;
use tidegate_plan::model::{Connections, Model, Outcome};
use tidegate_plan::observed;
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::describe;

use crate::pins::run as command;
use crate::xdp::{CLIENT4, CLIENT6, SOURCE4, SOURCE6, TCP, UDP, VIP4, VIP6, verdict_of};
use card::Card;
use frames::{Dice, any_frame};

mod card;
mod frames;

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

/// An entry that may be anything; enough go well.
fn any_backend(index: u32, dice: &mut Dice, devices: &[u32], wanted: u64) -> Backend {
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
    let in_gue = if wanted & features::GUE != 0 { dice.one_in(2) } else { dice.one_in(10) };
    if entry.kind < backend_kinds::L2 && in_gue {
        entry.kind |= backend_kinds::GUE;
        entry.gue_port = dice.bytes();
        if wanted & features::OUTER != 0 && dice.one_in(2) {
            entry.flags |= backend_flags::CHECKSUM;
        }
    }
    if wanted & features::OUTER != 0 && dice.one_in(3) {
        entry.flags |= backend_flags::VARIED;
    }
    entry
}

/// Maps that are sound only as far as the daemon's types go.
fn fill(datapath: &mut Datapath, dice: &mut Dice, devices: &[u32], wanted: u64, guarded: bool) {
    let mut apply = |step: Step| datapath.apply(&step).unwrap();
    for index in 1..=BACKENDS {
        let entry = any_backend(index, dice, devices, wanted);
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
                | former(dice)
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
        if wanted & features::AFFINITY_CLIENT == 0 {
            service.flags &= !service_flags::AFFINITY_CLIENT; // The daemon sees to that.
        }
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
    let key = |config: u8, id: u8| {
        let id_len = server_id_len(service.flags, config.into());
        QuicKey::new(service.index, config, &[id; 15][..usize::try_from(id_len).unwrap()])
    };
    let servers: BTreeMap<QuicKey, u32> = (0..12)
        .map(|_| (key(dice.byte() % 3, dice.byte() % 3), u32::from(dice.byte()) % 10))
        .collect();
    Step::PutServers { servers: servers.into_iter().collect() }
}

/// A configuration of before, with ids of its own length.
fn former(dice: &mut Dice) -> u32 {
    dice.of(&[0, 0, 1, 2, 3]) << service_flags::FORMER_CONFIG
        | dice.of(&[1, 2, 8]) << service_flags::FORMER_ID_LEN
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
            service_ns: dice.of(&[0, HOUR, 4 * HOUR]),
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

/// The last bits of the client's address that do not count, in a service's flags.
fn uncounted(is_v4: bool, dice: &mut Dice) -> u32 {
    let bits = if is_v4 { dice.of(&[0, 1, 8, 24]) } else { dice.of(&[0, 64, 72, 112]) };
    bits << service_flags::UNCOUNTED_BITS
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

/// Packets that went by ways that no counter tells.
#[derive(Debug, Default)]
struct Ways {
    /// Where a connection id said.
    named: usize,
    /// In GUE, without a checksum and with one.
    in_gue: [usize; 2],
    /// From a source that the flow chose.
    varied: usize,
}

impl Ways {
    fn add(&mut self, is_named: bool, entry: &Backend, wanted: u64) {
        let has = |flag: u8, feature: u64| entry.flags & flag != 0 && wanted & feature != 0;
        self.named += usize::from(is_named);
        if entry.kind & backend_kinds::GUE != 0 {
            let checked = has(backend_flags::CHECKSUM, features::GUE_CHECKSUM);
            self.in_gue[usize::from(checked)] += 1;
        }
        let varied = has(backend_flags::VARIED, features::VARY_V4);
        self.varied += usize::from(varied && entry.kind != backend_kinds::L2);
    }

    fn all_taken(&self) -> bool {
        self.named > 0 && self.in_gue.iter().all(|count| *count > 0) && self.varied > 0
    }
}

fn outer_features(dice: &mut Dice) -> u64 {
    dice.of(&[0, features::GUE, features::GUE | features::GUE_CHECKSUM])
        | dice.of(&[0, features::VARY_V4, features::VARY_V4 | features::VARY_V6])
}

/// The packet path with these constants. Somebody may capture, which changes nothing.
fn loaded(dice: &mut Dice, constants: &DatapathConfig) -> Datapath {
    let filter = CaptureFilter {
        until_ns: u64::MAX,
        verdicts: u64::MAX,
        snap: 256,
        ..CaptureFilter::default()
    };
    match dice.of(&[0, 0, 1]) {
        0 => Datapath::load(constants).unwrap(),
        _ => Datapath::load_capturing(constants, &filter, None).unwrap(),
    }
}

/// What was seen in all worlds.
#[derive(Debug, Default)]
struct All {
    seen: Seen,
    ways: Ways,
    on_card: card::Seen,
}

/// A packet path whose configuration and maps may be anything.
fn any_world(dice: &mut Dice, guarded: bool, devices: &[u32]) -> (DatapathConfig, Datapath) {
    let wanted = [0, features::TOO_BIG, features::TOO_BIG | features::TOO_BIG_WITHOUT_DF];
    let constants = DatapathConfig {
        hash_seed: dice.roll(),
        vary_v4: dice.of(&[0xff, 0xffff_ffff]),
        vary_v6: dice.of(&[0xffff, 0xff00_0000]),
        features: dice.of(&wanted)
            | outer_features(dice)
            | dice.of(&[0, features::UDP_FLOWS])
            | dice.of(&[0, features::QUIC, features::QUIC])
            | dice.of(&[0, features::AFFINITY_CLIENT, features::AFFINITY_CLIENT])
            | dice.of(&[0, features::ANY_PORT])
            | dice.of(&[0, 0, features::FLOWS])
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
    let mut datapath = loaded(dice, &constants);
    fill(&mut datapath, dice, devices, constants.features, guarded);
    if guarded {
        fill_guard(&mut datapath, dice);
    }
    fill_sources(&mut datapath);
    (constants, datapath)
}

fn compare(
    dice: &mut Dice,
    (constants, datapath): (DatapathConfig, Datapath),
    devices: &[u32],
    all: &mut All,
) {
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
    let mut card = Card::with(&maps, &constants, dice.of(devices));
    let mut wanted = Moved::seen(&datapath);
    for turn in 1..=FRAMES {
        let frame = any_frame(dice, &model.nat);
        let ingress = dice.of(devices);
        let outcome = model.run(&frame, ingress);
        let run = datapath.test_run(&frame, ingress).unwrap();
        let what = || format!("{:?} for\n{}", outcome.verdict, describe(&frame));
        assert_eq!(run.verdict, verdict_of(outcome.verdict), "{}", what());
        assert!(run.frame == outcome.frame, "{}\n{}", what(), describe(&run.frame));
        if ingress == card.port {
            card.compare(&frame, &run, &outcome, &mut all.on_card);
        }
        wanted.add(&outcome, frame.len());
        if let Some(to) = outcome.forwarded {
            all.ways.add(to.is_named, &maps.backends[&to.backend], constants.features);
        }
        for counter in outcome.events.iter().chain([&outcome.verdict]) {
            *all.seen.entry(*counter).or_default() += 1;
        }
        if turn % BATCH == 0 || turn == FRAMES {
            assert_eq!(Moved::seen(&datapath), wanted, "one of the {BATCH} frames before {turn}");
        }
    }
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
    let mut all = All::default();
    for world in 0..number("FUZZ_WORLDS", WORLDS) {
        println!("FUZZ_SEED={} FUZZ_WORLDS=1 repeats it", seed + world);
        let guarded = (seed + world).is_multiple_of(3);
        let dice = &mut Dice(seed + world);
        let world = any_world(dice, guarded, &devices);
        compare(dice, world, &devices, &mut all);
        let world = card::world_for_it(dice, &devices);
        compare(dice, world, &devices, &mut all);
    }
    println!("{all:?}");
    let All { seen, ways, on_card } = all;
    assert!(ways.all_taken(), "{ways:?}");
    card::assert_all_seen(&on_card);
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
