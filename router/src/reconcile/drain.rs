//! Taking backends, VIPs and the node out of service and back: what the machine in
//! [`tidegate_plan::drain`] is told, and where what it says goes.

use std::time::Duration;

use tidegate_bgp::time::Timestamp;
use tidegate_config::desired::ServiceAddr;
use tidegate_plan::drain::{Cause, Drain, Drains, Moved, Phase, Target, Terms};
use tidegate_plan::{BackendState, VipState};
use tracing::{error, info, warn};

use crate::api::parse_prefix;
use crate::change::Refused;
use crate::view::{self, API_VERSION};

use super::Reconciler;

impl Reconciler {
    /// What drained when the last process ended.
    pub(super) fn resume_drains(&mut self) {
        match self.control.drains() {
            Ok(kept) => self.drains = Drains::resume(kept, self.clock.now()),
            Err(problem) => {
                error!(
                    "what drained is in service again, order it anew (`tidegate drain`): {problem}"
                );
                self.control.state_problem = Some(problem.to_string());
            }
        }
        for (target, drain) in self.drains.iter() {
            warn!(phase = drain.phase.name(), "drained before this start, and still: {target}");
        }
    }

    /// Begins a drain, on disk before it is said.
    pub(super) fn drain(
        &mut self,
        asked: &view::drain::Target,
        terms: Terms,
        force: bool,
        who: &str,
    ) -> Result<view::drain::Drains, Refused> {
        let target = self.target(asked)?;
        if !force {
            self.may_drain(&target)?;
        }
        let before = self.drains.clone();
        self.drains.order(target.clone(), terms, self.clock.now());
        self.keep_drains(before)?;
        let within = humantime::format_duration(terms.deadline);
        info!(who, "drain of {target}, within {within}");
        Ok(self.one_drain(&target))
    }

    /// Takes something back into service.
    pub(super) fn undrain(
        &mut self,
        asked: &view::drain::Target,
        who: &str,
    ) -> Result<view::drain::Drains, Refused> {
        let target = self.target(asked)?;
        let before = self.drains.clone();
        if !self.drains.undrain(&target) {
            return Err(Refused::NotDrained(target.to_string()));
        }
        self.keep_drains(before)?;
        info!(who, "back into service: {target}");
        Ok(self.one_drain(&target))
    }

    fn keep_drains(&mut self, before: Drains) -> Result<(), Refused> {
        let kept = self.control.keep_drains(&self.drains.keep(self.clock.now()));
        kept.map_err(|problem| {
            self.drains = before;
            Refused::State(problem)
        })
    }

    /// Counts packets; true if something went on, so that the world is to be brought in line.
    pub(super) fn look_at_drains(&mut self) -> bool {
        let now = self.clock.now();
        self.counted_at = now;
        if self.unconfirmed.is_none() {
            for target in self.drains.forget_unknown(&self.config.desired) {
                info!("no longer configured, and so no longer drained: {target}");
            }
        }
        let mut drains = std::mem::take(&mut self.drains);
        let moved = drains.look(now, |target| self.packets_of(target));
        self.drains = drains;
        for moved in &moved {
            report(moved);
        }
        if moved.is_empty() {
            return false;
        }
        if !self.is_stopping
            && let Err(problem) = self.control.keep_drains(&self.drains.keep(now))
        {
            warn!("how far drains are is not kept: {problem}");
        }
        true
    }

    /// When to count next.
    pub(super) fn count_drains_at(&self) -> Option<Timestamp> {
        self.drains.look_at(self.counted_at)
    }

    /// SIGTERM with `drain-on-stop`: the node drains first. False if there is nothing to wait for,
    /// or a second signal says not to.
    pub(super) fn begin_stop(&mut self) -> bool {
        let deadline = self.config.desired.router.drain_on_stop;
        let node = self.drains.get(&Target::Node);
        if deadline.is_zero()
            || self.is_stopping
            || node.is_some_and(|node| node.phase == Phase::Drained)
        {
            return false;
        }
        self.is_stopping = true;
        let within = humantime::format_duration(deadline);
        info!("stopping within {within}: traffic is asked to leave first; a second signal ends it");
        crate::journal::extend_stop(deadline + super::WITHDRAW_WITHIN * 2);
        let terms = Terms { deadline, quiet: Duration::from_secs(2).min(deadline / 4) };
        self.drains.order(Target::Node, terms, self.clock.now());
        true
    }

    /// What is to be waited for before the end is over.
    pub(super) fn has_left(&self) -> bool {
        let node = self.drains.get(&Target::Node);
        self.is_stopping && node.is_none_or(|node| node.phase == Phase::Drained)
    }

    /// What somebody means, in the configuration in force.
    fn target(&self, asked: &view::drain::Target) -> Result<Target, Refused> {
        let services = &self.config.desired.services;
        let unknown = |what: String| Err(Refused::NoSuchTarget(what));
        match asked {
            view::drain::Target::Node {} => Ok(Target::Node),
            view::drain::Target::Vip { vip } => {
                let of_name = services.get(vip).map(|service| service.vip.addrs);
                match of_name.or_else(|| parse_prefix(vip)).map(Target::Vip) {
                    Some(target) if target.is_in(&self.config.desired) => Ok(target),
                    _ => unknown(format!("no service and no VIP {vip:?}")),
                }
            }
            view::drain::Target::Backend { service, backend } => {
                let target = Target::Backend { service: service.clone(), backend: *backend };
                match services.get(service) {
                    None => unknown(format!("no service {service:?}")),
                    Some(_) if target.is_in(&self.config.desired) => Ok(target),
                    Some(_) => unknown(format!("no backend {backend} of {service}")),
                }
            }
        }
    }

