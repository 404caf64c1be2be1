//! Every entrance to the crate `zettabgp`, each with what is checked before it.
//!
//! The crate panics or loops on some malformed input, accepts wrong lengths, and reports errors
//! without a code. So it never sees a message, a header, an attribute header, an AS_PATH or a next
//! hop: only the octets of one prefix or of one attribute value whose length is right. On the way
//! out it writes prefixes and values; flags and lengths are ours.

use core::net::{IpAddr, Ipv4Addr};

use zettabgp::afi::{BgpAddrV4, BgpAddrV6};
use zettabgp::message::attributes::BgpAttr;
use zettabgp::message::attributes::community::{
    BgpCommunity, BgpCommunityList, BgpLargeCommunity, BgpLargeCommunityList,
};
use zettabgp::message::attributes::localpref::BgpLocalpref;
use zettabgp::message::attributes::med::BgpMED;
use zettabgp::message::attributes::origin::{BgpAttrOrigin, BgpOrigin};
use zettabgp::{BgpSessionParams, BgpTransportMode};

use super::message::Origin;
use crate::types::{Community, Family, LargeCommunity, Prefix};

/// What the value encoders want to know. IPv4 whatever carries the session: the other mode changes
/// the wire format. No guessing of path identifiers, which misreads a default route.
fn session_params() -> BgpSessionParams {
    let mut params =
        BgpSessionParams::new(0, 0, BgpTransportMode::IPv4, Ipv4Addr::UNSPECIFIED, Vec::new());
    params.fuzzy_pathid = false;
    params
}

/// One prefix of `bits` bits. Checked first: the bits against the family, and that `octets` holds
/// exactly those bits (lengths of 250 and more overflow inside). Host bits are cleared after it.
pub(super) fn decode_prefix(family: Family, bits: u8, octets: &[u8]) -> Option<Prefix> {
    let fits = |bits_max| bits <= bits_max && octets.len() == usize::from(bits).div_ceil(8);
    let addr = match family {
        Family::Ipv4Unicast if fits(32) => {
            IpAddr::V4(BgpAddrV4::from_bits(bits, octets).ok()?.0.addr)
        }
        Family::Ipv6Unicast if fits(128) => {
            IpAddr::V6(BgpAddrV6::from_bits(bits, octets).ok()?.0.addr)
        }
        _ => return None,
    };
    Prefix::new(addr, bits)
}

/// Appends length and octets of one prefix. Checked first: the buffer holds the longest prefix (a
/// short one makes the crate panic); host bits, which it would send, are zero in a [`Prefix`].
pub(super) fn encode_prefix(prefix: Prefix, out: &mut Vec<u8>) {
    let mut octets = [0; 16];
    let written = match prefix.addr() {
        IpAddr::V4(addr) => BgpAddrV4::new(addr, prefix.bits()).to_bits(&mut octets),
        IpAddr::V6(addr) => BgpAddrV6::new(addr, prefix.bits()).to_bits(&mut octets),
    };
    let len = written.map_or(0, |(_bits, len)| len);
    assert_eq!(len, usize::from(prefix.bits()).div_ceil(8), "zettabgp wrote {prefix} short");
    out.push(prefix.bits());
    out.extend(octets.iter().take(len));
}

/// The value of an attribute, whose length is known. Checked first: the buffer has that length, as
/// a short one makes the crate panic. Attribute header and flags are not the crate's: it sends
/// LARGE_COMMUNITIES with the Partial bit.
fn encode_value(attribute: &impl BgpAttr, len: usize) -> Vec<u8> {
    let mut value = vec![0; len];
    let written = attribute.encode_to(&session_params(), &mut value).unwrap_or(0);
    assert_eq!(written, len, "zettabgp wrote {attribute} short");
    value
}

/// One octet.
pub(super) fn encode_origin(origin: Origin) -> Vec<u8> {
    let origin = match origin {
        Origin::Igp => BgpAttrOrigin::Igp,
        Origin::Egp => BgpAttrOrigin::Egp,
        Origin::Incomplete => BgpAttrOrigin::Incomplete,
    };
    encode_value(&BgpOrigin::new(origin), 1)
}

/// Four octets.
pub(super) fn encode_med(med: u32) -> Vec<u8> {
    encode_value(&BgpMED::new(med), 4)
}

/// Four octets.
pub(super) fn encode_local_pref(local_pref: u32) -> Vec<u8> {
    encode_value(&BgpLocalpref::new(local_pref), 4)
}

/// Four octets each, sorted, without repeats.
pub(super) fn encode_communities(communities: &[Community]) -> Vec<u8> {
    let list = communities.iter().map(|community| BgpCommunity::new(community.0)).collect();
    let list = BgpCommunityList::from_vec(list);
    encode_value(&list, list.value.len() * 4)
}

/// Twelve octets each, sorted, without repeats.
pub(super) fn encode_large_communities(communities: &[LargeCommunity]) -> Vec<u8> {
    let each = communities.iter().map(|LargeCommunity([ga, ldp1, ldp2])| BgpLargeCommunity {
        ga: *ga,
        ldp1: *ldp1,
        ldp2: *ldp2,
    });
    let list = BgpLargeCommunityList { value: each.collect() };
    encode_value(&list, list.value.len() * 12)
}

#[cfg(test)]
mod tests;
