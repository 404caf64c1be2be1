//! What a program that captures packets leaves of them.

use std::fmt;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use tidegate_abi::{Captured, map_names};

use super::error::Error;
use super::maps::take;
use super::records::Records;

/// The maps of a program that captures, its own alone.
const MAPS: [&str; 3] =
    [map_names::CAPTURE_RECORDS, map_names::CAPTURE_DRAFT, map_names::CAPTURE_COUNTS];

/// Captured packets, and how many there were.
pub struct Captures {
    pub(crate) records: Records,
    pub(crate) counts: Counts,
}

/// How many packets that are wanted there were.
pub(crate) struct Counts(PerCpuArray<MapData, u64>);

impl fmt::Debug for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captures").finish_non_exhaustive()
    }
}

impl Captures {
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let records = Records::take(ebpf, map_names::CAPTURE_RECORDS)?;
        Ok(Self { records, counts: Counts(take(ebpf, map_names::CAPTURE_COUNTS)?) })
    }

    /// Hands on as many records as there are, `most` at most; returns how many.
    pub fn drain(&mut self, most: usize, on: impl FnMut(&[u8])) -> usize {
        self.records.drain(most, on)
    }

    /// Packets that were wanted and found no room.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lost(&self) -> Result<u64, Error> {
        self.counts.lost()
    }
}

impl Counts {
    pub(crate) fn lost(&self) -> Result<u64, Error> {
        let row = Captured::Lost as u32;
        let values = self.0.get(&row, 0);
        let values = values.map_err(|error| Error::kernel("read the map CAPTURE_COUNTS", error))?;
        Ok(values.iter().sum())
    }
}

/// Lets go of the maps where nobody captures.
pub(crate) fn forget(ebpf: &mut Ebpf) {
    for name in MAPS {
        drop(ebpf.take_map(name));
    }
}
