//! Path attributes as bytes: reading those of a set, which were checked when they came, and
//! writing them.

use crate::wire::flag;

/// One attribute of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) flags: u8,
    pub(crate) code: u8,
    pub(crate) value: &'a [u8],
}

/// Attributes one after the other; ends early where the bytes are not what they should be.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    core::iter::from_fn(move || {
        let (&[flags, code], rest) = bytes.split_first_chunk::<2>()?;
        let (len, rest) = if flags & flag::EXTENDED_LENGTH == 0 {
            let (&len, rest) = rest.split_first()?;
            (usize::from(len), rest)
        } else {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        };
        let (value, rest) = rest.split_at_checked(len)?;
        bytes = rest;
        Some(Attribute { flags, code, value })
    })
}

/// The value of one attribute.
pub(crate) fn find(bytes: &[u8], code: u8) -> Option<&[u8]> {
    attributes(bytes).find(|attribute| attribute.code == code).map(|attribute| attribute.value)
}

/// Segments of an AS_PATH in four octets: type, and the AS numbers as bytes.
pub(crate) fn path_segments(mut path: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        let (&[kind, count], rest) = path.split_first_chunk::<2>()?;
        let (asns, rest) = rest.split_at_checked(usize::from(count) * 4)?;
        path = rest;
        Some((kind, asns))
    })
}

/// Every AS number of an AS_PATH, in the order of the wire.
pub(crate) fn path_asns(path: &[u8]) -> impl Iterator<Item = u32> {
    path_segments(path).flat_map(|(_, asns)| words(asns))
}

/// Four octets at a time.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word))
}

/// Appends an attribute, its length in two octets only if one does not do.
pub(crate) fn push(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    let flags = flags & !flag::EXTENDED_LENGTH;
    if let Ok(len) = u8::try_from(value.len()) {
        out.extend_from_slice(&[flags, code, len]);
    } else {
        let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
        out.extend_from_slice(&[flags | flag::EXTENDED_LENGTH, code, high, low]);
    }
    out.extend_from_slice(value);
}
