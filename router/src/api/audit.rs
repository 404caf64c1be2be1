//! Who changed what: a record of each request that changes something, or was refused that.
//!
//! It stands around all handlers, so that none can forget it. What a body says is in no record, and
//! so no secret is.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::{info, warn};

use super::caller::Who;
use super::problem::{Kind, Problem};
use crate::journal::{AUDIT, kinds};

/// Of what was asked, in a record.
const ASKED_CHARS_MAX: usize = 300;

/// Stands in an answer to say that nothing was to be changed, whatever the method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked;

/// Where a POST changes nothing.
const LOOKS: [&str; 2] = ["/api/v1/plan", "/api/v1/why"];

/// Answers, and writes down what was answered.
pub(super) async fn around(request: Request, next: Next) -> Response {
    let method = request.method();
    let looks = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
        || LOOKS.contains(&request.uri().path());
    if looks {
        return next.run(request).await;
    }
    let asked: String =
        format!("{method} {}", request.uri()).chars().take(ASKED_CHARS_MAX).collect();
    let who = request.extensions().get::<Who>().cloned().unwrap_or(Who::Unknown);
    // A task of its own: who hangs up does not keep what was done from being told.
    let answered = tokio::spawn(async move {
        let response = next.run(request).await;
        if response.extensions().get::<Looked>().is_none() {
            tell(&who.name().await, &asked, &response);
        }
        response
    });
    answered.await.unwrap_or_else(|ended| Problem::busy(&ended).into_response())
}

fn tell(who: &str, asked: &str, response: &Response) {
    let status = response.status();
    if status.is_success() {
        let generation = generation(response.headers());
        info!(
            target: AUDIT,
            event = kinds::API_CHANGED,
            who,
            asked,
            generation,
            outcome = "done",
            "{asked}, by {who}"
        );
        return;
    }
    let outcome = response.extensions().get::<Kind>().map_or("refused", |Kind(kind)| kind);
    let event = kinds::API_REFUSED;
    warn!(event, who, asked, outcome, "{asked}, by {who}, was refused: {outcome}");
}

/// That of the answer's `ETag`.
fn generation(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::ETAG)?.to_str().ok()?.trim_matches('"').parse().ok()
}
