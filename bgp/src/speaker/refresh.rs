//! Soft resets by order: a peer's routes are asked for or judged again, ours are told again.

use super::{Action, Speaker};
use crate::time::Timestamp;
use crate::types::Family;

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the peer announces.
    In,
    /// What it is told.
    Out,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The peer was asked for its routes of these families again (RFC 2918).
    Asked(Vec<Family>),
    /// The peer cannot say them again: what it has said is judged by its policy again.
    Judged,
    /// It is told everything of these families again.
    Told(Vec<Family>),
    /// Its session is not up: there is nothing to be refreshed.
    Down,
    /// Nobody has that name.
    UnknownPeer,
}

impl Speaker {
    /// A soft reset of one peer.
    pub fn refresh(
        &mut self,
        now: Timestamp,
        name: &str,
        way: Way,
        out: &mut Vec<Action>,
    ) -> Refreshed {
        let (mut turn, peers) = self.turn(now, out);
        peers.get_mut(name).map_or(Refreshed::UnknownPeer, |peer| peer.refresh(way, &mut turn))
    }
}
