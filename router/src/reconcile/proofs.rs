//! Test packets: which are run, when, and what came of each last.
//!
//! On every look all that may have changed are run. Between looks they are run in turns, so that a
//! packet path that somebody broke from outside, which no event tells, is noticed within a second.
//! What a service has more of than its share is run in rotation: the work of a second is bounded,
//! whatever is configured.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use tidegate_config::desired::{Desired, ServiceAddr};
use tidegate_plan::observed;
use tidegate_plan::proof::{self, Client, Finding};

use crate::bpf_io::Datapath;

/// From one turn to the next.
pub(super) const TURN: Duration = Duration::from_millis(150);
/// A turn is for so large a part of the services.
const TURNS: usize = 4;
/// Test packets in one pass over all services, unless there are more services: about ten
/// milliseconds of one CPU.
const RUNS_MAX: usize = 4_096;

/// What is known of every service.
#[derive(Default)]
pub(super) struct Proofs {
    services: BTreeMap<ServiceAddr, Tried>,
    /// Where the next turn starts.
    after: Option<ServiceAddr>,
    /// The program was attached.
    attached: bool,
    /// Test packets run since the start.
    runs: u64,
}

#[derive(Default)]
struct Tried {
    packet_len: u16,
    packets: Vec<Packet>,
    /// Which packet is next.
    next: usize,
}

struct Packet {
    client: Client,
    ingress: u32,
    /// Index of the backend it must go to.
    index: u32,
    finding: Finding,
}

impl Proofs {
    /// The findings for what was observed just now.
    pub(super) fn look(
        &mut self,
        desired: &Desired,
        observed: &observed::Datapath,
        datapath: &Datapath,
    ) -> BTreeMap<ServiceAddr, Vec<Finding>> {
        self.attached = observed.attached;
        let ingress: Vec<u32> = datapath.links().iter().map(|link| link.ifindex).collect();
        let share = share(desired.services.len());
        let mut before = std::mem::take(&mut self.services);
        let mut findings = BTreeMap::new();
        for spec in desired.services.values() {
            let clients = proof::clients(desired.router.hash_seed, spec.vip, observed);
            let mut tried = before.remove(&spec.vip).unwrap_or_default();
            if tried.is_for(spec.min_mtu, &clients, &ingress) {
                tried.refresh(spec.vip, share, observed, datapath, &mut self.runs);
            } else {
                tried = Tried::new(spec.min_mtu, &clients, &ingress);
                tried.run(spec.vip, usize::MAX, datapath, &mut self.runs);
            }
            findings.insert(spec.vip, tried.packets.iter().map(|p| p.finding).collect());
            self.services.insert(spec.vip, tried);
        }
        findings
    }

    /// Runs the next few; true if what comes out is not what came out before.
    pub(super) fn turn(&mut self, datapath: &Datapath) -> bool {
        let share = share(self.services.len());
        let count = self.services.len().div_ceil(TURNS);
        let after = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut news = datapath.attached() != self.attached;
        let rest = self.services.range_mut((after, Bound::Unbounded));
        self.after = None; // From the start again, unless there are more.
        for (n, (&service, tried)) in rest.take(count).enumerate() {
            news |= tried.run(service, share, datapath, &mut self.runs);
            self.after = (n + 1 == count).then_some(service);
        }
        news
    }

    /// Test packets run since the start.
    pub(super) const fn runs(&self) -> u64 {
        self.runs
    }
}

/// Packets of one service in a pass.
fn share(services: usize) -> usize {
    (RUNS_MAX / services.max(1)).max(1)
}

impl Tried {
    fn new(packet_len: u16, clients: &[(Client, u32)], ingress: &[u32]) -> Self {
        let packets = clients.iter().flat_map(|&(client, index)| {
            let finding = Finding::NotRun;
            ingress.iter().map(move |&ingress| Packet { client, ingress, index, finding })
        });
        Self { packet_len, packets: packets.collect(), next: 0 }
    }

    fn is_for(&self, packet_len: u16, clients: &[(Client, u32)], ingress: &[u32]) -> bool {
        let wanted = clients.iter().flat_map(|&(client, index)| {
            ingress.iter().map(move |&ingress| (client, ingress, index))
        });
        let have = self.packets.iter().map(|p| (p.client, p.ingress, p.index));
        self.packet_len == packet_len && wanted.eq(have)
    }

    /// Runs the next `share` packets; true if a finding changed.
    fn run(
        &mut self,
        service: ServiceAddr,
        share: usize,
        datapath: &Datapath,
        runs: &mut u64,
    ) -> bool {
        let count = self.packets.len();
        let mut changed = false;
        for _ in 0..count.min(share) {
            self.next = (self.next + 1) % count;
            if let Some(packet) = self.packets.get_mut(self.next) {
                changed |= packet.run(service, self.packet_len, datapath, runs);
            }
        }
        changed
    }

    /// Runs its share, and every packet of which the finding does not fit what was observed.
    fn refresh(
        &mut self,
        service: ServiceAddr,
        share: usize,
        observed: &observed::Datapath,
        datapath: &Datapath,
        runs: &mut u64,
    ) {
        self.run(service, share, datapath, runs);
        for packet in &mut self.packets {
            let entry = observed.backends.get(&packet.index);
            let fits = match packet.finding {
                Finding::Sent(headers) => entry.is_some_and(|entry| proof::is_as(&headers, entry)),
                Finding::Ended(_) | Finding::NotRun => false,
            };
            if !fits {
                packet.run(service, self.packet_len, datapath, runs);
            }
        }
    }
}

impl Packet {
    fn run(
        &mut self,
        service: ServiceAddr,
        packet_len: u16,
        datapath: &Datapath,
        runs: &mut u64,
    ) -> bool {
        let frame = proof::frame(service.protocol, self.client, packet_len);
        let finding = datapath.prove(&frame, self.ingress);
        *runs += 1;
        std::mem::replace(&mut self.finding, finding) != finding
    }
}
