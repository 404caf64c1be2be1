//! The packet path: `parse → service → pick → encap → send`, and beside it `echo` and what `rare`
//! packets need.
//!
//! Every stage returns what the next one needs, or ends the walk with a verdict. A verdict is the
//! [`Counter`] it moves, so that no packet goes uncounted, and none is counted twice.

#![no_std]
#![no_main]

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, Service};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::ether_type;

use crate::address::{Address, V4, V6};
use crate::parse::Packet;

mod address;
mod config;
mod count;
mod echo;
mod encap;
mod errors;
mod limit;
mod maps;
mod parse;
mod pick;
mod rare;
mod send;
mod service;
mod too_big;

tidegate_xdp::license!();

/// Entry: one frame in, one XDP action out.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk(&ctx, balance, balance);
    count::verdict(verdict)
}

/// Entry for ICMP errors to a VIP.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_errors(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk(&ctx, errors::forward, errors::forward);
    count::verdict(verdict)
}

/// Entry for packets of a service that do not fit after encapsulation.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_too_big(ctx: XdpContext) -> u32 {
    let (Ok(verdict) | Err(verdict)) = walk(&ctx, too_big::answer_v4, too_big::answer_v6);
    count::verdict(verdict)
}

/// Parses the frame and goes on with its packet.
#[inline(always)]
fn walk(
    ctx: &XdpContext,
    v4: impl FnOnce(&XdpContext, &Packet<V4>) -> Result<Counter, Counter>,
    v6: impl FnOnce(&XdpContext, &Packet<V6>) -> Result<Counter, Counter>,
) -> Result<Counter, Counter> {
    let mut frame = Cursor::of(ctx);
    let link = parse::link(ctx, &mut frame).ok_or(Counter::PassNotIp)?;
    match link.ether_type {
        ether_type::IPV4 => v4(ctx, &parse::ipv4(frame, &link)?),
        ether_type::IPV6 => v6(ctx, &parse::ipv6(ctx, frame, &link)?),
        _ => Err(Counter::PassNotIp),
    }
}

#[inline(always)]
fn balance<A: Address>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Counter, Counter> {
    match service::of(packet) {
        Some(service) => deliver(ctx, packet, service),
        None => Err(service::none(ctx, packet)),
    }
}

/// Sends the packet to the backend of its service that owns its flow.
#[inline(always)]
fn deliver<A: Address>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    service: &Service,
) -> Result<Counter, Counter> {
    let (index, backend) = pick::backend(service, packet)?;
    encap::wrap(ctx, packet, backend)?;
    let verdict = send::towards(ctx, backend.egress_ifindex)?;
    count::forwarded(service.index, index, packet.frame_len);
    Ok(verdict)
}
