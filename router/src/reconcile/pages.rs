//! Services as the API is told of them: as many as were asked for, since there may be ten thousand,
//! each with a hundred backends.

use std::net::IpAddr;
use std::ops::Bound;

use tidegate_config::desired::ServiceAddr;
use tidegate_plan::{BackendState, BackendView, VipState};

use crate::bpf_io;
use crate::view::{Page, Scope, Tally, Vip};

use super::Reconciler;

/// Backends on a page of services, at most, unless one service has more: a page is made in one go by
/// the task that also answers to failed checks.
const ROWS_MAX: usize = 5_000;

/// Services, and where the next page begins.
type Found = (Vec<Vip>, Option<String>);

impl Reconciler {
    /// Services with as many backends as are asked for.
    pub(super) fn services(&self, scope: &Scope) -> Result<Found, bpf_io::Error> {
        match scope {
            Scope::Node => Ok((Vec::new(), None)),
            Scope::Figures { backends_max } => self.figures(*backends_max),
            Scope::Services(page) => self.page_of_services(page),
            Scope::Backends(page) => self.page_of_backends(page),
        }
    }

    fn figures(&self, backends_max: usize) -> Result<Found, bpf_io::Error> {
        let with_backends = self.backend_tally().configured <= backends_max;
        let vips = self.services_from("").map(|(_, addr, state)| {
            let backends = state.backends.iter().filter(|_| with_backends);
            self.vip(addr, state, backends)
        });
        Ok((vips.collect::<Result<_, _>>()?, None))
    }

    fn page_of_services(&self, page: &Page) -> Result<Found, bpf_io::Error> {
        let (mut vips, mut rows) = (Vec::new(), 0);
        for (name, addr, state) in self.services_from(&page.service) {
            rows += state.backends.len();
            if vips.len() == page.limit || (rows > ROWS_MAX && !vips.is_empty()) {
                return Ok((vips, Some(name.to_owned())));
            }
            vips.push(self.vip(addr, state, state.backends.iter())?);
        }
        Ok((vips, None))
    }

    fn page_of_backends(&self, page: &Page) -> Result<Found, bpf_io::Error> {
        let (mut vips, mut left) = (Vec::new(), page.limit);
        for (name, addr, state) in self.services_from(&page.service) {
            let first = page.backend.filter(|_| name == page.service);
            let from = first.map_or(Bound::Unbounded, Bound::Included);
            let mut rest = state.backends.range((from, Bound::Unbounded));
            vips.push(self.vip(addr, state, rest.by_ref().take(left))?);
            left = left.saturating_sub(vips.last().map_or(0, |vip| vip.backends.len()));
            if let Some((backend, _)) = rest.next() {
                return Ok((vips, Some(format!("{name}/{backend}"))));
            }
        }
        Ok((vips, None))
    }

    /// Services by name, as they stand, from this name on.
    fn services_from(&self, name: &str) -> impl Iterator<Item = (&str, ServiceAddr, &VipState)> {
        let range = (Bound::Included(name), Bound::Unbounded);
        let wanted = self.config.desired.services.range::<str, _>(range);
        wanted.filter_map(|(name, service)| {
            Some((name.as_str(), service.vip, self.last.vips.get(&service.vip)?))
        })
    }

    /// Services whose VIP is announced.
    pub(super) fn vip_tally(&self) -> Tally {
        let announced = |vip: &&ServiceAddr| self.seen.vip(vip).is_some_and(|v| v.state.announced);
        let vips = &self.last.vips;
        Tally { up: vips.keys().filter(announced).count(), configured: vips.len() }
    }

    /// Backends that take flows, counted for each service.
    pub(super) fn backend_tally(&self) -> Tally {
        let vips = self.last.vips.values();
        vips.fold(Tally::default(), |Tally { up, configured }, vip| Tally {
            up: up + active(vip.backends.iter()),
            configured: configured + vip.backends.len(),
        })
    }
}

/// How many of them take flows.
pub(super) fn active<'a>(backends: impl Iterator<Item = (&'a IpAddr, &'a BackendView)>) -> usize {
    backends.filter(|(_, backend)| backend.state == BackendState::Active).count()
}
