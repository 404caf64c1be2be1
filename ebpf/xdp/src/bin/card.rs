//! The balancer for a network card: the part of the packet path that needs nothing but arrays and
//! hashes, for the packets that nearly all are. What it is not sure of it passes up, to the packet path
//! in the driver, which has the same tables.
//!
//! It keeps to what cards can run (`tidegate offload plan` holds it to that): no global data, no type
//! information, one kind of atomic addition, no helper but look-ups and `adjust_head`, products of 32 bits.
//! Left out, and passed up: VLAN tags, options and extension headers, fragments, ICMP, SCTP, GUE, NAT,
//! VIPs that are prefixes, services of all ports, limits, QUIC, remembered UDP flows, and slots in
//! transition, of which only the flow table on the host knows whose a flow is.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the one atomic addition that a card has")]

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::mem::offset_of;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    BACKENDS_MAX, CardBackend, CardConfig, CardCounter, RING_SLOTS_MAX, SERVICES_MAX, Service,
    ServiceKeyV4, ServiceKeyV6, Slot, Traffic, backend_kinds, flow_hash_v4_by_halves,
    flow_hash_v6_by_halves, ip_proto, service_flags, slot_of,
};
use tidegate_xdp::wire::{Ethernet, Ipv4, Ipv6, Tcp, Udp, ether_type, ones_add};
use tidegate_xdp::{Cursor, resize};

tidegate_xdp::license!();

#[map]
static CARD_SERVICES_V4: HashMap<Key<ServiceKeyV4>, Service> =
    HashMap::with_max_entries(SERVICES_MAX, 0);
#[map]
static CARD_SERVICES_V6: HashMap<Key<ServiceKeyV6>, Service> =
    HashMap::with_max_entries(SERVICES_MAX, 0);
#[map]
static CARD_SLOTS: Array<u64> = Array::with_max_entries(RING_SLOTS_MAX, 0);
#[map]
static CARD_BACKENDS: Array<CardBackend> = Array::with_max_entries(BACKENDS_MAX, 0);
#[map]
static CARD_CONFIG: Array<CardConfig> = Array::with_max_entries(1, 0);
#[map]
static CARD_COUNTERS: Array<u64> = Array::with_max_entries(16, 0);
#[map]
static CARD_SERVICE_TRAFFIC: Array<Traffic> = Array::with_max_entries(2 * SERVICES_MAX, 0);
#[map]
static CARD_BACKEND_TRAFFIC: Array<Traffic> = Array::with_max_entries(BACKENDS_MAX, 0);

const _: () = assert!(CardCounter::ALL.len() <= 16);

/// A key on the stack, where a card wants words to stand aligned.
#[repr(C, align(4))]
struct Key<T>(T);

/// Entry: one frame in, one XDP action out.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it like this")]
fn tidegate_card(ctx: XdpContext) -> u32 {
    let verdict = balance(&ctx);
    if let Some(count) = CARD_COUNTERS.get_ptr_mut(verdict as u32) {
        add(count, 1);
    }
    match verdict {
        CardCounter::Forward => xdp_action::XDP_TX,
        CardCounter::DropNoService => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Adds to a counter, and asks for nothing back.
#[inline(always)]
fn add(count: *mut u64, more: u64) {
    // SAFETY: a value of a map, aligned to eight bytes.
    let _before = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, more) };
}

/// A packet that the card can judge.
struct Packet {
    /// Its service, if it has one.
    service: Option<&'static Service>,
    hash: u32,
    ip_len: u16,
    ether_type: u16,
    in_ipv4: u8,
    in_ipv6: u8,
}

#[inline(always)]
fn balance(ctx: &XdpContext) -> CardCounter {
    let (Ok(verdict) | Err(verdict)) = forward(ctx);
    verdict
}

#[inline(always)]
fn forward(ctx: &XdpContext) -> Result<CardCounter, CardCounter> {
    let frame_len = Cursor::of(ctx).len();
    let mut at = Cursor::of(ctx);
    let ethernet: Ethernet = at.take().ok_or(CardCounter::UpLink)?;
    let [first_octet, ..] = ethernet.macs;
    if first_octet & 1 != 0 {
        return Err(CardCounter::UpLink);
    }
    let packet = match u16::from_be_bytes(ethernet.ether_type) {
        ether_type::IPV4 => ipv4(at)?,
        ether_type::IPV6 => ipv6(at)?,
        _ => return Err(CardCounter::UpLink),
    };
    let service = packet.service.ok_or(CardCounter::UpNotOurs)?;
    if service.ring_size == 0 {
        return Err(CardCounter::UpService);
    }
    let row = service.ring_offset.wrapping_add(slot_of(packet.hash, service.ring_size));
    let slot = CARD_SLOTS.get(row).ok_or(CardCounter::UpTransition)?;
    let slot = Slot::from_word(*slot);
    if !slot.is_settled() || slot.current == 0 {
        return Err(CardCounter::UpTransition);
    }
    let backend = CARD_BACKENDS.get(slot.current).ok_or(CardCounter::UpBackend)?;
    let (index, traffic) = (service.index, slot.current);
    wrap(ctx, &packet, backend)?;
    count(CARD_SERVICE_TRAFFIC.get_ptr_mut(index), frame_len);
    count(CARD_BACKEND_TRAFFIC.get_ptr_mut(traffic), frame_len);
    Ok(CardCounter::Forward)
}

