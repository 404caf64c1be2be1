//! What few packets need lies in programs of its own: it costs the others nothing, and the verifier
//! looks at each by itself.
//!
//! A program that is called so starts anew with the frame as it came. Nothing is handed over: what
//! it needs it reads again, so programs of two versions can meet while one replaces the other.

use aya_ebpf::programs::XdpContext;

use crate::config;
use crate::maps::RARE;

/// Ends this program and goes on with the one in this row. Comes back only if there is none, and in
/// a proof copy: those programs are the attached one's, and leave traces.
#[inline(always)]
pub(crate) fn go_on(ctx: &XdpContext, row: u32) {
    if config::is_proof(row) {
        return;
    }
    // SAFETY: the context is the one the program was called with, the programs take the same.
    unsafe { RARE.tail_call(ctx, row) };
}
