//! What can be seen of a peer from outside.

use core::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fsm::Notifications;
use crate::rib::Counts;
use crate::time::Timestamp;
use crate::types::{Asn, Family, HoldTime, RouterId};
use crate::wire::Treatment;

use super::order::{DownCause, PeerName};

/// The six states of RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Refuses connections, waits to start.
    Idle,
    /// Waits for the outgoing TCP connection.
    Connect,
    /// Listens; the next attempt is a timer away.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received and accepted; waits for a KEEPALIVE.
    OpenConfirm,
    /// UPDATEs flow.
    Established,
}

impl State {
    /// All six, in the RFC's order.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Connect,
        Self::Active,
        Self::OpenSent,
        Self::OpenConfirm,
        Self::Established,
    ];

    /// The RFC's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

/// Malformed attributes by what was done about them (RFC 7606 §2), short of a session reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malformed {
    /// Attributes that were dropped while their routes stayed.
    pub attributes_discarded: u64,
    /// Attributes for which the routes of their UPDATE were withdrawn.
    pub routes_withdrawn: u64,
    /// Families that were given up for the rest of a session.
    pub families_disabled: u64,
}

impl Malformed {
    pub(crate) const fn count(&mut self, treatment: Treatment) {
        match treatment {
            Treatment::AttributeDiscard => self.attributes_discarded += 1,
            Treatment::TreatAsWithdraw => self.routes_withdrawn += 1,
            Treatment::FamilyDisable => self.families_disabled += 1,
        }
    }
}

/// A peer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Configured name.
    pub name: PeerName,
    /// Configured address and port.
    pub remote: SocketAddr,
    /// Configured AS.
    pub remote_as: Asn,
    /// The furthest state of its connections.
    pub state: State,
    /// When it entered that state.
    pub since: Timestamp,
    /// From its OPEN.
    pub router_id: Option<RouterId>,
    /// Agreed, while Established.
    pub hold_time: Option<HoldTime>,
    /// Agreed, while Established.
    pub families: Vec<Family>,
    /// Whole messages received since start.
    pub messages_received: u64,
    /// Whole messages sent since start.
    pub messages_sent: u64,
    /// Prefixes the peer announces now.
    pub prefixes_received: u64,
    /// Prefixes it has been promised now.
    pub prefixes_advertised: u64,
    /// The same by family, with how many paths passed loop checks and policy.
    pub counts: Vec<(Family, Counts)>,
    /// NOTIFICATIONs by direction, code and subcode, since start.
    pub notifications: Notifications,
    /// Damage in its UPDATEs that was repaired, since start.
    pub malformed: Malformed,
    /// Times the session left Established.
    pub flaps: u64,
    /// Why the last session or attempt ended.
    pub last_down: Option<DownCause>,
    /// The range that made it, if it is not configured by itself.
    pub range: Option<PeerName>,
    /// Kept down by the operator, with this text.
    pub shutdown: Option<Arc<str>>,
    /// Families of which routes of an earlier session are kept, until the peer has restarted.
    pub stale: Vec<Family>,
}
