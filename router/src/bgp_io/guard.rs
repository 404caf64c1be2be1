//! GTSM (RFC 5082) from the listener on: what comes to it from a guarded peer's address with a TTL
//! that is too small is dropped before it can become a connection.
//!
//! Setting the smallest TTL on an accepted connection would be too late for what somebody far away
//! had sent by then: an OPEN could be waiting in it. One listener serves peers that are guarded
//! differently, so it gets a packet filter (classic BPF) with a rule for each; connections inherit
//! it.

use core::net::IpAddr;
use std::io;

use libc::sock_filter;
use socket2::{SockFilter, SockRef, Socket};
use tidegate_bgp::types::Prefix;
use tokio::net::TcpListener;
use tracing::warn;

use super::Conns;

/// A prefix, and the smallest TTL with which packets from there are taken. Of several that hold an
/// address, the first counts.
pub(super) type Guard = (Prefix, u8);

/// Instructions that the kernel takes (`BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;

/// Offsets from here on count from the IP header (`SKF_NET_OFF`).
const IP_HEADER: u32 = 0xfff0_0000;

/// Operations of classic BPF, as `<linux/bpf_common.h>` puts them together.
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// What a filter returns: octets of the packet that are kept.
const TAKE: u32 = u32::MAX;
const DROP: u32 = 0;

impl Conns {
    /// Makes the listeners refuse what comes from too far away.
    pub(super) fn guard(&mut self, guards: Vec<Guard>) {
        if self.guards.as_ref() == Some(&guards) {
            return;
        }
        for listener in &self.listeners {
            if let Err(error) = attach(listener, &guards) {
                drop(SockRef::from(listener).detach_filter()); // It fails if there never was one.
                warn!(
                    %error,
                    "strangers can open connections to the BGP port of peers with ttl-security; they \
                     are closed at once, and cost a little: filter TCP port 179 by TTL elsewhere if \
                     that matters"
                );
            }
        }
        self.guards = Some(guards);
    }
}

/// Makes a socket hear nobody until it is told whom to hear: who connects before would be heard
/// without a guard.
pub(super) fn deafen(socket: &Socket) -> io::Result<()> {
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, DROP)])
}

