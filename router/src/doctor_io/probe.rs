//! Probes of one way to a backend: as packets of clients come there, and how large they may be.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;

use socket2::{Domain, Socket, Type};
use tidegate_plan::doctor::{BackendFacts, Clients, Mode, Probed, Size};
use tokio::time::timeout;

use super::CLIENT_MTU;
use super::syn::{Through, ask_through, octets, own_address, put};
use super::sys::on_link;
use crate::health_io::Failure;
use crate::health_io::probe::icmp::{self, NONCE_BYTES, checksum};
use crate::health_io::random::Random;

/// An answer comes within this time, or is lost.
const ANSWER_WITHIN: Duration = Duration::from_millis(600);
/// How often a probe is sent before its answer counts as lost.
const ATTEMPTS: usize = 2;
/// Room for an answer: we look at its head only.
const PACKET_BYTES_MAX: usize = 256;
/// How exactly the largest packet is found out, in bytes.
const EXACT_TO: u16 = 1;
/// Smaller packets are not tried: the smallest MTU of IPv4.
const SMALLEST: u16 = 68;

/// Asks all that is to be asked of this way, out of this interface if the backend is on its link.
/// Each question only if the one before leaves it open.
pub(super) async fn ask(facts: &mut BackendFacts, ifindex: Option<u32>) {
    let Ok(mtu) = facts.way else { return };
    let Some((how, overhead)) = how(facts, ifindex) else { return };
    let largest = mtu.saturating_sub(overhead).min(CLIENT_MTU);
    let way = Way { facts, how };
    let small = way.client(0).await;
    let mut own = None;
    let mut ping = None;
    let mut size = None;
    match small {
        Probed::Answered => size = way.size(largest).await,
        Probed::Silent => {
            if let How::Tunnel { .. } = how {
                own = Some(way.echo(facts.addr, 0).await);
            }
            if own != Some(Probed::Answered) {
                ping = Some(answer(icmp::ask(facts.addr, None)).await);
            }
        }
        Probed::NotSent(_) => {}
    }
    facts.as_client = Some(small);
    (facts.own_in_tunnel, facts.ping, facts.size) = (own, ping, size);
}

/// How packets of clients come to the backend, and bytes that are put around them; `None`: in a way that
/// only the packet path has.
fn how(facts: &BackendFacts, ifindex: Option<u32>) -> Option<(How, u16)> {
    match facts.mode {
        Mode::Tunnel { overhead, gue_port } => Some((How::Tunnel { gue_port }, overhead)),
        Mode::L2 if facts.gateway.is_none() => {
            Some((How::Link { ifindex: ifindex?, mac: facts.mac? }, 0))
        }
        Mode::L2 | Mode::Nat => None,
    }
}

#[derive(Clone, Copy)]
enum How {
    Tunnel { gue_port: Option<u16> },
    Link { ifindex: u32, mac: [u8; 6] },
}

