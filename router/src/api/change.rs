//! Changes of the configuration: planned, applied, confirmed, rolled back.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use tidegate_config::overlay::Target;
use tidegate_plan::guard::Guard;
use tokio::sync::oneshot;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::change::{Answer, Ask, Asks, Candidate, Documents, Refused, Terms, What};
use crate::view::change::{Applied, Change, History, Plan};

use super::audit::Looked;
use super::caller::Writer;
use super::extract::Body;
use super::problem::Problem;

/// How long a request waits for a change to be made. It goes on being made after that.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Largest body: a configuration as a JSON string, every byte of it escaped.
pub(super) const BODY_BYTES_MAX: usize = 2 * tidegate_config::FILE_BYTES_MAX;
/// Longest time a change may wait to be confirmed.
const CONFIRM_MAX: Duration = Duration::from_hours(24);
/// Longest comment, in bytes.
const COMMENT_BYTES_MAX: usize = 1000;

pub(super) fn routes(asks: Asks) -> OpenApiRouter {
    paths().layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(asks)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asks> {
    OpenApiRouter::new()
        .routes(routes!(plan))
        .routes(routes!(apply))
        .routes(routes!(confirm))
        .routes(routes!(rollback))
        .routes(routes!(history))
}

pub(super) type Way = State<Asks>;

pub(super) async fn ask(asks: &Asks, who: String, what: What) -> Result<Answer, Problem> {
    let (reply, answer) = oneshot::channel();
    asks.try_send(Ask { what, who, reply })
        .map_err(|full_or_closed| Problem::busy(&full_or_closed))?;
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(answer)) => answer.map_err(Problem::from),
        Ok(Err(closed)) => Err(Problem::busy(&closed)),
        Err(_elapsed) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "slow",
            "the change is still being made: look at /api/v1/status for what became of it".into(),
        )),
    }
}

/// The configuration in force.
pub(super) async fn documents(asks: &Asks) -> Result<Documents, Problem> {
    match ask(asks, String::new(), What::Documents).await? {
        Answer::Documents(documents) => Ok(documents),
        _ => Err(unexpected()),
    }
}

pub(super) fn unexpected() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "confused",
        "an answer to another question".into(),
    )
}

/// A body with the generation it belongs to.
pub(super) fn tagged(generation: u64, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{generation}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

pub(super) fn made(answer: Answer) -> Response {
    match answer {
        Answer::Plan(plan) => {
            let mut response = tagged(plan.from_generation, Json(plan));
            response.extensions_mut().insert(Looked);
            response
        }
        Answer::Applied(applied) => tagged(applied.generation, Json(applied)),
        Answer::History(history) => tagged(history.in_force, Json(history)),
        Answer::Documents(_)
        | Answer::Drains(_)
        | Answer::Said(_)
        | Answer::Upgraded(_)
        | Answer::Capture(_)
        | Answer::Why(_) => unexpected().into_response(),
    }
}

pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-body",
            format!("the body is not as it should be: {error}"),
        )
    })
}

/// A body that may be left out.
fn change(body: &Bytes) -> Result<Change, Problem> {
    if body.is_empty() {
        return Ok(Change::default());
    }
    // A list would be taken for the fields in their order, and an empty one for none.
    json::<serde_json::Map<String, serde_json::Value>>(body)?;
    json(body)
}

pub(super) fn bad(pointer: &str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-value", detail).at(pointer)
}

fn candidate(change: &mut Change) -> Result<Candidate, Problem> {
    match (change.text.take(), change.generation) {
        (Some(_), Some(_)) => {
            Err(bad("/generation", "give a text or a generation, not both".into()))
        }
        (None, Some(generation)) => Ok(Candidate::Generation(generation)),
        (None, None) => Ok(Candidate::OwnFile),
        (Some(text), None) => {
            let name = change.name.take().unwrap_or_else(|| "(sent to the API)".into());
            Ok(Candidate::Text { name: PathBuf::from(name), text })
        }
    }
}

fn terms(change: Change) -> Result<Terms, Problem> {
    let within = |text: String| match humantime::parse_duration(&text) {
        Ok(within) if (Duration::from_secs(1)..=CONFIRM_MAX).contains(&within) => Ok(within),
        Ok(_) => Err(bad("/confirm", format!("{text} is not from 1s to 24h"))),
        Err(error) => Err(bad("/confirm", format!("{text:?} is no time such as \"5m\": {error}"))),
    };
    let confirm = change.confirm.map(within).transpose()?;
    let guard = |(index, name): (usize, &String)| {
        let known = Guard::ALL.into_iter().find(|guard| guard.name() == name);
        let words = Guard::ALL.map(Guard::name).join(", ");
        known.ok_or_else(|| {
            bad(&format!("/guards/{index}"), format!("{name:?} is no guard: there are {words}"))
        })
    };
    let guards: Vec<Guard> =
        change.guards.iter().enumerate().map(guard).collect::<Result<_, Problem>>()?;
    if !guards.is_empty() && confirm.is_none() {
        return Err(bad(
            "/guards",
            "guards watch a change that waits to be confirmed: give confirm too".into(),
        ));
    }
    let comment = change.comment.unwrap_or_default();
    if comment.len() > COMMENT_BYTES_MAX || comment.contains(char::is_control) {
        let detail = format!("a comment is one line of at most {COMMENT_BYTES_MAX} bytes");
        return Err(bad("/comment", detail));
    }
    Ok(Terms { confirm, comment, guards })
}

