//! Properties of the whole codec: what is written is read back, and nothing that arrives makes it
//! panic, loop, or take more than a small multiple of its size.

use core::net::{Ipv4Addr, Ipv6Addr};

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;

use super::flat::Flat;
use super::*;
use crate::types::{Asn, Community, FamilySet, HoldTime, LargeCommunity, Prefix};

/// The message in `bytes`, which hold nothing else.
fn receive<'a>(bytes: &'a [u8], context: &Negotiated) -> Result<Message<'a>, Notification> {
    let (raw, consumed) = next_message(bytes, context.message_bytes_max())?.expect("complete");
    assert_eq!(consumed, bytes.len());
    decode(raw, context)
}

fn asns() -> impl Strategy<Value = Vec<Asn>> {
    let asn = prop_oneof![1..=65_535_u32, Just(23_456), Just(65_536), 65_536..=u32::MAX];
    vec(asn.prop_map(|number| Asn::new(number).unwrap()), 1..6)
}

fn as_path() -> impl Strategy<Value = Vec<AsSegment>> {
    let segment = prop_oneof![
        4 => asns().prop_map(AsSegment::Sequence),
        1 => asns().prop_map(AsSegment::Set),
    ];
    // Neighbouring sequences are one path, and AS4_PATH brings them back as one or as two.
    vec(segment, 0..4).prop_map(|mut path| {
        path.dedup_by(|b, a| matches!((a, b), (AsSegment::Sequence(_), AsSegment::Sequence(_))));
        path
    })
}

fn prefix(family: Family) -> BoxedStrategy<Prefix> {
    match family {
        Family::Ipv4Unicast => (any::<u32>(), 0..=32_u8)
            .prop_map(|(bits, len)| Prefix::new(Ipv4Addr::from_bits(bits).into(), len).unwrap())
            .boxed(),
        Family::Ipv6Unicast => (any::<u128>(), 0..=128_u8)
            .prop_map(|(bits, len)| Prefix::new(Ipv6Addr::from_bits(bits).into(), len).unwrap())
            .boxed(),
        Family::Ipv4Flowspec | Family::Ipv6Flowspec => panic!("no prefixes"),
    }
}

fn next_hop(family: Family) -> BoxedStrategy<NextHop> {
    match family {
        Family::Ipv4Unicast => (0x0100_0000..0xdfff_ffff_u32)
            .prop_map(|bits| NextHop::V4(Ipv4Addr::from_bits(bits)))
            .boxed(),
        Family::Ipv6Unicast => (1..1_u128 << 126, any::<Option<u64>>())
            .prop_map(|(global, interface)| NextHop::V6 {
                global: Ipv6Addr::from_bits(global),
                link_local: interface
                    .map(|low| Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(low))),
            })
            .boxed(),
        Family::Ipv4Flowspec | Family::Ipv6Flowspec => panic!("no next hop"),
    }
}

fn attributes(family: Family) -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let communities = prop::collection::btree_set(any::<u32>().prop_map(Community), 0..100);
    let large = any::<[u32; 3]>().prop_map(LargeCommunity);
    let large = prop::collection::btree_set(large, 0..40);
    let numbers = (any::<Option<u32>>(), any::<Option<u32>>());
    (origin, as_path(), next_hop(family), numbers, communities, large).prop_map(
        |(origin, as_path, next_hop, (med, local_pref), communities, large)| Attributes {
            origin,
            as_path,
            next_hop: Some(next_hop),
            med,
            local_pref,
            communities: communities.into_iter().collect(),
            large_communities: large.into_iter().collect(),
            ..Attributes::default()
        },
    )
}

fn context() -> impl Strategy<Value = Negotiated> {
    let families = || {
        let some = prop::sample::subsequence(Family::ALL.to_vec(), 0..=4);
        some.prop_map(|some| some.into_iter().collect::<FamilySet>())
    };
    let sets = (families(), families(), families(), families());
    let switches = any::<[bool; 4]>();
    (switches, sets).prop_map(|(switches, (families, add_path_receive, add_path_send, next))| {
        let [external, four_octet_as, extended_messages, enhanced_refresh] = switches;
        Negotiated {
            external,
            four_octet_as,
            extended_messages,
            enhanced_refresh,
            families,
            add_path_receive,
            add_path_send,
            extended_next_hop: next,
            ..Negotiated::NOTHING
        }
    })
}

type Routes = (Family, Attributes, Vec<Prefix>);

fn routes() -> impl Strategy<Value = Routes> {
    prop::sample::select(Family::UNICAST.to_vec())
        .prop_flat_map(|family| (Just(family), attributes(family), vec(prefix(family), 1..1500)))
}