impl How {
    /// For packets of the VIP's IP version.
    fn open(self, backend: IpAddr, is_v4: bool, whole: bool) -> io::Result<Through> {
        match self {
            Self::Tunnel { gue_port } => Through::tunnel(backend, is_v4, gue_port, whole),
            Self::Link { ifindex, mac } => {
                let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
                Through::of(socket, on_link(ifindex, mac, is_v4)?)
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Way<'a> {
    facts: &'a BackendFacts,
    how: How,
}

impl Way<'_> {
    /// A packet as clients send it, of this length if that is more than it needs.
    async fn client(self, len: u16) -> Probed {
        let BackendFacts { addr, vip, clients, .. } = *self.facts;
        let Clients::Tcp(port) = clients else { return self.echo(vip, len).await };
        let through = match self.how.open(addr, vip.is_ipv4(), len > 0) {
            Ok(through) => through,
            Err(error) => return not_sent(&error),
        };
        let vip = SocketAddr::new(vip, port);
        for _ in 1..ATTEMPTS {
            let asked = answer(ask_through(&through, vip, len)).await;
            if asked != Probed::Silent {
                return asked;
            }
        }
        answer(ask_through(&through, vip, len)).await
    }

    /// A ping of `to`.
    async fn echo(self, to: IpAddr, len: u16) -> Probed {
        let mut asked = Probed::Silent;
        for _ in 0..ATTEMPTS {
            asked = match timeout(ANSWER_WITHIN, self.echo_once(to, len)).await {
                Ok(Ok(())) => return Probed::Answered,
                Ok(Err(error)) => return not_sent(&error),
                Err(_elapsed) => Probed::Silent,
            };
        }
        asked
    }

    async fn echo_once(self, to: IpAddr, len: u16) -> io::Result<()> {
        let own = own_address(SocketAddr::new(to, 9))?;
        let nonce: [u8; NONCE_BYTES] = Random::new().octets();
        let answers = icmp::open(to)?;
        let through = self.how.open(self.facts.addr, to.is_ipv4(), true)?;
        through.send(&echo(own, to, &nonce, len))?;
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            // What is longer than the room for it is cut off, and begins all the same.
            let len = answers.recv(&mut packet).await?;
            if icmp::is_reply(to, packet.get(..len).unwrap_or_default(), &nonce) {
                return Ok(());
            }
        }
    }

    /// How large packets may be, up to `largest`; `None`: it could not be tried.
    async fn size(self, largest: u16) -> Option<Size> {
        match self.client(largest).await {
            Probed::Answered => return Some(Size { tried: largest, answered: largest }),
            Probed::Silent => {}
            Probed::NotSent(_) => return None,
        }
        let (mut fits, mut lost) = (SMALLEST.min(largest), largest);
        while lost.saturating_sub(fits) > EXACT_TO {
            let middle = fits.midpoint(lost);
            match self.client(middle).await {
                Probed::Answered => fits = middle,
                Probed::Silent => lost = middle,
                Probed::NotSent(_) => return None,
            }
        }
        Some(Size { tried: largest, answered: fits })
    }
}

/// What a question in the manner of a health check came to. A refusal is an answer.
async fn answer(asked: impl Future<Output = Result<(), Failure>>) -> Probed {
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(()) | Err(Failure::Refused)) => Probed::Answered,
        Ok(Err(Failure::NotAsked(kind))) => Probed::NotSent(kind.to_string()),
        Ok(Err(_)) | Err(_) => Probed::Silent,
    }
}

fn not_sent(error: &io::Error) -> Probed {
    match error.kind() {
        io::ErrorKind::HostUnreachable | io::ErrorKind::ConnectionRefused => Probed::Silent,
        _ => Probed::NotSent(error.to_string()),
    }
}

/// An echo request with its IP header, filled up to `len` bytes if that is more.
fn echo(from: IpAddr, to: IpAddr, nonce: &[u8; NONCE_BYTES], len: u16) -> Vec<u8> {
    let (header_len, protocol) = if to.is_ipv4() { (20, 1) } else { (40, 58) };
    let mut icmp = icmp::request(to, nonce);
    // An even number, so that the sum need not know where it ends.
    let wanted = usize::from(len).saturating_sub(header_len) & !1;
    icmp.resize(icmp.len().max(wanted), 0);
    let (from, to_octets) = (octets(from), octets(to));
    let [high, low] = u16::try_from(icmp.len()).unwrap_or(u16::MAX).to_be_bytes();
    if to.is_ipv4() {
        // Filled up with nothing, the sum that the request has is still right.
        let total = u16::try_from(icmp.len() + header_len).unwrap_or(u16::MAX).to_be_bytes();
        let start = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
        let mut header = [start.as_slice(), &from, &to_octets].concat();
        let sum = checksum(&header);
        put(&mut header, 10, sum);
        [header, icmp].concat()
    } else {
        let pseudo = [&*from, &to_octets, &[0, 0, high, low, 0, 0, 0, protocol], &icmp].concat();
        let sum = checksum(&pseudo);
        put(&mut icmp, 2, sum);
        let start = [0x60, 0, 0, 0, high, low, protocol, 64];
        [start.as_slice(), &from, &to_octets, &icmp].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_has_its_length_and_sums_up_to_nothing() {
        let nonce = *b"0123456789ab";
        for (from, to) in [("10.0.0.1", "192.0.2.10"), ("fd00::1", "2001:db8::1")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for (len, wanted) in
                [(0, if to.is_ipv4() { 36 } else { 56 }), (1500, 1500), (1401, 1400)]
            {
                let packet = echo(from, to, &nonce, len);
                assert_eq!(packet.len(), wanted, "{to} {len}");
                let header = if to.is_ipv4() { 20 } else { 40 };
                let icmp = &packet[header..];
                if to.is_ipv4() {
                    assert_eq!((checksum(&packet[..20]), checksum(icmp)), (0, 0));
                } else {
                    let len = u16::try_from(icmp.len()).unwrap().to_be_bytes();
                    let pseudo = [&packet[8..40], &[0, 0, len[0], len[1], 0, 0, 0, 58], icmp];
                    assert_eq!(checksum(&pseudo.concat()), 0);
                }
            }
        }
    }
}
