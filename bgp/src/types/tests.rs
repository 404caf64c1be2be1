use super::*;

#[test]
fn as_numbers_are_asplain_or_asdot_and_never_zero() {
    let cases = [
        ("65000", Some(65_000)),
        ("4294967295", Some(u32::MAX)),
        ("1.10", Some(65_546)),
        ("0", None),
        ("0.0", None),
        ("4294967296", None),
        ("1.65536", None),
        ("AS1", None),
        ("", None),
    ];
    for (text, number) in cases {
        assert_eq!(text.parse::<Asn>().ok().map(Asn::get), number, "{text:?}");
    }
}

#[test]
fn a_prefix_has_no_host_bits() {
    let cases = [
        ("10.255.0.1", 9, Some("10.128.0.0/9")),
        ("10.255.0.1", 0, Some("0.0.0.0/0")),
        ("10.255.0.1", 32, Some("10.255.0.1/32")),
        ("10.255.0.1", 33, None),
        ("2001:db8:ffff::1", 33, Some("2001:db8:8000::/33")),
        ("2001:db8::1", 0, Some("::/0")),
        ("2001:db8::1", 129, None),
    ];
    for (addr, len, shown) in cases {
        let prefix = Prefix::new(addr.parse().unwrap(), len);
        assert_eq!(prefix.map(|p| p.to_string()).as_deref(), shown, "{addr}/{len}");
    }
}

#[test]
fn communities_read_as_operators_write_them() {
    let cases =
        [("65000:100", Some(0xfde8_0064)), ("no-export", Some(0xffff_ff01)), ("65536:1", None)];
    for (text, value) in cases {
        assert_eq!(text.parse::<Community>().ok().map(|c| c.0), value, "{text}");
    }
    assert_eq!(Community(0xffff_ff01).to_string(), "no-export");
    assert_eq!("1:2:3".parse::<LargeCommunity>().unwrap().to_string(), "1:2:3");
    assert!("1:2".parse::<LargeCommunity>().is_err());
    assert!("1:2:3:4".parse::<LargeCommunity>().is_err());
}

#[test]
fn hold_times_of_one_and_two_seconds_do_not_exist() {
    assert_eq!(HoldTime::from_secs(1), Err(BadHoldTime(1)));
    assert_eq!(HoldTime::from_secs(0).unwrap().keepalive(), None);
    assert_eq!(HoldTime::from_secs(9).unwrap().keepalive(), Some(Duration::from_secs(3)));
}
