//! Answers packets that do not fit after encapsulation: ICMP "fragmentation needed" (RFC 792,
//! RFC 1191 §4), ICMPv6 "packet too big" (RFC 4443 §3.2). The answer comes from the VIP, which is
//! the one address of ours that the client's filters are sure to know.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, Limit, features, ip_proto, rare};
use tidegate_xdp::wire::{Ethernet, Icmp, Ipv4, Ipv6, fold, ones_add};
use tidegate_xdp::{Cursor, resize};

use crate::address::{V4, V6};
use crate::encap::Outer;
use crate::parse::Packet;
use crate::{config, fragment, limit, nat, pick, rare as programs, service};

/// The smallest MTU there is (RFC 791, RFC 8200 §5): no sender goes below it.
const MTU_MIN_V4: usize = 68;
const MTU_MIN_V6: usize = 1_280;
/// What is quoted: as much as an answer of 576 bytes holds (RFC 1812 §4.3.2.3), or one of 1280
/// (RFC 4443 §2.4). A packet that is too big is longer, but for IPv4 over odd links.
const QUOTED_V4: usize = 576 - 28;
const QUOTED_V4_MIN: usize = MTU_MIN_V4;
const QUOTED_V6: usize = 1_280 - 48;
/// TTL or hop limit of an answer.
const HOPS: u8 = 64;
/// Precedence "internetwork control" (RFC 1812 §4.3.2.5).
const CONTROL: u8 = 0xc0;

/// The verdict where a packet turns out to be too big: dropped, unless the program that answers
/// is there and goes on.
#[inline(always)]
pub(crate) fn refuse(ctx: &XdpContext) -> Counter {
    if config::has::<{ features::TOO_BIG }>(0) {
        programs::go_on(ctx, rare::TOO_BIG);
    }
    Counter::DropTooBig
}

/// Answers an IPv4 packet, one that may be fragmented only if that is wanted.
#[inline(always)]
pub(crate) fn answer_v4(ctx: &XdpContext, packet: &Packet<V4>) -> Result<Counter, Counter> {
    let mtu = mtu_for(ctx, packet)?;
    let mut ip = Cursor::of(ctx);
    ip.skip(packet.link_len);
    let ip: Ipv4 = ip.peek().ok_or(Counter::DropTooBig)?;
    if !ip.is_unfragmentable() && !config::has::<{ features::TOO_BIG_WITHOUT_DF }>(mtu.into()) {
        return Err(Counter::DropTooBig);
    }
    may_answer(mtu, MTU_MIN_V4)?;
    let answered = if packet.ip_len >= QUOTED_V4 {
        write_v4::<QUOTED_V4>(ctx, packet, mtu)
    } else {
        write_v4::<QUOTED_V4_MIN>(ctx, packet, mtu)
    };
    answered.ok_or(Counter::DropTooBig)
}

/// Answers an IPv6 packet.
#[inline(always)]
pub(crate) fn answer_v6(ctx: &XdpContext, packet: &Packet<V6>) -> Result<Counter, Counter> {
    let mtu = mtu_for(ctx, packet)?;
    may_answer(mtu, MTU_MIN_V6)?;
    write_v6(ctx, packet, mtu).ok_or(Counter::DropTooBig)
}

/// The longest IP packet that fits towards the packet's backend. This program is called with a
/// packet of a service that does not fit; anything else has changed in the meantime.
#[inline(always)]
fn mtu_for<A: nat::Family>(ctx: &XdpContext, packet: &Packet<A>) -> Result<u16, Counter> {
    let whole = fragment::with_ports(packet).ok_or(Counter::DropTooBig)?;
    let service = service::of(&whole).ok_or(Counter::DropTooBig)?;
    let backend = if service::is_nat(service) {
        nat::backend(service, &whole.flow)?
    } else {
        pick::backend::<A, true>(ctx, service, &whole)?.backend
    };
    let outer = Outer::of::<A>(backend).ok_or(Counter::DropUnresolved)?;
    let mtu = backend.mtu.checked_sub(outer.len()).ok_or(Counter::DropTooBig)?;
    if packet.ip_len <= usize::from(mtu) {
        return Err(Counter::DropTooBig);
    }
    Ok(mtu)
}

#[inline(always)]
fn may_answer(mtu: u16, mtu_min: usize) -> Result<(), Counter> {
    let useful = usize::from(mtu) >= mtu_min;
    if useful && limit::allows(Limit::TooBig, config::too_big_interval_ns()) {
        Ok(())
    } else {
        Err(Counter::DropTooBig)
    }
}

/// The link layer of the answer: back where the packet came from, tags as they came.
struct Back {
    macs: [u8; 12],
    /// Ether types and tags: as many of these bytes as the link layer has beyond the addresses.
    rest: [u8; 10],
}

