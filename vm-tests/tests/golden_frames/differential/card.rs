//! The program for a network card under the same maps: what it sends or drops, the packet path sends and
//! drops as well, byte for byte; the rest it leaves as it was.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use tidegate::bpf_io::{Datapath, Pod, TestRun, Verdict};
use tidegate_abi::{
    Backend, CardBackend, CardConfig, CardCounter, Counter, DatapathConfig, RING_SIZE_MIN, Service,
    ServiceKeyV4, ServiceKeyV6, Slot, Traffic, backend_flags, card_map_names as names, features,
    service_flags,
};
use tidegate_bgp::types::Prefix;
use tidegate_plan::card::image;
use tidegate_plan::key::MapKey;
use tidegate_plan::model::Outcome;
use tidegate_plan::observed;
use tidegate_plan::step::Step;
use tidegate_vm_tests::frame::describe;

use super::BACKENDS;
use super::frames::Dice;
use crate::xdp::{TCP, UDP, VIP4, VIP6};

const OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CARD_OBJECT"));
const PROGRAM: &str = "tidegate_card";

/// How many frames moved which counter of the card.
pub(super) type Seen = BTreeMap<CardCounter, u64>;

/// The card, with the maps of one world.
pub(super) struct Card {
    ebpf: Ebpf,
    pub(super) port: u32,
    counted: Vec<u64>,
}

impl Card {
    pub(super) fn with(maps: &observed::Datapath, constants: &DatapathConfig, port: u32) -> Self {
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).unwrap();
        let program: &mut Xdp = ebpf.program_mut(PROGRAM).unwrap().try_into().unwrap();
        program.load().unwrap();
        let image = image(maps, constants, port);
        let map = ebpf.map_mut(names::SERVICES_V4).unwrap();
        let mut services: HashMap<_, Pod<ServiceKeyV4>, Pod<Service>> = map.try_into().unwrap();
        for (key, service) in image.services_v4 {
            services.insert(Pod(key), Pod(service), 0).unwrap();
        }
        let map = ebpf.map_mut(names::SERVICES_V6).unwrap();
        let mut services: HashMap<_, Pod<ServiceKeyV6>, Pod<Service>> = map.try_into().unwrap();
        for (key, service) in image.services_v6 {
            services.insert(Pod(key), Pod(service), 0).unwrap();
        }
        let map = ebpf.map_mut(names::SLOTS).unwrap();
        let mut slots: Array<_, u64> = map.try_into().unwrap();
        for (row, slot) in (0..).zip(&maps.slots) {
            slots.set(row, slot.to_word(), 0).unwrap();
        }
        let map = ebpf.map_mut(names::BACKENDS).unwrap();
        let mut backends: Array<_, Pod<CardBackend>> = map.try_into().unwrap();
        for (row, backend) in image.backends {
            backends.set(row, Pod(backend), 0).unwrap();
        }
        let map = ebpf.map_mut(names::CONFIG).unwrap();
        let mut config: Array<_, Pod<CardConfig>> = map.try_into().unwrap();
        config.set(0, Pod(image.config), 0).unwrap();
        Self { ebpf, port, counted: vec![0; CardCounter::ALL.len()] }
    }

    fn counter(&mut self) -> CardCounter {
        let map = self.ebpf.map(names::COUNTERS).unwrap();
        let rows: Array<_, u64> = map.try_into().unwrap();
        let mut moved = None;
        for ((row, counter), before) in (0..).zip(CardCounter::ALL).zip(&mut self.counted) {
            let now = rows.get(&row, 0).unwrap();
            if now != *before {
                assert_eq!((now - *before, moved), (1, None), "one verdict, once");
                moved = Some(*counter);
                *before = now;
            }
        }
        moved.unwrap()
    }

    fn traffic(&self, map: &str, row: u32) -> Traffic {
        let rows: Array<_, Pod<Traffic>> = self.ebpf.map(map).unwrap().try_into().unwrap();
        rows.get(&row, 0).unwrap().0
    }

    /// What the packet path made of a frame, and what the card makes of it.
    pub(super) fn compare(
        &mut self,
        frame: &[u8],
        path: &TestRun,
        outcome: &Outcome,
        seen: &mut Seen,
    ) {
        let rows = outcome.forwarded.map(|to| (to.service, to.backend));
        let traffic = |card: &Self| {
            rows.map(|(service, backend)| {
                let service = card.traffic(names::SERVICE_TRAFFIC, service);
                (service, card.traffic(names::BACKEND_TRAFFIC, backend))
            })
        };
        let before = traffic(self);
        let program: &Xdp = self.ebpf.program(PROGRAM).unwrap().try_into().unwrap();
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        let counter = self.counter();
        *seen.entry(counter).or_default() += 1;
        let what = || format!("{counter:?}, and {:?} for\n{}", outcome.verdict, describe(frame));
        match counter {
            CardCounter::Forward => {
                assert_eq!((result.return_value, path.verdict), (3, Verdict::Tx), "{}", what());
                assert!(out == path.frame, "{}\n{}", what(), describe(&out));
                let more = |it: Traffic| Traffic {
                    packets: it.packets + 1,
                    bytes: it.bytes + frame.len() as u64,
                };
                let counted = before.map(|(service, backend)| (more(service), more(backend)));
                assert_eq!(traffic(self), counted, "{}", what());
            }
            CardCounter::DropNoService => {
                assert_eq!(result.return_value, 1, "{}", what());
                assert_eq!(outcome.verdict, Counter::DropNoService, "{}", what());
            }
            _ => {
                assert_eq!(result.return_value, 2, "{}", what());
                assert!(out == frame, "{}\n{}", what(), describe(&out));
            }
        }
    }
}

