//! What clients of the main job notice while something happens to its edge: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};

use super::http::{Holding, load};
use super::main_job::{EDGE, MainJob, VIPS};

impl MainJob {
    /// The session dies with the daemon, and the routes with it. So that the client's packets go on
    /// reaching the edge, the router is told the way by hand: what is asked then is the edge.
    ///
    /// # Errors
    /// When it has been told already.
    pub fn route_by_hand(&self) -> Result<()> {
        for (vip, via) in VIPS.into_iter().zip(EDGE) {
            let route = ["ip", "route", "add", vip.prefix, "via", via, "metric", "4000"];
            self.lab.run("router", &route)?;
        }
        Ok(())
    }

    /// Clients hold connections and open others all the time while something happens.
    ///
    /// # Errors
    /// When one of them notices.
    pub fn unnoticed<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Result<T> {
        const AT_ONCE: usize = 20;
        let held = VIPS.map(|vip| self.hold(vip, AT_ONCE));
        let held = held.into_iter().collect::<Result<Vec<_>>>()?;
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for vip in VIPS {
            let (over, to) = (Arc::clone(&over), vip.socket()?);
            let ask = move || {
                let mut loads = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    loads.push(load(to, AT_ONCE, 4));
                }
                loads
            };
            clients.push(self.lab.inside("client", || thread::spawn(ask))?);
        }
        let outcome = act(self);
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let loads = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let failed: Vec<_> = loads.iter().filter(|load| !load.failed.is_empty()).collect();
            ensure!(failed.is_empty(), "{failed:?}\n{}", self.lab.log_tails());
            ensure!(loads.len() > 5, "there were {} loads", loads.len());
        }
        for held in held.into_iter().flat_map(Holding::finish) {
            ensure!(held.broken.is_none(), "{held:?}");
        }
        Ok(outcome)
    }
}
