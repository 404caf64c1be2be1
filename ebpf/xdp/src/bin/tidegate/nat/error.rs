//! ICMP errors about packets of a connection, in both directions: who gets one sees the packet
//! that it has sent itself (RFC 5508 §4.2). The error comes from our side of the connection, as
//! everything else does: networks drop what comes from elsewhere.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, ip_proto, service_flags};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Icmp, ones_add};

use super::family::Family;
use super::translate::{TCP_CHECKSUM_AT, Translation, UDP_CHECKSUM_AT, of_udp, updated};
use super::{is_expired, link, resolved};
use crate::maps::{NAT_ANSWERS, NAT_FLOWS};
use crate::parse::{OFFSET_MASK, Packet, QUOTED_MASK};
use crate::pick::Picked;
use crate::{count, encap, send, service};

/// What an error quotes, and where.
struct Quoted {
    /// The IP header.
    ip: Cursor,
    /// Bytes of the error from there on.
    room: usize,
    proto: u8,
}

/// Sends an error on.
#[inline(always)]
pub(crate) fn error<A: Family>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Counter, Counter> {
    let mut at = packet.payload;
    at.skip(size_of::<Icmp>());
    let offset = at.settle::<OFFSET_MASK>(ctx);
    let room = (packet.link_len + packet.ip_len).saturating_sub(offset);
    let own = service::vip(packet.flow.dst, packet.flow.proto.into()).map_or(0, |own| own.flags);
    let is_answer = own & service_flags::NAT_SOURCE != 0;
    // Of what comes to an address of this host, the kernel has what is not for a client.
    let unknown = if is_answer { Counter::PassNotOurs } else { Counter::DropNatUnknown };
    let flow = A::quoted(ctx, at, room).ok_or(unknown)?;
    if flow.dst.flow_addr() != packet.flow.dst.flow_addr() {
        return Err(unknown);
    }
    let quoted = Quoted { ip: at, room, proto: flow.proto };
    let key = flow.key();
    if is_answer {
        // SAFETY: plain bytes; if the entry becomes another connection's, the error goes astray.
        let answer = unsafe { NAT_ANSWERS.get(key) }.ok_or(unknown)?;
        if is_expired(ctx, packet) {
            return Err(Counter::DropExpired);
        }
        translate(ctx, packet, &quoted, &Translation::of_answer(answer)).ok_or(unknown)?;
        let verdict = link::send_back(ctx, packet.link_len, answer)?;
        count::event(Counter::IcmpErrorForwarded);
        return Ok(verdict);
    }
    // SAFETY: as above.
    let flow = unsafe { NAT_FLOWS.get(key) }.ok_or(unknown)?;
    let backend = resolved::<A>(flow.backend)?;
    if packet.ip_len > usize::from(backend.mtu) {
        return Err(Counter::DropTooBig); // No error is sent about an error (RFC 1122 §3.2.2).
    }
    if is_expired(ctx, packet) {
        return Err(Counter::PassExpired);
    }
    translate(ctx, packet, &quoted, &Translation::of_flow(flow)).ok_or(unknown)?;
    let (service, index) = (flow.service, flow.backend);
    encap::wrap::<A, false>(ctx, packet, &Picked { index, backend, hash: 0 })?;
    let verdict = send::towards(ctx, backend.egress_ifindex)?;
    count::forwarded(service, index, packet.frame_len);
    count::event(Counter::IcmpErrorForwarded);
    Ok(verdict)
}

/// Translates the error, and the packet in it, which went the other way: its source is what the
/// error's destination is. Nothing is changed if that is not possible.
#[inline(always)]
fn translate<A: Family>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    quoted: &Quoted,
    to: &Translation<A>,
) -> Option<()> {
    let header_len = A::quoted_header_len(quoted.ip, quoted.proto)?;
    let mut transport = quoted.ip;
    transport.skip(header_len);
    transport.settle::<QUOTED_MASK>(ctx);
    let room = quoted.room.checked_sub(header_len)?;
    let icmp: Icmp = packet.payload.peek()?;
    let _ports: [u8; 8] = transport.peek()?;

    // What the addresses add, the transport checksum takes away with what the ports add.
    let mut added = A::requote(quoted.ip, to.dst, to.src, to.address_sum)?;
    added = ones_add(added, ones_add(to.transport_sum, !to.address_sum));
    let [s0, s1, d0, d1] = to.ports;
    transport.put_at(0, [d0, d1, s0, s1])?;
    if quoted.proto == ip_proto::UDP {
        let mut at = transport;
        at.skip(UDP_CHECKSUM_AT);
        let before: [u8; 2] = at.peek()?;
        let after = of_udp(before, to.transport_sum);
        at.put(after)?;
        added = ones_add(added, changed(before, after));
    } else if room >= TCP_CHECKSUM_AT + 2 {
        let mut at = transport;
        at.skip(TCP_CHECKSUM_AT);
        if let Some(before) = at.peek::<[u8; 2]>() {
            let after = updated(before, to.transport_sum).to_be_bytes();
            at.put(after)?;
            added = ones_add(added, changed(before, after));
        }
    }

    let before = ones_add(!packet.flow.src.sum(), !packet.flow.dst.sum());
    let address_sum = ones_add(before, ones_add(to.src.sum(), to.dst.sum()));
    added = ones_add(added, A::of_pseudo_header(address_sum));
    let checksum = updated(icmp.checksum, added).to_be_bytes();
    { packet.payload }.put(Icmp { checksum, ..icmp })?;
    let mut ip = Cursor::of(ctx);
    ip.skip(packet.link_len);
    A::pass_on(ip, to.src, to.dst, address_sum)
}

/// What a word that was written adds to a sum.
#[inline(always)]
fn changed(before: [u8; 2], after: [u8; 2]) -> u16 {
    ones_add(!u16::from_be_bytes(before), u16::from_be_bytes(after))
}
