//! `link_io` against the kernel. Needs root.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tidegate::link_io::{self, Changes, Links, NoWay};
use tidegate_plan::observed::Way;

mod netns;

use netns::{lab, run};

const BOUND: Duration = Duration::from_secs(15);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn look(links: Links, to: &str) -> Result<Way, NoWay> {
    let to = ip(to);
    links.ways(&BTreeSet::from([to])).await.unwrap().remove(&to).unwrap()
}

/// Looks again whenever something changed, as the daemon does, until the way is as wanted. It
/// stops when no change is announced for too long, so it fails if an event is missing.
async fn until(
    links: Links,
    changes: &Changes,
    to: &str,
    wanted: impl Fn(&Result<Way, NoWay>) -> bool,
) -> Result<Way, NoWay> {
    loop {
        let found = look(links, to).await;
        if wanted(&found) {
            return found;
        }
        let changed = tokio::time::timeout(BOUND, changes.changed()).await;
        assert!(changed.is_ok(), "nothing changed any more, and {to} is {found:?}");
    }
}

#[test]
fn an_address_on_link_is_resolved_without_any_traffic_to_it() {
    lab(async |_peer| {
        let (links, changes) = link_io::start().unwrap();
        let ours = links.interface("tg0").await.unwrap();
        assert_eq!((ours.mac, ours.mtu), ([2, 0, 0, 0, 0, 1], 1500));
        for to in ["192.0.2.2", "2001:db8::2"] {
            let found = until(links, &changes, to, Result::is_ok).await;
            let expected = Way {
                egress_ifindex: ours.index,
                vlan: None,
                source_mac: [2, 0, 0, 0, 0, 1],
                next_hop_mac: [2, 0, 0, 0, 0, 2],
                on_link: true,
                mtu: 1500,
                source_v4: Some("192.0.2.1".parse().unwrap()),
                source_v6: Some("2001:db8::1".parse().unwrap()),
            };
            assert_eq!(found, Ok(expected));
        }
    });
}

#[test]
fn routes_through_a_gateway_follow_changes_of_the_table() {
    lab(async |_peer| {
        let (links, changes) = link_io::start().unwrap();
        assert_eq!(look(links, "198.51.100.1").await, Err(NoWay::NoRoute));
        assert_eq!(look(links, "2001:db8:1::1").await, Err(NoWay::NoRoute));

        run("ip route add 198.51.100.0/24 via 192.0.2.2 mtu 1400");
        run("ip -6 route add 2001:db8:1::/48 via 2001:db8::2");
        run("ip route add 203.0.113.0/24 via inet6 2001:db8::2");
        for (to, mtu) in [("198.51.100.1", 1400), ("2001:db8:1::1", 1500), ("203.0.113.1", 1500)] {
            let way = until(links, &changes, to, Result::is_ok).await.unwrap();
            assert_eq!((way.on_link, way.mtu), (false, mtu), "{to}");
            assert_eq!(way.next_hop_mac, [2, 0, 0, 0, 0, 2], "{to}");
            assert_eq!(way.source_v4, Some("192.0.2.1".parse().unwrap()), "{to}");
            assert_eq!(way.source_v6, Some("2001:db8::1".parse().unwrap()), "{to}");
        }

        run("ip route replace 198.51.100.0/24 via 192.0.2.99");
        let other_gateway = |found: &Result<Way, NoWay>| matches!(found, Err(NoWay::Unresolved { next_hop, .. }) if *next_hop == ip("192.0.2.99"));
        until(links, &changes, "198.51.100.1", other_gateway).await.unwrap_err();
        let silent = |found: &Result<Way, NoWay>| matches!(found, Err(NoWay::NoAnswer { .. }));
        until(links, &changes, "198.51.100.1", silent).await.unwrap_err();
    });
}

#[test]
fn addresses_that_no_packet_can_be_sent_to_say_why() {
    lab(async |_peer| {
        let (links, _changes) = link_io::start().unwrap();
        for (family, prefix) in [("-4", "198.51.100.%/32"), ("-6", "2001:db8:1::%/128")] {
            for (number, kind) in [("1", "blackhole"), ("2", "unreachable"), ("3", "prohibit")] {
                run(&format!("ip {family} route add {kind} {}", prefix.replace('%', number)));
            }
        }
        let cases = [
            ("192.0.2.1", NoWay::Local),
            ("2001:db8::1", NoWay::Local),
            ("127.0.0.1", NoWay::Local),
            ("::1", NoWay::Local),
            ("198.51.100.1", NoWay::Refused("blackhole")),
            ("198.51.100.2", NoWay::Refused("unreachable")),
            ("198.51.100.3", NoWay::Refused("prohibit")),
            ("2001:db8:1::1", NoWay::Refused("blackhole")),
            ("2001:db8:1::2", NoWay::Refused("unreachable")),
            ("2001:db8:1::3", NoWay::Refused("prohibit")),
            ("192.0.2.255", NoWay::NotUnicast),
        ];
        for (to, expected) in cases {
            assert_eq!(look(links, to).await, Err(expected), "{to}");
        }
    });
}

