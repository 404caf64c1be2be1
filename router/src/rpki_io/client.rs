//! One cache: connected to for as long as it is configured, its words merged into one list.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rpki::rtr::client::{Client, PayloadError, PayloadTarget, PayloadUpdate};
use rpki::rtr::payload::{Action, Payload, Timing};
use tidegate_bgp::origin::{Verb, Vrp, merge};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::RpkiCache;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::guard::{ANSWER_WITHIN, Guard};

/// VRPs that are taken from one cache, about twice those that there are.
pub(super) const VRPS_MAX: usize = 2_000_000;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Answers follow each other no faster than this, whatever the cache says.
const PACE: Duration = Duration::from_secs(1);

/// What the RFC lets a cache say (RFC 8210 §6), in seconds.
const REFRESH: (u32, u32) = (1, 86_400);
const RETRY: (u32, u32) = (1, 7_200);
const EXPIRE: (u32, u32) = (600, 172_800);

/// What happened with a cache.
#[derive(Debug)]
pub(super) enum News {
    /// These are its VRPs now, for so long.
    Synced { vrps: Arc<Vec<Vrp>>, expire: Duration },
    /// The conversation has ended.
    Lost(String),
}

/// Follows a cache until nobody listens any more.
pub(super) async fn follow(cache: RpkiCache, number: u64, news: mpsc::Sender<(u64, News)>) {
    let mut target = Target::default();
    let mut state = None;
    loop {
        let ended = match timeout(CONNECT_WITHIN, TcpStream::connect(cache.remote)).await {
            Ok(Ok(stream)) => {
                let guard = Guard::new(BufReader::new(stream), ANSWER_WITHIN);
                let idle = guard.idle();
                let mut client = Client::new(guard, target, state);
                let mut merged = true;
                let ended = loop {
                    let refresh = span(cache.refresh, client.target().timing.refresh, REFRESH);
                    let step = async {
                        let mut update = std::pin::pin!(client.update());
                        loop {
                            tokio::select! {
                                update = &mut update => return update.map(Some),
                                // Asking anew forgets nothing while nothing has begun.
                                () = sleep(refresh) => {
                                    if idle.load(Ordering::Relaxed) {
                                        return Ok(None);
                                    }
                                }
                            }
                        }
                    };
                    let update = match step.await {
                        Ok(Some(update)) => update,
                        Ok(None) => continue,
                        Err(error) => break error,
                    };
                    let before = Arc::clone(&client.target().vrps);
                    let merged_to = tokio::task::spawn_blocking(move || update.merged_to(&before));
                    let applied = match merged_to.await {
                        Ok(update) => client.apply(update).await,
                        Err(panicked) => Err(panicked.into()),
                    };
                    if let Err(error) = applied {
                        merged = false;
                        break error;
                    }
                    let vrps = Arc::clone(&client.target().vrps);
                    let expire = span(cache.expire, client.target().timing.expire, EXPIRE);
                    if news.send((number, News::Synced { vrps, expire })).await.is_err() {
                        return;
                    }
                    sleep(PACE).await;
                };
                // Where it was is only worth something with what it said up to there.
                state = client.state().filter(|_| merged);
                target = client.into_target();
                ended
            }
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        if news.send((number, News::Lost(words(&ended)))).await.is_err() {
            return;
        }
        sleep(span(cache.retry, target.timing.retry, RETRY).max(PACE)).await;
    }
}

/// As configured, or as the cache says as far as the RFC lets it.
fn span(configured: Option<Duration>, secs: u32, (least, most): (u32, u32)) -> Duration {
    configured.unwrap_or_else(|| Duration::from_secs(secs.clamp(least, most).into()))
}

fn words(error: &io::Error) -> String {
    match (error.kind(), error.to_string()) {
        (io::ErrorKind::UnexpectedEof, _) => "it closed the connection".into(),
        (_, text) if text.is_empty() => {
            format!("it sent something that is no VRP, or more than {VRPS_MAX} of them")
        }
        (_, text) => text,
    }
}

/// What a cache has said so far.
#[derive(Debug, Default)]
struct Target {
    vrps: Arc<Vec<Vrp>>,
    timing: Timing,
}

/// What it says now.
#[derive(Debug)]
struct Answer {
    is_reset: bool,
    changes: Vec<(Vrp, Verb)>,
    /// What there is then.
    vrps: Arc<Vec<Vrp>>,
}

impl Answer {
    /// Takes long, and belongs on a thread of its own.
    fn merged_to(self, before: &Arc<Vec<Vrp>>) -> Self {
        let old: &[Vrp] = if self.is_reset { &[] } else { before };
        let merged = merge(old, self.changes);
        // The same again is no news.
        let vrps = if **before == merged { Arc::clone(before) } else { Arc::new(merged) };
        Self { changes: Vec::new(), vrps, ..self }
    }
}

impl PayloadTarget for Target {
    type Update = Answer;

    fn start(&mut self, is_reset: bool) -> Answer {
        Answer { is_reset, changes: Vec::new(), vrps: Arc::default() }
    }

    fn apply(&mut self, answer: Answer, timing: Timing) -> Result<(), PayloadError> {
        if answer.vrps.len() > VRPS_MAX {
            return Err(PayloadError::Internal);
        }
        self.timing = timing;
        self.vrps = answer.vrps;
        Ok(())
    }
}

impl PayloadUpdate for Answer {
    fn push_update(&mut self, action: Action, payload: Payload) -> Result<(), PayloadError> {
        let Some(origin) = payload.to_origin() else { return Ok(()) }; // Of no use to us.
        if self.changes.len() >= 2 * VRPS_MAX {
            return Err(PayloadError::Internal);
        }
        let prefix = Prefix::new(origin.prefix.addr(), origin.prefix.prefix_len());
        let max_len = origin.prefix.resolved_max_len();
        let vrp = prefix.and_then(|prefix| Vrp::new(prefix, max_len, origin.asn.into_u32()));
        let verb = if action.is_announce() { Verb::Announce } else { Verb::Withdraw };
        self.changes.push((vrp.ok_or(PayloadError::Corrupt)?, verb));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vrp(number: u8) -> Vrp {
        Vrp::new(Prefix::new([10, number, 0, 0].into(), 16).unwrap(), 24, 65_001).unwrap()
    }

    /// What there is after these words, if it is taken.
    fn told(target: &mut Target, is_reset: bool, words: &[(u8, Verb)]) -> Option<usize> {
        let mut answer = target.start(is_reset);
        answer.changes = words.iter().map(|(number, verb)| (vrp(*number), *verb)).collect();
        let before = Arc::clone(&target.vrps);
        target.apply(answer.merged_to(&before), Timing::default()).ok()?;
        Some(target.vrps.len())
    }

    #[test]
    fn answers_add_up_until_a_reset_and_the_same_again_is_no_news() {
        let mut target = Target::default();
        let both = [(1, Verb::Announce), (2, Verb::Announce)];
        assert_eq!(told(&mut target, true, &both), Some(2));
        let before = Arc::clone(&target.vrps);
        assert_eq!(told(&mut target, true, &both), Some(2));
        assert_eq!(told(&mut target, false, &[]), Some(2));
        assert!(Arc::ptr_eq(&before, &target.vrps));
        let other = [(1, Verb::Withdraw), (3, Verb::Announce), (4, Verb::Announce)];
        assert_eq!(told(&mut target, false, &other), Some(3));
        assert_eq!(told(&mut target, true, &[(1, Verb::Announce)]), Some(1));
        assert_eq!(*target.vrps, [vrp(1)]);
    }

    #[test]
    fn more_than_there_can_be_is_not_taken() {
        let mut target = Target::default();
        let mut answer = target.start(true);
        answer.vrps = Arc::new(vec![vrp(1); VRPS_MAX + 1]);
        assert!(target.apply(answer, Timing::default()).is_err());
        assert!(target.vrps.is_empty());
    }
}
