use super::*;
use crate::types::{Asn, Family, FamilySet};
use crate::wire::{GracefulRestart, LongLived, Role};
use crate::wire::{Message, Negotiated, next_message};
use proptest::prelude::*;

/// Version 4, AS 65001, Hold Time 90, 192.0.2.1, then length and optional parameters.
fn body(parameters: &[u8]) -> Vec<u8> {
    let len = u8::try_from(parameters.len()).unwrap();
    [&[4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, len], parameters].concat()
}

fn open(capabilities: Vec<Capability>) -> Open {
    Open {
        my_as: 65_001,
        hold_time: HoldTime::from_secs(90).unwrap(),
        router_id: RouterId::new(Ipv4Addr::new(192, 0, 2, 1)).unwrap(),
        capabilities,
    }
}

#[test]
fn an_open_has_this_layout() {
    let capabilities = vec![
        Capability::Multiprotocol { afi: 2, safi: 1 },
        Capability::RouteRefresh,
        Capability::FourOctetAs(Asn::new(4_200_000_001).unwrap()),
        Capability::Unknown { code: 73, value: b"x".to_vec() },
    ];
    let parameters = [
        2, 17, // capabilities
        1, 4, 0, 2, 0, 1, // multiprotocol: AFI 2, reserved, SAFI 1
        2, 0, // route refresh
        65, 4, 0xfa, 0x56, 0xea, 0x01, // four-octet AS
        73, 1, b'x',
    ];
    let golden = [&[0xff; 16][..], &[0, 48, 1], &body(&parameters)].concat();
    assert_eq!(encode_open(&open(capabilities.clone())), golden);
    assert_eq!(decode(&body(&parameters)), Ok(open(capabilities)));
    assert_eq!(decode(&body(&[])), Ok(open(vec![])));
}

#[test]
fn capabilities_may_come_in_many_parameters() {
    let parameters = [2, 2, 2, 0, 2, 0, 2, 6, 1, 4, 0, 1, 0xff, 1];
    let expected = vec![Capability::RouteRefresh, Capability::Multiprotocol { afi: 1, safi: 1 }];
    assert_eq!(decode(&body(&parameters)), Ok(open(expected)));
}

