//! How the speaker ends: for good, or for its successor.

use tidegate_bgp::speaker::Order;

use super::BgpHandle;
use super::input::Input;

impl BgpHandle {
    /// Tells every peer that we shut down, and returns when the connections are closed, which
    /// takes a second at most.
    pub async fn stop(self) {
        self.end(Order::Shutdown).await;
    }

    /// As [`stop`](Self::stop), but peers that can are to keep our routes: we are started again.
    pub async fn leave(self) {
        self.end(Order::Restart).await;
    }

    async fn end(self, last: Order) {
        let Self { inputs, task, .. } = self;
        // Either fails only if the task is gone already, which is what is wanted.
        drop(inputs.send(Input::Order(Box::new(last))).await);
        drop(inputs.send(Input::Stop).await);
        drop(task.await);
    }
}
