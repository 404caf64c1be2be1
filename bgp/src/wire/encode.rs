//! Values to messages. OPEN has a module of its own.

use super::as_path::{self, AsPath};
use super::attributes::{Attribute, category, code, flag};
use super::block::{self, Attributes, AttributesRef};
use super::framing::{HEADER_BYTES, MARKER, MESSAGE_BYTES_MAX, MessageType};
use super::message::{NextHop, RefreshKind};
use super::negotiated::Negotiated;
use super::nlri;
use super::notification::Notification;
use super::reader::Reader;
use crate::types::{Asn, ExtendedCommunity, Family, PathId, Prefix};

/// What an UPDATE has besides header, attributes and prefixes: its two lengths.
const UPDATE_FIXED_BYTES: usize = 4;

/// Routes that cannot be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// No prefix would fit beside them.
    #[error("the path attributes take {bytes} octets: no message of {max} holds them and a prefix")]
    AttributesTooLong {
        /// Encoded size of all attributes.
        bytes: usize,
        /// The longest message of the session.
        max: usize,
    },
    /// The next hop is missing, or of a family that the session does not allow for these prefixes:
    /// IPv4 prefixes take an IPv6 one only where RFC 8950 was negotiated.
    #[error("no next hop that {0} prefixes can have on this session")]
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

/// A ROUTE-REFRESH (RFC 2918 §3). Other kinds than a request only where RFC 7313 was negotiated.
pub fn encode_route_refresh(family: Family, kind: RefreshKind) -> Vec<u8> {
    let (afi, safi) = family.afi_safi();
    let [afi_high, afi_low] = afi.to_be_bytes();
    let subtype = match kind {
        RefreshKind::Request => 0,
        RefreshKind::Begin => 1,
        RefreshKind::End => 2,
        RefreshKind::Unknown(subtype) => subtype,
    };
    message(MessageType::RouteRefresh, &[afi_high, afi_low, subtype, safi])
}

/// The End-of-RIB marker of a family (RFC 4724 §2).
pub fn encode_end_of_rib(family: Family) -> Vec<u8> {
    let mut body = vec![0, 0];
    if family == Family::Ipv4Unicast {
        body.extend([0, 0]);
    } else {
        let (afi, safi) = family.afi_safi();
        let [afi_high, afi_low] = afi.to_be_bytes();
        body.extend([0, 6, flag::OPTIONAL, code::MP_UNREACH_NLRI, 3, afi_high, afi_low, safi]);
    }
    message(MessageType::Update, &body)
}

/// Everything in the UPDATEs of one attribute block but the prefixes: made once, for however many
/// prefixes and peers with the same context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcer(Frame);

impl Announcer {
    /// For routes of `family` with this block (see [`AttributesRef`]) on a session.
    ///
    /// The attributes go out as they are, with these exceptions: LOCAL_PREF, ORIGINATOR_ID and
    /// CLUSTER_LIST stay inside the AS (RFC 4271 §5.1.5, RFC 4456 §8); a peer of two-octet AS
    /// numbers gets AS_TRANS, AS4_PATH and AS4_AGGREGATOR (RFC 6793 §4.2.2); attributes that we do
    /// not know get the Partial bit (RFC 4271 §5); the next hop moves into MP_REACH_NLRI where the
    /// family wants it.
    ///
    /// # Errors
    /// [`EncodeError`]: nothing is sent for these routes, and their owner has to hear why.
    pub fn new(family: Family, block: &[u8], context: &Negotiated) -> Result<Self, EncodeError> {
        let next_hop = match (family, AttributesRef::new(block).next_hop) {
            (Family::Ipv4Unicast, Some(next_hop @ NextHop::V4(_)))
            | (Family::Ipv6Unicast, Some(next_hop @ NextHop::V6 { .. })) => next_hop,
            (Family::Ipv4Unicast, Some(next_hop @ NextHop::V6 { .. }))
                if context.extended_next_hop.contains(family) =>
            {
                next_hop
            }
            _ => return Err(EncodeError::NextHopFamily(family)),
        };
        let in_mp = matches!(next_hop, NextHop::V6 { .. });
        let attributes = for_session(block, context, !in_mp);
        let mut frame = Frame::new(family, context);
        frame.head.extend([0, 0]); // No withdrawn routes.
        if in_mp {
            frame.begin_attributes();
            frame.begin_mp(code::MP_REACH_NLRI);
            let next_hop = block::next_hop_octets(next_hop);
            frame.head.push(u8::try_from(next_hop.len()).unwrap_or(u8::MAX));
            frame.head.extend(next_hop);
            frame.head.push(0); // Reserved.
            frame.tail = attributes; // RFC 7606 §5.1: MP_REACH_NLRI comes first of all.
        } else {
            frame.head.extend(u16_of(attributes.len()));
            frame.head.extend(attributes);
        }
        let fixed = frame.head.len() + frame.tail.len();
        if fixed + nlri::prefix_bytes_max(family, frame.with_path_id) > frame.bytes_max {
            let bytes = fixed - HEADER_BYTES - UPDATE_FIXED_BYTES;
            return Err(EncodeError::AttributesTooLong { bytes, max: frame.bytes_max });
        }
        Ok(Self(frame))
    }

