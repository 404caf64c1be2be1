//! What differs between the two families, so that all else is written once.

use core::mem::transmute;

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    DatagramKey, FlowKey, Service, ServiceKeyV4, ServiceKeyV6, backend_kinds, features,
    flow_hash_v4, flow_hash_v6, ip_proto, service_flags,
};
use tidegate_xdp::Cursor;
use tidegate_xdp::wire::ether_type;

use crate::maps::{PREFIXES_V4, PREFIXES_V6, SERVICES_V4, SERVICES_V6};
use crate::{config, parse};

/// An IPv4 address, network order. Aligned, as the verifier wants it where it is kept on the stack.
#[derive(Clone, Copy)]
#[repr(align(4))]
pub(crate) struct V4(pub(crate) [u8; 4]);

/// An IPv6 address, network order.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub(crate) struct V6(pub(crate) [u8; 16]);

/// A family of addresses.
pub(crate) trait Address: Copy {
    /// Announces a packet of this family in an Ethernet header.
    const ETHER_TYPE: u16;
    /// The backend kind that puts packets of this family into IPv4.
    const IN_IPV4: u8;
    /// The backend kind that puts packets of this family into IPv6.
    const IN_IPV6: u8;
    /// The backend kind that translates packets of this family.
    const NAT: u8;
    /// The family's ICMP.
    const ICMP: u8;
    /// Type of its echo request.
    const ECHO_REQUEST: u8;
    /// Type of its echo reply.
    const ECHO_REPLY: u8;

    /// The service of a VIP, port and protocol; of the VIP itself for port and protocol 0. The VIP is
    /// this address or, with a length, the prefix of so many bits that begins with it.
    fn service(self, prefix_len: u8, port: [u8; 2], proto: u8) -> Option<&'static Service>;

    /// Lengths of the VIPs that are prefixes, the longest first: the lowest byte is the first one.
    /// `at_hand`: see [`config::has`].
    fn vip_lens(at_hand: u32) -> u64;

    /// The first address with the same `len` first bits, of which there are not less than one.
    fn first_of(self, len: u8) -> Self;

    /// Hash of a flow; with [`service_flags::AFFINITY_CLIENT`] of its client address alone, or of
    /// that address's first bits.
    fn flow_hash(seed: u64, flow: &Flow<Self>, flags: u32) -> u32;

    /// The address as it stands in a [`FlowKey`], in two words as they stand in memory.
    fn flow_addr(self) -> [u64; 2];

    /// What the longest prefix that has this client's address says; 0 for none, or none of this
    /// family being configured.
    fn admission(self, at_hand: u32) -> u32;

    /// The bits of a client's address that tell sources apart.
    fn source(self) -> u64;

    /// The flow whose answer stands here, quoted in `room` bytes; `None` if less of it is quoted
    /// than every error must.
    fn quoted(ctx: &XdpContext, at: Cursor, room: usize) -> Option<Flow<Self>>;
}

/// Who talks to whom. Aligned, because the compiler may write two fields at once.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Flow<A> {
    pub(crate) src: A,
    pub(crate) dst: A,
    pub(crate) src_port: [u8; 2],
    pub(crate) dst_port: [u8; 2],
    pub(crate) proto: u8,
}

impl<A: Address> Flow<A> {
    /// The flow's key in `FLOWS`, put together from words: bytes would be written one by one.
    #[inline(always)]
    pub(crate) fn key(&self) -> FlowKey {
        let ([src_high, src_low], [dst_high, dst_low]) =
            (self.src.flow_addr(), self.dst.flow_addr());
        let ([a, b], [c, d]) = (self.src_port, self.dst_port);
        let last = u64::from_ne_bytes([a, b, c, d, self.proto, 0, 0, 0]);
        // SAFETY: 40 bytes without padding, of which any value is valid; both are aligned to 8.
        unsafe { transmute::<[u64; 5], FlowKey>([src_high, src_low, dst_high, dst_low, last]) }
    }

