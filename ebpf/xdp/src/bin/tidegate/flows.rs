//! Packets that are told of: each leaves a record of its verdict and its first bytes in a ring that
//! the daemon reads. What is dropped, opens a connection or ends one is always told of, but no kind of
//! it more often than the configuration says; of the others chance decides.
//!
//! Every packet moves exactly one of the counters of [`Told`], so that it is known of how many nothing
//! was heard. Where nobody wants to hear of packets, nothing of this is in the program.

use core::hint::black_box;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    Counter, FLOW_SNAP, FlowDraft, FlowRecord, Told, features, flow_why, ip_proto, rare as rows,
};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Ethernet, Ipv4, Ipv6, Sctp, Tcp, VlanTag, tcp_flags};

use crate::address::Address;
use crate::encap::Outer;
use crate::maps::{FLOW_COUNTS, FLOW_DRAFT, FLOW_LIMITS, FLOW_RECORDS};
use crate::parse::SCTP_INIT;
use crate::pick::Picked;
use crate::{capture, config, count, limit, rare};

/// Behind the counters.
const OPENS: u32 = Counter::COUNT;
const ENDS: u32 = Counter::COUNT + 1;

/// Remembers who gets the packet, for when its verdict is known.
#[inline(always)]
pub(crate) fn goes_to<A: Address>(service: u32, picked: &Picked) {
    if config::has::<{ features::FLOWS | features::CAPTURE }>(service) {
        draft(service, picked.index, inner_at::<A>(picked));
    }
}

/// Ends the program of a packet with this verdict where packets are told of or captured: another one
/// goes on.
#[inline(always)]
pub(crate) fn ended(ctx: &XdpContext, verdict: Counter) {
    if config::has::<{ features::FLOWS | features::CAPTURE }>(verdict as u32) {
        end(verdict as u32, count::action(verdict));
        rare::go_on(ctx, rows::TELL);
        // One program takes the place of another.
        if config::has::<{ features::FLOWS }>(verdict as u32) {
            count_told(Told::Lost);
        }
    }
}

/// Where the packet will stand in its frame.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "lengths of headers")]
fn inner_at<A: Address>(picked: &Picked) -> u32 {
    const LINK_LEN: u32 = size_of::<Ethernet>() as u32;
    const TAG_LEN: u32 = size_of::<VlanTag>() as u32;
    let outer = Outer::of::<A>(picked.backend).map_or(0, Outer::len);
    let tag = if picked.backend.vlan_tci == [0; 2] { 0 } else { TAG_LEN };
    LINK_LEN + tag + u32::from(outer)
}

#[inline(never)]
fn draft(service: u32, backend: u32, inner_at: u32) {
    if let Some(draft) = FLOW_DRAFT.get_ptr_mut(0) {
        // SAFETY: this CPU's value, aligned; nobody else writes it while the program runs here.
        let draft = unsafe { &mut *draft };
        (draft.service, draft.backend, draft.inner_at) = (service + 1, backend, inner_at);
    }
}

#[inline(never)]
fn end(verdict: u32, action: u32) {
    if let Some(draft) = FLOW_DRAFT.get_ptr_mut(0) {
        // SAFETY: as above.
        let draft = unsafe { &mut *draft };
        (draft.verdict, draft.action) = (verdict, action);
    }
}

/// Leaves the record of the packet whose program has ended; what the kernel shall do with it.
#[inline(always)]
pub(crate) fn tell(ctx: &XdpContext) -> u32 {
    let Some(draft) = FLOW_DRAFT.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: as above; the reference ends with this function.
    let draft = unsafe { &mut *draft };
    if config::has::<{ features::FLOWS }>(draft.verdict) {
        count_told(told(ctx, draft.verdict, draft));
    }
    if config::has::<{ features::CAPTURE }>(draft.verdict) {
        capture::leave(ctx, draft);
    }
    let action = draft.action;
    *draft = FlowDraft { service: 0, backend: 0, inner_at: 0, verdict: 0, action: 0, reserved: 0 };
    action
}

