//! `plan`, `apply`, `confirm`, `rollback` and `history`: changing a running edge.

#![expect(clippy::format_push_string, reason = "screens read best this way")]

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::view::change::{Applied, Change, History, Plan, Setting};

use super::client::{Answer, get, post};
use super::commands::show;
use super::table::{Table, count, span};
use super::{Failure, Read};

const PLAN_HELP: &str = "\
Nothing is changed. Without FILE it is the daemon's own file, as it is on disk now.

Examples:
  tidegate plan                   what `systemctl reload tidegate` would do
  tidegate plan new.toml          what another file would do
  tidegate plan new.toml -o json  the same for a script

Every key has a cost: none, soft (in place), session (the peer's BGP session is
reset), restart (refused: only a restart can do it).";

const APPLY_HELP: &str = "\
Does what `tidegate plan` shows and touches nothing else. Without FILE it is the
daemon's own file, which `systemctl reload tidegate` applies too.

Examples:
  tidegate apply
  tidegate apply --confirm 5m --comment 'move web to the new rack'
  tidegate confirm                      ... or it undoes itself after 5 minutes
  tidegate apply new.toml --confirm 2m --guard peers-up --guard drops

With --confirm, an edge that cuts you off comes back by itself. A guard undoes
the change at once: peers-up when a session is down that the plan did not name,
drops when the share of dropped packets rises.";

const ROLLBACK_HELP: &str = "\
Without a number: takes back a change that waits to be confirmed, or, when none
does, goes to the generation before. A rollback is a change like any other: it
gets a number of its own, and can be undone in turn.

Examples:
  tidegate rollback
  tidegate rollback 12 --confirm 5m";

const HISTORY_HELP: &str = "\
Examples:
  tidegate history
  tidegate rollback 12    back to a generation of the list";

/// What would a change do?
#[derive(Clone, Debug, Args)]
#[command(after_help = PLAN_HELP)]
pub(super) struct PlanArgs {
    /// New configuration
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) read: Read,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = APPLY_HELP)]
pub(super) struct ApplyArgs {
    /// New configuration
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    pub(super) read: Read,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = ROLLBACK_HELP)]
pub(super) struct RollbackArgs {
    /// Generation to go back to, as `tidegate history` lists them
    #[arg(value_name = "GENERATION")]
    generation: Option<u64>,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    pub(super) read: Read,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = HISTORY_HELP)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    pub(super) read: Read,
}

#[derive(Clone, Debug, Args)]
struct TermsArgs {
    /// Undo it after this time, such as 5m, unless `tidegate confirm` is run
    #[arg(long, value_name = "TIME")]
    confirm: Option<String>,
    /// Undo it at once when this turns bad; may be given twice
    #[arg(long = "guard", value_name = "GUARD", requires = "confirm")]
    guards: Vec<GuardArg>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GuardArg {
    /// BGP sessions that were established stay so
    PeersUp,
    /// The share of packets that are dropped does not rise
    Drops,
}

impl TermsArgs {
    fn into_change(self) -> Change {
        let name = |guard: &GuardArg| match guard {
            GuardArg::PeersUp => "peers-up".to_owned(),
            GuardArg::Drops => "drops".to_owned(),
        };
        let guards = self.guards.iter().map(name).collect();
        Change { confirm: self.confirm, guards, comment: self.comment, ..Change::default() }
    }
}

/// The text of a file is sent along: the daemon may not see the same files.
fn with_file(change: Change, file: Option<&Path>) -> Result<Change, Failure> {
    let Some(file) = file else { return Ok(change) };
    let text = crate::config_file::read_text(file).map_err(|error| Failure::config(&error))?;
    let name = std::path::absolute(file).map_err(Failure::new)?.display().to_string();
    Ok(Change { text: Some(text), name: Some(name), ..change })
}

pub(super) async fn plan(args: PlanArgs) -> Result<(), Failure> {
    let change = with_file(Change::default(), args.file.as_deref())?;
    let answer: Answer<Plan> = post(&args.read.node, "/api/v1/plan", Some(&change)).await?;
    show(args.read.output, &answer, plan_text)
}

pub(super) async fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let change = with_file(args.terms.into_change(), args.file.as_deref())?;
    let answer: Answer<Applied> = post(&args.read.node, "/api/v1/apply", Some(&change)).await?;
    show(args.read.output, &answer, applied_text)
}

