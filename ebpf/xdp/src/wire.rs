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

    /// The start of a long header of QUIC (RFC 8999 §5.1); of a short one the first byte alone.
    pub struct QuicLong [6] {
        /// Long or short, in the highest bit.
        pub form: u8,
        /// Version.
        pub version: [u8; 4],
        /// Length of the connection id of whom it is for, which follows.
        pub id_len: u8,
    }

    /// SCTP, and the type of its first chunk (RFC 9260 §3).
    pub struct Sctp [16] {
        /// Source port.
        pub src_port: [u8; 2],
        /// Destination port.
        pub dst_port: [u8; 2],
        /// Verification tag and checksum.
        pub tag_and_checksum: [u8; 8],
        /// Type of the first chunk: 1 opens an association (INIT).
        pub chunk_kind: u8,
        /// Flags of the chunk.
        pub chunk_flags: u8,
        /// Length of the chunk, its header included.
        pub chunk_len: [u8; 2],
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

    /// Whether routers must not fragment it.
    #[inline(always)]
    pub fn is_unfragmentable(&self) -> bool {
        u16::from_be_bytes(self.fragment) & 0x4000 != 0
    }

    /// Sum of both addresses, for a pseudo header (RFC 768).
    #[inline(always)]
    pub fn address_sum(&self) -> u16 {
        let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (self.src, self.dst);
        let addrs = [[s0, s1], [s2, s3], [d0, d1], [d2, d3]].map(u16::from_be_bytes);
        fold_words(addrs.iter().map(|&word| u32::from(word)).sum())
    }

    /// The checksum of a header without options whose checksum field is zero.
    #[inline(always)]
    pub fn sum(&self) -> [u8; 2] {
        let words = [
            u16::from_be_bytes([self.version_ihl, self.traffic_class]),
            u16::from_be_bytes(self.total_len),
            u16::from_be_bytes(self.id),
            u16::from_be_bytes(self.fragment),
            u16::from_be_bytes([self.ttl, self.proto]),
        ];
        let sum = words.iter().map(|&word| u32::from(word)).sum();
        (!ones_add(fold_words(sum), self.address_sum())).to_be_bytes()
    }
}

impl Ipv6 {
    /// Whether the header is one of version 6.
    #[inline(always)]
    pub fn has_version(&self) -> bool {
        let [first, ..] = self.version_class_flow;
        first >> 4 == 6
    }

    /// Sum of both addresses, for the pseudo header of RFC 8200 §8.1.
    #[inline(always)]
    pub fn address_sum(&self) -> u16 {
        let words = |addr: &[u8; 16]| {
            let (words, _) = addr.as_chunks::<2>();
            words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum::<u32>()
        };
        fold_words(words(&self.src) + words(&self.dst))
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

impl Icmp {
    /// The header with the checksum of a message the rest of which, with a pseudo header if it has
    /// one, has this sum.
    #[inline(always)]
    #[must_use]
    pub fn with_checksum(self, rest: u16) -> Self {
        let [r0, r1, r2, r3] = self.rest;
        let own = ones_add(u16::from_be_bytes([self.kind, self.code]), rest);
        let own = ones_add(own, u16::from_be_bytes([r0, r1]));
        let sum = ones_add(own, u16::from_be_bytes([r2, r3]));
        Self { checksum: (!sum).to_be_bytes(), ..self }
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
    /// Closes one direction of it.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends it at once.
    pub const RST: u8 = 0x04;
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

/// Sum of big-endian words, of the sum of up to 65,536 of them.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded twice, no carry is left")]
pub const fn fold_words(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The same of a sum that the kernel made, whose words are in the order of the host.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    fold_words(sum).to_be()
}
