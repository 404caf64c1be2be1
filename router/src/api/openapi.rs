//! The API's own description (OpenAPI 3.1), made from the handlers.

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema, Tag,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::problem::Problem;
use crate::view::API_VERSION;

/// Where it is.
pub(super) const PATH: &str = "/api/openapi.json";
/// Where people read it.
pub(super) const VIEWER_PATH: &str = "/api/";

const ABOUT: &str = "\
The admin API of a tidegate edge. It is on a Unix socket, where whoever may open that may change \
things, and if `api.listen` says so on TCP. There a token or a certificate says who asks and \
whether he may change things; on a loopback address without either, everybody may read and nobody \
change. Refusals are problem documents (RFC 9457). Writes of an object name in `If-Match` the \
generation that they were made for, which is the `ETag` of a GET.";

const TAGS: [(&str, &str); 6] = [
    ("node", "The daemon and its host"),
    ("bgp", "Peers and routes"),
    ("services", "VIPs, services and backends, and taking them out of service"),
    ("packets", "What becomes of packets"),
    ("change", "Changes of the configuration: told, made, confirmed or undone"),
    ("config", "Peers and services by name"),
];

/// The description, made from all handlers.
pub(super) fn document() -> OpenApi {
    let mut document = super::paths().into_openapi();
    for part in [
        super::capture::paths().into_openapi(),
        super::change::paths().into_openapi(),
        super::config::paths().into_openapi(),
        super::drain::paths().into_openapi(),
        super::dump::paths().into_openapi(),
        super::events::paths().into_openapi(),
        super::flows::paths().into_openapi(),
        super::health::paths().into_openapi(),
        super::peer::paths().into_openapi(),
        super::refresh::paths().into_openapi(),
        super::routes::paths().into_openapi(),
        super::upgrade::paths().into_openapi(),
        super::why::paths().into_openapi(),
    ] {
        document.merge(part);
    }
    finished(document)
}

/// With what is the same everywhere.
fn finished(mut document: OpenApi) -> OpenApi {
    document.info =
        InfoBuilder::new().title("tidegate").version(API_VERSION).description(Some(ABOUT)).build();
    document.tags = Some(
        TAGS.map(|(name, about)| {
            let mut tag = Tag::new(name);
            tag.description = Some(about.to_owned());
            tag
        })
        .to_vec(),
    );
    // Names of peers out of ranges hold slashes; a template has no word for that.
    let paths = std::mem::take(&mut document.paths.paths);
    let paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item));
    document.paths.paths = paths.collect();
    let components = document.components.get_or_insert_default();
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend::<Vec<(String, RefOr<Schema>)>>(schemas);
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        operations.into_iter().flatten().for_each(refuse);
        let changes = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        changes.into_iter().flatten().for_each(refuse_change);
    }
    secure(&mut document);
    document
}

/// Every operation may be refused.
fn refuse(operation: &mut Operation) {
    let refusals = &mut operation.responses.responses;
    refusals.insert("default".into(), refusal("It is refused: why, and what to do").into());
    refusals.insert("401".into(), refusal("Over TCP: nobody who is known asks").into());
    refusals.insert("429".into(), refusal("Over TCP: too many requests of this caller").into());
}

/// And those that change something, for more reasons.
fn refuse_change(operation: &mut Operation) {
    let refusals = &mut operation.responses.responses;
    refusals.insert("403".into(), refusal("Whoever asks may only read").into());
    refusals.insert("408".into(), refusal("The body came too slowly").into());
    refusals.insert("413".into(), refusal("The body is too large").into());
}

fn refusal(why: &str) -> Response {
    let schema = Ref::from_schema_name(Problem::name().into_owned());
    let problem = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(why).content("application/problem+json", problem).build()
}

/// How a caller over TCP says who he is.
fn secure(document: &mut OpenApi) {
    let token = Http::new(HttpAuthScheme::Bearer);
    let certificate =
        SecurityScheme::MutualTls { description: None, deprecated: None, extensions: None };
    let schemes = &mut document.components.get_or_insert_default().security_schemes;
    schemes.insert("token".into(), RefOr::T(SecurityScheme::Http(token)));
    schemes.insert("certificate".into(), RefOr::T(certificate));
    let none: [&str; 0] = [];
    document.security =
        Some(["token", "certificate"].map(|name| SecurityRequirement::new(name, none)).to_vec());
}

/// A page that shows it, and asks nobody else for anything.
pub(super) async fn viewer() -> impl IntoResponse {
    const ALLOWED: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                           script-src 'unsafe-inline'; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, ALLOWED),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("viewer.html"))
}

/// What answers with it.
pub(super) fn answer(document: &OpenApi) -> axum::response::Response {
    Json(document).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn the_description_in_the_tree_is_that_of_the_handlers() {
        let text = document().to_pretty_json().unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap();
        assert!(found == text, "it has changed: run this test with UPDATE_GOLDEN=1");
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_sentence_and_a_refusal() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut names = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(!path.contains('*'), "{path}");
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{method} {path}: {name} is taken");
                let summary = operation["summary"].as_str().unwrap_or_default();
                assert!(summary.len() > 5, "{method} {path} has no summary");
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
                let tag = operation["tags"][0].as_str().unwrap();
                assert!(TAGS.iter().any(|(known, _)| *known == tag), "{method} {path}: {tag}");
            }
        }
        assert!(names.len() > 30, "{names:?}");
    }
}
