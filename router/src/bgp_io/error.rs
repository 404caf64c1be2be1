//! What can keep the speaker from its work.

use std::io;
use std::net::SocketAddr;

/// The speaker could not start, or not change its keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No listener.
    #[error("cannot listen for BGP on {addr}{}", remedy(source))]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// What an operator can do about it.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another BGP daemon listens there: stop it, or change `listen`)"
        }
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need root or the capability CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => {
            " (no interface has this address: add it, or change `listen`)"
        }
        io::ErrorKind::Unsupported => " (the kernel was built without CONFIG_TCP_MD5SIG)",
        _ => "",
    }
}

/// The speaker's task is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BGP speaker has stopped")]
pub struct Stopped;
