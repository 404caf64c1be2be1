//! ICMP echo to a VIP.

use proptest::prelude::*;
use tidegate_abi::{Counter, backend_kinds};
use tidegate_vm_tests::frame::{assert_frame_eq, checksums_hold, describe, eth};

use crate::xdp::{CLIENT4, CLIENT6, ROUTER, US, VIP4, VIP6, Xdp, entry, from_router, runner};

const ID: [u8; 4] = [0x12, 0x34, 0, 1];

fn xdp() -> Xdp {
    Xdp::with(entry(backend_kinds::IPV4_IN_IPV4))
}

#[test]
fn an_echo_request_is_answered_with_its_own_payload() {
    let xdp = xdp();
    let ping = from_router().ipv4(CLIENT4, VIP4).ttl(3).icmp(8, 0, ID).payload(*b"are you there");
    let pong =
        eth(US, ROUTER).ipv4(VIP4, CLIENT4).ttl(64).icmp(0, 0, ID).payload(*b"are you there");
    let run = xdp.run(&ping);
    assert_eq!(run.counter, Counter::EchoReply);
    assert_frame_eq(&run.frame, &pong);

    let ping = from_router().ipv6(CLIENT6, VIP6).ttl(3).icmpv6(128, 0, ID).payload(*b"six?");
    let pong = eth(US, ROUTER).ipv6(VIP6, CLIENT6).ttl(64).icmpv6(129, 0, ID).payload(*b"six?");
    let run = xdp.run(&ping);
    assert_eq!(run.counter, Counter::EchoReply);
    assert_frame_eq(&run.frame, &pong);
}

#[test]
fn the_answer_goes_back_with_tags_options_and_padding_as_they_came() {
    let ping = from_router().service_vlan(3).vlan(0x2064).ipv4(CLIENT4, VIP4).options(&[1; 8]);
    let pong = eth(US, ROUTER).service_vlan(3).vlan(0x2064).ipv4(VIP4, CLIENT4).options(&[1; 8]);
    let run = xdp().run(&ping.icmp(8, 0, ID).padded_to(64));
    assert_eq!(run.counter, Counter::EchoReply);
    assert_frame_eq(&run.frame, &pong.icmp(0, 0, ID).padded_to(64));
}

#[test]
fn a_vip_that_shall_not_answer_does_not() {
    let mut xdp = xdp();
    xdp.vip(0);
    let ping = from_router().ipv4(CLIENT4, VIP4).icmp(8, 0, ID);
    assert_eq!(xdp.run(&ping).counter, Counter::DropNoService);
    let ping = from_router().ipv6(CLIENT6, VIP6).icmpv6(128, 0, ID);
    assert_eq!(xdp.run(&ping).counter, Counter::DropNoService);
}

#[test]
fn the_checksum_holds_at_every_edge() {
    // All values that the last word, and with it the checksum, can take: every carry is among
    // them, and the message that is zero but for its type.
    let xdp = xdp();
    for word in 0..=u16::MAX {
        let [a, b] = word.to_be_bytes();
        let ping = from_router().ipv4(CLIENT4, VIP4).icmp(8, 0, [0, 0, a, b]).bytes();
        let pong = xdp.datapath.test_run(&ping, 1).unwrap().frame;
        assert!(checksums_hold(&pong), "{}", describe(&pong));
    }
    for word in (0..=u16::MAX).step_by(3) {
        let [a, b] = word.to_be_bytes();
        let ping = from_router().ipv6(CLIENT6, VIP6).icmpv6(128, 0, [0, 0, a, b]).bytes();
        let pong = xdp.datapath.test_run(&ping, 1).unwrap().frame;
        assert!(checksums_hold(&pong), "{}", describe(&pong));
    }
    assert_eq!(xdp.datapath.counters().unwrap()[&Counter::EchoReply], 65_536 + 21_846);
}

#[test]
fn any_payload_any_ttl_the_checksums_hold() {
    let xdp = xdp();
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    runner(1_000)
        .run(&(any::<[u8; 4]>(), any::<u8>(), any::<u8>(), payload), |(rest, ttl, tos, payload)| {
            let head = from_router().ipv4(CLIENT4, VIP4).ttl(ttl).tos(tos);
            let v4 = head.icmp(8, 0, rest).payload(&*payload);
            let head = from_router().ipv6(CLIENT6, VIP6).ttl(ttl);
            let v6 = head.icmpv6(128, 0, rest).payload(payload);
            for ping in [v4, v6] {
                let run = xdp.run(&ping);
                prop_assert_eq!(run.counter, Counter::EchoReply);
                prop_assert!(checksums_hold(&run.frame), "{}", describe(&run.frame));
            }
            Ok(())
        })
        .unwrap();
}
