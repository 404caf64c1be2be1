//! The UDP header of GUE (draft-ietf-intarea-gue, variant 1: an IP packet follows at once, its
//! version tells what it is).
//!
//! The source port is one of 16,384 and differs from flow to flow, so that routers and network cards
//! spread them. The checksum is zero, which IPv4 always allows and IPv6 for tunnels (RFC 6935), or
//! that of all that follows.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Backend, Counter, backend_flags, features, ip_proto, rare as rows};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{
    Ethernet, Ipv4, Ipv6, Udp, VlanTag, ether_type, fold, fold_words, ones_add,
};

use crate::address::Address;
use crate::parse::Packet;
use crate::pick::Picked;
use crate::{config, count, rare};

/// The lowest of the dynamic ports (RFC 6335 §6), and as many as there are.
const PORTS: u16 = 49_152;
const PORTS_MASK: u16 = 0x3fff;
/// Chunks of the checksum; more than the longest frame has.
const CHUNK: usize = 512;
const CHUNKS_MAX: usize = 32;
/// Covers the farthest end of a packet.
const OFFSET_MASK: usize = 0x7fff;

/// Writes the header here, where the packet follows, with the checksum zero.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "checked against the MTU, of 16 bits")]
pub(crate) fn put<A: Address>(at: &mut Cursor, packet: &Packet<A>, picked: &Picked) -> Option<()> {
    // With affinity by client address, the hash is the same for all of a client's flows.
    let entropy = (picked.hash >> 16) as u16 ^ u16::from_be_bytes(packet.flow.src_port);
    at.put(Udp {
        src_port: (PORTS | (entropy & PORTS_MASK)).to_be_bytes(),
        dst_port: picked.backend.gue_port,
        len: ((size_of::<Udp>() + packet.ip_len) as u16).to_be_bytes(),
        checksum: [0; 2],
    })
}

/// Gives the checksum to a frame that is finished but for it, if its backend wants one. That takes
/// a look at every byte, and is done by a program of its own, which ends with the same verdict.
#[inline(always)]
pub(crate) fn finish(ctx: &XdpContext, backend: &Backend, verdict: Counter) -> Counter {
    if config::has::<{ features::GUE_CHECKSUM }>(backend.flags.into())
        && backend.flags & backend_flags::CHECKSUM != 0
    {
        let row = match verdict {
            Counter::ForwardTx => rows::CHECKSUM_TX,
            _ => rows::CHECKSUM_REDIRECT,
        };
        rare::go_on(ctx, row);
        count::event(Counter::ChecksumMissing); // Zero is one, too: better than no packet.
    }
    verdict
}

/// Writes the checksum into a frame that [`wrap`](crate::encap::wrap) has made.
#[inline(always)]
pub(crate) fn write_checksum(ctx: &XdpContext) {
    if checksum(ctx).is_none() {
        count::event(Counter::ChecksumMissing);
    }
}

#[inline(always)]
fn checksum(ctx: &XdpContext) -> Option<()> {
    let mut at = Cursor::of(ctx);
    let ethernet: Ethernet = at.take()?;
    let mut kind = u16::from_be_bytes(ethernet.ether_type);
    if kind == ether_type::VLAN {
        kind = u16::from_be_bytes(at.take::<VlanTag>()?.ether_type);
    }
    let addresses = match kind {
        ether_type::IPV4 => at.take::<Ipv4>()?.address_sum(),
        ether_type::IPV6 => at.take::<Ipv6>()?.address_sum(),
        _ => return None,
    };
    at.settle::<0x3f>(ctx);
    let mut udp: Udp = at.peek()?;
    let len = u16::from_be_bytes(udp.len);
    let pseudo = ones_add(addresses, ones_add(u16::from(ip_proto::UDP), len));
    let sum = !ones_add(pseudo, sum_of(ctx, at, usize::from(len))?);
    // Zero would say that there is none (RFC 768).
    udp.checksum = if sum == 0 { u16::MAX } else { sum }.to_be_bytes();
    at.put(udp)
}

/// Sum of so many bytes from here.
#[inline(always)]
fn sum_of(ctx: &XdpContext, mut at: Cursor, len: usize) -> Option<u16> {
    let (mut sum, mut left) = (0, len);
    for _ in 0..CHUNKS_MAX {
        at.settle::<OFFSET_MASK>(ctx);
        if left < CHUNK {
            break;
        }
        sum = at.sum::<CHUNK>(sum)?;
        at.skip(CHUNK);
        left -= CHUNK;
    }
    sum = part::<256>(ctx, &mut at, left, sum)?;
    sum = part::<128>(ctx, &mut at, left, sum)?;
    sum = part::<64>(ctx, &mut at, left, sum)?;
    sum = part::<32>(ctx, &mut at, left, sum)?;
    sum = part::<16>(ctx, &mut at, left, sum)?;
    sum = part::<8>(ctx, &mut at, left, sum)?;
    sum = part::<4>(ctx, &mut at, left, sum)?;
    let mut tail = 0;
    if left & 2 != 0 {
        tail = u32::from(u16::from_be_bytes(at.take()?));
        at.settle::<OFFSET_MASK>(ctx);
    }
    if left & 1 != 0 {
        // With the byte before it: of a single one the verifier does not see that it is there.
        at.back(1);
        at.settle::<OFFSET_MASK>(ctx);
        let [_, last] = at.take()?;
        tail += u32::from(u16::from_be_bytes([last, 0]));
    }
    (left < CHUNK).then_some(ones_add(fold(sum), fold_words(tail)))
}

/// Adds a part of `LEN` bytes, if what is left has one.
#[inline(always)]
fn part<const LEN: usize>(ctx: &XdpContext, at: &mut Cursor, left: usize, sum: u32) -> Option<u32> {
    let mut sum = sum;
    if left & LEN != 0 {
        sum = at.sum::<LEN>(sum)?;
        at.skip(LEN);
    }
    at.settle::<OFFSET_MASK>(ctx);
    Some(sum)
}
