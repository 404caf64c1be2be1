//! The few bpf(2) commands that the loader hides. About links: it falls back to attachments that
//! end with the process, and does not tell what a link is attached to. And reading a whole map by
//! one call.

#![expect(unsafe_code, reason = "bpf(2), and the file descriptors it returns")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tidegate_abi::Plain;

// linux/bpf.h, enum bpf_cmd and enum bpf_attach_type.
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_UPDATE_BATCH: libc::c_int = 26;
const MAP_DELETE_BATCH: libc::c_int = 27;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const ATTACH_TYPE_XDP: u32 = 37;

/// linux/if_link.h
pub(crate) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
/// linux/if_link.h
pub(crate) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The head of `struct bpf_link_info`, as XDP links fill it.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct LinkInfo {
    kind: u32,
    id: u32,
    /// Program the link runs.
    pub(crate) program_id: u32,
    reserved: u32,
    /// Interface the link is attached to; 0 once it was detached or the interface is gone.
    pub(crate) ifindex: u32,
    /// Room for what newer kernels say.
    rest: [u32; 11],
}

/// A program uses no more maps than this (`MAX_USED_MAPS` of the verifier).
const MAPS_MAX: u32 = 64;

/// The head of `struct bpf_prog_info`, up to the maps.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    before: [u32; 13],
    maps: u32,
    map_ids: u64,
}
const _: () = assert!(size_of::<ProgramInfo>() == 64);

