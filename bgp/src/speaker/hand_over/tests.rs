//! Records that were cut, or changed anywhere, are refused or taken, and never end in a panic.

use proptest::prelude::*;

use super::*;
use crate::speaker::{NextHops, PeerConfig, RouteAttributes};
use crate::types::{Asn, Prefix, RouterId};
use crate::wire::{self, Capability, Open};

fn at() -> SocketAddr {
    "10.0.0.2:179".parse().unwrap()
}

/// A speaker with one session, one route of ours and one of the peer's.
fn established() -> (Speaker, ConnId) {
    let router_id = |last: u8| RouterId::new([10, 0, 0, last].into()).unwrap();
    let local = Local { asn: Asn::new(65_001).unwrap(), router_id: router_id(1) };
    let (mut speaker, now, mut out) = (Speaker::new(local, 7), Timestamp::default(), Vec::new());
    let peer = PeerConfig {
        passive: true,
        ..PeerConfig::new("core".into(), at(), Asn::new(65_001).unwrap())
    };
    speaker.on_order(now, Order::PutPeer(peer), &mut out);
    let vip = Prefix::host([192, 0, 2, 1].into());
    speaker.on_order(now, Order::Advertise(vip, RouteAttributes::default()), &mut out);
    let next_hops = NextHops { v4: Some([10, 0, 0, 1].into()), v6: None };
    let conn = speaker.accept(now, at(), next_hops, &mut out).unwrap();
    let open = Open {
        my_as: 65_001,
        hold_time: HoldTime::DEFAULT,
        router_id: router_id(2),
        capabilities: vec![
            Capability::Multiprotocol { afi: 1, safi: 1 },
            Capability::FourOctetAs(Asn::new(65_001).unwrap()),
        ],
    };
    let mut bytes = wire::encode_open(&open);
    bytes.extend(wire::encode_keepalive());
    // ORIGIN, an empty AS_PATH, NEXT_HOP, LOCAL_PREF: 198.51.100.0/24.
    let attributes = [64, 1, 1, 0, 64, 2, 0, 64, 3, 4, 10, 0, 0, 2, 64, 5, 4, 0, 0, 0, 100];
    let body = [&[0, 0, 0, 21][..], &attributes, &[24, 198, 51, 100]].concat();
    bytes.extend([0xff; 16]);
    bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    bytes.push(2);
    bytes.extend(body);
    bytes.extend(&wire::encode_keepalive()[..7]); // A message that has not come to its end.
    speaker.on_bytes(now, conn, &bytes, &mut out);
    speaker.transmit_all(now, &mut out);
    assert_eq!(speaker.kept().len(), 1);
    (speaker, conn)
}

fn taken_over(bytes: &[u8]) -> Option<(Speaker, Vec<Action>)> {
    let record: Record = postcard::from_bytes(bytes).ok()?;
    let mut out = Vec::new();
    let policies = |_: &str| Some(Policies::default());
    let speaker = Speaker::take_over(Timestamp::default(), record, 8, policies, &mut out).ok()?;
    Some((speaker, out))
}

/// What is done in the first minute: nothing that looks at what was taken over may panic.
fn live(speaker: &mut Speaker, conn: ConnId) -> Vec<Action> {
    let mut out = Vec::new();
    speaker.on_bytes(Timestamp::default(), conn, &wire::encode_keepalive()[7..], &mut out);
    speaker.on_time(Timestamp::default(), &mut out);
    speaker.transmit_all(Timestamp::default(), &mut out);
    drop((speaker.peers(), speaker.record()));
    out
}

#[test]
fn a_session_goes_on_in_the_middle_of_a_message_and_nothing_is_said() {
    let (mut old, conn) = established();
    let bytes = postcard::to_allocvec(&old.record()).unwrap();
    let (mut new, out) = taken_over(&bytes).unwrap();
    assert_eq!(out, []);
    assert_eq!(live(&mut new, conn), []);
    let (before, after) = (&old.peers()[0], &new.peers()[0]);
    assert_eq!(after.messages_received, before.messages_received + 1, "the one that was cut");
    assert_eq!((after.since, after.state, after.flaps), (before.since, before.state, 0));
    assert_eq!((after.prefixes_received, after.prefixes_advertised), (1, 1));
    assert_eq!(new.originated(), old.originated());
    assert_eq!(new.next_deadline(), old.next_deadline());
}

#[test]
fn a_peer_that_waits_to_be_started_waits_on() {
    let (mut old, conn) = established();
    let (now, mut out) = (Timestamp::default(), Vec::new());
    let max = [(crate::types::Family::Ipv4Unicast, 0)].into();
    let limits = crate::speaker::PrefixLimits { max, ..Default::default() };
    let config = PeerConfig {
        passive: false,
        ..PeerConfig::new("core".into(), at(), Asn::new(65_001).unwrap())
    };
    old.on_order(now, Order::PutPeer(PeerConfig { prefix_limits: limits, ..config }), &mut out);
    assert!(out.contains(&Action::Close { conn }), "it announces more than it may: {out:?}");
    let bytes = postcard::to_allocvec(&old.record()).unwrap();
    let (new, out) = taken_over(&bytes).unwrap();
    assert_eq!((out, new.next_deadline()), (vec![], old.next_deadline()));
    assert_eq!(new.peers(), old.peers());
}

#[test]
fn a_peer_that_is_not_configured_any_more_is_told_so() {
    let (mut old, conn) = established();
    let mut out = Vec::new();
    let now = Timestamp::default();
    let new = Speaker::take_over(now, old.record(), 8, |_| None, &mut out).unwrap();
    assert!(
        matches!(out[..], [Action::Send { .. }, Action::Close { conn: closed }, ..] if closed == conn)
    );
    assert_eq!(new.peers(), []);
}

#[test]
fn other_policies_have_everything_said_again() {
    let (mut old, _) = established();
    let mut out = Vec::new();
    let policies = |_: &str| Some(Policies { shuts_down: true, ..Policies::default() });
    let now = Timestamp::default();
    let mut new = Speaker::take_over(now, old.record(), 8, policies, &mut out).unwrap();
    new.transmit_all(now, &mut out);
    assert!(out.iter().any(|action| matches!(action, Action::Send { .. })), "{out:?}");
}

proptest! {
    #[test]
    fn no_damage_ends_in_a_panic(
        cut in 0..4096_usize,
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4),
    ) {
        let (mut old, conn) = established();
        let mut bytes = postcard::to_allocvec(&old.record()).unwrap();
        for (at, to) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
        }
        bytes.truncate(cut.max(1));
        if let Some((mut new, _)) = taken_over(&bytes) {
            live(&mut new, conn);
        }
    }
}
