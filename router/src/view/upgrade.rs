//! An upgrade as API and command line show it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /api/v1/upgrade`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UpgradeOrder)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The new binary; absent: the file that the running daemon was started from, which the package
    /// has replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub binary: Option<PathBuf>,
    /// It is ready to take over within this time, such as `20s`; absent: 20 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

/// The answer when another process has taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upgraded {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// Version of the new binary.
    pub version: String,
    /// The new process.
    pub pid: u32,
    /// BGP sessions that went over.
    pub sessions: usize,
    /// For so long nothing was read from them or written to them.
    pub paused_millis: u64,
}

/// What this process has of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TakenOver {
    /// BGP sessions that go on as they stood.
    pub sessions: usize,
    /// For so long they stood still, in milliseconds.
    pub paused_millis: u64,
}
