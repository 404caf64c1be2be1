//! Who calls: what the kernel says of the other end of a connection.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use nix::unistd::{Uid, User};
use tokio::net::{TcpStream, UnixStream};

use super::problem::Problem;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A process of this user, by the credentials of the Unix socket (unix(7), `SO_PEERCRED`).
    User { uid: u32, pid: Option<i32> },
    /// Somebody on this host, by TCP: the kernel does not say who.
    Unknown,
}

/// A connection that knows.
pub(super) trait Caller {
    fn who(&self) -> Who;
}

impl Caller for UnixStream {
    fn who(&self) -> Who {
        let user = self.peer_cred().map(|cred| Who::User { uid: cred.uid(), pid: cred.pid() });
        user.unwrap_or(Who::Unknown)
    }
}

impl Caller for TcpStream {
    fn who(&self) -> Who {
        Who::Unknown
    }
}

/// Somebody who may change the configuration, by name. Extracted before the body is read, so that
/// nobody else's is.
pub(super) struct Writer(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Who>() {
            Some(Who::User { uid, pid }) => Ok(Self(name(*uid, *pid).await)),
            Some(Who::Unknown) | None => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "read-only",
                "over TCP the API only reads, since it does not know who calls: make changes over \
                 its Unix socket"
                    .into(),
            )),
        }
    }
}

/// `root (uid 0, pid 4711)`.
async fn name(uid: u32, pid: Option<i32>) -> String {
    // The user database may be far away.
    let user = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    let name = user.ok().and_then(Result::ok).flatten().map(|user| user.name);
    let name = name.unwrap_or_else(|| "unknown".into());
    match pid {
        Some(pid) => format!("{name} (uid {uid}, pid {pid})"),
        None => format!("{name} (uid {uid})"),
    }
}
