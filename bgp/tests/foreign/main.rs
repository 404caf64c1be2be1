//! What others write, read by us, and what we write, read by another: messages captured from BIRD
//! 2.0.12, FRR 8.4.4, GoBGP 3.10 and ExaBGP 4.2.21, and the codecs of the crates `bgpkit-parser` and
//! `netgauze-bgp-pkt`.
//!
//! Each file under `vectors` is one session, a message a line in hexadecimal, as the daemon sent
//! it after an OPEN that offered it everything (in `bird-old`, only two octets of AS number). GoBGP
//! writes a Path Identifier into the prefix of a FlowSpec rule when ADD-PATH is on for unicast: that
//! rule is malformed, and treated so.

#![expect(clippy::unwrap_used, reason = "a test")]

mod bgpkit;
mod netgauze;

use core::fmt::Write as _;

use tidegate_bgp::types::{Family, FamilySet};
use tidegate_bgp::wire::{
    self, Announcer, Attributes, Message, Negotiated, RawMessage, Update, decode, next_message,
};

const NEW: [(&str, &str); 4] = [
    ("bird", include_str!("../vectors/bird.hex")),
    ("frr", include_str!("../vectors/frr.hex")),
    ("gobgp", include_str!("../vectors/gobgp.hex")),
    ("exabgp", include_str!("../vectors/exabgp.hex")),
];

const OLD: (&str, &str) = ("bird-old", include_str!("../vectors/bird-old.hex"));

/// What the capturing side agreed on with `daemon`.
fn context(daemon: &str) -> Negotiated {
    let add_path: &[Family] = match daemon {
        "bird-old" => &[],
        "bird" | "gobgp" => &[Family::Ipv4Unicast],
        _ => &Family::UNICAST,
    };
    Negotiated {
        external: true,
        four_octet_as: daemon != "bird-old",
        extended_messages: true,
        enhanced_refresh: true,
        families: FamilySet::ALL,
        add_path_receive: add_path.iter().copied().collect(),
        extended_next_hop: [Family::Ipv4Unicast].into_iter().collect(),
        ..Negotiated::NOTHING
    }
}

fn messages(hex: &str) -> Vec<Vec<u8>> {
    let octets = |line: &str| -> Vec<u8> {
        let pairs = (0..line.len()).step_by(2);
        pairs.map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
    };
    hex.lines().map(octets).collect()
}

fn raw(message: &[u8]) -> RawMessage<'_> {
    let (raw, consumed) = next_message(message, wire::EXTENDED_MESSAGE_BYTES_MAX).unwrap().unwrap();
    assert_eq!(consumed, message.len());
    raw
}

fn update<'a>(message: &'a [u8], context: &Negotiated) -> Option<Update<'a>> {
    match decode(raw(message), context).unwrap() {
        Message::Update(update) => Some(update),
        _ => None,
    }
}

/// A message in words, for comparison.
fn shown(message: &[u8], context: &Negotiated) -> String {
    let mut text = String::new();
    match decode(raw(message), context).unwrap() {
        Message::Open(open) => {
            let (asn, hold, id) = (open.my_as, open.hold_time.as_secs(), open.router_id);
            writeln!(text, "OPEN as {asn} hold {hold} id {id}").unwrap();
            for capability in open.capabilities {
                writeln!(text, "  {capability:?}").unwrap();
            }
        }
        Message::Update(update) => show_update(&mut text, &update),
        Message::Notification(notification) => writeln!(text, "{notification}").unwrap(),
        other => writeln!(text, "{other:?}").unwrap(),
    }
    text
}

fn show_update(text: &mut String, update: &Update<'_>) {
    writeln!(text, "UPDATE end-of-rib {:?}", update.end_of_rib).unwrap();
    for repair in &update.repaired {
        writeln!(text, "  {:?} of {}: {}", repair.treatment, repair.attribute, repair.what)
            .unwrap();
    }
    for nlri in update.withdrawn() {
        writeln!(text, "  withdrawn {:?}", nlri.prefixes().collect::<Vec<_>>()).unwrap();
    }
    for routes in update.announced() {
        for (path_id, prefix) in routes.nlri.prefixes() {
            writeln!(text, "  {prefix} path-id {}", path_id.0).unwrap();
        }
        for rule in routes.nlri.flow_specs() {
            writeln!(text, "  {rule}").unwrap();
        }
        writeln!(text, "  {:?}", Attributes::from_block(&routes.block)).unwrap();
    }
}

/// What is read stands beside the octets; `UPDATE_GOLDEN=1` writes it, and somebody reads it
/// against what the daemon was configured to send.
#[test]
#[expect(clippy::disallowed_methods, reason = "golden files")]
fn captured_sessions_say_what_the_daemons_were_told_to_say() {
    for (daemon, hex) in NEW.into_iter().chain([OLD]) {
        let context = context(daemon);
        let text: String = messages(hex).iter().map(|message| shown(message, &context)).collect();
        let path = format!("{}/tests/vectors/{daemon}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == expected, "vectors/{daemon}.txt is not what was read:\n{text}");
    }
}

/// The other direction: the same routes, written by us for the session they came over.
#[test]
fn captured_routes_are_written_so_that_they_are_read_as_the_same() {
    let mut routes_total = 0;
    for (daemon, hex) in NEW.into_iter().chain([OLD]) {
        let context = context(daemon);
        let context = Negotiated { add_path_send: context.add_path_receive, ..context };
        for message in messages(hex) {
            for routes in update(&message, &context).iter().flat_map(Update::announced) {
                if routes.nlri.flow_specs().next().is_some() {
                    continue; // Received, never sent.
                }
                let mut out = Vec::new();
                let family = routes.nlri.family();
                let announcer = Announcer::new(family, &routes.block, &context).unwrap();
                assert_eq!(announcer.pack(routes.nlri.prefixes(), &mut out), 1, "{daemon}");
                let again = update(&out, &context).unwrap();
                let again = again.announced().next().unwrap();
                assert!(again.nlri.prefixes().eq(routes.nlri.prefixes()), "{daemon}");
                let [mut before, after] =
                    [&routes.block, &again.block].map(|block| Attributes::from_block(block));
                // What we do not know goes out marked so.
                if let [flags, ..] = before.others.as_mut_slice() {
                    *flags |= 0x20;
                }
                assert_eq!(before, after, "{daemon}");
                routes_total += 1;
            }
        }
    }
    assert!(routes_total >= 15, "{routes_total}");
}

fn text_of(update: &Update<'_>) -> String {
    let mut text = String::new();
    show_update(&mut text, update);
    text
}
