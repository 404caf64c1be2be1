//! Connections of the admin API: few at a time, one request each, and not for long. A client that
//! stops in the middle costs the daemon no more than one of these places for a while.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// A connection is closed after this long, unless its request is given more [`Patience`].
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// How much longer a request may take, in seconds: what answers it decides that.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience(Arc<AtomicU64>);

impl Patience {
    pub(super) fn give(&self, more: Duration) {
        self.0.store(more.as_secs(), Ordering::Relaxed);
    }
}

/// Serves what connects, for ever; each connection takes one of the places.
pub(super) async fn all<L: Listener>(
    mut listener: L,
    routes: Router,
    places: Arc<Semaphore>,
    within: Duration,
) where
    L::Io: Caller,
{
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _remote) = listener.accept().await;
        let (who, routes) = (stream.who(), TowerToHyperService::new(routes.clone()));
        let patience = Patience::default();
        let given = patience.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(who);
            request.extensions_mut().insert(given.clone());
            routes.call(request)
        });
        let connection =
            http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let mut served = tokio::time::timeout(within, &mut connection).await;
            let more = Duration::from_secs(patience.0.load(Ordering::Relaxed));
            if served.is_err() && !more.is_zero() {
                served = tokio::time::timeout(more, connection).await;
            }
            match served {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "an API client broke off"),
                Err(_elapsed) => debug!("an API client took longer than {within:?}"),
            }
            drop(place);
        });
    }
}
