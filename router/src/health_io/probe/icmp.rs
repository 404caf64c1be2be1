//! A ping (RFC 792, RFC 4443 §4).

use core::net::{IpAddr, SocketAddr};
use std::io;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::go_through;
use crate::health_io::Failure;
use crate::health_io::random::Random;

/// Longest packet that we read: an echo reply of ours is far shorter.
const PACKET_BYTES_MAX: usize = 256;

/// Identifier, sequence number and eight octets more, by which we know our own.
pub(crate) const NONCE_BYTES: usize = 12;

/// Sends an echo request and waits for its reply. The socket is connected: it hears of no other
/// host than the one that is asked.
pub(crate) async fn ask(target: IpAddr, mark: Option<u32>) -> Result<(), Failure> {
    let nonce: [u8; NONCE_BYTES] = Random::new().octets();
    let asked = async {
        let socket = open(target)?;
        if let Some(mark) = mark {
            go_through(&SockRef::from(&socket), target.is_ipv4(), mark)?;
        }
        socket.send(&request(target, &nonce)).await?;
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            let len = socket.recv(&mut packet).await?;
            if is_reply(target, packet.get(..len).unwrap_or_default(), &nonce) {
                return Ok(());
            }
        }
    };
    asked.await.map_err(|error: io::Error| Failure::of_datagram(&error))
}

/// A raw socket. Tokio's type for UDP does with it what is done with any socket of datagrams.
pub(crate) fn open(target: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(target, 0).into())?;
    UdpSocket::from_std(socket.into())
}

/// An echo request. The kernel fills in the checksum of ICMPv6 (RFC 3542 §3.1), not that of ICMP.
pub(crate) fn request(target: IpAddr, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    let kind = if target.is_ipv4() { 8 } else { 128 };
    let mut packet = [&[kind, 0, 0, 0], nonce.as_slice()].concat();
    if target.is_ipv4() {
        let sum = checksum(&packet).to_be_bytes();
        packet.iter_mut().skip(2).zip(sum).for_each(|(octet, sum)| *octet = sum);
    }
    packet
}

/// Whether a packet answers our request. Those of IPv4 come with their IP header.
pub(crate) fn is_reply(target: IpAddr, packet: &[u8], nonce: &[u8; NONCE_BYTES]) -> bool {
    let (kind, header_len) = match (target, packet.first()) {
        (IpAddr::V4(_), Some(first)) => (0, usize::from(first & 0x0f) * 4),
        (IpAddr::V4(_), None) => return false,
        (IpAddr::V6(_), _) => (129, 0),
    };
    match packet.get(header_len..) {
        Some([got, 0, _, _, rest @ ..]) => *got == kind && rest.starts_with(nonce),
        _ => false,
    }
}

/// The ones' complement sum of RFC 1071, of an even number of octets.
pub(crate) fn checksum(octets: &[u8]) -> u16 {
    let words = octets.as_chunks::<2>().0.iter().map(|word| u16::from_be_bytes(*word));
    !words.fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const NONCE: [u8; NONCE_BYTES] = *b"0123456789ab";
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn an_echo_request_sums_up_to_nothing() {
        assert_eq!(checksum(&request(V4, &NONCE)), 0);
        assert_eq!(request(V6, &NONCE), b"\x80\x00\x00\x000123456789ab");
    }

    #[test]
    fn only_the_reply_to_our_own_request_counts() {
        let v4 = |kind, nonce: &[u8]| [[0x45; 20].as_slice(), &[kind, 0, 0, 0], nonce].concat();
        let v6 = |kind, nonce: &[u8]| [[kind, 0, 0, 0].as_slice(), nonce].concat();
        let cases = [
            ("a reply", V4, v4(0, &NONCE), true),
            ("our request, which loopback shows us too", V4, v4(8, &NONCE), false),
            ("another's reply", V4, v4(0, b"0123456789xx"), false),
            ("a reply cut off", V4, v4(0, b"0123"), false),
            ("a header cut off", V4, vec![0x4f; 20], false),
            ("nothing", V4, vec![], false),
            ("a reply", V6, v6(129, &NONCE), true),
            ("our request", V6, v6(128, &NONCE), false),
            ("nothing", V6, vec![], false),
        ];
        for (name, target, packet, is) in cases {
            assert_eq!(is_reply(target, &packet, &NONCE), is, "{name} from {target}");
        }
    }
}
