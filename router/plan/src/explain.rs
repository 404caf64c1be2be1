//! What a change of the configuration would do, told before it is made.
//!
//! Sessions and keys are compared; routes and rings are forecast by the planner itself: it runs on
//! a model of the maps until it has nothing left to do. So what is told is what will be done, by
//! whatever rules the planner decides. The model holds the services of the VIPs that a change
//! touches and no others.
//!
//! A backend whose check has no verdict yet, which every new one is, is expected to answer well.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::Slot;
use tidegate_bgp::speaker::RouteAttributes;
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tidegate_config::Impact;
use tidegate_config::change::{Change, Object, What, changes};
use tidegate_config::desired::{Desired, Guard, Service, ServiceAddr};

use crate::admission;
use crate::entry;
use crate::key::{self, MapKey};
use crate::memory::Memory;
use crate::observed::{Datapath, Observed};
use crate::plan::plan_with;
use crate::proof;
use crate::quic;
use crate::rings::Rings;
use crate::slots::{self, Span};
use crate::step::{Reason, Step};

/// Rounds in which a forecast has long ended: entries, slots, services, routes, and the same back
/// after drain and grace.
const ROUNDS_MAX: usize = 32;

/// What a change would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Every key that changes.
    pub changes: Vec<Change>,
    /// Sessions that are opened, closed or reset, by peer. All others stay as they are.
    pub sessions: BTreeMap<String, Session>,
    /// Routes that change, by prefix. All others stay as they are.
    pub routes: BTreeMap<Prefix, Route>,
    /// Services that come, go, or have slots that move, by name.
    pub services: BTreeMap<String, Moves>,
    /// Keys that only a start can change: with one of them the change is refused.
    pub restart: Vec<String>,
}

impl Explanation {
    /// The change changes nothing at all.
    pub const fn is_nothing(&self) -> bool {
        self.changes.is_empty()
    }
}

/// What becomes of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// The peer is new.
    Opened,
    /// The peer is gone.
    Closed,
    /// It is closed and opened again.
    Reset {
        /// The keys that cause it.
        keys: Vec<String>,
    },
}

/// What becomes of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is announced.
    Announced(RouteAttributes),
    /// It is withdrawn.
    Withdrawn(Reason),
    /// It is announced with other attributes.
    Changed(RouteAttributes),
    /// It is withdrawn, and announced again when what replaces it is in place.
    Interrupted(Reason, RouteAttributes),
}

/// What becomes of the slots of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moves {
    /// Where the service is, or was.
    pub vip: ServiceAddr,
    /// The last of its ports, the first of which is that of `vip`.
    pub last_port: u16,
    /// Whether it comes, goes or stays.
    pub fate: Fate,
    /// Slots whose new flows go to another backend.
    pub moved: u32,
    /// Slots of the larger of the old and the new ring.
    pub of: u32,
    /// Live flows of those slots stay where they are this long, in milliseconds; 0: they move at
    /// once.
    pub drain_millis: u64,
}

/// Whether a service comes, goes or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing served its address before.
    Added,
    /// Nothing serves its address afterwards.
    Removed,
    /// It is served before and afterwards.
    Stays,
}

/// What going from one configuration to the other would do in this world. `observed` knows the
/// ways to the backends of both.
pub fn explain(
    before: &Desired,
    after: &Desired,
    observed: &Observed,
    now: Timestamp,
) -> Explanation {
    let changes = changes(before, after);
    let sessions = sessions(&changes);
    let restart = restart(&changes);
    let vips = affected(&changes, before, after);
    let mut explanation = Explanation { changes, sessions, restart, ..Explanation::default() };
    if vips.is_empty() {
        return explanation;
    }
    let part = |desired: &Desired| {
        let services = desired.services.iter();
        let services = services.filter(|(_, service)| vips.contains(&service.vip.addrs));
        // Told is what it comes to in the end.
        let at_once = |service: &Service| Service { slow_start: Duration::ZERO, ..service.clone() };
        let services = services.map(|(name, service)| (name.clone(), at_once(service))).collect();
        Desired {
            router: desired.router.clone(),
            datapath: desired.datapath.clone(),
            // Prefixes of clients move no route and no slot.
            guard: Guard { limits: desired.guard.limits, ..Guard::default() },
            flows: desired.flows,
            nat: desired.nat.clone(),
            decision: desired.decision,
            peers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            signing: BTreeMap::new(),
            keychains: BTreeMap::new(),
            policies: BTreeMap::new(),
            prefix_sets: BTreeMap::new(),
            rpki_caches: Vec::new(),
            bmp_stations: Vec::new(),
            mrt: None,
            services,
        }
    };
    let (before, after) = (part(before), part(after));
    let forecast = Forecast::of(&before, &after, observed, now);
    explanation.routes = routes(&vips, observed, &forecast);
    explanation.services = moves(&before, &after, observed, &forecast.observed);
    explanation
}

