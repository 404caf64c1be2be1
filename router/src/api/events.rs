//! `/api/v1/events`: what has happened, and what happens from now on (server-sent events, HTML
//! Living Standard §9.2).

#![expect(unused_qualifications, reason = "the macro that describes handlers writes whole paths")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures::Stream;
use futures::stream::{self, StreamExt as _};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Query;
use super::problem::Problem;
use super::serve::Patience;
use crate::journal::{self, Events};
use crate::view::API_VERSION;
use crate::view::event as view;

/// Who follow at a time. They keep their connections, of which others need some.
pub(super) const FOLLOWERS_MAX: usize = 16;
/// Longest time that somebody follows without asking again.
pub(super) const FOLLOW_MAX: Duration = Duration::from_hours(24);
/// A word to who follows, so that whoever has gone is noticed.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(super) struct Source {
    events: Events,
    places: Arc<Semaphore>,
}

/// `?after=ID&kind=vip-withdrawn`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Those after this one.
    after: Option<u64>,
    /// Of this kind only.
    kind: Option<String>,
}

pub(super) fn router(events: Events) -> OpenApiRouter {
    paths().with_state(Source { events, places: Arc::new(Semaphore::new(FOLLOWERS_MAX)) })
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Source> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// What has happened; with `Accept: text/event-stream` also what happens from now on.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "events",
    tag = "node",
    params(Asked),
    responses((status = 200, content(
        (view::Events = "application/json"),
        (String = "text/event-stream"),
    )))
)]
async fn answer(
    State(source): State<Source>,
    patience: Option<Extension<Patience>>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let kind = asked.kind.map(|kind| known(&kind)).transpose()?;
    let is_wanted = move |event: &journal::Event| kind.is_none_or(|kind| event.kind == kind);
    if !follows(&headers) {
        let (events, _) = source.events.after(asked.after.unwrap_or(0));
        let events = events.iter().filter(|event| is_wanted(event)).map(|event| shown(event));
        let events = events.collect();
        return Ok(Json(view::Events { api_version: API_VERSION.into(), events }).into_response());
    }
    let place = Arc::clone(&source.places).try_acquire_owned().map_err(|_full| {
        let detail = format!("{FOLLOWERS_MAX} follow the events already: end one of them");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    })?;
    if let Some(Extension(patience)) = patience {
        patience.give(FOLLOW_MAX);
    }
    let after = asked.after.or(last_seen(&headers)).unwrap_or(0);
    let (before, news) = source.events.after(after);
    let stream = follow(before, news, place).filter(move |it| {
        let passes = match it {
            Followed::Event(event) => is_wanted(event),
            Followed::Missed(_) => true,
        };
        std::future::ready(passes)
    });
    let messages = stream.map(|it| Ok::<_, Infallible>(message(&it)));
    let alive = KeepAlive::new().interval(ALIVE_EVERY);
    Ok(Sse::new(messages).keep_alive(alive).into_response())
}

fn known(kind: &str) -> Result<&'static str, Problem> {
    let found = journal::kinds::named(kind).map(|kind| kind.name);
    found.ok_or_else(|| {
        let names: Vec<&str> = journal::kinds::ALL.iter().map(|kind| kind.name).collect();
        let detail = format!("kind is one of {}, not {kind:?}", names.join(", "));
        Problem::new(StatusCode::BAD_REQUEST, "bad-query", detail)
    })
}

