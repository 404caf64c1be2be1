//! What was typed of the servers beside BGP: where VRPs come from, and who is told of our routes.

use core::net::IpAddr;
use std::path::PathBuf;

use crate::desired::BmpView;
use crate::read::Need::{Default, Optional, Required};
use crate::read::{List, table};
use crate::value::{Int, Name, Port, Span};

table! {
    /// An RPKI cache: it says which AS may originate which prefix (RFC 8210). Of several, the first
    /// one in the file that has an answer counts.
    pub(crate) struct RpkiCacheTable as "rpki-cache" {
        /// Its name in commands, metrics and the log.
        "name" => name: Name, Required;
        /// Its address. The connection is not encrypted: the cache should be near.
        "address" => address: IpAddr, Required;
        /// Its port.
        "port" => port: Port, Default("323");
        /// How long to wait until it is asked for news that it has not told of. When absent: as
        /// the cache says, an hour at most.
        "refresh" => refresh: Span<1000, 86_400_000>, Optional;
        /// How long to wait after a failure. When absent: as the cache says, ten minutes at most.
        "retry" => retry: Span<1000, 7_200_000>, Optional;
        /// How long its last answer counts when no other comes; then nothing is known any more.
        /// When absent: as the cache says, between ten minutes and two days.
        "expire" => expire: Span<1000, 172_800_000>, Optional;
    }
    hints {
        "host" => "write address",
        "server" => "write address",
        "preference" => "put the caches in order: the first one that has an answer counts",
        "expire-interval" => "write expire",
    }
}

table! {
    /// A BMP station: it is told what peers announce, what we make of it, and what we announce
    /// (RFC 7854). We connect to it.
    pub(crate) struct BmpStationTable as "bmp-station" {
        /// Its name in commands, metrics and the log.
        "name" => name: Name, Required;
        /// Its address.
        "address" => address: IpAddr, Required;
        /// Its port.
        "port" => port: Port, Required;
        /// What it is told: `"pre-policy"` and `"post-policy"`, the routes of each peer before and
        /// after its import policies; `"loc-rib"`, those that were chosen (RFC 9069); `"adj-rib-out"`,
        /// those that each peer was told of (RFC 8671).
        "views" => views: List<BmpView>, Default("[\"pre-policy\"]");
        /// How often it gets figures of each peer; `"0s"`: never.
        "stats-interval" => stats_interval: Span<0, 86_400_000>, Default("\"1m\"");
        /// How long to wait before the next attempt to connect.
        "connect-retry" => connect_retry: Span<1000, 3_600_000>, Default("\"30s\"");
    }
    hints {
        "host" => "write address",
        "monitor" => "write views",
    }
}

table! {
    /// Files of routes and messages for other tools (MRT, RFC 6396).
    pub(crate) struct MrtTable as "mrt" {
        /// Directory of the files; it is made if it is not there.
        "directory" => directory: PathBuf, Required;
        /// Whether every UPDATE that comes, and every change of a session's state, is written down.
        "updates" => updates: bool, Default("true");
        /// How long a file of updates is; then the next one begins.
        "rotate" => rotate: Span<1000, 604_800_000>, Default("\"15m\"");
        /// How often all routes are written into a file of their own. When absent: only when
        /// `tidegate dump` is run.
        "dump-interval" => dump_interval: Span<10_000, 604_800_000>, Optional;
        /// How many files of each kind are kept; older ones are removed.
        "keep" => keep: Int<u32, 1, 100_000>, Default("96");
    }
}
