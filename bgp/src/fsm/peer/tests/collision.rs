//! Two connections, and which of them stays (RFC 4271 §6.8).

use super::*;

#[test]
fn a_collision_is_settled_by_the_identifiers_as_soon_as_that_is_safe() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Left {
        Dialled,
        Accepted,
        Both,
    }
    // The peer's identifier (ours is 10), the order in which OPENs come: d on the dialled
    // connection, a on the accepted one.
    let cases = [
        ("ours is higher, first OPEN on ours", 9, "d", Left::Dialled),
        ("ours is higher, first OPEN on theirs", 9, "a", Left::Dialled),
        ("theirs is higher, first OPEN on theirs", 11, "a", Left::Accepted),
        ("theirs is higher, but may still be given up", 11, "d", Left::Both),
        ("theirs is higher, OPENs on both", 11, "da", Left::Accepted),
    ];
    for (name, remote_id, opens, left) in cases {
        let mut lab = Lab::new(remote_id);
        let dialled = lab.dialled();
        let accepted = lab.accept().unwrap();
        lab.connected(dialled);
        for open in opens.chars() {
            lab.hear_open(if open == 'd' { dialled } else { accepted });
        }
        let found = match (lab.closed(dialled), lab.closed(accepted)) {
            (false, false) => Left::Both,
            (false, true) => Left::Dialled,
            (true, false) => Left::Accepted,
            (true, true) => panic!("{name}: both lost"),
        };
        assert_eq!(found, left, "{name}");
        for (conn, other) in [(dialled, Left::Accepted), (accepted, Left::Dialled)] {
            if left == other {
                assert_eq!(lab.last_words(conn), Some((6, 7)), "{name}");
            }
        }
        assert_eq!(lab.status().last_down, None, "{name}: the end of a collision is no loss");
    }
}

#[test]
fn between_equal_identifiers_the_higher_as_number_wins() {
    let mut lab = Lab::new(10); // AS 65002 against our 65001.
    let dialled = lab.dialled();
    lab.connected(dialled);
    let accepted = lab.accept().unwrap();
    lab.hear_open(accepted);
    assert!(lab.closed(dialled) && !lab.closed(accepted));
}

#[test]
fn a_dial_that_is_not_up_is_given_up_for_a_connection_that_works() {
    let mut lab = Lab::new(9);
    let dialled = lab.dialled();
    let accepted = lab.accept().unwrap();
    lab.hear_open(accepted);
    assert!(lab.closed(dialled));
    assert_eq!(lab.last_words(dialled), None);
    lab.connected(dialled); // Too late.
    assert_eq!(lab.speaker.stale_events_total(), 1);
    lab.hear_keepalive(accepted);
    assert_eq!(lab.status().state, State::Established);
}

#[test]
fn an_established_session_is_not_given_up_for_a_newcomer() {
    for remote_id in [9, 11] {
        let mut lab = Lab::new(remote_id);
        let conn = lab.up();
        lab.out.clear();
        let newcomer = lab.accept().unwrap();
        assert_eq!(lab.last_words(newcomer), Some((6, 7)));
        assert!(lab.closed(newcomer) && !lab.closed(conn));
        lab.hear_open(newcomer);
        assert_eq!(lab.speaker.stale_events_total(), 1);
        assert_eq!((lab.status().state, lab.status().flaps), (State::Established, 0));
    }
}

#[test]
fn the_connection_that_is_left_over_is_closed_when_the_other_is_established() {
    let mut lab = Lab::new(11);
    let dialled = lab.dialled();
    lab.connected(dialled);
    let accepted = lab.accept().unwrap();
    lab.hear_open(dialled); // The peer decides, and has not: both live.
    lab.hear_keepalive(dialled);
    assert_eq!(lab.last_words(accepted), Some((6, 7)));
    assert!(lab.closed(accepted) && !lab.closed(dialled));
}

#[test]
fn a_peer_that_dials_again_has_forgotten_its_first_connection() {
    let mut lab = Lab::new(11);
    lab.dialled();
    let first = lab.accept().unwrap();
    let second = lab.accept().unwrap();
    assert_eq!(lab.last_words(first), Some((6, 7)));
    assert!(lab.closed(first) && !lab.closed(second));
    lab.hear_open(second);
    lab.hear_keepalive(second);
    assert_eq!(lab.status().state, State::Established);
}

#[test]
fn of_two_connections_that_the_peer_dialled_the_newer_stays() {
    let mut lab = Lab::with(PeerConfig { passive: true, ..config() }, 11);
    let older = lab.accept().unwrap();
    let newer = lab.accept().unwrap();
    lab.hear_open(older);
    assert!(!lab.closed(older) && !lab.closed(newer));
    lab.hear_open(newer);
    assert!(lab.closed(older) && !lab.closed(newer));
    lab.hear_keepalive(newer);
    assert_eq!(lab.status().state, State::Established);
}
