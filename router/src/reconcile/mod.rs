//! The reconcile loop: the one task that owns the configuration in force, the maps and what is
//! remembered of health.
//!
//! Level, not edge: whatever happens, the answer is to look at the world, plan, do the steps and
//! look again until there is nothing left to do. What is decided is decided in `tidegate-plan`.

mod capture;
mod change;
mod drain;
mod end;
mod fill;
mod flows;
mod hand_over;
mod memory;
mod nat;
mod near;
mod origins;
mod pages;
mod proofs;
mod reload;
mod said;
mod told;
mod view;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;
use tidegate_bgp::speaker::{self, Report, RouteAttributes};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::Desired;
use tidegate_plan::drain::{Drains, Imposed};
use tidegate_plan::entry::Outer;
use tidegate_plan::guard::Packets;
use tidegate_plan::observed::{Observed, Way};
use tidegate_plan::step::Step;
use tidegate_plan::{Memory, Plan, Rings, plan_with};
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info};

use crate::api::{self, Question, Questions};
use crate::bfd_io::BfdHandle;
use crate::bgp_io::{BgpHandle, Snapshot};
use crate::bmp_io::BmpHandle;
use crate::bpf_io::Datapath;
use crate::bpf_io::records::Records;
use crate::change::Ask;
use crate::clock::Clock;
use crate::config_file::ConfigFile;
use crate::control::Control;
use crate::flows_io::FlowsHandle;
use crate::health_io::{CheckResult, Checks};
use crate::journal::{self, kinds};
use crate::link_io::{Changes, Links};
use crate::lock::Lock;
use crate::mrt_io::MrtHandle;
use crate::rpki_io::{self, RpkiHandle};
use crate::view::upgrade::TakenOver;

use capture::Capturing;
use change::{GUARD_LOOK, Unconfirmed};
use hand_over::Candidate;
pub(crate) use hand_over::Known;
use memory::{Healths, Seen};
use proofs::Proofs;
pub(crate) use reload::load;
use said::Words;

/// Without any event the world is looked at this often: what an event failed to say is found then.
const SLOW_LOOK: Duration = Duration::from_secs(5);
/// Looks follow each other no faster than this. A look reads whole tables of the kernel, and events
/// come in floods (a link that goes takes its routes with it); the first one never waits. Of a
/// large configuration looks take longer, and then no more than half of the time.
const PACE: Duration = Duration::from_millis(20);
/// Wait after a round that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Rounds in a row without a pause. A change takes about four; more means that somebody else
/// writes the maps, and must not keep this task from its other work.
const ROUNDS_MAX: usize = 16;
/// How long a stop waits for the withdrawals to be handed to the sessions.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(2);

type Ways = BTreeMap<IpAddr, Way>;
type NoWays = BTreeMap<IpAddr, String>;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Read the configuration file again.
    Reload,
    /// Stop.
    Stop(End),
}

/// What is to become of the routes when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every VIP is withdrawn: nobody comes after us.
    Withdraw,
    /// Peers that can keep them for our successor (RFC 4724).
    Keep,
}

/// What the loop is wired to.
pub(crate) struct Parts {
    pub(crate) datapath: Datapath,
    pub(crate) links: Links,
    pub(crate) link_changes: Changes,
    pub(crate) checks: Checks,
    pub(crate) results: mpsc::Receiver<CheckResult>,
    pub(crate) bgp: BgpHandle,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) questions: Questions,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) rpki: RpkiHandle,
    pub(crate) bmp: BmpHandle,
    pub(crate) mrt: MrtHandle,
    pub(crate) flows: FlowsHandle,
    pub(crate) bfd: BfdHandle,
    pub(crate) api: api::Server,
    /// Held until the end: a second daemon on the same maps is refused.
    pub(crate) lock: Lock,
}

