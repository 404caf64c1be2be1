//! Bytes to messages and back.
//!
//! [`next_message`] cuts the stream (RFC 4271 §4.1, §6.1), [`decode`] reads one message
//! (§6.2 to §6.4, UPDATE by RFC 7606), `encode_*` write them. Whatever arrives, the answer is a
//! value or the [`Notification`] to close the connection with; nothing here panics, loops or takes
//! more memory than a small multiple of the message.
//!
//! `zettabgp` reads and writes NLRI and simple attribute values, and only through `zetta`, where
//! each entrance says what is checked before it.

mod as_path;
mod attributes;
mod encode;
mod framing;
mod message;
mod nlri;
pub mod notification;
mod open;
mod reader;
mod update;
mod zetta;

pub use encode::{
    EncodeError, encode_announce, encode_end_of_rib, encode_keepalive, encode_notification,
    encode_route_refresh, encode_withdraw,
};
pub use framing::{HEADER_BYTES, MESSAGE_BYTES_MAX, MessageType, RawMessage, next_message};
pub use message::*;
pub use notification::Notification;
pub use open::encode_open;

use crate::types::Family;
use reader::Reader;

/// Reads the message that [`next_message`] cut out. `context` matters to UPDATE alone:
/// [`Negotiated::NOTHING`] serves until both OPENs are in.
///
/// # Errors
/// The NOTIFICATION that RFC 4271 §6 names; the session is over.
pub fn decode(raw: RawMessage<'_>, context: &Negotiated) -> Result<Message, Notification> {
    let too_short = || Notification::bad_message_length(raw.length());
    match raw.kind() {
        MessageType::Open => open::decode(raw.body()).map(Message::Open),
        MessageType::Update => update::decode(raw.body(), context).map(Message::Update),
        MessageType::Notification => {
            Notification::decode(raw.body()).map(Message::Notification).ok_or_else(too_short)
        }
        MessageType::KeepAlive => Ok(Message::KeepAlive),
        MessageType::RouteRefresh => {
            let (afi, safi) = route_refresh(raw.body()).ok_or_else(too_short)?;
            Ok(Message::RouteRefresh(Family::from_afi_safi(afi, safi)))
        }
    }
}

/// AFI and SAFI, between them an octet to be ignored (RFC 2918 §3).
fn route_refresh(body: &[u8]) -> Option<(u16, u8)> {
    let mut reader = Reader::new(body);
    let (afi, _reserved, safi) = (reader.u16()?, reader.u8()?, reader.u8()?);
    Some((afi, safi))
}

#[cfg(test)]
mod tests;
