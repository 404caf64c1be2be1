//! The directory under a BPF file system in which everything outlives the daemon.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use aya::maps::{MapInfo, MapType};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tidegate_abi::{
    BACKENDS_MAX, Backend, Buckets, CAPTURE_RING_BYTES, Counter, DEVICES_MAX, DatagramKey,
    FLOW_KINDS, FLOW_RING_BYTES, FLOWS_MAX, FRAGMENTS_MAX, FlowDraft, FlowKey, Limit,
    NAT_FLOWS_MAX, NatAnswer, NatFlow, PREFIXES_ROOM, Ports, PrefixV4, PrefixV6, QUIC_SERVERS_ROOM,
    QuicKey, RING_SLOTS_MAX, Rates, SERVICES_MAX, SOURCE_BUCKETS, Service, ServiceKeyV4,
    ServiceKeyV6, Slot, Told, Traffic, UDP_FLOWS_MAX, features, map_names, rare,
};

use super::error::Error;
use super::sys;

/// Name of the pinned program.
pub(crate) const PROGRAM: &str = "program";

/// What a map must look like for the program to use it.
pub(crate) struct Shape {
    /// Name of the map, and of its pin.
    pub(crate) name: &'static str,
    kind: MapType,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
}

const fn shape<K, V>(name: &'static str, kind: MapType, max_entries: u32) -> Shape {
    Shape { name, kind, key_size: size_of::<K>(), value_size: size_of::<V>(), max_entries }
}

/// All maps of the packet path.
pub(crate) const SHAPES: [Shape; 25] = [
    shape::<ServiceKeyV4, Service>(map_names::SERVICES_V4, MapType::Hash, SERVICES_MAX),
    shape::<ServiceKeyV6, Service>(map_names::SERVICES_V6, MapType::Hash, SERVICES_MAX),
    shape::<u32, Slot>(map_names::RING_SLOTS, MapType::Array, RING_SLOTS_MAX),
    shape::<u32, Backend>(map_names::BACKENDS, MapType::Array, BACKENDS_MAX),
    shape::<FlowKey, u32>(map_names::FLOWS, MapType::Hash, FLOWS_MAX),
    shape::<FlowKey, u32>(map_names::UDP_FLOWS, MapType::LruHash, UDP_FLOWS_MAX),
    shape::<DatagramKey, Ports>(map_names::FRAGMENTS, MapType::LruHash, FRAGMENTS_MAX),
    shape::<QuicKey, u32>(map_names::QUIC_SERVERS, MapType::Hash, QUIC_SERVERS_ROOM),
    shape::<FlowKey, NatFlow>(map_names::NAT_FLOWS, MapType::Hash, NAT_FLOWS_MAX),
    shape::<FlowKey, NatAnswer>(map_names::NAT_ANSWERS, MapType::Hash, NAT_FLOWS_MAX),
    shape::<u32, Traffic>(map_names::SERVICE_TRAFFIC, MapType::PerCpuArray, SERVICES_MAX),
    shape::<u32, Traffic>(map_names::BACKEND_TRAFFIC, MapType::PerCpuArray, BACKENDS_MAX),
    shape::<u32, u64>(map_names::COUNTERS, MapType::PerCpuArray, Counter::COUNT),
    // The value is the kernel's struct bpf_devmap_val.
    shape::<u32, [u32; 2]>(map_names::DEVICES, MapType::DevMapHash, DEVICES_MAX),
    shape::<u32, u64>(map_names::LIMITS, MapType::PerCpuArray, Limit::COUNT),
    shape::<PrefixV4, u32>(map_names::PREFIXES_V4, MapType::LpmTrie, PREFIXES_ROOM),
    shape::<PrefixV6, u32>(map_names::PREFIXES_V6, MapType::LpmTrie, PREFIXES_ROOM),
    shape::<u32, Rates>(map_names::RATES, MapType::Array, SERVICES_MAX),
    shape::<u32, Buckets>(map_names::SERVICE_BUCKETS, MapType::Array, SERVICES_MAX),
    shape::<u32, Buckets>(map_names::SOURCE_BUCKETS, MapType::Array, SOURCE_BUCKETS),
    shape::<(), ()>(map_names::FLOW_RECORDS, MapType::RingBuf, FLOW_RING_BYTES),
    shape::<u32, FlowDraft>(map_names::FLOW_DRAFT, MapType::PerCpuArray, 1),
    shape::<u32, u64>(map_names::FLOW_LIMITS, MapType::PerCpuArray, FLOW_KINDS),
    shape::<u32, u64>(map_names::FLOW_COUNTS, MapType::PerCpuArray, Told::COUNT),
    shape::<u32, u32>(map_names::RARE, MapType::ProgramArray, rare::COUNT),
];

