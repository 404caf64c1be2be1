use super::*;
use crate::types::Asn;
use crate::wire::{AsSegment, Attributes, NextHop};

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

fn block(path: &[u32], communities: &[&str], med: Option<u32>) -> Vec<u8> {
    let path: Vec<Asn> = path.iter().map(|number| asn(*number)).collect();
    let attributes = Attributes {
        as_path: if path.is_empty() { vec![] } else { vec![AsSegment::Sequence(path)] },
        next_hop: Some(NextHop::V4([10, 0, 0, 1].into())),
        med,
        communities: communities.iter().map(|text| text.parse().unwrap()).collect(),
        ..Attributes::default()
    };
    attributes.to_block()
}

fn prefix(text: &str) -> Prefix {
    let (addr, bits) = text.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), bits.parse().unwrap()).unwrap()
}

#[test]
fn a_prefix_set_holds_what_its_ranges_cover() {
    let set = ["10.0.0.0/8 ge 16 le 24", "192.0.2.0/24", "2001:db8::/32 le 48", "0.0.0.0/0"];
    let set = PrefixSet::new("s", set.map(|text| text.parse().unwrap()).to_vec());
    let cases = [
        ("10.0.0.0/8", false),
        ("10.1.0.0/16", true),
        ("10.1.2.0/24", true),
        ("10.1.2.128/25", false),
        ("192.0.2.0/24", true),
        ("192.0.2.0/25", false),
        ("0.0.0.0/0", true),
        ("128.0.0.0/1", false),
        ("2001:db8::/32", true),
        ("2001:db8:1::/48", true),
        ("2001:db8:1:2::/64", false),
        ("2001:db9::/32", false),
    ];
    for (text, expected) in cases {
        assert_eq!(set.contains(prefix(text)), expected, "{text}");
    }
    let set = ["10.0.0.0/8 ge 16 le 24", "192.0.2.0/24", "2001:db8::/32 le 48"];
    let set = PrefixSet::new("s", set.map(|text| text.parse().unwrap()).to_vec());
    for (addr, expected) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("192.0.2.255", true),
        ("2001:db8:ffff::1", true),
        ("2001:db9::1", false),
        ("::ffff:10.0.0.1", false),
    ] {
        assert_eq!(set.covers(addr.parse().unwrap()), expected, "{addr}");
    }
}

#[test]
fn entries_that_are_none_are_refused() {
    for text in ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8 ge 7", "10.0.0.0/8 le"] {
        assert!(text.parse::<PrefixRange>().is_err(), "{text}");
    }
    for text in ["65000 x", "9-5", "-1"] {
        assert!(text.parse::<AsPathPattern>().is_err(), "{text}");
    }
    for text in ["", "1", "70000:1", "1:2:3:4", "*:1", "1:2:x"] {
        assert!(CommunitySet::new("s", &[text]).is_err(), "{text}");
    }
}

#[test]
fn an_as_path_pattern_matches_the_whole_path() {
    let cases: [(&str, &[u32], bool); 11] = [
        ("", &[], true),
        ("", &[1], false),
        ("*", &[], true),
        ("65010 *", &[65_010, 1], true),
        ("65010 *", &[1, 65_010], false),
        ("* 65020", &[1, 65_020, 65_020], true),
        ("* 7 *", &[1, 2, 7, 3], true),
        ("* 7 *", &[1, 2, 3], false),
        ("? 64512-65534", &[9, 65_000], true),
        ("? 64512-65534", &[65_000], false),
        ("* 1 2 * 1 3", &[1, 2, 1, 2, 1, 3], true),
    ];
    for (text, path, expected) in cases {
        let set = AsPathSet { name: "s".into(), patterns: vec![text.parse().unwrap()] };
        let block = block(path, &[], None);
        let path = AttributesRef::new(&block).as_path.octets();
        assert_eq!(set.matches(path), expected, "{text:?} {path:?}");
    }
}

fn term(name: &str, conditions: Vec<Condition>, edits: Edits, then: Then) -> Term {
    Term { name: name.into(), conditions, edits, then }
}

fn chain(policies: Vec<(Vec<Term>, Then)>) -> Chain {
    let make = |(terms, default)| Arc::new(Policy { name: "p".into(), terms, default });
    Chain { policies: policies.into_iter().map(make).collect() }
}

