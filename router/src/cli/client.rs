//! A GET on the daemon's Unix socket.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Failure;

/// The daemon answers within two seconds or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Largest body read: far more than the largest configuration's answer.
const BODY_BYTES_MAX: usize = 256 << 20;

/// An answer: its JSON text as it came, and the same as a value.
pub(super) struct Answer<T> {
    pub(super) text: String,
    pub(super) value: T,
}

pub(super) async fn get<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
) -> Result<Answer<T>, Failure> {
    let (status, body) =
        tokio::time::timeout(ANSWER_WITHIN, fetch(socket, path)).await.map_err(|elapsed| {
            Failure::unreachable(format!(
                "the daemon at {} did not answer ({elapsed}): is it stopped or very busy?",
                socket.display()
            ))
        })??;
    let text = String::from_utf8(body.to_vec()).map_err(Failure::new)?;
    if !status.is_success() {
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = problem.get("detail").and_then(|detail| detail.as_str()).unwrap_or(&text);
        return Err(Failure::new(format!("{detail} ({status})")));
    }
    let value = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("the daemon's answer is of another version than this tool: {error}"))
    })?;
    Ok(Answer { text, value })
}

async fn fetch(socket: &Path, path: &str) -> Result<(http::StatusCode, Bytes), Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "you need to be root or in its group",
            _ => "start it with 'tidegate run', or name its socket with --socket",
        };
        Failure::unreachable(format!("no daemon at {}: {error}; {remedy}", socket.display()))
    })?;
    let broken = |error: hyper::Error| {
        Failure::unreachable(format!("the daemon at {} hung up: {error}", socket.display()))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = http::Request::get(path)
        .header(http::header::HOST, "tidegate")
        .body(Empty::<Bytes>::new())
        .map_err(Failure::new)?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX);
    let body = body.collect().await.map_err(Failure::unreachable)?.to_bytes();
    Ok((status, body))
}
