//! What was typed of the decision process, of sessions that tell several paths, and of BFD.

use tidegate_bgp::types::Family;

use crate::read::Need::{Default, Optional};
use crate::read::{List, table};
use crate::value::{Int, Span};

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
