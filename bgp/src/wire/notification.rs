//! NOTIFICATION messages and their codes in words (RFC 4271 §4.5, §6; RFC 4486, RFC 6608, RFC 9003).

use core::fmt;

use serde::{Deserialize, Serialize};

use super::framing::{HEADER_BYTES, MESSAGE_BYTES_MAX};
use super::reader::Reader;
use crate::types::Family;

/// The most data that fits behind header, code and subcode.
const DATA_BYTES_MAX: usize = MESSAGE_BYTES_MAX - HEADER_BYTES - 2;

/// The longest text of RFC 9003 §2, in octets.
const SHUTDOWN_TEXT_BYTES_MAX: usize = u8::MAX as usize;

/// How much of the data [`fmt::Display`] shows, in octets.
const SHOWN_BYTES_MAX: usize = 32;

/// A NOTIFICATION: the last word on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode; zero: unspecific.
    pub subcode: u8,
    /// Data, as the code defines it.
    pub data: Vec<u8>,
}

/// Those that carry no data of their own, by their names in the RFCs.
impl Notification {
    /// 1/1 (RFC 4271 §6.1)
    pub const CONNECTION_NOT_SYNCHRONIZED: Self = Self::new(1, 1);
    /// 2/0: a parameter or capability that we know is malformed (RFC 4271 §6.2).
    pub const OPEN_UNSPECIFIC: Self = Self::new(2, 0);
    /// 2/2
    pub const BAD_PEER_AS: Self = Self::new(2, 2);
    /// 2/3
    pub const BAD_BGP_IDENTIFIER: Self = Self::new(2, 3);
    /// 2/4
    pub const UNSUPPORTED_OPTIONAL_PARAMETER: Self = Self::new(2, 4);
    /// 2/6
    pub const UNACCEPTABLE_HOLD_TIME: Self = Self::new(2, 6);
    /// 2/11 (RFC 9234 §4.2)
    pub const ROLE_MISMATCH: Self = Self::new(2, 11);
    /// 3/1 (RFC 4271 §6.3)
    pub const MALFORMED_ATTRIBUTE_LIST: Self = Self::new(3, 1);
    /// 3/10
    pub const INVALID_NETWORK_FIELD: Self = Self::new(3, 10);
    /// 4/0 (RFC 4271 §6.5)
    pub const HOLD_TIMER_EXPIRED: Self = Self::new(4, 0);
    /// 5/0 (RFC 4271 §6.6)
    pub const FSM_ERROR: Self = Self::new(5, 0);
    /// 5/1: a message that does not belong in OpenSent (RFC 6608).
    pub const UNEXPECTED_IN_OPEN_SENT: Self = Self::new(5, 1);
    /// 5/2: in OpenConfirm.
    pub const UNEXPECTED_IN_OPEN_CONFIRM: Self = Self::new(5, 2);
    /// 5/3: in Established.
    pub const UNEXPECTED_IN_ESTABLISHED: Self = Self::new(5, 3);
    /// 6/1 (RFC 4486)
    pub const MAXIMUM_PREFIXES_REACHED: Self = Self::new(6, 1);
    /// 6/2, without a text.
    pub const ADMINISTRATIVE_SHUTDOWN: Self = Self::new(6, 2);
    /// 6/3
    pub const PEER_DE_CONFIGURED: Self = Self::new(6, 3);
    /// 6/4, without a text.
    pub const ADMINISTRATIVE_RESET: Self = Self::new(6, 4);
    /// 6/5
    pub const CONNECTION_REJECTED: Self = Self::new(6, 5);
    /// 6/6
    pub const OTHER_CONFIGURATION_CHANGE: Self = Self::new(6, 6);
    /// 6/7
    pub const CONNECTION_COLLISION_RESOLUTION: Self = Self::new(6, 7);
    /// 6/8
    pub const OUT_OF_RESOURCES: Self = Self::new(6, 8);
    /// BFD says that no packet reaches the peer (RFC 9384).
    pub const BFD_DOWN: Self = Self::new(6, 10);

    /// 8/0 (RFC 9687)
    pub const SEND_HOLD_TIMER_EXPIRED: Self = Self::new(8, 0);

    /// Without data.
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new() }
    }
}

/// Those whose data the RFCs define.
impl Notification {
    /// With as much of `data` as fits in a message.
    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Self {
        Self { code, subcode, data: data.iter().copied().take(DATA_BYTES_MAX).collect() }
    }

    /// 1/2, data: the length that was wrong.
    pub fn bad_message_length(length: u16) -> Self {
        Self::with_data(1, 2, &length.to_be_bytes())
    }

    /// 1/3, data: the type nobody knows.
    pub fn bad_message_type(kind: u8) -> Self {
        Self::with_data(1, 3, &[kind])
    }

    /// 2/1, data: the version we speak.
    pub fn unsupported_version() -> Self {
        Self::with_data(2, 1, &4_u16.to_be_bytes())
    }

    /// 2/7, data: the capabilities we insist on, as they would stand in an OPEN (RFC 5492 §5).
    pub fn unsupported_capability(capabilities: &[u8]) -> Self {
        Self::with_data(2, 7, capabilities)
    }

    /// 6/1, data: the family and its limit (RFC 4486 §4).
    pub fn maximum_prefixes(family: Family, max: u32) -> Self {
        let (afi, safi) = family.afi_safi();
        let [afi_high, afi_low] = afi.to_be_bytes();
        let [a, b, c, d] = max.to_be_bytes();
        Self::with_data(6, 1, &[afi_high, afi_low, safi, a, b, c, d])
    }

    /// 7/1, data: the ROUTE-REFRESH whose length was wrong (RFC 7313 §5).
    pub fn invalid_refresh_length(message: &[u8]) -> Self {
        Self::with_data(7, 1, message)
    }

