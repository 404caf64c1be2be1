//! The answer to a packet that does not fit after encapsulation: ICMP "fragmentation needed"
//! (RFC 792, RFC 1191 §4), ICMPv6 "packet too big" (RFC 4443 §3.2), from the VIP.

use core::net::IpAddr;

use tidegate_abi::Backend;

use super::Packet;
use super::encap::{outer, put, sum, swap};

/// The answer; `None`: there is none to such a packet.
pub(super) fn too_big(
    frame: &[u8],
    packet: &Packet,
    backend: &Backend,
    without_df: bool,
    features: u64,
) -> Option<Vec<u8>> {
    let outer = outer(packet, backend, features)?;
    let mtu = backend.mtu.checked_sub(u16::try_from(outer.len()).ok()?)?;
    let ip = frame.get(packet.ip_at..)?;
    let mut link = frame.get(..packet.ip_at)?.to_vec();
    swap(&mut link, 0, 6, 6)?;
    let message = match (packet.flow.dst, packet.flow.src) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let has_df = ip.get(6)? & 0x40 != 0;
            if mtu < 68 || !(has_df || without_df) {
                return None;
            }
            let quoted = ip.get(..if packet.ip_len >= 548 { 548 } else { 68 })?;
            let mut header = vec![0x45, 0xc0, 0, 0, 0, 0, 0x40, 0, 64, 1, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            put(&mut header, 2, u16::try_from(28 + quoted.len()).ok()?);
            let checksum = !sum(words(&header));
            put(&mut header, 10, checksum);
            [header, icmp([3, 4], mtu, quoted, &[])].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            if mtu < 1_280 {
                return None;
            }
            let quoted = ip.get(..1_232)?;
            let mut header = vec![0x60, 0, 0, 0, 0, 0, 58, 64];
            put(&mut header, 4, u16::try_from(8 + quoted.len()).ok()?);
            header.extend(from.octets());
            header.extend(to.octets());
            // The pseudo header of RFC 8200 §8.1: addresses, length and next header.
            let mut pseudo = header.get(8..)?.to_vec();
            pseudo.extend(header.get(4..6)?);
            pseudo.extend([0, 58]);
            [header, icmp([2, 0], mtu, quoted, &pseudo)].concat()
        }
        _ => return None,
    };
    Some([link, message].concat())
}

/// An ICMP message of this type and code, whose checksum covers a pseudo header, too.
fn icmp([kind, code]: [u8; 2], mtu: u16, quoted: &[u8], pseudo: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    put(&mut message, 6, mtu);
    message.extend(quoted);
    let checksum = !sum(words(&message).chain(words(pseudo)));
    put(&mut message, 2, checksum);
    message
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let (words, _) = bytes.as_chunks::<2>();
    words.iter().map(|&word| u16::from_be_bytes(word))
}
