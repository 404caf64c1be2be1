//! FlowSpec rules: kept, bounded, shown with whether they could be obeyed, and passed on to nobody.

use super::net::{Net, PLAIN, path};
use super::*;
use crate::rib::flows::FLOWS_MAX;
use crate::types::ExtendedCommunity;

const PREFIX: &str = "198.51.100.0/24";

/// `dst` a prefix of 198.51.100.0/24, and a protocol.
fn rule(protocol: u8) -> Vec<u8> {
    vec![1, 24, 198, 51, 100, 3, 0x81, protocol]
}

/// An UPDATE with such rules, or without them from now on.
fn update(rules: &[Vec<u8>], reach: bool) -> Vec<u8> {
    let mut nlri: Vec<u8> = vec![0, 1, 133];
    if reach {
        nlri.extend([0, 0]);
    }
    for rule in rules {
        nlri.push(u8::try_from(rule.len()).unwrap());
        nlri.extend(rule);
    }
    let code = if reach { 14 } else { 15 };
    let mut attributes = vec![0x90, code];
    attributes.extend(u16::try_from(nlri.len()).unwrap().to_be_bytes());
    attributes.extend(nlri);
    if reach {
        attributes.extend([0x40, 1, 1, 0, 0x40, 2, 6, 2, 1]);
        attributes.extend(64_501_u32.to_be_bytes());
        attributes.extend([0xc0, 16, 8, 0x80, 6, 0xfb, 0xf5, 0, 0, 0, 0]);
    }
    let mut body = vec![0, 0];
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(body.len() + 19).unwrap().to_be_bytes());
    message.push(2);
    message.extend(body);
    message
}

fn shown(
    net: &mut Net,
    from: u64,
    limit: usize,
) -> (Vec<(PeerId, String, FlowState)>, Option<u64>) {
    let query = Query {
        view: View::Available,
        family: Some(Family::Ipv4Flowspec),
        peer: None,
        prefix: None,
        from,
        limit,
    };
    let page = net.rib.page(&query);
    let flows = page.flows.into_iter().map(|flow| (flow.from, flow.rule, flow.state));
    (flows.collect(), page.next)
}

#[test]
fn rules_are_kept_until_withdrawn_and_told_to_nobody() {
    let mut net = Net::new();
    let [first, second] = [net.peer(64_501, PLAIN), net.peer(64_502, PLAIN)];
    net.hear(first, &update(&[rule(6), rule(17)], true));
    net.hear(second, &update(&[rule(6)], true));
    let text = |protocol: u8| format!("dst 198.51.100.0/24 proto ={protocol}");
    let no_route = FlowState::NoRoute;
    let all =
        [(first, text(6), no_route), (second, text(6), no_route), (first, text(17), no_route)];
    assert_eq!(shown(&mut net, 0, 10), (all.to_vec(), None));
    assert_eq!(shown(&mut net, 0, 2), (all[..2].to_vec(), Some(2)));
    assert_eq!(shown(&mut net, 2, 2), (all[2..].to_vec(), None));
    // Who brings the route to the destination may say what becomes of packets that go there.
    net.say(first, 0, PREFIX, &path(&[64_501]));
    let states = |net: &mut Net| shown(net, 0, 10).0.iter().map(|it| it.2).collect::<Vec<_>>();
    let (feasible, another) = (FlowState::Feasible, FlowState::OfAnother);
    assert_eq!(states(&mut net), [feasible, another, feasible]);
    net.say(first, 0, "198.51.0.0/16", &path(&[64_501]));
    net.unsay(first, 0, PREFIX);
    assert_eq!(states(&mut net), [feasible, another, feasible], "a wider route will do");
    assert_eq!(net.heard(second).len(), 1, "a route, and no rule");

    net.hear(first, &update(&[rule(6)], false));
    assert_eq!(shown(&mut net, 0, 10).0.len(), 2);
    net.rib.down(second);
    assert_eq!(shown(&mut net, 0, 10).0, [(first, text(17), feasible)]);
    net.rib.down(first);
    while net.rib.work() {}
    net.rib.work();
    assert_eq!((shown(&mut net, 0, 10).0, net.rib.sets_len()), (vec![], 0));
}

#[test]
fn a_peer_has_a_bounded_number_of_rules() {
    let mut net = Net::new();
    let peer = net.peer(64_501, PLAIN);
    let mut refused = None;
    for number in 0..=FLOWS_MAX {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        let ports = vec![5, 0x91, high, low];
        refused = net.try_hear(peer, &update(&[ports], true)).err();
        assert_eq!(refused.is_some(), number == FLOWS_MAX, "{number}");
    }
    let known = vec![5, 0x91, 0, 0];
    net.try_hear(peer, &update(&[known], true)).unwrap(); // Said again, it is none more.
    let max = FLOWS_MAX;
    assert_eq!(refused, Some(TooMuch::Prefixes { family: Family::Ipv4Flowspec, max }));
    let (flows, _) = shown(&mut net, 0, 1);
    assert_eq!(flows[0].2, FlowState::NoDestination);
}

#[test]
fn what_is_not_said_again_in_a_refresh_goes_at_its_end() {
    let mut net = Net::new();
    let [first, second] = [net.peer(64_501, PLAIN), net.peer(64_502, PLAIN)];
    net.hear(first, &update(&[rule(6), rule(17)], true));
    net.hear(second, &update(&[rule(6)], true));
    net.rib.begin_refresh(first, Family::Ipv4Flowspec);
    net.hear(first, &update(&[rule(17)], true));
    assert_eq!(shown(&mut net, 0, 10).0.len(), 3, "until it is over");
    net.rib.drop_stale(first, Family::Ipv4Flowspec);
    let left: Vec<_> = shown(&mut net, 0, 10).0.into_iter().map(|it| it.0).collect();
    assert_eq!(left, [second, first]);
}

#[test]
fn what_a_rule_asks_for_is_said_in_words() {
    let cases = [
        ([0x80, 6, 0xfb, 0xf5, 0, 0, 0, 0], "discard"),
        ([0x80, 6, 0xfb, 0xf5, 0x49, 0x74, 0x24, 0], "rate-bytes:64501:1000000"),
        ([0x80, 0x0c, 0xfb, 0xf5, 0x44, 0x7a, 0, 0], "rate-packets:64501:1000"),
        ([0x80, 7, 0, 0, 0, 0, 0, 3], "action:sample,terminal"),
        ([0x80, 8, 0xfb, 0xf5, 0, 0, 0, 7], "redirect:64501:7"),
        ([0x80, 9, 0, 0, 0, 0, 0, 46], "mark:46"),
    ];
    for (octets, expected) in cases {
        assert_eq!(ExtendedCommunity(octets).to_string(), expected);
    }
}
