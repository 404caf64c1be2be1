//! The packet path as a function: what the program in the kernel makes of a frame, in words that
//! need no kernel.
//!
//! It is written after the protocols' texts and not after the program, over slices instead of
//! cursors, so that a mistake of one is not also the other's: tests send the same frames through
//! both and compare verdict, frame and counters. [`Outcome`] also says which way a packet took, for
//! people who ask why.
//!
//! Time stands still: no token comes back into a bucket, and answers to packets that are too big are
//! not limited.

mod answer;
mod encap;
mod guard;
mod gue;
mod nat;
mod packet;
mod pick;
mod quic;
mod trace;

use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{
    Buckets, Counter, DatagramKey, DatapathConfig, FlowKey, Service, features, service_flags,
};
use tidegate_bgp::types::Prefix;

use crate::constants;
use crate::key::MapKey;
use crate::observed::Datapath;
pub use nat::Connections;
pub use packet::{Addr, Flow, Packet, Parsed, Transport, parse, parse_ip, parse_start};
pub use pick::{flow_hash, key as flow_key};
pub use quic::ConnectionId;
pub use trace::{Trace, is_by_client, mode};

/// What the packet path works with.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    /// Its constants.
    pub constants: DatapathConfig,
    /// Services, slots and backends.
    pub maps: &'a Datapath,
    /// The flow table.
    pub flows: BTreeMap<FlowKey, u32>,
    /// UDP flows that services remember. The table forgets, the model does not.
    pub udp_flows: BTreeMap<FlowKey, u32>,
    /// What the first parts of datagrams have said. The table forgets, the model does not.
    pub fragments: BTreeMap<DatagramKey, Said>,
    /// Connections in NAT.
    pub nat: Connections,
    /// Flows that the table holds at most.
    pub flows_max: usize,
    /// What is taken out of the buckets of sources.
    pub source_buckets: BTreeMap<u32, Buckets>,
    /// The same of services.
    pub service_buckets: BTreeMap<u32, Buckets>,
    /// Devices that frames can be redirected to.
    pub devices: BTreeSet<u32>,
}

/// What the first part of a datagram has said, and the others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its flow.
    pub flow: Flow,
    /// The backend that its connection id named.
    pub named: Option<u32>,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict, as the counter that it moves.
    pub verdict: Counter,
    /// Other counters that moved, each once.
    pub events: Vec<Counter>,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// Rows of `SERVICE_TRAFFIC` and `BACKEND_TRAFFIC` that moved, if it was forwarded.
    pub forwarded: Option<Forwarded>,
}

/// Where a packet was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Row of `SERVICE_TRAFFIC`.
    pub service: u32,
    /// Slot of `RING_SLOTS` that its hash falls into.
    pub slot: u32,
    /// Index of the backend, and row of `BACKEND_TRAFFIC`.
    pub backend: u32,
    /// A connection id of QUIC has named the backend: the slot did not matter.
    pub is_named: bool,
}

