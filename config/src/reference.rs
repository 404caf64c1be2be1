//! What the raw types say about themselves: the JSON Schema and the reference.

use core::fmt::Write as _;

use schemars::SchemaGenerator;

use crate::impact::{self, Impact};
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
use crate::read::{KeySpec, Need, Table, one_line};

/// The JSON Schema of the file, for editors.
pub fn json_schema() -> String {
    let schema = SchemaGenerator::default().into_root_schema_for::<File>();
    let mut value = schema.to_value();
    // Whether maps keep their order depends on features that other crates choose.
    value.sort_all_objects();
    format!("{value:#}\n")
}

/// `docs/reference/config.md`: every key with type, default and meaning.
pub fn reference() -> String {
    let mut out = INTRODUCTION.to_owned();
    section::<File>(&mut out, "Top level");
    section::<RouterTable>(&mut out, "`[router]`");
    section::<ApiTable>(&mut out, "`[api]`");
    section::<DatapathTable>(&mut out, "`[datapath]`");
    section::<GuardTable>(&mut out, "`[guard]`");
    section::<FlowsTable>(&mut out, "`[flows]`");
    section::<NatTable>(&mut out, "`[nat]`");
    section::<DecisionTable>(&mut out, "`[decision]`");
    section::<PeerTable>(&mut out, "`[[peer]]`");
    section::<KeychainTable>(&mut out, "`[[keychain]]`");
    section::<KeychainKeyTable>(&mut out, "`[[keychain.key]]`");
    section::<PrefixSetTable>(&mut out, "`[[prefix-set]]`");
    section::<AsPathSetTable>(&mut out, "`[[as-path-set]]`");
    section::<CommunitySetTable>(&mut out, "`[[community-set]]`");
    section::<PolicyTable>(&mut out, "`[[policy]]`");
    section::<TermTable>(&mut out, "`[[policy.term]]`");
    section::<MatchTable>(&mut out, "`policy.term.match`");
    section::<SetTable>(&mut out, "`policy.term.set`");
    section::<AddPathTable>(&mut out, "`peer.add-path`");
    section::<BfdTable>(&mut out, "`peer.bfd`");
    section::<MaxPrefixesTable>(&mut out, "`peer.max-prefixes`");
    section::<RpkiCacheTable>(&mut out, "`[[rpki-cache]]`");
    section::<BmpStationTable>(&mut out, "`[[bmp-station]]`");
    section::<MrtTable>(&mut out, "`[mrt]`");
    section::<ServiceTable>(&mut out, "`[[service]]`");
    section::<ServiceGuardTable>(&mut out, "`service.guard`");
    section::<BackendTable>(&mut out, "`[[service.backend]]`");
    section::<HealthTable>(&mut out, "`service.health`");
    section::<AdvertiseTable>(&mut out, "`service.advertise`");
    out
}

const INTRODUCTION: &str = "\
# The configuration file

<!-- Generated from config/src/raw.rs; `UPDATE_GOLDEN=1 cargo test -p tidegate-config` rewrites it. -->

`tidegate check FILE` reads a file and reports every mistake in it, with line, column, key and
remedy. A key that is not listed here is a mistake. Keys are written with hyphens. A commented
sample is `packaging/tidegate.toml`; editors find the same facts in `tidegate.schema.json`.

Durations are strings of whole numbers with the units `h`, `m`, `s` and `ms`: `\"90s\"`, `\"1m30s\"`.
Addresses are strings; names are not looked up. A value that stands below as the default may be
written out: nothing changes by that. The order of tables and of list elements makes no difference,
but for the terms of a policy, the policies of a chain, and RPKI caches.

The column *change* says what a change of the key costs while the daemon runs: `none`, neither
sessions nor packets notice; `soft`, it takes effect in place; `session`, the BGP session with the
peer is closed and opened again; `restart`, a reload with it is refused, and only a start can use
it. `tidegate plan` tells the same of a whole file before it is applied.
";

fn section<T: Table>(out: &mut String, title: &str) {
    let mut add = |text: core::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        out.write_fmt(text).unwrap_or_default();
    };
    add(format_args!("\n## {title}\n\n{}\n", one_line(T::DOC)));
    add(format_args!("\n| key | type | default | change | meaning |\n"));
    add(format_args!("| --- | --- | --- | --- | --- |\n"));
    for KeySpec { name, need, doc, kind, .. } in T::KEYS {
        let default = match need {
            Need::Required => "*required*".to_owned(),
            Need::Optional => "–".to_owned(),
            Need::Default(literal) => format!("`{literal}`"),
        };
        // A key that holds tables costs what their keys cost.
        let impact = impact::row(T::NAME, name).map_or("–", Impact::name);
        let (kind, doc) = (kind(), one_line(doc));
        add(format_args!("| `{name}` | {kind} | {default} | {impact} | {doc} |\n"));
    }
}
