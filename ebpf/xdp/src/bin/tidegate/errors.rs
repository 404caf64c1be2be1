//! ICMP errors that quote a packet of a service go to the backend that sent it: the owner of the
//! quoted flow, found as for any packet of the flow, without state. So path MTU discovery works
//! between backend and client.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, ip_proto};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::Icmp;

use crate::address::Address;
use crate::parse::{OFFSET_MASK, Packet, Transport};
use crate::{count, deliver_to_any, guard, gue, rare, service};

/// Whether the packet is an ICMP error (RFC 792, RFC 4443 §2.1): neither a query nor a redirect,
/// which is for hosts on the link.
#[inline(always)]
pub(crate) fn is_error<A: Address>(packet: &Packet<A>) -> bool {
    packet.flow.proto == A::ICMP
        && packet.payload.peek::<Icmp>().is_some_and(|icmp| {
            if A::ICMP == ip_proto::ICMP {
                matches!(icmp.kind, 3 | 11 | 12)
            } else {
                matches!(icmp.kind, 1..=4)
            }
        })
}

/// Sends the error on as it is.
#[inline(always)]
pub(crate) fn forward<A: Address>(
    ctx: &XdpContext,
    packet: &Packet<A>,
) -> Result<Counter, Counter> {
    let mut at: Cursor = packet.payload;
    at.skip(size_of::<Icmp>());
    let offset = at.settle::<OFFSET_MASK>(ctx);
    let room = (packet.link_len + packet.ip_len).saturating_sub(offset);
    let flow = A::quoted(ctx, at, room).ok_or(Counter::DropMalformed)?;
    if flow.dst.flow_addr() != packet.flow.dst.flow_addr() {
        return Err(Counter::DropNoService); // It quotes what the VIP never sent.
    }
    let service = service::find(&flow).ok_or(Counter::DropNoService)?;
    guard::limit(packet, service)?; // Its source is who sends the error.
    if service::is_nat(service) {
        rare::go_on(ctx, tidegate_abi::rare::NAT_ERROR);
        return Err(Counter::DropNoProgram);
    }
    let transport = Transport::Other; // It is not the flow's own: nothing is learned from it.
    let quoted = Packet { flow, transport, ..*packet };
    let (verdict, backend) = deliver_to_any(ctx, &quoted, service)?;
    count::event(Counter::IcmpErrorForwarded);
    Ok(gue::finish(ctx, backend, verdict))
}
