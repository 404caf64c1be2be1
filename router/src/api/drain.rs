//! `/api/v1/drain`, `/undrain` and `/drains`: backends, VIPs and the node out of service and back.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use tidegate_plan::drain::Terms;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::change::{Answer, Asks, What};
use crate::view::drain::{Drains, Order, Target};

use super::caller::Writer;
use super::change::{ask, bad, json, unexpected};
use super::extract::Body;
use super::problem::Problem;

/// How long a drain takes at most unless somebody says so.
const DEADLINE: Duration = Duration::from_mins(10);
/// Backends are empty after so long a silence: of a flow that lives, a packet mostly comes sooner.
const QUIET_BACKEND: Duration = Duration::from_mins(1);
/// Traffic of a VIP that no router sends here any more ends at once.
const QUIET_VIP: Duration = Duration::from_secs(5);
const DEADLINE_MAX: Duration = Duration::from_hours(24);

pub(super) fn router(asks: Asks) -> OpenApiRouter {
    paths().with_state(asks)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asks> {
    OpenApiRouter::new().routes(routes!(drain)).routes(routes!(undrain)).routes(routes!(drains))
}

/// Takes a backend, a VIP or the node out of service without cutting flows.
#[utoipa::path(
    post,
    path = "/api/v1/drain",
    tag = "services",
    request_body = Order,
    responses((status = 200, body = Drains))
)]
async fn drain(
    asks: State<Asks>,
    Writer(who): Writer,
    Body(body): Body,
) -> Result<Response, Problem> {
    let Order { target, deadline, quiet, force } = json(&body)?;
    let usual = match target {
        Target::Backend { .. } => QUIET_BACKEND,
        Target::Vip { .. } | Target::Node {} => QUIET_VIP,
    };
    let deadline = time("/deadline", deadline, DEADLINE)?;
    let quiet = time("/quiet", quiet, usual)?;
    answered(&asks, who, What::Drain { target, terms: Terms { deadline, quiet }, force }).await
}

/// Takes it back into service.
#[utoipa::path(
    post,
    path = "/api/v1/undrain",
    tag = "services",
    request_body = Target,
    responses((status = 200, body = Drains))
)]
async fn undrain(
    asks: State<Asks>,
    Writer(who): Writer,
    Body(body): Body,
) -> Result<Response, Problem> {
    answered(&asks, who, What::Undrain(json(&body)?)).await
}

/// What is out of service, or on its way there.
#[utoipa::path(get, path = "/api/v1/drains", tag = "services", responses((status = 200, body = Drains)))]
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
