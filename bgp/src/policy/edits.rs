//! Changes to the attributes of a route, and a block written anew with them.

use std::sync::Arc;

use super::Communities;
use super::sets::CommunitySet;
use crate::rib::attrs::{attributes, path_segments, push, words};
use crate::types::{Asn, Community, LargeCommunity};
use crate::wire::{AttributesRef, Origin, code, flag};

/// What terms change. Equal edits of equal attributes give equal attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC; `Some(None)` takes it away.
    pub med: Option<Option<u32>>,
    /// ORIGIN.
    pub origin: Option<Origin>,
    /// Put in front of the path, in this order; an empty list: nothing.
    pub prepend: Vec<Asn>,
    /// Taken away before others are added.
    pub remove: Vec<Arc<CommunitySet>>,
    /// Added.
    pub add: Vec<Community>,
    /// Added.
    pub add_large: Vec<LargeCommunity>,
}

impl Edits {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of a later term on top.
    pub(super) fn then(&mut self, later: &Self) {
        self.local_pref = later.local_pref.or(self.local_pref);
        self.med = later.med.or(self.med);
        self.origin = later.origin.or(self.origin);
        self.prepend.splice(0..0, later.prepend.iter().copied());
        for set in &later.remove {
            self.add.retain(|community| !set.has(*community));
            self.add_large.retain(|community| !set.has_large(*community));
            self.remove.push(Arc::clone(set));
        }
        self.add.extend(&later.add);
        self.add_large.extend(&later.add_large);
    }

    /// The communities of a route with these changes, sorted, each once.
    pub(super) fn communities_of(&self, attributes: &AttributesRef<'_>) -> Communities {
        let kept = |community: &Community| !self.remove.iter().any(|set| set.has(*community));
        let mut plain: Vec<_> = attributes.communities().filter(kept).collect();
        plain.extend(&self.add);
        plain.sort_unstable();
        plain.dedup();
        let kept = |it: &LargeCommunity| !self.remove.iter().any(|set| set.has_large(*it));
        let mut large: Vec<_> = attributes.large_communities().filter(kept).collect();
        large.extend(&self.add_large);
        large.sort_unstable();
        large.dedup();
        (plain, large)
    }

    const fn touches_communities(&self) -> bool {
        !(self.remove.is_empty() && self.add.is_empty() && self.add_large.is_empty())
    }
}

/// What becomes of a block besides [`Edits`], because it crosses a border.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Border<'a> {
    /// Our AS, put in front of the path.
    pub(crate) own_as: Option<Asn>,
    /// The path is not sent at all: a route of ours stays inside.
    pub(crate) empty_path: bool,
    /// The next hop, as octets.
    pub(crate) next_hop: Option<&'a [u8]>,
    /// MULTI_EXIT_DISC and what else is only for the neighbour that got it ends here.
    pub(crate) ends_med: bool,
    /// LOCAL_PREF where there is none.
    pub(crate) local_pref: Option<u32>,
    /// ONLY_TO_CUSTOMER where there is none (RFC 9234 §5).
    pub(crate) only_to_customer: Option<u32>,
}

/// A block with changes made.
pub(crate) fn rewrite(block: &[u8], border: &Border<'_>, edits: &Edits) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 16);
    let (mut med, mut local_pref) = (edits.med.flatten(), edits.local_pref);
    let mut mark = border.only_to_customer;
    for attribute in attributes(block) {
        let value = attribute.value;
        match attribute.code {
            code::ORIGIN => match edits.origin {
                Some(origin) => push(&mut out, attribute.flags, code::ORIGIN, &[octet(origin)]),
                None => push(&mut out, attribute.flags, code::ORIGIN, value),
            },
            code::AS_PATH => {
                let path: &[u8] = if border.empty_path { &[] } else { value };
                push_path(&mut out, attribute.flags, path, border.own_as, &edits.prepend);
            }
            code::NEXT_HOP => {
                push(&mut out, attribute.flags, code::NEXT_HOP, border.next_hop.unwrap_or(value));
            }
            code::MULTI_EXIT_DISC => {
                if edits.med.is_none() && !border.ends_med {
                    med = words(value).next();
                }
            }
            code::LOCAL_PREF => local_pref = local_pref.or(words(value).next()),
            code::COMMUNITIES | code::LARGE_COMMUNITIES if edits.touches_communities() => {}
            other => {
                mark = mark.filter(|_| other != code::ONLY_TO_CUSTOMER);
                push(&mut out, attribute.flags, other, value);
            }
        }
    }
    if let Some(mark) = mark {
        let flags = flag::OPTIONAL | flag::TRANSITIVE;
        push(&mut out, flags, code::ONLY_TO_CUSTOMER, &mark.to_be_bytes());
    }
    if let Some(med) = med {
        push(&mut out, flag::OPTIONAL, code::MULTI_EXIT_DISC, &med.to_be_bytes());
    }
    if let Some(local_pref) = local_pref.or(border.local_pref) {
        push(&mut out, flag::TRANSITIVE, code::LOCAL_PREF, &local_pref.to_be_bytes());
    }
    if edits.touches_communities() {
        push_communities(&mut out, edits.communities_of(&AttributesRef::new(block)));
    }
    out
}

fn push_communities(out: &mut Vec<u8>, (plain, large): Communities) {
    let flags = flag::OPTIONAL | flag::TRANSITIVE;
    if !plain.is_empty() {
        let value: Vec<u8> = plain.iter().flat_map(|community| community.0.to_be_bytes()).collect();
        push(out, flags, code::COMMUNITIES, &value);
    }
    if !large.is_empty() {
        let words = large.iter().flat_map(|LargeCommunity(words)| words);
        let value: Vec<u8> = words.flat_map(|word| word.to_be_bytes()).collect();
        push(out, flags, code::LARGE_COMMUNITIES, &value);
    }
}

/// The path with numbers in front: in its first sequence as long as that has room (RFC 4271
/// §5.1.2).
fn push_path(out: &mut Vec<u8>, flags: u8, path: &[u8], own_as: Option<Asn>, prepend: &[Asn]) {
    let front: Vec<u8> =
        own_as.iter().chain(prepend).flat_map(|asn| asn.get().to_be_bytes()).collect();
    if front.is_empty() {
        return push(out, flags, code::AS_PATH, path);
    }
    let first = path_segments(path).next();
    let joined = first.filter(|(kind, asns)| *kind == 2 && (asns.len() + front.len()) / 4 <= 255);
    let mut value = Vec::with_capacity(path.len() + front.len() + 2);
    for chunk in front.chunks(255 * 4) {
        let behind = if joined.is_some() { path.get(1).copied().unwrap_or(0) } else { 0 };
        let count = u8::try_from(chunk.len() / 4).unwrap_or(u8::MAX);
        value.extend_from_slice(&[2, count.saturating_add(behind)]);
        value.extend_from_slice(chunk);
    }
    let rest = if joined.is_some() { path.get(2..) } else { Some(path) };
    value.extend_from_slice(rest.unwrap_or_default());
    push(out, flags, code::AS_PATH, &value);
}

const fn octet(origin: Origin) -> u8 {
    match origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    }
}
