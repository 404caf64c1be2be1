//! A backend's entry in `BACKENDS`: the finished outer headers of every frame sent to it.
//!
//! The packet path patches a length and folds a checksum; all else is decided here. The IPv4
//! header follows RFC 791 and RFC 2003 §3.1, the IPv6 header RFC 8200 and RFC 2473. An entry names
//! its backend ([`identity`]), so what an index stands for is read from the map itself.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_abi::{Backend, backend_flags, backend_kinds, ip_proto};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Desired, ForwardingMode};

use crate::observed::Way;

/// TTL, or hop limit, of the outer header: the recommended initial value (RFC 1700, RFC 4861).
pub(crate) const TTL: u8 = 64;

/// What makes two entries entries of one backend: kind and address.
pub type Identity = (u8, IpAddr);

/// What the configuration says of outer headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outer {
    /// Source of IPv4 headers; `None`: the egress's own address.
    pub source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// Our IPv4 address in NAT; `None`: the egress's own address.
    pub nat_source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub nat_source_v6: Option<Ipv6Addr>,
    /// The flow chooses the open bits of an IPv4 source.
    pub varied_v4: bool,
    /// The same for IPv6.
    pub varied_v6: bool,
    /// UDP port that takes GUE.
    pub gue_port: u16,
    /// Whether the UDP header of GUE has a checksum.
    pub gue_checksum: bool,
}

impl Outer {
    /// As this configuration has it. Where the flow chooses the source, the packet path puts what
    /// it chooses into the zero bits of this one.
    pub fn of(desired: &Desired) -> Self {
        let Desired { router, datapath, nat, .. } = desired;
        let v4 = |prefix: Prefix| match prefix.addr() {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        };
        let v6 = |prefix: Prefix| match prefix.addr() {
            IpAddr::V6(addr) => Some(addr),
            IpAddr::V4(_) => None,
        };
        Self {
            source_v4: datapath.vary_source_v4.and_then(v4).or(router.encap_source_v4),
            source_v6: datapath.vary_source_v6.and_then(v6).or(router.encap_source_v6),
            nat_source_v4: nat.source_v4,
            nat_source_v6: nat.source_v6,
            varied_v4: datapath.vary_source_v4.is_some(),
            varied_v6: datapath.vary_source_v6.is_some(),
            gue_port: datapath.gue_port,
            gue_checksum: datapath.gue_checksum,
        }
    }
}

/// The identity of the entry that a service needs for a backend: what is put around the packet
/// follows from the families of both.
pub fn wanted(mode: ForwardingMode, vip: IpAddr, backend: IpAddr) -> Identity {
    let backend = backend.to_canonical(); // As it will be read back from the entry.
    let ipip = match (vip, backend) {
        (IpAddr::V4(_), IpAddr::V4(_)) => backend_kinds::IPV4_IN_IPV4,
        (IpAddr::V6(_), IpAddr::V4(_)) => backend_kinds::IPV6_IN_IPV4,
        (IpAddr::V4(_), IpAddr::V6(_)) => backend_kinds::IPV4_IN_IPV6,
        (IpAddr::V6(_), IpAddr::V6(_)) => backend_kinds::IPV6_IN_IPV6,
    };
    let kind = match mode {
        ForwardingMode::L2 => backend_kinds::L2,
        ForwardingMode::Ipip => ipip,
        ForwardingMode::Gue => ipip | backend_kinds::GUE,
        // Of the VIP's family, which the check of the configuration makes sure of.
        ForwardingMode::Nat if backend.is_ipv4() => backend_kinds::NAT_V4,
        ForwardingMode::Nat => backend_kinds::NAT_V6,
    };
    (kind, backend)
}

