use super::*;

fn asns(numbers: &[u32]) -> Vec<Asn> {
    numbers.iter().map(|number| Asn::new(*number).unwrap()).collect()
}

fn seq(numbers: &[u32]) -> AsSegment {
    AsSegment::Sequence(asns(numbers))
}

fn set(numbers: &[u32]) -> AsSegment {
    AsSegment::Set(asns(numbers))
}

fn confed(numbers: &[u32]) -> AsSegment {
    AsSegment::ConfedSequence(asns(numbers))
}

/// Checked, widened and owned.
fn decode(value: &[u8], width: Width) -> Result<Vec<AsSegment>, BadPath> {
    check(value, width)?;
    Ok(match width {
        Width::Two => AsPath::new(&widen(value)).to_segments(),
        Width::Four => AsPath::new(value).to_segments(),
    })
}

#[test]
fn malformed_paths_are_named() {
    let cases: [(&str, &[u8], Width, BadPath); 9] = [
        // The value on which zettabgp loops and eats memory.
        ("one octet behind a segment", &[1, 0, 4], Width::Four, BadPath::EmptySegment),
        ("the same behind a sound one", &[2, 1, 0, 1, 4], Width::Two, BadPath::CutSegment),
        // Those on which it panics.
        ("type and count only", &[1, 4], Width::Four, BadPath::CutSegment),
        ("unknown type and count", &[2, 0xf9], Width::Two, BadPath::CutSegment),
        ("segment of type 5", &[5, 1, 0, 0, 0, 1], Width::Four, BadPath::UnknownSegmentType),
        ("segment of type 0", &[0, 1, 0, 0, 0, 1], Width::Four, BadPath::UnknownSegmentType),
        ("count exceeds the octets", &[2, 2, 0, 0, 0, 1], Width::Four, BadPath::CutSegment),
        ("AS zero", &[2, 2, 0, 1, 0, 0], Width::Two, BadPath::AsZero),
        ("two octets read as four", &[2, 1, 0, 1], Width::Four, BadPath::CutSegment),
    ];
    for (name, value, width, bad) in cases {
        assert_eq!(decode(value, width), Err(bad), "{name}");
    }
    assert_eq!(decode(&[], Width::Two), Ok(vec![]));
}

#[test]
fn a_sequence_is_type_2_and_a_set_type_1() {
    let path = [seq(&[64_512, 3356]), set(&[65_536])];
    let four = [2, 2, 0, 0, 0xfc, 0, 0, 0, 0x0d, 0x1c, 1, 1, 0, 1, 0, 0];
    assert_eq!(encode(&path), four);
    assert_eq!(decode(&four, Width::Four), Ok(path.to_vec()));
    // AS 65536 has no two-octet form but AS_TRANS; its low half would be zero.
    let two = [2, 2, 0xfc, 0, 0x0d, 0x1c, 1, 1, 0x5b, 0xa0];
    assert_eq!(narrow(AsPath::new(&four)), two);
}

#[test]
fn as_65536_is_not_as_1() {
    let wide = decode(&[2, 1, 0, 1, 0, 0], Width::Four).unwrap();
    let narrow = decode(&[2, 1, 0, 0, 0, 1], Width::Four).unwrap();
    assert_ne!(wide, narrow);
    assert_eq!((wide[0].asns()[0].get(), narrow[0].asns()[0].get()), (65_536, 1));
}

#[test]
fn more_than_255_hops_go_out_as_two_segments() {
    let numbers: Vec<u32> = (1..=300).collect();
    let value = encode(&[seq(&numbers)]);
    assert_eq!((value[0], value[1]), (2, 255));
    let read = decode(&value, Width::Four).unwrap();
    assert_eq!(read, [seq(&numbers[..255]), seq(&numbers[255..])]);
}

#[test]
fn as4_path_is_sent_only_when_a_number_needs_it() {
    let encode_as4_path = |path: &[AsSegment]| encode_as4_path(AsPath::new(&encode(path)));
    assert_eq!(encode_as4_path(&[seq(&[1, 65_535]), set(&[2])]), None);
    // The confederation's own numbers do not count, and are not sent.
    assert_eq!(encode_as4_path(&[confed(&[70_000]), seq(&[1])]), None);
    let value = encode_as4_path(&[confed(&[70_000]), seq(&[70_001, 1])]).unwrap();
    assert_eq!(decode(&value, Width::Four), Ok(vec![seq(&[70_001, 1])]));
}

