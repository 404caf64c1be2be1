//! What is balanced in the benchmark: services, backends, and the frames that are for them.

use std::net::{Ipv4Addr, Ipv6Addr};

use tidegate_vm_tests::bench::around::Traffic;
use tidegate_vm_tests::frame::{Frame, eth};

pub(crate) const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x10);
pub(crate) const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7);
pub(crate) const LOOPBACK: u32 = 1;
/// Ports of the services: see [`config`].
pub(crate) const IPIP: u16 = 80;
pub(crate) const IPIP_OTHER: u16 = 81;
pub(crate) const L2: u16 = 82;
pub(crate) const CHANGING: u16 = 83;
pub(crate) const NAT: u16 = 84;
pub(crate) const GUE: u16 = 85;
pub(crate) const QUIC: u16 = 443;
/// What the first of all servers calls itself, and each other one more.
pub(crate) const SERVER_ID: u16 = 0x0a00;

const HEAD: &str =
    "version = 1\n[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"lo\"]\n";

/// Services of each kind on two VIPs, and eight more VIPs that get no packets: maps that hold one
/// entry are faster than any that are used.
pub(crate) fn config(changing_weight: u16) -> String {
    const V4: &str = "10.0.1.";
    const V6: &str = "fd00::";
    let mut parts = vec![HEAD.to_owned()];
    for (vip, own, other) in [(VIP4.to_string(), V4, V6), (VIP6.to_string(), V6, V4)] {
        parts.push(service(&vip, IPIP, "ipip", &backends(own, 100, 1)));
        parts.push(service(&vip, IPIP_OTHER, "ipip", &backends(other, 100, 1)));
        parts.push(service(&vip, L2, "l2", &backends(own, 100, 1)));
        parts.push(service(&vip, CHANGING, "ipip", &backends(own, 10, changing_weight)));
    }
    let idle = |n: u8| service(&format!("198.51.100.{n}"), 443, "ipip", &backends(V4, 2, 1));
    parts.extend((1..=8).map(idle));
    parts.concat()
}

/// The same services behind a guard that looks every packet up and lets it in: a thousand prefixes
/// of others, and more tokens than there are packets.
pub(crate) fn guarded() -> String {
    let other = |n: u32| format!("\"{}/24\"", Ipv4Addr::from_bits(0x6440_0000 + (n << 8)));
    let others = (0..1_000).map(other).collect::<Vec<_>>().join(", ");
    format!(
        "{}[guard]\ndeny = [{others}]\nburst = \"60s\"\nsource-rate = 10000000\n\
         source-syn-rate = 10000000\nservice-rate = 10000000\nservice-syn-rate = 10000000\n",
        config(1)
    )
}

/// One service in NAT, in a packet path of its own: the program of the others has no NAT in it.
pub(crate) fn nat_config() -> String {
    let v4 = service(&VIP4.to_string(), NAT, "nat", &backends("10.0.1.", 100, 1));
    let v6 = service(&VIP6.to_string(), NAT, "nat", &backends("fd00::", 100, 1));
    [HEAD, &v4, &v6].concat()
}

/// Services in GUE, with a checksum in the outer UDP header or without.
pub(crate) fn gue_config(checksum: bool) -> String {
    let v4 = service(&VIP4.to_string(), GUE, "gue", &backends("10.0.1.", 100, 1));
    let v6 = service(&VIP6.to_string(), GUE, "gue", &backends("fd00::", 100, 1));
    [HEAD, &v4, &v6, &format!("[datapath]\ngue-checksum = {checksum}\n")].concat()
}

/// A service of QUIC for each IP version.
pub(crate) fn quic_config() -> String {
    let service = |vip: &str, prefix: &str| {
        let backend = |n: u16| {
            let (host, id) = (n + 10, SERVER_ID + n);
            format!("[[service.backend]]\naddress = \"{prefix}{host}\"\nserver-id = \"{id:04x}\"\n")
        };
        let backends: Vec<String> = (1..=100).map(backend).collect();
        let keys = "protocol = \"udp\"\naffinity = \"quic\"\n";
        service(vip, QUIC, "ipip", &[keys, &backends.concat()].concat())
    };
    [HEAD, &service(&VIP4.to_string(), "10.0.1."), &service(&VIP6.to_string(), "fd00::")].concat()
}

/// The same services, and a word of one packet in a thousand.
pub(crate) fn told_config() -> String {
    [config(1), "[flows]\nsample = 1000\n".to_owned()].concat()
}

fn service(vip: &str, port: u16, mode: &str, backends: &str) -> String {
    format!(
        "[[service]]\nname = \"{}-{port}\"\nvip = \"{vip}\"\nport = {port}\nmode = \"{mode}\"\n\
         advertise = false\n{backends}",
        vip.replace([':', '.'], "-")
    )
}

/// So many of them, of weight 1 but for the first.
fn backends(prefix: &str, count: u32, first_weight: u16) -> String {
    let backend = |n: u32| {
        let weight = if n == 1 { first_weight } else { 1 };
        format!("[[service.backend]]\naddress = \"{prefix}{}\"\nweight = {weight}\n", n + 10)
    };
    (1..=count).map(backend).collect::<Vec<_>>().concat()
}

/// A frame of 64 bytes or the next more that its headers need.
pub(crate) fn v4(port: u16, flags: u8) -> Frame {
    link().ipv4(CLIENT4, VIP4).tcp(1_024, port, flags)
}

pub(crate) fn v6(port: u16, flags: u8) -> Frame {
    link().ipv6(CLIENT6, VIP6).tcp(1_024, port, flags)
}

/// A packet with a short header, of a connection with the first of the servers.
fn quic(frame: Frame) -> Frame {
    let [high, low] = (SERVER_ID + 1).to_be_bytes();
    let id = [0, high, low, 1, 2, 3, 4, 5];
    frame.udp(1_024, QUIC).payload([&[0x40][..], &id, &[7; 24]].concat())
}

pub(crate) fn quic4() -> Frame {
    quic(link().ipv4(CLIENT4, VIP4))
}

pub(crate) fn quic6() -> Frame {
    quic(link().ipv6(CLIENT6, VIP6))
}

fn link() -> Frame {
    eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

pub(crate) fn traffic4(frame: Frame, flows: u32) -> Traffic {
    let frame = frame.payload([0; 10]).bytes();
    Traffic { frame, flows, addr_at: 26, port_at: 34 }
}

pub(crate) fn traffic6(frame: Frame, flows: u32) -> Traffic {
    let frame = frame.payload([0; 4]).bytes();
    Traffic { frame, flows, addr_at: 34, port_at: 54 }
}
