//! What was typed of services in mode `nat`.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::read::Need::{Default, Optional};
use crate::read::table;
use crate::value::{PortRange, Span};

table! {
    /// How connections of services in mode `"nat"` are translated.
    pub(crate) struct NatTable as "nat" {
        /// Our address towards IPv4 backends, to which they answer; it has to lead to this node.
        /// When absent: the address of the interface that leads to each. A change ends the
        /// connections that are open.
        "source-v4" => source_v4: Ipv4Addr, Optional;
        /// The same towards IPv6 backends.
        "source-v6" => source_v6: Ipv6Addr, Optional;
        /// The ports that connections get there: so many connections to each port of each backend
        /// are possible. The host itself must open none to a backend's port from these: keep them
        /// apart from the sysctl `net.ipv4.ip_local_port_range`, which is 32768-60999 by habit.
        "ports" => ports: PortRange, Default("\"1024-32767\"");
        /// How long a TCP connection without packets is remembered until both ends have shown that
        /// they want it. A flood of SYNs holds so much of the table's 262144 places.
        "tcp-handshake" => tcp_handshake: Span<1000, 3_600_000>, Default("\"10s\"");
        /// The same while it is open; RFC 5382 asks for 2h4m at least.
        "tcp-established" => tcp_established: Span<1000, 604_800_000>, Default("\"2h4m\"");
        /// The same when one end has closed it, and the other one has not.
        "tcp-half-closed" => tcp_half_closed: Span<1000, 604_800_000>, Default("\"4m\"");
        /// The same when both have closed it or one has reset it: its port is free again then.
        "tcp-closed" => tcp_closed: Span<1000, 3_600_000>, Default("\"10s\"");
        /// How long a UDP flow without packets is remembered. RFC 4787 asks for 2m at least; less
        /// is right for queries such as those of DNS.
        "udp" => udp: Span<1000, 604_800_000>, Default("\"2m\"");
    }
    hints {
        "source" => "write source-v4 or source-v6",
        "port-range" => "write ports",
        "timeout" => "write tcp-established, or one of the others",
    }
}
