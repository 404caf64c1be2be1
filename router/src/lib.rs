//! The IO shell of tidegate: it turns bytes and time into events, and actions into system calls.

pub mod bgp_io;
pub mod clock;
pub mod health_io;
pub mod link_io;
