//! FlowSpec NLRI (RFC 8955 §4, RFC 8956 §3): received, checked and shown; nothing acts on them yet.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::reader::Reader;
use crate::types::{Family, Prefix};

/// Iterates over the rules of a field.
#[derive(Clone, Debug)]
pub struct FlowSpecs<'a> {
    family: Family,
    reader: Reader<'a>,
}

/// One rule: the octets of its components, without the length in front. Shown as
/// `dst 192.0.2.0/24 proto =6 dst-port >=80&<=90,=443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowSpec<'a> {
    family: Family,
    octets: &'a [u8],
}

/// One condition; a packet must meet all of a rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Component<'a> {
    kind: u8,
    condition: Condition<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    /// An address is in this prefix.
    V4(Ipv4Addr, u8),
    /// Bits of an address from `offset` up to a length are those (RFC 8956 §3.1).
    V6 { pattern: Ipv6Addr, offset: u8, len: u8 },
    /// A number meets a list of comparisons (RFC 8955 §4.2.1.1).
    Numeric(&'a [u8]),
    /// Bits match a list of masks (§4.2.1.2).
    Bitmask(&'a [u8]),
}

/// Types of components (RFC 8955 §4.2.2, RFC 8956 §3).
mod kind {
    pub(super) const DESTINATION: u8 = 1;
    pub(super) const SOURCE: u8 = 2;
    pub(super) const TCP_FLAGS: u8 = 9;
    pub(super) const FRAGMENT: u8 = 12;
    pub(super) const FLOW_LABEL: u8 = 13;
}

/// Bits of an operator octet (RFC 8955 §4.2.1).
mod operator {
    pub(super) const END: u8 = 0x80;
    pub(super) const AND: u8 = 0x40;
    pub(super) const LESS: u8 = 0x04;
    pub(super) const GREATER: u8 = 0x02;
    pub(super) const EQUAL: u8 = 0x01;
    pub(super) const NOT: u8 = 0x02;
    pub(super) const MATCH: u8 = 0x01;
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
    pub(super) fn check(field: &'a [u8]) -> Option<()> {
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
    /// A rule from octets that were kept; what is not sound in them is not shown.
    pub const fn new(family: Family, octets: &'a [u8]) -> Self {
        Self { family, octets }
    }

    /// Its components as on the wire: what tells two rules apart.
    pub const fn octets(self) -> &'a [u8] {
        self.octets
    }

    /// Whether it has components, of known types in rising order, each whole (RFC 8955 §4.2).
    pub(super) fn is_sound(self) -> bool {
        let mut reader = Reader::new(self.octets);
        let mut last = 0;
        while !reader.is_empty() {
            match Component::next(&mut reader, self.family) {
                Some(component) if component.kind > last => last = component.kind,
                _ => return false,
            }
        }
        last > 0
    }

    /// Where packets go to that it is about, if it names the first bits of that.
    pub fn destination(self) -> Option<Prefix> {
        let first = self.components().find(|it| it.kind == kind::DESTINATION)?;
        match first.condition {
            Condition::V4(addr, len) => Prefix::new(addr.into(), len),
            Condition::V6 { pattern, offset: 0, len } => Prefix::new(pattern.into(), len),
            _ => None,
        }
    }

    fn components(self) -> impl Iterator<Item = Component<'a>> {
        let mut reader = Reader::new(self.octets);
        core::iter::from_fn(move || Component::next(&mut reader, self.family))
    }
}

impl<'a> Component<'a> {
    fn next(reader: &mut Reader<'a>, family: Family) -> Option<Self> {
        let kind = reader.u8()?;
        let condition = match (kind, family) {
            (kind::DESTINATION | kind::SOURCE, Family::Ipv6Flowspec) => v6_pattern(reader)?,
            (kind::DESTINATION | kind::SOURCE, _) => v4_prefix(reader)?,
            (kind::TCP_FLAGS | kind::FRAGMENT, _) => Condition::Bitmask(operators(reader)?),
            (3..=11, _) | (kind::FLOW_LABEL, Family::Ipv6Flowspec) => {
                Condition::Numeric(operators(reader)?)
            }
            _ => return None,
        };
        Some(Self { kind, condition })
    }