pub(super) async fn confirm(read: Read) -> Result<(), Failure> {
    let answer: Answer<Applied> = post(&read.node, "/api/v1/confirm", None::<&Change>).await?;
    show(read.output, &answer, |applied| format!("generation {} is confirmed", applied.generation))
}

pub(super) async fn rollback(args: RollbackArgs) -> Result<(), Failure> {
    let change = Change { generation: args.generation, ..args.terms.into_change() };
    let answer: Answer<Applied> = post(&args.read.node, "/api/v1/rollback", Some(&change)).await?;
    show(args.read.output, &answer, applied_text)
}

pub(super) async fn history(args: HistoryArgs) -> Result<(), Failure> {
    let answer: Answer<History> = get(&args.read.node, "/api/v1/history").await?;
    show(args.read.output, &answer, history_text)
}

pub(super) fn applied_text(applied: &Applied) -> String {
    let generation = applied.generation;
    let done = match applied.confirm_within_secs {
        Some(secs) => format!(
            "generation {generation} is in force, and is undone in {} unless you run \
             'tidegate confirm'",
            span(secs)
        ),
        None => format!("generation {generation} is in force"),
    };
    // Where nothing was planned anew, as after a confirmation or an undo, there is nothing to tell.
    let plan =
        if applied.plan.source.is_empty() { String::new() } else { plan_text(&applied.plan) };
    let gap = if plan.is_empty() { "" } else { "\n" };
    format!("{plan}{gap}{}\n", folded(&done, ""))
}

pub(super) fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.settings.is_empty() {
        text += "nothing changes\n";
    }
    if !plan.restart.is_empty() {
        let keys = plan.restart.join(", ");
        text += &folded(&format!("REFUSED: only a restart of tidegate changes {keys}"), "  ");
        text += "\n\n";
    }
    section(&mut text, "sessions", "no session is touched", plan, sessions_table(plan));
    section(&mut text, "routes", "no route changes", plan, routes_table(plan));
    section(&mut text, "services", "no slot moves", plan, services_table(plan));
    if !plan.settings.is_empty() {
        text += "\nchanges, and what each costs\n";
        for setting in &plan.settings {
            text += &setting_line(setting);
        }
    }
    if !plan.overlay.is_empty() {
        text += "\nchanged over the API, which hides what the file says\n";
        for covered in &plan.overlay {
            text += &format!("  {}: {}\n", covered.object, covers_words(&covered.covers));
        }
    }
    if !plan.drains.is_empty() {
        text += "\nout of service by order, and not changed by this\n";
        for drain in &plan.drains {
            let line = format!("{}: {}", drain.what, super::drain::words(drain));
            text += &format!("  {}\n", folded(&line, "    "));
        }
    }
    if let Some(warnings) = &plan.warnings {
        text += &format!("\n{warnings}\n");
    }
    text
}

/// A table under its title, or a sentence in its place.
fn section(text: &mut String, title: &str, none: &str, plan: &Plan, table: Option<Table>) {
    match table {
        Some(table) => {
            let rows = table.render();
            let indented: Vec<String> = rows.lines().map(|line| format!("  {line}\n")).collect();
            *text += &format!("{title}\n{}", indented.concat());
        }
        None if plan.settings.is_empty() => {}
        None => *text += &format!("{title}\n  {none}\n"),
    }
}

fn sessions_table(plan: &Plan) -> Option<Table> {
    let mut table = Table::new(&["PEER", "WHAT", "NOW", "BECAUSE OF"], &[]);
    for session in &plan.sessions {
        let now = if session.established { "established" } else { "down" };
        let (peer, what) = (session.peer.clone(), session.what.clone());
        table.row(vec![peer, what, now.into(), session.keys.join(", ")]);
    }
    (!plan.sessions.is_empty()).then_some(table)
}

