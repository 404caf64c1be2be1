//! TCP-AO (RFC 5925): the keys of a socket.
//!
//! Each end signs with the key that the other asks for (`RNextKeyID`), as soon as it has that; so
//! keys change without a segment lost, and in any order.

use core::ffi::c_int;
use core::mem::size_of;
use core::net::IpAddr;
use std::io;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::AoAlgorithm;

use super::sockopt::{set, socket_address};

/// Longest key the kernel takes, in bytes (`TCP_AO_MAXKEYLEN`).
const KEY_BYTES_MAX: usize = 80;

/// Octets of a signature (RFC 5926 §3.2).
const MAC_OCTETS: u8 = 12;

/// `TCP_AO_ADD_KEY`, `TCP_AO_DEL_KEY` and `TCP_AO_INFO` of `<linux/tcp.h>`.
const ADD_KEY: c_int = 38;
const DEL_KEY: c_int = 39;
const INFO: c_int = 40;

/// A key, a Master Key Tuple of RFC 5925 §3.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// `SendID`
    pub send_id: u8,
    /// `RecvID`
    pub receive_id: u8,
    /// How it signs.
    pub algorithm: AoAlgorithm,
    /// The key itself.
    pub secret: Vec<u8>,
}

impl AoKey {
    /// Whether the kernel takes it for the same key, whatever it is made of.
    pub(super) fn has_ids_of(&self, other: &Self) -> bool {
        (self.send_id, self.receive_id) == (other.send_id, other.receive_id)
    }
}

/// `struct tcp_ao_add`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Add {
    addr: [u8; 128],
    algorithm: [u8; 64],
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; KEY_BYTES_MAX],
}
const _: () = assert!(size_of::<Add>() == 288);

/// `struct tcp_ao_del`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Delete {
    addr: [u8; 128],
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    current: u8,
    next: u8,
    key_flags: u8,
}
const _: () = assert!(size_of::<Delete>() == 144);

/// `struct tcp_ao_info_opt`; its counters are not set.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Info {
    flags: u32,
    reserved: u16,
    current: u8,
    next: u8,
    counters: [u64; 5],
}
const _: () = assert!(size_of::<Info>() == 48);

/// Sign with this key from now on; a bit-field, so its place depends on the machine.
const SET_CURRENT: u32 = if cfg!(target_endian = "little") { 1 } else { 1 << 31 };
/// Ask the peer to sign with this key.
const SET_NEXT: u32 = if cfg!(target_endian = "little") { 2 } else { 1 << 30 };

/// What a key is to a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// One of several; on a listener, all are.
    Known,
    /// The one to begin with: the socket has yet to connect.
    First,
}

/// Signs what goes to `peer` with this key, or others of the socket's, and takes nothing from there
/// that is not signed by one of them.
///
/// # Errors
/// `InvalidInput` for a secret longer than 80 bytes; whatever the kernel says, notably `Unsupported`
/// for one without `CONFIG_TCP_AO`, and `NotFound` for one without the algorithm.
pub(super) fn add(socket: &impl AsFd, peer: Prefix, key: &AoKey, which: Use) -> io::Result<()> {
    let too_long =
        || io::Error::new(io::ErrorKind::InvalidInput, "a TCP-AO key has 80 bytes at most");
    let name: &[u8] = match key.algorithm {
        AoAlgorithm::HmacSha1 => b"hmac(sha1)",
        AoAlgorithm::Aes128Cmac => b"cmac(aes128)",
    };
    let mut option = Add {
        addr: socket_address(peer.addr()),
        algorithm: [0; 64],
        ifindex: 0,
        flags: if which == Use::First { SET_CURRENT | SET_NEXT } else { 0 },
        reserved: 0,
        prefix_len: peer.bits(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        mac_len: MAC_OCTETS,
        key_flags: 0,
        key_len: u8::try_from(key.secret.len()).or(Err(too_long()))?,
        key: [0; KEY_BYTES_MAX],
    };
    for (to, from) in option.algorithm.iter_mut().zip(name) {
        *to = *from;
    }
    option.key.get_mut(..key.secret.len()).ok_or_else(too_long)?.copy_from_slice(&key.secret);
    set(socket, libc::IPPROTO_TCP, ADD_KEY, &option)
}

/// Forgets a key. A connection that signs with it signs with `instead` from now on.
///
/// # Errors
/// `NotFound` if it is not there; whatever the kernel says.
pub(super) fn remove(
    socket: &impl AsFd,
    peer: Prefix,
    key: &AoKey,
    instead: Option<&AoKey>,
) -> io::Result<()> {
    let option = Delete {
        addr: socket_address(peer.addr()),
        ifindex: 0,
        flags: if instead.is_some() { SET_CURRENT | SET_NEXT } else { 0 },
        reserved: 0,
        prefix_len: peer.bits(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        current: instead.map_or(0, |key| key.send_id),
        next: instead.map_or(0, |key| key.receive_id),
        key_flags: 0,
    };
    set(socket, libc::IPPROTO_TCP, DEL_KEY, &option)
}

/// Asks the peer of a connection to sign with a key.
///
/// # Errors
/// Whatever the kernel says.
pub(super) fn prefer(socket: &impl AsFd, key: &AoKey) -> io::Result<()> {
    let option =
        Info { flags: SET_NEXT, reserved: 0, current: 0, next: key.receive_id, counters: [0; 5] };
    set(socket, libc::IPPROTO_TCP, INFO, &option)
}

/// Whether the kernel takes these keys: tried on a socket that goes nowhere.
///
/// # Errors
/// What is wrong, and what can be done.
pub fn try_keys(peer: IpAddr, keys: &[AoKey]) -> Result<(), String> {
    let domain = if peer.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
        .map_err(|error| format!("no socket to try the keys on: {error}"))?;
    keys.iter().try_for_each(|key| {
        add(&socket, Prefix::host(peer), key, Use::Known).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ENOPROTOOPT) => {
                    "this kernel has no TCP-AO: it takes Linux 6.7 or later, built \
                with CONFIG_TCP_AO; sign the session by password-file (TCP MD5) until then"
                        .to_owned()
                }
                Some(libc::ENOENT) => format!(
                    "this kernel lacks the algorithm of key {}: give it the other one",
                    key.send_id
                ),
                _ => format!("the kernel does not take key {}: {error}", key.send_id),
            }
        })
    })
}
