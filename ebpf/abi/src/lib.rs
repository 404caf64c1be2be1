//! What the daemon and the packet path agree on: map keys and values, limits, flag bits, counters
//! and the flow hash. Both sides compile this crate, so there is one definition.
//!
//! Promise: every layout is fixed-width, padded by hand and checked at compile time; it has no
//! pointer, `bool`, `enum` or hidden padding, so keys and values may be compared as bytes.
//! Integers are in host order unless a comment says "network order".

#![no_std]
#![forbid(unsafe_code)]

mod counter;
mod hash;
#[macro_use]
mod layout;
mod card;
mod nat;
mod quic;

pub use card::{CardBackend, CardConfig, CardCounter, card_map_names};
pub use counter::{Action, Captured, Counter, DecapCounter, FLOW_KINDS, Limit, Told};
pub use hash::{
    flow_hash_v4, flow_hash_v4_by_halves, flow_hash_v6, flow_hash_v6_by_halves, slot_of,
    source_bucket,
};
pub use layout::{
    Backend, Buckets, CaptureDraft, CaptureFilter, CaptureHead, DatagramKey, DatapathConfig,
    FlowDraft, FlowKey, FlowRecord, Plain, Ports, PrefixV4, PrefixV6, Rates, Service, ServiceKeyV4,
    ServiceKeyV6, Slot, Traffic, admissions, backend_flags, backend_kinds, flow_why, service_flags,
};
pub use nat::{NAT_FLOWS_MAX, NAT_PROBES, NatAnswer, NatFlow, nat_port, nat_state};
pub use quic::{QuicKey, SERVER_ID_MAX, server_id_len, server_id_of};

/// Services, IPv4 and IPv6 each, the VIP entries (port 0, protocol 0) included.
pub const SERVICES_MAX: u32 = 16_384;
/// Backend entries. Entry 0 is never used: a slot that holds 0 has no backend.
pub const BACKENDS_MAX: u32 = 16_384;
/// Slots of all rings together: 8 bytes each, in one memory-mapped array.
pub const RING_SLOTS_MAX: u32 = 1 << 20;
/// Slots of one ring: a power of two, so that a grown ring splits the old one's slots evenly.
pub const RING_SIZE_MIN: u32 = 1 << 10;
/// The largest single ring.
pub const RING_SIZE_MAX: u32 = 1 << 16;
/// Slots for each backend of a ring, before rounding up and clamping: enough for true shares.
pub const RING_SLOTS_PER_BACKEND: u32 = 128;
/// Flows remembered while ring slots are in transition.
pub const FLOWS_MAX: u32 = 1 << 16;
/// Lengths that VIPs of one IP version may have, beside that of a single address: each one costs
/// packets that find no VIP a look-up.
pub const VIP_LENS_MAX: usize = 4;
/// Lengths that a program can have: also those of services that are on their way out.
pub const VIP_LENS_ROOM: usize = 8;
/// UDP flows that services with `udp = "flow"` remember: those that were seen last.
pub const UDP_FLOWS_MAX: u32 = 1 << 16;
/// Server ids of services with affinity `quic`.
pub const QUIC_SERVERS_MAX: u32 = 1 << 14;
/// Room for them: those of before and after a change that replaces all of them.
pub const QUIC_SERVERS_ROOM: u32 = 2 * QUIC_SERVERS_MAX;
/// Datagrams whose first part is remembered, for the sake of the others: the last that came.
pub const FRAGMENTS_MAX: u32 = 1 << 14;
/// Prefixes of clients that are denied or allowed, of each IP version.
pub const PREFIXES_MAX: u32 = 1 << 17;
/// Room for them: those of before and after a change that replaces all of them.
pub const PREFIXES_ROOM: u32 = 2 * PREFIXES_MAX;
/// Token buckets of sources, where there are limits for those.
pub const SOURCE_BUCKETS: u32 = 1 << 20;
/// Network devices the datapath can send to.
pub const DEVICES_MAX: u32 = 256;
/// Bytes of the ring of [`FlowRecord`]s, where packets are told of.
pub const FLOW_RING_BYTES: u32 = 1 << 22;
/// Bytes of a frame that a [`FlowRecord`] has room for, a power of two: the longest outer header with
/// tags, and the headers of the packet inside.
pub const FLOW_SNAP: usize = 256;
/// Bytes of the ring of captured packets, while somebody captures.
pub const CAPTURE_RING_BYTES: u32 = 1 << 23;
/// Bytes of a frame that are captured at most, a power of two: no frame in one buffer is longer.
pub const CAPTURE_SNAP_MAX: usize = 1 << 12;
/// Addresses of its own that a backend takes encapsulated packets for.
pub const DECAP_ADDRS_MAX: u32 = 1_024;

