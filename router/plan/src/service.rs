//! One service: who of its backends is usable, what its slots shall hold, where its ring lies.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{QuicKey, Rates, Service as Entry, Slot, ring_size, service_flags};
use tidegate_bgp::time::Timestamp;
use tidegate_config::desired::{Affinity, AllDown, Limits, Service, UdpFlows};

use crate::admission;
use crate::drain::Phase;
use crate::entry::{self, Identity};
use crate::key::MapKey;
use crate::life::Life;
use crate::nat;
use crate::observed::Observed;
use crate::pool::{Pool, Rows};
use crate::proof::{self, Finding, Flaw};
use crate::quic;
use crate::ring::Member;
use crate::rings::Rings;
use crate::slots::{self, Scan, Span, Spans};
use crate::step::{Reason, Step};
use crate::view::{BackendState, BackendView, Programmed, Proof, VipState};

/// What all services of one plan share.
pub(crate) struct Shared<'a> {
    pub(crate) observed: &'a Observed,
    /// Both service maps.
    pub(crate) entries: &'a BTreeMap<MapKey, Entry>,
    pub(crate) now: Timestamp,
    pub(crate) hash_seed: u64,
    /// Of services that do not say otherwise.
    pub(crate) limits: Limits,
    pub(crate) pool: Pool<'a>,
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
    /// Its ring, if that is a sound one that no service before it uses.
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
    scan: Scan,
    pub(crate) backends: Vec<Backend>,
    /// Indices in the ring to which old flows may still go.
    pub(crate) alive: BTreeSet<u32>,
    /// Every slot of the ring names backends that frames can be sent to.
    is_served: bool,
    proof: Proof,
    /// The checks of all backends fail, and are taken to be wrong.
    fails_open: bool,
    /// It was proven in the plan before this one.
    was_proven: bool,
}

/// A configured backend of a service.
pub(crate) struct Backend {
    pub(crate) addr: IpAddr,
    weight: u16,
    pub(crate) state: BackendState,
    pub(crate) index: Option<u32>,
    /// Slots may name it.
    is_ready: bool,
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

/// What a plan does for the ring of one service.
#[derive(Default)]
struct RingPlan {
    slots: Vec<(u32, Slot)>,
    /// The ring that the service shall have now.
    ring: Option<Span>,
    is_building: bool,
    no_room: bool,
}

/// Where the old slots of a ring are found.
#[derive(Clone, Copy)]
enum From {
    /// In the ring itself.
    Itself,
    /// In the ring itself, and those that are alive stay as they are.
    ItselfIfDead,
    /// In the ring that it will replace, if there is one.
    Other(Option<Span>),
}

impl<'a> Work<'a> {
    pub(crate) fn new(name: &'a str, spec: &'a Service, seen: Seen, shared: &Shared<'_>) -> Self {
        let all = &shared.observed.datapath.slots;
        let scan = seen.ring.map_or_else(Scan::default, |ring| Scan::of(ring.slots(all)));
        let fails_open = fails_open(spec, shared);
        let mut states: BTreeMap<IpAddr, BackendState> = BTreeMap::new();
        let mut backends = Vec::with_capacity(spec.backends.len());
        for (&addr, backend) in &spec.backends {
            let identity = entry::wanted(spec.mode, spec.vip.addr(), addr);
            let index = shared.pool.index(identity);
            let in_ring = index.is_some_and(|index| {
                scan.current.contains_key(&index) || scan.previous.contains(&index)
            });
            let state = state(spec, addr, identity, in_ring, fails_open, shared);
            states.insert(identity.1, state);
            let is_ready = shared.pool.is_ready(identity);
            backends.push(Backend { addr, weight: backend.weight, state, index, is_ready });
        }
        // By address: in another forwarding mode it is still the same backend.
        let takes_old_flows = |(_, addr): Identity| match states.get(&addr) {
            // One that is no longer configured is alive as long as its entry is.
            None | Some(BackendState::Active | BackendState::Draining | BackendState::Narrow) => {
                true
            }
            Some(_) => false,
        };
        let alive = scan
            .indices()
            .filter(|&index| shared.pool.is_resolved(index))
            .filter(|&index| shared.pool.identity(index).is_some_and(takes_old_flows))
            .collect();
        let is_served =
            seen.ring.is_some() && scan.indices().all(|index| shared.pool.is_resolved(index));
        let key = MapKey::of_service(spec.vip);
        let proof = judge(spec, &backends, shared);
        let was_proven = shared.observed.proven_before.contains(&spec.vip);
        Self {
            name,
            spec,
            key,
            seen,
            scan,
            backends,
            alive,
            is_served,
            proof,
            fails_open,
            was_proven,
        }
    }

    /// What is to be done for it now.
    pub(crate) fn plan(&self, shared: &mut Shared<'_>) -> Outcome {
        let drained_at = self.drained_at(shared);
        let ring_plan = self.plan_ring(shared, drained_at.is_some_and(|at| at <= shared.now));
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
        outcome.servers = self.servers(row, shared);
        let named = &shared.observed.datapath.quic_servers;
        let are_named = outcome.servers.iter().all(|(key, index)| named.get(key) == Some(index));
        outcome.is_programmed = outcome.puts.is_empty() && !ring_plan.is_building && are_named;
        outcome
    }

