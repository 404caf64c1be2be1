//! Frames taken apart (IEEE 802.3 and 802.1Q, RFC 791, RFC 8200, RFC 9293, RFC 768).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_abi::{DatagramKey, ip_proto};

use super::quic::{ConnectionId, connection_id};

/// An address of a packet.
pub type Addr = IpAddr;

/// Extension headers that are looked through, at most.
const EXTENSIONS_MAX: usize = 6;

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The client.
    pub src: Addr,
    /// The VIP.
    pub dst: Addr,
    /// The client's port; 0 without ports.
    pub src_port: u16,
    /// The service's port; 0 without ports.
    pub dst_port: u16,
    /// IP protocol number.
    pub proto: u8,
}

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Something else than IP.
    NotIp,
    /// IP, but the header is unsound.
    BadHeader,
    /// An IP packet.
    Packet(Packet),
}

/// A packet whose IP header is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who talks to whom.
    pub flow: Flow,
    /// What follows the IP header.
    pub transport: Transport,
    /// Where the IP header starts, in bytes from the start of the frame.
    pub ip_at: usize,
    /// Where the transport header starts.
    pub transport_at: usize,
    /// Length of the IP packet, in bytes.
    pub ip_len: usize,
    /// The frame is for a group of hosts.
    pub is_for_group: bool,
    /// Extension headers that stand before the transport header.
    pub extensions: usize,
    /// What stands where a packet of QUIC has its connection id, if it is UDP.
    pub connection: Option<ConnectionId>,
    /// Of a later part of a datagram: the backend that the first one's connection id named.
    pub named: Option<u32>,
}

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, UDP or SCTP; `opens`: a SYN that is nothing else, or an INIT.
    Ports {
        /// It opens a connection.
        opens: bool,
    },
    /// An ICMP echo request.
    Echo,
    /// A message of neighbour discovery from the link.
    NeighbourDiscovery,
    /// An ICMP error, which quotes the packet that it is about.
    Error,
    /// A part of a datagram.
    Fragment,
    /// Cut off, or lengths that do not fit.
    Malformed,
    /// Something else.
    Other,
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

fn array<const LEN: usize>(bytes: &[u8], at: usize) -> Option<[u8; LEN]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// Takes a frame apart.
pub fn parse(frame: &[u8]) -> Parsed {
    parse_start(frame, frame.len())
}

/// Takes a frame of so many bytes apart of which only these first ones are known.
pub fn parse_start(frame: &[u8], frame_len: usize) -> Parsed {
    let Some((kind, ip_at)) = link(frame) else { return Parsed::NotIp };
    let (Some(ip), Some(first)) = (frame.get(ip_at..), byte(frame, 0)) else {
        return Parsed::NotIp;
    };
    let room = frame_len.saturating_sub(ip_at);
    let packet = match kind {
        0x0800 => ipv4(ip, room),
        0x86dd => ipv6(ip, room),
        _ => return Parsed::NotIp,
    };
    let Some(mut packet) = packet else { return Parsed::BadHeader };
    packet.ip_at += ip_at;
    packet.transport_at += ip_at;
    packet.is_for_group = first & 1 != 0;
    Parsed::Packet(packet)
}

/// The same of a packet without its link layer.
pub fn parse_ip(ip: &[u8], room: usize) -> Option<Packet> {
    match byte(ip, 0)? >> 4 {
        4 => ipv4(ip, room),
        6 => ipv6(ip, room),
        _ => None,
    }
}

/// What the link layer carries, and where that starts: behind two VLAN tags at most.
fn link(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = 12;
    for _ in 0..2 {
        if !matches!(short(frame, at)?, 0x8100 | 0x88a8) {
            break;
        }
        at += 4;
    }
    Some((short(frame, at)?, at + 2))
}

/// `None`: the header is unsound, or says more than there is room for. Places count from the start
/// of `ip`.
fn ipv4(ip: &[u8], room: usize) -> Option<Packet> {
    let header: [u8; 20] = array(ip, 0)?;
    let [version_ihl, _, len_high, len_low, _, _, fragment_high, fragment_low, ..] = header;
    let header_len = usize::from(version_ihl & 0xf) * 4;
    let ip_len = usize::from(u16::from_be_bytes([len_high, len_low]));
    if version_ihl >> 4 != 4 || header_len < 20 || ip_len < header_len || ip_len > room {
        return None;
    }
    let flow = Flow {
        src: Ipv4Addr::from(array::<4>(ip, 12)?).into(),
        dst: Ipv4Addr::from(array::<4>(ip, 16)?).into(),
        src_port: 0,
        dst_port: 0,
        proto: byte(ip, 9)?,
    };
    let packet = packet(flow, header_len, ip_len);
    // "More fragments", or an offset.
    let is_fragment = u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff != 0;
    Some(if is_fragment {
        Packet { transport: Transport::Fragment, ..packet }
    } else {
        with_transport(packet, ip, ip_len - header_len)
    })
}

