//! One service: who of its backends is usable, what its slots shall hold, where its ring lies.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_abi::{QuicKey, Rates, Service as Entry, Slot, service_flags};
use tidegate_bgp::time::Timestamp;
use tidegate_config::desired::{Affinity, Limits, Service, UdpFlows};

use crate::admission;
use crate::entry;
use crate::farm::{self, Backend, Case};
use crate::key::MapKey;
use crate::nat;
use crate::observed::Observed;
use crate::places::{RingPlan, Wish};
use crate::plan::Route;
use crate::pool::{Pool, Rows};
use crate::proof::{self, Finding, Flaw};
use crate::quic;
use crate::rings::Rings;
use crate::slots::{Span, Spans};
use crate::step::{Reason, Step};
use crate::view::{BackendState, Programmed, Proof, VipState};

/// What all services of one plan share.
pub(crate) struct Shared<'a> {
    pub(crate) observed: &'a Observed,
    /// Both service maps.
    pub(crate) entries: &'a BTreeMap<MapKey, Entry>,
    pub(crate) now: Timestamp,
    pub(crate) hash_seed: u64,
    /// Of services that do not say otherwise.
    pub(crate) limits: Limits,
    pub(crate) pool: &'a Pool<'a>,
    pub(crate) rings: &'a mut Rings,
    pub(crate) spans: Spans,
    pub(crate) rows: Rows,
    /// Keys that `SERVICES_V4` and `SERVICES_V6` can still take.
    pub(crate) room_v4: usize,
    pub(crate) room_v6: usize,
}

impl Shared<'_> {
    /// Takes places in the map of this key for so many new ones, if there are as many.
    pub(crate) const fn take_room(&mut self, key: MapKey, count: usize) -> bool {
        let room = match key {
            MapKey::V4(_) => &mut self.room_v4,
            MapKey::V6(_) => &mut self.room_v6,
        };
        match room.checked_sub(count) {
            Some(left) => {
                *room = left;
                true
            }
            None => false, // What does not fit takes nothing from others.
        }
    }
}

/// A service as the maps show it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) entry: Option<Entry>,
    /// Its ring, if that is a sound one and not in the way of another one's.
    pub(crate) ring: Option<Span>,
    /// Its traffic row, if no service before it has the same.
    pub(crate) row: Option<u32>,
}

/// A service that the configuration wants, as it stands in the world.
pub(crate) struct Work<'a> {
    name: &'a str,
    pub(crate) spec: &'a Service,
    key: MapKey,
    pub(crate) seen: Seen,
    /// Slots of its ring that are in transition.
    unsettled: u32,
    pub(crate) case: &'a Case,
    proof: Proof,
    /// It was proven in the plan before this one.
    was_proven: bool,
}

/// What a plan does for one service.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Slots to write.
    pub(crate) slots: Vec<(u32, Slot)>,
    /// The service's entries that are to be written, one for each port.
    pub(crate) puts: Vec<Step>,
    /// Server ids that shall name its backends.
    pub(crate) servers: Vec<(QuicKey, u32)>,
    /// When the drain time of its transitions is over.
    pub(crate) drained_at: Option<Timestamp>,
    /// The maps have no room for it, or not for its new ring.
    no_room: bool,
    /// The maps hold its entries exactly as they shall be, and no other ring is being built.
    is_programmed: bool,
}

