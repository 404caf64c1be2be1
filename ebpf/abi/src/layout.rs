//! Keys and values of the maps.

use crate::{CAPTURE_SNAP_MAX, FLOW_SNAP, features};

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A fixed-width layout without padding: unsigned integers and arrays of them, in `repr(C)`.
///
/// Sealed: only this crate's layouts are plain, and each is checked at compile time. The daemon
/// relies on that where it hands their bytes to bpf(2).
pub trait Plain: sealed::Sealed + Copy + 'static {}

macro_rules! plain {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $ty:ty,)+ })+) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name { $($(#[$field_doc])* pub $field: $ty,)+ }
            const _: () = assert!(
                size_of::<$name>() == 0 $(+ size_of::<$ty>())+,
                "hidden padding"
            );
            impl $crate::layout::sealed::Sealed for $name {}
            impl $crate::layout::Plain for $name {}
        )+
    };
}

plain! {
    /// Key of `SERVICES_V4`. Port 0 with protocol 0 is the entry of the VIP itself, port 0 with
    /// another protocol the service of all ports that have none of their own.
    #[derive(Default)]
    pub struct ServiceKeyV4 {
        /// Network order.
        pub addr: [u8; 4],
        /// Network order.
        pub port: [u8; 2],
        /// IP protocol number.
        pub proto: u8,
        /// Zero for a VIP of one address. Else the VIP is a prefix of so many bits, and `addr` its
        /// first address.
        pub prefix_len: u8,
    }

    /// Key of `SERVICES_V6`, likewise.
    #[derive(Default)]
    pub struct ServiceKeyV6 {
        /// Network order.
        pub addr: [u8; 16],
        /// Network order.
        pub port: [u8; 2],
        /// IP protocol number.
        pub proto: u8,
        /// Zero for a VIP of one address. Else the VIP is a prefix of so many bits, and `addr` its
        /// first address.
        pub prefix_len: u8,
    }

    /// A service, or (port 0, protocol 0) a VIP that we own.
    #[derive(Default)]
    pub struct Service {
        /// First slot of the ring in `RING_SLOTS`.
        pub ring_offset: u32,
        /// Slots of the ring, a power of two; zero on a VIP's own entry.
        pub ring_size: u32,
        /// Row in `SERVICE_TRAFFIC`.
        pub index: u32,
        /// [`service_flags`] bits.
        pub flags: u32,
    }

    /// One slot of a ring. Written and read as one aligned 8-byte word, so that no reader ever
    /// sees half of a change.
    #[derive(Default)]
    pub struct Slot {
        /// Backend of new flows; 0: none.
        pub current: u32,
        /// Backend of flows that are older than the last change, maybe with [`Slot::ASKS`]; equal
        /// to `current` when settled.
        pub previous: u32,
    }

    /// One backend with its finished outer headers; one cache line.
    ///
    /// The entry names its backend: the destination in `ip` (in `l2` `ip[0..16]`, an IPv4 address as
    /// v4-mapped), so the daemon can find out what an index stands for.
    pub struct Backend {
        /// Destination and source MAC of the frame that leaves, network order.
        pub macs: [u8; 12],
        /// 802.1Q tag to write (network order TCI), or zero for an untagged frame.
        pub vlan_tci: [u8; 2],
        /// Outer IP header: IPv4 (20 bytes, total length zero, checksum over the rest) or IPv6
        /// (40 bytes, payload length zero). In `l2`: the backend's address. In `nat`:
        /// a header that is put nowhere, from our address to the backend's.
        pub ip: [u8; 40],
        /// One of [`backend_kinds`].
        pub kind: u8,
        /// [`backend_flags`] bits.
        pub flags: u8,
        /// Interface the frame leaves through.
        pub egress_ifindex: u32,
        /// Largest IP packet, in bytes and outer header included, that fits the way out.
        pub mtu: u16,
        /// UDP port that takes GUE packets, network order; zero where there is no UDP.
        pub gue_port: [u8; 2],
    }

    /// Packets and bytes of one service or backend.
    #[derive(Default)]
    pub struct Traffic {
        /// Packets forwarded.
        pub packets: u64,
        /// Their bytes, Ethernet header included, as they came in.
        pub bytes: u64,
    }

    /// Key of `FLOWS`. An IPv4 address stands in the last four bytes of its field, the rest zero.
    /// Aligned, so that the packet path fills it in by words.
    #[derive(Default)]
    #[repr(align(8))]
    pub struct FlowKey {
        /// Client address, network order.
        pub src: [u8; 16],
        /// VIP, network order.
        pub dst: [u8; 16],
        /// Client port, network order.
        pub src_port: [u8; 2],
        /// Service port, network order.
        pub dst_port: [u8; 2],
        /// IP protocol number.
        pub proto: u8,
        /// Always zero.
        pub reserved: [u8; 3],
    }

    /// Key of `FRAGMENTS`: what the parts of a datagram have in common (RFC 791 §3.2, RFC 8200 §4.5).
    /// Aligned like [`FlowKey`], whose addresses these are.
    #[derive(Default)]
    #[repr(align(8))]
    pub struct DatagramKey {
        /// Client address, network order.
        pub src: [u8; 16],
        /// VIP, network order.
        pub dst: [u8; 16],
        /// Identification, network order; that of IPv4 in the last two bytes.
        pub id: [u8; 4],
        /// IP protocol number; zero for IPv6, where it does not count.
        pub proto: u8,
        /// Always zero.
        pub reserved: [u8; 3],
    }

    /// What the first part of a datagram says, and the others do not.
    #[derive(Default)]
    #[repr(align(8))]
    pub struct Ports {
        /// Client port, network order.
        pub src_port: [u8; 2],
        /// Service port, network order.
        pub dst_port: [u8; 2],
        /// IP protocol number.
        pub proto: u8,
        /// The backend that the connection id named, as its index with the lowest byte first; zero if
        /// none did.
        pub named: [u8; 3],
    }

    /// Key of `PREFIXES_V4`, as the kernel's tries have it.
    #[derive(Default)]
    pub struct PrefixV4 {
        /// How many bits count.
        pub len: u32,
        /// Network order.
        pub addr: [u8; 4],
    }

    /// Key of `PREFIXES_V6`, likewise.
    #[derive(Default)]
    pub struct PrefixV6 {
        /// How many bits count.
        pub len: u32,
        /// Network order.
        pub addr: [u8; 16],
    }

    /// How often a service takes a packet: nanoseconds from one to the next, zero for no limit.
    #[derive(Default)]
    pub struct Rates {
        /// Of one source.
        pub source_ns: u64,
        /// Of one source, those that open a connection.
        pub source_syn_ns: u64,
        /// Of all sources.
        pub service_ns: u64,
        /// Of all sources, those that open a connection.
        pub service_syn_ns: u64,
    }

    /// Token buckets, each kept as the time when its next token comes; in the past, it is full.
    #[derive(Default)]
    pub struct Buckets {
        /// For every packet.
        pub packets_ns: u64,
        /// For those that open a connection, in addition.
        pub syns_ns: u64,
    }

    /// What is constant while a program is loaded: patched into `.rodata`, but for the features, by
    /// which the branches that ask for them are decided.
    #[derive(Default)]
    pub struct DatapathConfig {
        /// Seed of the flow hash; the same on every node that announces the same VIPs.
        pub hash_seed: u64,
        /// [`features`] bits: what the configuration uses.
        pub features: u64,
        /// Nanoseconds between two answers to packets that are too big, on each CPU.
        pub too_big_interval_ns: u64,
        /// Bits of an outer IPv4 source that the flow chooses; zero in the entries' headers.
        pub vary_v4: u32,
        /// The same for the last four bytes of an IPv6 source.
        pub vary_v6: u32,
        /// Lengths of the VIPs that are prefixes, the longest first: a byte each from the lowest
        /// one on, at most [`VIP_LENS_ROOM`](crate::VIP_LENS_ROOM), and zero behind them.
        pub vip_lens_v4: u64,
        /// The same for IPv6.
        pub vip_lens_v6: u64,
        /// How long a token bucket takes to fill up: so much may come at once after a pause.
        pub burst_ns: u64,
        /// So many last bits of an IPv4 client's address do not tell sources apart, at most 24.
        pub source_open_v4: u32,
        /// So many last bits of the first 64 of an IPv6 client's address do not, at most 48; the
        /// other 64 never do.
        pub source_open_v6: u32,
        /// The first port that connections in NAT may get.
        pub nat_port_first: u32,
        /// How many there are from it on.
        pub nat_port_count: u32,
        /// A packet that is told of only by chance is told of if a random word is not above this.
        pub flow_chance: u32,
        /// Always zero.
        pub reserved: u32,
        /// Nanoseconds between two packets that are told of for the same reason, on each CPU.
        pub flow_interval_ns: u64,
    }

    /// What is known of the packet that a CPU is at, until it is told of.
    #[derive(Default)]
    pub struct FlowDraft {
        /// Row of its service in `SERVICE_TRAFFIC`, plus one; zero: none is known.
        pub service: u32,
        /// Index of its backend; zero: none.
        pub backend: u32,
        /// Where its IP packet starts in the frame that is sent.
        pub inner_at: u32,
        /// Its verdict, as [`Counter`](crate::Counter).
        pub verdict: u32,
        /// What the driver is told to do, as XDP says it.
        pub action: u32,
        /// Always zero.
        pub reserved: u32,
    }

    /// A packet that is told of: what became of it, and its frame afterwards.
    pub struct FlowRecord {
        /// When, by the kernel's monotonic clock, in nanoseconds.
        pub at_ns: u64,
        /// Its verdict, as [`Counter`](crate::Counter).
        pub verdict: u32,
        /// [`flow_why`] bits.
        pub why: u32,
        /// Row of its service in `SERVICE_TRAFFIC`, if it came as far as to a backend.
        pub service: u32,
        /// Index of its backend; zero: none.
        pub backend: u32,
        /// Interface that it came in by.
        pub ingress_ifindex: u32,
        /// Length of the frame as it is now, in bytes.
        pub frame_len: u32,
        /// How many bytes of it are here.
        pub len: u32,
        /// Where the client's IP packet starts in them, behind outer headers, if it was sent on.
        pub inner_at: u32,
        /// The frame's first bytes; the rest is zero.
        pub frame: [u8; FLOW_SNAP],
    }
}

