//! The programs that the packet path tail-calls: what few packets need.

use aya::Ebpf;
use aya::maps::{MapData, ProgramArray};
use tidegate_abi::{map_names, rare};

use super::error::Error;
use super::{maps, program};

/// Empties the rows that these features do not need: when no program runs any more that does.
pub(crate) fn clear_others(rows: &mut ProgramArray<MapData>, features: u64) -> Result<(), Error> {
    for row in (0..rare::COUNT).filter(|row| !rare::is_needed(*row, features)) {
        let cleared = maps::absent_is_fine(rows.clear_index(&row));
        cleared.map_err(|error| Error::kernel("write the map RARE", error))?;
    }
    Ok(())
}

/// Those that these features need.
pub(crate) fn needed(features: u64) -> impl Iterator<Item = &'static str> {
    let rows = (0..).zip(rare::NAMES);
    rows.filter(move |(row, _)| rare::is_needed(*row, features)).map(|(_, name)| name)
}

/// Puts those that these features need, loaded, into their rows. In a pinned map the program that
/// still runs goes on with the new ones, and with those that it alone needs.
///
/// The map keeps the programs while it is pinned, or while the value that is returned lives.
pub(crate) fn install(ebpf: &mut Ebpf, features: u64) -> Result<ProgramArray<MapData>, Error> {
    let mut rows: ProgramArray<MapData> = maps::take(ebpf, map_names::RARE)?;
    put(&mut rows, ebpf, features)?;
    Ok(rows)
}

/// Puts them there.
pub(crate) fn put(
    rows: &mut ProgramArray<MapData>,
    ebpf: &Ebpf,
    features: u64,
) -> Result<(), Error> {
    let failed = |error| Error::kernel("write the map RARE", error);
    for (row, name) in (0..).zip(rare::NAMES) {
        if rare::is_needed(row, features) {
            let fd = program(ebpf, name)?.fd().map_err(|error| Error::program(name, error))?;
            rows.set(row, fd, 0).map_err(failed)?;
        }
    }
    Ok(())
}
