//! The world as it was last seen. The planner reads nothing else.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_abi::{Backend, QuicKey, Rates, Service, ServiceKeyV4, ServiceKeyV6, Slot};
use tidegate_bgp::speaker::RouteAttributes;
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::ServiceAddr;

use crate::drain::Imposed;
use crate::proof::Finding;
use crate::step::Reason;

/// Everything the planner knows of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What the maps hold.
    pub datapath: Datapath,
    /// Backends that their service's health check calls up. One without a check counts as up
    /// without standing here.
    pub healthy: BTreeSet<(ServiceAddr, IpAddr)>,
    /// Backends whose health check has no verdict yet. Such a one stays in its ring or out of it,
    /// as the maps show it: so a restart moves nothing before the first answers are in.
    pub unproven: BTreeSet<(ServiceAddr, IpAddr)>,
    /// Backends that start slowly, and since when.
    pub started: BTreeMap<(ServiceAddr, IpAddr), Timestamp>,
    /// The way to each backend address for which there is one.
    pub ways: BTreeMap<IpAddr, Way>,
    /// What the packet path did with test packets ([`proof`](crate::proof)): for each service, one
    /// packet for each backend that its ring names. A service that does not stand here was not
    /// tried.
    pub proofs: BTreeMap<ServiceAddr, Vec<Finding>>,
    /// Services that were proven in the last plan; [`Memory`](crate::Memory)'s.
    pub proven_before: BTreeSet<ServiceAddr>,
    /// What is being taken out of service, and how far that is.
    pub drains: Imposed,
    /// What the speaker originates.
    pub advertised: BTreeMap<Prefix, RouteAttributes>,
    /// When a prefix that is no longer originated was withdrawn; [`Memory`](crate::Memory)'s.
    pub withdrawn_at: BTreeMap<Prefix, Timestamp>,
    /// Prefixes that were withdrawn because something failed, not long ago;
    /// [`Memory`](crate::Memory)'s.
    pub held_down: BTreeMap<Prefix, HoldDown>,
    /// Services whose ring has slots in transition, and since when; [`Memory`](crate::Memory)'s.
    pub unsettled_since: BTreeMap<ServiceAddr, Timestamp>,
}

/// A prefix that was withdrawn because something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldDown {
    /// What failed.
    pub reason: Reason,
    /// How often in a row.
    pub failures: u32,
    /// It is not announced before.
    pub until: Timestamp,
    /// If nothing fails until then, the next failure is the first.
    pub forget_at: Timestamp,
}

/// What the maps hold, and where the program is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datapath {
    /// The program is loaded and attached to every configured interface.
    pub attached: bool,
    /// `SERVICES_V4`
    pub services_v4: BTreeMap<ServiceKeyV4, Service>,
    /// `SERVICES_V6`
    pub services_v6: BTreeMap<ServiceKeyV6, Service>,
    /// Entries of `BACKENDS` that are not free, by index.
    pub backends: BTreeMap<u32, Backend>,
    /// `RING_SLOTS` up to the last slot that is not zero; slots beyond are zero. More than the
    /// services use: a ring stands complete beside the old one before its service names it.
    pub slots: Vec<Slot>,
    /// `PREFIXES_V4` and `PREFIXES_V6`: what is said of clients by their addresses.
    pub prefixes: Arc<BTreeMap<Prefix, u32>>,
    /// `RATES`, without those that limit nothing, by [`Service::index`].
    pub rates: BTreeMap<u32, Rates>,
    /// `QUIC_SERVERS`.
    pub quic_servers: BTreeMap<QuicKey, u32>,
}

/// The way to an address: what the kernel's routes, neighbours and links say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Interface whose driver sends the frame (the parent of a VLAN device).
    pub egress_ifindex: u32,
    /// Tag control information to write, if the way leads through a VLAN device.
    pub vlan: Option<u16>,
    /// Our MAC address there.
    pub source_mac: [u8; 6],
    /// MAC address of the next hop (gateway, or the address itself when on link).
    pub next_hop_mac: [u8; 6],
    /// Whether the address is on link: no gateway lies between.
    pub on_link: bool,
    /// Largest IP packet the way carries, in bytes.
    pub mtu: u16,
    /// Our own IPv4 address towards it.
    pub source_v4: Option<Ipv4Addr>,
    /// Our own IPv6 address towards it.
    pub source_v6: Option<Ipv6Addr>,
}
