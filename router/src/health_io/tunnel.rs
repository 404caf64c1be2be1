//! Checks that take the way of clients' packets: which socket's packets go to which backend.
//!
//! The kernel makes the connection, to the VIP; a program on the way out ([`CheckPath`]) puts what goes
//! around packets of clients around its packets. It tells them by the mark of their socket, in which is
//! the row of the backend. What comes back comes from the VIP, past the tunnel, as every answer does.

use core::net::IpAddr;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tidegate_abi::{BACKENDS_MAX, Backend, check_marks};
use tidegate_plan::entry::{Identity, Outer, build};
use tidegate_plan::observed::Way;
use tokio::sync::watch;
use tracing::warn;

use super::random::Random;
use crate::bpf_io::{CheckPath, index_of};

/// Whether packets can be sent to a backend so, or why not; `None`: nobody has looked yet.
type Sendable = Option<Result<(), Arc<str>>>;

/// The way to one backend, for its checks.
#[derive(Clone, Debug)]
pub(super) struct Through {
    /// Mark of the sockets.
    pub(super) mark: u32,
    sendable: watch::Receiver<Sendable>,
}

impl Through {
    /// Waits until somebody has looked.
    ///
    /// # Errors
    /// Why nothing can be sent to the backend.
    pub(super) async fn is_there(&mut self) -> Result<(), Arc<str>> {
        let known = self.sendable.wait_for(Option::is_some).await;
        match known.as_deref() {
            Ok(Some(sendable)) => sendable.clone(),
            Ok(None) | Err(_) => Err("the daemon is about to end".into()),
        }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Tunnels {
    path: Option<CheckPath>,
    /// What marks of this process begin with; zero: nobody has asked for one.
    ours: u32,
    rows: HashMap<Identity, Row>,
    free: BTreeSet<u32>,
    /// Why the program is not where it has to be.
    problem: Option<Arc<str>>,
}

impl core::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tunnels").field("problem", &self.problem).finish_non_exhaustive()
    }
}

struct Row {
    at: u32,
    entry: Backend,
    sendable: watch::Sender<Sendable>,
}

impl Tunnels {
    /// The way to a backend; `None`: there is no room for so many.
    pub(super) fn through(&mut self, backend: Identity) -> Option<Through> {
        if self.ours == 0 {
            let chance: u32 =
                u32::from_be_bytes(Random::new().octets()) & check_marks::OURS & !(0xff << 24);
            self.ours = check_marks::FIRST | chance;
            self.free = (0..BACKENDS_MAX).collect();
        }
        let row = match self.rows.entry(backend) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(place) => {
                let at = self.free.pop_first()?;
                let sendable = watch::Sender::new(None);
                place.insert(Row { at, entry: Backend::FREE, sendable })
            }
        };
        Some(Through { mark: self.ours | row.at, sendable: row.sendable.subscribe() })
    }

    /// Forgets the ways to all others.
    pub(super) fn retain(&mut self, wanted: &HashSet<Identity>) {
        let gone = self.rows.extract_if(|backend, _| !wanted.contains(backend));
        for (_, row) in gone {
            self.free.insert(row.at);
            // Nobody sends there; one that still does is stopped by it.
            if let Some(path) = &mut self.path
                && let Err(error) = path.put(row.at, &Backend::FREE)
            {
                warn!("a way of checks stays that nobody uses: {error}");
            }
        }
    }

    /// Takes over where packets go now, and why they go nowhere. `interfaces`: those that they may leave
    /// by beside those towards the backends.
    pub(super) fn look(
        &mut self,
        ways: &BTreeMap<IpAddr, Way>,
        no_ways: &BTreeMap<IpAddr, String>,
        outer: Outer,
        interfaces: &[String],
    ) {
        if self.rows.is_empty() {
            self.path = None;
            return;
        }
        let problem = self.prepare(ways, interfaces).err().map(Arc::from);
        if problem != self.problem
            && let Some(problem) = &problem
        {
            warn!("checks that take the way of clients cannot be made: {problem}");
        }
        self.problem = problem;
        for (backend, row) in &mut self.rows {
            let sendable = match (&self.problem, &mut self.path) {
                (Some(problem), _) => Err(Arc::clone(problem)),
                (None, Some(path)) => point(*backend, row, path, (ways, no_ways), outer),
                (None, None) => Err("the program is not loaded".into()),
            };
            row.sendable.send_if_modified(|known| {
                let is_new = known.as_ref() != Some(&sendable);
                *known = Some(sendable);
                is_new
            });
        }
    }

    /// The program is loaded, and on all interfaces that packets may leave by.
    fn prepare(
        &mut self,
        ways: &BTreeMap<IpAddr, Way>,
        interfaces: &[String],
    ) -> Result<(), String> {
        let path = if let Some(path) = &mut self.path {
            path
        } else {
            let path = CheckPath::load(self.ours).map_err(|error| error.to_string())?;
            self.rows.values_mut().for_each(|row| row.entry = Backend::FREE);
            self.path.insert(path)
        };
        let backends = self.rows.keys().filter_map(|(_, addr)| ways.get(addr));
        let mut leaves: BTreeSet<u32> = backends.map(|way| way.egress_ifindex).collect();
        // One that is not there is the packet path's matter.
        leaves.extend(interfaces.iter().filter_map(|name| index_of(name).ok()));
        path.attach(&leaves.into_iter().collect::<Vec<_>>()).map_err(|error| error.to_string())
    }
}

/// Lets packets of this row go where those of clients go.
fn point(
    backend: Identity,
    row: &mut Row,
    path: &mut CheckPath,
    (ways, no_ways): (&BTreeMap<IpAddr, Way>, &BTreeMap<IpAddr, String>),
    outer: Outer,
) -> Result<(), Arc<str>> {
    let (_, addr) = backend;
    let entry = ways.get(&addr).and_then(|way| build(backend, way, outer));
    let wanted = entry.unwrap_or(Backend::FREE);
    if row.entry != wanted {
        path.put(row.at, &wanted).map_err(|error| Arc::from(error.to_string()))?;
        row.entry = wanted;
    }
    match (entry, no_ways.get(&addr)) {
        (Some(_), _) => Ok(()),
        (None, Some(why)) => Err(why.as_str().into()),
        (None, None) => Err("packets of clients cannot be sent there either".into()),
    }
}
