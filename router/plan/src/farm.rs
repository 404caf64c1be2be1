//! Sets of backends, and how they stand: what is the same for thousands of services is found out
//! once.
//!
//! Two steps. A farm ([`Farms`]) is a set of backends in one forwarding mode, with what the packet
//! path knows of them. A [`Case`] is a farm as one service sees it: with its verdicts, its drains
//! and its ring. Services of the same case share what follows from it.

use core::iter::Peekable;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_abi::ring_size;
use tidegate_bgp::time::Timestamp;
use tidegate_config::desired::{AllDown, Backend as Spec, ForwardingMode, Service, ServiceAddr};

use crate::drain::Phase;
use crate::entry::{self, Identity};
use crate::observed::Observed;
use crate::places::{Numbered, Target};
use crate::pool::Pool;
use crate::ring::{Member, PARTS};
use crate::slots::{Scan, Span};
use crate::view::{BackendState, BackendView};

/// What makes a farm: forwarding mode, version of the VIP, backends.
type FarmKey<'a> = (ForwardingMode, bool, &'a BTreeMap<IpAddr, Spec>);

/// The farms of a configuration, each once.
#[derive(Default)]
pub(crate) struct Farms<'a> {
    numbers: BTreeMap<FarmKey<'a>, usize>,
    /// A service of each.
    pub(crate) services: Vec<&'a Service>,
}

impl<'a> Farms<'a> {
    /// The number of a service's farm.
    pub(crate) fn number(&mut self, spec: &'a Service) -> usize {
        let key = (spec.mode, spec.vip.addr().is_ipv4(), &spec.backends);
        *self.numbers.entry(key).or_insert_with(|| {
            self.services.push(spec);
            self.services.len() - 1
        })
    }
}

/// A backend of a farm, as the packet path knows it.
struct Known {
    addr: IpAddr,
    identity: Identity,
    spec: Spec,
    index: Option<u32>,
    /// Its entry was seen as it shall be: slots may name it.
    is_ready: bool,
    /// Largest packet on the way there, outer headers not counted; `None`: there is no way.
    room: Option<u16>,
}

/// What decides how the backends of a service stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CaseKey {
    farm: usize,
    ring: Option<Span>,
    min_mtu: u16,
    fails_open: bool,
    /// By backend, in order; empty: no check and no drain.
    verdicts: Vec<(Verdict, Option<Phase>)>,
    starts_slowly: bool,
    /// By backend, in order: parts of its share that it has by now; empty: none has begun.
    parts: Vec<Option<u8>>,
}

/// What the checks of a service say of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Up,
    Down,
    /// None yet.
    Unproven,
}

/// A configured backend of a service.
pub(crate) struct Backend {
    pub(crate) addr: IpAddr,
    pub(crate) weight: u16,
    pub(crate) state: BackendState,
    pub(crate) index: Option<u32>,
}

/// How the backends of a service stand, and what follows from it.
pub(crate) struct Case {
    pub(crate) backends: Vec<Backend>,
    pub(crate) view: Arc<BTreeMap<IpAddr, BackendView>>,
    /// How many backends are in each state.
    counts: BTreeMap<BackendState, u32>,
    /// Backends that shall take flows have no verdict yet.
    pub(crate) awaits: bool,
    /// Active ones that slots of the ring send new flows to.
    pub(crate) in_ring: u32,
    /// The checks of all backends fail, and are taken to be wrong.
    pub(crate) fails_open: bool,
    /// Active ones that do not have their whole share yet.
    pub(crate) starting: Vec<IpAddr>,
    /// Every slot of the ring names backends that frames can be sent to.
    pub(crate) is_served: bool,
    /// Indices in the ring to which old flows may still go; the same number for the same ones.
    pub(crate) alive: usize,
    /// What the ring shall hold, by number.
    pub(crate) target: usize,
}

impl Case {
    pub(crate) fn count(&self, state: BackendState) -> u32 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}

