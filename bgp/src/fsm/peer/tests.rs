//! One speaker, and a peer played by the test, message by message.

mod collision;
mod restart;

use core::time::Duration;

use super::*;
use crate::rib::Rib;
use crate::speaker::{ConnEvent, Order, PeerStatus, RouteAttributes, Speaker};
use crate::types::{Asn, Family, HoldTime, Prefix};
use crate::wire::flat::Flat;
use crate::wire::{AsSegment, Attributes, Capability, MessageType, NextHop, RawMessage};

/// Our identifier is 10.0.0.10, in AS 65001; the peer is 10.0.0.2 in AS 65002.
struct Lab {
    speaker: Speaker,
    now: Timestamp,
    out: Vec<Action>,
    remote_id: u8,
    capabilities: Vec<Capability>,
}

const OURS: NextHops = NextHops { v4: Some(core::net::Ipv4Addr::new(10, 0, 0, 10)), v6: None };

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

fn id(last: u8) -> RouterId {
    RouterId::new([10, 0, 0, last].into()).unwrap()
}

fn host(text: &str) -> Prefix {
    Prefix::host(text.parse().unwrap())
}

fn config() -> PeerConfig {
    PeerConfig::new("b".into(), "10.0.0.2:179".parse().unwrap(), asn(65_002))
}

impl Lab {
    fn new(remote_id: u8) -> Self {
        Self::with(config(), remote_id)
    }

    fn with(config: PeerConfig, remote_id: u8) -> Self {
        let local = Local { asn: asn(65_001), router_id: id(10) };
        let families = [(1, 1), (2, 1)];
        let mut capabilities: Vec<Capability> =
            families.map(|(afi, safi)| Capability::Multiprotocol { afi, safi }).to_vec();
        capabilities.push(Capability::RouteRefresh);
        let mut lab = Self {
            speaker: Speaker::new(local, 1),
            now: Timestamp::from_nanos(1_000_000_000),
            out: Vec::new(),
            remote_id,
            capabilities,
        };
        lab.order(Order::PutPeer(config));
        lab
    }

    fn order(&mut self, order: Order) {
        self.speaker.on_order(self.now, order, &mut self.out);
        self.speaker.on_time(self.now, &mut self.out);
        self.speaker.transmit_all(self.now, &mut self.out);
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.speaker.next_deadline().filter(|next| *next <= end) {
            self.now = next;
            self.speaker.on_time(next, &mut self.out);
            self.speaker.transmit_all(next, &mut self.out);
        }
        self.now = end;
    }

    fn accept(&mut self) -> Option<ConnId> {
        let remote = "10.0.0.2:40000".parse().unwrap();
        let conn = self.speaker.accept(self.now, remote, OURS, &mut self.out);
        self.speaker.on_time(self.now, &mut self.out);
        self.speaker.transmit_all(self.now, &mut self.out);
        conn
    }

    fn event(&mut self, event: ConnEvent) {
        self.speaker.on_conn(self.now, event, &mut self.out);
        self.speaker.on_time(self.now, &mut self.out);
        self.speaker.transmit_all(self.now, &mut self.out);
    }

    fn connected(&mut self, conn: ConnId) {
        self.event(ConnEvent::Connected { conn, next_hops: OURS });
    }

    fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        self.speaker.on_bytes(self.now, conn, bytes, &mut self.out);
        self.speaker.on_time(self.now, &mut self.out);
        self.speaker.transmit_all(self.now, &mut self.out);
    }

    fn hear_open(&mut self, conn: ConnId) {
        let capabilities = self.capabilities.clone();
        let hold_time = HoldTime::DEFAULT;
        let open = Open { my_as: 65_002, hold_time, router_id: id(self.remote_id), capabilities };
        self.hear(conn, &wire::encode_open(&open));
    }

    fn hear_keepalive(&mut self, conn: ConnId) {
        self.hear(conn, &wire::encode_keepalive());
    }

    /// The connection that was dialled since the last look.
    fn dialled(&mut self) -> ConnId {
        let mut dials = self.out.iter().filter_map(|action| match action {
            Action::Dial { conn, .. } => Some(*conn),
            _ => None,
        });
        let dial = dials.next_back().expect("a dial");
        self.out.clear();
        dial
    }

    /// Brings the dialled connection to Established.
    fn up(&mut self) -> ConnId {
        let conn = self.dialled();
        self.connected(conn);
        self.hear_open(conn);
        self.hear_keepalive(conn);
        assert_eq!(self.status().state, State::Established);
        conn
    }

    fn status(&self) -> PeerStatus {
        self.speaker.peers().remove(0)
    }

    /// What was sent on a connection since the last look.
    fn stream(&mut self, conn: ConnId) -> Vec<u8> {
        let ours = |action: Action| match action {
            Action::Send { conn: to, bytes } if to == conn => Some(bytes),
            _ => None,
        };
        self.out.drain(..).filter_map(ours).flatten().collect()
    }

    /// Types of the messages sent on a connection since the last look.
    fn heard(&mut self, conn: ConnId) -> Vec<MessageType> {
        let stream = self.stream(conn);
        messages(&stream).map(RawMessage::kind).collect()
    }

    fn heard_updates(&mut self, conn: ConnId) -> Vec<Flat> {
        let families = Family::UNICAST.into_iter().collect();
        let context = Negotiated { families, ..Negotiated::NOTHING };
        let stream = self.stream(conn);
        let update = |raw| match wire::decode(raw, &context).unwrap() {
            Message::Update(update) => Some(Flat::from(update)),
            _ => None,
        };
        messages(&stream).filter_map(update).collect()
    }

    fn closed(&self, conn: ConnId) -> bool {
        self.out.contains(&Action::Close { conn })
    }

    fn last_words(&self, conn: ConnId) -> Option<(u8, u8)> {
        let last = self.out.iter().rev().find_map(|action| match action {
            Action::Send { conn: to, bytes } if *to == conn => Some(bytes),
            _ => None,
        })?;
        (last[18] == 3).then(|| (last[19], last[20]))
    }
}

