//! UPDATE (RFC 4271 §4.3, RFC 4760) as RFC 7606 wants it read: the prefixes first, then each
//! attribute by itself, then what their damage does to the routes.

use std::borrow::Cow;

use super::attributes::{Walk, code, subcode};
use super::block;
use super::message::{Repair, Treatment};
use super::negotiated::Negotiated;
use super::nlri::Nlri;
use super::notification::Notification;
use super::reader::Reader;
use crate::types::Family;

/// An UPDATE after the walk of RFC 7606: what is left is sound. Withdrawals apply first: a prefix
/// that is announced as well stays (RFC 4271 §4.3).
///
/// It borrows from the message: prefixes are decoded as they are iterated, attributes from their
/// block, once for all routes that carry the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update<'a> {
    withdrawn: [Option<Nlri<'a>>; 4],
    announced: [Option<Announced<'a>>; 2],
    /// The family of an End-of-RIB marker (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// The NLRI of this family were beyond repair: all its routes from this peer go, and it is not
    /// read any more on this session ([`Negotiated::disable`]).
    pub disable: Option<Family>,
    /// Damage that was repaired: one entry per malformed attribute, for counters and log.
    pub repaired: Vec<Repair>,
}

/// Routes that are reachable now, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced<'a> {
    /// At least one.
    pub nlri: Nlri<'a>,
    /// Their attribute block (see [`AttributesRef`](super::AttributesRef)), which holds the next
    /// hop too.
    pub block: Cow<'a, [u8]>,
}

impl<'a> Update<'a> {
    /// What is no longer reachable, including routes whose attributes were malformed
    /// (treat-as-withdraw, RFC 7606 §2).
    pub fn withdrawn(&self) -> impl Iterator<Item = Nlri<'a>> {
        self.withdrawn.into_iter().flatten()
    }

    /// What is reachable now. Two families in one message get a block each: nobody should send
    /// that, everybody must read it (RFC 7606 §5.1).
    pub fn announced(&self) -> impl Iterator<Item = &Announced<'a>> {
        self.announced.iter().flatten()
    }
}

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

pub(super) fn decode<'a>(body: &'a [u8], context: &Negotiated) -> Result<Update<'a>, Notification> {
    let fields = Fields::split(body).ok_or(Notification::MALFORMED_ATTRIBUTE_LIST)?;
    let with_path_id = context.add_path_receive.contains(Family::Ipv4Unicast);
    let classic = |field| {
        Nlri::new(Family::Ipv4Unicast, with_path_id, field)
            .ok_or(Notification::INVALID_NETWORK_FIELD)
    };
    let (mut withdrawn, mut announced) =
        (filled(classic(fields.withdrawn)?), filled(classic(fields.nlri)?));
    let mut walk = Walk::over(fields.attributes, context)?;

    let reachable = announced.is_some()
        || walk.ignored_reach
        || walk.disable.is_some()
        || walk.reach.is_some_and(|reach| !reach.nlri.is_empty());
    let carried = context.reads(Family::Ipv4Unicast);
    if !carried && (withdrawn.is_some() || announced.is_some()) {
        (withdrawn, announced) = (None, None);
        walk.repair(0, Treatment::AttributeDiscard, "IPv4 unicast not in use", fields.nlri);
    }

    require_mandatory(&mut walk, announced.is_some());
    if let Some(notification) = &walk.withdraw
        && !reachable
    {
        // RFC 7606 §5.2: perhaps the damage hides the routes.
        return Err(notification.clone());
    }
    let end_of_rib = end_of_rib(&fields, &walk, context);
    let mut update = settle(&fields, &walk, announced, context);
    let [first, second, ..] = &mut update.withdrawn;
    (*first, *second) = (withdrawn, walk.unreach.and_then(filled));
    Ok(Update { end_of_rib, disable: walk.disable, repaired: walk.repaired, ..update })
}

fn filled(nlri: Nlri<'_>) -> Option<Nlri<'_>> {
    Some(nlri).filter(|nlri| !nlri.is_empty())
}

/// RFC 4724 §2: an UPDATE with nothing in it, or with nothing but an empty MP_UNREACH_NLRI.
fn end_of_rib(fields: &Fields<'_>, walk: &Walk<'_, '_>, context: &Negotiated) -> Option<Family> {
    if !(fields.withdrawn.is_empty() && fields.nlri.is_empty()) {
        return None;
    }
    if fields.attributes.is_empty() {
        return Some(Family::Ipv4Unicast).filter(|family| context.reads(*family));
    }
    let unreach = walk.unreach?;
    (walk.seen.len() == 1 && unreach.is_empty()).then_some(unreach.family())
}

/// Well-known attributes that must come with routes (RFC 4271 §5, RFC 7606 §3 (d)). NEXT_HOP is
/// for the classic NLRI only (RFC 4760 §3).
fn require_mandatory(walk: &mut Walk<'_, '_>, classic: bool) {
    let reach = walk.reach.is_some_and(|reach| !reach.nlri.is_empty());
    if !classic && !reach {
        return;
    }
    for code in [code::ORIGIN, code::AS_PATH, code::NEXT_HOP] {
        let required = code != code::NEXT_HOP || classic;
        if required && !walk.seen.contains(code) {
            walk.withdraw(code, "missing", subcode::MISSING_WELL_KNOWN, &[], &[code]);
        }
    }
}

/// Announces the routes with their attributes, or withdraws them when one was malformed.
fn settle<'a>(
    fields: &Fields<'a>,
    walk: &Walk<'a, '_>,
    classic: Option<Nlri<'a>>,
    context: &Negotiated,
) -> Update<'a> {
    let reach = walk.reach.filter(|reach| !reach.nlri.is_empty());
    if walk.withdraw.is_some() {
        let withdrawn = [None, None, classic, reach.map(|reach| reach.nlri)];
        return Update { withdrawn, ..Update::default() };
    }
    let block = |reach| block::of_update(fields.attributes, walk, reach, context);
    let classic = classic.map(|nlri| Announced { nlri, block: block(None) });
    let reach = reach.map(|reach| Announced { nlri: reach.nlri, block: block(Some(reach)) });
    Update { announced: [classic, reach], ..Update::default() }
}

#[cfg(test)]
mod tests;
