//! Whole speakers on a simulated network: seeded, without waiting, with a trace in the failure.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic; it prints seed and trace then"
)]

mod net;
mod peers;

use core::time::Duration;

use net::{Name, Seed, Sim};
use tidegate_bgp::speaker::{DownCause, Order, PeerConfig, Report, State};
use tidegate_bgp::types::{Family, HoldTime};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn two(seed: u64) -> Sim {
    Sim::new(Seed(seed)).node("a", 1, 65_001).node("b", 2, 65_002)
}

fn last_down(sim: &Sim, name: Name, peer: Name) -> Option<(bool, u8, u8)> {
    Some(match sim.peer(name, peer).last_down? {
        DownCause::Sent(n) => (true, n.code, n.subcode),
        DownCause::Received(n) => (false, n.code, n.subcode),
        DownCause::ConnectionLost => (false, 0, 0),
    })
}

#[test]
fn two_that_dial_each_other_at_once_keep_one_connection_and_lose_no_session() {
    for seed in 0..500 {
        let mut sim = two(seed).link("a", "b");
        sim.run_until(secs(3), "both Established", Sim::all_established);
        sim.run_for(secs(60));
        assert!(sim.all_established());
        assert_eq!(sim.connections("a", "b"), 1);
        assert_eq!((sim.peer("a", "b").flaps, sim.peer("b", "a").flaps), (0, 0));
    }
}

#[test]
fn three_in_a_triangle_come_up_whatever_their_identifiers() {
    for seed in 0..100 {
        // The same identifier on purpose: legal between ASes (RFC 6286).
        let sim = Sim::new(Seed(seed)).node("a", 1, 65_003).node("b", 2, 65_002);
        let mut sim = sim.node("c", 3, 65_001).link("a", "b").link("b", "c").link("a", "c");
        sim.run_until(secs(3), "all Established", Sim::all_established);
        sim.run_for(secs(30));
        for (one, other) in [("a", "b"), ("b", "c"), ("a", "c")] {
            assert_eq!(sim.connections(one, other), 1);
            assert_eq!(sim.peer(one, other).flaps, 0);
        }
    }
}

#[test]
fn a_session_comes_back_after_its_connection_broke() {
    for seed in 0..100 {
        let mut sim = two(seed).link("a", "b").established();
        sim.run_for(secs(20));
        sim.cut("a", "b");
        sim.run_until(secs(1), "both noticed", |sim| {
            sim.peer("a", "b").flaps == 1 && sim.peer("b", "a").flaps == 1
        });
        assert_eq!(last_down(&sim, "a", "b"), Some((false, 0, 0)));
        sim.run_until(secs(3), "back", Sim::all_established);
    }
}

#[test]
fn a_peer_that_was_killed_is_found_again_when_it_lives() {
    for seed in 0..100 {
        let mut sim = two(seed).link("a", "b").established();
        sim.kill("b");
        sim.run_for(secs(300));
        assert_ne!(sim.state("a", "b"), State::Established);
        sim.revive("b");
        let mut config = sim.config("b", "a");
        config.passive = true; // The way back has to be ours.
        sim.order("b", Order::PutPeer(config));
        sim.run_until(secs(6), "back", Sim::all_established);
    }
}

#[test]
fn a_silent_peer_is_dropped_when_the_hold_time_is_over() {
    let mut sim = two(7).link("a", "b").established();
    sim.blackhole("a", "b"); // TCP stays up; nothing arrives.
    let heard_last = sim.now;
    sim.run_for(secs(59));
    assert_eq!(sim.state("b", "a"), State::Established);
    sim.run_until(secs(32), "dropped", |sim| sim.state("b", "a") != State::Established);
    assert!(sim.now <= heard_last + secs(91));
    assert_eq!(last_down(&sim, "b", "a"), Some((true, 4, 0)));
    sim.restore("a", "b");
    sim.run_until(secs(90), "back", Sim::all_established);
}

#[test]
fn keepalives_hold_a_quiet_session_for_a_day() {
    let mut sim = two(8).link("a", "b").established();
    sim.run_for(secs(86_400));
    assert!(sim.all_established());
    assert_eq!((sim.peer("a", "b").flaps, sim.peer("b", "a").flaps), (0, 0));
}

#[test]
fn the_smaller_hold_time_counts_and_zero_means_never() {
    let mut sim = two(9);
    for (one, other, hold) in [("a", "b", 30), ("b", "a", 0)] {
        let hold_time = HoldTime::from_secs(hold).unwrap();
        let config = sim.config(one, other);
        sim.order(one, Order::PutPeer(PeerConfig { hold_time, ..config }));
    }
    let mut sim = sim.established();
    assert_eq!(sim.peer("a", "b").hold_time.map(HoldTime::as_secs), Some(0));
    sim.blackhole("a", "b");
    sim.run_for(secs(100_000));
    assert!(sim.all_established());
}

