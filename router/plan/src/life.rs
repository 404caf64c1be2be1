//! Where a VIP is in its life: one word for what the planner has found.

use crate::drain::Phase;
use crate::step::Reason;

/// A VIP's place in its life, once the steps of the plan are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// The configuration announces none of its services.
    Silent,
    /// Something that it needs is not there.
    Waiting,
    /// What it needs is there, and is being written into the maps.
    Programming,
    /// The maps hold it; no test packet has shown yet that it works.
    Proving,
    /// It works, and has failed too recently.
    HeldDown,
    /// Routers send its packets here.
    Announced,
    /// The same, but they are to prefer others.
    Shedding,
    /// Withdrawn by order; packets that still come are forwarded.
    Emptying,
    /// The same, and none is waited for any more.
    Drained,
}

impl Life {
    /// The code that the API prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Waiting => "waiting",
            Self::Programming => "programming",
            Self::Proving => "proving",
            Self::HeldDown => "held-down",
            Self::Announced => "announced",
            Self::Shedding => "shedding",
            Self::Emptying => "emptying",
            Self::Drained => "drained",
        }
    }

    /// Of a VIP that is withheld for a reason, held down, or drained.
    pub(crate) const fn of(withheld: Option<Reason>, is_held: bool, drain: Option<Phase>) -> Self {
        match (withheld, drain) {
            (_, Some(Phase::Drained)) => Self::Drained,
            (_, Some(Phase::Emptying)) => Self::Emptying,
            (None, Some(Phase::Shedding)) => Self::Shedding,
            (None, None) => Self::Announced,
            (Some(_), _) if is_held => Self::HeldDown,
            (Some(Reason::NotConfigured), _) => Self::Silent,
            (Some(Reason::NotProgrammed), _) => Self::Programming,
            (Some(Reason::NotProven), _) => Self::Proving,
            (Some(_), _) => Self::Waiting,
        }
    }
}