impl Model<'_> {
    /// Runs one frame that comes in by an interface. The flow table changes as it would.
    pub fn run(&mut self, frame: &[u8], ingress_ifindex: u32) -> Outcome {
        let mut outcome = Outcome {
            verdict: Counter::PassNotIp,
            events: Vec::new(),
            frame: frame.to_vec(),
            forwarded: None,
        };
        let (Ok(verdict) | Err(verdict)) = self.walk(frame, ingress_ifindex, &mut outcome);
        outcome.verdict = verdict;
        outcome
    }

    fn walk(
        &mut self,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let packet = match parse(frame) {
            Parsed::NotIp => return Err(Counter::PassNotIp),
            Parsed::BadHeader => return Err(Counter::PassBadHeader),
            Parsed::Packet(packet) => packet,
        };
        let service = match packet.transport {
            Transport::Ports { .. } if !packet.is_for_group => self.service_of(packet.flow),
            _ => None,
        };
        match service {
            Some(service) => {
                if self.is_denied(packet.flow.src) {
                    return Err(Counter::DropDenied);
                }
                self.limit(&packet, service)?;
                if self.is_nat(service) {
                    return self.translate(&packet, service, frame, ingress_ifindex, outcome);
                }
                self.deliver(&packet, service, frame, ingress_ifindex, outcome)
            }
            None if self.is_nat_source(packet.flow.dst) => {
                self.send_to_client(&packet, frame, ingress_ifindex, outcome)
            }
            None if self.is_turned_away(&packet) => Err(Counter::DropDenied),
            None if packet.transport == Transport::Error && self.is_for_vip(&packet) => {
                self.deliver_error(&packet, frame, ingress_ifindex, outcome)
            }
            None if packet.transport == Transport::Fragment && self.is_for_vip(&packet) => {
                self.deliver_fragment(&packet, frame, ingress_ifindex, outcome)
            }
            None => Err(self.for_no_service(&packet, outcome)),
        }
    }

    /// A part of a datagram goes to the owner of the flow that the first part names.
    fn deliver_fragment(
        &mut self,
        packet: &Packet,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let part = packet::part(frame, packet).ok_or(Counter::DropFragment)?;
        let whole = if part.is_first { part.says } else { self.said(packet, &part.key) };
        let whole = whole.ok_or(Counter::DropFragment)?;
        let service = self.service_of(whole.flow).ok_or(Counter::DropNoService)?;
        self.limit(&whole, service)?;
        if self.is_nat(service) {
            return Err(Counter::DropFragment);
        }
        if part.is_first {
            let said = Said { flow: whole.flow, named: self.named(&whole, service) };
            self.fragments.insert(part.key, said);
        }
        let verdict = self.deliver(&whole, service, frame, ingress_ifindex, outcome)?;
        if verdict != Counter::AnswerTooBig {
            outcome.events.push(Counter::FragmentForwarded);
        }
        Ok(verdict)
    }

    /// A later part, as what the first one has said makes it.
    fn said(&self, part: &Packet, datagram: &DatagramKey) -> Option<Packet> {
        let &Said { flow, named } = self.fragments.get(datagram)?;
        let transport = Transport::Ports { opens: false };
        Some(Packet { flow, transport, named, connection: None, ..part.clone() })
    }

    /// A denied client's packet to a VIP that is for none of its services. Messages of a link are not
    /// a client's.
    fn is_turned_away(&self, packet: &Packet) -> bool {
        self.is_for_vip(packet)
            && packet.transport != Transport::NeighbourDiscovery
            && self.is_denied(packet.flow.src)
    }

    fn is_for_vip(&self, packet: &Packet) -> bool {
        !packet.is_for_group && self.vip(packet.flow.dst).is_some()
    }

    /// An ICMP error goes to the owner of the flow that it quotes.
    fn deliver_error(
        &mut self,
        packet: &Packet,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let quoted_at = packet.transport_at + 8;
        let room = (packet.ip_at + packet.ip_len).saturating_sub(quoted_at);
        let is_v4 = packet.flow.dst.is_ipv4();
        let flow = packet::quoted(frame, quoted_at, room, is_v4).ok_or(Counter::DropMalformed)?;
        if flow.dst != packet.flow.dst {
            return Err(Counter::DropNoService);
        }
        let service = self.service_of(flow).ok_or(Counter::DropNoService)?;
        self.limit(packet, service)?; // Its source is who sends the error.
        if self.is_nat(service) {
            return self.error_to_backend(packet, frame, ingress_ifindex, outcome);
        }
        let quoted = Packet { flow, transport: Transport::Other, ..packet.clone() };
        let verdict = self.send(&quoted, service, frame, ingress_ifindex, outcome)?;
        outcome.events.push(Counter::IcmpErrorForwarded);
        Ok(verdict)
    }

    /// Sends the packet, or answers that it is too big.
    fn deliver(
        &mut self,
        packet: &Packet,
        service: Service,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let sent = self.send(packet, service, frame, ingress_ifindex, outcome);
        if sent != Err(Counter::DropTooBig) || self.constants.features & features::TOO_BIG == 0 {
            return sent;
        }
        // Another program begins anew.
        let picked = self.pick(packet, service, &mut outcome.events)?;
        let without_df = self.constants.features & features::TOO_BIG_WITHOUT_DF != 0;
        let answer =
            answer::too_big(frame, packet, &picked.entry, without_df, self.constants.features);
        outcome.frame = answer.ok_or(Counter::DropTooBig)?;
        Ok(Counter::AnswerTooBig)
    }

    /// Sends the packet to the backend of its service that owns its flow.
    fn send(
        &mut self,
        packet: &Packet,
        service: Service,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let picked = self.pick(packet, service, &mut outcome.events)?;
        let wrapped = encap::wrap(frame, packet, &picked.entry, picked.hash, &self.constants)?;
        let egress = picked.entry.egress_ifindex;
        // The program has written by the time it finds out that there is no way out.
        outcome.frame = wrapped.frame;
        let verdict = if egress == ingress_ifindex {
            Counter::ForwardTx
        } else if self.devices.contains(&egress) {
            Counter::ForwardRedirect
        } else {
            return Err(Counter::DropUnresolved);
        };
        if let Some(ip_at) = wrapped.lacks_checksum
            && gue::write_checksum(&mut outcome.frame, ip_at).is_none()
        {
            outcome.events.push(Counter::ChecksumMissing);
        }
        let pick::Picked { slot, backend, is_named, .. } = picked;
        outcome.forwarded = Some(Forwarded { service: service.index, slot, backend, is_named });
        Ok(verdict)
    }

    /// The service of a flow, of the longest prefix that has it or is a VIP: the one of its port, or
    /// else the one of all ports.
    fn service_of(&self, flow: Flow) -> Option<Service> {
        let any_port = self.constants.features & features::ANY_PORT != 0;
        for vip in self.prefixes_of(flow.dst) {
            let of_port = self.service(vip, flow.dst_port, flow.proto);
            let of_all = || self.service(vip, 0, flow.proto).filter(|_| any_port);
            let service = of_port.or_else(of_all);
            if service.is_some() || self.service(vip, 0, 0).is_some() {
                return service;
            }
        }
        None
    }

    /// The own entry of the VIP that an address lies in.
    fn vip(&self, addr: Addr) -> Option<Service> {
        self.prefixes_of(addr).find_map(|vip| self.service(vip, 0, 0))
    }

    /// The prefixes that an address lies in and that could be VIPs, the longest first.
    fn prefixes_of(&self, addr: Addr) -> impl Iterator<Item = Prefix> {
        let lens = match addr {
            Addr::V4(_) => self.constants.vip_lens_v4,
            Addr::V6(_) => self.constants.vip_lens_v6,
        };
        let shorter = constants::unpacked(lens).filter_map(move |len| Prefix::new(addr, len));
        core::iter::once(Prefix::host(addr)).chain(shorter)
    }

    /// The service of a VIP, port and protocol; of the VIP itself for port and protocol 0.
    fn service(&self, vip: Prefix, port: u16, proto: u8) -> Option<Service> {
        match MapKey::new(vip, port, proto) {
            MapKey::V4(key) => self.maps.services_v4.get(&key).copied(),
            MapKey::V6(key) => self.maps.services_v6.get(&key).copied(),
        }
    }

    fn for_no_service(&self, packet: &Packet, outcome: &mut Outcome) -> Counter {
        let Some(vip) = self.vip(packet.flow.dst) else { return Counter::PassNotOurs };
        if packet.is_for_group {
            return Counter::PassGroupFrame;
        }
        match packet.transport {
            Transport::NeighbourDiscovery => Counter::PassNeighbour,
            Transport::Echo if vip.flags & service_flags::ECHO != 0 => {
                match encap::echo_reply(&outcome.frame, packet) {
                    Some(frame) => {
                        outcome.frame = frame;
                        Counter::EchoReply
                    }
                    None => Counter::DropMalformed,
                }
            }
            Transport::Malformed => Counter::DropMalformed,
            Transport::Ports { .. }
            | Transport::Echo
            | Transport::Error
            | Transport::Fragment
            | Transport::Other => Counter::DropNoService,
        }
    }
}

#[cfg(test)]
mod tests;
