//! A connection begins: its backend is chosen by the ring, and it gets a port of ours towards it.
//!
//! Here are also those packets of a known connection that come by another way than before, and its
//! SYN: sent again, or of the next one with the same ports.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    Counter, FlowKey, NAT_PROBES, NatAnswer, NatFlow, Service, ip_proto, nat_port, nat_state,
    rare as rows, service_flags,
};
use tidegate_xdp::wire::ones_add;

use super::family::Family;
use super::{link, may_pass, now_ns, resolved, state_of, to_backend};
use crate::address::Flow;
use crate::maps::{NAT_ANSWERS, NAT_DRAFT, NAT_FLOWS};
use crate::parse::{Packet, Transport};
use crate::pick::Picked;
use crate::{config, count, pick, rare, service};

/// There is one of this key already (asm-generic/errno-base.h).
const EEXIST: i32 = 17;

/// A connection before it is remembered; the stack has no room for it.
#[repr(C)]
pub(crate) struct Draft {
    key: FlowKey,
    flow: NatFlow,
    answer: NatAnswer,
    /// Hash of the flow, as the service wants it.
    hash: u32,
}

/// Sends the packet, and remembers its connection.
#[inline(always)]
pub(crate) fn open<A: Family>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Counter, Counter> {
    let service = service::of(packet).ok_or(Counter::DropNoService)?;
    let opens = packet.transport == (Transport::Ports { opens: true });
    let key = packet.flow.key();
    if let Some(flow) = NAT_FLOWS.get_ptr_mut(key) {
        // SAFETY: as where other packets look it up.
        let flow = unsafe { &mut *flow };
        let answers = answer_key(flow, packet.flow.proto);
        if !opens || lives::<A>(flow, &answers) {
            relearn(ctx, packet.link_len, flow, &answers);
            return to_backend(ctx, packet, flow);
        }
        let _gone_either_way = (NAT_FLOWS.remove(key), NAT_ANSWERS.remove(answers));
    } else if !opens && packet.flow.proto != ip_proto::UDP {
        return Err(Counter::DropNatUnknown);
    }
    let picked = pick::of_new_flow(service, &packet.flow)?;
    may_pass(ctx, packet, resolved::<A>(picked.index)?)?;
    draft(ctx, packet, service, &picked)?;
    rare::go_on(ctx, rows::NAT_PORT);
    Err(Counter::DropNoProgram)
}

/// Whether a connection goes on, so that a SYN is one that was sent again.
#[inline(always)]
fn lives<A: Family>(flow: &NatFlow, answers: &FlowKey) -> bool {
    // SAFETY: a word is read whole.
    let backend = unsafe { NAT_ANSWERS.get(answers) }.map(|answer| answer.state);
    let is_open = backend.is_some_and(|backend| !nat_state::is_over(flow.state, backend));
    is_open && resolved::<A>(flow.backend).is_ok()
}

#[inline(always)]
fn relearn(ctx: &XdpContext, link_len: usize, flow: &mut NatFlow, answers: &FlowKey) {
    if link::is_same(ctx, link_len, flow) {
        return;
    }
    let _as_before_else = link::learn(ctx, link_len, flow);
    if let Some(answer) = NAT_ANSWERS.get_ptr_mut(answers) {
        // SAFETY: plain bytes of the map's entry. An answer that is sent meanwhile may have a part
        // of either way, and is lost.
        let _as_before_else = link::learn_back(ctx, link_len, unsafe { &mut *answer });
    }
}

/// The key by which a backend's packets are looked up.
#[inline(always)]
fn answer_key(flow: &NatFlow, proto: u8) -> FlowKey {
    FlowKey {
        src: flow.backend_addr,
        dst: flow.source,
        src_port: flow.backend_port,
        dst_port: flow.source_port,
        proto,
        reserved: [0; 3],
    }
}

