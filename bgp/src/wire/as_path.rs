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

    const fn octets(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// What is wrong with a path (RFC 7606 §7.2, RFC 7607 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    UnknownSegmentType,
    EmptySegment,
    CutSegment,
    AsZero,
    /// Of two-octet numbers, and would not fit in an attribute with four-octet ones.
    TooLong,
}

impl BadPath {
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::UnknownSegmentType => "segment of unknown type",
            Self::EmptySegment => "segment without AS numbers",
            Self::CutSegment => "segment runs over the end",
            Self::AsZero => "AS number zero",
            Self::TooLong => "too long with four-octet numbers",
        }
    }
}

/// What kind of segment (RFC 4271 §4.3, RFC 5065 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// AS_SET, 1
    Set,
    /// AS_SEQUENCE, 2
    Sequence,
    /// AS_CONFED_SEQUENCE, 3
    ConfedSequence,
    /// AS_CONFED_SET, 4
    ConfedSet,
}

impl SegmentKind {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Set),
            2 => Some(Self::Sequence),
            3 => Some(Self::ConfedSequence),
            4 => Some(Self::ConfedSet),
            _ => None,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfedSequence => 3,
            Self::ConfedSet => 4,
        }
    }

    /// Whether it belongs inside a confederation.
    pub const fn is_confed(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

/// A sound AS_PATH of four-octet numbers, borrowed as it stands on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath<'a>(&'a [u8]);

/// A segment of an [`AsPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// What kind.
    pub kind: SegmentKind,
    numbers: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Its AS numbers, in the order of the wire.
    pub fn asns(self) -> impl DoubleEndedIterator<Item = Asn> + Clone + 'a {
        let (numbers, _) = self.numbers.as_chunks::<4>();
        numbers.iter().filter_map(|number| Asn::new(u32::from_be_bytes(*number)))
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.numbers.len() / 4
    }

    /// Whether it has none, which no sound path contains.
    pub const fn is_empty(self) -> bool {
        self.numbers.is_empty()
    }

    /// What the segment adds to the length of a path (RFC 4271 §9.1.2.2, RFC 5065 §5.3).
    pub const fn hops(self) -> usize {
        match self.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => self.len(),
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        }
    }
}

impl<'a> AsPath<'a> {
    /// Of octets that were checked; what is wrong in others is not found.
    pub(super) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The octets of the wire, with numbers of four octets.
    pub const fn octets(self) -> &'a [u8] {
        self.0
    }

    /// Whether the route comes from inside our AS.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Its segments in order.
    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> + Clone {
        let mut reader = Reader::new(self.0);
        core::iter::from_fn(move || {
            let (code, count) = (reader.u8()?, reader.u8()?);
            let numbers = reader.take(usize::from(count) * 4)?;
            Some(Segment { kind: SegmentKind::from_code(code)?, numbers })
        })
    }

    /// Every AS number in it, in the order of the wire.
    pub fn asns(self) -> impl Iterator<Item = Asn> + Clone {
        self.segments().flat_map(Segment::asns)
    }

    /// Its length for the decision process (RFC 4271 §9.1.2.2).
    pub fn hops(self) -> usize {
        self.segments().map(Segment::hops).sum()
    }

    /// The neighbouring AS: the first of a path that begins with a sequence, confederation segments
    /// aside.
    pub fn first(self) -> Option<Asn> {
        let segment = self.segments().find(|segment| !segment.kind.is_confed())?;
        segment.asns().next().filter(|_| segment.kind == SegmentKind::Sequence)
    }

    /// The AS that originated the route (RFC 6811 §2): the last of a path that ends with a sequence;
    /// `None`: it ends with a set, or there is no path.
    pub fn origin(self) -> Option<Asn> {
        let segment = self.segments().filter(|segment| !segment.kind.is_confed()).last()?;
        segment.asns().next_back().filter(|_| segment.kind == SegmentKind::Sequence)
    }

    /// Owned.
    pub fn to_segments(self) -> Vec<AsSegment> {
        let owned = |segment: Segment<'_>| {
            let asns = segment.asns().collect();
            match segment.kind {
                SegmentKind::Set => AsSegment::Set(asns),
                SegmentKind::Sequence => AsSegment::Sequence(asns),
                SegmentKind::ConfedSequence => AsSegment::ConfedSequence(asns),
                SegmentKind::ConfedSet => AsSegment::ConfedSet(asns),
            }
        };
        self.segments().map(owned).collect()
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

    /// What kind of segment.
    pub const fn kind(&self) -> SegmentKind {
        match self {
            Self::Set(_) => SegmentKind::Set,
            Self::Sequence(_) => SegmentKind::Sequence,
            Self::ConfedSequence(_) => SegmentKind::ConfedSequence,
            Self::ConfedSet(_) => SegmentKind::ConfedSet,
        }
    }
}

