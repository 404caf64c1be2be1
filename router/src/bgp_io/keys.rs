//! What signs sessions, on listeners and on connections: TCP MD5 (RFC 2385) and TCP-AO (RFC 5925).

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use tidegate_bgp::types::Prefix;

use super::sockopt::set_md5_key;
use super::tcp_ao::{self, AoKey, Use};

/// What signs, by the address of the peer, or the prefix of a range of peers.
pub type Keys = BTreeMap<Prefix, Signer>;

/// What signs the segments of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A TCP MD5 password.
    Md5(Vec<u8>),
    /// TCP-AO keys, the preferred one first.
    Ao(Vec<AoKey>),
}

/// Gives a listener the keys of its peers.
pub(super) fn put(listener: &impl AsFd, is_ipv6: bool, keys: &Keys) -> io::Result<()> {
    of_family(keys, is_ipv6).try_for_each(|(peer, signer)| add(listener, *peer, signer, Use::Known))
}

/// Makes a listener hold the keys of `new` instead of those of `old`.
pub(super) fn change(
    listener: &impl AsFd,
    is_ipv6: bool,
    old: &Keys,
    new: &Keys,
) -> io::Result<()> {
    for (peer, signer) in of_family(old, is_ipv6) {
        match (signer, new.get(peer)) {
            (Signer::Md5(_), Some(Signer::Md5(_))) => {}
            (Signer::Md5(_), _) => set_md5_key(listener, *peer, &[])?,
            (Signer::Ao(keys), after) => {
                let kept = after.map_or(&[][..], Signer::ao_keys);
                for key in keys.iter().filter(|key| !kept.contains(key)) {
                    tcp_ao::remove(listener, *peer, key, None)?;
                }
            }
        }
    }
    for (peer, signer) in of_family(new, is_ipv6) {
        match (signer, old.get(peer)) {
            (Signer::Ao(keys), Some(Signer::Ao(before))) => {
                for key in keys.iter().filter(|key| !before.contains(key)) {
                    tcp_ao::add(listener, *peer, key, Use::Known)?;
                }
            }
            (signer, before) if before != Some(signer) => {
                add(listener, *peer, signer, Use::Known)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Gives a socket that is about to connect the keys of its peer.
pub(super) fn put_first(socket: &impl AsFd, remote: IpAddr, keys: &Keys) -> io::Result<()> {
    let Some((_, signer)) = key_for(keys, remote) else { return Ok(()) };
    add(socket, Prefix::host(remote), signer, Use::First)
}

/// Asks the peer of a connection that was accepted for the key that is preferred.
pub(super) fn ask_for_first(stream: &impl AsFd, remote: IpAddr, keys: &Keys) -> io::Result<()> {
    let signer = key_for(keys, remote).map(|(_, signer)| signer);
    let first = signer.and_then(|signer| signer.ao_keys().first());
    first.map_or(Ok(()), |key| tcp_ao::prefer(stream, key))
}

/// Makes a connection that is open sign with the keys of `new`, and demand them. Whether it is
/// signed at all, and by which of the two ways, is settled when it is made.
///
/// By MD5, what was signed with the old key and is still on its way is lost, and sent again by TCP:
/// as long as both ends change within the Hold Time, the session stays.
pub(super) fn rekey(stream: &impl AsFd, remote: IpAddr, old: &Keys, new: &Keys) -> io::Result<()> {
    match (key_for(old, remote), key_for(new, remote)) {
        (Some((_, was)), Some((_, is))) if was == is => Ok(()),
        (Some((_, Signer::Md5(_))), Some((_, Signer::Md5(key)))) => {
            set_md5_key(stream, Prefix::host(remote), key)
        }
        (Some((around, Signer::Ao(was))), Some((_, Signer::Ao(is)))) => {
            rekey_ao(stream, (*around, remote), was, is)
        }
        _ => Ok(()),
    }
}

/// A connection that we made knows its keys by the peer's address, one that we accepted as its
/// listener did.
fn rekey_ao(
    stream: &impl AsFd,
    (around, remote): (Prefix, IpAddr),
    was: &[AoKey],
    is: &[AoKey],
) -> io::Result<()> {
    let of = |keys: &[AoKey], key: &AoKey| keys.iter().any(|other| other.has_ids_of(key));
    for key in is.iter().filter(|key| !of(was, key)) {
        tcp_ao::add(stream, Prefix::host(remote), key, Use::Known)?;
    }
    if let Some(first) = is.first() {
        tcp_ao::prefer(stream, first)?;
    }
    for key in was.iter().filter(|key| !of(is, key)) {
        let removed = tcp_ao::remove(stream, Prefix::host(remote), key, is.first());
        if removed.is_err() && around != Prefix::host(remote) {
            tcp_ao::remove(stream, around, key, is.first())?;
        } else {
            removed?;
        }
    }
    let changed = is.iter().find(|key| of(was, key) && !was.contains(key));
    changed.map_or(Ok(()), |key| {
        let why = format!(
            "key {} is another one under the same numbers: give a new key numbers of its own",
            key.send_id
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    })
}

/// Whether connections with this peer are signed.
pub(super) fn has_key(keys: &Keys, remote: IpAddr) -> bool {
    key_for(keys, remote).is_some()
}

/// What signs for a peer: its own, else that of the narrowest range around it.
fn key_for(keys: &Keys, remote: IpAddr) -> Option<(&Prefix, &Signer)> {
    let around = |prefix: &Prefix| Prefix::new(remote, prefix.bits()) == Some(*prefix);
    keys.iter().filter(|(prefix, _)| around(prefix)).max_by_key(|(prefix, _)| prefix.bits())
}

fn of_family(keys: &Keys, is_ipv6: bool) -> impl Iterator<Item = (&Prefix, &Signer)> {
    keys.iter().filter(move |(peer, _)| peer.addr().is_ipv6() == is_ipv6)
}

fn add(socket: &impl AsFd, peer: Prefix, signer: &Signer, first: Use) -> io::Result<()> {
    match signer {
        Signer::Md5(key) => set_md5_key(socket, peer, key),
        Signer::Ao(keys) => {
            let uses = core::iter::once(first).chain(core::iter::repeat(Use::Known));
            keys.iter().zip(uses).try_for_each(|(key, which)| tcp_ao::add(socket, peer, key, which))
        }
    }
}

impl Signer {
    fn ao_keys(&self) -> &[AoKey] {
        match self {
            Self::Md5(_) => &[],
            Self::Ao(keys) => keys,
        }
    }
}

#[cfg(test)]
mod tests;
