//! What the maps cannot tell: when something happened.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::ServiceAddr;

use crate::key::{self, MapKey};
use crate::observed::{Datapath, HoldDown, Observed};
use crate::plan::{Plan, WITHDRAW_GRACE};
use crate::slots::Span;
use crate::step::Step;
use crate::view::Proof;

/// Times that the daemon keeps between two looks. It is told of every step that was done and fills
/// in its part of [`Observed`]. Losing it (a restart) makes drains begin anew, no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    withdrawn_at: BTreeMap<Prefix, Timestamp>,
    unsettled_since: BTreeMap<ServiceAddr, Timestamp>,
    proven: BTreeSet<ServiceAddr>,
    started: BTreeMap<(ServiceAddr, IpAddr), Timestamp>,
    held_down: BTreeMap<Prefix, HoldDown>,
}

impl Memory {
    /// A step was done. `datapath` is what the plan was made from.
    pub fn on_step(&mut self, step: &Step, datapath: &Datapath, now: Timestamp) {
        match step {
            // Said again, before the speaker had come to it: that is not another failure.
            Step::Withdraw { prefix, .. } if self.withdrawn_at.contains_key(prefix) => {}
            Step::Withdraw { prefix, hold_down, .. } => {
                self.held_down.extend(hold_down.map(|held| (*prefix, held)));
                self.withdrawn_at.insert(*prefix, now);
            }
            Step::Advertise { prefix, .. } => {
                self.withdrawn_at.remove(prefix);
            }
            // A slot newly in transition: the drain time of the ring begins anew, so that its
            // flows get all of it.
            Step::PutSlots { slots } => {
                for (service, ring) in rings(datapath) {
                    let first = slots.partition_point(|&(index, _)| index < ring.offset);
                    let inside = slots.iter().skip(first).take_while(|(i, _)| *i < ring.end());
                    if inside.into_iter().any(|(_, slot)| !slot.is_settled()) {
                        self.unsettled_since.insert(service, now);
                    }
                }
            }
            Step::PutServiceV4 { key, .. } => self.on_service(MapKey::V4(*key)),
            Step::PutServiceV6 { key, .. } => self.on_service(MapKey::V6(*key)),
            Step::PutBackend { .. }
            | Step::FreeBackend { .. }
            | Step::PutPrefixes { .. }
            | Step::DeletePrefixes { .. }
            | Step::PutRates { .. }
            | Step::PutServers { .. }
            | Step::DeleteServers { .. }
            | Step::DeleteServiceV4 { .. }
            | Step::DeleteServiceV6 { .. } => {}
        }
    }

    /// A plan was made.
    pub fn on_plan(&mut self, plan: &Plan) {
        let proven = plan.vips.iter().filter(|(_, vip)| vip.proof == Proof::Proven);
        self.proven = proven.map(|(addr, _)| *addr).collect();
        let starting = plan.vips.iter().flat_map(|(&service, vip)| {
            vip.starting.iter().map(move |(&backend, &since)| ((service, backend), since))
        });
        self.started = starting.collect();
    }

    /// Perhaps another ring, with transitions of its own: the next look sets its time.
    fn on_service(&mut self, key: MapKey) {
        if let Some(service) = key.service() {
            self.unsettled_since.remove(&service);
        }
    }

    /// Fills in what the planner needs of it, and forgets what is over. Call it when everything
    /// else of `observed` is there.
    pub fn on_look(&mut self, observed: &mut Observed, now: Timestamp) {
        let slots = &observed.datapath.slots;
        let mut looked: BTreeMap<Span, bool> = BTreeMap::new(); // Many ports, one ring.
        let mut is_unsettled = |ring: Span| {
            let look = || ring.slots(slots).any(|slot| !slot.is_settled());
            *looked.entry(ring).or_insert_with(look)
        };
        let unsettled: BTreeMap<ServiceAddr, Timestamp> = rings(&observed.datapath)
            .filter(|&(_, ring)| is_unsettled(ring))
            .map(|(service, _)| (service, *self.unsettled_since.get(&service).unwrap_or(&now)))
            .collect();
        self.unsettled_since = unsettled;
        self.withdrawn_at.retain(|_, at| now.since(*at) < WITHDRAW_GRACE);
        observed.unsettled_since.clone_from(&self.unsettled_since);
        observed.withdrawn_at.clone_from(&self.withdrawn_at);
        self.held_down.retain(|_, held| held.forget_at > now);
        observed.held_down.clone_from(&self.held_down);
        observed.proven_before.clone_from(&self.proven);
        observed.started.clone_from(&self.started);
    }
}

/// Services in the maps and their rings.
fn rings(datapath: &Datapath) -> impl Iterator<Item = (ServiceAddr, Span)> {
    key::entries(datapath)
        .into_iter()
        .filter_map(|(key, service)| Some((key.service()?, Span::of(&service)?)))
}
