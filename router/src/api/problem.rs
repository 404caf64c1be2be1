//! Refusals as RFC 9457 problem documents.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::refusals::Refusal;

/// A refusal: what kind, and what to do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Stable name of the kind, below a base that need not resolve (RFC 9457 §3.1.1).
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    /// What is wrong in the body, each with its place (as RFC 9457 §3 shows it).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Mistake>,
}

/// What kind of problem an answer is, for those around its handler.
#[derive(Clone, Debug)]
pub(super) struct Kind(pub(super) String);

/// One mistake in a body.
#[derive(Debug, Serialize, ToSchema)]
struct Mistake {
    detail: String,
    /// JSON Pointer (RFC 6901) to the value.
    pointer: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &str, detail: String) -> Self {
        Self {
            kind: format!("urn:tidegate:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail,
            errors: Vec::new(),
        }
    }

    /// Adds what is wrong at one place of the body.
    pub(super) fn with(mut self, pointer: &str, detail: String) -> Self {
        self.errors.push(Mistake { detail, pointer: format!("#{pointer}") });
        self
    }

    /// The detail is about this place of the body.
    pub(super) fn at(self, pointer: &str) -> Self {
        let detail = self.detail.clone();
        self.with(pointer, detail)
    }

    /// The reconcile task did not answer in time.
    pub(super) fn busy(cause: &dyn std::fmt::Display) -> Self {
        Refusal::Busy.count();
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            format!("the daemon is starting, stopping or too busy to answer ({cause}): try again"),
        )
    }

    /// The kernel did not give the figures.
    pub(super) fn unreadable(cause: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unreadable",
            format!("the maps of the packet path cannot be read: {cause}"),
        )
    }

    /// Not ready, and why.
    pub(super) fn not_ready(why: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content = [(header::CONTENT_TYPE, "application/problem+json")];
        let kind = Kind(self.kind.rsplit(':').next().unwrap_or_default().to_owned());
        let mut response = (status, content, Json(self)).into_response();
        response.extensions_mut().insert(kind);
        response
    }
}
