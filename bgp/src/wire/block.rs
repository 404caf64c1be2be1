//! Attribute blocks: all path attributes of a route but its NLRI as one string of octets, whatever
//! session they came over.
//!
//! A block is attributes as on the wire (flags, type, length, value), each type once and sound by
//! RFC 7606, with these rules: AS numbers take four octets, AS4_PATH and AS4_AGGREGATOR are merged
//! in; NEXT_HOP holds the next hop of whatever family, in 4, 16 or 32 octets (none for FlowSpec);
//! unknown attributes are there if they are transitive. Routes are interned by these octets; the
//! usual UPDATE of IPv4 prefixes yields a slice of itself.

use core::net::Ipv4Addr;
use std::borrow::Cow;

use super::as_path::{self, AsPath};
use super::attributes::{Attribute, Reach, Walk, category, code, decode_next_hop, flag};
use super::message::{Aggregator, NextHop, Origin};
use super::negotiated::Negotiated;
use super::reader::Reader;
use crate::types::{Asn, Community, ExtendedCommunity, LargeCommunity};

/// The block of the routes in an UPDATE. `reach`: of those in MP_REACH_NLRI; `None`: of those in
/// the classic NLRI field.
pub(super) fn of_update<'a>(
    field: &'a [u8],
    walk: &Walk<'a, '_>,
    reach: Option<Reach<'_>>,
    context: &Negotiated,
) -> Cow<'a, [u8]> {
    if reach.is_none() && !walk.left_out {
        return Cow::Borrowed(field);
    }
    let mut kept = walk.kept;
    let mut block = Vec::with_capacity(field.len() + 16);
    if let Some(reach) = reach {
        kept.remove(code::NEXT_HOP);
        if let Some(next_hop) = reach.next_hop {
            push_next_hop(&mut block, next_hop);
        }
    }
    for attribute in attributes(field) {
        if !kept.remove(attribute.code) {
            continue;
        }
        match attribute.code {
            code::AS_PATH if !context.four_octet_as => {
                push(&mut block, code::AS_PATH, &whole_path(attribute.value, walk));
            }
            code::AGGREGATOR if !context.four_octet_as => {
                push(&mut block, code::AGGREGATOR, &whole_aggregator(attribute.value, walk));
            }
            _ => block.extend(attribute.whole),
        }
    }
    Cow::Owned(block)
}

/// An aggregator that knows two octets only has rewritten the path since (RFC 6793 §4.2.3).
fn was_rewritten(walk: &Walk<'_, '_>) -> bool {
    let trans = u32::from(Asn::TRANS);
    walk.as4_aggregator.is_some() && walk.aggregator.is_some_and(|asn| asn != trans)
}

fn whole_path(value: &[u8], walk: &Walk<'_, '_>) -> Vec<u8> {
    let wide = as_path::widen(value);
    match walk.as4_path {
        Some(as4_path) if !was_rewritten(walk) => {
            as_path::merge(AsPath::new(&wide), AsPath::new(as4_path))
        }
        _ => wide,
    }
}

fn whole_aggregator(value: &[u8], walk: &Walk<'_, '_>) -> Vec<u8> {
    match (walk.as4_aggregator, value) {
        (Some(as4_aggregator), _) if !was_rewritten(walk) => as4_aggregator.to_vec(),
        (_, value) => [&[0, 0], value].concat(),
    }
}

/// The attributes of a field or block, up to the first that is cut off.
pub(super) fn attributes(field: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    let mut reader = Reader::new(field);
    core::iter::from_fn(move || Attribute::next(&mut reader))
}

/// One attribute, with the flags of its category and one octet of length if that suffices.
pub(super) fn push(block: &mut Vec<u8>, code: u8, value: &[u8]) {
    push_with_flags(block, category(code).unwrap_or(flag::OPTIONAL), code, value);
}

