//! Puts the packets of health checks into what goes around those of clients: on their way out of the
//! host, behind the kernel's own TCP. The mark of its socket says which backend a packet is for.
//!
//! Promise: a packet with a mark of ours leaves with the headers of its backend, or not at all. Sockets
//! of checks send with a TTL of one, so that a packet that does not come by here gets no farther than
//! the first router; whoever answered it would be somebody else. Here it gets the usual one.

#![no_std]
#![no_main]

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::Global;
use aya_ebpf::bindings::{
    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
    TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_adj_room_mode,
};
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_load_bytes, bpf_skb_vlan_push};
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use tidegate_abi::{BACKENDS_MAX, Backend, backend_flags, backend_kinds, check_marks, ip_proto};
use tidegate_xdp::wire::{Ethernet, Ipv4, Ipv6, Udp, Wire, ether_type, fold_words, ones_add};

tidegate_xdp::license!();

#[btf_map]
static CHECK_WAYS: Array<Backend, { BACKENDS_MAX as usize }> = Array::new();

/// What marks of this daemon's sockets have in common; written by the loader before the program is
/// loaded. Two daemons, of which one takes over from the other, have rows of their own.
#[unsafe(no_mangle)]
static CHECK_MARK: Global<u32> = Global::new(0);

const LINK_LEN: usize = size_of::<Ethernet>();
/// TTL, or hop limit, of what is inside: as hosts send.
const TTL: u8 = 64;
/// First port that packets of GUE come from; the rest is the row.
const GUE_FROM: u16 = 0xc000;

/// Entry: one packet on its way out.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_check(ctx: TcContext) -> i32 {
    // SAFETY: the context is the one that the program was called with.
    let mark = unsafe { (*ctx.skb.skb).mark };
    let ours = CHECK_MARK.load();
    if ours == 0 || mark & check_marks::OURS != ours {
        return TC_ACT_UNSPEC;
    }
    wrap(&ctx, mark & check_marks::ROW).unwrap_or(TC_ACT_SHOT)
}

/// On the stack, which the verifier wants read and written by aligned words.
#[repr(align(8))]
struct Aligned<T>(T);

/// Reads a header.
#[inline(always)]
fn load<T: Wire>(ctx: &TcContext, at: usize) -> Option<Aligned<T>> {
    let (from, len) = (u32::try_from(at).ok()?, u32::try_from(size_of::<T>()).ok()?);
    let mut header = MaybeUninit::<Aligned<T>>::zeroed();
    // SAFETY: the context is the one that the program was called with, and there is room for `len`.
    let failed =
        unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), from, header.as_mut_ptr().cast(), len) };
    // SAFETY: bytes, all of them written.
    (failed == 0).then(|| unsafe { header.assume_init() })
}

/// Writes a header.
#[inline(always)]
fn store<T>(ctx: &TcContext, at: usize, header: &Aligned<T>) -> Option<()> {
    ctx.store(at, &header.0, 0).ok()
}

/// What an outer header has to know of the packet inside.
struct Inner {
    /// Length of the IP packet, in bytes.
    len: u16,
    /// One's complement sum of all of it. The checksum of what it carries is right by the time that
    /// it leaves, so that its pseudo header is all that is left of it.
    sum: u16,
}

#[inline(always)]
fn wrap(ctx: &TcContext, row: u32) -> Option<i32> {
    let way = CHECK_WAYS.get(row)?;
    if way.flags & backend_flags::RESOLVED == 0 {
        return None;
    }
    // SAFETY: as above.
    let protocol = unsafe { (*ctx.skb.skb).protocol };
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits in network order")]
    let kind = u16::from_be(protocol as u16);
    let inner = match kind {
        ether_type::IPV4 => inner_v4(ctx)?,
        ether_type::IPV6 => inner_v6(ctx)?,
        _ => return None,
    };
    let is_gue = way.kind & backend_kinds::GUE != 0;
    let outer_kind = match way.kind & !backend_kinds::GUE {
        backend_kinds::L2 => kind,
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV6_IN_IPV4 => {
            outer_v4(ctx, way, is_gue, &inner, row)?;
            ether_type::IPV4
        }
        backend_kinds::IPV4_IN_IPV6 | backend_kinds::IPV6_IN_IPV6 => {
            outer_v6(ctx, way, is_gue, &inner, row)?;
            ether_type::IPV6
        }
        _ => return None,
    };
    let ethernet = Ethernet { macs: way.macs, ether_type: outer_kind.to_be_bytes() };
    store(ctx, 0, &Aligned(ethernet))?;
    if way.vlan_tci != [0; 2] {
        let tci = u16::from_be_bytes(way.vlan_tci);
        // SAFETY: the context is the one that the program was called with.
        if unsafe { bpf_skb_vlan_push(ctx.skb.skb, ether_type::VLAN.to_be(), tci) } != 0 {
            return None;
        }
    }
    ctx.set_mark(0); // It may come by here again.
    // SAFETY: no pointer is handed over.
    i32::try_from(unsafe { bpf_redirect(way.egress_ifindex, 0) }).ok()
}

