//! A cursor over received bytes: what is not there is `None`, never a panic.

/// The bytes not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Takes `len` octets, at most `LEN`. Behind them stands what follows, or zeros: a copy of a
    /// fixed size is cheap, and who reads a prefix masks the rest anyway.
    #[inline]
    pub(super) fn array_of<const LEN: usize>(&mut self, len: usize) -> Option<[u8; LEN]> {
        let from_here = self.0;
        let taken = self.take(len).filter(|_| len <= LEN)?;
        Some(from_here.first_chunk::<LEN>().copied().unwrap_or_else(|| {
            let mut octets = taken.iter().copied();
            [(); LEN].map(|()| octets.next().unwrap_or(0))
        }))
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
}
