//! What the planner found, for people: command line, API and metrics read it.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_bgp::time::Timestamp;

use crate::life::Life;
use crate::proof::Flaw;
use crate::step::Reason;

/// One service as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipState {
    /// Its name in the configuration.
    pub name: String,
    /// Its backends by address, which services share whose backends stand the same.
    pub backends: Arc<BTreeMap<IpAddr, BackendView>>,
    /// Backends that take new flows.
    pub usable: u32,
    /// Where it stands in the maps; `None`: not there yet.
    pub programmed: Option<Programmed>,
    /// What test packets say of it.
    pub proof: Proof,
    /// What is wrong with this service by itself; `None`: it works, and holds nothing back.
    pub reason: Option<Reason>,
    /// It works, and its VIP is announced again then: it has failed too recently.
    pub held_until: Option<Timestamp>,
    /// The checks of all backends fail, and are taken to be wrong.
    pub fails_open: bool,
    /// Backends that do not have their whole share of new flows yet, and since when they take any.
    pub starting: BTreeMap<IpAddr, Timestamp>,
    /// Where the VIP is in its life.
    pub life: Life,
    /// Why the VIP is not announced, which may be another service's fault; `None`: it may be.
    pub withheld: Option<Reason>,
}

/// What test packets say of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Every one was sent to a healthy backend, by the way that the kernel knows.
    Proven,
    /// None was run, or one went where new flows shall not go: a change is on its way.
    Pending,
    /// One was not sent.
    Lost(Flaw),
}

impl Proof {
    /// The code that command line, API and metrics print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Pending => "pending",
            Self::Lost(flaw) => flaw.name(),
        }
    }
}

/// Where a service stands in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Programmed {
    /// Row in `SERVICE_TRAFFIC`.
    pub index: u32,
    /// First slot of its ring.
    pub ring_offset: u32,
    /// Slots of its ring.
    pub ring_size: u32,
    /// Slots in transition: flows of before a change still go to their old backend.
    pub unsettled: u32,
}

/// One backend of a service as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// What it does.
    pub state: BackendState,
    /// Its configured share.
    pub weight: u16,
    /// Its entry in `BACKENDS`, and row in `BACKEND_TRAFFIC`.
    pub index: Option<u32>,
    /// Slots of the ring that send new flows to it.
    pub slots: u32,
}

/// What a backend of a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendState {
    /// Takes new flows.
    Active,
    /// Weight 0, or it is being drained: keeps the flows it has, and gets no new ones.
    Draining,
    /// Taken out of service by the configuration, or drained: gets no packet.
    Disabled,
    /// Its health check has no verdict yet.
    Unproven,
    /// Its health check calls it down.
    Down,
    /// Healthy, but no route, neighbour or source address leads there.
    NoWay,
    /// Healthy, but the way there does not carry packets of `min-mtu` bytes.
    Narrow,
    /// Healthy, but the map of backends is full.
    NoRoom,
}

impl BackendState {
    /// The code that command line, API and metrics print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Unproven => "unproven",
            Self::Down => "down",
            Self::NoWay => "no-way",
            Self::Narrow => "narrow",
            Self::NoRoom => "no-room",
        }
    }
}
