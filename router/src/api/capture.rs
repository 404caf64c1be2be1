//! `POST /api/v1/capture`: packets as they come and as they leave, as a file that Wireshark opens.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Writer;
use super::change::{ask, unexpected};
use super::extract::Query;
use super::problem::Problem;
use super::serve::Patience;
use crate::capture_io;
use crate::change::{Answer, Asks, What};
use crate::view::capture::Wanted;

/// More than the capture takes, for its begin and its end.
const MORE: Duration = Duration::from_secs(10);

pub(super) fn router(asks: Asks) -> OpenApiRouter {
    paths().with_state(asks)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asks> {
    OpenApiRouter::new().routes(routes!(capture))
}

/// Captures packets, and answers with them (pcapng) while they come. Another program is put into the
/// packet path for that, and what it answers has what clients send: it is for operators alone, and
/// recorded like all that changes something. It ends when nobody reads any more.
#[utoipa::path(
    post,
    path = "/api/v1/capture",
    tag = "packets",
    params(Wanted),
    responses((status = 200, body = String, content_type = "application/x-pcapng"))
)]
async fn capture(
    asks: State<Asks>,
    Writer(who): Writer,
    patience: Option<Extension<Patience>>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let asked = wanted
        .asked()
        .map_err(|sentence| Problem::new(StatusCode::BAD_REQUEST, "bad-query", sentence))?;
    if let Some(Extension(patience)) = patience {
        patience.give(asked.within + MORE);
    }
    let Answer::Capture(capture) = ask(&asks, who, What::Capture(asked)).await? else {
        return Err(unexpected());
    };
    let pieces = capture_io::stream(*capture).map_err(|error| {
        let detail = format!("the ring of captured packets cannot be read: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", detail)
    })?;
    let content = [(header::CONTENT_TYPE, "application/x-pcapng")];
    Ok((content, Body::from_stream(pieces)).into_response())
}
