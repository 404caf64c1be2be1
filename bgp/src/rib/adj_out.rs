//! `AdjRibOut`: what one peer was promised, and how our routes look to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::speaker::{NextHops, RouteAttributes};
use crate::types::{Asn, Family, Prefix};
use crate::wire::{AsSegment, Attributes, NextHop, Origin};

/// LOCAL_PREF of a route that names none.
pub const LOCAL_PREF_DEFAULT: u32 = 100;

/// More AS numbers do not fit into one segment (RFC 4271 §4.3).
const SEGMENT_MAX: usize = 255;

/// What one peer was promised on its present session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdjRibOut {
    promised: BTreeSet<Prefix>,
    unreachable: BTreeSet<Family>,
}

impl AdjRibOut {
    /// Prefixes promised now.
    pub fn len(&self) -> usize {
        self.promised.len()
    }

    /// Whether nothing is promised.
    pub fn is_empty(&self) -> bool {
        self.promised.is_empty()
    }

    /// These prefixes have been announced.
    pub fn promise(&mut self, prefixes: &[Prefix]) {
        self.promised.extend(prefixes);
    }

    /// Takes the promise back; `false` when there was none and nothing needs to be sent.
    pub fn take_back(&mut self, prefix: Prefix) -> bool {
        self.promised.remove(&prefix)
    }

    /// Takes back all promises of a family, and says which those were.
    pub fn take_back_family(&mut self, family: Family) -> Vec<Prefix> {
        self.promised.extract_if(.., |prefix| prefix.family() == family).collect()
    }

    /// Notes that a family has no next hop; `true` the first time on this session.
    pub fn note_unreachable(&mut self, family: Family) -> bool {
        self.unreachable.insert(family)
    }
}

/// The next hop for a family: the configured one, else our own address on the session. Never an
/// unspecified address, and never an IPv4-mapped one, which no router could resolve.
pub fn next_hop(family: Family, configured: NextHops, session: NextHops) -> Option<NextHop> {
    match family {
        Family::Ipv4Unicast => {
            configured.v4.or(session.v4).filter(|addr| !addr.is_unspecified()).map(NextHop::V4)
        }
        Family::Ipv6Unicast => configured
            .v6
            .or(session.v6)
            .filter(|addr| !addr.is_unspecified() && addr.to_ipv4_mapped().is_none())
            .map(|global| NextHop::V6 { global, link_local: None }),
        Family::Ipv4Flowspec | Family::Ipv6Flowspec => None,
    }
}

/// A route of ours as a peer sees it. Outside our AS the path begins with us, `prepend` times more
/// than usual, and LOCAL_PREF is not sent (RFC 4271 §5.1.2, §5.1.5); inside, the path is empty.
pub fn export(
    route: &RouteAttributes,
    next_hop: NextHop,
    our_as: Asn,
    external: bool,
) -> Attributes {
    let path = vec![our_as; if external { 1 + usize::from(route.prepend) } else { 0 }];
    let local_pref = route.local_pref.unwrap_or(LOCAL_PREF_DEFAULT);
    Attributes {
        origin: Origin::Igp,
        as_path: path.chunks(SEGMENT_MAX).map(|part| AsSegment::Sequence(part.into())).collect(),
        next_hop: Some(next_hop),
        med: route.med,
        local_pref: (!external).then_some(local_pref),
        communities: sorted(&route.communities),
        large_communities: sorted(&route.large_communities),
        ..Attributes::default()
    }
}

/// Prefixes of a family by their attributes: as many as possible share one UPDATE.
pub fn by_attributes(
    originated: &BTreeMap<Prefix, RouteAttributes>,
    family: Family,
) -> BTreeMap<&RouteAttributes, Vec<Prefix>> {
    let mut groups: BTreeMap<&RouteAttributes, Vec<Prefix>> = BTreeMap::new();
    for (prefix, route) in originated.iter().filter(|(prefix, _)| prefix.family() == family) {
        groups.entry(route).or_default().push(*prefix);
    }
    groups
}

fn sorted<T: Ord + Copy>(values: &[T]) -> Vec<T> {
    values.iter().copied().collect::<BTreeSet<T>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
