//! Whose packet it is.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, Service, features, ip_proto, service_flags};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Icmp, Ipv6};

use crate::address::{Address, Flow};
use crate::parse::{Packet, Transport};
use crate::{config, echo, errors, guard, rare};

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

/// The service of a flow, of the VIP with the longest prefix that its address lies in.
#[inline(always)]
pub(crate) fn find<A: Address>(flow: &Flow<A>) -> Option<&'static Service> {
    let Flow { dst, dst_port, proto, .. } = *flow;
    let of_address = of_vip(dst, 0, dst_port, proto);
    let lens = A::vip_lens(proto.into());
    if of_address.is_some() || lens == 0 {
        return of_address;
    }
    if dst.service(0, [0; 2], 0).is_some() {
        return None; // A VIP of its own.
    }
    let mut lens = lens;
    while lens != 0 {
        let (first, len) = shortened(dst, &mut lens);
        let found = of_vip(first, len, dst_port, proto);
        if found.is_some() || first.service(len, [0; 2], 0).is_some() {
            return found;
        }
    }
    None
}

/// The service of a VIP: the one of the port, or else the one of all ports, if there are such.
#[inline(always)]
fn of_vip<A: Address>(vip: A, len: u8, port: [u8; 2], proto: u8) -> Option<&'static Service> {
    let of_port = vip.service(len, port, proto);
    if of_port.is_none() && config::has::<{ features::ANY_PORT }>(proto.into()) {
        return vip.service(len, [0; 2], proto);
    }
    of_port
}

/// Whether the service's packets are translated.
#[inline(always)]
pub(crate) fn is_nat(service: &Service) -> bool {
    config::has::<{ features::NAT }>(service.ring_size) && service.flags & service_flags::NAT != 0
}

/// The VIP's own entry.
#[inline(always)]
pub(crate) fn vip<A: Address>(dst: A, at_hand: u32) -> Option<&'static Service> {
    let mut found = dst.service(0, [0; 2], 0);
    let mut lens = A::vip_lens(at_hand);
    while found.is_none() && lens != 0 {
        let (first, len) = shortened(dst, &mut lens);
        found = first.service(len, [0; 2], 0);
    }
    found
}

/// The first address of the prefix that has the next length, and that length.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lowest byte")]
fn shortened<A: Address>(dst: A, lens: &mut u64) -> (A, u8) {
    let len = *lens as u8;
    *lens >>= 8;
    (dst.first_of(len), len)
}

/// The verdict on a packet that is for no service. One for a VIP of ours ends here, whatever it
/// is: passed on it would come back, as the routers send us all that is for the VIP. But what the
/// kernel does not pass on either is the kernel's: it may have the VIP as an address of its own.
#[inline(always)]
pub(crate) fn none<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> Counter {
    let Some(vip) = vip(packet.flow.dst, packet.flow.proto.into()) else {
        return Counter::PassNotOurs;
    };
    if config::has::<{ features::NAT }>(vip.flags) && vip.flags & service_flags::NAT_SOURCE != 0 {
        rare::go_on(ctx, tidegate_abi::rare::NAT_ANSWER);
        return Counter::PassNotOurs; // It is this host's address, too.
    }
    if packet.is_for_group {
        return Counter::PassGroupFrame;
    }
    match packet.transport {
        Transport::Other if is_neighbour_discovery(ctx, packet) => Counter::PassNeighbour,
        _ if guard::is_denied(packet, vip.flags) => Counter::DropDenied,
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
