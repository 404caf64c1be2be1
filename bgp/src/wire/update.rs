//! UPDATE (RFC 4271 §4.3, RFC 4760) as RFC 7606 wants it read: the prefixes first, then each
//! attribute by itself, then what their damage does to the routes.

use super::attributes::{Reach, Walk, code, subcode};
use super::message::{Attributes, Negotiated, NextHop, Treatment, Update};
use super::nlri;
use super::notification::Notification;
use super::reader::Reader;
use crate::types::{Family, Prefix};

/// The three fields of an UPDATE.
struct Fields<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `None`: the lengths do not add up.
    fn split(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let len = reader.u16()?;
        let withdrawn = reader.take(len.into())?;
        let len = reader.u16()?;
        let attributes = reader.take(len.into())?;
        Some(Self { withdrawn, attributes, nlri: reader.rest() })
    }
}

pub(super) fn decode(body: &[u8], context: &Negotiated) -> Result<Update, Notification> {
    let fields = Fields::split(body).ok_or(Notification::MALFORMED_ATTRIBUTE_LIST)?;
    let classic =
        |field| nlri::decode(Family::Ipv4Unicast, field).ok_or(Notification::INVALID_NETWORK_FIELD);
    let (mut withdrawn, mut announced) = (classic(fields.withdrawn)?, classic(fields.nlri)?);
    let mut walk = Walk::over(fields.attributes, context)?;

    let reachable = !announced.is_empty()
        || walk.ignored_reach
        || walk.found.reach.as_ref().is_some_and(|reach| !reach.prefixes.is_empty());
    let carried = context.families.contains(&Family::Ipv4Unicast);
    if !(carried || withdrawn.is_empty() && announced.is_empty()) {
        withdrawn.clear();
        announced.clear();
        walk.repair(0, Treatment::AttributeDiscard, "IPv4 unicast not negotiated");
    }

    let end_of_rib = end_of_rib(&fields, &walk, context);
    if let Some(unreach) = walk.found.unreach.take() {
        withdrawn.extend(unreach.prefixes);
    }
    require_mandatory(&mut walk, &announced);
    if let Some(notification) = &walk.withdraw
        && !reachable
    {
        // RFC 7606 §5.2: perhaps the damage hides the routes.
        return Err(notification.clone());
    }

    let mut update = Update { withdrawn, end_of_rib, ..Update::default() };
    settle(&mut update, &mut walk, announced);
    update.repaired = walk.repaired;
    Ok(update)
}

/// RFC 4724 §2: an UPDATE with nothing in it, or with nothing but an empty MP_UNREACH_NLRI.
fn end_of_rib(fields: &Fields<'_>, walk: &Walk<'_>, context: &Negotiated) -> Option<Family> {
    if !(fields.withdrawn.is_empty() && fields.nlri.is_empty()) {
        return None;
    }
    if fields.attributes.is_empty() {
        return Some(Family::Ipv4Unicast).filter(|family| context.families.contains(family));
    }
    let unreach = walk.found.unreach.as_ref()?;
    (walk.types_seen() == 1 && unreach.prefixes.is_empty()).then_some(unreach.family)
}

/// Well-known attributes that must come with routes (RFC 4271 §5, RFC 7606 §3 (d)). NEXT_HOP is
/// for the classic NLRI only (RFC 4760 §3).
fn require_mandatory(walk: &mut Walk<'_>, classic: &[Prefix]) {
    let reach = walk.found.reach.as_ref().is_some_and(|reach| !reach.prefixes.is_empty());
    if classic.is_empty() && !reach {
        return;
    }
    for code in [code::ORIGIN, code::AS_PATH, code::NEXT_HOP] {
        let required = code != code::NEXT_HOP || !classic.is_empty();
        if required && !walk.has_seen(code) {
            walk.withdraw(code, "missing", subcode::MISSING_WELL_KNOWN, &[code]);
        }
    }
}

/// Announces the routes with their attributes, or withdraws them when one was malformed.
fn settle(update: &mut Update, walk: &mut Walk<'_>, classic: Vec<Prefix>) {
    let malformed = walk.withdraw.is_some();
    let found = &mut walk.found;
    let reach = found.reach.take().filter(|reach| !reach.prefixes.is_empty());
    if malformed {
        update.withdrawn.extend(classic);
        update.withdrawn.extend(reach.into_iter().flat_map(|reach| reach.prefixes));
        return;
    }
    let classic = found
        .next_hop
        .filter(|_| !classic.is_empty())
        .map(|addr| Reach { next_hop: NextHop::V4(addr), prefixes: classic });
    let mut routes = classic.into_iter().chain(reach);
    let (Some(first), Some(origin), Some(as_path)) =
        (routes.next(), found.origin, found.take_as_path())
    else {
        return; // Nothing is announced: that the mandatory ones are there was checked.
    };
    update.announced = first.prefixes;
    update.announced_second = routes.next().map(|reach| (reach.next_hop, reach.prefixes));
    update.attributes = Some(Attributes {
        origin,
        as_path,
        next_hop: first.next_hop,
        med: found.med,
        local_pref: found.local_pref,
        communities: core::mem::take(&mut found.communities),
        large_communities: core::mem::take(&mut found.large_communities),
    });
}

#[cfg(test)]
mod tests;
