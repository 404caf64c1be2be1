//! `tidegate health`: what somebody outside says of a backend, in the place of its health check.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::client::{Answer, delete, escaped, put};
use super::commands::show;
use super::{Failure, Read};
use crate::view::said::{Said, State, Word};

const HELP: &str = "\
What is said counts in the place of the health check until its time is over, on
this node alone, and is forgotten when the daemon ends. `tidegate backends`
shows who has said what.

Examples:
  tidegate health set web 10.0.0.11 down --ttl 10m --reason \"disk is failing\"
  tidegate health set web 10.0.0.11 up --ttl 1m      the check is wrong, for now
  tidegate health clear web 10.0.0.11";

/// What to say.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct HealthArgs {
    #[command(subcommand)]
    what: Saying,
}

#[derive(Clone, Debug, Subcommand)]
enum Saying {
    /// Say that a backend is up or down
    #[command(after_help = HELP)]
    Set {
        #[command(flatten)]
        of: Of,
        /// What it is
        state: Shown,
        /// For how long, up to 24h
        #[arg(long, value_name = "TIME")]
        ttl: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        read: Read,
    },
    /// Take it back: the health check counts again
    Clear {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        read: Read,
    },
}

#[derive(Clone, Debug, Args)]
struct Of {
    /// Name of the service
    service: String,
    /// Address of its backend
    backend: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// It takes flows, whatever its check finds
    Up,
    /// It takes none
    Down,
}

pub(super) async fn health(args: HealthArgs) -> Result<(), Failure> {
    let (answer, read): (Answer<Said>, Read) = match args.what {
        Saying::Set { of, state, ttl, reason, read } => {
            let state = match state {
                Shown::Up => State::Up,
                Shown::Down => State::Down,
            };
            (put(&read.node, &path(&of), &Word { state, ttl, reason }).await?, read)
        }
        Saying::Clear { of, read } => (delete(&read.node, &path(&of)).await?, read),
    };
    show(read.output, &answer, text)
}

fn path(Of { service, backend }: &Of) -> String {
    format!("/api/v1/services/{}/backends/{backend}/health", escaped(service))
}

fn text(Said { service, backend, state, left_secs, .. }: &Said) -> String {
    match (state, left_secs) {
        (Some(state), Some(left)) => {
            let left = humantime::format_duration(std::time::Duration::from_secs(*left));
            format!("{backend} of {service} counts as {} for {left}\n", state.name())
        }
        _ => format!("the health check of {backend} of {service} counts again\n"),
    }
}
