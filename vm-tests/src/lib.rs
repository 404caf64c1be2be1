//! tidegate on real input: labs of network namespaces, golden frames, the demo, benchmarks.

pub mod bench;
pub mod frame;
pub mod lab;
pub mod vm;
