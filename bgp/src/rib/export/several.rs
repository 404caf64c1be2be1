//! Several paths to a destination (ADD-PATH, RFC 7911), for groups whose sessions take them.
//!
//! What is told are the best paths that may leave, up to a number, in the order in which they would
//! be chosen if those before them were gone. A path's identifier is the number of its record plus
//! one: it is the same as long as the path is there, whatever becomes of its attributes, and no two
//! paths to a destination share one. What a peer was told is kept by destination and identifier,
//! so that exactly what is gone is withdrawn.

use std::sync::Arc;

use super::{Group, Next, Part, Segment, Sending, Way};
use crate::policy::{Route, Source};
use crate::rib::PeerId;
use crate::rib::key::Key;
use crate::rib::sets::SetId;
use crate::rib::table::Table;
use crate::rib::watch::Direction;
use crate::types::{PathId, Prefix};
use crate::wire::{AttributesRef, pack_withdrawals};

/// A path that a segment tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    dest: u32,
    path: u32,
    source: PeerId,
}

/// The identifier of the path with this record.
pub(in crate::rib) const fn path_id(path: u32) -> PathId {
    PathId(path.saturating_add(1))
}

/// A path on its way into a segment.
struct Item {
    source: PeerId,
    set: SetId,
    outcome: u32,
    dest: u32,
    path: u32,
}

impl<K: Key> Table<K> {
    /// The paths to these destinations that leave, encoded.
    pub(super) fn make_several(
        &self,
        ids: &[u32],
        group: &mut Group,
        sending: &Sending<'_>,
    ) -> Segment {
        let mut items: Vec<Item> = Vec::with_capacity(ids.len());
        for id in ids {
            self.choose_several(*id, group, sending, &mut items);
        }
        items.sort_by_key(|item| (item.source, item.set, item.outcome));
        let mut bytes = Vec::new();
        let (mut parts, mut several) = (Vec::<Part>::new(), Vec::with_capacity(items.len()));
        let mut unsendable = None;
        let same = |one: &Item, other: &Item| {
            (one.source, one.set, one.outcome) == (other.source, other.set, other.outcome)
        };
        for run in items.chunk_by(same) {
            let Some(Item { source, set, outcome, .. }) = run.first() else { continue };
            let kind = sending.source(*source);
            let block = sending.sets.bytes(*set);
            let announcer = match group.announcer(sending.family, block, kind, *outcome) {
                Ok(announcer) => announcer,
                Err(error) => {
                    unsendable = Some(error);
                    continue;
                }
            };
            let before = bytes.len();
            let routes = run.iter().filter_map(|item| self.route_of(item.dest, item.path));
            announcer.pack(routes, &mut bytes);
            several.extend(run.iter().map(|it| Told {
                dest: it.dest,
                path: it.path,
                source: it.source,
            }));
            match parts.last_mut().filter(|part| part.source == *source) {
                Some(part) => part.bytes.end = bytes.len(),
                None => parts.push(Part { source: *source, bytes: before..bytes.len(), ids: 0..0 }),
            }
        }
        several.sort_unstable();
        let mut hidden = ids.to_vec();
        hidden.sort_unstable();
        Segment { parts, hidden, several, unsendable, ..Segment::holding(bytes) }
    }

    fn route_of(&self, dest: u32, path: u32) -> Option<(PathId, Prefix)> {
        Some((path_id(path), self.prefix(dest)?))
    }

    /// The best paths to a destination that may leave.
    fn choose_several(
        &self,
        id: u32,
        group: &mut Group,
        sending: &Sending<'_>,
        items: &mut Vec<Item>,
    ) {
        let mut left = self.candidates(id, sending.sets, sending.standings);
        let Some(prefix) = self.prefix(id) else { return };
        let mut room = group.outlet.paths_max;
        let origins = sending.origins.seen_as(group.outlet.local_as);
        while room > 0
            && let Some(best) = sending.rules.best(&left)
        {
            left.retain(|candidate| candidate.path != best.path);
            let Some((source, set)) = self.path(best.path) else { continue };
            let attributes = AttributesRef::new(sending.sets.bytes(set));
            let kind = sending.source(source);
            let route = Route { prefix, attributes, source: kind, origins: &origins };
            if let Way::Sent(outcome) = group.way(&route) {
                items.push(Item { source, set, outcome, dest: id, path: best.path });
                room -= 1;
            }
        }
    }

    /// What a peer is told of a segment: everything but its own paths, and that what it was told
    /// of before is gone.
    pub(super) fn tell_several(
        &mut self,
        peer: PeerId,
        segment: &Segment,
        group: &Group,
        sending: &Sending<'_>,
    ) -> Option<Next> {
        let lane = self.lane_mut(peer)?;
        let told = lane.told_paths.get_or_insert_default();
        let mut gone: Vec<(u32, u32)> = Vec::new();
        let mut rest = segment.several.as_slice();
        for dest in &segment.hidden {
            let len = rest.iter().take_while(|path| path.dest == *dest).count();
            let (here, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            rest = behind;
            let others = || here.iter().filter(|path| path.source != peer);
            let known: Vec<u32> =
                told.range((*dest, 0)..=(*dest, u32::MAX)).map(|(_, path)| *path).collect();
            for path in known {
                if !others().any(|other| other.path == path) {
                    told.remove(&(*dest, path));
                    gone.push((*dest, path));
                }
            }
            told.extend(others().map(|path| (*dest, path.path)));
            if others().next().is_some() {
                lane.told.insert(*dest);
            } else {
                lane.told.remove(*dest);
            }
        }
        if !self.watchers.is_empty() {
            self.mark_to(peer, &segment.hidden);
            for (dest, path) in &gone {
                self.mark_gone(peer, path_id(*path), *dest, Direction::Out);
            }
        }
        let is_source = segment.parts.iter().any(|part| part.source == peer);
        if gone.is_empty() && !is_source {
            return Some((Arc::clone(&segment.bytes), segment.unsendable));
        }
        let mut bytes = Vec::with_capacity(segment.bytes.len());
        let routes = gone.iter().filter_map(|(dest, path)| self.route_of(*dest, *path));
        pack_withdrawals(sending.family, &group.outlet.context, routes, &mut bytes);
        for part in segment.parts.iter().filter(|part| part.source != peer) {
            bytes.extend_from_slice(segment.bytes.get(part.bytes.clone()).unwrap_or_default());
        }
        Some((Arc::new(bytes), segment.unsendable))
    }
}

impl Sending<'_> {
    fn source(&self, peer: PeerId) -> Source {
        self.sources.get(usize::from(peer)).copied().unwrap_or(Source::Internal)
    }
}
