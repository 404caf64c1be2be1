//! Bytes to messages and back.
//!
//! [`next_message`] cuts the stream (RFC 4271 §4.1, §6.1), [`decode`] reads one message
//! (§6.2 to §6.4, UPDATE by RFC 7606), `encode_*` write them. Whatever arrives, the answer is a
//! value or the [`Notification`] to close the connection with; nothing here panics, loops or takes
//! more memory than a small multiple of the message.
//!
//! `zettabgp` writes simple attribute values, and nothing else, through `zetta`, where
//! each entrance says what is checked before it.

mod as_path;
mod attributes;
mod block;
mod capability;
mod encode;
#[cfg(test)]
pub(crate) mod flat;
mod flowspec;
mod framing;
mod message;
mod negotiated;
mod nlri;
pub mod notification;
mod open;
mod reader;
mod update;
mod zetta;

pub use as_path::{AsPath, Segment, SegmentKind, prepend};
pub(crate) use attributes::{code, flag};
pub use block::{Attributes, AttributesRef};
pub use encode::{
    Announcer, EncodeError, encode_announce, encode_end_of_rib, encode_keepalive,
    encode_notification, encode_route_refresh, encode_withdraw, pack_withdrawals,
};
pub use flowspec::{FlowSpec, FlowSpecs};
pub(crate) use framing::count_messages;
pub use framing::{
    EXTENDED_MESSAGE_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX, MessageType, RawMessage,
    next_message,
};
pub use message::*;
pub use negotiated::Negotiated;
pub use nlri::{Nlri, Prefixes};
pub use notification::Notification;
pub use open::encode_open;
pub use update::{Announced, Update};

use crate::types::Family;

/// Reads the message that [`next_message`] cut out. `context` matters to UPDATE and ROUTE-REFRESH
/// alone: [`Negotiated::NOTHING`] serves until both OPENs are in.
///
/// # Errors
/// The NOTIFICATION that RFC 4271 §6 names; the session is over.
pub fn decode<'a>(raw: RawMessage<'a>, context: &Negotiated) -> Result<Message<'a>, Notification> {
    match raw.kind() {
        MessageType::Open => open::decode(raw.body()).map(Message::Open),
        MessageType::Update => update::decode(raw.body(), context).map(Message::Update),
        MessageType::Notification => Notification::decode(raw.body())
            .map(Message::Notification)
            .ok_or_else(|| Notification::bad_message_length(raw.length())),
        MessageType::KeepAlive => Ok(Message::KeepAlive),
        MessageType::RouteRefresh => decode_refresh(raw, context).map(Message::RouteRefresh),
    }
}

/// RFC 2918 §3, RFC 7313 §3.2 and §5. It would be longer only with the filters of RFC 5291, which
/// we never offer.
fn decode_refresh(raw: RawMessage<'_>, context: &Negotiated) -> Result<RouteRefresh, Notification> {
    let [afi_high, afi_low, subtype, safi] = *raw.body() else {
        return Err(match raw.body().get(2) {
            Some(1 | 2) if context.enhanced_refresh => {
                Notification::invalid_refresh_length(&framing::rebuild(raw))
            }
            _ => Notification::bad_message_length(raw.length()),
        });
    };
    let kind = match subtype {
        // Without RFC 7313 the octet is reserved, and to be ignored.
        _ if !context.enhanced_refresh => RefreshKind::Request,
        0 => RefreshKind::Request,
        1 => RefreshKind::Begin,
        2 => RefreshKind::End,
        other => RefreshKind::Unknown(other),
    };
    let family = Family::from_afi_safi(u16::from_be_bytes([afi_high, afi_low]), safi);
    Ok(RouteRefresh { family, kind })
}

#[cfg(test)]
mod tests;
