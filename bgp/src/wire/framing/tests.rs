use super::*;

/// Marker, length, type, body.
fn framed(length: u16, kind: u8, body_bytes: usize) -> Vec<u8> {
    let mut bytes = MARKER.to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.push(kind);
    bytes.resize(HEADER_BYTES + body_bytes, 0);
    bytes
}

#[test]
fn a_header_is_judged_as_rfc_4271_6_1_says() {
    let marker = Notification { code: 1, subcode: 1, data: vec![] };
    let length = |high, low| Notification { code: 1, subcode: 2, data: vec![high, low] };
    let kind = |kind| Notification { code: 1, subcode: 3, data: vec![kind] };
    let mut bad_marker = framed(19, 4, 0);
    bad_marker[15] = 0xfe;
    let cases = [
        ("last octet of the marker", bad_marker, marker.clone()),
        ("no BGP at all, at its first octet", b"G".to_vec(), marker),
        ("length 0", framed(0, 2, 0), length(0, 0)),
        ("length 18", framed(18, 4, 0), length(0, 18)),
        ("length 4097, before its body is there", framed(4097, 2, 0), length(0x10, 0x01)),
        ("length 65535", framed(65_535, 2, 0), length(0xff, 0xff)),
        ("type 0", framed(19, 0, 0), kind(0)),
        ("type 6", framed(19, 6, 0), kind(6)),
        ("bad length before bad type", framed(18, 9, 0), length(0, 18)),
        ("OPEN of 28", framed(28, 1, 9), length(0, 28)),
        ("UPDATE of 22", framed(22, 2, 3), length(0, 22)),
        ("NOTIFICATION of 20", framed(20, 3, 1), length(0, 20)),
        ("KEEPALIVE of 20", framed(20, 4, 1), length(0, 20)),
        ("ROUTE-REFRESH of 22", framed(22, 5, 3), length(0, 22)),
    ];
    for (name, buffer, expected) in cases {
        assert_eq!(next_message(&buffer, MESSAGE_BYTES_MAX), Err(expected), "{name}");
    }
}

#[test]
fn a_message_is_cut_out_only_when_it_is_complete() {
    let cases = [
        (MessageType::Open, 29),
        (MessageType::Update, 23),
        (MessageType::Update, 4096),
        (MessageType::Notification, 21),
        (MessageType::KeepAlive, 19),
        (MessageType::RouteRefresh, 23),
    ];
    for (kind, length) in cases {
        let bytes = usize::from(length);
        let mut stream = framed(length, kind.code(), bytes - HEADER_BYTES);
        for cut in 0..bytes {
            assert_eq!(
                next_message(&stream[..cut], MESSAGE_BYTES_MAX),
                Ok(None),
                "{kind:?} cut at {cut}"
            );
        }
        stream.extend(framed(19, 4, 0));
        let (raw, consumed) = next_message(&stream, MESSAGE_BYTES_MAX).unwrap().unwrap();
        assert_eq!((raw.kind(), raw.length(), consumed), (kind, length, bytes));
        assert_eq!(raw.body().len(), bytes - HEADER_BYTES);
    }
}

#[test]
fn an_extended_message_is_read_where_it_was_negotiated_and_never_as_an_open() {
    let update = framed(u16::MAX, 2, 65_516);
    let (raw, consumed) = next_message(&update, EXTENDED_MESSAGE_BYTES_MAX).unwrap().unwrap();
    assert_eq!((raw.body().len(), consumed), (65_516, 65_535));
    let refused =
        |kind| next_message(&framed(4097, kind, 4078), EXTENDED_MESSAGE_BYTES_MAX).is_err();
    assert!(refused(1) && refused(4), "RFC 8654 §4");
    assert!(!refused(2) && !refused(3));
}
