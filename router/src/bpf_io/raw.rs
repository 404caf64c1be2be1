//! Maps as the kernel holds them, in hexadecimal: for people who look for a mistake in what is
//! written there.

use std::fmt::Write as _;
use std::path::Path;

use aya::maps::MapInfo;

use super::Error;
use super::pins::{self, SHAPES};
use super::sys;

/// Entries of a map that are shown.
pub(crate) const ENTRIES_MAX: usize = 1_000;
/// Entries of a map that are looked at: most of an array are zero, and not shown.
const LOOKED_AT_MAX: usize = 1 << 17;

/// Names of all maps of the packet path.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.name)
}

/// What a pinned map holds: a line for each entry that is not zero, key and value.
///
/// # Errors
/// It is not there, or is not ours to read.
pub(crate) fn text(pin_dir: &Path, name: &str) -> Result<String, Error> {
    let path = pins::path(pin_dir, name);
    let unknown = |error| Error::kernel(format!("open the pinned map {}", path.display()), error);
    let info = MapInfo::from_pin(&path).map_err(unknown)?;
    let kind = info.map_type().map_err(unknown)?;
    let (key, value, most) = (info.key_size(), info.value_size(), info.max_entries());
    let mut text = format!("{name}: {kind:?}, {most} entries of {key}+{value} bytes\n");
    let failed = |error| Error::kernel(format!("read the map {name}"), error);
    let map = sys::open_pinned(&path).map_err(failed)?;
    let per_cpu = format!("{kind:?}").contains("PerCpu");
    let cpus = if per_cpu { aya::util::nr_cpus().map_err(|(_, error)| failed(error))? } else { 1 };
    let size = |bytes: u32| usize::try_from(bytes).map_err(|error| Error::kernel("size", error));
    // The kernel rounds up what is for one CPU.
    let room = if per_cpu { size(value)?.next_multiple_of(8) * cpus } else { size(value)? };
    let mut entries = sys::Entries::of(&map, size(key)?, room);
    let (mut shown, mut looked_at) = (0, 0);
    while looked_at < LOOKED_AT_MAX {
        let Some((key, value)) = entries.step().map_err(failed)? else {
            return Ok(text);
        };
        looked_at += 1;
        if value.iter().all(|octet| *octet == 0) {
            continue;
        }
        shown += 1;
        if shown > ENTRIES_MAX {
            break;
        }
        hex(&mut text, key);
        text.push(' ');
        hex(&mut text, value);
        text.push('\n');
    }
    Ok(text + "and more\n")
}

fn hex(text: &mut String, octets: &[u8]) {
    for octet in octets {
        _ = write!(text, "{octet:02x}"); // A string takes everything.
    }
}
