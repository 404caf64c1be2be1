//! Draining: traffic leaves a backend, a VIP or the whole node before what carries it is taken away.
//!
//! One machine for all three, and [`TRANSITIONS`] is all of it. The daemon tells it how many
//! packets have come so far; it says in which [`Phase`] each target is, and the planner does the
//! rest ([`Imposed`]). Routers hear of a VIP that drains first that others are to be preferred
//! (GRACEFUL_SHUTDOWN, RFC 8326), and only then that it is gone.
//!
//! Promise: what drains is drained when its deadline is over at the latest, and never earlier than
//! after a quiet time without a packet.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use tidegate_bgp::speaker::RouteAttributes;
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::{Community, Prefix};
use tidegate_config::desired::{Desired, ServiceAddr};

/// While something drains, its packets are to be counted this often.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is drained.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A backend of a service.
    Backend {
        /// The service's name.
        service: String,
        /// The backend's address.
        backend: IpAddr,
    },
    /// A VIP with all its services: one route announces them.
    Vip(Prefix),
    /// Every VIP of the node.
    Node,
}

impl Target {
    /// Which of the two ways it goes.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Backend { .. } => Kind::Backend,
            Self::Vip(_) | Self::Node => Kind::Vip,
        }
    }

    /// Whether the configuration knows it.
    pub fn is_in(&self, desired: &Desired) -> bool {
        match self {
            Self::Backend { service, backend } => desired
                .services
                .get(service)
                .is_some_and(|service| service.backends.contains_key(backend)),
            Self::Vip(vip) => desired.services.values().any(|service| service.vip.addrs == *vip),
            Self::Node => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend { service, backend } => write!(f, "backend {backend} of {service}"),
            Self::Vip(vip) if *vip == Prefix::host(vip.addr()) => write!(f, "VIP {}", vip.addr()),
            Self::Vip(vip) => write!(f, "VIP {vip}"),
            Self::Node => f.write_str("node"),
        }
    }
}

/// The two ways to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A backend: new flows go to others at once.
    Backend,
    /// A VIP, or all of them: routers are asked to prefer other nodes first.
    Vip,
}

/// Where a target stands; not among these: in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Still announced, as a route that is to be used only for want of another.
    Shedding,
    /// It gets nothing new: out of the ring, or withdrawn. What is left ends.
    Emptying,
    /// It carries nothing, until it is taken back into service.
    Drained,
}

impl Phase {
    /// The code that command line, API and metrics print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shedding => "shedding",
            Self::Emptying => "emptying",
            Self::Drained => "drained",
        }
    }

    /// The phase of this code.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Shedding, Self::Emptying, Self::Drained].into_iter().find(|it| it.name() == name)
    }
}

/// What makes a target go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked for it.
    Ordered,
    /// No packet came for the quiet time.
    Quiet,
    /// The time that it has is over.
    Deadline,
    /// Somebody wants it back.
    Undrained,
}

impl Cause {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ordered => "drain",
            Self::Quiet => "quiet",
            Self::Deadline => "deadline",
            Self::Undrained => "undrain",
        }
    }
}

/// A step of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which way.
    pub kind: Kind,
    /// `None`: in service.
    pub from: Option<Phase>,
    /// Why.
    pub cause: Cause,
    /// `None`: in service.
    pub to: Option<Phase>,
    /// What it does to packets and routes.
    pub does: &'static str,
}

const fn row(
    kind: Kind,
    from: Option<Phase>,
    cause: Cause,
    to: Option<Phase>,
    does: &'static str,
) -> Transition {
    Transition { kind, from, cause, to, does }
}

/// The machine. What has no row here does not happen.
pub const TRANSITIONS: [Transition; 13] = {
    use Cause::{Deadline, Ordered, Quiet, Undrained};
    use Kind::{Backend, Vip};
    const SHEDDING: Option<Phase> = Some(Phase::Shedding);
    const EMPTYING: Option<Phase> = Some(Phase::Emptying);
    const DRAINED: Option<Phase> = Some(Phase::Drained);
    [
        row(Backend, None, Ordered, EMPTYING, "its slots are lent to others: no new flows"),
        row(Backend, EMPTYING, Quiet, DRAINED, "it takes no packet any more; nothing is cut"),
        row(Backend, EMPTYING, Deadline, DRAINED, "flows that are left are cut"),
        row(Backend, EMPTYING, Undrained, None, "it gets its own slots back"),
        row(Backend, DRAINED, Undrained, None, "it gets its own slots back"),
        row(Vip, None, Ordered, SHEDDING, "announced with GRACEFUL_SHUTDOWN and LOCAL_PREF 0"),
        row(Vip, SHEDDING, Quiet, EMPTYING, "withdrawn"),
        row(Vip, SHEDDING, Deadline, EMPTYING, "withdrawn, with packets still coming"),
        row(Vip, SHEDDING, Undrained, None, "announced as before"),
        row(Vip, EMPTYING, Quiet, DRAINED, "nothing is cut"),
        row(Vip, EMPTYING, Deadline, DRAINED, "packets still come: they are counted as cut"),
        row(Vip, EMPTYING, Undrained, None, "announced again when it is proven"),
        row(Vip, DRAINED, Undrained, None, "announced again when it is proven"),
    ]
};

