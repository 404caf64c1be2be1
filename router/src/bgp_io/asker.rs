//! What asks the speaker for routes, for those who have no business with orders.

use tidegate_bgp::speaker::{Routes, RoutesQuery};
use tokio::sync::{mpsc, oneshot};

use super::{Input, Stopped};

/// Asks the speaker for routes.
#[derive(Clone, Debug)]
pub struct Asker(pub(super) mpsc::Sender<Input>);

impl Asker {
    /// A page of routes.
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn ask(&self, query: RoutesQuery) -> Result<Routes, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Input::Routes(query, reply)).await.or(Err(Stopped))?;
        answer.await.or(Err(Stopped))
    }
}
