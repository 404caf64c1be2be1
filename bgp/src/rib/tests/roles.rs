//! ONLY_TO_CUSTOMER between two peers of every pair of roles (RFC 9234 §5).

use super::net::{Kind, Net, PLAIN, parse, path};
use super::*;
use crate::wire::Role;

const PREFIX: &str = "198.51.100.0/24";
const FROM: u32 = 64_501;
const TO: u32 = 64_502;

const ROLES: [Option<Role>; 6] = [
    None,
    Some(Role::Provider),
    Some(Role::RouteServer),
    Some(Role::Peer),
    Some(Role::Customer),
    Some(Role::RouteServerClient),
];

const fn is_below(role: Option<Role>) -> bool {
    matches!(role, Some(Role::Customer | Role::RouteServerClient))
}

/// A route goes up, or across, only if it came from below or from nobody in particular.
fn may_pass(from: Option<Role>, to: Option<Role>, marked: bool) -> bool {
    if marked && (is_below(from) || from == Some(Role::Peer)) {
        return false;
    }
    let not_below = |role: Option<Role>| role.is_some() && !is_below(role);
    let has_mark = marked || not_below(from);
    !has_mark || !not_below(to)
}

#[test]
fn no_pair_of_roles_leaks_a_route() {
    for from in ROLES {
        for to in ROLES {
            for marked in [None, Some(64_999)] {
                let mut net = Net::new();
                let source = net.peer(FROM, Kind { role: from, ..PLAIN });
                let sink = net.peer(TO, Kind { role: to, ..PLAIN });
                net.say(
                    source,
                    0,
                    PREFIX,
                    &Attributes { only_to_customer: marked, ..path(&[FROM]) },
                );
                let heard = net.heard(sink);
                let heard = heard.get(&(parse(PREFIX), PathId(0)));
                let shown = format!("{from:?} to {to:?}, marked {marked:?}");
                assert_eq!(heard.is_some(), may_pass(from, to, marked.is_some()), "{shown}");
                let Some(heard) = heard else { continue };
                let above = matches!(from, Some(Role::Provider | Role::RouteServer | Role::Peer));
                let marks =
                    matches!(to, Some(Role::Customer | Role::RouteServerClient | Role::Peer));
                let mark = marked.or(above.then_some(FROM)).or(marks.then_some(OUR_AS));
                assert_eq!(heard.only_to_customer, mark, "{shown}");
            }
        }
    }
}

#[test]
fn a_leak_is_kept_to_be_looked_at_and_says_what_it_is() {
    let mut net = Net::new();
    let customer = net.peer(FROM, Kind { role: Some(Role::Customer), ..PLAIN });
    let peer = net.peer(TO, Kind { role: Some(Role::Peer), ..PLAIN });
    net.say(customer, 0, PREFIX, &Attributes { only_to_customer: Some(9), ..path(&[FROM]) });
    // What a peer marks itself is for our customers.
    net.say(peer, 0, PREFIX, &Attributes { only_to_customer: Some(TO), ..path(&[TO]) });
    let leak = "a route leak, by ONLY_TO_CUSTOMER (RFC 9234)";
    assert_eq!(net.reasons(PREFIX), [(customer, leak), (peer, "best")]);
}

#[test]
fn a_vip_goes_to_everybody_and_is_marked_for_those_below() {
    for role in ROLES {
        let mut net = Net::new();
        let peer = net.peer(TO, Kind { role, ..PLAIN });
        net.rib.originate(parse(PREFIX), &RouteAttributes::default());
        let heard = net.heard(peer);
        let marks = matches!(role, Some(Role::Customer | Role::RouteServerClient | Role::Peer));
        let mark = heard[&(parse(PREFIX), PathId(0))].only_to_customer;
        assert_eq!(mark, marks.then_some(OUR_AS), "{role:?}");
    }
}
