//! What is remembered between two looks: health, and since when things are as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Desired, ServiceAddr};
use tidegate_plan::drain::Phase;
use tidegate_plan::health::{Health, Verdict};
use tidegate_plan::observed::Observed;
use tidegate_plan::step::Reason;
use tidegate_plan::{BackendState, BackendView, Plan, VipState};
use tracing::{info, warn};

use crate::health_io::CheckResult;
use crate::journal::kinds;

use super::said::Words;

/// A backend of a service.
pub(super) type BackendKey = (ServiceAddr, IpAddr);

/// What the checks said of every backend that is checked.
#[derive(Default)]
pub(super) struct Healths(BTreeMap<BackendKey, Known>);

struct Known {
    health: Health,
    last_failure: Option<String>,
}

impl Healths {
    /// Backends that are new start unknown; what is known of the others stays.
    pub(super) fn put(&mut self, desired: &Desired) {
        let mut kept = BTreeMap::new();
        for service in desired.services.values() {
            let Some(check) = &service.health else { continue };
            for backend in service.backends.keys() {
                let key = (service.vip, *backend);
                let mut known = self.0.remove(&key).unwrap_or_else(|| Known {
                    health: Health::new(check.rise, check.fall),
                    last_failure: None,
                });
                known.health.set_thresholds(check.rise, check.fall);
                kept.insert(key, known);
            }
        }
        self.0 = kept;
    }

    /// What is known, for another process.
    pub(super) fn known(&self) -> Vec<(BackendKey, Verdict, Option<String>)> {
        let known = self.0.iter();
        known.map(|(key, it)| (*key, it.health.verdict(), it.last_failure.clone())).collect()
    }

    /// Goes on with what another process knew, as far as it is still asked for.
    pub(super) fn restore(&mut self, known: Vec<(BackendKey, Verdict, Option<String>)>) {
        for (key, verdict, last_failure) in known {
            if let Some(it) = self.0.get_mut(&key) {
                it.health.restore(verdict);
                it.last_failure = last_failure;
            }
        }
    }

    /// Takes a result in; true if it changed what is known of a backend.
    pub(super) fn on_result(&mut self, result: &CheckResult) -> bool {
        let Some(known) = self.0.get_mut(&(result.service, result.backend)) else {
            return false; // On its way when its backend left the configuration.
        };
        known.last_failure = result.outcome.as_ref().err().map(ToString::to_string);
        known.health.on_result(result.outcome.is_ok()).is_some()
    }

    /// Backends that are up, and those of which nothing is known yet. What somebody says counts
    /// more than what checks find.
    pub(super) fn verdicts(&self, words: &Words) -> (BTreeSet<BackendKey>, BTreeSet<BackendKey>) {
        let verdict = |key: &BackendKey, known: &Known| match words.of(key) {
            Some(true) => Verdict::Up,
            Some(false) => Verdict::Down,
            None => known.health.verdict(),
        };
        let with = |wanted| {
            let these = self.0.iter().filter(|(key, known)| verdict(key, known) == wanted);
            these.map(|(key, _)| *key).collect()
        };
        (with(Verdict::Up), with(Verdict::Unknown))
    }

    pub(super) fn is_checked(&self, key: &BackendKey) -> bool {
        self.0.contains_key(key)
    }

    fn last_failure(&self, key: &BackendKey) -> Option<&str> {
        self.0.get(key)?.last_failure.as_deref()
    }
}

/// Since when each VIP and each backend is in the state it is in, and why. Changes go to the
/// journal from here, once each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    vips: BTreeMap<ServiceAddr, Since<VipSeen>>,
    backends: BTreeMap<BackendKey, Since<BackendSeen>>,
}

/// A state and when it began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Since<T> {
    pub(super) state: T,
    pub(super) since: SystemTime,
}

/// Whether a service's VIP is announced; if not, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VipSeen {
    pub(super) announced: bool,
    pub(super) withheld: Option<Reason>,
}

/// What a backend does; if it is not active, why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BackendSeen {
    pub(super) state: BackendState,
    pub(super) reason: Option<String>,
}

