//! `tidegate doctor`: what keeps this node and its backends from working, and what mends it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use tidegate_config::overlay::Overlay;
use tidegate_plan::doctor::{DaemonFacts, Severity};

use super::change::folded;
use super::client::{self, Answer, get};
use super::commands::show;
use super::node::Node;
use super::{EXIT_BROKEN, EXIT_UNREACHABLE, EXIT_WARNED, Failure, Read};
use crate::config_file::{self, ConfigFile};
use crate::doctor_io::{self, Daemon, WAYS_MAX};
use crate::view::Status;
use crate::view::doctor::{Examined, Skipped};

const HELP: &str = "\
Looks at the kernel, its file systems and limits, at the interfaces, and at the
way to every backend: probes go there as packets of clients do, in the tunnel,
small and as large as fits. Nothing is changed.

By the configuration in force, as the daemon says; with --config by a file, and
then the daemon need not run.

Exit codes: 0 nothing but notes, 1 it could not look, 2 wrong usage, 3 the
daemon cannot be reached and no file is named, 4 warnings, 5 something is
broken.";

/// What to look at.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct DoctorArgs {
    /// By this configuration instead of the one in force
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Of the backends only these
    #[arg(short, long, value_name = "ADDRESS")]
    backend: Vec<IpAddr>,
    #[command(flatten)]
    read: Read,
}

pub(super) async fn doctor(args: DoctorArgs) -> Result<(), Failure> {
    args.read.node.is_here()?;
    let examined = examine(&args.read.node, args.config.as_deref(), &args.backend).await?;
    let text = serde_json::to_string(&examined).map_err(Failure::new)?;
    let worst = examined.findings.iter().map(|finding| finding.severity.as_str());
    let code = worst.fold(0, |code, severity| code.max(exit_code(severity)));
    show(args.read.output, &Answer { text, value: examined }, words)?;
    if code == 0 { Ok(()) } else { Err(Failure::silent(code)) }
}

fn exit_code(severity: &str) -> u8 {
    match severity {
        it if it == Severity::Broken.name() => EXIT_BROKEN,
        it if it == Severity::Warning.name() => EXIT_WARNED,
        _ => 0,
    }
}

/// Looks at everything.
pub(super) async fn examine(
    node: &Node,
    file: Option<&Path>,
    backends: &[IpAddr],
) -> Result<Examined, Failure> {
    let status: Result<Answer<Status>, Failure> = get(node, "/api/v1/status").await;
    let config = match (file, &status) {
        (Some(file), _) => config_file::read(file).map_err(|error| Failure::config(&error))?,
        (None, Ok(status)) => in_force(node, &status.value).await?,
        (None, Err(failure)) if failure.code == EXIT_UNREACHABLE => {
            let message = failure.message.trim_start_matches("tidegate: ");
            return Err(Failure::unreachable(format_args!(
                "{message}; to look without it, name its file with --config"
            )));
        }
        (None, Err(failure)) => return Err(failure.clone()),
    };
    let daemon = status.ok().map(|status| daemon(&status.value));
    let answers = daemon.is_some();
    let ConfigFile { desired, warnings, .. } = &config;
    let (facts, left_out) =
        doctor_io::facts(desired, warnings, daemon, backends).await.map_err(Failure::new)?;
    let mut examined = Examined::new(tidegate_plan::doctor::report(&facts), answers);
    if left_out > 0 {
        examined.skipped.push(Skipped {
            check: "no-decap".into(),
            subject: format!("{left_out} ways to backends"),
            why: format!("no more than {WAYS_MAX} are probed; name backends with --backend"),
        });
    }
    Ok(examined)
}

/// The configuration in force.
async fn in_force(node: &Node, status: &Status) -> Result<ConfigFile, Failure> {
    let text = client::text(node, "/api/v1/config").await?;
    let path = Path::new(&status.config_file);
    config_file::check(path, text, Overlay::default()).map_err(|error| Failure::config(&error))
}

fn daemon(status: &Status) -> Daemon {
    let notes = status.interfaces.iter();
    let notes = notes.filter_map(|it| Some((it.name.clone(), it.note.clone()?)));
    let facts = DaemonFacts { problem: status.problem.clone(), why_not_native: notes.collect() };
    Daemon { facts, pid: status.pid }
}

/// As people read it.
fn words(examined: &Examined) -> String {
    let indent = " ".repeat(10);
    let line = |name: &str, text: &str| format!("  {name:<8}{}\n", folded(text, &indent));
    let mut text = String::new();
    for finding in &examined.findings {
        let head = format!("{}: {}, {}", finding.severity, finding.code, finding.subject);
        let whose =
            if finding.on == "here" { "mend".into() } else { format!("mend, on {}", finding.on) };
        text += &[&*folded(&head, "  "), "\n"].concat();
        text += &line("found", &finding.what);
        text += &line("so", &finding.consequence);
        // In a line of its own and whole, so that it can be copied.
        text += &["  ", &*whose, ":\n    ", &finding.command, "\n\n"].concat();
    }
    for skipped in &examined.skipped {
        let why = format!("{}, {}: {}", skipped.check, skipped.subject, skipped.why);
        text += &line("unknown", &why);
    }
    let gap = if examined.skipped.is_empty() { "" } else { "\n" };
    let daemon = if examined.daemon { "" } else { "; the daemon does not answer" };
    let (checks, findings) = (examined.checks, examined.findings.len());
    let unknown = examined.skipped.len();
    let found = if findings == 1 { "finding" } else { "findings" };
    text + &format!("{gap}{checks} checks, {findings} {found}, {unknown} unknown{daemon}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::doctor::Finding;

    fn sample() -> Examined {
        Examined {
            api_version: "v1".into(),
            daemon: false,
            checks: 25,
            findings: vec![Finding {
                code: "no-vip".into(),
                severity: "broken".into(),
                subject: "203.0.113.11 for web-v4".into(),
                what: "203.0.113.11 takes packets out of their outer header, and does not answer \
                       a connection to 192.0.2.10, port 80, it lacks the VIP"
                    .into(),
                consequence: "connections to the VIP that it gets time out".into(),
                on: "203.0.113.11".into(),
                command: "ip address add 192.0.2.10/32 dev lo".into(),
            }],
            skipped: vec![Skipped {
                check: "jit-off".into(),
                subject: "node".into(),
                why: "only the first network namespace tells".into(),
            }],
        }
    }

    #[test]
    fn a_finding_says_what_what_of_it_and_what_to_do() {
        let wanted = "\
broken: no-vip, 203.0.113.11 for web-v4
  found   203.0.113.11 takes packets out of their outer header, and does not
          answer a connection to 192.0.2.10, port 80, it lacks the VIP
  so      connections to the VIP that it gets time out
  mend, on 203.0.113.11:
    ip address add 192.0.2.10/32 dev lo

  unknown jit-off, node: only the first network namespace tells

25 checks, 1 finding, 1 unknown; the daemon does not answer
";
        assert_eq!(words(&sample()), wanted);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let cases = [("note", 0), ("warning", EXIT_WARNED), ("broken", EXIT_BROKEN)];
        for (severity, code) in cases {
            assert_eq!(exit_code(severity), code, "{severity}");
        }
    }
}
