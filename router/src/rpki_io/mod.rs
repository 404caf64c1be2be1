//! RPKI caches (RFC 8210): follows all that are configured, and gives the speaker the VRPs of the
//! first one that has an answer which has not expired.
//!
//! A task per cache talks to it, through the client of the `rpki` crate; one task chooses. What is
//! long, sorting and comparing half a million VRPs, is done by neither, but on a thread for such
//! work. A cache that lies can make routes invalid, which is its office; it cannot make us use more
//! than a bounded amount of memory, or wait.

mod client;
mod guard;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_bgp::origin::{Cover, Vrp, Vrps, changed};
use tidegate_bgp::speaker::Order;
use tidegate_config::desired::RpkiCache;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::bgp_io::Orders;
use crate::journal::kinds;
use client::News;

/// News of all caches that wait for the task that chooses; when it is full, caches wait.
const NEWS_MAX: usize = 8;

/// A cache, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheStatus {
    /// Its configured name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) remote: SocketAddr,
    /// It answers: its last answer came on a connection that has not ended.
    pub(crate) up: bool,
    /// Its VRPs are those in force.
    pub(crate) in_use: bool,
    /// VRPs that it has told of and that have not expired.
    pub(crate) vrps: Option<usize>,
    /// When its last answer came.
    pub(crate) answered: Option<SystemTime>,
    /// Why the last conversation ended, if there is none.
    pub(crate) problem: Option<String>,
}

/// All of it, as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// In the order of preference.
    pub(crate) caches: Vec<CacheStatus>,
    /// What is in force.
    pub(crate) vrps: Arc<Vrps>,
}

/// Follows caches as long as it lives.
#[derive(Debug)]
pub(crate) struct RpkiHandle {
    wanted: watch::Sender<Vec<RpkiCache>>,
    snapshot: watch::Receiver<Snapshot>,
}

impl RpkiHandle {
    /// Follows these from now on. One that is the same as before is not touched; one that is where
    /// another was takes over what that said.
    pub(crate) fn set(&self, caches: &[RpkiCache]) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted != caches;
            if is_new {
                *wanted = caches.to_vec();
            }
            is_new
        });
    }

    /// How things stand; it can be waited on.
    pub(crate) fn snapshot(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }
}

/// Starts with no cache. What is in force goes to the speaker.
pub(crate) fn start(orders: Orders) -> RpkiHandle {
    let (wanted, wants) = watch::channel(Vec::new());
    let (publish, snapshot) = watch::channel(Snapshot::default());
    let (news, inbox) = mpsc::channel(NEWS_MAX);
    let hub = Hub {
        followed: Vec::new(),
        numbers: 0,
        in_force: Arc::default(),
        in_use: None,
        vrps: Arc::default(),
        orders,
        publish,
        news,
    };
    tokio::spawn(hub.run(wants, inbox));
    RpkiHandle { wanted, snapshot }
}

/// A cache that is followed.
struct Followed {
    cache: RpkiCache,
    number: u64,
    task: JoinHandle<()>,
    up: bool,
    /// Its VRPs, and until when they count.
    held: Option<(Arc<Vec<Vrp>>, Instant)>,
    answered: Option<SystemTime>,
    problem: Option<String>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A conversation has ended, or did not come about; `left`: how long what the cache said counts.
fn lost(remote: SocketAddr, left: Option<Duration>, why: &str) -> String {
    match left.map(|left| left.as_secs()) {
        None => format!("RPKI cache cannot be reached at {remote}, and is tried again: {why}"),
        Some(secs) => {
            format!("RPKI cache at {remote} lost, what it said counts for {secs} s more: {why}")
        }
    }
}

/// What a cache said counts no more. `next`: the first that has an answer; whether it was in use
/// before.
fn expired(next: Option<&str>, was_in_use: bool) -> String {
    let said = "what the RPKI cache said has expired";
    match (next, was_in_use) {
        (Some(next), true) => format!("{said}: {next} is in use as before"),
        (Some(next), false) => format!("{said}: what {next} says is in force now"),
        (None, _) => format!(
            "{said}, and no other cache has an answer: all routes are not-found now, policies that \
             reject invalid ones let them in"
        ),
    }
}

struct Hub {
    /// In the order of preference.
    followed: Vec<Followed>,
    /// Given to caches, so that words of one that is gone reach no other.
    numbers: u64,
    in_force: Arc<Vec<Vrp>>,
    in_use: Option<u64>,
    vrps: Arc<Vrps>,
    orders: Orders,
    publish: watch::Sender<Snapshot>,
    news: mpsc::Sender<(u64, News)>,
}

impl Hub {
    async fn run(
        mut self,
        mut wants: watch::Receiver<Vec<RpkiCache>>,
        mut inbox: mpsc::Receiver<(u64, News)>,
    ) {
        loop {
            let expires = self.followed.iter().filter_map(|it| it.held.as_ref()).map(|it| it.1);
            let next = expires.min();
            tokio::select! {
                wanted = wants.changed() => match wanted {
                    Ok(()) => {
                        let wanted = wants.borrow_and_update().clone();
                        self.want(wanted);
                    }
                    Err(_gone) => return,
                },
                Some((number, news)) = inbox.recv() => self.on_news(number, news),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.expire();
                }
            }
            if !self.choose().await {
                return;
            }
            self.publish();
        }
    }

