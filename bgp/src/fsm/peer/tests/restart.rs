//! Restarts, ours and the peer's (RFC 4724, RFC 8538, RFC 9494), and enhanced refresh (RFC 7313).

use super::*;
use crate::rib::View;
use crate::speaker::{Expiry, Keeping, RoutesQuery};
use crate::types::Community;
use crate::wire::{GracefulRestart, LongLived};

/// Whether the OPENs sent since the last look say that we have restarted, and how many End-of-RIBs
/// went out.
fn restart_signs(lab: &mut Lab) -> (Vec<bool>, usize) {
    let (mut restarting, mut ends) = (Vec::new(), 0);
    for action in lab.out.drain(..) {
        let Action::Send { bytes, .. } = action else { continue };
        let Ok(Some((raw, _))) = wire::next_message(&bytes, 4096) else { continue };
        match wire::decode(raw, &Negotiated::NOTHING) {
            Ok(Message::Open(open)) => restarting.extend(open.capabilities.iter().find_map(|it| {
                let Capability::GracefulRestart(restart) = it else { return None };
                Some(restart.restarting)
            })),
            _ => ends += usize::from(Family::UNICAST.map(wire::encode_end_of_rib).contains(&bytes)),
        }
    }
    (restarting, ends)
}

#[test]
fn a_restarted_speaker_says_so_and_lets_go_when_all_is_announced_again_or_time_is_up() {
    for settled in [true, false] {
        let mut config = config();
        config.offer.graceful_restart = Some(GracefulRestart::default());
        let mut lab = Lab::with(config.clone(), 2);
        let until = lab.now + Duration::from_secs(30);
        lab.speaker =
            Speaker::new(Local { asn: asn(65_001), router_id: id(10) }, 1).restarted(until);
        lab.out.clear();
        lab.order(Order::PutPeer(config));
        let conn = lab.dialled();
        lab.connected(conn);
        lab.hear_open(conn);
        lab.hear_keepalive(conn);
        lab.order(Order::Advertise(host("192.0.2.1"), RouteAttributes::default()));
        assert_eq!(restart_signs(&mut lab), (vec![true], 0));
        if settled {
            lab.order(Order::Settled);
        } else {
            lab.wait(Duration::from_secs(30));
        }
        assert_eq!(restart_signs(&mut lab), (vec![], 2));
        lab.order(Order::Settled); // Once is enough.
        assert_eq!(restart_signs(&mut lab), (vec![], 0));

        // From now on it is a speaker like any other.
        lab.event(ConnEvent::Closed { conn });
        lab.wait(Duration::from_secs(2));
        let conn = lab.dialled();
        lab.connected(conn);
        lab.hear_open(conn);
        lab.hear_keepalive(conn);
        assert_eq!(restart_signs(&mut lab), (vec![false], 2));
    }
}

#[test]
fn after_a_restart_the_end_of_our_routes_waits_for_the_end_of_those_we_pass_on() {
    // (the peer's word about restarts, whether its End-of-RIBs are waited for)
    for (restart, waited_for) in [
        (Some(gracefully(true, false)), true),
        (Some(gracefully(true, true)), false),
        (None, false),
    ] {
        let mut lab = helping(restart);
        let until = lab.now + Duration::from_secs(30);
        let local = Local { asn: asn(65_001), router_id: id(10) };
        lab.speaker = Speaker::new(local, 1).restarted(until);
        let mut config = config();
        config.offer.graceful_restart = Some(gracefully(true, false));
        lab.order(Order::PutPeer(config));
        lab.order(Order::Settled);
        lab.out.retain(|action| matches!(action, Action::Dial { .. }));
        let conn = lab.up();
        assert_eq!(restart_signs(&mut lab).1 == 0, waited_for, "{restart:?}");
        lab.end_of_rib(conn);
        lab.hear(conn, &wire::encode_end_of_rib(Family::Ipv6Unicast));
        assert_eq!(restart_signs(&mut lab).1 == 2, waited_for, "{restart:?}");
    }
}

