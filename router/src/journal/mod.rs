//! The log: lines for people, entries for journald, objects for machines; and the events among them
//! that the API tells.
//!
//! A line that stands for something that has happened has a field `event` with its [`kind`](kinds);
//! the API keeps the latest of those. No line has a secret in it.

mod entry;
mod events;
pub(crate) mod kinds;
mod limit;
mod sink;

use std::io::IsTerminal as _;

use sd_notify::NotifyState;
use tidegate_bgp::speaker::{DownCause, Expiry, Report};
use tracing::{debug, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) use events::{Event, Events};
pub(crate) use limit::{AUDIT, tell_left_out};
use sink::{Form, Sink};

/// Starts logging, in the form that fits where it goes: to journald under systemd, in lines for
/// people on a terminal, in JSON to standard output elsewhere; `TIDEGATE_LOG_FORMAT` sets another one.
/// `TIDEGATE_LOG` sets the level, such as `debug` or `tidegate::bgp_io=trace`.
pub(crate) fn start() -> Events {
    let filter =
        EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_unset| EnvFilter::new("info"));
    let (form, doubt) = Form::choose();
    let text = (form == Form::Text).then(|| {
        tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_writer(std::io::stderr)
    });
    let events = Events::default();
    tracing_subscriber::registry()
        .with(filter)
        .with(limit::Limit)
        .with(events.layer())
        .with(Sink::new(form))
        .with(text)
        .init();
    if let Some(doubt) = doubt {
        warn!("{doubt}");
    }
    events
}

/// Tells systemd; does nothing where there is none.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd could not be told");
    }
}

/// The line that `systemctl status` shows.
pub(crate) fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Asks systemd for more time to stop than its unit gives (sd_notify(3)); counted anew from now.
pub(crate) fn extend_stop(time: std::time::Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// What happened to a BGP session, for the operator who reads along.
pub(crate) fn report(report: &Report) {
    match report {
        Report::Up { peer, hold_time } => {
            info!(
                event = kinds::PEER_UP,
                %peer,
                hold_time_secs = hold_time.as_secs(),
                "BGP session established"
            );
        }
        Report::Down { peer, cause } => {
            warn!(event = kinds::PEER_DOWN, %peer, "BGP connection ended: {}", down_cause(cause));
        }
        Report::NoNextHop { peer, family } => warn!(
            %peer, %family,
            "prefixes of this family are not sent: the session's interface has no address of it; \
             add one, or set next-hop-v4 or next-hop-v6"
        ),
        Report::Unsendable { peer, family, error } => {
            warn!(%peer, %family, "prefixes are not sent: {error}");
        }
        Report::ManyPrefixes { peer, family, prefixes, max } => warn!(
            %peer, %family, prefixes, max,
            "the peer announces nearly as many prefixes as it may; more end the session: raise \
             max-prefixes, or ask its operator"
        ),
        Report::ManyPaths { peer, max } => warn!(
            %peer, max,
            "the peer has more paths to a prefix than it may, and those beyond are not taken: raise \
             add-path.receive-max, or ask its operator"
        ),
        Report::RangeFull { range, remote } => warn!(
            %range, %remote,
            "a peer of this range was refused, and so are more until one goes: raise range-limit"
        ),
        Report::Kept { peer, until } => {
            let within = humantime::format_duration(*until);
            info!(
                event = kinds::PEER_RESTARTS,
                %peer,
                %within,
                "the peer restarts; its routes are kept meanwhile"
            );
        }
        Report::Expired { peer, family, expiry } => {
            let what = match expiry {
                Expiry::Ages => {
                    "the peer has not come back in time; its routes are used where there are no others"
                }
                Expiry::Gone => "the peer has not come back with its routes in time; they are gone",
                Expiry::NotRepeated => {
                    "the peer began a refresh and has not ended it in time; what it has not said \
                     again is gone: `tidegate refresh NAME in` asks for it"
                }
            };
            warn!(%peer, %family, "{what}");
        }
        Report::Repaired { peer, repair } => {
            warn!(%peer, "malformed UPDATE: {repair}");
        }
    }
}

/// Why a session ended, in words.
pub(crate) fn down_cause(cause: &DownCause) -> String {
    match cause {
        DownCause::Sent(notification) => format!("sent {notification}"),
        DownCause::Received(notification) => format!("received {notification}"),
        DownCause::ConnectionLost => "connection lost".into(),
    }
}
