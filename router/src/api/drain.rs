//! `/api/v1/drain`, `/undrain` and `/drains`: backends, VIPs and the node out of service and back.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tidegate_plan::drain::Terms;

use crate::change::{Answer, Asks, What};
use crate::view::drain::{Order, Target};

use super::caller::Writer;
use super::change::{ask, bad, json, unexpected};
use super::problem::Problem;

/// How long a drain takes at most unless somebody says so.
const DEADLINE: Duration = Duration::from_mins(10);
/// Backends are empty after so long a silence: of a flow that lives, a packet mostly comes sooner.
const QUIET_BACKEND: Duration = Duration::from_mins(1);
/// Traffic of a VIP that no router sends here any more ends at once.
const QUIET_VIP: Duration = Duration::from_secs(5);
const DEADLINE_MAX: Duration = Duration::from_hours(24);

pub(super) fn router(asks: Asks) -> Router {
    Router::new()
        .route("/api/v1/drain", post(drain))
        .route("/api/v1/undrain", post(undrain))
        .route("/api/v1/drains", get(drains))
        .method_not_allowed_fallback(super::method_not_allowed)
        .with_state(asks)
}

async fn drain(asks: State<Asks>, Writer(who): Writer, body: Bytes) -> Result<Response, Problem> {
    let Order { target, deadline, quiet, force } = json(&body)?;
    let usual = match target {
        Target::Backend { .. } => QUIET_BACKEND,
        Target::Vip { .. } | Target::Node {} => QUIET_VIP,
    };
    let deadline = time("/deadline", deadline, DEADLINE)?;
    let quiet = time("/quiet", quiet, usual)?;
    answered(&asks, who, What::Drain { target, terms: Terms { deadline, quiet }, force }).await
}

async fn undrain(asks: State<Asks>, Writer(who): Writer, body: Bytes) -> Result<Response, Problem> {
    answered(&asks, who, What::Undrain(json(&body)?)).await
}

async fn drains(asks: State<Asks>) -> Result<Response, Problem> {
    answered(&asks, String::new(), What::Drains).await
}

async fn answered(asks: &Asks, who: String, what: What) -> Result<Response, Problem> {
    match ask(asks, who, what).await? {
        Answer::Drains(drains) => Ok(Json(drains).into_response()),
        _ => Err(unexpected()),
    }
}

fn time(pointer: &str, text: Option<String>, usual: Duration) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(usual) };
    match humantime::parse_duration(&text) {
        Ok(time) if (Duration::from_secs(1)..=DEADLINE_MAX).contains(&time) => Ok(time),
        Ok(_) => Err(bad(pointer, format!("{text} is not from 1s to 24h"))),
        Err(error) => Err(bad(pointer, format!("{text:?} is no time such as \"5m\": {error}"))),
    }
}
