//! `POST /api/v1/upgrade`: another process takes over.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::change::{Answer, Asks, What};
use crate::view::upgrade::{Order, Upgraded};

use super::caller::Writer;
use super::change::{ask, bad, json, unexpected};
use super::extract::Body;
use super::problem::Problem;
use super::serve::Patience;

/// How long the new process may take until it could take over: it loads the packet path.
const WITHIN: Duration = Duration::from_secs(20);
const WITHIN_MAX: Duration = Duration::from_mins(1);

/// More than that, and for the process before to end its work.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

pub(super) fn router(asks: Asks) -> OpenApiRouter {
    paths().with_state(asks)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asks> {
    OpenApiRouter::new().routes(routes!(upgrade))
}

/// Hands everything over to another binary.
#[utoipa::path(
    post,
    path = "/api/v1/upgrade",
    tag = "node",
    request_body = Option<Order>,
    responses((status = 200, body = Upgraded))
)]
async fn upgrade(
    asks: State<Asks>,
    Writer(who): Writer,
    patience: Option<Extension<Patience>>,
    Body(body): Body,
) -> Result<Response, Problem> {
    if let Some(Extension(patience)) = patience {
        patience.give(ANSWER_WITHIN);
    }
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
