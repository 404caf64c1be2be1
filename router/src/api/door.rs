//! Over TCP: who comes in, how many at a time, and how fast they ask.
//!
//! What is here meets the network before anybody is known: a connection costs one of the places of
//! its listener, of which one address has only some, and both handshake and head of a request have
//! to be there soon.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::caller::Who;
use super::pace::Pace;
use super::problem::Problem;
use super::refusals::Refusal;
use super::serve;
use crate::access::tokens::Role;
use crate::access::{Access, Subject};

/// Connections of one address at a time, or of one /64 of IPv6. Those beyond are closed at once.
pub(super) const OF_AN_ADDRESS_MAX: usize = 32;
/// A TLS handshake is over within this time.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// What a listener on TCP goes by. It is read for each connection, so that those that stand stay
/// when it changes.
pub(super) type Rules = watch::Receiver<Arc<Access>>;

/// Lets in whoever connects, for ever.
pub(super) async fn all(
    mut listener: TcpListener,
    routes: Router,
    places: Arc<Semaphore>,
    rules: Rules,
) {
    let door = Arc::new(Door::default());
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, remote) = Listener::accept(&mut listener).await;
        let from = remote.ip().to_canonical();
        let Some(seat) = Seat::take(&door, from) else {
            Refusal::Connections.count();
            debug!(%from, "an API connection too many of its address");
            continue;
        };
        let (routes, access) = (routes.clone(), Arc::clone(&rules.borrow()));
        tokio::spawn(async move {
            let visit = Visit { door: Arc::clone(&seat.door), from, access, subject: None };
            visit.serve(stream, routes).await;
            drop((seat, place));
        });
    }
}

/// What is known of those who come, all together.
#[derive(Debug, Default)]
struct Door {
    /// Connections by address; as many as there are places at most.
    seats: Mutex<HashMap<IpAddr, usize>>,
    known: Pace,
    strangers: Pace,
}

/// A connection, counted for its address until it is dropped.
struct Seat {
    door: Arc<Door>,
    of: IpAddr,
}

impl Seat {
    fn take(door: &Arc<Door>, from: IpAddr) -> Option<Self> {
        let of = neighbourhood(from);
        let mut seats = door.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.entry(of).or_default();
        if *taken >= OF_AN_ADDRESS_MAX {
            return None;
        }
        *taken += 1;
        Some(Self { door: Arc::clone(door), of })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.door.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.of) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.of);
            }
        }
    }
}

/// Addresses that one host has at will are one.
fn neighbourhood(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// One connection.
struct Visit {
    door: Arc<Door>,
    from: IpAddr,
    access: Arc<Access>,
    /// Whose certificate was shown.
    subject: Option<Subject>,
}

impl Visit {
    async fn serve(mut self, stream: TcpStream, routes: Router) {
        let Some(tls) = self.access.tls.clone() else {
            return serve::one(stream, move |headers| self.admit(headers), routes).await;
        };
        let shaken = TlsAcceptor::from(tls).accept(stream);
        match tokio::time::timeout(HANDSHAKE_WITHIN, shaken).await {
            Ok(Ok(stream)) => {
                let (_, connection) = stream.get_ref();
                let shown = connection.peer_certificates().and_then(<[_]>::first);
                self.subject = shown.and_then(|certificate| self.access.subject(certificate));
                serve::one(stream, move |headers| self.admit(headers), routes).await;
            }
            Ok(Err(error)) => {
                Refusal::Handshake.count();
                debug!(from = %self.from, %error, "an API client broke off");
            }
            Err(_elapsed) => {
                Refusal::Handshake.count();
                debug!(from = %self.from, "an API client shakes hands too slowly");
            }
        }
    }

    /// Who asks, if he may.
    fn admit(&self, headers: &HeaderMap) -> Result<Who, Box<Response>> {
        let (now, rate) = (Instant::now(), self.access.rate);
        let Some(who) = self.who(headers) else {
            let of = neighbourhood(self.from);
            self.door.strangers.take(of, rate, now).map_err(|wait| Box::new(too_fast(wait)))?;
            warn!(from = %self.from, "the API let somebody not in, who showed no good token");
            return Err(unauthorized().into());
        };
        let paced = match &who {
            Who::Known { name, .. } => self.door.known.take(name, rate, now),
            Who::Unknown | Who::User { .. } => self.door.known.take(self.from, rate, now),
        };
        paced.map_err(|wait| Box::new(too_fast(wait)))?;
        Ok(who)
    }

    fn who(&self, headers: &HeaderMap) -> Option<Who> {
        let from = self.from;
        if let Some(Subject { name, role }) = &self.subject {
            let name = format!("certificate {name}");
            return Some(Who::Known { name, role: *role, from });
        }
        if self.access.is_open {
            return Some(Who::Unknown);
        }
        let (token, can_write) = shown(headers)?;
        let holder = self.access.tokens.as_ref()?.holder(&token)?;
        let name = format!("token {}", holder.name);
        let role = if can_write { holder.role } else { Role::ReadOnly };
        Some(Who::Known { name, role, from })
    }
}

/// The token, as a bearer's (RFC 6750 §2.1) or as the password of anybody (RFC 7617), and whether it
/// may stand for changes: a browser shows a password by itself, also for pages of others.
fn shown(headers: &HeaderMap) -> Option<(Vec<u8>, bool)> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, shown) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((shown.trim().into(), true));
    }
    let pair = STANDARD.decode(shown.trim()).ok()?;
    let colon = pair.iter().position(|octet| *octet == b':')?;
    let password = pair.get(colon + 1..)?.to_vec();
    scheme.eq_ignore_ascii_case("basic").then_some((password, false))
}

fn unauthorized() -> Response {
    Refusal::Unauthorized.count();
    let detail = "show a token (Authorization: Bearer ...) that [api] token-file knows, or a \
                  certificate that client-ca has signed";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail.into());
    let challenge = HeaderValue::from_static("Bearer realm=\"tidegate\", Basic realm=\"tidegate\"");
    ([(header::WWW_AUTHENTICATE, challenge)], problem).into_response()
}

fn too_fast(wait: Duration) -> Response {
    Refusal::TooFast.count();
    let secs = wait.as_secs() + 1;
    let detail = format!("too many requests: come again in {secs} s, or raise [api] request-rate");
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", detail);
    ([(header::RETRY_AFTER, HeaderValue::from(secs))], problem).into_response()
}

#[cfg(test)]
mod tests;
