//! What checks say, and what is done about it before everything is looked at.

use std::collections::BTreeSet;

use tidegate_config::desired::ServiceAddr;
use tidegate_plan::plan_near;
use tidegate_plan::step::Step;
use tracing::debug;

use crate::health_io::CheckResult;

use super::Reconciler;
use super::memory::BackendKey;

/// Results that are taken in at once: those that came while the world was looked at wait together.
const RESULTS_MAX: usize = 1_024;

impl Reconciler {
    /// Takes a result in, with those that wait behind it. True if something is known now that was
    /// not: then the most pressing part of it has been done, and the world is to be looked at.
    pub(super) async fn on_result(&mut self, result: &CheckResult) -> bool {
        let mut news: BTreeSet<BackendKey> = self.healths.on_result(result).into_iter().collect();
        for _ in 0..RESULTS_MAX {
            let Ok(result) = self.parts.results.try_recv() else { break };
            news.extend(self.healths.on_result(&result));
        }
        if !news.is_empty() {
            self.act_on(&news).await;
        }
        !news.is_empty()
    }

    /// What these news ask for at once, in the world as it was looked at last; the slots are read
    /// anew, since this writes them.
    async fn act_on(&mut self, news: &BTreeSet<BackendKey>) {
        let Some(mut observed) = self.looked.take() else { return };
        self.healths.amend(&mut observed, news, &self.words);
        observed.datapath.slots = self.parts.datapath.slots();
        observed.advertised = self.advertised();
        let services: BTreeSet<ServiceAddr> = news.iter().map(|&(service, _)| service).collect();
        let now = self.clock.now();
        let steps = plan_near(&mut self.rings, &self.config.desired, &observed, &services, now);
        for step in &steps {
            debug!(?step);
            if let Err(failure) = self.perform(step).await {
                debug!("{failure:#}"); // The look that follows meets it too, and says so.
                continue;
            }
            self.times.on_step(step, &observed.datapath, now);
            if let Step::Withdraw { prefix, reason, .. } = step {
                self.seen.on_withdraw(&self.last, *prefix, *reason);
            }
        }
        self.looked = Some(observed);
    }
}
