//! What those outside get to know of a peer: BMP stations, and files of messages.

use core::net::{IpAddr, SocketAddr};

use crate::bmp::{About, Ends};
use crate::mrt::{self, Reading};
use crate::rib::PeerId;
use crate::speaker::{Action, ConnId, DownCause, Heard, HeardWhat, Malformed, State, Turn};
use crate::types::Family;
use crate::wire::{Message, Negotiated, Nlri};

use super::Peer;

/// An Established session, as stations are told of it.
pub(crate) struct Monitored<'a> {
    pub(crate) conn: ConnId,
    pub(crate) rib: PeerId,
    pub(crate) about: About,
    pub(crate) ends: Ends,
    /// Ours, then the peer's.
    pub(crate) opens: [&'a [u8]; 2],
}

impl Peer {
    /// Both ends of a connection, if it is one of this peer's.
    pub(crate) fn set_ends(&mut self, conn: ConnId, ends: Ends) {
        if let Some(connection) = self.find(conn).and_then(|at| self.connection_mut(at)) {
            connection.ends = Some(ends);
        }
    }

    /// Where others are told that it is; an unnumbered peer that was not heard is nowhere.
    fn seen_at(&self) -> SocketAddr {
        self.remote().unwrap_or(self.config.remote)
    }

    pub(crate) fn monitored(&self) -> Option<Monitored<'_>> {
        let connection = self.attempts.get(self.established()?)?.connection.as_ref()?;
        let (router_id, _) = connection.agreed.as_ref()?;
        let unknown = || {
            let addr = |remote: IpAddr| match remote {
                IpAddr::V4(_) => IpAddr::from([0; 4]),
                IpAddr::V6(_) => IpAddr::from([0; 16]),
            };
            let remote = self.seen_at();
            Ends { local: (addr(remote.ip()), 0).into(), remote }
        };
        Some(Monitored {
            conn: connection.id,
            rib: self.rib?,
            about: About {
                addr: Some(self.seen_at().ip().to_canonical()),
                asn: self.config.remote_as.get(),
                router_id: *router_id,
            },
            ends: connection.ends.unwrap_or_else(unknown),
            opens: [&connection.opens.0, &connection.opens.1],
        })
    }

    pub(crate) const fn last_down(&self) -> Option<&DownCause> {
        self.last_down.as_ref()
    }

    pub(crate) const fn malformed(&self) -> Malformed {
        self.malformed
    }

    /// Hands an UPDATE out as it came, if somebody wants it.
    pub(super) fn tap_update(
        &self,
        message: &Message<'_>,
        context: &Negotiated,
        bytes: &[u8],
        turn: &mut Turn<'_>,
    ) {
        let Message::Update(update) = message else { return };
        let withdrawn = update.withdrawn().map(Nlri::family);
        let announced = update.announced().map(|announced| announced.nlri.family());
        let families: Vec<Family> = withdrawn.chain(announced).collect();
        let add_path = families.iter().any(|family| context.add_path_receive.contains(*family));
        let reading = Reading { four_octet_as: context.four_octet_as, add_path };
        self.tap(HeardWhat::Update { reading, bytes: bytes.to_vec() }, turn);
    }

    /// Hands a change of state out.
    pub(super) fn tap_state(&self, from: State, to: State, turn: &mut Turn<'_>) {
        if turn.tapped {
            self.tap(HeardWhat::State { from, to }, turn);
        }
    }

    fn tap(&self, what: HeardWhat, turn: &mut Turn<'_>) {
        let remote = self.seen_at().ip().to_canonical();
        let ends = self.attempts.iter().find_map(|attempt| attempt.connection.as_ref()?.ends);
        let session = mrt::Session {
            remote_as: self.config.remote_as.get(),
            local_as: self.local().asn.get(),
            remote,
            local: ends.map_or(IpAddr::from([0; 4]), |ends| ends.local.ip()),
        };
        turn.out.push(Action::Heard(Heard { session, what }));
    }
}
