//! The connections that the speaker's task holds, and what it does with them.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_bgp::speaker::{ConnId, PeerName, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::conn::{self, AbortOnDrop, Outbox, Queued};
use super::guard::Guard;
use super::input::Inbound;
use super::keys::{self, Keys};
use super::{dial, socket};
use crate::link_io::Links;

/// The connections, by the numbers that the speaker gave them.
pub(super) struct Conns {
    pub(super) open: BTreeMap<ConnId, Conn>,
    /// Closed because their queue was full; the speaker is to be told.
    pub(super) overflowed: Vec<ConnId>,
    pub(super) tasks: JoinSet<()>,
    pub(super) listeners: Vec<Arc<TcpListener>>,
    pub(super) keys: Arc<Keys>,
    /// What the listeners keep to.
    pub(super) guards: Option<Vec<Guard>>,
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) links: Links,
    /// Told when a send queue has become shorter.
    pub(super) drained: Arc<Notify>,
}

/// Removing it from the table closes it.
pub(super) enum Conn {
    Dialling {
        send_hold: Option<Duration>,
        _attempt: AbortOnDrop,
    },
    /// `socket`: the same one as the connection's task has, for options that change.
    Open {
        remote: SocketAddr,
        outbox: Outbox,
        socket: Option<OwnedFd>,
    },
    /// Nothing is read or written meanwhile: somebody else may go on with it.
    Frozen {
        remote: SocketAddr,
        stream: TcpStream,
        /// What is to be written first when it goes on.
        unsent: Vec<u8>,
    },
}

impl Conns {
    pub(super) fn dial(
        &mut self,
        peer: &PeerName,
        conn: ConnId,
        to: SocketAddr,
        from: Option<IpAddr>,
        transport: Transport,
    ) {
        let send_hold = transport.send_hold;
        let (keys, links, inbound) = (Arc::clone(&self.keys), self.links, self.inbound.clone());
        let peer = Arc::clone(peer);
        let task = self.tasks.spawn(async move {
            let event = match dial::connect(to, from, &transport, &keys, links).await {
                Ok((stream, next_hops)) => {
                    Inbound::Connected { conn, stream, remote: to, next_hops }
                }
                Err(error) => {
                    let hint = socket::hint(&error, &transport);
                    info!(peer = &*peer, %to, "cannot connect: {error}{hint}");
                    Inbound::ConnectFailed { conn }
                }
            };
            // Fails only when the speaker's task is gone.
            drop(inbound.send(event).await);
        });
        self.open.insert(conn, Conn::Dialling { send_hold, _attempt: AbortOnDrop(task) });
    }

    pub(super) fn open(
        &mut self,
        conn: ConnId,
        remote: SocketAddr,
        send_hold: Option<Duration>,
        stream: TcpStream,
    ) {
        let (outbox, unwritten) = conn::outbox(Arc::clone(&self.drained));
        let socket = self.keep_socket(remote, &stream);
        self.tasks.spawn(conn::run(conn, stream, unwritten, send_hold, self.inbound.clone()));
        self.open.insert(conn, Conn::Open { remote, outbox, socket });
    }

    /// A second descriptor, only where there is a key that may change.
    fn keep_socket(&self, remote: SocketAddr, stream: &TcpStream) -> Option<OwnedFd> {
        keys::has_key(&self.keys, remote.ip()).then_some(())?;
        if let Err(error) = keys::ask_for_first(stream, remote.ip(), &self.keys) {
            warn!(
                %remote,
                %error,
                "the peer cannot be asked for the first key of its keychain; the \
                 session goes on with another"
            );
        }
        let cloned = stream.as_fd().try_clone_to_owned();
        let cannot =
            |error| warn!(%remote, %error, "a new password will take a reset of this session");
        cloned.map_err(cannot).ok()
    }

    /// The speaker has heard so many bytes of a connection.
    pub(super) fn heard(&self, conn: ConnId, bytes: usize) {
        if let Some(Conn::Open { outbox, .. }) = self.open.get(&conn) {
            outbox.unheard().heard(bytes);
        }
    }

    /// What is queued, by the address of the peer.
    pub(super) fn queued(&self) -> BTreeMap<IpAddr, Queued> {
        let open = self.open.values().filter_map(|conn| match conn {
            Conn::Open { remote, outbox, .. } => Some((remote.ip(), outbox.queued())),
            Conn::Dialling { .. } | Conn::Frozen { .. } => None,
        });
        open.collect()
    }

    pub(super) fn wants_more(&self, conn: ConnId) -> bool {
        matches!(self.open.get(&conn), Some(Conn::Open { outbox, .. }) if outbox.wants_more())
    }

    pub(super) fn send(&mut self, conn: ConnId, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if let Some(Conn::Frozen { unsent, .. }) = self.open.get_mut(&conn) {
            unsent.extend_from_slice(&bytes);
        } else if let Some(Conn::Open { remote, outbox, .. }) = self.open.get(&conn)
            && outbox.send(bytes).is_err()
        {
            warn!(%remote, "the peer does not read what it is sent; connection closed");
            self.open.remove(&conn);
            self.overflowed.push(conn);
        }
    }

    pub(super) fn set_keys(&mut self, keys: Keys) {
        for listener in &self.listeners {
            let is_ipv6 = listener.local_addr().is_ok_and(|addr| addr.is_ipv6());
            if let Err(error) = keys::change(listener, is_ipv6, &self.keys, &keys) {
                warn!(
                    %error,
                    "new keys are not in force: peers that have them cannot connect until \
                     tidegate is restarted"
                );
            }
        }
        for conn in self.open.values() {
            let Conn::Open { remote, socket: Some(socket), .. } = conn else { continue };
            if let Err(error) = keys::rekey(socket, remote.ip(), &self.keys, &keys) {
                warn!(
                    %remote,
                    %error,
                    "an open session keeps the keys it has until it is closed; the next one \
                     takes the new ones"
                );
            }
        }
        self.keys = Arc::new(keys);
    }

    /// Each connection ends within a second, on its own.
    pub(super) async fn close_all(mut self) {
        self.open.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}
