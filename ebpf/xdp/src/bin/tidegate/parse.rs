//! From bytes to what the other stages ask for.
//!
//! Promise: lengths are believed only after they were checked against the frame. A packet whose
//! IP header is unsound is the kernel's to judge; what its transport header says is judged here,
//! but it counts only if the packet turns out to be for a VIP.

use core::hint::black_box;

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, ip_proto};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{
    Ethernet, Extension, Icmp, Ipv4, Ipv6, Sctp, Tcp, Udp, VlanTag, ether_type, extension,
    tcp_flags,
};

use crate::address::{Address, Flow, V4, V6};

/// The chunk that opens an SCTP association, which stands alone in its packet (RFC 9260 §3).
pub(crate) const SCTP_INIT: u8 = 1;
/// Extension headers before the transport header, at most; more are malformed.
const EXTENSIONS_MAX: usize = 6;
/// Covers the farthest place of a transport header: behind tags, IPv6 and the longest extensions;
/// and what follows an ICMP header there.
pub(crate) const OFFSET_MASK: usize = 0x3fff;
const _: () = assert!(22 + 40 + EXTENSIONS_MAX * 2_048 + 8 <= OFFSET_MASK);
/// Covers the farthest place of a transport header in the packet that is quoted there.
pub(crate) const QUOTED_MASK: usize = 0x7fff;
const _: () = assert!(OFFSET_MASK + 40 + EXTENSIONS_MAX * 2_048 <= QUOTED_MASK);
/// Bytes of its transport header that an ICMP error quotes at least (RFC 792): the ports of TCP,
/// UDP and SCTP are among them.
const QUOTED_MIN: usize = 8;

/// The link layer.
pub(crate) struct Link {
    /// What it carries.
    pub(crate) ether_type: u16,
    /// Length with VLAN tags, in bytes: 14, 18 or 22.
    pub(crate) len: usize,
    /// Length of the whole frame, in bytes.
    frame_len: usize,
    /// The frame is for a group of hosts: broadcast or multicast (IEEE 802, the I/G bit).
    is_for_group: bool,
}

/// What is known of a packet whose IP header is sound.
pub(crate) struct Packet<A> {
    pub(crate) flow: Flow<A>,
    pub(crate) transport: Transport,
    /// Length of the link layer, in bytes.
    pub(crate) link_len: usize,
    /// Length of the IP packet as its header says, in bytes; a frame may be longer (padding).
    pub(crate) ip_len: usize,
    /// Length of the whole frame, in bytes.
    pub(crate) frame_len: usize,
    /// The frame is for a group of hosts.
    pub(crate) is_for_group: bool,
    /// If it is a part of a datagram, and somebody asked: the last word of the datagram's key, as it
    /// stands in memory.
    pub(crate) part: Option<u64>,
    /// Of a later part: the index of the backend that the first one's connection id named, 0 for none.
    /// As wide as the other fields: the compiler copies two narrow ones at once, wherever they stand,
    /// and the verifier wants words on the stack aligned.
    pub(crate) named: Option<u64>,
    /// Where the transport header stands.
    pub(crate) payload: Cursor,
}

/// What follows the IP header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP, UDP or SCTP, the ports stand in the flow. `opens`: a SYN that is nothing else, or an
    /// INIT.
    Ports { opens: bool },
    /// An ICMP echo request.
    Echo,
    /// A part of a datagram; not the first one, if somebody asked for what it says.
    Fragment,
    /// A header that is cut off, or whose lengths do not fit.
    Malformed,
    /// Something that no service can have.
    Other,
}

/// Ethernet and up to two VLAN tags; `None` if the frame ends before.
#[inline(always)]
pub(crate) fn link(ctx: &XdpContext, frame: &mut Cursor) -> Option<Link> {
    let frame_len = frame.len();
    let ethernet: Ethernet = frame.take()?;
    let [first_octet, ..] = ethernet.macs;
    let mut link = Link {
        ether_type: u16::from_be_bytes(ethernet.ether_type),
        len: 0,
        frame_len,
        is_for_group: first_octet & 1 != 0,
    };
    for _ in 0..2 {
        if !matches!(link.ether_type, ether_type::VLAN | ether_type::SERVICE_VLAN) {
            break;
        }
        let tag: VlanTag = frame.take()?;
        link.ether_type = u16::from_be_bytes(tag.ether_type);
    }
    link.len = frame.settle::<0x1f>(ctx);
    Some(link)
}

