//! The way of one packet, stage by stage, for people who ask why.

use core::net::IpAddr;

use tidegate_abi::{
    Backend, Counter, Service, Slot, backend_kinds, features, ip_proto, service_flags,
};
use tidegate_bgp::types::Prefix;

use super::pick::key;
use super::{Model, Outcome, Packet, Parsed, Transport, parse};
use crate::key::MapKey;
use crate::proof::{self, Finding};

/// Features without which a proof copy decides: it asks no guard, and goes on with no other program
/// ([`features::PROOF`]).
const NOT_IN_A_PROOF: u64 = features::TOO_BIG
    | features::PREFIXES_V4
    | features::PREFIXES_V6
    | features::RATES
    | features::QUIC
    | features::GUE_CHECKSUM
    | features::VARY_V4
    | features::VARY_V6;

/// What each stage made of a packet; a stage that it did not come to made nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What was in the frame, if it is an IP packet whose header is sound.
    pub packet: Option<Packet>,
    /// The longest prefix that the client's address lies in and of which something is said, with
    /// what is said ([`admissions`](tidegate_abi::admissions)).
    pub admission: Option<(Prefix, u32)>,
    /// The service's entry and where it was found.
    pub service: Option<(MapKey, Service)>,
    /// The slot of the ring that the packet's hash falls into, and which one of its ring it is.
    pub slot: Option<(u32, Slot)>,
    /// The backend that the table of flows has remembered for it.
    pub remembered: Option<u32>,
    /// The backend that a QUIC connection id names.
    pub named: Option<u32>,
    /// The index of the backend that owns it, and the entry of that.
    pub owner: Option<(u32, Option<Backend>)>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Model<'_> {
    /// Runs a frame and tells its way.
    pub fn trace(&mut self, frame: &[u8], ingress_ifindex: u32) -> Trace {
        let packet = match parse(frame) {
            Parsed::Packet(packet) => Some(packet),
            Parsed::NotIp | Parsed::BadHeader => None,
        };
        let ports = packet.as_ref().filter(|it| matches!(it.transport, Transport::Ports { .. }));
        let service = ports.filter(|it| !it.is_for_group).and_then(|it| self.found(it));
        let slot = ports.zip(service).and_then(|(packet, (_, service))| {
            let (row, slot, _) = self.slot(packet, service).ok()?;
            Some((row.wrapping_sub(service.ring_offset), slot))
        });
        let remembered = ports.and_then(|packet| self.remembered(packet));
        let named = ports.zip(service).and_then(|(packet, (_, it))| self.named(packet, it));
        let owner = ports.zip(service).and_then(|(packet, (_, it))| self.owner_index(packet, it));
        Trace {
            admission: packet.as_ref().and_then(|it| self.admission(it.flow.src)),
            service,
            slot,
            remembered,
            named,
            owner: owner.map(|index| (index, self.maps.backends.get(&index).copied())),
            outcome: self.run(frame, ingress_ifindex),
            packet,
        }
    }

    /// What a proof copy with the same maps has to find; `None`: it is not asked about such a packet,
    /// which another program takes.
    pub fn expected_of_proof(&self, frame: &[u8], ingress_ifindex: u32) -> Option<Finding> {
        let mut copy = self.clone();
        copy.constants.features &= !NOT_IN_A_PROOF;
        let Parsed::Packet(packet) = parse(frame) else {
            return Some(Finding::Ended(copy.run(frame, ingress_ifindex).verdict));
        };
        match packet.transport {
            Transport::Error | Transport::Fragment => return None,
            Transport::Ports { .. }
            | Transport::Echo
            | Transport::NeighbourDiscovery
            | Transport::Malformed
            | Transport::Other => {}
        }
        let service = copy.service_of(packet.flow);
        if service.is_some_and(|it| copy.is_nat(it)) || copy.is_nat_source(packet.flow.dst) {
            return None; // Its other programs remember connections.
        }
        let outcome = copy.run(frame, ingress_ifindex);
        Some(proof::read(outcome.verdict as u32, &outcome.frame))
    }

    fn found(&self, packet: &Packet) -> Option<(MapKey, Service)> {
        let flow = packet.flow;
        let service = self.service_of(flow)?;
        let key = self.prefixes_of(flow.dst).find_map(|vip| {
            let ports = [flow.dst_port, 0];
            let at = |port: u16| self.service(vip, port, flow.proto).map(|it| (port, it));
            let (port, _) = ports.into_iter().filter_map(at).find(|(_, it)| *it == service)?;
            Some(MapKey::new(vip, port, flow.proto))
        })?;
        Some((key, service))
    }

    fn admission(&self, client: IpAddr) -> Option<(Prefix, u32)> {
        let lens = (0..=Prefix::host(client).bits()).rev();
        let mut prefixes = lens.filter_map(|len| Prefix::new(client, len));
        prefixes.find_map(|it| self.maps.prefixes.get(&it).map(|&said| (it, said)))
    }

    fn remembered(&self, packet: &Packet) -> Option<u32> {
        let table = if packet.flow.proto == ip_proto::UDP { &self.udp_flows } else { &self.flows };
        table.get(&key(&packet.flow)).copied()
    }

    /// As [`pick`](Self::pick) decides, without remembering anything.
    fn owner_index(&self, packet: &Packet, service: Service) -> Option<u32> {
        let mut copy = self.clone();
        match copy.pick(packet, service, &mut Vec::new()) {
            Ok(picked) => Some(picked.backend),
            // The slot still says whose it would be.
            Err(Counter::DropUnresolved) => Some(self.slot(packet, service).ok()?.1.current),
            Err(_) => None,
        }
    }
}

/// How a backend is reached, in the configuration's word.
pub const fn mode(entry: &Backend) -> &'static str {
    match entry.kind {
        backend_kinds::L2 => "l2",
        backend_kinds::NAT_V4 | backend_kinds::NAT_V6 => "nat",
        kind if kind & backend_kinds::GUE != 0 => "gue",
        _ => "ipip",
    }
}

/// Whether a service tells clients apart by their addresses alone.
pub const fn is_by_client(service: &Service) -> bool {
    service.flags & service_flags::AFFINITY_CLIENT != 0
}