/// The row that says where a target goes; `None`: nowhere.
fn next(kind: Kind, from: Option<Phase>, cause: Cause) -> Option<&'static Transition> {
    TRANSITIONS.iter().find(|row| row.kind == kind && row.from == from && row.cause == cause)
}

/// How long a drain may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From the order until it is over at the latest.
    pub deadline: Duration,
    /// So long without a packet, and it counts as empty.
    pub quiet: Duration,
}

/// A target that drains, or has drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Where it stands.
    pub phase: Phase,
    /// Since when, as far as this process knows.
    pub since: Timestamp,
    /// How long it may take.
    pub terms: Terms,
    /// When it is over at the latest.
    pub ends_at: Timestamp,
    /// Packets per second, lately.
    pub rate: u64,
    /// Packets per second that still came when a deadline went over them.
    pub cut: u64,
    quiet_since: Timestamp,
    packets: Option<u64>,
    /// The last rate was taken then, up to so many packets.
    rated: (Timestamp, u64),
}

/// A quarter of the time is for what comes after the withdrawal.
const REST: u32 = 4;

impl Drain {
    fn new(phase: Phase, terms: Terms, ends_at: Timestamp, now: Timestamp) -> Self {
        let (since, quiet_since, packets, rated) = (now, now, None, (now, 0));
        Self { phase, since, terms, ends_at, rate: 0, cut: 0, quiet_since, packets, rated }
    }

    /// When its phase is over at the latest; `None`: when somebody says so.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Shedding => {
                let rest = self.terms.deadline / REST;
                Some(Timestamp::default() + self.ends_at.since(Timestamp::default() + rest))
            }
            Phase::Emptying => Some(self.ends_at),
            Phase::Drained => None,
        }
    }

    /// Takes in how many packets there have been; `None` if nobody knows: then it is not quiet.
    fn count(&mut self, packets: Option<u64>, now: Timestamp) {
        let before = core::mem::replace(&mut self.packets, packets);
        if packets.is_none() || before != packets {
            self.quiet_since = now; // A first number says nothing of when they came.
        }
        let Some(total) = packets else { return };
        if before.is_none() {
            self.rated = (now, total);
        }
        let millis = u64::try_from(now.since(self.rated.0).as_millis()).unwrap_or(u64::MAX);
        if millis >= 1_000 {
            self.rate = total.saturating_sub(self.rated.1).saturating_mul(1_000) / millis;
            self.rated = (now, total);
        }
    }

    /// What makes it go on now, if anything does.
    fn cause(&self, now: Timestamp) -> Option<Cause> {
        let deadline = self.deadline()?;
        if self.packets.is_some() && now.since(self.quiet_since) >= self.terms.quiet {
            Some(Cause::Quiet)
        } else if now >= deadline {
            Some(Cause::Deadline)
        } else {
            None
        }
    }
}

/// A drain on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What drains.
    pub target: Target,
    /// Where it stood.
    pub phase: Phase,
    /// How long it may take.
    pub terms: Terms,
    /// How much of that is left.
    pub left: Duration,
    /// Packets per second that were cut.
    pub cut: u64,
}

/// Something that drains went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What.
    pub target: Target,
    /// Why.
    pub cause: Cause,
    /// Where it is now.
    pub to: Phase,
    /// Packets per second that still came.
    pub rate: u64,
}

/// All that drains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drains(BTreeMap<Target, Drain>);

impl Drains {
    /// Begins a drain. One that is under way keeps its phase and gets the new terms.
    pub fn order(&mut self, target: Target, terms: Terms, now: Timestamp) {
        let ends_at = now + terms.deadline;
        if let Some(drain) = self.0.get_mut(&target) {
            (drain.terms, drain.ends_at) = (terms, ends_at);
        } else if let Some(phase) = next(target.kind(), None, Cause::Ordered).and_then(|row| row.to)
        {
            self.0.insert(target, Drain::new(phase, terms, ends_at, now));
        }
    }

    /// Takes a target back into service; false if it was.
    pub fn undrain(&mut self, target: &Target) -> bool {
        self.0.remove(target).is_some()
    }

