//! Routes of a peer that restarts: who is told what of them (RFC 4724 §4.2, RFC 9494 §4.3); and of
//! one that is about to be shut down (RFC 8326).

use super::*;
use crate::wire::LongLived;

pub(super) fn plain(hops: u8) -> Look {
    let (neighbor, med, local_pref, origin) = (64_500, None, None, 0);
    Look { neighbor, hops, med, local_pref, origin, no_export: false, looped: false }
}

/// Peers 1 and 2 announce the same prefix, 2 the better one; 3 and 4 hear of it, and 4 knows
/// LLGR_STALE.
fn lab() -> Lab {
    let mut lab = Lab::new();
    for peer in 1..=PEERS {
        lab.step(&Step::Policy(peer, 1));
    }
    for peer in 1..PEERS {
        lab.step(&Step::Up(peer));
    }
    let stale_time_secs = 60;
    let long = |family| LongLived { family, forwarding: true, stale_time_secs };
    let context = Negotiated { long_lived: Family::UNICAST.map(long).to_vec(), ..context(4) };
    let terms = SessionTerms {
        router_id: router_id(4),
        context,
        next_hops: OURS,
        local_as: asn(OUR_AS),
        remote_as: asn(OUR_AS),
        paths: PathLimits::default(),
    };
    lab.rib.up(4, terms);
    lab.step(&Step::Announce(1, vec![0], plain(3)));
    lab.step(&Step::Announce(2, vec![0], plain(1)));
    lab.settle();
    lab
}

/// How long the paths are that 3 and 4 know.
fn hops(lab: &Lab) -> [Option<usize>; 2] {
    [3, 4].map(|peer| lab.heard[peer].get(&prefix(0)).map(|(path, _)| path.len()))
}

#[test]
fn others_hear_nothing_of_a_restart_that_goes_well() {
    let mut lab = lab();
    assert_eq!(hops(&lab), [Some(2), Some(1)], "ours in front towards 3, not towards 4");
    lab.rib.down_keeping(2, &Family::UNICAST);
    while lab.rib.work() {}
    assert!(!(3..=4).any(|peer| lab.rib.is_behind(peer)));
    lab.up[2] = false;
    lab.step(&Step::Up(2));
    lab.step(&Step::Announce(2, vec![0], plain(1)));
    lab.rib.drop_stale(2, Family::Ipv4Unicast);
    while lab.rib.work() {}
    assert!(!(3..=4).any(|peer| lab.rib.is_behind(peer)));
    lab.step(&Step::Withdraw(2, vec![0]));
    lab.settle();
    assert_eq!(hops(&lab), [Some(4), Some(3)], "nothing of the first session is left");
}

#[test]
fn routes_that_are_stale_for_long_are_the_last_choice_and_told_to_those_who_know_that() {
    let mut lab = lab();
    lab.rib.down_keeping(2, &Family::UNICAST);
    lab.rib.age_stale(2, Family::Ipv4Unicast);
    lab.settle();
    assert_eq!(hops(&lab), [Some(4), Some(3)], "a longer path that is fresh");
    lab.step(&Step::Withdraw(1, vec![0]));
    lab.settle();
    assert_eq!(hops(&lab), [None, Some(1)]);
    lab.rib.drop_stale(2, Family::Ipv4Unicast);
    lab.settle();
    assert_eq!(hops(&lab), [None, None]);
    assert_eq!((lab.rib.sets_len(), lab.rib.len(Family::Ipv4Unicast)), (0, 0), "all is let go");
}

/// Otherwise each beginning would keep a table of its own.
#[test]
fn a_refresh_that_begins_again_keeps_nothing_more() {
    let mut lab = lab();
    assert!(lab.rib.begin_refresh(2, Family::Ipv4Unicast));
    lab.step(&Step::Announce(2, vec![1], plain(1)));
    assert!(!lab.rib.begin_refresh(2, Family::Ipv4Unicast));
    lab.rib.drop_stale(2, Family::Ipv4Unicast);
    lab.settle();
    assert_eq!(hops(&lab), [Some(4), Some(3)], "what was not said again is gone");
    assert!(lab.heard[3].contains_key(&prefix(1)), "what was said meanwhile is not");
}

#[test]
fn routes_over_a_session_that_shuts_down_come_last_and_say_so_further_on() {
    let gone = |lab: &mut Lab, prefix: Prefix| {
        let (view, peer, from, limit) = (View::Advertised, Some(3), 0, 100);
        let query = Query { view, family: None, peer, prefix: Some(prefix), from, limit };
        let route = lab.rib.page(&query).routes.remove(0);
        route.attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN)
    };
    let mut lab = lab();
    let policies = |shuts_down, heeds_shutdown| {
        let (import, export) = (chain(1), chain(1));
        Policies { import, export, shuts_down, heeds_shutdown }
    };
    lab.rib.set_policies(2, policies(true, false));
    lab.settle();
    assert_eq!(hops(&lab), [Some(4), Some(3)], "the longer path is preferred");
    assert!(!gone(&mut lab, prefix(0)));
    lab.step(&Step::Withdraw(1, vec![0]));
    lab.settle();
    assert_eq!(hops(&lab), [Some(2), Some(1)], "it is better than none");
    assert!(gone(&mut lab, prefix(0)), "and carries the mark");
    lab.rib.set_policies(2, policies(false, false));
    lab.rib.set_policies(3, policies(true, false));
    lab.settle();
    assert!(gone(&mut lab, prefix(0)), "the session that it leaves by shuts down");
    lab.rib.set_policies(3, policies(false, false));
    lab.settle();
    assert!(!gone(&mut lab, prefix(0)));
}

#[test]
fn a_peer_that_shuts_down_is_heeded_after_policy_where_that_is_wanted() {
    for heeds_shutdown in [true, false] {
        let mut lab = lab();
        let mut attributes = attributes(2, &plain(1), Family::Ipv4Unicast);
        attributes.communities.push(Community::GRACEFUL_SHUTDOWN);
        let (import, export) = (chain(1), chain(1));
        lab.rib.set_policies(2, Policies { import, export, shuts_down: false, heeds_shutdown });
        let sent = encode_announce(Family::Ipv4Unicast, &attributes, &[prefix(0)], &context(2));
        lab.receive(2, sent.unwrap());
        lab.settle();
        let expected = if heeds_shutdown { [Some(4), Some(3)] } else { [Some(2), Some(1)] };
        assert_eq!(hops(&lab), expected, "heeded: {heeds_shutdown}");
    }
}
