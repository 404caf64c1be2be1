//! The maps with their types: what a step writes, what an observation reads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::xdp::DevMapHash;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use tidegate_abi::{
    BACKENDS_MAX, Backend, Counter, FLOWS_MAX, FlowKey, Plain, Service, ServiceKeyV4, ServiceKeyV6,
    Slot, Told, Traffic, UDP_FLOWS_MAX, backend_flags, backend_kinds, map_names,
};
use tidegate_bgp::types::Prefix;
use tidegate_plan::entry::{is_resolved, nat_source};
use tidegate_plan::key::MapKey;
use tidegate_plan::observed;
use tidegate_plan::step::Step;

use super::error::Error;
use super::flows::Flows;
use super::guard::Guard;
use super::nat::Nat;
use super::pod::Pod;
use super::records::Records;
use super::servers::Servers;
use super::slots::Slots;
use super::sys;

type Rows<T> = PerCpuArray<MapData, Pod<T>>;
type Services<K> = HashMap<MapData, Pod<K>, Pod<Service>>;

/// All maps of the packet path.
pub(crate) struct Maps {
    services_v4: Services<ServiceKeyV4>,
    services_v6: Services<ServiceKeyV6>,
    /// Lengths of VIPs that are prefixes, maybe of some that are gone.
    prefix_lens: BTreeSet<u8>,
    slots: Slots,
    backends: Array<MapData, Pod<Backend>>,
    /// The same map, for reading all of it.
    backends_fd: OwnedFd,
    flows: Flows,
    udp_flows: Flows,
    guard: Guard,
    servers: Servers,
    pub(crate) nat: Nat,
    /// UDP flows may be remembered with backends whose entries are free by now.
    remembers_freed: bool,
    service_traffic: Rows<Traffic>,
    backend_traffic: Rows<Traffic>,
    counters: PerCpuArray<MapData, u64>,
    told: PerCpuArray<MapData, u64>,
    /// Until somebody takes it who reads it.
    pub(crate) records: Option<Records>,
    devices: DevMapHash<MapData>,
    cpus: usize,
}