    /// Time has gone by; `packets` says of a target how many it has had so far, if that can be
    /// told. Everything that goes on because of it.
    pub fn look(&mut self, now: Timestamp, packets: impl Fn(&Target) -> Option<u64>) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (target, drain) in &mut self.0 {
            if drain.phase == Phase::Drained {
                continue;
            }
            drain.count(packets(target), now);
            let Some(cause) = drain.cause(now) else { continue };
            let row = next(target.kind(), Some(drain.phase), cause);
            let Some(to) = row.and_then(|row| row.to) else { continue };
            let rate = if cause == Cause::Quiet { 0 } else { drain.rate };
            drain.cut = rate;
            (drain.phase, drain.since, drain.quiet_since) = (to, now, now);
            moved.push(Moved { target: target.clone(), cause, to, rate });
        }
        moved
    }

    /// When to look next if the last look was then; `None`: nothing goes on by itself.
    pub fn look_at(&self, last: Timestamp) -> Option<Timestamp> {
        let deadlines = self.0.values().filter_map(Drain::deadline);
        deadlines.min().map(|first| first.min(last + LOOK_EVERY))
    }

    /// Forgets what the configuration does not know; returns that.
    pub fn forget_unknown(&mut self, desired: &Desired) -> Vec<Target> {
        let unknown = self.0.keys().filter(|target| !target.is_in(desired));
        let unknown: Vec<Target> = unknown.cloned().collect();
        self.0.retain(|target, _| target.is_in(desired));
        unknown
    }

    /// A target's drain.
    pub fn get(&self, target: &Target) -> Option<&Drain> {
        self.0.get(target)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Target, &Drain)> {
        self.0.iter()
    }

    /// What is to be remembered beyond this process.
    pub fn keep(&self, now: Timestamp) -> Vec<Kept> {
        let kept = |(target, drain): (&Target, &Drain)| Kept {
            target: target.clone(),
            phase: drain.phase,
            terms: drain.terms,
            left: drain.ends_at.since(now),
            cut: drain.cut,
        };
        self.0.iter().map(kept).collect()
    }

    /// What an earlier process has kept.
    pub fn resume(kept: impl IntoIterator<Item = Kept>, now: Timestamp) -> Self {
        let drain = |kept: Kept| {
            let mut drain = Drain::new(kept.phase, kept.terms, now + kept.left, now);
            drain.cut = kept.cut;
            (kept.target, drain)
        };
        Self(kept.into_iter().map(drain).collect())
    }

    /// What it means for the services of a configuration.
    pub fn imposed(&self, desired: &Desired) -> Imposed {
        let mut imposed = Imposed::default();
        for (target, drain) in &self.0 {
            match target {
                Target::Backend { service, backend } => {
                    let Some(service) = desired.services.get(service) else { continue };
                    imposed.backends.insert((service.vip, *backend), drain.phase);
                    if drain.phase != Phase::Drained {
                        let until = imposed.held.entry(service.vip).or_default();
                        *until = (*until).max(drain.ends_at);
                    }
                }
                Target::Vip(vip) => drop(imposed.vips.insert(*vip, drain.phase)),
                Target::Node => imposed.node = Some(drain.phase),
            }
        }
        imposed
    }
}

/// What drains, as the planner needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imposed {
    node: Option<Phase>,
    vips: BTreeMap<Prefix, Phase>,
    backends: BTreeMap<(ServiceAddr, IpAddr), Phase>,
    /// Until then flows of a service's draining backends stay where they are.
    held: BTreeMap<ServiceAddr, Timestamp>,
}

impl Imposed {
    /// Where a VIP stands; the further of its own drain and the node's.
    pub fn vip(&self, vip: Prefix) -> Option<Phase> {
        self.node.max(self.vips.get(&vip).copied())
    }

    /// Any backend of any service drains.
    pub(crate) fn has_backends(&self) -> bool {
        !self.backends.is_empty()
    }

    /// Where a backend stands.
    pub fn backend(&self, service: ServiceAddr, backend: IpAddr) -> Option<Phase> {
        self.backends.get(&(service, backend)).copied()
    }

    /// Until when slots of a service stay in transition at least.
    pub(crate) fn held_until(&self, service: ServiceAddr) -> Option<Timestamp> {
        self.held.get(&service).copied()
    }
}

/// The route of a VIP that sheds its traffic (RFC 8326 §4).
pub(crate) fn last_resort(attributes: &RouteAttributes) -> RouteAttributes {
    let mut attributes = RouteAttributes { local_pref: Some(0), ..attributes.clone() };
    attributes.communities.push(Community::GRACEFUL_SHUTDOWN);
    attributes.communities.sort_unstable();
    attributes.communities.dedup();
    attributes
}

#[cfg(test)]
mod tests;
