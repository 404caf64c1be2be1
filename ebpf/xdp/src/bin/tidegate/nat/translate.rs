//! Other addresses and ports for a packet, and the checksums that follow from them (RFC 1624): what
//! a connection's translation adds to a sum is always the same, so it is remembered.

use core::mem::offset_of;

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{NatAnswer, NatFlow, ip_proto};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Tcp, Udp, ones_add};

use super::family::Family;
use crate::parse::Packet;

/// Where TCP's checksum stands.
pub(super) const TCP_CHECKSUM_AT: usize = offset_of!(Tcp, rest) + 2;
pub(super) const UDP_CHECKSUM_AT: usize = offset_of!(Udp, checksum);

/// What a packet becomes.
#[derive(Clone, Copy)]
pub(super) struct Translation<A> {
    pub(super) src: A,
    pub(super) dst: A,
    /// Source and destination port.
    pub(super) ports: [u8; 4],
    /// What it adds to the sum that a transport checksum covers.
    pub(super) transport_sum: u16,
    /// What it adds to the sum of the addresses.
    pub(super) address_sum: u16,
}

impl<A: Family> Translation<A> {
    /// Of a client's packet.
    #[inline(always)]
    pub(super) fn of_flow(flow: &NatFlow) -> Self {
        let ([s0, s1], [d0, d1]) = (flow.source_port, flow.backend_port);
        Self {
            src: A::of_bytes(flow.source),
            dst: A::of_bytes(flow.backend_addr),
            ports: [s0, s1, d0, d1],
            transport_sum: flow.transport_sum,
            address_sum: flow.address_sum,
        }
    }

    /// Of a backend's packet.
    #[inline(always)]
    pub(super) fn of_answer(answer: &NatAnswer) -> Self {
        let ([s0, s1], [d0, d1]) = (answer.service_port, answer.client_port);
        Self {
            src: A::of_bytes(answer.vip),
            dst: A::of_bytes(answer.client),
            ports: [s0, s1, d0, d1],
            transport_sum: answer.transport_sum,
            address_sum: answer.address_sum,
        }
    }

    /// Writes it into the packet, one hop further on.
    #[inline(always)]
    pub(super) fn apply(&self, ctx: &XdpContext, packet: &Packet<A>) -> Option<()> {
        let transport = packet.payload;
        if packet.flow.proto == ip_proto::TCP {
            let [_, _, c0, c1, _, _] = transport.peek::<Tcp>()?.rest;
            let checksum = updated([c0, c1], self.transport_sum);
            transport.put_at(TCP_CHECKSUM_AT, checksum.to_be_bytes())?;
        } else {
            let before = transport.peek::<Udp>()?.checksum;
            transport.put_at(UDP_CHECKSUM_AT, of_udp(before, self.transport_sum))?;
        }
        transport.put_at(0, self.ports)?;
        let mut ip = Cursor::of(ctx);
        ip.skip(packet.link_len);
        A::pass_on(ip, self.src, self.dst, self.address_sum)
    }
}

/// A checksum after something was added to what it covers.
#[inline(always)]
pub(super) fn updated(checksum: [u8; 2], added: u16) -> u16 {
    !ones_add(!u16::from_be_bytes(checksum), added)
}

/// The same of UDP, where zero says that there is none (RFC 768).
#[inline(always)]
pub(super) fn of_udp(checksum: [u8; 2], added: u16) -> [u8; 2] {
    if checksum == [0; 2] {
        return checksum;
    }
    let checksum = updated(checksum, added);
    if checksum == 0 { [0xff; 2] } else { checksum.to_be_bytes() }
}
