//! The planner: the next steps towards what is wanted, from what is seen.
//!
//! Every step's precondition is read from [`Observed`], never assumed from an earlier step of the
//! same plan: entries first, then slots that name them, then services that point at the slots,
//! then the announcement, each in a round of its own; back in the opposite order. The executor
//! does the steps, looks again and asks again, until the plan is empty.
//!
//! Promise: it converges from every start, leftovers of others in the maps included; a VIP is
//! announced only while every slot of its rings names a backend that frames can be sent to, and
//! only after test packets have shown it ([`proof`](crate::proof)).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{SERVICES_MAX, Service as Entry, Slot, service_flags};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Desired, Service, ServiceAddr};

use crate::admission;
use crate::drain::{self, Phase};
use crate::farm::{Cases, Farms};
use crate::key::{self, MapKey};
use crate::life::Life;
use crate::nat;
use crate::observed::{HoldDown, Observed};
use crate::places::{Claim, Places, Wish};
use crate::pool::{Pool, Rows};
use crate::quic;
use crate::rings::Rings;
use crate::service::{Outcome, Seen, Shared, Work};
use crate::slots::{self, Scan, Span, Spans};
use crate::step::{Reason, Step};
use crate::view::VipState;

/// How long a service that is gone from the configuration stays in the maps after its VIP was
/// withdrawn: packets that routers sent before they heard of it still arrive.
pub const WITHDRAW_GRACE: Duration = Duration::from_secs(2);

/// What to do now, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order. Each stands on what was observed and on no step before it, so one that
    /// fails keeps no other from being done. Empty: converged.
    pub steps: Vec<Step>,
    /// When time alone will give another plan.
    pub wake_at: Option<Timestamp>,
    /// Every configured service as it stands.
    pub vips: BTreeMap<ServiceAddr, VipState>,
}

/// The next steps from `observed` towards `desired`.
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    plan_with(&mut Rings::default(), desired, observed, now)
}

/// The same, with the rings of the plan before at hand.
pub fn plan_with(
    rings: &mut Rings,
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
) -> Plan {
    rings.turn();
    let entries = key::entries(&observed.datapath);
    let wanted: BTreeMap<ServiceAddr, (&str, &Service)> = desired
        .services
        .iter()
        .map(|(name, service)| (service.vip, (name.as_str(), service)))
        .collect();
    let named = slots::named(&observed.datapath.slots);
    let in_transition = observed.datapath.slots.iter().any(|slot| !slot.is_settled());
    let free = |used: usize| (SERVICES_MAX as usize).saturating_sub(used);
    let mut farms = Farms::default();
    let numbers: Vec<usize> = wanted.values().map(|(_, spec)| farms.number(spec)).collect();
    let mut pool = Pool::new(desired, &farms, observed, &named, in_transition);
    let (puts, frees) = (core::mem::take(&mut pool.puts), core::mem::take(&mut pool.frees));
    let mut shared = Shared {
        observed,
        entries: &entries,
        now,
        hash_seed: desired.router.hash_seed,
        limits: desired.guard.limits,
        pool: &pool,
        rings,
        spans: Spans::default(),
        rows: Rows::default(),
        room_v4: free(observed.datapath.services_v4.len()),
        room_v6: free(observed.datapath.services_v6.len()),
    };
    let seen = look(&mut shared, &wanted);

    let mut rounds =
        Rounds { guard: admission::plan(desired, &observed.datapath), ..Rounds::default() };
    let vip_entries = plan_vip_entries(&mut shared, &wanted, &mut rounds);
    let sources = nat::plan_sources(&mut shared, &wanted, &mut rounds.services);
    let scans = scan(&seen, &observed.datapath.slots);
    let mut cases = Cases::new(observed, &pool, &scans, &farms);
    let seen_of = |addr| seen.get(&MapKey::of_service(addr)).copied().unwrap_or_default();
    let numbers: Vec<usize> = wanted
        .iter()
        .zip(numbers)
        .map(|((&addr, (_, spec)), farm)| cases.number(spec, farm, seen_of(addr).ring, now))
        .collect();
    let works = wanted.iter().zip(numbers).filter_map(|((&addr, &(name, spec)), case)| {
        let seen = seen_of(addr);
        let scan = seen.ring.and_then(|ring| scans.get(&ring));
        let unsettled = scan.map_or(0, |scan| scan.unsettled);
        Some(Work::new(name, spec, seen, unsettled, cases.get(case)?, &shared))
    });
    let works: Vec<Work<'_>> = works.collect();
    let works = plan_services(&mut shared, &cases, &scans, works, &mut rounds);
    let left = shared.spans.leftovers(&observed.datapath.slots);
    if !left.is_empty() {
        rounds.slots.push(Step::PutSlots { slots: left });
    }
    let announced: BTreeSet<Prefix> = wanted
        .values()
        .filter(|(_, service)| service.advertise.is_some())
        .map(|(_, service)| service.vip.addrs)
        .collect();
    plan_deletes(observed, now, &entries, &wanted, &sources, &announced, &mut rounds);
    let vips = plan_routes(observed, now, &works, &vip_entries, &mut rounds);
    rounds.finish(puts, frees, vips)
}