/// Bits of [`DatapathConfig::features`]: what is not wanted is not in the program that is loaded.
pub mod features {
    /// Packets that do not fit after encapsulation are answered.
    pub const TOO_BIG: u64 = 1 << 0;
    /// Also IPv4 packets that may be fragmented ("don't fragment" not set).
    pub const TOO_BIG_WITHOUT_DF: u64 = 1 << 1;
    /// Some backends get their packets in GUE.
    pub const GUE: u64 = 1 << 2;
    /// Some of them with a checksum in the outer UDP header.
    pub const GUE_CHECKSUM: u64 = 1 << 3;
    /// The outer IPv4 source varies with the flow.
    pub const VARY_V4: u64 = 1 << 4;
    /// The outer IPv6 source varies with the flow.
    pub const VARY_V6: u64 = 1 << 5;
    /// Some services take every port: what no other service takes is looked up again without one.
    pub const ANY_PORT: u64 = 1 << 6;
    /// Some services remember their UDP flows.
    pub const UDP_FLOWS: u64 = 1 << 7;
    /// Some IPv4 clients are denied or allowed by their addresses.
    pub const PREFIXES_V4: u64 = 1 << 17;
    /// The same for IPv6.
    pub const PREFIXES_V6: u64 = 1 << 18;
    /// Some services take only so many packets in a second.
    pub const RATES: u64 = 1 << 19;
    /// Some of them only so many from one source.
    pub const SOURCE_RATES: u64 = 1 << 20;
    /// Some services are in mode `nat`.
    pub const NAT: u64 = 1 << 16;
    /// Some services go by the connection ids of QUIC.
    pub const QUIC: u64 = 1 << 21;
    /// Some services keep all flows of a client, or of a network of clients, together.
    pub const AFFINITY_CLIENT: u64 = 1 << 22;
    /// Some VIPs of IPv4 are prefixes: what `vip_lens_v4` of the constants says.
    pub const VIP_LENS_V4: u64 = 1 << 23;
    /// The same for IPv6.
    pub const VIP_LENS_V6: u64 = 1 << 24;
    /// Packets are told of: see [`FlowRecord`](crate::FlowRecord).
    pub const FLOWS: u64 = 1 << 8;
    /// Somebody captures packets: see [`CaptureHead`](crate::CaptureHead).
    pub const CAPTURE: u64 = 1 << 9;
    /// What asks who may come in.
    pub const GUARD: u64 = PREFIXES_V4 | PREFIXES_V6 | RATES | SOURCE_RATES;
    /// Any of those that take more than a copy of finished headers.
    pub const OUTER: u64 = GUE_CHECKSUM | VARY_V4 | VARY_V6;
    /// The program is a proof copy: the same object with the same maps, attached nowhere, that test
    /// packets are run through. It decides and writes headers like the one that is attached, but
    /// leaves no trace: it counts nothing, remembers no flow, limits no rate, goes on with no other
    /// program, and asks no guard (who may not come in is no question about the way to a backend).
    /// Its return value is no XDP action but the row of the [`Counter`](crate::Counter) that it
    /// would have moved.
    pub const PROOF: u64 = 1 << 63;

    /// The immediate of a branch that asks for any of these features, until the program is loaded.
    #[expect(clippy::cast_possible_truncation, reason = "features are below bit 25, but for one")]
    pub const fn mark(features: u64) -> u32 {
        MARK | (features as u32 & 0x1ff_ffff) | (features >> 63 << 25) as u32
    }

    /// Set in every mark, and in no immediate that a compiler would branch on: features but for the
    /// highest bits are below.
    pub const MARK: u32 = 0x5c00_0000;
}

/// Programs that the packet path tail-calls for what few packets need, or few configurations: rows
/// of `RARE`.
pub mod rare {
    /// ICMP errors that quote a packet of a service.
    pub const ERRORS: u32 = 0;
    /// Packets that do not fit after encapsulation.
    pub const TOO_BIG: u32 = 1;
    /// Frames in GUE that lack nothing but the outer checksum, to leave where they came in.
    pub const CHECKSUM_TX: u32 = 2;
    /// The same, to leave elsewhere.
    pub const CHECKSUM_REDIRECT: u32 = 3;
    /// Packets for a backend whose outer headers take more than a copy, and all of services that go by
    /// connection ids.
    pub const OUTER: u32 = 4;
    /// Fragments for a VIP.
    pub const FRAGMENTS: u32 = 5;
    /// Packets of a client for a service in NAT.
    pub const NAT: u32 = 6;
    /// Those of them whose connection begins, or comes by another way than before.
    pub const NAT_OPEN: u32 = 7;
    /// Packets to an address that connections in NAT come from.
    pub const NAT_ANSWER: u32 = 8;
    /// ICMP errors that quote a packet of a connection in NAT.
    pub const NAT_ERROR: u32 = 9;
    /// New connections in NAT that are put together but for their port.
    pub const NAT_PORT: u32 = 10;
    /// All packets whose verdict is known, where they are told of or captured.
    pub const TELL: u32 = 11;
    /// The program that all packets meet first, for the one that stands before it while somebody
    /// captures. Always there: what runs until it is replaced must find it.
    pub const MAIN: u32 = 12;
    /// Rows of the map.
    pub const COUNT: u32 = 13;

