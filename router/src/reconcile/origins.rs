//! What RPKI says of our own VIPs: a peer that validates drops one whose announcement is invalid,
//! so its operator should hear of it first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_bgp::origin::{Validity, Vrps};
use tidegate_bgp::types::{Asn, Prefix};
use tidegate_config::desired::Desired;
use tracing::{info, warn};

use super::Reconciler;
use super::view::rfc3339;
use crate::rpki_io::{CacheStatus, Snapshot};
use crate::view::rpki::{Cache, Rpki};
use crate::view::{API_VERSION, Tally};

/// How a VIP stands, and for which AS.
pub(super) type Stand = (Validity, Asn);

/// What was found last, so that only changes are told.
#[derive(Debug, Default)]
pub(super) struct Origins {
    seen: Option<(u64, Arc<Vrps>)>,
    stands: BTreeMap<Prefix, Stand>,
}

impl Origins {
    /// Looks again if VRPs or configuration are others.
    pub(super) fn look(&mut self, desired: &Desired, generation: u64, snapshot: &Snapshot) {
        let vrps = &snapshot.vrps;
        let same = |(of, seen): &(u64, Arc<Vrps>)| *of == generation && Arc::ptr_eq(seen, vrps);
        if self.seen.as_ref().is_some_and(same) {
            return;
        }
        self.seen = Some((generation, Arc::clone(vrps)));
        let before = std::mem::replace(&mut self.stands, stands(desired, vrps));
        for (prefix, (validity, asn)) in &self.stands {
            let was = before.get(prefix).map(|(validity, _)| *validity);
            match (was, validity) {
                (Some(same), validity) if same == *validity => {}
                (_, Validity::Invalid) => warn!("{}", invalid(*prefix, *asn)),
                (Some(Validity::Invalid), other) => {
                    info!(%prefix, "the VIP is not RPKI-invalid any more, but {}", other.name());
                }
                _ => {}
            }
        }
    }

    /// How a VIP stands; `None`: nothing is known of any.
    pub(super) fn of(&self, prefix: Prefix) -> Option<Stand> {
        self.stands.get(&prefix).copied()
    }

    /// What an operator should do something about.
    pub(super) fn warnings(&self) -> Vec<String> {
        let invalid_ones = self.stands.iter().filter(|(_, (it, _))| *it == Validity::Invalid);
        invalid_ones.map(|(prefix, (_, asn))| invalid(*prefix, *asn)).collect()
    }
}

fn invalid(prefix: Prefix, asn: Asn) -> String {
    format!(
        "VIP {prefix} is RPKI-invalid as announced by AS {asn}: peers that validate drop it; its \
         ROA must name this AS and allow /{}",
        prefix.bits()
    )
}

/// The worst that an AS that we announce a VIP in comes to.
fn stands(desired: &Desired, vrps: &Vrps) -> BTreeMap<Prefix, Stand> {
    if vrps.is_empty() {
        return BTreeMap::new();
    }
    let ours = desired.router.asn;
    let ranges = desired.ranges.values().map(|range| &range.template);
    let peers = desired.peers.values().chain(ranges);
    let mut asns: BTreeSet<Asn> = peers.map(|peer| peer.local_as.unwrap_or(ours)).collect();
    if asns.is_empty() {
        asns.insert(ours);
    }
    let announced = desired.services.values().filter(|service| service.advertise.is_some());
    let prefixes = announced.map(|service| service.vip.addrs);
    let worst = |prefix| {
        let rank = |(validity, _): &Stand| match validity {
            Validity::Valid => 0,
            Validity::NotFound => 1,
            Validity::Invalid => 2,
        };
        asns.iter().map(|asn| (vrps.validate(prefix, Some(*asn)), *asn)).max_by_key(rank)
    };
    prefixes.filter_map(|prefix| worst(prefix).map(|stand| (prefix, stand))).collect()
}

impl Reconciler {
    /// How many of the caches answer.
    pub(super) fn rpki_caches(&self) -> Tally {
        let snapshot = self.parts.rpki.snapshot();
        let caches = &snapshot.borrow().caches;
        Tally { up: caches.iter().filter(|it| it.up).count(), configured: caches.len() }
    }

    /// Caches and what they have brought.
    pub(super) fn rpki(&self) -> Rpki {
        let snapshot = self.parts.rpki.snapshot();
        let snapshot = snapshot.borrow();
        let (vrps_ipv4, vrps_ipv6) = snapshot.vrps.len();
        let caches = snapshot.caches.iter().map(cache).collect();
        Rpki { api_version: API_VERSION.into(), vrps_ipv4, vrps_ipv6, caches }
    }
}

fn cache(status: &CacheStatus) -> Cache {
    let age = |at: SystemTime| at.elapsed().unwrap_or_default().as_secs();
    Cache {
        name: status.name.clone(),
        remote: status.remote,
        up: status.up,
        in_use: status.in_use,
        vrps: status.vrps,
        answered: status.answered.map(rfc3339),
        answered_secs: status.answered.map(age),
        problem: status.problem.clone(),
    }
}
