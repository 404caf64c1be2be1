//! What the programs of this crate share: reading and writing frames.
//!
//! Promise: no access outside of the frame. [`Cursor`] is the only way to its bytes, and the
//! kernel's verifier checks that it never forgets a bound.

#![no_std]

mod cursor;
pub mod resize;
pub mod wire;

pub use cursor::Cursor;

/// Needed by every `no_std` program, and unreachable in these: the verifier would refuse a program
/// that could get here, as it never returns.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Declares the licence of a program, once per object. Kernel helpers ask for one that is
/// compatible with the GPL.
#[macro_export]
macro_rules! license {
    () => {
        /// Read by the loader.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "license")]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
    };
}
