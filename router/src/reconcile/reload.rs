//! Handing each part its share of the configuration in force.

use std::collections::BTreeMap;

use tidegate_abi::{CaptureFilter, DatapathConfig};
use tidegate_bgp::speaker;
use tidegate_config::desired::Desired;
use tracing::{error, warn};

use crate::bpf_io::{self, Datapath};
use crate::config_file::ConfigFile;

use super::Reconciler;

impl Reconciler {
    /// Puts another configuration in force, with its program if that is another; returns the old
    /// one. What is the same in both is not touched.
    pub(super) async fn replace(
        &mut self,
        new: ConfigFile,
        program: Option<Datapath>,
    ) -> ConfigFile {
        let old = std::mem::replace(&mut self.config, new);
        if !self.config.warnings.is_empty() {
            warn!("{}", self.config.warnings);
        }
        for name in gone(&old.desired, &self.config.desired) {
            self.order(speaker::Order::RemovePeer(name.as_str().into())).await;
        }
        let router = &self.config.desired.router;
        let before = &old.desired.router;
        let is_new = program.is_some();
        // What the old one leaves behind is pinned, as if its daemon had gone.
        if let Some(program) = program {
            self.parts.datapath = program;
            self.capturing = None; // Who reads is told so by that.
        }
        let moved =
            is_new || before.interfaces != router.interfaces || before.attach != router.attach;
        if moved && let Err(error) = self.parts.datapath.attach(&router.interfaces, router.attach) {
            error!("{error}"); // The loop sees that it is not attached, and tries again.
        }
        self.put_configuration().await;
        old
    }

    /// Hands each part its share of the configuration in force.
    pub(super) async fn put_configuration(&mut self) {
        let desired = &self.config.desired;
        self.healths.put(desired);
        let mut checks = BTreeMap::new();
        for service in desired.services.values() {
            let Some(check) = &service.health else { continue };
            let these = service.backends.keys();
            checks.extend(these.map(|backend| ((service.vip, *backend), check.clone())));
        }
        self.parts.checks.set(checks);
        if self.parts.bgp.set_keys(self.config.keys.clone()).await.is_err() {
            warn!("the BGP speaker has stopped");
        }
        self.order(speaker::Order::SetRules(self.config.desired.decision)).await;
        self.read_flows().await;
        self.parts.rpki.set(&self.config.desired.rpki_caches);
        self.parts.bmp.set(&self.config.desired.bmp_stations);
        self.parts.mrt.set(self.config.desired.mrt.as_ref()).await;
        self.parts.bfd.set(self.config.desired.peers.values());
        let peers: Vec<_> = self.config.desired.peers.values().cloned().collect();
        for peer in peers {
            self.order(speaker::Order::PutPeer(peer)).await;
        }
        let ranges: Vec<_> = self.config.desired.ranges.values().cloned().collect();
        for range in ranges {
            self.order(speaker::Order::PutRange(range)).await;
        }
    }

    async fn order(&self, order: speaker::Order) {
        if let Err(stopped) = self.parts.bgp.order(order).await {
            error!("{stopped}");
        }
    }
}

/// Peers and ranges that are not there any more, or have become the other.
fn gone<'a>(old: &'a Desired, new: &Desired) -> Vec<&'a String> {
    let peers = old.peers.keys().filter(|name| !new.peers.contains_key(*name));
    let ranges = old.ranges.keys().filter(|name| !new.ranges.contains_key(*name));
    peers.chain(ranges).collect()
}

/// The program for the new configuration, with the maps of the old one, if it is another: what is
/// constant in it has changed. It is not attached yet.
pub(super) fn respecialised(
    old: &Desired,
    new: &Desired,
) -> Result<Option<Datapath>, bpf_io::Error> {
    if tidegate_plan::constants(new) == tidegate_plan::constants(old) {
        return Ok(None);
    }
    load(new).map(Some)
}

/// The program for a configuration, with the maps that are pinned. It has the features that they
/// need too: flows may drain to backends in a mode that no service has any more.
///
/// # Errors
/// See [`Datapath::load_pinned`].
pub(crate) fn load(desired: &Desired) -> Result<Datapath, bpf_io::Error> {
    load_by(desired, |constants| Datapath::load_pinned(constants, &desired.router.pin_dir))
}

/// The same with a program that captures these packets.
pub(super) fn load_capturing(
    desired: &Desired,
    filter: &CaptureFilter,
) -> Result<Datapath, bpf_io::Error> {
    let dir = Some(desired.router.pin_dir.as_path());
    load_by(desired, |constants| Datapath::load_capturing(constants, filter, dir))
}

fn load_by(
    desired: &Desired,
    load: impl Fn(&DatapathConfig) -> Result<Datapath, bpf_io::Error>,
) -> Result<Datapath, bpf_io::Error> {
    let constants = tidegate_plan::constants(desired);
    let datapath = load(&constants)?;
    let needed = tidegate_plan::with_leftovers(constants, &datapath.observe()?);
    if needed == constants {
        return Ok(datapath);
    }
    load(&needed)
}