/// Whether a path is sound, without decoding it. `Ok(true)`: it has confederation segments.
pub(super) fn check(value: &[u8], width: Width) -> Result<bool, BadPath> {
    if width == Width::Two && value.len() > usize::from(u16::MAX) / 2 {
        return Err(BadPath::TooLong);
    }
    let mut reader = Reader::new(value);
    let mut confed = false;
    while !reader.is_empty() {
        let (Some(code), Some(count)) = (reader.u8(), reader.u8()) else {
            return Err(BadPath::CutSegment);
        };
        let kind = SegmentKind::from_code(code).ok_or(BadPath::UnknownSegmentType)?;
        confed |= kind.is_confed();
        if count == 0 {
            return Err(BadPath::EmptySegment);
        }
        let numbers = reader.take(usize::from(count) * width.octets());
        let numbers = numbers.ok_or(BadPath::CutSegment)?;
        let zero = match width {
            Width::Two => numbers.as_chunks::<2>().0.contains(&[0; 2]),
            Width::Four => numbers.as_chunks::<4>().0.contains(&[0; 4]),
        };
        if zero {
            return Err(BadPath::AsZero);
        }
    }
    Ok(confed)
}

/// A path of two-octet numbers with four-octet ones.
pub(super) fn widen(value: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(value);
    let mut wide = Vec::with_capacity(value.len() * 2);
    while let (Some(code), Some(count)) = (reader.u8(), reader.u8()) {
        wide.extend([code, count]);
        for _ in 0..count {
            wide.extend(u32::from(reader.u16().unwrap_or(Asn::TRANS)).to_be_bytes());
        }
    }
    wide
}

/// A path for a peer of two-octet numbers: AS_TRANS where one does not fit.
pub(super) fn narrow(path: AsPath<'_>) -> Vec<u8> {
    let mut value = Vec::with_capacity(path.0.len());
    for segment in path.segments() {
        value.extend([segment.kind.code(), u8::try_from(segment.len()).unwrap_or(u8::MAX)]);
        for asn in segment.asns() {
            value.extend(u16::try_from(asn.get()).unwrap_or(Asn::TRANS).to_be_bytes());
        }
    }
    value
}

/// The path on the wire with four-octet numbers. A count is one octet: longer segments become
/// several.
pub(super) fn encode(segments: &[AsSegment]) -> Vec<u8> {
    let mut value = Vec::new();
    for segment in segments {
        for asns in segment.asns().chunks(usize::from(u8::MAX)) {
            value.push(segment.kind().code());
            value.push(u8::try_from(asns.len()).unwrap_or(u8::MAX));
            value.extend(asns.iter().flat_map(|asn| asn.get().to_be_bytes()));
        }
    }
    value
}

/// `path` with `asn` in front, `times` over: in its first sequence while that has room, else in one
/// of its own (RFC 4271 §5.1.2).
pub fn prepend(path: AsPath<'_>, asn: Asn, times: u8) -> Vec<u8> {
    let times_usize = usize::from(times);
    let mut value = Vec::with_capacity(path.0.len() + times_usize * 4 + 2);
    let number = asn.get().to_be_bytes();
    let sequence = SegmentKind::Sequence.code();
    let (count, rest) = match path.0 {
        [2, count, rest @ ..] if count.checked_add(times).is_some() => (*count, rest),
        whole => (0, whole),
    };
    if times > 0 || count > 0 {
        value.extend([sequence, count + times]);
    }
    value.extend(number.repeat(times.into()));
    value.extend(rest);
    value
}

/// The AS4_PATH that belongs beside a two-octet AS_PATH: the path without its confederation
/// segments; `None` when every number fits in two octets (RFC 6793 §4.2.2).
pub(super) fn encode_as4_path(path: AsPath<'_>) -> Option<Vec<u8>> {
    let public = path.segments().filter(|segment| !segment.kind.is_confed());
    let wide = |asn: Asn| u16::try_from(asn.get()).is_err();
    if !public.clone().flat_map(Segment::asns).any(wide) {
        return None;
    }
    let mut value = Vec::new();
    for segment in public {
        value.extend([segment.kind.code(), u8::try_from(segment.len()).unwrap_or(u8::MAX)]);
        value.extend(segment.numbers);
    }
    Some(value)
}

/// The path that `as_path` stands for, given the AS4_PATH that came with it (RFC 6793 §4.2.3): the
/// hops that AS4_PATH lacks are taken from the front of AS_PATH, where speakers without four-octet
/// numbers added them. Both with four-octet numbers.
pub(super) fn merge(as_path: AsPath<'_>, as4_path: AsPath<'_>) -> Vec<u8> {
    // Confederation segments must not be there; what is left of AS4_PATH still counts.
    let mut as4_path = as4_path.to_segments();
    as4_path.retain(|segment| !segment.kind().is_confed());
    let as4_hops: usize = as4_path.iter().map(AsSegment::hops).sum();
    let Some(mut missing) = as_path.hops().checked_sub(as4_hops) else {
        return as_path.0.to_vec(); // AS_PATH was rewritten on the way: AS4_PATH is of another path.
    };
    let mut merged = Vec::new();
    for segment in as_path.to_segments() {
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
    let merged = encode(&merged);
    // Beyond what an attribute holds, the path without its wide numbers is better than none.
    if merged.len() > usize::from(u16::MAX) { as_path.0.to_vec() } else { merged }
}

impl AsSegment {
    /// What the segment adds to the length of a path (RFC 4271 §9.1.2.2, RFC 5065 §5.3).
    pub fn hops(&self) -> usize {
        match self {
            Self::Set(_) => 1,
            Self::Sequence(asns) => asns.len(),
            Self::ConfedSequence(_) | Self::ConfedSet(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
