//! A packet path with a configuration in its maps, brought there as the daemon does it: by the
//! planner, step by step. Only the ways to the backends are made up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, anyhow, ensure};
use tidegate::bpf_io::Datapath;
use tidegate_bgp::time::Timestamp;
use tidegate_config::Desired;
use tidegate_plan::constants;
use tidegate_plan::observed::{Observed, Way};
use tidegate_plan::{Rings, plan_with};

/// Looks and steps until a configuration is in the maps, at most.
const ROUNDS_MAX: usize = 32;

/// The packet path of an edge.
#[derive(Debug)]
pub struct Edge {
    /// Program and maps.
    pub datapath: Datapath,
    ifindex: u32,
}

/// A configuration that must be right.
///
/// # Errors
/// Its mistakes.
pub fn desired(toml: &str) -> Result<Desired> {
    let checked = tidegate_config::check("bench.toml", toml);
    checked.map(|checked| checked.desired).map_err(|mistakes| anyhow!("{mistakes}"))
}

impl Edge {
    /// Loads the program for a configuration and fills its maps. Every backend is on the link
    /// behind this interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(toml: &str, ifindex: u32) -> Result<Self> {
        let desired = desired(toml)?;
        let mut edge = Self { datapath: Datapath::load(&constants(&desired))?, ifindex };
        edge.configure(toml)?;
        Ok(edge)
    }

    /// Changes the maps to another configuration. No time goes by: what is then in transition
    /// stays so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn configure(&mut self, toml: &str) -> Result<()> {
        let desired = desired(toml)?;
        let mut rings = Rings::default();
        for _ in 0..ROUNDS_MAX {
            let datapath = self.datapath.observe()?;
            let ways = ways(&desired, self.ifindex);
            let observed = Observed { datapath, ways, ..Observed::default() };
            let plan = plan_with(&mut rings, &desired, &observed, Timestamp::from_nanos(0));
            if plan.steps.is_empty() {
                return Ok(());
            }
            for step in &plan.steps {
                self.datapath.apply(step)?;
            }
        }
        ensure!(false, "after {ROUNDS_MAX} rounds there is still something to do");
        Ok(())
    }
}

/// A way to every backend, on the link behind this interface.
pub fn ways(desired: &Desired, egress_ifindex: u32) -> BTreeMap<IpAddr, Way> {
    let way = Way {
        egress_ifindex,
        vlan: None,
        source_mac: [2, 0, 0, 0, 0, 2],
        next_hop_mac: [2, 0, 0, 0, 0, 3],
        on_link: true,
        mtu: 1_500,
        source_v4: Some(Ipv4Addr::new(10, 255, 0, 1)),
        source_v6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    };
    let backends = desired.services.values().flat_map(|service| service.backends.keys());
    backends.map(|&addr| (addr, way)).collect()
}
