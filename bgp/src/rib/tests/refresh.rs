//! Routes told and judged once more, and who kept one out.

use super::net::{Net, PLAIN, parse, path};
use super::*;
use crate::wire::{RefreshKind, RouteRefresh};

const PREFIX: &str = "198.51.100.0/24";

/// What a peer is sent, as `begin`, `route`, `end` and so on.
fn told(net: &mut Net, peer: PeerId) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(bytes) = net.rib.transmit(peer) {
        let mut rest = bytes.as_slice();
        while let Some((raw, len)) = next_message(rest, 4096).unwrap() {
            rest = &rest[len..];
            let context = Negotiated { enhanced_refresh: true, ..net.mirror(peer) };
            told.push(match decode(raw, &context).unwrap() {
                Message::RouteRefresh(RouteRefresh { kind: RefreshKind::Begin, .. }) => "begin",
                Message::RouteRefresh(RouteRefresh { kind: RefreshKind::End, .. }) => "end",
                Message::Update(update) if update.end_of_rib.is_some() => "end of all",
                Message::Update(_) => "route",
                _ => "something else",
            });
        }
    }
    told.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_refresh_is_told_between_its_marks_once_the_first_telling_is_over() {
    let mut net = Net::new();
    let source = net.peer(64_501, PLAIN);
    let peer = net.peer(64_502, PLAIN);
    net.say(source, 0, PREFIX, &path(&[64_501]));
    net.enhance(peer);
    // Asked before everything has been told: it is being told anyway.
    net.rib.refresh(peer, Family::Ipv4Unicast);
    let ends = ["end of all"; 4].map(str::to_owned);
    assert_eq!(told(&mut net, peer), [&["route".to_owned()][..], &ends].concat());
    assert!(!net.rib.is_behind(peer));
    // Asked twice before the first is over: one answer is enough.
    net.rib.refresh(peer, Family::Ipv4Unicast);
    net.rib.refresh(peer, Family::Ipv4Unicast);
    assert!(net.rib.is_behind(peer));
    assert_eq!(told(&mut net, peer), ["begin", "route", "end"]);
    net.rib.refresh(peer, Family::Ipv6Unicast);
    assert_eq!(told(&mut net, peer), ["begin", "end"], "of a family without routes");
}

#[test]
fn a_policy_that_changes_judges_what_is_there_and_says_who_keeps_it_out() {
    let mut net = Net::new();
    let peer = net.peer(64_501, PLAIN);
    net.say(peer, 0, PREFIX, &path(&[64_501]));
    assert_eq!(net.reasons(PREFIX), [(peer, "best")]);
    let policy = |terms, default| Arc::new(Policy { name: "in".into(), terms, default });
    let term = Term {
        name: "nobody".into(),
        conditions: vec![],
        edits: crate::policy::Edits::default(),
        then: Then::Reject,
    };
    let cases = [
        ("a term", vec![policy(vec![term], Then::Accept)], Some(Some("nobody".to_owned()))),
        ("the default", vec![policy(vec![], Then::Reject)], Some(None)),
        ("nobody decides", vec![policy(vec![], Then::NextPolicy)], Some(None)),
        ("it is let in", vec![policy(vec![], Then::Accept)], None),
    ];
    for (name, policies, expected) in cases {
        let import = Some(Arc::new(Chain { policies }));
        net.rib.set_policies(peer, Policies { import, export: None });
        let fate = net.fates(PREFIX).remove(0);
        assert_eq!(fate.prefix, parse(PREFIX));
        let rejected_by = fate.rejected_by.map(|(policy, term)| {
            assert_eq!(policy, "in", "{name}");
            term
        });
        assert_eq!(rejected_by, expected, "{name}");
    }
}
