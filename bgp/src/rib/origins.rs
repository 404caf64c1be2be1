//! Other VRPs come into force: routes below the prefixes that differ are judged again (RFC 6811 §2,
//! RFC 8481), slice by slice, and no others. Without a policy that asks, none are.

use core::net::IpAddr;
use std::sync::Arc;

use super::peer::RibPeer;
use super::{CHUNKS_PER_SLICE, PeerId, Rib, Task, around, of_family, table};
use crate::origin::{Cover, Origins, Vrps};
use crate::types::{Family, Prefix};

/// Changes that wait, at most; beyond that, everything is taken to have changed.
const COVERS_MAX: usize = 16;

/// What covers every prefix.
fn everything() -> Cover {
    let all = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
    Cover::new(&all.map(|addr| Prefix::new(addr, 0)).into_iter().flatten().collect::<Vec<_>>())
}

impl Rib {
    /// Who may originate what.
    pub const fn origins(&self) -> &Origins {
        &self.origins
    }

    /// These VRPs are in force from now on; `changed` covers every prefix whose VRPs differ from
    /// those of before.
    pub fn set_vrps(&mut self, vrps: Arc<Vrps>, changed: &Arc<Cover>) {
        self.origins.vrps = vrps;
        let import = self.peers.iter().any(RibPeer::import_looks_at_rpki);
        if !import && !self.export_looks_at_rpki() {
            return;
        }
        for family in Family::UNICAST.into_iter().filter(|family| changed.has(*family)) {
            let mut all = self.take_pending(family);
            if all.len() < COVERS_MAX {
                all.push(Arc::clone(changed));
            } else {
                all = vec![Arc::new(everything())];
            }
            self.tasks.push_back(Task::Revalidate { family, next: 0, changed: all });
        }
    }

    /// What changed before and has not been gone through to the end. It begins from the start with
    /// what has changed now: one walk does for both.
    fn take_pending(&mut self, of: Family) -> Vec<Arc<Cover>> {
        let is_it = |task: &Task| matches!(task, Task::Revalidate { family, .. } if *family == of);
        let at = self.tasks.iter().position(is_it);
        match at.and_then(|at| self.tasks.remove(at)) {
            Some(Task::Revalidate { changed, .. }) => changed,
            _ => Vec::new(),
        }
    }

    fn export_looks_at_rpki(&self) -> bool {
        let policies = self.peers.iter().filter_map(|peer| peer.policies.export.as_ref());
        policies.into_iter().any(|chain| chain.looks_at_rpki())
    }

    pub(super) fn revalidate_some(
        &mut self,
        family: Family,
        next: u32,
        changed: Vec<Arc<Cover>>,
    ) -> Option<Task> {
        let tell = self.export_looks_at_rpki();
        let mut around = around!(self);
        let judge_of = |peer: PeerId| {
            let of = self.peers.get(usize::from(peer))?;
            of.import_looks_at_rpki().then(|| of.judge(peer, self.local, &self.origins))
        };
        of_family!(self, family, table => {
            let limit = u32::try_from(CHUNKS_PER_SLICE).unwrap_or(1) * table::CHUNK;
            let mut end = table.dests_end().min(next.saturating_add(limit));
            let mut left = CHUNKS_PER_SLICE * table::CHUNK as usize;
            for id in next..end {
                let is_below = |prefix| changed.iter().any(|cover| cover.covers(prefix));
                if !table.prefix(id).is_some_and(is_below) {
                    continue;
                }
                let paths: Vec<_> = table.paths_of(id).collect();
                left = left.saturating_sub(paths.len());
                for path in paths {
                    let Some(judge) = judge_of(path.peer) else { continue };
                    table.judge_path(path.path, &mut around, |prefix, set, sets| {
                        judge.post(prefix, set, sets)
                    });
                }
                if tell && table.best_path(id).is_some() {
                    table.enter(id, true);
                }
                if left == 0 {
                    end = id + 1; // Of a destination, there may be as many as there are peers.
                    break;
                }
            }
            (end < table.dests_end()).then_some(Task::Revalidate { family, next: end, changed })
        })
    }
}
