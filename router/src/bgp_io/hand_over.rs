//! The speaker's sessions on their way to another process, and out of one.
//!
//! Here nothing is read or written from the moment of the record on until it is said who goes on:
//! the other process, or this one, as if nothing had happened.

use core::net::SocketAddr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use bytes::Bytes;
use tidegate_bgp::rib::{Damaged, Policies};
use tidegate_bgp::speaker::{Action, ConnId, Kept, Record, Speaker};
use tidegate_bgp::time::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::conn::Frozen;
use super::input::{Inbound, Input};
use super::{BgpHandle, Conn, Shell, Stopped};

/// All that another process needs to go on with the sessions.
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(crate) record: Record,
    /// The connections of its sessions.
    pub(crate) left: Vec<Left>,
    pub(crate) listeners: Vec<(SocketAddr, OwnedFd)>,
    /// Sent: the sessions are another one's. Dropped: they go on here.
    pub(crate) gone: oneshot::Sender<()>,
}

/// The connection of a session that is left to another process.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) kept: Kept,
    /// To be written first: perhaps the end of a message.
    pub(crate) unsent: Vec<u8>,
    pub(crate) socket: OwnedFd,
}

/// What a process begins with that goes on with the sessions of another.
#[derive(Debug, Default)]
pub struct Heir {
    pub(super) speaker: Option<Speaker>,
    out: Vec<Action>,
    conns: Vec<(ConnId, SocketAddr, Vec<u8>, OwnedFd)>,
    listeners: Vec<(SocketAddr, OwnedFd)>,
}

impl Heir {
    /// Makes a speaker of a record. `policies` gives those of a peer or range by its name; `None`: it
    /// is not configured any more. Touches no socket.
    ///
    /// # Errors
    /// [`Damaged`]
    pub(crate) fn new(
        now: Timestamp,
        record: Record,
        seed: u64,
        policies: impl Fn(&str) -> Option<Policies>,
    ) -> Result<Self, Damaged> {
        let mut out = Vec::new();
        let speaker = Speaker::take_over(now, record, seed, policies, &mut out)?;
        Ok(Self { speaker: Some(speaker), out, ..Self::default() })
    }

    /// The connection of a session, and what is to be written to it first.
    pub(crate) fn conn(
        &mut self,
        conn: ConnId,
        remote: SocketAddr,
        unsent: Vec<u8>,
        socket: OwnedFd,
    ) {
        self.conns.push((conn, remote, unsent, socket));
    }

    /// A socket that listens already.
    pub(crate) fn listens(&mut self, at: SocketAddr, socket: OwnedFd) {
        self.listeners.push((at, socket));
    }

    /// The socket that listens there already, if one does.
    pub(super) fn listener(&mut self, addr: SocketAddr) -> Option<io::Result<TcpListener>> {
        let at = self.listeners.iter().position(|(at, _)| *at == addr)?;
        let (_, socket) = self.listeners.swap_remove(at);
        Some(TcpListener::from_std(socket.into()))
    }
}

impl BgpHandle {
    /// Brings everything to a standstill and hands it out. Whoever gets it says who goes on.
    ///
    /// # Errors
    /// [`Stopped`]
    pub(crate) async fn hand_over(&self) -> Result<Legacy, Stopped> {
        let (reply, legacy) = oneshot::channel();
        self.inputs.send(Input::HandOver(reply)).await.or(Err(Stopped))?;
        legacy.await.or(Err(Stopped))
    }
}

impl Shell {
    /// `true`: the sessions are another process's now.
    pub(super) async fn hand_over(
        &mut self,
        reply: oneshot::Sender<Legacy>,
        events: &mut mpsc::Receiver<Inbound>,
    ) -> bool {
        while self.speaker.work() {}
        self.transmit();
        self.speaker.assure(self.clock.now(), &mut self.out);
        self.perform();
        let unheard = self.freeze(events).await;
        for event in unheard {
            self.on_inbound(event);
            self.perform();
        }
        let (gone, fate) = oneshot::channel();
        let given = match self.legacy(gone) {
            // Who asked may have gone away by now; then it goes on here.
            Ok(legacy) => reply.send(legacy).is_ok() && fate.await.is_ok(),
            Err(error) => {
                warn!(%error, "the sessions cannot be handed over, and go on here");
                false
            }
        };
        if !given {
            self.thaw();
        }
        given
    }

