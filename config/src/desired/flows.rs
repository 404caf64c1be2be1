//! Packets that are told of.

/// `[flows]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLog {
    /// One in so many is told of by chance; 0: nothing is told of.
    pub sample: u32,
    /// So many per second and CPU of each other kind; 0: no limit.
    pub rate: u32,
    /// So many are remembered.
    pub keep: u32,
}

impl FlowLog {
    /// Nothing is told of.
    pub const OFF: Self = Self { sample: 0, rate: 1_000, keep: 10_000 };

    /// Whether the packet path tells of packets.
    pub const fn is_on(self) -> bool {
        self.sample != 0
    }
}
