//! What keeps a node or its backends from working, and the command that mends it.
//!
//! Pure: what was found out comes in as [`Facts`], findings go out. What could not be found out is
//! told too ([`Skipped`]): a check that was not made is no good news.

mod backend;
mod facts;
mod node;
#[cfg(test)]
mod tests;

pub use facts::{
    BackendFacts, Clients, DaemonFacts, Facts, InterfaceFacts, Mode, NodeFacts, Probed, Size, Xdp,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works; whoever mends other things should know.
    Note,
    /// It works, and will not always, or not as well as it could.
    Warning,
    /// It does not work.
    Broken,
}

impl Severity {
    /// The word in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its stable name.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `node`, an interface, or a backend.
    pub subject: String,
    /// What was found.
    pub what: String,
    /// What comes of it.
    pub consequence: String,
    /// Where the command is to be run: `here`, or on a backend.
    pub on: String,
    /// The command that mends it.
    pub command: String,
}

/// A check that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Name of the finding that it looks for.
    pub check: &'static str,
    /// What it is about.
    pub subject: String,
    /// Why it was not made.
    pub why: String,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The worst first, then in the order of the checks.
    pub findings: Vec<Finding>,
    /// What nobody knows.
    pub skipped: Vec<Skipped>,
    /// Checks that were made.
    pub checks: usize,
}

/// What the facts say.
pub fn report(facts: &Facts) -> Report {
    let mut report = Report::default();
    node::look(&facts.node, &facts.backends, &mut report);
    for backend in &facts.backends {
        backend::look(backend, &facts.node, &mut report);
    }
    backend::look_for_arp(&facts.backends, &mut report);
    report.findings.sort_by_key(|finding| core::cmp::Reverse(finding.severity));
    report
}

/// A check, while it is made.
struct Check<'a> {
    code: &'static str,
    subject: &'a str,
}

impl Report {
    /// Counts a check, and takes down what it found.
    fn check(
        &mut self,
        check: &Check<'_>,
        severity: Severity,
        found: Option<[String; 3]>,
        on: &str,
    ) {
        self.checks += 1;
        if let Some([what, consequence, command]) = found {
            self.findings.push(Finding {
                code: check.code,
                severity,
                subject: check.subject.to_owned(),
                what,
                consequence,
                on: on.to_owned(),
                command,
            });
        }
    }

    /// A check that was not made.
    fn skip(&mut self, check: &Check<'_>, why: impl Into<String>) {
        let Check { code, subject } = *check;
        self.skipped.push(Skipped { check: code, subject: subject.to_owned(), why: why.into() });
    }
}
