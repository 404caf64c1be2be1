//! What a peer is told of our routes. MinRouteAdvertisementInterval is not kept: a VIP that does
//! not work must leave at once, and what changes here is our own (RFC 4271 §9.2.1.1 is about
//! routes of others).

use crate::rib::adj_out::{by_attributes, export, next_hop};
use crate::speaker::{Report, RouteAttributes, Turn};
use crate::types::{Family, Prefix};
use crate::wire::{self, EncodeError, NextHop};

use super::Peer;

impl Peer {
    /// A route of ours is new or has changed.
    pub(crate) fn advertise(
        &mut self,
        prefix: Prefix,
        route: &RouteAttributes,
        turn: &mut Turn<'_>,
    ) {
        if let Some(next_hop) = self.next_hop_for(prefix.family(), turn) {
            self.announce(prefix.family(), route, &[prefix], next_hop, turn);
        }
    }

    /// A route of ours is gone.
    pub(crate) fn withdraw(&mut self, prefix: Prefix, turn: &mut Turn<'_>) {
        if self.adj_out.take_back(prefix) {
            self.send_withdrawals(prefix.family(), &[prefix], turn);
        }
    }

    /// Everything of one family: at the start of a session, or when the peer asks again.
    pub(super) fn advertise_family(&mut self, family: Family, turn: &mut Turn<'_>) {
        let originated = turn.originated;
        let groups = by_attributes(originated, family);
        if groups.is_empty() {
            return;
        }
        let Some(next_hop) = self.next_hop_for(family, turn) else { return };
        for (route, prefixes) in groups {
            self.announce(family, route, &prefixes, next_hop, turn);
        }
    }

    /// Everything has been announced (RFC 4724 §2), for each family of the session.
    pub(crate) fn end_of_ribs(&mut self, turn: &mut Turn<'_>) {
        let Some((_, agreed)) = self.established().and_then(|at| self.agreed(at)) else { return };
        let markers = agreed.families.iter().map(wire::encode_end_of_rib).collect();
        self.send_updates(markers, turn);
    }

    /// Next hops have changed: announces all anew, withdraws what has lost its next hop.
    pub(super) fn readvertise(&mut self, turn: &mut Turn<'_>) {
        for family in Family::UNICAST {
            if self.next_hop_for(family, turn).is_some() {
                self.advertise_family(family, turn);
            } else {
                let prefixes = self.adj_out.take_back_family(family);
                self.send_withdrawals(family, &prefixes, turn);
            }
        }
    }

    fn send_withdrawals(&mut self, family: Family, prefixes: &[Prefix], turn: &mut Turn<'_>) {
        let Some((_, agreed)) = self.established().and_then(|at| self.agreed(at)) else { return };
        self.send_updates(wire::encode_withdraw(family, prefixes, agreed), turn);
    }

    fn announce(
        &mut self,
        family: Family,
        route: &RouteAttributes,
        prefixes: &[Prefix],
        next_hop: NextHop,
        turn: &mut Turn<'_>,
    ) {
        let Some((_, agreed)) = self.established().and_then(|at| self.agreed(at)) else { return };
        let attributes = export(route, next_hop, self.local().asn, agreed.external);
        match wire::encode_announce(family, &attributes, prefixes, agreed) {
            Ok(messages) => {
                self.adj_out.promise(prefixes);
                self.send_updates(messages, turn);
            }
            Err(error) => self.cannot_announce(family, prefixes, error, turn),
        }
    }

    /// What was promised before with other attributes is no longer true.
    fn cannot_announce(
        &mut self,
        family: Family,
        prefixes: &[Prefix],
        error: EncodeError,
        turn: &mut Turn<'_>,
    ) {
        self.report(turn, |peer| Report::Unsendable { peer, family, error });
        for prefix in prefixes {
            self.withdraw(*prefix, turn);
        }
    }

    /// `None` without a session that carries the family, or without a next hop, which is reported
    /// once per session.
    fn next_hop_for(&mut self, family: Family, turn: &mut Turn<'_>) -> Option<NextHop> {
        let at = self.established()?;
        let connection = self.attempts.get(at)?.connection.as_ref()?;
        let (_, agreed) = connection.agreed.as_ref()?;
        if !agreed.families.contains(family) {
            return None;
        }
        let found = next_hop(family, self.config.next_hops, connection.next_hops);
        if found.is_none() && self.adj_out.note_unreachable(family) {
            self.report(turn, |peer| Report::NoNextHop { peer, family });
        }
        found
    }

    /// Sends UPDATEs on the Established session, all in one piece.
    pub(super) fn send_updates(&mut self, messages: Vec<Vec<u8>>, turn: &mut Turn<'_>) {
        let Some(at) = self.established() else { return };
        let Some(attempt) = self.attempts.get_mut(at) else { return };
        let Some(conn) = attempt.connection.as_ref().map(|connection| connection.id) else {
            return;
        };
        attempt.session.update_sent(turn.now);
        for message in messages {
            self.send(conn, message, turn);
        }
    }
}