#[inline(always)]
fn told(ctx: &XdpContext, verdict: u32, draft: &FlowDraft) -> Told {
    let says = if is_sent(verdict) { says(ctx, draft.inner_at as usize) } else { 0 };
    let why = if Counter::DROPS >> (verdict & 63) & 1 != 0 {
        flow_why::DROPPED
    } else if says != 0 {
        says
    } else {
        // SAFETY: no arguments, no conditions.
        let word = unsafe { bpf_get_prandom_u32() };
        if word > config::flow_chance() {
            return Told::SampledOut;
        }
        flow_why::SAMPLED
    };
    let kind = match why {
        flow_why::DROPPED => Some(verdict),
        flow_why::OPENS => Some(OPENS),
        flow_why::ENDS => Some(ENDS),
        _ => None,
    };
    if let Some(kind) = kind
        && !limit::allows_in(FLOW_LIMITS.get_ptr_mut(kind), config::flow_interval_ns())
    {
        return Told::LeftOut;
    }
    let Some(mut entry) = FLOW_RECORDS.reserve_untyped::<FlowRecord>(0) else { return Told::Lost };
    // SAFETY: the whole record is written before it is handed over.
    unsafe { write(ctx, verdict, why, draft, entry.as_mut_ptr()) };
    entry.submit(0);
    Told::Logged
}

/// Whether it is a packet of a client that has left for a backend.
#[inline(always)]
const fn is_sent(verdict: u32) -> bool {
    verdict == Counter::ForwardTx as u32 || verdict == Counter::ForwardRedirect as u32
}

/// Whether the packet that starts here opens a connection or ends one. Behind extension headers of
/// IPv6 it is not looked for. Read again, since what is carried along from where it was read first
/// costs packets something though nobody wants it.
#[inline(always)]
fn says(ctx: &XdpContext, at: usize) -> u32 {
    let mut here = Cursor::of(ctx);
    here.skip(at & 0x7f);
    here.settle::<0x7f>(ctx);
    let Some(ip) = here.peek::<Ipv4>() else { return 0 };
    let (proto, len) = match (ip.header_len(), here.peek::<Ipv6>()) {
        (Some(_), _) if ip.is_later_fragment() => return 0,
        (Some(len), _) => (ip.proto, len),
        (None, Some(ip)) => (ip.next_header, size_of::<Ipv6>()),
        (None, None) => return 0,
    };
    here.skip(len);
    here.settle::<0xff>(ctx);
    match proto {
        ip_proto::TCP => match here.peek::<Tcp>().map_or(0, |tcp| tcp.flags & tcp_flags::STATE) {
            tcp_flags::SYN => flow_why::OPENS,
            flags if flags & (tcp_flags::FIN | tcp_flags::RST) != 0 => flow_why::ENDS,
            _ => 0,
        },
        ip_proto::SCTP => match here.peek::<Sctp>() {
            Some(sctp) if sctp.chunk_kind == SCTP_INIT => flow_why::OPENS,
            _ => 0,
        },
        _ => 0,
    }
}

/// # Safety
/// A record that may be written.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "lengths of frames")]
#[expect(clippy::cast_ptr_alignment, reason = "the frame stands at a multiple of 8 in its record")]
unsafe fn write(
    ctx: &XdpContext,
    verdict: u32,
    why: u32,
    draft: &FlowDraft,
    record: *mut FlowRecord,
) {
    // As whole registers: the verifier lets no half of a place in the frame be kept.
    let frame_len = (black_box(ctx.data_end()) - black_box(ctx.data())) as u32;
    let len = if frame_len > FLOW_SNAP as u32 { FLOW_SNAP as u32 } else { frame_len };
    // SAFETY: the caller's promise; the context is the one that the program was called with.
    unsafe {
        (&raw mut (*record).at_ns).write(limit::now_ns());
        (&raw mut (*record).verdict).write(verdict);
        (&raw mut (*record).why).write(why);
        (&raw mut (*record).service).write(draft.service.wrapping_sub(1));
        (&raw mut (*record).backend).write(draft.backend);
        (&raw mut (*record).ingress_ifindex).write((*ctx.ctx).ingress_ifindex);
        (&raw mut (*record).frame_len).write(frame_len);
        (&raw mut (*record).len).write(len);
        (&raw mut (*record).inner_at).write(draft.inner_at);
        let frame = (&raw mut (*record).frame).cast::<u64>();
        for word in 0..FLOW_SNAP / 8 {
            frame.add(word).write(0);
        }
        // One at least and the room at most, in words that every verifier understands, whatever it has
        // forgotten of the length by now.
        let len = (black_box(len.wrapping_sub(1)) & (FLOW_SNAP as u32 - 1)) + 1;
        bpf_xdp_load_bytes(ctx.as_ptr().cast(), 0, frame.cast(), len);
    }
}

#[inline(always)]
fn count_told(told: Told) {
    if let Some(count) = FLOW_COUNTS.get_ptr_mut(told as u32) {
        // SAFETY: this CPU's value, aligned.
        unsafe { *count += 1 };
    }
}
