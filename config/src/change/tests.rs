use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::raw::bgp::{AddPathTable, BfdTable, DecisionTable, KeychainKeyTable, KeychainTable};
use crate::raw::export::{BmpStationTable, MrtTable, RpkiCacheTable};
use crate::raw::flows::FlowsTable;
use crate::raw::guard::{GuardTable, ServiceGuardTable};
use crate::raw::nat::NatTable;
use crate::raw::policy::{
    AsPathSetTable, CommunitySetTable, MatchTable, PolicyTable, PrefixSetTable, SetTable, TermTable,
};
use crate::raw::{
    AdvertiseTable, ApiTable, BackendTable, DatapathTable, File, HealthTable, MaxPrefixesTable,
    PeerTable, RouterTable, ServiceTable,
};
use crate::read::{KeySpec, Need, Table};
use crate::tests::round_trip::{desired, render};

/// Every table with its keys.
fn tables() -> Vec<(&'static str, &'static [KeySpec])> {
    fn of<T: Table>() -> (&'static str, &'static [KeySpec]) {
        (T::NAME, T::KEYS)
    }
    vec![
        of::<File>(),
        of::<RouterTable>(),
        of::<ApiTable>(),
        of::<DatapathTable>(),
        of::<GuardTable>(),
        of::<ServiceGuardTable>(),
        of::<FlowsTable>(),
        of::<NatTable>(),
        of::<DecisionTable>(),
        of::<AddPathTable>(),
        of::<BfdTable>(),
        of::<PeerTable>(),
        of::<MaxPrefixesTable>(),
        of::<ServiceTable>(),
        of::<BackendTable>(),
        of::<HealthTable>(),
        of::<AdvertiseTable>(),
        of::<KeychainTable>(),
        of::<KeychainKeyTable>(),
        of::<PrefixSetTable>(),
        of::<AsPathSetTable>(),
        of::<CommunitySetTable>(),
        of::<PolicyTable>(),
        of::<TermTable>(),
        of::<MatchTable>(),
        of::<SetTable>(),
        of::<RpkiCacheTable>(),
        of::<BmpStationTable>(),
        of::<MrtTable>(),
    ]
}

#[test]
fn every_key_has_one_impact() {
    // A key whose value is made of tables has none itself: each key of those has one of its own.
    let names: BTreeSet<&str> = tables().into_iter().map(|(table, _)| table).collect();
    let is_table = |table: &str, key: &str| {
        names.contains(key) && table == File::NAME || names.contains(&*format!("{table}.{key}"))
    };
    let keys: BTreeSet<(&str, &str)> = tables()
        .into_iter()
        .flat_map(|(table, keys)| keys.iter().map(move |spec| (table, spec.name)))
        .filter(|(table, key)| !is_table(table, key))
        .collect();
    let mut rows = BTreeSet::new();
    for (table, key, _) in impact::IMPACTS {
        assert!(keys.contains(&(*table, *key)), "there is no key {table}.{key}: remove its row");
        assert!(rows.insert((*table, *key)), "{table}.{key} has two rows");
    }
    let missing: Vec<_> = keys.difference(&rows).collect();
    assert!(missing.is_empty(), "say in config/src/impact.rs what a change costs: {missing:?}");
}

/// The differences as `object key before -> after (impact)`.
fn shown(before: &str, after: &str) -> Vec<String> {
    let desired = |text| crate::tests::accepted(text).desired;
    let none = || "none".to_owned();
    changes(&desired(before), &desired(after))
        .into_iter()
        .map(|change| match &change.what {
            What::Added => format!("{} added ({})", change.object, change.impact()),
            What::Removed => format!("{} removed ({})", change.object, change.impact()),
            What::Changed { key, before, after, .. } => format!(
                "{} {key} {} -> {} ({})",
                change.object,
                before.clone().unwrap_or_else(none),
                after.clone().unwrap_or_else(none),
                change.impact()
            ),
        })
        .collect()
}

