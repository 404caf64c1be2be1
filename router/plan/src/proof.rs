//! Proof before announce: packets of clients that nobody sent, for every service, and what the
//! packet path did with them.
//!
//! The daemon runs them through a proof copy of the program with the live maps
//! ([`features::PROOF`](tidegate_abi::features::PROOF)): what comes out is what a
//! client's packet would become, and no counter and no table moves. Here is what is sent and how an
//! answer is read; what the answers mean for a service is said where it is planned.
//!
//! A service gets one packet for each backend that its ring names. The client is chosen for that:
//! the flow hash is the ABI's, so the slot of a client is known before its packet is run.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_abi::{
    Backend, Counter, Service as Entry, backend_kinds, ip_proto, service_flags, slot_of,
};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Protocol, ServiceAddr};

use crate::entry;
use crate::key::{self, MapKey};
use crate::model::{self, Flow};
use crate::observed::Datapath;
use crate::slots::{self, Span};

/// Bytes of an Ethernet header without tags.
const LINK_LEN: usize = 14;
/// Where the clients live that nobody has: the networks of benchmarks (RFC 2544, RFC 5180). To a
/// service that tells clients apart by a shorter prefix they come from elsewhere, too.
const CLIENTS_V4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const CLIENTS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);
const CLIENT_PORT: u16 = 40_000;

/// Who sends a test packet, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Its address.
    pub addr: IpAddr,
    /// The address that it asks: that of the VIP or, of a prefix, one that is no other VIP's.
    pub vip: IpAddr,
    /// The port that it asks: that of the service or, of a service of every port, one that no
    /// other service of the VIP has.
    pub port: u16,
}

/// What the packet path did with a test packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// It was sent with these headers.
    Sent(Headers),
    /// It ended otherwise.
    Ended(Counter),
    /// The kernel did not run it.
    NotRun,
}

/// What stands in front of a packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Headers {
    /// Destination and source MAC.
    pub macs: [u8; 12],
    /// 802.1Q tag, zero if there is none.
    pub vlan_tci: [u8; 2],
    /// Source and destination of the first IP header.
    pub ip: Option<(IpAddr, IpAddr)>,
}

/// A packet path that lost a service: what became of a packet that should have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Flaw {
    /// The kernel did not run the test packet.
    NotRun,
    /// It was not sent; this counter would have moved.
    Ended(#[serde(with = "by_index")] Counter),
}

/// Counters as one process hands them to the next: the crate they are from is the packet path's too,
/// and knows no such things.
mod by_index {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use tidegate_abi::Counter;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(counter: &Counter, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(*counter as u32)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Counter, D::Error> {
        let index = u32::deserialize(from)?;
        let found = Counter::ALL.iter().copied().find(|it| *it as u32 == index);
        found.ok_or_else(|| D::Error::custom(format_args!("there is no counter {index}")))
    }
}

impl Flaw {
    /// The code that metrics, journal and API print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotRun => "proof-not-run",
            Self::Ended(Counter::PassNotOurs | Counter::DropNoService) => "proof-no-service",
            Self::Ended(Counter::DropNoBackend) => "proof-no-backend",
            Self::Ended(Counter::DropUnresolved) => "proof-unresolved",
            Self::Ended(Counter::DropTooBig) => "proof-too-big",
            Self::Ended(_) => "proof-not-sent",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun => f.write_str("the kernel does not run a test packet"),
            Self::Ended(counter) => {
                let help = counter.help().trim().trim_end_matches('.');
                write!(f, "a test packet was not sent but ended as {}: {help}", counter.name())
            }
        }
    }
}