#[test]
fn garbage_is_answered_by_the_book_and_hurts_no_other_session() {
    let header = |length: u16, kind: u8| {
        let mut bytes = vec![0xff; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes
    };
    let open = [header(29, 1), vec![4, 0xfd, 0xea, 0, 90, 10, 0, 0, 2, 0]].concat();
    let cases = [
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), (1, 1)),
        ("a length below the header's", header(18, 4), (1, 2)),
        ("an OPEN above 4096 octets", header(4097, 1), (1, 2)),
        ("a type nobody knows", header(19, 77), (1, 3)),
        ("an OPEN in Established", open, (5, 3)),
        ("attributes longer than the UPDATE", [header(23, 2), vec![0, 0, 0, 9]].concat(), (3, 1)),
    ];
    for (name, bytes, (code, subcode)) in cases {
        for seed in 0..20 {
            let sim = two(seed).node("c", 3, 65_003);
            let mut sim = sim.link("a", "b").link("a", "c").established();
            sim.inject("b", "a", &bytes);
            sim.run_until(secs(1), name, |sim| sim.peer("a", "b").flaps == 1);
            assert_eq!(last_down(&sim, "a", "b"), Some((true, code, subcode)), "{name}");
            assert_eq!(sim.peer("a", "c").flaps, 0, "{name}");
            sim.run_until(secs(3), "back", Sim::all_established);
        }
    }
}

#[test]
fn routes_appear_and_disappear_on_the_other_side() {
    for seed in 0..50 {
        let mut sim = two(seed).link("a", "b");
        sim.advertise("a", "192.0.2.1");
        sim.advertise("a", "2001:db8:1::1");
        let mut sim = sim.established();
        let received = |count| move |sim: &Sim| sim.peer("b", "a").prefixes_received == count;
        sim.run_until(secs(1), "routes of before", received(2));
        sim.advertise("a", "192.0.2.2");
        sim.run_until(secs(1), "a new one", received(3));
        assert_eq!(sim.peer("a", "b").prefixes_advertised, 3);
        sim.withdraw("a", "2001:db8:1::1");
        sim.run_until(secs(1), "one gone", received(2));
        sim.withdraw("a", "203.0.113.1"); // Never advertised: nothing to be said.
        let sent = sim.peer("a", "b").messages_sent;
        sim.advertise("a", "192.0.2.2"); // As it was.
        assert_eq!(sim.peer("a", "b").messages_sent, sent);
        sim.cut("a", "b");
        sim.run_until(secs(1), "all gone with the session", received(0));
        sim.run_until(secs(4), "and back with it", received(2));
    }
}

#[test]
fn a_shutdown_says_so_and_accepts_nobody() {
    let mut sim = two(3).link("a", "b").established();
    sim.order("a", Order::Shutdown);
    sim.run_until(secs(1), "told", |sim| sim.peer("b", "a").flaps == 1);
    assert_eq!(last_down(&sim, "a", "b"), Some((true, 6, 2)));
    sim.run_for(secs(600));
    assert_eq!(sim.state("a", "b"), State::Idle);
    assert_eq!(sim.connections("a", "b"), 0);
}

#[test]
fn a_removed_peer_is_told_so_and_refused_from_then_on() {
    let mut sim = two(4).link("a", "b").established();
    sim.order("a", Order::RemovePeer("b".into()));
    sim.run_for(secs(600));
    assert_ne!(sim.state("b", "a"), State::Established);
    assert_eq!(sim.connections("a", "b"), 0);
    let config = sim.config("a", "b");
    sim.order("a", Order::PutPeer(config));
    sim.run_until(secs(120), "peers again", Sim::all_established);
}

#[test]
fn only_what_needs_a_reset_resets_the_session() {
    let mut sim = two(5).link("a", "b").established();
    sim.advertise("a", "192.0.2.1");
    let same = sim.config("a", "b");
    let mut soft = same.clone();
    soft.passive = true;
    soft.connect_retry = secs(33);
    soft.next_hops.v4 = Some("10.9.9.9".parse().unwrap());
    for config in [same.clone(), soft] {
        sim.order("a", Order::PutPeer(config));
        sim.run_for(secs(5));
        assert_eq!(sim.peer("a", "b").flaps, 0);
    }
    let hard = PeerConfig { families: vec![Family::Ipv4Unicast], ..same };
    sim.order("a", Order::PutPeer(hard));
    assert_eq!(last_down(&sim, "a", "b"), Some((true, 6, 6)));
    sim.run_until(secs(10), "back", Sim::all_established);
    assert_eq!(sim.peer("b", "a").families, [Family::Ipv4Unicast]);
}

