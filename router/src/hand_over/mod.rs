//! `tidegate upgrade`: a new process takes over from this one, sessions and all, and peers see
//! neither a closed connection nor an OPEN nor an UPDATE.
//!
//! ```text
//! old process                              new process (`run --take-over`)
//!   has it started ──────────────────────►  reads the configuration, loads the packet path
//!   ◄──────────────────────────────── Hello (format, version) or Refused (why)
//!   sessions stand still
//!   sockets, record ─────────────────────►  makes a speaker of it; touches no socket
//!   ◄──────────────────────────────────────────────────────────────────────── Ready
//!   systemd: MAINPID
//!   BFD sessions, Go ────────────────────►  goes on
//!   answers, ends without a word
//! ```
//!
//! Through a planned restart, which nobody takes over from, systemd keeps the same things
//! ([`store`]).
//!
//! Promise: until `Go`, whatever becomes of the new process, the old one goes on as if nothing had
//! happened; and no longer than the shortest Hold Time lets it stand still.

mod channel;
mod envelope;
mod heir;
pub(crate) mod orphan;
mod parent;
pub(crate) mod store;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_bgp::speaker::{ConnId, Record};
use tidegate_bgp::time::Timestamp;

use crate::bfd_io::BfdRecord;
use crate::reconcile::Known;

pub(crate) use heir::{Predecessor, Sockets, Turn};
pub(crate) use parent::{Estate, Start, Started, own_binary};

/// Which format the record is in. Another one for every change of what is in it: it does not
/// describe itself. A test of `reconcile` says when.
pub(crate) const FORMAT: u32 = 3;

/// What one process says to the other, with a descriptor or without.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// The new process could take over records of this format.
    Hello { format: u32, version: String },
    /// It cannot, and ends.
    Refused(String),
    /// A socket or a lock comes along.
    Held(Held),
    /// The record comes along, in a file of its own; it is all.
    Record,
    /// The new process waits for its turn.
    Ready,
    /// A BFD session, with what it speaks with, if it has spoken.
    Bfd(BfdRecord),
    /// The new process goes on.
    Go,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Held {
    /// The lock on the pin directory.
    Lock,
    /// Where the API listens.
    ApiUnix,
    ApiTcp,
    /// Where BGP listens.
    Listener(SocketAddr),
    /// The connection of a session.
    Conn(ConnId),
    /// Where BFD listens: IPv4, several hops.
    Bfd(bool, bool),
}

/// The record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Body {
    /// The configuration under which the sessions were.
    pub(crate) generation: u64,
    /// Sessions may stand still for so long, for all that their peers know.
    pub(crate) patience: Duration,
    /// The old process's clock, and the kernel's monotonic one at that moment, in nanoseconds.
    pub(crate) clock: (Timestamp, u64),
    pub(crate) speaker: Record,
    /// Connections, where to, and what is to be written to each first.
    pub(crate) conns: Vec<(ConnId, SocketAddr, Vec<u8>)>,
    pub(crate) known: Known,
}