plain! {
    /// Which packets are captured: constant while a program is loaded, like [`DatapathConfig`]. Addresses
    /// are two words of which the first byte is the highest, IPv4 as v4-mapped.
    #[derive(Default)]
    pub struct CaptureFilter {
        /// None after this, by the kernel's monotonic clock: nobody may be left who ends it.
        pub until_ns: u64,
        /// Those whose verdict has its bit here, by [`Counter`](crate::Counter).
        pub verdicts: u64,
        /// To this address, as far as the mask has bits.
        pub dst: [u64; 2],
        /// Which bits of it count.
        pub dst_mask: [u64; 2],
        /// From this address, likewise.
        pub src: [u64; 2],
        /// Which bits of it count.
        pub src_mask: [u64; 2],
        /// To this port; zero: to any.
        pub port: u32,
        /// Of this IP protocol; zero: of any.
        pub proto: u32,
        /// Bytes of a frame that are captured, at most [`CAPTURE_SNAP_MAX`].
        pub snap: u32,
        /// Always zero.
        pub reserved: u32,
    }

    /// What a record of a captured packet begins with; behind it are the first bytes of the frame as
    /// it came, and then those of the frame as it left.
    #[derive(Default)]
    pub struct CaptureHead {
        /// When it came, by the kernel's monotonic clock, in nanoseconds.
        pub came_ns: u64,
        /// When its verdict was known.
        pub left_ns: u64,
        /// Its verdict, as [`Counter`](crate::Counter).
        pub verdict: u32,
        /// Row of its service in `SERVICE_TRAFFIC`, plus one; zero: it did not come as far as to a
        /// backend.
        pub service: u32,
        /// Index of its backend; zero: none.
        pub backend: u32,
        /// Interface that it came in by.
        pub ingress_ifindex: u32,
        /// Length of the frame that came, in bytes.
        pub before_len: u32,
        /// How many bytes of it are here.
        pub before_snap: u32,
        /// Length of the frame that left; zero: none did.
        pub after_len: u32,
        /// How many bytes of it are here.
        pub after_snap: u32,
    }

    /// Where a record is put together. Not pinned: each program has its own.
    pub struct CaptureDraft {
        /// Whether the packet that came is one that is asked for; zero: it may be when it leaves.
        pub is_wanted: u64,
        /// `before_snap` is zero: nothing is known of the packet.
        pub head: CaptureHead,
        /// Both frames, without a gap.
        pub frames: [u8; 2 * CAPTURE_SNAP_MAX],
    }
}

