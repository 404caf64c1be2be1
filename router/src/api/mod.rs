//! The admin API: HTTP on a Unix socket and, if configured, on TCP.
//!
//! Every answer is made from a fresh [`View`] that the reconcile task is asked for, and every change
//! is made by that task, so that nothing here holds state of its own.

mod audit;
mod birdwatcher;
mod caller;
mod capture;
mod change;
mod config;
mod door;
mod drain;
mod dump;
mod events;
mod extract;
mod flows;
mod health;
mod openapi;
mod pace;
mod page;
mod peer;
mod problem;
mod refresh;
pub(crate) mod refusals;
mod routes;
mod serve;
mod services;
mod upgrade;
mod why;

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tidegate_config::desired::Api;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::bgp_io::{Asker, Histories};
use crate::change::Asks;
use crate::config_file::ConfigFile;
use crate::flows_io::FlowLog;
use crate::journal::Events;
use crate::metrics;
use crate::mrt_io::Dumper;
use crate::view::{self, Scope, Status, View};
use problem::Problem;
pub(crate) use routes::parse_prefix;

/// How long a request waits for the reconcile task before it is told to come back.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a question about the node alone waits for the reconcile task while that looks at everything:
/// then it is answered with how things stood before.
const LOOK_WITHIN: Duration = Duration::from_millis(20);

/// Asks the reconcile task for a view.
#[derive(Clone, Debug)]
pub(crate) struct ViewSender {
    /// Bounded: when sixteen requests already wait, the next one gets 503 instead of a place in the
    /// queue.
    questions: mpsc::Sender<Question>,
    before: watch::Receiver<Option<View>>,
}

/// The other end: what the reconcile task reads, and where it leaves what is shown meanwhile.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) asked: mpsc::Receiver<Question>,
    /// The node before the look that is being made; `None`: none is, or more has happened than time.
    pub(crate) before: watch::Sender<Option<View>>,
}

/// A request for a view.
#[derive(Debug)]
pub(crate) struct Question {
    /// What it is to hold.
    pub(crate) scope: Scope,
    /// Where it goes, or the reason why there is none: figures that could not be read are not shown
    /// as zero.
    pub(crate) reply: oneshot::Sender<Result<View, String>>,
}

/// Makes the channel whose other end the reconcile task reads.
pub(crate) fn view_channel() -> (ViewSender, Questions) {
    let (questions, asked) = mpsc::channel(16);
    let (shown, before) = watch::channel(None);
    (ViewSender { questions, before }, Questions { asked, before: shown })
}

/// The API could not listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// On its Unix socket.
    #[error("admin API cannot listen on {}: {cause}; {remedy}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// On its TCP address.
    #[error("admin API cannot listen on {addr}: {cause}; choose another address in [api] listen")]
    Tcp {
        /// Which.
        addr: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
}

/// Where the API is listened for; who connects waits until `serve` is called.
#[derive(Debug)]
pub struct Listeners {
    unix: UnixListener,
    tcp: Option<TcpListener>,
}

impl Listeners {
    /// Sockets of another process, which listen already.
    ///
    /// # Errors
    /// They are of another kind.
    pub(crate) fn inherited(unix: OwnedFd, tcp: Option<OwnedFd>) -> std::io::Result<Self> {
        let unix = UnixListener::from_std(unix.into())?;
        let tcp = tcp.map(|tcp| TcpListener::from_std(tcp.into())).transpose()?;
        Ok(Self { unix, tcp })
    }
}

/// Listens where the configuration says.
///
/// # Errors
/// [`Error`] when an address cannot be listened on.
pub async fn listen(config: &Api) -> Result<Listeners, Error> {
    let unix = bind_unix(&config.socket).await?;
    let tcp = match config.listen {
        None => None,
        Some(addr) => Some(bind_tcp(addr).await?),
    };
    Ok(Listeners { unix, tcp })
}

