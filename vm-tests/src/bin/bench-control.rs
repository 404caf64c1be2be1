//! `make bench PART=control`: what it costs to plan and make changes of a large configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tidegate::bpf_io::Datapath;
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tidegate_config::Desired;
use tidegate_config::desired::{Backend, ServiceAddr};
use tidegate_plan::observed::Observed;
use tidegate_plan::step::Step;
use tidegate_plan::{Rings, constants, plan_near, plan_with};
use tidegate_vm_tests::bench::edge::{desired, ways};
use tidegate_vm_tests::bench::table::markdown;

const SERVICES: u32 = 10_000;
const BACKENDS: u32 = 100;
/// Farms of that many backends each; services of one farm share its ring.
const FARMS: u32 = 50;
const ROUNDS_MAX: usize = 32;

const PLAN_MAX: Duration = Duration::from_secs(1);
const APPLY_MAX: Duration = Duration::from_secs(3);
const FAILURE_MAX: Duration = Duration::from_millis(20);

/// What it costs to plan and make changes of 10,000 services with 100 backends each.
#[derive(Parser)]
struct Args {
    /// How often a failure is planned; the best is judged.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// What the rounds to a fixed point took.
#[derive(Default)]
struct Took {
    plans: Vec<Duration>,
    applied: Duration,
    observed: Duration,
    steps: usize,
    slots: usize,
}

struct Node {
    datapath: Datapath,
    rings: Rings,
    observed: Observed,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut out = io::stdout();
    let wanted = large()?;
    let checks = wanted
        .services
        .values()
        .flat_map(|service| service.backends.keys().map(|&addr| (service.vip, addr)));
    let healthy: BTreeSet<(ServiceAddr, IpAddr)> = checks.collect();
    let observed = Observed { healthy, ways: ways(&wanted, 1), ..Observed::default() };
    let datapath = Datapath::load(&constants(&wanted))?;
    let mut node = Node { datapath, rings: Rings::default(), observed };

    let first = node.converge(&wanted)?;
    let again = node.converge(&wanted)?;
    ensure!(again.steps == 0, "nothing has changed, and {} steps are made", again.steps);
    let (failure, answered) = node.best_failure(&wanted, args.rounds)?;

    let rows = [
        ("from nothing", &first),
        ("nothing has changed", &again),
        ("one backend of a farm fails", &failure),
    ];
    let rows: Vec<Vec<String>> = rows.map(|(what, took)| took.row(what)).into();
    let head = ["", "plans", "the longest", "looks", "steps done in", "steps", "slots"];
    writeln!(out, "{SERVICES} services of {BACKENDS} backends each, {FARMS} farms:\n")?;
    writeln!(out, "{}", markdown(&head, &rows))?;
    let answered_ms = answered.as_secs_f64() * 1_000.0;
    writeln!(out, "From the failed check to its slots, planned narrowly: {answered_ms:.1} ms.\n")?;

