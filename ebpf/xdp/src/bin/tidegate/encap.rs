//! Puts the backend's finished headers in front of the packet.

use core::mem::offset_of;

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Backend, Counter, backend_flags, backend_kinds, features};
use tidegate_xdp::wire::{Ethernet, Ipv4, Ipv6, Udp, VlanTag, ether_type, ones_add};
use tidegate_xdp::{Cursor, resize};

use crate::address::Address;
use crate::parse::Packet;
use crate::pick::Picked;
use crate::{config, gue, too_big};

/// Replaces the link layer, VLAN tags included, by the one towards the backend, and puts the
/// outer header between it and the packet. Padding of the frame stays behind the packet, where
/// no length counts it. Not `ANY`: the backend has no flag but that it is resolved.
#[inline(always)]
pub(crate) fn wrap<A: Address, const ANY: bool>(
    ctx: &XdpContext,
    packet: &Packet<A>,
    picked: &Picked,
) -> Result<(), Counter> {
    let backend = picked.backend;
    let outer = Outer::of::<A>(backend).ok_or(Counter::DropUnresolved)?;
    let outer_len = usize::from(outer.len());
    if packet.ip_len + outer_len > usize::from(backend.mtu) {
        return Err(too_big::refuse(ctx));
    }
    let tagged = backend.vlan_tci != [0; 2];
    let link_len = size_of::<Ethernet>() + if tagged { size_of::<VlanTag>() } else { 0 };
    make_room(ctx, packet.link_len, link_len + outer_len)?;

    // The frame was long enough for its IP header, so what is written fits; but the verifier
    // does not know.
    let mut at = Cursor::of(ctx);
    let linked = link(&mut at, backend, tagged, outer.ether_type::<A>());
    let written = if ANY {
        // Closures, of which the compiler makes functions: programs that take every backend have
        // enough in them for the verifier without these.
        linked.and_then(|()| match outer {
            Outer::Nothing => Some(()),
            Outer::Ipv4 => ipv4::<ANY>(&mut at, picked, packet.ip_len),
            Outer::Ipv6 => ipv6::<ANY>(&mut at, picked, packet.ip_len),
            Outer::UdpInIpv4 => ipv4::<ANY>(&mut at, picked, size_of::<Udp>() + packet.ip_len)
                .and_then(|()| gue::put(&mut at, packet, picked)),
            Outer::UdpInIpv6 => ipv6::<ANY>(&mut at, picked, size_of::<Udp>() + packet.ip_len)
                .and_then(|()| gue::put(&mut at, packet, picked)),
        })
    } else {
        // And none here: a call, and what it is handed, is not for the fast path.
        linked.ok_or(Counter::DropNoHeadroom)?;
        put(&mut at, packet, picked, outer)
    };
    written.ok_or(Counter::DropNoHeadroom)
}

/// Writes the outer header for a backend that wants nothing but a copy.
#[inline(always)]
fn put<A: Address>(
    at: &mut Cursor,
    packet: &Packet<A>,
    picked: &Picked,
    outer: Outer,
) -> Option<()> {
    let udp_len = size_of::<Udp>() + packet.ip_len;
    match outer {
        Outer::Nothing => Some(()),
        Outer::Ipv4 => ipv4::<false>(at, picked, packet.ip_len),
        Outer::Ipv6 => ipv6::<false>(at, picked, packet.ip_len),
        Outer::UdpInIpv4 => {
            ipv4::<false>(at, picked, udp_len)?;
            gue::put(at, packet, picked)
        }
        Outer::UdpInIpv6 => {
            ipv6::<false>(at, picked, udp_len)?;
            gue::put(at, packet, picked)
        }
    }
}

/// What goes between the link layer and the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outer {
    Nothing,
    Ipv4,
    Ipv6,
    UdpInIpv4,
    UdpInIpv6,
}