    /// 6/9 around the NOTIFICATION that says why: the session ends without a graceful restart
    /// (RFC 8538 §3).
    pub fn hard_reset(why: &Self) -> Self {
        let data: Vec<u8> = [why.code, why.subcode].into_iter().chain(why.data.clone()).collect();
        Self::with_data(6, 9, &data)
    }

    /// What is inside a Hard Reset, if anything (RFC 8538 §3).
    pub fn hard_reset_reason(&self) -> Option<Self> {
        let ((6, 9), [code, subcode, data @ ..]) = ((self.code, self.subcode), &*self.data) else {
            return None;
        };
        Some(Self::with_data(*code, *subcode, data))
    }

    /// 6/2 with a text for the other side's operator, of which the first 255 octets are sent
    /// (RFC 9003 §2).
    pub fn administrative_shutdown(text: &str) -> Self {
        Self::with_data(6, 2, &shutdown_data(text))
    }

    /// 6/4 with such a text.
    pub fn administrative_reset(text: &str) -> Self {
        Self::with_data(6, 4, &shutdown_data(text))
    }

    /// `None`: too short.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let (code, subcode) = (reader.u8()?, reader.u8()?);
        Some(Self::with_data(code, subcode, reader.rest()))
    }

    /// What the peer's operator wrote into 6/2 or 6/4; `None` when there is no such text, or its
    /// length or encoding is wrong. It is a stranger's: escape it before it meets a terminal.
    pub fn shutdown_text(&self) -> Option<&str> {
        if !matches!((self.code, self.subcode), (6, 2 | 4)) {
            return None;
        }
        let (len, text) = self.data.split_first()?;
        let text = text.get(..usize::from(*len))?;
        core::str::from_utf8(text).ok().filter(|text| !text.is_empty())
    }
}

/// A length octet and the text, cut between characters.
fn shutdown_data(text: &str) -> Vec<u8> {
    let end = text.floor_char_boundary(SHUTDOWN_TEXT_BYTES_MAX);
    let len = u8::try_from(end).unwrap_or(u8::MAX);
    core::iter::once(len).chain(text.bytes().take(end)).collect()
}

/// The name of an error code (IANA "BGP Error (Notification) Codes").
const fn code_name(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "Message Header Error",
        2 => "OPEN Message Error",
        3 => "UPDATE Message Error",
        4 => "Hold Timer Expired",
        5 => "Finite State Machine Error",
        6 => "Cease",
        7 => "ROUTE-REFRESH Message Error",
        8 => "Send Hold Timer Expired",
        _ => return None,
    })
}

/// The name of an error subcode, as the registry has it.
const fn subcode_name(code: u8, subcode: u8) -> Option<&'static str> {
    Some(match (code, subcode) {
        (1, 1) => "Connection Not Synchronized",
        (1, 2) => "Bad Message Length",
        (1, 3) => "Bad Message Type",
        (2, 1) => "Unsupported Version Number",
        (2, 2) => "Bad Peer AS",
        (2, 3) => "Bad BGP Identifier",
        (2, 4) => "Unsupported Optional Parameter",
        (2, 6) => "Unacceptable Hold Time",
        (2, 7) => "Unsupported Capability",
        (2, 11) => "Role Mismatch",
        (3, 1) => "Malformed Attribute List",
        (3, 2) => "Unrecognized Well-known Attribute",
        (3, 3) => "Missing Well-known Attribute",
        (3, 4) => "Attribute Flags Error",
        (3, 5) => "Attribute Length Error",
        (3, 6) => "Invalid ORIGIN Attribute",
        (3, 8) => "Invalid NEXT_HOP Attribute",
        (3, 9) => "Optional Attribute Error",
        (3, 10) => "Invalid Network Field",
        (3, 11) => "Malformed AS_PATH",
        (5, 1) => "Receive Unexpected Message in OpenSent State",
        (5, 2) => "Receive Unexpected Message in OpenConfirm State",
        (5, 3) => "Receive Unexpected Message in Established State",
        (6, 1) => "Maximum Number of Prefixes Reached",
        (6, 2) => "Administrative Shutdown",
        (6, 3) => "Peer De-configured",
        (6, 4) => "Administrative Reset",
        (6, 5) => "Connection Rejected",
        (6, 6) => "Other Configuration Change",
        (6, 7) => "Connection Collision Resolution",
        (6, 8) => "Out of Resources",
        (6, 9) => "Hard Reset",
        (6, 10) => "BFD Down",
        (7, 1) => "Invalid Message Length",
        _ => return None,
    })
}

/// `Cease/Administrative Shutdown (6/2): "moved to rack 4"`: names, numbers, then the operator's
/// text or else the first octets of the data in hexadecimal. Safe on a terminal, bounded in length.
impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, subcode, data } = self;
        match code_name(*code) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "error code {code}")?,
        }
        match subcode_name(*code, *subcode) {
            Some(name) => write!(f, "/{name}")?,
            None if *subcode == 0 => {}
            None => write!(f, "/subcode {subcode}")?,
        }
        write!(f, " ({code}/{subcode})")?;
        if let Some(text) = self.shutdown_text() {
            return write!(f, ": \"{}\"", text.escape_debug());
        }
        if data.is_empty() {
            return Ok(());
        }
        f.write_str(", data ")?;
        data.iter().take(SHOWN_BYTES_MAX).try_for_each(|octet| write!(f, "{octet:02x}"))?;
        if data.len() > SHOWN_BYTES_MAX {
            write!(f, "... ({} octets)", data.len())?;
        }
        Ok(())
    }
}

impl core::error::Error for Notification {}

#[cfg(test)]
mod tests;
