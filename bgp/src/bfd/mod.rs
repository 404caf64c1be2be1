//! Bidirectional Forwarding Detection: whether packets still reach a neighbour, known within a
//! fraction of a second (RFC 5880 to 5883).
//!
//! Asynchronous mode, without authentication, echo and demand, as RFC 5881 asks of a router next
//! to its peer. Pure as the rest of the crate: packets and time in, packets and news out.

mod packet;
mod session;

pub use packet::{Diagnostic, Discarded, PACKET_BYTES, Packet, State};
pub use session::{News, Session, Timing};

#[cfg(test)]
mod tests;