impl Back {
    #[inline(always)]
    fn of(ctx: &XdpContext) -> Option<Self> {
        let mut at = Cursor::of(ctx);
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = at.peek::<Ethernet>()?.macs;
        at.skip(12);
        Some(Self { macs: [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5], rest: at.peek()? })
    }

    #[inline(always)]
    fn put(&self, at: &mut Cursor, link_len: usize) -> Option<()> {
        let [t0, t1, a0, a1, u0, u1, b0, b1, v0, v1] = self.rest;
        at.put(self.macs)?;
        match link_len {
            14 => at.put([t0, t1]),
            18 => at.put([t0, t1, a0, a1, u0, u1]),
            22 => at.put([t0, t1, a0, a1, u0, u1, b0, b1, v0, v1]),
            _ => None,
        }
    }
}

/// Cuts the frame behind what is quoted and makes room for `headers` bytes in front of it.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "lengths of a frame"
)]
fn reshape<A>(ctx: &XdpContext, packet: &Packet<A>, quoted: usize, headers: usize) -> Option<()> {
    let cut = (packet.link_len + quoted) as i32 - packet.frame_len as i32;
    resize::tail(ctx, cut)?;
    resize::head(ctx, -(headers as i32))
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 576")]
fn write_v4<const QUOTED: usize>(
    ctx: &XdpContext,
    packet: &Packet<V4>,
    mtu: u16,
) -> Option<Counter> {
    let back = Back::of(ctx)?;
    reshape(ctx, packet, QUOTED, size_of::<Ipv4>() + size_of::<Icmp>())?;
    let mut at = Cursor::of(ctx);
    back.put(&mut at, packet.link_len)?;
    let mut ip = Ipv4 {
        version_ihl: 0x45,
        traffic_class: CONTROL,
        total_len: ((size_of::<Ipv4>() + size_of::<Icmp>() + QUOTED) as u16).to_be_bytes(),
        id: [0; 2],
        fragment: [0x40, 0],
        ttl: HOPS,
        proto: ip_proto::ICMP,
        checksum: [0; 2],
        src: packet.flow.dst.0,
        dst: packet.flow.src.0,
    };
    ip.checksum = ip.sum();
    at.put(ip)?;
    let [high, low] = mtu.to_be_bytes();
    let icmp = Icmp { kind: 3, code: 4, checksum: [0; 2], rest: [0, 0, high, low] };
    let sum = quoted_sum::<QUOTED>(&at)?;
    at.put(icmp.with_checksum(sum))?;
    Some(Counter::AnswerTooBig)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 1280")]
fn write_v6(ctx: &XdpContext, packet: &Packet<V6>, mtu: u16) -> Option<Counter> {
    let back = Back::of(ctx)?;
    reshape(ctx, packet, QUOTED_V6, size_of::<Ipv6>() + size_of::<Icmp>())?;
    let mut at = Cursor::of(ctx);
    back.put(&mut at, packet.link_len)?;
    let payload_len = (size_of::<Icmp>() + QUOTED_V6) as u16;
    let ip = Ipv6 {
        version_class_flow: [0x60, 0, 0, 0],
        payload_len: payload_len.to_be_bytes(),
        next_header: ip_proto::ICMPV6,
        hop_limit: HOPS,
        src: packet.flow.dst.0,
        dst: packet.flow.src.0,
    };
    let pseudo = ip.address_sum();
    at.put(ip)?;
    let [high, low] = mtu.to_be_bytes();
    let icmp = Icmp { kind: 2, code: 0, checksum: [0; 2], rest: [0, 0, high, low] };
    let covered = ones_add(payload_len, u16::from(ip_proto::ICMPV6));
    let sum = ones_add(quoted_sum::<QUOTED_V6>(&at)?, ones_add(pseudo, covered));
    at.put(icmp.with_checksum(sum))?;
    Some(Counter::AnswerTooBig)
}

/// Sum of what is quoted: it stands behind the ICMP header that will stand here.
#[inline(always)]
fn quoted_sum<const QUOTED: usize>(at: &Cursor) -> Option<u16> {
    /// What the kernel sums up at once.
    const CHUNK: usize = 512;
    let mut at = *at;
    at.skip(size_of::<Icmp>());
    let mut sum = 0;
    let mut left = QUOTED;
    while left > CHUNK {
        sum = at.sum::<CHUNK>(sum)?;
        at.skip(CHUNK);
        left -= CHUNK;
    }
    sum = match QUOTED % CHUNK {
        36 => at.sum::<36>(sum)?,
        68 => at.sum::<68>(sum)?,
        208 => at.sum::<208>(sum)?,
        _ => return None,
    };
    Some(fold(sum))
}
