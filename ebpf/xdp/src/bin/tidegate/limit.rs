//! Token buckets, kept as one time: when the next token comes (the generic cell rate algorithm).

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tidegate_abi::Limit;

use crate::maps::LIMITS;

/// How long a bucket fills up: so much may come at once after a pause.
const BURST_NS: u64 = 100_000_000;

/// Takes a token from this CPU's bucket, which gets one every `interval_ns`.
#[inline(always)]
pub(crate) fn allows(limit: Limit, interval_ns: u64) -> bool {
    allows_in(LIMITS.get_ptr_mut(limit as u32), interval_ns)
}

/// The same of a bucket in this row of a map.
#[inline(always)]
pub(crate) fn allows_in(row: Option<*mut u64>, interval_ns: u64) -> bool {
    let Some(next) = row else { return false };
    let now = now_ns();
    // SAFETY: this CPU's value, aligned; the reference ends with this function.
    let next = unsafe { &mut *next };
    let at = if *next < now { now } else { *next };
    if at - now > BURST_NS {
        return false;
    }
    *next = at + interval_ns;
    true
}

/// The kernel's monotonic clock.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: no arguments, no conditions.
    unsafe { bpf_ktime_get_ns() }
}