#[test]
fn a_bad_open_is_answered_as_rfc_4271_6_2_says() {
    let patched = |at: usize, value: &[u8]| {
        let mut bytes = body(&[]);
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let error = |subcode| Notification { code: 2, subcode, data: vec![] };
    let version = Notification { code: 2, subcode: 1, data: vec![0, 4] };
    let cases = [
        ("version 3", patched(0, &[3]), version.clone()),
        ("version 5", patched(0, &[5]), version),
        ("AS 0", patched(1, &[0, 0]), error(2)),
        ("identifier 0.0.0.0", patched(5, &[0; 4]), error(3)),
        ("hold time 1", patched(3, &[0, 1]), error(6)),
        ("hold time 2", patched(3, &[0, 2]), error(6)),
        ("parameters longer than the message", patched(9, &[1]), error(0)),
        ("octets behind the parameters", [body(&[]), vec![0]].concat(), error(0)),
        ("parameter without a length", body(&[2]), error(0)),
        ("parameter cut off", body(&[2, 3, 2, 0]), error(0)),
        ("authentication, RFC 4271's old parameter 1", body(&[1, 1, 0]), error(4)),
        ("parameter 3", body(&[3, 0]), error(4)),
        ("capability without a length", body(&[2, 1, 2]), error(0)),
        ("capability cut off", body(&[2, 3, 65, 4, 0]), error(0)),
        ("multiprotocol of three octets", body(&[2, 5, 1, 3, 0, 1, 0]), error(0)),
        ("route refresh with a value", body(&[2, 3, 2, 1, 0]), error(0)),
        ("four-octet AS of two octets", body(&[2, 4, 65, 2, 0, 1]), error(0)),
        ("four-octet AS 0", body(&[2, 6, 65, 4, 0, 0, 0, 0]), error(2)),
        ("extended length cut off", body(&[255, 0]), error(0)),
        ("extended length too long", body(&[255, 0, 1]), error(0)),
        ("extended parameter cut off", body(&[255, 0, 2, 2, 0]), error(0)),
        ("fixed part cut off", body(&[])[..9].to_vec(), error(0)),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(decode(&bytes), Err(expected), "{name}");
    }
}

#[test]
fn long_capability_lists_use_rfc_9072() {
    // Non-extended length (any but 0), type 255, extended length 5; parameter 2 of 2 octets.
    for len in [1, 8, 255] {
        let mut bytes = body(&[255, 0, 5, 2, 0, 2, 2, 0]);
        bytes[9] = len;
        assert_eq!(decode(&bytes), Ok(open(vec![Capability::RouteRefresh])), "{len}");
    }
    // Header, fixed part, then: 253 octets of capabilities fit the old form, 254 do not.
    for (value_bytes, head) in [(251, &[255, 2, 253][..]), (252, &[255, 255, 1, 1, 2, 0, 254])] {
        let value = vec![9; value_bytes];
        let long = open(vec![Capability::Unknown { code: 73, value }]);
        let bytes = encode_open(&long);
        assert_eq!(&bytes[28..28 + head.len()], head);
        assert_eq!(decode(&bytes[19..]), Ok(long));
    }
}

#[test]
fn what_no_open_can_hold_is_left_out() {
    let fits = Capability::Unknown { code: 73, value: vec![1; 255] };
    let mut capabilities = vec![fits; 30];
    capabilities.insert(0, Capability::Unknown { code: 74, value: vec![1; 256] });
    let bytes = encode_open(&open(capabilities));
    let (raw, _) = next_message(&bytes, 4096).unwrap().unwrap();
    let Ok(Message::Open(received)) = crate::wire::decode(raw, &Negotiated::NOTHING) else {
        panic!("unreadable");
    };
    assert_eq!(received.capabilities.len(), 4061 / 257);
}

fn families() -> impl Strategy<Value = FamilySet> {
    let some = prop::sample::subsequence(Family::ALL.to_vec(), 0..=4);
    some.prop_map(|some| some.into_iter().collect())
}

fn restart() -> impl Strategy<Value = GracefulRestart> {
    (any::<[bool; 2]>(), 0..=4095_u16, families(), families()).prop_map(
        |([restarting, notification], restart_time_secs, families, forwarding)| GracefulRestart {
            restarting,
            notification,
            restart_time_secs,
            families,
            forwarding: forwarding.intersection(families),
        },
    )
}

fn long_lived() -> impl Strategy<Value = Vec<LongLived>> {
    (families(), families(), 0..=0x00ff_ffff_u32).prop_map(|(families, forwarding, time)| {
        let one = |family| LongLived {
            family,
            forwarding: forwarding.contains(family),
            stale_time_secs: time,
        };
        families.iter().map(one).collect()
    })
}

fn role() -> impl Strategy<Value = Role> {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    prop::sample::select(vec![Customer, Peer, Provider, RouteServer, RouteServerClient])
}

fn capability() -> impl Strategy<Value = Capability> {
    prop_oneof![
        families().prop_map(Capability::ExtendedNextHop),
        Just(Capability::ExtendedMessage),
        role().prop_map(Capability::Role),
        restart().prop_map(Capability::GracefulRestart),
        (families(), families()).prop_map(|(send, receive)| Capability::AddPath { send, receive }),
        Just(Capability::EnhancedRouteRefresh),
        long_lived().prop_map(Capability::LongLivedGracefulRestart),
        (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| Capability::Multiprotocol { afi, safi }),
        Just(Capability::RouteRefresh),
        (1..=u32::MAX).prop_map(|asn| Capability::FourOctetAs(Asn::new(asn).unwrap())),
        (72_u8.., prop::collection::vec(any::<u8>(), 0..=255))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        my_as in 1..=u16::MAX,
        hold_time in 3..=u16::MAX,
        router_id in 1..=u32::MAX,
        capabilities in prop::collection::vec(capability(), 0..15),
    ) {
        let open = Open {
            my_as,
            hold_time: HoldTime::from_secs(hold_time).unwrap(),
            router_id: RouterId::new(Ipv4Addr::from_bits(router_id)).unwrap(),
            capabilities,
        };
        prop_assert_eq!(decode(&encode_open(&open)[19..]), Ok(open));
    }
}