impl Maps {
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let slots = match take_any(ebpf, map_names::RING_SLOTS)? {
            Map::Array(map) => Slots::map(map.fd().as_fd())
                .map_err(|error| Error::kernel("map the ring slots into memory", error))?,
            _ => return Err(Error::kernel("map the ring slots", MapError::ElementNotFound)),
        };
        let backends = take_any(ebpf, map_names::BACKENDS)?;
        let backends_fd = match &backends {
            Map::Array(map) => map.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        }
        .map_err(|error| Error::kernel("open the map BACKENDS", error))?;
        let cpus =
            nr_cpus().map_err(|(path, error)| Error::kernel(format!("read {path}"), error))?;
        let (services_v4, services_v6) =
            (take(ebpf, map_names::SERVICES_V4)?, take(ebpf, map_names::SERVICES_V6)?);
        let keys_v4 = read(&services_v4, map_names::SERVICES_V4)?.into_keys().map(MapKey::V4);
        let keys_v6 = read(&services_v6, map_names::SERVICES_V6)?.into_keys().map(MapKey::V6);
        let mut maps = Self {
            services_v4,
            services_v6,
            prefix_lens: keys_v4.chain(keys_v6).map(MapKey::prefix_len).collect(),
            slots,
            backends: used(backends, map_names::BACKENDS)?,
            backends_fd,
            flows: Flows::take(ebpf, map_names::FLOWS, FLOWS_MAX)?,
            udp_flows: Flows::take(ebpf, map_names::UDP_FLOWS, UDP_FLOWS_MAX)?,
            guard: Guard::take(ebpf)?,
            servers: Servers::take(ebpf)?,
            nat: Nat::take(ebpf)?,
            remembers_freed: true,
            service_traffic: take(ebpf, map_names::SERVICE_TRAFFIC)?,
            backend_traffic: take(ebpf, map_names::BACKEND_TRAFFIC)?,
            counters: take(ebpf, map_names::COUNTERS)?,
            told: take(ebpf, map_names::FLOW_COUNTS)?,
            records: Some(Records::take(ebpf, map_names::FLOW_RECORDS)?),
            devices: take(ebpf, map_names::DEVICES)?,
            cpus,
        };
        // A daemon that was killed may not have come to it.
        maps.forget_settled_flows()?;
        Ok(maps)
    }

    pub(crate) fn apply(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::PutBackend { index, entry, fresh } => {
                if *fresh {
                    self.forget_udp_flows_of_freed()?;
                }
                self.put_backend(*index, *entry, *fresh)
            }
            Step::FreeBackend { index } => {
                // Whoever gets its index next is not theirs.
                self.flows.forget(|_, backend| Ok(backend == *index))?;
                self.remembers_freed = true;
                let entry = self.backends.get(index, 0);
                if entry.is_ok_and(|Pod(entry)| nat_source(&entry).is_some()) {
                    self.nat.forget_backend(*index)?;
                }
                self.put_backend(*index, Backend::FREE, false)
            }
            Step::PutSlots { slots } => self.put_slots(slots),
            Step::PutServiceV4 { key, service, fresh } => {
                self.prefix_lens.insert(key.prefix_len);
                clear_row(&mut self.service_traffic, service.index, *fresh, self.cpus)?;
                put(&mut self.services_v4, map_names::SERVICES_V4, *key, *service)
            }
            Step::PutServiceV6 { key, service, fresh } => {
                self.prefix_lens.insert(key.prefix_len);
                clear_row(&mut self.service_traffic, service.index, *fresh, self.cpus)?;
                put(&mut self.services_v6, map_names::SERVICES_V6, *key, *service)
            }
            Step::DeleteServiceV4 { key } => {
                delete(&mut self.services_v4, map_names::SERVICES_V4, *key)
            }
            Step::DeleteServiceV6 { key } => {
                delete(&mut self.services_v6, map_names::SERVICES_V6, *key)
            }
            Step::PutPrefixes { prefixes } => self.guard.put(prefixes),
            Step::DeletePrefixes { prefixes } => self.guard.delete(prefixes),
            Step::PutRates { index, rates } => self.guard.put_rates(*index, *rates),
            Step::PutServers { servers } => self.servers.put(servers),
            Step::DeleteServers { servers } => self.servers.delete(servers),
            Step::Advertise { .. } | Step::Withdraw { .. } => Ok(()),
        }
    }

    /// The kernel copies the entry while packets may be reading it. What it stands for never
    /// changes under packets: an index is free, seen by a look of its own, before it is another
    /// backend's. A new way may: a frame that is read in the midst of the copy has a part of the
    /// old way and a part of the new one, MAC addresses included, and is lost. Measured, that is
    /// half a nanosecond per change: at ten million packets per second one change in two hundred
    /// loses one packet. A new way loses more by itself, so this is not worth an index of its own.
    fn put_backend(&mut self, index: u32, entry: Backend, fresh: bool) -> Result<(), Error> {
        clear_row(&mut self.backend_traffic, index, fresh, self.cpus)?;
        let egress = entry.egress_ifindex;
        // An entry without a way sends nothing, and its device may be gone for good.
        if egress != 0 && is_resolved(&entry) {
            self.put_device(egress)?;
        }
        self.backends.set(index, Pod(entry), 0).map_err(|error| row(error, "BACKENDS", index))
    }

    /// Makes an interface one that frames may be sent through.
    pub(crate) fn put_device(&mut self, ifindex: u32) -> Result<(), Error> {
        self.devices.insert(ifindex, ifindex, None, 0).map_err(|error| {
            Error::kernel(format!("make interface {ifindex} a device to send through"), error)
        })
    }

    fn put_slots(&mut self, slots: &[(u32, Slot)]) -> Result<(), Error> {
        for &(index, slot) in slots {
            if !self.slots.store(index, slot) {
                return Err(Error::NoRow { map: map_names::RING_SLOTS, index });
            }
        }
        if slots.iter().any(|(_, slot)| slot.is_settled()) {
            self.forget_settled_flows()?;
        }
        Ok(())
    }

    /// Removes the UDP flows of backends that are gone, before an index becomes another one's. The
    /// table may be large: it is gone through once, however many were freed since.
    fn forget_udp_flows_of_freed(&mut self) -> Result<(), Error> {
        if !self.remembers_freed {
            return Ok(());
        }
        let entries = self.read_backends()?;
        let kind = |index: u32| entries.get(index as usize).map(|entry| entry.kind);
        let is_free = |index| kind(index).is_none_or(|kind| kind == backend_kinds::NONE);
        self.udp_flows.forget(|_, backend| Ok(is_free(backend)))?;
        self.servers.forget_datagrams()?;
        self.remembers_freed = false;
        Ok(())
    }

    fn read_backends(&self) -> Result<Vec<Backend>, Error> {
        let len = usize::try_from(BACKENDS_MAX).unwrap_or(usize::MAX);
        sys::read_array(self.backends_fd.as_fd(), len, Backend::FREE)
            .map_err(|error| Error::kernel("read the map BACKENDS", error))
    }

    /// Removes the flows of services that have no slot in transition: the table serves such slots
    /// alone. Left in it, a flow that opens with the same ports later would be taken for this one.
    ///
    /// A packet that has seen the slot before it was settled may be remembered after this. That
    /// flow has the backend that the slot has, so it does no harm, and goes the next time.
    fn forget_settled_flows(&mut self) -> Result<(), Error> {
        let Self { flows, services_v4, services_v6, prefix_lens, slots, .. } = self;
        // A service of many ports has one ring, which takes a while to look through.
        let mut rings = BTreeMap::new();
        let mut services = BTreeMap::new();
        flows.forget(|key, _| {
            let of = (key.dst, key.dst_port, key.proto);
            if let Some(&is_settled) = services.get(&of) {
                return Ok(is_settled);
            }
            let is_settled = match service_of(services_v4, services_v6, prefix_lens, key)? {
                Some(Service { ring_offset, ring_size, .. }) => *rings
                    .entry((ring_offset, ring_size))
                    .or_insert_with(|| !slots.any_in_transition(ring_offset, ring_size)),
                None => true,
            };
            services.insert(of, is_settled);
            Ok(is_settled)
        })
    }

    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.slots.used()
    }

    pub(crate) fn observe(&self, attached: bool) -> Result<observed::Datapath, Error> {
        let services_v4 = read(&self.services_v4, map_names::SERVICES_V4)?;
        let services_v6 = read(&self.services_v6, map_names::SERVICES_V6)?;
        let all = self.read_backends()?;
        let in_use = |(_, entry): &(u32, Backend)| entry.kind != backend_kinds::NONE;
        let mut devices = BTreeMap::new();
        let mut backends = BTreeMap::new();
        for (index, mut entry) in (0..).zip(all).filter(in_use) {
            // Without its device nothing is sent with it, whatever it says of itself. Writing it
            // puts the device back.
            let egress = entry.egress_ifindex;
            if !*devices.entry(egress).or_insert_with(|| self.devices.get(egress, 0).is_ok()) {
                entry.flags &= !backend_flags::RESOLVED;
            }
            backends.insert(index, entry);
        }
        let slots = self.slots.used();
        let mut observed = observed::Datapath {
            attached,
            services_v4,
            services_v6,
            backends,
            slots,
            ..observed::Datapath::default()
        };
        self.guard.observe(&mut observed);
        observed.quic_servers = self.servers.known();
        Ok(observed)
    }

    pub(crate) fn service_traffic(&self, index: u32) -> Result<Traffic, Error> {
        sum(&self.service_traffic, map_names::SERVICE_TRAFFIC, index)
    }

    pub(crate) fn backend_traffic(&self, index: u32) -> Result<Traffic, Error> {
        sum(&self.backend_traffic, map_names::BACKEND_TRAFFIC, index)
    }

    pub(crate) fn counters(&self) -> Result<BTreeMap<Counter, u64>, Error> {
        let mut all = BTreeMap::new();
        for &counter in Counter::ALL {
            all.insert(counter, total(&self.counters, map_names::COUNTERS, counter as u32)?);
        }
        Ok(all)
    }

    /// What became of the words that packets are worth.
    pub(crate) fn told(&self) -> Result<BTreeMap<Told, u64>, Error> {
        let one = |told| Ok((told, total(&self.told, map_names::FLOW_COUNTS, told as u32)?));
        Told::ALL.into_iter().map(one).collect()
    }

    /// The backends that the tables of flows and of UDP flows remember for this one.
    pub(crate) fn flow(&self, key: FlowKey) -> Result<(Option<u32>, Option<u32>), Error> {
        Ok((self.flows.get(key)?, self.udp_flows.get(key)?))
    }

    pub(crate) fn flow_count(&self) -> Result<usize, Error> {
        self.flows.count()
    }
}

