//! Headers as they stand on the wire: bytes only, so every one of them may stand anywhere.

/// Plain bytes: any value is valid, and no address is misaligned.
///
/// # Safety
/// Alignment 1, no padding, no value that is invalid.
pub unsafe trait Wire: Copy {}

// SAFETY: bytes.
unsafe impl<const N: usize> Wire for [u8; N] {}

macro_rules! headers {
    ($($(#[$doc:meta])* pub struct $name:ident [$len:literal] { $($(#[$field_doc:meta])* pub $field:ident: $ty:ty,)+ })+) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $($(#[$field_doc])* pub $field: $ty,)+ }
            const _: () = assert!(size_of::<$name>() == $len && align_of::<$name>() == 1);
            // SAFETY: arrays of bytes and bytes in `repr(C)`; the alignment is asserted.
            unsafe impl Wire for $name {}
        )+
    };
}

headers! {
    /// Ethernet II.
    pub struct Ethernet [14] {
        /// Destination, then source.
        pub macs: [u8; 12],
        /// One of [`ether_type`], among others.
        pub ether_type: [u8; 2],
    }

    /// What follows an ether type that announces a VLAN tag (IEEE 802.1Q).
    pub struct VlanTag [4] {
        /// Tag control information.
        pub tci: [u8; 2],
        /// Type of what follows.
        pub ether_type: [u8; 2],
    }

    /// IPv4 without options (RFC 791).
    pub struct Ipv4 [20] {
        /// Version in the high, header length in 32-bit words in the low nibble.
        pub version_ihl: u8,
        /// DSCP and ECN.
        pub traffic_class: u8,
        /// Header and payload, in bytes.
        pub total_len: [u8; 2],
        /// Identification.
        pub id: [u8; 2],
        /// Flags in the high three bits, then the fragment's offset.
        pub fragment: [u8; 2],
        /// Time to live.
        pub ttl: u8,
        /// Protocol of the payload.
        pub proto: u8,
        /// Checksum of the header.
        pub checksum: [u8; 2],
        /// Source.
        pub src: [u8; 4],
        /// Destination.
        pub dst: [u8; 4],
    }

    /// IPv6 without extension headers (RFC 8200).
    pub struct Ipv6 [40] {
        /// Version, traffic class, flow label.
        pub version_class_flow: [u8; 4],
        /// Everything behind this header, in bytes.
        pub payload_len: [u8; 2],
        /// What follows this header.
        pub next_header: u8,
        /// Hop limit.
        pub hop_limit: u8,
        /// Source.
        pub src: [u8; 16],
        /// Destination.
        pub dst: [u8; 16],
    }

    /// The start of an IPv6 extension header; all of a fragment header (RFC 8200 §4).
    pub struct Extension [8] {
        /// What follows this header.
        pub next_header: u8,
        /// Its length, in a unit that depends on the header; reserved in a fragment header.
        pub len: u8,
        /// In a fragment header: offset in the high 13 bits, "more fragments" in the lowest.
        pub fragment: [u8; 2],
        /// In a fragment header: identification.
        pub id: [u8; 4],
    }

    /// TCP without options (RFC 9293).
    pub struct Tcp [20] {
        /// Source port.
        pub src_port: [u8; 2],
        /// Destination port.
        pub dst_port: [u8; 2],
        /// Sequence and acknowledgment number.
        pub numbers: [u8; 8],
        /// Header length in 32-bit words in the high nibble.
        pub data_offset: u8,
        /// [`tcp_flags`] among others.
        pub flags: u8,
        /// Window, checksum, urgent pointer.
        pub rest: [u8; 6],
    }

    /// UDP (RFC 768).
    pub struct Udp [8] {
        /// Source port.
        pub src_port: [u8; 2],
        /// Destination port.
        pub dst_port: [u8; 2],
        /// Header and payload, in bytes.
        pub len: [u8; 2],
        /// Checksum.
        pub checksum: [u8; 2],
    }

    /// ICMP echo, of either version (RFC 792, RFC 4443 §4).
    pub struct Icmp [8] {
        /// Type.
        pub kind: u8,
        /// Code.
        pub code: u8,
        /// Checksum.
        pub checksum: [u8; 2],
        /// Identifier and sequence number.
        pub rest: [u8; 4],
    }
}

impl Ipv4 {
    /// Length of the header with its options, in bytes; `None` if version or length is wrong.
    #[inline(always)]
    pub fn header_len(&self) -> Option<usize> {
        let len = usize::from(self.version_ihl & 0xf) * 4;
        (self.version_ihl >> 4 == 4 && len >= size_of::<Self>()).then_some(len)
    }

    /// Whether this is a part of a datagram only: more fragments follow, or came before.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & 0x3fff != 0
    }

    /// Whether this is a part of a datagram that is not its start.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & 0x1fff != 0
    }
}

impl Ipv6 {
    /// Whether the header is one of version 6.
    #[inline(always)]
    pub fn has_version(&self) -> bool {
        let [first, ..] = self.version_class_flow;
        first >> 4 == 6
    }
}

impl Extension {
    /// Whether this fragment header stands before a part of a datagram only. One before a whole
    /// datagram is "atomic" (RFC 6946) and means nothing.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & 0xfff9 != 0
    }

    /// Whether this fragment header stands before a part of a datagram that is not its start.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & 0xfff8 != 0
    }
}

/// Values of [`Ethernet::ether_type`], in host order: one comparison instead of two.
pub mod ether_type {
    /// IPv4
    pub const IPV4: u16 = 0x0800;
    /// IPv6
    pub const IPV6: u16 = 0x86dd;
    /// A VLAN tag of a customer (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// A VLAN tag of a provider (IEEE 802.1ad).
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// Values of [`Extension::next_header`] that announce an extension header.
pub mod extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
}

/// Bits of [`Tcp::flags`].
pub mod tcp_flags {
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
    /// The bits that move a connection from state to state: FIN, SYN, RST and ACK.
    pub const STATE: u8 = 0x17;
}

/// Adds two one's complement sums, the carry back in at the low end (RFC 1071). Byte order does
/// not matter as long as both have the same.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "two 16-bit values carry at most once, and after that there is no second carry"
)]
pub const fn ones_add(a: u16, b: u16) -> u16 {
    let sum = a as u32 + b as u32;
    ((sum & 0xffff) + (sum >> 16)) as u16
}