    /// Appends UPDATEs that announce these routes to `out`, as few as their order allows; how many.
    /// Prefixes of other families are left out.
    pub fn pack(
        &self,
        routes: impl IntoIterator<Item = (PathId, Prefix)>,
        out: &mut Vec<u8>,
    ) -> usize {
        self.0.pack(routes, out)
    }
}

/// Appends UPDATEs that withdraw these routes to `out`, as few as their order allows; how many.
/// Prefixes of other families are left out.
pub fn pack_withdrawals(
    family: Family,
    context: &Negotiated,
    routes: impl IntoIterator<Item = (PathId, Prefix)>,
    out: &mut Vec<u8>,
) -> usize {
    let mut frame = Frame::new(family, context);
    if family == Family::Ipv4Unicast {
        frame.begin_counted(false);
        frame.tail = vec![0, 0]; // No path attributes.
    } else {
        frame.head.extend([0, 0]); // No withdrawn routes in the classic field.
        frame.begin_attributes();
        frame.begin_mp(code::MP_UNREACH_NLRI);
    }
    frame.pack(routes, out)
}

/// An UPDATE without its prefixes: what stands before and behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    family: Family,
    with_path_id: bool,
    bytes_max: usize,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Length fields in the head that count the prefixes.
    lengths: Vec<LengthField>,
}

/// Two octets that count what follows them, up to the tail or to the end of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LengthField {
    at: usize,
    counts_tail: bool,
}

impl Frame {
    /// Marker, length and type.
    fn new(family: Family, context: &Negotiated) -> Self {
        let mut head = Vec::with_capacity(128);
        head.extend(MARKER);
        head.extend([0, 0, MessageType::Update.code()]);
        let with_path_id = context.add_path_send.contains(family);
        let bytes_max = context.message_bytes_max();
        Self { family, with_path_id, bytes_max, head, tail: Vec::new(), lengths: Vec::new() }
    }

    fn begin_counted(&mut self, counts_tail: bool) {
        self.lengths.push(LengthField { at: self.head.len(), counts_tail });
        self.head.extend([0, 0]);
    }

    fn begin_attributes(&mut self) {
        self.begin_counted(true);
    }

    /// MP_REACH_NLRI or MP_UNREACH_NLRI up to its SAFI.
    fn begin_mp(&mut self, code: u8) {
        let (afi, safi) = self.family.afi_safi();
        self.head.extend([flag::OPTIONAL | flag::EXTENDED_LENGTH, code]);
        self.begin_counted(false);
        self.head.extend(afi.to_be_bytes());
        self.head.push(safi);
    }

    fn pack(&self, routes: impl IntoIterator<Item = (PathId, Prefix)>, out: &mut Vec<u8>) -> usize {
        let room = self.bytes_max
            - self.tail.len()
            - nlri::prefix_bytes_max(self.family, self.with_path_id);
        let mut messages = 0;
        let mut begun = None;
        for (path_id, prefix) in routes {
            if prefix.family() != self.family {
                continue;
            }
            let begin = *begun.get_or_insert_with(|| {
                messages += 1;
                out.extend_from_slice(&self.head);
                out.len() - self.head.len()
            });
            nlri::encode(self.with_path_id, path_id, prefix, out);
            if out.len() - begin > room {
                self.finish(begin, out);
                begun = None;
            }
        }
        if let Some(begin) = begun {
            self.finish(begin, out);
        }
        messages
    }

