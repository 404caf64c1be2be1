//! Counters: each CPU has its own, so plain adds lose nothing.
//!
//! In a proof copy nothing is counted: this is the one place that makes sure of it.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, Traffic};

use crate::config::is_proof;
use crate::flows;
use crate::maps::{BACKEND_TRAFFIC, COUNTERS, SERVICE_TRAFFIC};

/// Counts the verdict and says what the kernel shall do; a proof copy says which counter it was.
#[inline(always)]
pub(crate) fn verdict(ctx: &XdpContext, counter: Counter) -> u32 {
    if is_proof(counter as u32) {
        return counter as u32;
    }
    count(counter);
    flows::ended(ctx, counter);
    action(counter)
}

/// What the kernel shall do.
#[inline(always)]
pub(crate) fn action(verdict: Counter) -> u32 {
    if verdict == Counter::ForwardTx {
        return xdp_action::XDP_TX; // Nearly always.
    }
    match verdict {
        Counter::PassNotOurs
        | Counter::PassNotIp
        | Counter::PassBadHeader
        | Counter::PassGroupFrame
        | Counter::PassNeighbour
        | Counter::PassExpired => xdp_action::XDP_PASS,
        Counter::ForwardTx | Counter::EchoReply | Counter::AnswerTooBig | Counter::AnswerTx => {
            xdp_action::XDP_TX
        }
        Counter::ForwardRedirect | Counter::AnswerRedirect => xdp_action::XDP_REDIRECT,
        _ => xdp_action::XDP_DROP,
    }
}

/// Counts something that does not end the packet's walk.
#[inline(always)]
pub(crate) fn event(counter: Counter) {
    if !is_proof(counter as u32) {
        count(counter);
    }
}

#[inline(always)]
fn count(counter: Counter) {
    if let Some(count) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's value, aligned; nobody else writes it while the program runs here.
        unsafe { *count += 1 };
    }
}

/// Counts a frame of `len` bytes, as it came in, for its service and its backend.
#[inline(always)]
pub(crate) fn forwarded(service: u32, backend: u32, len: usize) {
    if is_proof(service) {
        return;
    }
    add(SERVICE_TRAFFIC.get_ptr_mut(service), len);
    add(BACKEND_TRAFFIC.get_ptr_mut(backend), len);
}

#[inline(always)]
fn add(row: Option<*mut Traffic>, len: usize) {
    let Some(row) = row else { return };
    // SAFETY: as above; the reference ends with this function.
    let traffic = unsafe { &mut *row };
    traffic.packets += 1;
    traffic.bytes += len as u64;
}
