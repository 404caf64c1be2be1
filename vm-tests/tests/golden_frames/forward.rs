//! What reaches a backend, and how it looks then.

use std::process::Command;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use tidegate_abi::{Backend, Counter, backend_kinds};
use tidegate_vm_tests::frame::{Frame, assert_frame_eq, ext, tcp};

use crate::xdp::{
    BACKEND4, BACKEND6, CLIENT4, CLIENT6, SOURCE4, SOURCE6, VIP4, VIP6, Xdp, entry, from_router,
    syn4, syn6, to_backend,
};

/// Asserts that, with such a backend, the frame leaves as this one, through the interface it came
/// in by.
fn assert_forwarded(xdp: &mut Xdp, backend: Backend, frame: &Frame, wanted: &Frame) {
    xdp.backend(1, backend);
    let run = xdp.run(frame);
    assert_eq!(run.counter, Counter::ForwardTx);
    assert_frame_eq(&run.frame, wanted);
    assert_eq!(run.backend, Some(1));
}

fn outer4() -> Frame {
    to_backend().ipv4(SOURCE4, BACKEND4)
}

fn outer6() -> Frame {
    to_backend().ipv6(SOURCE6, BACKEND6)
}

#[test]
fn ipip_in_all_four_combinations_and_l2() {
    let mut xdp = Xdp::with(Backend::FREE);
    let cases = [
        ("4in4", backend_kinds::IPV4_IN_IPV4, syn4(), outer4().inner_of(&syn4())),
        ("6in4", backend_kinds::IPV6_IN_IPV4, syn6(), outer4().inner_of(&syn6())),
        ("4in6", backend_kinds::IPV4_IN_IPV6, syn4(), outer6().inner_of(&syn4())),
        ("6in6", backend_kinds::IPV6_IN_IPV6, syn6(), outer6().inner_of(&syn6())),
        ("l2 v4", backend_kinds::L2, syn4(), to_backend().inner_of(&syn4())),
        ("l2 v6", backend_kinds::L2, syn6(), to_backend().inner_of(&syn6())),
    ];
    for (name, kind, frame, wanted) in cases {
        println!("{name}");
        assert_forwarded(&mut xdp, entry(kind), &frame, &wanted);
    }
}

#[test]
fn udp_goes_to_the_service_of_its_own() {
    let xdp = Xdp::with(entry(backend_kinds::IPV4_IN_IPV4));
    let query = from_router().ipv4(CLIENT4, VIP4).udp(40_000, 80).payload(*b"what?");
    let run = xdp.run(&query);
    assert_eq!((run.counter, run.service), (Counter::ForwardTx, Some(2)));
    assert_frame_eq(&run.frame, &outer4().inner_of(&query));
    assert_eq!(xdp.run(&syn4()).service, Some(1));
}

#[test]
fn tags_are_taken_off_and_the_backends_is_put_on() {
    let mut xdp = Xdp::with(Backend::FREE);
    let untagged = entry(backend_kinds::IPV4_IN_IPV4);
    let tagged = Backend { vlan_tci: [0x20, 0x64], ..untagged };
    let l2_tagged = Backend { vlan_tci: [0x20, 0x64], ..entry(backend_kinds::L2) };
    let out = to_backend().vlan(0x2064);
    let frames = [
        ("none", from_router()),
        ("802.1Q", from_router().vlan(7)),
        ("802.1ad", from_router().service_vlan(7)),
        ("QinQ", from_router().service_vlan(7).vlan(8)),
    ];
    for (name, head) in frames {
        println!("{name}");
        let frame = head.inner_of(&syn4());
        let wanted = outer4().inner_of(&syn4());
        assert_forwarded(&mut xdp, untagged, &frame, &wanted);
        let wanted = out.clone().ipv4(SOURCE4, BACKEND4).inner_of(&syn4());
        assert_forwarded(&mut xdp, tagged, &frame, &wanted);
        assert_forwarded(&mut xdp, l2_tagged, &frame, &out.clone().inner_of(&syn4()));
    }
}

#[test]
fn ip_options_travel_inside() {
    let mut xdp = Xdp::with(Backend::FREE);
    for len in (4..=40).step_by(4) {
        let frame = from_router()
            .ipv4(CLIENT4, VIP4)
            .options(&vec![1; len])
            .tcp(40_000, 80, tcp::SYN)
            .payload(*b"hello");
        assert_forwarded(
            &mut xdp,
            entry(backend_kinds::IPV4_IN_IPV4),
            &frame,
            &outer4().inner_of(&frame),
        );
    }
}

