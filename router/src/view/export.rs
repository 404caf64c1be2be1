//! BMP stations and MRT files, as the API shows them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A BMP station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Station {
    /// Configured name.
    pub name: String,
    /// Configured address and port.
    #[schema(value_type = String)]
    pub remote: SocketAddr,
    /// It is connected.
    pub up: bool,
    /// RFC 3339: since when it is, or is not.
    pub since: String,
    /// Seconds since then.
    pub since_secs: u64,
    /// Octets sent since start.
    pub sent_bytes: u64,
    /// Connections that have ended since start.
    pub lost: u64,
    /// Why the last one ended, or did not come about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Files of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Files {
    /// Records written since start.
    pub records: u64,
    /// Records dropped because the disk was behind, since start.
    pub dropped: u64,
}

/// Answer to `POST /api/v1/dump`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dump {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// The file, on the daemon's host.
    pub file: String,
    /// Prefixes in it.
    pub prefixes: u64,
    /// Its size.
    pub bytes: u64,
}
