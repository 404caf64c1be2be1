//! `/api/v1/vips` and `/api/v1/backends`: services and their backends, a page at a time.

#![expect(unused_qualifications, reason = "the macro that describes handlers writes whole paths")]

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::Query;
use super::problem::Problem;
use super::{Answer as _, Look};
use crate::view::{Backends, Page, Scope, View, Vips};

/// Services, or backends, on a page, unless the request says otherwise.
const LIMIT_DEFAULT: usize = 1_000;
/// And at most: a page is made in one go by the task that also answers to failed checks.
const LIMIT_MAX: usize = 5_000;

/// What a request may say.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// `next` of the page before.
    from: Option<String>,
    /// So many on a page, 1,000 when absent, 5,000 at most.
    limit: Option<usize>,
}

impl Asked {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }

    /// Services from this name on.
    fn services(self) -> Page {
        Page { limit: self.limit(), service: self.from.unwrap_or_default(), backend: None }
    }

    /// Backends from this service and address on.
    fn backends(self) -> Result<Page, Problem> {
        let limit = self.limit();
        let from = self.from.unwrap_or_default();
        let Some((service, address)) = from.split_once('/') else {
            return Ok(Page { limit, service: from, backend: None });
        };
        let backend = address.parse().map_err(|_bad| {
            let detail = format!("from is what next was, such as web/10.0.0.11, not {from:?}");
            Problem::new(StatusCode::BAD_REQUEST, "bad-query", detail)
        })?;
        Ok(Page { limit, service: service.to_owned(), backend: Some(backend) })
    }
}

/// VIPs with their services and backends, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/vips",
    tag = "services",
    params(Asked),
    responses((status = 200, body = Vips))
)]
pub(super) async fn vips(look: Look, Query(asked): Query<Asked>) -> Response {
    look.json(Scope::Services(asked.services()), View::vips).await
}

/// Backends of all services, a page at a time.
#[utoipa::path(
    get,
    path = "/api/v1/backends",
    tag = "services",
    params(Asked),
    responses((status = 200, body = Backends))
)]
pub(super) async fn backends(look: Look, Query(asked): Query<Asked>) -> Response {
    match asked.backends() {
        Ok(page) => look.json(Scope::Backends(page), View::backends).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_where_the_one_before_has_ended() {
        let asked = |from: &str, limit| Asked { from: Some(from.into()), limit };
        let page = |service: &str, backend: Option<&str>, limit| Page {
            service: service.into(),
            backend: backend.map(|it| it.parse().unwrap()),
            limit,
        };
        let cases = [
            (Asked { from: None, limit: None }, page("", None, 1_000)),
            (asked("web", Some(0)), page("web", None, 1)),
            (asked("web/10.0.0.11", Some(7)), page("web", Some("10.0.0.11"), 7)),
            (asked("web/fd00::1", Some(9_999)), page("web", Some("fd00::1"), 5_000)),
        ];
        for (asked, wanted) in cases {
            let text = format!("{asked:?}");
            assert_eq!(asked.backends().unwrap(), wanted, "{text}");
        }
        assert!(asked("web/", None).backends().is_err());
    }
}
