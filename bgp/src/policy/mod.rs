//! Routing policy: what is let in from a peer and out to it, and what is changed on the way.
//!
//! A [`Chain`] is what one peer has in one direction: policies in order, each a list of [`Term`]s in
//! order. A term whose conditions all hold makes its changes and, unless it says to go on, ends
//! the chain. Everything is compiled when the configuration is read: sets are shared and sorted,
//! nothing is looked up by name, and what a chain does to a route depends only on which terms it
//! met, so that equal routes have equal outcomes and share what is encoded.
//!
//! Conditions see the route with the changes of earlier terms.

mod edits;
mod sets;

pub use edits::Edits;
pub(crate) use edits::{Border, rewrite};
pub use sets::{AsPathPattern, AsPathSet, BadPattern, CommunitySet, PrefixRange, PrefixSet};

use std::sync::Arc;

use crate::origin::{Origins, Validity};
use crate::types::{Community, Family, LargeCommunity, Prefix};
use crate::wire::{AttributesRef, Origin};

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A VIP of ours.
    Vip,
    /// A peer in another AS.
    External,
    /// A peer in our AS.
    Internal,
}

/// A route, as a chain looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Where it leads.
    pub prefix: Prefix,
    /// Its attributes.
    pub attributes: AttributesRef<'a>,
    /// Who brought it.
    pub source: Source,
    /// Who may originate it.
    pub origins: &'a Origins,
}

/// What a term may ask. All conditions of a term must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The prefix is in the set.
    Prefix(Arc<PrefixSet>),
    /// The AS path matches a pattern of the set.
    AsPath(Arc<AsPathSet>),
    /// At least one community, of whatever kind, is in the set.
    Community(Arc<CommunitySet>),
    /// Of this family.
    Family(Family),
    /// Brought by such a peer, or ours.
    Source(Source),
    /// ORIGIN.
    Origin(Origin),
    /// Hops in the AS path, from and to.
    PathLength(u32, u32),
    /// MULTI_EXIT_DISC, from and to; a route without it has zero.
    Med(u32, u32),
    /// Its origin stands like this (RFC 6811), by the path before any change.
    Rpki(Validity),
    /// The condition does not hold.
    Not(Box<Self>),
}

/// What follows a term whose conditions held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The route passes; the chain ends.
    Accept,
    /// It does not; the chain ends.
    Reject,
    /// The next term.
    Continue,
    /// The first term of the next policy.
    NextPolicy,
}

/// Conditions, changes and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// For people.
    pub name: String,
    /// None: it holds for every route.
    pub conditions: Vec<Condition>,
    /// Made if all conditions hold.
    pub edits: Edits,
    /// What follows then.
    pub then: Then,
}

/// Terms in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// As configured.
    pub name: String,
    /// In the order in which they are asked.
    pub terms: Vec<Term>,
    /// What happens to a route that no term has decided about.
    pub default: Then,
}

/// All policies of one peer in one direction. A route that no policy has decided about is
/// rejected, unless it is a VIP of ours: those leave unless a term that matches them says no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// In the order in which they are asked.
    pub policies: Vec<Arc<Policy>>,
}

/// What one term made of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermTrace<'a> {
    /// Of which policy.
    pub policy: &'a str,
    /// The term; `None`: the policy's default.
    pub term: Option<&'a Term>,
    /// Whether its conditions held, and the first that did not.
    pub failed: Option<&'a Condition>,
    /// What followed; `None`: the next term, since it did not hold.
    pub then: Option<Then>,
}

impl Chain {
    /// Whether the outcome can differ between prefixes of the same attributes and source.
    pub fn looks_at_prefix(&self) -> bool {
        let terms = self.policies.iter().flat_map(|policy| &policy.terms);
        terms.flat_map(|term| &term.conditions).any(Condition::looks_at_prefix)
    }

    /// Whether the outcome can differ when other VRPs are in force.
    pub fn looks_at_rpki(&self) -> bool {
        let terms = self.policies.iter().flat_map(|policy| &policy.terms);
        terms.flat_map(|term| &term.conditions).any(Condition::looks_at_rpki)
    }

    /// What comes out: the changes, or `None` for a route that does not pass.
    pub fn judge(&self, route: &Route<'_>) -> Option<Edits> {
        self.run(route, |_| {})
    }