impl Outcome {
    /// Why the maps do not hold the service as it shall be.
    const fn not_there(&self) -> Reason {
        if self.no_room { Reason::NoRoom } else { Reason::NotProgrammed }
    }
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        name: &'a str,
        spec: &'a Service,
        seen: Seen,
        unsettled: u32,
        case: &'a Case,
        shared: &Shared<'_>,
    ) -> Self {
        let key = MapKey::of_service(spec.vip);
        let proof = judge(spec, &case.backends, shared);
        let was_proven = shared.observed.proven_before.contains(&spec.vip);
        Self { name, spec, key, seen, unsettled, case, proof, was_proven }
    }

    /// What is to be done for it now; `alive` are the indices in its ring to which old flows may go.
    pub(crate) fn plan(
        &self,
        shared: &mut Shared<'_>,
        ring_plan: RingPlan,
        alive: &[u32],
    ) -> Outcome {
        let drained_at = self.drained_at(shared);
        let mut outcome = Outcome {
            slots: ring_plan.slots,
            drained_at: drained_at.filter(|&at| at > shared.now),
            no_room: ring_plan.no_room,
            ..Outcome::default()
        };
        let Some(ring) = ring_plan.ring else { return outcome };
        let is_new = |key: &MapKey| !shared.entries.contains_key(key);
        let new_keys = MapKey::of_ports(self.spec).filter(is_new).count();
        let row = self.seen.row.or_else(|| shared.rows.give());
        let (Some(row), true) = (row, shared.take_room(self.key, new_keys)) else {
            outcome.no_room = true;
            return outcome;
        };
        let rates = admission::rates(self.spec.limits.or(shared.limits));
        let entry = Entry {
            ring_offset: ring.offset,
            ring_size: ring.size,
            index: row,
            flags: affinity_flags(self.spec.affinity, self.spec.vip.addr())
                | match self.spec.udp {
                    UdpFlows::Hashed => 0,
                    UdpFlows::Remembered => service_flags::UDP_FLOWS,
                }
                | if rates == Rates::default() { 0 } else { service_flags::RATED }
                | nat::flags(self.spec)
                | quic::flags(self.spec),
        };
        // The first key's write clears a fresh row, before anything counts there.
        let to_write = MapKey::of_ports(self.spec)
            .filter(|key| shared.entries.get(key) != Some(&entry))
            .map(|key| key.put(entry, key == self.key && self.seen.row.is_none()));
        let seen = shared.observed.datapath.rates.get(&row).copied().unwrap_or_default();
        let put_rates = (seen != rates).then_some(Step::PutRates { index: row, rates });
        outcome.puts = put_rates.into_iter().chain(to_write).collect();
        outcome.servers = self.servers(row, alive, shared);
        outcome.is_programmed = outcome.puts.is_empty()
            && !ring_plan.is_building
            && quic::hold(&shared.observed.datapath, &outcome.servers);
        outcome
    }

    fn drained_at(&self, shared: &Shared<'_>) -> Option<Timestamp> {
        let since = shared.observed.unsettled_since.get(&self.spec.vip);
        let held_until = shared.observed.drains.held_until(self.spec.vip).unwrap_or_default();
        let by_itself = || *since.unwrap_or(&shared.now) + self.spec.drain;
        (self.unsettled > 0).then(|| by_itself().max(held_until))
    }

    /// Backends that do not have their whole share yet, and since when they have any.
    fn starting(
        &self,
        observed: &Observed,
        now: Timestamp,
    ) -> impl Iterator<Item = (IpAddr, Timestamp)> {
        let since = move |addr| observed.started.get(&(self.spec.vip, addr)).copied();
        self.case.starting.iter().map(move |&addr| (addr, since(addr).unwrap_or(now)))
    }

    /// When one of them gets more.
    pub(crate) fn next_part_at(&self, shared: &Shared<'_>) -> Option<Timestamp> {
        let now = shared.now;
        let all = self.starting(shared.observed, now);
        all.filter_map(|(_, since)| farm::next_part(since, self.spec.slow_start, now)).min()
    }

    /// Its ring.
    pub(crate) const fn ring(&self) -> Option<Span> {
        self.seen.ring
    }

    /// What its ring is to become; `None`: it stays as it is, if there is one.
    pub(crate) fn wish(&self, shared: &Shared<'_>) -> Option<Wish> {
        // Nobody is up, but somebody may be: what the maps hold may be right. It stays until the
        // first verdicts, which a check's timeout bounds.
        let may_be_up =
            self.count(BackendState::Active) == 0 && self.count(BackendState::Unproven) > 0;
        if may_be_up || self.awaits_checks() {
            return None;
        }
        let is_held = shared.observed.drains.held_until(self.spec.vip).is_some();
        let is_drained = self.drained_at(shared).is_some_and(|at| at <= shared.now);
        let drains = !self.spec.drain.is_zero() || is_held;
        let Case { target, alive, .. } = *self.case;
        Some(Wish { target, alive, drains, is_drained })
    }

    /// It is not in the maps, and not all of its backends have a verdict yet. A ring of those that
    /// have one would be another one than other nodes use, and flows that routers bring from there
    /// would go to the wrong backends, also after the ring has changed: to those of before.
    const fn awaits_checks(&self) -> bool {
        self.seen.ring.is_none() && self.case.awaits
    }

    fn count(&self, state: BackendState) -> u32 {
        self.case.count(state)
    }

    /// The maps hold nothing of it.
    pub(crate) const fn is_missing(&self) -> bool {
        self.seen.entry.is_none()
    }

    /// Why this service keeps its VIP from being announced; `None`: it does not.
    pub(crate) fn why_not_announce(
        &self,
        outcome: &Outcome,
        has_vip_entry: bool,
    ) -> Option<Reason> {
        if self.awaits_checks() {
            return Some(Reason::NotChecked);
        }
        self.too_few(0).or_else(|| {
            let is_there = outcome.is_programmed && self.case.is_served && has_vip_entry;
            (!is_there || self.case.in_ring < self.min_healthy())
                .then_some(outcome.not_there())
                .or_else(|| self.why_not_proven())
        })
    }

    /// Why this service takes back a VIP that is announced; `None`: it does not. A change on its
    /// way into the maps is no reason, as long as what they hold works.
    pub(crate) fn why_withdraw(&self, outcome: &Outcome) -> Option<Reason> {
        self.too_few(self.count(BackendState::Unproven))
            .or_else(|| self.lost_proof().map(Reason::Proof))
            .or_else(|| (!self.case.is_served && !self.is_missing()).then_some(outcome.not_there()))
    }

    const fn why_not_proven(&self) -> Option<Reason> {
        match self.proof {
            Proof::Proven => None,
            Proof::Pending => Some(Reason::NotProven),
            Proof::Lost(flaw) => Some(Reason::Proof(flaw)),
        }
    }

    /// Test packets are not sent. Of a service that the maps do not hold yet none can be; but if
    /// it was proven, somebody has taken it out.
    fn lost_proof(&self) -> Option<Flaw> {
        match self.proof {
            Proof::Lost(flaw) if !self.is_missing() || self.was_proven => Some(flaw),
            Proof::Proven | Proof::Pending | Proof::Lost(_) => None,
        }
    }

    fn min_healthy(&self) -> u32 {
        self.spec.advertise.as_ref().map_or(1, |advertise| advertise.min_healthy)
    }

    fn too_few(&self, doubtful: u32) -> Option<Reason> {
        let min = self.min_healthy();
        let usable = self.count(BackendState::Active).saturating_add(doubtful);
        let no_way = self.count(BackendState::NoWay);
        let narrow = self.count(BackendState::Narrow);
        let no_room = self.count(BackendState::NoRoom);
        let mut reachable = usable;
        let mut reaches = |more: u32| {
            reachable = reachable.saturating_add(more);
            reachable >= min
        };
        if reaches(0) {
            None
        } else if reaches(no_way) {
            Some(Reason::NoWay)
        } else if reaches(narrow) {
            Some(Reason::TooNarrow)
        } else if reaches(no_room) {
            Some(Reason::NoRoom)
        } else {
            Some(Reason::TooFewHealthy)
        }
    }

    /// The service for people.
    pub(crate) fn view(
        &self,
        reason: Option<Reason>,
        route: &Route,
        observed: &Observed,
        now: Timestamp,
    ) -> VipState {
        let programmed = self.seen.entry.zip(self.seen.ring).map(|(entry, ring)| Programmed {
            index: entry.index,
            ring_offset: ring.offset,
            ring_size: ring.size,
            unsettled: self.unsettled,
        });
        VipState {
            name: self.name.to_owned(),
            backends: Arc::clone(&self.case.view),
            usable: self.count(BackendState::Active),
            programmed,
            proof: self.proof,
            fails_open: self.case.fails_open,
            held_until: route.held_until,
            starting: self.starting(observed, now).collect(),
            life: route.life,
            reason,
            withheld: route.withheld,
        }
    }
}

