use std::sync::Arc;

use tidegate_bgp::origin::Validity;
use tidegate_bgp::policy::{Policy, Term};

use super::*;

fn route(state: &str, reason: &str, peer: Option<&str>, path: &str) -> Route {
    Route {
        prefix: "198.51.100.0/24".into(),
        peer: peer.map(str::to_owned),
        state: state.into(),
        reason: reason.into(),
        lost_to: None,
        rpki: None,
        stale: false,
        path_id: 0,
        share: None,
        next_hop: "10.0.0.1".parse().ok(),
        as_path: path.into(),
        origin: "igp".into(),
        med: Some(5),
        local_pref: None,
        communities: Vec::new(),
        extended_communities: Vec::new(),
        only_to_customer: None,
        originator_id: None,
        cluster_list: Vec::new(),
    }
}

#[test]
fn routes_show_why_they_lost_and_to_whose() {
    let lost = |reason, to: Option<&str>, path_id| Route {
        lost_to: Some(Preferred { peer: to.map(str::to_owned), path_id }),
        ..route("lost", reason, Some("tor-2"), "65011 65020")
    };
    let routes = Routes {
        api_version: "v1".into(),
        routes: vec![
            route("best", "best", Some("tor-1"), "65010 65020"),
            lost("longer AS path", Some("tor-1"), 0),
            lost("higher MED", Some("tor-1"), 3),
            lost("a VIP of ours is preferred", None, 0),
        ],
        next: Some(7),
    };
    let expected = "\
PREFIX           FROM   NEXT HOP  PREF  MED  AS PATH      STATE
198.51.100.0/24  tor-1  10.0.0.1          5  65010 65020  best
198.51.100.0/24  tor-2  10.0.0.1          5  65011 65020  lost to tor-1: longer AS path
198.51.100.0/24  tor-2  10.0.0.1          5  65011 65020  lost to tor-1#3: higher MED
198.51.100.0/24  tor-2  10.0.0.1          5  65011 65020  lost: a VIP of ours is preferred
more: --from 7
";
    assert_eq!(routes_text(&routes), expected, "{}", routes_text(&routes));
}

#[test]
fn with_a_word_from_a_cache_there_is_a_column_for_it() {
    let mut one = route("best", "best", None, "65010");
    one.rpki = Some("invalid".into());
    let routes = Routes { routes: vec![one], ..Routes::default() };
    let expected = "\
PREFIX           FROM   NEXT HOP  PREF  MED  AS PATH  RPKI     STATE
198.51.100.0/24  (vip)  10.0.0.1          5  65010    invalid  best
";
    assert_eq!(routes_text(&routes), expected, "{}", routes_text(&routes));
}

#[test]
fn a_route_to_be_tested_stands_as_it_is_asked_for() {
    let prefix = crate::api::parse_prefix("198.51.100.0/24").unwrap();
    let cases = [
        (Rpki::Valid, Validity::Valid),
        (Rpki::Invalid, Validity::Invalid),
        (Rpki::NotFound, Validity::NotFound),
    ];
    for path in [&[][..], &[2, 1, 0, 0, 0xfd, 0xe8]] {
        for (asked, expected) in cases {
            let origins = origins(asked, prefix, path).unwrap();
            assert_eq!(origins.validate(prefix, path), expected, "{path:?}");
        }
    }
}

#[test]
fn a_policy_test_shows_each_term() {
    let prefer = Edits { local_pref: Some(200), ..Edits::default() };
    let vip = Condition::Source(Source::Vip);
    let term =
        |name: &str, conditions, edits, then| Term { name: name.into(), conditions, edits, then };
    let terms = vec![
        term("ours", vec![vip], Edits::default(), Then::Reject),
        term("rest", vec![], prefer, Then::Accept),
    ];
    let policy = Policy { name: "in".into(), terms, default: Then::Reject };
    let chain = Chain { policies: vec![Arc::new(policy)] };
    let prefix = crate::api::parse_prefix("198.51.100.0/24").unwrap();
    let origins = &origins(Rpki::NotFound, prefix, &[]).unwrap();
    let attributes = AttributesRef::new(&[]);
    let route = Judged { prefix, attributes, source: Source::External, origins };
    let (outcome, trace) = chain.explain(&route);
    let expected = "\
POLICY  TERM  HOLDS  THEN    WHY NOT
in      ours  no             a VIP of ours
in      rest  yes    accept
198.51.100.0/24 is accepted with local-pref 200
";
    assert_eq!(policy_text(prefix, &trace, outcome.as_ref()), expected);
}

#[test]
fn what_is_typed_is_escaped_in_a_query() {
    assert_eq!(escaped("2001:db8::/32"), "2001:db8::/32");
    assert_eq!(escaped("a&b=c d"), "a%26b%3Dc%20d");
}