    /// The key in `FRAGMENTS` of a datagram with these addresses; its last word says the rest.
    #[inline(always)]
    pub(crate) fn datagram_key(&self, last: u64) -> DatagramKey {
        let ([src_high, src_low], [dst_high, dst_low]) =
            (self.src.flow_addr(), self.dst.flow_addr());
        let words = [src_high, src_low, dst_high, dst_low, last];
        // SAFETY: 40 bytes without padding, of which any value is valid; both are aligned to 8.
        unsafe { transmute::<[u64; 5], DatagramKey>(words) }
    }

    /// The flow that a packet belongs to which goes the other way, from the service to the client.
    #[inline(always)]
    pub(crate) fn of_answer(from: A, to: A, ports: [u8; 4], proto: u8) -> Self {
        let [s0, s1, d0, d1] = ports;
        Self { src: to, dst: from, src_port: [d0, d1], dst_port: [s0, s1], proto }
    }

    #[inline(always)]
    fn ports(&self) -> u32 {
        let ([a, b], [c, d]) = (self.src_port, self.dst_port);
        u32::from_be_bytes([a, b, c, d])
    }
}

impl Address for V4 {
    const ETHER_TYPE: u16 = ether_type::IPV4;
    const IN_IPV4: u8 = backend_kinds::IPV4_IN_IPV4;
    const IN_IPV6: u8 = backend_kinds::IPV4_IN_IPV6;
    const NAT: u8 = backend_kinds::NAT_V4;
    const ICMP: u8 = ip_proto::ICMP;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;

    #[inline(always)]
    fn service(self, prefix_len: u8, port: [u8; 2], proto: u8) -> Option<&'static Service> {
        let key = ServiceKeyV4 { addr: self.0, port, proto, prefix_len };
        // SAFETY: entries live as long as the program runs; the daemon replaces them whole, and
        // one that is reused in the meantime is another valid service.
        unsafe { SERVICES_V4.get(key) }
    }

    #[inline(always)]
    fn vip_lens(at_hand: u32) -> u64 {
        if config::has::<{ features::VIP_LENS_V4 }>(at_hand) { config::vip_lens_v4() } else { 0 }
    }

    #[inline(always)]
    fn first_of(self, len: u8) -> Self {
        let open = 32_u8.wrapping_sub(len) & 0x1f;
        Self((u32::from_be_bytes(self.0) >> open << open).to_be_bytes())
    }

    #[inline(always)]
    fn flow_hash(seed: u64, flow: &Flow<Self>, flags: u32) -> u32 {
        let client = u64::from(u32::from_be_bytes(flow.src.0)) << 32;
        if flags & service_flags::AFFINITY_CLIENT != 0 {
            let uncounted = (flags >> service_flags::UNCOUNTED_BITS) & 0x1f;
            let prefix = client >> (32 + uncounted) << (32 + uncounted);
            return flow_hash_v4(seed, prefix, 0, 0);
        }
        let vip = u64::from(u32::from_be_bytes(flow.dst.0));
        flow_hash_v4(seed, client | vip, flow.ports(), flow.proto)
    }

    #[inline(always)]
    fn flow_addr(self) -> [u64; 2] {
        let [a, b, c, d] = self.0;
        [0, u64::from_ne_bytes([0, 0, 0, 0, a, b, c, d])]
    }

    #[inline(always)]
    fn admission(self, at_hand: u32) -> u32 {
        if !config::has::<{ features::PREFIXES_V4 }>(at_hand) {
            return 0;
        }
        let ([l0, l1, l2, l3], [a, b, c, d]) = (32_u32.to_ne_bytes(), self.0);
        let key = u64::from_ne_bytes([l0, l1, l2, l3, a, b, c, d]);
        // SAFETY: as many bytes, any value of which is a key, and a key has no alignment.
        let key = unsafe { &*(&raw const key).cast::<Key<[u8; 4]>>() };
        PREFIXES_V4.get(key).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn source(self) -> u64 {
        let open = config::source_open_v4() & 0x1f;
        u64::from(u32::from_be_bytes(self.0) >> open)
    }

    #[inline(always)]
    fn quoted(_: &XdpContext, at: Cursor, room: usize) -> Option<Flow<Self>> {
        parse::quoted_ipv4(at, room)
    }
}

