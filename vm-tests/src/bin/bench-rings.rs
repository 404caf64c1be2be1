//! `make bench PART=rings`: how many slots a change moves beyond the least that it must, and how
//! long rings take.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use tidegate_abi::{RING_SLOTS_MAX, Slot, ring_size};
use tidegate_bgp::time::Timestamp;
use tidegate_config::Desired;
use tidegate_config::desired::Backend;
use tidegate_plan::observed::Observed;
use tidegate_plan::ring::{Member, PARTS, Position, base, bases, lend};
use tidegate_plan::step::Step;
use tidegate_plan::{Rings, plan_with};
use tidegate_vm_tests::bench::edge::{desired, ways};
use tidegate_vm_tests::bench::perf::Pmu;
use tidegate_vm_tests::bench::table::markdown;

const SEED: u64 = 7;
const SERVICES: u32 = 10_000;
const BUILD_MAX: Duration = Duration::from_secs(2);
const CHANGE_MAX: Duration = Duration::from_millis(5);

/// How many slots a change moves beyond the least that it must, and how long rings take.
#[derive(Parser)]
struct Args {
    /// How often what takes time is done; the best is judged.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    // Time on the CPU where one is used: others may be at the machine.
    let pmu = Pmu::open();
    let mut out = io::stdout();
    let rows: Vec<Vec<String>> = [10, 100, 1_000].map(collateral).into();
    let head = ["backends", "slots", "one leaves", "one comes", "one is down", "shares off by"];
    writeln!(out, "Slots of others that a change moves, in per cent of the ring:\n")?;
    writeln!(out, "{}", markdown(&head, &rows))?;

