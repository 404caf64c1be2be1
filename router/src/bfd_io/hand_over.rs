//! BFD sessions on their way to another process: state, discriminators and source port stay, so that
//! the other side sees a packet that is a little late, at worst.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use tidegate_bgp::bfd::Session;
use tidegate_bgp::speaker::PeerName;
use tokio::sync::oneshot;

use super::{BfdHandle, Hub, Voice, Watched, Watching};

/// All that another process needs to go on.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    pub(crate) sessions: Vec<Inherited>,
    /// IPv4, several hops, and the socket that is listened on.
    pub(crate) listeners: Vec<(bool, bool, OwnedFd)>,
}

/// A session of another process.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) record: BfdRecord,
    /// What it speaks with, if it has spoken.
    pub(crate) voice: Option<OwnedFd>,
}

/// What is written down of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BfdRecord {
    peer: PeerName,
    addr: IpAddr,
    multihop: bool,
    session: Session,
}

impl Inherited {
    /// Whether it is this one, and could be one at all.
    pub(super) fn is_of(&self, name: &PeerName, watched: &Watched) -> bool {
        let BfdRecord { peer, addr, multihop, session } = &self.record;
        let is_same = (peer, addr, multihop) == (name, &watched.addr, &watched.bfd.multihop);
        is_same && session.is_sound()
    }
}

impl BfdHandle {
    /// Ends without a word, and hands out what another process needs. Nothing if it has ended.
    pub(crate) async fn hand_over(&self) -> Legacy {
        let (heir, legacy) = oneshot::channel();
        drop(self.heirs.send(heir).await); // It fails if the task has ended: the answer says so.
        legacy.await.unwrap_or_default()
    }
}

impl Hub {
    pub(super) fn leave_to(self, heir: oneshot::Sender<Legacy>) {
        let listeners = self.listeners.sockets();
        let sessions = self.sessions.into_iter().map(|(peer, it)| {
            let Watching { watched, session, voice, .. } = it;
            let (addr, multihop) = (watched.addr, watched.bfd.multihop);
            let record = BfdRecord { peer, addr, multihop, session };
            Inherited { record, voice: voice.into_socket() }
        });
        drop(heir.send(Legacy { sessions: sessions.collect(), listeners }));
    }

    pub(super) fn go_on(&mut self, inherited: Inherited, watched: Watched) {
        let Inherited { record, voice: socket } = inherited;
        let (addr, local) = (watched.addr, watched.local);
        let voice = Voice::new(addr, local, watched.interface.clone(), watched.bfd.multihop);
        let mut session = record.session;
        session.resume(self.clock.now());
        session.set_timing(watched.bfd.timing);
        let it = Watching { watched, session, voice: voice.with(socket), mute: false };
        self.sessions.insert(record.peer, it);
    }
}
