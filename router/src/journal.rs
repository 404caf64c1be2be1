//! The log: standard error, in a form that fits where it goes.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging. Under systemd the journal adds the time; elsewhere we do. `TIDEGATE_LOG` sets
/// the level, such as `debug` or `tidegate::bgp_io=trace`.
pub fn start() {
    let filter =
        EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_unset| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
}
