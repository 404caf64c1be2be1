//! Frames built from layers, with lengths and checksums right by construction, and taken apart
//! again for people to read. Shares no code with the datapath, which it judges.

use core::net::{Ipv4Addr, Ipv6Addr};

mod describe;

pub use describe::{assert_frame_eq, checksums_hold, describe};

/// A MAC address.
pub type Mac = [u8; 6];

/// TCP flags.
pub mod tcp {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Breaks a connection.
    pub const RST: u8 = 0x04;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
}

/// Numbers of IPv6 extension headers.
pub mod ext {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
}

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

#[derive(Clone, Debug)]
enum Layer {
    Eth {
        from: Mac,
        to: Mac,
        kind: Option<u16>,
    },
    Vlan {
        tpid: u16,
        tci: u16,
    },
    Ipv4 {
        src: Ipv4Addr,
        dst: Ipv4Addr,
        ttl: u8,
        tos: u8,
        fragment: u16,
        options: Vec<u8>,
    },
    Ipv6 {
        src: Ipv6Addr,
        dst: Ipv6Addr,
        hops: u8,
    },
    /// An extension header with its body: what follows next header and length.
    Extension {
        kind: u8,
        body: Vec<u8>,
    },
    Tcp {
        src: u16,
        dst: u16,
        flags: u8,
        options: Vec<u8>,
    },
    Udp {
        src: u16,
        dst: u16,
    },
    Icmp {
        v6: bool,
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// A transport protocol that is nothing but a number.
    Other {
        proto: u8,
    },
    Payload(Vec<u8>),
    /// Behind the IP packet, counted by no length.
    Padding(usize),
}

/// A frame in the making: each call adds a layer, or changes the last one.
#[derive(Clone, Debug)]
pub struct Frame {
    layers: Vec<Layer>,
}

/// Starts with an Ethernet header.
pub fn eth(from: Mac, to: Mac) -> Frame {
    Frame { layers: vec![Layer::Eth { from, to, kind: None }] }
}

impl Frame {
    fn and(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    fn change(mut self, what: &str, change: impl FnOnce(&mut Layer) -> bool) -> Self {
        let changed = self.layers.last_mut().is_some_and(change);
        assert!(changed, "the last layer has no {what}");
        self
    }

    /// An ether type of its own choice, for what follows is none of the layers here.
    #[must_use]
    pub fn ether_type(self, wanted: u16) -> Self {
        self.change("ether type", |layer| match layer {
            Layer::Eth { kind, .. } => kind.replace(wanted).is_none(),
            _ => false,
        })
    }

    /// A VLAN tag, 802.1Q.
    #[must_use]
    pub fn vlan(self, tci: u16) -> Self {
        self.and(Layer::Vlan { tpid: VLAN, tci })
    }

    /// A VLAN tag of a provider, 802.1ad.
    #[must_use]
    pub fn service_vlan(self, tci: u16) -> Self {
        self.and(Layer::Vlan { tpid: SERVICE_VLAN, tci })
    }

    /// An IPv4 header: TTL 64, "don't fragment", identification 0.
    #[must_use]
    pub fn ipv4(self, src: Ipv4Addr, dst: Ipv4Addr) -> Self {
        let (ttl, tos, fragment, options) = (64, 0, 0x4000, Vec::new());
        self.and(Layer::Ipv4 { src, dst, ttl, tos, fragment, options })
    }

    /// An IPv6 header: hop limit 64.
    #[must_use]
    pub fn ipv6(self, src: Ipv6Addr, dst: Ipv6Addr) -> Self {
        self.and(Layer::Ipv6 { src, dst, hops: 64 })
    }

    /// TTL or hop limit of the last layer.
    #[must_use]
    pub fn ttl(self, wanted: u8) -> Self {
        self.change("TTL", |layer| match layer {
            Layer::Ipv4 { ttl, .. } | Layer::Ipv6 { hops: ttl, .. } => {
                *ttl = wanted;
                true
            }
            _ => false,
        })
    }

    /// Type of service of the last layer.
    #[must_use]
    pub fn tos(self, wanted: u8) -> Self {
        self.change("type of service", |layer| match layer {
            Layer::Ipv4 { tos, .. } => {
                *tos = wanted;
                true
            }
            _ => false,
        })
    }

    /// Flags (high three bits) and fragment offset in units of 8 bytes, of the last layer.
    #[must_use]
    pub fn fragment(self, wanted: u16) -> Self {
        self.change("fragment field", |layer| match layer {
            Layer::Ipv4 { fragment, .. } => {
                *fragment = wanted;
                true
            }
            _ => false,
        })
    }

    /// Options of the last layer, IPv4 or TCP; their length must be a multiple of four.
    #[must_use]
    pub fn options(self, wanted: &[u8]) -> Self {
        assert!(wanted.len().is_multiple_of(4), "options are counted in words of four bytes");
        self.change("options", |layer| match layer {
            Layer::Ipv4 { options, .. } | Layer::Tcp { options, .. } => {
                *options = wanted.to_vec();
                true
            }
            _ => false,
        })
    }

    /// An IPv6 extension header; `body` is what follows the next-header and length bytes.
    #[must_use]
    pub fn extension(self, kind: u8, body: &[u8]) -> Self {
        self.and(Layer::Extension { kind, body: body.to_vec() })
    }

    /// An IPv6 fragment header: offset in units of 8 bytes, more fragments.
    #[must_use]
    pub fn fragment_header(self, offset: u16, more: bool) -> Self {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        self.extension(ext::FRAGMENT, &[high, low, 0, 0, 0, 7])
    }

    /// A TCP header.
    #[must_use]
    pub fn tcp(self, src: u16, dst: u16, flags: u8) -> Self {
        self.and(Layer::Tcp { src, dst, flags, options: Vec::new() })
    }

    /// A UDP header.
    #[must_use]
    pub fn udp(self, src: u16, dst: u16) -> Self {
        self.and(Layer::Udp { src, dst })
    }

    /// An ICMP header; `rest` is the second word.
    #[must_use]
    pub fn icmp(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.and(Layer::Icmp { v6: false, kind, code, rest })
    }

    /// An ICMPv6 header; `rest` is the second word.
    #[must_use]
    pub fn icmpv6(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.and(Layer::Icmp { v6: true, kind, code, rest })
    }

    /// Some other transport protocol, with no header of its own.
    #[must_use]
    pub fn proto(self, proto: u8) -> Self {
        self.and(Layer::Other { proto })
    }

    /// Bytes.
    #[must_use]
    pub fn payload(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.and(Layer::Payload(bytes.into()))
    }

    /// Zeros behind the packet, until the frame has this length.
    #[must_use]
    pub fn padded_to(self, len: usize) -> Self {
        self.and(Layer::Padding(len))
    }

    /// The IP packet of another frame inside of this one, without its padding.
    #[must_use]
    pub fn inner_of(mut self, other: &Self) -> Self {
        let inner = other.layers.iter().filter(|layer| {
            !matches!(layer, Layer::Eth { .. } | Layer::Vlan { .. } | Layer::Padding(_))
        });
        self.layers.extend(inner.cloned());
        self
    }

    /// The frame as it stands on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = encode(&self.layers, Pseudo::None);
        if let Some(Layer::Padding(len)) = self.layers.last() {
            bytes.resize((*len).max(bytes.len()), 0);
        }
        bytes
    }
}

/// The addresses that checksums of transport protocols cover.
#[derive(Clone, Copy)]
enum Pseudo {
    None,
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Pseudo {
    fn sum(self, proto: u8, len: usize) -> u64 {
        let rest = u64::from(proto) + len as u64;
        match self {
            Self::None => 0,
            Self::V4(src, dst) => words(&src.octets()) + words(&dst.octets()) + rest,
            Self::V6(src, dst) => words(&src.octets()) + words(&dst.octets()) + rest,
        }
    }
}

fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u64::from(high) << 8 | u64::from(low),
            [high] => u64::from(high) << 8,
            _ => 0,
        })
        .sum()
}

