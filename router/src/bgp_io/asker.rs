//! What asks the speaker for routes and histories, for those who have no business with orders.

use tidegate_bgp::fsm::History;
use tidegate_bgp::speaker::{Order, Refreshed, Routes, RoutesQuery, Way};
use tidegate_bgp::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{Input, Stopped};
use crate::clock::Clock;

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

    /// A soft reset of one peer.
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn refresh(&self, peer: String, way: Way) -> Result<Refreshed, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Input::Refresh(peer, way, reply)).await.or(Err(Stopped))?;
        answer.await.or(Err(Stopped))
    }
}

/// Gives orders to the speaker.
#[derive(Clone, Debug)]
pub(crate) struct Orders(pub(super) mpsc::WeakSender<Input>);

impl Orders {
    /// Waits when too many orders wait already. Keeps nothing alive.
    ///
    /// # Errors
    /// [`Stopped`]
    pub(crate) async fn give(&self, order: Order) -> Result<(), Stopped> {
        let inputs = self.0.upgrade().ok_or(Stopped)?;
        inputs.send(Input::Order(Box::new(order))).await.or(Err(Stopped))
    }
}

/// Asks the speaker what a peer has been through. Keeps nothing alive.
#[derive(Clone, Debug)]
pub struct Histories {
    inputs: mpsc::WeakSender<Input>,
    clock: Clock,
}

impl Histories {
    pub(super) const fn new(inputs: mpsc::WeakSender<Input>, clock: Clock) -> Self {
        Self { inputs, clock }
    }

    /// The history of a peer and the moment it was taken; `None`: no such peer.
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn of(&self, name: &str) -> Result<Option<(History, Timestamp)>, Stopped> {
        let (reply, answer) = oneshot::channel();
        let inputs = self.inputs.upgrade().ok_or(Stopped)?;
        inputs.send(Input::History(name.to_owned(), reply)).await.or(Err(Stopped))?;
        drop(inputs);
        let history = answer.await.or(Err(Stopped))?;
        Ok(history.map(|history| (history, self.clock.now())))
    }
}
