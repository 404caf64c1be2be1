//! Values to messages of at most 4096 octets. OPEN has a module of its own.

use super::as_path::{self, Width};
use super::attributes::{category, code, flag};
use super::framing::{HEADER_BYTES, MARKER, MESSAGE_BYTES_MAX, MessageType};
use super::message::{Attributes, Negotiated, NextHop};
use super::notification::Notification;
use super::{nlri, zetta};
use crate::types::{Family, Prefix};

/// What an UPDATE has besides header, attributes and prefixes: its two lengths.
const UPDATE_FIXED_BYTES: usize = 4;

/// What MP_REACH_NLRI and MP_UNREACH_NLRI begin with: flags, type, two octets of length, AFI, SAFI.
const MP_FIXED_BYTES: usize = 4 + 3;

/// Routes that cannot be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// No prefix would fit beside them.
    #[error("the path attributes take {bytes} octets: no message of 4096 holds them and a prefix")]
    AttributesTooLong {
        /// Encoded size of all attributes.
        bytes: usize,
    },
    /// IPv4 unicast wants an IPv4 next hop, IPv6 unicast an IPv6 one.
    #[error("a next hop of another family than {0}")]
    NextHopFamily(Family),
}

/// Header and body. The caller keeps the body short enough.
pub(super) fn message(kind: MessageType, body: &[u8]) -> Vec<u8> {
    let bytes = HEADER_BYTES + body.len();
    assert!(bytes <= MESSAGE_BYTES_MAX, "a {kind:?} of {bytes} octets");
    let mut message = MARKER.to_vec();
    message.extend(u16_of(bytes));
    message.push(kind.code());
    message.extend(body);
    message
}

/// A length field. What exceeds it would exceed a message as well, and is refused there.
fn u16_of(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// A KEEPALIVE (RFC 4271 §4.4).
pub fn encode_keepalive() -> Vec<u8> {
    message(MessageType::KeepAlive, &[])
}

/// A NOTIFICATION with all its data, as far as a message holds them (RFC 4271 §4.5).
pub fn encode_notification(notification: &Notification) -> Vec<u8> {
    let Notification { code, subcode, data } =
        Notification::with_data(notification.code, notification.subcode, &notification.data);
    let mut body = vec![code, subcode];
    body.extend(data);
    message(MessageType::Notification, &body)
}

/// A ROUTE-REFRESH: "send me your routes of this family again" (RFC 2918 §3).
pub fn encode_route_refresh(family: Family) -> Vec<u8> {
    let (afi, safi) = family.afi_safi();
    let [afi_high, afi_low] = afi.to_be_bytes();
    message(MessageType::RouteRefresh, &[afi_high, afi_low, 0, safi])
}

/// UPDATEs that announce those of `prefixes` that are of `family`, in as few messages as their
/// order allows; none when there are none.
///
/// The attributes go out as they are, with two exceptions: LOCAL_PREF stays inside the AS (RFC 4271
/// §5.1.5), and a peer of two-octet AS numbers gets AS_TRANS and AS4_PATH (RFC 6793 §4.2.2).
///
/// # Errors
/// [`EncodeError`]: nothing is sent for these routes, and their owner has to hear why.
pub fn encode_announce(
    family: Family,
    attributes: &Attributes,
    prefixes: &[Prefix],
    context: &Negotiated,
) -> Result<Vec<Vec<u8>>, EncodeError> {
    let next_hop = match (family, attributes.next_hop) {
        (Family::Ipv4Unicast, NextHop::V4(_)) => Vec::new(),
        (Family::Ipv6Unicast, NextHop::V6 { global, link_local }) => {
            [Some(global), link_local].into_iter().flatten().flat_map(|a| a.octets()).collect()
        }
        (Family::Ipv4Unicast, NextHop::V6 { .. }) | (Family::Ipv6Unicast, NextHop::V4(_)) => {
            return Err(EncodeError::NextHopFamily(family));
        }
    };
    let shared = encode_attributes(attributes, context);
    let bytes = match family {
        Family::Ipv4Unicast => shared.len(),
        // Length of the next hop, next hop, reserved octet.
        Family::Ipv6Unicast => MP_FIXED_BYTES + 1 + next_hop.len() + 1 + shared.len(),
    };
    let room = (MESSAGE_BYTES_MAX - HEADER_BYTES - UPDATE_FIXED_BYTES)
        .checked_sub(bytes)
        .filter(|room| *room >= nlri::prefix_bytes_max(family))
        .ok_or(EncodeError::AttributesTooLong { bytes })?;
    let fields = nlri::encode(family, prefixes, room).into_iter();
    let update = |field: Vec<u8>| match family {
        Family::Ipv4Unicast => update(&[], &shared, &field),
        Family::Ipv6Unicast => {
            let len = u8::try_from(next_hop.len()).unwrap_or(u8::MAX);
            let after_safi = [&[len], next_hop.as_slice(), &[0], &field].concat();
            // First of all attributes (RFC 7606 §5.1).
            let attributes = [mp(code::MP_REACH_NLRI, family, &after_safi), shared.clone()];
            update(&[], &attributes.concat(), &[])
        }
    };
    Ok(fields.map(update).collect())
}

/// UPDATEs that withdraw those of `prefixes` that are of `family`, in as few messages as their
/// order allows; none when there are none.
pub fn encode_withdraw(family: Family, prefixes: &[Prefix]) -> Vec<Vec<u8>> {
    let room = MESSAGE_BYTES_MAX - HEADER_BYTES - UPDATE_FIXED_BYTES;
    match family {
        Family::Ipv4Unicast => {
            let fields = nlri::encode(family, prefixes, room).into_iter();
            fields.map(|field| update(&field, &[], &[])).collect()
        }
        Family::Ipv6Unicast => {
            let fields = nlri::encode(family, prefixes, room - MP_FIXED_BYTES).into_iter();
            let unreach = |field: Vec<u8>| mp(code::MP_UNREACH_NLRI, family, &field);
            fields.map(|field| update(&[], &unreach(field), &[])).collect()
        }
    }
}

/// The End-of-RIB marker of a family (RFC 4724 §2).
pub fn encode_end_of_rib(family: Family) -> Vec<u8> {
    match family {
        Family::Ipv4Unicast => update(&[], &[], &[]),
        Family::Ipv6Unicast => update(&[], &mp(code::MP_UNREACH_NLRI, family, &[]), &[]),
    }
}

fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let lengths = [u16_of(withdrawn.len()), u16_of(attributes.len())];
    let [withdrawn_len, attributes_len] = &lengths;
    let body = [withdrawn_len, withdrawn, attributes_len, attributes, nlri].concat();
    message(MessageType::Update, &body)
}