impl Seen {
    /// Compares a look with the one before.
    pub(super) fn note(
        &mut self,
        plan: &Plan,
        observed: &Observed,
        (healths, words): (&Healths, &Words),
        no_ways: &BTreeMap<IpAddr, String>,
    ) {
        let now = SystemTime::now();
        self.vips.retain(|vip, _| plan.vips.contains_key(vip));
        self.backends.retain(|(vip, addr), _| {
            plan.vips.get(vip).is_some_and(|state| state.backends.contains_key(addr))
        });
        for (vip, state) in &plan.vips {
            // What was withdrawn may still be in the speaker's snapshot.
            let announced = observed.advertised.contains_key(&vip.addrs)
                && !observed.withdrawn_at.contains_key(&vip.addrs);
            let waits = |backend: &BackendView| backend.state == BackendState::Unproven;
            let withheld = match state.withheld {
                // On its way: no reason yet that anybody should act on.
                Some(Reason::NotChecked | Reason::NotProgrammed | Reason::NotProven) => None,
                Some(Reason::TooFewHealthy) if state.backends.values().any(waits) => None,
                withheld => withheld,
            };
            let seen = VipSeen { announced, withheld };
            self.note_vip(*vip, &state.name, seen, now);
            for (addr, backend) in state.backends.iter() {
                let key = (*vip, *addr);
                let reason = match backend.state {
                    BackendState::Down => {
                        words.text(&key).or_else(|| healths.last_failure(&key).map(str::to_owned))
                    }
                    BackendState::NoWay => no_ways.get(addr).cloned(),
                    BackendState::Narrow => Some("the way is narrower than min-mtu".into()),
                    BackendState::NoRoom => Some("the map of backends is full".into()),
                    BackendState::Unproven => Some("no check has been answered yet".into()),
                    BackendState::Draining | BackendState::Disabled => {
                        let drain = observed.drains.backend(*vip, *addr);
                        Some(out_of_service(backend.state, drain).into())
                    }
                    BackendState::Active => words.text(&key).or_else(|| {
                        let starts = state.starting.contains_key(addr);
                        starts.then(|| "slow start: its share is still growing".into())
                    }),
                };
                let seen = BackendSeen { state: backend.state, reason };
                self.note_backend(key, &state.name, seen, now);
            }
        }
    }

    /// A VIP is being withdrawn. Said here and not when the next look misses it, which may find the
    /// cause mended.
    pub(super) fn on_withdraw(&mut self, plan: &Plan, prefix: Prefix, reason: Reason) {
        let seen = VipSeen { announced: false, withheld: Some(reason) };
        let of_prefix = |(vip, _): &(&ServiceAddr, &VipState)| vip.addrs == prefix;
        for (vip, state) in plan.vips.iter().filter(of_prefix) {
            self.note_vip(*vip, &state.name, seen.clone(), SystemTime::now());
        }
    }

    fn note_vip(&mut self, vip: ServiceAddr, service: &str, seen: VipSeen, now: SystemTime) {
        let before = self.vips.get(&vip).map(|before| &before.state);
        if before == Some(&seen) {
            return;
        }
        let was_announced = before.is_some_and(|before| before.announced);
        match (seen.announced, seen.withheld) {
            (true, _) if !was_announced => {
                info!(event = kinds::VIP_ANNOUNCED, service, vip = %vip.vip(), "VIP announced");
            }
            (false, Some(reason)) if was_announced => {
                warn!(
                    event = kinds::VIP_WITHDRAWN,
                    service,
                    vip = %vip.vip(),
                    code = reason.name(),
                    "VIP withdrawn: {reason}"
                );
            }
            (false, None) if was_announced => {
                warn!(
                    event = kinds::VIP_WITHDRAWN,
                    service,
                    vip = %vip.vip(),
                    "VIP withdrawn until the maps hold the service"
                );
            }
            (false, Some(reason)) => {
                info!(
                    event = kinds::VIP_WITHHELD,
                    service,
                    vip = %vip.vip(),
                    code = reason.name(),
                    "VIP not announced: {reason}"
                );
            }
            (true, _) | (false, None) => {} // On its way there.
        }
        match self.vips.get_mut(&vip) {
            // Why it is not announced may have changed; since when, has not.
            Some(before) if before.state.announced == seen.announced => before.state = seen,
            _ => drop(self.vips.insert(vip, Since { state: seen, since: now })),
        }
    }

    fn note_backend(&mut self, key: BackendKey, service: &str, seen: BackendSeen, now: SystemTime) {
        let state = seen.state.name();
        match self.backends.get_mut(&key) {
            Some(before) if before.state.state == seen.state => {
                before.state = seen; // The reason may have changed; the state has not.
                return;
            }
            _ => {}
        }
        let reason = seen.reason.as_deref().unwrap_or("answers");
        match seen.state {
            BackendState::Active => {
                info!(event = kinds::BACKEND_UP, service, backend = %key.1, "backend {state}");
            }
            BackendState::Unproven => {} // The next one or two checks will say.
            BackendState::Draining | BackendState::Disabled => {
                info!(
                    event = kinds::BACKEND_DRAINING,
                    service,
                    backend = %key.1,
                    "backend {state}: {reason}"
                );
            }
            BackendState::Down
            | BackendState::NoWay
            | BackendState::Narrow
            | BackendState::NoRoom => {
                warn!(
                    event = kinds::BACKEND_DOWN,
                    service,
                    backend = %key.1,
                    "backend {state}: {reason}"
                );
            }
        }
        self.backends.insert(key, Since { state: seen, since: now });
    }

    pub(super) fn vip(&self, vip: &ServiceAddr) -> Option<&Since<VipSeen>> {
        self.vips.get(vip)
    }

    pub(super) fn backend(&self, key: &BackendKey) -> Option<&Since<BackendSeen>> {
        self.backends.get(key)
    }
}

/// Who says that a backend takes no new flows.
const fn out_of_service(state: BackendState, drain: Option<Phase>) -> &'static str {
    match (state, drain) {
        (BackendState::Disabled, Some(Phase::Drained)) => "drained",
        (BackendState::Disabled, _) => "disabled by the configuration",
        (_, Some(_)) => "drains by order",
        (_, None) => "weight 0",
    }
}