pub(crate) struct Reconciler {
    config: ConfigFile,
    /// Its number, and which one a start comes back to.
    control: Control,
    /// The change that undoes itself unless it is confirmed.
    unconfirmed: Option<Unconfirmed>,
    clock: Clock,
    parts: Parts,
    snapshot: watch::Receiver<Snapshot>,
    /// What the speaker was told to advertise, until its snapshot shows it.
    told: BTreeMap<Prefix, RouteAttributes>,
    healths: Healths,
    /// What others say of backends.
    words: Words,
    /// When the next one of them is over.
    words_until: Option<Timestamp>,
    /// What RPKI says of our VIPs.
    origins: origins::Origins,
    caches: watch::Receiver<rpki_io::Snapshot>,
    /// What test packets show.
    proofs: Proofs,
    times: Memory,
    /// What is taken out of service, and what that means for the configuration in force.
    drains: Drains,
    imposed: Imposed,
    /// Their packets were counted then.
    counted_at: Timestamp,
    /// Connections in NAT are looked at next then, and why that failed the last time.
    sweep_at: Timestamp,
    sweep_problem: Option<String>,
    /// A stop waits for the node to be drained.
    is_stopping: bool,
    /// Maps are filled that packets do not meet yet.
    is_filling: bool,
    /// A process has been started to take over.
    is_upgrading: bool,
    /// What this process has of the one before it.
    taken_over: Option<TakenOver>,
    /// Where it comes when it could.
    candidates: (mpsc::Sender<Candidate>, mpsc::Receiver<Candidate>),
    /// Rings of the last plan: most are wanted again.
    rings: Rings,
    seen: Seen,
    /// Why there is no way to these backends.
    no_ways: BTreeMap<IpAddr, String>,
    /// What the last look found.
    last: Plan,
    /// And saw; `None`: nothing may be done before another one.
    looked: Option<Observed>,
    /// What made the last round fail.
    problem: Option<String>,
    /// The speaker knows that all is announced that was announced before the start.
    settled: bool,
    /// The next look is made no sooner.
    look_from: Timestamp,
    /// What systemd was told last.
    shown: String,
    /// How full the maps were at the last look.
    maps_seen: Vec<crate::view::Map>,
    /// Entries and slots written into the maps so far.
    map_writes: u64,
    /// How many there were when what is told of packets got its names.
    named_at: Option<u64>,
    /// What a program tells of packets, until it has names.
    unread: Option<Records>,
    /// The capture that runs.
    capturing: Option<Capturing>,
    /// Packets up to the last sample, and when that was.
    sampled: (Timestamp, Packets),
    /// Packets between the last two samples.
    usual_packets: Packets,
    /// Packets of each service up to the last sample, by name.
    totals: BTreeMap<String, u64>,
    /// Its packets per second between the last two.
    rates: BTreeMap<String, u64>,
}

/// What a round came to.
enum Round {
    /// Nothing is left to do.
    Converged,
    /// Maps were written: look again at once.
    Again,
    /// Only the speaker was told something; its snapshot will say when it is done.
    Told,
}

impl Reconciler {
    pub(crate) fn new(config: ConfigFile, control: Control, clock: Clock, parts: Parts) -> Self {
        let snapshot = parts.bgp.snapshot();
        let caches = parts.rpki.snapshot();
        Self {
            config,
            control,
            unconfirmed: None,
            clock,
            parts,
            snapshot,
            told: BTreeMap::new(),
            healths: Healths::default(),
            words: Words::default(),
            words_until: None,
            origins: origins::Origins::default(),
            caches,
            proofs: Proofs::default(),
            times: Memory::default(),
            drains: Drains::default(),
            imposed: Imposed::default(),
            counted_at: Timestamp::default(),
            sweep_at: Timestamp::default(),
            sweep_problem: None,
            is_stopping: false,
            is_filling: false,
            is_upgrading: false,
            taken_over: None,
            candidates: mpsc::channel(1), // There is one at a time.
            rings: Rings::default(),
            seen: Seen::default(),
            no_ways: BTreeMap::new(),
            last: Plan::default(),
            looked: None,
            maps_seen: Vec::new(),
            problem: None,
            settled: false,
            look_from: Timestamp::default(),
            shown: String::new(),
            map_writes: 0,
            named_at: None,
            unread: None,
            capturing: None,
            sampled: (Timestamp::default(), Packets::default()),
            usual_packets: Packets::default(),
            totals: BTreeMap::new(),
            rates: BTreeMap::new(),
        }
    }

