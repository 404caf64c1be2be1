//! TCP MD5 signatures (RFC 2385) on a socket: the one option that neither the standard library nor
//! socket2 sets.
#![expect(unsafe_code, reason = "setsockopt(2) with a structure the kernel defines")]

use core::ffi::c_int;
use core::mem::size_of;
use core::net::IpAddr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Longest key the kernel takes, in bytes (`TCP_MD5SIG_MAXKEYLEN`).
const KEY_BYTES_MAX: usize = 80;

/// `struct tcp_md5sig` of `<linux/tcp.h>`.
#[repr(C)]
struct TcpMd5Sig {
    /// A `sockaddr_in` or `sockaddr_in6`, zero-padded to a `sockaddr_storage`.
    addr: [u8; 128],
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: c_int,
    key: [u8; KEY_BYTES_MAX],
}
const _: () = assert!(size_of::<TcpMd5Sig>() == 128 + 1 + 1 + 2 + 4 + KEY_BYTES_MAX);

/// Signs everything to `peer` with `key` and refuses what comes from it without the right
/// signature. An empty key removes the rule. On a listener it holds for accepted connections.
///
/// # Errors
/// `InvalidInput` for a key longer than 80 bytes; `NotFound` when there is no rule to remove;
/// whatever the kernel says, notably `Unsupported` for one without `CONFIG_TCP_MD5SIG`.
pub(super) fn set_md5_key(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    let too_long =
        || io::Error::new(io::ErrorKind::InvalidInput, "a TCP MD5 key has 80 bytes at most");
    let mut option = TcpMd5Sig {
        addr: socket_address(peer),
        flags: 0,
        prefix_len: 0,
        key_len: u16::try_from(key.len()).or(Err(too_long()))?,
        ifindex: 0,
        key: [0; KEY_BYTES_MAX],
    };
    option.key.get_mut(..key.len()).ok_or_else(too_long)?.copy_from_slice(key);
    let option_len = libc::socklen_t::try_from(size_of::<TcpMd5Sig>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the kernel reads `option_len`
    // bytes, which is the size of `option`, and keeps no pointer to it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MD5SIG,
            (&raw const option).cast(),
            option_len,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address as a `sockaddr_storage`, port zero: the rule is for every port.
fn socket_address(peer: IpAddr) -> [u8; 128] {
    let mut bytes = [0; 128];
    let (family, at, octets) = match peer {
        IpAddr::V4(v4) => (libc::AF_INET, 4, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, 8, v6.octets().to_vec()),
    };
    // The family is the first member and fits into one of its two bytes; the address follows the
    // port, in IPv6 also the flow label.
    let family = u16::try_from(family).unwrap_or_default().to_ne_bytes();
    for (to, from) in bytes.iter_mut().zip(family) {
        *to = from;
    }
    for (to, from) in bytes.iter_mut().skip(at).zip(octets) {
        *to = from;
    }
    bytes
}
