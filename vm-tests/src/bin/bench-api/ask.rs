//! One question to the API, and how long the whole answer took.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Nobody waits longer.
const WITHIN: Duration = Duration::from_secs(30);

/// An answer, with head.
pub(crate) struct Answer {
    octets: Vec<u8>,
    body_at: usize,
    pub(crate) status: u16,
    /// From the connection to the last octet.
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn body(&self) -> &[u8] {
        self.octets.get(self.body_at..).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Result<Value> {
        self.read()
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(self.body())?)
    }
}

/// Asks, on a connection of its own.
///
/// # Errors
/// When there is no whole answer.
pub(crate) fn get(socket: &Path, path: &str) -> Result<Answer> {
    let start = Instant::now();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WITHIN))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")?;
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets)?;
    let took = start.elapsed();
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
    let head = String::from_utf8_lossy(octets.get(..end).unwrap_or_default()).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("{path}: {head}"))?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("an answer without its length")?.parse()?;
    let body_at = end + 4;
    ensure!(octets.len() == body_at + length, "{path}: {} of {length} octets", octets.len());
    Ok(Answer { octets, body_at, status, took })
}
