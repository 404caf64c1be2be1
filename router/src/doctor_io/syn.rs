//! Packets made by hand that go to one backend as packets of clients do, and a TCP connection that is
//! asked for so.
//!
//! What comes back comes from the VIP itself, past the tunnel, as every answer to a client does. A
//! SYN-ACK is all that is wanted: the kernel knows of no such connection and resets it, so nothing
//! stays open at the backend. Health checks make whole connections (`health_io::tunnel`); here the
//! length of a packet matters, and no daemon need run.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::health_io::Failure;
use crate::health_io::probe::icmp::checksum;
use crate::health_io::random::Random;

/// Numbers of the packets in a tunnel (RFC 2003, RFC 2473).
const IPV4_IN: i32 = 4;
const IPV6_IN: i32 = 41;
const TCP: u8 = 6;
const TCP_HEADER_LEN: usize = 20;
/// Longest packet that we read the beginning of: both headers with all options.
const PACKET_BYTES_MAX: usize = 128;
/// A SYN that is not answered is sent once more after this time.
const AGAIN: Duration = Duration::from_millis(200);

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What packets go through to a backend, as those of clients do.
pub(crate) struct Through {
    socket: Socket,
    to: SockAddr,
}

impl Through {
    /// The tunnel to a backend, which the kernel puts packets of the VIP's IP version into. `whole`:
    /// they are not fragmented, whatever the kernel has heard of the path.
    pub(crate) fn tunnel(
        backend: IpAddr,
        vip_is_v4: bool,
        gue_port: Option<u16>,
        whole: bool,
    ) -> io::Result<Self> {
        let end = SocketAddr::new(backend, gue_port.unwrap_or(0));
        let domain = Domain::for_address(end);
        let socket = if gue_port.is_some() {
            // Variant 1: the packet itself is all that is in the datagram.
            Socket::new(domain, Type::DGRAM, None)?
        } else {
            let number = if vip_is_v4 { IPV4_IN } else { IPV6_IN };
            Socket::new(domain, Type::RAW, Some(Protocol::from(number)))?
        };
        if whole {
            in_one_piece(&socket, backend)?;
        }
        Self::of(socket, end.into())
    }

    /// A socket that takes whole IP packets, and where to send them.
    pub(crate) fn of(socket: Socket, to: SockAddr) -> io::Result<Self> {
        // It would hear what others send us in tunnels, and only sends.
        socket.set_recv_buffer_size(0)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Sends a packet, with its IP header.
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, &self.to).map(drop)
    }
}

/// Asks the VIP for a connection, with a SYN that is filled up to so many bytes.
pub(crate) async fn ask_through(
    through: &Through,
    vip: SocketAddr,
    len: u16,
) -> Result<(), Failure> {
    let asked = async {
        let own = own_address(vip)?;
        // Bound and never used: nobody else gets the port, and the kernel answers for nobody there.
        let held = Socket::new(Domain::for_address(vip), Type::STREAM, None)?;
        held.bind(&SocketAddr::new(own, 0).into())?;
        let port = held.local_addr()?.as_socket().map_or(0, |addr| addr.port());
        let from = SocketAddr::new(own, port);
        let syn = Syn { from, vip, number: number(), filled: Syn::filling(vip, len) };
        let answers = answers(&syn)?;
        let packet = syn.packet();
        through.send(&packet)?;
        match timeout(AGAIN, syn.answer(&answers)).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                through.send(&packet)?;
                syn.answer(&answers).await
            }
        }
    };
    match asked.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Refused),
        Err(error) => Err(Failure::of_connection(&error)),
    }
}

/// A sequence number that nobody can guess.
fn number() -> u32 {
    u32::from_be_bytes(Random::new().octets())
}

