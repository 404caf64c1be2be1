//! The configuration by its objects: peers, services and backends by name.
//!
//! A write of an object names the generation it was made for in `If-Match`, so that two writers
//! cannot undo each other unseen: without it 428, with an old one 412.

#![expect(unused_qualifications, reason = "the macro that describes handlers writes whole paths")]

use std::net::IpAddr;

use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use tidegate_config::overlay::{Edit, EditError, Kind, Target, objects};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Writer;
use super::change::{BODY_BYTES_MAX, Way, ask, documents, json, made, tagged};
use super::extract::{Body, Path, Query};
use super::problem::Problem;
use crate::change::{Asks, Candidate, Refused, Terms, What};
use crate::view::API_VERSION;
use crate::view::change::{Applied, Plan};

pub(super) fn routes(asks: Asks) -> OpenApiRouter {
    paths().layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(asks)
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Asks> {
    OpenApiRouter::new()
        .routes(routes!(config))
        .routes(routes!(overlay, drop_overlay))
        .routes(routes!(config_peers))
        .routes(routes!(config_services))
        .routes(routes!(get_peer, put_peer, patch_peer, delete_peer))
        .routes(routes!(get_service, put_service, patch_service, delete_service))
        .routes(routes!(put_backend, patch_backend, delete_backend))
}

const TOML: &str = "application/toml; charset=utf-8";

/// The configuration in force: the file, with what the API changed.
#[utoipa::path(
    get,
    path = "/api/v1/config",
    tag = "config",
    responses((status = 200, body = String, content_type = "application/toml"))
)]
async fn config(asks: Way) -> Result<Response, Problem> {
    let documents = documents(&asks).await?;
    Ok(tagged(documents.generation, ([(header::CONTENT_TYPE, TOML)], documents.effective)))
}

/// What the API changed, by itself.
#[utoipa::path(
    get,
    path = "/api/v1/config/overlay",
    tag = "config",
    responses((status = 200, body = String, content_type = "application/toml"))
)]
async fn overlay(asks: Way) -> Result<Response, Problem> {
    let documents = documents(&asks).await?;
    Ok(tagged(documents.generation, ([(header::CONTENT_TYPE, TOML)], documents.overlay)))
}

/// Goes back to the file alone.
#[utoipa::path(
    delete,
    path = "/api/v1/config/overlay",
    tag = "config",
    params(Dry, IfMatch),
    responses((status = 200, body = Made))
)]
async fn drop_overlay(
    asks: Way,
    Writer(who): Writer,
    Query(dry): Query<Dry>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let generation = if_match(&headers)?;
    write(&asks, who, &dry, Candidate::WithoutOverlay { generation }).await
}

/// Peers as they are configured.
#[utoipa::path(
    get,
    path = "/api/v1/config/peers",
    tag = "config",
    responses((status = 200, body = serde_json::Value))
)]
async fn config_peers(asks: Way) -> Result<Response, Problem> {
    list(&asks, Kind::Peer).await
}

/// Services as they are configured.
#[utoipa::path(
    get,
    path = "/api/v1/config/services",
    tag = "config",
    responses((status = 200, body = serde_json::Value))
)]
async fn config_services(asks: Way) -> Result<Response, Problem> {
    list(&asks, Kind::Service).await
}

async fn list(asks: &Asks, kind: Kind) -> Result<Response, Problem> {
    let documents = documents(asks).await?;
    let all: Vec<_> = objects(&documents.effective, kind).into_values().collect();
    let plural = format!("{kind}s");
    let body = serde_json::json!({ "api_version": API_VERSION, plural: all });
    Ok(tagged(documents.generation, Json(body)))
}

/// What a write answers: the plan if it is a dry run, else what was done.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what two other types are written as")]
enum Made {
    Planned(Plan),
    Applied(Applied),
}

/// Whether it is only told what would be done.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Dry {
    /// Tell what it would do, and do nothing.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
}

/// The generation that the writer has read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header that is read by hand")]
struct IfMatch {
    /// The `ETag` of a GET: nobody has changed anything since.
    #[param(rename = "If-Match")]
    if_match: String,
}

fn if_match(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "no-generation",
            "say which generation you change: send the ETag of a GET as If-Match".into(),
        ));
    };
    let number = tag.to_str().ok().and_then(|tag| tag.trim().trim_matches('"').parse().ok());
    number.ok_or_else(|| {
        // Not ours, so it is not the one in force (RFC 9110 §13.1.1).
        let detail = "If-Match is no ETag of this API, which is a number in quotes".into();
        Problem::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
    })
}

async fn write(
    asks: &Asks,
    who: String,
    dry: &Dry,
    candidate: Candidate,
) -> Result<Response, Problem> {
    let what =
        if dry.dry_run { What::Plan(candidate) } else { What::Apply(candidate, Terms::default()) };
    Ok(made(ask(asks, who, what).await?))
}

