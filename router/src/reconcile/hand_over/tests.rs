use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use tidegate_bgp::speaker::{Local, NextHops, Order, PeerConfig, RouteAttributes, Speaker};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::{Asn, Prefix, RouterId};
use tidegate_bgp::wire::{Capability, Open, encode_keepalive, encode_open};
use tidegate_config::desired::{Protocol, ServiceAddr};
use tidegate_plan::BackendState;
use tidegate_plan::observed::{Datapath, HoldDown};
use tidegate_plan::step::{Reason, Step};

use super::*;
use crate::hand_over::FORMAT;

#[test]
fn sessions_stand_still_for_half_of_the_shortest_hold_time_at_most() {
    let of = |secs: &[u16]| patience(secs.iter().map(|secs| HoldTime::from_secs(*secs).unwrap()));
    let millis = Duration::from_millis;
    assert_eq!(of(&[]), Duration::MAX);
    assert_eq!(of(&[0, 90]), millis(45_000));
    assert_eq!(of(&[90, 3, 0]), millis(1_500));
}

fn at() -> SocketAddr {
    "10.0.0.2:179".parse().unwrap()
}

/// A speaker with one session, and one route of ours.
fn established() -> Speaker {
    let router_id = |last: u8| RouterId::new([10, 0, 0, last].into()).unwrap();
    let asn = Asn::new(65_001).unwrap();
    let local = Local { asn, router_id: router_id(1) };
    let (mut speaker, now, mut out) = (Speaker::new(local, 7), Timestamp::default(), Vec::new());
    let peer = PeerConfig { passive: true, ..PeerConfig::new("core".into(), at(), asn) };
    speaker.on_order(now, Order::PutPeer(peer), &mut out);
    let vip = Prefix::host([192, 0, 2, 1].into());
    speaker.on_order(now, Order::Advertise(vip, RouteAttributes::default()), &mut out);
    let next_hops = NextHops { v4: Some([10, 0, 0, 1].into()), v6: None };
    let conn = speaker.accept(now, at(), next_hops, &mut out).unwrap();
    let open = Open {
        my_as: 65_001,
        hold_time: HoldTime::DEFAULT,
        router_id: router_id(2),
        capabilities: vec![Capability::FourOctetAs(asn)],
    };
    let bytes = [encode_open(&open), encode_keepalive()].concat();
    speaker.on_bytes(now, conn, &bytes, &mut out);
    speaker.transmit_all(now, &mut out);
    assert_eq!(speaker.kept().len(), 1);
    speaker
}

fn known() -> Known {
    let vip = Prefix::host([192, 0, 2, 1].into());
    let service = ServiceAddr { addrs: vip, port: 80, protocol: Protocol::Tcp };
    let key = (service, [10, 0, 0, 1].into());
    let now = Timestamp::default();
    let hold_down =
        Some(HoldDown { reason: Reason::TooFewHealthy, failures: 1, until: now, forget_at: now });
    let withdraw = Step::Withdraw { prefix: vip, reason: Reason::TooFewHealthy, hold_down };
    let mut times = Memory::default();
    times.on_step(&withdraw, &Datapath::default(), now);
    Known {
        times,
        healths: vec![(key, Verdict::Down, Some("connection refused".into()))],
        words: Words::sample(key),
        seen: Seen::sample(key, BackendState::Down, SystemTime::UNIX_EPOCH),
        settled: true,
    }
}

/// What a record consists of: names and nesting, no numbers.
fn shape(body: &Body) -> String {
    let text = format!("{body:#?}\n");
    let mut shape = String::new();
    for c in text.chars() {
        match (c.is_ascii_digit(), shape.ends_with('#')) {
            (true, true) => {}
            (true, false) => shape.push('#'),
            (false, _) => shape.push(c),
        }
    }
    shape
}

#[test]
fn another_shape_of_the_record_is_another_format() {
    let mut speaker = established();
    let conns = speaker.kept().iter().map(|kept| (kept.conn, kept.remote, vec![1])).collect();
    let clock = (Timestamp::default(), 1);
    let (generation, patience) = (3, Duration::from_secs(45));
    let record = speaker.record();
    let body = Body { generation, patience, clock, speaker: record, conns, known: known() };
    let file = format!("src/reconcile/hand_over/format-{FORMAT}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let shape = shape(&body);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &shape).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == shape,
        "the record has changed: give hand_over::FORMAT the next number, since a daemon of before \
         would read it wrongly; then UPDATE_GOLDEN=1 writes {}, and the old file goes. Only if \
         nothing but a name has changed, the number stays",
        path.display()
    );
}
