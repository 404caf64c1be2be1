//! The tables of connections in NAT: who is in them, and who leaves them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use tidegate_abi::{FlowKey, NatAnswer, NatFlow, Plain, map_names};
use tidegate_config::desired::NatTimeouts;
use tidegate_plan::nat::{self, Place};

use super::error::Error;
use super::maps::{absent_is_fine, take_any, used};
use super::pod::Pod;
use super::sys;

/// Connections that are looked at in one go: some milliseconds.
const BATCH: usize = 16_384;
/// Answers whose connection is not there are let be for so long: it may be about to be.
const ORPHAN_NS: u64 = 10_000_000_000;

/// One of the two maps.
struct Table<V: Plain> {
    name: &'static str,
    map: HashMap<MapData, Pod<FlowKey>, Pod<V>>,
    /// The same map, for reading many at once.
    fd: OwnedFd,
    /// Where the next look starts; `None`: at the start.
    position: Option<u32>,
}

impl<V: Plain + Default> Table<V> {
    fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, Error> {
        let map = take_any(ebpf, name)?;
        let fd = match &map {
            Map::HashMap(map) => map.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let fd = fd.map_err(|error| Error::kernel(format!("open the map {name}"), error))?;
        Ok(Self { name, map: used(map, name)?, fd, position: None })
    }

    /// The next ones; after the last ones the position is at the start again.
    fn read_on(&mut self) -> Result<Vec<(FlowKey, V)>, Error> {
        let mut keys = vec![FlowKey::default(); BATCH];
        let mut values = vec![V::default(); BATCH];
        let fd = self.fd.as_fd();
        let count = sys::read_on(fd, &mut self.position, &mut keys, &mut values)
            .map_err(|error| Error::kernel(format!("read the map {}", self.name), error))?;
        Ok(keys.into_iter().zip(values).take(count).collect())
    }

    fn get(&self, key: FlowKey) -> Result<Option<V>, Error> {
        match self.map.get(&Pod(key), 0) {
            Ok(Pod(value)) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::kernel(format!("read the map {}", self.name), error)),
        }
    }

    fn remove(&mut self, key: FlowKey) -> Result<(), Error> {
        absent_is_fine(self.map.remove(&Pod(key)))
            .map_err(|error| Error::kernel(format!("write the map {}", self.name), error))
    }
}

/// Both of them.
pub(crate) struct Nat {
    flows: Table<NatFlow>,
    answers: Table<NatAnswer>,
    /// Connections in this round so far, and in the last whole one.
    counting: BTreeMap<Place, u64>,
    counted: BTreeMap<Place, u64>,
    /// There was one: nobody knows before how many a process of before has left.
    is_counted: bool,
}

impl Nat {
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            flows: Table::take(ebpf, map_names::NAT_FLOWS)?,
            answers: Table::take(ebpf, map_names::NAT_ANSWERS)?,
            counting: BTreeMap::new(),
            counted: BTreeMap::new(),
            is_counted: false,
        })
    }

    /// Looks at the next connections, and forgets those that are over or whose backend is dead. True
    /// if that was the last of a round.
    pub(crate) fn sweep(
        &mut self,
        timeouts: &NatTimeouts,
        dead: &BTreeSet<Place>,
    ) -> Result<bool, Error> {
        let now = sys::monotonic_ns();
        let idle_min = u64::try_from(nat::idle_min(timeouts).as_nanos()).unwrap_or(u64::MAX);
        for (key, flow) in self.flows.read_on()? {
            let place = (flow.service, flow.backend);
            let is_silent = now.saturating_sub(flow.seen_ns) > idle_min;
            let is_over = dead.contains(&place)
                || is_silent && {
                    let answer = self.answers.get(answer_key(&key, &flow))?;
                    nat::is_over(key.proto, &flow, answer.as_ref(), now, timeouts)
                };
            if is_over {
                self.forget(key, &flow)?;
            } else {
                *self.counting.entry(place).or_default() += 1;
            }
        }
        for (key, answer) in self.answers.read_on()? {
            if now.saturating_sub(answer.seen_ns) > ORPHAN_NS.max(idle_min) {
                let flow = self.flows.get(flow_key(&key, &answer))?;
                // It may have begun anew, with another port.
                if flow.is_none_or(|flow| answer_key(&flow_key(&key, &answer), &flow) != key) {
                    self.answers.remove(key)?;
                }
            }
        }
        let is_round = self.flows.position.is_none() && self.answers.position.is_none();
        if self.flows.position.is_none() {
            self.counted = std::mem::take(&mut self.counting);
            self.is_counted = true;
        }
        Ok(is_round)
    }

    /// Forgets the connections of a backend whose entry becomes free.
    pub(crate) fn forget_backend(&mut self, backend: u32) -> Result<(), Error> {
        let mut before = self.flows.position.take();
        loop {
            for (key, flow) in self.flows.read_on()? {
                if flow.backend == backend {
                    self.forget(key, &flow)?;
                }
            }
            if self.flows.position.is_none() {
                self.flows.position = before.take();
                return Ok(());
            }
        }
    }

    /// First what brings packets to the backend: who sees the answers gone opens no second way.
    fn forget(&mut self, key: FlowKey, flow: &NatFlow) -> Result<(), Error> {
        self.flows.remove(key)?;
        self.answers.remove(answer_key(&key, flow))
    }

    /// Whether there may be connections.
    pub(crate) fn is_used(&self) -> bool {
        !self.is_counted || !self.counted.is_empty()
    }

    /// A client's connection, if it is known.
    pub(crate) fn flow(&self, key: FlowKey) -> Result<Option<NatFlow>, Error> {
        self.flows.get(key)
    }

    /// Connections of each service and backend, as they were counted last.
    pub(crate) const fn counted(&self) -> &BTreeMap<Place, u64> {
        &self.counted
    }
}

/// What the answers to a client's packets are known by.
const fn answer_key(client: &FlowKey, flow: &NatFlow) -> FlowKey {
    FlowKey {
        src: flow.backend_addr,
        dst: flow.source,
        src_port: flow.backend_port,
        dst_port: flow.source_port,
        proto: client.proto,
        reserved: [0; 3],
    }
}

/// What the client's packets are known by.
const fn flow_key(key: &FlowKey, answer: &NatAnswer) -> FlowKey {
    FlowKey {
        src: answer.client,
        dst: answer.vip,
        src_port: answer.client_port,
        dst_port: answer.service_port,
        proto: key.proto,
        reserved: [0; 3],
    }
}