/// All cases of one plan.
pub(crate) struct Cases<'a> {
    observed: &'a Observed,
    pool: &'a Pool<'a>,
    scans: &'a BTreeMap<Span, Scan>,
    farms: Vec<Vec<Known>>,
    numbers: BTreeMap<CaseKey, usize>,
    found: Vec<Case>,
    pub(crate) targets: Numbered<Target>,
    pub(crate) alive: Numbered<Vec<u32>>,
    has_drains: bool,
}

impl<'a> Cases<'a> {
    pub(crate) fn new(
        observed: &'a Observed,
        pool: &'a Pool<'a>,
        scans: &'a BTreeMap<Span, Scan>,
        farms: &Farms<'_>,
    ) -> Self {
        Self {
            observed,
            pool,
            scans,
            farms: farms.services.iter().map(|spec| known(spec, pool)).collect(),
            numbers: BTreeMap::new(),
            found: Vec::new(),
            targets: Numbered::new(),
            alive: Numbered::new(),
            has_drains: observed.drains.has_backends(),
        }
    }

    /// The number of the case of a service with this farm and this ring.
    pub(crate) fn number(
        &mut self,
        spec: &Service,
        farm: usize,
        ring: Option<Span>,
        now: Timestamp,
    ) -> usize {
        let Some(known) = self.farms.get(farm) else { return usize::MAX };
        let verdicts = self.verdicts(spec, known);
        let fails_open = fails_open(spec, known, &verdicts);
        let key = CaseKey {
            farm,
            ring,
            min_mtu: spec.min_mtu,
            fails_open,
            verdicts,
            starts_slowly: !spec.slow_start.is_zero(),
            parts: self.parts(spec, known, now),
        };
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        let case = self.find_out(&key);
        self.found.push(case);
        let number = self.found.len() - 1;
        self.numbers.insert(key, number);
        number
    }

    /// The case of this number.
    pub(crate) fn get(&self, number: usize) -> Option<&Case> {
        self.found.get(number)
    }

    fn verdicts(&self, spec: &Service, known: &[Known]) -> Vec<(Verdict, Option<Phase>)> {
        if spec.health.is_none() && !self.has_drains {
            return Vec::new();
        }
        // Both sets are in the order of the backends.
        let mut healthy = of_service(&self.observed.healthy, spec);
        let mut unproven = of_service(&self.observed.unproven, spec);
        let verdict = |known: &Known| {
            if spec.health.is_none() {
                Verdict::Up
            } else if holds(&mut unproven, known.addr) {
                Verdict::Unproven
            } else if holds(&mut healthy, known.addr) {
                Verdict::Up
            } else {
                Verdict::Down
            }
        };
        let verdicts = known.iter().map(verdict);
        let phase = |known: &Known| self.observed.drains.backend(spec.vip, known.addr);
        if self.has_drains {
            verdicts.zip(known.iter().map(phase)).collect()
        } else {
            verdicts.map(|verdict| (verdict, None)).collect()
        }
    }

    /// What those have that were seen to start before.
    fn parts(&self, spec: &Service, known: &[Known], now: Timestamp) -> Vec<Option<u8>> {
        let started = &self.observed.started;
        if spec.slow_start.is_zero() || started.is_empty() {
            return Vec::new();
        }
        let since = |known: &Known| started.get(&(spec.vip, known.addr)).copied();
        known.iter().map(|known| since(known).map(|at| parts(at, spec.slow_start, now))).collect()
    }

