//! The other end of `ipip` and `gue`: on a backend's interface, takes the outer headers off.
//!
//! Only packets in IPv4 or IPv6 that are addressed to the host itself are touched; everything
//! else is passed as it came. An outer UDP checksum is not looked at: what is inside has its own.

#![no_std]
#![no_main]

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{HashMap, PerCpuArray};
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{DECAP_ADDRS_MAX, DecapCounter, GUE_PORT, ip_proto};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Ethernet, Ipv4, Ipv6, Udp, VlanTag, ether_type};

tidegate_xdp::license!();

#[btf_map]
static DECAP_ADDRS: HashMap<[u8; 16], u32, { DECAP_ADDRS_MAX as usize }> = HashMap::new();
#[btf_map]
static DECAP_COUNTERS: PerCpuArray<u64, { DecapCounter::COUNT as usize }> = PerCpuArray::new();

/// UDP port that takes GUE packets; written by the loader before the program is loaded.
#[unsafe(no_mangle)]
static DECAP_GUE_PORT: Global<u16> = Global::new(GUE_PORT);

/// Entry: one frame in, one XDP action out.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_decap(ctx: XdpContext) -> u32 {
    let counter = match unwrap(&ctx) {
        Ok(()) => DecapCounter::Unwrapped,
        Err(counter) => counter,
    };
    if let Some(count) = DECAP_COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's value, aligned; nobody else writes it while the program runs here.
        unsafe { *count += 1 };
    }
    match counter {
        DecapCounter::Unwrapped | DecapCounter::PassNotOurs => xdp_action::XDP_PASS,
        DecapCounter::DropMalformed => xdp_action::XDP_DROP,
    }
}

/// Outer headers.
struct Outer {
    /// In bytes, at most 72.
    len: u8,
    /// What they say follows them, in bytes.
    payload_len: usize,
    /// Protocol of what follows.
    proto: u8,
}

#[inline(always)]
fn unwrap(ctx: &XdpContext) -> Result<(), DecapCounter> {
    let mut at = Cursor::of(ctx);
    let ethernet: Ethernet = at.take().ok_or(DecapCounter::PassNotOurs)?;
    let mut kind = u16::from_be_bytes(ethernet.ether_type);
    // One tag: where the card does not strip it, the kernel still gets to see it.
    let mut tag: Option<VlanTag> = None;
    if kind == ether_type::VLAN {
        let found: VlanTag = at.take().ok_or(DecapCounter::PassNotOurs)?;
        kind = u16::from_be_bytes(found.ether_type);
        tag = Some(found);
    }
    let outer = match kind {
        ether_type::IPV4 => outer_ipv4(&mut at),
        ether_type::IPV6 => outer_ipv6(&mut at),
        _ => None,
    };
    let outer = outer
        .and_then(
            |outer| if outer.proto == ip_proto::UDP { udp(&mut at, &outer) } else { Some(outer) },
        )
        .ok_or(DecapCounter::PassNotOurs)?;
    let inner = inner(at, &outer).ok_or(DecapCounter::DropMalformed)?;

    // SAFETY: the context is the one the program was called with. All cursors are void now.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, i32::from(outer.len)) } != 0 {
        return Err(DecapCounter::DropMalformed);
    }
    let mut at = Cursor::of(ctx);
    at.put(ethernet.macs)
        .and_then(|()| match tag {
            Some(tag) => at.put(ether_type::VLAN.to_be_bytes()).and_then(|()| at.put(tag.tci)),
            None => Some(()),
        })
        .and_then(|()| at.put(inner.to_be_bytes()))
        .ok_or(DecapCounter::DropMalformed)
}

/// A sound IPv4 header of a whole datagram to us, with a packet in it.
#[inline(always)]
fn outer_ipv4(at: &mut Cursor) -> Option<Outer> {
    let room = at.len();
    let ip: Ipv4 = at.take()?;
    let len = ip.header_len()?;
    let total_len = usize::from(u16::from_be_bytes(ip.total_len));
    if total_len < len || total_len > room || ip.is_fragment() || !carries_a_packet(ip.proto) {
        return None;
    }
    let [a, b, c, d] = ip.dst;
    let is_ours = is_ours([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]);
    at.skip(len - size_of::<Ipv4>());
    let len_bytes = (ip.version_ihl & 0xf) * 4;
    is_ours.then_some(Outer { len: len_bytes, payload_len: total_len - len, proto: ip.proto })
}

/// A sound IPv6 header to us, with a packet right behind it.
#[inline(always)]
fn outer_ipv6(at: &mut Cursor) -> Option<Outer> {
    let ip: Ipv6 = at.take()?;
    let payload_len = usize::from(u16::from_be_bytes(ip.payload_len));
    if !ip.has_version() || payload_len > at.len() || !carries_a_packet(ip.next_header) {
        return None;
    }
    is_ours(ip.dst).then_some(Outer { len: 40, payload_len, proto: ip.next_header })
}

/// GUE in a UDP header to its port, variant 1 or a plain one of variant 0.
#[inline(always)]
fn udp(at: &mut Cursor, outer: &Outer) -> Option<Outer> {
    let udp: Udp = at.take()?;
    let len = usize::from(u16::from_be_bytes(udp.len));
    if u16::from_be_bytes(udp.dst_port) != DECAP_GUE_PORT.load()
        || len < size_of::<Udp>() + 4
        || len > outer.payload_len
    {
        return None;
    }
    let payload_len = len - size_of::<Udp>();
    let [first, proto, flags @ ..]: [u8; 4] = at.peek()?;
    let (header_len, proto) = match first >> 4 {
        4 => (0, ip_proto::IPIP),
        6 => (0, ip_proto::IPV6),
        // No control message, no optional fields.
        _ if first == 0 && flags == [0; 2] && carries_a_packet(proto) && proto != ip_proto::UDP => {
            at.skip(4);
            (4, proto)
        }
        _ => return None,
    };
    Some(Outer {
        len: outer.len + 8 + header_len,
        payload_len: payload_len - usize::from(header_len),
        proto,
    })
}

#[inline(always)]
fn carries_a_packet(proto: u8) -> bool {
    matches!(proto, ip_proto::IPIP | ip_proto::IPV6 | ip_proto::UDP)
}

#[inline(always)]
fn is_ours(addr: [u8; 16]) -> bool {
    // SAFETY: the value is not looked at.
    unsafe { DECAP_ADDRS.get(addr) }.is_some()
}

/// The ether type of the packet inside, if its header is sound and it fits into the outer one.
#[inline(always)]
fn inner(at: Cursor, outer: &Outer) -> Option<u16> {
    let room = outer.payload_len;
    if outer.proto == ip_proto::IPIP {
        let ip: Ipv4 = at.peek()?;
        let total_len = usize::from(u16::from_be_bytes(ip.total_len));
        (ip.header_len()? <= total_len && total_len <= room).then_some(ether_type::IPV4)
    } else {
        let ip: Ipv6 = at.peek()?;
        let total_len = size_of::<Ipv6>() + usize::from(u16::from_be_bytes(ip.payload_len));
        (ip.has_version() && total_len <= room).then_some(ether_type::IPV6)
    }
}