/// Which backend an entry is for; `None` for one that is free or that we did not write.
pub fn identity(entry: &Backend) -> Option<Identity> {
    let addr = match without_udp(entry.kind) {
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV6_IN_IPV4 | backend_kinds::NAT_V4 => {
            let (header, _) = entry.ip.split_first_chunk::<20>()?;
            let (_, addr) = header.split_last_chunk::<4>()?;
            IpAddr::V4(Ipv4Addr::from(*addr))
        }
        backend_kinds::IPV4_IN_IPV6 | backend_kinds::IPV6_IN_IPV6 | backend_kinds::NAT_V6 => {
            let (_, addr) = entry.ip.split_last_chunk::<16>()?;
            IpAddr::V6(Ipv6Addr::from(*addr))
        }
        backend_kinds::L2 => {
            let (addr, _) = entry.ip.split_first_chunk::<16>()?;
            IpAddr::V6(Ipv6Addr::from(*addr)).to_canonical()
        }
        _ => return None,
    };
    Some((entry.kind, addr))
}

/// The entry of a backend to which there is this way. `None` if frames cannot be sent so: in
/// `l2` the backend is not on link, otherwise we have no source address of its family.
pub fn build((kind, addr): Identity, way: &Way, outer: Outer) -> Option<Backend> {
    let is_gue = kind & backend_kinds::GUE != 0;
    let protocol = match without_udp(kind) {
        _ if is_gue => ip_proto::UDP,
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV4_IN_IPV6 => ip_proto::IPIP,
        _ => ip_proto::IPV6,
    };
    let ip = match (without_udp(kind), addr) {
        (backend_kinds::L2, _) if !is_gue => way.on_link.then(|| address(addr))?,
        (backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV6_IN_IPV4, IpAddr::V4(to)) => {
            ipv4_header(outer.source_v4.or(way.source_v4)?, to, protocol)
        }
        (backend_kinds::IPV4_IN_IPV6 | backend_kinds::IPV6_IN_IPV6, IpAddr::V6(to)) => {
            ipv6_header(outer.source_v6.or(way.source_v6)?, to, protocol)
        }
        // Addresses only: these headers are put nowhere.
        (backend_kinds::NAT_V4, IpAddr::V4(to)) => {
            ipv4_header(outer.nat_source_v4.or(way.source_v4)?, to, 0)
        }
        (backend_kinds::NAT_V6, IpAddr::V6(to)) => {
            ipv6_header(outer.nat_source_v6.or(way.source_v6)?, to, 0)
        }
        _ => return None,
    };
    let is_varied = match (kind, addr) {
        (backend_kinds::L2 | backend_kinds::NAT_V4 | backend_kinds::NAT_V6, _) => false,
        (_, IpAddr::V4(_)) => outer.varied_v4,
        (_, IpAddr::V6(_)) => outer.varied_v6,
    };
    let checksum = if is_gue && outer.gue_checksum { backend_flags::CHECKSUM } else { 0 };
    let varied = if is_varied { backend_flags::VARIED } else { 0 };
    Some(Backend {
        macs: joined(&[&way.next_hop_mac, &way.source_mac]),
        vlan_tci: way.vlan.unwrap_or(0).to_be_bytes(),
        ip,
        kind,
        flags: backend_flags::RESOLVED | checksum | varied,
        egress_ifindex: way.egress_ifindex,
        mtu: way.mtu,
        gue_port: if is_gue { outer.gue_port.to_be_bytes() } else { [0; 2] },
    })
}

/// Bytes that an entry of this kind puts in front of a packet.
pub const fn overhead(kind: u8) -> u16 {
    // GUE of variant 1 has a UDP header and nothing else.
    let udp = if kind & backend_kinds::GUE == 0 { 0 } else { 8 };
    match without_udp(kind) {
        backend_kinds::IPV4_IN_IPV4 | backend_kinds::IPV6_IN_IPV4 => 20 + udp,
        backend_kinds::IPV4_IN_IPV6 | backend_kinds::IPV6_IN_IPV6 => 40 + udp,
        _ => 0,
    }
}

/// The kind with the same IP headers and nothing between them.
const fn without_udp(kind: u8) -> u8 {
    kind & !backend_kinds::GUE
}

/// Whether frames may be sent with this entry.
pub const fn is_resolved(entry: &Backend) -> bool {
    entry.flags & backend_flags::RESOLVED != 0
}

