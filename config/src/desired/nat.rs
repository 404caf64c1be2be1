//! How connections of services in mode `nat` are translated.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

/// `[nat]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Our address towards IPv4 backends; `None`: that of the way to each.
    pub source_v4: Option<Ipv4Addr>,
    /// The same towards IPv6 backends.
    pub source_v6: Option<Ipv6Addr>,
    /// The first port that connections get there.
    pub first_port: u16,
    /// The last one.
    pub last_port: u16,
    /// How long connections without packets are remembered.
    pub timeouts: NatTimeouts,
}

/// How long a connection is remembered when no packet comes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTimeouts {
    /// TCP, until both ends have shown that they want it.
    pub tcp_handshake: Duration,
    /// TCP, open.
    pub tcp_established: Duration,
    /// TCP, closed by one end.
    pub tcp_half_closed: Duration,
    /// TCP, closed by both or reset by one.
    pub tcp_closed: Duration,
    /// UDP.
    pub udp: Duration,
}
