//! One peer with its history: the body of `/api/v1/peers/{name}`.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidegate_bgp::fsm::{History, Run, Transition};
use tidegate_bgp::time::Timestamp;
use utoipa::ToSchema;

use super::{API_VERSION, Peer};

/// A peer, and what it has been through lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerDetail {
    /// [`API_VERSION`]
    pub api_version: String,
    /// As in the list of all.
    #[serde(flatten)]
    pub peer: Peer,
    /// Steps of the state machine, oldest first.
    pub transitions: Vec<Step>,
    /// Messages that came, runs of one type together, oldest first.
    pub received: Vec<Messages>,
    /// Messages that were sent.
    pub sent: Vec<Messages>,
}

/// A step of the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// RFC 3339
    pub at: String,
    /// Number of the connection, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// RFC 4271's name of the state.
    pub from: String,
    /// The same of the next one.
    pub to: String,
    /// RFC 4271's name of the event.
    pub event: String,
}

/// Messages of one type in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Messages {
    /// `OPEN`, `UPDATE` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339: the first of them.
    pub first: String,
    /// RFC 3339: the last of them.
    pub last: String,
    /// How many.
    pub messages: u64,
    /// How long together.
    pub bytes: u64,
    /// Code and subcode of a NOTIFICATION, such as `6/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl PeerDetail {
    /// `now` and `clock` are the same moment.
    pub fn new(peer: Peer, history: &History, now: Timestamp, clock: SystemTime) -> Self {
        let at = |moment: Timestamp| {
            humantime::format_rfc3339_millis(clock - now.since(moment)).to_string()
        };
        let step = |step: &Transition| Step {
            at: at(step.at),
            connection: step.conn.map(|conn| conn.0),
            from: step.from.name().into(),
            to: step.to.name().into(),
            event: step.event.into(),
        };
        let messages = |run: &Run| Messages {
            kind: run.kind.name().into(),
            first: at(run.first),
            last: at(run.last),
            messages: run.messages,
            bytes: run.bytes,
            code: run.code.map(|(code, subcode)| format!("{code}/{subcode}")),
        };
        let all = |runs: &VecDeque<Run>| runs.iter().map(messages).collect();
        Self {
            api_version: API_VERSION.into(),
            peer,
            transitions: history.transitions.iter().map(step).collect(),
            received: all(&history.received),
            sent: all(&history.sent),
        }
    }
}
