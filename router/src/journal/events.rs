//! The latest events, for those who ask and those who follow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::broadcast;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::entry::Entry;

/// Events that are kept: some hundred kilobytes.
const KEPT_MAX: usize = 1_000;
/// Events that a follower may be behind. Who is further behind is told how many it has missed.
const BEHIND_MAX: usize = 256;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// Grows by one from event to event, from 1 on when the daemon starts.
    pub(crate) id: u64,
    pub(crate) at: SystemTime,
    /// See [`kinds`](super::kinds).
    pub(crate) kind: String,
    pub(crate) text: String,
    pub(crate) fields: Vec<(&'static str, Value)>,
}

/// All events that are kept.
#[derive(Clone, Debug)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    news: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Kept {
    last_id: u64,
    events: VecDeque<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        let (news, _nobody_yet) = broadcast::channel(BEHIND_MAX);
        Self(Arc::new(Shared { kept: Mutex::default(), news }))
    }
}

impl Events {
    /// What takes them out of the log.
    pub(crate) fn layer(&self) -> Taker {
        Taker(self.clone())
    }

    /// Those after this one, the oldest first, and those that come from now on. None is in both, and
    /// none is missing between them. One that there has not been is of a daemon before: then all are
    /// after it.
    pub(crate) fn after(&self, id: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept();
        let id = if id > kept.last_id { 0 } else { id };
        let events = kept.events.iter().filter(|event| event.id > id).cloned().collect();
        (events, self.0.news.subscribe())
    }

    fn put(&self, entry: Entry, kind: String) {
        let mut kept = self.kept();
        kept.last_id += 1;
        let event = Arc::new(Event {
            id: kept.last_id,
            at: SystemTime::now(),
            kind,
            text: entry.message,
            fields: entry.fields,
        });
        if kept.events.len() == KEPT_MAX {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&event));
        // While it is locked, so that nobody gets events out of their order. Nobody may follow.
        drop(self.0.news.send(event));
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Nothing is left half done by who panics: the process ends then.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes events out of the log.
#[derive(Debug)]
pub(crate) struct Taker(Events);

impl<S: Subscriber> Layer<S> for Taker {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        if event.metadata().fields().field("event").is_none() {
            return;
        }
        let mut entry = Entry::of(event);
        if let Some(kind) = entry.event.take() {
            self.0.put(entry, kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{info, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::journal::kinds;

    #[test]
    fn lines_with_a_kind_are_events_and_others_are_not() {
        let events = Events::default();
        let registry = tracing_subscriber::registry().with(events.layer());
        let (_, mut news) = events.after(0);
        tracing::subscriber::with_default(registry, || {
            info!("nothing to tell");
            warn!(event = kinds::PEER_DOWN, peer = %"tor-1", flaps = 3, "BGP connection ended: {}", "x");
        });
        let (kept, _) = events.after(0);
        let [event] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!((event.id, &*event.kind), (1, kinds::PEER_DOWN));
        assert_eq!(event.text, "BGP connection ended: x");
        assert_eq!(event.fields, [("peer", "tor-1".into()), ("flaps", 3.into())]);
        assert_eq!(news.try_recv().unwrap(), *event);
        assert!(events.after(1).0.is_empty());
        assert_eq!(events.after(700).0.len(), 1, "the number is of a daemon before");
    }

    #[test]
    fn the_latest_are_kept_and_who_is_too_far_behind_hears_how_far() {
        let events = Events::default();
        let (_, mut news) = events.after(0);
        let most = KEPT_MAX as u64 + 10;
        for _ in 0..most {
            events.put(Entry::default(), kinds::PROBLEM.into());
        }
        let (kept, _) = events.after(0);
        assert_eq!((kept.len(), kept[0].id, kept[KEPT_MAX - 1].id), (KEPT_MAX, 11, most));
        let Err(broadcast::error::TryRecvError::Lagged(missed)) = news.try_recv() else {
            panic!("it is not behind")
        };
        assert_eq!(missed, most - BEHIND_MAX as u64);
    }
}