/// Valid messages of all types.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let announce = (routes(), any::<bool>()).prop_map(|((family, attributes, prefixes), wide)| {
        let context = Negotiated { four_octet_as: wide, external: false, ..Negotiated::NOTHING };
        let prefixes = &prefixes[..prefixes.len().min(20)];
        encode_announce(family, &attributes, prefixes, &context).unwrap().swap_remove(0)
    });
    let withdraw = routes().prop_map(|(family, _, prefixes)| {
        encode_withdraw(family, &prefixes[..prefixes.len().min(20)], &Negotiated::NOTHING)
            .swap_remove(0)
    });
    let open = vec(any::<u8>(), 0..40).prop_map(|value| {
        encode_open(&Open {
            my_as: 65_001,
            hold_time: HoldTime::DEFAULT,
            router_id: crate::types::RouterId::new(Ipv4Addr::LOCALHOST).unwrap(),
            capabilities: vec![
                Capability::Multiprotocol { afi: 2, safi: 1 },
                Capability::RouteRefresh,
                Capability::FourOctetAs(Asn::new(70_000).unwrap()),
                Capability::Unknown { code: 64, value },
            ],
        })
    });
    let other = prop::sample::select(vec![
        encode_keepalive(),
        encode_route_refresh(Family::Ipv6Unicast, RefreshKind::Request),
        encode_end_of_rib(Family::Ipv6Unicast),
        encode_notification(&Notification::administrative_shutdown("maintenance")),
    ]);
    prop_oneof![6 => announce, 2 => withdraw, 2 => open, 1 => other]
}

/// Overwrites, inserts and removes octets behind the marker, and sets the length right again if
/// told to, so that the damage gets past the framing.
fn damage(message: &mut Vec<u8>, edits: &[(u16, u8, u8)], repair_length: bool) {
    for (at, value, how) in edits {
        let at = 16 + usize::from(*at) % (message.len() - 16);
        match how % 4 {
            0 | 1 => message[at] = *value,
            2 => message.insert(at, *value),
            _ if message.len() > HEADER_BYTES => drop(message.remove(at)),
            _ => {}
        }
    }
    if repair_length {
        let len = u16::try_from(message.len()).unwrap().to_be_bytes();
        message[16..18].copy_from_slice(&len);
    }
}

/// Octets on the heap, as far as a message decides about them.
fn heap_bytes(message: &Message<'_>) -> usize {
    fn vec_bytes<T>(vec: &Vec<T>) -> usize {
        vec.capacity() * size_of::<T>()
    }
    match message {
        Message::Open(open) => {
            let values = open.capabilities.iter().map(|capability| match capability {
                Capability::Unknown { value, .. } => value.capacity(),
                _ => 0,
            });
            vec_bytes(&open.capabilities) + values.sum::<usize>()
        }
        Message::Update(update) => {
            let blocks = update.announced().map(|routes| match &routes.block {
                Cow::Borrowed(_) => 0,
                Cow::Owned(block) => block.capacity(),
            });
            let octets = update.repaired.iter().map(|repair| repair.octets.len());
            vec_bytes(&update.repaired) + octets.sum::<usize>() + blocks.sum::<usize>()
        }
        Message::Notification(notification) => vec_bytes(&notification.data),
        Message::KeepAlive | Message::RouteRefresh(_) => 0,
    }
}

/// Reads a stream as a speaker does, until it is empty, incomplete or refused.
fn drain(mut stream: &[u8], context: &Negotiated) {
    while let Ok(Some((raw, consumed))) = next_message(stream, context.message_bytes_max()) {
        assert!((HEADER_BYTES..=context.message_bytes_max()).contains(&consumed));
        match decode(raw, context) {
            Ok(message) => {
                // One octet is a default route of 18 octets; a vector may be twice too large and
                // starts with room for four.
                let bound = 40 * consumed + 1024;
                assert!(heap_bytes(&message) <= bound, "{consumed} octets became {message:?}");
            }
            Err(notification) => {
                assert!(matches!(notification.code, 1..=3 | 7), "{notification}");
                assert!(encode_notification(&notification).len() <= MESSAGE_BYTES_MAX);
            }
        }
        stream = &stream[consumed..];
    }
}

