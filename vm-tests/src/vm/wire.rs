//! What host and guest say to each other: one JSON document a line, over a virtio serial port.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the port, by which the guest finds it.
pub(super) const PORT: &str = "tidegate-test";

/// The guest's first word: it is up.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// As `uname -r` prints it.
    pub(super) release: String,
}

/// What the guest is to run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// For the guest's shell.
    pub(super) script: String,
    /// It is killed after so many seconds.
    pub(super) secs_max: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Exit status; none if it was killed.
    pub status: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it printed on standard error.
    pub err: String,
}

pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    Ok(to.flush()?)
}

pub(super) fn receive<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("not what was expected: {line:?}"))
}