/// The Internet checksum (RFC 1071) of what was summed up.
fn checksum(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn length(len: usize) -> [u8; 2] {
    let fits = u16::try_from(len);
    assert!(fits.is_ok(), "{len} bytes do not fit a length of 16 bits");
    fits.unwrap_or_default().to_be_bytes()
}

/// Overwrites two bytes.
fn patch(bytes: &mut [u8], at: usize, value: [u8; 2]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = from;
    }
}

fn ether_type_of(layers: &[Layer]) -> u16 {
    match layers.first() {
        Some(Layer::Vlan { tpid, .. }) => *tpid,
        Some(Layer::Ipv6 { .. }) => 0x86dd,
        _ => 0x0800,
    }
}

fn proto_of(layers: &[Layer]) -> u8 {
    match layers.first() {
        Some(Layer::Ipv4 { .. }) => 4,
        Some(Layer::Ipv6 { .. }) => 41,
        Some(Layer::Tcp { .. }) => 6,
        Some(Layer::Udp { .. }) => 17,
        Some(Layer::Icmp { v6: false, .. }) => 1,
        Some(Layer::Icmp { v6: true, .. }) => 58,
        Some(Layer::Extension { kind, .. }) => *kind,
        Some(Layer::Other { proto }) => *proto,
        _ => 59, // No next header.
    }
}

