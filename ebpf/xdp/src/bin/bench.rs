//! What the benchmark of the packet path runs around it, and what it compares it with.
//!
//! A repeated test run does not restore the packet, so `around` does: it takes off what the program
//! under test has put in front, writes what that has overwritten, makes it a packet of the next
//! flow, and tail-calls the program again. `generate` does the same for frames that really travel.
//! The floors are the least that any program (`floor_tx`), and any encapsulation (`floor_ipv4`,
//! `floor_ipv6`), can cost.

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macro calls entries like this")]

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::ones_add;

tidegate_xdp::license!();

/// Spreads the counter over the flows: odd, so that every flow comes before one comes again.
const STRIDE: u32 = 0x9e37_79b1;

/// What to restore, and how to vary it: constant while a program is loaded.
#[repr(C)]
#[derive(Clone, Copy)]
struct Plan {
    /// Flows less one; a power of two less one.
    flows_mask: u32,
    /// Bytes from the start of the frame to the last four of the source address.
    addr_at: u32,
    /// Bytes from the start of the frame to the source port.
    port_at: u32,
    /// Bytes that the program under test puts in front.
    growth: u32,
    /// Length of the frame.
    frame_len: u32,
    /// Bytes of [`FRAME`] to restore: 14, or 64 when the program writes into the packet itself.
    restore: u32,
}

/// Written by the benchmark before the programs are loaded.
#[unsafe(no_mangle)]
static PLAN: Global<Plan> = Global::new(Plan {
    flows_mask: 0,
    addr_at: 0,
    port_at: 0,
    growth: 0,
    frame_len: 0,
    restore: 0,
});

/// The first 64 bytes of the frame as it shall be, in words as they stand in memory.
#[unsafe(no_mangle)]
static FRAME: Global<[u64; 8]> = Global::new([0; 8]);

/// What went on.
#[repr(C)]
#[derive(Clone, Copy)]
struct State {
    /// Packets of this run.
    packets: u64,
    /// Packets that the program under test left with another length than it should.
    strange: u64,
    /// Packets of all runs: the flow's turn.
    turn: u64,
}

#[btf_map]
static STATE: Array<State, 1> = Array::new();
#[btf_map]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();
/// Frames that came back.
#[btf_map]
static RETURNED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Restores, varies, and calls the program under test.
#[xdp]
fn around(ctx: XdpContext) -> u32 {
    if next(&ctx, PLAN.load().growth).is_some() {
        // SAFETY: nothing here waits to be dropped.
        unsafe { UNDER_TEST.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Sends a frame of the next flow.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    match next(&ctx, 0) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Counts a frame, and takes it.
#[xdp]
fn take(_: XdpContext) -> u32 {
    if let Some(count) = RETURNED.get_ptr_mut(0) {
        // SAFETY: this CPU's value; nobody else writes it while the program runs here.
        unsafe { *count += 1 };
    }
    xdp_action::XDP_DROP
}

/// Nothing but an answer.
#[xdp]
fn floor_tx(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Looks at nothing, and puts a constant Ethernet and IPv4 header with a checksum in front.
#[xdp]
fn floor_ipv4(ctx: XdpContext) -> u32 {
    match constant_ipv4(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// The same with IPv6.
#[xdp]
fn floor_ipv6(ctx: XdpContext) -> u32 {
    match constant_ipv6(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "headers: below 128")]
fn next(ctx: &XdpContext, growth: u32) -> Option<()> {
    let plan = PLAN.load();
    let state = STATE.get_ptr_mut(0)?;
    // SAFETY: one program runs at a time, on one CPU.
    let state = unsafe { &mut *state };
    let turn = state.turn;
    state.turn += 1;
    // A run starts with a fresh frame.
    let grown = if state.packets == 0 { 0 } else { growth };
    state.packets += 1;
    if Cursor::of(ctx).len() != (plan.frame_len + grown) as usize {
        state.strange += 1;
        return None;
    }
    // SAFETY: the context is the one the program was called with.
    if grown != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, grown as i32) } != 0 {
        return None;
    }
    restore(ctx, plan.restore)?;
    if plan.flows_mask != 0 {
        vary(ctx, &plan, turn)?;
    }
    Some(())
}

#[inline(always)]
fn restore(ctx: &XdpContext, len: u32) -> Option<()> {
    let [first, second, rest @ ..] = FRAME.load();
    let mut at = Cursor::of(ctx);
    at.put(first.to_ne_bytes())?;
    let [b0, b1, b2, b3, b4, b5, b6, b7] = second.to_ne_bytes();
    at.put([b0, b1, b2, b3])?;
    at.put([b4, b5])?;
    if len > 14 {
        at.put([b6, b7])?;
        for word in rest {
            at.put(word.to_ne_bytes())?;
        }
    }
    Some(())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the counter may wrap")]
fn vary(ctx: &XdpContext, plan: &Plan, turn: u64) -> Option<()> {
    let flow = (turn as u32).wrapping_mul(STRIDE) & plan.flows_mask;
    let mut at = Cursor::of(ctx);
    at.skip(plan.addr_at as usize);
    at.put((0x0a00_0000 | flow).to_be_bytes())?;
    let mut at = Cursor::of(ctx);
    at.skip(plan.port_at as usize);
    at.put((1_024 + (flow & 0x7fff) as u16).to_be_bytes())
}

/// Ethernet and an outer header with length and, in IPv4, the checksum of all but the length.
const HEADERS_V4: [u8; 34] = [
    2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 2, 8, 0, // Ethernet
    0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
];
const SUM_V4: u16 = 0xd907; // Of the above without a length; the length is added.
const HEADERS_V6: [u8; 54] = [
    2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, // Ethernet
    0x60, 0, 0, 0, 0, 0, 41, 64, // IPv6, then source and destination
    0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
    0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
];

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "frames are below 64 KiB")]
fn constant_ipv4(ctx: &XdpContext) -> Option<()> {
    // SAFETY: the context is the one the program was called with.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -20) } != 0 {
        return None;
    }
    let mut at = Cursor::of(ctx);
    let total_len = (at.len() - 14) as u16;
    let header = at;
    at.put_copy(&HEADERS_V4)?;
    header.put_at(16, total_len.to_be_bytes())?;
    header.put_at(24, (!ones_add(SUM_V4, total_len)).to_be_bytes())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "frames are below 64 KiB")]
fn constant_ipv6(ctx: &XdpContext) -> Option<()> {
    // SAFETY: the context is the one the program was called with.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -40) } != 0 {
        return None;
    }
    let mut at = Cursor::of(ctx);
    let payload_len = (at.len() - 54) as u16;
    let header = at;
    at.put_copy(&HEADERS_V6)?;
    header.put_at(18, payload_len.to_be_bytes())
}
