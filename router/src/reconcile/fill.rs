//! A version whose maps are of another layout than those that packets meet: they are filled while
//! the program of before goes on, and packets meet them when they are what is wanted.

use std::time::Duration;

use tidegate_bgp::time::Timestamp;
use tidegate_plan::step::Reason;
use tracing::{info, warn};

use super::Reconciler;

/// Checks have spoken by then, and ways are known, or packets meet what there is.
const FILLED_WITHIN: Duration = Duration::from_secs(10);
/// Nothing may tell of what is waited for: it is looked at this often in any case.
const SLOW_LOOK: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Fills the maps if that is to be done first. No route changes meanwhile, and what happens to
    /// backends shows to packets only when it is over.
    pub(super) async fn fill(&mut self) {
        if !self.parts.datapath.is_behind() {
            return;
        }
        info!("the maps of this version are filled beside those of the one before");
        let end = self.clock.now() + FILLED_WITHIN;
        self.is_filling = true;
        // A backend that no check has spoken of yet would be left out.
        while self.unheard() > 0 && self.clock.now() < end {
            self.wait_for_news(end).await;
        }
        // Ways to backends may take a moment too: neighbours are asked for.
        let mut filled = self.rounds().await;
        while !self.is_all_there() && self.clock.now() < end {
            self.wait_for_news(end).await;
            filled = self.rounds().await;
        }
        self.is_filling = false;
        let unheard = self.unheard();
        if unheard > 0 {
            warn!(
                "{unheard} checks have not spoken within {FILLED_WITHIN:?}: packets go past their \
                 backends until they do ('tidegate backends' shows which)"
            );
        }
        match filled.and_then(|()| self.attach()) {
            Ok(()) => info!("packets meet the maps of this version"),
            // The loop tries it again, with what the maps hold then.
            Err(failure) => warn!("the maps of this version could not be filled: {failure:#}"),
        }
    }

    /// Checks that have not spoken yet.
    fn unheard(&self) -> usize {
        self.healths.verdicts(&self.words).1.len()
    }

    /// Waits until a check has spoken or a way has changed, and for a moment at most.
    async fn wait_for_news(&mut self, end: Timestamp) {
        let wake_at = end.min(self.clock.now() + SLOW_LOOK);
        tokio::select! {
            Some(result) = self.parts.results.recv() => drop(self.on_result(&result).await),
            () = self.parts.link_changes.changed() => {}
            () = self.clock.sleep_until(Some(wake_at)) => {}
        }
    }

    /// No service waits for what may come in a moment.
    fn is_all_there(&self) -> bool {
        let waits =
            |reason| matches!(reason, Reason::NotChecked | Reason::NotProgrammed | Reason::NoWay);
        !self.last.vips.values().any(|vip| vip.reason.is_some_and(waits))
    }
}
