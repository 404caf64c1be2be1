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
    /// Slots from here on are zero: a look need not read a million of them.
    end: usize,
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
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        let mut slots = Self { start, end: COUNT };
        slots.end = slots.used().len();
        Ok(slots)
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned and maps COUNT words until `self` is dropped; others
        // (the kernel) change them, which is what atomics are for.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), COUNT) }
    }

    /// The slots up to the last one that is not zero.
    pub(crate) fn used(&self) -> Vec<Slot> {
        let words = self.words().iter().take(self.end);
        let mut slots: Vec<Slot> =
            words.map(|word| Slot::from_word(word.load(Ordering::Relaxed))).collect();
        let zero = Slot::settled(0);
        let used = slots.iter().rposition(|slot| *slot != zero).map_or(0, |last| last + 1);
        slots.truncate(used);
        slots
    }

    /// Whether a slot of this ring is in transition.
    pub(crate) fn any_in_transition(&self, offset: u32, size: u32) -> bool {
        let [offset, size] =
            [offset, size].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let ring = self.words().iter().skip(offset).take(size);
        ring.map(|word| Slot::from_word(word.load(Ordering::Relaxed)))
            .any(|slot| !slot.is_settled())
    }

    /// Stores a slot; `false` if there is no such slot.
    #[must_use]
    pub(crate) fn store(&mut self, index: u32, slot: Slot) -> bool {
        let Ok(index) = usize::try_from(index) else { return false };
        let Some(word) = self.words().get(index) else { return false };
        // Release: what the slot names was written before.
        word.store(slot.to_word(), Ordering::Release);
        self.end = self.end.max(index + 1);
        true
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing borrows from a value that is dropped.
        let unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), LEN_BYTES) };
        debug_assert_eq!(unmapped, 0, "munmap refuses only what was never mapped");
    }
}
