//! Every entrance to the crate `zettabgp`, each with what is checked before it.
//!
//! The crate panics or loops on some malformed input, accepts wrong lengths, and reports errors
//! without a code; and what it decodes it copies. So it never sees an octet that came from a peer:
//! an UPDATE is judged and read in place. On the way out it writes the values of the simple
//! attributes; flags, lengths, paths and next hops are ours. What was found in it is tested in
//! `bgp/tests/zettabgp.rs`, its codec of prefixes against ours in `nlri`.

use core::net::Ipv4Addr;

use zettabgp::message::attributes::BgpAttr;
use zettabgp::message::attributes::community::{
    BgpCommunity, BgpCommunityList, BgpLargeCommunity, BgpLargeCommunityList,
};
use zettabgp::message::attributes::localpref::BgpLocalpref;
use zettabgp::message::attributes::med::BgpMED;
use zettabgp::message::attributes::origin::{BgpAttrOrigin, BgpOrigin};
use zettabgp::{BgpSessionParams, BgpTransportMode};

use super::message::Origin;
use crate::types::{Community, LargeCommunity};

/// What the value encoders want to know. IPv4 whatever carries the session: the other mode changes
/// the wire format. No guessing of path identifiers, which misreads a default route.
fn session_params() -> BgpSessionParams {
    let mut params =
        BgpSessionParams::new(0, 0, BgpTransportMode::IPv4, Ipv4Addr::UNSPECIFIED, Vec::new());
    params.fuzzy_pathid = false;
    params
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
