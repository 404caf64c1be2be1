//! What the executor can do. A step leaves it no choice, and doing it twice does no harm.

use core::fmt;

use serde::{Deserialize, Serialize};
use tidegate_abi::{Backend, QuicKey, Rates, Service, ServiceKeyV4, ServiceKeyV6, Slot};
use tidegate_bgp::speaker::RouteAttributes;
use tidegate_bgp::types::Prefix;

use crate::observed::HoldDown;
use crate::proof::Flaw;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write `BACKENDS[index]`; a fresh index starts with its traffic row at zero.
    PutBackend {
        /// Which entry.
        index: u32,
        /// Its new value.
        entry: Backend,
        /// The index was free: clear its row in `BACKEND_TRAFFIC` first.
        fresh: bool,
    },
    /// Free `BACKENDS[index]`; no slot names it any more.
    FreeBackend {
        /// Which entry.
        index: u32,
    },
    /// Store these slots, each with one 8-byte store.
    PutSlots {
        /// Index in `RING_SLOTS` and the new value, ascending.
        slots: Vec<(u32, Slot)>,
    },
    /// Write a service, or the entry of a VIP.
    PutServiceV4 {
        /// Key in `SERVICES_V4`.
        key: ServiceKeyV4,
        /// Its new value.
        service: Service,
        /// The traffic row was free: clear it first.
        fresh: bool,
    },
    /// Remove a service, or the entry of a VIP.
    DeleteServiceV4 {
        /// Key in `SERVICES_V4`.
        key: ServiceKeyV4,
    },
    /// The same for IPv6.
    PutServiceV6 {
        /// Key in `SERVICES_V6`.
        key: ServiceKeyV6,
        /// Its new value.
        service: Service,
        /// The traffic row was free: clear it first.
        fresh: bool,
    },
    /// The same for IPv6.
    DeleteServiceV6 {
        /// Key in `SERVICES_V6`.
        key: ServiceKeyV6,
    },
    /// Say of these prefixes of clients whether they are denied or allowed, in this order.
    PutPrefixes {
        /// Prefix and one of [`admissions`](tidegate_abi::admissions).
        prefixes: Vec<(Prefix, u32)>,
    },
    /// Say nothing of these any more, in this order.
    DeletePrefixes {
        /// Which.
        prefixes: Vec<Prefix>,
    },
    /// Write the limits of a service.
    PutRates {
        /// Its [`index`](Service::index).
        index: u32,
        /// Its limits.
        rates: Rates,
    },
    /// Let these server ids name these backends.
    PutServers {
        /// Key in `QUIC_SERVERS` and index in `BACKENDS`, ascending.
        servers: Vec<(QuicKey, u32)>,
    },
    /// Let these name none any more.
    DeleteServers {
        /// Keys in `QUIC_SERVERS`, ascending.
        servers: Vec<QuicKey>,
    },
    /// Originate a route, or change its attributes.
    Advertise {
        /// The VIP's /32 or /128.
        prefix: Prefix,
        /// What goes with it.
        attributes: RouteAttributes,
    },
    /// No longer originate it.
    Withdraw {
        /// The VIP's /32 or /128.
        prefix: Prefix,
        /// For the journal and `tidegate vips`.
        reason: Reason,
        /// How long it stays withdrawn at least.
        hold_down: Option<HoldDown>,
    },
}

impl Step {
    /// Whether it is a step on the maps, and not one of the speaker's.
    pub const fn is_of_maps(&self) -> bool {
        !matches!(self, Self::Advertise { .. } | Self::Withdraw { .. })
    }
}

/// Why a VIP is not announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The configuration no longer announces it.
    NotConfigured,
    /// The program is not attached to every configured interface.
    NotAttached,
    /// Not every backend has had its first health checks since the service is new here.
    NotChecked,
    /// The maps do not hold the service yet.
    NotProgrammed,
    /// Fewer healthy backends than `min_healthy`.
    TooFewHealthy,
    /// Healthy backends, but no way to enough of them (route or neighbour missing).
    NoWay,
    /// Healthy backends, but the way to enough of them does not carry packets of `min-mtu` bytes.
    TooNarrow,
    /// The maps hold the service, but no test packet has shown yet that it works.
    NotProven,
    /// A test packet shows that it does not work.
    Proof(Flaw),
    /// The maps are full: no ring slots, service entry or backend entry is left.
    NoRoom,
    /// It was drained.
    Drained,
    /// The daemon is stopping.
    Stopping,
}

impl Reason {
    /// Whether something failed that was wanted to work.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::NotConfigured | Self::Drained | Self::Stopping)
    }

    /// The code that metrics, journal and API print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotConfigured => "not-configured",
            Self::NotAttached => "not-attached",
            Self::NotChecked => "not-checked",
            Self::NotProgrammed => "not-programmed",
            Self::TooFewHealthy => "too-few-healthy",
            Self::NoWay => "no-way",
            Self::TooNarrow => "mtu-too-small",
            Self::NotProven => "not-proven",
            Self::Proof(flaw) => flaw.name(),
            Self::NoRoom => "no-room",
            Self::Drained => "drained",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proof(flaw) => return flaw.fmt(f),
            Self::NotConfigured => "the configuration does not announce it",
            Self::NotAttached => "the program is not attached to every configured interface",
            Self::NotChecked => "the first health checks of its backends are not over",
            Self::NotProgrammed => "the maps do not hold the service yet",
            Self::TooFewHealthy => "too few healthy backends",
            Self::NoWay => "no route or no neighbour towards enough healthy backends",
            Self::TooNarrow => {
                "the way to enough healthy backends is too narrow: raise its MTU, or lower min-mtu"
            }
            Self::NotProven => "no test packet has reached a healthy backend yet",
            Self::NoRoom => "the maps are full: fewer services or fewer backends would fit",
            Self::Drained => "it was drained: 'tidegate undrain' brings it back",
            Self::Stopping => "tidegate is stopping",
        })
    }
}