    fn drained_at(&self, shared: &Shared<'_>) -> Option<Timestamp> {
        let since = shared.observed.unsettled_since.get(&self.spec.vip);
        let held_until = shared.observed.drains.held_until(self.spec.vip).unwrap_or_default();
        let by_itself = || *since.unwrap_or(&shared.now) + self.spec.drain;
        (self.scan.unsettled > 0).then(|| by_itself().max(held_until))
    }

    fn plan_ring(&self, shared: &mut Shared<'_>, is_drained: bool) -> RingPlan {
        let old = self.seen.ring;
        if self.awaits_checks() {
            return RingPlan::default();
        }
        // Nobody is up, but somebody may be: what the maps hold may be right. It stays until the
        // first verdicts, which a check's timeout bounds.
        if self.count(BackendState::Active) == 0 && self.count(BackendState::Unproven) > 0 {
            return RingPlan { ring: old, ..RingPlan::default() };
        }
        let size = ring_size(u32::try_from(self.backends.len()).unwrap_or(u32::MAX));
        // Two slots with flows of two backends do not fit into one: before a ring shrinks, it
        // holds what the smaller one will, each slot several times, until the old flows are over.
        let shrinks = |ring: &Span| ring.size > size;
        if let Some(ring) = old.filter(|ring| ring.size == size || shrinks(ring)) {
            let (slots, is_ready) = self.fill(shared, ring, From::Itself, size, is_drained);
            if !shrinks(&ring) || !is_ready || !slots.is_empty() || self.scan.unsettled > 0 {
                return RingPlan { slots, ring: old, ..RingPlan::default() };
            }
        }
        let Some(new) = shared.spans.first_fit(size) else {
            let fill = |ring: Span| {
                self.fill(shared, ring, From::Itself, ring.size.min(size), is_drained).0
            };
            let slots = old.map(fill).unwrap_or_default();
            return RingPlan { slots, ring: old, no_room: true, is_building: false };
        };
        let (mut slots, is_ready) = self.fill(shared, new, From::Other(old), size, is_drained);
        let is_complete = is_ready && slots.is_empty();
        if !is_ready {
            slots.clear(); // All at once, in the round after the entries.
        }
        if let Some(old) = old.filter(|_| !is_complete) {
            let size = old.size.min(size);
            slots.extend(self.fill(shared, old, From::ItselfIfDead, size, is_drained).0);
        }
        let ring = if is_complete { Some(new) } else { old };
        RingPlan { slots, ring, is_building: true, no_room: false }
    }

    /// It is not in the maps, and not all of its backends have a verdict yet. A ring of those that
    /// have one would be another one than other nodes use, and flows that routers bring from there
    /// would go to the wrong backends, also after the ring has changed: to those of before.
    fn awaits_checks(&self) -> bool {
        let counts =
            |backend: &Backend| backend.weight > 0 && backend.state == BackendState::Unproven;
        self.seen.ring.is_none() && self.backends.iter().any(counts)
    }

    /// Slots to write so that the ring holds what one of `size` slots holds, its own size or a
    /// smaller one, and whether all entries that it will name were seen in place: until then their
    /// slots wait.
    fn fill(
        &self,
        shared: &mut Shared<'_>,
        ring: Span,
        from: From,
        size: u32,
        is_drained: bool,
    ) -> (Vec<(u32, Slot)>, bool) {
        let all = &shared.observed.datapath.slots;
        let members: Vec<Member> = self
            .backends
            .iter()
            .map(|backend| Member { addr: backend.addr, weight: backend.weight })
            .collect();
        let is_active = |backend: &Backend| backend.state == BackendState::Active;
        let usable: Vec<bool> = self.backends.iter().map(is_active).collect();
        let owners = shared.rings.served(shared.hash_seed, &members, &usable, size);
        let copies = usize::try_from(ring.size / size.max(1)).unwrap_or(1);
        let owners = owners.iter().flat_map(|owner| core::iter::repeat_n(owner, copies));
        let ready: Vec<Option<u32>> = self
            .backends
            .iter()
            .map(|backend| backend.index.filter(|_| backend.is_ready))
            .collect();
        let is_held = shared.observed.drains.held_until(self.spec.vip).is_some();
        let drains = !self.spec.drain.is_zero() || is_held;
        let is_alive = |index: u32| drains && self.alive.contains(&index);
        let (mut slots, mut is_ready) = (Vec::new(), true);
        for (place, owner) in (0..).zip(owners) {
            let index = ring.offset.saturating_add(place);
            let seen = slots::at(all, index);
            let old = match from {
                From::ItselfIfDead if self.is_alive(seen) => continue,
                From::Itself | From::ItselfIfDead => seen,
                From::Other(Some(other)) => other.covering(all, place, ring.size),
                From::Other(None) => Slot::default(),
            };
            let target = match owner {
                Some(owner) => ready.get(owner.index()).copied().flatten(),
                None => Some(0),
            };
            let Some(target) = target else {
                is_ready = false;
                continue;
            };
            let next = slots::next(old, target, is_drained, is_alive);
            if next != seen {
                slots.push((index, next));
            }
        }
        (slots, is_ready)
    }

