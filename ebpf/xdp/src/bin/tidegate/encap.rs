//! Puts the backend's finished headers in front of the packet.

use core::mem::offset_of;

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Backend, Counter, backend_kinds};
use tidegate_xdp::wire::{Ethernet, Ipv4, Ipv6, VlanTag, ether_type, ones_add};
use tidegate_xdp::{Cursor, resize};

use crate::address::Address;
use crate::parse::Packet;
use crate::too_big;

/// Replaces the link layer, VLAN tags included, by the one towards the backend, and puts the
/// outer header between it and the packet. Padding of the frame stays behind the packet, where
/// no length counts it.
#[inline(always)]
pub(crate) fn wrap<A: Address>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    backend: &Backend,
) -> Result<(), Counter> {
    let (outer_len, ether_type) = match backend.kind {
        kind if kind == A::IN_IPV4 => (size_of::<Ipv4>(), ether_type::IPV4),
        kind if kind == A::IN_IPV6 => (size_of::<Ipv6>(), ether_type::IPV6),
        backend_kinds::L2 => (0, A::ETHER_TYPE),
        _ => return Err(Counter::DropUnresolved),
    };
    if packet.ip_len + outer_len > usize::from(backend.mtu) {
        return Err(too_big::refuse(ctx));
    }
    let tagged = backend.vlan_tci != [0; 2];
    let link_len = size_of::<Ethernet>() + if tagged { size_of::<VlanTag>() } else { 0 };
    make_room(ctx, packet.link_len, link_len + outer_len)?;

    // The frame was long enough for its IP header, so what is written fits; but the verifier
    // does not know.
    let mut at = Cursor::of(ctx);
    let written = link(&mut at, backend, tagged, ether_type).and_then(|()| match outer_len {
        20 => ipv4(&mut at, backend, packet.ip_len),
        40 => ipv6(&mut at, backend, packet.ip_len),
        _ => Some(()),
    });
    written.ok_or(Counter::DropNoHeadroom)
}

/// Bytes that go around a packet to this backend; `None` for one of the other family.
#[inline(always)]
pub(crate) fn outer_len<A: Address>(backend: &Backend) -> Option<u16> {
    match backend.kind {
        kind if kind == A::IN_IPV4 => Some(20),
        kind if kind == A::IN_IPV6 => Some(40),
        backend_kinds::L2 => Some(0),
        _ => None,
    }
}

/// Moves the start of the frame so that `want` bytes stand where `have` stood.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "headers: both are below 64"
)]
fn make_room(ctx: &XdpContext, have: usize, want: usize) -> Result<(), Counter> {
    if have == want {
        return Ok(());
    }
    resize::head(ctx, have as i32 - want as i32).ok_or(Counter::DropNoHeadroom)
}

#[inline(always)]
fn link(at: &mut Cursor, backend: &Backend, tagged: bool, ether_type: u16) -> Option<()> {
    at.put_copy(&backend.macs)?;
    if tagged {
        at.put(ether_type::VLAN.to_be_bytes())?;
        at.put(backend.vlan_tci)?;
    }
    at.put(ether_type.to_be_bytes())
}

/// The template's checksum covers a total length of zero, so the length is added to the sum.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "checked against the MTU, of 16 bits")]
fn ipv4(at: &mut Cursor, backend: &Backend, inner_len: usize) -> Option<()> {
    let header = *at;
    at.put_copy(backend.ip.first_chunk::<{ size_of::<Ipv4>() }>()?)?;
    let total_len = (size_of::<Ipv4>() + inner_len) as u16;
    let [.., high, low] = *backend.ip.first_chunk::<{ offset_of!(Ipv4, checksum) + 2 }>()?;
    let sum = ones_add(!u16::from_be_bytes([high, low]), total_len);
    header.put_at(offset_of!(Ipv4, total_len), total_len.to_be_bytes())?;
    header.put_at(offset_of!(Ipv4, checksum), (!sum).to_be_bytes())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "checked against the MTU, of 16 bits")]
fn ipv6(at: &mut Cursor, backend: &Backend, inner_len: usize) -> Option<()> {
    let header = *at;
    at.put_copy(&backend.ip)?;
    header.put_at(offset_of!(Ipv6, payload_len), (inner_len as u16).to_be_bytes())
}
