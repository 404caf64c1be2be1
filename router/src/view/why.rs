//! Why a packet goes where it goes, as API and command line tell it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is asked: a packet by its flow, or a whole frame.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, utoipa::IntoParams,
)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// The client, with its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub from: Option<SocketAddr>,
    /// The VIP, with the service's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub to: Option<SocketAddr>,
    /// `tcp`, which it is when absent, `udp` or `sctp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A packet of a flow that there is already, not the first one.
    #[serde(default)]
    pub established: bool,
    /// Octets of the IP packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u16>,
    /// The frame, in hexadecimal digits, in the place of all that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// The interface that it comes in by; the first one of the packet path when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// A configuration by which it is asked, in the place of the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The answer: body of `/api/v1/why`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// The packet in words.
    pub packet: String,
    /// What was found, in the order in which it counts.
    pub stages: Vec<Stage>,
    /// The verdict: name of the counter that the packet moves.
    pub verdict: String,
    /// The same in a sentence.
    pub verdict_text: String,
    /// It reaches a backend.
    pub sent: bool,
    /// What to do, if it does not and somebody can do something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The VIP that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub backend: Option<IpAddr>,
    /// The interface that it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// Counters that it moves.
    #[serde(default)]
    pub counters: Vec<String>,
    /// What the loaded program says to the same packet.
    pub program: Program,
    /// What that is, if it is something else, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_said: Option<String>,
}

/// A stage of the packet's way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// `client`, `announced`, `guard`, `service`, `slot`, `backend`, `wrap` or `out`.
    pub name: String,
    /// What was found there.
    pub text: String,
}

/// What the loaded program says to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// The same.
    Agrees,
    /// Something else: one of the two is wrong, and that is a fault of ours or of whoever has changed
    /// the maps.
    Disagrees,
    /// Nothing: the kernel did not run it.
    NotRun,
    /// It was not asked: such packets are another program's, which leaves traces; or the question is
    /// about a configuration that is not in force.
    #[default]
    NotAsked,
}
