//! A request over HTTP/1.1.

use core::net::SocketAddr;

use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tidegate_config::desired::HttpProbe;
use tokio::io::{AsyncRead, AsyncWrite};

use super::HEADER_BYTES_MAX;
use crate::health_io::Failure;

/// How much of a response's body we read, in bytes: reading a short one to its end spares the
/// backend a reset connection in its log. A longer one is not read on, and is no failure.
const BODY_BYTES_MAX: usize = 64 << 10;

pub(super) async fn ask<S>(stream: S, asks: &HttpProbe, target: SocketAddr) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(asks, target)?;
    let (got, body) = exchange(stream, request).await.map_err(|error| of_exchange(&error))?;
    if !asks.statuses.iter().any(|range| range.contains(&got)) {
        return Err(Failure::WrongStatus { got, wanted: asks.statuses_text() });
    }
    match &asks.body {
        Some(wanted) if !String::from_utf8_lossy(&body).contains(wanted.as_str()) => {
            Err(Failure::WrongBody(wanted.clone()))
        }
        _ => Ok(()),
    }
}

fn request(asks: &HttpProbe, target: SocketAddr) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = asks.host.clone().unwrap_or_else(|| target.to_string());
    let host = HeaderValue::try_from(host).or(Err(Failure::Unaskable))?;
    let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"), " health check");
    Request::builder()
        .method(asks.method.name())
        .uri(Uri::try_from(&asks.path).or(Err(Failure::Unaskable))?)
        .header(header::HOST, host)
        .header(header::USER_AGENT, agent)
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .or(Err(Failure::Unaskable))
}

/// Sends the request and reads the response: its status and the beginning of its body.
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> hyper::Result<(u16, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, beginning(response.into_body()).await?))
    };
    tokio::select! {
        answer = exchange => answer,
        error = fails(connection) => Err(error),
    }
}

async fn beginning(mut body: Incoming) -> hyper::Result<Vec<u8>> {
    let mut read = Vec::new();
    while read.len() < BODY_BYTES_MAX && !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        if let Ok(octets) = frame?.into_data() {
            let room = BODY_BYTES_MAX.saturating_sub(read.len()).min(octets.len());
            read.extend(octets.into_iter().take(room));
        }
    }
    Ok(read)
}

/// Drives a connection. An end without an error has been told to the exchange.
async fn fails(connection: impl Future<Output = hyper::Result<()>>) -> hyper::Error {
    match connection.await {
        Ok(()) => core::future::pending().await,
        Err(error) => error,
    }
}

fn of_exchange(error: &hyper::Error) -> Failure {
    let io_error = core::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    match io_error {
        Some(io_error) => Failure::of_connection(io_error),
        None if error.is_parse_too_large() => Failure::HeaderTooLong,
        None if error.is_parse() => Failure::Malformed("an HTTP/1.1 response"),
        None => Failure::ClosedEarly,
    }
}
