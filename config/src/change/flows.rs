//! `[flows]`, key by key.

use super::Rows;
use crate::desired::FlowLog;

pub(super) fn of_flows(flows: FlowLog) -> Rows {
    let FlowLog { sample, rate, keep } = flows;
    let mut rows = Rows::default();
    rows.put("flows", "sample", sample);
    rows.put("flows", "rate", rate);
    rows.put("flows", "keep", keep);
    rows
}
