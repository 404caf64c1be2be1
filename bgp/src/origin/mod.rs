//! Route origin validation (RFC 6811): which AS may originate which prefix.
//!
//! Pure: where the [`Vrp`]s come from is the caller's matter. [`Vrps`] answers for one route in two
//! steps of a search and a few of a climb, however many VRPs there are; [`merge`] and [`changed`]
//! work on sorted lists, in one pass.
//!
//! Promise: any list of VRPs is taken, at the price of at most forty octets each.

mod nested;

use core::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rib::attrs::path_segments;
use crate::types::{Asn, Family, Prefix};
use nested::Nested;

/// A Validated ROA Payload: this AS may originate this prefix, and what lies below it down to a
/// length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vrp {
    /// The prefix.
    pub prefix: Prefix,
    /// The longest prefix below it that may be originated, in bits.
    pub max_len: u8,
    /// The AS; zero: nobody may (RFC 6483 §4).
    pub asn: u32,
}

impl Vrp {
    /// `None` when the length is none that a prefix within `prefix` can have.
    pub fn new(prefix: Prefix, max_len: u8, asn: u32) -> Option<Self> {
        let longest = if prefix.family() == Family::Ipv4Unicast { 32 } else { 128 };
        (prefix.bits()..=longest).contains(&max_len).then_some(Self { prefix, max_len, asn })
    }
}

/// How the origin of a route stands (RFC 6811 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Validity {
    /// A VRP covers the prefix and names its origin.
    Valid,
    /// VRPs cover the prefix, and none of them names its origin at this length.
    Invalid,
    /// No VRP covers the prefix.
    NotFound,
}

impl Validity {
    /// The word in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        }
    }
}

/// VRPs that can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vrps {
    v4: Nested,
    v6: Nested,
}

impl Vrps {
    /// Of a list that is sorted and without doubles, as [`merge`] makes it.
    pub fn new(sorted: &[Vrp]) -> Self {
        let (mut v4, mut v6) = (Nested::default(), Nested::default());
        for vrp in sorted {
            let nested = if vrp.prefix.addr().is_ipv4() { &mut v4 } else { &mut v6 };
            nested.push(vrp.prefix, Some((vrp.asn, vrp.max_len)));
        }
        Self { v4: v4.finished(), v6: v6.finished() }
    }

    /// All of them, as [`Self::new`] takes them.
    pub fn list(&self) -> Vec<Vrp> {
        let v4 = self.v4.all().map(|(addr, bits, entry)| {
            let addr = u32::try_from(addr >> 96).unwrap_or(0);
            (IpAddr::V4(addr.into()), bits, entry)
        });
        let v6 = self.v6.all().map(|(addr, bits, entry)| (IpAddr::V6(addr.into()), bits, entry));
        v4.chain(v6)
            .filter_map(|(addr, bits, (asn, max_len))| {
                Vrp::new(Prefix::new(addr, bits)?, max_len, asn)
            })
            .collect()
    }

    /// How many there are, by family.
    pub const fn len(&self) -> (usize, usize) {
        (self.v4.entries(), self.v6.entries())
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.v4.entries() + self.v6.entries() == 0
    }

    /// How a route to `prefix` stands that `origin` originates; `None`: nobody can tell who does.
    pub fn validate(&self, prefix: Prefix, origin: Option<Asn>) -> Validity {
        let nested = if prefix.addr().is_ipv4() { &self.v4 } else { &self.v6 };
        let mut validity = Validity::NotFound;
        for (asn, max_len) in nested.covering(prefix).flatten() {
            validity = Validity::Invalid;
            if origin.is_some_and(|origin| origin.get() == *asn) && prefix.bits() <= *max_len {
                return Validity::Valid;
            }
        }
        validity
    }
}

/// Prefixes, of which it can be asked whether they cover another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    v4: Nested,
    v6: Nested,
}

