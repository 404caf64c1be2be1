//! What both OPENs together allow: the context in which every later message is read and written.

use serde::{Deserialize, Serialize};

use crate::types::{Family, FamilySet, HoldTime};

use super::framing::{EXTENDED_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX};
use super::message::{GracefulRestart, LongLived, Role};

/// What both OPENs together allow on a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// The peer is in another AS: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST do not cross.
    pub external: bool,
    /// AS numbers in AS_PATH and AGGREGATOR are four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Families both sides named; IPv4 unicast too when the peer sent no multiprotocol capability.
    pub families: FamilySet,
    /// Of these, families that are not read any more (see [`Self::disable`]).
    pub disabled: FamilySet,
    /// The peer accepts ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// Both sides mark begin and end of a refresh (RFC 7313).
    pub enhanced_refresh: bool,
    /// Both sides take messages of up to 65535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Families whose NLRI we receive with Path Identifiers (RFC 7911).
    pub add_path_receive: FamilySet,
    /// Families whose NLRI we send with Path Identifiers.
    pub add_path_send: FamilySet,
    /// IPv4 families whose next hop may be an IPv6 address (RFC 8950).
    pub extended_next_hop: FamilySet,
    /// What the peer said about restarting (RFC 4724); `None`: nothing.
    pub graceful_restart: Option<GracefulRestart>,
    /// What it said about keeping routes for long (RFC 9494), for the common families.
    pub long_lived: Vec<LongLived>,
    /// The peer's role (RFC 9234): as it said, or by ours where it said nothing.
    pub remote_role: Option<Role>,
    /// The smaller of both Hold Times.
    pub hold_time: HoldTime,
}

impl Negotiated {
    /// The context before both OPENs are in: enough to read every message but an UPDATE.
    pub const NOTHING: Self = Self {
        external: true,
        four_octet_as: false,
        families: FamilySet::EMPTY,
        disabled: FamilySet::EMPTY,
        route_refresh: false,
        enhanced_refresh: false,
        extended_messages: false,
        add_path_receive: FamilySet::EMPTY,
        add_path_send: FamilySet::EMPTY,
        extended_next_hop: FamilySet::EMPTY,
        graceful_restart: None,
        long_lived: Vec::new(),
        remote_role: None,
        hold_time: HoldTime::DEFAULT,
    };

    /// The longest message on this session, header included.
    pub const fn message_bytes_max(&self) -> usize {
        if self.extended_messages { EXTENDED_MESSAGE_BYTES_MAX } else { MESSAGE_BYTES_MAX }
    }

    /// From here on this family is not read: its NLRI were beyond repair (AFI/SAFI-disable,
    /// RFC 4760 §7). Sending it is not affected.
    pub const fn disable(&mut self, family: Family) {
        self.disabled.insert(family);
    }

    /// Whether NLRI of this family are read.
    pub const fn reads(&self, family: Family) -> bool {
        self.families.contains(family) && !self.disabled.contains(family)
    }
}
