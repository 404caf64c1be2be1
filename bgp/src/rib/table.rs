//! The table of one family: destinations, and the paths of all peers to them.
//!
//! A destination has a dense number, a chain of paths and the best of them. A path is twenty
//! octets. Paths lie in chunks that belong to one session of one peer, so what a session brought
//! can be gone through, dropped or kept for a restart without any search.

use std::collections::BTreeSet;

use super::PeerId;
use super::bitmap::Bitmap;
use super::decision::{Candidate, DecisionRules, Standing};
use super::hash::Hasher;
use super::index::Index;
use super::journal::{Journal, Position};
use super::key::Key;
use super::post::Post;
use super::sets::{SetId, Sets};
use super::watch::Marks;
use crate::types::{PathId, Prefix};

/// Paths per chunk: a peer with one prefix costs this many.
pub(super) const CHUNK: u32 = 128;

/// No destination, no path.
pub(super) const NONE: u32 = u32::MAX;

/// One path. Twenty octets, of which there may be ten million.
#[derive(Clone, Copy, Debug)]
struct Path {
    /// [`NONE`] in a free place.
    dest: u32,
    /// The next path to the same destination, or the next free place.
    next: u32,
    pre: SetId,
    post: u32,
    id: PathId,
}
const _: () = assert!(size_of::<Path>() == 20);

const FREE: Path = Path { dest: NONE, next: NONE, pre: SetId(0), post: 0, id: PathId(0) };

/// A path with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathView {
    pub(super) path: u32,
    pub(super) peer: PeerId,
    pub(super) stale: bool,
    pub(super) pre: SetId,
    pub(super) post: Post,
    pub(super) path_id: PathId,
    /// The identifier was agreed on: there may be other paths of the peer.
    pub(super) has_id: bool,
}

/// A destination.
#[derive(Clone, Copy, Debug)]
struct Dest<K> {
    key: K,
    /// First of its paths.
    head: u32,
    /// The best one.
    best: u32,
    /// Low half of the place of its last journal entry.
    entry: u32,
}

/// To which session of which peer a chunk belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    peer: PeerId,
    session: u32,
    /// Its paths have identifiers.
    has_ids: bool,
}

/// What one peer has in the table, and how far it has read.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Number of the present session, so that chunks of an older one are known.
    session: u32,
    /// The number that it had when it came up: a refresh gives it another one.
    since: u32,
    /// What it brings has path identifiers.
    pub(super) has_ids: bool,
    chunks: Vec<u32>,
    /// First free place in them.
    free: u32,
    /// Destinations to which the present session has a path.
    pub(super) has: Bitmap,
    /// Paths of the present session.
    pub(super) paths: usize,
    /// Paths of it that policy and loop checks let through.
    pub(super) accepted: usize,
    /// Chunks of an ended session that are kept until the peer has restarted.
    pub(super) stale: Vec<u32>,
    /// What the peer was told of and not told to forget.
    pub(super) told: Bitmap,
    /// Where it is told several paths (RFC 7911): destination and identifier of each.
    pub(super) told_paths: Option<BTreeSet<(u32, u32)>>,
    /// Paths to one destination that it may have.
    pub(super) paths_max: usize,
    /// Paths beyond that, which were not taken.
    pub(super) refused: usize,
    /// Where it reads in the journal; `None`: it is told nothing.
    pub(super) cursor: Option<Position>,
    /// The journal's count of changes when it began.
    pub(super) attached_at: u64,
    /// Destinations that it is still to be told of from the table itself.
    pub(super) sweep: core::ops::Range<u32>,
}

/// What the table needs of the rest of the RIB.
pub(super) struct Around<'a> {
    pub(super) sets: &'a mut Sets,
    pub(super) standings: &'a [Standing],
    pub(super) rules: DecisionRules,
    pub(super) hasher: Hasher,
}