/// What a change would do: by a text, by a generation that is kept, or by the daemon's file.
#[utoipa::path(
    post,
    path = "/api/v1/plan",
    tag = "change",
    request_body = Option<Change>,
    responses((status = 200, body = Plan))
)]
async fn plan(asks: Way, Writer(who): Writer, Body(body): Body) -> Result<Response, Problem> {
    let candidate = candidate(&mut change(&body)?)?;
    Ok(made(ask(&asks, who, What::Plan(candidate)).await?))
}

/// Makes a change.
#[utoipa::path(
    post,
    path = "/api/v1/apply",
    tag = "change",
    request_body = Option<Change>,
    responses((status = 200, body = Applied))
)]
async fn apply(asks: Way, Writer(who): Writer, Body(body): Body) -> Result<Response, Problem> {
    let mut change = change(&body)?;
    let candidate = candidate(&mut change)?;
    Ok(made(ask(&asks, who, What::Apply(candidate, terms(change)?)).await?))
}

/// Keeps the change that waits to be confirmed.
#[utoipa::path(post, path = "/api/v1/confirm", tag = "change", responses((status = 200, body = Applied)))]
async fn confirm(asks: Way, Writer(who): Writer) -> Result<Response, Problem> {
    Ok(made(ask(&asks, who, What::Confirm).await?))
}

/// Takes back the change that waits, or goes to another generation: the one before, or the one given.
#[utoipa::path(
    post,
    path = "/api/v1/rollback",
    tag = "change",
    request_body = Option<Change>,
    responses((status = 200, body = Applied))
)]
async fn rollback(asks: Way, Writer(who): Writer, Body(body): Body) -> Result<Response, Problem> {
    let change = change(&body)?;
    let to = change.generation.filter(|generation| *generation > 0);
    let terms = terms(change)?;
    let what = match to {
        Some(generation) => What::Apply(Candidate::Generation(generation), terms),
        None => What::Rollback(terms),
    };
    Ok(made(ask(&asks, who, what).await?))
}

/// The generations that are kept.
#[utoipa::path(get, path = "/api/v1/history", tag = "change", responses((status = 200, body = History)))]
async fn history(asks: Way) -> Result<Response, Problem> {
    Ok(made(ask(&asks, String::new(), What::History).await?))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        let (status, kind) = match &refused {
            Refused::File(_) | Refused::Mistakes { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "bad-configuration")
            }
            Refused::Edit(tidegate_config::overlay::EditError::NoSuch(_))
            | Refused::NoGeneration(_)
            | Refused::NoInterface(_)
            | Refused::NoSuchVip(_)
            | Refused::NoSuchTarget(_) => (StatusCode::NOT_FOUND, "not-found"),
            Refused::Edit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad-value"),
            Refused::NeedsRestart(_) => (StatusCode::CONFLICT, "needs-restart"),
            Refused::Capturing(_) => (StatusCode::CONFLICT, "running"),
            Refused::PacketPath(_) | Refused::Api(_) | Refused::NoCapture => {
                (StatusCode::CONFLICT, "not-possible")
            }
            Refused::TooFewLeft { .. } => (StatusCode::CONFLICT, "too-few-left"),
            Refused::NotChecked(_) => (StatusCode::CONFLICT, "not-checked"),
            Refused::NotDrained(_) => (StatusCode::CONFLICT, "not-drained"),
            Refused::Waiting(_) => (StatusCode::CONFLICT, "unconfirmed"),
            Refused::NothingWaits | Refused::NothingBefore => {
                (StatusCode::CONFLICT, "nothing-to-do")
            }
            Refused::Stale { .. } => (StatusCode::PRECONDITION_FAILED, "stale"),
            Refused::State(_) => (StatusCode::INSUFFICIENT_STORAGE, "not-kept"),
            Refused::Upgrade(_) => (StatusCode::CONFLICT, "not-upgraded"),
            Refused::World(_) => (StatusCode::INTERNAL_SERVER_ERROR, "unreadable"),
        };
        match refused {
            Refused::Mistakes { target, found } => {
                found.iter().fold(Self::new(status, kind, text), |problem, mistake| {
                    let detail = format!("{}: {}", mistake.sentence, mistake.remedy);
                    problem.with(&pointer(&target, &mistake.key), detail)
                })
            }
            _ => Self::new(status, kind, text),
        }
    }
}

/// A JSON pointer (RFC 6901) into the object, from a key such as `service.web.backend[2].weight`.
/// What is wrong outside it points to the whole.
fn pointer(target: &Target, key: &str) -> String {
    let prefix = format!("{}.{}", target.kind, target.name);
    let Some(rest) = key.strip_prefix(&prefix) else { return String::new() };
    let mut pointer = String::new();
    for part in rest.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        pointer.push('/');
        match part.parse::<usize>() {
            Ok(number) => pointer.push_str(&number.saturating_sub(1).to_string()),
            Err(_) => pointer.push_str(&part.replace('~', "~0").replace('/', "~1")),
        }
    }
    pointer
}

#[cfg(test)]
mod tests;
