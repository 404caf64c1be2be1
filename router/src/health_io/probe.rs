//! One question to one backend.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tidegate_config::desired::Probe;
use tokio::net::TcpStream;

/// Longest response header we read, in bytes. More is not the answer of a health page.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// How much of a response's body we read, in bytes: reading a short one to its end spares the
/// backend a reset connection in its log. A longer one is not read on, and is no failure.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody listens on the port.
    #[error("connection refused")]
    Refused,
    /// No complete answer in time.
    #[error("timed out after {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// No route, no neighbour, or the interface is down.
    #[error("unreachable")]
    Unreachable,
    /// The connection broke before the answer was complete.
    #[error("connection closed before the answer was complete")]
    ClosedEarly,
    /// An answer with another status than the one that means healthy.
    #[error("status {got} instead of {wanted}")]
    WrongStatus {
        /// What came.
        got: u16,
        /// What is configured.
        wanted: u16,
    },
    /// A response header without end.
    #[error("response header longer than {HEADER_BYTES_MAX} bytes")]
    HeaderTooLong,
    /// Not HTTP.
    #[error("malformed answer: not an HTTP/1.1 response")]
    Malformed,
    /// Path or host cannot stand in a request.
    #[error("the configured path or host cannot stand in an HTTP request")]
    Unaskable,
    /// We could not ask: no descriptor, no memory, no port left.
    #[error("the check could not be made: {0}")]
    NotAsked(io::ErrorKind),
}

impl Failure {
    fn of_connection(error: &io::Error) -> Self {
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

    fn of_exchange(error: &hyper::Error) -> Self {
        let io_error = core::error::Error::source(error).and_then(|cause| cause.downcast_ref());
        match io_error {
            Some(io_error) => Self::of_connection(io_error),
            None if error.is_parse_too_large() => Self::HeaderTooLong,
            None if error.is_parse() => Self::Malformed,
            None => Self::ClosedEarly,
        }
    }
}

/// Asks once. Takes as long as it takes: the caller bounds the time.
pub(super) async fn ask(probe: &Probe, target: SocketAddr) -> Result<(), Failure> {
    let connected = TcpStream::connect(target).await;
    let stream = connected.map_err(|error| Failure::of_connection(&error))?;
    match probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, host, status } => {
            let request = request(path, host.as_deref(), target)?;
            let got = get(stream, request).await.map_err(|error| Failure::of_exchange(&error))?;
            match got.as_u16() {
                got if got == *status => Ok(()),
                got => Err(Failure::WrongStatus { got, wanted: *status }),
            }
        }
    }
}

fn request(
    path: &str,
    host: Option<&str>,
    target: SocketAddr,
) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = host.map_or_else(|| target.to_string(), str::to_owned);
    let host = HeaderValue::try_from(host).or(Err(Failure::Unaskable))?;
    let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"), " health check");
    Request::get(Uri::try_from(path).or(Err(Failure::Unaskable))?)
        .header(header::HOST, host)
        .header(header::USER_AGENT, agent)
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .or(Err(Failure::Unaskable))
}

/// Sends the request and reads the response. All of it happens in the caller's task: when the
/// caller gives up, the connection is gone.
async fn get(stream: TcpStream, request: Request<Empty<Bytes>>) -> hyper::Result<StatusCode> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut unread = BODY_BYTES_MAX;
        while unread > 0 && !body.is_end_stream() {
            let Some(frame) = body.frame().await else { break };
            let frame_bytes = frame?.data_ref().map_or(0, Bytes::len);
            unread = unread.saturating_sub(frame_bytes);
        }
        Ok(status)
    };
    tokio::select! {
        status = exchange => status,
        error = fails(connection) => Err(error),
    }
}

/// Drives a connection. An end without an error has been told to the exchange.
async fn fails(connection: impl Future<Output = hyper::Result<()>>) -> hyper::Error {
    match connection.await {
        Ok(()) => core::future::pending().await,
        Err(error) => error,
    }
}
