//! Sets, policies and chains: names become what they stand for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_bgp::policy::{
    AsPathSet, Chain, CommunitySet, Condition, Edits, Policy, PrefixSet, Term,
};
use tidegate_bgp::rib::Policies;
use tidegate_bgp::types::Asn;

use super::tables;
use crate::diagnostic::{Found, did_you_mean};
use crate::raw::policy::{MatchTable, PolicyTable, SetTable, TermTable};
use crate::raw::{File, PeerTable};
use crate::read::{At, List};
use crate::value::Name;

/// Everything that terms and chains can name.
#[derive(Default)]
pub(super) struct Named {
    pub(super) prefixes: BTreeMap<String, Arc<PrefixSet>>,
    paths: BTreeMap<String, Arc<AsPathSet>>,
    communities: BTreeMap<String, Arc<CommunitySet>>,
    pub(super) policies: BTreeMap<String, Arc<Policy>>,
}

/// What the file defines. A policy with a mistake is left out after it has been told.
pub(super) fn check(file: &File, our_as: Option<Asn>, found: &mut Found<'_>) -> Named {
    let mut named = Named::default();
    for table in tables(file.prefix_sets.as_ref()) {
        if let (Some(name), Some(list)) = (&table.value.name, &table.value.prefixes) {
            let ranges = list.value.read.iter().map(|at| at.value).collect();
            let set = PrefixSet::new(name.value.0.as_str(), ranges);
            add(&mut named.prefixes, name, set, found);
        }
    }
    for table in tables(file.as_path_sets.as_ref()) {
        if let (Some(name), Some(list)) = (&table.value.name, &table.value.paths) {
            let patterns = list.value.read.iter().map(|at| at.value.clone()).collect();
            add(&mut named.paths, name, AsPathSet { name: name.value.0.clone(), patterns }, found);
        }
    }
    for table in tables(file.community_sets.as_ref()) {
        if let (Some(name), Some(list)) = (&table.value.name, &table.value.communities) {
            let entries: Vec<&str> = list.value.read.iter().map(|at| at.value.0.as_str()).collect();
            // Each entry has been read as a set of its own.
            if let Ok(set) = CommunitySet::new(name.value.0.as_str(), &entries) {
                add(&mut named.communities, name, set, found);
            }
        }
    }
    for table in tables(file.policies.as_ref()) {
        let checked = policy(&table.value, our_as, &named, found);
        if let (Some(name), Some(policy)) = (&table.value.name, checked) {
            add(&mut named.policies, name, policy, found);
        }
    }
    named
}

fn add<T>(all: &mut BTreeMap<String, Arc<T>>, name: &At<Name>, value: T, found: &mut Found<'_>) {
    if all.insert(name.value.0.clone(), Arc::new(value)).is_some() {
        let sentence = format!("there is another one called {:?}", name.value.0);
        found.error(&name.span, &name.key, sentence, "give one of them another name");
    }
}

/// What a name stands for.
fn look<T>(
    all: &BTreeMap<String, Arc<T>>,
    what: &str,
    name: &At<Name>,
    found: &mut Found<'_>,
) -> Option<Arc<T>> {
    let known = all.get(&name.value.0);
    if known.is_none() {
        let remedy = match did_you_mean(&name.value.0, all.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("add [[{what}]] with this name"),
        };
        let sentence = format!("there is no {what} called {:?}", name.value.0);
        found.error(&name.span, &name.key, sentence, remedy);
    }
    known.cloned()
}

fn policy(
    raw: &PolicyTable,
    our_as: Option<Asn>,
    named: &Named,
    found: &mut Found<'_>,
) -> Option<Policy> {
    let terms: Vec<Option<Term>> =
        tables(raw.terms.as_ref()).iter().map(|at| term(&at.value, our_as, named, found)).collect();
    Some(Policy {
        name: raw.name.as_ref()?.value.0.clone(),
        terms: terms.into_iter().collect::<Option<_>>()?,
        default: raw.default.as_ref()?.value.0,
    })
}