#[repr(C)]
struct PathAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Four words: what all other commands here take.
type Words = [u32; 4];

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attr` is the start of `union bpf_attr` for this command, by the callers below; the
    // kernel reads and writes no more than the size given, and takes the rest as zero. What the
    // attributes point to lives until the call returns.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    match RawFd::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just returned it to us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs() // Never negative.
}

/// Attaches a program by a link.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    xdp_flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr: Words = [raw(program), ifindex, ATTACH_TYPE_XDP, xdp_flags];
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Puts another program behind a link; packets see the one or the other, never none.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr: Words = [raw(link), raw(program), 0, 0];
    bpf(LINK_UPDATE, &mut attr).map(|_| ())
}

/// What the kernel knows about a link.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let len = 64; // Its size; the kernel writes no more.
    let mut attr = InfoAttr { fd: raw(link), len, info: std::ptr::from_mut(&mut info) as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

const _: () = assert!(size_of::<LinkInfo>() == 64);

/// The kernel's identifiers of the maps that a program uses. By its descriptor: to ask by its number,
/// as aya does, takes `CAP_SYS_ADMIN`.
pub(crate) fn map_ids(program: BorrowedFd<'_>) -> io::Result<BTreeSet<u32>> {
    let mut ids = [0_u32; MAPS_MAX as usize];
    let map_ids = ids.as_mut_ptr() as u64;
    let mut info = ProgramInfo { maps: MAPS_MAX, map_ids, ..ProgramInfo::default() };
    let mut attr =
        InfoAttr { fd: raw(program), len: 64, info: std::ptr::from_mut(&mut info) as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    let used = usize::try_from(info.maps).unwrap_or(usize::MAX);
    Ok(ids.into_iter().take(used).collect())
}

/// Pins an object at a path under a BPF file system.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = PathAttr { path: path.as_ptr() as u64, fd: raw(object), flags: 0 };
    bpf(OBJ_PIN, &mut attr).map(|_| ())
}

/// Opens the object that is pinned at a path.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = PathAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    bpf(OBJ_GET, &mut attr).map(owned)
}

/// All `len` values of an array of `T`; `blank` is what they are before the kernel fills them in.
pub(crate) fn read_array<T: Plain>(
    map: BorrowedFd<'_>,
    len: usize,
    blank: T,
) -> io::Result<Vec<T>> {
    let mut keys = vec![0_u32; len];
    let mut values = vec![blank; len];
    let count = read_all(map, &mut keys, &mut values)?;
    values.truncate(count);
    Ok(values)
}

/// The entries of a hash that has room for `len` keys of `K`; `blank` is as above.
pub(crate) fn read_hash<K: Plain>(
    map: BorrowedFd<'_>,
    len: u32,
    blank: K,
) -> io::Result<Vec<(K, u32)>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut keys = vec![blank; len];
    let mut values = vec![0_u32; len];
    let count = read_all(map, &mut keys, &mut values)?;
    Ok(keys.into_iter().zip(values).take(count).collect())
}

/// Reads on from a position in a hash map, `None` being the start, as much as there is room for.
/// Returns how much that was; the position is `None` again at the end.
pub(crate) fn read_on<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    position: &mut Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<usize> {
    let (before, mut after) = (position.take(), 0_u32);
    let from = before.as_ref().map_or(0, |before| std::ptr::from_ref(before) as u64);
    let (count, is_end) =
        read_batch(map, from, std::ptr::from_mut(&mut after) as u64, keys, values)?;
    if !is_end {
        *position = Some(after);
    }
    Ok(count)
}

/// The clock that the packet path remembers times of, in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into a value of ours; this clock is there on every Linux.
    let _always_zero = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let secs = u64::try_from(now.tv_sec).unwrap_or_default();
    secs * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// Reads a whole map by one call; both have room for all of it. Returns how much there was.
fn read_all<K, V>(map: BorrowedFd<'_>, keys: &mut [K], values: &mut [V]) -> io::Result<usize> {
    // Of a hash it is a bucket's number, of others a key: those of tries are the longest.
    let mut position = [0_u64; 4];
    let (count, _) = read_batch(map, 0, position.as_mut_ptr() as u64, keys, values)?;
    Ok(count)
}

/// Reads as much as there is room for, from a position (0: the start), and writes where to go on.
/// Returns how much there was, and whether that was the end (ENOENT).
fn read_batch<K, V>(
    map: BorrowedFd<'_>,
    in_batch: u64,
    out_batch: u64,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    let mut attr = BatchAttr {
        in_batch,
        out_batch,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.len().min(values.len())).map_err(io::Error::other)?,
        map_fd: raw(map),
        elem_flags: 0,
        flags: 0,
    };
    let is_end = match bpf(MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    Ok((usize::try_from(attr.count).map_err(io::Error::other)?, is_end))
}

/// Writes these values to these keys, as many of both, in this order.
pub(crate) fn update_all<K: Plain>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[u32],
) -> io::Result<()> {
    let len = keys.len().min(values.len());
    if len == 0 {
        return Ok(());
    }
    let mut attr = batch(map, keys, len)?;
    attr.values = values.as_ptr() as u64;
    bpf(MAP_UPDATE_BATCH, &mut attr).map(|_| ())
}

/// Removes these keys, in this order; those that are not there are no mistake.
pub(crate) fn delete_all<K: Plain>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    let mut left = keys;
    while !left.is_empty() {
        let mut attr = batch(map, left, left.len())?;
        match bpf(MAP_DELETE_BATCH, &mut attr) {
            Ok(_) => return Ok(()),
            // The kernel stops there.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let done = usize::try_from(attr.count).map_err(io::Error::other)?;
                left = left.get(done + 1..).unwrap_or_default();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn batch<K>(map: BorrowedFd<'_>, keys: &[K], len: usize) -> io::Result<BatchAttr> {
    Ok(BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: 0,
        count: u32::try_from(len).map_err(io::Error::other)?,
        map_fd: raw(map),
        elem_flags: 0,
        flags: 0,
    })
}

/// Walks the entries of any map, as octets.
pub(crate) struct Entries<'a> {
    map: &'a OwnedFd,
    key: Vec<u8>,
    next: Vec<u8>,
    value: Vec<u8>,
    started: bool,
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value_or_next: u64,
    flags: u64,
}

impl<'a> Entries<'a> {
    /// `key` and `value` are the sizes that the kernel says; that of a value for all CPUs together.
    pub(crate) fn of(map: &'a OwnedFd, key: usize, value: usize) -> Self {
        Self { map, key: vec![0; key], next: vec![0; key], value: vec![0; value], started: false }
    }

    /// The next one; `None` at the end. One that goes in between is passed over.
    pub(crate) fn step(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        loop {
            let from = if self.started { self.key.as_ptr() as u64 } else { 0 };
            let next = self.next.as_mut_ptr() as u64;
            let mut attr = self.element(from, next);
            match bpf(MAP_GET_NEXT_KEY, &mut attr) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                Err(error) => return Err(error),
            }
            self.started = true;
            core::mem::swap(&mut self.key, &mut self.next);
            let value = self.value.as_mut_ptr() as u64;
            let mut attr = self.element(self.key.as_ptr() as u64, value);
            match bpf(MAP_LOOKUP_ELEM, &mut attr) {
                Ok(_) => return Ok(Some((&self.key, &self.value))),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn element(&self, key: u64, value_or_next: u64) -> ElementAttr {
        ElementAttr { map_fd: raw(self.map.as_fd()), reserved: 0, key, value_or_next, flags: 0 }
    }
}
