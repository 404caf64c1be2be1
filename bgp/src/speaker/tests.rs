//! Whatever happens in whatever order: promises that hold for every sequence of inputs.

use core::time::Duration;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::types::{Asn, Family, HoldTime, RouterId};
use crate::wire::{self, Capability, Open, RefreshKind};

/// What may happen; small numbers pick among what is there.
#[derive(Clone, Debug)]
enum Input {
    Put { peer: u8, passive: bool, internal: bool, hold: u8, next_hop: bool },
    Remove(u8),
    Advertise(u8, u8),
    Withdraw(u8),
    Shutdown,
    Accept(u8),
    Connected(u8),
    ConnectFailed(u8),
    Closed(u8),
    Open { conn: u8, id: u8, internal: bool },
    KeepAlive(u8),
    RouteRefresh(u8),
    Cease(u8, u8),
    Bytes(u8, Vec<u8>),
    Message(u8, u8, Vec<u8>),
    Wait(u32),
}

fn input() -> impl Strategy<Value = Input> {
    let byte = any::<u8>;
    let put = (0..3_u8, any::<bool>(), any::<bool>(), 0..3_u8, any::<bool>()).prop_map(
        |(peer, passive, internal, hold, next_hop)| Input::Put {
            peer,
            passive,
            internal,
            hold,
            next_hop,
        },
    );
    let open = (byte(), 1..4_u8, any::<bool>());
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        6 => put,
        1 => (0..3_u8).prop_map(Input::Remove),
        3 => (0..6_u8, 0..3_u8).prop_map(|(prefix, med)| Input::Advertise(prefix, med)),
        2 => (0..6_u8).prop_map(Input::Withdraw),
        1 => Just(Input::Shutdown),
        8 => (0..4_u8).prop_map(Input::Accept),
        12 => byte().prop_map(Input::Connected),
        2 => byte().prop_map(Input::ConnectFailed),
        2 => byte().prop_map(Input::Closed),
        16 => open.prop_map(|(conn, id, internal)| Input::Open { conn, id, internal }),
        16 => byte().prop_map(Input::KeepAlive),
        2 => byte().prop_map(Input::RouteRefresh),
        2 => (byte(), 0..9_u8).prop_map(|(conn, subcode)| Input::Cease(conn, subcode)),
        2 => (byte(), body.clone()).prop_map(|(conn, bytes)| Input::Bytes(conn, bytes)),
        6 => (byte(), 0..7_u8, body).prop_map(|(c, kind, body)| Input::Message(c, kind, body)),
        12 => (0..4_u32).prop_map(|size| Input::Wait(10_u32.pow(size) * 97)),
    ]
}

/// The shell's view of the world: which connections are open, whether the speaker keeps to it.
struct Shell {
    speaker: Speaker,
    now: Timestamp,
    dialling: BTreeSet<ConnId>,
    open: BTreeSet<ConnId>,
    seen: BTreeSet<ConnId>,
}

fn asn(internal: bool) -> Asn {
    Asn::new(if internal { 65_001 } else { 65_002 }).unwrap()
}

fn router_id(last: u8) -> RouterId {
    RouterId::new([10, 0, 0, last].into()).unwrap()
}

fn prefix(number: u8) -> Prefix {
    let v6 = number % 2 == 1;
    let text = if v6 { format!("2001:db8::{number}") } else { format!("192.0.2.{number}") };
    Prefix::host(text.parse().unwrap())
}

fn address(peer: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, peer], 179))
}