    const fn name(self) -> &'static str {
        match self.kind {
            1 => "dst",
            2 => "src",
            3 => "proto",
            4 => "port",
            5 => "dst-port",
            6 => "src-port",
            7 => "icmp-type",
            8 => "icmp-code",
            9 => "tcp-flags",
            10 => "length",
            11 => "dscp",
            12 => "fragment",
            _ => "flow-label",
        }
    }
}

fn v4_prefix<'a>(reader: &mut Reader<'_>) -> Option<Condition<'a>> {
    let len = reader.u8().filter(|len| *len <= 32)?;
    let octets = reader.take(usize::from(len).div_ceil(8))?;
    let bits = octets.iter().fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
    let left = bits << (32 - 8 * octets.len());
    Some(Condition::V4(Ipv4Addr::from_bits(u32::try_from(left).ok()?), len))
}

/// Length, offset, and as many bits as lie between them.
fn v6_pattern<'a>(reader: &mut Reader<'_>) -> Option<Condition<'a>> {
    let len = reader.u8().filter(|len| *len <= 128)?;
    let offset = reader.u8().filter(|offset| *offset < len || len == 0 && *offset == 0)?;
    let octets = reader.take(usize::from(len - offset).div_ceil(8))?;
    let bits = octets.iter().fold(0_u128, |bits, octet| bits << 8 | u128::from(*octet));
    let unused = u32::try_from(128 - 8 * octets.len()).ok()?;
    let left = bits.checked_shl(unused).unwrap_or(0);
    let pattern = Ipv6Addr::from_bits(left.checked_shr(offset.into()).unwrap_or(0));
    Some(Condition::V6 { pattern, offset, len })
}

/// Operators with their values, up to the one that says it is the last.
fn operators<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let whole = reader.rest();
    loop {
        let (operator, _) = operation(reader)?;
        if operator & operator::END != 0 {
            return whole.get(..whole.len() - reader.rest().len());
        }
    }
}

/// One operator and its value of 1, 2, 4 or 8 octets.
fn operation(reader: &mut Reader<'_>) -> Option<(u8, u64)> {
    let operator = reader.u8()?;
    let octets = reader.take(1 << (operator >> 4 & 3))?;
    Some((operator, octets.iter().fold(0, |value, octet| value << 8 | u64::from(*octet))))
}

impl fmt::Display for FlowSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, component) in self.components().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{} {}", component.name(), component.condition)?;
        }
        Ok(())
    }
}

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(addr, len) => write!(f, "{addr}/{len}"),
            Self::V6 { pattern, offset: 0, len } => write!(f, "{pattern}/{len}"),
            Self::V6 { pattern, offset, len } => write!(f, "{pattern}/{offset}-{len}"),
            Self::Numeric(octets) => show(f, octets, numeric),
            Self::Bitmask(octets) => show(f, octets, bitmask),
        }
    }
}