pub(super) fn push_with_flags(block: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    if let Ok(len) = u8::try_from(value.len()) {
        block.extend([flags & !flag::EXTENDED_LENGTH, code, len]);
    } else {
        block.extend([flags | flag::EXTENDED_LENGTH, code]);
        block.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    block.extend(value);
}

fn push_next_hop(block: &mut Vec<u8>, next_hop: NextHop) {
    push(block, code::NEXT_HOP, next_hop_octets(next_hop).as_slice());
}

/// 4, 16 or 32 octets.
pub(super) fn next_hop_octets(next_hop: NextHop) -> Vec<u8> {
    match next_hop {
        NextHop::V4(addr) => addr.octets().to_vec(),
        NextHop::V6 { global, link_local } => {
            [Some(global), link_local].into_iter().flatten().flat_map(|a| a.octets()).collect()
        }
    }
}

/// What an attribute block says, borrowed from it.
///
/// Reading never fails: a block that came out of [`decode`](super::decode) is sound, and what is
/// not sound in other octets is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributesRef<'a> {
    /// ORIGIN (RFC 4271 §5.1.1).
    pub origin: Origin,
    /// AS_PATH (§5.1.2).
    pub as_path: AsPath<'a>,
    /// NEXT_HOP or the next hop of MP_REACH_NLRI; `None` for FlowSpec.
    pub next_hop: Option<NextHop>,
    /// MULTI_EXIT_DISC (§5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF (§5.1.5); only inside an AS.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE (§5.1.6).
    pub atomic_aggregate: bool,
    /// AGGREGATOR (§5.1.7).
    pub aggregator: Option<Aggregator>,
    /// ORIGINATOR_ID (RFC 4456 §8).
    pub originator_id: Option<Ipv4Addr>,
    /// ONLY_TO_CUSTOMER (RFC 9234 §5).
    pub only_to_customer: Option<u32>,
    communities: &'a [u8],
    cluster_list: &'a [u8],
    extended_communities: &'a [u8],
    large_communities: &'a [u8],
}

impl<'a> AttributesRef<'a> {
    /// Reads a block.
    pub fn new(block: &'a [u8]) -> Self {
        let mut read = Self::default();
        for Attribute { code, value, .. } in attributes(block) {
            let number = || Reader::new(value).u32();
            match code {
                code::ORIGIN => read.origin = origin(value),
                code::AS_PATH => read.as_path = AsPath::new(value),
                code::NEXT_HOP => read.next_hop = decode_next_hop(value),
                code::MULTI_EXIT_DISC => read.med = number(),
                code::LOCAL_PREF => read.local_pref = number(),
                code::ATOMIC_AGGREGATE => read.atomic_aggregate = true,
                code::AGGREGATOR => read.aggregator = aggregator(value),
                code::COMMUNITIES => read.communities = value,
                code::ORIGINATOR_ID => read.originator_id = number().map(Ipv4Addr::from_bits),
                code::CLUSTER_LIST => read.cluster_list = value,
                code::EXTENDED_COMMUNITIES => read.extended_communities = value,
                code::LARGE_COMMUNITIES => read.large_communities = value,
                code::ONLY_TO_CUSTOMER => read.only_to_customer = number(),
                _ => {}
            }
        }
        read
    }

    /// COMMUNITIES (RFC 1997), in the order of the wire.
    pub fn communities(&self) -> impl ExactSizeIterator<Item = Community> + Clone + 'a {
        let (each, _) = self.communities.as_chunks::<4>();
        each.iter().map(|octets| Community(u32::from_be_bytes(*octets)))
    }

    /// CLUSTER_LIST (RFC 4456 §8), the latest first.
    pub fn cluster_list(&self) -> impl ExactSizeIterator<Item = Ipv4Addr> + Clone + 'a {
        let (each, _) = self.cluster_list.as_chunks::<4>();
        each.iter().map(|octets| Ipv4Addr::from(*octets))
    }

    /// EXTENDED COMMUNITIES (RFC 4360), in the order of the wire.
    pub fn extended_communities(
        &self,
    ) -> impl ExactSizeIterator<Item = ExtendedCommunity> + Clone + 'a {
        let (each, _) = self.extended_communities.as_chunks::<8>();
        each.iter().map(|octets| ExtendedCommunity(*octets))
    }

    /// LARGE_COMMUNITIES (RFC 8092), in the order of the wire.
    pub fn large_communities(&self) -> impl ExactSizeIterator<Item = LargeCommunity> + Clone + 'a {
        let (each, _) = self.large_communities.as_chunks::<12>();
        each.iter().map(|octets| {
            let mut reader = Reader::new(octets);
            LargeCommunity([(); 3].map(|()| reader.u32().unwrap_or_default()))
        })
    }
}

fn origin(value: &[u8]) -> Origin {
    match value {
        [0] => Origin::Igp,
        [1] => Origin::Egp,
        _ => Origin::Incomplete,
    }
}