pub(super) fn follows(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// What a browser says that comes again.
fn last_seen(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

enum Followed {
    Event(Arc<journal::Event>),
    /// So many were missed, since who follows reads too slowly.
    Missed(u64),
}

/// Events of before, then those that come; the place is free again when nobody reads any more.
fn follow(
    before: Vec<Arc<journal::Event>>,
    news: Receiver<Arc<journal::Event>>,
    place: OwnedSemaphorePermit,
) -> Pin<Box<dyn Stream<Item = Followed> + Send>> {
    let before = stream::iter(before.into_iter().map(Followed::Event));
    let news = stream::unfold((news, place), |(mut news, place)| async move {
        let next = match news.recv().await {
            Ok(event) => Followed::Event(event),
            Err(RecvError::Lagged(missed)) => Followed::Missed(missed),
            Err(RecvError::Closed) => return None,
        };
        Some((next, (news, place)))
    });
    Box::pin(before.chain(news))
}

fn message(followed: &Followed) -> Message {
    match followed {
        Followed::Event(event) => {
            let text = serde_json::to_string(&shown(event)).unwrap_or_default();
            Message::default().id(event.id.to_string()).event("change").data(text)
        }
        Followed::Missed(missed) => {
            Message::default().event("missed").data(format!("{{\"missed\":{missed}}}"))
        }
    }
}

fn shown(event: &journal::Event) -> view::Event {
    let text_of = |name: &str| {
        let found = event.fields.iter().find(|(field, _)| *field == name);
        found.and_then(|(_, value)| value.as_str())
    };
    let object = match (text_of("service"), text_of("backend")) {
        (Some(service), Some(backend)) => Some(format!("{service}/{backend}")),
        (Some(service), None) => Some(service.to_owned()),
        (None, _) => ["peer", "cache", "station"].into_iter().find_map(text_of).map(str::to_owned),
    };
    let fields = event.fields.iter();
    view::Event {
        id: event.id,
        at: humantime::format_rfc3339_millis(event.at).to_string(),
        kind: event.kind.clone(),
        object,
        text: event.text.clone(),
        fields: fields.map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tower::ServiceExt as _;
    use tracing::{info, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::journal::kinds;

    async fn asked(events: &Events, path: &str, accept: &str) -> Response {
        let request = http::Request::get(path).header(header::ACCEPT, accept);
        let request = request.body(axum::body::Body::empty()).unwrap();
        Router::from(router(events.clone())).oneshot(request).await.unwrap()
    }

    fn happen(events: &Events) {
        let registry = tracing_subscriber::registry().with(events.layer());
        tracing::subscriber::with_default(registry, || {
            info!(event = kinds::PEER_UP, peer = %"tor-1", "BGP session established");
            warn!(event = kinds::BACKEND_DOWN, service = "web", backend = %"10.0.0.1", "backend down");
        });
    }

    #[tokio::test]
    async fn they_are_told_with_their_objects_and_by_kind() {
        let events = Events::default();
        happen(&events);
        let response = asked(&events, "/api/v1/events", "*/*").await;
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let told: view::Events = serde_json::from_slice(&body).unwrap();
        let objects: Vec<_> = told.events.iter().map(|it| it.object.as_deref().unwrap()).collect();
        assert_eq!(objects, ["tor-1", "web/10.0.0.1"]);

        let response = asked(&events, "/api/v1/events?kind=peer-up", "*/*").await;
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let told: view::Events = serde_json::from_slice(&body).unwrap();
        assert_eq!((told.events.len(), told.events[0].id), (1, 1));
        for bad in ["kind=nothing", "after=soon", "what=1"] {
            let response = asked(&events, &format!("/api/v1/events?{bad}"), "*/*").await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
            let kind = &response.headers()[header::CONTENT_TYPE];
            assert_eq!(kind, "application/problem+json", "{bad}");
        }
    }

    #[tokio::test]
    async fn who_follows_gets_what_was_and_what_comes() {
        let events = Events::default();
        happen(&events);
        let response = asked(&events, "/api/v1/events?after=1", "text/event-stream").await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut body = response.into_body().into_data_stream();
        let first = body.next().await.unwrap().unwrap();
        let first = std::str::from_utf8(&first).unwrap();
        assert!(first.starts_with("id: 2\nevent: change\ndata: {"), "{first}");
        happen(&events);
        for id in [3, 4] {
            let next = body.next().await.unwrap().unwrap();
            let next = std::str::from_utf8(&next).unwrap().to_owned();
            assert!(next.starts_with(&format!("id: {id}\n")), "{next}");
        }
    }

    #[tokio::test]
    async fn there_are_places_for_some_who_follow_and_they_are_free_again() {
        let events = Events::default();
        let router = Router::from(router(events.clone()));
        let ask = || {
            let request =
                http::Request::get("/api/v1/events").header(header::ACCEPT, "text/event-stream");
            router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap())
        };
        let mut held = Vec::new();
        for _ in 0..FOLLOWERS_MAX {
            held.push(ask().await.unwrap());
        }
        assert_eq!(ask().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        held.pop();
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    }
}
