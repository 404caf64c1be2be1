//! Several paths to one prefix, and IPv6 next hops for IPv4.

use tidegate_bgp::speaker::PathLimits;
use tidegate_bgp::types::{Family, FamilySet};

use crate::diagnostic::Found;
use crate::raw::PeerTable;
use crate::read::{At, List};

/// Families of which several paths are told and taken, and how many. `None` after an error.
pub(super) struct AddPath {
    pub(super) send: FamilySet,
    pub(super) receive: FamilySet,
    pub(super) limits: PathLimits,
}

pub(super) fn add_path(
    raw: &PeerTable,
    families: Option<&[Family]>,
    found: &mut Found<'_>,
) -> Option<AddPath> {
    let Some(table) = &raw.add_path else {
        let (send, receive) = (FamilySet::EMPTY, FamilySet::EMPTY);
        return Some(AddPath { send, receive, limits: PathLimits::default() });
    };
    let table = &table.value;
    let send = of(table.send.as_ref()?, families, found);
    let receive = of(table.receive.as_ref()?, families, found);
    let limits = PathLimits {
        send: table.send_max.as_ref()?.value.0,
        receive: table.receive_max.as_ref()?.value.0,
    };
    Some(AddPath { send: send?, receive: receive?, limits })
}

fn of(
    list: &At<List<Family>>,
    families: Option<&[Family]>,
    found: &mut Found<'_>,
) -> Option<FamilySet> {
    let mut all = Some(FamilySet::EMPTY);
    for at in &list.value.read {
        if !Family::UNICAST.contains(&at.value) {
            let sentence = "there is one path to a FlowSpec rule";
            found.error(&at.span, &at.key, sentence, "remove this family");
            all = None;
        } else if families.is_some_and(|families| !families.contains(&at.value)) {
            let sentence = "this has no effect: the session does not carry that family";
            let remedy = format!("add \"{}\" to families, or remove it here", at.value);
            found.warning(&at.span, &at.key, sentence, remedy);
        }
        if let Some(all) = &mut all {
            all.insert(at.value);
        }
    }
    all
}

/// IPv4 families whose next hop may be an IPv6 address (RFC 8950).
pub(super) fn extended_next_hop(
    raw: &PeerTable,
    families: Option<&[Family]>,
    found: &mut Found<'_>,
) -> Option<FamilySet> {
    let wanted = raw.extended_next_hop.as_ref()?;
    let mut all = FamilySet::EMPTY;
    if !wanted.value {
        return Some(all);
    }
    all.insert(Family::Ipv4Unicast);
    if families.is_some_and(|families| !families.contains(&Family::Ipv4Unicast)) {
        let sentence = "this has no effect: the session carries no IPv4 prefixes";
        found.warning(&wanted.span, &wanted.key, sentence, "add \"ipv4-unicast\" to families");
    }
    Some(all)
}