/// Our address in NAT with a backend; `None`: it is not in NAT.
pub fn nat_source(entry: &Backend) -> Option<IpAddr> {
    match entry.kind {
        backend_kinds::NAT_V4 => {
            let (header, _) = entry.ip.split_first_chunk::<16>()?;
            let (_, addr) = header.split_last_chunk::<4>()?;
            Some(IpAddr::V4(Ipv4Addr::from(*addr)))
        }
        backend_kinds::NAT_V6 => {
            let (header, _) = entry.ip.split_first_chunk::<24>()?;
            let (_, addr) = header.split_last_chunk::<16>()?;
            Some(IpAddr::V6(Ipv6Addr::from(*addr)))
        }
        _ => None,
    }
}

fn address(addr: IpAddr) -> [u8; 40] {
    let addr = match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    joined(&[&addr.octets()])
}

/// Total length zero; the checksum is that of the header with total length zero, so the packet
/// path only adds the length. Don't Fragment is set: with it the identification may stay zero
/// (RFC 6864 §4.1), and the path's MTU is heard of.
fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8) -> [u8; 40] {
    let build = |checksum: [u8; 2]| -> [u8; 40] {
        joined(&[
            &[0x45, 0], // Version 4, five words; DSCP and ECN zero.
            &[0, 0],    // Total length: the packet path's.
            &[0, 0],    // Identification.
            &[0x40, 0], // Don't Fragment, offset zero.
            &[TTL, protocol],
            &checksum,
            &from.octets(),
            &to.octets(),
        ])
    };
    build(checksum(&build([0; 2])))
}

/// The Internet checksum (RFC 1071) of a header whose checksum field is zero.
pub(crate) fn checksum(header: &[u8]) -> [u8; 2] {
    let (words, _) = header.as_chunks::<2>();
    let sum: u32 = words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!u16::try_from(folded).unwrap_or(u16::MAX)).to_be_bytes()
}

/// Payload length zero, traffic class and flow label zero.
fn ipv6_header(from: Ipv6Addr, to: Ipv6Addr, next_header: u8) -> [u8; 40] {
    joined(&[&[0x60, 0, 0, 0], &[0, 0], &[next_header, TTL], &from.octets(), &to.octets()])
}