impl Outer {
    /// What this backend wants; `None` for one of the other family.
    #[inline(always)]
    pub(crate) fn of<A: Address>(backend: &Backend) -> Option<Self> {
        match backend.kind {
            kind if kind == A::IN_IPV4 => Some(Self::Ipv4),
            kind if kind == A::IN_IPV6 => Some(Self::Ipv6),
            backend_kinds::L2 => Some(Self::Nothing),
            kind if config::has::<{ features::NAT }>(kind.into()) && kind == A::NAT => {
                Some(Self::Nothing)
            }
            kind if !config::has::<{ features::GUE }>(kind.into()) => None,
            kind if kind == A::IN_IPV4 | backend_kinds::GUE => Some(Self::UdpInIpv4),
            kind if kind == A::IN_IPV6 | backend_kinds::GUE => Some(Self::UdpInIpv6),
            _ => None,
        }
    }

    /// Its length in bytes.
    #[inline(always)]
    pub(crate) const fn len(self) -> u16 {
        match self {
            Self::Nothing => 0,
            Self::Ipv4 => 20,
            Self::Ipv6 => 40,
            Self::UdpInIpv4 => 28,
            Self::UdpInIpv6 => 48,
        }
    }

    #[inline(always)]
    const fn ether_type<A: Address>(self) -> u16 {
        match self {
            Self::Nothing => A::ETHER_TYPE,
            Self::Ipv4 | Self::UdpInIpv4 => ether_type::IPV4,
            Self::Ipv6 | Self::UdpInIpv6 => ether_type::IPV6,
        }
    }
}

/// Moves the start of the frame so that `want` bytes stand where `have` stood.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "headers: both are below 64"
)]
pub(crate) fn make_room(ctx: &XdpContext, have: usize, want: usize) -> Result<(), Counter> {
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
fn ipv4<const ANY: bool>(at: &mut Cursor, picked: &Picked, inner_len: usize) -> Option<()> {
    let backend = picked.backend;
    let header = *at;
    at.put_copy(backend.ip.first_chunk::<{ size_of::<Ipv4>() }>()?)?;
    let total_len = (size_of::<Ipv4>() + inner_len) as u16;
    let [.., high, low] = *backend.ip.first_chunk::<{ offset_of!(Ipv4, checksum) + 2 }>()?;
    let mut sum = ones_add(!u16::from_be_bytes([high, low]), total_len);
    if ANY && is_varied(picked) && config::has::<{ features::VARY_V4 }>(picked.hash) {
        let [.., s0, s1, s2, s3] = *backend.ip.first_chunk::<{ offset_of!(Ipv4, src) + 4 }>()?;
        let source = u32::from_be_bytes([s0, s1, s2, s3]);
        // Bits that are set already, as by an entry of before the prefix became wider, add nothing.
        let varied = picked.hash & config::vary_v4() & !source;
        let source = source | varied;
        header.put_at(offset_of!(Ipv4, src), source.to_be_bytes())?;
        sum = ones_add(sum, ones_add((varied >> 16) as u16, varied as u16));
    }
    header.put_at(offset_of!(Ipv4, total_len), total_len.to_be_bytes())?;
    header.put_at(offset_of!(Ipv4, checksum), (!sum).to_be_bytes())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "checked against the MTU, of 16 bits")]
fn ipv6<const ANY: bool>(at: &mut Cursor, picked: &Picked, inner_len: usize) -> Option<()> {
    let backend = picked.backend;
    let header = *at;
    at.put_copy(&backend.ip)?;
    if ANY && is_varied(picked) && config::has::<{ features::VARY_V6 }>(picked.hash) {
        // The last four bytes of the source.
        const AT: usize = offset_of!(Ipv6, src) + 12;
        let [.., s0, s1, s2, s3] = *backend.ip.first_chunk::<{ AT + 4 }>()?;
        let varied = u32::from_be_bytes([s0, s1, s2, s3]) | (picked.hash & config::vary_v6());
        header.put_at(AT, varied.to_be_bytes())?;
    }
    header.put_at(offset_of!(Ipv6, payload_len), (inner_len as u16).to_be_bytes())
}

#[inline(always)]
fn is_varied(picked: &Picked) -> bool {
    picked.backend.flags & backend_flags::VARIED != 0
}
