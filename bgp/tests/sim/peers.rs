//! What can be configured for a peer, seen from both ends.

use core::time::Duration;
use std::collections::BTreeMap;

use tidegate_bgp::speaker::{
    DownCause, Order, PeerConfig, PeerRange, PrefixLimits, Refreshed, Report, State, Way,
};
use tidegate_bgp::types::{Asn, Family, Prefix};

use super::net::{Name, Seed, Sim};
use super::{last_down, secs, two};

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

/// Configures how `name` peers with `peer`.
fn put(sim: &mut Sim, name: Name, peer: Name, change: impl FnOnce(&mut PeerConfig)) {
    let mut config = sim.config(name, peer);
    change(&mut config);
    sim.order(name, Order::PutPeer(config));
}

fn limited(max: u32, warn_percent: Option<u8>, restart: Option<Duration>) -> PrefixLimits {
    PrefixLimits { max: BTreeMap::from([(Family::Ipv4Unicast, max)]), warn_percent, restart }
}

#[test]
fn a_peer_kept_down_hears_why_and_comes_back_when_it_is_let() {
    let mut told = 0;
    for seed in 0..20 {
        let mut sim = two(seed).link("a", "b").established();
        put(&mut sim, "a", "b", |config| config.shutdown = Some("moving to rack 4".into()));
        sim.run_until(secs(1), "down", |sim| sim.peer("b", "a").flaps == 1);
        match sim.peer("b", "a").last_down {
            Some(DownCause::Received(cease)) => {
                assert_eq!(cease.shutdown_text(), Some("moving to rack 4"));
                told += 1;
            }
            other => assert_eq!(other, Some(DownCause::ConnectionLost), "a reset took it away"),
        }
        sim.run_for(secs(600));
        assert_eq!((sim.state("a", "b"), sim.connections("a", "b")), (State::Idle, 0));
        put(&mut sim, "a", "b", |_| {});
        sim.run_until(secs(90), "back", Sim::all_established);
    }
    assert!(told > 0, "nobody heard why");
}

#[test]
fn an_as_of_our_own_choice_takes_the_place_of_ours() {
    for seed in 0..20 {
        let mut sim = two(seed);
        put(&mut sim, "a", "b", |config| config.local_as = Some(asn(64_999)));
        put(&mut sim, "b", "a", |config| config.remote_as = asn(64_999));
        sim.advertise("a", "192.0.2.1");
        let mut sim = sim.established();
        sim.run_until(secs(1), "route", |sim| sim.peer("b", "a").prefixes_received == 1);
        // Our own is not what the peer expects any more.
        put(&mut sim, "a", "b", |_| {});
        sim.run_until(secs(5), "refused", |sim| {
            let words = [last_down(sim, "a", "b"), last_down(sim, "b", "a")];
            words.into_iter().flatten().any(|(_, code, subcode)| (code, subcode) == (2, 2))
        });
    }
}

#[test]
fn too_many_prefixes_end_the_session_until_its_restart_time_is_over() {
    let mut sim = two(2).link("a", "b");
    put(&mut sim, "a", "b", |config| {
        config.prefix_limits = limited(4, Some(75), Some(secs(300)));
    });
    let mut sim = sim.established();
    let warnings = |sim: &Sim| {
        let many = |(_, report): &&(_, Report)| matches!(report, Report::ManyPrefixes { .. });
        sim.reports("a").iter().filter(many).count()
    };
    for (prefix, warned) in [("192.0.2.1", 0), ("192.0.2.2", 0), ("192.0.2.3", 1), ("192.0.2.4", 1)]
    {
        sim.advertise("b", prefix);
        sim.run_for(secs(1));
        assert_eq!((sim.peer("a", "b").flaps, warnings(&sim)), (0, warned), "{prefix}");
    }
    // Another family is not counted.
    sim.advertise("b", "2001:db8:1::1");
    sim.run_for(secs(1));
    assert_eq!(sim.peer("a", "b").flaps, 0);
    sim.advertise("b", "192.0.2.5");
    sim.run_until(secs(1), "closed", |sim| sim.peer("a", "b").flaps == 1);
    assert_eq!(last_down(&sim, "a", "b"), Some((true, 6, 1)));
    sim.withdraw("b", "192.0.2.5");
    sim.run_for(secs(295));
    assert_eq!(sim.state("a", "b"), State::Idle);
    sim.run_until(secs(90), "back", Sim::all_established);
}

#[test]
fn too_many_prefixes_without_a_restart_time_wait_for_another_limit() {
    let mut sim = two(3).link("a", "b").established();
    sim.advertise("b", "192.0.2.1");
    sim.advertise("b", "192.0.2.2");
    sim.run_for(secs(1));
    // A limit that is set later counts at once.
    put(&mut sim, "a", "b", |config| config.prefix_limits = limited(1, None, None));
    assert_eq!(last_down(&sim, "a", "b"), Some((true, 6, 1)));
    sim.run_for(secs(3600));
    assert_eq!(sim.state("a", "b"), State::Idle);
    put(&mut sim, "a", "b", |config| config.prefix_limits = limited(2, None, None));
    sim.run_until(secs(90), "back", Sim::all_established);
    sim.run_for(secs(10));
    assert!(sim.all_established());
}

/// `a` knows nobody but whoever comes from 10.0.0.0/`bits`.
fn open_house(sim: &mut Sim, bits: u8, limit: usize) {
    let mut template = sim.config("a", "b");
    template.name = "fabric".into();
    let prefix = Prefix::new("10.0.0.0".parse().unwrap(), bits).unwrap();
    sim.order("a", Order::PutRange(PeerRange { prefix, limit, template }));
}

