//! `tidegate routes` and `tidegate policy test`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use tidegate_bgp::origin::{Origins, Vrp, Vrps};
use tidegate_bgp::policy::{Chain, Condition, Edits, Route as Judged, Source, TermTrace, Then};
use tidegate_bgp::types::{Asn, Community, LargeCommunity, Prefix};
use tidegate_bgp::wire::{AsSegment, Attributes, AttributesRef, NextHop};

use super::client::{Answer, escaped, get};
use super::commands::{print, show};
use super::table::Table;
use super::{Failure, Look};
use crate::view::routes::{Preferred, Route, Routes};

/// In which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum View {
    /// What peers announced, before policy
    Received,
    /// What policy let in, and how it fared in the decision
    Available,
    /// What a peer was told
    Advertised,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RoutesArgs {
    /// In which state
    #[arg(value_name = "VIEW", default_value = "available")]
    view: View,
    /// Of this peer only
    #[arg(short, long, value_name = "NAME", required_if_eq("view", "advertised"))]
    peer: Option<String>,
    /// Of this family only: ipv4-unicast, ipv6-unicast, or, for the rules that peers ask us to obey,
    /// ipv4-flowspec, ipv6-flowspec
    #[arg(short, long, value_name = "FAMILY")]
    family: Option<String>,
    /// To this prefix only
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Stop after so many
    #[arg(short, long, value_name = "N", default_value = "1000")]
    limit: usize,
    /// Go on where an earlier answer said
    #[arg(long, value_name = "FROM", default_value = "0")]
    from: u64,
    #[command(flatten)]
    pub(super) look: Look,
}

/// Asks page after page until there are enough routes, or no more.
pub(super) async fn routes(args: RoutesArgs) -> Result<(), Failure> {
    let mut all = Routes { next: Some(args.from), ..Routes::default() };
    while let Some(from) = all.next
        && all.routes.len() < args.limit
    {
        let left = args.limit - all.routes.len();
        let answer: Answer<Routes> = get(&args.look.read.node, &path(&args, from, left)).await?;
        all.api_version = answer.value.api_version;
        all.next = answer.value.next;
        all.routes.extend(answer.value.routes);
    }
    let text = serde_json::to_string(&all).map_err(Failure::new)?;
    let is_flows = args.family.as_deref().is_some_and(|family| family.ends_with("flowspec"));
    let shown = if is_flows { flows_text } else { routes_text };
    show(args.look.read.output, &Answer { text, value: all }, shown)
}

fn path(args: &RoutesArgs, from: u64, limit: usize) -> String {
    let view = match args.view {
        View::Received => "received",
        View::Available => "available",
        View::Advertised => "advertised",
    };
    let mut path = format!("/api/v1/routes?view={view}&from={from}&limit={limit}");
    let filters = [("peer", &args.peer), ("family", &args.family), ("prefix", &args.prefix)];
    for (key, value) in filters {
        if let Some(value) = value {
            path += &["&", key, "=", &escaped(value)].concat();
        }
    }
    path
}

pub(super) fn routes_text(routes: &Routes) -> String {
    let mut header = vec!["PREFIX", "FROM", "NEXT HOP", "PREF", "MED", "AS PATH", "STATE"];
    let validated = routes.routes.iter().any(|route| route.rpki.is_some());
    if validated {
        header.insert(6, "RPKI");
    }
    let mut table = Table::new(&header, &[3, 4]);
    let number = |number: Option<u32>| number.map(|it| it.to_string()).unwrap_or_default();
    for route in &routes.routes {
        let mut row = vec![
            route.prefix.clone(),
            from(route),
            route.next_hop.map(|it| it.to_string()).unwrap_or_default(),
            number(route.local_pref),
            number(route.med),
            route.as_path.clone(),
            state(route),
        ];
        if validated {
            row.insert(6, route.rpki.clone().unwrap_or_default());
        }
        table.row(row);
    }
    let mut text = table.render();
    if let Some(next) = routes.next {
        text += &["more: --from ", &next.to_string(), "\n"].concat();
    }
    text
}