async fn bind_tcp(addr: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(addr).await.map_err(|cause| Error::Tcp { addr, cause })
}

/// Whom the API asks, and whom it tells.
pub(crate) struct Wires {
    pub(crate) views: ViewSender,
    pub(crate) asks: Asks,
    pub(crate) asker: Asker,
    pub(crate) histories: Histories,
    pub(crate) dumper: Dumper,
    pub(crate) events: Events,
    pub(crate) flows: FlowLog,
}

/// Serves until it is dropped.
pub(crate) fn serve(listeners: Listeners, config: &ConfigFile, wires: Wires) -> Server {
    let (access, rules) = watch::channel(Arc::new(config.access.clone()));
    let sources =
        birdwatcher::Sources { views: Arc::new(wires.views.clone()), asker: wires.asker.clone() };
    let beside = birdwatcher::router(sources, rules);
    let routes = finished_with(all(wires), beside);
    let unix = Serving::unix(listeners.unix, &routes);
    let tcp = listeners.tcp.map(|tcp| Serving::tcp(tcp, &routes, &access));
    Server { routes, config: config.desired.router.api.clone(), access, unix, tcp }
}

fn all(wires: Wires) -> OpenApiRouter {
    let Wires { views, asks, asker, histories, dumper, events, flows } = wires;
    let all = routes(views.clone())
        .merge(change::routes(asks.clone()))
        .merge(config::routes(asks.clone()))
        .merge(drain::router(asks.clone()))
        .merge(capture::router(asks.clone()));
    let all = all.merge(upgrade::router(asks.clone())).merge(health::router(asks.clone()));
    let all = all.merge(routes::router(asker.clone()));
    let all = all.merge(why::router(asks, views.clone(), asker.clone()));
    let all = all.merge(flows::router(flows, views.clone(), asker.clone()));
    let all = all.merge(refresh::router(asker));
    let all = all.merge(peer::routes(views, histories)).merge(dump::routes(dumper));
    all.merge(events::router(events))
}

/// The API as it is served; it can move to other addresses.
#[derive(Debug)]
pub(crate) struct Server {
    routes: Router,
    config: Api,
    /// Who may come in over TCP, for connections that come.
    access: watch::Sender<Arc<Access>>,
    unix: Serving,
    tcp: Option<Serving>,
}

/// Addresses that the API could move to, already listened on.
#[derive(Debug)]
pub(crate) struct Move {
    to: Api,
    access: Arc<Access>,
    unix: Option<UnixListener>,
    tcp: Option<TcpListener>,
}

impl Server {
    /// Listens where another configuration says and this one does not.
    ///
    /// # Errors
    /// [`Error`]: the API stays where it is.
    pub(crate) async fn prepare(&self, config: &ConfigFile) -> Result<Move, Error> {
        let to = &config.desired.router.api;
        let unix = match &to.socket {
            same if *same == self.config.socket => None,
            other => Some(bind_unix(other).await?),
        };
        let tcp = match to.listen {
            Some(addr) if to.listen != self.config.listen => Some(bind_tcp(addr).await?),
            _ => None,
        };
        Ok(Move { to: to.clone(), access: Arc::new(config.access.clone()), unix, tcp })
    }

    /// Serves there, and no longer elsewhere. Requests that are being answered are.
    pub(crate) fn commit(&mut self, Move { to, access, unix, tcp }: Move) {
        self.access.send_replace(access);
        if let Some(unix) = unix {
            self.unix = Serving::unix(unix, &self.routes);
            // The old name leads nowhere any more. If it cannot be removed, the next start does.
            drop(std::fs::remove_file(&self.config.socket));
        }
        if to.listen != self.config.listen {
            self.tcp = tcp.map(|tcp| Serving::tcp(tcp, &self.routes, &self.access));
        }
        self.config = to;
    }
}