/// Makes a listener keep to these guards, and to no others.
///
/// # Errors
/// `InvalidInput` for more guards than a filter has room for; whatever the kernel says.
fn attach(listener: &TcpListener, guards: &[Guard]) -> io::Result<()> {
    let is_ipv6 = listener.local_addr()?.is_ipv6();
    let of_family = |(prefix, _): &&Guard| prefix.addr().is_ipv6() == is_ipv6;
    let mut filter: Vec<sock_filter> = guards.iter().filter(of_family).flat_map(rule).collect();
    let socket = SockRef::from(listener);
    if filter.is_empty() {
        drop(socket.detach_filter());
        return Ok(());
    }
    filter.push(step(RETURN, TAKE));
    if filter.len() > INSTRUCTIONS_MAX {
        let text = "there are too many peers with ttl-security for one listener";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let filter: Vec<SockFilter> =
        filter.iter().map(|it| SockFilter::new(it.code, it.jt, it.jf, it.k)).collect();
    socket.attach_filter(&filter)
}

/// Returns for packets from the prefix, and goes on behind itself for others.
fn rule((prefix, min_ttl): &Guard) -> Vec<sock_filter> {
    let (source_at, ttl_at, octets) = match prefix.addr() {
        IpAddr::V4(v4) => (12, 8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (8, 7, v6.octets().to_vec()),
    };
    let mut steps = Vec::new();
    let mut left = u32::from(prefix.bits());
    for (at, word) in (source_at..).step_by(4).zip(octets.as_chunks::<4>().0) {
        if left == 0 {
            break;
        }
        let bits = left.min(32);
        left -= bits;
        steps.push(step(LOAD_WORD, IP_HEADER + at));
        steps.push(step(AND, u32::MAX << (32 - bits)));
        steps.push(step(JUMP_EQUAL, u32::from_be_bytes(*word)));
    }
    steps.push(step(LOAD_BYTE, IP_HEADER + ttl_at));
    steps.push(sock_filter { jt: 0, jf: 1, ..step(JUMP_AT_LEAST, u32::from(*min_ttl)) });
    steps.push(step(RETURN, TAKE));
    steps.push(step(RETURN, DROP));
    let len = steps.len();
    for (at, step) in steps.iter_mut().enumerate().filter(|(_, step)| step.code == JUMP_EQUAL) {
        step.jf = u8::try_from(len - at - 1).unwrap_or(u8::MAX);
    }
    steps
}

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener as Plain};

    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;

    /// A client on its way, whose packets have this TTL.
    fn client(to: SocketAddr, ttl: u32) -> Socket {
        let socket =
            Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).unwrap();
        set_ttl(&socket, to, ttl);
        socket.set_nonblocking(true).unwrap();
        socket.connect(&to.into()).unwrap_err(); // It is in progress.
        socket
    }

    fn set_ttl(socket: &Socket, to: SocketAddr, ttl: u32) {
        if to.is_ipv4() { socket.set_ttl_v4(ttl) } else { socket.set_unicast_hops_v6(ttl) }
            .unwrap();
    }

    fn prefix(text: &str, bits: u8) -> Prefix {
        Prefix::new(text.parse().unwrap(), bits).unwrap()
    }

    #[tokio::test]
    async fn no_connection_comes_of_packets_from_too_far_away() {
        for (own, guard) in [("127.0.0.1", prefix("127.0.0.0", 8)), ("::1", prefix("::1", 128))] {
            let plain = Plain::bind((own.parse::<IpAddr>().unwrap(), 0)).unwrap();
            plain.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(plain).unwrap();
            let to = listener.local_addr().unwrap();
            let elsewhere = [prefix("10.0.0.0", 8), prefix("2001:db8::", 33)].map(|it| (it, 255));
            attach(&listener, &[&elsewhere[..], &[(guard, 254)]].concat()).unwrap();

            let far = client(to, 253);
            let near = client(to, 254);
            let (_, first) = listener.accept().await.unwrap();
            let of = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!(first, of(&near), "the first to knock was too far away");
            // TCP knocks again, now as if from nearer by.
            set_ttl(&far, to, 255);
            let (_, second) = listener.accept().await.unwrap();
            assert_eq!(second, of(&far));

            attach(&listener, &[(guard, 255), (guard, 0)]).unwrap();
            attach(&listener, &[]).unwrap();
            let anybody = client(to, 64);
            assert_eq!(listener.accept().await.unwrap().1, of(&anybody));
        }
    }

    #[tokio::test]
    async fn nobody_is_heard_before_it_is_known_from_how_far() {
        let own = "127.0.0.1:0".parse().unwrap();
        let listener = super::super::socket::listen(own, &super::super::Keys::default()).unwrap();
        let to = listener.local_addr().unwrap();
        let early = client(to, 254);
        attach(&listener, &[(prefix("127.0.0.0", 8), 255)]).unwrap();
        let near = client(to, 255);
        let (_, first) = listener.accept().await.unwrap();
        assert_eq!(first, near.local_addr().unwrap().as_socket().unwrap(), "it came too early");
        drop(early);
    }

    #[tokio::test]
    async fn the_first_guard_that_holds_an_address_counts_and_there_is_an_end_to_them() {
        let plain = Plain::bind("127.0.0.1:0").unwrap();
        plain.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(plain).unwrap();
        let (host, all) = (prefix("127.0.0.1", 32), prefix("0.0.0.0", 0));
        attach(&listener, &[(host, 0), (all, 255)]).unwrap();
        let _client = client(listener.local_addr().unwrap(), 9);
        listener.accept().await.unwrap();
        let many = vec![(host, 255); 1000];
        assert!(attach(&listener, &many).is_err());
    }
}