fn messages(mut stream: &[u8]) -> impl Iterator<Item = RawMessage<'_>> {
    core::iter::from_fn(move || {
        let (raw, len) = wire::next_message(stream, wire::MESSAGE_BYTES_MAX).unwrap()?;
        stream = &stream[len..];
        Some(raw)
    })
}

#[test]
fn a_peer_that_takes_nothing_is_told_so_and_given_up() {
    let mut lab = Lab::new(2);
    let conn = lab.dialled();
    lab.connected(conn);
    lab.hear_open(conn);
    lab.hear_keepalive(conn);
    assert_eq!(lab.status().state, State::Established);
    lab.event(ConnEvent::Stalled { conn });
    let expired = Notification::SEND_HOLD_TIMER_EXPIRED;
    assert_eq!(lab.status().last_down, Some(DownCause::Sent(expired)));
    assert!(lab.out.contains(&Action::Close { conn }));
}

#[test]
fn an_update_spares_a_keepalive() {
    let mut lab = Lab::new(9);
    let conn = lab.up();
    lab.out.clear();
    lab.wait(Duration::from_secs(22)); // The earliest KEEPALIVE is at 22.5 s.
    lab.order(Order::Advertise(host("192.0.2.1"), RouteAttributes::default()));
    assert_eq!(lab.heard_updates(conn).len(), 1);
    lab.wait(Duration::from_secs(22));
    assert_eq!(lab.heard(conn), []);
    lab.wait(Duration::from_secs(8));
    assert_eq!(lab.heard(conn), [MessageType::KeepAlive]);
}

#[test]
fn a_malformed_update_withdraws_its_routes_and_is_reported() {
    let update = |origin: u8| {
        let mut update = vec![0xff; 16];
        update.extend([0, 46, 2, 0, 0, 0, 18, 0x40, 1, 1, origin]);
        update.extend([0x40, 2, 4, 2, 1, 0xfd, 0xea, 0x40, 3, 4, 10, 0, 0, 2]);
        update.extend([32, 203, 0, 113, 1]);
        update
    };
    let mut lab = Lab::new(9);
    let conn = lab.up();
    lab.out.clear();
    lab.hear(conn, &update(0));
    assert_eq!((lab.status().prefixes_received, lab.out.len()), (1, 0));
    lab.hear(conn, &update(9));
    let repaired = |action: &Action| matches!(action, Action::Report(Report::Repaired { .. }));
    assert!(lab.out.iter().any(repaired), "{:?}", lab.out);
    assert_eq!((lab.status().prefixes_received, lab.status().flaps), (0, 0));
}

