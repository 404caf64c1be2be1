//! What a change of a key costs: one row for every key of the file.
//!
//! `tidegate plan` tells it before a change is made, and the reload refuses what only a start can
//! do. A test compares the rows with the tables in `raw`: a key without a row fails it.

use core::fmt;

/// What a change of one key costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impact {
    /// Neither sessions nor packets notice.
    None,
    /// It takes effect in place: sessions stay up, and flows stay where they are for the drain
    /// time.
    Soft,
    /// The BGP session with the peer is closed and opened again.
    Session,
    /// Only a start of the daemon can use the new value: a reload with it is refused.
    Restart,
}

impl Impact {
    /// The word that `tidegate plan` and the reference print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Soft => "soft",
            Self::Session => "session",
            Self::Restart => "restart",
        }
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Table, key, and what a change of it costs. Keys that hold tables have no row: their keys have.
pub(crate) const IMPACTS: &[(&str, &str, Impact)] = &[
    ("tidegate.toml", "version", Impact::None),
    ("router", "asn", Impact::Restart),
    ("router", "router-id", Impact::Restart),
    ("router", "interfaces", Impact::Soft),
    ("router", "attach", Impact::Soft),
    ("router", "listen", Impact::Restart),
    ("router", "hash-seed", Impact::Restart),
    ("router", "encap-source-v4", Impact::Soft),
    ("router", "encap-source-v6", Impact::Soft),
    ("router", "pin-dir", Impact::Restart),
    ("router", "state-dir", Impact::Restart),
    ("router", "drain-on-stop", Impact::None),
    ("api", "socket", Impact::None),
    ("api", "listen", Impact::None),
    ("datapath", "too-big-rate", Impact::Soft),
    ("datapath", "too-big-without-df", Impact::Soft),
    ("datapath", "gue-port", Impact::Soft),
    ("datapath", "gue-checksum", Impact::Soft),
    ("datapath", "vary-source-v4", Impact::Soft),
    ("datapath", "vary-source-v6", Impact::Soft),
    ("guard", "deny", Impact::Soft),
    ("guard", "allow", Impact::Soft),
    ("guard", "deny-files", Impact::Soft),
    ("guard", "allow-files", Impact::Soft),
    ("guard", "source-prefix-v4", Impact::Soft),
    ("guard", "source-prefix-v6", Impact::Soft),
    ("guard", "burst", Impact::Soft),
    ("guard", "source-rate", Impact::Soft),
    ("guard", "source-syn-rate", Impact::Soft),
    ("guard", "service-rate", Impact::Soft),
    ("guard", "service-syn-rate", Impact::Soft),
    ("nat", "source-v4", Impact::Soft),
    ("nat", "source-v6", Impact::Soft),
    ("nat", "ports", Impact::Soft),
    ("nat", "tcp-handshake", Impact::None),
    ("nat", "tcp-established", Impact::None),
    ("nat", "tcp-half-closed", Impact::None),
    ("nat", "tcp-closed", Impact::None),
    ("nat", "udp", Impact::None),
    ("decision", "always-compare-med", Impact::Soft),
    ("decision", "missing-med-is-worst", Impact::Soft),
    ("decision", "multipath-external", Impact::Soft),
    ("decision", "multipath-internal", Impact::Soft),
    ("decision", "multipath-relax", Impact::Soft),
    ("decision", "link-bandwidth", Impact::Soft),
    ("peer", "name", Impact::Session),
    ("peer", "address", Impact::Session),
    ("peer", "port", Impact::Session),
    ("peer", "range-limit", Impact::Session),
    ("peer", "asn", Impact::Session),
    ("peer", "local-asn", Impact::Session),
    ("peer", "interface", Impact::Session),
    ("peer", "multihop", Impact::Session),
    ("peer", "ttl-security", Impact::Session),
    ("peer", "send-hold-time", Impact::Session),
    ("peer", "tcp-user-timeout", Impact::Session),
    ("peer", "shutdown", Impact::Session),
    ("peer", "local-address", Impact::Session),
    ("peer", "import", Impact::Soft),
    ("peer", "export", Impact::Soft),
    ("peer", "graceful-shutdown", Impact::Soft),
    ("peer", "heed-graceful-shutdown", Impact::Soft),
    ("peer", "passive", Impact::Soft),
    ("peer", "hold-time", Impact::Session),
    ("peer", "connect-retry", Impact::Soft),
    ("peer", "families", Impact::Session),
    ("peer", "extended-next-hop", Impact::Session),
    ("peer", "next-hop-v4", Impact::Soft),
    ("peer", "next-hop-v6", Impact::Soft),
    ("peer", "graceful-restart", Impact::Session),
    ("peer", "long-lived-graceful-restart", Impact::Session),
    // Whether it is zero stands in our OPEN.
    ("peer", "stale-time", Impact::Session),
    ("peer", "long-lived-stale-time", Impact::Session),
    ("peer", "role", Impact::Session),
    ("peer", "role-required", Impact::Session),
    // Another password in the file is given to the open session too.
    ("peer", "password-file", Impact::Soft),
    // So are keys.
    ("peer", "keychain", Impact::Soft),
    ("keychain", "name", Impact::Soft),
    ("keychain.key", "id", Impact::Soft),
    ("keychain.key", "receive-id", Impact::Soft),
    ("keychain.key", "algorithm", Impact::Soft),
    ("keychain.key", "file", Impact::Soft),
    ("peer.add-path", "receive", Impact::Session),
    ("peer.add-path", "send", Impact::Session),
    ("peer.add-path", "send-max", Impact::Session),
    ("peer.add-path", "receive-max", Impact::Session),
    ("peer.bfd", "interval", Impact::Soft),
    ("peer.bfd", "multiplier", Impact::Soft),
    ("peer.bfd", "multihop", Impact::Soft),
    ("peer.max-prefixes", "ipv4", Impact::Soft),
    ("peer.max-prefixes", "ipv6", Impact::Soft),
    ("peer.max-prefixes", "warn-percent", Impact::Soft),
    ("peer.max-prefixes", "restart", Impact::Soft),
    // What a policy lets through is asked for again, or told again: no session is closed.
    ("prefix-set", "name", Impact::Soft),
    ("prefix-set", "prefixes", Impact::Soft),
    ("as-path-set", "name", Impact::Soft),
    ("as-path-set", "paths", Impact::Soft),
    ("community-set", "name", Impact::Soft),
    ("community-set", "communities", Impact::Soft),
    ("policy", "name", Impact::Soft),
    ("policy", "default", Impact::Soft),
    ("policy.term", "name", Impact::Soft),
    ("policy.term", "then", Impact::Soft),
    ("policy.term.match", "prefix-set", Impact::Soft),
    ("policy.term.match", "not-prefix-set", Impact::Soft),
    ("policy.term.match", "as-path-set", Impact::Soft),
    ("policy.term.match", "not-as-path-set", Impact::Soft),
    ("policy.term.match", "community-set", Impact::Soft),
    ("policy.term.match", "not-community-set", Impact::Soft),
    ("policy.term.match", "family", Impact::Soft),
    ("policy.term.match", "source", Impact::Soft),
    ("policy.term.match", "path-length-max", Impact::Soft),
    ("policy.term.match", "path-length-min", Impact::Soft),
    ("policy.term.set", "local-pref", Impact::Soft),
    ("policy.term.set", "med", Impact::Soft),
    ("policy.term.set", "prepend", Impact::Soft),
    ("policy.term.set", "remove-communities", Impact::Soft),
    ("policy.term.set", "add-communities", Impact::Soft),
    ("policy.term.set", "add-large-communities", Impact::Soft),
    ("policy.term.match", "rpki", Impact::Soft),
    ("rpki-cache", "name", Impact::Soft),
    ("rpki-cache", "address", Impact::Soft),
    ("rpki-cache", "port", Impact::Soft),
    ("rpki-cache", "refresh", Impact::Soft),
    ("rpki-cache", "retry", Impact::Soft),
    ("rpki-cache", "expire", Impact::Soft),
    ("bmp-station", "name", Impact::None),
    ("bmp-station", "address", Impact::None),
    ("bmp-station", "port", Impact::None),
    ("bmp-station", "views", Impact::None),
    ("bmp-station", "stats-interval", Impact::None),
    ("bmp-station", "connect-retry", Impact::None),
    ("mrt", "directory", Impact::None),
    ("mrt", "updates", Impact::None),
    ("mrt", "rotate", Impact::None),
    ("mrt", "dump-interval", Impact::None),
    ("mrt", "keep", Impact::None),
    ("service", "name", Impact::Soft),
    ("service", "vip", Impact::Soft),
    ("service", "port", Impact::Soft),
    ("service", "protocol", Impact::Soft),
    ("service", "mode", Impact::Soft),
    ("service", "backend-port", Impact::Soft),
    ("service", "affinity", Impact::Soft),
    ("service", "udp", Impact::Soft),
    ("service", "client-prefix", Impact::Soft),
    ("service", "quic-config-id", Impact::Soft),
    ("service", "echo", Impact::Soft),
    ("service", "drain", Impact::Soft),
    ("service", "min-mtu", Impact::Soft),
    ("service", "when-all-down", Impact::Soft),
    ("service.guard", "source-rate", Impact::Soft),
    ("service.guard", "source-syn-rate", Impact::Soft),
    ("service.guard", "service-rate", Impact::Soft),
    ("service.guard", "service-syn-rate", Impact::Soft),
    ("service.backend", "address", Impact::Soft),
    ("service.backend", "weight", Impact::Soft),
    ("service.backend", "disabled", Impact::Soft),
    ("service.backend", "server-id", Impact::Soft),
    ("service.health", "type", Impact::Soft),
    ("service.health", "port", Impact::Soft),
    ("service.health", "method", Impact::Soft),
    ("service.health", "path", Impact::Soft),
    ("service.health", "host", Impact::Soft),
    ("service.health", "status", Impact::Soft),
    ("service.health", "body", Impact::Soft),
    ("service.health", "server-name", Impact::Soft),
    ("service.health", "ca-file", Impact::Soft),
    ("service.health", "grpc-service", Impact::Soft),
    ("service.health", "send", Impact::Soft),
    ("service.health", "expect", Impact::Soft),
    ("service.health", "query", Impact::Soft),
    ("service.health", "query-type", Impact::Soft),
    ("service.health", "rcode", Impact::Soft),
    ("service.health", "interval", Impact::Soft),
    ("service.health", "timeout", Impact::Soft),
    ("service.health", "retry", Impact::Soft),
    ("service.health", "rise", Impact::Soft),
    ("service.health", "fall", Impact::Soft),
    ("service.advertise", "communities", Impact::Soft),
    ("service.advertise", "large-communities", Impact::Soft),
    ("service.advertise", "med", Impact::Soft),
    ("service.advertise", "local-pref", Impact::Soft),
    ("service.advertise", "prepend", Impact::Soft),
    ("service.advertise", "min-healthy", Impact::Soft),
    ("service.advertise", "hold-down", Impact::Soft),
    ("service.advertise", "hold-down-max", Impact::Soft),
];

/// The impact of a key that has a row.
pub(crate) fn row(table: &str, key: &str) -> Option<Impact> {
    IMPACTS.iter().find(|row| (row.0, row.1) == (table, key)).map(|row| row.2)
}

/// The impact of a key. One that has no row, which a test excludes, costs the most.
pub(crate) fn of(table: &str, key: &str) -> Impact {
    row(table, key).unwrap_or(Impact::Restart)
}
