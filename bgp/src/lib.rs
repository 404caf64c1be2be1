//! The BGP speaker: wire, state machine, what each peer was promised.
//!
//! Pure: bytes, connections, orders and time go in, a list of actions comes out. No sockets, no
//! clock, no randomness but a seeded one. The shell that moves the bytes is `router`'s `bgp_io`.

#![forbid(unsafe_code)]

pub mod bfd;
pub mod bmp;
pub mod fsm;
pub mod mrt;
pub mod origin;
pub mod policy;
pub mod rib;
pub mod rng;
pub mod speaker;
pub mod time;
pub mod types;
pub mod wire;
