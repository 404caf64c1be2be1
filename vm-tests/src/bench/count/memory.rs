//! What a program can point to: regions, each with addresses of its own, so that a wrong pointer
//! points to nothing.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for maps of any shape")]

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::maps::{MapInfo, MapType};
use aya::util::nr_cpus;

const MAP_LOOKUP: libc::c_int = 1; // enum bpf_cmd
/// In front of a frame (XDP_PACKET_HEADROOM).
const HEADROOM: usize = 256;
const STACK: usize = 512;
const FRAMES_MAX: usize = 8;
/// Addresses of maps themselves: no region is there.
const MAPS: u64 = 1 << 63;

/// A map of the loaded program.
#[derive(Debug)]
pub(super) struct KernelMap {
    fd: OwnedFd,
    key_len: usize,
    value_len: usize,
    /// Octets that the kernel writes: of each CPU's value for maps that are per CPU.
    read_len: usize,
}

impl KernelMap {
    pub(super) fn new(info: &MapInfo) -> Result<Self> {
        let value_len = usize::try_from(info.value_size())?;
        let cpus = nr_cpus().map_err(|(path, error)| anyhow!("{path}: {error}"))?;
        let read_len = match info.map_type()? {
            MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash => {
                value_len.next_multiple_of(8) * cpus
            }
            _ => value_len,
        };
        let fd = info.fd()?.as_fd().try_clone_to_owned()?;
        Ok(Self { fd, key_len: usize::try_from(info.key_size())?, value_len, read_len })
    }

    /// The value of a key, the first CPU's where each has one.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        #[repr(C)]
        struct Attr {
            map_fd: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        ensure!(key.len() == self.key_len, "a key of {} octets", key.len());
        let mut value = vec![0_u8; self.read_len];
        let attr = Attr {
            map_fd: self.fd.as_raw_fd().unsigned_abs(),
            pad: 0,
            key: key.as_ptr() as u64,
            value: value.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: key and value are as long as the map says that they are.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, MAP_LOOKUP, &raw const attr, size_of::<Attr>()) };
        if done < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(None),
                _ => Err(error.into()),
            };
        }
        value.truncate(self.value_len);
        Ok(Some(value))
    }
}

/// Octets that addresses lead to.
#[derive(Debug, Default)]
struct Region {
    octets: Vec<u8>,
    /// Never written while the program is loaded: the verifier knows what is there.
    constant: bool,
}

/// Which regions there are before maps are asked.
const PACKET: usize = 0;
const STACKS: usize = 1;
const CONTEXT: usize = 2;

#[derive(Debug)]
pub(super) struct Memory {
    regions: Vec<Region>,
    maps: Vec<Option<KernelMap>>,
    /// Regions of values that were asked for, `None` of those that are not there.
    values: HashMap<(usize, Vec<u8>), Option<usize>>,
    start: usize,
    ingress_ifindex: u32,
}

const fn address(region: usize, offset: usize) -> u64 {
    ((region as u64 + 1) << 32) + offset as u64
}

impl Memory {
    pub(super) fn new(maps: Vec<Option<KernelMap>>) -> Self {
        let region = |len| Region { octets: vec![0; len], constant: false };
        let regions = vec![region(0), region(STACK * FRAMES_MAX), region(0)];
        Self { regions, maps, values: HashMap::new(), start: HEADROOM, ingress_ifindex: 0 }
    }

    pub(super) fn receive(&mut self, frame: &[u8], ingress_ifindex: u32) {
        self.start = HEADROOM;
        self.ingress_ifindex = ingress_ifindex;
        if let Some(packet) = self.regions.get_mut(PACKET) {
            packet.octets = [&[0; HEADROOM], frame].concat();
        }
    }

    pub(super) fn frame(&self) -> &[u8] {
        let packet = self.regions.get(PACKET).map(|it| it.octets.as_slice()).unwrap_or_default();
        packet.get(self.start..).unwrap_or_default()
    }

    /// Where the context is.
    pub(super) const fn context() -> u64 {
        address(CONTEXT, 0)
    }

    /// The end of the stack of the nth function that was called.
    pub(super) fn stack(depth: usize) -> Result<u64> {
        ensure!(depth < FRAMES_MAX, "too many calls");
        Ok(address(STACKS, (depth + 1) * STACK))
    }

    /// A map, as programs point to it.
    pub(super) const fn map(index: u64) -> u64 {
        MAPS + index
    }

    fn map_at(&self, address: u64) -> Result<(usize, &KernelMap)> {
        let index = address.checked_sub(MAPS).and_then(|it| usize::try_from(it).ok());
        let index = index.context("this is no map")?;
        let map = self.maps.get(index).and_then(Option::as_ref);
        Ok((index, map.context("the loaded program has no such map")?))
    }

    /// The only value of a map of globals.
    pub(super) fn global(&mut self, index: u64, offset: u64) -> Result<u64> {
        let found = self.find(Self::map(index), &0_u32.to_ne_bytes())?;
        let region = found.context("globals are there")?;
        if let Some(region) = self.regions.get_mut(region) {
            region.constant = true; // There is .rodata, and nothing else.
        }
        Ok(address(region, 0) + offset)
    }

    fn find(&mut self, map: u64, key: &[u8]) -> Result<Option<usize>> {
        let (index, map) = self.map_at(map)?;
        let place = (index, key.to_vec());
        if let Some(&known) = self.values.get(&place) {
            return Ok(known);
        }
        let region = map.read(key)?.map(|octets| {
            self.regions.push(Region { octets, constant: false });
            self.regions.len() - 1
        });
        self.values.insert(place, region);
        Ok(region)
    }