const _: () = assert!(size_of::<ServiceKeyV4>() == 8);
const _: () = assert!(size_of::<ServiceKeyV6>() == 20);
const _: () = assert!(size_of::<Service>() == 16);
const _: () = assert!(size_of::<Slot>() == 8);
const _: () = assert!(crate::BACKENDS_MAX <= Slot::ASKS, "an index would have the bit");
const _: () = assert!(crate::BACKENDS_MAX <= 1 << 24, "an index has no room in `Ports`");
const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<Backend>() == 64, "one cache line");

impl DatapathConfig {
    /// What the program's branches ask for: features, and what the other constants say of such.
    pub const fn wanted(&self) -> u64 {
        let lens_v4 = if self.vip_lens_v4 != 0 { features::VIP_LENS_V4 } else { 0 };
        let lens_v6 = if self.vip_lens_v6 != 0 { features::VIP_LENS_V6 } else { 0 };
        self.features | lens_v4 | lens_v6
    }
}

impl Slot {
    /// The slot as the 8-byte word that is stored.
    pub const fn to_word(self) -> u64 {
        let current = self.current.to_ne_bytes();
        let previous = self.previous.to_ne_bytes();
        u64::from_ne_bytes([
            current[0],
            current[1],
            current[2],
            current[3],
            previous[0],
            previous[1],
            previous[2],
            previous[3],
        ])
    }

