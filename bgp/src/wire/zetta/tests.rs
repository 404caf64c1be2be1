use super::*;

#[test]
fn every_entrance_refuses_lengths_that_the_crate_mishandles() {
    let zeros = [0_u8; 48];
    for len in 0..zeros.len() {
        let value = &zeros[..len];
        assert_eq!(decode_origin(value).is_some(), len == 1, "ORIGIN of {len}");
        assert_eq!(decode_med(value).is_some(), len == 4, "MED of {len}");
        assert_eq!(decode_local_pref(value).is_some(), len == 4, "LOCAL_PREF of {len}");
        let whole = |item: usize| len > 0 && len.is_multiple_of(item);
        assert_eq!(decode_communities(value).is_some(), whole(4), "COMMUNITIES of {len}");
        assert_eq!(decode_large_communities(value).is_some(), whole(12), "LARGE of {len}");
    }
    for bits in 0..=u8::MAX {
        let octets = usize::from(bits).div_ceil(8);
        for (family, bits_max) in [(Family::Ipv4Unicast, 32), (Family::Ipv6Unicast, 128)] {
            let sound = bits <= bits_max;
            assert_eq!(decode_prefix(family, bits, &zeros[..octets]).is_some(), sound, "/{bits}");
            assert_eq!(decode_prefix(family, bits, &zeros[..=octets]), None, "/{bits}");
        }
    }
}

#[test]
fn host_bits_are_cleared() {
    let v4 = decode_prefix(Family::Ipv4Unicast, 9, &[10, 0xff]).unwrap();
    assert_eq!(v4.to_string(), "10.128.0.0/9");
    let v6 = decode_prefix(Family::Ipv6Unicast, 33, &[0x20, 1, 0xd, 0xb8, 0xff]).unwrap();
    assert_eq!(v6.to_string(), "2001:db8:8000::/33");
}

#[test]
fn values_have_the_octets_of_the_rfcs() {
    for (value, origin) in [(0, Origin::Igp), (1, Origin::Egp), (2, Origin::Incomplete)] {
        assert_eq!(encode_origin(origin), [value]);
        assert_eq!(decode_origin(&[value]), Some(origin));
    }
    assert_eq!(decode_origin(&[3]), None);
    assert_eq!(encode_next_hop(Ipv4Addr::new(192, 0, 2, 1)), [192, 0, 2, 1]);
    assert_eq!(encode_med(0x0102_0304), [1, 2, 3, 4]);
    assert_eq!(decode_med(&[1, 2, 3, 4]), Some(0x0102_0304));
    assert_eq!(encode_local_pref(100), [0, 0, 0, 100]);
    assert_eq!(decode_local_pref(&[0, 0, 0, 100]), Some(100));
}

#[test]
fn communities_are_sorted_without_repeats() {
    let wire = [0, 2, 0, 2, 0, 1, 0, 1, 0, 2, 0, 2];
    let expected = [Community(0x0001_0001), Community(0x0002_0002)];
    assert_eq!(decode_communities(&wire).unwrap(), expected);
    let unsorted = [expected[1], expected[0], expected[1]];
    assert_eq!(encode_communities(&unsorted), [0, 1, 0, 1, 0, 2, 0, 2]);

    let large = [LargeCommunity([7, 0, 1]), LargeCommunity([6, 9, 9]), LargeCommunity([7, 0, 1])];
    let value = encode_large_communities(&large);
    assert_eq!(value.len(), 24);
    let read = decode_large_communities(&value).unwrap();
    assert_eq!(read, [LargeCommunity([6, 9, 9]), LargeCommunity([7, 0, 1])]);
}