/// A message of this type with this body.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = framing::MARKER.to_vec();
    message.extend(u16::try_from(HEADER_BYTES + body.len()).unwrap().to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

proptest! {
    #[test]
    fn announced_routes_arrive_as_they_were_sent(
        (family, attributes, prefixes) in routes(),
        four_octet_as: bool,
        external: bool,
    ) {
        let families = Family::UNICAST.into_iter().collect();
        let context = Negotiated { external, four_octet_as, families, ..Negotiated::NOTHING };
        let messages = encode_announce(family, &attributes, &prefixes, &context).unwrap();
        let mut expected = attributes;
        if external {
            expected.local_pref = None;
        }
        let mut arrived = Vec::new();
        for message in &messages {
            let Ok(Message::Update(update)) = receive(message, &context) else {
                panic!("unreadable");
            };
            let update = Flat::from(update);
            prop_assert_eq!(update.attributes.as_ref(), Some(&expected));
            prop_assert_eq!((update.withdrawn, update.repaired), (vec![], vec![]));
            arrived.extend(update.announced);
        }
        prop_assert_eq!(&arrived, &prefixes);

        let mut withdrawn = Vec::new();
        for message in encode_withdraw(family, &prefixes, &context) {
            let Ok(Message::Update(update)) = receive(&message, &context) else {
                panic!("unreadable");
            };
            let update = Flat::from(update);
            prop_assert_eq!(update.attributes, None);
            withdrawn.extend(update.withdrawn);
        }
        prop_assert_eq!(&withdrawn, &prefixes);
    }

    #[test]
    fn arbitrary_octets_are_survived(stream in vec(any::<u8>(), 0..200), context in context()) {
        drain(&stream, &context);
        drain(&[&framing::MARKER[..], &stream].concat(), &context);
    }

    #[test]
    fn arbitrary_bodies_are_survived(
        kind in 1..=5_u8,
        body in vec(any::<u8>(), 0..4077),
        context in context(),
    ) {
        drain(&framed(kind, &body), &context);
    }

    #[test]
    fn arbitrary_attribute_values_are_survived(
        attributes in vec((any::<u8>(), 0..40_u8, vec(any::<u8>(), 0..60)), 1..12),
        right_flags: bool,
        nlri in vec(prop_oneof![0..=33_u8, any::<u8>()], 0..12),
        context in context(),
    ) {
        let mut encoded = Vec::new();
        for (flags, code, value) in attributes {
            let flags = attributes::category(code).filter(|_| right_flags).unwrap_or(flags);
            encoded.extend([flags & 0xe0, code, u8::try_from(value.len()).unwrap()]);
            encoded.extend(value);
        }
        let len = u16::try_from(encoded.len()).unwrap().to_be_bytes();
        drain(&framed(2, &[&[0, 0], &len[..], &encoded, &nlri].concat()), &context);
    }

    #[test]
    fn damaged_messages_are_survived(
        mut message in messages(),
        edits in vec(any::<(u16, u8, u8)>(), 0..6),
        repair_length: bool,
        context in context(),
    ) {
        damage(&mut message, &edits, repair_length);
        drain(&message, &context);
    }
}

#[test]
fn the_densest_messages_stay_within_bounds() {
    let context = Negotiated {
        external: false,
        four_octet_as: true,
        families: Family::UNICAST.into_iter().collect(),
        ..Negotiated::NOTHING
    };
    let list = |octets: usize| u16::try_from(octets).unwrap().to_be_bytes();
    let body = MESSAGE_BYTES_MAX - HEADER_BYTES;
    let withdrawn = [&list(body - 4)[..], &vec![0; body - 4], &[0, 0]].concat();
    // Attributes of three octets: the first is unknown, the others repeat it.
    let repeated = [0x80, 99, 0].repeat((body - 4) / 3);
    let repeats = [&[0, 0], &list(repeated.len())[..], &repeated].concat();
    // AS 1, Hold Time 0, identifier 1.1.1.1, RFC 9072 lengths, one parameter of empty capabilities.
    let head = [4, 0, 1, 0, 0, 1, 1, 1, 1, 255, 255];
    let empty = [66, 0].repeat((body - 16) / 2);
    let lengths = [list(empty.len() + 3), list(empty.len())];
    let open = [&head[..], &lengths[0], &[2], &lengths[1], &empty].concat();
    for (name, message) in [
        ("withdrawn default routes", framed(2, &withdrawn)),
        ("repeated attributes", framed(2, &repeats)),
        ("capabilities", framed(1, &open)),
    ] {
        assert!(message.len() > 4090, "{name}");
        assert!(receive(&message, &context).is_ok(), "{name}");
        drain(&message, &context);
    }
}

#[test]
fn a_route_refresh_names_a_family_or_one_that_we_do_not_carry() {
    let cases = [
        ([0, 1, 0, 1], Some(Family::Ipv4Unicast)),
        ([0, 2, 0xff, 1], Some(Family::Ipv6Unicast)),
        ([0, 1, 0, 128], None),
    ];
    for (body, family) in cases {
        let message = framed(5, &body);
        let read = receive(&message, &Negotiated::NOTHING);
        assert_eq!(
            read,
            Ok(Message::RouteRefresh(RouteRefresh { family, kind: RefreshKind::Request }))
        );
    }
    assert_eq!(receive(&framed(4, &[]), &Negotiated::NOTHING), Ok(Message::KeepAlive));
}