    let bars = [
        ("the longest plan", first.longest(), PLAN_MAX),
        ("from nothing to maps that are as they shall be", first.all(), APPLY_MAX),
        ("from a failed check to the slots", answered, FAILURE_MAX),
    ];
    let mut status = ExitCode::SUCCESS;
    for (what, took, max) in bars {
        if took >= max {
            writeln!(out, "FAILED: {what} takes {took:.1?}, must be below {max:?}")?;
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

impl Took {
    fn apply(&mut self, datapath: &mut Datapath, steps: &[Step]) -> Result<()> {
        let start = Instant::now();
        for step in steps {
            datapath.apply(step)?;
            if let Step::PutSlots { slots } = step {
                self.slots += slots.len();
            }
        }
        self.applied += start.elapsed();
        self.steps += steps.len();
        Ok(())
    }

    fn longest(&self) -> Duration {
        self.plans.iter().max().copied().unwrap_or_default()
    }

    fn all(&self) -> Duration {
        self.plans.iter().sum::<Duration>() + self.observed + self.applied
    }

    fn row(&self, what: &str) -> Vec<String> {
        let time = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
        vec![
            what.to_owned(),
            self.plans.len().to_string(),
            time(self.longest()),
            time(self.observed),
            time(self.applied),
            self.steps.to_string(),
            self.slots.to_string(),
        ]
    }
}

impl Node {
    /// Backends of one farm fail, one after the other, each for all services that have it: they
    /// share its check. The fastest answer counts. It must be all of the whole plan.
    fn best_failure(&mut self, wanted: &Desired, rounds: u32) -> Result<(Took, Duration)> {
        let spec = wanted.services.values().next().context("no service")?;
        let farm = spec.backends.clone();
        let with = wanted.services.values().filter(|other| other.backends == farm);
        let news: BTreeSet<ServiceAddr> = with.map(|spec| spec.vip).collect();
        let mut best: Option<(Took, Duration)> = None;
        for down in farm.into_keys().take(rounds.max(1) as usize) {
            let start = Instant::now();
            for &service in &news {
                self.observed.healthy.remove(&(service, down));
            }
            self.observed.datapath.slots = self.datapath.slots();
            let now = Timestamp::from_nanos(0);
            let near = plan_near(&mut self.rings, wanted, &self.observed, &news, now);
            let planned = start.elapsed();
            let whole = Instant::now();
            let plan = plan_with(&mut self.rings, wanted, &self.observed, now);
            let mut took = Took { plans: vec![planned, whole.elapsed()], ..Took::default() };
            ensure!(
                near == plan.steps,
                "{} steps at once, {} in all",
                near.len(),
                plan.steps.len()
            );
            took.apply(&mut self.datapath, &near)?;
            let answered = planned + took.applied;
            let rest = self.converge(wanted)?;
            ensure!(rest.steps == 0, "{} steps are left", rest.steps);
            if best.as_ref().is_none_or(|&(_, best)| answered < best) {
                best = Some((took, answered));
            }
        }
        best.context("no backend failed")
    }

    /// Rounds until there is nothing to do.
    fn converge(&mut self, wanted: &Desired) -> Result<Took> {
        let mut took = Took::default();
        for _ in 0..ROUNDS_MAX {
            let start = Instant::now();
            self.observed.datapath = self.datapath.observe()?;
            took.observed += start.elapsed();
            let start = Instant::now();
            let now = Timestamp::from_nanos(0);
            let plan = plan_with(&mut self.rings, wanted, &self.observed, now);
            took.plans.push(start.elapsed());
            if plan.steps.is_empty() {
                return Ok(took);
            }
            took.apply(&mut self.datapath, &plan.steps)?;
        }
        anyhow::bail!("after {ROUNDS_MAX} rounds there is still something to do")
    }
}

/// 10,000 services on 5,000 VIPs.
fn large() -> Result<Desired> {
    let mut wanted = desired(
        "version = 1\n[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"lo\"]\n\
         [[service]]\nname = \"web\"\nvip = \"192.0.2.10\"\nport = 80\nadvertise = false\n\
         health = { type = \"tcp\" }\n\
         [[service.backend]]\naddress = \"10.0.0.1\"\n",
    )?;
    let spec = wanted.services.values().next().context("no service")?.clone();
    let farm = |farm: u32| -> BTreeMap<IpAddr, Backend> {
        let addr = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + farm * 256 + n).into();
        (1..=BACKENDS).map(|n| (addr(n), Backend::of_weight(1))).collect()
    };
    let farms: Vec<_> = (0..FARMS).map(farm).collect();
    wanted.services.clear();
    for (n, backends) in (0..SERVICES).zip(farms.iter().cycle()) {
        let mut spec = spec.clone();
        let vip = Ipv4Addr::from_bits(0xc612_0000 + n / 2);
        let port = if n % 2 == 0 { 80 } else { 443 };
        spec.vip = ServiceAddr { addrs: Prefix::host(vip.into()), port, ..spec.vip };
        spec.last_port = port;
        spec.backends.clone_from(backends);
        wanted.services.insert(format!("s{n}"), spec);
    }
    Ok(wanted)
}
