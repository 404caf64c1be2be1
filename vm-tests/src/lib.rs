//! Labs of network namespaces, golden frames, the demo.

pub mod frame;
