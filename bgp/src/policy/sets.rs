//! Named sets that terms ask about.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use crate::types::{BadCommunity, Community, LargeCommunity, Prefix};

/// A prefix and which lengths below it belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefixRange {
    /// Covers what belongs.
    pub prefix: Prefix,
    /// Shortest length that belongs.
    pub from: u8,
    /// Longest one.
    pub to: u8,
}

/// Prefixes by range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixSet {
    /// As configured.
    pub name: String,
    /// Sorted by prefix, so that a search asks at most once per length.
    ranges: Vec<PrefixRange>,
    /// Lengths that occur in `ranges`, ascending.
    lengths: Vec<u8>,
}

impl PrefixSet {
    /// In any order.
    pub fn new(name: impl Into<String>, mut ranges: Vec<PrefixRange>) -> Self {
        ranges.sort_unstable();
        ranges.dedup();
        let mut lengths: Vec<u8> = ranges.iter().map(|range| range.prefix.bits()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { name: name.into(), ranges, lengths }
    }

    /// Its ranges, by prefix.
    pub fn ranges(&self) -> &[PrefixRange] {
        &self.ranges
    }

    /// Whether the address lies in one of its prefixes, whatever their ranges of lengths.
    pub fn covers(&self, addr: IpAddr) -> bool {
        self.lengths.iter().any(|bits| {
            Prefix::new(addr, *bits).is_some_and(|cover| {
                self.ranges.binary_search_by_key(&cover, |it| it.prefix).is_ok()
            })
        })
    }

    /// Whether a range covers it.
    pub fn contains(&self, prefix: Prefix) -> bool {
        let fitting = self.lengths.iter().take_while(|bits| **bits <= prefix.bits());
        for bits in fitting {
            let Some(cover) = Prefix::new(prefix.addr(), *bits) else { return false };
            let first = self.ranges.partition_point(|range| range.prefix < cover);
            let mut same = self.ranges.iter().skip(first).take_while(|it| it.prefix == cover);
            if same.any(|range| (range.from..=range.to).contains(&prefix.bits())) {
                return true;
            }
        }
        false
    }
}

impl FromStr for PrefixRange {
    type Err = BadPattern;

    /// `10.0.0.0/8`, `10.0.0.0/8 le 24`, `10.0.0.0/8 ge 16 le 24`.
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern::Prefix(text.to_owned());
        let mut words = text.split_ascii_whitespace();
        let (addr, bits) = words.next().and_then(|word| word.split_once('/')).ok_or_else(bad)?;
        let addr: IpAddr = addr.parse().or(Err(bad()))?;
        let bits: u8 = bits.parse().or(Err(bad()))?;
        let prefix = Prefix::new(addr, bits).filter(|it| it.addr() == addr).ok_or_else(bad)?;
        let max = if addr.is_ipv4() { 32 } else { 128 };
        let (mut from, mut to, mut ranged) = (bits, bits, false);
        while let Some(word) = words.next() {
            let bound = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
            match word {
                "ge" => (from, to) = (bound, if ranged { to } else { max }),
                "le" => to = bound,
                _ => return Err(bad()),
            }
            ranged = true;
        }
        if bits <= from && from <= to && to <= max {
            Ok(Self { prefix, from, to })
        } else {
            Err(bad())
        }
    }
}

/// Not an entry of a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Of a prefix set.
    #[error(
        "{0:?} is not a prefix such as \"10.0.0.0/8\" or \"10.0.0.0/8 ge 16 le 24\", host bits zero"
    )]
    Prefix(String),
    /// Of an AS path set.
    #[error(
        "{0:?} is not a path such as \"65000 *\" (numbers, ranges as 64512-65534, ? for any one AS, \
         * for any number of them)"
    )]
    AsPath(String),
    /// Of a community set.
    #[error(
        "{0:?} is not a community such as \"65000:100\", \"65000:*\", \"65000:1:2\", \"65000:1:*\" or \
         \"no-export\""
    )]
    Community(String),
}

/// AS paths by pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsPathSet {
    /// As configured.
    pub name: String,
    /// One of them suffices.
    pub patterns: Vec<AsPathPattern>,
}

