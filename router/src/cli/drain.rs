//! `tidegate drain` and `undrain`: out of service without a cut flow, and back.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::view::drain::{Drain, Drains, Order, Target};

use super::change::folded;
use super::client::{Answer, get, post};
use super::commands::{print, show};
use super::table::{count, span};
use super::{Failure, Output, Read};

const DRAIN_HELP: &str = "\
What drains gets no new flows, keeps those it has until none is left, or until
--deadline, and stays out of service until `tidegate undrain`, through restarts
too. `tidegate status` shows how far it is.

Examples:
  tidegate drain backend web 10.0.0.11          before work on a backend
  tidegate drain vip web                        the VIP of a service, here alone
  tidegate drain node --deadline 5m --wait      before a reboot of the edge
  tidegate undrain node

Of a VIP, routers hear first that other routes are to be preferred (community
65535:0, RFC 8326). It is withdrawn when its packets have stopped coming, or
when three quarters of the time are over; the rest is for those on their way.";

const BACKEND_HELP: &str = "\
New flows go to the other backends at once. Old ones stay for as long as packets
come, and for --deadline at most, whatever the service's own `drain` time is.
UDP flows stay only with `udp = \"flow\"`.

Examples:
  tidegate drain backend web 10.0.0.11
  tidegate drain backend web 10.0.0.11 --deadline 1h --quiet 5m --wait";

const VIP_HELP: &str = "\
A service is named for its VIP: all services of that VIP drain, since one route
announces them.

Examples:
  tidegate drain vip web
  tidegate drain vip 192.0.2.10 --deadline 2m";

const NODE_HELP: &str = "\
Sessions stay up, and so do routes of others.

Examples:
  tidegate drain node --wait && reboot
  tidegate undrain node                  afterwards: a restart does not do it";

/// What to drain.
#[derive(Clone, Debug, Args)]
#[command(after_help = DRAIN_HELP)]
pub(super) struct DrainArgs {
    #[command(subcommand)]
    what: Draining,
}

