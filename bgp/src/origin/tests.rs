//! The table against a model that looks at every VRP, and the examples of the RFCs.

use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> Prefix {
    let (addr, bits) = text.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), bits.parse().unwrap()).unwrap()
}

fn vrp(text: &str, max_len: u8, asn: u32) -> Vrp {
    Vrp::new(prefix(text), max_len, asn).unwrap()
}

fn sorted(vrps: &[Vrp]) -> Vec<Vrp> {
    merge(&[], vrps.iter().map(|vrp| (*vrp, Verb::Announce)).collect())
}

#[test]
fn a_route_is_valid_invalid_or_not_found_as_rfc_6811_says() {
    let vrps = Vrps::new(&sorted(&[
        vrp("10.0.0.0/16", 24, 65_001),
        vrp("10.0.0.0/16", 16, 65_002),
        vrp("10.0.1.0/24", 24, 65_003),
        vrp("10.1.0.0/16", 32, 0),
        vrp("2001:db8::/32", 48, 65_001),
    ]));
    let cases = [
        ("10.0.0.0/16", Some(65_001), Validity::Valid),
        ("10.0.0.0/16", Some(65_002), Validity::Valid),
        ("10.0.0.0/16", Some(65_003), Validity::Invalid),
        ("10.0.1.0/24", Some(65_003), Validity::Valid),
        ("10.0.1.0/24", Some(65_001), Validity::Valid),
        ("10.0.1.0/24", Some(65_002), Validity::Invalid),
        ("10.0.1.128/25", Some(65_001), Validity::Invalid),
        ("10.0.0.0/15", Some(65_001), Validity::NotFound),
        ("10.0.0.0/16", None, Validity::Invalid),
        ("10.1.2.0/24", Some(65_001), Validity::Invalid),
        ("0.0.0.0/0", Some(65_001), Validity::NotFound),
        ("255.255.255.255/32", Some(65_001), Validity::NotFound),
        ("2001:db8:7::/48", Some(65_001), Validity::Valid),
        ("2001:db8:7::/49", Some(65_001), Validity::Invalid),
        ("2001:db9::/32", Some(65_001), Validity::NotFound),
    ];
    for (route, origin, expected) in cases {
        let origin = origin.and_then(Asn::new);
        assert_eq!(vrps.validate(prefix(route), origin), expected, "{route} {origin:?}");
    }
}

#[test]
fn the_origin_is_the_last_as_unless_nobody_can_tell() {
    let local_as = Asn::new(65_000).unwrap();
    let vrps = [65_000, 1, 2].map(|asn| vrp("10.0.0.0/8", 8, asn));
    let cases: [(&str, &[u8], u32); 6] = [
        ("empty", &[], 65_000),
        ("a sequence", &[2, 2, 0, 0, 0, 9, 0, 0, 0, 1], 1),
        ("a set at the end", &[2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2], 0),
        ("two sequences", &[2, 1, 0, 0, 0, 9, 2, 1, 0, 0, 0, 2], 2),
        ("a confederation at the end", &[3, 1, 0, 0, 0, 9], 65_000),
        ("a sequence of none", &[2, 0], 0),
    ];
    for (name, path, origin) in cases {
        for vrp in vrps {
            let origins = Origins { local_as, vrps: Arc::new(Vrps::new(&[vrp])) };
            let expected = if vrp.asn == origin { Validity::Valid } else { Validity::Invalid };
            assert_eq!(origins.validate(vrp.prefix, path), expected, "{name} {}", vrp.asn);
        }
    }
}

#[test]
fn a_length_that_no_prefix_below_can_have_makes_no_vrp() {
    for (text, max_len) in [("10.0.0.0/8", 7), ("10.0.0.0/8", 33), ("2001:db8::/32", 129)] {
        assert_eq!(Vrp::new(prefix(text), max_len, 1), None, "{text} {max_len}");
    }
}

#[test]
fn the_last_word_on_a_vrp_counts() {
    let [a, b, c] = [1, 2, 3].map(|asn| vrp("10.0.0.0/8", 8, asn));
    let changes = vec![
        (c, Verb::Announce),
        (a, Verb::Withdraw),
        (b, Verb::Announce),
        (b, Verb::Withdraw),
        (b, Verb::Announce),
        (c, Verb::Announce),
        (c, Verb::Withdraw),
    ];
    assert_eq!(merge(&[a], changes), [b]);
}

/// Few, short and near each other, so that they nest.
fn any_prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (any::<u8>(), 0..=10_u8, 6..=14_u8);
    let v4 = v4.prop_map(|(a, b, bits)| Prefix::new([a & 3, b << 2, 0, 0].into(), bits));
    let v6 = (0..4_u16, 0..4_u16, 0..=40_u8);
    let v6 = v6.prop_map(|(a, b, bits)| Prefix::new([a, b << 8, 0, 0, 0, 0, 0, 0].into(), bits));
    prop_oneof![v4, v6].prop_map(Option::unwrap)
}

fn any_vrp() -> impl Strategy<Value = Vrp> {
    let parts = (any_prefix(), 0..4_u8, 0..3_u32);
    parts.prop_map(|(prefix, more, asn)| Vrp::new(prefix, prefix.bits() + more, asn).unwrap())
}

fn covers(outer: Prefix, inner: Prefix) -> bool {
    outer.bits() <= inner.bits() && Prefix::new(inner.addr(), outer.bits()) == Some(outer)
}

fn model(vrps: &[Vrp], route: Prefix, origin: u32) -> Validity {
    let covering = || vrps.iter().filter(|vrp| covers(vrp.prefix, route));
    if covering().any(|vrp| vrp.asn == origin && route.bits() <= vrp.max_len) {
        Validity::Valid
    } else if covering().next().is_some() {
        Validity::Invalid
    } else {
        Validity::NotFound
    }
}

proptest! {
    #[test]
    fn the_table_answers_like_a_look_at_every_vrp(
        vrps in prop::collection::vec(any_vrp(), 0..40),
        routes in prop::collection::vec((any_prefix(), 1..3_u32), 1..40),
    ) {
        let vrps = sorted(&vrps);
        let table = Vrps::new(&vrps);
        prop_assert_eq!(table.len().0 + table.len().1, vrps.len());
        for (route, origin) in routes {
            let expected = model(&vrps, route, origin);
            prop_assert_eq!(table.validate(route, Asn::new(origin)), expected, "{}", route);
        }
    }

    #[test]
    fn only_what_lies_below_a_changed_prefix_can_stand_otherwise(
        before in prop::collection::vec(any_vrp(), 0..20),
        after in prop::collection::vec(any_vrp(), 0..20),
        routes in prop::collection::vec((any_prefix(), 1..3_u32), 1..40),
    ) {
        let (before, after) = (sorted(&before), sorted(&after));
        let prefixes = changed(&before, &after);
        prop_assert!(prefixes.is_sorted() && prefixes.len() <= before.len() + after.len());
        prop_assert_eq!(prefixes.is_empty(), before == after);
        let cover = Cover::new(&prefixes);
        for (route, origin) in routes {
            let expected = prefixes.iter().any(|it| covers(*it, route));
            prop_assert_eq!(cover.covers(route), expected);
            if !expected {
                prop_assert_eq!(model(&before, route, origin), model(&after, route, origin));
            }
        }
    }
}
