//! Frames taken apart (IEEE 802.3 and 802.1Q, RFC 791, RFC 8200, RFC 9293, RFC 768).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_abi::ip_proto;

/// An address of a packet.
pub type Addr = IpAddr;

/// Extension headers that are looked through, at most.
const EXTENSIONS_MAX: usize = 6;

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP or UDP; `opens`: a SYN that is nothing else.
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
    let Some((kind, ip_at)) = link(frame) else { return Parsed::NotIp };
    let (Some(ip), Some(first)) = (frame.get(ip_at..), byte(frame, 0)) else {
        return Parsed::NotIp;
    };
    let packet = match kind {
        0x0800 => ipv4(ip),
        0x86dd => ipv6(ip),
        _ => return Parsed::NotIp,
    };
    let Some(mut packet) = packet else { return Parsed::BadHeader };
    packet.ip_at += ip_at;
    packet.transport_at += ip_at;
    packet.is_for_group = first & 1 != 0;
    Parsed::Packet(packet)
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

/// `None`: the header is unsound. Places count from the start of `ip`.
fn ipv4(ip: &[u8]) -> Option<Packet> {
    let header: [u8; 20] = array(ip, 0)?;
    let [version_ihl, _, len_high, len_low, _, _, fragment_high, fragment_low, ..] = header;
    let header_len = usize::from(version_ihl & 0xf) * 4;
    let ip_len = usize::from(u16::from_be_bytes([len_high, len_low]));
    if version_ihl >> 4 != 4 || header_len < 20 || ip_len < header_len || ip_len > ip.len() {
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
fn ipv6(ip: &[u8]) -> Option<Packet> {
    let header: [u8; 40] = array(ip, 0)?;
    let payload_len = usize::from(short(ip, 4)?);
    let ip_len = 40 + payload_len;
    if byte(&header, 0)? >> 4 != 6 || ip_len > ip.len() {
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
        packet.transport_at += len;
        packet.flow.proto = next;
    }
    Some(packet)
}

/// Counts as malformed until the transport header was seen.
const fn packet(flow: Flow, transport_at: usize, ip_len: usize) -> Packet {
    let transport = Transport::Malformed;
    Packet { flow, transport, ip_at: 0, transport_at, ip_len, is_for_group: false }
}

/// Looks at the transport header, for which the IP header leaves `room` bytes.
fn with_transport(mut packet: Packet, ip: &[u8], room: usize) -> Packet {
    let Some(header) = ip.get(packet.transport_at..) else { return packet };
    let is_v4 = packet.flow.dst.is_ipv4();
    let (icmp, request) = if is_v4 { (ip_proto::ICMP, 8) } else { (ip_proto::ICMPV6, 128) };
    let proto = packet.flow.proto;
    let ports = |packet: &mut Packet, opens: bool| {
        if let (Some(src), Some(dst)) = (short(header, 0), short(header, 2)) {
            packet.flow.src_port = src;
            packet.flow.dst_port = dst;
            packet.transport = Transport::Ports { opens };
        }
    };
    if proto == ip_proto::TCP {
        if let Some([.., words, flags, _, _, _, _, _, _]) = array::<20>(header, 0) {
            let len = usize::from(words >> 4) * 4;
            if len >= 20 && len <= room {
                // SYN, and none of FIN, RST and ACK.
                ports(&mut packet, flags & 0x17 == 0x02);
            }
        }
    } else if proto == ip_proto::UDP {
        if let Some([_, _, _, _, high, low, ..]) = array::<8>(header, 0) {
            let len = usize::from(u16::from_be_bytes([high, low]));
            if len >= 8 && len <= room {
                ports(&mut packet, false);
            }
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
