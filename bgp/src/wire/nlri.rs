//! Lists of NLRI as they stand in UPDATE fields (RFC 4271 §4.3, RFC 4760 §5, RFC 7911 §3).
//!
//! Prefixes are read and written here and not by `zettabgp`, which takes 16 ns for each: a full
//! table has a million of them. Its codec is what the tests compare with.

use core::net::IpAddr;

use super::flowspec::FlowSpecs;
use super::reader::Reader;
use crate::types::{Family, PathId, Prefix};

/// NLRI of one family in one field of an UPDATE, syntactically correct from end to end; borrowed,
/// and decoded as they are iterated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nlri<'a> {
    family: Family,
    with_path_id: bool,
    field: &'a [u8],
}

impl<'a> Nlri<'a> {
    /// `None`: an item too long for the family, or cut off by the field's end (RFC 7606 §5.3).
    pub(super) fn new(family: Family, with_path_id: bool, field: &'a [u8]) -> Option<Self> {
        let nlri = Self { family, with_path_id, field };
        match family {
            Family::Ipv4Unicast => nlri.check_prefixes(32)?,
            Family::Ipv6Unicast => nlri.check_prefixes(128)?,
            Family::Ipv4Flowspec | Family::Ipv6Flowspec => FlowSpecs::check(field)?,
        }
        Some(nlri)
    }

    fn check_prefixes(self, bits_max: u8) -> Option<()> {
        let mut reader = Reader::new(self.field);
        while !reader.is_empty() {
            if self.with_path_id {
                reader.u32()?;
            }
            let bits = reader.u8().filter(|bits| *bits <= bits_max)?;
            reader.take(octets(bits))?;
        }
        Some(())
    }

    /// Of which family.
    pub const fn family(self) -> Family {
        self.family
    }

    /// Whether each has a Path Identifier (RFC 7911 §3): that was agreed, whatever their numbers are.
    pub const fn has_path_ids(self) -> bool {
        self.with_path_id
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.field.is_empty()
    }

    /// The prefixes with their Path Identifiers, in the order of the wire, host bits cleared; none
    /// of a FlowSpec family.
    pub const fn prefixes(self) -> Prefixes<'a> {
        let field = match self.family {
            Family::Ipv4Unicast | Family::Ipv6Unicast => self.field,
            Family::Ipv4Flowspec | Family::Ipv6Flowspec => &[],
        };
        Prefixes { reader: Reader::new(field), nlri: self }
    }

    /// The rules of a FlowSpec family; none of another.
    pub const fn flow_specs(self) -> FlowSpecs<'a> {
        FlowSpecs::new(self.family, self.field)
    }
}

/// Iterates over the prefixes of a field.
#[derive(Clone, Debug)]
pub struct Prefixes<'a> {
    reader: Reader<'a>,
    nlri: Nlri<'a>,
}

impl Iterator for Prefixes<'_> {
    type Item = (PathId, Prefix);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let path_id = if self.nlri.with_path_id { self.reader.u32()? } else { 0 };
        let bits = self.reader.u8()?;
        let addr = match self.nlri.family {
            Family::Ipv6Unicast => IpAddr::from(self.reader.array_of::<16>(octets(bits))?),
            _ => IpAddr::from(self.reader.array_of::<4>(octets(bits))?),
        };
        Some((PathId(path_id), Prefix::new(addr, bits)?))
    }
}

/// The octets that the longest prefix of a family takes; FlowSpec is never sent.
pub(super) const fn prefix_bytes_max(family: Family, with_path_id: bool) -> usize {
    let prefix = match family {
        Family::Ipv4Unicast | Family::Ipv4Flowspec => 5,
        Family::Ipv6Unicast | Family::Ipv6Flowspec => 17,
    };
    if with_path_id { 4 + prefix } else { prefix }
}

/// The octets that so many bits of a prefix take.
const fn octets(bits: u8) -> usize {
    (bits as usize).div_ceil(8)
}

/// Appends one prefix.
#[inline]
pub(super) fn encode(with_path_id: bool, path_id: PathId, prefix: Prefix, out: &mut Vec<u8>) {
    if with_path_id {
        out.extend_from_slice(&path_id.0.to_be_bytes());
    }
    out.push(prefix.bits());
    let end = out.len() + octets(prefix.bits());
    // All octets, then without those that the length leaves out: a copy of a fixed size is cheap.
    match prefix.addr() {
        IpAddr::V4(addr) => out.extend_from_slice(&addr.octets()),
        IpAddr::V6(addr) => out.extend_from_slice(&addr.octets()),
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests;