/// The same for IPv6.
fn ipv6(ip: &[u8], room: usize) -> Option<Packet> {
    let header: [u8; 40] = array(ip, 0)?;
    let payload_len = usize::from(short(ip, 4)?);
    let ip_len = 40 + payload_len;
    if byte(&header, 0)? >> 4 != 6 || ip_len > room {
        return None;
    }
    let flow = Flow {
        src: Ipv6Addr::from(array::<16>(ip, 8)?).into(),
        dst: Ipv6Addr::from(array::<16>(ip, 24)?).into(),
        src_port: 0,
        dst_port: 0,
        proto: byte(ip, 6)?,
    };
    let mut packet = packet(flow, 40, ip_len);
    let mut left = payload_len;
    for _ in 0..=EXTENSIONS_MAX {
        let unit = match packet.flow.proto {
            0 | 43 | 60 => 8, // Hop-by-hop, routing, destination options (RFC 8200 §4).
            51 => 4,          // Authentication (RFC 4302 §2.2).
            44 => 0,          // Fragment: always eight bytes.
            _ => return Some(with_transport(packet, ip, left)),
        };
        let Some([next, len, offset_high, offset_low, ..]) = array::<8>(ip, packet.transport_at)
        else {
            break;
        };
        // An offset, or "more fragments"; one fragment that is all is none (RFC 6946).
        let is_fragment = u16::from_be_bytes([offset_high, offset_low]) & 0xfff9 != 0;
        if packet.flow.proto == 44 && is_fragment {
            return Some(Packet { transport: Transport::Fragment, ..packet });
        }
        let len = 8 + usize::from(len) * unit;
        if len > left {
            break;
        }
        left -= len;
        packet.extensions += 1;
        packet.transport_at += len;
        packet.flow.proto = next;
    }
    Some(packet)
}

/// Counts as malformed until the transport header was seen.
const fn packet(flow: Flow, transport_at: usize, ip_len: usize) -> Packet {
    let transport = Transport::Malformed;
    let (ip_at, is_for_group, extensions) = (0, false, 0);
    let (connection, named) = (None, None);
    Packet {
        flow,
        transport,
        ip_at,
        transport_at,
        ip_len,
        is_for_group,
        extensions,
        connection,
        named,
    }
}

/// Looks at the transport header, for which the IP header leaves `room` bytes.
fn with_transport(mut packet: Packet, ip: &[u8], room: usize) -> Packet {
    let Some(header) = ip.get(packet.transport_at..) else { return packet };
    let is_v4 = packet.flow.dst.is_ipv4();
    let (icmp, request) = if is_v4 { (ip_proto::ICMP, 8) } else { (ip_proto::ICMPV6, 128) };
    let proto = packet.flow.proto;
    if matches!(proto, ip_proto::TCP | ip_proto::UDP | ip_proto::SCTP) {
        if let Some((flow, opens)) = ports(header, room, room, packet.flow) {
            packet.flow = flow;
            packet.transport = Transport::Ports { opens };
            packet.connection = of_udp(header, room, proto);
        }
    } else if proto == icmp {
        if let Some([kind, ..]) = array::<8>(header, 0)
            && room >= 8
        {
            let is_discovery = !is_v4 && byte(ip, 7) == Some(255) && (133..=137).contains(&kind);
            // Unreachable, time exceeded, bad parameter; in IPv6 also too big (RFC 792, RFC 4443).
            let is_error =
                if is_v4 { matches!(kind, 3 | 11 | 12) } else { (1..=4).contains(&kind) };
            packet.transport = if kind == request {
                Transport::Echo
            } else if is_discovery {
                Transport::NeighbourDiscovery
            } else if is_error {
                Transport::Error
            } else {
                Transport::Other
            };
        }
    } else {
        packet.transport = Transport::Other;
    }
    packet
}

/// A part of a datagram.
pub(super) struct Part {
    /// The datagram.
    pub(super) key: DatagramKey,
    pub(super) is_first: bool,
    /// What the first part says: the packet with its flow, whether it opens a connection, and the
    /// connection's id.
    pub(super) says: Option<Packet>,
}

/// Which part of which datagram a fragment is (RFC 791 §3.2, RFC 8200 §4.5).
pub(super) fn part(frame: &[u8], packet: &Packet) -> Option<Part> {
    let ip = frame.get(packet.ip_at..)?;
    let mut at = packet.transport_at - packet.ip_at;
    let flow = packet.flow;
    let (mut proto, id, offset) = if flow.dst.is_ipv4() {
        (flow.proto, [0, 0, byte(ip, 4)?, byte(ip, 5)?], short(ip, 6)? & 0x1fff)
    } else {
        let [next, _, high, low, id @ ..] = array::<8>(ip, at)?;
        at += 8;
        (next, id, u16::from_be_bytes([high, low]) & 0xfff8)
    };
    let key = DatagramKey {
        src: sixteen(flow.src),
        dst: sixteen(flow.dst),
        id,
        proto: if flow.dst.is_ipv4() { proto } else { 0 },
        reserved: [0; 3],
    };
    let is_first = offset == 0;
    // More headers may stand between that of the fragment and the transport's, but not another one
    // of a fragment: those are never looked for behind the first.
    let mut extensions = packet.extensions + 1;
    while is_first && !flow.dst.is_ipv4() && matches!(proto, 0 | 43 | 51 | 60) {
        let Some([next, len, ..]) = array::<8>(ip, at) else { break };
        at += 8 + usize::from(len) * if proto == 51 { 4 } else { 8 };
        extensions += 1;
        proto = next;
    }
    let flow = Flow { proto, ..flow };
    let room = packet.ip_len.checked_sub(at);
    let says = room.filter(|_| extensions <= EXTENSIONS_MAX).and_then(|room| {
        let header = ip.get(at..)?;
        let (flow, opens) = ports(header, room, usize::MAX, flow)?;
        let connection = of_udp(header, room, proto);
        Some(Packet { flow, transport: Transport::Ports { opens }, connection, ..packet.clone() })
    });
    Some(Part { key, is_first, says })
}

