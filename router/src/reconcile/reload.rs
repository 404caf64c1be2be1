//! Handing each part its share of the configuration in force.

use std::collections::BTreeMap;

use tidegate_bgp::speaker;
use tracing::{error, warn};

use crate::config_file::ConfigFile;

use super::Reconciler;

impl Reconciler {
    /// Puts another configuration in force; returns the old one. What is the same in both is not
    /// touched.
    pub(super) async fn replace(&mut self, new: ConfigFile) -> ConfigFile {
        let old = std::mem::replace(&mut self.config, new);
        if !self.config.warnings.is_empty() {
            warn!("{}", self.config.warnings);
        }
        for name in old.desired.peers.keys() {
            if !self.config.desired.peers.contains_key(name) {
                self.order(speaker::Order::RemovePeer(name.as_str().into())).await;
            }
        }
        let router = &self.config.desired.router;
        let before = &old.desired.router;
        let moved = before.interfaces != router.interfaces || before.attach != router.attach;
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
        let peers: Vec<_> = self.config.desired.peers.values().cloned().collect();
        for peer in peers {
            self.order(speaker::Order::PutPeer(peer)).await;
        }
    }

    async fn order(&self, order: speaker::Order) {
        if let Err(stopped) = self.parts.bgp.order(order).await {
            error!("{stopped}");
        }
    }
}
