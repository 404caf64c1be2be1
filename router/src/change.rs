//! What the API and signals may ask of the configuration, and how it is refused.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_config::Diagnostics;
use tidegate_config::overlay::{Edit, EditError, Target};
use tidegate_plan::drain as drain_plan;
use tidegate_plan::guard::Guard;
use tokio::sync::{mpsc, oneshot};

use crate::capture_io::Capture;
use crate::view::capture::Asked;
use crate::view::change::{Applied, History, Plan};
use crate::view::drain;
use crate::view::said::Said;
use crate::view::upgrade::Upgraded;
use crate::view::why::Why;
use crate::{api, config_file, store_io};

/// The way to the task that owns the configuration. Bounded: when four requests wait, the next one
/// is told to come back.
pub(crate) type Asks = mpsc::Sender<Ask>;

/// Requests that wait; each is a change of the configuration, or a look at it.
pub(crate) const ASKS_MAX: usize = 4;

/// A request.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) what: What,
    pub(crate) who: String,
    /// Who asked may have gone away by the time the answer is there.
    pub(crate) reply: oneshot::Sender<Result<Answer, Refused>>,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum What {
    /// What a change would do.
    Plan(Candidate),
    /// Do it.
    Apply(Candidate, Terms),
    /// Keep the change that waits.
    Confirm,
    /// Take back the change that waits, or go back to the generation before.
    Rollback(Terms),
    /// Where a packet goes, and why; by a configuration that could be in force, if one is given.
    Why { packet: Packet, by: Option<Candidate> },
    /// Capture packets.
    Capture(Asked),
    /// The generations that are kept.
    History,
    /// The configuration in force, as text.
    Documents,
    /// Take something out of service.
    Drain { target: drain::Target, terms: drain_plan::Terms, force: bool },
    /// Take it back.
    Undrain(drain::Target),
    /// What drains.
    Drains,
    /// Hand everything over to this binary, or to the one that is where ours was.
    Upgrade { binary: Option<PathBuf>, within: Duration },
    /// Somebody says how a backend is, or takes that back.
    Say { service: String, backend: IpAddr, saying: Option<Saying> },
}

/// A packet that somebody asks about.
#[derive(Debug)]
pub(crate) struct Packet {
    /// The frame in which it would come.
    pub(crate) frame: Vec<u8>,
    /// The interface that it would come in by; `None`: the first one of the packet path.
    pub(crate) interface: Option<String>,
}

/// A configuration that could be in force.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// The daemon's own file, as it is on disk now.
    OwnFile,
    /// Another text, and what it is called.
    Text { name: PathBuf, text: String },
    /// A generation that is kept.
    Generation(u64),
    /// The one in force with one object changed, if it still is this one.
    Edit { target: Target, edit: Edit, generation: u64 },
    /// The file's part of the one in force, if it still is this one.
    WithoutOverlay { generation: u64 },
}

impl Candidate {
    /// Whether it changes the overlay, and so must be on disk before it is answered.
    pub(crate) const fn is_edit(&self) -> bool {
        matches!(self, Self::Edit { .. } | Self::WithoutOverlay { .. })
    }
}

/// What somebody says of a backend's health.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Saying {
    pub(crate) up: bool,
    /// For how long.
    pub(crate) ttl: Duration,
    pub(crate) reason: Option<String>,
}

/// How a change is made.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// It undoes itself after this time.
    pub(crate) confirm: Option<Duration>,
    /// Why, for the history.
    pub(crate) comment: String,
    /// It undoes itself at once when one of these turns bad.
    pub(crate) guards: Vec<Guard>,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Plan(Plan),
    Applied(Applied),
    History(History),
    Documents(Documents),
    Drains(drain::Drains),
    Said(Said),
    Upgraded(Upgraded),
    Why(Box<Why>),
    Capture(Box<Capture>),
}

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) generation: u64,
    /// The file with what the API changed.
    pub(crate) effective: String,
    /// What the API changed, by itself.
    pub(crate) overlay: String,
}

/// Why a request is not done. What was in force still is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The configuration cannot be read, or has mistakes.
    #[error(transparent)]
    File(#[from] config_file::Error),
    /// An edit makes a configuration with mistakes.
    #[error("{found}")]
    Mistakes { target: Target, found: Diagnostics },
    /// An edit makes no sense.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Only a start can do it.
    #[error(
        "{} can only change with a restart of tidegate: change it back, or restart",
        .0.join(", ")
    )]
    NeedsRestart(Vec<String>),
    /// An interface that is new is not there, or the kernel does not take the program.
    #[error(transparent)]
    PacketPath(#[from] crate::bpf_io::Error),
    /// The API cannot listen where it shall.
    #[error(transparent)]
    Api(#[from] api::Error),
    /// Another change waits to be confirmed.
    #[error(
        "generation {0} waits to be confirmed: run 'tidegate confirm' or 'tidegate rollback' first"
    )]
    Waiting(u64),
    /// No change waits to be confirmed.
    #[error("no change waits to be confirmed")]
    NothingWaits,
    /// There is no generation before the one in force.
    #[error("there is no generation before this one: 'tidegate history' lists those there are")]
    NothingBefore,
    /// A generation is not kept.
    #[error("generation {0} is not kept: 'tidegate history' lists those that are")]
    NoGeneration(u64),
    /// The configuration in force knows no such thing.
    #[error("there is {0}; 'tidegate vips' lists those there are")]
    NoSuchTarget(String),
    /// Its VIP would be withdrawn.
    #[error(
        "{service} would have {left} active backends, fewer than the {needed} it needs, and its \
         VIP be withdrawn: drain the VIP first ('tidegate drain vip {service}'), or use --force"
    )]
    TooFewLeft { service: String, left: u32, needed: u32 },
    /// It is in service.
    #[error("{0} is not drained: 'tidegate status' shows what is")]
    NotDrained(String),
    /// Its backends are up whatever anybody says.
    #[error(
        "{0} has no health check whose word could be overruled: give it one, or drain the backend \
         ('tidegate drain backend')"
    )]
    NotChecked(String),
    /// It was made for a configuration that is no longer in force.
    #[error(
        "generation {asked} is no longer in force, {current} is: read it again and decide anew"
    )]
    Stale { asked: u64, current: u64 },
    /// It could not be kept.
    #[error("{0}; without that the change would not survive a restart, so it is not made")]
    State(#[from] store_io::Error),
    /// The new binary does not start, or does not take over.
    #[error("{0}; this daemon runs on as before")]
    Upgrade(String),
    /// There is one capture at a time.
    #[error("{0} captures packets already: one capture runs at a time, wait for its end")]
    Capturing(String),
    /// The VIP is none of ours.
    #[error("{0}")]
    NoSuchVip(String),
    /// The program has no ring.
    #[error(
        "the packet path was loaded without what a capture needs; 'systemctl restart tidegate' loads it \
         anew"
    )]
    NoCapture,
    /// The packet path is not there.
    #[error("the packet path is not attached to {0:?}: 'tidegate status' shows where it is")]
    NoInterface(String),
    /// The world cannot be looked at.
    #[error("{0}")]
    World(String),
}
