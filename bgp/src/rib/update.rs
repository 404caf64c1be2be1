//! An UPDATE on its way into the table.

use super::around;
use super::key::Key;
use super::peer::Judge;
use super::post::Post;
use super::sets::SetId;
use super::table::{Around, Table};
use super::{PeerId, Rib};
use crate::types::Family;
use crate::wire::notification::Notification;
use crate::wire::{Announced, Nlri, Update};

/// More prefixes than this, over all families, end the session unless configured otherwise: about
/// twice the Internet's table. It bounds the memory that a peer can make us use.
pub const PREFIXES_MAX: usize = 2_000_000;

/// More octets of distinct path attributes than this end the session.
pub const ATTRIBUTE_BYTES_MAX: usize = 512 << 20;

/// The peer announces more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    /// Of prefixes; the family of the one that was too many.
    Prefixes {
        /// Of the prefix that was one too many.
        family: Family,
        /// The limit.
        max: usize,
    },
    /// Of distinct attributes.
    Attributes,
}

impl TooMuch {
    /// Cease/1 with AFI, SAFI and the limit, or Cease/8 (RFC 4486 §4).
    pub fn answer(self) -> Notification {
        match self {
            Self::Prefixes { family, max } => {
                let mut cease = Notification::MAXIMUM_PREFIXES_REACHED;
                let (afi, safi) = family.afi_safi();
                let max = u32::try_from(max).unwrap_or(u32::MAX);
                cease.data.extend(afi.to_be_bytes());
                cease.data.push(safi);
                cease.data.extend(max.to_be_bytes());
                cease
            }
            Self::Attributes => Notification::new(6, 8),
        }
    }
}

impl Rib {
    /// Withdraws first, then announces: a prefix in both stays (RFC 4271 §4.3).
    ///
    /// # Errors
    /// [`TooMuch`] beyond a limit; the session is to be closed.
    pub fn update(&mut self, peer: PeerId, update: &Update<'_>) -> Result<(), TooMuch> {
        for nlri in update.withdrawn() {
            self.withdraw_flows(peer, nlri);
            for (path_id, prefix) in nlri.prefixes() {
                self.withdraw(peer, path_id, prefix);
            }
        }
        for announced in update.announced() {
            self.announce(peer, announced)?;
        }
        if let Some(family) = update.disable {
            self.forget_family(peer, family);
        }
        Ok(())
    }

    fn announce(&mut self, peer: PeerId, announced: &Announced<'_>) -> Result<(), TooMuch> {
        let pre = self.sets.intern(&announced.block, peer);
        let flows = self.announce_flows(peer, announced.nlri, pre);
        if let Err(too_much) = flows {
            self.sets.release(pre);
            return Err(too_much);
        }
        let mut around = around!(self);
        let nlri = announced.nlri;
        let from = self.peers.get(usize::from(peer));
        if let Some(judge) = from.map(|it| it.judge(peer, self.local, &self.origins)) {
            match nlri.family() {
                Family::Ipv4Unicast => put(&mut self.v4, peer, nlri, pre, &judge, &mut around),
                Family::Ipv6Unicast => put(&mut self.v6, peer, nlri, pre, &judge, &mut around),
                Family::Ipv4Flowspec | Family::Ipv6Flowspec => {}
            }
        }
        self.sets.release(pre);
        self.check_limits(peer, nlri.family())
    }

    fn check_limits(&self, peer: PeerId, family: Family) -> Result<(), TooMuch> {
        let max = self.peers.get(usize::from(peer)).map_or(0, |peer| peer.prefixes_max);
        if self.counts_received(peer) > max {
            return Err(TooMuch::Prefixes { family, max });
        }
        if self.sets.owed_by(peer) > ATTRIBUTE_BYTES_MAX {
            return Err(TooMuch::Attributes);
        }
        Ok(())
    }

    fn counts_received(&self, peer: PeerId) -> usize {
        let v4 = self.v4.lane(peer).map_or(0, |lane| lane.paths);
        v4 + self.v6.lane(peer).map_or(0, |lane| lane.paths)
    }
}

/// Announces prefixes that share a set. Policy is asked once for all of them, if it can be.
fn put<K: Key>(
    table: &mut Table<K>,
    peer: PeerId,
    nlri: Nlri<'_>,
    pre: SetId,
    judge: &Judge<'_>,
    around: &mut Around<'_>,
) {
    let by_prefix = judge.looks_at_prefix();
    let mut last: Option<Post> = None;
    let keys: Vec<_> = nlri
        .prefixes()
        .filter_map(|(path_id, prefix)| {
            let key = K::of(prefix)?;
            Some((path_id, key, key.hash(around.hasher), prefix))
        })
        .collect();
    table.warm(keys.iter().map(|(_, _, hash, _)| *hash));
    if let Some(lane) = table.lane_mut(peer) {
        lane.has_ids = nlri.has_path_ids();
    }
    for (path_id, key, hash, prefix) in keys {
        let post = match last.filter(|_| !by_prefix) {
            Some(Post::Accepted(set)) if set != pre => {
                around.sets.hold(set);
                Post::Accepted(set)
            }
            Some(same) => same,
            None => judge.post(prefix, pre, around.sets),
        };
        last = Some(post);
        around.sets.hold(pre);
        table.announce(peer, (path_id, key, hash), (pre, post), around);
    }
}