    /// Names of the programs, by their rows.
    pub const NAMES: [&str; COUNT as usize] = [
        "tidegate_errors",
        "tidegate_too_big",
        "tidegate_checksum_tx",
        "tidegate_checksum_redirect",
        "tidegate_outer",
        "tidegate_fragments",
        "tidegate_nat",
        "tidegate_nat_open",
        "tidegate_nat_answer",
        "tidegate_nat_error",
        "tidegate_nat_port",
        "tidegate_tell",
        "tidegate",
    ];

    /// Whether a packet path with these features calls the program.
    pub const fn is_needed(row: u32, features: u64) -> bool {
        match row {
            ERRORS | FRAGMENTS | MAIN => true,
            TELL => features & (super::features::FLOWS | super::features::CAPTURE) != 0,
            TOO_BIG => features & super::features::TOO_BIG != 0,
            CHECKSUM_TX | CHECKSUM_REDIRECT => features & super::features::GUE_CHECKSUM != 0,
            OUTER => features & (super::features::OUTER | super::features::QUIC) != 0,
            NAT | NAT_OPEN | NAT_ANSWER | NAT_ERROR | NAT_PORT => {
                features & super::features::NAT != 0
            }
            _ => false,
        }
    }
}

/// [`DatapathConfig::vip_lens_v4`] for these lengths, the longest first; those that have no room are
/// left out.
pub fn vip_lens(lens: impl IntoIterator<Item = u8>) -> u64 {
    let mut bytes = [0; VIP_LENS_ROOM];
    bytes.iter_mut().zip(lens).for_each(|(byte, len)| *byte = len);
    u64::from_le_bytes(bytes)
}

/// Slots of the ring of a service with so many backends, draining ones included.
pub const fn ring_size(backends: u32) -> u32 {
    let wanted = backends.saturating_mul(RING_SLOTS_PER_BACKEND);
    if wanted <= RING_SIZE_MIN {
        RING_SIZE_MIN
    } else if wanted >= RING_SIZE_MAX {
        RING_SIZE_MAX
    } else {
        wanted.next_power_of_two()
    }
}

/// UDP port of GUE (IANA, "gue").
pub const GUE_PORT: u16 = 6_080;

/// Marks of sockets whose packets `tidegate_check` puts into the tunnel to a backend.
pub mod check_marks {
    /// The first byte of all of them.
    pub const FIRST: u32 = 0x74 << 24;
    /// The bits by which a program knows those of its own daemon.
    pub const OURS: u32 = !ROW;
    /// Row of the backend in `CHECK_WAYS`.
    pub const ROW: u32 = super::BACKENDS_MAX - 1;
    const _: () = assert!(super::BACKENDS_MAX.is_power_of_two() && ROW & FIRST == 0);
}

/// IP protocol numbers the datapath balances, and those it writes (IANA "Protocol Numbers").
pub mod ip_proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// IPv4 in an IP header (RFC 2003).
    pub const IPIP: u8 = 4;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 in an IP header (RFC 2473).
    pub const IPV6: u8 = 41;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
}