/// The world after a change, as far as the services of these VIPs are concerned: its maps, and what is
/// announced. `observed` knows the ways to the backends of both configurations.
pub fn world_after(
    before: &Desired,
    after: &Desired,
    vips: impl Fn(Prefix) -> bool,
    observed: &Observed,
    now: Timestamp,
) -> Observed {
    let part = |desired: &Desired| {
        let services = desired.services.iter().filter(|(_, service)| vips(service.vip.addrs));
        let services = services.map(|(name, service)| (name.clone(), service.clone())).collect();
        Desired { services, ..desired.clone() }
    };
    Forecast::of(&part(before), &part(after), observed, now).observed
}

/// Sessions that the changes open, close or reset.
pub fn sessions(changes: &[Change]) -> BTreeMap<String, Session> {
    let mut sessions = BTreeMap::new();
    for change in changes {
        let Object::Peer(name) = &change.object else { continue };
        // A peer that becomes a range of the same name, or the other way round, does both.
        let both = || Session::Reset { keys: vec!["address".into()] };
        let known = sessions.contains_key(name);
        match &change.what {
            What::Added | What::Removed if known => drop(sessions.insert(name.clone(), both())),
            What::Added => drop(sessions.insert(name.clone(), Session::Opened)),
            What::Removed => drop(sessions.insert(name.clone(), Session::Closed)),
            What::Changed { key, impact: Impact::Session, .. } => {
                let reset = || Session::Reset { keys: Vec::new() };
                if let Session::Reset { keys } = sessions.entry(name.clone()).or_insert_with(reset)
                {
                    keys.push(key.clone());
                }
            }
            What::Changed { .. } => {}
        }
    }
    sessions
}

/// Keys that only a start can change.
fn restart(changes: &[Change]) -> Vec<String> {
    let key = |change: &Change| match &change.what {
        What::Changed { key, impact: Impact::Restart, .. } => {
            Some(format!("{}.{key}", change.object))
        }
        What::Changed { .. } | What::Added | What::Removed => None,
    };
    changes.iter().filter_map(key).collect()
}

/// VIPs of which a service comes, goes or changes; all of them if the node's part in their entries
/// does.
fn affected(changes: &[Change], before: &Desired, after: &Desired) -> BTreeSet<Prefix> {
    let all = || [before, after].into_iter().flat_map(|desired| &desired.services);
    let of_node = |change: &Change| {
        let soft = change.impact() == Impact::Soft || change.impact() == Impact::Restart;
        change.object == Object::Router && soft
    };
    if changes.iter().any(of_node) {
        return all().map(|(_, service)| service.vip.addrs).collect();
    }
    let names: BTreeSet<&String> = changes
        .iter()
        .filter_map(|change| match &change.object {
            Object::Service(name) | Object::Backend(name, _) => Some(name),
            Object::Router
            | Object::Api
            | Object::Datapath
            | Object::Guard
            | Object::Flows
            | Object::Nat
            | Object::Decision
            | Object::Peer(_)
            | Object::Keychain(_)
            | Object::PrefixSet(_)
            | Object::Policy(_)
            | Object::RpkiCache(_)
            | Object::BmpStation(_)
            | Object::Mrt => None,
        })
        .collect();
    all().filter(|(name, _)| names.contains(name)).map(|(_, service)| service.vip.addrs).collect()
}

/// What the planner does, and the world when it has nothing left to do.
struct Forecast {
    observed: Observed,
    /// Prefixes that are withdrawn on the way, and why first.
    withdrawn: BTreeMap<Prefix, Reason>,
}

impl Forecast {
    fn of(before: &Desired, after: &Desired, world: &Observed, now: Timestamp) -> Self {
        let mut forecast = Self { observed: world.only(before, after), withdrawn: BTreeMap::new() };
        let mut rings = Rings::default();
        // First the new backends have no verdict yet, then their checks are answered well.
        forecast.observed.unproven.extend(new_checks(before, after));
        forecast.run(&mut rings, after, now, false);
        let proven = core::mem::take(&mut forecast.observed.unproven);
        forecast.observed.healthy.extend(proven);
        forecast.run(&mut rings, after, now, true);
        forecast
    }

