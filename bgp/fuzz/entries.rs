//! What fuzzers and the bounded run of `cargo test` do with octets: read them in a session whose
//! context is made of octets too, and hold every promise of the decoders to account.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use tidegate_bgp::bfd::{self, News, State};
use tidegate_bgp::fsm::open::negotiate;
use tidegate_bgp::rng::Rng;
use tidegate_bgp::speaker::{Local, Offer, PeerConfig};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::{Asn, Family, FamilySet, PathId, Prefix, RouterId};
use tidegate_bgp::wire::{
    self, Announced, Announcer, Attributes, AttributesRef, HEADER_BYTES, Message, Negotiated, Open,
    Update, decode, next_message,
};

/// Attribute descriptions, and with them memory, per UPDATE.
const REPAIRS_MAX: usize = 16;

/// A stream as TCP brings it, with and without a marker in front.
pub(crate) fn stream(mut data: &[u8]) {
    let context = context(&mut data);
    drain(data, &context);
    drain(&[&[0xff; 16], data].concat(), &context);
}

/// One message of any type, its header sound.
pub(crate) fn message(mut data: &[u8]) {
    let context = context(&mut data);
    let [kind] = take(&mut data);
    drain(&framed(1 + kind % 5, data, &context), &context);
}

/// One UPDATE.
pub(crate) fn update(mut data: &[u8]) {
    let context = context(&mut data);
    drain(&framed(2, data, &context), &context);
}

/// Packets of BFD for a session of ours, and between them, time: an octet of milliseconds, then a
/// packet.
pub(crate) fn bfd(data: &[u8]) {
    const MICROS: u32 = 100_000;
    let timing =
        bfd::Timing { desired_min_tx_us: MICROS, required_min_rx_us: MICROS, detect_mult: 3 };
    let mut now = Timestamp::from_nanos(0);
    let mut session = bfd::Session::new(now, timing, 7, Rng::new(1));
    for piece in data.chunks(1 + bfd::PACKET_BYTES) {
        let Some((&wait, payload)) = piece.split_first() else { continue };
        now = now + Duration::from_millis(wait.into());
        let was = session.state();
        let (_, news) = session.on_time(now);
        assert!(news.is_none() || was == State::Up && matches!(news, Some(News::Down(_))));
        if let Ok(packet) = bfd::Packet::decode(payload) {
            assert_eq!(bfd::Packet::decode(&packet.encode()), Ok(packet));
            let (was, answer) = (session.state(), session.received(now, &packet));
            let (up, is_up) = (was == State::Up, session.state() == State::Up);
            assert_eq!(up != is_up, answer.1.is_some(), "{packet:?}");
            assert!(answer.0.is_none_or(|it| it.fin && !it.poll), "{answer:?}");
        }
        let own = session.packet();
        assert_eq!(own.my_discriminator, 7);
        // Who is heard can be found silent.
        assert!(session.state() != State::Up || session.detection_time().is_some());
    }
}

/// One OPEN, negotiated with an offer of ours.
pub(crate) fn open(mut data: &[u8]) {
    let mine = context(&mut data);
    drain(&framed(1, data, &Negotiated::NOTHING), &Negotiated::NOTHING);
    // The same octets as the optional parameters of an OPEN that is sound otherwise.
    let len = u8::try_from(data.len()).unwrap_or(u8::MAX);
    let head = [4, 0xfd, 0xea, 0, 90, 10, 0, 0, 2, len];
    let message = framed(1, &[&head[..], data].concat(), &Negotiated::NOTHING);
    drain(&message, &Negotiated::NOTHING);
    let (raw, _) = next_message(&message, wire::MESSAGE_BYTES_MAX).unwrap().unwrap();
    if let Ok(Message::Open(open)) = decode(raw, &Negotiated::NOTHING) {
        check_negotiation(&mine, &open);
    }
}

/// Octets that never passed the walk, read as an attribute block: nothing is promised but an end.
pub(crate) fn block(mut data: &[u8]) {
    let context = context(&mut data);
    check_block(data);
    for family in Family::ALL {
        if let Ok(announcer) = Announcer::new(family, data, &context) {
            let mut out = Vec::new();
            announcer.pack(Family::UNICAST.map(sample), &mut out);
            assert!(out.len() <= context.message_bytes_max());
        }
    }
}

fn sample(family: Family) -> (PathId, Prefix) {
    let addr = if family == Family::Ipv4Unicast { "192.0.2.1" } else { "2001:db8::1" };
    (PathId(7), Prefix::host(addr.parse().unwrap()))
}