/// The clients whose packets are run for a service: one for each backend that its ring names, in
/// no order, each with that backend's index. One client with index 0 if there is no ring.
pub fn clients(seed: u64, service: ServiceAddr, datapath: &Datapath) -> Vec<(Client, u32)> {
    let (vip, port) = (asked_vip(service, datapath), asked_port(service, datapath));
    let entry = match MapKey::of_service(service) {
        MapKey::V4(key) => datapath.services_v4.get(&key),
        MapKey::V6(key) => datapath.services_v6.get(&key),
    };
    let client = |number, flags| Client { addr: client_addr(vip, number, flags), vip, port };
    let Some((entry, ring)) = entry.and_then(|entry| Some((entry, Span::of(entry)?))) else {
        return vec![(client(0, 0), 0)];
    };
    let mut missing = vec![false; 1];
    let mut left = 0_usize;
    for slot in ring.slots(&datapath.slots) {
        let index = slot.current as usize;
        if index >= tidegate_abi::BACKENDS_MAX as usize {
            continue; // Nothing we write; whoever falls into it is dropped, and the plan mends it.
        }
        if index >= missing.len() {
            missing.resize(index + 1, false);
        }
        if let Some(is_missing @ false) = missing.get_mut(index) {
            *is_missing = true;
            left += 1;
        }
    }
    let mut found = Vec::with_capacity(left);
    for number in 0..=u16::MAX {
        let client = client(number, entry.flags);
        let hash = flow_hash(seed, service.protocol, client, entry);
        let row = ring.offset.saturating_add(slot_of(hash, ring.size));
        let index = slots::at(&datapath.slots, row).current;
        if let Some(is_missing @ true) = missing.get_mut(index as usize) {
            *is_missing = false;
            left -= 1;
            found.push((client, index));
        }
        if left == 0 {
            break;
        }
    }
    found
}

/// As the packet path computes it.
fn flow_hash(seed: u64, protocol: Protocol, client: Client, entry: &Entry) -> u32 {
    model::flow_hash(seed, &flow(protocol, client), entry.flags)
}

const fn flow(protocol: Protocol, client: Client) -> Flow {
    Flow {
        src: client.addr,
        dst: client.vip,
        src_port: CLIENT_PORT,
        dst_port: client.port,
        proto: proto(protocol),
    }
}

/// See [`Client::vip`].
fn asked_vip(service: ServiceAddr, datapath: &Datapath) -> IpAddr {
    let first = service.addr();
    if service.prefix_len().is_none() {
        return first;
    }
    // By their first addresses, a VIP that holds others before these; those beside it do not count.
    let in_ours = |vip: &Prefix| {
        vip.bits() > service.addrs.bits()
            && Prefix::new(vip.addr(), service.addrs.bits()) == Some(service.addrs)
    };
    let entries = key::entries(datapath);
    let others: BTreeSet<Prefix> = entries.keys().map(|key| key.vip()).filter(in_ours).collect();
    let mut asked = bits(first);
    for other in others {
        if bits(other.addr()) > asked {
            break; // A gap.
        }
        asked = asked.max(bits(last_addr(other)).saturating_add(1));
    }
    let asked = match first {
        IpAddr::V4(_) => u32::try_from(asked).ok().map(|v4| Ipv4Addr::from_bits(v4).into()),
        IpAddr::V6(_) => Some(Ipv6Addr::from_bits(asked).into()),
    };
    // Nobody can be asked where every address is another VIP's.
    let is_ours = |addr: &IpAddr| Prefix::new(*addr, service.addrs.bits()) == Some(service.addrs);
    asked.filter(is_ours).unwrap_or(first)
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn last_addr(prefix: Prefix) -> IpAddr {
    let open = |of: u8| u32::from(of.saturating_sub(prefix.bits()));
    match prefix.addr() {
        IpAddr::V4(v4) => {
            let host_bits = !u32::MAX.checked_shl(open(32)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() | host_bits).into()
        }
        IpAddr::V6(v6) => {
            let host_bits = !u128::MAX.checked_shl(open(128)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() | host_bits).into()
        }
    }
}

/// See [`Client::port`].
fn asked_port(service: ServiceAddr, datapath: &Datapath) -> u16 {
    if service.port != 0 {
        return service.port;
    }
    let is_free = |port: &u16| match MapKey::of_service(ServiceAddr { port: *port, ..service }) {
        MapKey::V4(key) => !datapath.services_v4.contains_key(&key),
        MapKey::V6(key) => !datapath.services_v6.contains_key(&key),
    };
    // Nobody can be asked where every port is another service's.
    (9..=u16::MAX).chain(1..9).find(is_free).unwrap_or(9)
}

/// Its number.
pub const fn proto(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => ip_proto::TCP,
        Protocol::Udp => ip_proto::UDP,
        Protocol::Sctp => ip_proto::SCTP,
    }
}

