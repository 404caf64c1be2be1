//! Packets that somebody captures: each leaves its frame as it came, as it left, and what was decided
//! in a ring of its own. A program before the first one keeps the frame that comes; what tells of
//! packets adds the rest. The program that all packets meet is the same as without.
//!
//! All that can be asked for is asked here, so that it is known of every packet that is wanted whether
//! it was kept or found no room.

use core::hint::black_box;
use core::mem::offset_of;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    CAPTURE_SNAP_MAX, CaptureDraft, CaptureFilter, CaptureHead, Captured, FlowDraft, features,
    ip_proto,
};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Ipv4, Ipv6, Udp, ether_type};

use crate::maps::{CAPTURE_COUNTS, CAPTURE_DRAFT, CAPTURE_RECORDS};
use crate::{config, limit, parse};

/// What is before the last four bytes of an IPv4 address that is written as one of IPv6.
const V4_MAPPED: u64 = 0xffff_0000_0000;

/// Who talks to whom, as far as it was looked for.
struct Ends {
    src: [u64; 2],
    dst: [u64; 2],
    proto: u8,
    /// Source, then destination; zero where there are none.
    ports: [u16; 2],
}

/// Keeps the frame that comes, if it is wanted or may turn out to be.
#[inline(always)]
pub(crate) fn come(ctx: &XdpContext) {
    let Some(draft) = CAPTURE_DRAFT.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's value, aligned; nobody else writes it while the program runs here.
    let draft = unsafe { &mut *draft };
    draft.head.before_snap = 0;
    let (filter, now) = (config::capture(), limit::now_ns());
    if now > filter.until_ns {
        return;
    }
    let is_wanted = is_wanted(&filter, ends(ctx).as_ref(), false);
    // What a backend answers to a client bears the VIP only when it leaves.
    if !is_wanted && !config::has::<{ features::NAT }>(filter.snap) {
        return;
    }
    let frame_len = frame_len(ctx);
    draft.head.before_snap = copy(ctx, draft, 0, frame_len, filter.snap);
    (draft.head.before_len, draft.head.came_ns) = (frame_len, now);
    draft.is_wanted = u64::from(is_wanted);
}

/// Leaves the record of the packet, if it is wanted: its verdict is known.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the context holds 32 bits")]
pub(crate) fn leave(ctx: &XdpContext, decided: &FlowDraft) {
    let Some(draft) = CAPTURE_DRAFT.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let draft = unsafe { &mut *draft };
    let before_snap = draft.head.before_snap;
    draft.head.before_snap = 0;
    let filter = config::capture();
    // A packet that came before the program that keeps frames is none of ours.
    if before_snap == 0 || filter.verdicts >> (decided.verdict & 63) & 1 == 0 {
        return;
    }
    if draft.is_wanted == 0 && !is_wanted(&filter, ends(ctx).as_ref(), true) {
        return;
    }
    let before_snap = within(before_snap);
    let is_sent = matches!(decided.action, xdp_action::XDP_TX | xdp_action::XDP_REDIRECT);
    let (after_len, after_snap) = if is_sent {
        let len = frame_len(ctx);
        (len, copy(ctx, draft, before_snap, len, filter.snap))
    } else {
        (0, 0)
    };
    draft.head = CaptureHead {
        left_ns: limit::now_ns(),
        verdict: decided.verdict,
        service: decided.service,
        backend: decided.backend,
        ingress_ifindex: ctx.ingress_ifindex() as u32,
        before_snap,
        after_len,
        after_snap,
        ..draft.head
    };
    let len = size_of::<CaptureHead>() + before_snap as usize + after_snap as usize;
    // SAFETY: head and frames lie behind each other, and both snaps are at most half of the frames.
    let record = unsafe { core::slice::from_raw_parts((&raw const draft.head).cast::<u8>(), len) };
    let kept = CAPTURE_RECORDS.output_untyped::<[u8]>(record, 0);
    draft.head.before_snap = 0; // The next packet is another one.
    let row = if kept.is_ok() { Captured::Kept } else { Captured::Lost };
    if let Some(count) = CAPTURE_COUNTS.get_ptr_mut(row as u32) {
        // SAFETY: this CPU's value, aligned.
        unsafe { *count += 1 };
    }
}