/// Packets are sent whole, whatever the kernel has heard of the path.
fn in_one_piece(tunnel: &Socket, end: IpAddr) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    match end {
        IpAddr::V4(_) => set_ip_mtu_discover(tunnel, Ipv4PathMtuDiscovery::PROBE)?,
        IpAddr::V6(_) => set_ipv6_mtu_discover(tunnel, Ipv6PathMtuDiscovery::PROBE)?,
    }
    Ok(())
}

/// The address that we have towards a VIP: no packet is sent to find out.
pub(crate) fn own_address(vip: SocketAddr) -> io::Result<IpAddr> {
    let socket = Socket::new(Domain::for_address(vip), Type::DGRAM, None)?;
    socket.connect(&vip.into())?;
    let own = socket.local_addr()?.as_socket();
    own.map(|own| own.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Hears TCP that comes from the VIP to our address. Tokio's type for UDP does with it what is done
/// with any socket of datagrams.
fn answers(syn: &Syn) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(syn.vip), Type::RAW, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(syn.from.ip(), 0).into())?;
    socket.connect(&SocketAddr::new(syn.vip.ip(), 0).into())?;
    UdpSocket::from_std(socket.into())
}

/// The first packet of a connection.
struct Syn {
    from: SocketAddr,
    vip: SocketAddr,
    number: u32,
    /// Octets of nothing behind the header.
    filled: u16,
}

impl Syn {
    /// What makes a SYN a packet of this length; nothing if it is as long without.
    fn filling(vip: SocketAddr, len: u16) -> u16 {
        len.saturating_sub(if vip.is_ipv4() { 40 } else { 60 })
    }

    /// With its IP header, of the VIP's version.
    fn packet(&self) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(TCP_HEADER_LEN);
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.vip.port().to_be_bytes());
        tcp.extend(self.number.to_be_bytes());
        tcp.extend([0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
        let (from, to) = (octets(self.from.ip()), octets(self.vip.ip()));
        let [high, low] = (20 + self.filled).to_be_bytes();
        let pseudo = [from.as_slice(), &to, &[0, TCP, high, low], &tcp].concat();
        put(&mut tcp, 16, checksum(&pseudo));
        tcp.resize(TCP_HEADER_LEN + usize::from(self.filled), 0);
        let mut packet = match self.vip {
            SocketAddr::V4(_) => {
                let [high, low] = (40 + self.filled).to_be_bytes();
                let start = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, TCP, 0, 0];
                let mut header = [start.as_slice(), &from, &to].concat();
                let sum = checksum(&header);
                put(&mut header, 10, sum);
                header
            }
            SocketAddr::V6(_) => {
                [[0x60, 0, 0, 0, high, low, TCP, 64].as_slice(), &from, &to].concat()
            }
        };
        packet.extend(tcp);
        packet
    }

    /// Whether the connection was taken (SYN-ACK) or refused (RST).
    async fn answer(&self, answers: &UdpSocket) -> io::Result<bool> {
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            let len = answers.recv(&mut packet).await?;
            if let Some(answer) = self.read(packet.get(..len).unwrap_or_default()) {
                return Ok(answer);
            }
        }
    }

    /// What a packet says to this SYN; `None`: nothing. Those of IPv4 come with their IP header.
    fn read(&self, packet: &[u8]) -> Option<bool> {
        let header_len = match self.vip {
            SocketAddr::V4(_) => usize::from(packet.first()? & 0x0f) * 4,
            SocketAddr::V6(_) => 0,
        };
        let tcp = packet.get(header_len..)?.first_chunk::<TCP_HEADER_LEN>()?;
        let &[s0, s1, d0, d1, _, _, _, _, a0, a1, a2, a3, _, flags, ..] = tcp;
        let is_ours = u16::from_be_bytes([s0, s1]) == self.vip.port()
            && u16::from_be_bytes([d0, d1]) == self.from.port()
            && [1, 1 + u32::from(self.filled)]
                .map(|taken| self.number.wrapping_add(taken))
                .contains(&u32::from_be_bytes([a0, a1, a2, a3]));
        match flags & (SYN | RST | ACK) {
            _ if !is_ours => None,
            both if both == SYN | ACK => Some(true),
            reset if reset & RST != 0 => Some(false),
            _ => None,
        }
    }
}

