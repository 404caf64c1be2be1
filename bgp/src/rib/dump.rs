//! A stretch of the table as MRT records.

use super::key::Key;
use super::post::Post;
use super::sets::Sets;
use super::table::{PathView, Table};
use super::{Rib, of_family};
use crate::bmp::WallTime;
use crate::mrt::{Entry, push_destination};
use crate::types::Family;

/// Destinations that one stretch looks at, at most: a few milliseconds.
const DESTS_PER_DUMP: u32 = 8192;

impl Rib {
    /// Places of peers, ours and unused ones included.
    pub(crate) const fn places(&self) -> usize {
        self.peers.len()
    }

    /// Appends a stretch from `from` on; how many destinations it has, and where the next begins.
    /// `originated`: by peer, since when its paths are there; of those without, none are dumped.
    pub(crate) fn dump(
        &mut self,
        from: u64,
        time: WallTime,
        originated: &[Option<u32>],
        out: &mut Vec<u8>,
    ) -> (u32, Option<u64>) {
        let (half, start) = (from >> 32, u32::try_from(from & u64::from(u32::MAX)).unwrap_or(0));
        let family = if half == 0 { Family::Ipv4Unicast } else { Family::Ipv6Unicast };
        let sets = &self.sets;
        let (count, end, all): (u32, u32, u32) = of_family!(self, family, table => {
            let end = table.dests_end().min(start.saturating_add(DESTS_PER_DUMP));
            let dumped = (start..end).filter(|id| dump_one(table, *id, sets, time, originated, out));
            (u32::try_from(dumped.count()).unwrap_or(0), end, table.dests_end())
        });
        let next = match family {
            _ if end < all => Some(half << 32 | u64::from(end)),
            Family::Ipv4Unicast => Some(1 << 32),
            _ => None,
        };
        (count, next)
    }
}

fn dump_one<K: Key>(
    table: &Table<K>,
    id: u32,
    sets: &Sets,
    time: WallTime,
    originated: &[Option<u32>],
    out: &mut Vec<u8>,
) -> bool {
    let Some(prefix) = table.prefix(id) else { return false };
    let entry = |path: PathView| match path.post {
        Post::Rejected(_) => None,
        Post::Accepted(set) => Some(Entry {
            peer: path.peer,
            originated: originated.get(usize::from(path.peer)).copied().flatten()?,
            path_id: path.has_id.then_some(path.path_id),
            block: sets.bytes(set),
        }),
    };
    let entries: Vec<Entry<'_>> = table.paths_of(id).filter_map(entry).collect();
    push_destination(out, time, id, prefix, &entries);
    !entries.is_empty()
}
