//! What holds of a table at any time, for tests.

use std::collections::BTreeSet;

use super::{CHUNK, NONE, Table};
use crate::rib::hash::Hasher;
use crate::rib::key::Key;
use crate::rib::post::Post;

impl<K: Key> Table<K> {
    /// # Panics
    /// If something does not hold.
    pub(in crate::rib) fn check(&self, hasher: Hasher) {
        let free: BTreeSet<u32> = self.free_dests.iter().copied().collect();
        assert_eq!(free.len(), self.free_dests.len(), "a destination is free twice");
        let mut chained = BTreeSet::new();
        for (id, dest) in (0..).zip(&self.dests) {
            if free.contains(&id) {
                assert_eq!((dest.head, dest.best), (NONE, NONE), "a free destination has a path");
                continue;
            }
            assert_eq!(self.find(dest.key, hasher), Some(id), "a destination is not found");
            let mut at = dest.head;
            while at != NONE {
                assert!(chained.insert(at), "a path is in two chains, or twice in one");
                assert_eq!(self.paths[at as usize].dest, id, "a path of another destination");
                at = self.paths[at as usize].next;
            }
            assert!(dest.best == NONE || chained.contains(&dest.best), "the best is not there");
        }
        let unused: BTreeSet<u32> = self.free_chunks.iter().copied().collect();
        assert_eq!(unused.len(), self.free_chunks.len(), "a chunk is free twice");
        for (at, path) in (0..).zip(&self.paths) {
            let in_use = path.dest != NONE;
            assert_eq!(in_use, chained.contains(&at), "path {at} in use, and in a chain");
            assert!(!in_use || !unused.contains(&(at / CHUNK)), "a path in a free chunk");
        }
        self.check_lanes(&unused);
    }

    fn check_lanes(&self, unused: &BTreeSet<u32>) {
        let mut owned = unused.clone();
        for (peer, lane) in (0..).zip(&self.lanes) {
            for chunk in lane.chunks.iter().chain(&lane.stale) {
                assert!(owned.insert(*chunk), "a chunk is of two, or free");
                assert_eq!(self.owners[*chunk as usize].peer, peer);
            }
            let live = |chunk: &u32| self.owners[*chunk as usize].session == lane.session;
            assert!(lane.chunks.iter().all(live) && !lane.stale.iter().any(live));
            let places = lane.chunks.iter().flat_map(|chunk| chunk * CHUNK..(chunk + 1) * CHUNK);
            let paths: Vec<_> = places
                .map(|place| &self.paths[place as usize])
                .filter(|path| path.dest != NONE)
                .collect();
            assert_eq!(lane.paths, paths.len(), "paths of peer {peer}");
            let is_in = |post| matches!(Post::unpack(post), Post::Accepted(_));
            let accepted = paths.iter().filter(|path| is_in(path.post)).count();
            assert_eq!(lane.accepted, accepted, "accepted paths of peer {peer}");
            let dests: BTreeSet<u32> = paths.iter().map(|path| path.dest).collect();
            assert_eq!(lane.has.len(), dests.len(), "destinations of peer {peer}");
            assert!(dests.iter().all(|id| lane.has.contains(*id)));
        }
    }
}
