//! The configuration in force: put at start, replaced on SIGHUP, kept when the new one is bad.

use std::collections::BTreeMap;

use tidegate_bgp::speaker;
use tidegate_config::desired::Desired;
use tracing::{error, info, warn};

use crate::bpf_io::{self, Datapath};
use crate::config_file::{self, ConfigFile};

use super::Reconciler;

impl Reconciler {
    /// Reads the file again. A file that is not good, or that changes what only a start can
    /// change, is refused as a whole: the old configuration stays in force.
    pub(super) async fn reload(&mut self) {
        let loaded = config_file::read(&self.config.path).map_err(|error| error.to_string());
        let old = &self.config.desired;
        let checked = loaded.and_then(|new| {
            can_replace(old, &new.desired)?;
            Ok((respecialised(old, &new.desired)?, new))
        });
        match checked {
            Ok((program, new)) => self.replace(new, program).await,
            Err(refused) => {
                error!("reload refused, the old configuration stays in force:\n{refused}");
                self.refused = Some(refused);
            }
        }
    }

    async fn replace(&mut self, new: ConfigFile, program: Option<Datapath>) {
        let old = std::mem::replace(&mut self.config, new);
        self.generation += 1;
        self.refused = None;
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
        }
        let moved =
            is_new || before.interfaces != router.interfaces || before.attach != router.attach;
        if moved && let Err(error) = self.parts.datapath.attach(&router.interfaces, router.attach) {
            error!("{error}"); // The loop sees that it is not attached, and tries again.
        }
        self.put_configuration().await;
        info!(generation = self.generation, "configuration reloaded");
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

/// Whether a running daemon can go from one to the other; if not, why.
fn can_replace(old: &Desired, new: &Desired) -> Result<(), String> {
    let keys = needs_restart(old, new);
    if !keys.is_empty() {
        let keys = keys.join(", ");
        return Err(format!(
            "{keys} can only change with a restart of tidegate: change the file back, or restart"
        ));
    }
    // One that was there before may be gone for a moment; one that is new was mistyped.
    let added = |name: &&String| !old.router.interfaces.contains(name);
    new.router.interfaces.iter().filter(added).try_for_each(|name| {
        bpf_io::index_of(name).map(|_index| ()).map_err(|missing| missing.to_string())
    })
}

/// The program for the new configuration, with the maps of the old one, if it is another: what is
/// constant in it has changed. It is not attached yet.
fn respecialised(old: &Desired, new: &Desired) -> Result<Option<Datapath>, String> {
    let constants = tidegate_plan::constants(new);
    if constants == tidegate_plan::constants(old) {
        return Ok(None);
    }
    let loaded = Datapath::load_pinned(&constants, &new.router.pin_dir);
    loaded.map(Some).map_err(|error| error.to_string())
}

/// Keys whose new value only a start can use.
fn needs_restart(old: &Desired, new: &Desired) -> Vec<&'static str> {
    let (old, new) = (&old.router, &new.router);
    let keys = [
        ("router.asn", old.asn != new.asn),
        ("router.router-id", old.router_id != new.router_id),
        ("router.listen", old.listen != new.listen),
        ("router.hash-seed", old.hash_seed != new.hash_seed),
        ("router.pin-dir", old.pin_dir != new.pin_dir),
        ("[api]", old.api != new.api),
    ];
    keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}
