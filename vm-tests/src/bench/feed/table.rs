//! The routes of the benchmark, encoded before the clock runs: a table like the public one.

use std::net::Ipv4Addr;

use tidegate_bgp::rng::Rng;
use tidegate_bgp::types::{Asn, Community, Family, PathId, Prefix};
use tidegate_bgp::wire::{Announcer, AsSegment, Attributes, Negotiated, NextHop, Origin};

/// AS of the first sender; the others follow.
pub const SENDER_AS: u32 = 65_100;

/// The first prefix's first three octets: the number of a prefix can be read from its address.
const FIRST: u32 = 0x0020_0000;

/// Prefixes that share attributes, on average.
const PER_SET: u64 = 10;

/// The prefix of a number. Lengths are mixed: /16, /20, /22 and /24.
fn prefix(number: u32) -> Option<Prefix> {
    let bits = match number {
        it if it.is_multiple_of(256) => 16,
        it if it.is_multiple_of(16) => 20,
        it if it.is_multiple_of(4) => 22,
        _ => 24,
    };
    Prefix::new(Ipv4Addr::from_bits((FIRST + number) << 8).into(), bits)
}

/// The number of a prefix, by its first octets as they stand in an NLRI.
pub fn number(octets: [u8; 4]) -> Option<usize> {
    let number = (u32::from_be_bytes(octets) >> 8).checked_sub(FIRST)?;
    usize::try_from(number).ok()
}

/// All UPDATEs of one sender. Every sender has the same prefixes in the same sets; the first one's
/// paths are the shortest, the second one's the next.
pub fn stream(sender: u32, prefixes: u32) -> Vec<u8> {
    let mut sets = Rng::new(1);
    let mut looks = Rng::new(u64::from(sender) + 2);
    let context = Negotiated { external: true, four_octet_as: true, ..Negotiated::NOTHING };
    let mut out = Vec::new();
    let mut next = 0;
    while next < prefixes {
        let count = u32::try_from(sets.next_u64() % (2 * PER_SET - 1) + 1).unwrap_or(1);
        let hops = sets.next_u64() % 4 + 3 + u64::from(sender.min(2));
        let end = prefixes.min(next + count);
        let block = attributes(sender, hops, &mut looks).to_block();
        let routes = (next..end).filter_map(|number| Some((PathId(0), prefix(number)?)));
        if let Ok(announcer) = Announcer::new(Family::Ipv4Unicast, &block, &context) {
            announcer.pack(routes, &mut out);
        }
        next = end;
    }
    out
}

fn attributes(sender: u32, hops: u64, looks: &mut Rng) -> Attributes {
    let mut below = |bound: u64| u32::try_from(looks.next_u64() % bound).unwrap_or(0);
    let mut path = vec![SENDER_AS + sender];
    path.extend((1..hops).map(|_| 1_000 + below(60_000)));
    let path = path.into_iter().filter_map(Asn::new).collect();
    let med = below(1_000);
    let communities = (0..below(6)).map(|_| Community(below(u64::from(u32::MAX)))).collect();
    let local = Ipv4Addr::from_bits(super::sender_address(sender));
    Attributes {
        origin: Origin::Igp,
        as_path: vec![AsSegment::Sequence(path)],
        next_hop: Some(NextHop::V4(local)),
        med: Some(med),
        communities,
        ..Attributes::default()
    }
}
