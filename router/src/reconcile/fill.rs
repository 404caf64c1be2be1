//! A version whose maps are of another layout than those that packets meet: they are filled while
//! the program of before goes on, and packets meet them when they are what is wanted.

use std::time::Duration;

use tidegate_plan::step::Reason;
use tracing::{info, warn};

use super::Reconciler;

/// Checks have spoken by then, or are taken to have failed.
const FILLED_WITHIN: Duration = Duration::from_secs(10);
/// From one look at what checks say to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
        while !self.healths.verdicts(&self.words).1.is_empty() && self.clock.now() < end {
            while let Ok(result) = self.parts.results.try_recv() {
                self.on_result(&result).await;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        // Ways to backends may take a moment too: neighbours are asked for.
        let mut filled = self.rounds().await;
        while !self.is_all_there() && self.clock.now() < end {
            tokio::time::sleep(LOOK_AGAIN).await;
            filled = self.rounds().await;
        }
        self.is_filling = false;
        match filled.and_then(|()| self.attach()) {
            Ok(()) => info!("packets meet the maps of this version"),
            // The loop tries it again, with what the maps hold then.
            Err(failure) => warn!("the maps of this version could not be filled: {failure:#}"),
        }
    }

    /// No service waits for what may come in a moment.
    fn is_all_there(&self) -> bool {
        let waits =
            |reason| matches!(reason, Reason::NotChecked | Reason::NotProgrammed | Reason::NoWay);
        !self.last.vips.values().any(|vip| vip.reason.is_some_and(waits))
    }
}
