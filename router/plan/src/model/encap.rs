//! What a frame looks like when it leaves.

use core::net::IpAddr;

use tidegate_abi::{Backend, Counter, DatapathConfig, backend_flags, backend_kinds, features};

use super::{Packet, gue};

/// A frame in its backend's headers.
pub(super) struct Wrapped {
    /// The frame; in GUE without a checksum.
    pub(super) frame: Vec<u8>,
    /// Where the outer IP header of GUE starts, if its UDP header shall have a checksum.
    pub(super) lacks_checksum: Option<usize>,
}

/// What stands between the link layer and the packet.
pub(super) struct Outer {
    ether_type: [u8; 2],
    ip_len: usize,
    has_udp: bool,
}

impl Outer {
    /// Its length in bytes.
    pub(super) const fn len(&self) -> usize {
        self.ip_len + if self.has_udp { gue::HEADER_LEN } else { 0 }
    }
}

/// The frame in the backend's headers; what stands behind the IP packet stays behind it. `hash` is
/// that of the packet's flow.
pub(super) fn wrap(
    frame: &[u8],
    packet: &Packet,
    backend: &Backend,
    hash: u32,
    constants: &DatapathConfig,
) -> Result<Wrapped, Counter> {
    let outer = outer(packet, backend, constants.features).ok_or(Counter::DropUnresolved)?;
    if packet.ip_len + outer.len() > usize::from(backend.mtu) {
        return Err(Counter::DropTooBig);
    }
    let mut out = backend.macs.to_vec();
    if backend.vlan_tci != [0; 2] {
        out.extend([0x81, 0x00]);
        out.extend(backend.vlan_tci);
    }
    out.extend(outer.ether_type);
    let ip_at = out.len();
    out.extend(ip_header(packet, backend, &outer, hash, constants));
    let wants_checksum = constants.features & features::GUE_CHECKSUM != 0
        && backend.flags & backend_flags::CHECKSUM != 0;
    if outer.has_udp {
        out.extend(gue::header(packet, backend, hash));
    }
    out.extend(frame.get(packet.ip_at..).unwrap_or_default());
    let lacks_checksum = (outer.has_udp && wants_checksum).then_some(ip_at);
    Ok(Wrapped { frame: out, lacks_checksum })
}

/// The outer IP header: the entry's, with the length and the flow's bits of the source.
fn ip_header(
    packet: &Packet,
    backend: &Backend,
    outer: &Outer,
    hash: u32,
    constants: &DatapathConfig,
) -> Vec<u8> {
    let mut header: Vec<u8> = backend.ip.iter().copied().take(outer.ip_len).collect();
    let total = u16::try_from(packet.ip_len + outer.len()).unwrap_or(u16::MAX);
    let varied = |feature: u64, open: u32| {
        let varies =
            backend.flags & backend_flags::VARIED != 0 && constants.features & feature != 0;
        if varies { hash & open } else { 0 }
    };
    match outer.ip_len {
        20 => {
            put(&mut header, 2, total);
            // The entry's checksum may be anything: the program adds to it, and so do we.
            let checksum = get(&header, 10).unwrap_or_default();
            let more = set_bits(&mut header, 12, varied(features::VARY_V4, constants.vary_v4));
            put(&mut header, 10, !sum([!checksum, total, more[0], more[1]]));
        }
        40 => {
            put(&mut header, 4, total.saturating_sub(40));
            set_bits(&mut header, 20, varied(features::VARY_V6, constants.vary_v6));
        }
        _ => {}
    }
    header
}

/// Sets bits of the four bytes here; returns, as two words, those that were not set before.
fn set_bits(bytes: &mut [u8], at: usize, bits: u32) -> [u16; 2] {
    let [high, low] = [bits >> 16, bits & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
    let mut set = |at: usize, bits: u16| {
        let before = get(bytes, at).unwrap_or_default();
        put(bytes, at, before | bits);
        bits & !before
    };
    [set(at, high), set(at + 2, low)]
}

/// What goes around a packet to this backend; `None` for one of the other family.
pub(super) fn outer(packet: &Packet, backend: &Backend, wanted: u64) -> Option<Outer> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    let has_udp = backend.kind & backend_kinds::GUE != 0;
    let kind = backend.kind & !backend_kinds::GUE;
    let is_tunnel = kind < backend_kinds::L2;
    if has_udp && !(is_tunnel && wanted & features::GUE != 0) {
        return None;
    }
    let (ether_type, ip_len) = match (kind, packet.flow.dst.is_ipv4()) {
        (backend_kinds::IPV4_IN_IPV4, true) | (backend_kinds::IPV6_IN_IPV4, false) => (IPV4, 20),
        (backend_kinds::IPV4_IN_IPV6, true) | (backend_kinds::IPV6_IN_IPV6, false) => (IPV6, 40),
        (backend_kinds::L2, true) => (IPV4, 0),
        (backend_kinds::L2, false) => (IPV6, 0),
        (backend_kinds::NAT_V4, true) if wanted & features::NAT != 0 => (IPV4, 0),
        (backend_kinds::NAT_V6, false) if wanted & features::NAT != 0 => (IPV6, 0),
        _ => return None,
    };
    Some(Outer { ether_type, ip_len, has_udp })
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
