//! A GoBGP in a lab.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Lab, Process};

/// Until it answers.
const START_MAX: Duration = Duration::from_secs(30);

/// A gobgpd that runs.
pub struct Gobgp {
    host: &'static str,
    /// Its process.
    pub process: Process,
}

impl Gobgp {
    /// Starts gobgpd on `host` and waits until it answers.
    ///
    /// # Errors
    /// When it does not start, or does not like its configuration.
    pub fn start(lab: &Lab, host: &'static str, config: &str) -> Result<Self> {
        let file = lab.write(&format!("{host}-gobgpd.toml"), config)?.display().to_string();
        let command = ["gobgpd", "-f", &file, "--api-hosts", "127.0.0.1:50051", "--pprof-disable"];
        let process = lab.start(host, "gobgpd", &command)?;
        let mut gobgp = Self { host, process };
        lab.wait_for("gobgpd to answer", START_MAX, || {
            gobgp.process.alive()?;
            gobgp.ask(lab, &["global"])
        })?;
        Ok(gobgp)
    }

    /// What `gobgp` prints.
    ///
    /// # Errors
    /// When gobgpd does not answer.
    pub fn ask(&self, lab: &Lab, question: &[&str]) -> Result<String> {
        lab.run(self.host, &[&["gobgp"], question].concat())
    }

    /// The attributes of the only path to a prefix, each with its type code and value.
    ///
    /// # Errors
    /// When there is none.
    pub fn attributes(&self, lab: &Lab, prefix: &str) -> Result<Vec<Value>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let answer = self.ask(lab, &["global", "rib", "-a", family, "-j"])?;
        let table: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        let attributes = table.get(prefix).and_then(|paths| paths.pointer("/0/attrs")?.as_array());
        attributes.cloned().with_context(|| answer)
    }
}