    fn key(&self, map: u64, key: u64) -> Result<Vec<u8>> {
        let (_, map) = self.map_at(map)?;
        Ok(self.octets(key, map.key_len)?.to_vec())
    }

    /// bpf_map_lookup_elem
    pub(super) fn look_up(&mut self, map: u64, key: u64) -> Result<u64> {
        let key = self.key(map, key)?;
        Ok(self.find(map, &key)?.map_or(0, |region| address(region, 0)))
    }

    /// bpf_map_update_elem, into a map that has room.
    pub(super) fn update(&mut self, map: u64, key: u64, value: u64, flags: u64) -> Result<u64> {
        const NO_EXIST: u64 = 1;
        const EXISTS: i64 = -17;
        let key = self.key(map, key)?;
        let (index, kernel) = self.map_at(map)?;
        let octets = self.octets(value, kernel.value_len)?.to_vec();
        if let Some(region) = self.find(map, &key)? {
            if flags == NO_EXIST {
                return Ok(EXISTS.cast_unsigned());
            }
            if let Some(region) = self.regions.get_mut(region) {
                region.octets = octets;
            }
        } else {
            self.regions.push(Region { octets, constant: false });
            self.values.insert((index, key), Some(self.regions.len() - 1));
        }
        Ok(0)
    }

    /// bpf_map_delete_elem
    pub(super) fn delete(&mut self, map: u64, key: u64) -> Result<u64> {
        const NO_ENTRY: i64 = -2;
        let key = self.key(map, key)?;
        let was = self.find(map, &key)?;
        let (index, _) = self.map_at(map)?;
        self.values.insert((index, key), None);
        Ok(was.map_or(NO_ENTRY.cast_unsigned(), |_| 0))
    }

    /// Whether bpf_redirect_map finds a device: maps of devices have numbers as keys.
    pub(super) fn has(&mut self, map: u64, key: u32) -> Result<bool> {
        Ok(self.find(map, &key.to_ne_bytes())?.is_some())
    }

    /// bpf_xdp_adjust_head
    pub(super) fn adjust_head(&mut self, by: i32) -> u64 {
        const INVALID: i64 = -22;
        let end = self.regions.get(PACKET).map_or(0, |it| it.octets.len());
        let moved = isize::try_from(by).ok().and_then(|by| self.start.checked_add_signed(by));
        match moved {
            Some(start) if start + 14 <= end => {
                self.start = start;
                0
            }
            _ => INVALID.cast_unsigned(),
        }
    }

    /// bpf_xdp_adjust_tail, which only ever cuts here.
    pub(super) fn adjust_tail(&mut self, by: i32) -> u64 {
        const INVALID: i64 = -22;
        let Some(packet) = self.regions.get_mut(PACKET) else { return INVALID.cast_unsigned() };
        let len =
            isize::try_from(by).ok().and_then(|by| packet.octets.len().checked_add_signed(by));
        match len {
            Some(len) if len >= self.start + 14 => {
                packet.octets.resize(len, 0);
                0
            }
            _ => INVALID.cast_unsigned(),
        }
    }

    fn place(&self, address: u64, len: usize) -> Result<(usize, usize)> {
        let region = usize::try_from(address >> 32)?.wrapping_sub(1);
        let offset = usize::try_from(address & 0xffff_ffff)?;
        let size = self.regions.get(region).map_or(0, |it| it.octets.len());
        ensure!(offset + len <= size, "{len} octets at {address:#x} are nowhere");
        ensure!(region != PACKET || offset >= self.start, "in front of the frame");
        Ok((region, offset))
    }

    pub(super) fn octets(&self, address: u64, len: usize) -> Result<&[u8]> {
        let (region, offset) = self.place(address, len)?;
        let octets = self.regions.get(region).and_then(|it| it.octets.get(offset..offset + len));
        octets.context("there are none")
    }

    /// A value of so many octets, and whether it never changes.
    pub(super) fn load(&self, address: u64, len: usize) -> Result<(u64, bool)> {
        if usize::try_from(address >> 32)? == CONTEXT + 1 {
            return Ok((self.of_context(address & 0xffff_ffff)?, false));
        }
        let (region, _) = self.place(address, len)?;
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(self.octets(address, len)?) {
            *to = *from;
        }
        let constant = self.regions.get(region).is_some_and(|it| it.constant);
        Ok((u64::from_le_bytes(word), constant))
    }

    /// A field of struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index.
    fn of_context(&self, offset: u64) -> Result<u64> {
        let end = self.regions.get(PACKET).map_or(0, |it| it.octets.len());
        Ok(match offset {
            0 | 8 => address(PACKET, self.start),
            4 => address(PACKET, end),
            12 => self.ingress_ifindex.into(),
            16 => 0,
            _ => bail!("the context has nothing at {offset}"),
        })
    }

    pub(super) fn store(&mut self, address: u64, len: usize, value: u64) -> Result<()> {
        let (region, offset) = self.place(address, len)?;
        let region = self.regions.get_mut(region).context("nowhere")?;
        ensure!(!region.constant, "constants are not written");
        for (to, from) in region.octets.iter_mut().skip(offset).take(len).zip(value.to_le_bytes()) {
            *to = from;
        }
        Ok(())
    }
}
