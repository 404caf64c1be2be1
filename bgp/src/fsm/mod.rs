//! The finite state machine of RFC 4271 §8.
//!
//! [`session`] is the machine, over one connection. [`peer`] runs up to two of them against each
//! other, as §6.8 asks, and turns what they want into bytes and connections. [`open`] writes our
//! OPEN and judges the peer's.

pub mod collision;
pub mod open;
pub mod peer;
pub mod session;

pub use peer::Peer;
pub(crate) use peer::hand_over::PeerRecord;
pub use peer::history::{Direction, History, Notifications, Run, Transition};
