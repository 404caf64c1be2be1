//! What a peer has been through lately: the steps of its machine, and the messages either way.
//!
//! Bounded, so that a peer that flaps for a year costs as much as one that flapped for a minute:
//! the last [`TRANSITIONS_MAX`] steps, and per direction the last [`RUNS_MAX`] runs of messages of
//! one type.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::speaker::{ConnId, State};
use crate::time::Timestamp;
use crate::wire::{HEADER_BYTES, MessageType};

/// Steps that are remembered.
pub const TRANSITIONS_MAX: usize = 24;

/// Runs of messages that are remembered, per direction.
pub const RUNS_MAX: usize = 24;

/// Codes of NOTIFICATIONs that are counted apart: a peer may send any two octets.
pub const CODES_MAX: usize = 32;

/// One step of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// On which connection, if there was one.
    pub conn: Option<ConnId>,
    /// From this state.
    pub from: State,
    /// To this one.
    pub to: State,
    /// By this event, as RFC 4271 §8.1 names it.
    pub event: &'static str,
}

/// Messages of one type, one after the other in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their type.
    pub kind: MessageType,
    /// When the first of them came or went.
    pub first: Timestamp,
    /// When the last did.
    pub last: Timestamp,
    /// How many.
    pub messages: u64,
    /// How long they are together, in octets.
    pub bytes: u64,
    /// Code and subcode of a NOTIFICATION.
    pub code: Option<(u8, u8)>,
}

/// The memory of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Oldest first.
    pub transitions: VecDeque<Transition>,
    /// Oldest first.
    pub received: VecDeque<Run>,
    /// Oldest first.
    pub sent: VecDeque<Run>,
    /// Those since start.
    pub notifications: Notifications,
}

/// A direction with code and subcode of NOTIFICATIONs, and how many of them there were. A code of
/// zero, which the RFCs keep free, stands for all codes beyond [`CODES_MAX`].
pub type Notifications = BTreeMap<(Direction, u8, u8), u64>;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// To us.
    Received,
    /// From us.
    Sent,
}

impl History {
    pub(super) fn step(&mut self, step: Transition) {
        push(&mut self.transitions, step, TRANSITIONS_MAX);
    }

    /// One or more whole messages came; what they say has not been looked at.
    pub(super) fn received(&mut self, at: Timestamp, messages: &[u8]) {
        note(&mut self.received, at, messages, |code| {
            count(&mut self.notifications, Direction::Received, code);
        });
    }

    /// One or more whole messages were sent.
    pub(super) fn sent(&mut self, at: Timestamp, messages: &[u8]) {
        note(&mut self.sent, at, messages, |code| {
            count(&mut self.notifications, Direction::Sent, code);
        });
    }
}

fn count(of: &mut Notifications, direction: Direction, (code, subcode): (u8, u8)) {
    let known = of.len() < CODES_MAX || of.contains_key(&(direction, code, subcode));
    let (code, subcode) = if known { (code, subcode) } else { (0, 0) };
    *of.entry((direction, code, subcode)).or_default() += 1;
}

fn note(
    runs: &mut VecDeque<Run>,
    at: Timestamp,
    mut messages: &[u8],
    mut on_code: impl FnMut((u8, u8)),
) {
    while let Some((kind, len)) = header(messages) {
        let (message, rest) = messages.split_at_checked(len).unwrap_or((messages, &[]));
        messages = rest;
        let bytes = u64::try_from(message.len()).unwrap_or(u64::MAX);
        let code = match (kind, message.get(HEADER_BYTES..)) {
            (MessageType::Notification, Some([code, subcode, ..])) => Some((*code, *subcode)),
            _ => None,
        };
        code.into_iter().for_each(&mut on_code);
        if let Some(run) = runs.back_mut().filter(|run| run.kind == kind && run.code == code) {
            run.messages += 1;
            run.bytes = run.bytes.saturating_add(bytes);
            run.last = at;
        } else {
            let run = Run { kind, first: at, last: at, messages: 1, bytes, code };
            push(runs, run, RUNS_MAX);
        }
    }
}

/// Type and length; `None` at the end, and for a type that nobody knows.
fn header(message: &[u8]) -> Option<(MessageType, usize)> {
    let [.., high, low, kind] = message.get(..HEADER_BYTES)? else { return None };
    let len = usize::from(u16::from_be_bytes([*high, *low])).max(HEADER_BYTES);
    Some((MessageType::from_code(*kind)?, len))
}

fn push<T>(memory: &mut VecDeque<T>, item: T, max: usize) {
    if memory.len() == max {
        memory.pop_front();
    }
    memory.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Notification};

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn messages_of_one_type_in_a_row_are_one_run() {
        let mut history = History::default();
        for secs in 1..=1000 {
            history.received(at(secs), &wire::encode_keepalive());
        }
        let two = [wire::encode_keepalive(), wire::encode_keepalive()].concat();
        history.received(at(1001), &two);
        let last = wire::encode_notification(&Notification::with_data(6, 2, b"\x02hi"));
        history.received(at(1002), &last);
        let runs: Vec<_> = history.received.iter().map(|run| (run.kind, run.messages)).collect();
        assert_eq!(runs, [(MessageType::KeepAlive, 1002), (MessageType::Notification, 1)]);
        assert_eq!((history.received[0].first, history.received[0].last), (at(1), at(1001)));
        assert_eq!((history.received[0].bytes, history.received[1].bytes), (1002 * 19, 24));
        assert_eq!(history.received[1].code, Some((6, 2)));
        assert!(history.sent.is_empty());
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_the_newest() {
        let mut history = History::default();
        let [open, close] = [(State::Idle, State::Connect), (State::Connect, State::Idle)];
        for secs in 1..=500 {
            let (from, to) = if secs % 2 == 0 { open } else { close };
            history.step(Transition { at: at(secs), conn: None, from, to, event: "event" });
            let message =
                wire::encode_notification(&Notification::new(6, u8::try_from(secs % 9).unwrap()));
            history.sent(at(secs), &message);
        }
        assert_eq!((history.transitions.len(), history.sent.len()), (TRANSITIONS_MAX, RUNS_MAX));
        let newest = (history.transitions.back().unwrap().at, history.sent.back().unwrap().last);
        assert_eq!(newest, (at(500), at(500)));
    }

    #[test]
    fn what_is_no_message_is_not_remembered() {
        let mut history = History::default();
        history.received(at(1), &[0xff; 18]);
        history.received(at(1), &[[0xff; 18].as_slice(), &[99]].concat());
        assert_eq!(history, History::default());
    }
}
