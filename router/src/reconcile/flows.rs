//! What the packets are called that the packet path tells of.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_abi::Told;
use tidegate_config::desired::{ForwardingMode, Service};

use super::Reconciler;
use crate::bpf_io;
use crate::flows_io::{Names, To};
use crate::view::{FlowsTold, flow as view};

/// A flow none of whose packets was drawn for so long is taken to be over.
const LIVE_WITHIN: Duration = Duration::from_mins(1);

impl Reconciler {
    /// Reads what the program tells of packets, if it does.
    pub(super) async fn read_flows(&mut self) {
        let flows = self.config.desired.flows;
        self.parts.flows.keep(flows.keep);
        self.parts.flows.know(self.config.desired.prefix_sets.values().cloned());
        let router_id = Ipv4Addr::from_bits(self.config.desired.router.router_id.get());
        self.parts.flows.export(To { flows, router_id });
        if !flows.is_on() {
            self.parts.flows.read(None).await;
        }
        // A program that was there before is read already.
        if let Some(records) = self.parts.datapath.take_records() {
            self.unread = Some(records);
            self.named_at = None;
        }
    }

    pub(super) fn flows_told(&self) -> Result<FlowsTold, bpf_io::Error> {
        let told = self.parts.datapath.told()?;
        let count = |of: Told| told.get(&of).copied().unwrap_or(0);
        Ok(FlowsTold {
            sampled_one_in: self.config.desired.flows.sample,
            told: view::Told {
                logged: count(Told::Logged),
                sampled_out: count(Told::SampledOut),
                left_out: count(Told::LeftOut),
                lost: count(Told::Lost),
                unreadable: self.parts.flows.log().unreadable(),
            },
        })
    }

    /// How many flows of each service live, as far as that is known.
    pub(super) fn live_flows(&self) -> BTreeMap<String, u64> {
        let desired = &self.config.desired;
        let mut live = BTreeMap::new();
        if desired.flows.sample > 0 {
            let since =
                SystemTime::now().checked_sub(LIVE_WITHIN).unwrap_or(SystemTime::UNIX_EPOCH);
            let drawn = self.parts.flows.log().live(since);
            let of = |name: &String| drawn.get(name.as_str()).copied().unwrap_or(0);
            live.extend(desired.services.keys().map(|name| (name.clone(), of(name))));
        }
        let mut open = BTreeMap::<u32, u64>::new();
        for ((service, _), connections) in self.parts.datapath.nat_connections() {
            *open.entry(*service).or_default() += connections;
        }
        for vip in self.last.vips.values() {
            let is_nat = |it: &Service| it.mode == ForwardingMode::Nat;
            if desired.services.get(&vip.name).is_some_and(is_nat) {
                let index = vip.programmed.map(|programmed| programmed.index);
                let known = index.and_then(|index| open.get(&index)).copied();
                live.insert(vip.name.clone(), known.unwrap_or(0));
            }
        }
        live
    }

    /// Names services and backends anew when the maps have changed.
    pub(super) async fn name_flows(&mut self) {
        let somebody_asks = self.config.desired.flows.is_on() || self.capturing.is_some();
        if !somebody_asks || self.named_at == Some(self.map_writes) {
            return;
        }
        let mut names = Names::default();
        for vip in self.last.vips.values() {
            if let Some(programmed) = vip.programmed {
                names.services.insert(programmed.index, Arc::from(vip.name.as_str()));
            }
            let backends = vip.backends.iter();
            names.backends.extend(backends.filter_map(|(addr, it)| Some((it.index?, *addr))));
        }
        if let Some(observed) = &self.looked {
            let backends = observed.datapath.backends.iter();
            names.egress = backends.map(|(index, it)| (*index, it.egress_ifindex)).collect();
        }
        self.parts.flows.name(names);
        self.named_at = Some(self.map_writes);
        // Not before: what the ring holds from before a restart has names too.
        if let Some(records) = self.unread.take() {
            self.parts.flows.read(Some(records)).await;
        }
    }
}