#[test]
fn extension_headers_travel_inside() {
    let mut xdp = Xdp::with(Backend::FREE);
    let head = || from_router().ipv6(CLIENT6, VIP6);
    let padding = [1, 4, 0, 0, 0, 0];
    let cases = [
        ("hop by hop", head().extension(ext::HOP_BY_HOP, &padding)),
        ("routing", head().extension(ext::ROUTING, &[0; 22])),
        ("destination", head().extension(ext::DESTINATION, &[0; 254])),
        ("longest", head().extension(ext::DESTINATION, &[0; 1_022])),
        ("authentication", head().extension(ext::AUTHENTICATION, &[0; 22])),
        ("atomic fragment", head().fragment_header(0, false)),
        (
            "all of them",
            head()
                .extension(ext::HOP_BY_HOP, &padding)
                .extension(ext::DESTINATION, &padding)
                .extension(ext::ROUTING, &padding)
                .fragment_header(0, false)
                .extension(ext::AUTHENTICATION, &[0; 14])
                .extension(ext::DESTINATION, &padding),
        ),
    ];
    for (name, head) in cases {
        println!("{name}");
        let frame = head.tcp(40_000, 80, tcp::SYN).payload(*b"hello");
        assert_forwarded(
            &mut xdp,
            entry(backend_kinds::IPV6_IN_IPV6),
            &frame,
            &outer6().inner_of(&frame),
        );
    }
}

#[test]
fn the_outer_length_counts_the_packet_and_not_the_padding_of_the_frame() {
    let mut xdp = Xdp::with(Backend::FREE);
    let ack = from_router().ipv4(CLIENT4, VIP4).tcp(40_000, 80, tcp::ACK);
    let outer = outer4().inner_of(&ack);
    let wanted = outer.clone().padded_to(outer.bytes().len() + 6);
    assert_forwarded(&mut xdp, entry(backend_kinds::IPV4_IN_IPV4), &ack.padded_to(60), &wanted);
}

#[test]
fn every_length_gets_a_sound_outer_header() {
    let xdp = Xdp::with(Backend { mtu: 9_000, ..entry(backend_kinds::IPV4_IN_IPV4) });
    for len in (0..1_400).step_by(7).chain(3_000..3_020) {
        let frame = from_router().ipv4(CLIENT4, VIP4).udp(1, 80).payload(vec![0xa5; len]);
        assert_frame_eq(&xdp.run(&frame).frame, &outer4().inner_of(&frame));
    }
}

#[test]
fn a_packet_fits_up_to_the_mtu_with_its_outer_header() {
    let cases = [
        ("4in4", backend_kinds::IPV4_IN_IPV4, 1_480),
        ("4in6", backend_kinds::IPV4_IN_IPV6, 1_460),
        ("l2", backend_kinds::L2, 1_500),
    ];
    for (name, kind, longest) in cases {
        let xdp = Xdp::with(entry(kind));
        let frame = |ip_len: usize| {
            from_router().ipv4(CLIENT4, VIP4).udp(1, 80).payload(vec![0; ip_len - 28])
        };
        assert_eq!(xdp.run(&frame(longest)).counter, Counter::ForwardTx, "{name}");
        assert_eq!(xdp.run(&frame(longest + 1)).counter, Counter::DropTooBig, "{name}");
    }
}

#[test]
fn another_interface_is_reached_by_redirect() {
    // A namespace of this thread, which goes with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let made = Command::new("ip")
        .args("link add tg-a type veth peer name tg-b".split(' '))
        .status()
        .expect("iproute2 is installed");
    assert!(made.success(), "veth devices cannot be made");
    let [a, b] = ["tg-a", "tg-b"].map(|name| if_nametoindex(name).unwrap());

    let kind = backend_kinds::IPV4_IN_IPV4;
    let mut xdp = Xdp::with(Backend { egress_ifindex: b, ..entry(kind) });
    let run = xdp.run_from(&syn4().bytes(), a);
    assert_eq!(run.counter, Counter::ForwardRedirect);
    assert_frame_eq(&run.frame, &outer4().inner_of(&syn4()));
    let run = xdp.run_from(&syn4().bytes(), b);
    assert_eq!(run.counter, Counter::ForwardTx, "it came in where it must go out");

    let gone = Command::new("ip").args(["link", "del", "tg-a"]).status().unwrap();
    assert!(gone.success());
    let before = xdp.datapath.counters().unwrap()[&Counter::DropUnresolved];
    xdp.datapath.test_run(&syn4().bytes(), 1).unwrap();
    let after = xdp.datapath.counters().unwrap()[&Counter::DropUnresolved];
    assert_eq!(after, before + 1, "a device that is gone is no way out");
    let entry = Backend { egress_ifindex: a, ..entry(kind) };
    let step = tidegate_plan::step::Step::PutBackend { index: 1, entry, fresh: false };
    let error = xdp.datapath.apply(&step).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot make interface {a} a device")), "{error}");
    xdp.backend(2, Backend::FREE);
}
