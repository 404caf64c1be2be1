//! What a peer's session is made of: how its packets travel, and how much it may say.

use core::time::Duration;
use std::collections::BTreeMap;

use tidegate_bgp::speaker::{Distance, Offer, PrefixLimits, SEND_HOLD_DEFAULT, Transport};
use tidegate_bgp::types::{Asn, Family};

use super::restart;
use crate::diagnostic::Found;
use crate::raw::{PeerTable, RouterTable};
use crate::value::duration_text;

pub(super) fn transport(
    raw: &PeerTable,
    router: Option<&RouterTable>,
    found: &mut Found<'_>,
) -> Option<Transport> {
    let send_hold = send_hold(raw, found);
    let distance = distance(raw, router, found);
    Some(Transport {
        distance: distance?,
        interface: raw.interface.as_ref().map(|at| at.value.0.as_str().into()),
        user_timeout: raw.tcp_user_timeout.as_ref().map(|at| at.value.0),
        send_hold: send_hold?,
        unnumbered: super::is_unnumbered(raw),
    })
}

/// Our AS as this peer sees it.
fn local_asn(raw: &PeerTable, router: Option<&RouterTable>) -> Option<Asn> {
    let own = router.and_then(|router| router.asn.as_ref());
    raw.local_asn.as_ref().or(own).map(|at| at.value)
}

fn distance(
    raw: &PeerTable,
    router: Option<&RouterTable>,
    found: &mut Found<'_>,
) -> Option<Distance> {
    match (&raw.multihop, &raw.ttl_security) {
        (Some(_), Some(guarded)) => {
            let sentence = "multihop and ttl-security say the same thing in two ways";
            let remedy = "remove multihop: ttl-security says how many hops away the peer may be";
            found.error(&guarded.span, &guarded.key, sentence, remedy);
            None
        }
        (Some(hops), None) => Some(Distance::Ttl(hops.value.0)),
        (None, Some(hops)) => Some(Distance::Guarded(hops.value.0)),
        (None, None) => {
            let external = raw.asn.as_ref()?.value != local_asn(raw, router)?;
            Some(Distance::Ttl(if external { 1 } else { u8::MAX }))
        }
    }
}

/// RFC 9687 §3.1 and §6: longer than the Hold Time. The outer `None` after an error.
#[expect(clippy::option_option, reason = "no limit is a value like any other")]
fn send_hold(raw: &PeerTable, found: &mut Found<'_>) -> Option<Option<Duration>> {
    let hold_time = raw.hold_time.as_ref()?.value.duration();
    let Some(send_hold) = &raw.send_hold_time else {
        let twice = hold_time.map_or(Duration::ZERO, |hold_time| hold_time * 2);
        return Some(Some(twice.max(SEND_HOLD_DEFAULT)));
    };
    if send_hold.value.0.is_zero() {
        return Some(None);
    }
    if let Some(hold_time) = hold_time
        && send_hold.value.0 <= hold_time
    {
        let sentence =
            format!("this is not longer than the hold-time of {}", duration_text(hold_time));
        let remedy = "write a longer time, or \"0s\" for no limit (RFC 9687)";
        found.error(&send_hold.span, &send_hold.key, sentence, remedy);
        return None;
    }
    Some(Some(send_hold.value.0))
}

/// What our OPEN offers.
pub(super) fn offer(
    raw: &PeerTable,
    router: Option<&RouterTable>,
    found: &mut Found<'_>,
) -> Option<Offer> {
    let external = raw.asn.as_ref()?.value != local_asn(raw, router)?;
    let role_required = raw.role_required.as_ref()?;
    if let Some(role) = raw.role.as_ref().filter(|_| !external) {
        let sentence = "this has no effect: roles are for external sessions";
        found.warning(&role.span, &role.key, sentence, "remove this key");
    }
    if role_required.value && raw.role.is_none() {
        let sentence = "a role can only be required of a peer that is told ours";
        found.error(&role_required.span, &role_required.key, sentence, "add role = …");
        return None;
    }
    let (graceful_restart, long_lived) = restart::offer(raw, found)?;
    Some(Offer {
        graceful_restart,
        long_lived,
        role: raw.role.as_ref().map(|at| at.value),
        role_required: role_required.value,
        ..Offer::default()
    })
}

pub(super) fn check_local_asn(
    raw: &PeerTable,
    router: Option<&RouterTable>,
    found: &mut Found<'_>,
) {
    let own = router.and_then(|router| router.asn.as_ref()).map(|at| at.value);
    if let Some(local) = raw.local_asn.as_ref().filter(|local| Some(local.value) == own) {
        let sentence = "this has no effect: it is our own AS";
        found.warning(&local.span, &local.key, sentence, "remove this key");
    }
}

pub(super) fn prefix_limits(
    raw: &PeerTable,
    families: Option<&[Family]>,
    found: &mut Found<'_>,
) -> Option<PrefixLimits> {
    let Some(table) = &raw.max_prefixes else { return Some(PrefixLimits::default()) };
    let raw = &table.value;
    let limits = [(Family::Ipv4Unicast, &raw.ipv4), (Family::Ipv6Unicast, &raw.ipv6)];
    let mut max = BTreeMap::new();
    for (family, limit) in limits {
        let Some(limit) = limit else { continue };
        if families.is_some_and(|families| !families.contains(&family)) {
            let sentence = "this has no effect: the session does not carry that family";
            let remedy = format!("add \"{family}\" to families, or remove this key");
            found.warning(&limit.span, &limit.key, sentence, remedy);
        }
        max.insert(family, limit.value.0);
    }
    if max.is_empty() {
        let remedy = "add ipv4 = … or ipv6 = …";
        found.error(&table.span, &table.key, "this limits no family", remedy);
        return None;
    }
    Some(PrefixLimits {
        max,
        warn_percent: Some(raw.warn_percent.as_ref()?.value.0),
        restart: raw.restart.as_ref().map(|at| at.value.0),
    })
}
