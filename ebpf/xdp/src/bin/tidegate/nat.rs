//! Services in NAT: a client's packet goes on to its backend from an address of ours, so that the
//! answer comes back here and goes on to the client from the VIP. Backends need nothing for it.
//!
//! Each connection is remembered in two maps, one for each direction, and each direction writes only
//! its own: no packet looks twice. Its backend is the one that the ring names when it begins, for as
//! long as it lasts. Nothing that is remembered makes room; the daemon forgets what is over.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    Backend, Counter, FlowKey, NatFlow, Service, backend_flags, ip_proto, nat_state, rare as rows,
};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Tcp, tcp_flags};

use crate::address::Flow;
use crate::maps::{BACKENDS, NAT_FLOWS};
use crate::parse::{Packet, Transport};
use crate::pick::Picked;
use crate::{config, count, encap, flows, pick, rare, send, too_big};

mod answer;
mod error;
mod family;
mod link;
mod open;
mod translate;

pub(crate) use answer::answer;
pub(crate) use error::error;
pub(crate) use family::Family;
pub(crate) use open::{Draft, open, take_port};
use translate::Translation;

/// How old what is remembered of the last packet may grow: not every packet writes.
const SEEN_NS: u64 = 1_000_000_000;

/// A packet of a service in NAT, in the program for all packets: it goes on in another one. A proof
/// copy has no other: it is told to send the packet as the entry says, with its addresses, and
/// remembers nothing.
#[inline(always)]
pub(crate) fn enter<A: Family>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    service: &Service,
) -> Result<(), Counter> {
    rare::go_on(ctx, rows::NAT);
    if !config::is_proof(0) {
        return Err(Counter::DropNoProgram);
    }
    let (source, backend) = A::of_header(&pick::of_new_flow(service, &packet.flow)?.backend.ip);
    let mut ip = Cursor::of(ctx);
    ip.skip(packet.link_len);
    A::readdress(ip, source, backend).ok_or(Counter::DropMalformed)
}

/// A packet of a client: nearly always of a connection that is known, and comes as it came before.
#[inline(always)]
pub(crate) fn forward<A: Family>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Counter, Counter> {
    let key = packet.flow.key();
    if packet.transport == (Transport::Ports { opens: false })
        && let Some(flow) = NAT_FLOWS.get_ptr_mut(key)
    {
        // SAFETY: an entry of the map, plain bytes. If it becomes another connection's while it is
        // used, this packet goes astray; nothing else is written than times and flags.
        let flow = unsafe { &mut *flow };
        if link::is_same(ctx, packet.link_len, flow) {
            return to_backend(ctx, packet, flow);
        }
    }
    rare::go_on(ctx, rows::NAT_OPEN);
    Err(Counter::DropNoProgram)
}

/// Sends a packet of a known connection to its backend.
#[inline(always)]
fn to_backend<A: Family>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    flow: &mut NatFlow,
) -> Result<Counter, Counter> {
    let backend = resolved::<A>(flow.backend)?;
    may_pass(ctx, packet, backend)?;
    touch(packet, &mut flow.seen_ns, &mut flow.state);
    Translation::of_flow(flow).apply(ctx, packet).ok_or(Counter::DropMalformed)?;
    let (service, index) = (flow.service, flow.backend);
    let picked = Picked { index, backend, hash: 0 };
    flows::goes_to::<A>(service, &picked);
    encap::wrap::<A, false>(ctx, packet, &picked)?;
    let verdict = send::towards(ctx, backend.egress_ifindex)?;
    count::forwarded(service, index, packet.frame_len);
    Ok(verdict)
}

/// The entry of a backend that frames can be sent to.
#[inline(always)]
fn resolved<A: Family>(index: u32) -> Result<&'static Backend, Counter> {
    let backend = BACKENDS.get(index).ok_or(Counter::DropUnresolved)?;
    if backend.kind != A::NAT || backend.flags & backend_flags::RESOLVED == 0 {
        return Err(Counter::DropUnresolved);
    }
    Ok(backend)
}

/// Whether a packet can go on to its backend. Asked before anything is changed: other programs and
/// the kernel need the frame as it came.
#[inline(always)]
fn may_pass<A: Family>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    backend: &Backend,
) -> Result<(), Counter> {
    if packet.ip_len > usize::from(backend.mtu) {
        return Err(too_big::refuse(ctx));
    }
    if is_expired(ctx, packet) {
        return Err(Counter::PassExpired);
    }
    Ok(())
}

/// Whether the packet has come as far as its sender lets it (RFC 1812 §5.3.1).
#[inline(always)]
fn is_expired<A: Family>(ctx: &XdpContext, packet: &Packet<A>) -> bool {
    let mut ip = Cursor::of(ctx);
    ip.skip(packet.link_len);
    A::hops(ip).is_none_or(|hops| hops <= 1)
}

/// Remembers that a packet was seen, and what it says of the connection.
#[inline(always)]
fn touch<A: Family>(packet: &Packet<A>, seen_ns: &mut u64, state: &mut u32) {
    let now = now_ns();
    if now.wrapping_sub(*seen_ns) > SEEN_NS {
        *seen_ns = now;
    }
    let more = *state | state_of(packet);
    if more != *state {
        *state = more;
    }
}

/// What a packet says of its connection.
#[inline(always)]
fn state_of<A: Family>(packet: &Packet<A>) -> u32 {
    if packet.flow.proto != ip_proto::TCP {
        return nat_state::ACK;
    }
    let flags = packet.payload.peek::<Tcp>().map_or(0, |tcp| u32::from(tcp.flags));
    let bit = |flag: u8, state: u32| if flags & u32::from(flag) == 0 { 0 } else { state };
    bit(tcp_flags::SYN, nat_state::SYN)
        | bit(tcp_flags::ACK, nat_state::ACK)
        | bit(tcp_flags::FIN, nat_state::FIN)
        | bit(tcp_flags::RST, nat_state::RST)
}

/// Of a clock that costs next to nothing and is a few milliseconds behind.
#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: no arguments, no conditions.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The backend that a packet of this flow goes to: that of its connection, or of a new one.
#[inline(always)]
pub(crate) fn backend<A: Family>(
    service: &Service,
    flow: &Flow<A>,
) -> Result<&'static Backend, Counter> {
    let key: FlowKey = flow.key();
    // SAFETY: a word is read whole.
    match unsafe { NAT_FLOWS.get(key) } {
        Some(known) => resolved::<A>(known.backend),
        None => Ok(pick::of_new_flow(service, flow)?.backend),
    }
}
