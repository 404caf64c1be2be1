//! What handlers take of a request's line, refused with a problem where it is not as it should be.

use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::change::BODY_BYTES_MAX;
use super::problem::Problem;

/// A body is there within this time.
const BODY_WITHIN: Duration = Duration::from_secs(8);
/// Bodies that are larger are few at a time.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// Larger ones at a time: together they hold no more than a few of the largest.
static LARGE: Semaphore = Semaphore::const_new(4);

/// What stands behind the question mark.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(found) = found
            .map_err(|bad| Problem::new(StatusCode::BAD_REQUEST, "bad-query", bad.body_text()))?;
        Ok(Self(found))
    }
}

/// What the path has in its places.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(found) = found
            .map_err(|bad| Problem::new(StatusCode::NOT_FOUND, "not-found", bad.body_text()))?;
        Ok(Self(found))
    }
}

/// All of the body, in bounds of size and time.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let size = request.body().size_hint();
        // Nobody waits for what is refused in any case.
        if size.lower() > BODY_BYTES_MAX as u64 {
            let detail = format!("a body has {BODY_BYTES_MAX} bytes at most");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
        }
        let is_large = size.upper().is_none_or(|it| it > SMALL_BYTES_MAX);
        let _place = match is_large.then(|| LARGE.try_acquire()).transpose() {
            Ok(place) => place,
            Err(_full) => return Err(Problem::busy(&"other large bodies come in")),
        };
        let body = tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_elapsed| {
            let detail = format!("the body was not there in {} s", BODY_WITHIN.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-body", detail)
        })?;
        body.map(Self).map_err(|bad| {
            let kind = if bad.status() == StatusCode::PAYLOAD_TOO_LARGE {
                "too-large"
            } else {
                "bad-body"
            };
            Problem::new(bad.status(), kind, bad.body_text())
        })
    }
}