fn aggregator(value: &[u8]) -> Option<Aggregator> {
    let mut reader = Reader::new(value);
    let asn = Asn::new(reader.u32()?)?;
    Some(Aggregator { asn, addr: Ipv4Addr::from_bits(reader.u32()?) })
}

/// Path attributes as values, to be changed and written into a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// ORIGIN (RFC 4271 §5.1.1).
    pub origin: Origin,
    /// AS_PATH (§5.1.2).
    pub as_path: Vec<super::message::AsSegment>,
    /// NEXT_HOP or the next hop of MP_REACH_NLRI; `None` for FlowSpec.
    pub next_hop: Option<NextHop>,
    /// MULTI_EXIT_DISC (§5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF (§5.1.5); only inside an AS.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE (§5.1.6).
    pub atomic_aggregate: bool,
    /// AGGREGATOR (§5.1.7).
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997); written sorted, without repeats.
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID (RFC 4456 §8).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456 §8), the latest first.
    pub cluster_list: Vec<Ipv4Addr>,
    /// EXTENDED COMMUNITIES (RFC 4360).
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITIES (RFC 8092); written sorted, without repeats.
    pub large_communities: Vec<LargeCommunity>,
    /// ONLY_TO_CUSTOMER (RFC 9234 §5).
    pub only_to_customer: Option<u32>,
    /// Attributes that we only pass on, as they stand in a block.
    pub others: Vec<u8>,
}

impl Attributes {
    /// What a block says.
    pub fn from_block(block: &[u8]) -> Self {
        let read = AttributesRef::new(block);
        let mut others = Vec::new();
        for attribute in attributes(block) {
            if category(attribute.code).is_none()
                || attribute.code == code::IPV6_EXTENDED_COMMUNITIES
            {
                others.extend(attribute.whole);
            }
        }
        Self {
            origin: read.origin,
            as_path: read.as_path.to_segments(),
            next_hop: read.next_hop,
            med: read.med,
            local_pref: read.local_pref,
            atomic_aggregate: read.atomic_aggregate,
            aggregator: read.aggregator,
            communities: read.communities().collect(),
            originator_id: read.originator_id,
            cluster_list: read.cluster_list().collect(),
            extended_communities: read.extended_communities().collect(),
            large_communities: read.large_communities().collect(),
            only_to_customer: read.only_to_customer,
            others,
        }
    }

    /// The block that says this, in the order of the type codes.
    pub fn to_block(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(128);
        push(&mut block, code::ORIGIN, &super::zetta::encode_origin(self.origin));
        push(&mut block, code::AS_PATH, &as_path::encode(&self.as_path));
        if let Some(next_hop) = self.next_hop {
            push_next_hop(&mut block, next_hop);
        }
        if let Some(med) = self.med {
            push(&mut block, code::MULTI_EXIT_DISC, &super::zetta::encode_med(med));
        }
        if let Some(local_pref) = self.local_pref {
            push(&mut block, code::LOCAL_PREF, &super::zetta::encode_local_pref(local_pref));
        }
        if self.atomic_aggregate {
            push(&mut block, code::ATOMIC_AGGREGATE, &[]);
        }
        if let Some(Aggregator { asn, addr }) = self.aggregator {
            let value = [asn.get().to_be_bytes(), addr.octets()].concat();
            push(&mut block, code::AGGREGATOR, &value);
        }
        if !self.communities.is_empty() {
            let value = super::zetta::encode_communities(&self.communities);
            push(&mut block, code::COMMUNITIES, &value);
        }
        if let Some(originator_id) = self.originator_id {
            push(&mut block, code::ORIGINATOR_ID, &originator_id.octets());
        }
        if !self.cluster_list.is_empty() {
            let value: Vec<u8> = self.cluster_list.iter().flat_map(Ipv4Addr::octets).collect();
            push(&mut block, code::CLUSTER_LIST, &value);
        }
        if !self.extended_communities.is_empty() {
            let value = self.extended_communities.iter().flat_map(|c| c.0).collect::<Vec<u8>>();
            push(&mut block, code::EXTENDED_COMMUNITIES, &value);
        }
        if !self.large_communities.is_empty() {
            let value = super::zetta::encode_large_communities(&self.large_communities);
            push(&mut block, code::LARGE_COMMUNITIES, &value);
        }
        if let Some(only_to_customer) = self.only_to_customer {
            push(&mut block, code::ONLY_TO_CUSTOMER, &only_to_customer.to_be_bytes());
        }
        block.extend(&self.others);
        block
    }
}
