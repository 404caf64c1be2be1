//! AS_PATH and AS4_PATH (RFC 4271 §4.3, RFC 5065, RFC 6793). Ours from end to end: `zettabgp` loops
//! on a cut segment, sends a sequence as a set, and takes AS 65536 for AS 1.

use super::message::AsSegment;
use super::reader::Reader;
use crate::types::Asn;

/// How many octets an AS number takes on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// A peer without the capability of RFC 6793.
    Two,
    /// All others, and AS4_PATH always.
    Four,
}

impl Width {
    pub(super) const fn of(four_octet_as: bool) -> Self {
        if four_octet_as { Self::Four } else { Self::Two }
    }
}

/// What is wrong with a path (RFC 7606 §7.2, RFC 7607 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    UnknownSegmentType,
    EmptySegment,
    CutSegment,
    AsZero,
}

impl BadPath {
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::UnknownSegmentType => "segment of unknown type",
            Self::EmptySegment => "segment without AS numbers",
            Self::CutSegment => "segment runs over the end",
            Self::AsZero => "AS number zero",
        }
    }
}

impl AsSegment {
    /// The AS numbers, in the order of the wire.
    pub fn asns(&self) -> &[Asn] {
        match self {
            Self::Set(asns)
            | Self::Sequence(asns)
            | Self::ConfedSequence(asns)
            | Self::ConfedSet(asns) => asns,
        }
    }

    /// What the segment adds to the length of a path (RFC 4271 §9.1.2.2, RFC 5065 §5.3).
    pub fn hops(&self) -> usize {
        match self {
            Self::Set(_) => 1,
            Self::Sequence(asns) => asns.len(),
            Self::ConfedSequence(_) | Self::ConfedSet(_) => 0,
        }
    }

    /// Whether it belongs inside a confederation.
    pub const fn is_confed(&self) -> bool {
        matches!(self, Self::ConfedSequence(_) | Self::ConfedSet(_))
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Set(_) => 1,
            Self::Sequence(_) => 2,
            Self::ConfedSequence(_) => 3,
            Self::ConfedSet(_) => 4,
        }
    }
}

pub(super) fn decode(value: &[u8], width: Width) -> Result<Vec<AsSegment>, BadPath> {
    let mut reader = Reader::new(value);
    let mut segments = Vec::new();
    while !reader.is_empty() {
        let (Some(code), Some(count)) = (reader.u8(), reader.u8()) else {
            return Err(BadPath::CutSegment);
        };
        let make = match code {
            1 => AsSegment::Set,
            2 => AsSegment::Sequence,
            3 => AsSegment::ConfedSequence,
            4 => AsSegment::ConfedSet,
            _ => return Err(BadPath::UnknownSegmentType),
        };
        if count == 0 {
            return Err(BadPath::EmptySegment);
        }
        let mut asns = Vec::new();
        for _ in 0..count {
            let number = match width {
                Width::Two => reader.u16().map(u32::from),
                Width::Four => reader.u32(),
            };
            let number = number.ok_or(BadPath::CutSegment)?;
            asns.push(Asn::new(number).ok_or(BadPath::AsZero)?);
        }
        segments.push(make(asns));
    }
    Ok(segments)
}

/// The path for a peer of this width: AS_TRANS where a number does not fit.
pub(super) fn encode(segments: &[AsSegment], width: Width) -> Vec<u8> {
    let mut value = Vec::new();
    for segment in segments {
        // A count is one octet: longer segments go out as several.
        for asns in segment.asns().chunks(usize::from(u8::MAX)) {
            value.push(segment.code());
            value.push(u8::try_from(asns.len()).unwrap_or(u8::MAX));
            for asn in asns {
                match width {
                    Width::Two => {
                        value.extend(u16::try_from(asn.get()).unwrap_or(Asn::TRANS).to_be_bytes());
                    }
                    Width::Four => value.extend(asn.get().to_be_bytes()),
                }
            }
        }
    }
    value
}

/// The AS4_PATH that belongs beside a two-octet AS_PATH: the path without its confederation
/// segments; `None` when every number fits in two octets (RFC 6793 §4.2.2).
pub(super) fn encode_as4_path(segments: &[AsSegment]) -> Option<Vec<u8>> {
    let public: Vec<_> = segments.iter().filter(|s| !s.is_confed()).cloned().collect();
    let wide = |asn: &Asn| u16::try_from(asn.get()).is_err();
    let needed = public.iter().flat_map(AsSegment::asns).any(wide);
    needed.then(|| encode(&public, Width::Four))
}

fn hops(segments: &[AsSegment]) -> usize {
    segments.iter().map(AsSegment::hops).sum()
}

/// The path that `as_path` stands for, given the AS4_PATH that came with it (RFC 6793 §4.2.3): the
/// hops that AS4_PATH lacks are taken from the front of AS_PATH, where speakers without four-octet
/// numbers added them.
pub(super) fn merge(as_path: Vec<AsSegment>, mut as4_path: Vec<AsSegment>) -> Vec<AsSegment> {
    // Those must not be there; what is left of AS4_PATH still counts.
    as4_path.retain(|segment| !segment.is_confed());
    let Some(mut missing) = hops(&as_path).checked_sub(hops(&as4_path)) else {
        return as_path; // AS_PATH was rewritten on the way; AS4_PATH is about another path.
    };
    let mut merged = Vec::new();
    for segment in as_path {
        match segment {
            // Adjacent to what is taken, or leading: taken along.
            AsSegment::ConfedSequence(_) | AsSegment::ConfedSet(_) => merged.push(segment),
            AsSegment::Set(_) | AsSegment::Sequence(_) if missing == 0 => break,
            AsSegment::Set(_) => {
                missing -= 1;
                merged.push(segment);
            }
            AsSegment::Sequence(mut asns) => {
                let cut = asns.len() > missing;
                asns.truncate(missing);
                missing -= asns.len();
                merged.push(AsSegment::Sequence(asns));
                if cut {
                    break;
                }
            }
        }
    }
    for segment in as4_path {
        match (merged.last_mut(), segment) {
            // One sequence, as a speaker of four-octet numbers would have sent it.
            (Some(AsSegment::Sequence(front)), AsSegment::Sequence(mut asns)) => {
                front.append(&mut asns);
            }
            (_, segment) => merged.push(segment),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
