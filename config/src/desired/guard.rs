//! Who may come in, and how often.

use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_bgp::types::Prefix;

/// What protects all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Clients by their addresses. Those in files come in by
    /// [`read_file`](Self::read_file); checking a configuration reads none.
    pub prefixes: Arc<BTreeMap<Prefix, Admission>>,
    /// Files of prefixes that are denied.
    pub deny_files: Vec<PathBuf>,
    /// Files of prefixes that are allowed.
    pub allow_files: Vec<PathBuf>,
    /// First bits of an IPv4 address that make a source: 8 to 32.
    pub source_len_v4: u8,
    /// The same for IPv6: 16 to 64.
    pub source_len_v6: u8,
    /// How much of its rate a source or a service may use at once after a pause.
    pub burst: Duration,
    /// Limits of services that do not say otherwise.
    pub limits: Limits,
}

impl Default for Guard {
    /// No protection.
    fn default() -> Self {
        Self {
            prefixes: Arc::default(),
            deny_files: Vec::new(),
            allow_files: Vec::new(),
            source_len_v4: 32,
            source_len_v6: 64,
            burst: Duration::from_secs(1),
            limits: Limits::default(),
        }
    }
}

impl Guard {
    /// The files of prefixes, and what they say of them.
    pub fn files(&self) -> impl Iterator<Item = (&Path, Admission)> {
        let denied = self.deny_files.iter().map(|file| (file.as_path(), Admission::Deny));
        denied.chain(self.allow_files.iter().map(|file| (file.as_path(), Admission::Allow)))
    }
}

/// What becomes of the packets of a client. The longest prefix that has its address counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admission {
    /// They are dropped.
    Deny,
    /// They are not, though a shorter prefix says so.
    Allow,
}

/// Packets per second that a service takes; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of one source.
    pub source_rate: u32,
    /// Of one source, those that open a connection.
    pub source_syn_rate: u32,
    /// Of all sources.
    pub service_rate: u32,
    /// Of all sources, those that open a connection.
    pub service_syn_rate: u32,
}

/// What a service says of its limits; `None`: as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// Of one source.
    pub source_rate: Option<u32>,
    /// Of one source, those that open a connection.
    pub source_syn_rate: Option<u32>,
    /// Of all sources.
    pub service_rate: Option<u32>,
    /// Of all sources, those that open a connection.
    pub service_syn_rate: Option<u32>,
}

impl OwnLimits {
    /// The limits that are in force, where these are those of all services.
    pub fn or(self, usual: Limits) -> Limits {
        Limits {
            source_rate: self.source_rate.unwrap_or(usual.source_rate),
            source_syn_rate: self.source_syn_rate.unwrap_or(usual.source_syn_rate),
            service_rate: self.service_rate.unwrap_or(usual.service_rate),
            service_syn_rate: self.service_syn_rate.unwrap_or(usual.service_syn_rate),
        }
    }
}
