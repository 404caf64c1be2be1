//! What was found out, before anybody has judged it. `None` means: nobody could find out.

use core::net::IpAddr;
use std::collections::BTreeMap;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The node itself.
    pub node: NodeFacts,
    /// Ways of services to backends, one for each that differs.
    pub backends: Vec<BackendFacts>,
}

/// The node itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Whether it loads an XDP program of ours, or why not.
    pub bpf: Option<Result<(), String>>,
    /// Whether it compiles BPF programs (`net.core.bpf_jit_enable`).
    pub jit: Option<bool>,
    /// Effective capabilities, as bits by their number.
    pub capabilities: Option<u64>,
    /// Descriptors that may be open (`RLIMIT_NOFILE`).
    pub files_max: Option<u64>,
    /// Process id of the daemon, if capabilities and limit are the daemon's and not our own.
    pub daemon_pid: Option<u32>,
    /// Peers and ranges of peers that are configured.
    pub peers: usize,
    /// Whether a port below 1024 is listened on.
    pub low_port: bool,
    /// Where the BPF file system is expected.
    pub bpffs: String,
    /// Whether there is one.
    pub is_bpffs: Option<bool>,
    /// Whether the clock is kept in time by something.
    pub clock_in_time: Option<bool>,
    /// Connections that the kernel tracks here, and how many it can.
    pub conntrack: Option<(u64, u64)>,
    /// How many neighbours the kernel remembers, IPv4 and IPv6.
    pub neighbours_max: [Option<u64>; 2],
    /// Configured interfaces; `None`: it is not there.
    pub interfaces: BTreeMap<String, Option<InterfaceFacts>>,
    /// VIPs that are addresses of this node, and the interface that each is on.
    pub own_vips: BTreeMap<IpAddr, String>,
    /// What the daemon says, if it answers.
    pub daemon: Option<DaemonFacts>,
    /// What the check of the configuration warns of.
    pub warnings: String,
}

/// What the daemon says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonFacts {
    /// What keeps it from converging.
    pub problem: Option<String>,
    /// Why the packet path is not in a better mode, by interface.
    pub why_not_native: BTreeMap<String, String>,
}

/// An interface that the packet path is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Up, and the driver says that packets pass.
    pub running: bool,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Name of the driver.
    pub driver: Option<String>,
    /// What runs there.
    pub xdp: Xdp,
    /// Whether the driver merges packets that come in (large receive offload).
    pub lro: Option<bool>,
    /// Whether the card does (`rx-gro-hw`).
    pub gro_hw: Option<bool>,
    /// Reverse path filter in force: the greater of that of all interfaces and its own.
    pub rp_filter: Option<u8>,
    /// Whether the packet path may be attached in the kernel's generic hook without a word.
    pub generic_is_wanted: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Xdp {
    /// None.
    #[default]
    None,
    /// Ours, in the driver or on the card.
    Native,
    /// Ours, in the kernel's generic hook.
    Generic,
    /// Somebody else's.
    Other,
}

/// How packets reach a backend, as far as a probe is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// In an IP header, or an IP and a UDP header.
    Tunnel {
        /// Bytes in front of the packet.
        overhead: u16,
        /// UDP port of the tunnel, in mode `gue`.
        gue_port: Option<u16>,
    },
    /// By the backend's MAC address.
    L2,
    /// From an address of ours.
    Nat,
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clients {
    /// TCP, to this port.
    Tcp(u16),
    /// Anything else.
    Other,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It was answered.
    Answered,
    /// Nothing came in time.
    Silent,
    /// It could not be sent.
    NotSent(String),
}

/// The largest packet of a client that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// So large a packet was tried, in bytes without the outer header.
    pub tried: u16,
    /// So large a one was answered.
    pub answered: u16,
}

/// The way of a service to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendFacts {
    /// Names of the services.
    pub services: Vec<String>,
    /// Their VIP, the first address of it.
    pub vip: IpAddr,
    /// The backend.
    pub addr: IpAddr,
    /// How packets reach it.
    pub mode: Mode,
    /// What clients send.
    pub clients: Clients,
    /// Largest packet of a client that must fit, in bytes.
    pub min_mtu: u16,
    /// Largest IP packet on the way as the kernel knows it, or why there is no way.
    pub way: Result<u16, String>,
    /// The interface that the way leads out of.
    pub egress: Option<String>,
    /// The gateway on the way; `None`: the backend is on the link.
    pub gateway: Option<IpAddr>,
    /// MAC address of the backend, or of the gateway.
    pub mac: Option<[u8; 6]>,
    /// The interface that packets to the VIP would leave by: those with it as their source must
    /// come in there, where the reverse path filter is strict.
    pub way_of_vip: Option<String>,
    /// A small packet to the VIP, as those of clients come there.
    pub as_client: Option<Probed>,
    /// A ping of the backend's own address, in the tunnel; asked only where the VIP is silent.
    pub own_in_tunnel: Option<Probed>,
    /// A ping of the backend's own address, as it is; asked only where nothing
    /// else is answered.
    pub ping: Option<Probed>,
    /// How large packets may be.
    pub size: Option<Size>,
    /// Who answers on the link when asked for the VIP's MAC address; `None`: nobody was asked.
    pub arp: Option<Option<[u8; 6]>>,
}