/// The address of one of the clients that nobody is. Its number stands in those of the address's
/// bits that tell clients apart in a service with these flags.
fn client_addr(vip: IpAddr, number: u16, flags: u32) -> IpAddr {
    let uncounted = flags >> service_flags::UNCOUNTED_BITS & 0x7f;
    match vip {
        IpAddr::V4(_) => {
            let number = u32::from(number).checked_shl(uncounted).unwrap_or(0);
            Ipv4Addr::from_bits(CLIENTS_V4 ^ number).into()
        }
        IpAddr::V6(_) => {
            let number = u128::from(number) << uncounted.max(64);
            Ipv6Addr::from_bits(CLIENTS_V6.to_bits() ^ number).into()
        }
    }
}

/// The frame in which a client's first packet would come in: a TCP SYN, a UDP datagram or an SCTP
/// INIT, padded to an IP packet of `packet_len` bytes.
pub fn frame(protocol: Protocol, client: Client, packet_len: u16) -> Vec<u8> {
    frame_of(&flow(protocol, client), true, packet_len)
}

/// The frame in which a packet of a flow of TCP, UDP or SCTP would come in, padded to an IP packet of
/// `packet_len` bytes. If it `opens` the flow it is a SYN or an INIT, else what comes later.
pub fn frame_of(flow: &Flow, opens: bool, packet_len: u16) -> Vec<u8> {
    let (ip_header_len, ether_type) = match flow.dst {
        IpAddr::V4(_) => (20, [0x08, 0x00]),
        IpAddr::V6(_) => (40, [0x86, 0xdd]),
    };
    let packet_len = packet_len.max(ip_header_len + 20);
    let payload_len = packet_len - ip_header_len;
    let mut frame = Vec::with_capacity(LINK_LEN + usize::from(packet_len));
    frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]); // Locally administered, of nobody.
    frame.extend(ether_type);
    match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend(ipv4_header(src, dst, flow.proto, packet_len));
        }
        (src, dst) => {
            let [high, low] = payload_len.to_be_bytes();
            frame.extend([0x60, 0, 0, 0, high, low, flow.proto, entry::TTL]);
            frame.extend(octets(src));
            frame.extend(octets(dst));
        }
    }
    let transport = frame.len();
    frame.extend(flow.src_port.to_be_bytes());
    frame.extend(flow.dst_port.to_be_bytes());
    match flow.proto {
        ip_proto::UDP => {
            frame.extend(payload_len.to_be_bytes());
            frame.extend([0; 2]);
        }
        ip_proto::SCTP => {
            frame.extend([0; 8]); // Verification tag, checksum.
            frame.extend([u8::from(opens), 0, 0, 20]); // A chunk: INIT, or else DATA.
        }
        _ => {
            frame.extend([0; 8]); // Sequence numbers.
            let flags = if opens { 0x02 } else { 0x10 }; // SYN, or else ACK.
            frame.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]); // Five words, window.
        }
    }
    frame.resize(transport + usize::from(payload_len), 0);
    frame
}

fn ipv4_header(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, total_len: u16) -> [u8; 20] {
    let ([l0, l1], [s0, s1, s2, s3], [d0, d1, d2, d3]) =
        (total_len.to_be_bytes(), src.octets(), dst.octets());
    let build = |[c0, c1]: [u8; 2]| {
        let ttl = entry::TTL;
        // Version 4 and five words; Don't Fragment.
        [0x45, 0, l0, l1, 0, 0, 0x40, 0, ttl, proto, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3]
    };
    build(entry::checksum(&build([0; 2])))
}

fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// What came of a test packet: the proof copy's return value, and the frame as it left it.
pub fn read(returned: u32, frame: &[u8]) -> Finding {
    let counter = usize::try_from(returned).ok().and_then(|row| Counter::ALL.get(row).copied());
    match counter {
        Some(Counter::ForwardTx | Counter::ForwardRedirect) => {
            headers(frame).map_or(Finding::NotRun, Finding::Sent)
        }
        Some(counter) => Finding::Ended(counter),
        None => Finding::NotRun, // A program that is none of ours.
    }
}

fn headers(frame: &[u8]) -> Option<Headers> {
    let (&macs, rest) = frame.split_first_chunk::<12>()?;
    let (vlan_tci, packet) = match rest {
        [0x81, 0x00, a, b, _, _, packet @ ..] => ([*a, *b], packet),
        [_, _, packet @ ..] => ([0; 2], packet),
        _ => return None,
    };
    Some(Headers { macs, vlan_tci, ip: addresses(packet) })
}