    fn find_out(&mut self, key: &CaseKey) -> Case {
        let known = self.farms.get(key.farm).map_or(&[][..], Vec::as_slice);
        let empty = Scan::default();
        let scan = key.ring.and_then(|ring| self.scans.get(&ring)).unwrap_or(&empty);
        let mut verdicts = key.verdicts.iter().copied();
        let backends: Vec<Backend> = known
            .iter()
            .map(|known| {
                let (verdict, phase) = verdicts.next().unwrap_or((Verdict::Up, None));
                let state = state(known, verdict, phase, scan, key);
                let Known { addr, index, spec: Spec { weight, .. }, .. } = *known;
                Backend { addr, weight, state, index }
            })
            .collect();
        let slots = |index: Option<u32>| index.and_then(|it| scan.current.get(&it)).copied();
        // One that others' flows go past, and that gets none itself, starts now.
        let is_new = |it: &Backend| key.ring.is_some() && slots(it.index).is_none();
        let mut begun = key.parts.iter().copied();
        let parts: Vec<u8> = backends
            .iter()
            .map(|it| match (it.state, begun.next().flatten()) {
                (BackendState::Active, Some(parts)) => parts,
                (BackendState::Active, None) if key.starts_slowly && is_new(it) => 1,
                (BackendState::Active, None) => PARTS,
                _ => 0,
            })
            .collect();
        // Until a slot names it, it would else begin anew.
        let is_starting = |&(it, &parts): &(&Backend, &u8)| {
            (1..PARTS).contains(&parts) || parts > 0 && key.starts_slowly && is_new(it)
        };
        let starting = backends.iter().zip(&parts).filter(is_starting).map(|(it, _)| it.addr);
        let starting = starting.collect();
        let awaits = |it: &Backend| it.weight > 0 && it.state == BackendState::Unproven;
        let mut counts = BTreeMap::new();
        for backend in &backends {
            *counts.entry(backend.state).or_default() += 1;
        }
        let in_ring = backends
            .iter()
            .filter(|it| it.state == BackendState::Active && slots(it.index).is_some())
            .count();
        let view = backends.iter().map(|&Backend { addr, weight, state, index }| {
            (addr, BackendView { state, weight, index, slots: slots(index).unwrap_or(0) })
        });
        let is_resolved = |&index: &u32| self.pool.is_resolved(index);
        let alive = alive(known, &backends, scan.indices().filter(is_resolved), self.pool);
        Case {
            view: Arc::new(view.collect()),
            counts,
            awaits: backends.iter().any(awaits),
            in_ring: u32::try_from(in_ring).unwrap_or(u32::MAX),
            fails_open: key.fails_open,
            is_served: key.ring.is_some() && scan.indices().all(|index| is_resolved(&index)),
            starting,
            target: self.targets.number(target(known, &backends, parts)),
            alive: self.alive.number(alive),
            backends,
        }
    }
}

/// Parts of its share that a backend has so long after it started: one at once, all at the end.
fn parts(since: Timestamp, slow_start: Duration, now: Timestamp) -> u8 {
    let passed = now.since(since).as_nanos().saturating_mul(PARTS.into());
    let more = passed.checked_div(slow_start.as_nanos()).unwrap_or(u128::MAX);
    u8::try_from(more).unwrap_or(PARTS).saturating_add(1).min(PARTS)
}

/// When a backend that started then gets the next part of its share; `None`: it has all.
pub(crate) fn next_part(
    since: Timestamp,
    slow_start: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let has = parts(since, slow_start, now);
    let eighth =
        Duration::from_nanos(u64::try_from(slow_start.as_nanos().div_ceil(PARTS.into())).ok()?);
    (has < PARTS).then(|| since + eighth.saturating_mul(has.into()))
}

/// The backends of a service that are in a set, in their order.
fn of_service<'a>(
    all: &'a BTreeSet<(ServiceAddr, IpAddr)>,
    spec: &Service,
) -> Peekable<impl Iterator<Item = IpAddr> + use<'a>> {
    let vip = spec.vip;
    let first = spec.backends.keys().next().copied();
    let range = first.map(|first| all.range((vip, first)..)).into_iter().flatten();
    range.take_while(move |(of, _)| *of == vip).map(|&(_, addr)| addr).peekable()
}

