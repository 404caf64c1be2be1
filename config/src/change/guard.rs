//! What differs in protection.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tidegate_bgp::types::Prefix;

use super::{Rows, duration_text, list};
use crate::desired::{Admission, Guard, Limits, OwnLimits};

/// Prefixes that are shown one by one; of more there is a digest.
const SHOWN_MAX: usize = 8;

pub(super) fn of_guard(guard: &Guard) -> Rows {
    let Guard { prefixes, deny_files, allow_files, source_len_v4, source_len_v6, burst, limits } =
        guard;
    let Limits { source_rate, source_syn_rate, service_rate, service_syn_rate } = limits;
    let of = |wanted: Admission| {
        let these = prefixes.iter().filter(|(_, admission)| **admission == wanted);
        shown(&these.map(|(prefix, _)| *prefix).collect::<Vec<_>>())
    };
    let files = |files: &[std::path::PathBuf]| {
        list(&files.iter().map(|file| file.display()).collect::<Vec<_>>())
    };
    let (table, mut rows) = ("guard", Rows::default());
    rows.put(table, "deny", of(Admission::Deny));
    rows.put(table, "allow", of(Admission::Allow));
    rows.put(table, "deny-files", files(deny_files));
    rows.put(table, "allow-files", files(allow_files));
    rows.put(table, "source-prefix-v4", source_len_v4);
    rows.put(table, "source-prefix-v6", source_len_v6);
    rows.put(table, "burst", duration_text(*burst));
    rows.put(table, "source-rate", source_rate);
    rows.put(table, "source-syn-rate", source_syn_rate);
    rows.put(table, "service-rate", service_rate);
    rows.put(table, "service-syn-rate", service_syn_rate);
    rows
}

/// Those of files stand among them: a file that has changed shows here.
fn shown(prefixes: &[Prefix]) -> String {
    if prefixes.len() <= SHOWN_MAX {
        return list(prefixes);
    }
    let mut digest = DefaultHasher::new();
    prefixes.hash(&mut digest);
    format!("{} prefixes #{:08x}", prefixes.len(), digest.finish() >> 32)
}

pub(super) fn of_service(limits: OwnLimits, rows: &mut Rows) {
    let OwnLimits { source_rate, source_syn_rate, service_rate, service_syn_rate } = limits;
    let table = "service.guard";
    rows.maybe(table, "source-rate", source_rate);
    rows.maybe(table, "source-syn-rate", source_syn_rate);
    rows.maybe(table, "service-rate", service_rate);
    rows.maybe(table, "service-syn-rate", service_syn_rate);
}
