//! A TCP connection under a session.

use serde::{Deserialize, Serialize};

use crate::bmp::Ends;
use crate::speaker::{ConnId, NextHops};
use crate::types::{FamilySet, RouterId};
use crate::wire::Negotiated;

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    Dialled,
    Accepted,
}

/// A TCP connection, or the attempt to get one.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) origin: Origin,
    pub(super) next_hops: NextHops,
    /// From the peer's OPEN, once it is accepted.
    pub(super) agreed: Option<(RouterId, Negotiated)>,
    /// Its session has been Established.
    pub(super) is_up: bool,
    /// Families of which the peer has said everything once: its End-of-RIB has come.
    pub(super) ended: FamilySet,
    /// Both ends, once the shell has told.
    pub(super) ends: Option<Ends>,
    /// Our OPEN and the peer's, whole messages.
    pub(super) opens: (Vec<u8>, Vec<u8>),
    /// The beginning of a message whose end has not come: less than one message long.
    pub(super) unread: Vec<u8>,
}

impl Connection {
    pub(super) const fn new(id: ConnId, origin: Origin, next_hops: NextHops) -> Self {
        let opens = (Vec::new(), Vec::new());
        Self {
            id,
            origin,
            next_hops,
            agreed: None,
            is_up: false,
            ended: FamilySet::EMPTY,
            ends: None,
            opens,
            unread: Vec::new(),
        }
    }
}