/// Operations joined by `&` (and) or `,` (or).
fn show(
    f: &mut fmt::Formatter<'_>,
    octets: &[u8],
    one: fn(&mut fmt::Formatter<'_>, u8, u64) -> fmt::Result,
) -> fmt::Result {
    let mut reader = Reader::new(octets);
    let mut first = true;
    while let Some((operator, value)) = operation(&mut reader) {
        if !first {
            f.write_str(if operator & operator::AND == 0 { "," } else { "&" })?;
        }
        first = false;
        one(f, operator, value)?;
    }
    Ok(())
}

fn numeric(f: &mut fmt::Formatter<'_>, operator: u8, value: u64) -> fmt::Result {
    const LE: u8 = operator::LESS | operator::EQUAL;
    const GE: u8 = operator::GREATER | operator::EQUAL;
    const NE: u8 = operator::LESS | operator::GREATER;
    match operator & (operator::LESS | operator::GREATER | operator::EQUAL) {
        0 => f.write_str("false"),
        operator::EQUAL => write!(f, "={value}"),
        operator::GREATER => write!(f, ">{value}"),
        operator::LESS => write!(f, "<{value}"),
        LE => write!(f, "<={value}"),
        GE => write!(f, ">={value}"),
        NE => write!(f, "!={value}"),
        _ => f.write_str("true"),
    }
}

fn bitmask(f: &mut fmt::Formatter<'_>, operator: u8, value: u64) -> fmt::Result {
    let not = if operator & operator::NOT == 0 { "" } else { "!" };
    let all = if operator & operator::MATCH == 0 { "" } else { "=" };
    write!(f, "{not}{all}0x{value:x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::nlri::Nlri;

    fn shown(family: Family, field: &[u8]) -> Vec<String> {
        let nlri = Nlri::new(family, false, field).unwrap();
        nlri.flow_specs().filter(|rule| rule.is_sound()).map(|rule| rule.to_string()).collect()
    }

    #[test]
    fn rules_are_read_as_rfc_8955_and_8956_give_them() {
        // RFC 8955 §4.3.1 and §4.3.2.
        let first = [11, 1, 24, 192, 0, 2, 3, 0x81, 6, 4, 0x81, 25];
        assert_eq!(shown(Family::Ipv4Flowspec, &first), ["dst 192.0.2.0/24 proto =6 port =25"]);
        let second = [
            0x12, 1, 24, 192, 0, 2, 2, 8, 203, 4, 3, 137, 0x45, 139, 0x91, 0x1f, 0x90, 12, 0x80, 2,
        ];
        let second = [&[u8::try_from(second.len() - 1).unwrap()], &second[1..]].concat();
        assert_eq!(
            shown(Family::Ipv4Flowspec, &second),
            ["dst 192.0.2.0/24 src 203.0.0.0/8 port >=137&<=139,=8080 fragment 0x2"]
        );
        // RFC 8956 §3.8.1: bits 64 to 104 of the source address.
        let third =
            [17, 1, 32, 0, 0x20, 1, 0xd, 0xb8, 2, 104, 64, 0x12, 0x34, 0x56, 0x78, 0x9a, 3, 0x81];
        assert_eq!(shown(Family::Ipv6Flowspec, &third), Vec::<String>::new(), "cut off");
        let third = [
            18, 1, 32, 0, 0x20, 1, 0xd, 0xb8, 2, 104, 64, 0x12, 0x34, 0x56, 0x78, 0x9a, 3, 0x81, 6,
        ];
        assert_eq!(
            shown(Family::Ipv6Flowspec, &third),
            ["dst 2001:db8::/32 src ::1234:5678:9a00:0/64-104 proto =6"]
        );
    }

    #[test]
    fn what_breaks_the_rules_of_rfc_8955_4_2_is_not_sound() {
        let cases: [(&str, &[u8]); 9] = [
            ("no components", &[0]),
            ("unknown type", &[3, 14, 0x81, 6]),
            ("flow label in IPv4", &[3, 13, 0x81, 6]),
            ("order", &[6, 4, 0x81, 25, 3, 0x81, 6]),
            ("twice", &[6, 3, 0x81, 6, 3, 0x81, 7]),
            ("no end", &[3, 3, 0x01, 6]),
            ("value cut off", &[3, 3, 0x91, 6]),
            ("prefix /33", &[7, 1, 33, 1, 2, 3, 4, 5]),
            ("prefix cut off", &[3, 1, 24, 192]),
        ];
        for (name, field) in cases {
            assert_eq!(shown(Family::Ipv4Flowspec, field), Vec::<String>::new(), "{name}");
        }
        assert_eq!(Nlri::new(Family::Ipv4Flowspec, false, &[4, 3, 0x81, 6]), None, "over the end");
        assert_eq!(Nlri::new(Family::Ipv4Flowspec, false, &[0xf1]), None, "half a length");
        let offset = [6, 1, 32, 32, 0x20, 1, 0xd];
        assert_eq!(shown(Family::Ipv6Flowspec, &offset), Vec::<String>::new(), "empty pattern");
        // A length of twelve bits.
        let long = [&[0xf0, 3, 3, 0x81, 6][..], &[3, 3, 0x81, 17]].concat();
        assert_eq!(shown(Family::Ipv4Flowspec, &long), ["proto =6", "proto =17"]);
    }
}
