//! Sessions that bring a daemon whole tables of routes, from a namespace beside its own.

pub mod peer;
pub mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::lab::topology::{Host, Interface, Topology};

/// AS of the daemon that is fed.
pub const OUR_AS: u32 = 65_000;
/// AS of who hears of the routes.
pub const RECEIVER_AS: u32 = 65_001;

/// 10.77.0.1 and, on our side, 10.77.1.1 and up.
pub const DAEMON: u32 = 0x0a4d_0001;
/// Who hears of the routes.
pub const RECEIVER: u32 = 0x0a4d_0101;

/// Who brings them; the one after the receiver only watches.
pub const fn sender_address(sender: u32) -> u32 {
    RECEIVER + 2 + sender
}

/// Where the daemon listens.
pub const fn daemon_address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(DAEMON)), 179)
}

/// The daemon's host, `dut`, and ours, `gen`, which has addresses for so many sessions.
pub fn topology(sessions: u32) -> Topology {
    let interface =
        |addresses: Vec<String>| Interface { name: "eth0", segment: "net", addresses, mtu: 1500 };
    let ours = (0..sessions).map(|n| format!("{}/16", Ipv4Addr::from_bits(RECEIVER + n)));
    let daemon = vec![format!("{}/16", Ipv4Addr::from_bits(DAEMON))];
    let host =
        |name, addresses| Host { name, interfaces: vec![interface(addresses)], ..Host::default() };
    Topology { hosts: vec![host("dut", daemon), host("gen", ours.collect())] }
}