impl Server {
    /// The sockets, for another process.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn sockets(&self) -> std::io::Result<(OwnedFd, Option<OwnedFd>)> {
        let clone = |it: &Serving| it.socket.as_ref().map(OwnedFd::try_clone).transpose();
        let unix = clone(&self.unix)?.ok_or(std::io::ErrorKind::NotConnected)?;
        Ok((unix, self.tcp.as_ref().map(clone).transpose()?.flatten()))
    }

    /// Nobody new is answered.
    pub(crate) fn close(&self) {
        self.unix.task.abort();
        self.tcp.iter().for_each(|tcp| tcp.task.abort());
    }

    /// Waits until those who have asked are answered, no longer than `within`.
    pub(crate) async fn last_answers(&self, within: Duration) {
        let all = u32::try_from(serve::CONNECTIONS_MAX).unwrap_or(u32::MAX);
        // Who asks for so long that the time is over is not waited for.
        drop(tokio::time::timeout(within, self.unix.places.acquire_many(all)).await);
    }
}

/// One listener; dropping it stops accepting.
#[derive(Debug)]
struct Serving {
    task: AbortHandle,
    /// One for each connection that may be served.
    places: Arc<Semaphore>,
    /// The socket again, for another process; `None`: no descriptor was left for that.
    socket: Option<OwnedFd>,
}

impl Serving {
    fn unix(listener: UnixListener, routes: &Router) -> Self {
        let socket = again(listener.as_fd());
        let places = Arc::new(Semaphore::new(serve::CONNECTIONS_MAX));
        let all = serve::all(listener, routes.clone(), Arc::clone(&places), serve::WITHIN);
        Self { task: tokio::spawn(all).abort_handle(), places, socket }
    }

    fn tcp(listener: TcpListener, routes: &Router, access: &watch::Sender<Arc<Access>>) -> Self {
        let socket = again(listener.as_fd());
        let places = Arc::new(Semaphore::new(serve::TCP_CONNECTIONS_MAX));
        let all = door::all(listener, routes.clone(), Arc::clone(&places), access.subscribe());
        Self { task: tokio::spawn(all).abort_handle(), places, socket }
    }
}

fn again(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    socket.try_clone_to_owned().ok()
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds the Unix socket, mode 0660; takes over one that a dead process left behind.
async fn bind_unix(path: &Path) -> Result<UnixListener, Error> {
    let failed = |cause, remedy| Error::Socket { path: path.to_owned(), cause, remedy };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|cause| failed(cause, "create its directory, or run as root"))?;
    }
    let stale = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if stale {
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            let in_use = std::io::ErrorKind::AddrInUse.into();
            return Err(failed(in_use, "another tidegate answers there: stop it first"));
        }
        std::fs::remove_file(path)
            .map_err(|cause| failed(cause, "remove the file, it is a left-over socket"))?;
    }
    let listener = UnixListener::bind(path)
        .map_err(|cause| failed(cause, "choose another path in [api] socket"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(|cause| failed(cause, "its mode could not be set to 0660"))?;
    Ok(listener)
}

fn routes(views: ViewSender) -> OpenApiRouter {
    paths().with_state(Arc::new(views))
}

fn paths() -> OpenApiRouter<Arc<ViewSender>> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(status))
        .routes(routes!(peers))
        .routes(routes!(services::vips))
        .routes(routes!(rpki))
        .routes(routes!(drops))
        .routes(routes!(services::backends))
}

/// Routes as they are served, each answering what is not there or not meant so with a problem.
#[cfg(test)]
fn finished(routes: OpenApiRouter) -> Router {
    finished_with(routes, Router::new())
}

