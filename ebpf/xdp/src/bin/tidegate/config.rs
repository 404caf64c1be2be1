//! What is constant while the program is loaded: values, and which features are wanted. What depends
//! on a feature that is not wanted is removed when the program is loaded, and so is the question; so
//! a feature is asked for where it is needed.

use core::arch::asm;

use tidegate_abi::{CaptureFilter, DatapathConfig, features as bits};

/// Written by the daemon before the program is loaded.
#[unsafe(no_mangle)]
static CONFIG: DatapathConfig = DatapathConfig {
    hash_seed: 0,
    features: 0,
    too_big_interval_ns: 0,
    vary_v4: 0,
    vary_v6: 0,
    vip_lens_v4: 0,
    vip_lens_v6: 0,
    burst_ns: 0,
    source_open_v4: 0,
    source_open_v6: 0,
    nat_port_first: 0,
    nat_port_count: 0,
    flow_chance: 0,
    reserved: 0,
    flow_interval_ns: 0,
};

/// Which packets are captured, if any are; likewise.
#[unsafe(no_mangle)]
static CAPTURE: CaptureFilter = CaptureFilter {
    until_ns: 0,
    verdicts: 0,
    dst: [0; 2],
    dst_mask: [0; 2],
    src: [0; 2],
    src_mask: [0; 2],
    port: 0,
    proto: 0,
    snap: 0,
    reserved: 0,
};

/// Which packets are captured.
#[inline(always)]
pub(crate) fn capture() -> CaptureFilter {
    // SAFETY: a static, aligned and never written while the program runs.
    unsafe { (&raw const CAPTURE).read_volatile() }
}

/// One field, read where it stands: the compiler must not take it for the value that stands here.
macro_rules! constant {
    ($($(#[$doc:meta])* $name:ident: $ty:ty,)+) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name() -> $ty {
                // SAFETY: a field of a static, aligned and never written while the program runs.
                unsafe { (&raw const CONFIG.$name).read_volatile() }
            }
        )+
    };
}

constant! {
    /// Seed of the flow hash.
    hash_seed: u64,
    /// Nanoseconds between two answers to packets that are too big.
    too_big_interval_ns: u64,
    /// Bits of an outer IPv4 source that the flow chooses.
    vary_v4: u32,
    /// The same for the last four bytes of an IPv6 source.
    vary_v6: u32,
    /// Lengths of VIPs that are prefixes.
    vip_lens_v4: u64,
    /// The same for IPv6.
    vip_lens_v6: u64,
    /// How long a token bucket takes to fill up.
    burst_ns: u64,
    /// Bits of an IPv4 address that do not tell sources apart.
    source_open_v4: u32,
    /// The same for the first word of an IPv6 address.
    source_open_v6: u32,
    /// The first port that connections in NAT may get.
    nat_port_first: u32,
    /// How many there are.
    nat_port_count: u32,
    /// A packet is told of by chance if a random word is not above this.
    flow_chance: u32,
    /// Nanoseconds between two packets that are told of for the same reason.
    flow_interval_ns: u64,
}

/// Whether any of these features is wanted.
///
/// The branch is on a number that the caller has at hand, and does not depend on it: the daemon makes
/// it one that is always taken, or never, before it loads the program. Both are so for every number,
/// so the verifier leaves out the way that is not taken, and the branch. What is asked here, and not
/// wanted, takes no instruction.
#[inline(always)]
pub(crate) fn has<const FEATURES: u64>(at_hand: u32) -> bool {
    // SAFETY: both ways are fine, and nothing is read or written.
    unsafe {
        asm!(
            "if {at_hand} & {mark} goto {wanted}",
            at_hand = in(reg) at_hand,
            mark = const bits::mark(FEATURES),
            wanted = label {
                // No instruction, but a place that nothing else leads to.
                // SAFETY: there is none.
                unsafe { asm!("", options(nomem, nostack, preserves_flags)) };
                return true;
            },
            options(nomem, nostack, preserves_flags),
        );
    }
    false
}

/// Whether this is a proof copy, which leaves no trace: asked wherever something is counted,
/// remembered or limited, and where another program would go on.
#[inline(always)]
pub(crate) fn is_proof(at_hand: u32) -> bool {
    has::<{ bits::PROOF }>(at_hand)
}
