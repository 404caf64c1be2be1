//! `tidegate upgrade`: another binary in the place of the running one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::view::upgrade::{Order, Upgraded};

use super::client::{Answer, post_within};
use super::commands::show;
use super::{Failure, Read};

const HELP: &str = "\
The running daemon starts the new binary beside itself and hands over to it the
BGP and BFD sessions, the routes, the packet path and what it knows of health.
Peers see no closed connection, no OPEN and no UPDATE; no packet is lost.

If the new binary does not start, finds a mistake in the configuration, or
cannot take over, the running daemon goes on, and says why.

Examples:
  apt install ./tidegate.deb && tidegate upgrade
  tidegate upgrade --binary /opt/tidegate-1.2/tidegate
  tidegate upgrade --within 5s           give up on a slow start sooner

A change that waits to be confirmed, or a file that was changed and not applied,
keeps the upgrade from being made: decide about it first.";

/// For the answer to come back after the longest start.
const ANSWER_WITHIN: Duration = Duration::from_secs(95);

#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct UpgradeArgs {
    /// The new binary; without it, the file that the daemon was started from
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// It has to be ready within this time, 1s to 1m [default: 20s]
    #[arg(long, value_name = "TIME")]
    within: Option<String>,
    #[command(flatten)]
    read: Read,
}

pub(super) async fn upgrade(args: UpgradeArgs) -> Result<(), Failure> {
    let binary = args.binary.map(std::path::absolute).transpose().map_err(Failure::new)?;
    let order = Order { binary, within: args.within };
    let path = "/api/v1/upgrade";
    let answer: Answer<Upgraded> =
        post_within(ANSWER_WITHIN, &args.read.node, path, Some(&order)).await?;
    show(args.read.output, &answer, text)
}

fn text(upgraded: &Upgraded) -> String {
    let Upgraded { version, pid, sessions, paused_millis, .. } = upgraded;
    let s = if *sessions == 1 { "" } else { "s" };
    format!(
        "process {pid}, version {version}, has taken over {sessions} BGP session{s}, which stood \
         still for {paused_millis} ms\n"
    )
}
