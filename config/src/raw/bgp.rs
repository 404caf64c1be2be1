//! What was typed of the decision process, of keychains, of sessions that tell several paths, and of
//! BFD.

use std::path::PathBuf;

use tidegate_bgp::types::Family;

use crate::desired::AoAlgorithm;
use crate::read::Need::{Default, Optional, Required};
use crate::read::{List, Tables, table};
use crate::value::{Int, Name, Span};

table! {
    /// How the best of several paths to a prefix is chosen (RFC 4271 §9.1.2), and which are used
    /// beside it.
    pub(crate) struct DecisionTable as "decision" {
        /// Compare MULTI_EXIT_DISC between different neighbouring ASes too.
        "always-compare-med" => always_compare_med: bool, Default("false");
        /// A path without MULTI_EXIT_DISC is as bad as one with the highest, in place of as good as
        /// one with zero.
        "missing-med-is-worst" => missing_med_is_worst: bool, Default("false");
        /// How many paths are used together, at most, if the best one is external.
        "multipath-external" => multipath_external: Int<u8, 1, 64>, Default("1");
        /// How many paths are used together, at most, if the best one is internal.
        "multipath-internal" => multipath_internal: Int<u8, 1, 64>, Default("1");
        /// Paths that are equally long are used together even if they lead through different
        /// neighbouring ASes.
        "multipath-relax" => multipath_relax: bool, Default("false");
        /// Paths that are used together share the traffic by their Link Bandwidth communities, if
        /// every one of them has one; otherwise each gets the same.
        "link-bandwidth" => link_bandwidth: bool, Default("false");
    }
    hints {
        "multipath" => "write multipath-external or multipath-internal",
        "maximum-paths" => "write multipath-external or multipath-internal",
    }
}

table! {
    /// Keys that sign sessions (TCP-AO, RFC 5925), the preferred one first. The kernel has to have it:
    /// Linux 6.7 or later, with CONFIG_TCP_AO.
    /// Both ends can have several, and each asks for the one that it prefers. To change keys without
    /// losing a session: add the new one at both ends, then put it first at both, then remove the old
    /// one.
    pub(crate) struct KeychainTable as "keychain" {
        /// Its name in `keychain` of peers.
        "name" => name: Name, Required;
        /// The keys, at least one and at most eight.
        "key" => keys: Tables<KeychainKeyTable>, Required;
    }
    hints {
        "keys" => "write [[keychain.key]] below this keychain, once per key",
    }
}

table! {
    /// A key of the keychain above it.
    pub(crate) struct KeychainKeyTable as "keychain.key" {
        /// The number by which the peer knows the key (SendID).
        "id" => id: Int<u8, 0, 255>, Required;
        /// The number that stands in what the peer signs with it (RecvID). When absent: as id.
        "receive-id" => receive_id: Int<u8, 0, 255>, Optional;
        /// How it signs (RFC 5926).
        "algorithm" => algorithm: AoAlgorithm, Default("\"hmac-sha-1-96\"");
        /// File with the key itself; its first line counts.
        "file" => file: PathBuf, Required;
    }
    hints {
        "send-id" => "write id",
        "key-id" => "write id",
        "secret" => "write it into a file and name that: file = \"/etc/tidegate/…\"",
        "password" => "write it into a file and name that: file = \"/etc/tidegate/…\"",
        "password-file" => "write file",
    }
}

table! {
    /// Several paths to one prefix (ADD-PATH, RFC 7911).
    pub(crate) struct AddPathTable as "peer.add-path" {
        /// Families of which several paths are taken from the peer.
        "receive" => receive: List<Family>, Default("[]");
        /// Families of which several paths are told to the peer.
        "send" => send: List<Family>, Default("[]");
        /// How many paths to a prefix the peer is told, at most: the best ones, without its own.
        "send-max" => send_max: Int<u8, 1, 255>, Default("8");
        /// How many paths to a prefix are taken from the peer; those beyond are not.
        "receive-max" => receive_max: Int<u8, 1, 255>, Default("16");
    }
}

table! {
    /// Whether packets still reach the peer, known within a fraction of a second (BFD, RFC 5880): its
    /// session is closed when they do not. The peer has to do the same.
    pub(crate) struct BfdTable as "peer.bfd" {
        /// How often packets come and go, unless the peer wants them less often.
        "interval" => interval: Span<10, 60_000>, Default("\"300ms\"");
        /// So many intervals without a packet are too many.
        "multiplier" => multiplier: Int<u8, 2, 255>, Default("3");
        /// Whether the peer may be several hops away (RFC 5883). When absent: as the session is; a
        /// peer on a link of ours, by multihop or ttl-security, is not.
        "multihop" => multihop: bool, Optional;
    }
    hints {
        "detect-multiplier" => "write multiplier",
        "min-rx" => "write interval",
        "min-tx" => "write interval",
    }
}