    /// The tail, and the lengths of the message that begins at `begin`.
    fn finish(&self, begin: usize, out: &mut Vec<u8>) {
        let before_tail = out.len() - begin;
        out.extend_from_slice(&self.tail);
        let Some((_, message)) = out.split_at_mut_checked(begin) else { return };
        let end = message.len();
        patch(message, MARKER.len(), end);
        for LengthField { at, counts_tail } in &self.lengths {
            let counted = if *counts_tail { end } else { before_tail };
            patch(message, *at, counted - at - 2);
        }
    }
}

fn patch(message: &mut [u8], at: usize, len: usize) {
    if let Some(field) = message.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = u16_of(len);
    }
}

/// The attributes of a block as this session wants them, but MP_REACH_NLRI.
fn for_session(block: &[u8], context: &Negotiated, with_next_hop: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 16);
    for attribute in block::attributes(block) {
        let Attribute { flags, code, value, whole } = attribute;
        match code {
            code::NEXT_HOP if !with_next_hop => {}
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST if context.external => {}
            code::AS_PATH if !context.four_octet_as => {
                block::push(&mut out, code, &as_path::narrow(AsPath::new(value)));
                if let Some(as4_path) = as_path::encode_as4_path(AsPath::new(value)) {
                    block::push(&mut out, code::AS4_PATH, &as4_path);
                }
            }
            code::AGGREGATOR if !context.four_octet_as => push_narrow_aggregator(&mut out, value),
            // RFC 4360 §6
            code::EXTENDED_COMMUNITIES if context.external => push_transitive(&mut out, value),
            known if category(known).is_some() => out.extend(whole),
            unknown => block::push_with_flags(&mut out, flags | flag::PARTIAL, unknown, value),
        }
    }
    out
}

/// EXTENDED_COMMUNITIES without those that stay in the AS; nothing if that leaves none.
fn push_transitive(out: &mut Vec<u8>, value: &[u8]) {
    let (all, _) = value.as_chunks::<8>();
    let leaves = |octets: &&[u8; 8]| ExtendedCommunity(**octets).is_transitive();
    let left: Vec<u8> = all.iter().filter(leaves).flatten().copied().collect();
    if !left.is_empty() {
        block::push(out, code::EXTENDED_COMMUNITIES, &left);
    }
}

/// AGGREGATOR with two octets of AS, and AS4_AGGREGATOR if that is too few (RFC 6793 §4.2.2).
fn push_narrow_aggregator(out: &mut Vec<u8>, value: &[u8]) {
    let mut reader = Reader::new(value);
    let asn = reader.u32().unwrap_or(0);
    let narrow = u16::try_from(asn).ok();
    let value_2 = [&narrow.unwrap_or(Asn::TRANS).to_be_bytes(), reader.rest()].concat();
    block::push(out, code::AGGREGATOR, &value_2);
    if narrow.is_none() {
        block::push(out, code::AS4_AGGREGATOR, value);
    }
}

/// UPDATEs that announce those of `prefixes` that are of `family`; none when there are none. For
/// many prefixes, [`Announcer`] does the same without a vector for each message.
///
/// # Errors
/// As [`Announcer::new`].
pub fn encode_announce(
    family: Family,
    attributes: &Attributes,
    prefixes: &[Prefix],
    context: &Negotiated,
) -> Result<Vec<Vec<u8>>, EncodeError> {
    let announcer = Announcer::new(family, &attributes.to_block(), context)?;
    let mut out = Vec::new();
    announcer.pack(prefixes.iter().map(|prefix| (PathId(0), *prefix)), &mut out);
    Ok(split(&out))
}

/// UPDATEs that withdraw those of `prefixes` that are of `family`; none when there are none.
pub fn encode_withdraw(family: Family, prefixes: &[Prefix], context: &Negotiated) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let routes = prefixes.iter().map(|prefix| (PathId(0), *prefix));
    pack_withdrawals(family, context, routes, &mut out);
    split(&out)
}

/// Messages of ours, one by one.
fn split(mut messages: &[u8]) -> Vec<Vec<u8>> {
    let mut each = Vec::new();
    while let Some(len) = messages.get(16..18) {
        let len = len.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
        let Some((message, rest)) = messages.split_at_checked(len) else { break };
        each.push(message.to_vec());
        messages = rest;
    }
    each
}

#[cfg(test)]
mod tests;