#[test]
fn in_idle_nobody_is_accepted_and_after_a_cease_7_everybody_is() {
    let mut lab = Lab::new(9);
    let conn = lab.dialled();
    lab.connected(conn);
    lab.hear(conn, b"HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(lab.last_words(conn), Some((1, 1)));
    assert_eq!((lab.status().state, lab.accept()), (State::Idle, None));
    lab.wait(Duration::from_secs(1));
    let conn = lab.dialled();
    lab.connected(conn);
    let collision = Notification::CONNECTION_COLLISION_RESOLUTION;
    lab.hear(conn, &wire::encode_notification(&collision));
    assert_eq!(lab.status().state, State::Active);
    assert!(lab.accept().is_some());
}

#[test]
fn a_stranger_is_refused() {
    let mut lab = Lab::new(9);
    let mut accept = |text: &str| {
        lab.speaker.accept(lab.now, text.parse().unwrap(), OURS, &mut lab.out).is_some()
    };
    assert!(!accept("10.0.0.3:179"));
    assert!(!accept("[2001:db8::2]:179"));
    assert!(accept("[::ffff:10.0.0.2]:40000"), "a dual-stack listener shows IPv4 so");
}

#[test]
fn messages_are_found_however_the_stream_is_cut() {
    let update = {
        let mut update = vec![0xff; 16];
        update.extend([0, 52, 2, 0, 0, 0, 20]);
        update.extend([0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea]);
        update.extend([0x40, 3, 4, 10, 0, 0, 2, 32, 203, 0, 113, 1, 32, 203, 0, 113, 2]);
        update[17] = u8::try_from(update.len()).unwrap();
        update
    };
    let capabilities = vec![Capability::FourOctetAs(asn(65_002))];
    let open = Open { my_as: 65_002, hold_time: HoldTime::DEFAULT, router_id: id(2), capabilities };
    let stream =
        [wire::encode_open(&open), wire::encode_keepalive(), update, wire::encode_keepalive()]
            .concat();
    for len in 1..=stream.len() {
        let mut lab = Lab::new(2);
        let conn = lab.dialled();
        lab.connected(conn);
        for piece in stream.chunks(len) {
            lab.hear(conn, piece);
        }
        let status = lab.status();
        assert_eq!(status.state, State::Established, "in pieces of {len}");
        assert_eq!((status.prefixes_received, status.messages_received), (2, 4), "{len}");
    }
}

#[test]
fn what_follows_the_message_that_ends_a_session_is_not_read() {
    let mut lab = Lab::new(9);
    let conn = lab.up();
    let stop = wire::encode_notification(&Notification::ADMINISTRATIVE_SHUTDOWN);
    let received = lab.status().messages_received;
    lab.hear(conn, &[stop, wire::encode_keepalive(), b"rubbish".to_vec()].concat());
    assert_eq!(lab.status().messages_received, received + 1);
    assert_eq!(lab.last_words(conn), None, "a NOTIFICATION is not answered");
    assert!(matches!(lab.status().last_down, Some(DownCause::Received(_))));
}

#[test]
fn at_the_start_of_a_session_all_routes_then_end_of_rib_for_each_family() {
    let mut lab = Lab::new(9);
    let plain = RouteAttributes::default();
    let tagged = RouteAttributes { med: Some(5), prepend: 1, ..plain.clone() };
    for (prefix, route) in [("192.0.2.1", &plain), ("192.0.2.2", &tagged), ("192.0.2.3", &plain)] {
        lab.order(Order::Advertise(host(prefix), route.clone()));
    }
    let conn = lab.up();
    let updates = lab.heard_updates(conn);
    let announced: Vec<&[Prefix]> =
        updates.iter().map(|update| update.announced.as_slice()).collect();
    let (a, b, c) = (host("192.0.2.1"), host("192.0.2.2"), host("192.0.2.3"));
    assert_eq!(announced, [&[a, c][..], &[b], &[], &[]]);
    let ends: Vec<Option<Family>> = updates.iter().map(|update| update.end_of_rib).collect();
    assert_eq!(ends, [None, None, Some(Family::Ipv4Unicast), Some(Family::Ipv6Unicast)]);
    let attributes = updates[1].attributes.clone().unwrap();
    assert_eq!(attributes.as_path, [AsSegment::Sequence(vec![asn(65_001); 2])]);
    assert_eq!((attributes.med, attributes.local_pref), (Some(5), None));
    assert_eq!(
        attributes.next_hop.unwrap().addr(),
        "10.0.0.10".parse::<core::net::IpAddr>().unwrap()
    );
    assert_eq!(lab.status().prefixes_advertised, 3);
}

#[test]
fn a_route_refresh_brings_the_family_again() {
    let mut lab = Lab::new(9);
    let conn = lab.up();
    lab.order(Order::Advertise(host("192.0.2.1"), RouteAttributes::default()));
    lab.out.clear();
    lab.hear(conn, &wire::encode_route_refresh(Family::Ipv6Unicast, RefreshKind::Request));
    assert_eq!(lab.heard(conn), [], "nothing to be told of that family");
    lab.hear(conn, &wire::encode_route_refresh(Family::Ipv4Unicast, RefreshKind::Request));
    let updates = lab.heard_updates(conn);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].announced, [host("192.0.2.1")]);
}

