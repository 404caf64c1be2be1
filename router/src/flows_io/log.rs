//! The latest packets that were told of, for those who ask and those who follow, and sums of all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tidegate_abi::Counter;
use tidegate_bgp::policy::PrefixSet;
use tidegate_plan::live;
use tidegate_plan::model::Flow;
use tidegate_plan::record::{Record, Why};
use tokio::sync::broadcast;

/// Packets that a follower may be behind. Who is further behind is told how many it has missed.
const BEHIND_MAX: usize = 4_096;
/// Sums that are kept apart: of services that come after so many, the names are left out.
const SUMS_MAX: usize = 4_096;

/// What services and backends are called whose numbers the packet path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) services: HashMap<u32, Arc<str>>,
    pub(crate) backends: HashMap<u32, IpAddr>,
    /// The interface that leads to a backend.
    pub(crate) egress: HashMap<u32, u32>,
}

/// A packet that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Grows by one from packet to packet, from 1 on when the daemon starts.
    pub(crate) id: u64,
    pub(crate) at: SystemTime,
    pub(crate) service: Option<Arc<str>>,
    pub(crate) backend: Option<IpAddr>,
    /// Without its frame.
    pub(crate) record: Record,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Sums by verdict and service.
pub(crate) type Sums = BTreeMap<(Counter, Option<Arc<str>>), Sum>;

/// All that is kept.
#[derive(Clone, Debug)]
pub(crate) struct FlowLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    news: broadcast::Sender<Arc<Told>>,
}

#[derive(Debug, Default)]
struct Kept {
    last_id: u64,
    most: usize,
    unreadable: u64,
    sets: Arc<[Arc<PrefixSet>]>,
    packets: VecDeque<Arc<Told>>,
    sums: Sums,
}

impl Default for FlowLog {
    fn default() -> Self {
        let (news, _nobody_yet) = broadcast::channel(BEHIND_MAX);
        Self(Arc::new(Shared { kept: Mutex::default(), news }))
    }
}

impl FlowLog {
    /// Keeps so many from now on.
    pub(super) fn keep(&self, most: usize) {
        let mut kept = self.kept();
        kept.most = most;
        let over = kept.packets.len().saturating_sub(most);
        kept.packets.drain(..over);
    }

    /// The sets that clients may be in, from now on.
    pub(super) fn know(&self, sets: Arc<[Arc<PrefixSet>]>) {
        self.kept().sets = sets;
    }

    /// The sets that clients may be in.
    pub(crate) fn sets(&self) -> Arc<[Arc<PrefixSet>]> {
        Arc::clone(&self.kept().sets)
    }

    pub(super) fn put(&self, mut record: Record, at: SystemTime, names: &Names) {
        record.frame = Vec::new();
        let service = record.service.and_then(|index| names.services.get(&index)).cloned();
        let named = record.backend.and_then(|index| names.backends.get(&index)).copied();
        let backend = named.or(record.towards);
        let mut kept = self.kept();
        kept.sum(&record, service.as_ref());
        kept.last_id += 1;
        let told = Arc::new(Told { id: kept.last_id, at, service, backend, record });
        while kept.packets.len() >= kept.most.max(1) {
            kept.packets.pop_front();
        }
        kept.packets.push_back(Arc::clone(&told));
        // While it is locked, so that nobody gets packets out of their order. Nobody may follow.
        drop(self.0.news.send(told));
    }

    /// A record that is none: of a program of another version.
    pub(super) fn put_unreadable(&self) {
        self.kept().unreadable += 1;
    }

    /// Those after this one that are wanted, the latest `most` of them, the oldest first; and those
    /// that come from now on. None is in both, and none is missing between them.
    pub(crate) fn after(
        &self,
        id: u64,
        most: usize,
        is_wanted: impl Fn(&Told) -> bool,
    ) -> (Vec<Arc<Told>>, broadcast::Receiver<Arc<Told>>) {
        let kept = self.kept();
        let id = if id > kept.last_id { 0 } else { id };
        let latest = kept.packets.iter().rev().take_while(|told| told.id > id);
        let wanted = latest.filter(|told| is_wanted(told)).take(most);
        let mut packets: Vec<_> = wanted.cloned().collect();
        packets.reverse();
        (packets, self.0.news.subscribe())
    }

