//! Lists of prefixes as they stand in UPDATE fields (RFC 4271 §4.3, RFC 4760 §5).

use super::reader::Reader;
use super::zetta;
use crate::types::{Family, Prefix};

/// The prefixes of one field, host bits cleared; `None`: a prefix too long for the family, or cut
/// off by the field's end (RFC 7606 §5.3).
pub(super) fn decode(family: Family, field: &[u8]) -> Option<Vec<Prefix>> {
    let mut reader = Reader::new(field);
    let mut prefixes = Vec::new();
    while !reader.is_empty() {
        let bits = reader.u8()?;
        let octets = reader.take(usize::from(bits).div_ceil(8))?;
        prefixes.push(zetta::decode_prefix(family, bits, octets)?);
    }
    Some(prefixes)
}

/// The octets that the longest prefix of a family takes.
pub(super) const fn prefix_bytes_max(family: Family) -> usize {
    match family {
        Family::Ipv4Unicast => 5,
        Family::Ipv6Unicast => 17,
    }
}

/// The prefixes of `family` in as few fields of at most `room` octets as their order allows.
/// `room` holds at least one prefix.
pub(super) fn encode(family: Family, prefixes: &[Prefix], room: usize) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    for prefix in prefixes.iter().filter(|prefix| prefix.family() == family) {
        let start = field.len();
        zetta::encode_prefix(*prefix, &mut field);
        if field.len() > room {
            let next = field.split_off(start);
            fields.push(core::mem::replace(&mut field, next));
        }
    }
    if !field.is_empty() {
        fields.push(field);
    }
    fields
}
