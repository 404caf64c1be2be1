//! Why a check failed, in words that stand in tables and logs.

use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::probe::HEADER_BYTES_MAX;

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody listens on the TCP port.
    #[error("connection refused")]
    Refused,
    /// Nobody listens on the UDP port: the host said so by ICMP.
    #[error("port unreachable")]
    PortUnreachable,
    /// No complete answer in time.
    #[error("timed out after {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// No route, no neighbour, or the interface is down.
    #[error("unreachable")]
    Unreachable,
    /// The connection broke before the answer was complete.
    #[error("connection closed before the answer was complete")]
    ClosedEarly,
    /// An answer with another status than one that means healthy.
    #[error("status {got} instead of {wanted}")]
    WrongStatus {
        /// What came.
        got: u16,
        /// What is configured.
        wanted: String,
    },
    /// A body without the text that is looked for.
    #[error("the body lacks {0:?}")]
    WrongBody(String),
    /// A response header without end.
    #[error("response header longer than {HEADER_BYTES_MAX} bytes")]
    HeaderTooLong,
    /// Another protocol.
    #[error("malformed answer: not {0}")]
    Malformed(&'static str),
    /// The backend could not prove who it is, or speaks another TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// Nobody to trust.
    #[error("no certificates can be read from {}: {cause}", file.display())]
    NoTrust {
        /// Where they were looked for.
        file: PathBuf,
        /// What came of it.
        cause: String,
    },
    /// A datagram that begins with something else than configured.
    #[error("another answer than the one expected, of {0} bytes")]
    WrongAnswer(usize),
    /// A DNS response code other than the one that means healthy.
    #[error("response code {got} instead of {wanted}")]
    WrongRcode {
        /// What came.
        got: String,
        /// What is configured.
        wanted: &'static str,
    },
    /// A DNS answer without a record of the type that was asked for.
    #[error("no {0} record in the answer")]
    NoRecord(&'static str),
    /// The gRPC call itself failed.
    #[error("gRPC status {0}")]
    GrpcStatus(String),
    /// The gRPC server answers that the service is not to be used.
    #[error("the server says {0}")]
    NotServing(&'static str),
    /// The configured path, host or name cannot stand in a request.
    #[error("the configured path, host or name cannot stand in a request")]
    Unaskable,
    /// Packets of clients do not get to the backend either.
    #[error("cannot be sent as clients' packets are: {0}")]
    NoWay(Arc<str>),
    /// We could not ask: no descriptor, no memory, no port left.
    #[error("the check could not be made: {0}")]
    NotAsked(io::ErrorKind),
}

impl Failure {
    /// What an error of a TCP connection means.
    pub(crate) fn of_connection(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls.to_string());
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            // The last: the kernel gave up on its own, before our timeout.
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::TimedOut => Self::Unreachable,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::ClosedEarly,
            kind => Self::NotAsked(kind),
        }
    }

    /// What an error of a datagram socket means.
    pub(super) fn of_datagram(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::PortUnreachable,
            _ => Self::of_connection(error),
        }
    }
}
