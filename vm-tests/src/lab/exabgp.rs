//! An ExaBGP in a lab. It keeps no table: what it hears stands in its log.

use anyhow::{Result, ensure};

use super::{Lab, Process};

/// An ExaBGP that runs.
pub struct Exabgp {
    /// Its process.
    pub process: Process,
}

impl Exabgp {
    /// Starts ExaBGP on `host`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(lab: &Lab, host: &str, config: &str) -> Result<Self> {
        let file = lab.write(&format!("{host}-exabgp.conf"), config)?.display().to_string();
        let command = [
            "env",
            "exabgp.daemon.user=root",
            "exabgp.api.cli=false",
            "exabgp.log.destination=stderr",
            "exabgp",
            "-d",
            &file,
        ];
        Ok(Self { process: lab.start(host, "exabgp", &command)? })
    }

    /// Checks that its log holds all of `words`.
    ///
    /// # Errors
    /// With the first that is missing.
    pub fn heard(&mut self, words: &[&str]) -> Result<()> {
        self.process.alive()?;
        let log = self.process.printed();
        for word in words {
            ensure!(log.contains(word), "ExaBGP's log does not hold: {word}");
        }
        Ok(())
    }
}
