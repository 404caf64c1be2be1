//! The parts of a datagram go to one backend, the owner of the flow: the first part says the ports,
//! and is remembered for the sake of the others. What comes before the first part is dropped: the
//! ports choose the backend, and no rule without them would find the same one.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, Ports};

use crate::address::{Address, Flow};
use crate::maps::FRAGMENTS;
use crate::parse::{Packet, Transport};
use crate::{config, count, deliver_to_any, guard, gue, quic, service};

/// Sends a part on.
#[inline(always)]
pub(crate) fn forward<A: Address>(
    ctx: &XdpContext,
    packet: &Packet<A>,
) -> Result<Counter, Counter> {
    let whole = with_ports(packet).ok_or(Counter::DropFragment)?;
    if !matches!(whole.transport, Transport::Ports { .. }) {
        return Err(Counter::DropFragment);
    }
    let service = service::of(&whole).ok_or(Counter::DropNoService)?;
    guard::limit(&whole, service)?;
    if service::is_nat(service) {
        return Err(Counter::DropFragment);
    }
    if packet.transport != Transport::Fragment {
        let named = if quic::is_wanted(service) { quic::named(ctx, packet, service) } else { 0 };
        remember(packet, named);
    }
    let (verdict, backend) = deliver_to_any(ctx, &whole, service)?;
    count::event(Counter::FragmentForwarded);
    Ok(gue::finish(ctx, backend, verdict))
}

/// The packet with the ports of its datagram; `None`: they are not known.
#[inline(always)]
pub(crate) fn with_ports<A: Address>(packet: &Packet<A>) -> Option<Packet<A>> {
    let Packet { flow, transport, part, .. } = *packet;
    let (flow, transport, named) = match part {
        Some(last) if transport == Transport::Fragment => {
            // SAFETY: plain bytes. If another datagram takes the entry's place while it is read, this
            // part goes astray, and all it can cost is its datagram.
            let ports = unsafe { FRAGMENTS.get(flow.datagram_key(last)) }?;
            let Ports { src_port, dst_port, proto, named: [n0, n1, n2] } = *ports;
            let named = Some(u64::from_le_bytes([n0, n1, n2, 0, 0, 0, 0, 0]));
            (Flow { src_port, dst_port, proto, ..flow }, Transport::Ports { opens: false }, named)
        }
        _ => (flow, transport, None),
    };
    Some(Packet { flow, transport, named, ..*packet })
}

/// Remembers what the first part says, and the backend that it named. A table that takes no more has the others dropped.
#[inline(always)]
fn remember<A: Address>(packet: &Packet<A>, named: u32) {
    let Packet { flow, part: Some(last), .. } = *packet else { return };
    if !config::is_proof(flow.proto.into()) {
        let Flow { src_port, dst_port, proto, .. } = flow;
        let [n0, n1, n2, _] = named.to_le_bytes();
        let ports = Ports { src_port, dst_port, proto, named: [n0, n1, n2] };
        let _others_are_dropped = FRAGMENTS.insert(flow.datagram_key(last), ports, 0);
    }
}
