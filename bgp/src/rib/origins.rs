//! Other VRPs come into force: routes below the prefixes that differ are judged again (RFC 6811 §2,
//! RFC 8481), slice by slice, and no others. Without a policy that asks, none are.

use std::sync::Arc;

use super::peer::RibPeer;
use super::{CHUNKS_PER_SLICE, PeerId, Rib, Task, around, of_family, table};
use crate::origin::{Cover, Origins, Vrps};
use crate::types::Family;

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
            let changed = Arc::clone(changed);
            self.tasks.push_back(Task::Revalidate { family, next: 0, changed });
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
        changed: Arc<Cover>,
    ) -> Option<Task> {
        let tell = self.export_looks_at_rpki();
        let mut around = around!(self);
        let judge_of = |peer: PeerId| {
            let of = self.peers.get(usize::from(peer))?;
            of.import_looks_at_rpki().then(|| of.judge(peer, self.local, &self.origins))
        };
        of_family!(self, family, table => {
            let limit = u32::try_from(CHUNKS_PER_SLICE).unwrap_or(1) * table::CHUNK;
            let end = table.dests_end().min(next.saturating_add(limit));
            for id in next..end {
                if !table.prefix(id).is_some_and(|prefix| changed.covers(prefix)) {
                    continue;
                }
                for path in table.paths_of(id).collect::<Vec<_>>() {
                    let Some(judge) = judge_of(path.peer) else { continue };
                    table.judge_path(path.path, &mut around, |prefix, set, sets| {
                        judge.post(prefix, set, sets)
                    });
                }
                if tell && table.best_path(id).is_some() {
                    table.enter(id, true);
                }
            }
            (end < table.dests_end()).then_some(Task::Revalidate { family, next: end, changed })
        })
    }
}
