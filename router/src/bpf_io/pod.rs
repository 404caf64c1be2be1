//! The bridge between the ABI's layouts and the loader's.

#![expect(unsafe_code, reason = "the one promise to the loader, see SAFETY")]

use tidegate_abi::Plain;

/// A layout of the ABI, as the loader takes keys and values.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Pod<T: Plain>(
    /// The layout.
    pub T,
);

// SAFETY: `Plain` is sealed: only the ABI's layouts have it, each is fixed-width unsigned integers
// and arrays of them in `repr(C)`, checked at compile time to have no padding. So every byte is
// initialized and every pattern of bytes is a value.
unsafe impl<T: Plain> aya::Pod for Pod<T> {}
