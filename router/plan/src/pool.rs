//! The entries of `BACKENDS`: which index stands for which backend, and what is to be written.
//!
//! The entries name their backends, so the map itself is the memory of who has which index. An
//! entry is marked as not resolved only when no slot names it any more, and freed only when the
//! flow table cannot name it either.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{BACKENDS_MAX, Backend, backend_flags};
use tidegate_config::desired::Desired;

use crate::entry::{self, Identity, Outer};
use crate::farm::Farms;
use crate::observed::Observed;
use crate::step::Step;

/// All entries, seen and wanted.
pub(crate) struct Pool<'a> {
    seen: &'a BTreeMap<u32, Backend>,
    /// Seen or given now. If several entries are of one backend, the lowest index.
    index_of: BTreeMap<Identity, u32>,
    /// The same the other way round, seen ones only.
    identity_of: BTreeMap<u32, Identity>,
    /// The entries of configured backends; `None`: there is no way.
    wanted: BTreeMap<Identity, Option<Backend>>,
    /// Entries to write.
    pub(crate) puts: Vec<Step>,
    /// Entries to free.
    pub(crate) frees: Vec<Step>,
}

impl<'a> Pool<'a> {
    /// `named` says which indices any slot names, `in_transition` whether any slot is: then the
    /// flow table may name others.
    pub(crate) fn new(
        desired: &Desired,
        farms: &Farms<'_>,
        observed: &'a Observed,
        named: &[bool],
        in_transition: bool,
    ) -> Self {
        let mut pool = Self::look(desired, farms, observed);
        pool.write_wanted(named);
        pool.clean_up(observed, Outer::of(desired), |index| {
            !in_transition && !named.get(index as usize).copied().unwrap_or(false)
        });
        pool
    }

    /// The same, and nothing is to be written or freed.
    pub(crate) fn look(desired: &Desired, farms: &Farms<'_>, observed: &'a Observed) -> Self {
        let seen = &observed.datapath.backends;
        let mut index_of = BTreeMap::new();
        for (&index, backend) in seen.range(1..BACKENDS_MAX) {
            if let Some(identity) = entry::identity(backend) {
                index_of.entry(identity).or_insert(index);
            }
        }
        let identity_of = index_of.iter().map(|(&identity, &index)| (index, identity)).collect();
        let outer = Outer::of(desired);
        let mut wanted = BTreeMap::new();
        for service in &farms.services {
            for &addr in service.backends.keys() {
                let identity = entry::wanted(service.mode, service.vip.addr(), addr);
                let way = observed.ways.get(&addr);
                wanted
                    .entry(identity)
                    .or_insert_with(|| way.and_then(|way| entry::build(identity, way, outer)));
            }
        }
        let (puts, frees) = (Vec::new(), Vec::new());
        Self { seen, index_of, identity_of, wanted, puts, frees }
    }

    fn write_wanted(&mut self, named: &[bool]) {
        let is_named = |index: u32| named.get(index as usize).copied().unwrap_or(true);
        // An index that a stray slot names is not given to anyone: it would get that slot's flows.
        let mut free =
            (1..BACKENDS_MAX).filter(|index| !self.seen.contains_key(index) && !is_named(*index));
        for (&identity, &wanted) in &self.wanted {
            match (self.index_of.get(&identity).copied(), wanted) {
                (Some(index), Some(entry)) => {
                    if self.seen.get(&index) != Some(&entry) {
                        self.puts.push(Step::PutBackend { index, entry, fresh: false });
                    }
                }
                (None, Some(entry)) => {
                    if let Some(index) = free.next() {
                        self.index_of.insert(identity, index);
                        self.puts.push(Step::PutBackend { index, entry, fresh: true });
                    }
                }
                // The way is lost. Its slots move away first; the entry keeps index and counters.
                (Some(index), None) => {
                    if let Some(&seen) = self.seen.get(&index)
                        && entry::is_resolved(&seen)
                        && !is_named(index)
                    {
                        let entry =
                            Backend { flags: seen.flags & !backend_flags::RESOLVED, ..seen };
                        self.puts.push(Step::PutBackend { index, entry, fresh: false });
                    }
                }
                (None, None) => {}
            }
        }
    }

    /// Entries that no configured backend uses: freed, or kept up to date while flows drain.
    fn clean_up(&mut self, observed: &Observed, outer: Outer, is_over: impl Fn(u32) -> bool) {
        for (&index, seen) in self.seen {
            let identity = self.identity_of.get(&index).copied();
            if identity.is_some_and(|identity| self.wanted.contains_key(&identity)) {
                continue;
            }
            if is_over(index) {
                self.frees.push(Step::FreeBackend { index });
            } else if let Some(identity) = identity
                && let Some(way) = observed.ways.get(&identity.1)
                && let Some(entry) = entry::build(identity, way, outer)
                && entry != *seen
            {
                self.puts.push(Step::PutBackend { index, entry, fresh: false });
            }
        }
    }

    /// The addresses that connections in NAT come from, by the entries as they shall be and as they
    /// were seen: what drains is still answered.
    pub(crate) fn nat_sources(&self) -> BTreeSet<IpAddr> {
        let wanted = self.wanted.values().flatten();
        wanted.chain(self.seen.values()).filter_map(entry::nat_source).collect()
    }

    /// Its index; `None`: it has no entry and there is no way, or no room.
    pub(crate) fn index(&self, identity: Identity) -> Option<u32> {
        self.index_of.get(&identity).copied()
    }

    /// Its entry as it shall be; `None`: there is no way.
    pub(crate) fn wanted(&self, identity: Identity) -> Option<&Backend> {
        self.wanted.get(&identity)?.as_ref()
    }

    /// Its entry was seen exactly as it shall be, so a slot may name it.
    pub(crate) fn is_ready(&self, identity: Identity) -> bool {
        match (self.index(identity), self.wanted.get(&identity)) {
            (Some(index), Some(Some(entry))) => self.seen.get(&index) == Some(entry),
            _ => false,
        }
    }

    /// Which backend an index was seen to stand for.
    pub(crate) fn identity(&self, index: u32) -> Option<Identity> {
        self.identity_of.get(&index).copied()
    }

    /// Frames can be sent with the entry that was seen at this index.
    pub(crate) fn is_resolved(&self, index: u32) -> bool {
        index != 0 && self.seen.get(&index).is_some_and(entry::is_resolved)
    }
}

/// Rows of `SERVICE_TRAFFIC`. Row 0 is that of the VIPs' own entries, which forward nothing.
#[derive(Default)]
pub(crate) struct Rows {
    taken: BTreeSet<u32>,
    lowest: u32,
}

impl Rows {
    /// Takes this row unless it is taken or none.
    pub(crate) fn take(&mut self, row: u32) -> bool {
        (1..tidegate_abi::SERVICES_MAX).contains(&row) && self.taken.insert(row)
    }

    /// Takes the lowest free row.
    pub(crate) fn give(&mut self) -> Option<u32> {
        self.lowest = self.lowest.max(1);
        while self.taken.contains(&self.lowest) {
            self.lowest += 1;
        }
        self.take(self.lowest).then_some(self.lowest)
    }
}