/// The parts one after the other, zeros after the last.
fn joined<const LEN: usize>(parts: &[&[u8]]) -> [u8; LEN] {
    let mut out = [0; LEN];
    for (to, from) in out.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUE: u8 = backend_kinds::GUE;

    const WAY: Way = Way {
        egress_ifindex: 3,
        vlan: None,
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: [2, 0, 0, 0, 0, 9],
        on_link: true,
        mtu: 1500,
        source_v4: Some(Ipv4Addr::new(10, 0, 0, 1)),
        source_v6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_names_its_backend() {
        let cases = [
            (ForwardingMode::Ipip, "192.0.2.1", "10.0.0.2", backend_kinds::IPV4_IN_IPV4),
            (ForwardingMode::Ipip, "2001:db8::1", "10.0.0.2", backend_kinds::IPV6_IN_IPV4),
            (ForwardingMode::Ipip, "192.0.2.1", "fd00::2", backend_kinds::IPV4_IN_IPV6),
            (ForwardingMode::Ipip, "2001:db8::1", "fd00::2", backend_kinds::IPV6_IN_IPV6),
            (ForwardingMode::Gue, "192.0.2.1", "10.0.0.2", GUE | backend_kinds::IPV4_IN_IPV4),
            (ForwardingMode::Gue, "2001:db8::1", "10.0.0.2", GUE | backend_kinds::IPV6_IN_IPV4),
            (ForwardingMode::Gue, "192.0.2.1", "fd00::2", GUE | backend_kinds::IPV4_IN_IPV6),
            (ForwardingMode::Gue, "2001:db8::1", "fd00::2", GUE | backend_kinds::IPV6_IN_IPV6),
            (ForwardingMode::L2, "192.0.2.1", "10.0.0.2", backend_kinds::L2),
            (ForwardingMode::L2, "2001:db8::1", "fd00::2", backend_kinds::L2),
        ];
        for (mode, vip, backend, kind) in cases {
            let wanted = wanted(mode, ip(vip), ip(backend));
            assert_eq!(wanted, (kind, ip(backend)), "{mode:?} {vip} {backend}");
            let entry = build(wanted, &WAY, Outer::default()).unwrap();
            assert_eq!(identity(&entry), Some(wanted), "{mode:?} {vip} {backend}");
            assert!(is_resolved(&entry));
        }
        assert_eq!(identity(&Backend::FREE), None);
        assert_eq!(identity(&Backend { kind: 99, ..Backend::FREE }), None);
    }

    #[test]
    fn an_ipv4_header_is_whole_but_for_its_length() {
        let outer = Outer { source_v4: Some(Ipv4Addr::new(192, 0, 2, 254)), ..Outer::default() };
        let entry = build((backend_kinds::IPV6_IN_IPV4, ip("10.0.0.2")), &WAY, outer).unwrap();
        let (header, rest) = entry.ip.split_at(20);
        assert_eq!(header[..10], [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 41]);
        assert_eq!(header[12..], [192, 0, 2, 254, 10, 0, 0, 2], "the configured source wins");
        assert_eq!(rest, [0; 20]);
        assert_eq!(checksum(header), [0, 0], "a header with its checksum sums up to zero");
    }

    #[test]
    fn gue_goes_to_its_port_with_a_checksum_if_wanted() {
        let outer = Outer { gue_port: 6_080, gue_checksum: true, ..Outer::default() };
        let entry =
            build((GUE | backend_kinds::IPV6_IN_IPV4, ip("10.0.0.2")), &WAY, outer).unwrap();
        assert_eq!((entry.ip[9], entry.gue_port), (17, 6_080_u16.to_be_bytes()));
        assert_eq!(entry.flags, backend_flags::RESOLVED | backend_flags::CHECKSUM);
        assert_eq!(checksum(&entry.ip[..20]), [0, 0]);
        let outer = Outer { gue_checksum: false, ..outer };
        let entry = build((GUE | backend_kinds::IPV6_IN_IPV6, ip("fd00::2")), &WAY, outer).unwrap();
        assert_eq!((entry.ip[6], entry.flags), (17, backend_flags::RESOLVED));
        let entry = build((backend_kinds::IPV6_IN_IPV6, ip("fd00::2")), &WAY, outer).unwrap();
        assert_eq!(entry.gue_port, [0; 2], "ipip has no port");
        assert_eq!(build((GUE | backend_kinds::L2, ip("10.0.0.2")), &WAY, outer), None);
    }

    #[test]
    fn an_ipv6_header_is_whole_but_for_its_length() {
        let entry =
            build((backend_kinds::IPV4_IN_IPV6, ip("fd00::2")), &WAY, Outer::default()).unwrap();
        assert_eq!(entry.ip[..8], [0x60, 0, 0, 0, 0, 0, 4, 64]);
        assert_eq!(entry.ip[8..24], WAY.source_v6.unwrap().octets());
        assert_eq!(entry.ip[24..], "fd00::2".parse::<Ipv6Addr>().unwrap().octets());
    }

    #[test]
    fn the_frame_goes_to_the_next_hop_with_the_tag_of_the_way() {
        let way = Way { vlan: Some(0x0123), ..WAY };
        let entry = build((backend_kinds::L2, ip("10.0.0.2")), &way, Outer::default()).unwrap();
        assert_eq!(entry.macs, [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1]);
        assert_eq!(entry.vlan_tci, [0x01, 0x23]);
        assert_eq!((entry.egress_ifindex, entry.mtu), (3, 1500));
        assert_eq!(entry.ip[..16], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2]);
    }

    #[test]
    fn what_cannot_be_sent_has_no_entry() {
        let no_v4 = Way { source_v4: None, ..WAY };
        let no_v6 = Way { source_v6: None, ..WAY };
        let gateway = Way { on_link: false, ..WAY };
        let cases = [
            ("no IPv4 source", (backend_kinds::IPV4_IN_IPV4, ip("10.0.0.2")), no_v4),
            ("no IPv6 source", (backend_kinds::IPV6_IN_IPV6, ip("fd00::2")), no_v6),
            ("l2 behind a gateway", (backend_kinds::L2, ip("10.0.0.2")), gateway),
            ("an address of the other family", (backend_kinds::IPV4_IN_IPV4, ip("fd00::2")), WAY),
        ];
        for (name, identity, way) in cases {
            assert_eq!(build(identity, &way, Outer::default()), None, "{name}");
        }
    }
}