fn term(
    raw: &TermTable,
    our_as: Option<Asn>,
    named: &Named,
    found: &mut Found<'_>,
) -> Option<Term> {
    let conditions = match &raw.matches {
        None => Some(Vec::new()),
        Some(matches) => conditions(&matches.value, named, found),
    };
    let edits = match &raw.set {
        None => Some(Edits::default()),
        Some(set) => edits(&set.value, our_as, named, found),
    };
    Some(Term {
        name: raw.name.as_ref()?.value.0.clone(),
        conditions: conditions?,
        edits: edits?,
        then: raw.then.as_ref()?.value.0,
    })
}

fn conditions(raw: &MatchTable, named: &Named, found: &mut Found<'_>) -> Option<Vec<Condition>> {
    let mut all: Vec<Option<Condition>> = Vec::new();
    for (name, negated) in [(&raw.prefix_set, false), (&raw.not_prefix_set, true)] {
        all.extend(name.as_ref().map(|name| {
            let set = look(&named.prefixes, "prefix-set", name, found);
            set.map(|set| maybe_not(Condition::Prefix(set), negated))
        }));
    }
    for (name, negated) in [(&raw.as_path_set, false), (&raw.not_as_path_set, true)] {
        all.extend(name.as_ref().map(|name| {
            let set = look(&named.paths, "as-path-set", name, found);
            set.map(|set| maybe_not(Condition::AsPath(set), negated))
        }));
    }
    for (name, negated) in [(&raw.community_set, false), (&raw.not_community_set, true)] {
        all.extend(name.as_ref().map(|name| {
            let set = look(&named.communities, "community-set", name, found);
            set.map(|set| maybe_not(Condition::Community(set), negated))
        }));
    }
    all.extend(raw.family.as_ref().map(|at| Some(Condition::Family(at.value))));
    all.extend(raw.source.as_ref().map(|at| Some(Condition::Source(at.value))));
    all.extend(raw.rpki.as_ref().map(|at| Some(Condition::Rpki(at.value))));
    if raw.path_length_min.is_some() || raw.path_length_max.is_some() {
        let from = raw.path_length_min.as_ref().map_or(0, |at| at.value.0);
        let to = raw.path_length_max.as_ref().map_or(u32::MAX, |at| at.value.0);
        all.push(Some(Condition::PathLength(from, to)));
    }
    all.into_iter().collect()
}

fn maybe_not(condition: Condition, negated: bool) -> Condition {
    if negated { Condition::Not(Box::new(condition)) } else { condition }
}

fn edits(
    raw: &SetTable,
    our_as: Option<Asn>,
    named: &Named,
    found: &mut Found<'_>,
) -> Option<Edits> {
    let remove = match &raw.remove_communities {
        None => Some(Vec::new()),
        Some(name) => look(&named.communities, "community-set", name, found).map(|set| vec![set]),
    };
    let prepend = raw.prepend.as_ref()?.value.0;
    Some(Edits {
        local_pref: raw.local_pref.as_ref().map(|at| at.value.0),
        med: raw.med.as_ref().map(|at| Some(at.value.0)),
        origin: None,
        prepend: if prepend == 0 { Vec::new() } else { vec![our_as?; prepend.into()] },
        remove: remove?,
        add: values(&raw.add_communities.as_ref()?.value),
        add_large: values(&raw.add_large_communities.as_ref()?.value),
    })
}

fn values<T: Clone>(list: &List<T>) -> Vec<T> {
    list.read.iter().map(|at| at.value.clone()).collect()
}

/// The chains of a peer.
pub(super) fn chains(raw: &PeerTable, named: &Named, found: &mut Found<'_>) -> Option<Policies> {
    let mut chain = |names: Option<&At<List<Name>>>| match names {
        None => Some(None),
        Some(names) => {
            let policies: Vec<_> = names
                .value
                .read
                .iter()
                .map(|name| look(&named.policies, "policy", name, found))
                .collect();
            let policies = policies.into_iter().collect::<Option<_>>()?;
            Some(Some(Arc::new(Chain { policies })))
        }
    };
    let (import, export) = (chain(raw.import.as_ref()), chain(raw.export.as_ref()));
    Some(Policies {
        import: import?,
        export: export?,
        shuts_down: raw.graceful_shutdown.as_ref()?.value,
        heeds_shutdown: raw.heed_graceful_shutdown.as_ref()?.value,
    })
}
