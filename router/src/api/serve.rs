//! Connections of the admin API: few at a time, one request each, and not for long. A client that
//! stops in the middle costs the daemon no more than one of these places for a while.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tracing::debug;

use super::caller::Caller;

/// Connections served at a time. The next ones wait in the kernel's queue.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// A connection is closed after this long, whatever it is doing.
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// Serves what connects, for ever.
pub(super) async fn all<L: Listener>(mut listener: L, routes: Router, within: Duration)
where
    L::Io: Caller,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _remote) = listener.accept().await;
        let (who, routes) = (stream.who(), TowerToHyperService::new(routes.clone()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(who);
            routes.call(request)
        });
        let connection =
            http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            match tokio::time::timeout(within, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "an API client broke off"),
                Err(_elapsed) => debug!("an API client took longer than {within:?}"),
            }
            drop(place);
        });
    }
}
