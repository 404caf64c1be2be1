//! How the best of several paths is chosen.

use tidegate_bgp::rib::DecisionRules;

use crate::raw::bgp::DecisionTable;

pub(super) fn check(raw: &DecisionTable) -> Option<DecisionRules> {
    Some(DecisionRules {
        always_compare_med: raw.always_compare_med.as_ref()?.value,
        med_missing_is_worst: raw.missing_med_is_worst.as_ref()?.value,
        multipath_external: raw.multipath_external.as_ref()?.value.0,
        multipath_internal: raw.multipath_internal.as_ref()?.value.0,
        multipath_relax: raw.multipath_relax.as_ref()?.value,
        link_bandwidth: raw.link_bandwidth.as_ref()?.value,
    })
}
