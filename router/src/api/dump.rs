//! `/api/v1/dump`: all routes into a file.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};

use super::caller::Writer;
use super::problem::Problem;
use crate::mrt_io::{DumpError, Dumper};
use crate::view::API_VERSION;
use crate::view::export::Dump;

pub(super) fn routes(dumper: Dumper) -> Router {
    let routes = Router::new().route("/api/v1/dump", post(dump));
    routes.method_not_allowed_fallback(super::method_not_allowed).with_state(dumper)
}

/// It writes a file, so it is not for everybody.
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