/// The table of one family.
#[derive(Debug)]
pub(super) struct Table<K> {
    dests: Vec<Dest<K>>,
    free_dests: Vec<u32>,
    index: Index,
    paths: Vec<Path>,
    owners: Vec<Owner>,
    free_chunks: Vec<u32>,
    pub(super) journal: Journal,
    pub(super) lanes: Vec<Lane>,
    /// Those who follow from outside.
    pub(super) watchers: Vec<Marks>,
    /// Destinations that would be forgotten if a watcher knew that they are empty.
    held: Bitmap,
    /// Somebody is told several paths, and hears of changes beside the best one.
    several: bool,
    /// Scratch for the decision process.
    candidates: Vec<Candidate>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            dests: Vec::new(),
            free_dests: Vec::new(),
            index: Index::default(),
            paths: Vec::new(),
            owners: Vec::new(),
            free_chunks: Vec::new(),
            journal: Journal::default(),
            lanes: Vec::new(),
            watchers: Vec::new(),
            held: Bitmap::default(),
            several: false,
            candidates: Vec::new(),
        }
    }
}

mod bulk;
mod change;
pub(super) mod hand_over;
#[cfg(test)]
mod invariants;

/// What makes a best path another one to those who are told of it.
type Chosen = Option<(PeerId, u32, u32)>;

impl<K: Key> Table<K> {
    /// A place for one more peer.
    pub(super) fn add_lane(&mut self, peer: PeerId) {
        while self.lanes.len() <= usize::from(peer) {
            self.lanes.push(Lane { free: NONE, ..Lane::default() });
        }
    }

    pub(super) fn lane(&self, peer: PeerId) -> Option<&Lane> {
        self.lanes.get(usize::from(peer))
    }