/// Where the rings that are wished for are or shall be, and which one each service claims.
pub(crate) fn places<'a, 'w: 'a>(
    shared: &mut Shared<'w>,
    cases: &'a Cases<'_>,
    scans: &BTreeMap<Span, Scan>,
    wishes: Vec<(Option<Span>, Option<Wish>)>,
) -> (Places<'a>, Vec<Claim>) {
    let slots = &shared.observed.datapath.slots;
    let numbered = (&cases.targets, &cases.alive);
    Places::of(shared.rings, shared.hash_seed, slots, scans, numbered, wishes.into_iter())
}

/// What is to be done for each service.
fn plan_services<'a>(
    shared: &mut Shared<'_>,
    cases: &Cases<'_>,
    scans: &BTreeMap<Span, Scan>,
    works: Vec<Work<'a>>,
    rounds: &mut Rounds,
) -> Vec<(Work<'a>, Outcome)> {
    let wishes: Vec<_> = works.iter().map(|work| (work.ring(), work.wish(shared))).collect();
    let (mut places, claims) = places(shared, cases, scans, wishes);
    let mut servers = BTreeMap::new();
    let mut planned = Vec::with_capacity(works.len());
    for (work, claim) in works.into_iter().zip(claims) {
        let ring_plan = places.plan(shared.rings, &mut shared.spans, claim);
        let alive = cases.alive.get(work.case.alive).map_or(&[][..], Vec::as_slice);
        let mut outcome = work.plan(shared, ring_plan, alive);
        if !outcome.slots.is_empty() {
            outcome.slots.sort_unstable_by_key(|&(index, _)| index);
            rounds.slots.push(Step::PutSlots { slots: core::mem::take(&mut outcome.slots) });
        }
        rounds.services.append(&mut outcome.puts);
        servers.extend(core::mem::take(&mut outcome.servers));
        rounds.wake_at.extend(outcome.drained_at);
        rounds.wake_at.extend(work.next_part_at(shared));
        planned.push((work, outcome));
    }
    rounds.servers = quic::plan(&servers, &shared.observed.datapath);
    planned
}

/// Everything withdrawn: what a daemon that stops does first.
pub fn stop(observed: &Observed) -> Vec<Step> {
    let withdraw = |&prefix| Step::Withdraw { prefix, reason: Reason::Stopping, hold_down: None };
    observed.advertised.keys().map(withdraw).collect()
}

/// Steps by what they are, to be put in order at the end.
#[derive(Default)]
pub(crate) struct Rounds {
    guard: Vec<Step>,
    pub(crate) withdraws: Vec<Step>,
    servers: Vec<Step>,
    slots: Vec<Step>,
    services: Vec<Step>,
    deletes: Vec<Step>,
    advertises: Vec<Step>,
    wake_at: Vec<Timestamp>,
}

impl Rounds {
    fn finish(
        self,
        puts: Vec<Step>,
        frees: Vec<Step>,
        vips: BTreeMap<ServiceAddr, VipState>,
    ) -> Plan {
        let parts = [
            self.guard,
            self.withdraws,
            puts,
            self.servers,
            self.slots,
            self.services,
            self.deletes,
            frees,
            self.advertises,
        ];
        let wake_at = self.wake_at.into_iter().min();
        Plan { steps: parts.into_iter().flatten().collect(), wake_at, vips }
    }
}

/// What each ring holds.
fn scan(seen: &BTreeMap<MapKey, Seen>, slots: &[Slot]) -> BTreeMap<Span, Scan> {
    let rings: BTreeSet<Span> = seen.values().filter_map(|seen| seen.ring).collect();
    rings.into_iter().map(|ring| (ring, Scan::of(ring.slots(slots)))).collect()
}