fn encode(layers: &[Layer], pseudo: Pseudo) -> Vec<u8> {
    let Some((layer, rest)) = layers.split_first() else { return Vec::new() };
    let mut bytes = Vec::new();
    match layer {
        Layer::Eth { from, to, kind } => {
            bytes.extend_from_slice(to);
            bytes.extend_from_slice(from);
            bytes.extend_from_slice(&kind.unwrap_or(ether_type_of(rest)).to_be_bytes());
            bytes.extend(encode(rest, pseudo));
        }
        Layer::Vlan { tci, .. } => {
            bytes.extend_from_slice(&tci.to_be_bytes());
            bytes.extend_from_slice(&ether_type_of(rest).to_be_bytes());
            bytes.extend(encode(rest, pseudo));
        }
        Layer::Ipv4 { .. } | Layer::Ipv6 { .. } => bytes = encode_ip(layer, rest),
        Layer::Extension { kind, body } => {
            let len = body.len() + 2;
            let units = match *kind {
                ext::FRAGMENT => 0,
                ext::AUTHENTICATION => len / 4 - 2,
                _ => len / 8 - 1,
            };
            bytes.push(proto_of(rest));
            bytes.push(u8::try_from(units).unwrap_or(u8::MAX));
            bytes.extend_from_slice(body);
            bytes.extend(encode(rest, pseudo));
        }
        Layer::Tcp { .. } | Layer::Udp { .. } | Layer::Icmp { .. } => {
            bytes = encode_transport(layer, &encode(rest, pseudo), pseudo);
        }
        Layer::Payload(payload) => {
            bytes.extend_from_slice(payload);
            bytes.extend(encode(rest, pseudo));
        }
        Layer::Other { .. } => bytes = encode(rest, pseudo),
        Layer::Padding(_) => {}
    }
    bytes
}

