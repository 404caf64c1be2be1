//! The table of one family as a successor gets it: destinations and paths keep their numbers, since
//! peers know paths by them (RFC 7911), and what each peer was told goes along.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{CHUNK, Dest, FREE, Lane, NONE, Owner, Path, Table};
use crate::rib::PeerId;
use crate::rib::bitmap::Bitmap;
use crate::rib::hand_over::{Damaged, Numbers};
use crate::rib::hash::Hasher;
use crate::rib::key::Key;
use crate::rib::post::{Post, Rejected};
use crate::rib::sets::{SetId, Sets};
use crate::types::{PathId, Prefix};

/// More chunks than this, of 128 paths each, no record has.
const CHUNKS_MAX: usize = 1 << 18;

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::rib) struct TableRecord {
    /// By number, with the number of the best path; `None`: the number is free.
    dests: Vec<Option<(Prefix, u32)>>,
    chunks: Vec<Option<ChunkRecord>>,
    lanes: Vec<LaneRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ChunkRecord {
    peer: PeerId,
    session: u32,
    has_ids: bool,
    /// Place in the chunk, destination, set before policy, path identifier.
    paths: Vec<(u8, u32, u32, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LaneRecord {
    session: u32,
    since: u32,
    has_ids: bool,
    refused: u64,
    told: Bitmap,
    told_paths: Option<BTreeSet<(u32, u32)>>,
    /// Destinations that it is still to be told of, from the table and besides.
    sweep: (u32, u32),
    pending: Vec<u32>,
}

impl<K: Key> Table<K> {
    /// To be called when no work is left to be done.
    pub(in crate::rib) fn record(&self, numbers: &mut Numbers, sets: &Sets) -> TableRecord {
        let lanes: Vec<LaneRecord> = self.lanes.iter().map(|lane| self.lane_record(lane)).collect();
        let known: BTreeSet<u32> =
            lanes.iter().flat_map(|lane| lane.pending.iter().copied()).collect();
        let free: BTreeSet<u32> = self.free_dests.iter().copied().collect();
        let is_told = |id| self.lanes.iter().any(|lane| lane.told.contains(id));
        // Without a path, a destination is remembered for those who are to hear that it has none.
        let wanted = |id: u32, dest: &Dest<K>| {
            dest.head != NONE || !free.contains(&id) && (known.contains(&id) || is_told(id))
        };
        let dests = (0..).zip(&self.dests).map(|(id, dest)| {
            dest.key.prefix().filter(|_| wanted(id, dest)).map(|prefix| (prefix, dest.best))
        });
        let dests = dests.collect();
        let in_use: BTreeSet<u32> = self
            .lanes
            .iter()
            .flat_map(|lane| lane.chunks.iter().chain(&lane.stale))
            .copied()
            .collect();
        let chunk = |(chunk, owner): (u32, &Owner)| {
            in_use.contains(&chunk).then(|| {
                let places = (0..).zip(chunk * CHUNK..(chunk + 1) * CHUNK);
                let paths = places.filter_map(|(place, at)| {
                    let path = self.paths.get(at as usize).filter(|path| path.dest != NONE)?;
                    Some((place, path.dest, numbers.of(path.pre, sets), path.id.0))
                });
                let Owner { peer, session, has_ids } = *owner;
                ChunkRecord { peer, session, has_ids, paths: paths.collect() }
            })
        };
        TableRecord { dests, chunks: (0..).zip(&self.owners).map(chunk).collect(), lanes }
    }

    fn lane_record(&self, lane: &Lane) -> LaneRecord {
        let from = lane.cursor.unwrap_or(self.journal.tail());
        let unread: BTreeSet<u32> = self.journal.behind(from).collect();
        LaneRecord {
            session: lane.session,
            since: lane.since,
            has_ids: lane.has_ids,
            refused: lane.refused as u64,
            told: lane.told.clone(),
            told_paths: lane.told_paths.clone(),
            sweep: (lane.sweep.start, lane.sweep.end),
            pending: unread.into_iter().collect(),
        }
    }

    /// The table of a record. Its paths are not judged yet, and nobody hears of changes.
    ///
    /// # Errors
    /// [`Damaged`]: the record contradicts itself.
    pub(in crate::rib) fn restore(
        record: &TableRecord,
        ids: &[SetId],
        sets: &mut Sets,
        hasher: Hasher,
    ) -> Result<Self, Damaged> {
        let mut table = Self::default();
        for (id, dest) in (0..).zip(&record.dests) {
            let key = dest.map(|(prefix, _)| K::of(prefix).ok_or(Damaged::Prefix(prefix)));
            let Some(key) = key.transpose()? else {
                // Its key is nobody's, and is written anew when the number is given out.
                let unused = K::of_nothing();
                table.dests.push(Dest { key: unused, head: NONE, best: NONE, entry: NONE });
                table.free_dests.push(id);
                continue;
            };
            if table.find(key, hasher).is_some() {
                return Err(Damaged::Twice);
            }
            table.dests.push(Dest { key, head: NONE, best: NONE, entry: NONE });
            table.index.insert(key.hash(hasher), id);
        }
        for lane in &record.lanes {
            table.lanes.push(Lane {
                session: lane.session,
                since: lane.since,
                has_ids: lane.has_ids,
                free: NONE,
                ..Lane::default()
            });
        }
        if record.chunks.len() > CHUNKS_MAX {
            return Err(Damaged::Number);
        }
        for (at, chunk) in (0..).zip(&record.chunks) {
            table.restore_chunk(at, chunk.as_ref(), ids, sets)?;
        }
        Ok(table)
    }

    fn restore_chunk(
        &mut self,
        at: u32,
        record: Option<&ChunkRecord>,
        ids: &[SetId],
        sets: &mut Sets,
    ) -> Result<(), Damaged> {
        let (first, end) = (at * CHUNK, (at + 1) * CHUNK);
        self.paths.resize(end as usize, FREE);
        let Some(&ChunkRecord { peer, session, has_ids, ref paths }) = record else {
            self.owners.push(Owner { peer: 0, session: 0, has_ids: false });
            self.free_chunks.push(at);
            return Ok(());
        };
        self.owners.push(Owner { peer, session, has_ids });
        let lane = self.lanes.get_mut(usize::from(peer)).ok_or(Damaged::Number)?;
        let is_live = lane.session == session;
        if is_live {
            lane.chunks.push(at);
        } else {
            lane.stale.push(at);
        }
        for &(place, dest, set, path_id) in paths {
            let path = first + u32::from(place);
            let pre = *ids.get(set as usize).ok_or(Damaged::Number)?;
            let free = self.paths.get(path as usize).is_some_and(|path| path.dest == NONE);
            if path >= end || !free || self.has_path(dest, (peer, session), PathId(path_id)) {
                return Err(Damaged::Twice);
            }
            let is_free =
                self.dests.get(dest as usize).is_none_or(|dest| dest.key == K::of_nothing());
            let place = self.dest_mut(dest).filter(|_| !is_free).ok_or(Damaged::Number)?;
            let next = core::mem::replace(&mut place.head, path);
            sets.hold(pre);
            let post = Post::Rejected(Rejected::NoPolicy).pack();
            if let Some(place) = self.path_mut(path) {
                *place = Path { dest, next, pre, post, id: PathId(path_id) };
            }
            if let Some(lane) = self.lane_mut(peer).filter(|_| is_live) {
                lane.paths += 1;
                lane.has.insert(dest);
            }
        }
        for path in (first..end).rev().filter(|_| is_live) {
            let is_free = self.paths.get(path as usize).is_some_and(|path| path.dest == NONE);
            if is_free {
                self.give_back(peer, path);
            }
        }
        Ok(())
    }

    fn has_path(&self, dest: u32, (peer, session): (PeerId, u32), path_id: PathId) -> bool {
        self.paths_of(dest).any(|path| {
            path.peer == peer
                && path.path_id == path_id
                && self.owner(path.path).is_some_and(|owner| owner.session == session)
        })
    }

    /// Judges every path of a restored table, and decides every destination. Gives those whose best
    /// path is another one than it was.
    pub(in crate::rib) fn judge_restored(
        &mut self,
        record: &TableRecord,
        around: &mut super::Around<'_>,
        mut judge: impl FnMut(PeerId, Prefix, SetId, &mut Sets) -> Post,
    ) -> Vec<u32> {
        for path in 0..u32::try_from(self.paths.len()).unwrap_or(u32::MAX) {
            let Some(Path { dest, pre, .. }) = self.paths.get(path as usize).copied() else {
                break;
            };
            let (Some(prefix), Some(owner)) = (self.prefix(dest), self.owner(path)) else {
                continue;
            };
            let post = judge(owner.peer, prefix, pre, around.sets);
            self.set(path, pre, post);
            self.count_accepted(path, post);
        }
        let mut changed = Vec::new();
        for (id, dest) in (0..).zip(&record.dests) {
            let Some((_, best)) = dest else { continue };
            self.decide(id, around);
            let now = self.dests.get(id as usize).map_or(NONE, |dest| dest.best);
            let is_gone = self.dests.get(id as usize).is_some_and(|dest| dest.head == NONE);
            if now != *best || is_gone {
                changed.push(id);
            }
        }
        changed
    }

    /// What a peer with a session was told, and is to be told: everything again if `again`.
    pub(in crate::rib) fn restore_lane(
        &mut self,
        record: &TableRecord,
        peer: PeerId,
        again: bool,
    ) -> Result<(), Damaged> {
        let end = self.dests_end();
        let Some(from) = record.lanes.get(usize::from(peer)) else { return Ok(()) };
        let is_known = |id: &u32| *id < end;
        let all_known = from.told.end() <= end
            && from.pending.iter().all(is_known)
            && from.told_paths.iter().flatten().all(|(id, _)| is_known(id));
        let sweep = if again { 0..end } else { from.sweep.0..from.sweep.1.min(end) };
        let Some(lane) = self.lane_mut(peer).filter(|_| all_known) else {
            return Err(Damaged::Number);
        };
        if lane.told_paths.is_some() != from.told_paths.is_some() && !from.told.is_empty() {
            return Err(Damaged::Number);
        }
        lane.told = from.told.clone();
        if lane.told_paths.is_some() {
            lane.told_paths = Some(from.told_paths.clone().unwrap_or_default());
        }
        lane.since = from.since;
        lane.refused = usize::try_from(from.refused).unwrap_or(usize::MAX);
        lane.sweep = sweep;
        Ok(())
    }

    /// What was still to be told when the record was made.
    pub(in crate::rib) fn pending(record: &TableRecord) -> BTreeSet<u32> {
        record.lanes.iter().flat_map(|lane| lane.pending.iter().copied()).collect()
    }
}