    /// Rounds until nothing is left to do, drain times included if `waits`.
    fn run(&mut self, rings: &mut Rings, after: &Desired, mut now: Timestamp, waits: bool) {
        let mut memory = Memory::default();
        for _ in 0..ROUNDS_MAX {
            memory.on_look(&mut self.observed, now);
            let tried = after.services.values().map(|service| service.vip);
            self.observed.proofs =
                proof::expected(after.router.hash_seed, tried, &self.observed.datapath);
            let plan = plan_with(rings, after, &self.observed, now);
            memory.on_plan(&plan);
            match plan.wake_at {
                Some(wake_at) if plan.steps.is_empty() && waits => now = wake_at,
                _ if plan.steps.is_empty() => return,
                _ => {}
            }
            let seen = core::mem::take(&mut self.observed.datapath);
            self.observed.datapath.clone_from(&seen);
            for step in &plan.steps {
                if let Step::Withdraw { prefix, reason, .. } = step {
                    self.withdrawn.entry(*prefix).or_insert(*reason);
                }
                self.observed.apply(step);
                memory.on_step(step, &seen, now);
            }
        }
    }
}

/// Backends whose check is new: nothing is known of them.
fn new_checks(before: &Desired, after: &Desired) -> BTreeSet<(ServiceAddr, IpAddr)> {
    let keys = |desired: &Desired| -> BTreeSet<(ServiceAddr, IpAddr)> {
        let checked = desired.services.values().filter(|service| service.health.is_some());
        let of = |service: &Service| {
            let vip = service.vip;
            service.backends.keys().map(move |addr| (vip, *addr)).collect::<Vec<_>>()
        };
        checked.flat_map(of).collect()
    };
    &keys(after) - &keys(before)
}

fn routes(
    vips: &BTreeSet<Prefix>,
    observed: &Observed,
    forecast: &Forecast,
) -> BTreeMap<Prefix, Route> {
    let mut routes = BTreeMap::new();
    for &prefix in vips {
        let before = observed.advertised.get(&prefix);
        let withdrawn = forecast.withdrawn.get(&prefix).copied();
        let route = match (before, forecast.observed.advertised.get(&prefix), withdrawn) {
            (None, Some(after), _) => Route::Announced(after.clone()),
            (Some(_), None, withdrawn) => {
                Route::Withdrawn(withdrawn.unwrap_or(Reason::NotConfigured))
            }
            (Some(_), Some(after), Some(reason)) => Route::Interrupted(reason, after.clone()),
            (Some(before), Some(after), None) if before != after => Route::Changed(after.clone()),
            (Some(_), Some(_), None) | (None, None, _) => continue,
        };
        routes.insert(prefix, route);
    }
    routes
}

/// Services that come, go, or have slots that move. A service is known by its address: one that
/// is only renamed does not move.
fn moves(
    before: &Desired,
    after: &Desired,
    world: &Observed,
    forecast: &Observed,
) -> BTreeMap<String, Moves> {
    let (before, after) = (by_addr(before), by_addr(after));
    let (old, new) = (Owners::of(&world.datapath), Owners::of(&forecast.datapath));
    let mut moves = BTreeMap::new();
    for (vip, (name, spec)) in before.iter().chain(&after) {
        let fate = match (before.contains_key(vip), after.contains_key(vip)) {
            (false, _) => Fate::Added,
            (_, false) => Fate::Removed,
            (true, true) => Fate::Stays,
        };
        let (moved, of) = moved(&old, &new, *vip);
        if moved > 0 || fate != Fate::Stays {
            let drain_millis = u64::try_from(spec.drain.as_millis()).unwrap_or(0);
            let (vip, last_port) = (*vip, spec.last_port);
            let of_service = Moves { vip, last_port, fate, moved, of, drain_millis };
            moves.insert((*name).to_owned(), of_service);
        }
    }
    // A service that was renamed stands there once, under its new name.
    moves.retain(|name, moves| after.get(&moves.vip).is_none_or(|(current, _)| *current == name));
    moves
}

fn by_addr(desired: &Desired) -> BTreeMap<ServiceAddr, (&str, &Service)> {
    let services = desired.services.iter();
    services.map(|(name, spec)| (spec.vip, (name.as_str(), spec))).collect()
}

/// Who owns which slot, in maps as they are.
struct Owners<'a> {
    rings: BTreeMap<MapKey, Span>,
    slots: &'a [Slot],
    addrs: BTreeMap<u32, IpAddr>,
}

