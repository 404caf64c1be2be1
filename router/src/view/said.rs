//! What somebody outside says of a backend's health, as API and command line show it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `PUT /api/v1/services/NAME/backends/ADDRESS/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// `up` or `down`: counts in the place of what the health check says.
    pub state: State,
    /// For how long, such as `"5m"`.
    pub ttl: String,
    /// Why, for those who look at the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It takes flows.
    Up,
    /// It takes none.
    Down,
}

impl State {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The answer: what is in force now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Said {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// Name of the service.
    pub service: String,
    /// Address of the backend.
    #[schema(value_type = String)]
    pub backend: IpAddr,
    /// What is said; absent when the health check alone counts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Seconds for which that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_secs: Option<u64>,
}