/// IPv4 with options.
#[inline(always)]
pub(crate) fn ipv4<const PARTS: bool>(mut at: Cursor, link: &Link) -> Result<Packet<V4>, Counter> {
    let room = at.len();
    let ip: Ipv4 = at.take().ok_or(Counter::PassBadHeader)?;
    let header_len = ip.header_len().ok_or(Counter::PassBadHeader)?;
    let ip_len = usize::from(u16::from_be_bytes(ip.total_len));
    if ip_len < header_len || ip_len > room {
        return Err(Counter::PassBadHeader);
    }
    at.skip(header_len - size_of::<Ipv4>());
    let flow = Flow {
        src: V4(ip.src),
        dst: V4(ip.dst),
        src_port: [0; 2],
        dst_port: [0; 2],
        proto: ip.proto,
    };
    let mut packet = packet(flow, link, ip_len, at);
    if ip.is_fragment() {
        if PARTS {
            let [high, low] = ip.id;
            packet.part = Some(u64::from_ne_bytes([0, 0, high, low, ip.proto, 0, 0, 0]));
        }
        if !PARTS || ip.is_later_fragment() {
            return Ok(Packet { transport: Transport::Fragment, ..packet });
        }
    }
    Ok(transport::<V4, PARTS>(packet, ip_len - header_len))
}

/// IPv6 with extension headers.
#[inline(always)]
pub(crate) fn ipv6<const PARTS: bool>(
    ctx: &XdpContext,
    mut at: Cursor,
    link: &Link,
) -> Result<Packet<V6>, Counter> {
    let room = at.len();
    let ip: Ipv6 = at.take().ok_or(Counter::PassBadHeader)?;
    let mut left = usize::from(u16::from_be_bytes(ip.payload_len));
    let ip_len = size_of::<Ipv6>() + left;
    if !ip.has_version() || ip_len > room {
        return Err(Counter::PassBadHeader);
    }
    let mut flow = Flow {
        src: V6(ip.src),
        dst: V6(ip.dst),
        src_port: [0; 2],
        dst_port: [0; 2],
        proto: ip.next_header,
    };
    let mut part = None;
    for _ in 0..=EXTENSIONS_MAX {
        at.settle::<OFFSET_MASK>(ctx);
        let Some(unit) = unit_of_extension(flow.proto) else {
            let packet = Packet { part, ..packet(flow, link, ip_len, at) };
            return Ok(transport::<V6, PARTS>(packet, left));
        };
        let Some(header) = at.peek::<Extension>() else { break };
        if PARTS && part.is_some() && flow.proto == extension::FRAGMENT {
            break; // A part of a part is none (RFC 8200 §4.5).
        }
        if flow.proto == extension::FRAGMENT && header.is_fragment() {
            if PARTS {
                let [a, b, c, d] = header.id;
                part = Some(u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]));
            }
            if !PARTS || header.is_later_fragment() {
                let packet = packet(flow, link, ip_len, at);
                return Ok(Packet { transport: Transport::Fragment, part, ..packet });
            }
        }
        let len = len_of_extension(header, unit);
        if len > left {
            break;
        }
        at.skip(len);
        left -= len;
        flow.proto = header.next_header;
    }
    Ok(Packet { part, ..packet(flow, link, ip_len, at) })
}

/// The flow whose answer is quoted, an IPv4 packet. Only the first fragment of a datagram has ports to tell it by.
#[inline(always)]
pub(crate) fn quoted_ipv4(mut at: Cursor, room: usize) -> Option<Flow<V4>> {
    let ip: Ipv4 = at.take()?;
    let header_len = ip.header_len()?;
    if header_len + QUOTED_MIN > room || ip.is_later_fragment() {
        return None;
    }
    at.skip(header_len - size_of::<Ipv4>());
    Some(Flow::of_answer(V4(ip.src), V4(ip.dst), at.peek()?, ip.proto))
}

