//! Drains as API and command line show them, and how they are asked for.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `GET /api/v1/drains`, and the answer to a drain or undrain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drains {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// All that drains or has drained; in the answer to a request, what it was about.
    pub drains: Vec<Drain>,
}

/// What drains, and how far that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    /// In words: `node`, `VIP 192.0.2.10`, `backend 10.0.0.11 of web`.
    pub what: String,
    /// The same for programs.
    pub target: Target,
    /// `shedding`, `emptying` or `drained`; `in-service` in the answer to an undrain.
    pub phase: String,
    /// Seconds since it is there, or since the daemon started.
    pub since_secs: u64,
    /// Seconds until this phase is over at the latest; absent when it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_secs: Option<u64>,
    /// It goes on sooner, after so many seconds without a packet.
    pub quiet_secs: u64,
    /// Packets per second, lately.
    pub packets_per_sec: u64,
    /// Packets per second that still came when a deadline went over them.
    pub cut_packets_per_sec: u64,
    /// Other services whose packets to this backend are counted with it: while they go on, it is
    /// not quiet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted_with: Vec<String>,
    /// Connections of a backend in mode `nat` that are still remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

/// What a drain is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// A backend of a service.
    Backend {
        /// Name of the service.
        service: String,
        /// Address of the backend.
        #[schema(value_type = String)]
        backend: IpAddr,
    },
    /// A VIP with all its services.
    Vip {
        /// Its address, or the name of one of its services.
        vip: String,
    },
    /// Every VIP of the node.
    Node {},
}

/// Body of `POST /api/v1/drain`; `POST /api/v1/undrain` takes the target alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DrainOrder)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is to be drained.
    pub target: Target,
    /// How long it may take at most, `"10m"` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// It is empty after such a time without a packet: when absent `"60s"` for a backend, whose
    /// flows may be silent for a while, and `"5s"` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<String>,
    /// Even if fewer backends are left than the VIP needs to be announced.
    #[serde(default)]
    pub force: bool,
}
