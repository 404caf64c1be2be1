//! Other VRPs while routes are there, against a table that had them from the start.

use super::net::{Net, PLAIN, path};
use super::stale::plain;
use super::*;
use crate::origin::{Cover, Validity, Verb, Vrp, Vrps, changed, merge};

#[derive(Clone, Debug)]
enum Turn {
    Announce(u8, Vec<u8>, Look),
    Vrps(Vec<Vrp>),
    Work,
    Transmit(u8),
}

fn turn() -> impl Strategy<Value = Turn> {
    let peer = || 1..=PEERS;
    let prefixes = prop::collection::vec(0..12_u8, 1..5);
    prop_oneof![
        6 => (peer(), prefixes, look()).prop_map(|(p, x, l)| Turn::Announce(p, x, l)),
        3 => prop::collection::vec(vrp(), 0..12).prop_map(Turn::Vrps),
        3 => Just(Turn::Work),
        3 => peer().prop_map(Turn::Transmit),
    ]
}

/// For one of the test's prefixes, or for all of a family.
fn vrp() -> impl Strategy<Value = Vrp> {
    let origin = prop_oneof![Just(64_999), 64_500..64_503_u32];
    (0..12_u8, prop::bool::weighted(0.2), origin).prop_map(|(number, wide, asn)| {
        let prefix = prefix(number);
        let bits = if wide { prefix.bits() / 2 } else { prefix.bits() };
        Vrp::new(Prefix::new(prefix.addr(), bits).unwrap(), prefix.bits(), asn).unwrap()
    })
}

fn no_invalid() -> Arc<Chain> {
    let term = Term {
        name: "invalid".into(),
        conditions: vec![Condition::Rpki(Validity::Invalid)],
        edits: crate::policy::Edits::default(),
        then: Then::Reject,
    };
    let policy = Policy { name: "rov".into(), terms: vec![term], default: Then::Accept };
    Arc::new(Chain { policies: vec![Arc::new(policy)] })
}

/// Peer 1 brings no invalid route, peer 2 is told of none, peer 3 takes everything.
fn lab() -> Lab {
    let mut lab = Lab::new();
    for peer in 1..=PEERS {
        let import = if peer == 1 { Some(no_invalid()) } else { chain(1) };
        let export = if peer == 2 { Some(no_invalid()) } else { chain(1) };
        lab.rib.set_policies(u16::from(peer), Policies { import, export, ..Policies::default() });
        lab.step(&Step::Up(peer));
    }
    lab
}

fn put(lab: &mut Lab, before: &[Vrp], after: &[Vrp]) {
    let cover = Arc::new(Cover::new(&changed(before, after)));
    lab.rib.set_vrps(Arc::new(Vrps::new(after)), &cover);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn after_other_vrps_everything_stands_as_if_they_had_always_been_there(
        turns in prop::collection::vec(turn(), 1..60)
    ) {
        let mut lab = lab();
        let mut vrps: Vec<Vrp> = Vec::new();
        for turn in turns {
            match turn {
                Turn::Announce(peer, numbers, look) => {
                    lab.step(&Step::Announce(peer, numbers, look));
                }
                Turn::Vrps(list) => {
                    let list = list.into_iter().map(|vrp| (vrp, Verb::Announce)).collect();
                    let after = merge(&[], list);
                    put(&mut lab, &vrps, &after);
                    vrps = after;
                }
                Turn::Work => lab.step(&Step::Work),
                Turn::Transmit(peer) => lab.step(&Step::Transmit(peer)),
            }
        }
        lab.settle();
        let mut fresh = self::lab();
        put(&mut fresh, &[], &vrps);
        for ((peer, number), look) in &lab.announced {
            fresh.step(&Step::Announce(*peer, vec![*number], look.clone()));
        }
        fresh.settle();
        assert_eq!(lab.heard, fresh.heard);
        for peer in 1..=PEERS {
            let counts = |lab: &Lab| lab.rib.counts(u16::from(peer));
            assert_eq!(counts(&lab), counts(&fresh), "peer {peer}");
        }
    }
}

#[test]
fn changes_that_wait_are_gone_through_together_and_a_slice_is_no_longer_for_many_peers() {
    let mut lab = lab();
    lab.step(&Step::Announce(1, (0..12).collect(), plain(1)));
    lab.settle();
    let mut before = Vec::new();
    for asn in 0..40 {
        let vrps = (0..12).map(|number| Vrp::new(prefix(number), prefix(number).bits(), asn));
        let after = merge(&[], vrps.map(|vrp| (vrp.unwrap(), Verb::Announce)).collect());
        put(&mut lab, &before, &after);
        before = after;
        assert_eq!(lab.rib.tasks.len(), 2, "one for each family");
    }
    lab.settle();
    assert_eq!(lab.rib.counts(1).accepted, 0, "all are invalid");
    put(&mut lab, &before, &[]);
    lab.settle();
    assert_eq!(lab.rib.counts(1).accepted, 12);

    // Two thousand prefixes, of three peers: more paths than a slice has time for.
    let mut net = Net::new();
    let peers = [64_501, 64_502, 64_503].map(|asn| (net.peer(asn, PLAIN), asn));
    for (peer, asn) in peers {
        net.rib.set_policies(peer, Policies { import: Some(no_invalid()), ..Policies::default() });
        for number in 0..2000_u32 {
            net.say(peer, 0, &format!("10.{}.{}.0/24", number / 250, number % 250), &path(&[asn]));
        }
    }
    while net.rib.work() {}
    let vrp = Vrp::new(Prefix::new([10, 0, 0, 0].into(), 8).unwrap(), 24, 1).unwrap();
    let cover = Arc::new(Cover::new(&changed(&[], &[vrp])));
    net.rib.set_vrps(Arc::new(Vrps::new(&[vrp])), &cover);
    assert!(net.rib.work(), "the rest is left for later");
    let accepted = |net: &Net| peers.map(|(peer, _)| net.rib.counts(peer).accepted).iter().sum();
    let left: usize = accepted(&net);
    assert!((1..3000).contains(&left), "{left}");
    while net.rib.work() {}
    assert_eq!(accepted(&net), 0_usize);
}

#[test]
fn vrps_that_concern_no_route_and_policies_that_do_not_ask_cost_nothing() {
    let mut lab = lab();
    lab.step(&Step::Announce(1, (0..12).collect(), plain(1)));
    lab.settle();
    let elsewhere = Vrp::new(Prefix::new([10, 0, 0, 0].into(), 8).unwrap(), 24, 64_501).unwrap();
    put(&mut lab, &[], &[elsewhere]);
    while lab.rib.work() {}
    assert!((1..=PEERS).all(|peer| !lab.rib.is_behind(u16::from(peer))));

    // The same for a prefix of theirs, once nobody asks.
    for peer in 1..=PEERS {
        let policies = Policies { import: chain(1), export: chain(1), ..Policies::default() };
        lab.rib.set_policies(u16::from(peer), policies);
    }
    lab.settle();
    let theirs = Vrp::new(prefix(0), 24, 64_501).unwrap();
    put(&mut lab, &[elsewhere], &[theirs, elsewhere]);
    assert!(!lab.rib.has_work());
}
