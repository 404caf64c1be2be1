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

/// Everything a peer can offer.
fn everything() -> Vec<Capability> {
    let restart = GracefulRestart {
        restarting: true,
        notification: true,
        restart_time_secs: 120,
        families: FamilySet::ALL,
        forwarding: FamilySet::ALL,
    };
    let kept_long = |family| LongLived { family, forwarding: true, stale_time_secs: 3600 };
    vec![
        V4,
        V6,
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::ExtendedMessage,
        Capability::ExtendedNextHop(FamilySet::ALL),
        Capability::AddPath { send: FamilySet::ALL, receive: one(Family::Ipv6Unicast) },
        Capability::Role(Role::Customer),
        Capability::GracefulRestart(restart),
        Capability::LongLivedGracefulRestart(
            [Family::Ipv4Unicast, Family::Ipv4Flowspec].map(kept_long).to_vec(),
        ),
    ]
}

fn one(family: Family) -> FamilySet {
    [family].into_iter().collect()
}

fn all_offered() -> Offer {
    Offer {
        extended_messages: true,
        extended_next_hop: one(Family::Ipv4Unicast),
        add_path_send: FamilySet::ALL,
        add_path_receive: one(Family::Ipv4Unicast),
        graceful_restart: Some(GracefulRestart::default()),
        long_lived: Vec::new(),
        role: Some(Role::Provider),
        role_required: true,
    }
}

#[test]
fn what_both_offer_is_agreed_and_nothing_else() {
    let agree = |offer, capabilities: &[Capability]| {
        let config = PeerConfig { offer, ..config() };
        negotiate(local(), &config, &open(65_002, capabilities)).unwrap()
    };
    let agreed = agree(all_offered(), &everything());
    assert!(agreed.extended_messages && agreed.enhanced_refresh && agreed.route_refresh);
    assert_eq!(agreed.message_bytes_max(), 65_535);
    assert_eq!(agreed.extended_next_hop, one(Family::Ipv4Unicast));
    // Ours to send is theirs to receive, and the other way round.
    assert_eq!(agreed.add_path_send, one(Family::Ipv6Unicast));
    assert_eq!(agreed.add_path_receive, one(Family::Ipv4Unicast));
    assert_eq!(agreed.remote_role, Some(Role::Customer));
    assert!(agreed.graceful_restart.unwrap().notification);
    let kept_long: Vec<Family> = agreed.long_lived.iter().map(|one| one.family).collect();
    assert_eq!(kept_long, [Family::Ipv4Unicast], "FlowSpec is not in use");

    let silent = agree(Offer { extended_messages: false, ..Offer::default() }, &everything());
    assert_eq!(silent.message_bytes_max(), 4096);
    assert_eq!((silent.graceful_restart, silent.remote_role), (None, None));
    assert_eq!(silent.long_lived, [], "RFC 9494: nothing without RFC 4724 beside it");
    assert!(silent.add_path_send.is_empty() && silent.add_path_receive.is_empty());

    let plain = agree(Offer { role_required: false, ..all_offered() }, &[]);
    assert_eq!(plain.message_bytes_max(), 4096);
    assert!(!(plain.enhanced_refresh || plain.route_refresh || plain.four_octet_as));
    assert!(plain.extended_next_hop.is_empty());
    assert_eq!(plain.remote_role, Some(Role::Customer), "what it must be if we are its provider");
}

#[test]
fn roles_must_fit_as_rfc_9234_4_2_says() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    let pairs = [(Provider, Customer), (RouteServer, RouteServerClient), (Peer, Peer)];
    let all = [Provider, RouteServer, RouteServerClient, Customer, Peer];
    let agree = |ours, required, theirs: &[Role]| {
        let offer = Offer { role: Some(ours), role_required: required, ..Offer::default() };
        let config = PeerConfig { offer, ..config() };
        let capabilities: Vec<Capability> = theirs.iter().copied().map(Capability::Role).collect();
        negotiate(local(), &config, &open(65_002, &capabilities)).map(|agreed| agreed.remote_role)
    };
    for ours in all {
        for theirs in all {
            let fits = pairs.contains(&(ours, theirs)) || pairs.contains(&(theirs, ours));
            let expected = if fits { Ok(Some(theirs)) } else { Err(Notification::ROLE_MISMATCH) };
            assert_eq!(agree(ours, false, &[theirs]), expected, "{ours:?}, {theirs:?}");
        }
    }
    assert_eq!(agree(Provider, false, &[]), Ok(Some(Customer)));
    assert_eq!(agree(Peer, true, &[]), Err(Notification::ROLE_MISMATCH));
    assert_eq!(agree(Peer, false, &[Peer, Peer]), Ok(Some(Peer)));
    assert_eq!(agree(Peer, false, &[Peer, Customer]), Err(Notification::ROLE_MISMATCH));
}

#[test]
fn a_role_is_named_to_external_peers_only() {
    let offer = Offer { role: Some(Role::Provider), ..Offer::default() };
    for (remote_as, named) in [(asn(65_001), false), (asn(65_002), true)] {
        let config = PeerConfig { remote_as, offer: offer.clone(), ..config() };
        let open = our_open(local(), &config, false);
        let role = Capability::Role(Role::Provider);
        assert_eq!(open.capabilities.contains(&role), named, "{remote_as:?}");
    }
}
