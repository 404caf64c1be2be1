//! The ring in which the packet path leaves records of packets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::Error;
use super::maps::take;

/// Reads them, each once.
pub(crate) struct Records(RingBuf<MapData>);

impl Records {
    pub(crate) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, Error> {
        take(ebpf, name).map(Self)
    }

    /// Hands on as many as there are, `most` at most; returns how many.
    pub(crate) fn drain(&mut self, most: usize, mut on: impl FnMut(&[u8])) -> usize {
        for count in 0..most {
            match self.0.next() {
                Some(record) => on(&record),
                None => return count,
            }
        }
        most
    }
}

impl Records {
    /// Waits for them with the runtime.
    ///
    /// # Errors
    /// What the kernel says.
    #[expect(unsafe_code, reason = "the promise to the runtime, see SAFETY")]
    pub(crate) fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: it owns the descriptor of its map, always the same, until it is dropped, and nobody
        // who has it behind an `AsyncFd` can close it.
        let watched = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        watched.map_err(io::Error::from)
    }
}

impl AsFd for Records {
    /// Readable when there is one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Records {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