/// The same for IPv6.
#[inline(always)]
pub(crate) fn quoted_ipv6(ctx: &XdpContext, mut at: Cursor, room: usize) -> Option<Flow<V6>> {
    let ip: Ipv6 = at.take()?;
    let mut left = room.checked_sub(size_of::<Ipv6>() + QUOTED_MIN)?;
    if !ip.has_version() {
        return None;
    }
    let mut proto = ip.next_header;
    for _ in 0..=EXTENSIONS_MAX {
        at.settle::<QUOTED_MASK>(ctx);
        let Some(unit) = unit_of_extension(proto) else {
            return Some(Flow::of_answer(V6(ip.src), V6(ip.dst), at.peek()?, proto));
        };
        let header: Extension = at.peek()?;
        if proto == extension::FRAGMENT && header.is_later_fragment() {
            return None;
        }
        let len = len_of_extension(header, unit);
        left = left.checked_sub(len)?;
        at.skip(len);
        proto = header.next_header;
    }
    None
}

/// Bytes that one unit of an extension header's length stands for; `None`: it is none. The length
/// counts what comes after the first eight bytes (RFC 8200 §4.2, RFC 4302 §2.2).
#[inline(always)]
const fn unit_of_extension(proto: u8) -> Option<usize> {
    match proto {
        extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => Some(8),
        extension::AUTHENTICATION => Some(4),
        extension::FRAGMENT => Some(0),
        _ => None,
    }
}

/// Length of an extension header, in bytes.
///
/// Before Linux 6.10 the verifier knows nothing about a product of two values that it does not know
/// both, and lets nobody go on by so much: the mask tells it how much it may be.
#[inline(always)]
fn len_of_extension(header: Extension, unit: usize) -> usize {
    const MASK: usize = 0xfff; // At most 8 + 255 * 8.
    black_box(size_of::<Extension>() + usize::from(header.len) * unit) & MASK
}

/// A packet that counts as malformed until its transport header was seen.
#[inline(always)]
fn packet<A: Address>(flow: Flow<A>, link: &Link, ip_len: usize, payload: Cursor) -> Packet<A> {
    let transport = Transport::Malformed;
    let Link { len: link_len, frame_len, is_for_group, .. } = *link;
    Packet {
        flow,
        transport,
        link_len,
        ip_len,
        frame_len,
        is_for_group,
        part: None,
        named: None,
        payload,
    }
}

/// Looks at the transport header, for which the IP header leaves `room` bytes. The length that UDP
/// says is that of the datagram, not of its first part.
#[inline(always)]
fn transport<A: Address, const PARTS: bool>(mut packet: Packet<A>, room: usize) -> Packet<A> {
    let proto = packet.flow.proto;
    if proto == ip_proto::TCP {
        if let Some(tcp) = packet.payload.peek::<Tcp>() {
            let header_len = usize::from(tcp.data_offset >> 4) * 4;
            if header_len >= size_of::<Tcp>() && header_len <= room {
                packet.flow.src_port = tcp.src_port;
                packet.flow.dst_port = tcp.dst_port;
                let opens = tcp.flags & tcp_flags::STATE == tcp_flags::SYN;
                packet.transport = Transport::Ports { opens };
            }
        }
    } else if proto == ip_proto::UDP {
        if let Some(udp) = packet.payload.peek::<Udp>() {
            let len = usize::from(u16::from_be_bytes(udp.len));
            let is_part = PARTS && packet.part.is_some();
            let least = if is_part { size_of::<Udp>() } else { len };
            if len >= size_of::<Udp>() && least <= room {
                packet.flow.src_port = udp.src_port;
                packet.flow.dst_port = udp.dst_port;
                packet.transport = Transport::Ports { opens: false };
            }
        }
    } else if proto == A::ICMP {
        if room >= size_of::<Icmp>()
            && let Some(icmp) = packet.payload.peek::<Icmp>()
        {
            let echo = icmp.kind == A::ECHO_REQUEST;
            packet.transport = if echo { Transport::Echo } else { Transport::Other };
        }
    } else if proto == ip_proto::SCTP {
        if room >= size_of::<Sctp>()
            && let Some(sctp) = packet.payload.peek::<Sctp>()
        {
            packet.flow.src_port = sctp.src_port;
            packet.flow.dst_port = sctp.dst_port;
            packet.transport = Transport::Ports { opens: sctp.chunk_kind == SCTP_INIT };
        }
    } else {
        packet.transport = Transport::Other;
    }
    packet
}