    /// The slot that a stored word holds.
    pub const fn from_word(word: u64) -> Self {
        let b = word.to_ne_bytes();
        Self {
            current: u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            previous: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        }
    }

    /// Bit of `previous`: the slot is in transition though old flows and new ones go to the same
    /// backend. The flow table is asked for those that others took in between.
    pub const ASKS: u32 = 1 << 31;

    /// A slot without transition.
    pub const fn settled(backend: u32) -> Self {
        Self { current: backend, previous: backend }
    }

    /// A slot in transition: flows that the flow table does not know go to `older`.
    pub const fn in_transition(current: u32, older: u32) -> Self {
        let asks = if current == older { Self::ASKS } else { 0 };
        Self { current, previous: older | asks }
    }

    /// Backend of flows that are older than the last change; 0: none.
    pub const fn older(self) -> u32 {
        self.previous & !Self::ASKS
    }

    /// Whether every flow of this slot goes to `current`.
    pub const fn is_settled(self) -> bool {
        self.current == self.previous
    }
}

impl Backend {
    /// An entry that no backend uses.
    pub const FREE: Self = Self {
        macs: [0; 12],
        vlan_tci: [0; 2],
        ip: [0; 40],
        kind: backend_kinds::NONE,
        flags: 0,
        egress_ifindex: 0,
        mtu: 0,
        gue_port: [0; 2],
    };
}

/// Bits of [`FlowRecord::why`]: why it is told of.
pub mod flow_why {
    /// It was dropped.
    pub const DROPPED: u32 = 1 << 0;
    /// It opens a connection.
    pub const OPENS: u32 = 1 << 1;
    /// It ends one: a FIN or an RST.
    pub const ENDS: u32 = 1 << 2;
    /// By chance.
    pub const SAMPLED: u32 = 1 << 3;
}

