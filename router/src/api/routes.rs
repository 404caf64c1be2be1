//! `/api/v1/routes`: the routes of the speaker, a page at a time.

#![expect(unused_qualifications, reason = "the macro that describes handlers writes whole paths")]

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tidegate_bgp::rib::View;
use tidegate_bgp::speaker::RoutesQuery;
use tidegate_bgp::types::{Family, Prefix};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ANSWER_WITHIN;
use super::extract::Query;
use super::problem::Problem;
use crate::bgp_io::Asker;
use crate::view::routes::Routes;

/// Routes on a page, unless the request says otherwise.
const LIMIT_DEFAULT: usize = 1_000;
/// Routes on a page, at most: a page is made in one go by the task that owns the sessions.
const LIMIT_MAX: usize = 5_000;

/// What a request may say.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// `received`, `available` (which it is when absent) or `advertised`.
    view: Option<String>,
    /// Of this peer only; `advertised` needs it.
    peer: Option<String>,
    /// Of this family only, such as `ipv4-unicast`.
    family: Option<String>,
    /// To this prefix only.
    prefix: Option<String>,
    /// `next` of the page before.
    from: Option<u64>,
    /// Routes on a page, 1,000 when absent, 5,000 at most.
    limit: Option<usize>,
}

pub(super) fn router(asker: Asker) -> OpenApiRouter {
    paths().with_state(asker)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asker> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// Routes, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/routes",
    operation_id = "routes",
    tag = "bgp",
    params(Asked),
    responses((status = 200, body = Routes))
)]
async fn answer(State(asker): State<Asker>, asked: Query<Asked>) -> Response {
    match page(&asker, asked.0).await {
        Ok(routes) => Json(routes).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn page(asker: &Asker, asked: Asked) -> Result<Routes, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad-query", detail);
    let view = match asked.view.as_deref() {
        Some("received") => View::Received,
        None | Some("available") => View::Available,
        Some("advertised") => View::Advertised,
        Some(other) => {
            return Err(bad(format!("view is received, available or advertised, not {other:?}")));
        }
    };
    if view == View::Advertised && asked.peer.is_none() {
        return Err(bad("what was advertised differs by peer: name one with peer=NAME".into()));
    }
    let prefix = match &asked.prefix {
        None => None,
        Some(text) => {
            let prefix = parse_prefix(text);
            Some(prefix.ok_or_else(|| bad(format!("{text:?} is no prefix such as 192.0.2.0/24")))?)
        }
    };
    let family = match &asked.family {
        None => None,
        Some(text) => {
            let family = Family::ALL.into_iter().find(|family| family.name() == text);
            Some(family.ok_or_else(|| bad(no_family(text)))?)
        }
    };
    let query = RoutesQuery {
        view,
        family,
        peer: asked.peer.as_deref().map(Into::into),
        prefix,
        from: asked.from.unwrap_or(0),
        limit: asked.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, asker.ask(query)).await;
    let found = answer
        .map_err(|elapsed| Problem::busy(&elapsed))?
        .map_err(|stopped| Problem::busy(&stopped))?;
    if found.unknown_peer {
        let name = asked.peer.unwrap_or_default();
        let detail = format!("there is no peer {name:?}; /api/v1/peers lists them");
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-peer", detail));
    }
    Ok(found.into())
}

fn no_family(text: &str) -> String {
    let names = Family::ALL.map(Family::name).join(", ");
    format!("family is one of {names}, not {text:?}")
}

/// A prefix, or an address as its own.
pub(crate) fn parse_prefix(text: &str) -> Option<Prefix> {
    match text.split_once('/') {
        Some((addr, bits)) => Prefix::new(addr.parse().ok()?, bits.parse().ok()?),
        None => text.parse().ok().map(Prefix::host),
    }
}
