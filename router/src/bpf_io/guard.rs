//! The maps of who may come in, and how often.
//!
//! There may be hundreds of thousands of prefixes: they are read when the maps are taken over and
//! when writing has failed, and known between.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use tidegate_abi::{PREFIXES_ROOM, PrefixV4, PrefixV6, Rates, SERVICES_MAX, map_names};
use tidegate_bgp::types::Prefix;
use tidegate_plan::admission::PrefixKey;
use tidegate_plan::observed;

use super::error::Error;
use super::maps::{take_any, used};
use super::pod::Pod;
use super::sys;

pub(crate) struct Guard {
    prefixes_v4: OwnedFd,
    prefixes_v6: OwnedFd,
    /// What both hold.
    prefixes: Arc<BTreeMap<Prefix, u32>>,
    rates: Array<MapData, Pod<Rates>>,
    /// What that holds, without what limits nothing.
    limiting: BTreeMap<u32, Rates>,
}

impl Guard {
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let rates = take_any(ebpf, map_names::RATES)?;
        let fd = match &rates {
            Map::Array(map) => map.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let len = usize::try_from(SERVICES_MAX).unwrap_or(usize::MAX);
        let all = fd.and_then(|fd| sys::read_array(fd.as_fd(), len, Rates::default()));
        let all = all.map_err(|error| Error::kernel("read the map RATES", error))?;
        let limiting = (0..).zip(all).filter(|(_, rates)| *rates != Rates::default());
        let mut guard = Self {
            prefixes_v4: trie(ebpf, map_names::PREFIXES_V4)?,
            prefixes_v6: trie(ebpf, map_names::PREFIXES_V6)?,
            prefixes: Arc::default(),
            rates: used(rates, map_names::RATES)?,
            limiting: limiting.collect(),
        };
        guard.read()?;
        Ok(guard)
    }

    fn read(&mut self) -> Result<(), Error> {
        let failed = |error| Error::kernel("read the prefixes of clients", error);
        let v4 = sys::read_hash(self.prefixes_v4.as_fd(), PREFIXES_ROOM, PrefixV4::default());
        let v6 = sys::read_hash(self.prefixes_v6.as_fd(), PREFIXES_ROOM, PrefixV6::default());
        let v4 = v4.map_err(failed)?.into_iter().map(|(key, it)| (PrefixKey::V4(key), it));
        let v6 = v6.map_err(failed)?.into_iter().map(|(key, it)| (PrefixKey::V6(key), it));
        let all = v4.chain(v6).filter_map(|(key, it)| Some((key.prefix()?, it)));
        self.prefixes = Arc::new(all.collect());
        Ok(())
    }

    /// Writes prefixes, in this order.
    pub(crate) fn put(&mut self, prefixes: &[(Prefix, u32)]) -> Result<(), Error> {
        let (mut v4, mut v6) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for &(prefix, admission) in prefixes {
            match PrefixKey::of(prefix) {
                PrefixKey::V4(key) => {
                    v4.0.push(key);
                    v4.1.push(admission);
                }
                PrefixKey::V6(key) => {
                    v6.0.push(key);
                    v6.1.push(admission);
                }
            }
        }
        let written = sys::update_all(self.prefixes_v4.as_fd(), &v4.0, &v4.1)
            .and_then(|()| sys::update_all(self.prefixes_v6.as_fd(), &v6.0, &v6.1));
        self.after(written)?;
        Arc::make_mut(&mut self.prefixes).extend(prefixes.iter().copied());
        Ok(())
    }

    /// Removes prefixes, in this order; those that are not there are no mistake.
    pub(crate) fn delete(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for &prefix in prefixes {
            match PrefixKey::of(prefix) {
                PrefixKey::V4(key) => v4.push(key),
                PrefixKey::V6(key) => v6.push(key),
            }
        }
        let deleted = sys::delete_all(self.prefixes_v4.as_fd(), &v4)
            .and_then(|()| sys::delete_all(self.prefixes_v6.as_fd(), &v6));
        self.after(deleted)?;
        let known = Arc::make_mut(&mut self.prefixes);
        for prefix in prefixes {
            known.remove(prefix);
        }
        Ok(())
    }

    /// After a failure nobody knows how far it went.
    fn after(&mut self, written: io::Result<()>) -> Result<(), Error> {
        written.or_else(|error| {
            self.read()?;
            Err(Error::kernel("write the prefixes of clients", error))
        })
    }

    /// Writes the limits of a service.
    pub(crate) fn put_rates(&mut self, index: u32, rates: Rates) -> Result<(), Error> {
        self.rates.set(index, Pod(rates), 0).map_err(|error| match error {
            MapError::OutOfBounds { .. } => Error::NoRow { map: map_names::RATES, index },
            error => Error::kernel(format!("write row {index} of the map RATES"), error),
        })?;
        if rates == Rates::default() {
            self.limiting.remove(&index);
        } else {
            self.limiting.insert(index, rates);
        }
        Ok(())
    }

    /// What the maps hold, beside all else.
    pub(crate) fn observe(&self, datapath: &mut observed::Datapath) {
        datapath.prefixes = Arc::clone(&self.prefixes);
        datapath.rates.clone_from(&self.limiting);
    }
}

fn trie(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, Error> {
    let fd = match take_any(ebpf, name)? {
        Map::LpmTrie(map) => map.fd().as_fd().try_clone_to_owned(),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    fd.map_err(|error| Error::kernel(format!("open the map {name}"), error))
}
