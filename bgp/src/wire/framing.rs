//! The message header (RFC 4271 §4.1) and its errors (§6.1).

use super::notification::Notification;
use super::reader::Reader;

/// Marker, length and type.
pub const HEADER_BYTES: usize = 19;

/// The longest message, header included, unless RFC 8654 was negotiated.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// The longest message where RFC 8654 was negotiated; OPEN and KEEPALIVE stay at
/// [`MESSAGE_BYTES_MAX`].
pub const EXTENDED_MESSAGE_BYTES_MAX: usize = 65_535;

/// Sixteen octets of ones, once meant for authentication.
pub(super) const MARKER: [u8; 16] = [0xff; 16];

/// Message types with their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    KeepAlive,
    /// 5 (RFC 2918)
    RouteRefresh,
}

impl MessageType {
    /// The type of this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::KeepAlive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    /// The name in the RFCs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Update => "UPDATE",
            Self::Notification => "NOTIFICATION",
            Self::KeepAlive => "KEEPALIVE",
            Self::RouteRefresh => "ROUTE-REFRESH",
        }
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::KeepAlive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// Whether a message of this type can have this length, header included (§6.1, RFC 8654 §4).
    /// What a ROUTE-REFRESH of another length is answered with depends on its subtype
    /// (RFC 7313 §5).
    const fn allows(self, length: u16) -> bool {
        match self {
            Self::Open => length >= 29 && length as usize <= MESSAGE_BYTES_MAX,
            Self::Update | Self::RouteRefresh => length >= 23,
            Self::Notification => length >= 21,
            Self::KeepAlive => length == 19,
        }
    }
}

/// A message whose header is sound and whose body is complete but unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    kind: MessageType,
    length: u16,
    body: &'a [u8],
}

impl<'a> RawMessage<'a> {
    /// What the header says it is.
    pub const fn kind(self) -> MessageType {
        self.kind
    }

    /// Octets on the wire, header included.
    pub const fn length(self) -> u16 {
        self.length
    }

    /// What follows the header.
    pub const fn body(self) -> &'a [u8] {
        self.body
    }
}

/// The message as it came, header included.
pub(super) fn rebuild(raw: RawMessage<'_>) -> Vec<u8> {
    [&MARKER[..], &raw.length.to_be_bytes(), &[raw.kind.code()], raw.body].concat()
}

/// The first message in `buffer` and the number of octets it occupies there; `None`: it is not
/// complete yet. `bytes_max`: the longest message of the session
/// ([`Negotiated::message_bytes_max`](super::Negotiated::message_bytes_max)). A header is judged as
/// soon as it is there, so no buffer needs more than that.
///
/// # Errors
/// 1/1, 1/2 or 1/3: where the next message begins is unknown for good.
pub fn next_message(
    buffer: &[u8],
    bytes_max: usize,
) -> Result<Option<(RawMessage<'_>, usize)>, Notification> {
    // Something that is not BGP is told so at its first octet.
    if buffer.iter().zip(&MARKER).any(|(found, expected)| found != expected) {
        return Err(Notification::CONNECTION_NOT_SYNCHRONIZED);
    }
    let mut reader = Reader::new(buffer);
    let (Some(_marker), Some(length), Some(code)) =
        (reader.array::<16>(), reader.u16(), reader.u8())
    else {
        return Ok(None);
    };
    let bytes = usize::from(length);
    if !(HEADER_BYTES..=bytes_max).contains(&bytes) {
        return Err(Notification::bad_message_length(length));
    }
    let kind = MessageType::from_code(code).ok_or_else(|| Notification::bad_message_type(code))?;
    if !kind.allows(length) {
        return Err(Notification::bad_message_length(length));
    }
    let body = reader.take(bytes - HEADER_BYTES);
    Ok(body.map(|body| (RawMessage { kind, length, body }, bytes)))
}

/// How many messages of ours these are.
pub(crate) fn count_messages(mut messages: &[u8]) -> u64 {
    let mut count = 0;
    while let Some([high, low]) = messages.get(16..18) {
        let len = usize::from(u16::from_be_bytes([*high, *low])).max(HEADER_BYTES);
        messages = messages.get(len..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests;
