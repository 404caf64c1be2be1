//! One name for every verdict and for every event worth counting.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal;)+) => {
        /// Row of the per-CPU `COUNTERS` map. Every verdict moves exactly one of these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant = $index,)+
        }

        impl Counter {
            /// All of them, in the order of their rows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that metrics and command line print.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One line for an operator.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

counters! {
    /// Passed to the kernel: not for a VIP of ours.
    PassNotOurs = 0, "pass_not_ours";
    /// Passed to the kernel: neither IPv4 nor IPv6.
    PassNotIp = 1, "pass_not_ip";
    /// Passed to the kernel: an IP header that does not parse.
    PassBadHeader = 2, "pass_bad_header";
    /// Sent to a backend through the interface it came in by.
    ForwardTx = 3, "forward_tx";
    /// Sent to a backend through another interface.
    ForwardRedirect = 4, "forward_redirect";
    /// ICMP echo to a VIP, answered.
    EchoReply = 5, "echo_reply";
    /// Dropped: a VIP of ours, but no service on this port and protocol.
    DropNoService = 6, "drop_no_service";
    /// Dropped: the service has no backend in this slot.
    DropNoBackend = 7, "drop_no_backend";
    /// Dropped: next hop or MAC address of the backend is not known.
    DropUnresolved = 8, "drop_unresolved";
    /// Dropped: a fragment of a datagram whose ports are not known: its first part was not seen, or
    /// has none.
    DropFragment = 9, "drop_fragment";
    /// Dropped: for a VIP, but the transport header is cut off or lies about lengths.
    DropMalformed = 10, "drop_malformed";
    /// Dropped: does not fit the MTU towards the backend, and was not answered.
    DropTooBig = 11, "drop_too_big";
    /// Dropped: no room in front of the frame for the outer header.
    DropNoHeadroom = 12, "drop_no_headroom";
    /// Event: a flow could not be remembered, the flow table is full.
    FlowTableFull = 13, "flow_table_full";
    /// Passed to the kernel: for a VIP, but in a broadcast or multicast frame.
    PassGroupFrame = 14, "pass_group_frame";
    /// Passed to the kernel: neighbour discovery of a VIP's link.
    PassNeighbour = 15, "pass_neighbour";
    /// Event: an ICMP error that quotes a packet of a service goes to the owner of its flow.
    IcmpErrorForwarded = 16, "icmp_error_forwarded";
    /// Does not fit the MTU towards the backend: answered with the size that does.
    AnswerTooBig = 17, "answer_too_big";
    /// Event: a fragment goes to the owner of its datagram's flow.
    FragmentForwarded = 18, "fragment_forwarded";
    /// Dropped: the part of the packet path that writes this backend's headers is not loaded.
    DropNoProgram = 19, "drop_no_program";
    /// Event: a packet in GUE left without the outer checksum that its backend wants.
    ChecksumMissing = 20, "checksum_missing";
    /// Sent to a client, from a backend in NAT, through the interface it came in by.
    AnswerTx = 21, "answer_tx";
    /// Sent to a client, from a backend in NAT, through another interface.
    AnswerRedirect = 22, "answer_redirect";
    /// Dropped: for a service in NAT, of no connection that is known, and opens none.
    DropNatUnknown = 23, "drop_nat_unknown";
    /// Dropped: would open a connection in NAT, and no more are remembered.
    DropNatFull = 24, "drop_nat_full";
    /// Dropped: would open a connection in NAT, and found no free port towards its backend.
    DropNatNoPort = 25, "drop_nat_no_port";
    /// Passed to the kernel: for a service in NAT, and its time to live ends here.
    PassExpired = 26, "pass_expired";
    /// Dropped: from a backend in NAT, and its time to live ends here.
    DropExpired = 27, "drop_expired";
    /// Event: a connection in NAT begins.
    NatOpened = 28, "nat_opened";
    /// Dropped: the client's address lies in a prefix that is denied.
    DropDenied = 29, "drop_denied";
    /// Dropped: the source sends the service more packets than it may.
    DropSourceRate = 30, "drop_source_rate";
    /// Dropped: the source opens more connections to the service than it may.
    DropSourceSynRate = 31, "drop_source_syn_rate";
    /// Dropped: the service gets more packets than it may.
    DropServiceRate = 32, "drop_service_rate";
    /// Dropped: more connections to the service are opened than may be.
    DropServiceSynRate = 33, "drop_service_syn_rate";
}

impl Counter {
    /// Rows of the map.
    pub const COUNT: u32 = 34;

    /// Whether this counts something beside the packet's verdict.
    pub const fn is_event(self) -> bool {
        self.action().is_none()
    }

    /// Whether a packet that moved this counter was dropped.
    pub const fn is_drop(self) -> bool {
        matches!(self.action(), Some(Action::Drop))
    }
}

/// What the packet path tells the driver about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to the kernel.
    Pass,
    /// Out where it came in.
    Tx,
    /// Out through another interface.
    Redirect,
    /// Nowhere.
    Drop,
}

impl Action {
    /// As XDP calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Tx => "tx",
            Self::Redirect => "redirect",
            Self::Drop => "drop",
        }
    }
}

