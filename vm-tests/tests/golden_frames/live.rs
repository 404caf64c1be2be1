//! Real packets between two network namespaces, where a test run does not reach: what the driver
//! does with a frame that the program resized, and what the kernel does with what came out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use nix::unistd::gettid;
use tidegate::bpf_io::Mode;
use tidegate::decap::Decap;
use tidegate_abi::{Backend, Counter, DecapCounter, GUE_PORT, backend_kinds};
use tidegate_config::desired::AttachMode;
use tidegate_vm_tests::frame::{Frame, eth};

use crate::pins::{World, run};
use crate::xdp::{BACKEND4, CLIENT4, VIP4, Xdp, entry};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes `tg-b` into a network namespace of its own, where `work` is done by another thread;
/// returns when that says it is ready.
fn beyond_the_wire<T: Send + 'static>(
    work: impl FnOnce(Sender<()>) -> T + Send + 'static,
) -> JoinHandle<T> {
    let (tell_thread, thread_id) = channel();
    let (tell_moved, moved) = channel();
    let (tell_ready, ready) = channel();
    let beyond = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tell_thread.send(gettid()).unwrap();
        moved.recv_timeout(PATIENCE).unwrap();
        run("ip link set lo up");
        run("ip link set tg-b up");
        work(tell_ready)
    });
    run(&format!("ip link set tg-b netns {}", thread_id.recv_timeout(PATIENCE).unwrap()));
    tell_moved.send(()).unwrap();
    ready.recv_timeout(PATIENCE).expect("the other side gets ready");
    beyond
}

/// Sends the IP packet of a frame as it is, to the neighbour that has this address.
fn send(frame: &Frame, neighbour: Ipv4Addr) {
    let raw = SockProtocol::Raw;
    let sender = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), raw).unwrap();
    let to = SockaddrIn::from(std::net::SocketAddrV4::new(neighbour, 0));
    sendto(sender.as_raw_fd(), &frame.bytes()[14..], &to, MsgFlags::empty()).unwrap();
}

fn datagram(client: Ipv4Addr) -> Frame {
    eth([0; 6], [0; 6]).ipv4(client, VIP4).udp(40_000, 80).payload(*b"through")
}

fn server() -> UdpSocket {
    run("ip addr add 192.0.2.10/32 dev lo");
    let server = UdpSocket::bind((VIP4, 80)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    server
}

fn assert_received(server: &UdpSocket, client: Ipv4Addr) {
    let mut buffer = [0; 64];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"through");
    assert_eq!(from, SocketAddr::from((client, 40_000)), "the client is seen, not the balancer");
}

#[test]
fn a_packet_in_a_packet_reaches_a_socket_on_the_vip() {
    let _world = World::new("decap");
    run("ip addr add 10.0.0.1/24 dev tg.a");
    let backend = beyond_the_wire(|ready| {
        run("ip addr add 10.0.0.2/24 dev tg-b");
        let server = server();
        let mut decap = Decap::load(GUE_PORT).unwrap();
        assert_eq!(decap.attach("tg-b").unwrap().mode, Mode::Native);
        decap.take_for(&[IpAddr::V4(BACKEND4)].into()).unwrap();
        ready.send(()).unwrap();
        assert_received(&server, NEAR);
        assert_eq!(decap.count(DecapCounter::Unwrapped).unwrap(), 1);
    });
    let packet = eth([0; 6], [0; 6]).ipv4(NEAR, BACKEND4).inner_of(&datagram(NEAR));
    send(&packet, BACKEND4);
    backend.join().unwrap();
}

#[test]
fn a_packet_to_the_vip_goes_through_the_datapath_and_out_of_its_header_at_the_backend() {
    // Client and backend are on this side of the wire, the datapath beyond it: what comes in by
    // tg-b leaves by tg-b, encapsulated.
    let _world = World::new("edge");
    run("ip link set tg.a address 02:00:00:00:00:03");
    run("ip addr add 10.0.0.2/24 dev tg.a");
    run("ip neigh add 10.0.0.1 lladdr 02:00:00:00:00:02 dev tg.a");
    let server = server();
    // Native on this side, too: a veth sends XDP_TX only to a peer that takes frames like that.
    let mut decap = Decap::load(GUE_PORT).unwrap();
    assert_eq!(decap.attach("tg.a").unwrap().mode, Mode::Native);
    decap.take_for(&[IpAddr::V4(BACKEND4)].into()).unwrap();

    let (tell_done, done) = channel();
    let edge = beyond_the_wire(move |ready| {
        let egress_ifindex = if_nametoindex("tg-b").unwrap();
        let backend = Backend { egress_ifindex, ..entry(backend_kinds::IPV4_IN_IPV4) };
        let mut xdp = Xdp::with(backend);
        let links = xdp.datapath.attach(&["tg-b".to_owned()], AttachMode::Native).unwrap();
        assert_eq!(links[0].mode, Mode::Native);
        ready.send(()).unwrap();
        done.recv_timeout(PATIENCE).expect("the datagram arrives");
        assert_eq!(xdp.datapath.counters().unwrap()[&Counter::ForwardTx], 1);
    });
    send(&datagram(CLIENT4), NEAR);
    assert_received(&server, CLIENT4);
    assert_eq!(decap.count(DecapCounter::Unwrapped).unwrap(), 1);
    tell_done.send(()).unwrap();
    edge.join().unwrap();
}
