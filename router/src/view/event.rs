//! Events, as API and command line tell them.

use serde::{Deserialize, Serialize};

/// Body of `/api/v1/events` for who does not follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// The latest that are kept, the oldest first.
    pub events: Vec<Event>,
}

/// Something that has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, one more than that of the event before; a new daemon begins at 1.
    pub id: u64,
    /// RFC 3339
    pub at: String,
    /// See `docs/reference/events.md`.
    pub kind: String,
    /// Name of what it happened to: a service, backend of a service, peer, cache or station.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// In words.
    pub text: String,
    /// What else is known, by name.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
}
