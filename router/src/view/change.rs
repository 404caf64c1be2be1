//! Changes of the configuration as API and command line show them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is special about the configuration in force; part of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// A change that undoes itself unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Unconfirmed>,
    /// What was undone last, and why; until the next change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<String>,
    /// Peers and services that the API changed: they hide what the file says of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlay: Vec<Covered>,
    /// Why the state directory cannot be used, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_problem: Option<String>,
}

/// A change that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unconfirmed {
    /// Its generation.
    pub generation: u64,
    /// Who asked for it.
    pub who: String,
    /// The generation that comes back.
    pub back_to: u64,
    /// Seconds until it does.
    pub left_secs: u64,
    /// Signals that bring it back at once.
    pub guards: Vec<String>,
    /// What it did, a line for each session, route, service and key, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// An object of the API's, and what it covers of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Covered {
    /// Such as `service web`.
    pub object: String,
    /// `adds`, `replaces`, `removes`, or `nothing` when the file says the same.
    pub covers: String,
}

/// What a change would do, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// The generation that it starts from.
    pub from_generation: u64,
    /// Where the new configuration comes from.
    pub source: String,
    /// BGP sessions that are opened, closed or reset; all others stay up.
    pub sessions: Vec<Session>,
    /// Routes that change; all others stay.
    pub routes: Vec<Route>,
    /// Services that come, go, or have slots that move.
    pub services: Vec<Service>,
    /// Every key that changes.
    pub settings: Vec<Setting>,
    /// Keys that only a start can change: the change would be refused.
    pub restart: Vec<String>,
    /// What the API changed, and so is not the file's to say.
    pub overlay: Vec<Covered>,
    /// What is out of service by order, whatever the configuration says; a drain of something
    /// that the change removes ends with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drains: Vec<super::drain::Drain>,
    /// What may not have been meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<String>,
}

/// A session that a change touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PlannedSession)]
pub struct Session {
    /// The peer.
    pub peer: String,
    /// `opened`, `closed` or `reset`.
    pub what: String,
    /// Keys that cause a reset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The session is established now.
    pub established: bool,
}

/// A route that a change touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PlannedRoute)]
pub struct Route {
    /// The prefix.
    pub prefix: String,
    /// `announced`, `withdrawn`, `changed`, or `interrupted`: withdrawn and announced again.
    pub what: String,
    /// Why it is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A service that a change touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PlannedService)]
pub struct Service {
    /// Its name.
    pub service: String,
    /// VIP, port and protocol.
    pub vip: String,
    /// `added`, `removed` or `moves`.
    pub what: String,
    /// Ring slots whose new flows go to another backend.
    pub slots_moved: u32,
    /// Slots of the ring.
    pub slots: u32,
    /// Packets of these slots in the last second, by the service's counter and their share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_sec: Option<u64>,
    /// Live flows of these slots: of the connections in `nat`, else estimated from the packets that
    /// `[flows]` has drawn by chance in the last minute; absent where neither is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_flows: Option<u64>,
    /// Live flows of the moved slots stay on their backend for so long.
    pub drain_secs: u64,
}

/// A key that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// Such as `peer tor-1`.
    pub object: String,
    /// Absent when the whole object comes or goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `none`, `soft`, `session` or `restart`.
    pub impact: String,
    /// The value before; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value after; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// The generation in force now.
    pub generation: u64,
    /// It undoes itself after so many seconds unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within_secs: Option<u64>,
    /// What it did.
    pub plan: Plan,
}

/// Body of `/api/v1/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// The generation in force.
    pub in_force: u64,
    /// The newest first.
    pub generations: Vec<Generation>,
}

/// A generation of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// RFC 3339: when it came into force.
    pub at: String,
    /// Who asked for it.
    pub who: String,
    /// `start`, `reload`, `apply`, `edit`, `rollback` or `undo`.
    pub cause: String,
    /// Why, as it was said.
    pub comment: String,
    /// The file it came from.
    pub file: String,
    /// Peers and services that the API had changed then.
    pub overlay: usize,
}

/// Body of `POST /api/v1/plan` and `POST /api/v1/apply`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The new configuration; the daemon's own file when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the text is called in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The generation to go back to, in the place of a text; 0: the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Undo it after this time unless it is confirmed: `"5m"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Undo it at once when one of these turns bad: `peers-up`, `drops`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<String>,
}
