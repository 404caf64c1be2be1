//! Out of the interface the backend is reached through.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::Counter;

use crate::maps::DEVICES;

/// Back out where it came in, or through another device.
///
/// The kernel performs a redirect after the program has ended, so a device that is gone by then
/// shows in the kernel's counters, not in ours.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the context holds 32 bits")]
pub(crate) fn towards(ctx: &XdpContext, egress_ifindex: u32) -> Result<Counter, Counter> {
    if ctx.ingress_ifindex() as u32 == egress_ifindex {
        return Ok(Counter::ForwardTx);
    }
    match DEVICES.redirect(egress_ifindex, 0) {
        Ok(_) => Ok(Counter::ForwardRedirect),
        Err(_) => Err(Counter::DropUnresolved),
    }
}
