//! The way back to a client: the way its last frame came, tags included. No route is asked for, so
//! an answer finds its router even while the host itself knows no way, and costs no look-up; a
//! client's packets that come by another router are what moves the answers there.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, NatAnswer, NatFlow};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Ethernet, VlanTag};

use crate::encap;
use crate::maps::DEVICES;

/// Bytes of an Ethernet header with one tag: what tells two ways apart.
const TAGGED: usize = size_of::<Ethernet>() + size_of::<VlanTag>();

/// What tells by which way a frame came: who sent it, and its first tag, if it has one.
#[inline(always)]
fn way(ctx: &XdpContext, link_len: usize) -> Option<([u8; 8], [u8; 4])> {
    let mut at = Cursor::of(ctx);
    at.skip(6);
    let from: [u8; 8] = at.take()?;
    let tag: [u8; 4] = at.peek()?;
    Some((from, if link_len < TAGGED { [0; 4] } else { tag }))
}

/// Whether the frame came the way that is remembered.
#[inline(always)]
pub(super) fn is_same(ctx: &XdpContext, link_len: usize, flow: &NatFlow) -> bool {
    flow.ingress_ifindex == ingress(ctx)
        && way(ctx, link_len).is_some_and(|(from, tag)| {
            u64::from_ne_bytes(from) == u64::from_ne_bytes(flow.from)
                && u32::from_ne_bytes(tag) == u32::from_ne_bytes(flow.tag)
        })
}

/// Remembers the way that the frame came.
#[inline(always)]
pub(super) fn learn(ctx: &XdpContext, link_len: usize, flow: &mut NatFlow) -> Option<()> {
    (flow.from, flow.tag) = way(ctx, link_len)?;
    flow.ingress_ifindex = ingress(ctx);
    Some(())
}

/// Remembers how an answer gets there.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 22")]
pub(super) fn learn_back(ctx: &XdpContext, link_len: usize, answer: &mut NatAnswer) -> Option<()> {
    let mut at = Cursor::of(ctx);
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]: [u8; 12] = at.take()?;
    let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9]: [u8; 10] = at.peek()?;
    answer.link =
        [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5, t0, t1, t2, t3, t4, t5, t6, t7, t8, t9];
    answer.link_len = link_len as u16;
    answer.egress_ifindex = ingress(ctx);
    Some(())
}

/// Sends an answer whose packet is finished to its client.
#[inline(always)]
pub(super) fn send_back(
    ctx: &XdpContext,
    have: usize,
    answer: &NatAnswer,
) -> Result<Counter, Counter> {
    let want = usize::from(answer.link_len);
    encap::make_room(ctx, have, want)?;
    put(ctx, want, &answer.link).ok_or(Counter::DropNoHeadroom)?;
    if ingress(ctx) == answer.egress_ifindex {
        return Ok(Counter::AnswerTx);
    }
    match DEVICES.redirect(answer.egress_ifindex, 0) {
        Ok(_) => Ok(Counter::AnswerRedirect),
        Err(_) => Err(Counter::DropUnresolved),
    }
}

#[inline(always)]
fn put(ctx: &XdpContext, len: usize, link: &[u8; 22]) -> Option<()> {
    let mut at = Cursor::of(ctx);
    match len {
        14 => at.put_copy(link.first_chunk::<14>()?),
        18 => at.put_copy(link.first_chunk::<18>()?),
        22 => at.put_copy(link),
        _ => None,
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the context holds 32 bits")]
fn ingress(ctx: &XdpContext) -> u32 {
    ctx.ingress_ifindex() as u32
}