#[test]
fn a_difference_names_object_key_values_and_cost() {
    let base = crate::tests::BASE;
    let cases = [
        ("asn = 65001", "asn = 65009", "router asn 65001 -> 65009 (restart)"),
        (
            "asn = 65000",
            "asn = 65000\nhold-time = \"30s\"",
            "peer tor hold-time 90s -> 30s (session)",
        ),
        ("asn = 65000", "asn = 65000\npassive = true", "peer tor passive false -> true (soft)"),
        (
            "asn = 65000",
            "asn = 65000\nnext-hop-v4 = \"192.0.2.7\"",
            "peer tor next-hop-v4 none -> 192.0.2.7 (soft)",
        ),
        ("port = 80", "port = 80\ndrain = \"5m\"", "service web drain 1m -> 5m (soft)"),
        (
            "port = 80",
            "port = 80\nadvertise = { med = 5 }",
            "service web advertise.med none -> 5 (soft)",
        ),
        (
            "address = \"10.0.0.11\"",
            "address = \"10.0.0.11\"\nweight = 7",
            "service web backend 10.0.0.11 weight 1 -> 7 (soft)",
        ),
        (
            "[router]",
            "prefix-set = [{ name = \"us\", prefixes = [\"10.0.0.0/8\"] }]\n[router]",
            "prefix-set us added (soft)",
        ),
        ("[router]", "[router]\ndrain-on-stop = \"30s\"", "router drain-on-stop 0s -> 30s (none)"),
        (
            "name = \"web\"",
            "name = \"www\"",
            "service web removed (soft); service www added (soft)",
        ),
        (
            "name = \"tor\"",
            "name = \"spine\"",
            "peer spine added (session); peer tor removed (session)",
        ),
        (
            "interfaces = [\"eth0\"]",
            "interfaces = [\"eth0\"]\n[api]\nlisten = \"127.0.0.1:9179\"\n",
            "api listen none -> 127.0.0.1:9179 (none)",
        ),
    ];
    for (from, to, expected) in cases {
        let after = base.replacen(from, to, 1);
        assert_eq!(shown(base, &after).join("; "), expected);
    }
}

/// Sets chosen keys to their defaults: written out in one document, left out in the other.
fn set_defaults(full: &mut toml::Table, short: &mut toml::Table, keys: &[KeySpec], choice: u64) {
    for (bit, spec) in keys.iter().enumerate() {
        let Need::Default(literal) = spec.need else { continue };
        let is_table = |(table, _): (&str, _)| table.rsplit('.').next() == Some(spec.name);
        if choice >> (bit % 64) & 1 == 0 || tables().into_iter().any(is_table) {
            continue;
        }
        let document: toml::Table = toml::from_str(&format!("value = {literal}")).unwrap();
        full.insert(spec.name.to_owned(), document["value"].clone());
        short.remove(spec.name);
    }
}

/// The tables at a path of keys, arrays opened.
fn at<'a>(document: &'a mut toml::Table, path: &[&str]) -> Vec<&'a mut toml::Table> {
    let Some((key, rest)) = path.split_first() else { return vec![document] };
    let inner: Vec<&mut toml::Table> = match document.get_mut(*key) {
        Some(toml::Value::Table(table)) => vec![table],
        Some(toml::Value::Array(array)) => {
            array.iter_mut().filter_map(toml::Value::as_table_mut).collect()
        }
        _ => vec![],
    };
    inner.into_iter().flat_map(|table| at(table, rest)).collect()
}

proptest! {
    #[test]
    fn what_is_equal_has_no_difference_and_what_is_not_has_one(
        one in desired(), other in desired()
    ) {
        prop_assert_eq!(changes(&one, &one.clone()), []);
        prop_assert_eq!(changes(&one, &other).is_empty(), one == other);
        let forth = changes(&one, &other).len();
        prop_assert_eq!(forth, changes(&other, &one).len(), "as many there as back");
    }

    #[test]
    fn a_default_written_out_in_full_is_no_difference(desired in desired(), choice in any::<u64>()) {
        let mut full: toml::Table = toml::from_str(&render(&desired)).unwrap();
        let mut short = full.clone();
        let paths: [(&[&str], &[KeySpec]); 10] = [
            (&["datapath"], DatapathTable::KEYS),
            (&["guard"], GuardTable::KEYS),
            (&["peer", "max-prefixes"], MaxPrefixesTable::KEYS),
            (&["router"], RouterTable::KEYS),
            (&["api"], ApiTable::KEYS),
            (&["peer"], PeerTable::KEYS),
            (&["service"], ServiceTable::KEYS),
            (&["service", "backend"], BackendTable::KEYS),
            (&["service", "health"], HealthTable::KEYS),
            (&["service", "advertise"], AdvertiseTable::KEYS),
        ];
        for (path, keys) in paths {
            let tables = at(&mut full, path).into_iter().zip(at(&mut short, path));
            for (index, (full, short)) in (0_u32..).zip(tables) {
                set_defaults(full, short, keys, choice.rotate_left(7 * index));
            }
        }
        let check = |table: &toml::Table| crate::check("a.toml", &toml::to_string(table).unwrap());
        match (check(&full), check(&short)) {
            (Ok(full), Ok(short)) => prop_assert_eq!(changes(&full.desired, &short.desired), []),
            // Some defaults cannot be had together with the rest, in either way of writing them.
            (full, short) => prop_assert_eq!(full.is_err(), short.is_err()),
        }
    }
}