impl Address for V6 {
    const ETHER_TYPE: u16 = ether_type::IPV6;
    const IN_IPV4: u8 = backend_kinds::IPV6_IN_IPV4;
    const IN_IPV6: u8 = backend_kinds::IPV6_IN_IPV6;
    const NAT: u8 = backend_kinds::NAT_V6;
    const ICMP: u8 = ip_proto::ICMPV6;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;

    #[inline(always)]
    fn service(self, prefix_len: u8, port: [u8; 2], proto: u8) -> Option<&'static Service> {
        let key = ServiceKeyV6 { addr: self.0, port, proto, prefix_len };
        // SAFETY: as for IPv4.
        unsafe { SERVICES_V6.get(key) }
    }

    #[inline(always)]
    fn vip_lens(at_hand: u32) -> u64 {
        if config::has::<{ features::VIP_LENS_V6 }>(at_hand) { config::vip_lens_v6() } else { 0 }
    }

    #[inline(always)]
    fn first_of(self, len: u8) -> Self {
        let [high, low] = words(self);
        let open = 128_u8.wrapping_sub(len);
        let [high, low] = match open.checked_sub(64) {
            Some(of_high) => [high >> (of_high & 0x3f) << (of_high & 0x3f), 0],
            None => [high, low >> (open & 0x3f) << (open & 0x3f)],
        };
        Self((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
    }

    #[inline(always)]
    fn flow_hash(seed: u64, flow: &Flow<Self>, flags: u32) -> u32 {
        if flags & service_flags::AFFINITY_CLIENT != 0 {
            let [high, low] = words(flow.src);
            let uncounted = (flags >> service_flags::UNCOUNTED_BITS) & 0x7f;
            let prefix = match uncounted.checked_sub(64) {
                Some(of_high) => [high >> (of_high & 0x3f) << (of_high & 0x3f), 0],
                None => [high, low],
            };
            return flow_hash_v6(seed, prefix, [0; 2], 0, 0);
        }
        flow_hash_v6(seed, words(flow.src), words(flow.dst), flow.ports(), flow.proto)
    }

    #[inline(always)]
    fn flow_addr(self) -> [u64; 2] {
        words(self).map(u64::to_be)
    }

    #[inline(always)]
    fn admission(self, at_hand: u32) -> u32 {
        if !config::has::<{ features::PREFIXES_V6 }>(at_hand) {
            return 0;
        }
        /// The length stands where the words of the address behind it are aligned, as the verifier
        /// wants them on the stack.
        #[repr(C, align(8))]
        struct Aligned {
            unused: u32,
            len: u32,
            addr: [u64; 2],
        }
        let key = Aligned { unused: 0, len: 128, addr: self.flow_addr() };
        // SAFETY: behind the first four bytes are as many as a key has, any value of which is one,
        // and it has no alignment.
        let key = unsafe { &*(&raw const key).byte_add(4).cast::<Key<[u8; 16]>>() };
        PREFIXES_V6.get(key).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn source(self) -> u64 {
        let [high, _] = words(self);
        high >> (config::source_open_v6() & 0x3f)
    }

    #[inline(always)]
    fn quoted(ctx: &XdpContext, at: Cursor, room: usize) -> Option<Flow<Self>> {
        parse::quoted_ipv6(ctx, at, room)
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn words(addr: V6) -> [u64; 2] {
    let all = u128::from_be_bytes(addr.0);
    [(all >> 64) as u64, all as u64]
}
