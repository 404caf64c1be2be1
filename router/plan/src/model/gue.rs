//! The UDP header of GUE, variant 1 (draft-ietf-intarea-gue §4): the packet follows at once.

use tidegate_abi::{Backend, ip_proto};

use super::Packet;
use super::encap::{get, put, sum};

/// Bytes of a UDP header.
pub(super) const HEADER_LEN: usize = 8;

/// The header in front of a packet, without a checksum. Its source port, one of the dynamic ones
/// (RFC 6335 §6), is the flow's own.
pub(super) fn header(packet: &Packet, backend: &Backend, hash: u32) -> Vec<u8> {
    let mut header = vec![0; HEADER_LEN];
    let of_hash = u16::try_from(hash >> 16).unwrap_or_default();
    put(&mut header, 0, 0xc000 | of_hash ^ packet.flow.src_port);
    let [high, low] = backend.gue_port;
    put(&mut header, 2, u16::from_be_bytes([high, low]));
    put(&mut header, 4, u16::try_from(HEADER_LEN + packet.ip_len).unwrap_or(u16::MAX));
    header
}

/// Writes the checksum of RFC 768, over the pseudo header and all that UDP carries, into a frame
/// whose outer IP header starts here. `None` if the frame does not hold what its lengths say.
pub(super) fn write_checksum(frame: &mut [u8], ip_at: usize) -> Option<()> {
    let (addresses, udp_at) = match frame.get(ip_at.checked_sub(2)?..ip_at)? {
        [0x08, 0x00] => (ip_at + 12..ip_at + 20, ip_at + 20),
        _ => (ip_at + 8..ip_at + 40, ip_at + 40),
    };
    let len = get(frame, udp_at + 4)?;
    let datagram = frame.get(udp_at..udp_at + usize::from(len))?;
    let covered = words(frame.get(addresses)?).chain([u16::from(ip_proto::UDP), len]);
    let checksum = !sum(covered.chain(words(datagram)));
    // Zero would say that there is none.
    put(frame, udp_at + 6, if checksum == 0 { u16::MAX } else { checksum });
    Some(())
}

/// Words, of which the last one may lack its second byte.
fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks(2).map(|word| match *word {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    })
}