#[derive(Clone, Debug, Subcommand)]
enum Draining {
    /// A backend of a service: no new flows, old ones stay
    #[command(after_help = BACKEND_HELP)]
    Backend {
        #[command(flatten)]
        backend: BackendArgs,
        /// Even if the VIP is withdrawn because too few backends are left
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// A VIP: its traffic goes to other nodes
    #[command(after_help = VIP_HELP)]
    Vip {
        #[command(flatten)]
        vip: VipArgs,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// Every VIP of this node
    #[command(after_help = NODE_HELP)]
    Node {
        #[command(flatten)]
        terms: TermsArgs,
    },
}

#[derive(Clone, Debug, Args)]
struct BackendArgs {
    /// Name of the service
    service: String,
    /// Address of its backend
    backend: IpAddr,
}

#[derive(Clone, Debug, Args)]
struct VipArgs {
    /// Name of a service, or the address of its VIP
    #[arg(value_name = "SERVICE|VIP")]
    vip: String,
}

#[derive(Clone, Debug, Args)]
struct TermsArgs {
    /// How long it may take at most [default: 10m]
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// So long without a packet, and nothing is left [default: 60s for a backend, else 5s]
    #[arg(long, value_name = "TIME")]
    quiet: Option<String>,
    /// Return when it is over
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    read: Read,
}

const UNDRAIN_HELP: &str = "\
Examples:
  tidegate undrain backend web 10.0.0.11
  tidegate undrain vip web
  tidegate undrain node";

/// What to take back.
#[derive(Clone, Debug, Args)]
#[command(after_help = UNDRAIN_HELP)]
pub(super) struct UndrainArgs {
    #[command(subcommand)]
    what: Undraining,
}

#[derive(Clone, Debug, Subcommand)]
enum Undraining {
    /// A backend of a service: it gets its share of new flows again
    Backend {
        #[command(flatten)]
        backend: BackendArgs,
        #[command(flatten)]
        read: Read,
    },
    /// A VIP: it is announced again when it is proven to work
    Vip {
        #[command(flatten)]
        vip: VipArgs,
        #[command(flatten)]
        read: Read,
    },
    /// Every VIP that was not drained by itself
    Node {
        #[command(flatten)]
        read: Read,
    },
}

impl From<BackendArgs> for Target {
    fn from(BackendArgs { service, backend }: BackendArgs) -> Self {
        Self::Backend { service, backend }
    }
}

pub(super) async fn drain(args: DrainArgs) -> Result<(), Failure> {
    let (target, force, terms) = match args.what {
        Draining::Backend { backend, force, terms } => (backend.into(), force, terms),
        Draining::Vip { vip, terms } => (Target::Vip { vip: vip.vip }, false, terms),
        Draining::Node { terms } => (Target::Node {}, false, terms),
    };
    let TermsArgs { deadline, quiet, wait, read } = terms;
    let order = Order { target, deadline, quiet, force };
    let answer: Answer<Drains> = post(&read.node, "/api/v1/drain", Some(&order)).await?;
    if !wait {
        return show(read.output, &answer, text);
    }
    let Some(begun) = answer.value.drains.into_iter().next() else { return Ok(()) };
    follow(begun, &read).await
}

pub(super) async fn undrain(args: UndrainArgs) -> Result<(), Failure> {
    let (target, read) = match args.what {
        Undraining::Backend { backend, read } => (backend.into(), read),
        Undraining::Vip { vip, read } => (Target::Vip { vip: vip.vip }, read),
        Undraining::Node { read } => (Target::Node {}, read),
    };
    let answer: Answer<Drains> = post(&read.node, "/api/v1/undrain", Some(&target)).await?;
    show(read.output, &answer, text)
}

/// Says where it is whenever that changes, until it is over.
async fn follow(mut drain: Drain, read: &Read) -> Result<(), Failure> {
    let is_for_people = read.output == Output::Table;
    if is_for_people {
        print(&line(&drain))?;
    }
    while drain.phase != "drained" {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let answer: Answer<Drains> = get(&read.node, "/api/v1/drains").await?;
        let now = answer.value.drains.iter().find(|it| it.target == drain.target);
        let Some(now) = now else {
            return Err(Failure::new(format!("{} was taken back into service", drain.what)));
        };
        if is_for_people && now.phase != drain.phase {
            print(&line(now))?;
        }
        drain = now.clone();
        if drain.phase == "drained" && !is_for_people {
            return show(read.output, &answer, text);
        }
    }
    Ok(())
}

fn text(answer: &Drains) -> String {
    answer.drains.iter().map(|drain| line(drain) + "\n").collect()
}

fn line(drain: &Drain) -> String {
    folded(&format!("{}: {}", drain.what, words(drain)), "  ")
}

/// Where a drain is, for the status too.
pub(super) fn words(drain: &Drain) -> String {
    let rate = format!("{} packets/s", count(drain.packets_per_sec));
    let left = drain.left_secs.map(span).unwrap_or_default();
    let is_backend = matches!(drain.target, Target::Backend { .. });
    match (drain.phase.as_str(), is_backend) {
        ("shedding", _) => format!("routers are to prefer others, {rate}; withdrawn within {left}"),
        ("emptying", true) => {
            let with = match drain.counted_with.join(", ") {
                none if none.is_empty() => none,
                names => format!("; those of {names} are counted too"),
            };
            let open = match drain.connections {
                Some(open) => format!(" and {} connections", count(open)),
                None => String::new(),
            };
            format!("no new flows; {rate}{open} of old ones, for {left} at most{with}")
        }
        ("emptying", false) => format!("withdrawn; {rate} still come, for {left} at most"),
        ("drained", _) if drain.cut_packets_per_sec > 0 => {
            let cut = count(drain.cut_packets_per_sec);
            format!("drained at its deadline: {cut} packets/s were cut")
        }
        ("drained", _) => "drained, nothing was cut".into(),
        _ => "back in service".into(),
    }
}

#[cfg(test)]
mod tests;
