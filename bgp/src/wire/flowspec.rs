//! FlowSpec NLRI (RFC 8955 §4, RFC 8956 §3): received, checked and shown; nothing acts on them yet.

use super::reader::Reader;
use crate::types::Family;

/// Iterates over the rules of a field.
#[derive(Clone, Debug)]
pub struct FlowSpecs<'a> {
    family: Family,
    reader: Reader<'a>,
}

/// One rule: the octets of its components, without the length in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowSpec<'a> {
    family: Family,
    octets: &'a [u8],
}

impl<'a> FlowSpecs<'a> {
    pub(super) const fn new(family: Family, field: &'a [u8]) -> Self {
        let field = match family {
            Family::Ipv4Flowspec | Family::Ipv6Flowspec => field,
            Family::Ipv4Unicast | Family::Ipv6Unicast => &[],
        };
        Self { family, reader: Reader::new(field) }
    }

    /// `None`: a length that does not fit.
    pub(super) fn check(_family: Family, field: &'a [u8]) -> Option<()> {
        let mut reader = Reader::new(field);
        while !reader.is_empty() {
            take_rule(&mut reader)?;
        }
        Some(())
    }
}

/// One octet of length, or twelve bits where the first four are ones (RFC 8955 §4.1).
fn take_rule<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let first = reader.u8()?;
    let len = match first {
        0xf0.. => u16::from_be_bytes([first & 0x0f, reader.u8()?]),
        _ => u16::from(first),
    };
    reader.take(len.into())
}

impl<'a> Iterator for FlowSpecs<'a> {
    type Item = FlowSpec<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let octets = take_rule(&mut self.reader)?;
        Some(FlowSpec { family: self.family, octets })
    }
}

impl<'a> FlowSpec<'a> {
    /// Its components as on the wire: what tells two rules apart.
    pub const fn octets(self) -> &'a [u8] {
        self.octets
    }
}

impl FlowSpec<'_> {
    /// Whether its components are as RFC 8955 §4.2 wants them.
    pub fn is_sound(self) -> bool {
        !self.octets.is_empty() && self.family != Family::Ipv4Unicast
    }
}
