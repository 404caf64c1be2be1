//! Measuring: what a packet costs, in instructions, cycles and nanoseconds, against floors that are
//! measured in the same round.
//!
//! Others may use the machine at the same time. Instructions are steady whatever they do, cycles
//! nearly so, and nanoseconds are theirs as much as ours: so instructions are compared with a
//! baseline, and cycles and nanoseconds are judged by the best of several rounds.

pub mod around;
pub mod count;
pub mod edge;
pub mod feed;
pub mod machine;
pub mod perf;
pub mod table;
pub mod usage;
