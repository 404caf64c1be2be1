//! What a configuration makes constant in the program: another value is another program.

use tidegate_abi::{DatapathConfig, features};
use tidegate_config::desired::Desired;

/// The constants for a configuration.
pub fn constants(desired: &Desired) -> DatapathConfig {
    let Desired { router, datapath, .. } = desired;
    let wants = |wanted: bool, feature: u64| if wanted { feature } else { 0 };
    let answers = datapath.too_big_rate > 0;
    DatapathConfig {
        hash_seed: router.hash_seed,
        features: wants(answers, features::TOO_BIG)
            | wants(answers && datapath.too_big_without_df, features::TOO_BIG_WITHOUT_DF),
        too_big_interval_ns: interval_ns(datapath.too_big_rate),
    }
}

/// Nanoseconds from one to the next of so many in a second; none of them: 0.
fn interval_ns(per_second: u32) -> u64 {
    1_000_000_000_u64.checked_div(per_second.into()).unwrap_or(0)
}