/// The same with some that are not described.
fn finished_with(routes: OpenApiRouter, beside: Router) -> Router {
    let (routes, _parts_of_it) = routes.split_for_parts();
    let document = Arc::new(openapi::document());
    routes
        .merge(beside)
        .merge(page::routes())
        .route(openapi::VIEWER_PATH, get(openapi::viewer))
        .route(openapi::PATH, get(move || std::future::ready(openapi::answer(&document))))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(audit::around))
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "node", responses((status = 200, body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The daemon on one screen.
#[utoipa::path(get, path = "/api/v1/status", tag = "node", responses((status = 200, body = Status)))]
async fn status(look: Look) -> Response {
    look.json(Scope::Node, |view| view.status).await
}

/// BGP peers.
#[utoipa::path(get, path = "/api/v1/peers", tag = "bgp", responses((status = 200, body = view::Peers)))]
async fn peers(look: Look) -> Response {
    look.json(Scope::Node, View::peers).await
}

/// RPKI caches.
#[utoipa::path(get, path = "/api/v1/rpki", tag = "bgp", responses((status = 200, body = view::rpki::Rpki)))]
async fn rpki(look: Look) -> Response {
    look.json(Scope::Node, |view| view.rpki).await
}

/// Why packets were dropped.
#[utoipa::path(get, path = "/api/v1/drops", tag = "packets", responses((status = 200, body = view::Drops)))]
async fn drops(look: Look) -> Response {
    look.json(Scope::Node, View::drops).await
}

/// The way from a request to the reconcile task.
type Look = State<Arc<ViewSender>>;

trait Answer {
    async fn view(&self, scope: Scope) -> Result<View, Problem>;
    async fn json<T: serde::Serialize>(&self, scope: Scope, part: impl Fn(View) -> T) -> Response;
}

impl Answer for Look {
    async fn view(&self, scope: Scope) -> Result<View, Problem> {
        let about_node = scope == Scope::Node;
        let before = || self.0.before.borrow().clone().filter(|_| about_node);
        let (reply, mut answer) = oneshot::channel();
        if let Err(full_or_closed) = self.0.questions.try_send(Question { scope, reply }) {
            return before().ok_or_else(|| Problem::busy(&full_or_closed));
        }
        let within = if about_node { LOOK_WITHIN } else { ANSWER_WITHIN };
        let mut answered = tokio::time::timeout(within, &mut answer).await;
        if about_node && answered.is_err() {
            if let Some(view) = before() {
                return Ok(view);
            }
            answered = tokio::time::timeout(ANSWER_WITHIN, answer).await;
        }
        match answered {
            Ok(Ok(Ok(view))) => Ok(view),
            Ok(Ok(Err(unreadable))) => Err(Problem::unreadable(&unreadable)),
            Ok(Err(closed)) => Err(Problem::busy(&closed)),
            Err(elapsed) => Err(Problem::busy(&elapsed)),
        }
    }

    async fn json<T: serde::Serialize>(&self, scope: Scope, part: impl Fn(View) -> T) -> Response {
        match self.view(scope).await {
            Ok(view) => Json(part(view)).into_response(),
            Err(problem) => problem.into_response(),
        }
    }
}

/// Ready: the configuration is in force and the packet path attached.
#[utoipa::path(get, path = "/readyz", tag = "node", responses((status = 200, body = String, content_type = "text/plain")))]
async fn readyz(look: Look) -> Response {
    match look.view(Scope::Node).await {
        Ok(view) if view.status.converged => "ready\n".into_response(),
        Ok(view) => {
            let why = view.status.problem.unwrap_or_else(|| "still converging".into());
            Problem::not_ready(why).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "node", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(look: Look) -> Response {
    match look.view(Scope::Figures { backends_max: metrics::BACKEND_SERIES_MAX }).await {
        Ok(view) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], metrics::render(&view, refusals::counts()))
                .into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        format!(
            "there is nothing at {}; try /api/v1/status, /peers, /routes, /vips, /backends, /drops, \
             /why, /events, /rpki, /drains, /config or /history there, /metrics, /healthz or /readyz",
            uri.path()
        ),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{} does not know {method}", uri.path()),
    )
}

#[cfg(test)]
mod tests;