/// Puts a connection together but for its port, which takes a loop that the verifier has to follow
/// from every way that leads here: so it is left to a program of its own.
#[inline(always)]
fn draft<A: Family>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    service: &Service,
    picked: &Picked,
) -> Result<(), Counter> {
    let Flow { src: client, dst: vip, src_port, dst_port, .. } = packet.flow;
    let (source, backend) = A::of_header(&picked.backend.ip);
    let [_, _, high, low] = (service.flags >> service_flags::BACKEND_PORT).to_be_bytes();
    let backend_port = if [high, low] == [0; 2] { dst_port } else { [high, low] };
    let removed = ones_add(!client.sum(), !vip.sum());
    let address_sum = ones_add(removed, ones_add(source.sum(), backend.sum()));
    let ports = ones_add(!u16::from_be_bytes(src_port), !u16::from_be_bytes(dst_port));
    let now = now_ns();
    let draft = NAT_DRAFT.get_ptr_mut(0).ok_or(Counter::DropNatFull)?;
    // SAFETY: this CPU's value, plain bytes; nobody else uses it while a packet is worked on here.
    let Draft { key, flow, answer, hash } = unsafe { &mut *draft };
    *key = packet.flow.key();
    *hash = picked.hash;
    flow.seen_ns = now;
    flow.backend_addr = backend.bytes();
    flow.source = source.bytes();
    flow.backend_port = backend_port;
    flow.backend = picked.index;
    flow.service = service.index;
    flow.state = state_of(packet);
    flow.address_sum = address_sum;
    flow.transport_sum = ones_add(address_sum, ones_add(ports, u16::from_be_bytes(backend_port)));
    answer.seen_ns = now;
    answer.client = client.bytes();
    answer.vip = vip.bytes();
    answer.client_port = src_port;
    answer.service_port = dst_port;
    answer.backend = picked.index;
    answer.address_sum = negative(address_sum);
    let learned = link::learn(ctx, packet.link_len, flow)
        .and_then(|()| link::learn_back(ctx, packet.link_len, answer));
    learned.ok_or(Counter::DropMalformed)
}

/// Gives a connection its port, remembers it in both maps or in none, and goes on with its packet as
/// one of a connection that is known.
#[inline(always)]
pub(crate) fn take_port(ctx: &XdpContext) -> Counter {
    let Some(draft) = NAT_DRAFT.get_ptr_mut(0) else { return Counter::DropNatFull };
    // SAFETY: as where it was put together, a moment ago for the same packet.
    let Draft { key, flow, answer, hash } = unsafe { &mut *draft };
    let but_port = flow.transport_sum;
    let (first, count) = (config::nat_port_first(), config::nat_port_count());
    for probe in 0..NAT_PROBES {
        let port = nat_port(*hash, u16::from_be_bytes(answer.client_port), probe, first, count);
        flow.source_port = port.to_be_bytes();
        flow.transport_sum = ones_add(but_port, port);
        answer.transport_sum = negative(flow.transport_sum);
        let answers = answer_key(flow, key.proto);
        let value: &NatAnswer = answer;
        match NAT_ANSWERS.insert(answers, value, BPF_NOEXIST.into()) {
            Ok(()) => return finish(ctx, key, flow, &answers),
            Err(error) if error == -EEXIST => {} // The port is taken, towards this backend.
            Err(_) => return Counter::DropNatFull,
        }
    }
    Counter::DropNatNoPort
}

/// The second of the two maps. If another packet of the flow was faster, its connection counts.
#[inline(always)]
fn finish(ctx: &XdpContext, key: &FlowKey, flow: &NatFlow, answers: &FlowKey) -> Counter {
    match NAT_FLOWS.insert(key, flow, BPF_NOEXIST.into()) {
        Ok(()) => count::event(Counter::NatOpened),
        Err(error) => {
            let _gone_either_way = NAT_ANSWERS.remove(answers);
            if error != -EEXIST {
                return Counter::DropNatFull;
            }
        }
    }
    rare::go_on(ctx, rows::NAT_OPEN);
    Counter::DropNoProgram
}

/// What takes away what a sum adds; never the zero that a sum of anything is not.
#[inline(always)]
const fn negative(sum: u16) -> u16 {
    if sum == u16::MAX { sum } else { !sum }
}
