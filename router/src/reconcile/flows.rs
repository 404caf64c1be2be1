//! What the packets are called that the packet path tells of.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tidegate_abi::Told;

use super::Reconciler;
use crate::bpf_io;
use crate::flows_io::{Names, To};
use crate::view::{FlowsTold, flow as view};

impl Reconciler {
    /// Reads what the program tells of packets, if it does.
    pub(super) async fn read_flows(&mut self) {
        let flows = self.config.desired.flows;
        self.parts.flows.keep(flows.keep);
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