/// FlowSpec rules, and what they ask for.
pub(super) fn flows_text(routes: &Routes) -> String {
    let mut table = Table::new(&["RULE", "FROM", "ASKS FOR", "STATE"], &[]);
    for flow in &routes.routes {
        table.row(vec![
            flow.prefix.clone(),
            from(flow),
            flow.extended_communities.join(" "),
            flow.reason.clone(),
        ]);
    }
    let mut text = table.render();
    if let Some(next) = routes.next {
        text += &["more: --from ", &next.to_string(), "\n"].concat();
    }
    text
}

/// Who brought it, and which of several paths it is.
fn from(route: &Route) -> String {
    path_name(route.peer.as_deref(), route.path_id)
}

fn path_name(peer: Option<&str>, path_id: u32) -> String {
    let peer = peer.unwrap_or("(vip)");
    if path_id == 0 { peer.to_owned() } else { format!("{peer}#{path_id}") }
}

fn state(route: &Route) -> String {
    let stale = if route.stale { " (stale)" } else { "" };
    match route.state.as_str() {
        "best" | "multipath" => {
            let share = route.share.map(|share| format!(" {}%", (share + 50) / 100));
            format!("{}{}{stale}", route.state, share.unwrap_or_default())
        }
        _ => {
            let lost = match &route.lost_to {
                None => String::new(),
                Some(Preferred { peer: None, .. }) => "lost: ".into(),
                Some(Preferred { peer, path_id }) => {
                    format!("lost to {}: ", path_name(peer.as_deref(), *path_id))
                }
            };
            format!("{lost}{}{stale}", route.reason)
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Run a made-up route through a policy and show what each term does
    Test(Box<PolicyTest>),
}

/// How the origin of a route stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rpki {
    /// A VRP names it
    Valid,
    /// VRPs name others
    Invalid,
    /// There is no word on the prefix
    NotFound,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PolicyTest {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// One policy by itself
    #[arg(long, value_name = "NAME", required_unless_present_any = ["import", "export"])]
    policy: Option<String>,
    /// The import chain of this peer
    #[arg(long, value_name = "PEER", conflicts_with_all = ["policy", "export"])]
    import: Option<String>,
    /// The export chain of this peer
    #[arg(long, value_name = "PEER", conflicts_with = "policy")]
    export: Option<String>,
    /// The route's prefix
    #[arg(long, value_name = "PREFIX")]
    prefix: String,
    /// Its AS path, nearest first, as "65010 65020"
    #[arg(long, value_name = "PATH", default_value = "")]
    as_path: String,
    /// A community of it, plain or large; may be repeated
    #[arg(long = "community", value_name = "COMMUNITY")]
    communities: Vec<String>,
    /// Its MED
    #[arg(long, value_name = "N")]
    med: Option<u32>,
    /// It is a VIP of ours
    #[arg(long)]
    vip: bool,
    /// Whether the AS that originates it may (RFC 6811)
    #[arg(long, value_name = "STATE", default_value = "not-found")]
    rpki: Rpki,
    /// It was learned inside our AS
    #[arg(long, conflicts_with = "vip")]
    internal: bool,
}

/// Works without a daemon: the configuration is all it needs.
pub(super) fn policy(command: &PolicyCommand) -> Result<(), Failure> {
    let PolicyCommand::Test(args) = command;
    let prefix = super::super::api::parse_prefix(&args.prefix)
        .ok_or_else(|| Failure::new(format!("{:?} is no prefix", args.prefix)))?;
    let chain = chain(&args.config, args)?;
    let attributes = attributes(args)?.to_block();
    let source = match (args.vip, args.internal) {
        (true, _) => Source::Vip,
        (_, true) => Source::Internal,
        _ => Source::External,
    };
    let attributes = AttributesRef::new(&attributes);
    let origins = &origins(args.rpki, prefix, attributes.as_path.octets())?;
    let route = Judged { prefix, attributes, source, origins };
    let (outcome, trace) = chain.explain(&route);
    print(&policy_text(prefix, &trace, outcome.as_ref()))
}

/// VRPs by which the route stands as it is asked for.
fn origins(rpki: Rpki, prefix: Prefix, path: &[u8]) -> Result<Origins, Failure> {
    let nobody = || Failure::new("a route to 0 has no origin"); // No AS is zero.
    let vrp = |asn| Vrp::new(prefix, prefix.bits(), asn);
    let mut origins = Origins::unknown(Asn::new(u32::MAX).ok_or_else(nobody)?);
    let vrps: Vec<Vrp> = match rpki {
        Rpki::Valid => vrp(origins.origin(path).map_or(0, Asn::get)).into_iter().collect(),
        Rpki::Invalid => vrp(0).into_iter().collect(),
        Rpki::NotFound => Vec::new(),
    };
    origins.vrps = Arc::new(Vrps::new(&vrps));
    Ok(origins)
}

fn chain(config: &Path, args: &PolicyTest) -> Result<Chain, Failure> {
    let config = crate::config_file::read(config).map_err(|error| Failure::config(&error))?;
    let desired = config.desired;
    if let Some(name) = &args.policy {
        let policy = desired.policies.get(name);
        let missing = || Failure::new(format!("there is no policy {name:?} in the file"));
        return Ok(Chain { policies: vec![policy.cloned().ok_or_else(missing)?] });
    }
    let (peer, direction) = match (&args.import, &args.export) {
        (Some(peer), _) => (peer, "import"),
        (None, peer) => (peer.as_ref().map_or(&args.prefix, |peer| peer), "export"),
    };
    let found = desired.peers.get(peer);
    let found =
        found.ok_or_else(|| Failure::new(format!("there is no peer {peer:?} in the file")))?;
    let policies = &found.policies;
    let chain = if direction == "import" { &policies.import } else { &policies.export };
    let chain = chain.as_deref().cloned();
    chain.ok_or_else(|| {
        Failure::new(format!(
            "peer {peer:?} has no {direction} policy: nothing passes but VIPs on their way out \
             (RFC 8212)"
        ))
    })
}

fn attributes(args: &PolicyTest) -> Result<Attributes, Failure> {
    let bad = |what: &str, text: &str| Failure::new(format!("{text:?} is no {what}"));
    let asn = |text: &str| text.parse::<Asn>().map_err(|_bad| bad("AS number", text));
    let path: Vec<Asn> = args.as_path.split_whitespace().map(asn).collect::<Result<_, _>>()?;
    let mut communities: Vec<Community> = Vec::new();
    let mut large_communities: Vec<LargeCommunity> = Vec::new();
    for text in &args.communities {
        match (text.parse(), text.parse()) {
            (Ok(community), _) => communities.push(community),
            (_, Ok(community)) => large_communities.push(community),
            _ => return Err(bad("community", text)),
        }
    }
    Ok(Attributes {
        as_path: if path.is_empty() { Vec::new() } else { vec![AsSegment::Sequence(path)] },
        next_hop: Some(NextHop::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        med: args.med,
        communities,
        large_communities,
        ..Attributes::default()
    })
}

pub(super) fn policy_text(
    prefix: Prefix,
    trace: &[TermTrace<'_>],
    outcome: Option<&Edits>,
) -> String {
    let mut table = Table::new(&["POLICY", "TERM", "HOLDS", "THEN", "WHY NOT"], &[]);
    for step in trace {
        let term = step.term.map_or("(default)", |term| &term.name);
        table.row(vec![
            step.policy.to_owned(),
            term.to_owned(),
            if step.failed.is_none() { "yes" } else { "no" }.to_owned(),
            step.then.map_or("", then_word).to_owned(),
            step.failed.map(Condition::describe).unwrap_or_default(),
        ]);
    }
    let verdict = match outcome {
        None => format!("{prefix} is rejected\n"),
        Some(edits) if edits.is_empty() => format!("{prefix} is accepted as it is\n"),
        Some(edits) => format!("{prefix} is accepted with {}\n", edits_text(edits)),
    };
    format!("{}{verdict}", table.render())
}

const fn then_word(then: Then) -> &'static str {
    match then {
        Then::Accept => "accept",
        Then::Reject => "reject",
        Then::Continue => "continue",
        Then::NextPolicy => "next-policy",
    }
}

fn edits_text(edits: &Edits) -> String {
    let mut parts = Vec::new();
    parts.extend(edits.local_pref.map(|it| format!("local-pref {it}")));
    parts.extend(edits.med.flatten().map(|it| format!("med {it}")));
    if !edits.prepend.is_empty() {
        parts.push(format!("{} x prepend", edits.prepend.len()));
    }
    parts.extend(edits.remove.iter().map(|set| format!("communities of {} removed", set.name)));
    let plain = edits.add.iter().map(ToString::to_string);
    let large = edits.add_large.iter().map(ToString::to_string);
    parts.extend(plain.chain(large).map(|community| format!("community {community}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests;
