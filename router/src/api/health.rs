//! `/api/v1/services/NAME/backends/ADDRESS/health`: what somebody outside says of a backend.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::change::{Answer, Asks, Saying, What};
use crate::view::said::{self, Said, Word};

use super::caller::Writer;
use super::change::{ask, bad, json, unexpected};
use super::extract::{Body, Path};
use super::problem::Problem;

/// Whoever says it comes again before that.
const TTL_MAX: Duration = Duration::from_hours(24);
/// Of a reason, in octets.
const REASON_MAX: usize = 200;

pub(super) fn router(asks: Asks) -> OpenApiRouter {
    paths().with_state(asks)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asks> {
    OpenApiRouter::new().routes(routes!(say, unsay))
}

type Of = Path<(String, IpAddr)>;

/// Says how a backend is, in the place of its health check, for a while.
#[utoipa::path(
    put,
    path = "/api/v1/services/{service}/backends/{backend}/health",
    tag = "services",
    params(
        ("service" = String, Path, description = "Name of the service"),
        ("backend" = String, Path, description = "Address of the backend"),
    ),
    request_body = Word,
    responses((status = 200, body = Said))
)]
async fn say(
    asks: State<Asks>,
    Writer(who): Writer,
    Path((service, backend)): Of,
    Body(body): Body,
) -> Result<Response, Problem> {
    let Word { state, ttl, reason } = json(&body)?;
    let saying = Saying { up: state == said::State::Up, ttl: time(&ttl)?, reason: text(reason)? };
    answered(&asks, who, What::Say { service, backend, saying: Some(saying) }).await
}

/// Takes it back: the health check counts again.
#[utoipa::path(
    delete,
    path = "/api/v1/services/{service}/backends/{backend}/health",
    tag = "services",
    params(
        ("service" = String, Path, description = "Name of the service"),
        ("backend" = String, Path, description = "Address of the backend"),
    ),
    responses((status = 200, body = Said))
)]
async fn unsay(
    asks: State<Asks>,
    Writer(who): Writer,
    Path((service, backend)): Of,
) -> Result<Response, Problem> {
    answered(&asks, who, What::Say { service, backend, saying: None }).await
}

async fn answered(asks: &Asks, who: String, what: What) -> Result<Response, Problem> {
    match ask(asks, who, what).await? {
        Answer::Said(said) => Ok(Json(said).into_response()),
        _ => Err(unexpected()),
    }
}

fn time(text: &str) -> Result<Duration, Problem> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_secs(1)..=TTL_MAX).contains(&time) => Ok(time),
        Ok(_) => Err(bad("/ttl", format!("{text} is not from 1s to 24h"))),
        Err(error) => Err(bad("/ttl", format!("{text:?} is no time such as \"5m\": {error}"))),
    }
}

/// It goes into journal and tables: a line, and not a long one.
fn text(reason: Option<String>) -> Result<Option<String>, Problem> {
    let Some(reason) = reason else { return Ok(None) };
    if reason.len() > REASON_MAX {
        return Err(bad("/reason", format!("it is longer than {REASON_MAX} octets")));
    }
    if reason.chars().any(char::is_control) {
        return Err(bad("/reason", "it is to be one line of text".into()));
    }
    Ok(Some(reason))
}