#[test]
fn who_is_to_be_started_again_leaves_without_a_word_where_its_routes_are_kept() {
    for (restart, last_word) in [(Some(gracefully(false, false)), None), (None, Some((6, 4)))] {
        let mut lab = helping(restart);
        let conn = lab.up();
        lab.order(Order::Advertise(host("192.0.2.1"), RouteAttributes::default()));
        lab.out.clear();
        lab.order(Order::Restart);
        assert!(lab.closed(conn));
        assert_eq!(lab.last_words(conn), last_word);
        let sent = lab.out.iter().filter(|action| matches!(action, Action::Send { .. })).count();
        assert_eq!(sent, usize::from(last_word.is_some()), "nothing is withdrawn: {:?}", lab.out);
        lab.wait(Duration::from_mins(10));
        assert_eq!(lab.status().state, State::Idle);
        assert_eq!(lab.accept(), None);
    }
}

/// What both sides say about restarts in these tests.
fn gracefully(notification: bool, restarting: bool) -> GracefulRestart {
    let families: crate::types::FamilySet = Family::UNICAST.into_iter().collect();
    GracefulRestart {
        restarting,
        notification,
        restart_time_secs: 60,
        families,
        forwarding: families,
    }
}

/// A peer that may ask us to keep its routes, and does if it has `restart`.
fn helping(restart: Option<GracefulRestart>) -> Lab {
    let mut config = config();
    config.offer.graceful_restart = Some(gracefully(true, false));
    let mut lab = Lab::with(config, 2);
    lab.capabilities.extend(restart.map(Capability::GracefulRestart));
    lab
}

impl Lab {
    fn announce(&mut self, conn: ConnId, prefixes: &[&str], communities: &[Community]) {
        let attributes = Attributes {
            next_hop: Some(NextHop::V4([10, 0, 0, 2].into())),
            as_path: vec![AsSegment::Sequence(vec![asn(65_002)])],
            communities: communities.to_vec(),
            ..Attributes::default()
        };
        let prefixes: Vec<Prefix> = prefixes.iter().map(|text| host(text)).collect();
        let (family, context) = (Family::Ipv4Unicast, Negotiated::NOTHING);
        let update = wire::encode_announce(family, &attributes, &prefixes, &context).unwrap();
        self.hear(conn, &update.concat());
    }

    /// Everything the peer has announced: where to, whether it is stale, for how long it is.
    fn routes(&mut self) -> Vec<(String, bool, bool)> {
        let (view, from, limit) = (View::Received, 0, 100);
        let query = RoutesQuery { view, family: None, peer: None, prefix: None, from, limit };
        let routes = self.speaker.routes(&query).routes;
        let mut shown: Vec<_> = routes
            .into_iter()
            .map(|route| {
                let marked = route.route.attributes.communities.contains(&Community::LLGR_STALE);
                (route.route.prefix.addr().to_string(), route.route.stale, marked)
            })
            .collect();
        shown.sort();
        shown
    }

    fn again(&mut self) -> ConnId {
        self.wait(Duration::from_secs(2));
        self.up()
    }

    fn end_of_rib(&mut self, conn: ConnId) {
        self.hear(conn, &wire::encode_end_of_rib(Family::Ipv4Unicast));
    }
}

fn route(text: &str, stale: bool, marked: bool) -> (String, bool, bool) {
    (text.to_owned(), stale, marked)
}

#[test]
fn routes_outlive_a_session_only_where_both_sides_have_agreed_to_that() {
    #[derive(Clone, Copy)]
    enum End {
        Lost,
        Silence,
        Hears(u8, u8),
    }
    let (with_n, without_n) = (Some(gracefully(true, false)), Some(gracefully(false, false)));
    let cases = [
        ("lost, no capability", None, End::Lost, false),
        ("lost", without_n, End::Lost, true),
        ("lost, N", with_n, End::Lost, true),
        ("hold timer", without_n, End::Silence, false),
        ("hold timer, N", with_n, End::Silence, true),
        ("reset by the operator", without_n, End::Hears(6, 4), false),
        ("reset by the operator, N", with_n, End::Hears(6, 4), true),
        ("a hard reset, N", with_n, End::Hears(6, 9), false),
        ("shut down, which the peer did not call final, N", with_n, End::Hears(6, 2), true),
    ];
    for (name, restart, end, kept) in cases {
        let mut lab = helping(restart);
        let conn = lab.up();
        lab.announce(conn, &["203.0.113.1"], &[]);
        match end {
            End::Lost => lab.event(ConnEvent::Closed { conn }),
            End::Silence => lab.wait(Duration::from_secs(90)),
            End::Hears(code, subcode) => {
                let word = Notification::new(code, subcode);
                lab.hear(conn, &wire::encode_notification(&word));
            }
        }
        assert_ne!(lab.status().state, State::Established, "{name}");
        let left = if kept { vec![route("203.0.113.1", true, false)] } else { vec![] };
        assert_eq!(lab.routes(), left, "{name}");
        assert_eq!(lab.status().stale.is_empty(), !kept, "{name}");
    }
}

