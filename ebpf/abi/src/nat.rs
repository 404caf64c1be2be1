//! Connections of services in mode `nat`: what the packet path remembers of each, in two maps that
//! it asks for the two directions, and which port a connection gets.

use crate::slot_of;

plain! {
    /// Value of `NAT_FLOWS`, where the packets of a client are looked up: who gets them, and from
    /// whom. Addresses as in [`FlowKey`](crate::FlowKey).
    #[derive(Default)]
    #[repr(align(8))]
    pub struct NatFlow {
        /// When the client was last seen, to a second or so: `CLOCK_MONOTONIC`, in nanoseconds.
        pub seen_ns: u64,
        /// The backend, network order.
        pub backend_addr: [u8; 16],
        /// Our address towards it, network order.
        pub source: [u8; 16],
        /// The backend's port, network order.
        pub backend_port: [u8; 2],
        /// Our port towards it, network order.
        pub source_port: [u8; 2],
        /// Index of the backend.
        pub backend: u32,
        /// Row of the service in `SERVICE_TRAFFIC`.
        pub service: u32,
        /// What was seen of the client: [`nat_state`] bits.
        pub state: u32,
        /// The client's frames: the MAC address that they come from, and what follows it.
        pub from: [u8; 8],
        /// Their first VLAN tag and what follows it, if there is one.
        pub tag: [u8; 4],
        /// The interface they come in by.
        pub ingress_ifindex: u32,
        /// Sum of what the translation adds to what a TCP or UDP checksum covers (RFC 1624).
        pub transport_sum: u16,
        /// The same of the addresses alone.
        pub address_sum: u16,
        /// Always zero.
        pub reserved: u32,
    }

    /// Value of `NAT_ANSWERS`, where the packets of a backend are looked up: who gets them, and
    /// from whom. Its key is a [`FlowKey`](crate::FlowKey) from the backend to our address and
    /// port, so every backend has all ports.
    #[derive(Default)]
    #[repr(align(8))]
    pub struct NatAnswer {
        /// When the backend was last seen, as in [`NatFlow`].
        pub seen_ns: u64,
        /// The client, network order.
        pub client: [u8; 16],
        /// The VIP, network order.
        pub vip: [u8; 16],
        /// The client's port, network order.
        pub client_port: [u8; 2],
        /// The service's port, network order.
        pub service_port: [u8; 2],
        /// Index of the backend.
        pub backend: u32,
        /// What was seen of the backend: [`nat_state`] bits.
        pub state: u32,
        /// As in [`NatFlow`], for this direction.
        pub transport_sum: u16,
        /// The same of the addresses alone.
        pub address_sum: u16,
        /// The interface that the client's frames come in by, and the answers leave through.
        pub egress_ifindex: u32,
        /// The link layer of an answer: back the way the client's last frame came, tags included.
        pub link: [u8; 22],
        /// How much of it there is: 14, 18 or 22 bytes.
        pub link_len: u16,
        /// Always zero.
        pub reserved: u32,
    }
}

const _: () = assert!(size_of::<NatFlow>() == 80);
const _: () = assert!(size_of::<NatAnswer>() == 88);

/// Bits of [`NatFlow::state`] and [`NatAnswer::state`]: what a TCP segment of this direction had.
pub mod nat_state {
    /// SYN.
    pub const SYN: u32 = 1 << 0;
    /// ACK.
    pub const ACK: u32 = 1 << 1;
    /// FIN.
    pub const FIN: u32 = 1 << 2;
    /// RST.
    pub const RST: u32 = 1 << 3;

    /// Whether a connection is over: reset by one, or closed by both.
    pub const fn is_over(client: u32, backend: u32) -> bool {
        (client | backend) & RST != 0 || client & backend & FIN != 0
    }
}

/// Connections that the packet path remembers.
pub const NAT_FLOWS_MAX: u32 = 1 << 18;
/// Ports that are tried for a new connection before it is refused. With nine of ten ports taken
/// that fails for three new connections in a hundred, with eight of ten for one in a thousand.
pub const NAT_PROBES: u32 = 32;

/// The port that is tried as the `probe`-th one for a connection of a client with this flow hash
/// and port: one of `count` from `first` on. Each probe falls into the largest gap that the ones
/// before have left.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "ports: the sum is one, too")]
pub const fn nat_port(hash: u32, client_port: u16, probe: u32, first: u32, count: u32) -> u16 {
    const GOLDEN: u32 = 0x9e37_79b9; // 2^32 / golden ratio.
    // With affinity by client the hash is the same for all of a client's ports.
    let turn = (client_port as u32).wrapping_add(probe).wrapping_mul(GOLDEN);
    first.wrapping_add(slot_of(hash.wrapping_add(turn), count)) as u16
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn probes_are_ports_of_the_range_and_differ() {
        for (first, count) in [(1_024, 31_744), (60_000, 100), (65_535, 1)] {
            let ports: BTreeSet<u16> =
                (0..NAT_PROBES).map(|probe| nat_port(7, 40_000, probe, first, count)).collect();
            assert!(ports.iter().all(|&port| (first..first + count).contains(&port.into())));
            assert!(ports.len() >= NAT_PROBES.min(count) as usize, "{ports:?}");
        }
    }

    #[test]
    fn a_connection_is_over_when_one_resets_it_or_both_have_closed_it() {
        use nat_state::{ACK, FIN, RST, SYN, is_over};
        assert!(!is_over(SYN | ACK, SYN | ACK));
        assert!(!is_over(SYN | FIN, SYN), "the other one may go on");
        assert!(is_over(SYN | FIN, SYN | FIN));
        assert!(is_over(SYN, RST) && is_over(SYN | RST, 0));
    }
}
