//! What was typed of protection: who may come in, and how often.

use std::path::PathBuf;

use crate::read::Need::{Default, Optional};
use crate::read::{List, table};
use crate::value::{Int, Network, Span};

table! {
    /// Who may send packets to the VIPs, and how many. What the host itself is sent, BGP and its
    /// operators' sessions included, is not asked.
    pub(crate) struct GuardTable as "guard" {
        /// Clients whose packets are dropped: prefixes and addresses of both IP versions. Of all
        /// prefixes here, in `allow` and in files, the longest one that has a client's address
        /// counts; at most 131072 of each IP version.
        "deny" => deny: List<Network>, Default("[]");
        /// Exceptions from shorter prefixes that are denied.
        "allow" => allow: List<Network>, Default("[]");
        /// Files of more that are denied: a prefix or an address in each line, and comments from `#`
        /// to the end of a line. Read by each start, `tidegate apply` and reload.
        "deny-files" => deny_files: List<PathBuf>, Default("[]");
        /// Files of more exceptions.
        "allow-files" => allow_files: List<PathBuf>, Default("[]");
        /// First bits of an IPv4 client's address that make a source: clients that share them share
        /// the limits of a source.
        "source-prefix-v4" => source_prefix_v4: Int<u8, 8, 32>, Default("32");
        /// The same for IPv6.
        "source-prefix-v6" => source_prefix_v6: Int<u8, 16, 64>, Default("64");
        /// How much of its rate may come at once after a pause: with `"1s"`, the packets of a second.
        /// One packet may always.
        "burst" => burst: Span<1, 60_000>, Default("\"1s\"");
        /// Packets per second that each service takes from one source; 0: no limit. Rates are held to
        /// within one per cent.
        "source-rate" => source_rate: Int<u32, 0, 10_000_000>, Default("0");
        /// TCP SYNs (and SCTP INITs) among them.
        "source-syn-rate" => source_syn_rate: Int<u32, 0, 10_000_000>, Default("0");
        /// Packets per second that each service takes from all sources; 0: no limit.
        "service-rate" => service_rate: Int<u32, 0, 10_000_000>, Default("0");
        /// TCP SYNs (and SCTP INITs) among them.
        "service-syn-rate" => service_syn_rate: Int<u32, 0, 10_000_000>, Default("0");
    }
    hints {
        "block" => "write deny",
        "blocklist" => "write deny-files",
        "permit" => "write allow",
        "deny-file" => "write deny-files",
        "allow-file" => "write allow-files",
        "rate" => "write source-rate or service-rate",
        "syn-rate" => "write source-syn-rate or service-syn-rate",
    }
}

table! {
    /// Limits of the service that differ from those in `[guard]`.
    pub(crate) struct ServiceGuardTable as "service.guard" {
        /// Packets per second from one source; 0: no limit. When absent: as in `[guard]`.
        "source-rate" => source: Int<u32, 0, 10_000_000>, Optional;
        /// TCP SYNs (and SCTP INITs) among them. When absent: as in `[guard]`.
        "source-syn-rate" => source_syn: Int<u32, 0, 10_000_000>, Optional;
        /// Packets per second from all sources; 0: no limit. When absent: as in `[guard]`.
        "service-rate" => service: Int<u32, 0, 10_000_000>, Optional;
        /// TCP SYNs (and SCTP INITs) among them. When absent: as in `[guard]`.
        "service-syn-rate" => service_syn: Int<u32, 0, 10_000_000>, Optional;
    }
    hints {
        "deny" => "write it in [guard]: it is for all services",
        "allow" => "write it in [guard]: it is for all services",
        "rate" => "write service-rate",
        "syn-rate" => "write service-syn-rate",
        "burst" => "write it in [guard]: it is for all services",
    }
}