/// The service that a flow belongs to, if there is one: that of the longest prefix.
fn service_of(
    services_v4: &Services<ServiceKeyV4>,
    services_v6: &Services<ServiceKeyV6>,
    prefix_lens: &BTreeSet<u8>,
    flow: &FlowKey,
) -> Result<Option<Service>, MapError> {
    let FlowKey { dst, dst_port, proto, .. } = *flow;
    let dst = match dst {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => IpAddr::from([a, b, c, d]),
        dst => IpAddr::from(dst),
    };
    let shorter = prefix_lens.iter().rev().filter_map(|&len| Prefix::new(dst, len));
    for vip in core::iter::once(Prefix::host(dst)).chain(shorter) {
        // That of its port, or else that of all ports.
        for port in [u16::from_be_bytes(dst_port), 0] {
            let found = match MapKey::new(vip, port, proto) {
                MapKey::V4(key) => services_v4.get(&Pod(key), 0),
                MapKey::V6(key) => services_v6.get(&Pod(key), 0),
            };
            match found {
                Ok(Pod(service)) => return Ok(Some(service)),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// A map of an object, whatever its type.
pub(crate) fn take_any(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, Error> {
    ebpf.take_map(name)
        .ok_or_else(|| Error::kernel(format!("find the map {name}"), MapError::ElementNotFound))
}

/// A map of an object, with its type.
pub(crate) fn take<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, Error> {
    used(take_any(ebpf, name)?, name)
}

/// The same with its type, in two steps.
pub(crate) fn used<T: TryFrom<Map, Error = MapError>>(
    map: Map,
    name: &'static str,
) -> Result<T, Error> {
    T::try_from(map).map_err(|error| Error::kernel(format!("use the map {name}"), error))
}

fn row(error: MapError, map: &'static str, index: u32) -> Error {
    match error {
        MapError::OutOfBounds { .. } => Error::NoRow { map, index },
        error => Error::kernel(format!("reach row {index} of the map {map}"), error),
    }
}

fn put<K: Plain>(
    map: &mut Services<K>,
    name: &'static str,
    key: K,
    service: Service,
) -> Result<(), Error> {
    map.insert(Pod(key), Pod(service), 0)
        .map_err(|error| Error::kernel(format!("write the map {name}"), error))
}

fn delete<K: Plain>(map: &mut Services<K>, name: &'static str, key: K) -> Result<(), Error> {
    absent_is_fine(map.remove(&Pod(key)))
        .map_err(|error| Error::kernel(format!("write the map {name}"), error))
}

/// Steps may be done twice.
pub(crate) fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        Err(MapError::KeyNotFound) => Ok(()),
        removed => removed,
    }
}

fn read<K: Plain + Ord>(
    map: &Services<K>,
    name: &'static str,
) -> Result<BTreeMap<K, Service>, Error> {
    map.iter()
        .map(|entry| entry.map(|(Pod(key), Pod(service))| (key, service)))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::kernel(format!("read the map {name}"), error))
}

fn clear_row(rows: &mut Rows<Traffic>, index: u32, fresh: bool, cpus: usize) -> Result<(), Error> {
    if !fresh {
        return Ok(());
    }
    PerCpuValues::try_from(vec![Pod(Traffic::default()); cpus])
        .map_err(MapError::from)
        .and_then(|zeros| rows.set(index, zeros, 0))
        .map_err(|error| row(error, "traffic", index))
}

fn total(rows: &PerCpuArray<MapData, u64>, map: &'static str, index: u32) -> Result<u64, Error> {
    let values = rows.get(&index, 0).map_err(|error| row(error, map, index))?;
    Ok(values.iter().fold(0, |sum: u64, &value| sum.wrapping_add(value)))
}

fn sum(rows: &Rows<Traffic>, map: &'static str, index: u32) -> Result<Traffic, Error> {
    let values = rows.get(&index, 0).map_err(|error| row(error, map, index))?;
    Ok(values.iter().fold(Traffic::default(), |sum, Pod(cpu)| Traffic {
        packets: sum.packets.wrapping_add(cpu.packets),
        bytes: sum.bytes.wrapping_add(cpu.bytes),
    }))
}
