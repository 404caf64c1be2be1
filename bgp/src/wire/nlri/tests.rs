use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use zettabgp::afi::{BgpAddrV4, BgpAddrV6};

use super::*;

fn read(family: Family, with_path_id: bool, field: &[u8]) -> Option<Vec<(u32, String)>> {
    let nlri = Nlri::new(family, with_path_id, field)?;
    Some(nlri.prefixes().map(|(path_id, prefix)| (path_id.0, prefix.to_string())).collect())
}

#[test]
fn prefixes_are_read_to_the_end_and_no_further() {
    let v4 = Family::Ipv4Unicast;
    let two = [9, 10, 0xff, 0, 24, 192, 0, 2];
    let expected = ["10.128.0.0/9", "0.0.0.0/0", "192.0.2.0/24"];
    let shown = expected.map(|prefix| (0, prefix.to_owned()));
    assert_eq!(read(v4, false, &two).unwrap(), shown, "host bits cleared");
    let with_ids = [0, 0, 0, 7, 8, 10, 0xff, 0xff, 0xff, 0xff, 0];
    let shown = [(7, "10.0.0.0/8".to_owned()), (u32::MAX, "0.0.0.0/0".to_owned())];
    assert_eq!(read(v4, true, &with_ids).unwrap(), shown);
    let v6 = [33, 0x20, 1, 0xd, 0xb8, 0xff];
    assert_eq!(read(Family::Ipv6Unicast, false, &v6).unwrap()[0].1, "2001:db8:8000::/33");
    for cut in [&[33, 1, 2, 3, 4, 5][..], &[8], &[24, 10, 0], &[255], &[8, 10, 32, 1, 2, 3]] {
        assert_eq!(read(v4, false, cut), None, "{cut:?}");
    }
    for cut in [&[0, 0, 0][..], &[0, 0, 0, 1], &[0, 0, 0, 1, 8], &[0, 0, 0, 1, 8, 10, 0]] {
        assert_eq!(read(v4, true, cut), None, "{cut:?}");
    }
    assert_eq!(read(Family::Ipv6Unicast, false, &[129; 18]), None);
}

proptest! {
    #[test]
    fn prefixes_are_what_zettabgp_reads_and_writes(v4: u32, v6: u128, bits in 0..=128_u8) {
        let cases = [
            (Family::Ipv4Unicast, IpAddr::V4(Ipv4Addr::from_bits(v4)), bits % 33),
            (Family::Ipv6Unicast, IpAddr::V6(Ipv6Addr::from_bits(v6)), bits),
        ];
        for (family, addr, bits) in cases {
            let prefix = Prefix::new(addr, bits).unwrap();
            let mut field = Vec::new();
            encode(false, PathId(0), prefix, &mut field);
            let mut theirs = [0; 16];
            let (their_bits, len) = match prefix.addr() {
                IpAddr::V4(addr) => BgpAddrV4::new(addr, bits).to_bits(&mut theirs),
                IpAddr::V6(addr) => BgpAddrV6::new(addr, bits).to_bits(&mut theirs),
            }
            .unwrap();
            prop_assert_eq!(&field, &[&[their_bits], &theirs[..len]].concat());
            let read = match family {
                Family::Ipv4Unicast => {
                    IpAddr::V4(BgpAddrV4::from_bits(bits, &field[1..]).unwrap().0.addr)
                }
                _ => IpAddr::V6(BgpAddrV6::from_bits(bits, &field[1..]).unwrap().0.addr),
            };
            let nlri = Nlri::new(family, false, &field).unwrap();
            prop_assert_eq!(nlri.prefixes().next(), Prefix::new(read, bits).map(|p| (PathId(0), p)));
            // With something behind it, the same.
            field.extend([0, 0]);
            let nlri = Nlri::new(family, false, &field).unwrap();
            prop_assert_eq!(nlri.prefixes().next().map(|(_, prefix)| prefix), Some(prefix));
            prop_assert_eq!(nlri.prefixes().count(), 3);
        }
    }
}