#[test]
fn links_and_mac_addresses_that_change_are_seen() {
    lab(async |peer| {
        let (links, changes) = link_io::start().unwrap();
        until(links, &changes, "192.0.2.2", Result::is_ok).await.unwrap();

        run("ip link set tg0 mtu 9000");
        let mtu = |found: &Result<Way, NoWay>| matches!(found, Ok(way) if way.mtu == 9000);
        until(links, &changes, "192.0.2.2", mtu).await.unwrap();

        run("ip link set tg0 address 02:00:00:00:00:11");
        let ours =
            |found: &Result<Way, NoWay>| matches!(found, Ok(way) if way.source_mac[5] == 0x11);
        until(links, &changes, "192.0.2.2", ours).await.unwrap();

        run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:22 dev tg0 nud reachable");
        let theirs =
            |found: &Result<Way, NoWay>| matches!(found, Ok(way) if way.next_hop_mac[5] == 0x22);
        until(links, &changes, "192.0.2.2", theirs).await.unwrap();

        // Only the other end goes down: administratively our interface stays up.
        peer.enter(|| drop(run("ip link set peer down")));
        let down = |found: &Result<Way, NoWay>| matches!(found, Err(NoWay::LinkDown { .. }));
        until(links, &changes, "192.0.2.2", down).await.unwrap_err();
        peer.enter(|| drop(run("ip link set peer up")));
        until(links, &changes, "192.0.2.2", Result::is_ok).await.unwrap();

        run("ip link del tg0");
        let gone = |found: &Result<Way, NoWay>| matches!(found, Err(NoWay::NoRoute));
        until(links, &changes, "192.0.2.2", gone).await.unwrap_err();
        let error = links.interface("tg0").await.unwrap_err().to_string();
        assert!(error.contains("no interface tg0"), "{error}");
    });
}

#[test]
fn a_bgp_session_gets_the_next_hops_of_its_interface() {
    lab(async |_peer| {
        let (links, _changes) = link_io::start().unwrap();
        for local in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            let found = links.next_hops(ip(local)).await.unwrap();
            assert_eq!(found.v4, Some("192.0.2.1".parse().unwrap()), "{local}");
            assert_eq!(found.v6, Some("2001:db8::1".parse().unwrap()), "{local}");
        }
        let found = links.next_hops(ip("127.0.0.1")).await.unwrap();
        assert_eq!((found.v4, found.v6), ("127.0.0.1".parse().ok(), None));
    });
}

#[test]
fn a_next_hop_is_as_far_as_its_route_says_and_moves_with_it() {
    lab(async |_peer| {
        let (links, changes) = link_io::start().unwrap();
        let addrs = ["192.0.2.2", "2001:db8::2", "198.51.100.1", "2001:db8:1::1", "192.0.2.1"];
        let addrs: BTreeSet<IpAddr> = addrs.map(ip).into();
        let look = async || {
            let found = links.distances(&addrs).await.unwrap();
            ["192.0.2.2", "2001:db8::2", "198.51.100.1", "2001:db8:1::1", "192.0.2.1"]
                .map(|addr| found[&ip(addr)])
        };
        let until = async |wanted: [Option<u32>; 5]| {
            loop {
                let found = look().await;
                if found == wanted {
                    return;
                }
                let changed = tokio::time::timeout(BOUND, changes.changed()).await;
                assert!(changed.is_ok(), "nothing changed any more: {found:?}, not {wanted:?}");
            }
        };
        // Our own address is no next hop.
        until([Some(0), Some(0), None, None, None]).await;
        run("ip route add 198.51.100.0/24 via 192.0.2.2 metric 7");
        run("ip -6 route add 2001:db8:1::/48 via 2001:db8::2 metric 8");
        until([Some(0), Some(0), Some(7), Some(8), None]).await;
        run("ip route add 198.51.100.0/25 via 192.0.2.2 metric 9");
        until([Some(0), Some(0), Some(9), Some(8), None]).await;
        run("ip route add unreachable 198.51.100.0/26");
        until([Some(0), Some(0), None, Some(8), None]).await;
        run("ip link set tg0 down");
        until([None, None, None, None, None]).await;
    });
}
