//! Test packets: sent as a client's would be, and nobody can tell that they were.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{
    Backend, Counter, DatapathConfig, Service, ServiceKeyV4, Slot, backend_kinds, features,
    service_flags,
};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Protocol, ServiceAddr};
use tidegate_plan::proof::{self, Client, Finding};
use tidegate_plan::step::Step;

use crate::pins::{CONFIG, World};
use crate::xdp::{CLIENT4, INGRESS, RING_OFFSET, RING_SIZE, TCP, UDP, VIP4, VIP6, Xdp, entry};

/// Large enough for every family.
const PACKET_LEN: u16 = 1_280;

/// An entry of its own for each index.
fn numbered(index: u8, kind: u8) -> Backend {
    let mut backend = entry(kind);
    backend.macs[5] = index;
    backend
}

fn services() -> [ServiceAddr; 4] {
    let of = |addr, protocol| ServiceAddr { addrs: Prefix::host(addr), port: 80, protocol };
    [
        of(VIP4.into(), Protocol::Tcp),
        of(VIP4.into(), Protocol::Udp),
        of(VIP6.into(), Protocol::Tcp),
        of(VIP6.into(), Protocol::Udp),
    ]
}

fn client() -> Client {
    Client { addr: CLIENT4.into(), vip: VIP4.into(), port: 80 }
}

/// Everything that a packet can move.
fn traces(xdp: &Xdp) -> (BTreeMap<Counter, u64>, Vec<tidegate_abi::Traffic>, usize) {
    let datapath = &xdp.datapath;
    let rows = (0..8).flat_map(|row| {
        [datapath.service_traffic(row).unwrap(), datapath.backend_traffic(row).unwrap()]
    });
    (datapath.counters().unwrap(), rows.collect(), datapath.flow_count().unwrap())
}

#[test]
fn a_test_packet_is_sent_as_a_clients_is_and_moves_no_counter_and_no_table() {
    let world = World::new("proof");
    let mut xdp = Xdp::over(
        world.load_with(&DatapathConfig { features: features::AFFINITY_CLIENT, ..CONFIG }),
    );
    xdp.vip(0);
    for (index, proto, flags) in [(1, TCP, 0), (2, UDP, service_flags::AFFINITY_CLIENT)] {
        xdp.service(index, proto, flags);
    }
    let kinds = [
        (backend_kinds::IPV4_IN_IPV4, 4),
        (backend_kinds::IPV6_IN_IPV4, 6),
        (backend_kinds::IPV4_IN_IPV6, 4),
        (backend_kinds::IPV6_IN_IPV6, 6),
        (backend_kinds::L2, 4),
        (backend_kinds::L2, 6),
    ];
    for (kind, family) in kinds {
        for index in 1..=3 {
            xdp.backend(index.into(), numbered(index, kind));
        }
        // Settled slots, and slots in transition, where a SYN would be remembered.
        for older in [0, 1] {
            let slot = |n: u32| match older {
                0 => Slot::settled(1 + n % 3),
                older => Slot::in_transition(1 + n % 3, older),
            };
            let slots = (0..RING_SIZE).map(|n| (RING_OFFSET + n, slot(n))).collect();
            xdp.apply(&Step::PutSlots { slots });
            let of_family = |s: &ServiceAddr| s.addr().is_ipv4() == (family == 4);
            for service in services().into_iter().filter(of_family) {
                assert_leaves_no_trace(&xdp, service, kind);
            }
        }
    }
}

fn assert_leaves_no_trace(xdp: &Xdp, service: ServiceAddr, kind: u8) {
    let observed = xdp.datapath.observe().unwrap();
    let clients = proof::clients(CONFIG.hash_seed, service, &observed);
    let indices: BTreeSet<u32> = clients.iter().map(|&(_, index)| index).collect();
    assert_eq!(indices, BTreeSet::from([1, 2, 3]), "one client for each backend");
    for (client, index) in clients {
        let frame = proof::frame(service.protocol, client, PACKET_LEN);
        let before = traces(xdp);
        let finding = xdp.datapath.prove(&frame, INGRESS);
        assert_eq!(traces(xdp), before, "{service:?}");
        let entry = numbered(u8::try_from(index).unwrap(), kind);
        let is_as_wanted =
            matches!(finding, Finding::Sent(headers) if proof::is_as(&headers, &entry));
        assert!(is_as_wanted, "{service:?}: {finding:?}");

        // The same packet from a client: it leaves with the same headers, and a trace.
        let sent = xdp.datapath.test_run(&frame, INGRESS).unwrap();
        assert_eq!(proof::read(Counter::ForwardTx as u32, &sent.frame), finding);
        assert_ne!(traces(xdp), before, "{service:?}");
    }
}

#[test]
fn what_is_broken_is_told_by_the_counter_that_would_have_moved() {
    let kind = backend_kinds::IPV4_IN_IPV4;
    let no_way = Backend { flags: 0, ..numbered(1, kind) };
    let narrow = Backend { mtu: PACKET_LEN + 19, ..numbered(1, kind) };
    let key =
        |port: [u8; 2], proto| ServiceKeyV4 { addr: VIP4.octets(), port, proto, prefix_len: 0 };
    let delete = |port, proto| Step::DeleteServiceV4 { key: key(port, proto) };
    let put_backend = |entry| Step::PutBackend { index: 1, entry, fresh: false };
    let every_slot = |slot| Step::PutSlots {
        slots: (RING_OFFSET..RING_OFFSET + RING_SIZE).map(|index| (index, slot)).collect(),
    };
    let empty = Service { index: 1, ..Service::default() };
    let cases = [
        ("nothing", vec![], None),
        ("the service is gone", vec![delete([0, 80], TCP)], Some(Counter::DropNoService)),
        (
            "the VIP with it",
            vec![delete([0, 80], TCP), delete([0; 2], 0)],
            Some(Counter::PassNotOurs),
        ),
        (
            "it has no ring",
            vec![Step::PutServiceV4 { key: key([0, 80], TCP), service: empty, fresh: false }],
            Some(Counter::DropNoBackend),
        ),
        ("the ring is empty", vec![every_slot(Slot::default())], Some(Counter::DropNoBackend)),
        ("the backend has no way", vec![put_backend(no_way)], Some(Counter::DropUnresolved)),
        ("the backend is gone", vec![put_backend(Backend::FREE)], Some(Counter::DropUnresolved)),
        ("the way is narrow", vec![put_backend(narrow)], Some(Counter::DropTooBig)),
    ];
    let world = World::new("flaws");
    for (name, steps, wanted) in cases {
        let mut xdp = Xdp::over(world.load());
        xdp.vip(0);
        xdp.service(1, TCP, 0);
        xdp.backend(1, numbered(1, kind));
        xdp.all_slots(Slot::settled(1));
        for step in &steps {
            xdp.apply(step);
        }
        let frame = proof::frame(Protocol::Tcp, client(), PACKET_LEN);
        let before = traces(&xdp);
        let finding = xdp.datapath.prove(&frame, INGRESS);
        match wanted {
            Some(counter) => assert_eq!(finding, Finding::Ended(counter), "{name}"),
            None => assert!(matches!(finding, Finding::Sent(_)), "{name}: {finding:?}"),
        }
        assert_eq!(traces(&xdp), before, "{name}");
    }
    let xdp = Xdp::over(world.load());
    let frame = proof::frame(Protocol::Tcp, client(), PACKET_LEN);
    assert_eq!(xdp.datapath.prove(&frame, 4_000), Finding::NotRun, "no such interface");
}
