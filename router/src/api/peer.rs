//! `/api/v1/peers/{name}`: one peer, and what it has been through. Asked of the speaker itself: a
//! memory of every peer in every view would cost more than anybody reads.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Path;
use super::problem::Problem;
use super::{Answer as _, ViewSender};
use crate::bgp_io::Histories;
use crate::view::Scope;
use crate::view::history::PeerDetail;

pub(super) type Sources = Arc<(Arc<ViewSender>, Histories)>;

/// The name of a peer out of a range holds a slash.
pub(super) fn routes(views: ViewSender, histories: Histories) -> OpenApiRouter {
    let sources: Sources = Arc::new((Arc::new(views), histories));
    paths().with_state(sources)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Sources> {
    OpenApiRouter::new().routes(routes!(peer))
}

/// One peer, and what it has been through.
#[utoipa::path(
    get,
    path = "/api/v1/peers/{*name}",
    tag = "bgp",
    params(("name" = String, Path, description = "Name of the peer")),
    responses((status = 200, body = PeerDetail))
)]
async fn peer(State(sources): State<Sources>, Path(name): Path<String>) -> Response {
    let (views, histories) = &*sources;
    let view = match State(Arc::clone(views)).view(Scope::Node).await {
        Ok(view) => view,
        Err(problem) => return problem.into_response(),
    };
    let Some(peer) = view.peers.into_iter().find(|peer| peer.name == name) else {
        return unknown(&name).into_response();
    };
    match histories.of(&name).await {
        Ok(Some((history, now))) => {
            Json(PeerDetail::new(peer, &history, now, SystemTime::now())).into_response()
        }
        Ok(None) => unknown(&name).into_response(),
        Err(stopped) => Problem::busy(&stopped).into_response(),
    }
}

pub(super) fn unknown(name: &str) -> Problem {
    let name: String = name.escape_debug().take(100).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        format!("there is no peer {name}; /api/v1/peers lists those there are"),
    )
}
