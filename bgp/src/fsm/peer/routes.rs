//! A peer and the RIB: what it announces goes there, what it is told comes from there.
//! MinRouteAdvertisementInterval is not kept: a VIP that does not work must leave at once, and
//! what changes often is told once, in its last state, since nothing is queued (RFC 4271
//! §9.2.1.1).

use std::sync::Arc;

use crate::rib::{Counts, PeerId, Rib, SessionTerms};
use crate::speaker::{NextHops, Refreshed, Report, Turn, Way};
use crate::types::RouterId;
use crate::wire::{self, EncodeError, Negotiated, RefreshKind};

use super::Peer;

impl Peer {
    /// The session is up: everything there is to be told follows, then End-of-RIB.
    pub(super) fn join_rib(
        &mut self,
        at: usize,
        (router_id, context): (RouterId, Negotiated),
        turn: &mut Turn<'_>,
    ) {
        let terms = SessionTerms {
            router_id,
            context,
            next_hops: self.next_hops(at),
            local_as: self.local().asn,
            remote_as: self.config.remote_as,
            paths: self.config.path_limits,
        };
        let id = self.rib_id(turn.rib);
        turn.rib.up(id, terms);
    }

    /// The peer is not configured any more, or as somebody else.
    pub(crate) fn forget_routes(&mut self, rib: &mut Rib) {
        self.drop_all_kept(rib);
        if let Some(id) = self.rib.take() {
            rib.remove_peer(id);
        }
    }

    /// A soft reset in one direction.
    pub(crate) fn refresh(&mut self, way: Way, turn: &mut Turn<'_>) -> Refreshed {
        let (Some(id), Some(at)) = (self.rib, self.established()) else { return Refreshed::Down };
        let Some((_, agreed)) = self.agreed(at) else { return Refreshed::Down };
        let (can, families) = (agreed.route_refresh, agreed.families.iter().collect::<Vec<_>>());
        match way {
            Way::Out => {
                for family in &families {
                    turn.rib.refresh(id, *family);
                }
                Refreshed::Told(families)
            }
            Way::In if can => {
                let conn = self.established_conn();
                for family in &families {
                    let request = wire::encode_route_refresh(*family, RefreshKind::Request);
                    self.send_if(conn, request, turn);
                }
                Refreshed::Asked(families)
            }
            Way::In => {
                turn.rib.judge_again(id);
                Refreshed::Judged
            }
        }
    }

    /// Next hops or policies have changed, and the session goes on.
    pub(super) fn readvertise(&mut self, turn: &mut Turn<'_>) {
        let (Some(id), Some(at)) = (self.rib, self.established()) else { return };
        turn.rib.regroup(id, Some(self.next_hops(at)));
        turn.rib.set_policies(id, self.config.policies.clone());
    }

    /// The peer's number in the RIB, from its first session on.
    fn rib_id(&mut self, rib: &mut Rib) -> PeerId {
        let external = self.config.remote_as != self.local().asn;
        let remote = self.remote().unwrap_or(self.config.remote);
        let (addr, policies) = (remote.ip(), self.config.policies.clone());
        *self.rib.get_or_insert_with(|| rib.add_peer(addr, external, policies))
    }

    /// Our addresses on the session, the configured ones first.
    pub(super) fn next_hops(&self, at: usize) -> NextHops {
        let connection = self.attempts.get(at).and_then(|attempt| attempt.connection.as_ref());
        let session = connection.map_or_else(NextHops::default, |connection| connection.next_hops);
        let configured = self.config.next_hops;
        NextHops { v4: configured.v4.or(session.v4), v6: configured.v6.or(session.v6) }
    }

    /// What is to be sent next on the Established session, as whole messages; `None`: nothing.
    pub(crate) fn transmit(&mut self, turn: &mut Turn<'_>) -> Option<Arc<Vec<u8>>> {
        let (id, at) = (self.rib?, self.established()?);
        let bytes = turn.rib.transmit(id);
        while let Some((family, error)) = turn.rib.take_unsendable(id) {
            self.report(turn, |peer| match error {
                EncodeError::NextHopFamily(family) => Report::NoNextHop { peer, family },
                error @ EncodeError::AttributesTooLong { .. } => {
                    Report::Unsendable { peer, family, error }
                }
            });
        }
        let bytes = bytes?;
        if let Some(attempt) = self.attempts.get_mut(at) {
            attempt.session.update_sent(turn.now);
        }
        self.messages_sent += wire::count_messages(&bytes);
        self.history.sent(turn.now, &bytes);
        Some(bytes)
    }

    /// Whether there is something to be sent.
    pub(crate) fn is_behind(&self, rib: &Rib) -> bool {
        self.rib.is_some_and(|id| rib.is_behind(id)) && self.established().is_some()
    }

    /// The connection of the Established session.
    pub(crate) fn established_conn(&self) -> Option<crate::speaker::ConnId> {
        let attempt = self.attempts.get(self.established()?)?;
        attempt.connection.as_ref().map(|connection| connection.id)
    }

    /// Its number in the RIB; `None`: it has not been up.
    pub(crate) const fn rib_number(&self) -> Option<PeerId> {
        self.rib
    }

    /// How much of it is in the RIB.
    pub(super) fn counts(&self, rib: &Rib) -> Counts {
        self.rib.map(|id| rib.counts(id)).unwrap_or_default()
    }
}
