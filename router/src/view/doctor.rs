//! What `tidegate doctor` prints as JSON.

use serde::{Deserialize, Serialize};
use tidegate_plan::doctor::Report;

use super::API_VERSION;

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// [`API_VERSION`]
    pub api_version: String,
    /// Whether the daemon answered.
    pub daemon: bool,
    /// Checks that were made.
    pub checks: usize,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Checks that could not be made: what they would have found is not known.
    pub skipped: Vec<Skipped>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name.
    pub code: String,
    /// `broken`, `warning` or `note`.
    pub severity: String,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub what: String,
    /// What comes of it.
    pub consequence: String,
    /// Where the command is to be run: `here`, or the address of a backend.
    pub on: String,
    /// The command that mends it, or that says more.
    pub command: String,
}

/// A check that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Name of the finding that it looks for.
    pub check: String,
    /// What it is about.
    pub subject: String,
    /// Why.
    pub why: String,
}

impl Examined {
    /// What the core found.
    pub fn new(report: Report, daemon: bool) -> Self {
        let findings = report.findings.into_iter().map(|it| Finding {
            code: it.code.into(),
            severity: it.severity.name().into(),
            subject: it.subject,
            what: it.what,
            consequence: it.consequence,
            on: it.on,
            command: it.command,
        });
        let skipped = report.skipped.into_iter().map(|it| Skipped {
            check: it.check.into(),
            subject: it.subject,
            why: it.why,
        });
        Self {
            api_version: API_VERSION.into(),
            daemon,
            checks: report.checks,
            findings: findings.collect(),
            skipped: skipped.collect(),
        }
    }
}