#[test]
fn without_a_next_hop_a_family_is_not_announced_and_that_is_said_once() {
    let mut lab = Lab::new(9);
    let conn = lab.up();
    lab.out.clear();
    for prefix in ["2001:db8::1", "2001:db8::2"] {
        lab.order(Order::Advertise(host(prefix), RouteAttributes::default()));
    }
    let silent = Report::NoNextHop { peer: "b".into(), family: Family::Ipv6Unicast };
    assert_eq!(lab.out, [Action::Report(silent)]);
    lab.out.clear();
    lab.order(Order::Withdraw(host("2001:db8::1")));
    assert_eq!(lab.out, [], "what was never promised is not withdrawn");
    let mut better = config();
    better.next_hops.v6 = "2001:db8::a".parse().ok();
    lab.order(Order::PutPeer(better));
    assert_eq!(lab.heard_updates(conn)[0].announced, [host("2001:db8::2")]);
    lab.order(Order::PutPeer(config()));
    assert_eq!(lab.heard_updates(conn)[0].withdrawn, [host("2001:db8::2")]);
    assert_eq!((lab.status().prefixes_advertised, lab.status().flaps), (0, 0));
}

#[test]
fn a_family_that_was_not_agreed_is_not_announced() {
    let mut lab = Lab::new(9);
    lab.capabilities.clear(); // IPv4 unicast, by implication.
    let mut both = config();
    both.next_hops.v6 = "2001:db8::a".parse().ok();
    lab.order(Order::PutPeer(both));
    let conn = lab.up();
    lab.heard(conn);
    lab.order(Order::Advertise(host("2001:db8::1"), RouteAttributes::default()));
    assert_eq!(lab.out, []);
    assert_eq!(lab.status().families, [Family::Ipv4Unicast]);
}

#[test]
fn attributes_too_long_for_a_message_are_reported_and_the_old_promise_taken_back() {
    let mut lab = Lab::new(9);
    let conn = lab.up();
    lab.order(Order::Advertise(host("192.0.2.1"), RouteAttributes::default()));
    lab.out.clear();
    let communities = (0..2000).map(crate::types::Community).collect();
    let huge = RouteAttributes { communities, ..RouteAttributes::default() };
    lab.order(Order::Advertise(host("192.0.2.1"), huge));
    let reported = |action: &Action| matches!(action, Action::Report(Report::Unsendable { .. }));
    assert!(lab.out.iter().any(reported), "{:?}", lab.out);
    assert_eq!(lab.heard_updates(conn)[0].withdrawn, [host("192.0.2.1")]);
}

#[test]
fn one_prefix_too_many_ends_the_session_with_cease_1() {
    let mut ids = crate::speaker::ConnIds::default();
    let mut out = Vec::new();
    let local = Local { asn: asn(65_001), router_id: id(10) };
    let mut rib = Rib::new(local, &mut Rng::new(1));
    let mut turn = Turn {
        now: Timestamp::default(),
        ids: &mut ids,
        rib: &mut rib,
        running: true,
        restarting: false,
        tapped: false,
        out: &mut out,
    };
    let mut peer = Peer::new(turn.now, local, config(), Rng::new(1));
    peer.start(&mut turn);
    let conn = ConnId(1);
    peer.connected(conn, OURS, &mut turn);
    let hold_time = HoldTime::DEFAULT;
    let open = Open { my_as: 65_002, hold_time, router_id: id(2), capabilities: vec![] };
    peer.received(conn, &wire::encode_open(&open), &mut turn);
    peer.received(conn, &wire::encode_keepalive(), &mut turn);
    turn.rib.set_prefixes_max(peer.rib.unwrap(), 1);
    let announced = vec![host("192.0.2.1"), host("192.0.2.2")];
    let next_hop = Some(NextHop::V4([192, 0, 2, 9].into()));
    let attributes = Attributes { next_hop, ..Attributes::default() };
    let (family, context) = (Family::Ipv4Unicast, Negotiated::NOTHING);
    let update = wire::encode_announce(family, &attributes, &announced, &context).unwrap();
    peer.received(conn, &update.concat(), &mut turn);
    let Some(DownCause::Sent(cease)) = peer.status(&rib).last_down else { panic!("still up") };
    assert_eq!((cease.code, cease.subcode), (6, 1));
    assert_eq!(peer.status(&rib).prefixes_received, 0);
}

#[test]
fn a_peer_configured_while_shut_down_stays_idle() {
    let mut lab = Lab::new(9);
    lab.order(Order::Shutdown);
    lab.out.clear();
    lab.order(Order::RemovePeer("b".into()));
    lab.order(Order::PutPeer(config()));
    let mut changed = config();
    changed.families.pop();
    lab.order(Order::PutPeer(changed));
    lab.wait(Duration::from_secs(1000));
    assert_eq!(lab.accept(), None);
    assert_eq!(lab.out, []);
    assert_eq!(lab.status().state, State::Idle);
}
