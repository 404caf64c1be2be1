//! Services with affinity `quic`: which server ids name which backends.
//!
//! A server id is in the maps while its backend may have connections: until it is down, disabled or
//! gone. One that drains keeps its connections, whatever becomes of their slots.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{QuicKey, service_flags};
use tidegate_config::desired::{Affinity, Backend, ServerId, Service};

use crate::entry;
use crate::observed::Datapath;
use crate::service::{Shared, Work};
use crate::step::Step;
use crate::view::BackendState;

/// Server ids in one step, at most.
const STEP_MAX: usize = 4_096;

/// The flags of a service's entry.
pub(crate) fn flags(spec: &Service) -> u32 {
    let Affinity::Quic { former, .. } = spec.affinity else { return 0 };
    // At most fifteen, and of the same length for all.
    let len_of = |id: fn(&Backend) -> Option<ServerId>| {
        let id = spec.backends.values().find_map(id);
        id.and_then(|id| u32::try_from(id.octets().len()).ok()).unwrap_or_default()
    };
    let len = len_of(|it| it.server_id);
    let former = former.map_or(0, |config_id| {
        let len = len_of(|it| it.former_server_id);
        (u32::from(config_id) + 1) << service_flags::FORMER_CONFIG
            | len << service_flags::FORMER_ID_LEN
    });
    service_flags::QUIC | len << service_flags::SERVER_ID_LEN | former
}

impl Work<'_> {
    /// The server ids that name backends in this row. Of a backend that has no verdict yet those that
    /// the maps hold, which may be right; of one that is not configured any more those, too, as long
    /// as its old flows drain.
    pub(crate) fn servers(
        &self,
        row: u32,
        alive: &[u32],
        shared: &Shared<'_>,
    ) -> Vec<(QuicKey, u32)> {
        let Affinity::Quic { config_id, former } = self.spec.affinity else { return Vec::new() };
        let named = &shared.observed.datapath.quic_servers;
        let of_configured = self.case.backends.iter().flat_map(|backend| {
            let identity = entry::wanted(self.spec.mode, self.spec.vip.addr(), backend.addr);
            let index = backend.index.filter(|&it| shared.pool.identity(it) == Some(identity));
            let index = index.filter(|&it| shared.pool.is_resolved(it));
            let is_alive = move |key: &QuicKey| match backend.state {
                BackendState::Active | BackendState::Draining | BackendState::Narrow => true,
                BackendState::Unproven => named.get(key) == index.as_ref(),
                BackendState::Down
                | BackendState::Disabled
                | BackendState::NoWay
                | BackendState::NoRoom => false,
            };
            let spec = self.spec.backends.get(&backend.addr);
            let now = spec.and_then(|it| Some((config_id, it.server_id?)));
            let before = spec.and_then(|it| Some((former?, it.former_server_id?)));
            let keys = [now, before].into_iter().flatten();
            let keys = keys.map(move |(config, id)| QuicKey::new(row, config, id.octets()));
            keys.filter(is_alive).filter_map(move |key| Some((key, index?)))
        });
        let mut servers: BTreeMap<QuicKey, u32> = of_configured.collect();
        // Of a row that was another service's, none are this one's.
        let first = QuicKey { service: row, ..QuicKey::default() };
        let of_row = named.range(first..).take_while(|(key, _)| key.service == row);
        let of_row = of_row.filter(|_| self.seen.row == Some(row));
        // Other entries than those of configured backends: removed ones, and those of another mode.
        let configured: BTreeSet<u32> =
            self.case.backends.iter().filter_map(|it| it.index).collect();
        let drains = |index: &u32| alive.contains(index) && !configured.contains(index);
        for (&key, &index) in of_row {
            if drains(&index) {
                servers.entry(key).or_insert(index);
            }
        }
        servers.into_iter().collect()
    }
}

/// Whether the map holds all of these.
pub(crate) fn hold(datapath: &Datapath, servers: &[(QuicKey, u32)]) -> bool {
    servers.iter().all(|(key, index)| datapath.quic_servers.get(key) == Some(index))
}

/// Steps towards the wanted server ids. Those that go make room for others first.
pub(crate) fn plan(wanted: &BTreeMap<QuicKey, u32>, observed: &Datapath) -> Vec<Step> {
    let seen = &observed.quic_servers;
    let gone: Vec<QuicKey> = seen.keys().filter(|it| !wanted.contains_key(it)).copied().collect();
    let is_new = |(key, index): &(&QuicKey, &u32)| seen.get(key) != Some(index);
    let new: Vec<_> = wanted.iter().filter(is_new).map(|(&key, &index)| (key, index)).collect();
    let deletes = gone.chunks(STEP_MAX).map(|it| Step::DeleteServers { servers: it.to_vec() });
    let puts = new.chunks(STEP_MAX).map(|it| Step::PutServers { servers: it.to_vec() });
    deletes.chain(puts).collect()
}

/// What a step that is done makes of the maps; other steps are not for here.
pub fn apply(step: &Step, datapath: &mut Datapath) {
    match step {
        Step::PutServers { servers } => datapath.quic_servers.extend(servers.iter().copied()),
        Step::DeleteServers { servers } => {
            datapath.quic_servers.retain(|key, _| !servers.contains(key));
        }
        _ => {}
    }
}