/// A packet path of which a card can do nearly all.
pub(super) fn world_for_it(dice: &mut Dice, devices: &[u32]) -> (DatapathConfig, Datapath) {
    let constants = DatapathConfig {
        hash_seed: dice.roll(),
        features: dice.of(&[0, features::AFFINITY_CLIENT]),
        ..DatapathConfig::default()
    };
    let mut datapath = Datapath::load(&constants).unwrap();
    let mut apply = |step: Step| datapath.apply(&step).unwrap();
    for index in 1..=BACKENDS {
        let entry = Backend {
            macs: dice.bytes(),
            vlan_tci: [0; 2],
            ip: dice.bytes(),
            // Each kind for packets of either version.
            kind: [1, 2, 3, 4, 5, 5, 1, 4][index as usize - 1],
            flags: backend_flags::RESOLVED,
            egress_ifindex: dice.of(devices),
            mtu: dice.of(&[1_500, 1_500, 100]),
            gue_port: [0; 2],
        };
        apply(Step::PutBackend { index, entry, fresh: true });
    }
    let slots = (0..RING_SIZE_MIN).map(|row| {
        let current = 1 + u32::from(dice.byte()) % BACKENDS;
        (row, if dice.one_in(8) { Slot::in_transition(current, 1) } else { Slot::settled(current) })
    });
    apply(Step::PutSlots { slots: slots.collect() });
    let ports = [(0, 0), (80, TCP), (443, TCP), (53, UDP)];
    let vips = [(VIP4.into(), 32), (VIP6.into(), 128)];
    let keys = vips.into_iter().flat_map(|vip| ports.map(|port| (vip, port)));
    for (index, ((vip, len), (port, proto))) in (1..).zip(keys) {
        let affinity = constants.features & features::AFFINITY_CLIENT != 0 && dice.one_in(2);
        let bits = if len == 32 { dice.of(&[0, 8]) } else { dice.of(&[0, 64, 72]) };
        let affinity = if affinity {
            service_flags::AFFINITY_CLIENT | bits << service_flags::UNCOUNTED_BITS
        } else {
            0
        };
        let service = Service { ring_offset: 0, ring_size: RING_SIZE_MIN, index, flags: affinity };
        let service = if proto == 0 { Service::default() } else { service };
        let fresh = true;
        apply(match MapKey::new(Prefix::new(vip, len).unwrap(), port, proto) {
            MapKey::V4(key) => Step::PutServiceV4 { key, service, fresh },
            MapKey::V6(key) => Step::PutServiceV6 { key, service, fresh },
        });
    }
    (constants, datapath)
}

/// All that can be seen without a card: its firmware has less room in front of packets.
pub(super) fn assert_all_seen(seen: &Seen) {
    let missing: Vec<_> = CardCounter::ALL
        .iter()
        .filter(|counter| **counter != CardCounter::UpNoRoom && !seen.contains_key(counter))
        .collect();
    assert!(missing.is_empty(), "no frame was for {missing:?}: {seen:?}");
}
