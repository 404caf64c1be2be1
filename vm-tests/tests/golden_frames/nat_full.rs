//! More connections in NAT than are remembered.

use tidegate_abi::{Counter, NAT_FLOWS_MAX, backend_kinds, service_flags};
use tidegate_vm_tests::bench::around::{Around, Effect, TX, Traffic};
use tidegate_vm_tests::bench::perf::Pmu;
use tidegate_vm_tests::frame::{Frame, tcp};

use crate::nat::nat;
use crate::xdp::{CLIENT4, INGRESS, TCP, VIP4, Xdp, entry, from_router};

/// Services, each on a port of its own, so that each has all ports of ours towards the backend.
const SERVICES: u32 = 16;
const FLOWS: u32 = NAT_FLOWS_MAX / SERVICES;
const FIRST: u16 = 80;

fn frame(port: u16, flags: u8) -> Frame {
    from_router().ipv4(CLIENT4, VIP4).tcp(1_024, port, flags).payload([0; 10])
}

/// Clients of the service on this port.
fn clients(port: u16, flags: u8) -> Traffic {
    Traffic { frame: frame(port, flags).bytes(), flows: FLOWS, addr_at: 26, port_at: 34 }
}

fn opened(xdp: &Xdp) -> u64 {
    xdp.datapath.counters().unwrap()[&Counter::NatOpened]
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_all_that_it_has() {
    let mut xdp = nat(entry(backend_kinds::NAT_V4), 60_000, 0);
    let ports: Vec<u16> = (FIRST..).take(SERVICES as usize).collect();
    for (index, &port) in (1..).zip(&ports) {
        // With the port that the client asks.
        xdp.service_on(port, index, TCP, service_flags::NAT);
    }
    let effect = Effect { action: TX, growth: 0, rewrites: true };
    // The kernel may be short of memory for a moment, so SYNs are sent again.
    for _ in 0..20 {
        for &port in &ports {
            let traffic = clients(port, tcp::SYN);
            let program = xdp.datapath.program_fd().unwrap();
            let mut all = Around::program(program, &traffic, effect).unwrap();
            all.run(FLOWS, &Pmu::open()).unwrap();
        }
        if opened(&xdp) == u64::from(NAT_FLOWS_MAX) {
            break;
        }
    }
    assert_eq!(opened(&xdp), u64::from(NAT_FLOWS_MAX), "every one of them");

    let stranger = |flags| from_router().ipv4(CLIENT4, VIP4).tcp(9, FIRST, flags);
    let refused = xdp.run(&stranger(tcp::SYN));
    assert_eq!((refused.counter, refused.events), (Counter::DropNatFull, vec![]));
    assert_eq!(xdp.run(&stranger(tcp::ACK)).counter, Counter::DropNatUnknown, "of nobody");
    for &port in &ports {
        for turn in (0..FLOWS).step_by(499) {
            let known = clients(port, tcp::ACK).of_flow(turn);
            assert_eq!(xdp.run_from(&known, INGRESS).counter, Counter::ForwardTx, "made room");
        }
    }
    // One that is over makes room for the next with its ports, and for nobody else.
    let [last, again] = [tcp::RST, tcp::SYN].map(|flags| clients(FIRST, flags).of_flow(0));
    assert_eq!(xdp.run_from(&last, INGRESS).counter, Counter::ForwardTx);
    assert_eq!(xdp.run(&stranger(tcp::SYN)).counter, Counter::DropNatFull);
    let reopened = xdp.run_from(&again, INGRESS);
    assert_eq!((reopened.counter, reopened.events), (Counter::ForwardTx, vec![Counter::NatOpened]));
}
