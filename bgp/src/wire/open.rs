//! OPEN (RFC 4271 §4.2, §6.2) with its capabilities (RFC 5492) and long lists of them (RFC 9072).

use core::net::Ipv4Addr;

use super::framing::MessageType;
use super::message::{Capability, Open};
use super::notification::Notification;
use super::reader::Reader;
use super::{capability, encode};
use crate::types::{HoldTime, RouterId};

const VERSION: u8 = 4;

/// Optional parameter: capabilities.
const CAPABILITIES: u8 = 2;

/// Parameter type and length that announce a two-octet length (RFC 9072 §2).
const EXTENDED: u8 = 255;

pub(super) fn decode(body: &[u8]) -> Result<Open, Notification> {
    let mut reader = Reader::new(body);
    // The version first: another one may look different from here on.
    if reader.u8() != Some(VERSION) {
        return Err(Notification::unsupported_version());
    }
    let (Some(my_as), Some(hold_time), Some(router_id), Some(parameters_len)) =
        (reader.u16(), reader.u16(), reader.u32(), reader.u8())
    else {
        return Err(Notification::OPEN_UNSPECIFIC);
    };
    if my_as == 0 {
        return Err(Notification::BAD_PEER_AS); // RFC 7607 §2
    }
    let hold_time = HoldTime::from_secs(hold_time).or(Err(Notification::UNACCEPTABLE_HOLD_TIME))?;
    let router_id =
        RouterId::new(Ipv4Addr::from_bits(router_id)).ok_or(Notification::BAD_BGP_IDENTIFIER)?;
    let capabilities = decode_parameters(reader, parameters_len)?;
    Ok(Open { my_as, hold_time, router_id, capabilities })
}

/// `rest` is what follows the one-octet length of the optional parameters.
fn decode_parameters(mut rest: Reader<'_>, len: u8) -> Result<Vec<Capability>, Notification> {
    let malformed = Notification::OPEN_UNSPECIFIC;
    // The length itself is not looked at then, only that it is not zero (RFC 9072 §2).
    let extended = len != 0 && rest.rest().first() == Some(&EXTENDED);
    let expected = if extended { rest.u8().and(rest.u16()) } else { Some(u16::from(len)) };
    if expected.map(usize::from) != Some(rest.rest().len()) {
        return Err(malformed);
    }
    let mut capabilities = Vec::new();
    while !rest.is_empty() {
        let kind = rest.u8();
        let len = if extended { rest.u16() } else { rest.u8().map(u16::from) };
        let (Some(kind), Some(value)) = (kind, len.and_then(|len| rest.take(len.into()))) else {
            return Err(malformed);
        };
        if kind != CAPABILITIES {
            return Err(Notification::UNSUPPORTED_OPTIONAL_PARAMETER);
        }
        decode_capabilities(value, &mut capabilities)?;
    }
    Ok(capabilities)
}

fn decode_capabilities(value: &[u8], found: &mut Vec<Capability>) -> Result<(), Notification> {
    let mut reader = Reader::new(value);
    while !reader.is_empty() {
        let code = reader.u8();
        let value = reader.u8().and_then(|len| reader.take(len.into()));
        let (Some(code), Some(value)) = (code, value) else {
            return Err(Notification::OPEN_UNSPECIFIC);
        };
        found.push(capability::decode(code, value)?);
    }
    Ok(())
}

/// An OPEN with all capabilities in one parameter, lengthened by RFC 9072 only when it must be.
///
/// What cannot be written is left out: a [`Capability::Unknown`] of more than 255 octets, and
/// capabilities beyond what fits in a message.
pub fn encode_open(open: &Open) -> Vec<u8> {
    // Header, fixed part and the extended lengths.
    const ROOM: usize = super::MESSAGE_BYTES_MAX - 29 - 6;
    let mut capabilities = Vec::new();
    for capability in &open.capabilities {
        let encoded = capability::encode(capability);
        if capabilities.len() + encoded.len() <= ROOM {
            capabilities.extend(encoded);
        }
    }
    let mut body = vec![VERSION];
    body.extend(open.my_as.to_be_bytes());
    body.extend(open.hold_time.as_secs().to_be_bytes());
    body.extend(open.router_id.get().to_be_bytes());
    match u8::try_from(capabilities.len()) {
        Ok(0) => body.push(0),
        Ok(len @ ..=253) => body.extend([len + 2, CAPABILITIES, len]),
        _ => {
            let len = u16::try_from(capabilities.len()).unwrap_or(u16::MAX);
            body.extend([EXTENDED, EXTENDED]);
            body.extend((len + 3).to_be_bytes());
            body.push(CAPABILITIES);
            body.extend(len.to_be_bytes());
        }
    }
    body.extend(capabilities);
    encode::message(MessageType::Open, &body)
}

#[cfg(test)]
mod tests;