    /// How many flows of each service live, by the packets that were told of by chance since then;
    /// those whose end was told of do not.
    pub(crate) fn live(&self, since: SystemTime) -> BTreeMap<Arc<str>, u64> {
        // Packets of each flow; `None`: it has ended, and what comes is the last of it.
        let mut drawn: BTreeMap<Arc<str>, HashMap<Flow, Option<u32>>> = BTreeMap::new();
        let kept = self.kept();
        for told in kept.packets.iter().filter(|told| told.at >= since) {
            let (Some(service), Some(flow)) = (&told.service, told.record.flow) else { continue };
            let of_service = drawn.entry(Arc::clone(service)).or_default();
            match told.record.why {
                Why::Sampled => {
                    if let Some(packets) = of_service.entry(flow).or_insert(Some(0)) {
                        *packets += 1;
                    }
                }
                Why::Ends => drop(of_service.insert(flow, None)),
                Why::Opens => drop(of_service.remove(&flow)),
                Why::Dropped => {}
            }
        }
        drop(kept);
        let living = |flows: HashMap<_, Option<u32>>| live::estimate(flows.into_values().flatten());
        drawn.into_iter().map(|(name, flows)| (name, living(flows))).collect()
    }

    /// Sums since the start.
    pub(crate) fn sums(&self) -> Sums {
        self.kept().sums.clone()
    }

    /// Records that could not be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.kept().unreadable
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing is left half done by who panics: the process ends then.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn sum(&mut self, record: &Record, service: Option<&Arc<str>>) {
        let mut key = (record.verdict, service.cloned());
        if self.sums.len() >= SUMS_MAX && !self.sums.contains_key(&key) {
            key.1 = None;
        }
        let sum = self.sums.entry(key).or_default();
        sum.packets += 1;
        sum.bytes += u64::from(record.len);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(service: u32) -> Record {
        Record {
            at_ns: 0,
            verdict: Counter::ForwardTx,
            why: Why::Sampled,
            service: Some(service),
            backend: Some(1),
            ingress_ifindex: 1,
            len: 100,
            flow: None,
            tcp_flags: None,
            towards: None,
            ip_at: None,
            frame: vec![1; 64],
            frame_len: 114,
        }
    }

    #[test]
    fn the_latest_are_kept_and_all_are_summed_without_bound_of_names() {
        let log = FlowLog::default();
        log.keep(100);
        let most = u32::try_from(SUMS_MAX).unwrap() + 10;
        let mut names = Names::default();
        names.services.extend((0..most).map(|index| (index, Arc::from(format!("s{index}")))));
        let (_, mut news) = log.after(0, 0, |_| true);
        for index in 0..most {
            log.put(record(index), SystemTime::UNIX_EPOCH, &names);
        }
        let (kept, _) = log.after(0, 1_000, |_| true);
        assert_eq!((kept.len(), kept[99].id), (100, most.into()));
        assert!(kept[0].record.frame.is_empty(), "frames are not kept");
        let sums = log.sums();
        assert_eq!(sums.values().map(|sum| sum.packets).sum::<u64>(), u64::from(most));
        assert_eq!(sums[&(Counter::ForwardTx, None)], Sum { packets: 10, bytes: 1_000 });
        assert_eq!(log.unreadable(), 0);
        let Err(broadcast::error::TryRecvError::Lagged(missed)) = news.try_recv() else {
            panic!("it is not behind")
        };
        assert_eq!(missed, u64::from(most) - BEHIND_MAX as u64);
    }

    #[test]
    fn flows_that_live_are_those_of_late_that_have_not_ended() {
        let (log, long_ago) = (FlowLog::default(), SystemTime::UNIX_EPOCH);
        log.keep(100);
        let names = Names { services: [(7, Arc::from("web"))].into(), ..Names::default() };
        let now = long_ago + Duration::from_secs(1_000);
        let put = |service, src_port, why, at| {
            let (src, dst) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
            let flow = Some(Flow { src, dst, src_port, dst_port: 80, proto: 6 });
            log.put(Record { flow, why, ..record(service) }, at, &names);
        };
        for port in [1, 1, 2, 2, 3, 3] {
            put(7, port, Why::Sampled, now);
        }
        put(7, 3, Why::Ends, now);
        put(7, 3, Why::Sampled, now); // It says good-bye.
        put(7, 4, Why::Opens, now); // It is not by chance that this is known.
        put(7, 5, Why::Sampled, long_ago);
        put(8, 6, Why::Sampled, now); // Of no service that has a name.
        let live = log.live(now - Duration::from_mins(1));
        assert_eq!(live, [(Arc::from("web"), 2)].into());
    }

    #[test]
    fn who_asks_gets_the_latest_that_are_wanted() {
        let log = FlowLog::default();
        log.keep(10);
        for service in 0..6 {
            log.put(record(service), SystemTime::UNIX_EPOCH, &Names::default());
        }
        let ids = |after, most, even: bool| {
            let is_wanted = |told: &Told| !even || told.id.is_multiple_of(2);
            let (told, _) = log.after(after, most, is_wanted);
            told.iter().map(|told| told.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(0, 3, false), [4, 5, 6]);
        assert_eq!(ids(4, 9, false), [5, 6]);
        assert_eq!(ids(0, 2, true), [4, 6]);
        assert_eq!(ids(99, 9, false).len(), 6, "the number is of a daemon before");
        log.keep(2);
        assert_eq!(ids(0, 9, false), [5, 6]);
    }
}
