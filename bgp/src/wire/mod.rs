//! Bytes to messages and back.
pub mod notification;
mod message;
pub use message::*;
