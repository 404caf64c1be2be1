//! Why a packet goes where it goes: its way by the maps as they are, and what the loaded program has
//! to find about the same packet.
//!
//! The model reads the maps, the program runs on them: where the two differ, one of them is wrong,
//! and whoever asks is told.

use std::collections::BTreeSet;

use tidegate_abi::{Counter, DatapathConfig, FLOWS_MAX, FlowKey, NAT_FLOWS_MAX, NatFlow};

use crate::constants::with_leftovers;
use crate::model::{Connections, Model, Packet, Parsed, Trace, Transport, flow_key, parse};
use crate::observed::Datapath;
use crate::proof::Finding;

/// What the tables have remembered of a packet's flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Its backend.
    pub flow: Option<u32>,
    /// The same of a UDP flow, of a service that remembers those.
    pub udp_flow: Option<u32>,
    /// Its connection in NAT.
    pub nat: Option<NatFlow>,
}

/// The key of a frame's flow in the tables; `None`: it has none that they could know.
pub fn key_of(frame: &[u8]) -> Option<FlowKey> {
    ports(frame).map(|packet| flow_key(&packet.flow))
}

fn ports(frame: &[u8]) -> Option<Packet> {
    match parse(frame) {
        Parsed::Packet(packet) if matches!(packet.transport, Transport::Ports { .. }) => {
            Some(packet)
        }
        Parsed::Packet(_) | Parsed::NotIp | Parsed::BadHeader => None,
    }
}

/// The way of a frame that comes in by an interface.
#[derive(Clone, Debug)]
pub struct Why {
    /// Stage by stage.
    pub trace: Trace,
    /// What a proof copy of the program has to find; `None`: it is not asked about such a packet.
    pub expected: Option<Finding>,
}

/// Tells the way of a frame by these constants and maps.
pub fn why(
    constants: DatapathConfig,
    maps: &Datapath,
    remembered: Remembered,
    frame: &[u8],
    ingress_ifindex: u32,
) -> Why {
    let mut model = Model {
        constants: with_leftovers(constants, maps),
        maps,
        flows: [].into(),
        udp_flows: [].into(),
        fragments: [].into(),
        nat: Connections::none_of(usize::try_from(NAT_FLOWS_MAX).unwrap_or(usize::MAX)),
        flows_max: usize::try_from(FLOWS_MAX).unwrap_or(usize::MAX),
        source_buckets: [].into(),
        service_buckets: [].into(),
        devices: maps.backends.values().map(|it| it.egress_ifindex).collect::<BTreeSet<u32>>(),
    };
    if let Some(packet) = ports(frame) {
        let key = flow_key(&packet.flow);
        model.flows.extend(remembered.flow.map(|backend| (key, backend)));
        model.udp_flows.extend(remembered.udp_flow.map(|backend| (key, backend)));
        if let Some(flow) = remembered.nat {
            model.nat.put(packet.flow, &flow);
        }
    }
    let expected = model.expected_of_proof(frame, ingress_ifindex);
    Why { expected, trace: model.trace(frame, ingress_ifindex) }
}

/// What an operator can do about a verdict.
pub const fn remedy(verdict: Counter) -> Option<&'static str> {
    match verdict {
        Counter::PassNotOurs => Some("it is for no VIP of ours: the kernel decides (ip route get)"),
        Counter::DropNoService => Some("add a service for this port, or ask another port"),
        Counter::DropNoBackend => Some("'tidegate backends' says why none takes traffic"),
        Counter::DropUnresolved => Some("'tidegate backends' names the missing route or neighbour"),
        Counter::DropTooBig | Counter::AnswerTooBig => {
            Some("raise the MTU towards the backend, or let clients send smaller packets")
        }
        Counter::DropDenied => Some("change [guard] deny or allow if this client may come in"),
        Counter::DropNatUnknown => {
            Some("it belongs to no connection that is known: ask for a first packet")
        }
        Counter::DropNatFull | Counter::DropNatNoPort => Some(
            "'tidegate status' shows connections in NAT: shorten [nat] timeouts, or widen its ports",
        ),
        Counter::DropNoProgram => Some("restart tidegate: a part of the packet path is not loaded"),
        Counter::DropFragment => Some("let the client send packets that need no fragments"),
        Counter::DropMalformed => {
            Some("look at one: tcpdump on the client's side; it may be an attack")
        }
        Counter::DropNoHeadroom => {
            Some("the driver leaves no room for headers: set [router] attach = \"generic\"")
        }
        Counter::DropSourceRate | Counter::DropSourceSynRate => {
            Some("if the source is no attacker, raise [guard] source-rate or source-syn-rate")
        }
        Counter::DropServiceRate | Counter::DropServiceSynRate => {
            Some("if it is no attack, raise [guard] service-rate or service-syn-rate")
        }
        Counter::DropExpired => Some("a route loops between the backend and here: follow it"),
        Counter::PassNotIp
        | Counter::PassBadHeader
        | Counter::PassGroupFrame
        | Counter::PassNeighbour
        | Counter::PassExpired
        | Counter::ForwardTx
        | Counter::ForwardRedirect
        | Counter::EchoReply
        | Counter::AnswerTx
        | Counter::AnswerRedirect
        | Counter::FlowTableFull
        | Counter::IcmpErrorForwarded
        | Counter::FragmentForwarded
        | Counter::ChecksumMissing
        | Counter::NatOpened => None,
    }
}

#[cfg(test)]
mod tests;