#[test]
fn peers_that_cannot_agree_say_why_and_never_come_up() {
    type Change = fn(&mut PeerConfig);
    let cases: [(&str, Change, (u8, u8)); 2] = [
        ("another AS than configured", |c| c.remote_as = "65009".parse().unwrap(), (2, 2)),
        ("no common family", |c| c.families = vec![Family::Ipv6Unicast], (2, 7)),
    ];
    for (name, change, refusal) in cases {
        let mut sim = two(6);
        let mut config = sim.config("a", "b");
        change(&mut config);
        sim.order("a", Order::PutPeer(config));
        let config = sim.config("b", "a");
        sim.order(
            "b",
            Order::PutPeer(PeerConfig { families: vec![Family::Ipv4Unicast], ..config }),
        );
        let said = |sim: &Sim| {
            let words = [last_down(sim, "a", "b"), last_down(sim, "b", "a")];
            words.into_iter().flatten().any(|(_, code, subcode)| (code, subcode) == refusal)
        };
        sim.run_until(secs(5), name, said);
        sim.run_for(secs(600));
        assert_eq!((sim.peer("a", "b").flaps, sim.peer("b", "a").flaps), (0, 0), "{name}");
        let tries = sim.peer("a", "b").messages_sent;
        assert!(tries < 100, "{name}: {tries} messages in ten minutes are no back-off");
    }
}

#[test]
fn a_peer_in_our_own_as_hears_of_our_routes_too() {
    let mut sim = Sim::new(Seed(1)).node("a", 1, 65_001).node("b", 2, 65_001).link("a", "b");
    sim.advertise("a", "192.0.2.1");
    let mut sim = sim.established();
    sim.run_until(secs(1), "route", |sim| sim.peer("b", "a").prefixes_received == 1);
    let repaired = |(_, report): &&(_, Report)| matches!(report, Report::Repaired { .. });
    assert_eq!(sim.reports("b").iter().find(repaired), None);
}

#[test]
fn storms_of_cuts_and_kills_end_in_a_session() {
    for seed in 0..200 {
        let mut sim = two(seed).link("a", "b");
        for step in 0..10 {
            sim.run_for(Duration::from_millis((seed * 37 + step * 311) % 2500));
            match (seed + step) % 4 {
                0 => sim.cut("a", "b"),
                1 => sim.blackhole("a", "b"),
                2 => sim.restore("a", "b"),
                _ => {
                    sim.kill("b");
                    sim.revive("b");
                    let config = sim.config("b", "a");
                    sim.order("b", Order::PutPeer(config));
                }
            }
        }
        sim.restore("a", "b");
        // The longest wait: an OPEN that never comes, then the longest IdleHoldTime.
        sim.run_until(secs(240 + 60 + 10), "Established at last", Sim::all_established);
        sim.run_for(secs(300));
        assert!(sim.all_established());
        assert_eq!(sim.connections("a", "b"), 1);
    }
}

#[test]
fn a_dump_names_nobody_for_routes_of_one_who_came_while_it_was_written() {
    let nodes = [("a", 1), ("b", 2), ("c", 3), ("d", 4)];
    let sim = nodes.iter().fold(Sim::new(Seed(1)), |sim, (name, at)| sim.node(name, *at, 65_001));
    let mut sim = sim.link("a", "b").established();
    sim.advertise("b", "192.0.2.2");
    sim.advertise("b", "2001:db8::2");
    sim.run_for(secs(5));
    let first = sim.dump("a", None);
    assert_eq!(first.destinations, 1, "IPv4");

    // Another one takes the place of the peer that goes, and one the first place behind the index.
    sim.order("a", Order::RemovePeer("b".into()));
    sim.order("b", Order::RemovePeer("a".into()));
    let mut sim = sim.link("a", "c").link("a", "d").established();
    sim.advertise("c", "2001:db8::3");
    sim.advertise("d", "2001:db8::4");
    sim.run_for(secs(5));
    let last = sim.dump("a", first.next);
    assert_eq!((last.destinations, last.next), (0, None));

    // The same peer as before is in the index, whatever became of its session.
    let first = sim.dump("a", None);
    sim.cut("a", "c");
    sim.run_for(secs(30));
    assert_eq!(sim.dump("a", first.next).destinations, 2);
}
