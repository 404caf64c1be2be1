//! RPKI caches, as the API shows them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `/api/v1/rpki`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rpki {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// VRPs of IPv4 prefixes in force.
    pub vrps_ipv4: usize,
    /// VRPs of IPv6 prefixes in force.
    pub vrps_ipv6: usize,
    /// The preferred one first.
    pub caches: Vec<Cache>,
}

impl Rpki {
    /// The cache whose VRPs are in force.
    pub fn in_use(&self) -> Option<&Cache> {
        self.caches.iter().find(|cache| cache.in_use)
    }

    /// Caches that answer.
    pub fn up(&self) -> usize {
        self.caches.iter().filter(|cache| cache.up).count()
    }
}

/// An RPKI cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cache {
    /// Configured name.
    pub name: String,
    /// Configured address and port.
    #[schema(value_type = String)]
    pub remote: SocketAddr,
    /// It answers.
    pub up: bool,
    /// Its VRPs are in force.
    pub in_use: bool,
    /// VRPs that it has told of; absent when there is no answer, or none that still counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrps: Option<usize>,
    /// RFC 3339: when its last answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_secs: Option<u64>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