pub(crate) fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

pub(crate) fn put(octets: &mut [u8], at: usize, word: u16) {
    octets.iter_mut().skip(at).zip(word.to_be_bytes()).for_each(|(octet, new)| *octet = new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(own: &str, vip: &str) -> Syn {
        Syn {
            from: own.parse().unwrap(),
            vip: vip.parse().unwrap(),
            number: 0x0102_0304,
            filled: 0,
        }
    }

    #[test]
    fn a_syn_of_either_version_sums_up_to_nothing() {
        let v4 = syn("10.0.0.1:40000", "192.0.2.1:80");
        let packet = v4.packet();
        assert_eq!(packet.len(), 40);
        assert_eq!(checksum(&packet[..20]), 0);
        let pseudo = [&packet[12..20], &[0, 6, 0, 20], &packet[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(packet[20..28], [0x9c, 0x40, 0, 80, 1, 2, 3, 4]);

        let packet = syn("[fd00::1]:40000", "[2001:db8::1]:80").packet();
        assert_eq!(packet.len(), 60);
        let pseudo = [&packet[8..40], &[0, 6, 0, 20], &packet[40..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn a_syn_is_filled_up_to_the_length_that_is_asked_for() {
        for (own, vip) in [("10.0.0.1:40000", "192.0.2.1:80"), ("[fd00::1]:1", "[fd00::2]:80")] {
            let mut syn = syn(own, vip);
            syn.filled = Syn::filling(syn.vip, 1499);
            let packet = syn.packet();
            assert_eq!(packet.len(), 1499);
            let header = if syn.vip.is_ipv4() { 20 } else { 40 };
            let said = if syn.vip.is_ipv4() { &packet[2..4] } else { &packet[4..6] };
            let payload = u16::try_from(packet.len() - if header == 20 { 0 } else { 40 }).unwrap();
            assert_eq!(said, payload.to_be_bytes());
        }
        assert_eq!(Syn::filling("192.0.2.1:80".parse().unwrap(), 0), 0);
    }

    #[test]
    fn only_an_answer_to_our_own_syn_counts() {
        let ours = syn("10.0.0.1:40000", "192.0.2.1:80");
        let answer = |sport: u16, dport: u16, ack: u32, flags: u8| {
            let mut packet = vec![0x45];
            packet.resize(20, 0);
            packet.extend(sport.to_be_bytes());
            packet.extend(dport.to_be_bytes());
            packet.extend([0; 4]);
            packet.extend(ack.to_be_bytes());
            packet.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
            packet
        };
        let good = answer(80, 40_000, 0x0102_0305, SYN | ACK);
        let cases = [
            ("a SYN-ACK", good.clone(), Some(true)),
            ("a reset", answer(80, 40_000, 0x0102_0305, RST | ACK), Some(false)),
            ("of another connection", answer(80, 40_001, 0x0102_0305, SYN | ACK), None),
            ("from another port", answer(81, 40_000, 0x0102_0305, SYN | ACK), None),
            ("to an older SYN", answer(80, 40_000, 0x0102_0304, SYN | ACK), None),
            ("a mere acknowledgement", answer(80, 40_000, 0x0102_0305, ACK), None),
            ("cut off", good[..39].to_vec(), None),
            ("a header that says it is longer", [&[0x4f], &good[1..]].concat(), None),
            ("nothing", Vec::new(), None),
        ];
        for (name, packet, wanted) in cases {
            assert_eq!(ours.read(&packet), wanted, "{name}");
        }
        let v6 = syn("[fd00::1]:40000", "[2001:db8::1]:80");
        assert_eq!(v6.read(&good[20..]), Some(true), "without an IP header");
    }
}
