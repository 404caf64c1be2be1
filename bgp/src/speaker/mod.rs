//! All peers.
mod order;
mod status;
pub use order::*;
pub use status::*;