fn encode_ip(layer: &Layer, rest: &[Layer]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match layer {
        Layer::Ipv4 { src, dst, ttl, tos, fragment, options } => {
            let inner = encode(rest, Pseudo::V4(*src, *dst));
            let words_in_header = 5 + options.len() / 4;
            bytes.extend([0x40 | u8::try_from(words_in_header).unwrap_or(u8::MAX), *tos]);
            bytes.extend(length(words_in_header * 4 + inner.len()));
            bytes.extend([0, 0]);
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([*ttl, proto_of(rest), 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.extend_from_slice(options);
            let sum = checksum(words(&bytes));
            patch(&mut bytes, 10, sum.to_be_bytes());
            bytes.extend(inner);
        }
        Layer::Ipv6 { src, dst, hops } => {
            let inner = encode(rest, Pseudo::V6(*src, *dst));
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(length(inner.len()));
            bytes.extend([proto_of(rest), *hops]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.extend(inner);
        }
        _ => {}
    }
    bytes
}

fn encode_transport(layer: &Layer, payload: &[u8], pseudo: Pseudo) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (proto, checksum_at, pseudo) = match layer {
        Layer::Tcp { src, dst, flags, options } => {
            let words_in_header = 5 + options.len() / 4;
            bytes.extend(src.to_be_bytes());
            bytes.extend(dst.to_be_bytes());
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
            bytes.extend([u8::try_from(words_in_header << 4).unwrap_or(u8::MAX), *flags]);
            bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
            bytes.extend_from_slice(options);
            (6, 16, pseudo)
        }
        Layer::Udp { src, dst } => {
            bytes.extend(src.to_be_bytes());
            bytes.extend(dst.to_be_bytes());
            bytes.extend(length(8 + payload.len()));
            bytes.extend([0, 0]);
            (17, 6, pseudo)
        }
        Layer::Icmp { v6, kind, code, rest } => {
            bytes.extend([*kind, *code, 0, 0]);
            bytes.extend(rest);
            if *v6 { (58, 2, pseudo) } else { (1, 2, Pseudo::None) }
        }
        _ => return bytes,
    };
    bytes.extend_from_slice(payload);
    let sum = checksum(words(&bytes) + pseudo.sum(proto, bytes.len()));
    // A UDP checksum of zero would say that there is none (RFC 768).
    let sum = if proto == 17 && sum == 0 { u16::MAX } else { sum };
    patch(&mut bytes, checksum_at, sum.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    #[test]
    fn a_known_header_gets_its_known_checksum() {
        // The example everybody uses: 192.168.0.1 to 192.168.0.199, UDP, 115 bytes, b861.
        let frame = eth([1; 6], [2; 6])
            .ipv4(Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(192, 168, 0, 199))
            .udp(1, 2)
            .payload(vec![0; 87]);
        assert_eq!(frame.bytes()[14 + 10..14 + 12], [0xb8, 0x61]);
    }

    #[test]
    fn what_is_built_is_sound_and_one_wrong_bit_shows() {
        let frames = [
            eth([1; 6], [2; 6]).vlan(5).ipv4(A, B).options(&[1; 8]).tcp(1, 2, tcp::SYN),
            eth([1; 6], [2; 6]).ipv4(A, B).udp(1, 2).payload(*b"odd"),
            eth([1; 6], [2; 6])
                .ipv6(A.to_ipv6_mapped(), B.to_ipv6_mapped())
                .extension(ext::DESTINATION, &[1, 4, 0, 0, 0, 0])
                .icmpv6(128, 0, [1, 2, 3, 4])
                .payload(*b"ping"),
        ];
        for frame in frames {
            let mut bytes = frame.bytes();
            assert!(checksums_hold(&bytes), "{}", describe(&bytes));
            *bytes.last_mut().unwrap() ^= 1;
            assert!(!checksums_hold(&bytes), "{}", describe(&bytes));
        }
    }

    #[test]
    fn padding_is_no_part_of_the_packet() {
        let frame = eth([1; 6], [2; 6]).ipv4(A, B).tcp(1, 2, tcp::ACK).padded_to(60);
        assert_eq!(frame.bytes().len(), 60);
        assert_eq!(eth([1; 6], [2; 6]).ipv4(B, A).inner_of(&frame).bytes().len(), 14 + 20 + 40);
    }
}