/// The first octets; zeros for those that are missing.
fn take<const LEN: usize>(data: &mut &[u8]) -> [u8; LEN] {
    let (taken, rest) = data.split_at(LEN.min(data.len()));
    *data = rest;
    core::array::from_fn(|at| taken.get(at).copied().unwrap_or(0))
}

fn families(bits: u8) -> FamilySet {
    let named = |(at, _): &(usize, Family)| bits >> at & 1 == 1;
    Family::ALL.into_iter().enumerate().filter(named).map(|(_, family)| family).collect()
}

fn context(data: &mut &[u8]) -> Negotiated {
    let [switches, carried, path_ids] = take(data);
    let on = |bit: u8| switches >> bit & 1 == 1;
    Negotiated {
        external: on(0),
        four_octet_as: on(1),
        extended_messages: on(2),
        enhanced_refresh: on(3),
        extended_next_hop: families(switches >> 4),
        families: families(carried),
        disabled: families(carried >> 4 & path_ids),
        add_path_receive: families(path_ids),
        add_path_send: families(path_ids >> 4),
        ..Negotiated::NOTHING
    }
}

/// A message with this body, cut to what the session allows.
fn framed(kind: u8, body: &[u8], context: &Negotiated) -> Vec<u8> {
    let max = if kind == 1 { wire::MESSAGE_BYTES_MAX } else { context.message_bytes_max() };
    let body = &body[..body.len().min(max - HEADER_BYTES)];
    let len = u16::try_from(HEADER_BYTES + body.len()).unwrap().to_be_bytes();
    [&[0xff; 16], &len[..], &[kind], body].concat()
}

/// Reads a stream as a speaker does, until it is empty, incomplete or refused.
fn drain(mut stream: &[u8], context: &Negotiated) {
    let max = context.message_bytes_max();
    loop {
        let (raw, consumed) = match next_message(stream, max) {
            Ok(Some(found)) => found,
            Ok(None) => return assert!(stream.len() < max, "a whole message is not incomplete"),
            Err(answer) => return check_answer(&answer),
        };
        assert!((HEADER_BYTES..=max).contains(&consumed));
        match decode(raw, context) {
            Ok(message) => check_message(&message, consumed, context),
            Err(answer) => check_answer(&answer),
        }
        stream = &stream[consumed..];
    }
}

fn check_answer(answer: &wire::Notification) {
    assert!(matches!(answer.code, 1..=3 | 7), "{answer}");
    assert!(wire::encode_notification(answer).len() <= wire::MESSAGE_BYTES_MAX);
}

fn check_message(message: &Message<'_>, octets: usize, context: &Negotiated) {
    match message {
        Message::Open(open) => check_open(open),
        Message::Update(update) => check_update(update, octets, context),
        Message::Notification(notification) => {
            assert!(notification.data.len() <= octets);
            assert!(notification.to_string().len() <= 2048, "bounded for the log");
            let again = wire::encode_notification(notification);
            let (raw, _) = next_message(&again, wire::MESSAGE_BYTES_MAX).unwrap().unwrap();
            assert_eq!(decode(raw, context), Ok(Message::Notification(notification.clone())));
        }
        Message::KeepAlive => {}
        Message::RouteRefresh(refresh) => {
            black_box(refresh.family);
        }
    }
}

fn check_open(open: &Open) {
    let again = wire::encode_open(open);
    let (raw, _) = next_message(&again, wire::MESSAGE_BYTES_MAX).unwrap().unwrap();
    let Ok(Message::Open(read)) = decode(raw, &Negotiated::NOTHING) else {
        panic!("{open:?} is unreadable")
    };
    // Families that we do not carry are left out on the way; what is read twice is the same.
    assert_eq!(&read, open);
}

fn check_negotiation(mine: &Negotiated, open: &Open) {
    let local = Local {
        asn: Asn::new(65_001).unwrap(),
        router_id: RouterId::new([10, 0, 0, 1].into()).unwrap(),
    };
    let config = PeerConfig {
        families: Family::ALL.to_vec(),
        offer: Offer {
            extended_messages: mine.extended_messages,
            add_path_send: mine.add_path_send,
            add_path_receive: mine.add_path_receive,
            extended_next_hop: mine.extended_next_hop,
            ..Offer::default()
        },
        ..peer_config()
    };
    if let Ok(agreed) = negotiate(local, &config, open) {
        assert!(!agreed.families.is_empty());
        assert!(agreed.hold_time <= config.hold_time);
        assert!(!agreed.extended_messages || mine.extended_messages);
        let offered = agreed.add_path_send.intersection(mine.add_path_send);
        assert_eq!(agreed.add_path_send, offered);
    }
}

