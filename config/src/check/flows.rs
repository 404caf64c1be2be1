//! `[flows]`

use crate::desired::FlowLog;
use crate::raw::flows::FlowsTable;

pub(super) fn check(raw: &FlowsTable) -> Option<FlowLog> {
    Some(FlowLog {
        sample: raw.sample.as_ref()?.value.0,
        rate: raw.rate.as_ref()?.value.0,
        keep: raw.keep.as_ref()?.value.0,
    })
}
