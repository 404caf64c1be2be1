//! VIPs that are prefixes: announced as such, and beside others that lie in them.

use super::*;
use crate::proof::clients;

fn at(addrs: &str, len: u8, port: u16) -> ServiceAddr {
    let addrs = Prefix::new(ip(addrs), len).unwrap();
    ServiceAddr { addrs, port, protocol: Protocol::Tcp }
}

fn up(vips: &[ServiceAddr]) -> (World, Desired) {
    let services: Vec<Service> = vips.iter().map(|&vip| service(vip, 1..=2)).collect();
    let desired = desired(&services);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    (world, desired)
}

#[test]
fn a_vip_of_many_addresses_is_announced_as_its_prefix_and_withdrawn_by_itself() {
    let (prefix, host) = (at("198.51.100.0", 28, 80), at("198.51.100.0", 32, 80));
    let (mut world, desired) = up(&[prefix, host]);
    let advertised: Vec<Prefix> = world.observed.advertised.keys().copied().collect();
    assert_eq!(advertised, [prefix.addrs, host.addrs]);
    assert_eq!(key::entries(&world.observed.datapath).len(), 4, "two services, two VIPs");
    assert_eq!(world.settle(&desired), [""; 0]);

    world.observed.healthy.retain(|(service, _)| *service != prefix);
    world.converge(&desired);
    assert_eq!(world.observed.advertised.keys().copied().collect::<Vec<_>>(), [host.addrs]);
}

#[test]
fn a_test_packet_asks_an_address_that_is_no_other_vips() {
    let asked = |vips: &[ServiceAddr]| {
        let (world, desired) = up(vips);
        let clients = clients(desired.router.hash_seed, vips[0], &world.observed.datapath);
        assert_eq!(clients.len(), 2, "one for each backend");
        clients[0].0.vip
    };
    let prefix = at("198.51.100.0", 28, 80);
    let v6 = at("2001:db8::", 64, 80);
    let cases: [(&[ServiceAddr], &str); 6] = [
        (&[prefix], "198.51.100.0"),
        (&[prefix, at("198.51.100.1", 32, 80)], "198.51.100.0"),
        (&[prefix, at("198.51.100.0", 32, 80), at("198.51.100.1", 32, 1)], "198.51.100.2"),
        (&[prefix, at("198.51.100.0", 29, 80), at("198.51.100.3", 32, 80)], "198.51.100.8"),
        (&[at("198.51.100.3", 32, 80), prefix], "198.51.100.3"),
        (&[v6, at("2001:db8::", 128, 80), at("2001:db8::", 72, 80)], "2001:db8:0:0:100::"),
    ];
    for (vips, wanted) in cases {
        assert_eq!(asked(vips), ip(wanted), "{vips:?}");
    }
}

#[test]
fn the_program_knows_the_lengths_of_vips_and_of_those_that_are_on_their_way_out() {
    let (world, before) = up(&[at("198.51.100.0", 28, 80), at("2001:db8::", 64, 80)]);
    let constants = crate::constants(&before);
    assert_eq!((constants.vip_lens_v4, constants.vip_lens_v6), (28, 64));
    let after = desired(&[service(at("203.0.113.0", 31, 80), 1..=2)]);
    let constants = crate::constants(&after);
    assert_eq!((constants.vip_lens_v4, constants.vip_lens_v6), (31, 0));
    let needed = crate::with_leftovers(constants, &world.observed.datapath);
    assert_eq!((needed.vip_lens_v4, needed.vip_lens_v6), (tidegate_abi::vip_lens([31, 28]), 64));
}