fn judge(chain: &Chain, source: Source, block: &[u8]) -> Option<Edits> {
    let attributes = AttributesRef::new(block);
    let origins = &Origins::unknown(asn(65_000));
    chain.judge(&Route { prefix: prefix("192.0.2.0/24"), attributes, source, origins })
}

#[test]
fn the_first_term_that_holds_decides_and_a_later_one_sees_what_an_earlier_one_changed() {
    let tagged = Arc::new(CommunitySet::new("t", &["65000:*"]).unwrap());
    let tag = Edits { add: vec!["65000:7".parse().unwrap()], ..Edits::default() };
    let prefer = Edits { local_pref: Some(200), ..Edits::default() };
    let chain = chain(vec![(
        vec![
            term("tag", vec![], tag, Then::Continue),
            term("seen", vec![Condition::Community(tagged)], prefer, Then::Accept),
            term("never", vec![], Edits::default(), Then::Reject),
        ],
        Then::Reject,
    )]);
    let edits = judge(&chain, Source::External, &block(&[1], &[], None)).unwrap();
    assert_eq!(edits.local_pref, Some(200));
    let written = rewrite(&block(&[1], &["1:1"], None), &Border::default(), &edits);
    let read = Attributes::from_block(&written);
    let expected: Vec<Community> = ["1:1", "65000:7"].map(|it| it.parse().unwrap()).to_vec();
    assert_eq!((read.local_pref, read.communities), (Some(200), expected));
}

#[test]
fn without_a_decision_a_route_is_rejected_and_a_vip_is_not() {
    let no_term = chain(vec![(vec![], Then::Reject)]);
    let undecided = chain(vec![(vec![], Then::NextPolicy)]);
    let refusing =
        chain(vec![(vec![term("no", vec![], Edits::default(), Then::Reject)], Then::Accept)]);
    let cases = [
        ("default reject", &no_term, false, true),
        ("end of the chain", &undecided, false, true),
        ("a term that rejects", &refusing, false, false),
    ];
    for (name, chain, learned, vip) in cases {
        let block = block(&[1], &[], None);
        assert_eq!(judge(chain, Source::External, &block).is_some(), learned, "{name}");
        assert_eq!(judge(chain, Source::Vip, &block).is_some(), vip, "{name}");
    }
}

#[test]
fn a_trace_says_what_each_term_did() {
    let long = Condition::PathLength(3, u32::MAX);
    let chain = chain(vec![(
        vec![
            term("long", vec![long.clone()], Edits::default(), Then::Reject),
            term("rest", vec![], Edits::default(), Then::Accept),
        ],
        Then::Reject,
    )]);
    let block = block(&[1, 2], &[], None);
    let attributes = AttributesRef::new(&block);
    let (source, origins) = (Source::External, &Origins::unknown(asn(65_000)));
    let (outcome, trace) =
        chain.explain(&Route { prefix: prefix("192.0.2.0/24"), attributes, source, origins });
    assert_eq!(outcome, Some(Edits::default()));
    let steps: Vec<_> = trace.iter().map(|step| (step.failed.cloned(), step.then)).collect();
    assert_eq!(steps, [(Some(long), None), (None, Some(Then::Accept))]);
}

#[test]
fn a_path_grows_at_its_front_and_never_beyond_what_a_segment_holds() {
    let many: Vec<u32> = (1..=254).collect();
    let cases: [(&str, &[u32], usize, usize); 3] =
        [("empty", &[], 1, 1), ("short", &[7], 2, 1), ("full", &many, 2, 2)];
    for (name, path, add, segments) in cases {
        let edits = Edits { prepend: vec![asn(65_000); add], ..Edits::default() };
        let written = rewrite(&block(path, &[], None), &Border::default(), &edits);
        let read = Attributes::from_block(&written).as_path;
        assert_eq!(read.len(), segments, "{name}");
        let all: Vec<u32> = read.iter().flat_map(AsSegment::asns).map(|asn| asn.get()).collect();
        assert_eq!(all, [&vec![65_000; add], path].concat(), "{name}");
    }
}

#[test]
fn med_ends_at_the_border_unless_policy_sets_it() {
    let border = Border { ends_med: true, own_as: Some(asn(65_000)), ..Border::default() };
    let cases = [(None, None), (Some(Some(9)), Some(9)), (Some(None), None)];
    for (med, expected) in cases {
        let edits = Edits { med, ..Edits::default() };
        let written = rewrite(&block(&[1], &[], Some(5)), &border, &edits);
        assert_eq!(Attributes::from_block(&written).med, expected, "{med:?}");
    }
}