#[test]
fn as4_path_fills_in_what_two_octets_could_not_say() {
    const T: u32 = 23_456;
    type Path = Vec<AsSegment>;
    let cases: [(&str, Path, Path, Path); 10] = [
        ("all known", vec![seq(&[T, 5])], vec![seq(&[70_000, 5])], vec![seq(&[70_000, 5])]),
        (
            "an old speaker prepended",
            vec![seq(&[9, 8, T, 5])],
            vec![seq(&[70_000, 5])],
            vec![seq(&[9, 8, 70_000, 5])],
        ),
        ("AS4_PATH longer: ignored", vec![seq(&[9])], vec![seq(&[7, 8])], vec![seq(&[9])]),
        (
            "a set counts one hop",
            vec![seq(&[9]), set(&[T, 5, 6])],
            vec![set(&[70_000, 5, 6])],
            vec![seq(&[9]), set(&[70_000, 5, 6])],
        ),
        (
            "a set in front is taken whole",
            vec![set(&[3, 4]), seq(&[T])],
            vec![seq(&[70_000])],
            vec![set(&[3, 4]), seq(&[70_000])],
        ),
        (
            "sequence cut where AS4_PATH begins",
            vec![seq(&[9]), seq(&[8, T]), set(&[5])],
            vec![seq(&[70_000]), set(&[5])],
            vec![seq(&[9]), seq(&[8, 70_000]), set(&[5])],
        ),
        (
            "leading confederation segment stays",
            vec![confed(&[64_600]), seq(&[T])],
            vec![seq(&[70_000])],
            vec![confed(&[64_600]), seq(&[70_000])],
        ),
        (
            "confederation segment in AS4_PATH goes",
            vec![seq(&[9, T])],
            vec![confed(&[64_600]), seq(&[70_000])],
            vec![seq(&[9, 70_000])],
        ),
        ("empty AS_PATH", vec![], vec![seq(&[1])], vec![]),
        ("nothing left of AS4_PATH", vec![seq(&[9])], vec![confed(&[1])], vec![seq(&[9])]),
    ];
    for (name, as_path, as4_path, expected) in cases {
        let (as_path, as4_path) = (encode(&as_path), encode(&as4_path));
        let merged = merge(AsPath::new(&as_path), AsPath::new(&as4_path));
        assert_eq!(AsPath::new(&merged).to_segments(), expected, "{name}");
    }
}

#[test]
fn hops_count_as_the_decision_process_wants_them() {
    let confed_set = AsSegment::ConfedSet(asns(&[1, 2]));
    let cases = [(seq(&[1, 2, 3]), 3), (set(&[1, 2]), 1), (confed(&[1, 2]), 0), (confed_set, 0)];
    for (segment, hops) in cases {
        assert_eq!(AsPath::new(&encode(core::slice::from_ref(&segment))).hops(), hops);
        assert_eq!(segment.hops(), hops, "{segment:?}");
    }
}

#[test]
fn prepending_fills_the_first_sequence_and_begins_one_where_it_must() {
    let prepended = |path: &[AsSegment], times| {
        let value = prepend(AsPath::new(&encode(path)), Asn::new(9).unwrap(), times);
        assert_eq!(check(&value, Width::Four).map(|_| ()), Ok(()));
        AsPath::new(&value).to_segments()
    };
    assert_eq!(prepended(&[], 0), []);
    assert_eq!(prepended(&[], 2), [seq(&[9, 9])]);
    assert_eq!(prepended(&[seq(&[1, 2])], 0), [seq(&[1, 2])]);
    assert_eq!(prepended(&[seq(&[1, 2])], 1), [seq(&[9, 1, 2])]);
    assert_eq!(prepended(&[set(&[1, 2])], 1), [seq(&[9]), set(&[1, 2])]);
    assert_eq!(prepended(&[confed(&[1]), seq(&[2])], 1), [seq(&[9]), confed(&[1]), seq(&[2])]);
    let long = seq(&[1; 254]);
    assert_eq!(prepended(core::slice::from_ref(&long), 1)[0].asns().len(), 255);
    assert_eq!(prepended(core::slice::from_ref(&long), 2), [seq(&[9, 9]), long]);
}

#[test]
fn neighbour_and_origin_are_the_ends_of_sequences() {
    let ends = |path: &[AsSegment]| {
        let value = encode(path);
        let path = AsPath::new(&value);
        (path.first().map(Asn::get), path.origin().map(Asn::get))
    };
    assert_eq!(ends(&[]), (None, None));
    assert_eq!(ends(&[seq(&[1, 2, 3])]), (Some(1), Some(3)));
    assert_eq!(ends(&[seq(&[1]), set(&[2, 3])]), (Some(1), None));
    assert_eq!(ends(&[set(&[2, 3])]), (None, None));
    assert_eq!(ends(&[confed(&[64_512]), seq(&[1, 2])]), (Some(1), Some(2)));
    assert_eq!(ends(&[confed(&[64_512])]), (None, None));
}