fn config(peer: u8, passive: bool, internal: bool, hold: u8, next_hop: bool) -> PeerConfig {
    PeerConfig {
        passive,
        hold_time: HoldTime::from_secs([0, 3, 90][usize::from(hold)]).unwrap(),
        connect_retry: Duration::from_millis(u64::from(peer)),
        next_hops: NextHops {
            v4: None,
            v6: next_hop.then_some(core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        },
        ..PeerConfig::new(format!("peer-{peer}").into(), address(peer), asn(internal))
    }
}

impl Shell {
    fn new() -> Self {
        let local = Local { asn: asn(true), router_id: router_id(2) };
        Self {
            speaker: Speaker::new(local, 1),
            now: Timestamp::default(),
            dialling: BTreeSet::new(),
            open: BTreeSet::new(),
            seen: BTreeSet::new(),
        }
    }

    /// One of the connections that were ever seen, gone ones included.
    fn pick(&self, number: u8) -> ConnId {
        let at = usize::from(number).checked_rem(self.seen.len()).unwrap_or(0);
        // The newest first: they are the ones that matter.
        self.seen.iter().rev().nth(at / 16).copied().unwrap_or(ConnId(u64::from(number)))
    }

    fn turn(&mut self, input: Input) {
        let mut out = Vec::new();
        match input {
            Input::Put { peer, passive, internal, hold, next_hop } => {
                let order = Order::PutPeer(config(peer, passive, internal, hold, next_hop));
                self.speaker.on_order(self.now, order, &mut out);
            }
            Input::Remove(peer) => {
                let order = Order::RemovePeer(format!("peer-{peer}").into());
                self.speaker.on_order(self.now, order, &mut out);
            }
            Input::Advertise(number, med) => {
                let route = RouteAttributes { med: Some(med.into()), ..Default::default() };
                let order = Order::Advertise(prefix(number), route);
                self.speaker.on_order(self.now, order, &mut out);
            }
            Input::Withdraw(number) => {
                self.speaker.on_order(self.now, Order::Withdraw(prefix(number)), &mut out);
            }
            Input::Shutdown => self.speaker.on_order(self.now, Order::Shutdown, &mut out),
            Input::Accept(peer) => {
                let next_hops = NextHops { v4: Some([10, 0, 0, 2].into()), v6: None };
                let conn = self.speaker.accept(self.now, address(peer), next_hops, &mut out);
                if let Some(conn) = conn {
                    assert!(self.seen.insert(conn), "{conn:?} was used before");
                    self.open.insert(conn);
                }
            }
            Input::Wait(millis) => {
                let end = self.now + Duration::from_millis(millis.into());
                while let Some(next) = self.speaker.next_deadline().filter(|next| *next <= end) {
                    self.now = next;
                    self.speaker.on_time(self.now, &mut out);
                    self.speaker.transmit_all(self.now, &mut out);
                    self.check(&mut out);
                }
                self.now = end;
            }
            other => self.connection_turn(other, &mut out),
        }
        self.speaker.on_time(self.now, &mut out);
        self.speaker.transmit_all(self.now, &mut out);
        self.check(&mut out);
    }

    fn connection_turn(&mut self, input: Input, out: &mut Vec<Action>) {
        let (conn, bytes) = match input {
            Input::Connected(number) => {
                let conn = self.pick(number);
                if self.dialling.remove(&conn) {
                    self.open.insert(conn);
                }
                let next_hops = NextHops { v4: Some([10, 0, 0, 2].into()), v6: None };
                let event = ConnEvent::Connected { conn, next_hops };
                return self.speaker.on_conn(self.now, event, out);
            }
            Input::ConnectFailed(number) => {
                let conn = self.pick(number);
                self.forget(conn);
                return self.speaker.on_conn(self.now, ConnEvent::ConnectFailed { conn }, out);
            }
            Input::Closed(number) => {
                let conn = self.pick(number);
                self.forget(conn);
                return self.speaker.on_conn(self.now, ConnEvent::Closed { conn }, out);
            }
            Input::Open { conn, id, internal } => {
                let capabilities = vec![
                    Capability::Multiprotocol { afi: 1, safi: 1 },
                    Capability::FourOctetAs(asn(internal)),
                ];
                let open = Open {
                    my_as: 23_456,
                    hold_time: HoldTime::DEFAULT,
                    router_id: router_id(id),
                    capabilities,
                };
                (conn, wire::encode_open(&open))
            }
            Input::KeepAlive(conn) => (conn, wire::encode_keepalive()),
            Input::RouteRefresh(conn) => {
                (conn, wire::encode_route_refresh(Family::Ipv4Unicast, RefreshKind::Request))
            }
            Input::Cease(conn, subcode) => {
                (conn, wire::encode_notification(&Notification::new(6, subcode)))
            }
            Input::Message(conn, kind, body) => {
                let mut bytes = vec![0xff; 16];
                bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
                bytes.push(kind);
                bytes.extend(body);
                (conn, bytes)
            }
            Input::Bytes(conn, bytes) => (conn, bytes),
            other => panic!("{other:?} is not about a connection"),
        };
        let conn = self.pick(conn);
        self.speaker.on_bytes(self.now, conn, &bytes, out);
    }

    fn forget(&mut self, conn: ConnId) {
        self.dialling.remove(&conn);
        self.open.remove(&conn);
    }

    fn check(&mut self, out: &mut Vec<Action>) {
        for action in out.drain(..) {
            match action {
                Action::Dial { conn, .. } => {
                    assert!(self.seen.insert(conn), "{conn:?} was used before");
                    self.dialling.insert(conn);
                }
                Action::Send { conn, .. } => {
                    assert!(self.open.contains(&conn), "{conn:?} is not open");
                }
                Action::Close { conn } => {
                    assert!(
                        self.open.remove(&conn) || self.dialling.remove(&conn),
                        "{conn:?} was closed before"
                    );
                }
                Action::Report(_) | Action::Heard(_) => {}
            }
        }
        let next = self.speaker.next_deadline();
        assert!(next.is_none_or(|next| next > self.now), "something due was not done");
        let peers = self.speaker.peers();
        assert!(self.open.len() + self.dialling.len() <= 2 * peers.len(), "too many connections");
        for peer in peers {
            let known = u64::try_from(self.speaker.originated().len()).unwrap();
            assert!(peer.prefixes_advertised <= known);
            let up = peer.state == State::Established;
            assert!(up || peer.prefixes_advertised + peer.prefixes_received == 0);
            assert_eq!(up, peer.hold_time.is_some());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(
        inputs in proptest::collection::vec(input(), 1..120)
    ) {
        let mut shell = Shell::new();
        for input in inputs {
            shell.turn(input);
        }
    }
}

#[test]
fn a_link_local_peer_is_known_by_its_link() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(same_host(at("[fe80::1%3]:179"), at("[fe80::1%3]:40000")));
    assert!(!same_host(at("[fe80::1%3]:179"), at("[fe80::1%4]:40000")));
    assert!(same_host(at("[2001:db8::1]:179"), at("[2001:db8::1%4]:40000")));
}