fn peer_config() -> PeerConfig {
    let remote = "10.0.0.2:179".parse().unwrap();
    PeerConfig::new("fuzz".into(), remote, Asn::new(65_002).unwrap())
}

fn check_update(update: &Update<'_>, octets: usize, context: &Negotiated) {
    // Memory: descriptions of damage are few and short, a block is at most twice its message (AS
    // numbers widened), and a vector twice its content.
    assert!(update.repaired.len() <= REPAIRS_MAX);
    assert!(update.repaired.iter().all(|repair| repair.octets.len() <= 64));
    let mut items = 0;
    for nlri in update.withdrawn() {
        items += nlri.prefixes().count() + nlri.flow_specs().count();
        assert!(context.reads(nlri.family()), "a family that is not in use");
    }
    for routes in update.announced() {
        items += routes.nlri.prefixes().count() + routes.nlri.flow_specs().count();
        assert!(!routes.nlri.is_empty() && context.reads(routes.nlri.family()));
        if let Cow::Owned(block) = &routes.block {
            assert!(block.capacity() <= 4 * octets + 256, "{octets} octets: {}", block.capacity());
        }
        check_block(&routes.block);
        check_announcement(routes, context);
        for rule in routes.nlri.flow_specs() {
            assert!(!rule.to_string().is_empty(), "{rule:?}");
        }
    }
    assert!(items <= octets, "more routes than octets");
}

/// What is read from a block is written and read back as the same.
fn check_block(block: &[u8]) {
    let read = AttributesRef::new(block);
    black_box((read.as_path.hops(), read.as_path.first(), read.as_path.origin()));
    black_box(read.as_path.asns().count());
    black_box(read.extended_communities().map(|c| c.to_string().len()).sum::<usize>());
    let once = Attributes::from_block(block).to_block();
    let twice = Attributes::from_block(&once).to_block();
    assert_eq!(once, twice);
}

/// What came in can go out again, and arrives as the same.
fn check_announcement(routes: &Announced<'_>, context: &Negotiated) {
    let Ok(announcer) = Announcer::new(routes.nlri.family(), &routes.block, context) else {
        return; // No room, or FlowSpec.
    };
    let mut out = Vec::new();
    let messages = announcer.pack(routes.nlri.prefixes(), &mut out);
    let mirrored = Negotiated {
        add_path_receive: context.add_path_send,
        disabled: FamilySet::EMPTY,
        ..context.clone()
    };
    let with_path_id = context.add_path_send.contains(routes.nlri.family());
    let mut sent = routes
        .nlri
        .prefixes()
        .map(|(path_id, prefix)| (if with_path_id { path_id } else { PathId(0) }, prefix));
    let mut rest = out.as_slice();
    for _ in 0..messages {
        let (raw, consumed) = next_message(rest, context.message_bytes_max()).unwrap().unwrap();
        let Ok(Message::Update(update)) = decode(raw, &mirrored) else { panic!("unreadable") };
        assert_eq!(update.repaired, [], "our own UPDATE is damaged");
        for announced in update.announced() {
            assert!(
                announced.nlri.prefixes().eq(sent.by_ref().take(announced.nlri.prefixes().count()))
            );
            check_same(&routes.block, &announced.block, context);
        }
        rest = &rest[consumed..];
    }
    assert_eq!((rest, sent.next()), (&[][..], None));
}

fn check_same(sent: &[u8], arrived: &[u8], context: &Negotiated) {
    let (sent, arrived) = (AttributesRef::new(sent), AttributesRef::new(arrived));
    assert_eq!(sent.next_hop, arrived.next_hop);
    assert_eq!((sent.origin, sent.med), (arrived.origin, arrived.med));
    assert!(sent.communities().eq(arrived.communities()));
    assert!(sent.large_communities().eq(arrived.large_communities()));
    assert_eq!(sent.only_to_customer, arrived.only_to_customer);
    // RFC 6793 §4.2.2: numbers of a confederation do not survive a peer of two octets.
    let confed = sent.as_path.segments().any(|segment| segment.kind.is_confed());
    if context.four_octet_as || !confed {
        assert!(sent.as_path.asns().eq(arrived.as_path.asns()), "{sent:?} {arrived:?}");
    }
}
