//! tidegate on real input: labs of network namespaces, golden frames, the demo.

pub mod lab;
