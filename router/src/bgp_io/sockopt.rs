//! Options of a socket that neither the standard library nor socket2 sets: TCP MD5 signatures
//! (RFC 2385), and the smallest TTL that is taken (RFC 5082).
#![expect(unsafe_code, reason = "setsockopt(2) with a structure the kernel defines")]

use core::ffi::c_int;
use core::mem::size_of;
use core::net::IpAddr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use socket2::Socket;
use tidegate_bgp::types::Prefix;
use tokio::io::unix::AsyncFd;

/// Longest key the kernel takes, in bytes (`TCP_MD5SIG_MAXKEYLEN`).
const KEY_BYTES_MAX: usize = 80;

/// `struct tcp_md5sig` of `<linux/tcp.h>`.
#[derive(Clone, Copy)]
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

/// The rule is for a prefix, not for one address (`TCP_MD5SIG_FLAG_PREFIX`).
const FLAG_PREFIX: u8 = 1;

/// Signs everything to `peer` with `key` and refuses what comes from it without the right
/// signature. An empty key removes the rule. On a listener it holds for accepted connections, and
/// a narrower rule goes before a wider one.
///
/// # Errors
/// `InvalidInput` for a key longer than 80 bytes; `NotFound` when there is no rule to remove;
/// whatever the kernel says, notably `Unsupported` for one without `CONFIG_TCP_MD5SIG`.
pub(super) fn set_md5_key(socket: &impl AsFd, peer: Prefix, key: &[u8]) -> io::Result<()> {
    let too_long =
        || io::Error::new(io::ErrorKind::InvalidInput, "a TCP MD5 key has 80 bytes at most");
    let is_host = Prefix::host(peer.addr()) == peer;
    let mut option = TcpMd5Sig {
        addr: socket_address(peer.addr()),
        flags: if is_host { 0 } else { FLAG_PREFIX },
        prefix_len: peer.bits(),
        key_len: u16::try_from(key.len()).or(Err(too_long()))?,
        ifindex: 0,
        key: [0; KEY_BYTES_MAX],
    };
    option.key.get_mut(..key.len()).ok_or_else(too_long)?.copy_from_slice(key);
    let name = if is_host { libc::TCP_MD5SIG } else { libc::TCP_MD5SIG_EXT };
    set(socket, libc::IPPROTO_TCP, name, &option)
}

/// Refuses segments whose TTL, or Hop Limit, is smaller when they arrive.
///
/// # Errors
/// Whatever the kernel says.
pub(super) fn set_min_ttl(socket: &impl AsFd, is_ipv6: bool, min: u8) -> io::Result<()> {
    let (level, name) = if is_ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
    } else {
        (libc::IPPROTO_IP, libc::IP_MINTTL)
    };
    set(socket, level, name, &c_int::from(min))
}

/// Of ICMPv6 messages, hands only these types to a raw socket, each with its Hop Limit.
///
/// # Errors
/// Whatever the kernel says.
pub(super) fn want_icmp_v6(socket: &impl AsFd, kinds: &[u8]) -> io::Result<()> {
    // A bit that is set keeps a type out (`struct icmp6_filter`).
    let mut filter = [u32::MAX; 8];
    for kind in kinds {
        if let Some(word) = filter.get_mut(usize::from(kind / 32)) {
            *word &= !(1 << (kind % 32));
        }
    }
    set(socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter)?;
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &c_int::from(1_u8))
}

/// The socket, to be waited for; it has to be non-blocking.
///
/// # Errors
/// Whatever the kernel says.
pub(super) fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor, and who has it behind an `AsyncFd` can neither close
    // nor replace it.
    let watched = unsafe { AsyncFd::register(socket) };
    Ok(watched?)
}

/// `ICMPV6_FILTER` of `<linux/icmpv6.h>`.
const ICMPV6_FILTER: c_int = 1;

/// setsockopt(2) with a plain structure of the kernel's.
///
/// # Errors
/// Whatever the kernel says.
pub(super) fn set<T: Copy>(
    socket: &impl AsFd,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the kernel reads `len` bytes,
    // which is the size of `value`, and keeps no pointer to it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            core::ptr::from_ref(value).cast(),
            len,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address as a `sockaddr_storage`, port zero: the rule is for every port.
pub(super) fn socket_address(peer: IpAddr) -> [u8; 128] {
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
