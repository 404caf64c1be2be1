//! Requests to a daemon.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use super::node::Node;

/// The daemon answers a question within two seconds or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A change takes longer.
const CHANGE_WITHIN: Duration = Duration::from_secs(15);
/// Largest body read: far more than the largest configuration's answer.
const BODY_BYTES_MAX: usize = 256 << 20;
/// Largest event.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// An answer: its JSON text as it came, and the same as a value.
pub(super) struct Answer<T> {
    pub(super) text: String,
    pub(super) value: T,
}

pub(super) async fn get<T: DeserializeOwned>(
    node: &Node,
    path: &str,
) -> Result<Answer<T>, Failure> {
    answered(node, ANSWER_WITHIN, http::Request::get(path), Bytes::new()).await
}

/// All pages of an answer as one: what stands under `key` in each of them is joined. `path` has no
/// query.
pub(super) async fn get_all<T: DeserializeOwned>(
    node: &Node,
    path: &str,
    key: &str,
) -> Result<Answer<T>, Failure> {
    let mut all: Value = get(node, path).await?.value;
    let mut next = next_of(&mut all);
    while let Some(from) = next {
        let page = format!("{path}?from={}", escaped(&from));
        let mut page: Value = get(node, &page).await?.value;
        next = next_of(&mut page);
        let both = (all.get_mut(key), page.get_mut(key));
        let (Some(Value::Array(rows)), Some(Value::Array(more))) = both else { break };
        rows.append(more);
    }
    let text = all.to_string();
    let value = serde_json::from_value(all).map_err(of_another_version)?;
    Ok(Answer { text, value })
}

/// Where the page after this one begins, taken out of it.
fn next_of(page: &mut Value) -> Option<String> {
    match page.as_object_mut()?.remove("next")? {
        Value::String(next) => Some(next),
        _ => None,
    }
}

/// Only what needs no escape in a query stays as it is.
pub(super) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn of_another_version(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the daemon's answer is of another version than this tool: {error}"))
}

/// The text that the daemon answers, of at most 256 MiB.
pub(super) async fn text(node: &Node, path: &str) -> Result<String, Failure> {
    let request = http::Request::get(path);
    let (status, text) = replied(node, ANSWER_WITHIN, request, Bytes::new()).await?;
    if status.is_success() { Ok(text) } else { Err(refusal(status, &text)) }
}

/// Asks for a change.
pub(super) async fn post<T: DeserializeOwned>(
    node: &Node,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<Answer<T>, Failure> {
    post_within(CHANGE_WITHIN, node, path, body).await
}

/// Asks for one that takes its time.
pub(super) async fn post_within<T: DeserializeOwned>(
    within: Duration,
    node: &Node,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<Answer<T>, Failure> {
    let body = match body {
        Some(body) => serde_json::to_vec(body).map_err(Failure::new)?.into(),
        None => Bytes::new(),
    };
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    answered(node, within, request, body).await
}

/// Puts something in a place.
pub(super) async fn put<T: DeserializeOwned>(
    node: &Node,
    path: &str,
    body: &impl Serialize,
) -> Result<Answer<T>, Failure> {
    let body = serde_json::to_vec(body).map_err(Failure::new)?.into();
    let request = http::Request::put(path).header(http::header::CONTENT_TYPE, "application/json");
    answered(node, CHANGE_WITHIN, request, body).await
}

/// Takes something away.
pub(super) async fn delete<T: DeserializeOwned>(
    node: &Node,
    path: &str,
) -> Result<Answer<T>, Failure> {
    answered(node, CHANGE_WITHIN, http::Request::delete(path), Bytes::new()).await
}

/// Something that is followed.
pub(super) enum Line<'a> {
    /// The JSON text of an event.
    Event(&'a str),
    /// So many were missed.
    Missed(u64),
}

/// An answer that comes in pieces.
pub(super) struct Octets(hyper::body::Incoming);

impl Octets {
    /// The next piece; `None`: that was all.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let ended = |error| Failure::unreachable(format_args!("the daemon hung up: {error}"));
        loop {
            let Some(frame) = self.0.frame().await.transpose().map_err(ended)? else {
                return Ok(None);
            };
            if let Ok(octets) = frame.into_data() {
                return Ok(Some(octets));
            }
        }
    }
}

/// Asks for what is answered in pieces, and takes its time.
pub(super) async fn octets(node: &Node, path: &str) -> Result<Octets, Failure> {
    begun(node, CHANGE_WITHIN, http::Request::post(path)).await.map(Octets)
}

/// The body of an answer that has begun well.
async fn begun(
    node: &Node,
    within: Duration,
    request: http::request::Builder,
) -> Result<hyper::body::Incoming, Failure> {
    let asked = tokio::time::timeout(within, respond(node, request, Bytes::new()));
    let response = asked.await.map_err(Failure::unreachable)??;
    if response.status().is_success() {
        return Ok(response.into_body());
    }
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(Failure::unreachable)?.to_bytes();
    Err(refusal(status, &String::from_utf8_lossy(&body)))
}

/// Follows server-sent events until the daemon ends.
pub(super) async fn follow(
    node: &Node,
    path: &str,
    mut on_line: impl FnMut(Line<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let request = http::Request::get(path).header(http::header::ACCEPT, "text/event-stream");
    let mut body = begun(node, ANSWER_WITHIN, request).await?;
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let ended = |error| Failure::unreachable(format_args!("the daemon hung up: {error}"));
        let Ok(octets) = frame.map_err(ended)?.into_data() else { continue };
        pending.extend_from_slice(&octets);
        if pending.len() > EVENT_BYTES_MAX {
            return Err(Failure::new("the daemon sends an event without an end"));
        }
        while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = pending.drain(..end + 2).collect();
            told(&String::from_utf8_lossy(&event), &mut on_line)?;
        }
    }
    Err(Failure::unreachable("the daemon has ended"))
}