/// What a UDP datagram has where QUIC has a connection id; the IP header leaves `room` bytes for it.
fn of_udp(header: &[u8], room: usize, proto: u8) -> Option<ConnectionId> {
    let len = room.min(short(header, 4)?.into());
    connection_id(header.get(8..len)?).filter(|_| proto == ip_proto::UDP)
}

/// What the transport header says: the ports, and whether it opens a connection. The IP header leaves
/// `room` bytes for it; the whole datagram, whose length UDP's header says, has `whole` at most.
fn ports(header: &[u8], room: usize, whole: usize, flow: Flow) -> Option<(Flow, bool)> {
    let opens = match flow.proto {
        ip_proto::TCP => {
            let [.., words, flags, _, _, _, _, _, _] = array::<20>(header, 0)?;
            let len = usize::from(words >> 4) * 4;
            // SYN, and none of FIN, RST and ACK.
            (20..=room).contains(&len).then_some(flags & 0x17 == 0x02)?
        }
        ip_proto::UDP => {
            let [_, _, _, _, high, low, _, _] = array::<8>(header, 0)?;
            let len = usize::from(u16::from_be_bytes([high, low]));
            (room >= 8 && (8..=whole).contains(&len)).then_some(false)?
        }
        ip_proto::SCTP => {
            // The common header and that of the first chunk; type 1 is INIT (RFC 9260 §3).
            let [.., kind, _, _, _] = array::<16>(header, 0)?;
            (room >= 16).then_some(kind == 1)?
        }
        _ => return None,
    };
    let (src_port, dst_port) = (short(header, 0)?, short(header, 2)?);
    Some((Flow { src_port, dst_port, ..flow }, opens))
}

/// An IPv4 address in the last four of sixteen bytes.
pub(super) fn sixteen(addr: Addr) -> [u8; 16] {
    match addr {
        Addr::V4(v4) => Ipv6Addr::from_bits(v4.to_bits().into()).octets(),
        Addr::V6(v6) => v6.octets(),
    }
}

/// The flow of which an ICMP error quotes an answer: the packet that stands at `at`, of which the
/// error holds `room` bytes. `None` if that does not reach to eight bytes of its transport header,
/// as it must (RFC 792), or if it is a later fragment, which has none.
pub(super) fn quoted(frame: &[u8], at: usize, room: usize, is_v4: bool) -> Option<Flow> {
    let ip = frame.get(at..)?;
    let (mut place, mut proto) = if is_v4 {
        let [version_ihl, ..] = array::<20>(ip, 0)?;
        let header_len = usize::from(version_ihl & 0xf) * 4;
        let is_later = short(ip, 6)? & 0x1fff != 0;
        if version_ihl >> 4 != 4 || header_len < 20 || is_later {
            return None;
        }
        (header_len, byte(ip, 9)?)
    } else {
        let [version, ..] = array::<40>(ip, 0)?;
        if version >> 4 != 6 {
            return None;
        }
        (40, byte(ip, 6)?)
    };
    let mut extensions = 0;
    while !is_v4 && matches!(proto, 0 | 43 | 44 | 51 | 60) {
        let [next, len, offset_high, offset_low, ..] = array::<8>(ip, place)?;
        let is_later = u16::from_be_bytes([offset_high, offset_low]) & 0xfff8 != 0;
        if extensions == EXTENSIONS_MAX || (proto == 44 && is_later) {
            return None;
        }
        place += match proto {
            44 => 8,
            51 => 8 + usize::from(len) * 4,
            _ => 8 + usize::from(len) * 8,
        };
        proto = next;
        extensions += 1;
    }
    if place + 8 > room {
        return None;
    }
    let (from, to): (Addr, Addr) = if is_v4 {
        (Ipv4Addr::from(array::<4>(ip, 12)?).into(), Ipv4Addr::from(array::<4>(ip, 16)?).into())
    } else {
        (Ipv6Addr::from(array::<16>(ip, 8)?).into(), Ipv6Addr::from(array::<16>(ip, 24)?).into())
    };
    let (src_port, dst_port) = (short(ip, place + 2)?, short(ip, place)?);
    Some(Flow { src: to, dst: from, src_port, dst_port, proto })
}
