//! The ring slots in memory that we share with the program: a slot changes by one store.

#![expect(unsafe_code, reason = "mmap(2), and a slice over what it maps")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_abi::{RING_SLOTS_MAX, Slot};

const COUNT: usize = RING_SLOTS_MAX as usize;
const LEN_BYTES: usize = COUNT * size_of::<AtomicU64>();

/// All of `RING_SLOTS`, mapped. The mapping keeps the map alive.
#[derive(Debug)]
pub(crate) struct Slots {
    start: NonNull<AtomicU64>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only accessed atomically.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    /// Maps the array `RING_SLOTS`.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub(crate) fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel checks that the
        // map is an array with that many bytes.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), LEN_BYTES, protection, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(|start| Self { start }).ok_or_else(io::Error::last_os_error)
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned and maps COUNT words until `self` is dropped; others
        // (the kernel) change them, which is what atomics are for.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), COUNT) }
    }

    /// The first `count` slots, fewer if there are not so many.
    pub(crate) fn first(&self, count: usize) -> impl Iterator<Item = Slot> {
        self.words().iter().take(count).map(|word| Slot::from_word(word.load(Ordering::Relaxed)))
    }

    /// Stores a slot; `false` if there is no such slot.
    #[must_use]
    pub(crate) fn store(&self, index: u32, slot: Slot) -> bool {
        let word = usize::try_from(index).ok().and_then(|index| self.words().get(index));
        // Release: what the slot names was written before.
        word.map(|word| word.store(slot.to_word(), Ordering::Release)).is_some()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing borrows from a value that is dropped.
        let unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), LEN_BYTES) };
        debug_assert_eq!(unmapped, 0, "munmap refuses only what was never mapped");
    }
}
