//! Whose packet it is.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, Service, service_flags};

use crate::address::Address;
use crate::echo;
use crate::parse::{Packet, Transport};

/// The service the packet is for.
#[inline(always)]
pub(crate) fn of<A: Address>(packet: &Packet<A>) -> Option<&'static Service> {
    let flow = &packet.flow;
    match packet.transport {
        Transport::Ports { .. } => flow.dst.service(flow.dst_port, flow.proto),
        Transport::Echo | Transport::Fragment | Transport::Malformed | Transport::Other => None,
    }
}

/// The verdict on a packet that is for no service. One for a VIP of ours ends here, whatever it
/// is: passed on it would come back, as the routers send us all that is for the VIP.
#[inline(always)]
pub(crate) fn none<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> Counter {
    let Some(vip) = packet.flow.dst.service([0; 2], 0) else {
        return Counter::PassNotOurs;
    };
    match packet.transport {
        Transport::Echo if vip.flags & service_flags::ECHO != 0 => echo::answer(ctx, packet),
        Transport::Ports { .. } | Transport::Echo | Transport::Other => Counter::DropNoService,
        Transport::Fragment => Counter::DropFragment,
        Transport::Malformed => Counter::DropMalformed,
    }
}
