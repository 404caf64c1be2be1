//! What is done to all that a session brought, a chunk at a time: no step takes long, whatever the
//! size of the table.

use super::{Around, CHUNK, FREE, NONE, Table};
use crate::policy::{Border, Edits, rewrite};
use crate::rib::PeerId;
use crate::rib::bitmap::Bitmap;
use crate::rib::key::Key;
use crate::rib::post::Post;
use crate::rib::sets::{SetId, Sets};
use crate::types::{Community, Prefix};
use crate::wire::AttributesRef;

impl<K: Key> Table<K> {
    /// The present session of a peer is over: what it brought is handed out, to be dropped by
    /// [`Self::drop_chunk`] or kept. The peer's view of what we told it is void.
    pub(in crate::rib) fn end_session(&mut self, peer: PeerId) -> Vec<u32> {
        let Some(lane) = self.lane_mut(peer) else { return Vec::new() };
        let chunks = core::mem::take(&mut lane.chunks);
        lane.session = lane.session.wrapping_add(1);
        lane.free = NONE;
        lane.has = Bitmap::default();
        (lane.paths, lane.accepted) = (0, 0);
        lane.told = Bitmap::default();
        lane.told_paths = None;
        lane.refused = 0;
        lane.cursor = None;
        lane.sweep = 0..0;
        chunks
    }

    /// Drops every path in a chunk, and the chunk.
    pub(in crate::rib) fn drop_chunk(&mut self, chunk: u32, around: &mut Around<'_>) {
        let first = chunk * CHUNK;
        for path in first..first + CHUNK {
            let Some(id) = self.paths.get(path as usize).map(|path| path.dest) else { continue };
            if id == NONE {
                continue;
            }
            self.remove(id, path, around);
        }
        self.free_chunks.push(chunk);
    }

    /// Takes out a path whose place is not used again before its chunk is.
    fn remove(&mut self, id: u32, path: u32, around: &mut Around<'_>) {
        if self.is_of_session(path)
            && let (Some(owner), Some(record)) = (self.owner(path), self.paths.get(path as usize))
        {
            self.mark_removed(owner.peer, record.id, id);
        }
        let before = self.chosen(id);
        let previous = self.previous_of(id, path);
        self.unchain(id, previous, path, around.sets);
        if let Some(record) = self.path_mut(path) {
            *record = FREE;
        }
        self.decide(id, around);
        self.note_change(id, before);
    }

    fn previous_of(&self, id: u32, path: u32) -> u32 {
        let mut previous = NONE;
        let mut at = self.dests.get(id as usize).map_or(NONE, |dest| dest.head);
        while at != path
            && let Some(record) = self.paths.get(at as usize)
        {
            (previous, at) = (at, record.next);
        }
        previous
    }

    /// Chunks of a peer's present session.
    pub(in crate::rib) fn chunks_of(&self, peer: PeerId) -> Vec<u32> {
        self.lane(peer).map_or(Vec::new(), |lane| lane.chunks.clone())
    }

    /// Judges every path in a chunk anew. `judge` gets the attributes before policy and gives what
    /// comes out, which is the table's from then on.
    pub(in crate::rib) fn judge_chunk(
        &mut self,
        chunk: u32,
        around: &mut Around<'_>,
        mut judge: impl FnMut(Prefix, SetId, &mut Sets) -> Post,
    ) {
        let first = chunk * CHUNK;
        for path in first..first + CHUNK {
            self.judge_path(path, around, &mut judge);
        }
    }

    /// What is kept in a chunk has outlived the restart time (RFC 9494 §4.2): it is marked, or goes
    /// where that was asked for. `judge` as in [`Self::judge_chunk`].
    pub(in crate::rib) fn age_chunk(
        &mut self,
        (chunk, peer): (u32, PeerId),
        around: &mut Around<'_>,
        mut judge: impl FnMut(Prefix, SetId, &mut Sets) -> Post,
    ) {
        let mark = Edits { add: vec![Community::LLGR_STALE], ..Edits::default() };
        let first = chunk * CHUNK;
        for path in first..first + CHUNK {
            let Some(record) = self.paths.get(path as usize).copied() else { continue };
            if record.dest == NONE {
                continue;
            }
            let block = around.sets.bytes(record.pre);
            if AttributesRef::new(block).communities().any(|it| it == Community::NO_LLGR) {
                self.remove(record.dest, path, around);
            } else {
                let marked = rewrite(block, &Border::default(), &mark);
                let pre = around.sets.intern(&marked, peer);
                self.replace(path, pre, around, &mut judge);
            }
        }
    }

    /// Judges one path anew.
    pub(in crate::rib) fn judge_path(
        &mut self,
        path: u32,
        around: &mut Around<'_>,
        judge: impl FnOnce(Prefix, SetId, &mut Sets) -> Post,
    ) {
        let Some(record) = self.paths.get(path as usize).copied() else { return };
        if record.dest != NONE {
            around.sets.hold(record.pre);
            self.replace(path, record.pre, around, judge);
        }
    }

    /// Judges one path with these attributes, which are the table's from now on.
    fn replace(
        &mut self,
        path: u32,
        pre: SetId,
        around: &mut Around<'_>,
        judge: impl FnOnce(Prefix, SetId, &mut Sets) -> Post,
    ) {
        let Some(id) = self.paths.get(path as usize).map(|record| record.dest) else { return };
        let Some(prefix) = self.prefix(id) else { return };
        let post = judge(prefix, pre, around.sets);
        let before = self.chosen(id);
        self.release(path, around.sets);
        self.set(path, pre, post);
        self.count_accepted(path, post);
        if let Some(owner) = self.owner(path) {
            self.mark_from(owner.peer, id);
        }
        self.decide(id, around);
        self.note_change(id, before);
    }

    pub(super) fn count_accepted(&mut self, path: u32, post: Post) {
        let Some(owner) = self.owner(path) else { return };
        if let Some(lane) = self.lane_mut(owner.peer).filter(|lane| lane.session == owner.session) {
            lane.accepted += usize::from(matches!(post, Post::Accepted(_)));
        }
    }

    /// Decides a destination again, after something besides its paths has changed. One without paths
    /// is passed over: its number may be free, and would be so twice if it were entered now.
    pub(in crate::rib) fn decide_again(&mut self, id: u32, around: &Around<'_>) {
        if self.dests.get(id as usize).is_none_or(|dest| dest.head == NONE) {
            return;
        }
        let before = self.chosen(id);
        self.decide(id, around);
        self.note_change(id, before);
    }

    /// Destinations to which a peer has a path.
    pub(in crate::rib) fn dests_of(&self, peer: PeerId) -> Vec<u32> {
        self.dests_in(self.lane(peer).map_or(&[][..], |lane| &lane.chunks))
    }

    /// Destinations of the paths in these chunks.
    pub(in crate::rib) fn dests_in(&self, chunks: &[u32]) -> Vec<u32> {
        let places = chunks.iter().flat_map(|chunk| chunk * CHUNK..(chunk + 1) * CHUNK);
        let dests = places.filter_map(|place| self.paths.get(place as usize).map(|it| it.dest));
        dests.filter(|id| *id != NONE).collect()
    }
}
