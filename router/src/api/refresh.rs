//! `/api/v1/refresh`: a soft reset of one peer.

#![expect(unused_qualifications, reason = "the macro that describes handlers writes whole paths")]

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tidegate_bgp::speaker::{Refreshed, Way};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ANSWER_WITHIN;
use super::caller::Writer;
use super::extract::Query;
use super::problem::Problem;
use crate::bgp_io::Asker;
use crate::view::API_VERSION;
use crate::view::routes::Refresh;

/// What a request must say.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Name of the peer.
    peer: String,
    /// `in` or `out`.
    way: String,
}

pub(super) fn router(asker: Asker) -> OpenApiRouter {
    paths().with_state(asker)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asker> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// Asks a peer for its routes again, or tells it ours again.
#[utoipa::path(
    post,
    path = "/api/v1/refresh",
    operation_id = "refresh",
    tag = "bgp",
    params(Asked),
    responses((status = 200, body = Refresh))
)]
async fn answer(_: Writer, State(asker): State<Asker>, asked: Query<Asked>) -> Response {
    match refresh(&asker, asked.0).await {
        Ok(done) => Json(done).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn refresh(asker: &Asker, Asked { peer, way }: Asked) -> Result<Refresh, Problem> {
    let direction = match way.as_str() {
        "in" => Way::In,
        "out" => Way::Out,
        other => {
            let detail = format!("way is in or out, not {other:?}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-query", detail));
        }
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, asker.refresh(peer.clone(), direction)).await;
    let refreshed = answer
        .map_err(|elapsed| Problem::busy(&elapsed))?
        .map_err(|stopped| Problem::busy(&stopped))?;
    let (done, families) = match refreshed {
        Refreshed::Asked(families) => ("asked", families),
        Refreshed::Judged => ("judged", Vec::new()),
        Refreshed::Told(families) => ("told", families),
        Refreshed::Down => {
            let detail = format!("the session with {peer:?} is not up: it begins with all routes");
            return Err(Problem::new(StatusCode::CONFLICT, "not-established", detail));
        }
        Refreshed::UnknownPeer => {
            let detail = format!("there is no peer {peer:?}; /api/v1/peers lists them");
            return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-peer", detail));
        }
    };
    let families = families.iter().map(ToString::to_string).collect();
    Ok(Refresh { api_version: API_VERSION.into(), peer, way, done: done.into(), families })
}