    fn is_alive(&self, slot: Slot) -> bool {
        self.alive.contains(&slot.current) && self.alive.contains(&slot.older())
    }

    fn count(&self, state: BackendState) -> u32 {
        let count = self.backends.iter().filter(|backend| backend.state == state).count();
        u32::try_from(count).unwrap_or(u32::MAX)
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
        let in_ring = self.backends.iter().filter(|backend| {
            backend.state == BackendState::Active
                && backend.index.is_some_and(|index| self.scan.current.contains_key(&index))
        });
        let in_ring = u32::try_from(in_ring.count()).unwrap_or(u32::MAX);
        if self.awaits_checks() {
            return Some(Reason::NotChecked);
        }
        self.too_few(0).or_else(|| {
            let is_there = outcome.is_programmed && self.is_served && has_vip_entry;
            (!is_there || in_ring < self.min_healthy())
                .then_some(outcome.not_there())
                .or_else(|| self.why_not_proven())
        })
    }

    /// Why this service takes back a VIP that is announced; `None`: it does not. A change on its
    /// way into the maps is no reason, as long as what they hold works.
    pub(crate) fn why_withdraw(&self, outcome: &Outcome) -> Option<Reason> {
        self.too_few(self.count(BackendState::Unproven))
            .or_else(|| self.lost_proof().map(Reason::Proof))
            .or_else(|| (!self.is_served && !self.is_missing()).then_some(outcome.not_there()))
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
        withheld: Option<Reason>,
        held_until: Option<Timestamp>,
        life: Life,
    ) -> VipState {
        let backend_view = |backend: &Backend| BackendView {
            state: backend.state,
            weight: backend.weight,
            index: backend.index,
            slots: backend.index.and_then(|i| self.scan.current.get(&i)).copied().unwrap_or(0),
        };
        let programmed = self.seen.entry.zip(self.seen.ring).map(|(entry, ring)| Programmed {
            index: entry.index,
            ring_offset: ring.offset,
            ring_size: ring.size,
            unsettled: self.scan.unsettled,
        });
        VipState {
            name: self.name.to_owned(),
            backends: self.backends.iter().map(|b| (b.addr, backend_view(b))).collect(),
            usable: self.count(BackendState::Active),
            programmed,
            proof: self.proof,
            fails_open: self.fails_open,
            held_until,
            life,
            reason,
            withheld,
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

/// What a backend does. What somebody decided comes first, then health: of a backend that is down,
/// nothing else matters.
fn state(
    spec: &Service,
    addr: IpAddr,
    identity: Identity,
    in_ring: bool,
    fails_open: bool,
    shared: &Shared<'_>,
) -> BackendState {
    let check = (spec.vip, addr);
    let is_unproven = spec.health.is_some() && shared.observed.unproven.contains(&check);
    let takes_flows = spec.backends.get(&addr).is_some_and(|backend| backend.takes_flows());
    let is_disabled = spec.backends.get(&addr).is_some_and(|backend| backend.disabled);
    let drain = shared.observed.drains.backend(spec.vip, addr);
    if is_disabled || drain == Some(Phase::Drained) {
        BackendState::Disabled
    } else if is_unproven && !in_ring {
        BackendState::Unproven
    } else if spec.health.is_some()
        && !is_unproven
        && !fails_open
        && !shared.observed.healthy.contains(&check)
    {
        BackendState::Down
    } else if !shared.pool.has_way(identity) {
        BackendState::NoWay
    } else if is_narrow(spec, identity, &shared.pool) {
        BackendState::Narrow
    } else if !takes_flows || drain.is_some() {
        BackendState::Draining
    } else if shared.pool.index(identity).is_none() {
        BackendState::NoRoom
    } else {
        BackendState::Active
    }
}

/// Whether the checks of all backends that shall take flows fail, and that counts as a failure of
/// the checks.
fn fails_open(spec: &Service, shared: &Shared<'_>) -> bool {
    let is_down = |addr: IpAddr| {
        let check = (spec.vip, addr);
        !shared.observed.unproven.contains(&check) && !shared.observed.healthy.contains(&check)
    };
    let drains = |addr: IpAddr| shared.observed.drains.backend(spec.vip, addr).is_some();
    let mut taking =
        spec.backends.iter().filter(|&(&addr, backend)| backend.takes_flows() && !drains(addr));
    spec.when_all_down == AllDown::FailOpen
        && spec.health.is_some()
        && taking.all(|(&addr, _)| is_down(addr))
}

/// Whether the way to a backend does not carry the packets that the service promises to carry.
fn is_narrow(spec: &Service, identity: Identity, pool: &Pool<'_>) -> bool {
    let needed = spec.min_mtu.saturating_add(entry::overhead(identity.0));
    pool.wanted(identity).is_some_and(|wanted| wanted.mtu < needed)
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