/// Whether the next of these, in order, is this one; those before it are passed.
fn holds(all: &mut Peekable<impl Iterator<Item = IpAddr>>, addr: IpAddr) -> bool {
    while all.next_if(|&next| next < addr).is_some() {}
    all.next_if_eq(&addr).is_some()
}

fn known(spec: &Service, pool: &Pool<'_>) -> Vec<Known> {
    let known = |(&addr, &backend): (&IpAddr, &Spec)| {
        let identity = entry::wanted(spec.mode, spec.vip.addr(), addr);
        let room =
            |wanted: &tidegate_abi::Backend| wanted.mtu.saturating_sub(entry::overhead(identity.0));
        Known {
            addr,
            identity,
            spec: backend,
            index: pool.index(identity),
            is_ready: pool.is_ready(identity),
            room: pool.wanted(identity).map(room),
        }
    };
    spec.backends.iter().map(known).collect()
}

/// What a backend does. What somebody decided comes first, then health: of a backend that is down,
/// nothing else matters.
fn state(
    known: &Known,
    verdict: Verdict,
    drain: Option<Phase>,
    scan: &Scan,
    key: &CaseKey,
) -> BackendState {
    let in_ring = known
        .index
        .is_some_and(|index| scan.current.contains_key(&index) || scan.previous.contains(&index));
    if known.spec.disabled || drain == Some(Phase::Drained) {
        BackendState::Disabled
    } else if verdict == Verdict::Unproven && !in_ring {
        BackendState::Unproven
    } else if verdict == Verdict::Down && !key.fails_open {
        BackendState::Down
    } else if known.room.is_none() {
        BackendState::NoWay
    } else if known.room.is_some_and(|room| room < key.min_mtu) {
        // The way does not carry the packets that the service promises to carry.
        BackendState::Narrow
    } else if !known.spec.takes_flows() || drain.is_some() {
        BackendState::Draining
    } else if known.index.is_none() {
        BackendState::NoRoom
    } else {
        BackendState::Active
    }
}

/// Whether the checks of all backends that shall take flows fail, and that counts as a failure of
/// the checks.
fn fails_open(spec: &Service, known: &[Known], verdicts: &[(Verdict, Option<Phase>)]) -> bool {
    let mut taking = known
        .iter()
        .zip(verdicts)
        .filter(|(known, (_, drain))| known.spec.takes_flows() && drain.is_none());
    spec.when_all_down == AllDown::FailOpen
        && spec.health.is_some()
        && taking.all(|(_, &(verdict, _))| verdict == Verdict::Down)
}

/// Of these indices those to which old flows may still go, in order.
fn alive(
    known: &[Known],
    backends: &[Backend],
    resolved: impl Iterator<Item = u32>,
    pool: &Pool<'_>,
) -> Vec<u32> {
    // By address: in another forwarding mode it is still the same backend.
    let states: BTreeMap<IpAddr, BackendState> =
        known.iter().zip(backends).map(|(known, it)| (known.identity.1, it.state)).collect();
    let takes_old_flows = |(_, addr): Identity| match states.get(&addr) {
        // One that is no longer configured is alive as long as its entry is.
        None | Some(BackendState::Active | BackendState::Draining | BackendState::Narrow) => true,
        Some(_) => false,
    };
    let mut alive: Vec<u32> =
        resolved.filter(|&index| pool.identity(index).is_some_and(takes_old_flows)).collect();
    alive.sort_unstable();
    alive.dedup();
    alive
}

fn target(known: &[Known], backends: &[Backend], parts: Vec<u8>) -> Target {
    let member = |it: &Backend| Member { addr: it.addr, weight: it.weight };
    Target {
        size: ring_size(u32::try_from(backends.len()).unwrap_or(u32::MAX)),
        members: backends.iter().map(member).collect(),
        parts,
        ready: known.iter().map(|known| known.index.filter(|_| known.is_ready)).collect(),
    }
}