/// MP_REACH_NLRI or MP_UNREACH_NLRI, always with two octets of length: [`MP_FIXED_BYTES`] counts on
/// it.
fn mp(code: u8, family: Family, after_safi: &[u8]) -> Vec<u8> {
    let (afi, safi) = family.afi_safi();
    let mut attribute = vec![flag::OPTIONAL | flag::EXTENDED_LENGTH, code];
    attribute.extend(u16_of(3 + after_safi.len()));
    attribute.extend(afi.to_be_bytes());
    attribute.push(safi);
    attribute.extend(after_safi);
    attribute
}

/// All attributes but MP_REACH_NLRI, in the order of their type codes.
fn encode_attributes(attributes: &Attributes, context: &Negotiated) -> Vec<u8> {
    let mut out = Vec::new();
    let width = Width::of(context.four_octet_as);
    push(&mut out, code::ORIGIN, &zetta::encode_origin(attributes.origin));
    push(&mut out, code::AS_PATH, &as_path::encode(&attributes.as_path, width));
    if let NextHop::V4(addr) = attributes.next_hop {
        push(&mut out, code::NEXT_HOP, &zetta::encode_next_hop(addr));
    }
    if let Some(med) = attributes.med {
        push(&mut out, code::MULTI_EXIT_DISC, &zetta::encode_med(med));
    }
    if let Some(local_pref) = attributes.local_pref.filter(|_| !context.external) {
        push(&mut out, code::LOCAL_PREF, &zetta::encode_local_pref(local_pref));
    }
    if !attributes.communities.is_empty() {
        push(&mut out, code::COMMUNITIES, &zetta::encode_communities(&attributes.communities));
    }
    if width == Width::Two
        && let Some(path) = as_path::encode_as4_path(&attributes.as_path)
    {
        push(&mut out, code::AS4_PATH, &path);
    }
    if !attributes.large_communities.is_empty() {
        let value = zetta::encode_large_communities(&attributes.large_communities);
        push(&mut out, code::LARGE_COMMUNITIES, &value);
    }
    out
}

/// One attribute, with the flags of its category and one octet of length if that suffices.
fn push(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    let flags = category(code).unwrap_or(flag::OPTIONAL);
    if let Ok(len) = u8::try_from(value.len()) {
        out.extend([flags, code, len]);
    } else {
        out.extend([flags | flag::EXTENDED_LENGTH, code]);
        out.extend(u16_of(value.len()));
    }
    out.extend(value);
}

#[cfg(test)]
mod tests;
