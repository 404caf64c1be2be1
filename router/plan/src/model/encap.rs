//! What a frame looks like when it leaves.

use core::net::IpAddr;

use tidegate_abi::{Backend, Counter, backend_kinds, features};

use super::Packet;

/// The frame in the backend's headers; what stands behind the IP packet stays behind it.
pub(super) fn wrap(
    frame: &[u8],
    packet: &Packet,
    backend: &Backend,
    wanted: u64,
) -> Result<Vec<u8>, Counter> {
    let (ether_type, outer_len) = outer(packet, backend, wanted).ok_or(Counter::DropUnresolved)?;
    let outer_total = packet.ip_len + outer_len;
    if outer_total > usize::from(backend.mtu) {
        return Err(Counter::DropTooBig);
    }
    let mut out = backend.macs.to_vec();
    if backend.vlan_tci != [0; 2] {
        out.extend([0x81, 0x00]);
        out.extend(backend.vlan_tci);
    }
    out.extend(ether_type);
    let mut outer: Vec<u8> = backend.ip.iter().copied().take(outer_len).collect();
    match outer_len {
        20 => {
            put(&mut outer, 2, u16::try_from(outer_total).unwrap_or(u16::MAX));
            put(&mut outer, 10, 0);
            // The entry's checksum may be anything: the program adds to it, and so do we.
            let [.., high, low] = *backend.ip.first_chunk::<12>().unwrap_or(&[0; 12]);
            let len = u16::try_from(outer_total).unwrap_or(u16::MAX);
            put(&mut outer, 10, !sum([!u16::from_be_bytes([high, low]), len]));
        }
        40 => put(&mut outer, 4, u16::try_from(packet.ip_len).unwrap_or(u16::MAX)),
        _ => {}
    }
    out.extend(outer);
    out.extend(frame.get(packet.ip_at..).unwrap_or_default());
    Ok(out)
}

/// Ether type and length of what goes around a packet to this backend; `None` for one of the other
/// family.
pub(super) fn outer(packet: &Packet, backend: &Backend, wanted: u64) -> Option<([u8; 2], usize)> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    match (backend.kind, packet.flow.dst.is_ipv4()) {
        (backend_kinds::IPV4_IN_IPV4, true) | (backend_kinds::IPV6_IN_IPV4, false) => {
            Some((IPV4, 20))
        }
        (backend_kinds::IPV4_IN_IPV6, true) | (backend_kinds::IPV6_IN_IPV6, false) => {
            Some((IPV6, 40))
        }
        (backend_kinds::L2, true) => Some((IPV4, 0)),
        (backend_kinds::L2, false) => Some((IPV6, 0)),
        (backend_kinds::NAT_V4, true) if wanted & features::NAT != 0 => Some((IPV4, 0)),
        (backend_kinds::NAT_V6, false) if wanted & features::NAT != 0 => Some((IPV6, 0)),
        _ => None,
    }
}

/// The answer to an echo request (RFC 792, RFC 4443 §4.2): back the way it came, everything else as
/// it was. `None` if the frame does not hold what it was parsed from.
pub(super) fn echo_reply(frame: &[u8], packet: &Packet) -> Option<Vec<u8>> {
    /// TTL or hop limit of an answer.
    const HOPS: u8 = 64;
    let mut out = frame.to_vec();
    swap(&mut out, 0, 6, 6)?;
    let (addresses_at, addr_len, reply, request) = match packet.flow.dst {
        IpAddr::V4(_) => (packet.ip_at + 12, 4, 0_u16, 8_u16),
        IpAddr::V6(_) => (packet.ip_at + 8, 16, 129, 128),
    };
    swap(&mut out, addresses_at, addresses_at + addr_len, addr_len)?;
    if packet.flow.dst.is_ipv4() {
        // HC' = ~(~HC + ~m + m') (RFC 1624 §3).
        let old = get(&out, packet.ip_at + 8)?;
        *out.get_mut(packet.ip_at + 8)? = HOPS;
        let new = get(&out, packet.ip_at + 8)?;
        let checksum = get(&out, packet.ip_at + 10)?;
        put(&mut out, packet.ip_at + 10, !sum([!checksum, !old, new]));
    } else {
        *out.get_mut(packet.ip_at + 7)? = HOPS;
    }
    let at = packet.transport_at;
    // The type's word goes from request to reply; what it loses, the checksum gains.
    let lost = sum([request << 8, !(reply << 8)]);
    let checksum = get(&out, at + 2)?;
    put(&mut out, at + 2, sum([checksum, lost]));
    *out.get_mut(at)? = u8::try_from(reply).ok()?;
    Some(out)
}

/// The one's complement sum of words (RFC 1071).
pub(super) fn sum(words: impl IntoIterator<Item = u16>) -> u16 {
    words.into_iter().fold(0, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

pub(super) fn get(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&word| u16::from_be_bytes(word))
}

pub(super) fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(to) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *to = word.to_be_bytes();
    }
}

/// Exchanges `len` bytes at two places that do not overlap.
pub(super) fn swap(bytes: &mut [u8], first: usize, second: usize, len: usize) -> Option<()> {
    let (head, tail) = bytes.split_at_mut_checked(second)?;
    let (a, b) = (head.get_mut(first..first + len)?, tail.get_mut(..len)?);
    a.swap_with_slice(b);
    Some(())
}