    /// The same, saying what each term did.
    pub fn explain(&self, route: &Route<'_>) -> (Option<Edits>, Vec<TermTrace<'_>>) {
        let mut trace = Vec::new();
        let outcome = self.run(route, |step| trace.push(step));
        (outcome, trace)
    }

    fn run<'a>(
        &'a self,
        route: &Route<'_>,
        mut on_step: impl FnMut(TermTrace<'a>),
    ) -> Option<Edits> {
        let mut edits = Edits::default();
        for policy in &self.policies {
            let mut then = policy.default;
            let mut by_default = true;
            for term in &policy.terms {
                let failed = term.conditions.iter().find(|asked| !asked.holds(route, &edits));
                let holds = failed.is_none();
                on_step(TermTrace {
                    policy: &policy.name,
                    term: Some(term),
                    failed,
                    then: holds.then_some(term.then),
                });
                if !holds {
                    continue;
                }
                edits.then(&term.edits);
                if term.then != Then::Continue {
                    then = term.then;
                    by_default = false;
                    break;
                }
            }
            if by_default {
                if route.source == Source::Vip && then == Then::Reject {
                    then = Then::NextPolicy;
                }
                on_step(TermTrace {
                    policy: &policy.name,
                    term: None,
                    failed: None,
                    then: Some(then),
                });
            }
            match then {
                Then::Accept => return Some(edits),
                Then::Reject => return None,
                Then::Continue | Then::NextPolicy => {}
            }
        }
        (route.source == Source::Vip).then_some(edits)
    }
}

impl Condition {
    fn looks_at_prefix(&self) -> bool {
        match self {
            Self::Prefix(_) | Self::Rpki(_) => true,
            Self::Not(inner) => inner.looks_at_prefix(),
            _ => false,
        }
    }

    fn looks_at_rpki(&self) -> bool {
        match self {
            Self::Rpki(_) => true,
            Self::Not(inner) => inner.looks_at_rpki(),
            _ => false,
        }
    }

    fn holds(&self, route: &Route<'_>, edits: &Edits) -> bool {
        let attributes = &route.attributes;
        match self {
            Self::Prefix(set) => set.contains(route.prefix),
            Self::AsPath(set) => set.matches(attributes.as_path.octets()),
            Self::Community(set) => {
                let (communities, large) = edits.communities_of(attributes);
                communities.iter().any(|community| set.has(*community))
                    || large.iter().any(|community| set.has_large(*community))
            }
            Self::Family(family) => route.prefix.family() == *family,
            Self::Source(source) => route.source == *source,
            Self::Origin(origin) => attributes.origin == *origin,
            Self::PathLength(from, to) => {
                let hops = attributes.as_path.segments().map(crate::wire::Segment::hops);
                let hops = u32::try_from(hops.sum::<usize>()).unwrap_or(u32::MAX);
                (*from..=*to).contains(&hops)
            }
            Self::Med(from, to) => {
                let med = edits.med.unwrap_or(attributes.med).unwrap_or(0);
                (*from..=*to).contains(&med)
            }
            Self::Rpki(validity) => {
                let path = attributes.as_path.octets();
                route.origins.validate(route.prefix, path) == *validity
            }
            Self::Not(inner) => !inner.holds(route, edits),
        }
    }

    /// In words, for a trace.
    pub fn describe(&self) -> String {
        match self {
            Self::Prefix(set) => format!("prefix in {}", set.name),
            Self::AsPath(set) => format!("AS path in {}", set.name),
            Self::Community(set) => format!("community in {}", set.name),
            Self::Family(family) => format!("family {family}"),
            Self::Source(Source::Vip) => "a VIP of ours".into(),
            Self::Source(Source::External) => "learned from another AS".into(),
            Self::Source(Source::Internal) => "learned inside our AS".into(),
            Self::Origin(origin) => format!("origin {origin:?}"),
            Self::PathLength(from, to) => format!("path length {from} to {to}"),
            Self::Med(from, to) => format!("MED {from} to {to}"),
            Self::Rpki(validity) => format!("origin {}", validity.name()),
            Self::Not(inner) => format!("not {}", inner.describe()),
        }
    }
}

/// Both kinds of communities.
pub(crate) type Communities = (Vec<Community>, Vec<LargeCommunity>);

#[cfg(test)]
mod tests;