/// Bits of [`Service::flags`].
pub mod service_flags {
    /// Hash the client's address only, so that all its flows reach one backend.
    pub const AFFINITY_CLIENT: u32 = 1 << 0;
    /// With [`AFFINITY_CLIENT`]: so many last bits of the client's address do not count, by this
    /// shift. Of an IPv6 address none or at least the last 64.
    pub const UNCOUNTED_BITS: u32 = 8;
    /// Answer ICMP echo for this VIP (on the VIP's own entry).
    pub const ECHO: u32 = 1 << 1;
    /// Remember the service's UDP flows, so that they stay while a slot is in transition.
    pub const UDP_FLOWS: u32 = 1 << 2;
    /// The service has [`Rates`](super::Rates).
    pub const RATED: u32 = 1 << 3;
    /// The service's packets go where a connection id of QUIC says, if one does.
    pub const QUIC: u32 = 1 << 4;
    /// With [`QUIC`]: octets of a server id, in four bits, by this shift.
    pub const SERVER_ID_LEN: u32 = 8;
    /// With [`QUIC`]: the configuration of before, plus one, in three bits by this shift; zero: none.
    pub const FORMER_CONFIG: u32 = 12;
    /// With [`FORMER_CONFIG`]: octets of a server id in ids of it, in four bits, by this shift.
    pub const FORMER_ID_LEN: u32 = 16;
    /// The service's packets are translated (on a service).
    pub const NAT: u32 = 1 << 6;
    /// Packets that no service on the card is for may be for one on the host (on a VIP's own entry, on a
    /// card).
    pub const ASK_HOST: u32 = 1 << 5;
    /// Connections in NAT come from here (on the own entry of an address that is no VIP).
    pub const NAT_SOURCE: u32 = 1 << 7;
    /// With [`NAT`]: the port of the backends, by this shift; zero: the one that the client asks.
    pub const BACKEND_PORT: u32 = 16;
}

/// What becomes of a client whose address lies in a prefix; the longest one that has it counts.
pub mod admissions {
    /// Its packets are dropped.
    pub const DENY: u32 = 1;
    /// They are not: an exception from a shorter prefix.
    pub const ALLOW: u32 = 2;
}

/// Values of [`Backend::kind`]: what is put around the packet.
pub mod backend_kinds {
    /// The entry is free.
    pub const NONE: u8 = 0;
    /// IPv4 client packet in an IPv4 header (RFC 2003).
    pub const IPV4_IN_IPV4: u8 = 1;
    /// IPv6 client packet in an IPv4 header (RFC 4213).
    pub const IPV6_IN_IPV4: u8 = 2;
    /// IPv4 client packet in an IPv6 header (RFC 2473).
    pub const IPV4_IN_IPV6: u8 = 3;
    /// IPv6 client packet in an IPv6 header (RFC 2473).
    pub const IPV6_IN_IPV6: u8 = 4;
    /// Nothing: only the MAC addresses are rewritten.
    pub const L2: u8 = 5;
    /// Nothing: an IPv4 packet's addresses and ports are translated.
    pub const NAT_V4: u8 = 6;
    /// The same for IPv6.
    pub const NAT_V6: u8 = 7;
    /// Bit of the first four: UDP stands between the headers (GUE, variant 1: the packet follows
    /// UDP at once).
    pub const GUE: u8 = 1 << 4;
}

/// Bits of [`Backend::flags`].
pub mod backend_flags {
    /// Next hop, MAC addresses and egress are known: frames may be sent.
    pub const RESOLVED: u8 = 1 << 0;
    /// The outer UDP header of GUE has a checksum.
    pub const CHECKSUM: u8 = 1 << 1;
    /// The flow chooses the open bits of the outer source.
    pub const VARIED: u8 = 1 << 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_survives_its_word() {
        let slot = Slot { current: 7, previous: 0x0102_0304 };
        assert_eq!(Slot::from_word(slot.to_word()), slot);
        assert_eq!(Slot::from_word(0), Slot::settled(0), "a fresh map has no backend anywhere");
    }

    #[test]
    fn a_slot_in_transition_is_never_a_settled_one() {
        for (current, older) in [(1, 2), (1, 1), (0, 1), (1, 0), (0, 0)] {
            let slot = Slot::in_transition(current, older);
            assert!(!slot.is_settled());
            assert_eq!((slot.current, slot.older()), (current, older));
        }
    }
}