#[inline(always)]
fn count(row: Option<*mut Traffic>, len: usize) {
    let Some(row) = row else { return };
    // SAFETY: both lie in the value.
    let (packets, bytes) = unsafe { (&raw mut (*row).packets, &raw mut (*row).bytes) };
    add(packets, 1);
    add(bytes, len as u64);
}

#[inline(always)]
fn seed() -> u64 {
    CARD_CONFIG.get(0).map_or(0, |it| u64::from(it.seed_high) << 32 | u64::from(it.seed_low))
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the port, byte by byte")]
fn ipv4(mut at: Cursor) -> Result<Packet, CardCounter> {
    let room = at.len();
    let ip: Ipv4 = at.take().ok_or(CardCounter::UpHeader)?;
    let ip_len = u16::from_be_bytes(ip.total_len);
    let payload = usize::from(ip_len).checked_sub(size_of::<Ipv4>());
    let payload = payload.ok_or(CardCounter::UpHeader)?;
    // Five words: no options.
    if ip.version_ihl != 0x45 || ip.is_fragment() || usize::from(ip_len) > room {
        return Err(CardCounter::UpHeader);
    }
    let ports = ports(at, ip.proto, payload)?;
    let port = [(ports >> 8) as u8, ports as u8];
    let key = |port, proto| Key(ServiceKeyV4 { addr: ip.dst, port, proto, prefix_len: 0 });
    // SAFETY: the daemon replaces values whole.
    let find = |key: &Key<ServiceKeyV4>| unsafe { CARD_SERVICES_V4.get(key) };
    let mut service = find(&key(port, ip.proto));
    if service.is_none() {
        service = find(&key([0; 2], 0));
        no_service(service)?;
    }
    let hash = |flags: u32| {
        let client = u64::from(u32::from_be_bytes(ip.src)) << 32;
        if flags & service_flags::AFFINITY_CLIENT != 0 {
            let uncounted = 32 + (flags >> service_flags::UNCOUNTED_BITS & 0x1f);
            return flow_hash_v4_by_halves(seed(), client >> uncounted << uncounted, 0, 0);
        }
        let vip = u64::from(u32::from_be_bytes(ip.dst));
        flow_hash_v4_by_halves(seed(), client | vip, ports, ip.proto)
    };
    Ok(Packet {
        service,
        hash: service.map_or(0, |service| hash(service.flags)),
        ip_len,
        ether_type: ether_type::IPV4,
        in_ipv4: backend_kinds::IPV4_IN_IPV4,
        in_ipv6: backend_kinds::IPV4_IN_IPV6,
    })
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the port, byte by byte")]
fn ipv6(mut at: Cursor) -> Result<Packet, CardCounter> {
    let room = at.len();
    let ip: Ipv6 = at.take().ok_or(CardCounter::UpHeader)?;
    let payload = u16::from_be_bytes(ip.payload_len);
    let ip_len = payload.checked_add(40).ok_or(CardCounter::UpHeader)?;
    if !ip.has_version() || usize::from(ip_len) > room {
        return Err(CardCounter::UpHeader);
    }
    let ports = ports(at, ip.next_header, usize::from(payload))?;
    let port = [(ports >> 8) as u8, ports as u8];
    let key = |port, proto| Key(ServiceKeyV6 { addr: ip.dst, port, proto, prefix_len: 0 });
    // SAFETY: the daemon replaces values whole.
    let find = |key: &Key<ServiceKeyV6>| unsafe { CARD_SERVICES_V6.get(key) };
    let mut service = find(&key(port, ip.next_header));
    if service.is_none() {
        service = find(&key([0; 2], 0));
        no_service(service)?;
    }
    let hash = |flags: u32| {
        let src = words(ip.src);
        if flags & service_flags::AFFINITY_CLIENT != 0 {
            let [high, low] = src;
            let uncounted = flags >> service_flags::UNCOUNTED_BITS & 0x7f;
            let prefix = match uncounted.checked_sub(64) {
                Some(of_high) => [high >> (of_high & 0x3f) << (of_high & 0x3f), 0],
                None => [high, low],
            };
            return flow_hash_v6_by_halves(seed(), prefix, [0; 2], 0, 0);
        }
        flow_hash_v6_by_halves(seed(), src, words(ip.dst), ports, ip.next_header)
    };
    Ok(Packet {
        service,
        hash: service.map_or(0, |service| hash(service.flags)),
        ip_len,
        ether_type: ether_type::IPV6,
        in_ipv4: backend_kinds::IPV6_IN_IPV4,
        in_ipv6: backend_kinds::IPV6_IN_IPV6,
    })
}

/// The verdict on a packet whose port has no service, by the entry of its VIP. One of the VIP's services
/// that the card does not have says so there: then the host has to look.
#[inline(always)]
fn no_service(vip: Option<&'static Service>) -> Result<(), CardCounter> {
    match vip {
        None => Err(CardCounter::UpNotOurs),
        Some(vip) if vip.flags & service_flags::ASK_HOST != 0 => Err(CardCounter::UpService),
        Some(_) => Err(CardCounter::DropNoService),
    }
}

/// Ports of a packet of TCP or UDP: client port << 16 | service port.
#[inline(always)]
fn ports(at: Cursor, proto: u8, room: usize) -> Result<u32, CardCounter> {
    let ([a, b], [c, d]) = if proto == ip_proto::TCP {
        let tcp: Tcp = at.peek().ok_or(CardCounter::UpHeader)?;
        let len = usize::from(tcp.data_offset >> 4) * 4;
        if len < size_of::<Tcp>() || len > room {
            return Err(CardCounter::UpHeader);
        }
        (tcp.src_port, tcp.dst_port)
    } else if proto == ip_proto::UDP {
        let udp: Udp = at.peek().ok_or(CardCounter::UpHeader)?;
        let len = usize::from(u16::from_be_bytes(udp.len));
        if len < size_of::<Udp>() || len > room {
            return Err(CardCounter::UpHeader);
        }
        (udp.src_port, udp.dst_port)
    } else {
        return Err(CardCounter::UpProtocol);
    };
    Ok(u32::from_be_bytes([a, b, c, d]))
}

/// Puts the backend's finished headers in front of the packet.
#[inline(always)]
fn wrap(ctx: &XdpContext, packet: &Packet, backend: &CardBackend) -> Result<(), CardCounter> {
    let kind = backend.kind;
    let (len, ether_type) = if kind == packet.in_ipv4 {
        (size_of::<Ipv4>(), ether_type::IPV4)
    } else if kind == packet.in_ipv6 {
        (size_of::<Ipv6>(), ether_type::IPV6)
    } else if kind == backend_kinds::L2 {
        (0, packet.ether_type)
    } else {
        return Err(CardCounter::UpBackend);
    };
    let inner_len = usize::from(packet.ip_len);
    if inner_len + len > usize::from(backend.mtu) {
        return Err(CardCounter::UpTooBig);
    }
    if len != 0 {
        let back = if ether_type == ether_type::IPV4 { -20 } else { -40 };
        resize::head(ctx, back).ok_or(CardCounter::UpNoRoom)?;
    }
    let mut at = Cursor::of(ctx);
    let written = at.put_copy(&backend.macs).and_then(|()| at.put(ether_type.to_be_bytes()));
    let written = written.and_then(|()| match len {
        0 => Some(()),
        20 => outer_ipv4(at, backend, packet.ip_len),
        _ => outer_ipv6(at, backend, packet.ip_len),
    });
    written.ok_or(CardCounter::UpNoRoom)
}

/// The template's checksum covers a total length of zero, so the length is added to the sum.
#[inline(always)]
fn outer_ipv4(mut at: Cursor, backend: &CardBackend, inner_len: u16) -> Option<()> {
    let header = at;
    at.put_copy(backend.ip.first_chunk::<{ size_of::<Ipv4>() }>()?)?;
    let total_len = inner_len.wrapping_add(20); // Not more than the MTU.
    let [.., high, low] = *backend.ip.first_chunk::<{ offset_of!(Ipv4, checksum) + 2 }>()?;
    let sum = ones_add(!u16::from_be_bytes([high, low]), total_len);
    header.put_at(offset_of!(Ipv4, total_len), total_len.to_be_bytes())?;
    header.put_at(offset_of!(Ipv4, checksum), (!sum).to_be_bytes())
}

#[inline(always)]
fn outer_ipv6(mut at: Cursor, backend: &CardBackend, inner_len: u16) -> Option<()> {
    let header = at;
    at.put_copy(&backend.ip)?;
    header.put_at(offset_of!(Ipv6, payload_len), inner_len.to_be_bytes())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn words(addr: [u8; 16]) -> [u64; 2] {
    let all = u128::from_be_bytes(addr);
    [(all >> 64) as u64, all as u64]
}