    pub(super) fn lane_mut(&mut self, peer: PeerId) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::from(peer))
    }

    /// Destinations, unused numbers included.
    pub(super) fn dests_end(&self) -> u32 {
        u32::try_from(self.dests.len()).unwrap_or(u32::MAX)
    }

    /// Destinations in use.
    pub(super) fn len(&self) -> usize {
        self.dests.len() - self.free_dests.len()
    }

    /// Brings what a look for these keys will need into the cache, all at once.
    pub(super) fn warm(&self, hashes: impl Iterator<Item = u64> + Clone) {
        let mut seen = 0;
        for hash in hashes.clone() {
            seen |= self.index.peek(hash).unwrap_or(0);
        }
        core::hint::black_box(seen);
        for hash in hashes {
            let known = self.index.peek(hash).and_then(|id| self.dests.get(id as usize));
            seen |= known.map_or(0, |dest| dest.best);
        }
        core::hint::black_box(seen);
    }

    pub(super) fn find(&self, key: K, hasher: Hasher) -> Option<u32> {
        let is_it = |id: u32| self.dests.get(id as usize).is_some_and(|dest| dest.key == key);
        self.index.find(key.hash(hasher), is_it)
    }

    pub(super) fn prefix(&self, id: u32) -> Option<Prefix> {
        self.dests.get(id as usize)?.key.prefix()
    }

    /// The best path to a destination: who brought it, and its attributes.
    pub(super) fn best(&self, id: u32) -> Option<(PeerId, SetId)> {
        let best = self.dests.get(id as usize)?.best;
        let path = self.paths.get(best as usize)?;
        match Post::unpack(path.post) {
            Post::Accepted(set) => Some((self.owner(best)?.peer, set)),
            Post::Rejected(_) => None,
        }
    }

    /// Number of the best path.
    pub(super) fn best_path(&self, id: u32) -> Option<u32> {
        self.dests.get(id as usize).map(|dest| dest.best).filter(|best| *best != NONE)
    }

    /// All paths to a destination.
    pub(super) fn paths_of(&self, id: u32) -> impl Iterator<Item = PathView> {
        let mut at = self.dests.get(id as usize).map_or(NONE, |dest| dest.head);
        core::iter::from_fn(move || {
            let path = self.paths.get(at as usize)?;
            let owner = self.owner(at)?;
            let stale = self.lane(owner.peer).is_some_and(|lane| lane.session != owner.session);
            let view = PathView {
                path: at,
                peer: owner.peer,
                stale,
                pre: path.pre,
                post: Post::unpack(path.post),
                path_id: path.id,
                has_id: owner.has_ids,
            };
            at = path.next;
            Some(view)
        })
    }

    fn owner(&self, path: u32) -> Option<Owner> {
        self.owners.get((path / CHUNK) as usize).copied()
    }

    /// Whether a path came on the session that its peer has now, before a refresh or after it: what
    /// came on another one has ended with that, for those who follow.
    pub(super) fn is_of_session(&self, path: u32) -> bool {
        let Some(owner) = self.owner(path) else { return false };
        let lane = self.lane(owner.peer).filter(|lane| lane.cursor.is_some());
        lane.is_some_and(|lane| {
            owner.session.wrapping_sub(lane.since) <= lane.session.wrapping_sub(lane.since)
        })
    }

    fn dest_mut(&mut self, id: u32) -> Option<&mut Dest<K>> {
        self.dests.get_mut(id as usize)
    }

    fn path_mut(&mut self, path: u32) -> Option<&mut Path> {
        self.paths.get_mut(path as usize)
    }

    /// Adds a path, or replaces the one that the peer had. The sets are the table's from now on.
    pub(super) fn announce(
        &mut self,
        peer: PeerId,
        (path_id, key, hash): (PathId, K, u64),
        (pre, post): (SetId, Post),
        around: &mut Around<'_>,
    ) {
        let id = self.find_or_add(key, hash);
        let Some(lane) = self.lanes.get_mut(usize::from(peer)) else { return };
        let is_first = lane.has.insert(id);
        let old = if is_first { None } else { self.path_from(id, peer, path_id) };
        if old.is_none() && !is_first && self.is_full(id, peer) {
            return self.refuse(peer, pre, post, around.sets);
        }
        let before = self.chosen(id);
        if old.is_none() {
            self.supersede(id, peer, path_id, around.sets);
        }
        let path = if let Some((_, path)) = old {
            self.release(path, around.sets);
            self.set(path, pre, post);
            path
        } else {
            self.chain(id, peer, path_id, pre, post)
        };
        let lane_of = self.lanes.get_mut(usize::from(peer));
        if let Some(lane) = lane_of {
            lane.paths += usize::from(old.is_none());
            lane.accepted += usize::from(matches!(post, Post::Accepted(_)));
        }
        self.mark_from(peer, id);
        if old.is_some() || !self.stays_best(id, path, around) {
            self.decide(id, around);
        }
        self.note_change(id, before);
    }

    /// Removes a path; `false`: the peer had none.
    pub(super) fn withdraw(
        &mut self,
        peer: PeerId,
        (path_id, key): (PathId, K),
        around: &mut Around<'_>,
    ) -> bool {
        let Some(id) = self.find(key, around.hasher) else { return false };
        let before = self.chosen(id);
        if self.supersede(id, peer, path_id, around.sets) {
            self.mark_removed(peer, path_id, id);
            self.decide(id, around);
            self.note_change(id, before);
        }
        if !self.lane(peer).is_some_and(|lane| lane.has.contains(id)) {
            return false;
        }
        let Some((previous, path)) = self.path_from(id, peer, path_id) else { return false };
        let before = self.chosen(id);
        self.unchain(id, previous, path, around.sets);
        self.give_back(peer, path);
        self.mark_removed(peer, path_id, id);
        self.decide(id, around);
        self.note_change(id, before);
        let is_last = !self.has_live(id, peer);
        if let Some(lane) = self.lane_mut(peer) {
            lane.paths -= 1;
            if is_last {
                lane.has.remove(id);
            }
        }
        true
    }

    fn has_live(&self, id: u32, peer: PeerId) -> bool {
        self.paths_of(id).any(|path| path.peer == peer && !path.stale)
    }

    /// Whether a peer has as many paths to a destination as it may.
    fn is_full(&self, id: u32, peer: PeerId) -> bool {
        let live = self.paths_of(id).filter(|path| path.peer == peer && !path.stale).count();
        self.lane(peer).is_none_or(|lane| live >= lane.paths_max)
    }

    /// A path that is not taken.
    fn refuse(&mut self, peer: PeerId, pre: SetId, post: Post, sets: &mut Sets) {
        sets.release(pre);
        if let Post::Accepted(post) = post
            && post != pre
        {
            sets.release(post);
        }
        if let Some(lane) = self.lane_mut(peer) {
            lane.refused += 1;
        }
    }

    fn find_or_add(&mut self, key: K, hash: u64) -> u32 {
        let is_it = |id: u32| self.dests.get(id as usize).is_some_and(|dest| dest.key == key);
        if let Some(id) = self.index.find(hash, is_it) {
            return id;
        }
        let dest = Dest { key, head: NONE, best: NONE, entry: NONE };
        let id = if let Some(id) = self.free_dests.pop() {
            if let Some(place) = self.dest_mut(id) {
                *place = dest;
            }
            id
        } else {
            self.dests.push(dest);
            self.dests_end() - 1
        };
        self.index.insert(hash, id);
        id
    }

    /// The path that a peer's present session has to a destination, and the one before it.
    fn path_from(&self, id: u32, peer: PeerId, path_id: PathId) -> Option<(u32, u32)> {
        let session = self.lane(peer)?.session;
        let mut previous = NONE;
        let mut at = self.dests.get(id as usize)?.head;
        while let Some(path) = self.paths.get(at as usize) {
            let is_owner = |it: Owner| it.peer == peer && it.session == session;
            if path.id == path_id && self.owner(at).is_some_and(is_owner) {
                return Some((previous, at));
            }
            (previous, at) = (at, path.next);
        }
        None
    }

    /// What the peer says now takes the place of what it said on an earlier session (RFC 4724
    /// §4.2); `false`: nothing of that is kept.
    fn supersede(&mut self, id: u32, peer: PeerId, path_id: PathId, sets: &mut Sets) -> bool {
        let mut found = false;
        let Some(lane) = self.lane(peer).filter(|lane| !lane.stale.is_empty()) else {
            return found;
        };
        let session = lane.session;
        let (mut previous, mut at) = (NONE, self.dests.get(id as usize).map_or(NONE, |it| it.head));
        while let Some(path) = self.paths.get(at as usize).copied() {
            let owner = self.owner(at).filter(|it| it.peer == peer && it.session != session);
            if path.id == path_id && owner.is_some() {
                self.unchain(id, previous, at, sets);
                if let Some(place) = self.path_mut(at) {
                    *place = FREE; // Its chunk goes with the others of that session.
                }
                found = true;
            } else {
                previous = at;
            }
            at = path.next;
        }
        found
    }

    /// Puts a new path in front of the others.
    fn chain(&mut self, id: u32, peer: PeerId, path_id: PathId, pre: SetId, post: Post) -> u32 {
        let place = self.take_place(peer);
        let Some(dest) = self.dest_mut(id) else { return NONE };
        let next = core::mem::replace(&mut dest.head, place);
        if let Some(path) = self.path_mut(place) {
            *path = Path { dest: id, next, pre, post: post.pack(), id: path_id };
        }
        place
    }

    /// A free place among the peer's own.
    fn take_place(&mut self, peer: PeerId) -> u32 {
        let Some(lane) = self.lanes.get_mut(usize::from(peer)) else { return NONE };
        if lane.free == NONE {
            let owner = Owner { peer, session: lane.session, has_ids: lane.has_ids };
            let chunk = if let Some(chunk) = self.free_chunks.pop() {
                if let Some(place) = self.owners.get_mut(chunk as usize) {
                    *place = owner;
                }
                chunk
            } else {
                self.owners.push(owner);
                self.paths.resize(self.owners.len() * CHUNK as usize, FREE);
                u32::try_from(self.owners.len() - 1).unwrap_or(u32::MAX)
            };
            lane.chunks.push(chunk);
            let first = chunk * CHUNK;
            for place in first..first + CHUNK {
                let next = if place + 1 < first + CHUNK { place + 1 } else { NONE };
                if let Some(path) = self.paths.get_mut(place as usize) {
                    *path = Path { next, ..FREE };
                }
            }
            lane.free = first;
        }
        let place = lane.free;
        lane.free = self.paths.get(place as usize).map_or(NONE, |path| path.next);
        place
    }

    fn give_back(&mut self, peer: PeerId, place: u32) {
        let Some(lane) = self.lanes.get_mut(usize::from(peer)) else { return };
        let next = core::mem::replace(&mut lane.free, place);
        if let Some(path) = self.paths.get_mut(place as usize) {
            *path = Path { next, ..FREE };
        }
    }

    /// Takes a path out of its destination's chain and lets go of its sets.
    fn unchain(&mut self, id: u32, previous: u32, path: u32, sets: &mut Sets) {
        self.release(path, sets);
        let next = self.paths.get(path as usize).map_or(NONE, |path| path.next);
        if let Some(previous) = self.path_mut(previous) {
            previous.next = next;
        } else if let Some(dest) = self.dest_mut(id) {
            dest.head = next;
        }
        if let Some(dest) = self.dest_mut(id).filter(|dest| dest.best == path) {
            dest.best = NONE;
        }
    }

    /// Lets go of a path's sets.
    fn release(&mut self, path: u32, sets: &mut Sets) {
        let Some(record) = self.paths.get(path as usize).copied() else { return };
        sets.release(record.pre);
        let Post::Accepted(post) = Post::unpack(record.post) else { return };
        if post != record.pre {
            sets.release(post);
        }
        let Some(owner) = self.owner(path) else { return };
        if let Some(lane) = self.lane_mut(owner.peer).filter(|lane| lane.session == owner.session) {
            lane.accepted -= 1;
        }
    }

    fn set(&mut self, path: u32, pre: SetId, post: Post) {
        if let Some(path) = self.path_mut(path) {
            (path.pre, path.post) = (pre, post.pack());
        }
    }

    fn chosen(&self, id: u32) -> Chosen {
        let best = self.dests.get(id as usize)?.best;
        let path = self.paths.get(best as usize)?;
        Some((self.owner(best)?.peer, path.post, path.id.0))
    }

    fn candidate(&self, path: u32, sets: &Sets, standings: &[Standing]) -> Option<Candidate> {
        let record = self.paths.get(path as usize)?;
        let Post::Accepted(set) = Post::unpack(record.post) else { return None };
        let owner = self.owner(path)?;
        let lane = self.lane(owner.peer)?;
        Some(Candidate {
            path,
            rank: sets.rank(set),
            standing: *standings.get(usize::from(owner.peer))?,
            path_id: record.id.0,
            stale: lane.session != owner.session,
        })
    }

    /// Every path to a destination that policy lets through.
    pub(super) fn candidates(
        &self,
        id: u32,
        sets: &Sets,
        standings: &[Standing],
    ) -> Vec<Candidate> {
        let paths = self.paths_of(id);
        paths.filter_map(|path| self.candidate(path.path, sets, standings)).collect()
    }

    /// Who brought a path, and its attributes.
    pub(super) fn path(&self, path: u32) -> Option<(PeerId, SetId)> {
        match Post::unpack(self.paths.get(path as usize)?.post) {
            Post::Accepted(set) => Some((self.owner(path)?.peer, set)),
            Post::Rejected(_) => None,
        }
    }

    /// Looks only at the new path and the best one, as far as that suffices.
    fn stays_best(&mut self, id: u32, new: u32, around: &Around<'_>) -> bool {
        let judged = |path| self.candidate(path, around.sets, around.standings);
        let Some(new_one) = judged(new) else { return true };
        let best = self.dests.get(id as usize).map_or(NONE, |dest| dest.best);
        let keeps = match judged(best) {
            Some(best) => around.rules.keeps_best(&best, &new_one),
            None => self.paths.get(new as usize).filter(|path| path.next == NONE).map(|_| false),
        };
        match keeps {
            Some(false) if new_one.is_usable() => {
                if let Some(dest) = self.dest_mut(id) {
                    dest.best = new;
                }
                true
            }
            Some(true) => true,
            Some(false) | None => false,
        }
    }

    /// The whole decision process for one destination.
    pub(super) fn decide(&mut self, id: u32, around: &Around<'_>) {
        let mut candidates = core::mem::take(&mut self.candidates);
        candidates.clear();
        let mut at = self.dests.get(id as usize).map_or(NONE, |dest| dest.head);
        while let Some(path) = self.paths.get(at as usize) {
            candidates.extend(self.candidate(at, around.sets, around.standings));
            at = path.next;
        }
        let best = around.rules.best(&candidates).map_or(NONE, |best| best.path);
        if let Some(dest) = self.dest_mut(id) {
            dest.best = best;
        }
        self.candidates = candidates;
    }
}