impl Cover {
    /// Of prefixes in ascending order.
    pub fn new(sorted: &[Prefix]) -> Self {
        let (mut v4, mut v6) = (Nested::default(), Nested::default());
        for prefix in sorted {
            let nested = if prefix.addr().is_ipv4() { &mut v4 } else { &mut v6 };
            nested.push(*prefix, None);
        }
        Self { v4: v4.finished(), v6: v6.finished() }
    }

    /// Whether one of them is `prefix`, or above it.
    pub fn covers(&self, prefix: Prefix) -> bool {
        let nested = if prefix.addr().is_ipv4() { &self.v4 } else { &self.v6 };
        nested.covering(prefix).next().is_some()
    }

    /// Whether it has prefixes of a family.
    pub const fn has(&self, family: Family) -> bool {
        match family {
            Family::Ipv4Unicast => !self.v4.is_empty(),
            Family::Ipv6Unicast => !self.v6.is_empty(),
            Family::Ipv4Flowspec | Family::Ipv6Flowspec => false,
        }
    }
}

/// The VRPs in force, and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    /// Our AS: it originates what has no path.
    pub local_as: Asn,
    /// The VRPs; none until there is a word from a cache.
    pub vrps: Arc<Vrps>,
}

impl Origins {
    /// Nothing is known.
    pub fn unknown(local_as: Asn) -> Self {
        Self { local_as, vrps: Arc::default() }
    }

    /// As they look to somebody for whom we are in this AS.
    #[must_use]
    pub fn seen_as(&self, local_as: Asn) -> Self {
        Self { local_as, vrps: Arc::clone(&self.vrps) }
    }

    /// How a route stands; `path` is its AS_PATH in octets, four for each AS.
    pub fn validate(&self, prefix: Prefix, path: &[u8]) -> Validity {
        if self.vrps.is_empty() {
            return Validity::NotFound;
        }
        self.vrps.validate(prefix, self.origin(path))
    }

    /// The origin of a route (RFC 6811 §2): the last AS of the path unless that is in a set; ours
    /// when the path is empty or ends inside our confederation.
    pub fn origin(&self, path: &[u8]) -> Option<Asn> {
        match path_segments(path).last() {
            None | Some((3 | 4, _)) => Some(self.local_as),
            Some((2, asns)) => {
                let last = asns.last_chunk::<4>()?;
                Asn::new(u32::from_be_bytes(*last))
            }
            Some(_) => None,
        }
    }
}

/// What an update says of a VRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It holds from now on.
    Announce,
    /// It does not hold any more.
    Withdraw,
}

/// A sorted list with changes made to it: the last word on a VRP counts. What is announced twice,
/// or withdrawn without having been there, changes nothing.
pub fn merge(old: &[Vrp], mut changes: Vec<(Vrp, Verb)>) -> Vec<Vrp> {
    changes.sort_by_key(|(vrp, _)| *vrp); // Stable: the last word stays last.
    let mut merged = Vec::with_capacity(old.len() + changes.len());
    let mut old = old.iter().copied().peekable();
    for same in changes.chunk_by(|(one, _), (other, _)| one == other) {
        let Some((vrp, verb)) = same.last() else { continue };
        while let Some(before) = old.next_if(|it| it < vrp) {
            merged.push(before);
        }
        old.next_if_eq(vrp);
        if *verb == Verb::Announce {
            merged.push(*vrp);
        }
    }
    merged.extend(old);
    merged
}

/// Prefixes whose VRPs differ between two sorted lists, ascending: routes below them may stand
/// otherwise.
pub fn changed(before: &[Vrp], after: &[Vrp]) -> Vec<Prefix> {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let mut prefixes: Vec<Prefix> = Vec::new();
    loop {
        let differs = match (before.peek(), after.peek()) {
            (None, None) => return prefixes,
            (Some(one), Some(other)) if one == other => {
                before.next();
                after.next();
                continue;
            }
            (Some(one), Some(other)) if one < other => before.next(),
            (Some(_), None) => before.next(),
            (_, Some(_)) => after.next(),
        };
        if let Some(vrp) = differs
            && prefixes.last() != Some(&vrp.prefix)
        {
            prefixes.push(vrp.prefix);
        }
    }
}

#[cfg(test)]
mod tests;
