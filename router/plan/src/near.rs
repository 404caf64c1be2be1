//! The first answer to news of backends: as much of a plan as can be told from a few services.
//!
//! A whole plan looks at every service, and in a large configuration new flows go to a dead backend
//! for as long as that takes. This looks at the services that the news are about, those that share
//! their rings and those that share their VIPs. It says which slots change in their place, and
//! which VIPs are withdrawn because their backends fail; all else is left to the whole plan, which
//! is made after it in any case.
//!
//! Promise: each of its steps is one that a whole plan has for the same world.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Desired, Service, ServiceAddr};

use crate::farm::{Cases, Farms};
use crate::key::MapKey;
use crate::observed::{Datapath, Observed};
use crate::plan::{Rounds, places, plan_route};
use crate::pool::{Pool, Rows};
use crate::rings::Rings;
use crate::service::{Outcome, Seen, Shared, Work};
use crate::slots::{Scan, Span, Spans};
use crate::step::{Reason, Step};
use crate::view::BackendState;

/// A configured service, and its ring as the maps show it.
struct Known<'a> {
    addr: ServiceAddr,
    name: &'a str,
    spec: &'a Service,
    seen: Seen,
}

/// The steps that news of the backends of these services ask for at once.
pub fn plan_near(
    rings: &mut Rings,
    desired: &Desired,
    observed: &Observed,
    news: &BTreeSet<ServiceAddr>,
    now: Timestamp,
) -> Vec<Step> {
    let all = look(desired, &observed.datapath);
    let touched: BTreeSet<Span> =
        all.iter().filter(|it| news.contains(&it.addr)).filter_map(|it| it.seen.ring).collect();
    let shares = |it: &Known<'_>| it.seen.ring.is_some_and(|ring| touched.contains(&ring));
    let vips: BTreeSet<Prefix> = all
        .iter()
        .filter(|it| shares(it) || news.contains(&it.addr))
        .map(|it| it.addr.addrs)
        .filter(|vip| observed.advertised.contains_key(vip))
        .collect();
    let near: Vec<Known<'_>> =
        all.into_iter().filter(|it| shares(it) || vips.contains(&it.addr.addrs)).collect();

    let mut farms = Farms::default();
    let numbers: Vec<usize> = near.iter().map(|it| farms.number(it.spec)).collect();
    let pool = Pool::look(desired, &farms, observed);
    let mut shared = Shared {
        observed,
        entries: &BTreeMap::new(),
        now,
        hash_seed: desired.router.hash_seed,
        limits: desired.guard.limits,
        pool: &pool,
        rings,
        spans: Spans::default(),
        rows: Rows::default(),
        room_v4: 0, // Nothing that takes room is decided here.
        room_v6: 0,
    };
    let slots = &observed.datapath.slots;
    let looked: BTreeSet<Span> = near.iter().filter_map(|it| it.seen.ring).collect();
    let scans: BTreeMap<Span, Scan> =
        looked.into_iter().map(|ring| (ring, Scan::of(ring.slots(slots)))).collect();
    let mut cases = Cases::new(observed, &pool, &scans, &farms);
    let numbers: Vec<usize> = near
        .iter()
        .zip(numbers)
        .map(|(it, farm)| cases.number(it.spec, farm, it.seen.ring, now))
        .collect();
    let works = near.iter().zip(numbers).filter_map(|(it, case)| {
        let unsettled = it.seen.ring.and_then(|ring| scans.get(&ring)).map_or(0, |s| s.unsettled);
        Some(Work::new(it.name, it.spec, it.seen, unsettled, cases.get(case)?, &shared))
    });
    let works: Vec<Work<'_>> = works.collect();
    let changes = in_place(&mut shared, &cases, &scans, &touched, &works);
    let mut steps = withdraws(observed, now, &vips, works);
    steps.extend(changes);
    steps
}

/// All services by address, each with its ring; where two overlap, the first has it.
fn look<'a>(desired: &'a Desired, datapath: &Datapath) -> Vec<Known<'a>> {
    let mut all: Vec<Known<'a>> = desired
        .services
        .iter()
        .map(|(name, spec)| Known { addr: spec.vip, name, spec, seen: Seen::default() })
        .collect();
    all.sort_unstable_by_key(|it| it.addr);
    let mut spans = Spans::default();
    for it in &mut all {
        let entry = MapKey::of_ports(it.spec).find_map(|key| key.entry(datapath));
        let ring = entry.and_then(|entry| Span::of(&entry)).filter(|&ring| spans.share(ring));
        it.seen = Seen { entry, ring, row: None };
    }
    all
}

/// A backend has no entry yet. Who gets the next one is not decided here.
fn wants_room(work: &Work<'_>) -> bool {
    work.case.count(BackendState::NoRoom) > 0
}

/// Slots of these rings, as far as all services of a ring want the same.
fn in_place(
    shared: &mut Shared<'_>,
    cases: &Cases<'_>,
    scans: &BTreeMap<Span, Scan>,
    touched: &BTreeSet<Span>,
    works: &[Work<'_>],
) -> Vec<Step> {
    let is_touched = |work: &&Work<'_>| work.ring().is_some_and(|ring| touched.contains(&ring));
    let wishes: Vec<_> = works
        .iter()
        .filter(is_touched)
        .map(|work| (work.ring(), work.wish(shared).filter(|_| !wants_room(work))))
        .collect();
    let (places, claims) = places(shared, cases, scans, wishes);
    let mut done = BTreeSet::new();
    claims
        .into_iter()
        .filter(|claim| done.insert(claim.ring))
        .filter_map(|claim| places.in_place(claim.ring?, claim.wish?))
        .filter(|slots| !slots.is_empty())
        .map(|slots| Step::PutSlots { slots: slots.to_vec() })
        .collect()
}

/// Of these VIPs those that do not work because of their backends.
fn withdraws(
    observed: &Observed,
    now: Timestamp,
    vips: &BTreeSet<Prefix>,
    works: Vec<Work<'_>>,
) -> Vec<Step> {
    let works: Vec<(Work<'_>, Outcome)> =
        works.into_iter().map(|work| (work, Outcome::default())).collect();
    let mut by_vip: BTreeMap<Prefix, Vec<&(Work<'_>, Outcome)>> = BTreeMap::new();
    for work in works.iter().filter(|(work, _)| vips.contains(&work.spec.vip.addrs)) {
        by_vip.entry(work.0.spec.vip.addrs).or_default().push(work);
    }
    by_vip.retain(|_, group| !group.iter().any(|(work, _)| wants_room(work)));
    let mut rounds = Rounds::default();
    for (prefix, group) in by_vip {
        plan_route(observed, now, prefix, &group, true, &mut rounds);
    }
    let is_of_backends = |step: &Step| match step {
        Step::Withdraw { reason, .. } => matches!(
            reason,
            Reason::TooFewHealthy | Reason::NoWay | Reason::TooNarrow | Reason::Proof(_)
        ),
        _ => false,
    };
    rounds.withdraws.into_iter().filter(is_of_backends).collect()
}