/// Names of the maps, as they are pinned and as `bpftool map show` prints them.
pub mod map_names {
    /// Ring of [`FlowRecord`](super::FlowRecord).
    pub const FLOW_RECORDS: &str = "FLOW_RECORDS";
    /// Per-CPU [`FlowDraft`](super::FlowDraft), one row.
    pub const FLOW_DRAFT: &str = "FLOW_DRAFT";
    /// Per-CPU `u64`, [`FLOW_KINDS`](super::FLOW_KINDS) rows: when the next one may be told of.
    pub const FLOW_LIMITS: &str = "FLOW_LIMITS";
    /// Per-CPU `u64` by [`Told`](super::Told).
    pub const FLOW_COUNTS: &str = "FLOW_COUNTS";
    /// Ring of captured packets: [`CaptureHead`](super::CaptureHead) and frames.
    pub const CAPTURE_RECORDS: &str = "CAPTURE_RECORDS";
    /// Per-CPU [`CaptureDraft`](super::CaptureDraft), one row.
    pub const CAPTURE_DRAFT: &str = "CAPTURE_DRAFT";
    /// Per-CPU `u64` by [`Captured`](super::Captured).
    pub const CAPTURE_COUNTS: &str = "CAPTURE_COUNTS";
    /// [`ServiceKeyV4`](super::ServiceKeyV4) to [`Service`](super::Service).
    pub const SERVICES_V4: &str = "SERVICES_V4";
    /// [`ServiceKeyV6`](super::ServiceKeyV6) to [`Service`](super::Service).
    pub const SERVICES_V6: &str = "SERVICES_V6";
    /// Array of [`Slot`](super::Slot), memory-mapped.
    pub const RING_SLOTS: &str = "RING_SLOTS";
    /// Array of [`Backend`](super::Backend).
    pub const BACKENDS: &str = "BACKENDS";
    /// [`FlowKey`](super::FlowKey) to backend index (`u32`), for slots in transition.
    pub const FLOWS: &str = "FLOWS";
    /// [`FlowKey`](super::FlowKey) to backend index (`u32`), for services that remember UDP flows.
    pub const UDP_FLOWS: &str = "UDP_FLOWS";
    /// [`DatagramKey`](super::DatagramKey) to [`Ports`](super::Ports): datagrams whose first part
    /// came lately.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// [`QuicKey`](super::QuicKey) to backend index (`u32`).
    pub const QUIC_SERVERS: &str = "QUIC_SERVERS";
    /// [`FlowKey`](super::FlowKey) of a client's packet to [`NatFlow`](super::NatFlow).
    pub const NAT_FLOWS: &str = "NAT_FLOWS";
    /// [`FlowKey`](super::FlowKey) of a backend's packet to [`NatAnswer`](super::NatAnswer).
    pub const NAT_ANSWERS: &str = "NAT_ANSWERS";
    /// Per-CPU [`Traffic`](super::Traffic) by [`Service::index`](super::Service).
    pub const SERVICE_TRAFFIC: &str = "SERVICE_TRAFFIC";
    /// Per-CPU [`Traffic`](super::Traffic) by backend index.
    pub const BACKEND_TRAFFIC: &str = "BACKEND_TRAFFIC";
    /// Per-CPU `u64` by [`Counter`](super::Counter).
    pub const COUNTERS: &str = "COUNTERS";
    /// Interface index to itself: the devices frames may be redirected to.
    pub const DEVICES: &str = "DEVICES";
    /// Per-CPU `u64` by [`Limit`](super::Limit): when the next one may come.
    pub const LIMITS: &str = "LIMITS";
    /// [`PrefixV4`](super::PrefixV4) to one of [`admissions`](super::admissions).
    pub const PREFIXES_V4: &str = "PREFIXES_V4";
    /// [`PrefixV6`](super::PrefixV6) to one of [`admissions`](super::admissions).
    pub const PREFIXES_V6: &str = "PREFIXES_V6";
    /// [`Rates`](super::Rates) by [`Service::index`](super::Service).
    pub const RATES: &str = "RATES";
    /// [`Buckets`](super::Buckets) by [`Service::index`](super::Service).
    pub const SERVICE_BUCKETS: &str = "SERVICE_BUCKETS";
    /// [`Buckets`](super::Buckets) by [`source_bucket`](super::source_bucket).
    pub const SOURCE_BUCKETS: &str = "SOURCE_BUCKETS";
    /// The programs of [`rare`](super::rare).
    pub const RARE: &str = "RARE";
    /// Array of [`Backend`](super::Backend): where checks go that take the way of clients' packets.
    pub const CHECK_WAYS: &str = "CHECK_WAYS";
    /// Addresses (16 bytes, IPv4 as v4-mapped) that `tidegate decap` takes packets for; the
    /// value means nothing.
    pub const DECAP_ADDRS: &str = "DECAP_ADDRS";
    /// Per-CPU `u64` by [`DecapCounter`](super::DecapCounter).
    pub const DECAP_COUNTERS: &str = "DECAP_COUNTERS";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_grows_with_its_backends_in_powers_of_two() {
        let cases =
            [(0, 1024), (8, 1024), (9, 2048), (17, 4096), (512, 65_536), (u32::MAX, 65_536)];
        for (backends, slots) in cases {
            assert_eq!(ring_size(backends), slots, "{backends} backends");
        }
    }
}
