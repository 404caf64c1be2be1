//! The tables of flows: what is read of them and removed from them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use tidegate_abi::FlowKey;

use super::error::Error;
use super::maps::{absent_is_fine, take_any, used};
use super::pod::Pod;
use super::sys;

/// A map of flows with the indices of their backends.
pub(crate) struct Flows {
    map: HashMap<MapData, Pod<FlowKey>, u32>,
    /// The same map, for reading all of it. One key after the other, as the loader does it, starts
    /// anew whenever the last key is gone, and a flood makes a table forget all the time.
    fd: OwnedFd,
    room: u32,
}

impl Flows {
    pub(crate) fn take(ebpf: &mut Ebpf, name: &'static str, room: u32) -> Result<Self, Error> {
        let map = take_any(ebpf, name)?;
        let fd = match &map {
            Map::HashMap(map) | Map::LruHashMap(map) => map.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let fd = fd.map_err(|error| Error::kernel(format!("open the map {name}"), error))?;
        Ok(Self { map: used(map, name)?, fd, room })
    }

    /// Removes the flows of which this is true.
    pub(crate) fn forget(
        &mut self,
        mut is_gone: impl FnMut(&FlowKey, u32) -> Result<bool, MapError>,
    ) -> Result<(), Error> {
        for (key, backend) in self.read()? {
            if is_gone(&key, backend).map_err(forgetting)? {
                absent_is_fine(self.map.remove(&Pod(key))).map_err(forgetting)?;
            }
        }
        Ok(())
    }

    /// The backend of a flow, if it is remembered.
    pub(crate) fn get(&self, key: FlowKey) -> Result<Option<u32>, Error> {
        match self.map.get(&Pod(key), 0) {
            Ok(backend) => Ok(Some(backend)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::kernel("read a table of flows", error)),
        }
    }

    pub(crate) fn count(&self) -> Result<usize, Error> {
        self.read().map(|flows| flows.len())
    }

    fn read(&self) -> Result<Vec<(FlowKey, u32)>, Error> {
        sys::read_hash(self.fd.as_fd(), self.room, FlowKey::default())
            .map_err(|error| Error::kernel("read a table of flows", error))
    }
}

fn forgetting(error: MapError) -> Error {
    Error::kernel("forget flows", error)
}
