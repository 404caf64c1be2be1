//! Two sessions over a simulated way, and every rule of §6.8.6 about what is no packet.

use core::time::Duration;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::packet::micros;
use super::*;
use crate::rng::Rng;
use crate::time::Timestamp;

const FAST: Timing =
    Timing { desired_min_tx_us: 50_000, required_min_rx_us: 50_000, detect_mult: 3 };
const SLOW: Timing =
    Timing { desired_min_tx_us: 300_000, required_min_rx_us: 200_000, detect_mult: 5 };

/// Two sessions, and what is under way between them.
struct Way {
    now: Timestamp,
    ends: [Session; 2],
    /// By arrival.
    flying: BTreeMap<(Timestamp, u64), (usize, Packet)>,
    sent_total: u64,
    news: Vec<(usize, Timestamp, News)>,
    delay: Duration,
    rng: Rng,
    /// Of a thousand packets, by direction.
    lost: [u64; 2],
}

impl Way {
    fn new(timings: [Timing; 2], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let now = Timestamp::default();
        let [one, two] = timings;
        let ends = [Session::new(now, one, 7, rng.split()), Session::new(now, two, 9, rng.split())];
        let delay = Duration::from_micros(200);
        let (flying, news) = (BTreeMap::new(), Vec::new());
        Self { now, ends, flying, sent_total: 0, news, delay, rng, lost: [0; 2] }
    }

    fn send(&mut self, from: usize, packet: Option<Packet>) {
        let Some(packet) = packet else { return };
        self.sent_total += 1;
        if self.rng.next_u64() % 1000 >= self.lost[from] {
            let packet = Packet::decode(&packet.encode()).unwrap();
            self.flying.insert((self.now + self.delay, self.sent_total), (1 - from, packet));
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let deadlines = self.ends.iter().filter_map(Session::next_deadline);
            let Some(next) = deadlines.chain(arrival).min().filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, packet)) = self.flying.pop_first().unwrap();
                let (answer, news) = self.ends[to].received(self.now, &packet);
                self.send(to, answer);
                self.news.extend(news.map(|news| (to, self.now, news)));
            }
            for end in 0..2 {
                let (packet, news) = self.ends[end].on_time(self.now);
                self.send(end, packet);
                self.news.extend(news.map(|news| (end, self.now, news)));
            }
        }
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }
}

#[test]
fn two_sides_come_up_and_then_send_at_the_slower_ones_pace() {
    let mut way = Way::new([FAST, SLOW], 1);
    way.run(Duration::from_secs(4));
    assert_eq!(way.states(), [State::Up; 2]);
    assert_eq!(way.news.len(), 2, "{:?}", way.news);
    // Each may send as often as it likes and the other takes.
    assert_eq!(way.ends[0].tx_interval(), Some(Duration::from_millis(200)));
    assert_eq!(way.ends[1].tx_interval(), Some(Duration::from_millis(300)));
    assert_eq!(way.ends[0].detection_time(), Some(Duration::from_millis(1500)));
    assert_eq!(way.ends[1].detection_time(), Some(Duration::from_millis(600)));
    let before = way.sent_total;
    way.run(Duration::from_secs(30));
    let sent = way.sent_total - before;
    assert!((250..=335).contains(&sent), "{sent} packets in 30 s");
}

#[test]
fn a_way_that_is_cut_is_known_within_the_detection_time() {
    for direction in 0..2 {
        let mut way = Way::new([FAST, FAST], 2);
        way.run(Duration::from_secs(5));
        assert_eq!(way.states(), [State::Up; 2]);
        way.news.clear();
        way.lost[direction] = 1000;
        let cut = way.now;
        way.run(Duration::from_millis(400));
        let (end, at, news) = way.news[0];
        assert_eq!((end, news), (1 - direction, News::Down(Diagnostic::TIME_EXPIRED)));
        let took = at.since(cut);
        assert!(took <= Duration::from_millis(151), "{took:?}");
        // The deaf side says so, and the other one hears it.
        let other = (direction, News::Down(Diagnostic::NEIGHBOR_SIGNALED_DOWN));
        assert!(way.news.iter().any(|(end, _, news)| (*end, *news) == other), "{:?}", way.news);
        way.lost[direction] = 0;
        way.run(Duration::from_secs(5));
        assert_eq!(way.states(), [State::Up; 2]);
    }
}

#[test]
fn a_peer_that_does_without_bfd_is_no_failure() {
    let mut way = Way::new([FAST, FAST], 8);
    way.lost = [1000, 1000];
    way.run(Duration::from_mins(1));
    assert_eq!(way.states(), [State::Down; 2]);
    assert!(way.news.is_empty(), "{:?}", way.news);
    assert!(way.sent_total < 2 * 90, "slow while nobody answers: {}", way.sent_total);
}

#[test]
fn one_that_starts_anew_is_taken_for_what_it_is() {
    let mut way = Way::new([FAST, FAST], 3);
    way.run(Duration::from_secs(5));
    way.news.clear();
    way.ends[1] = Session::new(way.now, FAST, 77, Rng::new(9));
    way.run(Duration::from_secs(5));
    assert_eq!(way.states(), [State::Up; 2]);
    let seen: Vec<_> = way.news.iter().map(|(end, _, news)| (*end, *news)).collect();
    assert!(seen.contains(&(0, News::Down(Diagnostic::NEIGHBOR_SIGNALED_DOWN))), "{seen:?}");
}