    let best = |work: &mut dyn FnMut() -> Result<Duration>| -> Result<Duration> {
        let times: Result<Vec<_>> = (0..args.rounds.max(1)).map(|_| work()).collect();
        Ok(times?.into_iter().min().unwrap_or_default())
    };
    let build = best(&mut || Ok(build_all()))?;
    writeln!(
        out,
        "{SERVICES} rings of 100 backends each, no two the same: {build:?} by the clock"
    )?;
    let change = best(&mut || one_change(&pmu))?;
    writeln!(out, "One backend of 1000 leaves: planned in {change:?}")?;
    let mut status = ExitCode::SUCCESS;
    for (what, took, max) in [("build", build, BUILD_MAX), ("change", change, CHANGE_MAX)] {
        if took >= max {
            writeln!(out, "FAILED: {what} takes {took:?}, must be below {max:?}")?;
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

fn member(n: u32) -> Member {
    Member { addr: Ipv4Addr::from_bits(0x0a00_0000 + n).into(), weight: 1 }
}

/// The owners' addresses of a ring with these usable.
fn ring(members: &[Member], down: Option<u32>) -> Vec<Option<IpAddr>> {
    let size = ring_size(u32::try_from(members.len()).unwrap_or(u32::MAX));
    let parts = |it: &Member| if down.map(member) == Some(*it) { 0 } else { PARTS };
    let parts: Vec<u8> = members.iter().map(parts).collect();
    let owners = lend(SEED, members, &parts, &base(SEED, members, size));
    let addr = |owner: Position| members.get(owner.index()).map(|member| member.addr);
    owners.iter().map(|owner| owner.and_then(addr)).collect()
}

/// Per cent of the flows that change their owner though the old one is still there, and the new
/// one was there before.
#[expect(clippy::cast_precision_loss, reason = "slots of a ring")]
fn moved(before: &[Option<IpAddr>], after: &[Option<IpAddr>], changed: u32) -> f64 {
    let changed = Some(member(changed).addr);
    let size = before.len().max(after.len());
    let at = |ring: &[Option<IpAddr>], i: usize| ring.get(i * ring.len() / size).copied().flatten();
    let others = (0..size)
        .map(|i| (at(before, i), at(after, i)))
        .filter(|(before, after)| before != after && *before != changed && *after != changed);
    others.count() as f64 * 100.0 / size as f64
}

#[expect(clippy::cast_precision_loss, reason = "slots of a ring")]
fn collateral(count: u32) -> Vec<String> {
    let all: Vec<Member> = (1..=count).map(member).collect();
    let full = ring(&all, None);
    let mut worst = [0.0_f64; 3];
    for gone in [1, count / 2, count] {
        let rest: Vec<Member> = all.iter().copied().filter(|it| *it != member(gone)).collect();
        let less = ring(&rest, None);
        let found = [
            moved(&full, &less, gone),
            moved(&less, &full, gone),
            moved(&full, &ring(&all, Some(gone)), gone),
        ];
        for (worst, found) in worst.iter_mut().zip(found) {
            *worst = worst.max(found);
        }
    }
    let mut shares: BTreeMap<Option<IpAddr>, f64> = BTreeMap::new();
    for &owner in &full {
        *shares.entry(owner).or_default() += 1.0;
    }
    let exact = full.len() as f64 / f64::from(count);
    let off = shares.values().map(|share| (share - exact).abs()).fold(0.0, f64::max);
    let mut row = vec![count.to_string(), full.len().to_string()];
    row.extend(worst.map(|worst| format!("{worst:.2} %")));
    row.push(format!("{off:.2} slots"));
    row
}

/// Rings of many services, each with backends of its own, on all processors, written by plain stores
/// into an array as large as the packet path's. The array holds 64 of them; the others are written
/// over them.
fn build_all() -> Duration {
    const BACKENDS: u32 = 100;
    let size = ring_size(BACKENDS);
    let slots: Vec<AtomicU64> = (0..RING_SLOTS_MAX).map(|_| AtomicU64::new(0)).collect();
    let in_array = (RING_SLOTS_MAX / size) as usize;
    let start = Instant::now();
    let services: Vec<u32> = (0..SERVICES).collect();
    for services in services.chunks(in_array) {
        let set = |&service: &u32| {
            let one = |n| member(1 + (service * 37 + n * 11) % 16_000);
            ((1..=BACKENDS).map(one).collect(), size)
        };
        let sets: Vec<(Vec<Member>, u32)> = services.iter().map(set).collect();
        let parts = [PARTS; BACKENDS as usize];
        for (((members, _), base), place) in
            sets.iter().zip(bases(SEED, &sets)).zip(slots.chunks(size as usize))
        {
            let owners = lend(SEED, members, &parts, &base);
            for (word, owner) in place.iter().zip(owners.iter()) {
                let index = owner.map_or(0, |it| 1 + u32::try_from(it.index()).unwrap_or(u32::MAX));
                word.store(Slot::settled(index).to_word(), Ordering::Release);
            }
        }
    }
    start.elapsed()
}

/// The plan after one of a thousand backends has left, by a planner that knows the rings before.
fn one_change(pmu: &Pmu) -> Result<Duration> {
    let (before, after) = (thousand(0)?, thousand(1)?);
    let mut observed = Observed { ways: ways(&before, 1), ..Observed::default() };
    let mut rings = Rings::default();
    let now = Timestamp::from_nanos(0);
    loop {
        let plan = plan_with(&mut rings, &before, &observed, now);
        if plan.steps.is_empty() {
            break;
        }
        plan.steps.into_iter().for_each(|step| apply(&mut observed, step));
    }
    let (plan, cost) = pmu.measure(|| Ok(plan_with(&mut rings, &after, &observed, now)))?;
    anyhow::ensure!(!plan.steps.is_empty(), "a backend has left, and nothing is to be done");
    Ok(cost.time)
}

fn thousand(without: u32) -> Result<Desired> {
    let mut wanted = desired(
        "version = 1\n[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"lo\"]\n\
         [[service]]\nname = \"web\"\nvip = \"192.0.2.10\"\nport = 80\nadvertise = false\n\
         [[service.backend]]\naddress = \"10.0.0.1\"\n",
    )?;
    for service in wanted.services.values_mut() {
        let all =
            (1..=1_000).filter(|n| *n != without).map(|n| (member(n).addr, Backend::of_weight(1)));
        service.backends = all.collect();
    }
    Ok(wanted)
}

/// What the executor does to the maps.
fn apply(observed: &mut Observed, step: Step) {
    let maps = &mut observed.datapath;
    match step {
        Step::PutBackend { index, entry, .. } => drop(maps.backends.insert(index, entry)),
        Step::FreeBackend { index } => drop(maps.backends.remove(&index)),
        Step::PutSlots { slots } => {
            for (index, slot) in slots {
                let index = index as usize;
                if maps.slots.len() <= index {
                    maps.slots.resize(index + 1, Slot::default());
                }
                if let Some(to) = maps.slots.get_mut(index) {
                    *to = slot;
                }
            }
        }
        Step::PutServiceV4 { key, service, .. } => drop(maps.services_v4.insert(key, service)),
        Step::PutServiceV6 { key, service, .. } => drop(maps.services_v6.insert(key, service)),
        Step::DeleteServiceV4 { key } => drop(maps.services_v4.remove(&key)),
        Step::DeleteServiceV6 { key } => drop(maps.services_v6.remove(&key)),
        Step::PutPrefixes { .. }
        | Step::DeletePrefixes { .. }
        | Step::PutServers { .. }
        | Step::DeleteServers { .. }
        | Step::PutRates { .. } => {
            tidegate_plan::admission::apply(&step, maps);
        }
        Step::Advertise { .. } | Step::Withdraw { .. } => {}
    }
}
