//! What was typed of packets that are told of.

use crate::read::Need::Default;
use crate::read::table;
use crate::value::Int;

table! {
    /// Which packets `tidegate flows` tells of. While `sample` is 0 the packet path has no instruction
    /// for it.
    pub(crate) struct FlowsTable as "flows" {
        /// One in so many packets is told of, chosen by chance, and every one that is dropped, opens
        /// a connection or ends one. 1: every packet; 0: none of them at all.
        "sample" => sample: Int<u32, 0, 1_000_000_000>, Default("0");
        /// No more than so many per second and CPU of those that are dropped for one reason, of those
        /// that open connections, and of those that end them; 0: no limit. What is left out is counted.
        "rate" => rate: Int<u32, 0, 10_000_000>, Default("1000");
        /// The daemon remembers so many of the latest, at some 200 bytes each.
        "keep" => keep: Int<u32, 100, 1_000_000>, Default("10000");
    }
    hints {
        "sampling" => "write sample",
        "sample-rate" => "write sample: one in so many",
        "limit" => "write rate, or keep",
    }
}