impl<'a> Owners<'a> {
    fn of(datapath: &'a Datapath) -> Self {
        let rings = key::entries(datapath).into_iter();
        let rings = rings.filter_map(|(key, entry)| Some((key, Span::of(&entry)?))).collect();
        let addrs = datapath.backends.iter();
        let addrs = addrs.filter_map(|(index, entry)| Some((*index, entry::identity(entry)?.1)));
        Self { rings, slots: &datapath.slots, addrs: addrs.collect() }
    }

    /// The backend of the slot at this place of a ring that would have `size` slots.
    fn owner(&self, ring: Span, place: u32, size: u32) -> Option<IpAddr> {
        let slot = ring.covering(self.slots, place, size);
        self.addrs.get(&slot.current).copied()
    }
}

/// Slots of a service that go from one backend to another, and how many there are.
fn moved(old: &Owners<'_>, new: &Owners<'_>, vip: ServiceAddr) -> (u32, u32) {
    let key = MapKey::of_service(vip);
    let (old_ring, new_ring) = (old.rings.get(&key), new.rings.get(&key));
    let Some(size) = old_ring.into_iter().chain(new_ring).map(|ring| ring.size).max() else {
        return (0, 0);
    };
    let (Some(&old_ring), Some(&new_ring)) = (old_ring, new_ring) else { return (size, size) };
    let differs =
        |place: &u32| old.owner(old_ring, *place, size) != new.owner(new_ring, *place, size);
    let moved = (0..size).filter(differs).count();
    (u32::try_from(moved).unwrap_or(u32::MAX), size)
}

impl Observed {
    /// What of the world belongs to the services of two configurations.
    fn only(&self, before: &Desired, after: &Desired) -> Self {
        let vips: BTreeSet<Prefix> =
            [before, after].iter().flat_map(|d| d.services.values()).map(|s| s.vip.addrs).collect();
        let all = &self.datapath;
        let mut datapath = Datapath {
            attached: all.attached,
            backends: all.backends.clone(),
            slots: vec![Slot::default(); all.slots.len()],
            rates: all.rates.clone(),
            ..Datapath::default()
        };
        for (key, entry) in
            key::entries(all).into_iter().filter(|(key, _)| vips.contains(&key.vip()))
        {
            match key {
                MapKey::V4(key) => drop(datapath.services_v4.insert(key, entry)),
                MapKey::V6(key) => drop(datapath.services_v6.insert(key, entry)),
            }
            let Some(ring) = Span::of(&entry) else { continue };
            let range = ring.offset as usize..all.slots.len().min(ring.end() as usize);
            let places = datapath.slots.get_mut(range.clone()).zip(all.slots.get(range));
            if let Some((places, slots)) = places {
                places.copy_from_slice(slots);
            }
        }
        slots::store(&mut datapath.slots, &[]); // Zeros at the end are none.
        let advertised = self.advertised.iter().filter(|(prefix, _)| vips.contains(prefix));
        Self {
            datapath,
            healthy: self.healthy.clone(),
            unproven: self.unproven.clone(),
            ways: self.ways.clone(),
            drains: self.drains.clone(),
            advertised: advertised.map(|(prefix, route)| (*prefix, route.clone())).collect(),
            ..Self::default()
        }
    }

    /// What a step that is done makes of the world.
    pub fn apply(&mut self, step: &Step) {
        let datapath = &mut self.datapath;
        match step {
            Step::PutBackend { index, entry, .. } => {
                datapath.backends.insert(*index, *entry);
            }
            Step::FreeBackend { index } => drop(datapath.backends.remove(index)),
            Step::PutSlots { slots } => slots::store(&mut datapath.slots, slots),
            Step::PutServiceV4 { key, service, .. } => {
                datapath.services_v4.insert(*key, *service);
            }
            Step::PutServiceV6 { key, service, .. } => {
                datapath.services_v6.insert(*key, *service);
            }
            Step::DeleteServiceV4 { key } => drop(datapath.services_v4.remove(key)),
            Step::DeleteServiceV6 { key } => drop(datapath.services_v6.remove(key)),
            Step::PutPrefixes { .. } | Step::DeletePrefixes { .. } | Step::PutRates { .. } => {
                admission::apply(step, datapath);
            }
            Step::PutServers { .. } | Step::DeleteServers { .. } => quic::apply(step, datapath),
            Step::Advertise { prefix, attributes } => {
                self.advertised.insert(*prefix, attributes.clone());
            }
            Step::Withdraw { prefix, .. } => drop(self.advertised.remove(prefix)),
        }
    }
}