/// Peers that `a` knows now.
fn guests(sim: &Sim) -> Vec<String> {
    let peers = sim.peers("a").into_iter();
    peers.map(|peer| format!("{} {}", peer.name, peer.state.name())).collect()
}

#[test]
fn whoever_comes_from_a_range_is_a_peer_until_it_goes() {
    for seed in 0..50 {
        let sim = Sim::new(Seed(seed)).node("a", 1, 65_001);
        let mut sim = sim.node("b", 2, 65_002).node("c", 3, 65_002).node("d", 4, 65_002);
        open_house(&mut sim, 24, 2);
        assert_eq!(guests(&sim), Vec::<String>::new());
        put(&mut sim, "b", "a", |_| {});
        put(&mut sim, "c", "a", |_| {});
        let both = ["fabric/10.0.0.2 Established", "fabric/10.0.0.3 Established"];
        sim.run_until(secs(30), "both", |sim| guests(sim) == both);
        sim.advertise("a", "192.0.2.1");
        sim.run_until(secs(1), "route", |sim| sim.peer("c", "a").prefixes_received == 1);

        // A third one finds no room, and the journal says so once.
        put(&mut sim, "d", "a", |_| {});
        sim.run_for(secs(120));
        assert_eq!(guests(&sim), both);
        let full = |(_, report): &&(_, Report)| matches!(report, Report::RangeFull { .. });
        assert_eq!(sim.reports("a").iter().filter(full).count(), 1);

        sim.order("c", Order::RemovePeer("a".into()));
        let others = ["fabric/10.0.0.2 Established", "fabric/10.0.0.4 Established"];
        sim.run_until(secs(120), "room", |sim| guests(sim) == others);
        assert_eq!(sim.peer("b", "a").flaps, 0);

        sim.order("a", Order::RemovePeer("fabric".into()));
        assert_eq!(guests(&sim), Vec::<String>::new());
        sim.run_until(secs(1), "told", |sim| sim.peer("b", "a").flaps == 1);
        assert!(matches!(last_down(&sim, "b", "a"), Some((false, 6, 3) | (false, 0, 0))));
        sim.run_for(secs(120));
        assert_eq!(sim.connections("a", "b"), 0);
    }
}

#[test]
fn a_configured_peer_goes_before_a_range_and_a_stranger_is_in_none() {
    let sim = Sim::new(Seed(5)).node("a", 1, 65_001);
    let mut sim = sim.node("b", 2, 65_002).node("c", 3, 65_002);
    open_house(&mut sim, 31, 9); // 10.0.0.0 and 10.0.0.1: neither of them.
    put(&mut sim, "c", "a", |_| {});
    put(&mut sim, "a", "b", |config| config.passive = true);
    put(&mut sim, "b", "a", |_| {});
    sim.run_until(secs(30), "the configured one", |sim| guests(sim) == ["b Established"]);
    open_house(&mut sim, 24, 9);
    sim.run_until(secs(90), "both", |sim| {
        guests(sim) == ["b Established", "fabric/10.0.0.3 Established"]
    });
    assert_eq!(sim.peer("b", "a").flaps, 0);
}

#[test]
fn what_a_peer_has_been_through_is_remembered() {
    let mut sim = two(6).link("a", "b").established();
    sim.run_for(secs(600));
    put(&mut sim, "a", "b", |config| config.shutdown = Some("bye".into()));
    sim.run_for(secs(1));
    let history = sim.history("a", "b");
    let last = history.transitions.back().unwrap();
    assert_eq!((last.from, last.to, last.event), (State::Established, State::Idle, "ManualStop"));
    let kinds: Vec<_> = history.sent.iter().map(|run| (run.kind.name(), run.code)).collect();
    assert_eq!(kinds.first(), Some(&("OPEN", None)));
    assert_eq!(kinds.last(), Some(&("NOTIFICATION", Some((6, 2)))));
    assert!(history.sent.iter().any(|run| run.kind.name() == "KEEPALIVE" && run.messages > 9));
}

#[test]
fn a_refresh_by_order_goes_to_the_peer_and_back_and_closes_nothing() {
    let mut sim = two(8).link("a", "b").established();
    sim.advertise("b", "192.0.2.1");
    sim.run_until(secs(5), "route", |sim| sim.peer("a", "b").prefixes_received == 1);
    let sent = |sim: &Sim, of: Name, to: Name, kind: &str| -> u64 {
        let sent = sim.history(of, to).sent;
        sent.iter().filter(|run| run.kind.name() == kind).map(|run| run.messages).sum()
    };
    let updates = sent(&sim, "b", "a", "UPDATE");
    let both = Family::UNICAST.to_vec();
    assert_eq!(sim.refresh("a", "b", Way::In), Refreshed::Asked(both.clone()));
    assert_eq!(sent(&sim, "a", "b", "ROUTE-REFRESH"), 2);
    // One request for each family, and its answer between two marks.
    sim.run_until(secs(5), "the answer", |sim| sent(sim, "b", "a", "ROUTE-REFRESH") == 4);
    assert_eq!(sent(&sim, "b", "a", "UPDATE"), updates + 1);
    assert_eq!(sim.refresh("b", "a", Way::Out), Refreshed::Told(both));
    sim.run_until(secs(5), "once more", |sim| sent(sim, "b", "a", "UPDATE") == updates + 2);
    assert_eq!(sim.refresh("a", "nobody", Way::In), Refreshed::UnknownPeer);
    assert_eq!((sim.peer("a", "b").flaps, sim.peer("a", "b").prefixes_received), (0, 1));
    put(&mut sim, "a", "b", |config| config.shutdown = Some("bye".into()));
    assert_eq!(sim.refresh("a", "b", Way::Out), Refreshed::Down);
}
