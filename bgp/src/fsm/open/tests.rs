use super::*;
use crate::types::{HoldTime, RouterId};

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

fn id(last: u8) -> RouterId {
    RouterId::new([10, 0, 0, last].into()).unwrap()
}

fn local() -> Local {
    Local { asn: asn(65_001), router_id: id(1) }
}

fn config() -> PeerConfig {
    PeerConfig::new("b".into(), "10.0.0.2:179".parse().unwrap(), asn(65_002))
}

const V4: Capability = Capability::Multiprotocol { afi: 1, safi: 1 };
const V6: Capability = Capability::Multiprotocol { afi: 2, safi: 1 };
const EVPN: Capability = Capability::Multiprotocol { afi: 25, safi: 70 };

fn open(my_as: u16, capabilities: &[Capability]) -> Open {
    let hold_time = HoldTime::from_secs(30).unwrap();
    Open { my_as, hold_time, router_id: id(2), capabilities: capabilities.to_vec() }
}

#[test]
fn families_are_those_that_both_name() {
    use Family::{Ipv4Unicast, Ipv6Unicast};
    let cases: [(&str, &[Capability], &[Family]); 4] = [
        ("both", &[V6, V4], &[Ipv4Unicast, Ipv6Unicast]),
        ("IPv6 alone does not bring IPv4", &[V6], &[Ipv6Unicast]),
        ("without the capability it is IPv4", &[Capability::RouteRefresh], &[Ipv4Unicast]),
        ("one that we do not carry is passed over", &[EVPN, V6], &[Ipv6Unicast]),
    ];
    for (name, capabilities, families) in cases {
        let agreed = negotiate(local(), &config(), &open(65_002, capabilities)).unwrap();
        assert!(agreed.families.iter().eq(families.iter().copied()), "{name}");
    }
}

#[test]
fn an_open_that_we_cannot_agree_with_is_answered_by_the_book() {
    let internal = PeerConfig { remote_as: asn(65_001), ..config() };
    let wide = PeerConfig { remote_as: asn(4_200_000_000), ..config() };
    let v6_only = PeerConfig { families: vec![Family::Ipv6Unicast], ..config() };
    let ours = Open { router_id: id(1), ..open(65_001, &[]) };
    let four = |number| Capability::FourOctetAs(asn(number));
    type Refusal = Option<(u8, u8, &'static [u8])>;
    let cases: [(&str, &PeerConfig, Open, Refusal); 10] = [
        ("as configured", &config(), open(65_002, &[]), None),
        ("another AS", &config(), open(65_003, &[]), Some((2, 2, &[]))),
        ("AS 0", &config(), open(0, &[]), Some((2, 2, &[]))),
        ("the capability counts", &config(), open(65_002, &[four(7)]), Some((2, 2, &[]))),
        ("four octets", &wide, open(Asn::TRANS, &[four(4_200_000_000)]), None),
        ("AS_TRANS alone", &wide, open(Asn::TRANS, &[]), Some((2, 2, &[]))),
        ("our identifier in our AS", &internal, ours.clone(), Some((2, 3, &[]))),
        ("our identifier elsewhere", &config(), Open { my_as: 65_002, ..ours }, None),
        ("no common family", &config(), open(65_002, &[EVPN]), {
            Some((2, 7, &[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1]))
        }),
        ("IPv4 implied, IPv6 wanted", &v6_only, open(65_002, &[]), {
            Some((2, 7, &[1, 4, 0, 2, 0, 1]))
        }),
    ];
    for (name, config, open, refusal) in cases {
        let answer = negotiate(local(), config, &open).err();
        let expected = refusal.map(|(code, sub, data)| Notification::with_data(code, sub, data));
        assert_eq!(answer, expected, "{name}");
    }
}

#[test]
fn what_is_agreed_is_what_both_can() {
    let hold = |secs| HoldTime::from_secs(secs).unwrap();
    let agree = |ours, theirs, capabilities: &[Capability]| {
        let config = PeerConfig { hold_time: hold(ours), ..config() };
        let open = Open { hold_time: hold(theirs), ..open(65_002, capabilities) };
        negotiate(local(), &config, &open).unwrap()
    };
    assert_eq!(agree(90, 30, &[]).hold_time, hold(30));
    assert_eq!(agree(9, 30, &[]).hold_time, hold(9));
    assert_eq!(agree(90, 0, &[]).hold_time, hold(0));
    let old = agree(90, 90, &[]);
    assert_eq!((old.four_octet_as, old.route_refresh, old.external), (false, false, true));
    let new = agree(90, 90, &[Capability::RouteRefresh, Capability::FourOctetAs(asn(65_002))]);
    assert_eq!((new.four_octet_as, new.route_refresh), (true, true));
    let internal = PeerConfig { remote_as: asn(65_001), ..config() };
    assert!(!negotiate(local(), &internal, &open(65_001, &[])).unwrap().external);
}

#[test]
fn our_open_says_what_is_configured() {
    let wide = Local { asn: asn(4_200_000_001), ..local() };
    let config = PeerConfig { families: vec![Family::Ipv6Unicast], ..config() };
    let open = our_open(wide, &config, false);
    assert_eq!((open.my_as, open.router_id, open.hold_time), (23_456, id(1), HoldTime::DEFAULT));
    let four_octet = Capability::FourOctetAs(asn(4_200_000_001));
    let expected = [
        V6,
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        four_octet,
        Capability::ExtendedMessage,
    ];
    assert_eq!(open.capabilities, expected);
    assert_eq!(our_open(local(), &config, false).my_as, 65_001);
}