async fn read(asks: &Asks, target: Target) -> Result<Response, Problem> {
    let documents = documents(asks).await?;
    if let Some(object) = objects(&documents.effective, target.kind).remove(&target.name) {
        return Ok(tagged(documents.generation, Json(object)));
    }
    Err(Problem::from(Refused::Edit(EditError::NoSuch(target))))
}

/// PUT, PATCH and DELETE of what stands at a path.
macro_rules! edits {
    (
        $path:literal, params($($params:tt)*), $at:ty => $target:expr,
        $put_doc:literal $put:ident,
        $patch_doc:literal $patch:ident,
        $delete_doc:literal $delete:ident
    ) => {
        #[doc = $put_doc]
        #[utoipa::path(
            put,
            path = $path,
            tag = "config",
            params($($params)*, Dry, IfMatch),
            request_body = serde_json::Value,
            responses((status = 200, body = Made))
        )]
        async fn $put(
            asks: Way,
            who: Writer,
            dry: Query<Dry>,
            Path(at): Path<$at>,
            headers: HeaderMap,
            Body(body): Body,
        ) -> Result<Response, Problem> {
            edit(&asks, who, dry, $target(at), &headers, Edit::Put(json(&body)?)).await
        }

        #[doc = $patch_doc]
        #[utoipa::path(
            patch,
            path = $path,
            tag = "config",
            params($($params)*, Dry, IfMatch),
            request_body = serde_json::Value,
            responses((status = 200, body = Made))
        )]
        async fn $patch(
            asks: Way,
            who: Writer,
            dry: Query<Dry>,
            Path(at): Path<$at>,
            headers: HeaderMap,
            Body(body): Body,
        ) -> Result<Response, Problem> {
            edit(&asks, who, dry, $target(at), &headers, Edit::Patch(json(&body)?)).await
        }

        #[doc = $delete_doc]
        #[utoipa::path(
            delete,
            path = $path,
            tag = "config",
            params($($params)*, Dry, IfMatch),
            responses((status = 200, body = Made))
        )]
        async fn $delete(
            asks: Way,
            who: Writer,
            dry: Query<Dry>,
            Path(at): Path<$at>,
            headers: HeaderMap,
        ) -> Result<Response, Problem> {
            edit(&asks, who, dry, $target(at), &headers, Edit::Delete).await
        }
    };
}

const fn peer(name: String) -> Target {
    Target { kind: Kind::Peer, name, backend: None }
}

const fn service(name: String) -> Target {
    Target { kind: Kind::Service, name, backend: None }
}

fn backend((name, addr): (String, IpAddr)) -> Target {
    Target { kind: Kind::Service, name, backend: Some(addr) }
}

/// A peer as it is configured.
#[utoipa::path(
    get,
    path = "/api/v1/config/peers/{name}",
    tag = "config",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, body = serde_json::Value))
)]
async fn get_peer(asks: Way, Path(name): Path<String>) -> Result<Response, Problem> {
    read(&asks, peer(name)).await
}

/// A service as it is configured.
#[utoipa::path(
    get,
    path = "/api/v1/config/services/{name}",
    tag = "config",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, body = serde_json::Value))
)]
async fn get_service(asks: Way, Path(name): Path<String>) -> Result<Response, Problem> {
    read(&asks, service(name)).await
}

edits!(
    "/api/v1/config/peers/{name}",
    params(("name" = String, Path, description = "Its name")),
    String => peer,
    "A peer: made, or put in the place of the one there is." put_peer,
    "A peer: some keys changed (RFC 7396)." patch_peer,
    "A peer: removed." delete_peer
);
edits!(
    "/api/v1/config/services/{name}",
    params(("name" = String, Path, description = "Its name")),
    String => service,
    "A service: made, or put in the place of the one there is." put_service,
    "A service: some keys changed (RFC 7396)." patch_service,
    "A service: removed." delete_service
);
edits!(
    "/api/v1/config/services/{name}/backends/{address}",
    params(
        ("name" = String, Path, description = "Name of the service"),
        ("address" = String, Path, description = "Address of the backend")
    ),
    (String, IpAddr) => backend,
    "A backend of a service: made, or put in the place of the one there is." put_backend,
    "A backend of a service: some keys changed (RFC 7396)." patch_backend,
    "A backend of a service: removed." delete_backend
);

async fn edit(
    asks: &Asks,
    Writer(who): Writer,
    Query(dry): Query<Dry>,
    target: Target,
    headers: &HeaderMap,
    edit: Edit,
) -> Result<Response, Problem> {
    let generation = if_match(headers)?;
    write(asks, who, &dry, Candidate::Edit { target, edit, generation }).await
}
