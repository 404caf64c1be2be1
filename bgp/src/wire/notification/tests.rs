use super::*;
use crate::wire::{Message, Negotiated, decode, encode_notification, next_message};

fn sent_and_received(notification: &Notification) -> Notification {
    let bytes = encode_notification(notification);
    let (raw, consumed) = next_message(&bytes, MESSAGE_BYTES_MAX).unwrap().unwrap();
    assert_eq!(consumed, bytes.len());
    match decode(raw, &Negotiated::NOTHING) {
        Ok(Message::Notification(received)) => received,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_notification_reads_in_words() {
    let cases = [
        (Notification::BAD_PEER_AS, "OPEN Message Error/Bad Peer AS (2/2)"),
        (Notification::HOLD_TIMER_EXPIRED, "Hold Timer Expired (4/0)"),
        (
            Notification::UNEXPECTED_IN_OPEN_CONFIRM,
            "Finite State Machine Error/Receive Unexpected Message in OpenConfirm State (5/2)",
        ),
        (
            Notification::administrative_shutdown("moved to rack 4"),
            "Cease/Administrative Shutdown (6/2): \"moved to rack 4\"",
        ),
        (
            Notification::administrative_reset("a \"quoted\"\u{1b}[2J\n"),
            "Cease/Administrative Reset (6/4): \"a \\\"quoted\\\"\\u{1b}[2J\\n\"",
        ),
        (Notification::ADMINISTRATIVE_SHUTDOWN, "Cease/Administrative Shutdown (6/2)"),
        (
            Notification::bad_message_length(18),
            "Message Header Error/Bad Message Length (1/2), data 0012",
        ),
        (Notification::new(6, 99), "Cease/subcode 99 (6/99)"),
        (Notification::new(77, 0), "error code 77 (77/0)"),
        (Notification::new(77, 3), "error code 77/subcode 3 (77/3)"),
    ];
    for (notification, words) in cases {
        assert_eq!(notification.to_string(), words);
    }
    let long = Notification::with_data(3, 9, &[0xab; 4000]).to_string();
    assert!(long.ends_with("abab... (4000 octets)") && long.len() < 200, "{long}");
}

#[test]
fn a_shutdown_text_is_checked_before_it_is_believed() {
    let text = |code, subcode, data: &[u8]| {
        Notification::with_data(code, subcode, data).shutdown_text().map(str::to_owned)
    };
    let cases: [(&str, _, Option<&str>); 8] = [
        ("plain", (6, 2, &b"\x02ok"[..]), Some("ok")),
        ("reset", (6, 4, b"\x02ok"), Some("ok")),
        ("octets behind the text", (6, 2, b"\x02okay"), Some("ok")),
        ("empty text", (6, 2, b"\x00"), None),
        ("no data", (6, 2, b""), None),
        ("longer than the data", (6, 2, b"\x03ok"), None),
        ("not UTF-8", (6, 2, b"\x02\xff\xfe"), None),
        ("another subcode", (6, 3, b"\x02ok"), None),
    ];
    for (name, (code, subcode, data), expected) in cases {
        assert_eq!(text(code, subcode, data).as_deref(), expected, "{name}");
    }
    // 127 characters of two octets are 254; one more does not fit, and half of it is not sent.
    let cut = Notification::administrative_shutdown(&"ä".repeat(200));
    assert_eq!(cut.data.len(), 1 + 254);
    assert_eq!(cut.shutdown_text().unwrap(), "ä".repeat(127));
}

#[test]
fn all_data_reach_the_other_side_up_to_a_message() {
    // Marker, length 26, type 3, 6/2, text of 4 octets.
    let golden = [&[0xff; 16][..], &[0, 26, 3, 6, 2, 4], b"bye!"].concat();
    assert_eq!(encode_notification(&Notification::administrative_shutdown("bye!")), golden);
    for len in [0, 1, 2, 3, 300, DATA_BYTES_MAX] {
        let notification = Notification { code: 3, subcode: 9, data: vec![7; len] };
        assert_eq!(sent_and_received(&notification), notification, "{len}");
    }
    let too_long = Notification { code: 3, subcode: 9, data: vec![7; DATA_BYTES_MAX + 1] };
    assert_eq!(sent_and_received(&too_long).data.len(), DATA_BYTES_MAX);
}
