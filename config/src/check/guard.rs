//! Who may come in, and how often.

use core::ops::Range;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_abi::PREFIXES_MAX;
use tidegate_bgp::types::Prefix;

use super::distinct;
use crate::FILE_BYTES_MAX;
use crate::desired::{Admission, Guard, Limits, OwnLimits};
use crate::diagnostic::{Diagnostics, Found};
use crate::raw::ServiceTable;
use crate::raw::guard::{GuardTable, ServiceGuardTable};
use crate::read::{At, List};
use crate::value::{Network, Text as _};

pub(super) fn check(raw: &GuardTable, found: &mut Found<'_>) -> Option<Guard> {
    let mut prefixes = Prefixes::default();
    for (list, admission) in [(&raw.deny, Admission::Deny), (&raw.allow, Admission::Allow)] {
        let list = list.as_ref()?;
        distinct(&list.value.read, found);
        for at in &list.value.read {
            prefixes.put(at.value.0, admission, &at.span, &at.key, found);
        }
    }
    Some(Guard {
        prefixes: Arc::new(prefixes.all),
        deny_files: files(raw.deny_files.as_ref()?, found),
        allow_files: files(raw.allow_files.as_ref()?, found),
        source_len_v4: raw.source_prefix_v4.as_ref()?.value.0,
        source_len_v6: raw.source_prefix_v6.as_ref()?.value.0,
        burst: raw.burst.as_ref()?.value.0,
        limits: Limits {
            source_rate: raw.source_rate.as_ref()?.value.0,
            source_syn_rate: raw.source_syn_rate.as_ref()?.value.0,
            service_rate: raw.service_rate.as_ref()?.value.0,
            service_syn_rate: raw.service_syn_rate.as_ref()?.value.0,
        },
    })
}

fn files(list: &At<List<PathBuf>>, found: &mut Found<'_>) -> Vec<PathBuf> {
    distinct(&list.value.read, found)
}

/// What a service says of its limits.
pub(super) fn of_service(raw: &ServiceTable) -> OwnLimits {
    let Some(At { value, .. }) = &raw.guard else { return OwnLimits::default() };
    let ServiceGuardTable { source, source_syn, service, service_syn } = value;
    OwnLimits {
        source_rate: source.as_ref().map(|at| at.value.0),
        source_syn_rate: source_syn.as_ref().map(|at| at.value.0),
        service_rate: service.as_ref().map(|at| at.value.0),
        service_syn_rate: service_syn.as_ref().map(|at| at.value.0),
    }
}

impl Guard {
    /// Takes in the prefixes of a file; `file_name` is for the diagnostics. One that stands there
    /// twice, or in another file too, is no mistake: such files are often put together.
    ///
    /// # Errors
    /// Every line that is neither a prefix nor an address, or says the contrary of another one, and
    /// more prefixes than the packet path holds. Nothing is taken in then.
    pub fn read_file(
        &mut self,
        admission: Admission,
        file_name: &str,
        text: &str,
    ) -> Result<(), Diagnostics> {
        let mut found = Found::new(file_name, text);
        if text.len() > FILE_BYTES_MAX {
            let sentence = format!("the file has more than {FILE_BYTES_MAX} bytes");
            found.error(&(0..0), "", sentence, "write fewer prefixes, or shorter ones");
            return Err(found.into_diagnostics());
        }
        let mut prefixes = Prefixes::of(&self.prefixes);
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let typed = line.split('#').next().unwrap_or_default().trim();
            let at = start + line.find(typed).unwrap_or_default();
            start += line.len();
            if typed.is_empty() {
                continue;
            }
            let span = at..at + typed.len();
            match Network::parse(typed) {
                Ok(Network(prefix)) => prefixes.put(prefix, admission, &span, "", &mut found),
                Err((sentence, remedy)) => found.error(&span, "", sentence, remedy),
            }
        }
        if found.has_errors() {
            return Err(found.into_diagnostics());
        }
        self.prefixes = Arc::new(prefixes.all);
        Ok(())
    }
}

/// Prefixes, as many as fit.
#[derive(Default)]
struct Prefixes {
    all: BTreeMap<Prefix, Admission>,
    /// How many there are of IPv4 and of IPv6.
    counts: [u32; 2],
}

impl Prefixes {
    fn of(all: &BTreeMap<Prefix, Admission>) -> Self {
        let mut prefixes = Self { all: all.clone(), ..Self::default() };
        for prefix in all.keys() {
            *prefixes.count(*prefix) += 1;
        }
        prefixes
    }

    const fn count(&mut self, prefix: Prefix) -> &mut u32 {
        let [v4, v6] = &mut self.counts;
        if prefix.addr().is_ipv4() { v4 } else { v6 }
    }

    fn put(
        &mut self,
        prefix: Prefix,
        admission: Admission,
        span: &Range<usize>,
        key: &str,
        found: &mut Found<'_>,
    ) {
        match self.all.insert(prefix, admission) {
            Some(before) if before == admission => {}
            Some(_) => {
                let sentence = format!("{prefix} is both denied and allowed");
                found.error(
                    span,
                    key,
                    sentence,
                    "remove one of the two, or make one of them longer",
                );
            }
            None => {
                *self.count(prefix) += 1;
                if *self.count(prefix) == PREFIXES_MAX + 1 {
                    let version = if prefix.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                    let sentence =
                        format!("with this there are more than {PREFIXES_MAX} {version} prefixes");
                    found.error(
                        span,
                        key,
                        sentence,
                        "join neighbouring prefixes into shorter ones",
                    );
                }
            }
        }
    }
}