    /// Stops reading and writing on the connections of all sessions. Gives what had been read.
    async fn freeze(&mut self, events: &mut mpsc::Receiver<Inbound>) -> Vec<Inbound> {
        let mut frozen = Vec::new();
        for kept in self.speaker.kept() {
            let Some(Conn::Open { outbox, .. }) = self.conns.open.remove(&kept.conn) else {
                continue;
            };
            frozen.push((kept, outbox.freeze()));
        }
        let (mut heard, mut last) = (Vec::new(), Vec::new());
        for (Kept { conn, remote, .. }, mut waits) in frozen {
            // A connection that has just ended waits for its turn to say so.
            let frozen = loop {
                tokio::select! {
                    frozen = &mut waits => break frozen.ok(),
                    Some(event) = events.recv() => heard.push(event),
                }
            };
            let Some(Frozen { stream, unheard, unsent }) = frozen else { continue };
            last.extend(unheard.map(|bytes| Inbound::Bytes { conn, bytes }));
            self.conns.open.insert(conn, Conn::Frozen { remote, stream, unsent });
        }
        heard.extend(core::iter::from_fn(|| events.try_recv().ok()));
        heard.extend(last); // It was read after all that had been handed on.
        heard
    }

    fn legacy(&mut self, gone: oneshot::Sender<()>) -> io::Result<Legacy> {
        let mut left = Vec::new();
        for kept in self.speaker.kept() {
            // One that came up in the last moment is not there: it stays, and ends with us.
            if let Some(Conn::Frozen { stream, unsent, .. }) = self.conns.open.get(&kept.conn) {
                let socket = stream.as_fd().try_clone_to_owned()?;
                left.push(Left { kept, unsent: unsent.clone(), socket });
            }
        }
        let mut listeners = Vec::new();
        for listener in &self.conns.listeners {
            listeners.push((listener.local_addr()?, listener.as_fd().try_clone_to_owned()?));
        }
        Ok(Legacy { record: self.speaker.record(), left, listeners, gone })
    }

    /// Everything goes on where it was.
    fn thaw(&mut self) {
        let is_frozen = |_: &ConnId, conn: &mut Conn| matches!(conn, Conn::Frozen { .. });
        let frozen: Vec<_> = self.conns.open.extract_if(.., is_frozen).collect();
        for (conn, it) in frozen {
            if let Conn::Frozen { remote, stream, unsent } = it {
                self.go_on(conn, remote, stream, unsent);
            }
        }
    }

    fn go_on(&mut self, conn: ConnId, remote: SocketAddr, stream: TcpStream, unsent: Vec<u8>) {
        let transport = self.speaker.transport(remote);
        let send_hold = transport.and_then(|transport| transport.send_hold);
        self.conns.open(conn, remote, send_hold, stream);
        if !unsent.is_empty() {
            self.conns.send(conn, Bytes::from(unsent));
        }
    }

    /// Goes on with what another process has left.
    pub(super) fn inherit(&mut self, heir: Heir) {
        let Heir { out, conns, .. } = heir;
        if conns.is_empty() && out.is_empty() {
            return;
        }
        for (conn, remote, unsent, socket) in conns {
            match TcpStream::from_std(socket.into()) {
                Ok(stream) => self.go_on(conn, remote, stream, unsent),
                Err(error) => {
                    warn!(%remote, %error, "a session that was handed over is lost, and opened anew");
                }
            }
        }
        self.out.extend(out);
        self.perform();
        // Sessions without a connection, whose socket did not come along, are over.
        for Kept { conn, .. } in self.speaker.kept() {
            if !self.conns.open.contains_key(&conn) {
                self.on_inbound(Inbound::Closed { conn });
            }
        }
        self.perform();
        self.neighbors.follow(self.speaker.unnumbered());
        self.publish();
    }
}
