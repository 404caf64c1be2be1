//! What the daemon and the program on a network card agree on. Keys, services and slots are those of
//! the packet path; a card's elements, key and value together, have 64 bytes.

use crate::layout::{Backend, ServiceKeyV4, ServiceKeyV6, Slot, Traffic};

plain! {
    /// One backend on the card: [`Backend`] without what the card has no use for. It leaves by the port
    /// that the card is told of it for, without a tag.
    pub struct CardBackend {
        /// Destination and source MAC of the frame that leaves, network order.
        pub macs: [u8; 12],
        /// Outer IP header, as in [`Backend::ip`].
        pub ip: [u8; 40],
        /// One of [`backend_kinds`](crate::backend_kinds): IPIP or `l2`; else its packets go up.
        pub kind: u8,
        /// Always zero.
        pub reserved: u8,
        /// Largest IP packet, in bytes and outer header included, that fits the way out.
        pub mtu: u16,
    }

    /// What the program has to know once; one row.
    #[derive(Default)]
    pub struct CardConfig {
        /// Seed of the flow hash, its last 32 bits.
        pub seed_low: u32,
        /// Its first 32 bits.
        pub seed_high: u32,
    }
}

/// What an element of a map may have on a card, each part rounded up to eight bytes.
const ELEMENT_BYTES_MAX: usize = 64;
const _: () = assert!(8 + size_of::<CardBackend>() <= ELEMENT_BYTES_MAX);
const _: () = assert!(24 + size_of::<crate::Service>() <= ELEMENT_BYTES_MAX);
const _: () = assert!(size_of::<ServiceKeyV4>() <= 24 && size_of::<ServiceKeyV6>() <= 24);
const _: () = assert!(8 + size_of::<Slot>() + size_of::<Traffic>() <= ELEMENT_BYTES_MAX);

impl CardBackend {
    /// An entry whose packets go up.
    pub const UP: Self = Self { macs: [0; 12], ip: [0; 40], kind: 0, reserved: 0, mtu: 0 };

    /// What the card does with packets for this backend, on the port with this index.
    pub const fn of(backend: &Backend, port_ifindex: u32) -> Self {
        use crate::{backend_flags, backend_kinds};
        let is_known = matches!(
            backend.kind,
            backend_kinds::IPV4_IN_IPV4
                | backend_kinds::IPV6_IN_IPV4
                | backend_kinds::IPV4_IN_IPV6
                | backend_kinds::IPV6_IN_IPV6
                | backend_kinds::L2
        );
        let is_plain = backend.flags == backend_flags::RESOLVED
            && backend.vlan_tci[0] == 0
            && backend.vlan_tci[1] == 0
            && backend.egress_ifindex == port_ifindex;
        if !is_known || !is_plain {
            return Self::UP;
        }
        let Backend { macs, ip, kind, mtu, .. } = *backend;
        Self { macs, ip, kind, reserved: 0, mtu }
    }
}

macro_rules! card_counters {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)+) => {
        /// Verdicts of the program on a card: rows of its counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum CardCounter {
            $($(#[$doc])* $name,)+
        }

        impl CardCounter {
            /// All of them, in the order of their rows.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// As in tables and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

card_counters! {
    /// Sent to a backend by the port that it came in by.
    Forward => "card_forward",
    /// Dropped: for a VIP of ours, and no service there has the port.
    DropNoService => "card_drop_no_service",
    /// Up to the host: neither IPv4 nor IPv6, tagged, or for a group of hosts.
    UpLink => "card_up_link",
    /// Up: options, extension headers, a fragment, or a header that is not sound.
    UpHeader => "card_up_header",
    /// Up: neither TCP nor UDP.
    UpProtocol => "card_up_protocol",
    /// Up: for no VIP on the card.
    UpNotOurs => "card_up_not_ours",
    /// Up: for a service that the card does not have.
    UpService => "card_up_service",
    /// Up: its slot has two backends for the moment, or none.
    UpTransition => "card_up_transition",
    /// Up: its backend is reached by another port or in another way than the card can.
    UpBackend => "card_up_backend",
    /// Up: too large with its outer header.
    UpTooBig => "card_up_too_big",
    /// Up: the card has no room in front of the packet.
    UpNoRoom => "card_up_no_room",
}

/// Names of the maps on a card.
pub mod card_map_names {
    /// Hash of [`ServiceKeyV4`](crate::ServiceKeyV4) to [`Service`](crate::Service).
    pub const SERVICES_V4: &str = "CARD_SERVICES_V4";
    /// Hash of [`ServiceKeyV6`](crate::ServiceKeyV6) to [`Service`](crate::Service).
    pub const SERVICES_V6: &str = "CARD_SERVICES_V6";
    /// Array of [`Slot`](crate::Slot).
    pub const SLOTS: &str = "CARD_SLOTS";
    /// Array of [`CardBackend`](super::CardBackend).
    pub const BACKENDS: &str = "CARD_BACKENDS";
    /// Array of [`CardConfig`](super::CardConfig), one row.
    pub const CONFIG: &str = "CARD_CONFIG";
    /// Array of `u64` by [`CardCounter`](super::CardCounter).
    pub const COUNTERS: &str = "CARD_COUNTERS";
    /// Array of [`Traffic`](crate::Traffic) by [`Service::index`](crate::Service).
    pub const SERVICE_TRAFFIC: &str = "CARD_SERVICE_TRAFFIC";
    /// Array of [`Traffic`](crate::Traffic) by backend index.
    pub const BACKEND_TRAFFIC: &str = "CARD_BACKEND_TRAFFIC";
}
