//! `/api/v1/dump`: all routes into a file.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Writer;
use super::problem::Problem;
use crate::mrt_io::{DumpError, Dumper};
use crate::view::API_VERSION;
use crate::view::export::Dump;

pub(super) fn routes(dumper: Dumper) -> OpenApiRouter {
    paths().with_state(dumper)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Dumper> {
    OpenApiRouter::new().routes(routes!(dump))
}

/// Writes all routes into a file (MRT). It writes a file, so it is not for everybody.
#[utoipa::path(post, path = "/api/v1/dump", tag = "bgp", responses((status = 200, body = Dump)))]
async fn dump(dumper: State<Dumper>, _writer: Writer) -> Result<Json<Dump>, Problem> {
    let dumped = dumper.dump().await.map_err(|error| match &error {
        DumpError::Unconfigured => {
            Problem::new(StatusCode::CONFLICT, "unconfigured", error.to_string())
        }
        DumpError::Running => Problem::new(StatusCode::CONFLICT, "running", error.to_string()),
        DumpError::Write { .. } => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unwritable", error.to_string())
        }
        DumpError::Stopped(stopped) => Problem::busy(stopped),
    })?;
    Ok(Json(Dump {
        api_version: API_VERSION.into(),
        file: dumped.file.display().to_string(),
        prefixes: dumped.destinations,
        bytes: dumped.bytes,
    }))
}