#[test]
fn what_a_peer_announces_again_stays_and_the_rest_goes_at_its_end_of_rib() {
    let mut lab = helping(Some(gracefully(true, false)));
    let conn = lab.up();
    lab.announce(conn, &["203.0.113.1", "203.0.113.2", "203.0.113.3"], &[]);
    lab.event(ConnEvent::Closed { conn });
    let conn = lab.again();
    lab.announce(conn, &["203.0.113.1"], &[Community(7)]);
    let withdraw =
        wire::encode_withdraw(Family::Ipv4Unicast, &[host("203.0.113.3")], &Negotiated::NOTHING);
    lab.hear(conn, &withdraw.concat());
    let both = [route("203.0.113.1", false, false), route("203.0.113.2", true, false)];
    assert_eq!(lab.routes(), both, "what is new takes the place of what was kept");
    lab.end_of_rib(conn);
    assert_eq!(lab.routes(), [route("203.0.113.1", false, false)]);
    assert_eq!(lab.status().stale, [Family::Ipv6Unicast]);
}

#[test]
fn a_peer_that_does_not_come_back_in_time_loses_its_routes() {
    let mut lab = helping(Some(gracefully(true, false)));
    let conn = lab.up();
    lab.announce(conn, &["203.0.113.1"], &[]);
    lab.event(ConnEvent::Closed { conn });
    lab.wait(Duration::from_secs(59));
    assert_eq!(lab.routes().len(), 1);
    lab.wait(Duration::from_secs(1));
    assert_eq!(lab.routes(), []);
    let gone = |action: &Action| {
        matches!(action, Action::Report(Report::Expired { expiry: Expiry::Gone, .. }))
    };
    assert!(lab.out.iter().any(gone));
}

#[test]
fn a_peer_that_comes_back_but_does_not_say_all_again_has_until_the_stale_time() {
    let mut lab = helping(Some(gracefully(true, false)));
    let conn = lab.up();
    lab.announce(conn, &["203.0.113.1"], &[]);
    lab.event(ConnEvent::Closed { conn });
    let conn = lab.again();
    let mut left = Duration::from_mins(6) - Duration::from_secs(2);
    while left > Duration::from_secs(30) {
        lab.hear_keepalive(conn);
        lab.wait(Duration::from_secs(30));
        left -= Duration::from_secs(30);
        assert_eq!(lab.routes().len(), 1);
    }
    lab.wait(left);
    assert_eq!((lab.routes().len(), lab.status().state), (0, State::Established));
}

#[test]
fn a_peer_back_without_its_forwarding_state_is_not_waited_for() {
    let lost =
        GracefulRestart { forwarding: crate::types::FamilySet::EMPTY, ..gracefully(true, true) };
    for back_with in [None, Some(lost)] {
        let mut lab = helping(Some(gracefully(true, false)));
        let conn = lab.up();
        lab.announce(conn, &["203.0.113.1"], &[]);
        lab.event(ConnEvent::Closed { conn });
        lab.capabilities.pop();
        lab.capabilities.extend(back_with.map(Capability::GracefulRestart));
        lab.wait(Duration::from_secs(2));
        assert_eq!(lab.routes().len(), 1);
        lab.up();
        assert_eq!(lab.routes(), []);
    }
}

#[test]
fn after_the_restart_time_routes_live_on_as_the_last_resort_where_that_is_wanted() {
    let long = |family| LongLived { family, forwarding: true, stale_time_secs: 1000 };
    let mut config = config();
    config.offer.graceful_restart = Some(gracefully(true, false));
    config.keeping = Keeping { long_lived_max: Duration::from_mins(10), ..config.keeping };
    let mut lab = Lab::with(config, 2);
    lab.capabilities.push(Capability::GracefulRestart(gracefully(true, false)));
    let long = vec![long(Family::Ipv4Unicast)];
    lab.capabilities.push(Capability::LongLivedGracefulRestart(long));
    let conn = lab.up();
    lab.announce(conn, &["203.0.113.1"], &[]);
    lab.announce(conn, &["203.0.113.2"], &[Community::NO_LLGR]);
    lab.event(ConnEvent::Closed { conn });
    lab.wait(Duration::from_mins(1));
    assert_eq!(lab.routes(), [route("203.0.113.1", true, true)]);
    assert_eq!(lab.status().stale, [Family::Ipv4Unicast]);
    lab.wait(Duration::from_secs(599));
    assert_eq!(lab.routes().len(), 1);
    // Back at last: the time runs on until it has said all again.
    let conn = lab.up();
    lab.announce(conn, &["203.0.113.1"], &[]);
    assert_eq!(lab.routes(), [route("203.0.113.1", false, false)]);
    lab.wait(Duration::from_secs(1));
    assert_eq!((lab.routes().len(), lab.status().stale), (1, vec![]));
}

