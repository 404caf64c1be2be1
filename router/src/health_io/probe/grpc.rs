//! `grpc.health.v1.Health/Check`, the protocol in which gRPC servers tell of their health, over
//! HTTP/2 without TLS. Its two messages have one field each, and are written and read by hand.

use core::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Method, Request, Uri, Version, header};
use tokio::net::TcpStream;

use super::HEADER_BYTES_MAX;
use crate::health_io::Failure;

/// Longest answer that we read, in bytes: a right one has 7.
const ANSWER_BYTES_MAX: usize = 1024;

const MALFORMED: Failure = Failure::Malformed("a gRPC health answer");

pub(super) async fn ask(
    stream: TcpStream,
    service: &str,
    host: Option<&str>,
    target: SocketAddr,
) -> Result<(), Failure> {
    let authority = host.map_or_else(|| target.to_string(), str::to_owned);
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()
        .or(Err(Failure::Unaskable))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .body(())
        .or(Err(Failure::Unaskable))?;
    let message = question(service).ok_or(Failure::Unaskable)?;
    let header_bytes_max = u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX);
    let (sender, connection) = Builder::new()
        .enable_push(false)
        .max_header_list_size(header_bytes_max)
        .handshake(stream)
        .await
        .map_err(|error| of_h2(&error))?;
    let answer = tokio::select! {
        answer = exchange(sender, request, message) => answer,
        ended = connection => match ended {
            Ok(()) => return Err(Failure::ClosedEarly),
            Err(error) => Err(error),
        },
    };
    judge(&answer.map_err(|error| of_h2(&error))?)
}

/// What came back.
struct Answer {
    http_status: u16,
    /// Of the gRPC call; in the header when there is no message.
    status: Option<String>,
    message: Vec<u8>,
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
) -> Result<Answer, h2::Error> {
    let mut sender = sender.ready().await?;
    let (response, mut stream) = sender.send_request(request, false)?;
    stream.send_data(message, true)?;
    let (header, mut body) = response.await?.into_parts();
    let mut message = Vec::new();
    while let Some(octets) = body.data().await {
        message.extend_from_slice(&octets?);
        if message.len() > ANSWER_BYTES_MAX {
            break; // It is not taken for an answer, whatever follows.
        }
    }
    let mut status = grpc_status(&header.headers);
    if status.is_none() && message.len() <= ANSWER_BYTES_MAX {
        status = body.trailers().await?.as_ref().and_then(grpc_status);
    }
    Ok(Answer { http_status: header.status.as_u16(), status, message })
}

fn grpc_status(headers: &HeaderMap) -> Option<String> {
    headers.get("grpc-status")?.to_str().ok().map(|status| status.chars().take(16).collect())
}

/// `HealthCheckRequest { service = 1 }` behind the five octets of a gRPC message: not compressed,
/// its length.
fn question(service: &str) -> Option<Bytes> {
    let name_len = u8::try_from(service.len()).ok().filter(|len| *len < 0x80)?;
    let field =
        if name_len == 0 { vec![] } else { [&[0x0a, name_len], service.as_bytes()].concat() };
    let len = u32::try_from(field.len()).ok()?.to_be_bytes();
    Some([&[0], len.as_slice(), &field].concat().into())
}

/// `HealthCheckResponse { status = 1 }`.
fn judge(answer: &Answer) -> Result<(), Failure> {
    if answer.http_status != 200 {
        return Err(Failure::WrongStatus { got: answer.http_status, wanted: "200".to_owned() });
    }
    match answer.status.as_deref() {
        Some("0") => {}
        Some(status) => return Err(Failure::GrpcStatus(named(status))),
        None => return Err(MALFORMED),
    }
    match answer.message.as_slice() {
        [0, 0, 0, 0, 2, 0x08, 1] => Ok(()),
        // Zero is not written.
        [0, 0, 0, 0, 0] | [0, 0, 0, 0, 2, 0x08, 0] => Err(Failure::NotServing("UNKNOWN")),
        [0, 0, 0, 0, 2, 0x08, 2] => Err(Failure::NotServing("NOT_SERVING")),
        [0, 0, 0, 0, 2, 0x08, 3] => Err(Failure::NotServing("SERVICE_UNKNOWN")),
        _ => Err(MALFORMED),
    }
}

/// The codes that a health service has a reason for, with their names.
fn named(status: &str) -> String {
    let name = match status {
        "5" => "NOT_FOUND: the server does not know the service",
        "7" => "PERMISSION_DENIED",
        "12" => "UNIMPLEMENTED: the server has no health service",
        "14" => "UNAVAILABLE",
        "16" => "UNAUTHENTICATED",
        _ => return status.to_owned(),
    };
    format!("{status}, {name}")
}

fn of_h2(error: &h2::Error) -> Failure {
    match error.get_io() {
        Some(io_error) => Failure::of_connection(io_error),
        None if error.is_remote() => Failure::ClosedEarly,
        None => Failure::Malformed("HTTP/2"),
    }
}
