//! How packets are treated.

use crate::desired::Datapath;
use crate::raw::DatapathTable;

pub(super) fn check(raw: &DatapathTable) -> Option<Datapath> {
    Some(Datapath {
        too_big_rate: raw.too_big_rate.as_ref()?.value.0,
        too_big_without_df: raw.too_big_without_df.as_ref()?.value,
    })
}