/// What the maps show of each service. Services may share a ring; where two rings overlap, or two
/// services claim the same traffic row, the first has it, and configured services come before
/// leftovers. Of a service with many ports
/// the first one that the maps hold speaks, so that one that begins elsewhere by now keeps its ring;
/// where another one still has a ring of its own, that keeps its place.
fn look(
    shared: &mut Shared<'_>,
    wanted: &BTreeMap<ServiceAddr, (&str, &Service)>,
) -> BTreeMap<MapKey, Seen> {
    let entries = shared.entries;
    // The key of the service, and the one that speaks for it.
    let speaks = |(&addr, &(_, spec)): (&ServiceAddr, &(&str, &Service))| {
        let speaks = MapKey::of_ports(spec).find(|key| entries.contains_key(key))?;
        Some((MapKey::of_service(addr), speaks))
    };
    let speaking: Vec<(MapKey, MapKey)> = wanted.iter().filter_map(speaks).collect();
    let first: BTreeSet<MapKey> = speaking.iter().map(|&(_, speaks)| speaks).collect();
    let leftovers = entries.keys().filter(|key| !first.contains(key)).map(|&key| (key, key));
    let mut seen = BTreeMap::new();
    for (key, speaks) in speaking.into_iter().chain(leftovers) {
        let Some(&entry) = entries.get(&speaks) else { continue };
        let ring = Span::of(&entry).filter(|&ring| shared.spans.share(ring));
        let row = Some(entry.index).filter(|&row| shared.rows.take(row));
        seen.insert(key, Seen { entry: Some(entry), ring, row });
    }
    seen
}

/// The VIPs' own entries; returns the VIPs whose entry was seen as it shall be.
fn plan_vip_entries(
    shared: &mut Shared<'_>,
    wanted: &BTreeMap<ServiceAddr, (&str, &Service)>,
    rounds: &mut Rounds,
) -> BTreeSet<Prefix> {
    let mut echo: BTreeMap<Prefix, bool> = BTreeMap::new();
    for (addr, (_, service)) in wanted {
        *echo.entry(addr.addrs).or_default() |= service.echo;
    }
    let mut in_place = BTreeSet::new();
    for (vip, echo) in echo {
        let key = MapKey::of_vip(vip);
        let flags = if echo { service_flags::ECHO } else { 0 };
        let entry = Entry { flags, ..Entry::default() };
        match shared.entries.get(&key) {
            Some(seen) if *seen == entry => {
                in_place.insert(vip);
            }
            Some(_) => rounds.services.push(key.put(entry, false)),
            None if shared.take_room(key, 1) => rounds.services.push(key.put(entry, false)),
            None => {}
        }
    }
    in_place
}

/// Services and VIPs that are no longer wanted leave the maps when no packet for them is on its
/// way any more, a VIP's own entry last.
fn plan_deletes(
    observed: &Observed,
    now: Timestamp,
    entries: &BTreeMap<MapKey, Entry>,
    wanted: &BTreeMap<ServiceAddr, (&str, &Service)>,
    sources: &BTreeSet<MapKey>,
    announced: &BTreeSet<Prefix>,
    rounds: &mut Rounds,
) {
    let kept: BTreeSet<MapKey> = wanted
        .values()
        .flat_map(|(_, spec)| MapKey::of_ports(spec).chain([MapKey::of_vip(spec.vip.addrs)]))
        .collect();
    let has_services: BTreeSet<Prefix> = entries
        .keys()
        .filter(|key| **key != MapKey::of_vip(key.vip()))
        .map(|key| key.vip())
        .collect();
    for &key in entries.keys().filter(|key| !kept.contains(key) && !sources.contains(key)) {
        let prefix = key.vip();
        let stays_announced = announced.contains(&prefix);
        if !stays_announced && observed.advertised.contains_key(&prefix) {
            continue;
        }
        let gone_at = observed.withdrawn_at.get(&prefix).map(|&at| at + WITHDRAW_GRACE);
        if let Some(gone_at) = gone_at.filter(|&at| at > now && !stays_announced) {
            rounds.wake_at.push(gone_at);
            continue;
        }
        if key != MapKey::of_vip(prefix) || !has_services.contains(&prefix) {
            rounds.deletes.push(key.delete());
        }
    }
}

