//! Golden shapes: what Alice-LG reads (its `pkg/sources/birdwatcher`), and what birdwatcher says.

use std::net::Ipv4Addr;
use std::time::UNIX_EPOCH;

use tidegate_bgp::rib::RouteView;
use tidegate_bgp::types::{LargeCommunity, PathId, Prefix};
use tidegate_bgp::wire::Attributes;

use super::*;
use crate::view::tests::sample;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_707_322)
}

/// `UPDATE_GOLDEN=1` writes it anew.
fn assert_golden(name: &str, value: &Value) {
    let path = format!("{}/tests/golden/birdwatcher-{name}.json", env!("CARGO_MANIFEST_DIR"));
    let mut value = value.clone();
    if let Some(version) = value.pointer_mut("/api/Version") {
        *version = "0".into(); // It changes with every release.
    }
    let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text, "run it with UPDATE_GOLDEN=1");
}

#[test]
fn the_status_is_as_birdwatcher_says_it() {
    assert_golden("status", &status_of(&sample(), at()));
}

#[test]
fn peers_are_protocols_by_name() {
    let mut view = sample();
    view.status.version = "0".into();
    let all = protocols_of(&view, at());
    assert_golden("protocols", &all);
    // Alice-LG takes these for what they are without a question, and fails where they are not.
    for protocol in all["protocols"].as_object().unwrap().values() {
        assert!(protocol["routes"]["imported"].is_u64(), "{protocol}");
        assert!(protocol["routes"]["filtered"].is_u64(), "{protocol}");
        assert!(["up", "start"].contains(&protocol["state"].as_str().unwrap()), "{protocol}");
    }
    assert!(all["api"]["Version"].is_string() && all["api"]["result_from_cache"].is_boolean());
}

#[test]
fn a_route_has_its_attributes_in_birds_words() {
    let peers = Peers::from([("tor-1".into(), ("192.0.2.1".into(), "2026-11-26 15:35:22".into()))]);
    let named = route();
    assert_golden("route", &shown(&named, &peers));
    let page = Routes { routes: vec![named.clone(), named], ..Routes::default() };
    let listing = |is_filtered| Listing { stage: Stage::Received, peer: None, is_filtered };
    let mut is_first = true;
    let text = listing(false).text(&page, &peers, &mut is_first);
    let list: Vec<Value> = serde_json::from_str(&format!("[{text}]")).unwrap();
    assert_eq!(list.len(), 2);
    let more = listing(false).text(&page, &peers, &mut is_first);
    let list: Vec<Value> = serde_json::from_str(&format!("[{text}{more}]")).unwrap();
    assert_eq!(list.len(), 4, "pages make one list");
    assert_eq!(listing(true).text(&page, &peers, &mut true), "", "none of them was rejected");
}

fn route() -> NamedRoute {
    let asns = |asns: &[u32]| asns.iter().map(|asn| Asn::new(*asn).unwrap()).collect();
    let attributes = Attributes {
        as_path: vec![
            AsSegment::Sequence(asns(&[64_500, 65_551])),
            AsSegment::Set(asns(&[64_501])),
        ],
        next_hop: Some(NextHop::V4(Ipv4Addr::new(192, 0, 2, 1))),
        med: Some(50),
        communities: vec![Community(0xfbf4_0050), Community(0xffff_ff01)],
        large_communities: vec![LargeCommunity([65_551, 1, 2])],
        extended_communities: vec![
            ExtendedCommunity([0, 2, 0xfd, 0xe8, 0, 0, 0, 100]),
            ExtendedCommunity([0x43, 0, 0, 0, 0, 0, 0, 1]),
        ],
        ..Attributes::default()
    };
    let route = RouteView {
        prefix: Prefix::new(Ipv4Addr::new(198, 51, 100, 0).into(), 24).unwrap(),
        from: None,
        path_id: PathId(0),
        stale: false,
        attributes,
        state: PathState::Best,
        rejected_by: None,
        share: None,
    };
    NamedRoute { from: Some("tor-1".into()), validity: None, lost_to: None, route }
}