/// The lines of one server-sent event.
fn told(
    event: &str,
    on_line: &mut impl FnMut(Line<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let field = |name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    };
    match (field("event"), field("data")) {
        (_, "") => Ok(()), // A word to keep the connection.
        ("missed", data) => {
            let missed: Value = serde_json::from_str(data).unwrap_or_default();
            let missed = missed.get("missed").and_then(Value::as_u64);
            on_line(Line::Missed(missed.unwrap_or(0)))
        }
        (_, data) => on_line(Line::Event(data)),
    }
}

async fn answered<T: DeserializeOwned>(
    node: &Node,
    within: Duration,
    request: http::request::Builder,
    body: Bytes,
) -> Result<Answer<T>, Failure> {
    let (status, text) = replied(node, within, request, body).await?;
    if !status.is_success() {
        return Err(refusal(status, &text));
    }
    let value = serde_json::from_str(&text).map_err(of_another_version)?;
    Ok(Answer { text, value })
}

/// The daemon's answer, whatever it says.
async fn replied(
    node: &Node,
    within: Duration,
    request: http::request::Builder,
    body: Bytes,
) -> Result<(http::StatusCode, String), Failure> {
    let fetched = tokio::time::timeout(within, fetch(node, request, body));
    let (status, body) = fetched.await.map_err(|elapsed| {
        Failure::unreachable(format!(
            "the daemon at {} did not answer ({elapsed}): is it stopped or very busy?",
            node.name()
        ))
    })??;
    Ok((status, String::from_utf8(body.to_vec()).map_err(Failure::new)?))
}

/// A problem document as people read it.
fn refusal(status: http::StatusCode, text: &str) -> Failure {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let detail = problem.get("detail").and_then(|detail| detail.as_str()).unwrap_or(text);
    // Mistakes of a file stand in lines of their own, as `tidegate check` prints them.
    let mistakes = problem.get("type").and_then(|kind| kind.as_str())
        == Some("urn:tidegate:problem:bad-configuration");
    if mistakes {
        return Failure::mistakes(detail);
    }
    Failure::new(format!("{detail} ({status})"))
}

async fn fetch(
    node: &Node,
    request: http::request::Builder,
    body: Bytes,
) -> Result<(http::StatusCode, Bytes), Failure> {
    let response = respond(node, request, body).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX);
    let body = body.collect().await.map_err(Failure::unreachable)?.to_bytes();
    Ok((status, body))
}

async fn respond(
    node: &Node,
    request: http::request::Builder,
    body: Bytes,
) -> Result<http::Response<hyper::body::Incoming>, Failure> {
    let stream = node.connect().await?;
    let broken = |error: hyper::Error| {
        Failure::unreachable(format!("the daemon at {} hung up: {error}", node.name()))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let mut request = request.header(http::header::HOST, node.host());
    if let Some(token) = node.authorization()? {
        request = request.header(http::header::AUTHORIZATION, token);
    }
    let request = request.body(Full::new(body)).map_err(Failure::new)?;
    sender.send_request(request).await.map_err(broken)
}
