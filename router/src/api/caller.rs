//! Who calls: what the kernel says of the other end of a Unix socket, and what a caller over TCP
//! could show.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use nix::unistd::{Uid, User};
use tokio::net::UnixStream;

use super::problem::Problem;
use super::refusals::Refusal;
use crate::access::tokens::Role;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A process of this user, by the credentials of the Unix socket (unix(7), `SO_PEERCRED`).
    User { uid: u32, pid: Option<i32> },
    /// Somebody who showed a token or a certificate, by TCP; the name says which.
    Known { name: String, role: Role, from: IpAddr },
    /// Somebody on this host, by TCP: the kernel does not say who.
    Unknown,
}

impl Who {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let user = stream.peer_cred().map(|cred| Self::User { uid: cred.uid(), pid: cred.pid() });
        user.unwrap_or(Self::Unknown)
    }

    /// `root (uid 0, pid 4711)`, `token grafana (192.0.2.7)`
    pub(super) async fn name(&self) -> String {
        match self {
            Self::User { uid, pid } => user(*uid, *pid).await,
            Self::Known { name, from, .. } => format!("{name} ({from})"),
            Self::Unknown => "somebody on this host".into(),
        }
    }
}

/// Somebody who may change the configuration, by name. Extracted before the body is read, so that
/// nobody else's is.
pub(super) struct Writer(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let who = parts.extensions.get::<Who>();
        if matches!(who, Some(Who::Known { .. })) && is_of_another_page(&parts.headers) {
            return Err(refused("a page of another origin may change nothing here".into()));
        }
        match who {
            Some(who @ (Who::User { .. } | Who::Known { role: Role::Operator, .. })) => {
                Ok(Self(who.name().await))
            }
            Some(Who::Known { role: Role::ReadOnly, name, .. }) => {
                Err(refused(format!("{name} is read-only: only an operator may do this")))
            }
            Some(Who::Unknown) | None => Err(refused(
                "over TCP without tokens and certificates the API only reads, since it does not \
                 know who calls: make changes over its Unix socket, or set [api] token-file"
                    .into(),
            )),
        }
    }
}

/// Whether a browser asks for a page that is not ours, with what it shows by itself.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let of = origin.as_bytes();
    let of = of.strip_prefix(b"https://").or_else(|| of.strip_prefix(b"http://"));
    of.is_none_or(|of| host.is_empty() || !of.eq_ignore_ascii_case(host))
}

fn refused(why: String) -> Problem {
    Refusal::ReadOnly.count();
    Problem::new(StatusCode::FORBIDDEN, "read-only", why)
}

/// `root (uid 0, pid 4711)`.
async fn user(uid: u32, pid: Option<i32>) -> String {
    // The user database may be far away.
    let user = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    let name = user.ok().and_then(Result::ok).flatten().map(|user| user.name);
    let name = name.unwrap_or_else(|| "unknown".into());
    match pid {
        Some(pid) => format!("{name} (uid {uid}, pid {pid})"),
        None => format!("{name} (uid {uid})"),
    }
}