/// Maps that are not in their first layout any more, with the number of the one that they are in. Who
/// changes what the octets of a key or value mean, or how many entries there are, gives the map the
/// next number: this version then makes a map of its own beside the one that packets meet, and fills
/// it before the program is swapped.
const LAYOUTS: &[(&str, u32)] = &[];

/// The number of a map's layout. What names backends by their place in `BACKENDS` is new with that,
/// and the programs that are tail-called belong to one program only.
fn layout(name: &str, layouts: &[(&str, u32)]) -> u32 {
    let later = |name: &str| {
        layouts.iter().find(|(of, _)| *of == name).map_or(0, |(_, number)| number.saturating_sub(1))
    };
    1 + match name {
        map_names::RARE => layouts.iter().map(|(of, _)| later(of)).sum(),
        map_names::RING_SLOTS
        | map_names::FLOWS
        | map_names::UDP_FLOWS
        | map_names::QUIC_SERVERS
        | map_names::NAT_FLOWS
        | map_names::NAT_ANSWERS
        | map_names::BACKEND_TRAFFIC => later(name) + later(map_names::BACKENDS),
        _ => later(name),
    }
}

/// Where a map is pinned.
pub(crate) fn path(dir: &Path, name: &str) -> PathBuf {
    match layout(name, LAYOUTS) {
        1 => dir.join(name),
        number => dir.join(format!("{name}_{number}")),
    }
}

/// There while maps are filled that packets do not meet yet.
const FILLING: &str = "filling";

/// Whether packets meet maps of another layout than ours, which are to be filled first. That is so
/// from the first look on until [`is_filled`].
pub(crate) fn is_behind(dir: &Path) -> Result<bool, Error> {
    let filling = dir.join(FILLING);
    let has_all = SHAPES.iter().all(|shape| path(dir, shape.name).exists());
    let is_behind = filling.exists() || (!has_all && !of_other_layouts(dir)?.is_empty());
    if is_behind {
        fs::create_dir_all(&filling)
            .map_err(|cause| Error::pin("make the directory", &filling, cause))?;
    }
    Ok(is_behind)
}

/// Packets meet our maps from now on: those of other layouts go.
pub(crate) fn is_filled(dir: &Path) -> Result<(), Error> {
    of_other_layouts(dir)?.iter().try_for_each(|pin| remove(pin))?;
    remove_filling(dir)
}

fn remove_filling(dir: &Path) -> Result<(), Error> {
    let filling = dir.join(FILLING);
    match fs::remove_dir(&filling) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Error::pin("remove the directory", &filling, cause))
        }
        _ => Ok(()),
    }
}

/// Pins of our maps' names that are not ours.
fn of_other_layouts(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |cause| Error::pin("read", dir, cause);
    let mut others = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_of = |of: &str| {
            let rest = name.to_str().and_then(|name| name.strip_prefix(of));
            rest.is_some_and(|rest| {
                let number = rest.strip_prefix('_').unwrap_or(rest);
                number.bytes().all(|octet| octet.is_ascii_digit())
            })
        };
        let of = SHAPES.iter().find(|shape| is_of(shape.name));
        if of.is_some_and(|shape| path(dir, shape.name) != entry.path()) {
            others.push(entry.path());
        }
    }
    Ok(others)
}

/// The smallest ring that the kernel makes: a page.
const NO_RECORDS: u32 = 1 << 12;

