//! What became of a path on its way in.

use super::sets::SetId;

/// What a path is worth after loop checks and import policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    /// It counts, with these attributes.
    Accepted(SetId),
    /// It does not, and is only kept to be looked at and for a change of policy.
    Rejected(Rejected),
}

/// Why a path does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejected {
    /// The peer has no import policy (RFC 8212).
    NoPolicy,
    /// The import policy said no.
    Policy,
    /// Our AS is in the path (RFC 4271 §9.1.2).
    AsLoop,
    /// We are the ORIGINATOR_ID (RFC 4456 §8).
    OriginatorLoop,
    /// Our BGP Identifier, which would be our CLUSTER_ID, is in the CLUSTER_LIST (RFC 4456 §8).
    ClusterLoop,
    /// ONLY_TO_CUSTOMER says that it should not have come from there (RFC 9234 §5).
    RouteLeak,
}

impl Rejected {
    const ALL: [Self; 6] = [
        Self::NoPolicy,
        Self::Policy,
        Self::AsLoop,
        Self::OriginatorLoop,
        Self::ClusterLoop,
        Self::RouteLeak,
    ];

    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoPolicy => "the peer has no import policy (RFC 8212)",
            Self::Policy => "rejected by the import policy",
            Self::AsLoop => "our AS is in the path",
            Self::OriginatorLoop => "our router ID is the originator",
            Self::ClusterLoop => "our router ID is in the cluster list",
            Self::RouteLeak => "a route leak, by ONLY_TO_CUSTOMER (RFC 9234)",
        }
    }
}

/// Above these there is no set: the last numbers stand for [`Rejected`].
const REJECTED_FROM: u32 = u32::MAX - 15;

impl Post {
    pub(super) fn pack(self) -> u32 {
        match self {
            Self::Accepted(set) => set.0,
            Self::Rejected(why) => REJECTED_FROM + why as u32,
        }
    }

    pub(super) fn unpack(packed: u32) -> Self {
        match packed.checked_sub(REJECTED_FROM) {
            None => Self::Accepted(SetId(packed)),
            Some(why) => {
                let why = Rejected::ALL.get(why as usize).copied();
                Self::Rejected(why.unwrap_or(Rejected::Policy))
            }
        }
    }
}