/// As a whole register: the verifier lets no half of a place in the frame be kept.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "lengths of frames")]
fn frame_len(ctx: &XdpContext) -> u32 {
    (black_box(ctx.data_end()) - black_box(ctx.data())) as u32
}

/// One at least and the room for a frame at most, in words that every verifier understands.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a constant")]
fn within(len: u32) -> u32 {
    (black_box(len.wrapping_sub(1)) & (CAPTURE_SNAP_MAX as u32 - 1)) + 1
}

/// Copies the start of the frame to this place of the frames, at most half of them; how much, zero if
/// the kernel does not give it.
#[inline(always)]
fn copy(ctx: &XdpContext, draft: &mut CaptureDraft, at: u32, frame_len: u32, snap: u32) -> u32 {
    let len = within(if frame_len > snap { snap } else { frame_len });
    let frames = (&raw mut draft.frames).cast::<u8>();
    // SAFETY: the place is at most in the middle; the context is the one of the program.
    let failed = unsafe {
        let to = frames.add(at as usize);
        bpf_xdp_load_bytes(ctx.as_ptr().cast(), 0, to.cast(), len)
    };
    if failed == 0 { len } else { 0 }
}

/// Whether a packet between these is asked for; `is_answer`: the one end is in the place of the other.
#[inline(always)]
fn is_wanted(filter: &CaptureFilter, ends: Option<&Ends>, is_answer: bool) -> bool {
    let Some(&Ends { src, dst, proto, ports: [from, to] }) = ends else {
        // What is no IP packet is wanted if nothing is asked of one.
        let [d0, d1] = filter.dst_mask;
        let [s0, s1] = filter.src_mask;
        return (d0 | d1 | s0 | s1) == 0 && filter.port == 0 && filter.proto == 0 && !is_answer;
    };
    let (src, dst, to) = if is_answer { (dst, src, from) } else { (src, dst, to) };
    differs(dst, filter.dst, filter.dst_mask) == 0
        && differs(src, filter.src, filter.src_mask) == 0
        && (filter.proto == 0 || filter.proto == u32::from(proto))
        && (filter.port == 0 || filter.port == u32::from(to))
}

#[inline(always)]
const fn differs([h0, l0]: [u64; 2], [h1, l1]: [u64; 2], [hm, lm]: [u64; 2]) -> u64 {
    ((h0 ^ h1) & hm) | ((l0 ^ l1) & lm)
}

/// Who talks to whom; `None`: it is no IP packet, or cut off. Ports are not looked for behind extension
/// headers of IPv6.
#[inline(always)]
fn ends(ctx: &XdpContext) -> Option<Ends> {
    let mut here = Cursor::of(ctx);
    let link = parse::link(ctx, &mut here)?;
    let (src, dst, proto, len) = match link.ether_type {
        ether_type::IPV4 => {
            let ip: Ipv4 = here.peek()?;
            let len = if ip.is_later_fragment() { 0 } else { ip.header_len()? };
            (mapped(ip.src), mapped(ip.dst), ip.proto, len)
        }
        ether_type::IPV6 => {
            let ip: Ipv6 = here.peek()?;
            let (mut src, mut dst) = (here, here);
            src.skip(offset_of!(Ipv6, src));
            dst.skip(offset_of!(Ipv6, dst));
            (src.peek_words()?, dst.peek_words()?, ip.next_header, size_of::<Ipv6>())
        }
        _ => return None,
    };
    let mut ports = [0; 2];
    if len != 0 && matches!(proto, ip_proto::TCP | ip_proto::UDP | ip_proto::SCTP) {
        here.skip(len);
        here.settle::<0x7f>(ctx);
        if let Some(udp) = here.peek::<Udp>() {
            ports = [u16::from_be_bytes(udp.src_port), u16::from_be_bytes(udp.dst_port)];
        }
    }
    Some(Ends { src, dst, proto, ports })
}

#[inline(always)]
fn mapped(addr: [u8; 4]) -> [u64; 2] {
    [0, V4_MAPPED | u64::from(u32::from_be_bytes(addr))]
}
