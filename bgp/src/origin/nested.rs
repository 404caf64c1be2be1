//! Prefixes of one family in ascending order, each with a way up to the one around it.
//!
//! Prefixes nest or are apart. So of those in order, the last one that does not come after a
//! prefix either covers it, or lies in whatever else does: one search, then a climb.

use core::net::IpAddr;

use crate::types::Prefix;

/// No node.
const NONE: u32 = u32::MAX;

/// What of an address says where a search begins.
const TOP_BITS: u32 = 16;

/// A prefix. IPv4 addresses stand in the highest 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    addr: u128,
    bits: u8,
    /// The one around it.
    parent: u32,
    /// Its first entry; they end where those of the next node begin.
    first: u32,
}

/// AS and longest length.
type Entry = (u32, u8);

/// Prefixes with entries.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Nested {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    /// By the first bits of an address, how many nodes lie before it.
    tops: Vec<u32>,
}

impl core::fmt::Debug for Nested {
    /// Half a million lines help nobody.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Nested({} prefixes, {} entries)", self.nodes.len(), self.entries.len())
    }
}

fn bits_of(prefix: Prefix) -> u128 {
    match prefix.addr() {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn top_of(addr: u128) -> usize {
    usize::try_from(addr >> (128 - TOP_BITS)).unwrap_or(usize::MAX)
}

impl Node {
    fn covers(&self, addr: u128, bits: u8) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        self.bits <= bits && addr & mask == self.addr
    }
}

impl Nested {
    /// Adds a prefix, or an entry to the one that was added last. They have to come in order.
    pub(super) fn push(&mut self, prefix: Prefix, entry: Option<Entry>) {
        let (addr, bits) = (bits_of(prefix), prefix.bits());
        let last = self.nodes.last();
        if last.is_none_or(|last| (last.addr, last.bits) != (addr, bits)) {
            let mut parent = self.count().wrapping_sub(1);
            while let Some(node) = self.node(parent)
                && !node.covers(addr, bits)
            {
                parent = node.parent;
            }
            let first = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            self.nodes.push(Node { addr, bits, parent, first });
        }
        self.entries.extend(entry);
    }

    /// With what makes searches short.
    pub(super) fn finished(mut self) -> Self {
        self.nodes.shrink_to_fit();
        self.entries.shrink_to_fit();
        if self.nodes.is_empty() {
            return self;
        }
        let mut before = 0;
        self.tops = vec![0; 1 << TOP_BITS];
        for (top, place) in self.tops.iter_mut().enumerate() {
            let rest = self.nodes.get(before..).unwrap_or_default();
            before += rest.iter().take_while(|node| top_of(node.addr) < top).count();
            *place = u32::try_from(before).unwrap_or(u32::MAX);
        }
        self
    }

    /// All entries: bits of the address as they stand here, prefix length, entry.
    pub(super) fn all(&self) -> impl Iterator<Item = (u128, u8, Entry)> {
        let ends = self.nodes.iter().skip(1).map(|node| node.first as usize);
        let nodes = self.nodes.iter().zip(ends.chain([self.entries.len()]));
        nodes.flat_map(|(node, end)| {
            let entries = self.entries.get(node.first as usize..end).unwrap_or_default();
            entries.iter().map(|entry| (node.addr, node.bits, *entry))
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) const fn entries(&self) -> usize {
        self.entries.len()
    }

    fn count(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(NONE)
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }

    /// The entries of every prefix that is `prefix` or above it, the longest first.
    pub(super) fn covering(&self, prefix: Prefix) -> impl Iterator<Item = &[Entry]> {
        let (addr, bits) = (bits_of(prefix), prefix.bits());
        let mut at = self.last_up_to(addr, bits);
        core::iter::from_fn(move || {
            loop {
                let node = self.node(at)?;
                let from = at;
                at = node.parent;
                if node.covers(addr, bits) {
                    let next = from.checked_add(1).and_then(|next| self.node(next));
                    let end = next.map_or(self.entries.len(), |next| next.first as usize);
                    return Some(self.entries.get(node.first as usize..end).unwrap_or_default());
                }
            }
        })
    }

    /// The last node that does not come after this prefix; [`NONE`] if all do.
    fn last_up_to(&self, addr: u128, bits: u8) -> u32 {
        let top = top_of(addr);
        let Some(from) = self.tops.get(top) else { return NONE };
        let to = self.tops.get(top + 1).map_or(self.nodes.len(), |to| *to as usize);
        let among = self.nodes.get(*from as usize..to).unwrap_or_default();
        let found = among.partition_point(|node| (node.addr, node.bits) <= (addr, bits));
        (*from + u32::try_from(found).unwrap_or(0)).wrapping_sub(1)
    }
}
