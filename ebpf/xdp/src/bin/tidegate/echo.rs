//! Answers ICMP echo for a VIP.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::Counter;
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Ethernet, Icmp, Ipv4, Ipv6, ones_add};

use crate::address::Address;
use crate::parse::Packet;

/// TTL or hop limit of an answer.
const FRESH_HOPS: u8 = 64;

/// Turns the request into its answer, in place: the way back is the way it came, VLAN tags, IP
/// options and payload stay.
#[inline(always)]
pub(crate) fn answer<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> Counter {
    match turn(ctx, packet) {
        Some(()) => Counter::EchoReply,
        None => Counter::DropMalformed,
    }
}

#[inline(always)]
fn turn<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> Option<()> {
    let start = Cursor::of(ctx);
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = start.peek::<Ethernet>()?.macs;
    { start }.put([s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5])?;

    let mut at = start;
    at.skip(packet.link_len);
    if A::ICMP == tidegate_abi::ip_proto::ICMP {
        turn_ipv4(at)?;
    } else {
        turn_ipv6(at)?;
    }

    let mut at = packet.payload;
    let mut icmp: Icmp = at.peek()?;
    // What the message loses its checksum gains (RFC 1624 §3). Added up this way it never becomes
    // a zero that does not verify, not even when all other bytes of the message are zero.
    let (old, new) = (u16::from(A::ECHO_REQUEST) << 8, u16::from(A::ECHO_REPLY) << 8);
    let lost = ones_add(old, !new);
    icmp.kind = A::ECHO_REPLY;
    icmp.checksum = ones_add(u16::from_be_bytes(icmp.checksum), lost).to_be_bytes();
    at.put(icmp)
}

#[inline(always)]
fn turn_ipv4(mut at: Cursor) -> Option<()> {
    let mut ip: Ipv4 = at.peek()?;
    let old = u16::from_be_bytes([ip.ttl, ip.proto]);
    ip.ttl = FRESH_HOPS;
    let new = u16::from_be_bytes([ip.ttl, ip.proto]);
    let sum = ones_add(ones_add(!u16::from_be_bytes(ip.checksum), !old), new);
    ip.checksum = (!sum).to_be_bytes();
    (ip.src, ip.dst) = (ip.dst, ip.src);
    at.put(ip)
}

#[inline(always)]
fn turn_ipv6(mut at: Cursor) -> Option<()> {
    let mut ip: Ipv6 = at.peek()?;
    ip.hop_limit = FRESH_HOPS;
    (ip.src, ip.dst) = (ip.dst, ip.src);
    at.put(ip)
}