/// A pattern for a whole AS path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsPathPattern(Vec<Item>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    /// One AS in this range.
    One(u32, u32),
    /// Any number of them.
    Many,
}

impl FromStr for AsPathPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern::AsPath(text.to_owned());
        let number = |word: &str| word.parse::<u32>().or(Err(bad()));
        let item = |word: &str| match word {
            "*" => Ok(Item::Many),
            "?" => Ok(Item::One(0, u32::MAX)),
            word => match word.split_once('-') {
                Some((from, to)) => {
                    let (from, to) = (number(from)?, number(to)?);
                    if from <= to { Ok(Item::One(from, to)) } else { Err(bad()) }
                }
                None => number(word).map(|number| Item::One(number, number)),
            },
        };
        text.split_ascii_whitespace().map(item).collect::<Result<_, _>>().map(Self)
    }
}

impl AsPathSet {
    /// Whether a path, as the octets of an AS_PATH, matches a pattern.
    pub fn matches(&self, path: &[u8]) -> bool {
        let asns: Vec<u32> = crate::rib::path_asns(path).collect();
        self.patterns.iter().any(|pattern| pattern.matches(&asns))
    }
}

impl AsPathPattern {
    /// Greedy, coming back to the last `*` only: enough for patterns of this kind, and never more
    /// than path times pattern.
    fn matches(&self, asns: &[u32]) -> bool {
        let Self(items) = self;
        let (mut item, mut asn) = (0, 0);
        let mut retry = None;
        while asn < asns.len() {
            match (items.get(item), asns.get(asn)) {
                (Some(Item::Many), _) => {
                    retry = Some((item + 1, asn));
                    item += 1;
                }
                (Some(Item::One(from, to)), Some(number)) if (from..=to).contains(&number) => {
                    item += 1;
                    asn += 1;
                }
                _ => {
                    let Some((after, at)) = retry else { return false };
                    retry = Some((after, at + 1));
                    (item, asn) = (after, at + 1);
                }
            }
        }
        items.iter().skip(item).all(|item| *item == Item::Many)
    }
}

/// Communities by value or by wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommunitySet {
    /// As configured.
    pub name: String,
    /// From and to.
    plain: Vec<(u32, u32)>,
    large: Vec<[Option<u32>; 3]>,
}

impl CommunitySet {
    /// # Errors
    /// [`BadPattern`] for the first entry that is none.
    pub fn new(name: impl Into<String>, entries: &[&str]) -> Result<Self, BadPattern> {
        let mut set = Self { name: name.into(), plain: Vec::new(), large: Vec::new() };
        for entry in entries {
            set.add(entry)?;
        }
        Ok(set)
    }

    fn add(&mut self, text: &str) -> Result<(), BadPattern> {
        let bad = || BadPattern::Community(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [high, "*"] => {
                let high: u16 = high.parse().or(Err(bad()))?;
                let from = u32::from(high) << 16;
                self.plain.push((from, from | 0xffff));
            }
            [_, _, _] => {
                let part = |text: &str| match text {
                    "*" => Ok(None),
                    text => text.parse::<u32>().map(Some).or(Err(bad())),
                };
                let each: Result<Vec<_>, _> = parts.iter().map(|text| part(text)).collect();
                if let [a, b, c] = each?.as_slice() {
                    self.large.push([*a, *b, *c]);
                }
            }
            _ => {
                let community: Result<Community, BadCommunity> = text.parse();
                let Community(value) = community.or(Err(bad()))?;
                self.plain.push((value, value));
            }
        }
        Ok(())
    }

    /// Whether it is in the set.
    pub fn has(&self, community: Community) -> bool {
        self.plain.iter().any(|(from, to)| (from..=to).contains(&&community.0))
    }

    /// Whether it is in the set.
    pub fn has_large(&self, community: LargeCommunity) -> bool {
        let LargeCommunity(value) = community;
        let fits = |pattern: &[Option<u32>; 3]| {
            pattern.iter().zip(&value).all(|(want, have)| want.is_none_or(|want| want == *have))
        };
        self.large.iter().any(fits)
    }
}

impl fmt::Display for PrefixRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ge {} le {}", self.prefix, self.from, self.to)
    }
}
