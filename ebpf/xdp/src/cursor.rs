use core::hint::black_box;

use aya_ebpf::helpers::bpf_csum_diff;
use aya_ebpf::programs::XdpContext;

use crate::wire::Wire;

/// A place in the frame, and the end of the frame.
///
/// Good until the frame is resized: then the kernel may have moved it, and a new one is needed.
#[derive(Clone, Copy)]
pub struct Cursor {
    at: usize,
    end: usize,
}

impl Cursor {
    /// The start of the frame.
    #[inline(always)]
    pub fn of(ctx: &XdpContext) -> Self {
        Self { at: ctx.data(), end: ctx.data_end() }
    }

    /// Bytes from here to the end of the frame.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end - self.at
    }

    /// Whether this is the end of the frame.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// What stands here, and moves behind it; `None` if the frame ends before.
    #[inline(always)]
    pub fn take<T: Wire>(&mut self) -> Option<T> {
        let value = self.peek()?;
        self.at += size_of::<T>();
        Some(value)
    }

    /// What stands here; `None` if the frame ends before.
    #[inline(always)]
    pub fn peek<T: Wire>(&self) -> Option<T> {
        if self.at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: `T` is plain bytes without alignment, and all of them lie before the end.
        Some(unsafe { (self.at as *const T).read() })
    }

    /// The sixteen bytes that stand here, as two words of which the first byte is the highest;
    /// `None` if the frame ends before.
    #[inline(always)]
    pub fn peek_words(&self) -> Option<[u64; 2]> {
        if self.at + size_of::<[u64; 2]>() > self.end {
            return None;
        }
        let at = self.at as *const u64;
        // SAFETY: all of them lie before the end, and no alignment is asked for.
        let (high, low) = unsafe { (at.read_unaligned(), at.add(1).read_unaligned()) };
        Some([u64::from_be(high), u64::from_be(low)])
    }

    /// Writes and moves behind it; `None`, with nothing written, if the frame ends before.
    #[inline(always)]
    pub fn put<T: Wire>(&mut self, value: T) -> Option<()> {
        if self.at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: `T` is plain bytes without alignment, and all of them lie before the end.
        unsafe { (self.at as *mut T).write(value) };
        self.at += size_of::<T>();
        Some(())
    }

    /// Writes so many bytes further on; `None`, with nothing written, if the frame ends before.
    #[inline(always)]
    pub fn put_at<T: Wire>(mut self, offset: usize, value: T) -> Option<()> {
        self.skip(offset);
        self.put(value)
    }

    /// Writes a copy and moves behind it; `None`, with nothing written, if the frame ends before.
    ///
    /// The same as [`put`](Self::put), but in words: the compiler copies what has no alignment byte
    /// by byte, though every 64-bit machine reads and writes words anywhere.
    #[inline(always)]
    pub fn put_copy<const LEN: usize>(&mut self, from: &[u8; LEN]) -> Option<()> {
        if self.at + LEN > self.end {
            return None;
        }
        let (from, to) = (from.as_ptr(), self.at as *mut u8);
        let mut done = 0;
        while done + 8 <= LEN {
            // SAFETY: both have LEN bytes, of which these are eight; they need no alignment.
            unsafe { copy::<u64>(from.add(done), to.add(done)) };
            done += 8;
        }
        if done + 4 <= LEN {
            // SAFETY: as above, four bytes.
            unsafe { copy::<u32>(from.add(done), to.add(done)) };
            done += 4;
        }
        if done + 2 <= LEN {
            // SAFETY: as above, two bytes.
            unsafe { copy::<u16>(from.add(done), to.add(done)) };
            done += 2;
        }
        if done < LEN {
            // SAFETY: as above, the last byte.
            unsafe { copy::<u8>(from.add(done), to.add(done)) };
        }
        self.at += LEN;
        Some(())
    }

    /// Bytes before this place, which must be below `MASK + 1`, a power of two.
    ///
    /// Changes nothing, but hides the way that led here: the verifier then follows all ways that
    /// meet here as one, instead of each of them to the end of the program.
    #[inline(always)]
    pub fn settle<const MASK: usize>(&mut self, ctx: &XdpContext) -> usize {
        let start = ctx.data();
        let offset = black_box(self.at).wrapping_sub(start) & MASK;
        self.at = start + offset;
        offset
    }

    /// Adds the sum of the next `LEN` bytes, a multiple of four and at most 512, to `seed`; `None`
    /// if the frame ends before. [`fold`](crate::wire::fold) makes a checksum of it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most 512")]
    pub fn sum<const LEN: usize>(&self, seed: u32) -> Option<u32> {
        const { assert!(LEN.is_multiple_of(4) && LEN <= 512) };
        if self.at + LEN > self.end {
            return None;
        }
        let (none, start) = (core::ptr::null_mut(), self.at as *mut u32);
        // SAFETY: that many bytes lie before the end, and the kernel only reads them.
        let sum = unsafe { bpf_csum_diff(none, 0, start, LEN as u32, seed) };
        u32::try_from(sum).ok()
    }

    /// Moves back.
    #[inline(always)]
    pub fn back(&mut self, len: usize) {
        self.at -= len;
    }

    /// Moves on, maybe behind the end: what is taken there is `None`.
    #[inline(always)]
    pub fn skip(&mut self, len: usize) {
        self.at += len;
    }
}

/// # Safety
/// As many bytes as `T` has may be read at one and written at the other place.
#[inline(always)]
unsafe fn copy<T: Copy>(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise; no alignment is asked for.
    unsafe { to.cast::<T>().write_unaligned(from.cast::<T>().read_unaligned()) };
}
