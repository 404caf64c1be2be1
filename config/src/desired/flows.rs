//! Packets that are told of.

use core::net::SocketAddr;

/// `[flows]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLog {
    /// One in so many is told of by chance; 0: nothing is told of.
    pub sample: u32,
    /// So many per second and CPU of each other kind; 0: no limit.
    pub rate: u32,
    /// So many are remembered.
    pub keep: u32,
    /// Who gets flows as IPFIX.
    pub ipfix: Option<SocketAddr>,
    /// Who gets samples as sFlow.
    pub sflow: Option<SocketAddr>,
}

impl FlowLog {
    /// Nothing is told of.
    pub const OFF: Self = Self { sample: 0, rate: 1_000, keep: 10_000, ipfix: None, sflow: None };

    /// Whether the packet path tells of packets.
    pub const fn is_on(self) -> bool {
        self.sample != 0
    }
}
