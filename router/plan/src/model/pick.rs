//! Which backend a packet belongs to.

use core::net::IpAddr;

use tidegate_abi::{
    Backend, Counter, FlowKey, Service, Slot, backend_flags, features, flow_hash_v4, flow_hash_v6,
    ip_proto, service_flags, slot_of,
};

use super::packet::sixteen;
use super::{Flow, Model, Packet, Transport};
use crate::slots;

/// A backend that was picked.
pub(super) struct Picked {
    pub(super) slot: u32,
    pub(super) backend: u32,
    pub(super) entry: Backend,
    /// Of the flow, as the service wants it.
    pub(super) hash: u32,
    /// By a connection id.
    pub(super) is_named: bool,
}

impl Model<'_> {
    pub(super) fn pick(
        &mut self,
        packet: &Packet,
        service: Service,
        events: &mut Vec<Counter>,
    ) -> Result<Picked, Counter> {
        let (row, slot, hash) = self.slot(packet, service)?;
        let remembers = self.constants.features & features::UDP_FLOWS != 0
            && service.flags & service_flags::UDP_FLOWS != 0;
        let named = self.named(packet, service);
        let backend = if let Some(named) = named {
            named
        } else if remembers && packet.flow.proto == ip_proto::UDP {
            self.owner_of_udp(slot, packet)
        } else {
            self.owner(slot, packet, events)
        };
        if backend == 0 {
            return Err(Counter::DropNoBackend);
        }
        match self.maps.backends.get(&backend) {
            Some(&entry) if entry.flags & backend_flags::RESOLVED != 0 => {
                Ok(Picked { slot: row, backend, entry, hash, is_named: named.is_some() })
            }
            _ => Err(Counter::DropUnresolved),
        }
    }

    /// The slot that a packet falls into, with its row, and the packet's hash.
    pub(super) fn slot(
        &self,
        packet: &Packet,
        service: Service,
    ) -> Result<(u32, Slot, u32), Counter> {
        if service.ring_size == 0 {
            return Err(Counter::DropNoBackend);
        }
        let hash = self.hash(&packet.flow, service.flags);
        let row = service.ring_offset.wrapping_add(slot_of(hash, service.ring_size));
        if row >= tidegate_abi::RING_SLOTS_MAX {
            return Err(Counter::DropNoBackend);
        }
        Ok((row, slots::at(&self.maps.slots, row), hash))
    }

    /// The index of the backend that a slot and the flow table name.
    fn owner(&mut self, slot: Slot, packet: &Packet, events: &mut Vec<Counter>) -> u32 {
        if slot.is_settled() || packet.flow.proto == ip_proto::UDP {
            return slot.current;
        }
        let key = key(&packet.flow);
        let or_current = |older: u32| if older == 0 { slot.current } else { older };
        let opens = packet.transport == Transport::Ports { opens: true };
        match (opens, self.flows.get(&key).copied()) {
            (true, _) if slot.current == 0 => slot.current,
            (true, None) if self.flows.len() >= self.flows_max => {
                events.push(Counter::FlowTableFull);
                or_current(slot.older())
            }
            (true, _) => {
                self.flows.insert(key, slot.current);
                slot.current
            }
            (false, Some(remembered)) => remembered,
            (false, None) => or_current(slot.older()),
        }
    }

    /// The backend that the flow had, while it is one of the slot's two.
    fn owner_of_udp(&mut self, slot: Slot, packet: &Packet) -> u32 {
        let key = key(&packet.flow);
        let stays = |index: &u32| *index == slot.current || *index == slot.older();
        if let Some(remembered) = self.udp_flows.get(&key).copied().filter(stays) {
            return remembered;
        }
        if matches!(packet.transport, Transport::Ports { .. }) && slot.current != 0 {
            self.udp_flows.insert(key, slot.current);
        }
        slot.current
    }

    /// The flow hash with the affinity of a service.
    pub fn hash(&self, flow: &Flow, flags: u32) -> u32 {
        flow_hash(self.constants.hash_seed, flow, flags)
    }
}

/// The flow hash with the affinity of a service.
pub fn flow_hash(seed: u64, flow: &Flow, flags: u32) -> u32 {
    let by_client = flags & service_flags::AFFINITY_CLIENT != 0;
    let ports = u32::from(flow.src_port) << 16 | u32::from(flow.dst_port);
    let (ports, proto) = if by_client { (0, 0) } else { (ports, flow.proto) };
    // The last bits of the client's address may not count; of IPv6 none, or 64 and more.
    let uncounted = if by_client { flags >> service_flags::UNCOUNTED_BITS & 0x7f } else { 0 };
    match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let dst = if by_client { 0 } else { u64::from(dst.to_bits()) };
            let src = src.to_bits() & u32::MAX.checked_shl(uncounted & 0x1f).unwrap_or(0);
            flow_hash_v4(seed, u64::from(src) << 32 | dst, ports, proto)
        }
        (src, dst) => {
            let dst = if by_client { [0; 2] } else { words(dst) };
            let [high, low] = words(src);
            let src = match uncounted.checked_sub(64) {
                Some(of_high) => [high & u64::MAX.checked_shl(of_high).unwrap_or(0), 0],
                None => [high, low],
            };
            flow_hash_v6(seed, src, dst, ports, proto)
        }
    }
}

/// The flow's key in `FLOWS`.
pub fn key(flow: &Flow) -> FlowKey {
    FlowKey {
        src: sixteen(flow.src),
        dst: sixteen(flow.dst),
        src_port: flow.src_port.to_be_bytes(),
        dst_port: flow.dst_port.to_be_bytes(),
        proto: flow.proto,
        reserved: [0; 3],
    }
}

fn words(addr: IpAddr) -> [u64; 2] {
    let bits = u128::from_be_bytes(sixteen(addr));
    let low = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    [u64::try_from(bits >> 64).unwrap_or_default(), low]
}