#[test]
fn a_restarted_peer_takes_the_place_of_its_own_session_that_we_think_stands() {
    // R in the OPEN of the newcomer (FRR sets it whenever it has started), seconds that the session
    // has stood.
    let cases = [
        ("back from a restart", true, 10, true),
        ("a collision that is late", true, 9, false),
        ("back, and has not noticed", false, 10, true),
    ];
    for (name, restarting, secs, taken) in cases {
        let mut lab = helping(Some(gracefully(true, false)));
        let conn = lab.up();
        lab.announce(conn, &["203.0.113.1"], &[]);
        lab.wait(Duration::from_secs(secs));
        lab.out.clear();
        let newcomer = lab.accept().unwrap();
        assert!(!lab.closed(newcomer) && !lab.closed(conn), "{name}: a connection is not enough");
        lab.capabilities.pop();
        lab.capabilities.push(Capability::GracefulRestart(gracefully(true, restarting)));
        lab.hear_open(newcomer);
        assert_eq!((lab.closed(conn), lab.closed(newcomer)), (taken, !taken), "{name}");
        assert_eq!(lab.routes(), [route("203.0.113.1", taken, false)], "{name}");
        if taken {
            assert_eq!(lab.last_words(conn), None, "{name}: RFC 4724 §5: without a word");
            lab.hear_keepalive(newcomer);
        } else {
            assert_eq!(lab.last_words(newcomer), Some((6, 7)), "{name}");
        }
        assert_eq!(lab.status().state, State::Established, "{name}");
    }
}

#[test]
fn strangers_beside_a_session_take_the_place_of_each_other_only() {
    let mut lab = helping(Some(gracefully(true, false)));
    let conn = lab.up();
    let mut before = None;
    for _ in 0..100 {
        let newcomer = lab.accept().unwrap();
        assert!(!lab.closed(conn) && before.is_none_or(|before| lab.closed(before)));
        before = Some(newcomer);
        lab.out.clear();
    }
    lab.hear(before.unwrap(), b"GET / HTTP/1.1\r\nHost: 10.0.0.10\r\n\r\n");
    assert_eq!(lab.last_words(before.unwrap()), Some((1, 1)));
    assert_eq!((lab.status().state, lab.status().last_down), (State::Established, None));
}

#[test]
fn what_ends_for_good_is_wrapped_in_a_hard_reset_for_those_who_know_it() {
    for (restart, last_word) in
        [(gracefully(true, false), (6, 9)), (gracefully(false, false), (6, 2))]
    {
        let mut lab = helping(Some(restart));
        let conn = lab.up();
        lab.announce(conn, &["203.0.113.1"], &[]);
        lab.order(Order::Shutdown);
        assert_eq!(lab.last_words(conn), Some(last_word));
        let told = Notification::ADMINISTRATIVE_SHUTDOWN;
        assert_eq!(lab.status().last_down, Some(DownCause::Sent(told)));
        assert_eq!(lab.routes(), []);
    }
}

#[test]
fn what_an_enhanced_refresh_does_not_name_again_goes_at_its_end() {
    let mut lab = helping(None);
    lab.capabilities.push(Capability::EnhancedRouteRefresh);
    let conn = lab.up();
    lab.announce(conn, &["203.0.113.1", "203.0.113.2"], &[]);
    let mark = |kind| wire::encode_route_refresh(Family::Ipv4Unicast, kind);
    lab.hear(conn, &mark(RefreshKind::Begin));
    lab.announce(conn, &["203.0.113.2"], &[]);
    let both = [route("203.0.113.1", true, false), route("203.0.113.2", false, false)];
    assert_eq!(lab.routes(), both);
    lab.hear(conn, &mark(RefreshKind::End));
    assert_eq!(lab.routes(), [route("203.0.113.2", false, false)]);
}
