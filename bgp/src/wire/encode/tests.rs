use super::*;
use crate::types::{Asn, Community, LargeCommunity};
use crate::wire::flat::Flat;
use crate::wire::{AsSegment, Message, Origin, decode, next_message};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn context(four_octet_as: bool, external: bool) -> Negotiated {
    Negotiated {
        external,
        four_octet_as,
        families: Family::UNICAST.into_iter().collect(),
        ..Negotiated::NOTHING
    }
}

fn attributes(next_hop: NextHop) -> Attributes {
    Attributes {
        origin: Origin::Igp,
        as_path: vec![AsSegment::Sequence(vec![Asn::new(65_536).unwrap(), Asn::new(7).unwrap()])],
        next_hop: Some(next_hop),
        med: Some(1),
        local_pref: Some(100),
        communities: vec![Community(0xffff_ff01)],
        large_communities: vec![LargeCommunity([1, 2, 3])],
        ..Attributes::default()
    }
}

fn v4() -> NextHop {
    NextHop::V4(Ipv4Addr::new(192, 0, 2, 1))
}

fn v6(link_local: Option<Ipv6Addr>) -> NextHop {
    NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local }
}

fn received(message: &[u8], context: &Negotiated) -> Flat {
    let (raw, consumed) = next_message(message, context.message_bytes_max()).unwrap().unwrap();
    assert_eq!(consumed, message.len());
    match decode(raw, context) {
        Ok(Message::Update(update)) => update.into(),
        other => panic!("{other:?}"),
    }
}

/// Header of an UPDATE whose other parts are these.
fn golden(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
    [&MARKER[..], &len, &[2], &body].concat()
}

#[test]
fn short_messages_have_these_layouts() {
    assert_eq!(encode_keepalive(), [&MARKER[..], &[0, 19, 4]].concat());
    let refresh = encode_route_refresh(Family::Ipv6Unicast, RefreshKind::Request);
    assert_eq!(refresh, [&MARKER[..], &[0, 23, 5, 0, 2, 0, 1]].concat());
    assert_eq!(encode_end_of_rib(Family::Ipv4Unicast), golden(&[&[0; 4]]));
    let v6 = encode_end_of_rib(Family::Ipv6Unicast);
    assert_eq!(v6, golden(&[&[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1]]));
    for family in Family::UNICAST {
        let update = received(&encode_end_of_rib(family), &context(true, true));
        assert_eq!(update, Flat { end_of_rib: Some(family), ..Flat::default() });
    }
}

#[test]
fn an_ipv4_announcement_has_this_layout() {
    let prefixes = [Prefix::host(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)))];
    let messages =
        encode_announce(Family::Ipv4Unicast, &attributes(v4()), &prefixes, &context(true, true));
    let expected = golden(&[
        &[0, 0, 0, 53],                                      // nothing withdrawn, attributes
        &[0x40, 1, 1, 0],                                    // ORIGIN IGP
        &[0x40, 2, 10, 2, 2, 0, 1, 0, 0, 0, 0, 0, 7],        // AS_PATH: AS_SEQUENCE is type 2
        &[0x40, 3, 4, 192, 0, 2, 1],                         // NEXT_HOP
        &[0x80, 4, 4, 0, 0, 0, 1],                           // MULTI_EXIT_DISC
        &[0xc0, 8, 4, 0xff, 0xff, 0xff, 0x01],               // COMMUNITIES, no extended length
        &[0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], // LARGE_COMMUNITIES, not Partial
        &[32, 198, 51, 100, 7],
    ]);
    assert_eq!(messages, Ok(vec![expected]));
}

#[test]
fn an_ipv6_announcement_has_this_layout() {
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let prefix = Prefix::host("2001:db8::7".parse().unwrap());
    for link_local in [None, Some(link_local)] {
        let plain = Attributes {
            med: None,
            communities: vec![],
            large_communities: vec![],
            ..attributes(v6(link_local))
        };
        let messages =
            encode_announce(Family::Ipv6Unicast, &plain, &[prefix], &context(true, false));
        let hops: Vec<u8> = ["2001:db8::1".parse().unwrap()]
            .into_iter()
            .chain(link_local)
            .flat_map(|addr: Ipv6Addr| addr.octets())
            .collect();
        let hop_len = u8::try_from(hops.len()).unwrap();
        let host: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let expected = golden(&[
            &[0, 0, 0, 4 + 5 + hop_len + 17 + 4 + 13 + 7],
            &[0x90, 14, 0, 5 + hop_len + 17, 0, 2, 1, hop_len], // MP_REACH_NLRI first
            &hops,
            &[0, 128], // reserved; length of the prefix
            &host.octets(),
            &[0x40, 1, 1, 0],
            &[0x40, 2, 10, 2, 2, 0, 1, 0, 0, 0, 0, 0, 7],
            &[0x40, 5, 4, 0, 0, 0, 100], // LOCAL_PREF: this peer is internal
        ]);
        assert_eq!(messages, Ok(vec![expected]));
    }
}

