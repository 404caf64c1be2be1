//! Longer and shorter frames. The kernel may move the frame: every cursor is void afterwards.

use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;

/// Moves the start of the frame by so many bytes, back if negative; `None` if there is no room.
#[inline(always)]
pub fn head(ctx: &XdpContext, delta: i32) -> Option<()> {
    // SAFETY: the context is the one the program was called with.
    (unsafe { bpf_xdp_adjust_head(ctx.ctx, delta) } == 0).then_some(())
}

/// Moves the end of the frame by so many bytes, back if negative; `None` if there is no room.
#[inline(always)]
pub fn tail(ctx: &XdpContext, delta: i32) -> Option<()> {
    // SAFETY: the context is the one the program was called with.
    (unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) } == 0).then_some(())
}
