//! Connections in NAT: those that are over, or whose backend is dead, are forgotten, a bounded
//! number at a time.

use std::time::Duration;

use tidegate_config::desired::{ForwardingMode, ServiceAddr};
use tidegate_plan::drain::Target;
use tidegate_plan::nat;
use tracing::{error, info};

use super::Reconciler;

/// From one round over all connections to the next.
const ROUND: Duration = Duration::from_secs(1);
/// From one part of a round to the next.
const PART: Duration = Duration::from_millis(50);

impl Reconciler {
    /// Looks at the next connections.
    pub(super) fn sweep_nat(&mut self) {
        let datapath = &mut self.parts.datapath;
        if !datapath.has_nat() {
            self.sweep_at = self.clock.now() + ROUND;
            return;
        }
        let dead = nat::dead(&self.last.vips);
        let swept = datapath.sweep_nat(&self.config.desired.nat.timeouts, &dead);
        let is_part = matches!(swept, Ok(false));
        self.sweep_at = self.clock.now() + if is_part { PART } else { ROUND };
        match (swept.err().map(|failure| failure.to_string()), &self.sweep_problem) {
            (Some(new), old) if old.as_ref() != Some(&new) => {
                error!("connections in NAT that are over stay: {new}; trying again every second");
                self.sweep_problem = Some(new);
            }
            (None, Some(_)) => {
                info!("connections in NAT that are over are forgotten again");
                self.sweep_problem = None;
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Connections of a service with a backend, as the last round counted them; `None`: it is not in
    /// NAT.
    pub(super) fn nat_connections(&self, service: ServiceAddr, index: Option<u32>) -> Option<u64> {
        let state = self.last.vips.get(&service)?;
        let spec = self.config.desired.services.get(&state.name)?;
        if spec.mode != ForwardingMode::Nat {
            return None;
        }
        let place = state.programmed.map(|programmed| programmed.index).zip(index);
        let counted = self.parts.datapath.nat_connections();
        Some(place.and_then(|place| counted.get(&place)).copied().unwrap_or(0))
    }

    /// The same of what drains, if that is a backend.
    pub(super) fn draining_connections(&self, target: &Target) -> Option<u64> {
        let Target::Backend { service, backend } = target else { return None };
        let vip = self.config.desired.services.get(service)?.vip;
        let index = self.last.vips.get(&vip)?.backends.get(backend)?.index;
        self.nat_connections(vip, index)
    }

    /// All of them; `None` where there is no NAT.
    pub(super) fn all_nat_connections(&self) -> Option<u64> {
        let datapath = &self.parts.datapath;
        datapath.has_nat().then(|| datapath.nat_connections().values().sum())
    }
}