fn routes_table(plan: &Plan) -> Option<Table> {
    let mut table = Table::new(&["PREFIX", "WHAT", "REASON"], &[]);
    for route in &plan.routes {
        let what = match route.what.as_str() {
            "changed" => "new attributes",
            "interrupted" => "withdrawn, then announced again",
            what => what,
        };
        let reason = route.reason.clone().unwrap_or_default();
        table.row(vec![route.prefix.clone(), what.into(), reason]);
    }
    (!plan.routes.is_empty()).then_some(table)
}

fn services_table(plan: &Plan) -> Option<Table> {
    let header = ["SERVICE", "VIP", "WHAT", "SLOTS", "SHARE", "PKT/S", "FLOWS", "STAY"];
    let mut table = Table::new(&header, &[3, 4, 5, 6, 7]);
    for service in &plan.services {
        let hundredths = u64::from(service.slots_moved) * 10_000 / u64::from(service.slots.max(1));
        table.row(vec![
            service.service.clone(),
            service.vip.clone(),
            service.what.clone(),
            service.slots_moved.to_string(),
            format!("{}.{:02}%", hundredths / 100, hundredths % 100),
            service.packets_per_sec.map_or_else(|| "-".into(), count),
            service.live_flows.map_or_else(|| "-".into(), |flows| format!("~{}", count(flows))),
            if service.what == "moves" { span(service.drain_secs) } else { "-".into() },
        ]);
    }
    (!plan.services.is_empty()).then_some(table)
}

fn setting_line(setting: &Setting) -> String {
    let Setting { object, key, impact, before, after } = setting;
    let what = match (key, before, after) {
        (None, None, _) => format!("{object} added"),
        (None, Some(_), _) => format!("{object} removed"),
        (Some(key), before, after) => {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".into());
            format!("{object} {key}: {} -> {}", value(before), value(after))
        }
    };
    format!("  {impact:<7}  {}\n", folded(&what, "           "))
}

pub(super) fn covers_words(covers: &str) -> &'static str {
    match covers {
        "adds" => "is not in the file",
        "replaces" => "what the file says of it is not in force",
        "removes" => "is in the file, and taken out",
        _ => "the file says the same",
    }
}

pub(super) fn history_text(history: &History) -> String {
    let mut table = Table::new(&["GEN", "WHEN", "WHO", "WHAT", "COMMENT"], &[0]);
    for generation in &history.generations {
        let mark = if generation.generation == history.in_force { "* " } else { "" };
        let who = generation.who.split(' ').next().unwrap_or_default().to_owned();
        table.row(vec![
            format!("{mark}{}", generation.generation),
            generation.at.replace('T', " ").trim_end_matches('Z').to_owned(),
            who,
            generation.cause.clone(),
            generation.comment.clone(),
        ]);
    }
    let lines: Vec<String> = table.render().lines().map(cut).collect();
    lines.concat() + "* in force; times are UTC\n"
}

/// A line of at most 80 columns: what does not fit is in the JSON.
fn cut(line: &str) -> String {
    match line.char_indices().nth(80) {
        Some(_) => line.chars().take(79).collect::<String>() + "…\n",
        None => format!("{line}\n"),
    }
}

/// Broken at blanks into lines of at most 80 columns, those after the first indented.
pub(super) fn folded(text: &str, indent: &str) -> String {
    let (mut out, mut column) = (String::new(), indent.len()); // The first line is led in so.
    for word in text.split(' ') {
        let width = word.chars().count();
        if column + 1 + width > 80 && !out.is_empty() {
            out += "\n";
            out += indent;
            column = indent.len();
        } else if !out.is_empty() {
            out += " ";
            column += 1;
        }
        out += word;
        column += width;
    }
    out
}

#[cfg(test)]
mod tests;
