//! The map of the server ids in connection ids of QUIC. Like the prefixes of the guard it is read when
//! the maps are taken over and when writing has failed, and known between.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;
use tidegate_abi::{DatagramKey, Ports, QUIC_SERVERS_ROOM, QuicKey, map_names};

use super::error::Error;
use super::maps::take_any;
use super::sys;

/// Entries that are read at once.
const BATCH: usize = 1_024;

pub(crate) struct Servers {
    map: OwnedFd,
    /// Where first parts of datagrams are remembered, with the backends that they named.
    fragments: OwnedFd,
    /// What it holds.
    known: BTreeMap<QuicKey, u32>,
}

impl Servers {
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let map = hash(ebpf, map_names::QUIC_SERVERS)?;
        let fragments = hash(ebpf, map_names::FRAGMENTS)?;
        let mut servers = Self { map, fragments, known: BTreeMap::new() };
        servers.read()?;
        Ok(servers)
    }

    pub(crate) fn known(&self) -> BTreeMap<QuicKey, u32> {
        self.known.clone()
    }

    fn read(&mut self) -> Result<(), Error> {
        let all = sys::read_hash(self.map.as_fd(), QUIC_SERVERS_ROOM, QuicKey::default())
            .map_err(|error| Error::kernel("read the map QUIC_SERVERS", error))?;
        self.known = all.into_iter().collect();
        Ok(())
    }

    /// Writes server ids, each with the index of its backend.
    pub(crate) fn put(&mut self, servers: &[(QuicKey, u32)]) -> Result<(), Error> {
        let (keys, indices): (Vec<QuicKey>, Vec<u32>) = servers.iter().copied().unzip();
        self.after(sys::update_all(self.map.as_fd(), &keys, &indices))?;
        self.known.extend(servers.iter().copied());
        Ok(())
    }

    /// Removes server ids; those that are not there are no mistake.
    pub(crate) fn delete(&mut self, servers: &[QuicKey]) -> Result<(), Error> {
        self.after(sys::delete_all(self.map.as_fd(), servers))?;
        for key in servers {
            self.known.remove(key);
        }
        Ok(())
    }

    /// Forgets datagrams whose first part named a backend, before its index becomes another one's.
    pub(crate) fn forget_datagrams(&self) -> Result<(), Error> {
        let failed = |error| Error::kernel("forget datagrams", error);
        let (mut keys, mut said) =
            (vec![DatagramKey::default(); BATCH], vec![Ports::default(); BATCH]);
        let mut position = None;
        let mut naming = Vec::new();
        loop {
            let map = self.fragments.as_fd();
            let count = sys::read_on(map, &mut position, &mut keys, &mut said).map_err(failed)?;
            let read = keys.iter().zip(&said).take(count);
            naming.extend(read.filter(|(_, said)| said.named != [0; 3]).map(|(key, _)| *key));
            if position.is_none() {
                return sys::delete_all(map, &naming).map_err(failed);
            }
        }
    }

    /// After a failure nobody knows how far it went.
    fn after(&mut self, written: io::Result<()>) -> Result<(), Error> {
        written.or_else(|error| {
            self.read()?;
            Err(Error::kernel("write the map QUIC_SERVERS", error))
        })
    }
}

fn hash(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, Error> {
    let fd = match take_any(ebpf, name)? {
        Map::HashMap(map) | Map::LruHashMap(map) => map.fd().as_fd().try_clone_to_owned(),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    fd.map_err(|error| Error::kernel(format!("open the map {name}"), error))
}
