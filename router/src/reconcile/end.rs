//! How the loop ends: for good, or for who comes next.

use tidegate_plan::observed::Observed;
use tracing::{error, info, warn};

use super::{Reconciler, WITHDRAW_WITHIN};

impl Reconciler {
    /// Withdraws what is announced, waits until the speaker has it, ends the sessions. The packet
    /// path stays: packets on their way while the routers learn of it still arrive.
    pub(super) async fn stop(mut self) {
        info!("stopping: withdrawing every VIP");
        self.end_capture().await;
        let advertised = self.advertised();
        for step in tidegate_plan::stop(&Observed { advertised, ..Observed::default() }) {
            if let Err(failure) = self.perform(&step).await {
                error!("{failure:#}");
            }
        }
        let gone = self.snapshot.wait_for(|snapshot| snapshot.originated.is_empty());
        if tokio::time::timeout(WITHDRAW_WITHIN, gone).await.is_err() {
            warn!("the speaker did not withdraw in time; the sessions end anyway");
        }
        self.parts.bmp.stop().await;
        self.parts.bgp.stop().await;
    }

    /// Leaves everything as it is, for who comes next: the sessions too, if systemd keeps them.
    pub(super) async fn leave(mut self) {
        self.end_capture().await;
        let stored = self.store().await;
        self.parts.bmp.stop().await;
        if stored {
            return; // Closing our copies of the connections says nothing to anybody.
        }
        info!("stopping for a restart: peers that restart gracefully keep our routes");
        self.parts.bgp.leave().await;
    }
}
