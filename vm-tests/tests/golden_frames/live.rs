//! Real packets between two network namespaces, where a test run does not reach: what the driver
//! does with a frame that the program resized, and what the kernel does with what came out.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use nix::unistd::gettid;
use tidegate::bpf_io::Mode;
use tidegate::decap::Decap;
use tidegate_abi::DecapCounter;
use tidegate_vm_tests::frame::eth;

use crate::pins::{World, run};
use crate::xdp::VIP4;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_packet_in_a_packet_reaches_a_socket_on_the_vip() {
    let _world = World::new("live");
    run("ip addr add 10.0.0.1/24 dev tg.a");
    let (tell_thread, thread_id) = channel();
    let (tell_moved, moved) = channel();
    let (tell_ready, ready) = channel();
    let backend = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tell_thread.send(gettid()).unwrap();
        moved.recv_timeout(PATIENCE).unwrap();
        for command in [
            "ip link set lo up",
            "ip link set tg-b up",
            "ip addr add 10.0.0.2/24 dev tg-b",
            "ip addr add 192.0.2.10/32 dev lo",
        ] {
            run(command);
        }
        let server = UdpSocket::bind((VIP4, 80)).unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut decap = Decap::load().unwrap();
        assert_eq!(decap.attach("tg-b").unwrap().mode, Mode::Native);
        decap.take_for(&[IpAddr::V4(FAR)].into()).unwrap();
        tell_ready.send(()).unwrap();
        let mut buffer = [0; 64];
        let (len, client) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(decap.count(DecapCounter::Unwrapped).unwrap(), 1);
        (buffer[..len].to_vec(), client)
    });
    run(&format!("ip link set tg-b netns {}", thread_id.recv_timeout(PATIENCE).unwrap()));
    tell_moved.send(()).unwrap();
    ready.recv_timeout(PATIENCE).unwrap();

    // The outer header is ours, too: a raw socket with IPPROTO_RAW sends packets as they are.
    let datagram = eth([0; 6], [0; 6]).ipv4(NEAR, VIP4).udp(40_000, 80).payload(*b"through");
    let packet = eth([0; 6], [0; 6]).ipv4(NEAR, FAR).inner_of(&datagram);
    let raw = SockProtocol::Raw;
    let sender = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), raw).unwrap();
    let to = SockaddrIn::new(10, 0, 0, 2, 0);
    use std::os::fd::AsRawFd;
    sendto(sender.as_raw_fd(), &packet.bytes()[14..], &to, MsgFlags::empty()).unwrap();

    let (received, client) = backend.join().unwrap();
    assert_eq!(received, b"through");
    assert_eq!(client, SocketAddr::from((NEAR, 40_000)), "the client is seen, not the balancer");
    let _ = ErrorKind::WouldBlock;
}