/// Announcements and withdrawals, and the view of every service.
fn plan_routes(
    observed: &Observed,
    now: Timestamp,
    works: &[(Work<'_>, Outcome)],
    vip_entries: &BTreeSet<Prefix>,
    rounds: &mut Rounds,
) -> BTreeMap<ServiceAddr, VipState> {
    let mut by_vip: BTreeMap<Prefix, Vec<&(Work<'_>, Outcome)>> = BTreeMap::new();
    for work in works {
        by_vip.entry(work.0.spec.vip.addrs).or_default().push(work);
    }
    let announced: BTreeSet<Prefix> = by_vip.keys().copied().collect();
    let mut vips = BTreeMap::new();
    for (prefix, group) in by_vip {
        let has_entry = vip_entries.contains(&prefix);
        let route = plan_route(observed, now, prefix, &group, has_entry, rounds);
        for (work, outcome) in group {
            let reason = work.why_not_announce(outcome, has_entry);
            vips.insert(work.spec.vip, work.view(reason, &route, observed, now));
        }
    }
    for &prefix in observed.advertised.keys().filter(|prefix| !announced.contains(prefix)) {
        let (reason, hold_down) = (Reason::NotConfigured, None);
        rounds.withdraws.push(Step::Withdraw { prefix, reason, hold_down });
    }
    vips
}

/// What becomes of a VIP as a whole.
pub(crate) struct Route {
    /// Why it is not announced; `None`: it may be.
    pub(crate) withheld: Option<Reason>,
    /// It works, and is announced again then.
    pub(crate) held_until: Option<Timestamp>,
    pub(crate) life: Life,
}

/// What is to be done about the route to a VIP with these services.
pub(crate) fn plan_route(
    observed: &Observed,
    now: Timestamp,
    prefix: Prefix,
    group: &[&(Work<'_>, Outcome)],
    has_entry: bool,
    rounds: &mut Rounds,
) -> Route {
    let seen = observed.advertised.get(&prefix);
    let drain = observed.drains.vip(prefix);
    let withheld = match drain {
        Some(Phase::Emptying | Phase::Drained) => Some(Reason::Drained),
        Some(Phase::Shedding) | None => {
            withheld(observed.datapath.attached, group, has_entry, seen.is_some())
        }
    };
    let held = observed.held_down.get(&prefix).copied();
    // Mended or about to be: people still want to know what it was.
    let is_well = matches!(
        withheld,
        None | Some(Reason::NotChecked | Reason::NotProgrammed | Reason::NotProven)
    );
    let is_held = |held: &HoldDown| seen.is_none() && is_well && held.until > now;
    let waits = held.filter(is_held);
    rounds.wake_at.extend(waits.map(|held| held.until));
    let withheld = waits.map(|held| held.reason).or(withheld);
    let attributes = group
        .iter()
        .find_map(|(work, _)| work.spec.advertise.as_ref())
        .filter(|_| withheld.is_none())
        .map(|advertise| match drain {
            Some(_) => drain::last_resort(&advertise.attributes),
            None => advertise.attributes.clone(),
        });
    match (attributes, seen) {
        (Some(attributes), seen) if seen != Some(&attributes) => {
            rounds.advertises.push(Step::Advertise { prefix, attributes });
        }
        (None, Some(_)) => {
            let reason = withheld.unwrap_or(Reason::NotConfigured);
            let hold_down = reason.is_failure().then(|| hold_down(group, reason, held, now));
            rounds.withdraws.push(Step::Withdraw { prefix, reason, hold_down });
        }
        (Some(_) | None, _) => {}
    }
    let life = Life::of(withheld, waits.is_some(), drain);
    Route { withheld, held_until: waits.map(|held| held.until), life }
}

/// How long a VIP that is withdrawn now stays so: twice as long as the last time, if that was not
/// long ago. Of several services the most careful one has its way.
fn hold_down(
    group: &[&(Work<'_>, Outcome)],
    reason: Reason,
    before: Option<HoldDown>,
    now: Timestamp,
) -> HoldDown {
    let asking = || group.iter().filter_map(|(work, _)| work.spec.advertise.as_ref());
    let first = asking().map(|advertise| advertise.hold_down).max().unwrap_or_default();
    let longest = asking().map(|advertise| advertise.hold_down_max).max().unwrap_or_default();
    let failures = before.map_or(0, |before| before.failures).saturating_add(1);
    let doubled = 1_u32.checked_shl(failures - 1).and_then(|times| first.checked_mul(times));
    let until = now + doubled.unwrap_or(longest).min(longest);
    HoldDown { reason, failures, until, forget_at: until + longest }
}

/// Why a VIP is not to be announced. To announce it, all its services must be as they shall be;
/// to keep it announced, they must have backends enough, and those that the maps hold must work: a
/// service that is added to a VIP, or changed, does not take it off the air.
fn withheld(
    attached: bool,
    group: &[&(Work<'_>, Outcome)],
    has_entry: bool,
    is_announced: bool,
) -> Option<Reason> {
    let mut asking = group.iter().filter(|(work, _)| work.spec.advertise.is_some()).peekable();
    if asking.peek().is_none() {
        return Some(Reason::NotConfigured);
    }
    if !attached {
        return Some(Reason::NotAttached);
    }
    if !is_announced {
        return asking.find_map(|(work, outcome)| work.why_not_announce(outcome, has_entry));
    }
    let holds_nothing =
        group.iter().all(|(work, _)| work.is_missing() || work.spec.advertise.is_none());
    asking
        .find_map(|(work, outcome)| work.why_withdraw(outcome))
        .or_else(|| holds_nothing.then_some(Reason::NotProgrammed))
}

#[cfg(test)]
pub(crate) mod tests;