    fn want(&mut self, wanted: Vec<RpkiCache>) {
        let mut old = std::mem::take(&mut self.followed);
        for cache in wanted {
            let same = old.iter().position(|it| it.cache == cache);
            let at = same.or_else(|| old.iter().position(|it| it.cache.remote == cache.remote));
            let known = at.map(|at| old.swap_remove(at));
            let followed = match known {
                Some(same) if same.cache == cache => same,
                known => self.follow(cache, known),
            };
            self.followed.push(followed);
        }
    }

    /// A new conversation. What `known` said there counts on: it is the same cache.
    fn follow(&mut self, cache: RpkiCache, known: Option<Followed>) -> Followed {
        self.numbers += 1;
        let follow = client::follow(cache.clone(), self.numbers, self.news.clone());
        let (held, answered) = match known {
            Some(mut known) => (known.held.take(), known.answered),
            None => (None, None),
        };
        Followed {
            cache,
            number: self.numbers,
            task: tokio::spawn(follow),
            up: false,
            held,
            answered,
            problem: None,
        }
    }

    fn on_news(&mut self, number: u64, news: News) {
        let Some(of) = self.followed.iter_mut().find(|it| it.number == number) else { return };
        let cache = &of.cache.name;
        match news {
            News::Synced { vrps, expire } => {
                if !of.up {
                    info!(event = kinds::RPKI_UP, cache, vrps = vrps.len(), "RPKI cache answers");
                }
                of.up = true;
                of.answered = Some(SystemTime::now());
                of.problem = None;
                of.held = Some((vrps, Instant::now() + expire));
            }
            News::Lost(why) => {
                // One that stays away is told of once.
                if of.up || of.problem.is_none() {
                    let until = of.held.as_ref().map(|(_, until)| *until);
                    let left = until.map(|it| it.saturating_duration_since(Instant::now()));
                    warn!(event = kinds::RPKI_DOWN, cache, "{}", lost(of.cache.remote, left, &why));
                }
                of.up = false;
                of.problem = Some(why);
            }
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        for (at, of) in self.followed.iter_mut().enumerate() {
            if of.held.as_ref().is_some_and(|(_, until)| *until <= now) {
                of.held = None;
                gone.push(at);
            }
        }
        let next = self.followed.iter().position(|it| it.held.is_some());
        let name = |at: usize| self.followed.get(at).map(|it| it.cache.name.as_str());
        for at in gone {
            let left = next.and_then(name);
            warn!(cache = name(at), "{}", expired(left, next.is_some_and(|next| next < at)));
        }
    }

    /// Puts the VRPs of the first cache that has any in force; `false`: the speaker is gone.
    async fn choose(&mut self) -> bool {
        let first = self.followed.iter().find_map(|it| {
            let (vrps, _) = it.held.as_ref()?;
            Some((it.number, Arc::clone(vrps)))
        });
        self.in_use = first.as_ref().map(|(number, _)| *number);
        let wanted = first.map(|(_, vrps)| vrps).unwrap_or_default();
        if Arc::ptr_eq(&wanted, &self.in_force) {
            return true;
        }
        let before = std::mem::replace(&mut self.in_force, Arc::clone(&wanted));
        let work = move || {
            let prefixes = changed(&before, &wanted);
            (prefixes.len(), Arc::new(Vrps::new(&wanted)), Arc::new(Cover::new(&prefixes)))
        };
        let Ok((prefixes, vrps, cover)) = tokio::task::spawn_blocking(work).await else {
            return false;
        };
        if prefixes == 0 {
            return true;
        }
        self.vrps = Arc::clone(&vrps);
        let (ipv4, ipv6) = vrps.len();
        info!(ipv4, ipv6, changed = prefixes, "other VRPs are in force");
        self.orders.give(Order::Vrps(vrps, cover)).await.is_ok()
    }

    fn publish(&self) {
        let caches = self.followed.iter().map(|it| CacheStatus {
            name: it.cache.name.clone(),
            remote: it.cache.remote,
            up: it.up,
            in_use: self.in_use == Some(it.number),
            vrps: it.held.as_ref().map(|(vrps, _)| vrps.len()),
            answered: it.answered,
            problem: it.problem.clone(),
        });
        let snapshot = Snapshot { caches: caches.collect(), vrps: Arc::clone(&self.vrps) };
        self.publish.send_if_modified(|old| {
            let is_new = *old != snapshot;
            *old = snapshot;
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use tidegate_bgp::types::Prefix;

    use super::*;

    fn cache(name: &str, port: u16, expire_secs: u64) -> RpkiCache {
        RpkiCache {
            name: name.into(),
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
            refresh: None,
            retry: None,
            expire: Some(Duration::from_secs(expire_secs)),
        }
    }

    fn one_vrp() -> Arc<Vec<Vrp>> {
        let prefix = Prefix::new([192, 0, 2, 0].into(), 24).unwrap();
        Arc::new(vec![Vrp::new(prefix, 24, 65_001).unwrap()])
    }

    /// Follows nobody yet; nobody listens where its caches would be.
    fn hub(orders: Orders) -> Hub {
        let (publish, _) = watch::channel(Snapshot::default());
        let (news, _) = mpsc::channel(NEWS_MAX);
        Hub {
            followed: Vec::new(),
            numbers: 0,
            in_force: Arc::default(),
            in_use: None,
            vrps: Arc::default(),
            orders,
            publish,
            news,
        }
    }

    #[test]
    fn an_operator_reads_where_and_what_comes_of_it() {
        let remote = SocketAddr::from(([192, 0, 2, 9], 323));
        for (said, expected) in [
            (
                lost(remote, None, "Connection refused"),
                "RPKI cache cannot be reached at 192.0.2.9:323, and is tried again: \
                 Connection refused",
            ),
            (
                lost(remote, Some(Duration::from_mins(10)), "it closed the connection"),
                "RPKI cache at 192.0.2.9:323 lost, what it said counts for 600 s more: \
                 it closed the connection",
            ),
            (
                expired(Some("far"), false),
                "what the RPKI cache said has expired: what far says is in force now",
            ),
            (
                expired(Some("near"), true),
                "what the RPKI cache said has expired: near is in use as before",
            ),
            (
                expired(None, false),
                "what the RPKI cache said has expired, and no other cache has an answer: all \
                 routes are not-found now, policies that reject invalid ones let them in",
            ),
        ] {
            assert_eq!(said, expected);
        }
    }

    #[tokio::test]
    async fn what_a_cache_said_counts_on_under_another_name_and_other_timers() {
        let bgp = crate::bgp_io::alone();
        let mut hub = hub(bgp.orders());
        hub.want(vec![cache("one", 1, 600)]);
        hub.on_news(1, News::Synced { vrps: one_vrp(), expire: Duration::from_hours(1) });
        for wanted in [cache("one", 1, 900), cache("two", 1, 900)] {
            hub.want(vec![cache("nearer", 2, 600), wanted.clone()]);
            assert!(hub.choose().await);
            assert_eq!(hub.vrps.len(), (1, 0), "{wanted:?}");
            let of = hub.followed.last().unwrap();
            assert_eq!((&of.cache, hub.in_use), (&wanted, Some(of.number)));
            assert!(of.answered.is_some());
        }
        // What the conversation of before still has to say is of no interest; another cache is.
        hub.on_news(1, News::Synced { vrps: Arc::default(), expire: Duration::from_hours(1) });
        assert!(hub.choose().await);
        assert_eq!(hub.vrps.len(), (1, 0));
        hub.want(vec![cache("two", 3, 900)]);
        assert!(hub.choose().await);
        assert_eq!((hub.vrps.len(), hub.in_use), ((0, 0), None));
        bgp.stop().await;
    }
}
