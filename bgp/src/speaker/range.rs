//! Peers that are not known one by one: they come from a prefix, and are forgotten when they go.

use core::net::SocketAddr;

use crate::fsm::Peer;
use crate::time::Timestamp;
use crate::types::Prefix;
use crate::wire::notification::Notification;

use super::{Action, PeerConfig, PeerName, PeerRange, Report, Speaker};

impl Speaker {
    pub(super) fn put_range(&mut self, now: Timestamp, range: PeerRange, out: &mut Vec<Action>) {
        let name = range.template.name.clone();
        // More or fewer of them concerns those to come.
        let resets = |old: &PeerRange| PeerRange { limit: range.limit, ..old.clone() } != range;
        let resets = self.ranges.get(&name).is_some_and(resets);
        self.ranges.insert(name.clone(), range);
        if resets {
            self.stop_range(now, &name, &Notification::OTHER_CONFIGURATION_CHANGE, out);
        }
    }

    /// Closes the sessions of all that came from a range, and forgets them.
    pub(super) fn stop_range(
        &mut self,
        now: Timestamp,
        name: &PeerName,
        cease: &Notification,
        out: &mut Vec<Action>,
    ) {
        let (mut turn, peers) = self.turn(now, out);
        for peer in peers.values_mut().filter(|peer| peer.range() == Some(name)) {
            peer.stop(cease, &mut turn);
        }
        self.forget_those_that_are_over();
    }

    /// The peer that is known at this address, configured or of a range.
    pub(super) fn configured_peer(&self, remote: SocketAddr) -> Option<&Peer> {
        self.peers.values().find(|peer| peer.is_at(remote))
    }

    /// The narrowest range around this address.
    pub(super) fn range_of(&self, remote: SocketAddr) -> Option<&PeerRange> {
        let host = remote.ip().to_canonical();
        let around = |range: &&PeerRange| {
            let bits = range.prefix.bits();
            Prefix::new(host, bits) == Some(range.prefix)
        };
        self.ranges.values().filter(around).max_by_key(|range| range.prefix.bits())
    }

    /// The smallest TTL with which connections from a prefix are taken, as far as somebody asks for
    /// one; where prefixes overlap, the first counts.
    pub fn guards(&self) -> Vec<(Prefix, u8)> {
        let own = self.peers.values().filter(|peer| peer.range().is_none());
        let of_peers = own.filter_map(|peer| {
            let host = Prefix::host(peer.remote()?.ip().to_canonical());
            Some((host, peer.config().transport.distance.min_ttl()))
        });
        let of_ranges = self
            .ranges
            .values()
            .map(|range| (range.prefix, range.template.transport.distance.min_ttl()));
        let mut guards: Vec<_> = of_peers.chain(of_ranges).collect();
        // A range is at least as wide as what is in it, and peers come first.
        guards.sort_by_key(|(prefix, _)| core::cmp::Reverse(prefix.bits()));
        let widest = guards.iter().rposition(|(_, min_ttl)| *min_ttl > 0);
        guards.truncate(widest.map_or(0, |last| last + 1));
        guards
    }

    /// Somebody connects from a range: becomes a peer, ready to accept that. `None`: refused.
    pub(super) fn make_peer_of_range(
        &mut self,
        now: Timestamp,
        remote: SocketAddr,
        out: &mut Vec<Action>,
    ) -> Option<()> {
        let range = self.range_of(remote).filter(|_| !self.shut_down)?;
        let name = range.template.name.clone();
        let there = self.peers.values().filter(|peer| peer.range() == Some(&name)).count();
        if there >= range.limit {
            // Once, until there is room again: it would be a stranger's to fill the journal.
            if self.full.insert(name.clone()) {
                out.push(Action::Report(Report::RangeFull { range: name, remote }));
            }
            return None;
        }
        let config = PeerConfig {
            name: format!("{name}/{}", remote.ip().to_canonical()).into(),
            remote,
            passive: true,
            ..range.template.clone()
        };
        let (local, rng) = (self.local, self.rng.split());
        self.of_ranges += 1;
        let mut peer = Peer::of_range(now, local, config, name, rng);
        let (mut turn, peers) = self.turn(now, out);
        peer.start(&mut turn);
        peers.insert(peer.config().name.clone(), peer);
        Some(())
    }

    /// A peer of a range without a connection leaves its place to another one.
    pub(super) fn forget_those_that_are_over(&mut self) {
        if self.of_ranges == 0 {
            return; // Nearly always: most nodes have no range.
        }
        let (full, of_ranges, rib) = (&mut self.full, &mut self.of_ranges, &mut self.rib);
        self.peers.retain(|_, peer| {
            let Some(range) = peer.range().filter(|_| peer.is_over()) else { return true };
            full.remove(range);
            *of_ranges -= 1;
            peer.forget_routes(rib);
            false
        });
    }
}