    /// A backend whose service can do without it.
    fn may_drain(&self, target: &Target) -> Result<(), Refused> {
        let Target::Backend { service, backend } = target else { return Ok(()) };
        let Some(spec) = self.config.desired.services.get(service) else { return Ok(()) };
        let Some(state) = self.last.vips.get(&spec.vip) else { return Ok(()) };
        let is_active =
            state.backends.get(backend).is_some_and(|it| it.state == BackendState::Active);
        let needed = spec.advertise.as_ref().map_or(1, |advertise| advertise.min_healthy);
        let left = state.usable.saturating_sub(1);
        if is_active && left < needed {
            return Err(Refused::TooFewLeft { service: service.clone(), left, needed });
        }
        Ok(())
    }

    /// Packets of a target so far; `None` if they cannot be told.
    fn packets_of(&self, target: &Target) -> Option<u64> {
        let datapath = &self.parts.datapath;
        let of_service = |state: &VipState| match state.programmed {
            Some(programmed) => Some(datapath.service_traffic(programmed.index).ok()?.packets),
            None => Some(0),
        };
        match target {
            Target::Backend { service, backend } => {
                let spec = self.config.desired.services.get(service)?;
                let view = self.last.vips.get(&spec.vip)?.backends.get(backend)?;
                match view.index {
                    Some(index) => Some(datapath.backend_traffic(index).ok()?.packets),
                    None => Some(0),
                }
            }
            Target::Vip(vip) => {
                let mut of_vip = self.last.vips.iter().filter(|(addr, _)| addr.addrs == *vip);
                of_vip
                    .try_fold(0, |sum: u64, (_, state)| Some(sum.wrapping_add(of_service(state)?)))
            }
            Target::Node => {
                let mut all = self.last.vips.values();
                all.try_fold(0, |sum: u64, state| Some(sum.wrapping_add(of_service(state)?)))
            }
        }
    }

    /// All that drains, for people and programs.
    pub(super) fn drains_view(&self) -> Vec<view::drain::Drain> {
        self.drains.iter().map(|(target, drain)| self.drain_view(target, Some(drain))).collect()
    }

    fn one_drain(&self, target: &Target) -> view::drain::Drains {
        let drains = vec![self.drain_view(target, self.drains.get(target))];
        view::drain::Drains { api_version: API_VERSION.into(), drains }
    }

    fn drain_view(&self, target: &Target, drain: Option<&Drain>) -> view::drain::Drain {
        let now = self.clock.now();
        view::drain::Drain {
            what: target.to_string(),
            target: match target {
                Target::Node => view::drain::Target::Node {},
                Target::Vip(vip) => view::drain::Target::Vip { vip: vip.to_string() },
                Target::Backend { service, backend } => {
                    view::drain::Target::Backend { service: service.clone(), backend: *backend }
                }
            },
            phase: drain.map_or("in-service", |drain| drain.phase.name()).into(),
            since_secs: drain.map_or(0, |drain| now.since(drain.since).as_secs()),
            left_secs: drain.and_then(|it| Some(it.deadline()?.since(now).as_secs())),
            quiet_secs: drain.map_or(0, |drain| drain.terms.quiet.as_secs()),
            packets_per_sec: drain.map_or(0, |drain| drain.rate),
            cut_packets_per_sec: drain.map_or(0, |drain| drain.cut),
            counted_with: self.counted_with(target),
            connections: self.draining_connections(target),
        }
    }

    /// Other services that send packets to the same entry of the map of backends.
    fn counted_with(&self, target: &Target) -> Vec<String> {
        let Target::Backend { service, backend } = target else { return Vec::new() };
        let vip = self.config.desired.services.get(service).map(|service| service.vip);
        let index = |addr: &ServiceAddr| self.last.vips.get(addr)?.backends.get(backend)?.index;
        let Some(mine) = vip.as_ref().and_then(index) else { return Vec::new() };
        let others = self
            .last
            .vips
            .iter()
            .filter(|(addr, _)| Some(**addr) != vip && index(addr) == Some(mine));
        others.map(|(_, state)| state.name.clone()).collect()
    }
}

/// Into the journal.
fn report(moved: &Moved) {
    let Moved { target, cause, to, rate } = moved;
    match (cause, to) {
        (Cause::Deadline, Phase::Drained) if *rate > 0 => {
            warn!("drained at its deadline with {rate} packets per second left: {target}");
        }
        (Cause::Deadline, Phase::Emptying) if *rate > 0 => {
            warn!("withdrawn by its deadline, {rate} packets per second still come: {target}");
        }
        (_, Phase::Drained) => info!("drained, nothing is left: {target}"),
        (_, Phase::Emptying | Phase::Shedding) => info!("withdrawn, traffic has left: {target}"),
    }
}
