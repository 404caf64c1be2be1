//! What drains, beside the generations of the configuration: it is no change of them, and outlives
//! them as it outlives a restart.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tidegate_bgp::types::Prefix;
use tidegate_plan::drain::{Kept, Phase, Target, Terms};

use super::{Error, Store, VERSION};

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    drains: Vec<Row>,
}

/// A drain as it is written down: times by the wall clock, since ours starts anew.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Its backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<IpAddr>,
    /// A VIP, as address and length; neither this nor a service: the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vip: Option<(IpAddr, u8)>,
    phase: String,
    deadline_secs: u64,
    quiet_secs: u64,
    /// Seconds since 1970.
    ends_at_unix: u64,
    cut: u64,
}

impl Row {
    fn of(kept: &Kept, now: u64) -> Self {
        let (service, backend, vip) = match &kept.target {
            Target::Backend { service, backend } => (Some(service.clone()), Some(*backend), None),
            Target::Vip(vip) => (None, None, Some((vip.addr(), vip.bits()))),
            Target::Node => (None, None, None),
        };
        Self {
            service,
            backend,
            vip,
            phase: kept.phase.name().into(),
            deadline_secs: kept.terms.deadline.as_secs(),
            quiet_secs: kept.terms.quiet.as_secs(),
            ends_at_unix: now.saturating_add(kept.left.as_secs()),
            cut: kept.cut,
        }
    }

    /// Time went by while nobody ran; a clock that was set back does not make it more.
    fn into_kept(self, now: u64) -> Option<Kept> {
        let target = match (self.service, self.backend, self.vip) {
            (Some(service), Some(backend), None) => Target::Backend { service, backend },
            (None, None, Some((addr, len))) => Target::Vip(Prefix::new(addr, len)?),
            (None, None, None) => Target::Node,
            _ => return None,
        };
        let left = self.ends_at_unix.saturating_sub(now).min(self.deadline_secs);
        let terms = Terms {
            deadline: Duration::from_secs(self.deadline_secs),
            quiet: Duration::from_secs(self.quiet_secs),
        };
        let phase = Phase::of_name(&self.phase)?;
        Some(Kept { target, phase, terms, left: Duration::from_secs(left), cut: self.cut })
    }
}

impl Store {
    /// What drained when it was written last.
    ///
    /// # Errors
    /// [`Error`]
    pub(crate) fn drains(&self) -> Result<Vec<Kept>, Error> {
        let path = self.dir.join("drains.json");
        let Some(file) = self.read::<File>(&path)? else { return Ok(Vec::new()) };
        let damaged = |cause: &str| Error::Damaged { path: path.clone(), cause: cause.into() };
        if file.version != VERSION {
            return Err(damaged("it is of another version"));
        }
        let now = unix_secs();
        let kept: Option<Vec<Kept>> =
            file.drains.into_iter().map(|row| row.into_kept(now)).collect();
        kept.ok_or_else(|| damaged("a drain in it has no such target or phase"))
    }

    /// Writes down what drains.
    ///
    /// # Errors
    /// [`Error`]: what was there is still there.
    pub(crate) fn put_drains(&self, drains: &[Kept]) -> Result<(), Error> {
        let now = unix_secs();
        let drains = drains.iter().map(|kept| Row::of(kept, now)).collect();
        self.disk.make_dir(&self.dir).map_err(|cause| self.failed("make", &self.dir, cause))?;
        self.write(&self.dir.join("drains.json"), &File { version: VERSION, drains })
    }
}

/// Zero with a clock from before 1970.
fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
