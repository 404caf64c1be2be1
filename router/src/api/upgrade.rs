//! `POST /api/v1/upgrade`: another process takes over.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::change::{Answer, Asks, What};
use crate::view::upgrade::Order;

use super::caller::Writer;
use super::change::{ask, bad, json, unexpected};
use super::problem::Problem;

/// How long the new process may take until it could take over: it loads the packet path.
const WITHIN: Duration = Duration::from_secs(20);
const WITHIN_MAX: Duration = Duration::from_mins(1);

/// Where an upgrade is asked for, whose answer may take longer than others.
pub(super) const PATH: &str = "/api/v1/upgrade";

pub(super) fn router(asks: Asks) -> Router {
    Router::new()
        .route(PATH, post(upgrade))
        .method_not_allowed_fallback(super::method_not_allowed)
        .with_state(asks)
}

async fn upgrade(asks: State<Asks>, Writer(who): Writer, body: Bytes) -> Result<Response, Problem> {
    let Order { binary, within } = if body.is_empty() { Order::default() } else { json(&body)? };
    let within = match within.as_deref().map(humantime::parse_duration) {
        None => WITHIN,
        Some(Ok(within)) if (Duration::from_secs(1)..=WITHIN_MAX).contains(&within) => within,
        Some(_) => return Err(bad("/within", "it is no time from 1s to 1m".into())),
    };
    match ask(&asks, who, What::Upgrade { binary, within }).await? {
        Answer::Upgraded(upgraded) => Ok(Json(upgraded).into_response()),
        _ => Err(unexpected()),
    }
}
