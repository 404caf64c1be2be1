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
                    if let Err(error) = client.apply(update).await {
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
struct Answer {
    is_reset: bool,
    changes: Vec<(Vrp, Verb)>,
}

impl PayloadTarget for Target {
    type Update = Answer;

    fn start(&mut self, is_reset: bool) -> Answer {
        Answer { is_reset, changes: Vec::new() }
    }

    fn apply(&mut self, answer: Answer, timing: Timing) -> Result<(), PayloadError> {
        let before: &[Vrp] = if answer.is_reset { &[] } else { &self.vrps };
        let merged = merge(before, answer.changes);
        if merged.len() > VRPS_MAX {
            return Err(PayloadError::Internal);
        }
        self.timing = timing;
        // The same again is no news.
        if *self.vrps != merged {
            self.vrps = Arc::new(merged);
        }
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
