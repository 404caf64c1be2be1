//! Connections of the admin API: few at a time, one request each, and not for long. A client that
//! stops in the middle costs the daemon no more than one of these places for a while.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum::serve::Listener;
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tracing::debug;

use super::caller::Who;

/// Connections served at a time on the Unix socket. The next ones wait in the kernel's queue.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// The same on TCP, where nobody is known yet who connects.
pub(super) const TCP_CONNECTIONS_MAX: usize = 256;
/// A connection is closed after this long, unless its request is given more [`Patience`].
pub(super) const WITHIN: Duration = Duration::from_secs(10);
/// The head of a request is there within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// What is read of a request before somebody wants it.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How much longer a request may take, in seconds: what answers it decides that.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience(Arc<AtomicU64>);

impl Patience {
    pub(super) fn give(&self, more: Duration) {
        self.0.store(more.as_secs(), Ordering::Relaxed);
    }
}

/// Serves what connects to the Unix socket, for ever; each connection takes one of the places.
pub(super) async fn all(
    mut listener: UnixListener,
    routes: Router,
    places: Arc<Semaphore>,
    within: Duration,
) {
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _remote) = Listener::accept(&mut listener).await;
        let (who, routes) = (Who::of(&stream), routes.clone());
        tokio::spawn(async move {
            one_within(within, stream, move |_| Ok(who.clone()), routes).await;
            drop(place);
        });
    }
}

/// Serves one connection; `admit` says who asks, or answers in the place of the routes.
pub(super) async fn one<I, A>(io: I, admit: A, routes: Router)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(&HeaderMap) -> Result<Who, Box<Response>>,
{
    one_within(WITHIN, io, admit, routes).await;
}

async fn one_within<I, A>(within: Duration, io: I, admit: A, routes: Router)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(&HeaderMap) -> Result<Who, Box<Response>>,
{
    let (patience, routes) = (Patience::default(), TowerToHyperService::new(routes));
    let service = service_fn(|mut request: Request<Incoming>| {
        let admitted = admit(request.headers());
        let (routes, patience) = (routes.clone(), patience.clone());
        async move {
            match admitted {
                Ok(who) => {
                    request.extensions_mut().insert(who);
                    request.extensions_mut().insert(patience);
                    routes.call(request).await
                }
                Err(refusal) => Ok::<_, Infallible>(*refusal),
            }
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
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
}