    /// Runs until it is told to stop, or nobody is left who could tell it.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.put_configuration().await;
        self.resume_drains();
        self.fill().await;
        self.converge().await;
        journal::notify(&[NotifyState::Ready]);
        let watchdog = sd_notify::watchdog_enabled();
        let slow_look = watchdog.map_or(SLOW_LOOK, |within| SLOW_LOOK.min(within / 2));
        let mut end = End::Withdraw;
        while let Some(turn) = self.next_turn(&mut orders, slow_look).await {
            match turn {
                Turn::Look => self.show_before(),
                Turn::Reload => self.reload().await,
                Turn::Ask(ask) => self.on_ask(*ask).await,
                Turn::CaptureOver => self.end_capture().await,
                Turn::Candidate(candidate) => {
                    if self.on_candidate(*candidate).await {
                        return; // Everything is another process's.
                    }
                }
                Turn::Stop(End::Withdraw) if self.begin_stop() => {}
                Turn::Stop(how) => {
                    end = how;
                    break;
                }
            }
            if self.has_left() {
                break;
            }
            self.watch().await;
            self.converge().await;
            self.parts.questions.before.send_replace(None);
            self.sample();
            journal::tell_left_out();
            if watchdog.is_some() {
                journal::notify(&[NotifyState::Watchdog]);
            }
        }
        journal::notify(&[NotifyState::Stopping]);
        match end {
            End::Withdraw => Box::pin(self.stop()).await,
            End::Keep => Box::pin(self.leave()).await,
        }
    }

    /// Waits for something that makes another look worth while; answers questions meanwhile.
    async fn next_turn(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
        slow_look: Duration,
    ) -> Option<Turn> {
        let pause = if self.problem.is_some() { RETRY.min(slow_look) } else { slow_look };
        let slow = self.clock.now() + pause;
        let mut prove_at = self.clock.now() + proofs::TURN;
        let mut count_at = self.count_drains_at();
        let mut look_at = self.last.wake_at.map_or(slow, |at| at.max(self.look_from).min(slow));
        look_at = self.words_until.map_or(look_at, |at| at.max(self.look_from).min(look_at));
        if let Some(waiting) = &self.unconfirmed {
            look_at = look_at.min(waiting.until);
            if !waiting.guards.is_empty() {
                look_at = look_at.min(self.clock.now() + GUARD_LOOK);
            }
        }
        loop {
            tokio::select! {
                Some(result) = self.parts.results.recv() => {
                    if self.on_result(&result).await {
                        look_at = look_at.min(self.look_from);
                    }
                }
                () = self.parts.link_changes.changed() => look_at = look_at.min(self.look_from),
                Ok(()) = self.snapshot.changed() => look_at = look_at.min(self.look_from),
                Ok(()) = self.caches.changed() => self.look_at_origins(),
                Some(report) = self.parts.reports.recv() => journal::report(&report),
                Some(Question { scope, reply }) = self.parts.questions.asked.recv() => {
                    // Who asked may have gone away by now.
                    drop(reply.send(self.view(&scope).map_err(|failure| format!("{failure:#}"))));
                }
                Some(candidate) = self.candidates.1.recv() => {
                    return Some(Turn::Candidate(Box::new(candidate)));
                }
                Some(ask) = self.parts.asks.recv() => return Some(Turn::Ask(Box::new(ask))),
                () = capture::over(&mut self.capturing, self.clock) => {
                    return Some(Turn::CaptureOver);
                }
                order = orders.recv() => return order.map(|order| match order {
                    Order::Reload => Turn::Reload,
                    Order::Stop(end) => Turn::Stop(end),
                }),
                () = self.clock.sleep_until(Some(prove_at)) => {
                    if self.proofs.turn(&self.parts.datapath) {
                        look_at = look_at.min(self.look_from);
                    }
                    prove_at = self.clock.now() + proofs::TURN;
                }
                () = self.clock.sleep_until(count_at) => {
                    if self.look_at_drains() {
                        look_at = look_at.min(self.look_from);
                    }
                    count_at = self.count_drains_at();
                }
                () = self.clock.sleep_until(Some(self.sweep_at)) => self.sweep_nat(),
                () = self.clock.sleep_until(Some(look_at)) => return Some(Turn::Look),
            }
        }
    }

    /// Looks and acts until nothing is left to do, or something has to be waited for.
    async fn converge(&mut self) {
        let start = self.clock.now();
        let problem = self.rounds().await.err().map(|failure| format!("{failure:#}"));
        match (&problem, &self.problem) {
            (Some(new), old) if old.as_ref() != Some(new) => {
                error!(event = kinds::PROBLEM, "{new}; trying again every second");
            }
            (None, Some(_)) => info!(event = kinds::PROBLEM_OVER, "what failed works again"),
            (Some(_) | None, _) => {}
        }
        self.problem = problem;
        self.settle().await;
        self.look_at_origins();
        self.name_flows().await;
        let end = self.clock.now();
        self.look_from = end + PACE.max(end.since(start));
        self.show();
    }

    /// Once every VIP is announced, peers need not keep what they learned from our predecessor. A
    /// VIP that does not work keeps them from forgetting it no longer than the speaker lets it.
    async fn settle(&mut self) {
        let advertised = self.advertised();
        let services = self.config.desired.services.values();
        let in_service = |vip| self.imposed.vip(vip).is_none();
        let mut wanted = services.filter(|it| it.advertise.is_some() && in_service(it.vip.addrs));
        let all = wanted.all(|it| advertised.contains_key(&it.vip.addrs));
        if all && !self.settled {
            self.settled = self.parts.bgp.order(speaker::Order::Settled).await.is_ok();
        }
    }

    fn look_at_origins(&mut self) {
        let snapshot = self.caches.borrow_and_update();
        self.origins.look(&self.config.desired, self.control.generation, &snapshot);
    }

    async fn rounds(&mut self) -> anyhow::Result<()> {
        for _ in 0..ROUNDS_MAX {
            match self.round().await? {
                Round::Again => {}
                Round::Told | Round::Converged => return Ok(()),
            }
        }
        bail!(
            "after {ROUNDS_MAX} rounds there is still something to do: does somebody else write \
             the maps?"
        )
    }

    /// One look, and all that is to be done about it. A step that fails keeps no other from being
    /// done, since each stands on what was seen and not on the one before; the first failure is
    /// what is returned.
    async fn round(&mut self) -> anyhow::Result<Round> {
        let now = self.clock.now();
        self.looked = None; // What it saw is about to be changed.
        let observed = self.observe().await?;
        let plan = plan_with(&mut self.rings, &self.config.desired, &observed, now);
        self.times.on_plan(&plan);
        let mut failed = None;
        self.seen.note(&plan, &observed, (&self.healths, &self.words), &self.no_ways);
        let mut round = if plan.steps.is_empty() { Round::Converged } else { Round::Told };
        let is_filling = self.is_filling;
        for step in plan.steps.iter().filter(|step| !is_filling || step.is_of_maps()) {
            debug!(?step);
            match self.perform(step).await {
                Ok(is_order) => {
                    self.times.on_step(step, &observed.datapath, now);
                    if let Step::Withdraw { prefix, reason, .. } = step {
                        self.seen.on_withdraw(&plan, *prefix, *reason);
                    }
                    if !is_order {
                        round = Round::Again;
                    }
                }
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        self.last = plan;
        self.maps_seen = view::maps(&observed.datapath);
        if !observed.datapath.attached && !self.is_filling {
            match self.attach() {
                Ok(()) => round = Round::Again,
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        if matches!(round, Round::Converged | Round::Told) && failed.is_none() {
            self.looked = Some(observed);
        }
        failed.map_or(Ok(round), Err)
    }

    /// An interface may be gone, or have come back as another one of the same name; or somebody has
    /// taken the program off. Until the next look it counts as not attached, whatever comes of this:
    /// packets have missed it.
    fn attach(&mut self) -> anyhow::Result<()> {
        let router = &self.config.desired.router;
        self.parts.datapath.attach(&router.interfaces, router.attach)?;
        Ok(())
    }

    /// Everything the planner may know.
    async fn observe(&mut self) -> anyhow::Result<Observed> {
        let now = self.clock.now();
        self.words_until = self.words.look(now, |key| self.healths.is_checked(key));
        let (healthy, unproven) = self.healths.verdicts(&self.words);
        self.imposed = self.drains.imposed(&self.config.desired);
        let datapath = self.parts.datapath.observe()?;
        let desired = &self.config.desired;
        let proofs = self.proofs.look(desired, &datapath, &self.parts.datapath);
        let mut observed = Observed {
            datapath,
            proofs,
            healthy,
            unproven,
            ways: self.ways().await?,
            drains: self.imposed.clone(),
            advertised: self.advertised(),
            ..Observed::default()
        };
        self.times.on_look(&mut observed, self.clock.now());
        Ok(observed)
    }

    /// What is advertised, or will be as soon as the speaker gets to it: its snapshot may be older
    /// than our last order. What was withdrawn counts until the snapshot says that it is gone.
    fn advertised(&mut self) -> BTreeMap<Prefix, RouteAttributes> {
        let mut advertised = self.snapshot.borrow_and_update().originated.clone();
        self.told.retain(|prefix, told| advertised.get(prefix) != Some(told));
        advertised.extend(self.told.clone());
        advertised
    }

    async fn ways(&mut self) -> anyhow::Result<BTreeMap<IpAddr, Way>> {
        let (ways, no_ways) = self.ways_to(&self.config.desired).await?;
        self.no_ways = no_ways;
        let desired = &self.config.desired;
        let interfaces = &desired.router.interfaces;
        self.parts.checks.look(&ways, &self.no_ways, Outer::of(desired), interfaces);
        Ok(ways)
    }

    /// The ways to all backends of a configuration, and why there is none to others.
    async fn ways_to(&self, desired: &Desired) -> anyhow::Result<(Ways, NoWays)> {
        let services = desired.services.values();
        let backends: BTreeSet<IpAddr> =
            services.flat_map(|service| service.backends.keys().copied()).collect();
        let (mut ways, mut no_ways) = (BTreeMap::new(), BTreeMap::new());
        let found = self.parts.links.ways(&backends).await;
        for (addr, found) in found.context("routes and neighbours cannot be read")? {
            match found {
                Ok(way) => drop(ways.insert(addr, way)),
                Err(reason) => drop(no_ways.insert(addr, reason.to_string())),
            }
        }
        Ok((ways, no_ways))
    }

    /// Does a step; true if it was the speaker's.
    async fn perform(&mut self, step: &Step) -> anyhow::Result<bool> {
        let order = match step {
            Step::Advertise { prefix, attributes } => {
                self.told.insert(*prefix, attributes.clone());
                speaker::Order::Advertise(*prefix, attributes.clone())
            }
            Step::Withdraw { prefix, .. } => {
                self.told.remove(prefix);
                speaker::Order::Withdraw(*prefix)
            }
            Step::PutBackend { .. }
            | Step::FreeBackend { .. }
            | Step::PutSlots { .. }
            | Step::PutServiceV4 { .. }
            | Step::DeleteServiceV4 { .. }
            | Step::PutServiceV6 { .. }
            | Step::DeleteServiceV6 { .. }
            | Step::PutPrefixes { .. }
            | Step::DeletePrefixes { .. }
            | Step::PutRates { .. }
            | Step::PutServers { .. }
            | Step::DeleteServers { .. } => {
                self.parts.datapath.apply(step)?;
                self.map_writes += match step {
                    Step::PutSlots { slots } => slots.len() as u64,
                    Step::PutPrefixes { prefixes } => prefixes.len() as u64,
                    Step::DeletePrefixes { prefixes } => prefixes.len() as u64,
                    Step::PutServers { servers } => servers.len() as u64,
                    Step::DeleteServers { servers } => servers.len() as u64,
                    _ => 1,
                };
                return Ok(false);
            }
        };
        self.parts.bgp.order(order).await?;
        Ok(true)
    }
}

/// What the loop does next.
enum Turn {
    Look,
    Reload,
    Ask(Box<Ask>),
    /// Nobody reads what is captured any more.
    CaptureOver,
    /// A process could take over.
    Candidate(Box<Candidate>),
    Stop(End),
}