#[test]
fn a_peer_of_two_octets_gets_as_trans_and_as4_path() {
    let old = context(false, true);
    let prefixes = [Prefix::host(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)))];
    let messages =
        encode_announce(Family::Ipv4Unicast, &attributes(v4()), &prefixes, &old).unwrap();
    let holds = |part: &[u8]| messages[0].windows(part.len()).any(|window| window == part);
    assert!(holds(&[0x40, 2, 6, 2, 2, 0x5b, 0xa0, 0, 7]), "AS_PATH [AS_TRANS, 7]");
    assert!(holds(&[0xc0, 17, 10, 2, 2, 0, 1, 0, 0, 0, 0, 0, 7]), "AS4_PATH [65536, 7]");
    let update = received(&messages[0], &old);
    assert_eq!(update.attributes.unwrap().as_path, attributes(v4()).as_path);

    let mut narrow = attributes(v4());
    narrow.as_path = vec![AsSegment::Sequence(vec![Asn::new(7).unwrap()])];
    let messages = encode_announce(Family::Ipv4Unicast, &narrow, &prefixes, &old).unwrap();
    assert!(!messages[0].windows(2).any(|window| window == [0xc0, 17]), "AS4_PATH in vain");
}

fn many(family: Family, count: u32) -> Vec<Prefix> {
    let host = |n: u32| match family {
        Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)),
        _ => IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(n))),
    };
    (0..count).map(host).map(Prefix::host).collect()
}

#[test]
fn many_prefixes_fill_as_few_messages_as_possible() {
    let context = context(true, true);
    for (family, next_hop) in [(Family::Ipv4Unicast, v4()), (Family::Ipv6Unicast, v6(None))] {
        let prefixes = many(family, 3000);
        let item = nlri::prefix_bytes_max(family, false);
        let announced =
            encode_announce(family, &attributes(next_hop), &prefixes, &context).unwrap();
        let withdrawn = encode_withdraw(family, &prefixes, &context);
        for messages in [&announced, &withdrawn] {
            let (last, full) = messages.split_last().unwrap();
            assert!(full.len() >= 2 && last.len() <= MESSAGE_BYTES_MAX);
            for message in full {
                let len = message.len();
                assert!(len <= MESSAGE_BYTES_MAX && len + item > MESSAGE_BYTES_MAX, "{len}");
            }
        }
        let read = |messages: &[Vec<u8>], pick: fn(Flat) -> Vec<Prefix>| -> Vec<Prefix> {
            messages.iter().flat_map(|message| pick(received(message, &context))).collect()
        };
        assert_eq!(read(&announced, |update| update.announced), prefixes);
        assert_eq!(read(&withdrawn, |update| update.withdrawn), prefixes);
    }
}

#[test]
fn only_the_named_family_is_sent() {
    let mixed = [many(Family::Ipv4Unicast, 2), many(Family::Ipv6Unicast, 3)].concat();
    let context = context(true, true);
    let update = received(&encode_withdraw(Family::Ipv4Unicast, &mixed, &context)[0], &context);
    assert_eq!(update.withdrawn, mixed[..2]);
    let messages = encode_announce(Family::Ipv6Unicast, &attributes(v6(None)), &mixed, &context);
    assert_eq!(received(&messages.unwrap()[0], &context).announced, mixed[2..]);
    let none = encode_announce(Family::Ipv4Unicast, &attributes(v4()), &mixed[2..], &context);
    assert_eq!(none, Ok(vec![]));
    assert_eq!(encode_withdraw(Family::Ipv6Unicast, &[], &context), Vec::<Vec<u8>>::new());
    for (family, next_hop) in [(Family::Ipv4Unicast, v6(None)), (Family::Ipv6Unicast, v4())] {
        let refused = encode_announce(family, &attributes(next_hop), &mixed, &context);
        assert_eq!(refused, Err(EncodeError::NextHopFamily(family)));
    }
}

#[test]
fn attributes_that_leave_no_room_for_a_prefix_are_refused() {
    let context = context(true, true);
    let with = |family, next_hop, communities: u32| {
        let mut attributes = attributes(next_hop);
        attributes.med = None;
        attributes.communities = (0..communities).map(Community).collect();
        attributes.large_communities = vec![];
        encode_announce(family, &attributes, &many(family, 2), &context)
    };
    // IPv4: 4096 less 19 header, 4 lengths, 24 for ORIGIN, AS_PATH and NEXT_HOP, 4 of attribute
    // header, 5 of prefix leave 4040 octets: 1010 communities. IPv6: NEXT_HOP's 7 less, but 29 of
    // MP_REACH_NLRI and 17 of prefix.
    for (family, next_hop, fits) in
        [(Family::Ipv4Unicast, v4(), 1010), (Family::Ipv6Unicast, v6(None), 1002)]
    {
        let messages = with(family, next_hop, fits).unwrap();
        assert_eq!(messages.len(), 2, "one prefix each");
        let received = received(&messages[1], &context).attributes.unwrap();
        assert_eq!(received.communities.len(), usize::try_from(fits).unwrap());
        let refused = with(family, next_hop, fits + 1).unwrap_err();
        assert!(matches!(refused, EncodeError::AttributesTooLong { .. }), "{refused}");
        assert!(with(family, next_hop, 40_000).is_err(), "beyond a length of two octets");
    }
}
