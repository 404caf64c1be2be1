//! Whose packet it is.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, Service, features, ip_proto, service_flags};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Icmp, Ipv6};

use crate::address::{Address, Flow};
use crate::parse::{Packet, Transport};
use crate::{config, echo, errors, rare};

/// The service the packet is for. None in a frame for a group of hosts: each of them that balances
/// would forward it, and no host takes unicast out of such a frame (RFC 1122 §3.3.6).
#[inline(always)]
pub(crate) fn of<A: Address>(packet: &Packet<A>) -> Option<&'static Service> {
    let flow = &packet.flow;
    match packet.transport {
        _ if packet.is_for_group => None,
        Transport::Ports { .. } => find(flow),
        Transport::Echo | Transport::Fragment | Transport::Malformed | Transport::Other => None,
    }
}

/// The service of a flow: the one of its port, or else the one of all ports, if there are such.
#[inline(always)]
pub(crate) fn find<A: Address>(flow: &Flow<A>) -> Option<&'static Service> {
    let of_port = flow.dst.service(flow.dst_port, flow.proto);
    if of_port.is_none() && config::has(features::ANY_PORT) {
        return flow.dst.service([0; 2], flow.proto);
    }
    of_port
}

/// The verdict on a packet that is for no service. One for a VIP of ours ends here, whatever it
/// is: passed on it would come back, as the routers send us all that is for the VIP. But what the
/// kernel does not pass on either is the kernel's: it may have the VIP as an address of its own.
#[inline(always)]
pub(crate) fn none<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> Counter {
    let Some(vip) = packet.flow.dst.service([0; 2], 0) else {
        return Counter::PassNotOurs;
    };
    if packet.is_for_group {
        return Counter::PassGroupFrame;
    }
    match packet.transport {
        Transport::Other if is_neighbour_discovery(ctx, packet) => Counter::PassNeighbour,
        Transport::Other if errors::is_error(packet) => {
            rare::go_on(ctx, tidegate_abi::rare::ERRORS);
            Counter::DropNoService
        }
        Transport::Echo if vip.flags & service_flags::ECHO != 0 => echo::answer(ctx, packet),
        Transport::Ports { .. } | Transport::Echo | Transport::Other => Counter::DropNoService,
        Transport::Fragment => {
            rare::go_on(ctx, tidegate_abi::rare::FRAGMENTS);
            Counter::DropFragment
        }
        Transport::Malformed => Counter::DropMalformed,
    }
}

/// Whether this is a message of neighbour discovery that no router has passed on (RFC 4861 §7.1):
/// a router that has the VIP's link probes our neighbour entry with such.
#[inline(always)]
fn is_neighbour_discovery<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> bool {
    const HOP_LIMIT: u8 = 255;
    const KINDS: core::ops::RangeInclusive<u8> = 133..=137;
    if A::ICMP != ip_proto::ICMPV6 || packet.flow.proto != ip_proto::ICMPV6 {
        return false;
    }
    let mut ip = Cursor::of(ctx);
    ip.skip(packet.link_len);
    ip.peek::<Ipv6>().is_some_and(|ip| ip.hop_limit == HOP_LIMIT)
        && packet.payload.peek::<Icmp>().is_some_and(|icmp| KINDS.contains(&icmp.kind))
}