#[inline(always)]
fn inner_v4(ctx: &TcContext) -> Option<Inner> {
    let Aligned(ip) = &load::<Ipv4>(ctx, LINK_LEN)?;
    let len = u16::from_be_bytes(ip.total_len);
    let room = len.checked_sub(u16::try_from(ip.header_len()?).ok()?)?;
    let [old, new] = [ip.ttl, TTL].map(|ttl| u64::from(u16::from_ne_bytes([ttl, ip.proto])));
    ctx.l3_csum_replace(LINK_LEN + offset_of!(Ipv4, checksum), old, new, 2).ok()?;
    ctx.store(LINK_LEN + offset_of!(Ipv4, ttl), &TTL, 0).ok()?;
    // The header sums up to nothing, and so does ICMP, which has no pseudo header.
    let pseudo = ones_add(ip.address_sum(), ones_add(u16::from(ip.proto), room));
    let sum = if ip.proto == ip_proto::ICMP { u16::MAX } else { !pseudo };
    Some(Inner { len, sum })
}

#[inline(always)]
fn inner_v6(ctx: &TcContext) -> Option<Inner> {
    let Aligned(ip) = &load::<Ipv6>(ctx, LINK_LEN)?;
    let room = u16::from_be_bytes(ip.payload_len);
    let len = room.checked_add(u16::try_from(size_of::<Ipv6>()).ok()?)?;
    ctx.store(LINK_LEN + offset_of!(Ipv6, hop_limit), &TTL, 0).ok()?;
    let [a, b, c, d] = ip.version_class_flow;
    let first = ones_add(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let last = u16::from_be_bytes([ip.next_header, TTL]);
    let header = ones_add(ones_add(first, room), ones_add(last, ip.address_sum()));
    let pseudo = ones_add(ip.address_sum(), ones_add(u16::from(ip.next_header), room));
    Some(Inner { len, sum: ones_add(header, !pseudo) })
}

#[inline(always)]
fn outer_v4(ctx: &TcContext, way: &Backend, is_gue: bool, inner: &Inner, row: u32) -> Option<()> {
    const LEN: usize = size_of::<Ipv4>();
    make_room(ctx, LEN, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, is_gue)?;
    let mut ip = Aligned(*way.ip.first_chunk::<LEN>()?);
    let payload = payload(is_gue, inner)?;
    let total = payload.checked_add(u16::try_from(LEN).ok()?)?;
    let [_, _, l0, l1, _, _, _, _, _, _, c0, c1, addrs @ ..] = &mut ip.0;
    [*l0, *l1] = total.to_be_bytes();
    // The checksum that is there is that of a header with length zero.
    [*c0, *c1] = (!ones_add(!u16::from_be_bytes([*c0, *c1]), total)).to_be_bytes();
    let addrs = sum_of(addrs);
    store(ctx, LINK_LEN, &ip)?;
    if is_gue { udp(ctx, LINK_LEN + LEN, way, addrs, inner, row) } else { Some(()) }
}

#[inline(always)]
fn outer_v6(ctx: &TcContext, way: &Backend, is_gue: bool, inner: &Inner, row: u32) -> Option<()> {
    const LEN: usize = size_of::<Ipv6>();
    make_room(ctx, LEN, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, is_gue)?;
    let mut ip = Aligned(way.ip);
    let [_, _, _, _, l0, l1, _, _, addrs @ ..] = &mut ip.0;
    [*l0, *l1] = payload(is_gue, inner)?.to_be_bytes();
    let addrs = sum_of(addrs);
    store(ctx, LINK_LEN, &ip)?;
    if is_gue { udp(ctx, LINK_LEN + LEN, way, addrs, inner, row) } else { Some(()) }
}

/// Between Ethernet and IP, for a header of this length and one of UDP.
#[inline(always)]
fn make_room(ctx: &TcContext, len: usize, flag: u32, is_gue: bool) -> Option<()> {
    let (udp, l4) = if is_gue { (size_of::<Udp>(), BPF_F_ADJ_ROOM_ENCAP_L4_UDP) } else { (0, 0) };
    let len = i32::try_from(len + udp).ok()?;
    ctx.adjust_room(len, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, u64::from(flag | l4)).ok()
}

/// Bytes behind the outer IP header.
#[inline(always)]
fn payload(is_gue: bool, inner: &Inner) -> Option<u16> {
    let udp = if is_gue { size_of::<Udp>() } else { 0 };
    inner.len.checked_add(u16::try_from(udp).ok()?)
}

/// The UDP header of GUE, with a checksum if the way has one.
#[inline(always)]
fn udp(
    ctx: &TcContext,
    at: usize,
    way: &Backend,
    addrs: u16,
    inner: &Inner,
    row: u32,
) -> Option<()> {
    let len = payload(true, inner)?;
    #[expect(clippy::cast_possible_truncation, reason = "a row has fourteen bits")]
    let from = GUE_FROM | row as u16;
    let to = u16::from_be_bytes(way.gue_port);
    let mut sum = 0;
    if way.flags & backend_flags::CHECKSUM != 0 {
        let pseudo = ones_add(addrs, ones_add(u16::from(ip_proto::UDP), len));
        let header = ones_add(ones_add(from, to), len);
        sum = !ones_add(ones_add(pseudo, header), inner.sum);
        sum = if sum == 0 { u16::MAX } else { sum }; // Zero would say that there is none (RFC 768).
    }
    let udp = Udp {
        src_port: from.to_be_bytes(),
        dst_port: way.gue_port,
        len: len.to_be_bytes(),
        checksum: sum.to_be_bytes(),
    };
    store(ctx, at, &Aligned(udp))
}

/// Sum of big-endian words.
#[inline(always)]
fn sum_of(octets: &[u8]) -> u16 {
    let (words, _) = octets.as_chunks::<2>();
    fold_words(words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum())
}