#[test]
fn an_operator_who_takes_it_down_is_no_failure() {
    let mut way = Way::new([FAST, FAST], 4);
    way.run(Duration::from_secs(5));
    let packet = Packet { state: State::AdminDown, ..way.ends[1].packet() };
    let (_, news) = way.ends[0].received(way.now, &packet);
    assert_eq!(news, Some(News::AdminDown));
    assert_eq!(way.ends[0].state(), State::Down);
}

#[test]
fn a_poll_is_answered_at_once_and_its_answer_ends_it() {
    let mut way = Way::new([FAST, FAST], 5);
    way.run(Duration::from_secs(5));
    assert!(!way.ends[0].packet().poll, "the sequence of the start is over");
    way.ends[0].set_timing(SLOW);
    assert!(way.ends[0].packet().poll);
    way.run(Duration::from_secs(1));
    assert!(!way.ends[0].packet().poll);
    let poll = Packet { poll: true, ..way.ends[1].packet() };
    let (answer, _) = way.ends[0].received(way.now, &poll);
    let answer = answer.unwrap();
    assert!(answer.fin && !answer.poll);
}

/// However the pace changes, and whatever packet is lost meanwhile, nobody takes it for a failure.
#[test]
fn a_pace_that_changes_ends_no_session() {
    for (before, after) in [(FAST, SLOW), (SLOW, FAST)] {
        for lost in [0, 300] {
            let mut way = Way::new([before, FAST], 11);
            way.run(Duration::from_secs(5));
            assert_eq!(way.states(), [State::Up; 2]);
            way.news.clear();
            way.ends[0].set_timing(after);
            way.lost = [lost, 0]; // Three in ten of what is said of it; never a whole detection time.
            way.run(Duration::from_millis(400));
            way.lost = [0; 2];
            way.run(Duration::from_secs(10));
            assert!(way.news.is_empty(), "{before:?} to {after:?}: {:?}", way.news);
            let interval = micros(after.desired_min_tx_us.max(FAST.required_min_rx_us));
            assert_eq!(way.ends[0].tx_interval(), Some(interval));
        }
    }
}

#[test]
fn one_who_goes_away_on_purpose_says_so() {
    let mut way = Way::new([FAST, FAST], 12);
    way.run(Duration::from_secs(5));
    way.news.clear();
    way.lost = [500, 0];
    way.ends[0].shut_down(way.now);
    way.run(Duration::from_millis(150));
    assert_eq!(way.ends[0].state(), State::AdminDown);
    assert_eq!(
        way.news.iter().map(|(end, _, news)| (*end, *news)).collect::<Vec<_>>(),
        [(1, News::AdminDown)]
    );
}

#[test]
fn one_who_wants_no_packets_gets_none() {
    let mut way = Way::new([FAST, FAST], 6);
    way.run(Duration::from_secs(5));
    let deaf = Packet { required_min_rx_us: 0, ..way.ends[1].packet() };
    way.ends[0].received(way.now, &deaf);
    assert_eq!(way.ends[0].tx_interval(), None);
}

#[test]
fn what_is_no_packet_is_discarded_with_its_reason() {
    let way = Way::new([FAST, FAST], 7);
    let good = Packet { my_discriminator: 5, ..way.ends[0].packet() }.encode();
    assert!(Packet::decode(&good).is_ok());
    let broken = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Packet::decode(&bytes)
    };
    assert_eq!(broken(0, 0x40), Err(Discarded::Version(2)));
    assert_eq!(broken(1, 0x41), Err(Discarded::Multipoint));
    assert_eq!(broken(1, 0x44), Err(Discarded::Authenticated));
    assert_eq!(broken(1, 0xc0), Err(Discarded::YourDiscriminator(State::Up)));
    assert_eq!(broken(2, 0), Err(Discarded::DetectMult));
    assert_eq!(broken(3, 23), Err(Discarded::Length(24)));
    assert_eq!(broken(3, 25), Err(Discarded::Length(24)));
    assert_eq!(broken(7, 0), Err(Discarded::MyDiscriminator));
    assert_eq!(Packet::decode(&good[..23]), Err(Discarded::Length(23)));
}

proptest! {
    /// What is read is written as the same; no octets do harm.
    #[test]
    fn octets_are_a_packet_or_are_not(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(packet) = Packet::decode(&bytes) {
            prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        }
    }

    /// However many packets are lost on the way, both sides agree again soon after.
    #[test]
    fn after_any_loss_both_sides_come_up_again(
        seed in any::<u64>(),
        phases in proptest::collection::vec((0..1001_u64, 0..1001_u64, 1..3000_u64), 1..8),
    ) {
        let mut way = Way::new([FAST, SLOW], seed);
        for (there, back, millis) in phases {
            way.lost = [there, back];
            way.run(Duration::from_millis(millis));
        }
        way.lost = [0; 2];
        way.run(Duration::from_secs(8));
        prop_assert_eq!(way.states(), [State::Up; 2], "seed {}", seed);
    }
}
