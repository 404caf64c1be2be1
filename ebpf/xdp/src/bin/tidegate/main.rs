//! The packet path: `parse → service → guard → pick → encap → send`, and beside it `echo` and what
//! `rare` packets need.
//!
//! Every stage returns what the next one needs, or ends the walk with a verdict. A verdict is the
//! [`Counter`] it moves, so that no packet goes uncounted, and none is counted twice.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Backend, Counter, Service, backend_flags, features, rare as rows};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::ether_type;

use crate::address::{Address, V4, V6};
use crate::parse::Packet;
use crate::pick::Picked;

mod address;
mod capture;
mod config;
mod count;
mod echo;
mod encap;
mod errors;
mod flows;
mod fragment;
mod guard;
mod gue;
mod limit;
mod maps;
mod nat;
mod parse;
mod pick;
mod quic;
mod rare;
mod send;
mod service;
mod too_big;

tidegate_xdp::license!();

/// Entry: one frame in, one XDP action out.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<false>(&ctx, balance, balance);
    count::verdict(&ctx, verdict)
}

/// Entry for ICMP errors to a VIP.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_errors(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<false>(&ctx, errors::forward, errors::forward);
    count::verdict(&ctx, verdict)
}

/// Entry for packets of a service that do not fit after encapsulation.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_too_big(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<true>(&ctx, too_big::answer_v4, too_big::answer_v6);
    count::verdict(&ctx, verdict)
}

/// Entry for frames to a backend that wants a checksum, which go out where they came in.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_checksum_tx(ctx: XdpContext) -> u32 {
    gue::write_checksum(&ctx);
    count::verdict(&ctx, Counter::ForwardTx)
}

/// Entry for those that the kernel was told to redirect.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_checksum_redirect(ctx: XdpContext) -> u32 {
    gue::write_checksum(&ctx);
    count::verdict(&ctx, Counter::ForwardRedirect)
}

/// Entry for packets to a backend whose outer headers take more than a copy, and for those of services
/// that go by connection ids.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_outer(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<false>(&ctx, balance_any, balance_any);
    count::verdict(&ctx, verdict)
}

/// Entry for fragments for a VIP.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_fragments(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<true>(&ctx, fragment::forward, fragment::forward);
    count::verdict(&ctx, verdict)
}

/// Entry for packets of a client for a service in NAT.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_nat(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<false>(&ctx, nat::forward, nat::forward);
    count::verdict(&ctx, verdict)
}

/// Entry for those that open a connection, or come by another way than before.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_nat_open(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<false>(&ctx, nat::open, nat::open);
    count::verdict(&ctx, verdict)
}

/// Entry for those of a new connection that is put together but for its port.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_nat_port(ctx: XdpContext) -> u32 {
    count::verdict(&ctx, nat::take_port(&ctx))
}

/// Entry for packets to an address that connections in NAT come from.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_nat_answer(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<false>(&ctx, nat::answer, nat::answer);
    count::verdict(&ctx, verdict)
}

/// Entry for ICMP errors that quote a packet of a connection in NAT.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_nat_error(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk::<false>(&ctx, nat::error, nat::error);
    count::verdict(&ctx, verdict)
}

/// Entry in the place of the first one while somebody captures: keeps the frame as it comes.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_before(ctx: XdpContext) -> u32 {
    capture::come(&ctx);
    rare::go_on(&ctx, rows::MAIN);
    count::verdict(&ctx, Counter::DropNoProgram)
}

/// Entry for all packets whose verdict is known, where they are told of or captured.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_tell(ctx: XdpContext) -> u32 {
    flows::tell(&ctx)
}

/// Parses the frame and goes on with its packet; what a fragment says of its datagram is looked at
/// only for `PARTS`.
#[inline(always)]
fn walk<const PARTS: bool>(
    ctx: &XdpContext,
    v4: impl FnOnce(&XdpContext, &Packet<V4>) -> Result<Counter, Counter>,
    v6: impl FnOnce(&XdpContext, &Packet<V6>) -> Result<Counter, Counter>,
) -> Result<Counter, Counter> {
    let mut frame = Cursor::of(ctx);
    let link = parse::link(ctx, &mut frame).ok_or(Counter::PassNotIp)?;
    match link.ether_type {
        ether_type::IPV4 => v4(ctx, &parse::ipv4::<PARTS>(frame, &link)?),
        ether_type::IPV6 => v6(ctx, &parse::ipv6::<PARTS>(ctx, frame, &link)?),
        _ => Err(Counter::PassNotIp),
    }
}

#[inline(always)]
fn balance<A: nat::Family>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Counter, Counter> {
    match service::of(packet) {
        Some(service) => {
            guard::admit(packet, service)?;
            if service::is_nat(service) {
                nat::enter(ctx, packet, service)?;
            }
            deliver(ctx, packet, service)
        }
        None => Err(service::none(ctx, packet)),
    }
}

/// Sends the packet to the backend of its service that owns its flow. A backend whose outer headers
/// take more than a copy is left to a program of its own, so that this one tests no more flags.
#[inline(always)]
fn deliver<A: Address>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    service: &Service,
) -> Result<Counter, Counter> {
    let picked = pick::backend::<A, false>(ctx, service, packet)?;
    let flags = picked.backend.flags;
    if flags != backend_flags::RESOLVED {
        if !config::has::<{ features::OUTER }>(flags.into()) || flags & backend_flags::RESOLVED == 0
        {
            return Err(Counter::DropUnresolved);
        }
        rare::go_on(ctx, rows::OUTER);
        if !config::is_proof(flags.into()) {
            return Err(Counter::DropNoProgram);
        }
        // A proof copy goes on here: the way is the same, what is more than a copy stays out.
    }
    wrap_and_send::<A, false>(ctx, packet, service, &picked)
}

/// The same in the programs that take every backend; the frame may lack its checksum.
#[inline(always)]
fn deliver_to_any<A: Address>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    service: &Service,
) -> Result<(Counter, &'static Backend), Counter> {
    let picked = pick::backend::<A, true>(ctx, service, packet)?;
    if picked.backend.flags & backend_flags::RESOLVED == 0 {
        return Err(Counter::DropUnresolved);
    }
    let verdict = wrap_and_send::<A, true>(ctx, packet, service, &picked)?;
    Ok((verdict, picked.backend))
}

#[inline(always)]
fn wrap_and_send<A: Address, const ANY: bool>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    service: &Service,
    picked: &Picked,
) -> Result<Counter, Counter> {
    flows::goes_to::<A>(service.index, picked);
    encap::wrap::<A, ANY>(ctx, packet, picked)?;
    let verdict = send::towards(ctx, picked.backend.egress_ifindex)?;
    count::forwarded(service.index, picked.index, packet.frame_len);
    Ok(verdict)
}

/// Sends a packet of a service to whatever backend it belongs to.
#[inline(always)]
fn balance_any<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Counter, Counter> {
    let service = service::of(packet).ok_or(Counter::DropNoService)?;
    let (verdict, backend) = deliver_to_any(ctx, packet, service)?;
    Ok(gue::finish(ctx, backend, verdict))
}