fn affinity_flags(affinity: Affinity, vip: IpAddr) -> u32 {
    let all: u32 = if vip.is_ipv4() { 32 } else { 128 };
    match affinity {
        Affinity::FiveTuple | Affinity::Quic { .. } => 0,
        Affinity::ClientAddress => service_flags::AFFINITY_CLIENT,
        Affinity::ClientPrefix(bits) => {
            let uncounted = all.saturating_sub(bits.into());
            service_flags::AFFINITY_CLIENT | uncounted << service_flags::UNCOUNTED_BITS
        }
    }
}

/// What test packets say: each must have left as the entry of a backend that takes new flows says.
fn judge(spec: &Service, backends: &[Backend], shared: &Shared<'_>) -> Proof {
    let findings = shared.observed.proofs.get(&spec.vip).map_or(&[][..], Vec::as_slice);
    let is_as_wanted = |backend: &Backend, headers: &proof::Headers| {
        let identity = entry::wanted(spec.mode, spec.vip.addr(), backend.addr);
        backend.state == BackendState::Active
            && shared.pool.wanted(identity).is_some_and(|wanted| proof::is_as(headers, wanted))
    };
    let mut proof = if findings.is_empty() { Proof::Pending } else { Proof::Proven };
    for finding in findings {
        match finding {
            Finding::NotRun => return Proof::Lost(Flaw::NotRun),
            Finding::Ended(counter) => return Proof::Lost(Flaw::Ended(*counter)),
            Finding::Sent(headers) => {
                // The outer destination names the backend; in `l2` there is none.
                let named = headers.ip.and_then(|(_, to)| {
                    backends.binary_search_by_key(&to, |backend| backend.addr).ok()
                });
                let is_good = match named.and_then(|at| backends.get(at)) {
                    Some(backend) => is_as_wanted(backend, headers),
                    None => backends.iter().any(|backend| is_as_wanted(backend, headers)),
                };
                if !is_good {
                    proof = Proof::Pending;
                }
            }
        }
    }
    proof
}