/// Source and destination of an IP packet.
pub fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    if packet.first()? >> 4 == 4 {
        let src = packet.get(12..16)?.first_chunk::<4>()?;
        let dst = packet.get(16..20)?.first_chunk::<4>()?;
        Some((Ipv4Addr::from(*src).into(), Ipv4Addr::from(*dst).into()))
    } else {
        let src = packet.get(8..24)?.first_chunk::<16>()?;
        let dst = packet.get(24..40)?.first_chunk::<16>()?;
        Some((Ipv6Addr::from(*src).into(), Ipv6Addr::from(*dst).into()))
    }
}

/// Whether a packet that left with these headers left as the entry says. In `l2` the packet keeps
/// its own addresses: then the MAC addresses alone tell. In `nat` it has got others.
pub fn is_as(headers: &Headers, wanted: &Backend) -> bool {
    let is_outer = || headers.ip.is_some() && headers.ip == addresses(&wanted.ip);
    headers.macs == wanted.macs
        && headers.vlan_tci == wanted.vlan_tci
        && (wanted.kind == backend_kinds::L2 || is_outer())
}

/// What the packet path would do with all test packets of these services, by the maps alone: for
/// worlds that no kernel has yet.
pub(crate) fn expected(
    seed: u64,
    services: impl IntoIterator<Item = ServiceAddr>,
    datapath: &Datapath,
) -> BTreeMap<ServiceAddr, Vec<Finding>> {
    let entries = key::entries(datapath);
    let of = |service: ServiceAddr| {
        let clients = clients(seed, service, datapath).into_iter();
        clients.map(|(client, _)| outcome(seed, service, client, datapath, &entries)).collect()
    };
    services.into_iter().map(|service| (service, of(service))).collect()
}

fn outcome(
    seed: u64,
    service: ServiceAddr,
    client: Client,
    datapath: &Datapath,
    entries: &BTreeMap<MapKey, Entry>,
) -> Finding {
    let Some(entry) = entries.get(&MapKey::of_service(service)) else {
        let has_vip = entries.contains_key(&MapKey::of_vip(service.addrs));
        let ended = if has_vip { Counter::DropNoService } else { Counter::PassNotOurs };
        return Finding::Ended(ended);
    };
    let hash = flow_hash(seed, service.protocol, client, entry);
    let row = entry.ring_offset.wrapping_add(slot_of(hash, entry.ring_size));
    match slots::at(&datapath.slots, row).current {
        0 => Finding::Ended(Counter::DropNoBackend),
        _ if entry.ring_size == 0 => Finding::Ended(Counter::DropNoBackend),
        index => match datapath.backends.get(&index) {
            Some(backend) if entry::is_resolved(backend) => {
                let Backend { macs, vlan_tci, .. } = *backend;
                Finding::Sent(Headers { macs, vlan_tci, ip: addresses(&backend.ip) })
            }
            _ => Finding::Ended(Counter::DropUnresolved),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn clients_differ_in_what_a_service_tells_them_apart_by() {
        let vips: [IpAddr; 2] = ["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()];
        let cases = [
            (vips[0], 0, 65_536),
            (vips[0], 8, 65_536), // A /24
            (vips[0], 24, 256),   // A /8: there are no more.
            (vips[1], 0, 65_536),
            (vips[1], 72, 65_536), // A /56
            (vips[1], 112, 65_536),
        ];
        for (vip, uncounted, wanted) in cases {
            let flags = service_flags::AFFINITY_CLIENT | uncounted << service_flags::UNCOUNTED_BITS;
            let hashes: BTreeSet<u32> = (0..=u16::MAX)
                .map(|number| {
                    let src = client_addr(vip, number, flags);
                    let flow = Flow { src, dst: vip, src_port: 1, dst_port: 80, proto: 6 };
                    model::flow_hash(7, &flow, flags)
                })
                .collect();
            // A few of so many share a hash of 32 bits.
            assert!(hashes.len() * 1_000 >= wanted * 999, "{vip}, {uncounted}: {}", hashes.len());
        }
    }
}
