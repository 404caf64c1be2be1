//! Services that go by the connection ids of QUIC: a server names itself in the ids that it gives
//! out (draft-ietf-quic-load-balancers, without encryption), so a client that comes from another
//! address reaches it again. No state: what names nobody goes by the hash.
//!
//! Only what all versions of QUIC have in common is looked at (RFC 8999 §5).

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    Counter, QuicKey, Service, backend_flags, features, ip_proto, rare as rows, server_id_len,
    server_id_of, service_flags,
};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{QuicLong, Udp};

use crate::address::Address;
use crate::maps::{BACKENDS, QUIC_SERVERS};
use crate::parse::{OFFSET_MASK, Packet, Transport};
use crate::{config, rare};

/// Whether the service goes by connection ids.
#[inline(always)]
pub(crate) fn is_wanted(service: &Service) -> bool {
    config::has::<{ features::QUIC }>(service.flags) && service.flags & service_flags::QUIC != 0
}

/// A packet of such a service, in the program for all packets: it goes on in another one, so that this
/// one needs to remember nothing for it. A proof copy has no other: it goes by the hash, as its own
/// packets do, which have no connection id.
#[inline(always)]
pub(crate) fn enter(ctx: &XdpContext) -> Result<u32, Counter> {
    rare::go_on(ctx, rows::OUTER);
    if config::is_proof(0) { Ok(0) } else { Err(Counter::DropNoProgram) }
}

/// The index of the backend that the packet's connection id names; 0: none that can be reached.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an index")]
pub(crate) fn named<A: Address>(ctx: &XdpContext, packet: &Packet<A>, service: &Service) -> u32 {
    if let Some(named) = packet.named {
        return reachable(named as u32);
    }
    if packet.flow.proto != ip_proto::UDP || !matches!(packet.transport, Transport::Ports { .. }) {
        return 0;
    }
    let mut at = packet.payload;
    let offset = at.settle::<OFFSET_MASK>(ctx);
    let room = (packet.link_len + packet.ip_len).saturating_sub(offset);
    of_datagram(at, room, service)
}

/// The backend of the UDP datagram that stands here, of which the IP packet holds `room` bytes.
#[inline(never)]
fn of_datagram(mut at: Cursor, room: usize, service: &Service) -> u32 {
    let Some(Found { start, len }) = connection_id(&mut at, room) else { return 0 };
    let [first, _] = start;
    let id_len = server_id_len(service.flags, (first >> 61) as u32);
    if len <= id_len {
        return 0; // It has no room for a server id.
    }
    let [high, low] = server_id_of(start, id_len);
    let [s0, s1, s2, s3] = service.index.to_ne_bytes();
    let words = [u64::from_ne_bytes([s0, s1, s2, s3, 0, 0, 0, 0]), high.to_be(), low.to_be()];
    // SAFETY: 24 bytes without padding, of which any value is valid; both are aligned to 8.
    let key = unsafe { core::mem::transmute::<[u64; 3], QuicKey>(words) };
    // SAFETY: a word is read whole; the daemon removes an entry before its backend.
    let index = unsafe { QUIC_SERVERS.get(key) }.copied().unwrap_or(0);
    reachable(index)
}

/// Where a packet has its connection id.
struct Found {
    /// The first sixteen octets from its start on.
    start: [u64; 2],
    /// How many are its own, where the header says so; more than a server id has otherwise.
    len: u32,
}

/// The connection id; `None`: there are no sixteen octets from its start on.
///
/// A short header does not say how long the id is. Fewer octets than these are no packet of QUIC's:
/// behind the id stand at least twenty, of which a sample protects the header (RFC 9001 §5.4.2).
#[inline(always)]
fn connection_id(at: &mut Cursor, room: usize) -> Option<Found> {
    const LONG: u8 = 0x80;
    const ID: usize = 16;
    let udp: Udp = at.take()?;
    let len = usize::from(u16::from_be_bytes(udp.len)).min(room);
    let first: QuicLong = at.peek()?;
    let (header_len, id_len) = if first.form & LONG == 0 {
        (1, u32::MAX)
    } else {
        (size_of::<QuicLong>(), first.id_len.into())
    };
    if size_of::<Udp>() + header_len + ID > len {
        return None;
    }
    at.skip(header_len);
    Some(Found { start: at.peek_words()?, len: id_len })
}

/// This backend, if frames can be sent to it; 0 otherwise.
#[inline(always)]
fn reachable(index: u32) -> u32 {
    match BACKENDS.get(index) {
        Some(backend) if backend.flags & backend_flags::RESOLVED != 0 => index,
        _ => 0,
    }
}