/// The maps that are large only with the features that use them, and how large with these.
pub(crate) const fn rooms(features: u64) -> [(&'static str, u32); 3] {
    let buckets = if features & features::SOURCE_RATES == 0 { 1 } else { SOURCE_BUCKETS };
    let records = if features & features::FLOWS == 0 { NO_RECORDS } else { FLOW_RING_BYTES };
    let captures = if features & features::CAPTURE == 0 { NO_RECORDS } else { CAPTURE_RING_BYTES };
    [
        (map_names::SOURCE_BUCKETS, buckets),
        (map_names::FLOW_RECORDS, records),
        (map_names::CAPTURE_RECORDS, captures), // Not pinned.
    ]
}

/// Lets go of those that are pinned with another size. Whoever still uses them keeps them; what was
/// in them is over in a moment.
pub(crate) fn make_room(dir: &Path, rooms: &[(&str, u32)]) -> Result<(), Error> {
    for (name, room) in rooms {
        let path = path(dir, name);
        match MapInfo::from_pin(&path) {
            Ok(info) if info.max_entries() != *room => remove(&path)?,
            Ok(_) | Err(_) => {} // What is not there is made; what is no map is refused by others.
        }
    }
    Ok(())
}

/// Makes the directory if it is missing, and looks whether what is pinned there can be used.
pub(crate) fn prepare(dir: &Path) -> Result<(), Error> {
    let existing = dir.ancestors().find(|part| part.exists()).unwrap_or(dir);
    let is_bpf = statfs(existing).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !is_bpf {
        let usual = Path::new("/sys/fs/bpf");
        let parent = dir.parent().unwrap_or(dir);
        let mount_point = if dir.starts_with(usual) { usual } else { parent };
        return Err(Error::NoBpfFileSystem {
            path: dir.to_owned(),
            mount_point: mount_point.to_owned(),
        });
    }
    fs::create_dir_all(dir).map_err(|cause| Error::pin("make the directory", dir, cause))?;
    SHAPES.iter().try_for_each(|shape| check(shape, &path(dir, shape.name)))
}

fn check(shape: &Shape, path: &Path) -> Result<(), Error> {
    match path.try_exists() {
        Ok(false) => return Ok(()),
        Ok(true) => {}
        Err(cause) => return Err(Error::pin("open the map", path, cause)),
    }
    let unknown = |error| Error::kernel(format!("open the pinned map {}", path.display()), error);
    let info = MapInfo::from_pin(path).map_err(unknown)?;
    let found = description(
        info.map_type().map_err(unknown)?,
        info.key_size(),
        info.value_size(),
        info.max_entries(),
    );
    let size = |size| u32::try_from(size).unwrap_or(u32::MAX);
    let wanted =
        description(shape.kind, size(shape.key_size), size(shape.value_size), shape.max_entries);
    let small = rooms(0).contains(&(shape.name, info.max_entries()));
    if found == wanted || small {
        return Ok(());
    }
    Err(Error::PinnedShape { path: path.to_owned(), found, wanted })
}

fn description(kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> String {
    format!("{kind:?} of {max_entries} entries, {key_size}-byte keys, {value_size}-byte values")
}

/// Pins an object in the place of what is pinned there.
pub(crate) fn replace(object: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    remove(path)?;
    sys::pin(object, path).map_err(|cause| Error::pin("pin the program at", path, cause))
}

/// Removes the pins of program and maps, and the directory if nothing else is in it.
pub(crate) fn remove_all(dir: &Path) -> Result<(), Error> {
    if dir.exists() {
        is_filled(dir)?;
    }
    SHAPES.iter().try_for_each(|shape| remove(&path(dir, shape.name)))?;
    remove(&dir.join(PROGRAM))?;
    match fs::remove_dir(dir) {
        // Somebody else's pins are in it, or it is the mount point: both are fine.
        Err(cause)
            if !matches!(
                cause.kind(),
                io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::ResourceBusy
            ) =>
        {
            Err(Error::pin("remove the directory", dir, cause))
        }
        _ => Ok(()),
    }
}

/// Removes a pin; one that is not there is no mistake.
pub(crate) fn remove(pin: &Path) -> Result<(), Error> {
    match fs::remove_file(pin) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Error::pin("remove the pin", pin, cause))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_backends_by_number_is_new_with_them() {
        use map_names::{BACKENDS, COUNTERS, FLOWS, RARE, RING_SLOTS, SERVICES_V4};
        let names = [SERVICES_V4, BACKENDS, RING_SLOTS, FLOWS, COUNTERS, RARE];
        let of = |layouts: &[(&str, u32)]| names.map(|name| layout(name, layouts));
        assert_eq!(of(&[]), [1, 1, 1, 1, 1, 1]);
        assert_eq!(of(&[(SERVICES_V4, 2)]), [2, 1, 1, 1, 1, 2]);
        assert_eq!(of(&[(BACKENDS, 2)]), [1, 2, 2, 2, 1, 2]);
        assert_eq!(of(&[(BACKENDS, 3), (FLOWS, 2)]), [1, 3, 3, 4, 1, 4]);
    }

    #[test]
    fn pins_of_other_layouts_are_known_by_their_names() {
        let dir = std::env::temp_dir().join(format!("tidegate-pins-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        for name in
            ["FLOWS", "FLOWS_2", "FLOW_DRAFT_7", "SERVICES_V4", "SERVICES_V4_12", "link_3_native"]
        {
            fs::write(dir.join(name), "").unwrap();
        }
        let mut found = of_other_layouts(&dir).unwrap();
        found.sort_unstable();
        let is_behind = is_behind(&dir).unwrap();
        let filling = dir.join(FILLING).exists();
        is_filled(&dir).unwrap();
        let left = fs::read_dir(&dir).unwrap().count();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, ["FLOWS_2", "FLOW_DRAFT_7", "SERVICES_V4_12"].map(|name| dir.join(name)));
        assert!(is_behind && filling);
        assert_eq!(left, 3);
    }
}