impl Counter {
    /// What the packet path told the driver about a packet that moved this counter; `None` for an event,
    /// which stands beside the packet's verdict.
    pub const fn action(self) -> Option<Action> {
        match self {
            Self::PassNotOurs
            | Self::PassNotIp
            | Self::PassBadHeader
            | Self::PassGroupFrame
            | Self::PassNeighbour
            | Self::PassExpired => Some(Action::Pass),
            Self::ForwardTx | Self::AnswerTx | Self::EchoReply | Self::AnswerTooBig => {
                Some(Action::Tx)
            }
            Self::ForwardRedirect | Self::AnswerRedirect => Some(Action::Redirect),
            Self::FlowTableFull
            | Self::IcmpErrorForwarded
            | Self::FragmentForwarded
            | Self::ChecksumMissing
            | Self::NatOpened => None,
            Self::DropNoService
            | Self::DropNoBackend
            | Self::DropUnresolved
            | Self::DropFragment
            | Self::DropMalformed
            | Self::DropTooBig
            | Self::DropNoHeadroom
            | Self::DropNoProgram
            | Self::DropDenied
            | Self::DropSourceRate
            | Self::DropSourceSynRate
            | Self::DropServiceRate
            | Self::DropServiceSynRate
            | Self::DropNatUnknown
            | Self::DropNatFull
            | Self::DropNatNoPort
            | Self::DropExpired => Some(Action::Drop),
        }
    }

    /// The counters of drops, a bit each.
    #[expect(
        clippy::indexing_slicing,
        reason = "a constant: what is out of bounds does not compile"
    )]
    pub const DROPS: u64 = {
        let (mut bits, mut row) = (0, 0);
        while row < Self::ALL.len() {
            if Self::ALL[row].is_drop() {
                bits |= 1 << row;
            }
            row += 1;
        }
        bits
    };

    /// The stage of the packet path that drops for this reason; empty for what is no drop.
    pub const fn stage(self) -> &'static str {
        match self {
            Self::DropFragment | Self::DropMalformed => "parse",
            Self::DropNoService => "service",
            Self::DropDenied
            | Self::DropSourceRate
            | Self::DropSourceSynRate
            | Self::DropServiceRate
            | Self::DropServiceSynRate => "guard",
            Self::DropNoBackend => "pick",
            Self::DropNatUnknown | Self::DropNatFull | Self::DropNatNoPort | Self::DropExpired => {
                "nat"
            }
            Self::DropUnresolved
            | Self::DropTooBig
            | Self::DropNoHeadroom
            | Self::DropNoProgram => "encap",
            Self::PassNotOurs
            | Self::PassNotIp
            | Self::PassBadHeader
            | Self::PassGroupFrame
            | Self::PassNeighbour
            | Self::PassExpired
            | Self::ForwardTx
            | Self::ForwardRedirect
            | Self::EchoReply
            | Self::AnswerTooBig
            | Self::AnswerTx
            | Self::AnswerRedirect
            | Self::FlowTableFull
            | Self::IcmpErrorForwarded
            | Self::FragmentForwarded
            | Self::ChecksumMissing
            | Self::NatOpened => "",
        }
    }
}

/// Row of the per-CPU `LIMITS` map: what happens only so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Limit {
    /// Answers to packets that are too big.
    TooBig = 0,
}

impl Limit {
    /// Rows of the map.
    pub const COUNT: u32 = 1;
}

/// Rows of the per-CPU `FLOW_LIMITS` map, kinds of packets that are told of only so often: drops by
/// their [`Counter`], and then those that open connections and those that end them.
pub const FLOW_KINDS: u32 = Counter::COUNT + 2;

/// Row of the per-CPU `FLOW_COUNTS` map: what became of the word that a packet is worth. Every packet
/// moves exactly one of these while packets are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Told {
    /// It is in the ring.
    Logged = 0,
    /// Chance was against it.
    SampledOut = 1,
    /// Too many of its kind.
    LeftOut = 2,
    /// The ring was full.
    Lost = 3,
}

impl Told {
    /// All of them, in the order of their rows.
    pub const ALL: [Self; 4] = [Self::Logged, Self::SampledOut, Self::LeftOut, Self::Lost];
    /// Rows of the map.
    pub const COUNT: u32 = 4;
}

/// Row of the per-CPU `CAPTURE_COUNTS` map: what became of a packet that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Captured {
    /// It is in the ring.
    Kept = 0,
    /// The ring was full.
    Lost = 1,
}

impl Captured {
    /// Rows of the map.
    pub const COUNT: u32 = 2;
}

/// Row of the per-CPU `DECAP_COUNTERS` map: what `tidegate decap` did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum DecapCounter {
    /// Outer header taken off, the packet inside passed to the kernel.
    Unwrapped = 0,
    /// Passed to the kernel as it came: no packet in a packet to this host.
    PassNotOurs = 1,
    /// Dropped: the packet inside does not parse, or is longer than the outer header says.
    DropMalformed = 2,
}

impl DecapCounter {
    /// Rows of the map.
    pub const COUNT: u32 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dense_and_named_after_what_they_do() {
        assert_eq!(Counter::ALL.len(), Counter::COUNT as usize);
        for (row, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, row, "{counter:?}");
            assert_eq!(counter.is_drop(), counter.name().starts_with("drop_"), "{counter:?}");
            assert_eq!(counter.is_event(), counter.help().starts_with(" Event:"), "{counter:?}");
            assert_eq!(counter.is_event(), counter.action().is_none(), "{counter:?}");
            assert_eq!(counter.is_drop(), counter.action() == Some(Action::Drop), "{counter:?}");
            assert_eq!(counter.is_drop(), !counter.stage().is_empty(), "{counter:?}");
        }
    }
}
