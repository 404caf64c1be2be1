use core::fmt::Write as _;
use std::path::Path;

use super::*;

/// What is asked of the session at the moment of the event; far enough from the start that every
/// timer that is restarted moves.
const NOW: Timestamp = Timestamp::from_nanos(5_000_000_000);

fn new_session() -> Session {
    Session::new(Timestamp::default(), false, Duration::from_mins(2), Rng::new(1))
}

/// A session in `state`, come there by the shortest way.
fn session_in(state: State) -> Session {
    let way: &[Event] = match state {
        State::Idle => &[],
        State::Connect => &[Event::ManualStart],
        State::Active => &[Event::ManualStartWithPassiveTcp],
        State::OpenSent => &[Event::ManualStart, Event::TcpCrAcked],
        State::OpenConfirm => {
            &[Event::ManualStart, Event::TcpCrAcked, Event::BgpOpen(HoldTime::DEFAULT)]
        }
        State::Established => &[
            Event::ManualStart,
            Event::TcpCrAcked,
            Event::BgpOpen(HoldTime::DEFAULT),
            Event::KeepAliveMsg,
        ],
    };
    let mut session = new_session();
    for event in way {
        session.step(Timestamp::default(), event.clone(), &mut Vec::new());
    }
    assert_eq!(session.state(), state);
    session
}

/// Every event with its number and name, and with an example where it carries something.
fn events() -> Vec<(&'static str, &'static str, Event)> {
    use Notification as N;
    vec![
        ("1", "ManualStart", Event::ManualStart),
        ("2", "ManualStop", Event::ManualStop(N::ADMINISTRATIVE_SHUTDOWN)),
        ("4", "ManualStart_with_PassiveTcpEstablishment", Event::ManualStartWithPassiveTcp),
        ("8", "AutomaticStop", Event::AutomaticStop(N::MAXIMUM_PREFIXES_REACHED, Again::Soon)),
        ("9", "ConnectRetryTimer_Expires", Event::ConnectRetryTimerExpires),
        ("10", "HoldTimer_Expires", Event::HoldTimerExpires),
        ("11", "KeepaliveTimer_Expires", Event::KeepaliveTimerExpires),
        ("13", "IdleHoldTimer_Expires", Event::IdleHoldTimerExpires),
        ("16", "Tcp_CR_Acked", Event::TcpCrAcked),
        ("17", "TcpConnectionConfirmed", Event::TcpConnectionConfirmed),
        ("18", "TcpConnectionFails", Event::TcpConnectionFails),
        ("19", "BGPOpen", Event::BgpOpen(HoldTime::DEFAULT)),
        ("21", "BGPHeaderErr", Event::BgpHeaderErr(N::CONNECTION_NOT_SYNCHRONIZED)),
        ("22", "BGPOpenMsgErr", Event::BgpOpenMsgErr(N::BAD_PEER_AS)),
        ("23", "OpenCollisionDump", Event::OpenCollisionDump),
        ("24", "NotifMsgVerErr", Event::NotifMsgVerErr(N::new(2, 1))),
        ("25", "NotifMsg", Event::NotifMsg(N::ADMINISTRATIVE_SHUTDOWN)),
        ("25", "NotifMsg, Cease/7", Event::NotifMsg(N::CONNECTION_COLLISION_RESOLUTION)),
        ("26", "KeepAliveMsg", Event::KeepAliveMsg),
        ("27", "UpdateMsg", Event::UpdateMsg),
        ("28", "UpdateMsgErr", Event::UpdateMsgErr(N::MALFORMED_ATTRIBUTE_LIST)),
        ("29", "SendHoldTimer_Expires", Event::SendHoldTimerExpires),
        ("RFC 2918", "RouteRefreshMsg", Event::RouteRefreshMsg),
    ]
}

/// One cell of the matrix below: the next state's letter, then the effects.
fn cell(state: State, event: &Event) -> String {
    let mut session = session_in(state);
    let mut effects = Vec::new();
    session.step(NOW, event.clone(), &mut effects);
    let mut cell = match session.state() {
        State::Idle => "I",
        State::Connect => "C",
        State::Active => "A",
        State::OpenSent => "S",
        State::OpenConfirm => "O",
        State::Established => "E",
    }
    .to_owned();
    for effect in effects {
        let word = match effect {
            Effect::Dial => "dial".to_owned(),
            Effect::Close => "close".to_owned(),
            Effect::SendOpen => "open".to_owned(),
            Effect::SendKeepAlive => "keepalive".to_owned(),
            Effect::SendNotification(n) => format!("{}/{}", n.code, n.subcode),
            Effect::Up => "up".to_owned(),
            Effect::Down(_) => "down".to_owned(),
        };
        write!(cell, " {word}").unwrap();
    }
    cell
}

/// Written by hand from RFC 4271 §8.2.2, in the order of [`State::ALL`]: Idle, Connect, Active,
/// OpenSent, OpenConfirm, Established.
#[rustfmt::skip]
const MATRIX: [(&str, [&str; 6]); 23] = [
    ("ManualStart",               ["C dial", "C", "A", "S", "O", "E"]),
    ("ManualStop",                ["I", "I close", "I", "I 6/2 close down", "I 6/2 close down", "I 6/2 close down"]),
    ("ManualStart_with_PassiveTcpEstablishment", ["A", "C", "A", "S", "O", "E"]),
    ("AutomaticStop",             ["I", "I close", "I", "I 6/1 close down", "I 6/1 close down", "I 6/1 close down"]),
    ("ConnectRetryTimer_Expires", ["I", "C close dial", "C dial", "I 5/1 close down", "I 5/2 close down", "I 5/3 close down"]),
    ("HoldTimer_Expires",         ["I", "I close", "I", "I 4/0 close down", "I 4/0 close down", "I 4/0 close down"]),
    ("KeepaliveTimer_Expires",    ["I", "I close", "I", "I 5/1 close down", "O keepalive", "E keepalive"]),
    ("IdleHoldTimer_Expires",     ["C dial", "I close", "I", "I 5/1 close down", "I 5/2 close down", "I 5/3 close down"]),
    ("Tcp_CR_Acked",              ["I", "S open", "S open", "S", "O", "E"]),
    ("TcpConnectionConfirmed",    ["I", "S close open", "S open", "S", "O", "E"]),
    ("TcpConnectionFails",        ["I", "I close", "I", "A close down", "I close down", "I close down"]),
    ("BGPOpen",                   ["I", "I close", "I", "O keepalive", "I 5/2 close down", "I 5/3 close down"]),
    ("BGPHeaderErr",              ["I", "I close", "I", "I 1/1 close down", "I 1/1 close down", "I 1/1 close down"]),
    ("BGPOpenMsgErr",             ["I", "I close", "I", "I 2/2 close down", "I 2/2 close down", "I 5/3 close down"]),
    ("OpenCollisionDump",         ["I", "I close", "I", "I 6/7 close down", "I 6/7 close down", "I 6/7 close down"]),
    ("NotifMsgVerErr",            ["I", "I close", "I", "I close down", "I close down", "I close down"]),
    ("NotifMsg",                  ["I", "I close", "I", "I close down", "I close down", "I close down"]),
    ("NotifMsg, Cease/7",         ["I", "I close", "I", "I close down", "I close down", "I close down"]),
    ("KeepAliveMsg",              ["I", "I close", "I", "I 5/1 close down", "E up", "E"]),
    ("UpdateMsg",                 ["I", "I close", "I", "I 5/1 close down", "I 5/2 close down", "E"]),
    ("UpdateMsgErr",              ["I", "I close", "I", "I 5/1 close down", "I 5/2 close down", "I 3/1 close down"]),
    ("SendHoldTimer_Expires",     ["I", "I close", "I", "I 8/0 close down", "I 8/0 close down", "I 8/0 close down"]),
    ("RouteRefreshMsg",           ["I", "I close", "I", "I 5/1 close down", "I 5/2 close down", "E"]),
];

#[test]
fn every_event_in_every_state_does_what_the_rfc_says() {
    let events = events();
    assert_eq!(events.len(), MATRIX.len());
    for ((_, name, event), (row, cells)) in events.iter().zip(MATRIX) {
        assert_eq!(*name, row);
        assert!(name.starts_with(event.name()), "{name}");
        for (state, expected) in State::ALL.into_iter().zip(cells) {
            assert_eq!(cell(state, event), expected, "{name} in {}", state.name());
        }
    }
}

#[test]
fn a_state_without_a_connection_runs_no_timer_of_one() {
    for (_, name, event) in events() {
        for state in State::ALL {
            let mut session = session_in(state);
            session.step(NOW, event.clone(), &mut Vec::new());
            let running = (
                session.connect_retry.is_some(),
                session.hold.is_some(),
                session.keepalive.is_some(),
            );
            let allowed = match session.state() {
                State::Idle => (false, false, false),
                State::Connect | State::Active => (true, false, false),
                State::OpenSent => (false, true, false),
                State::OpenConfirm | State::Established => (false, true, true),
            };
            assert_eq!(running, allowed, "{name} in {}", state.name());
            assert!(session.idle_hold.is_none() || session.state() == State::Idle, "{name}");
        }
    }
}

#[test]
fn failures_wait_longer_and_longer_but_never_above_the_maximum() {
    let mut session = new_session();
    session.step(NOW, Event::ManualStart, &mut Vec::new());
    let mut now = NOW;
    for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        session.step(now, Event::TcpCrAcked, &mut Vec::new());
        session.step(now, Event::BgpOpenMsgErr(Notification::BAD_PEER_AS), &mut Vec::new());
        let wait = session.next_deadline().unwrap() - now;
        let full = Duration::from_secs(expected);
        assert!((full * 3 / 4..=full).contains(&wait), "{wait:?}, expected about {full:?}");
        now = session.next_deadline().unwrap();
        session.on_time(now, &mut Vec::new());
        assert_eq!(session.state(), State::Connect);
    }
}

#[test]
fn a_session_that_was_stable_starts_the_waiting_anew_and_a_short_one_does_not() {
    let wait_after = |lasted_nanos: u128| {
        let mut session = session_in(State::Established);
        session.failures = 5;
        let end = Timestamp::from_nanos(u64::try_from(lasted_nanos).unwrap());
        session.step(end, Event::TcpConnectionFails, &mut Vec::new());
        session.next_deadline().unwrap() - end
    };
    assert!(wait_after(STABLE_AFTER.as_nanos()) <= IDLE_HOLD_MIN);
    assert!(wait_after(STABLE_AFTER.as_nanos() - 1) > IDLE_HOLD_MIN * 16);
}

#[test]
fn after_a_dial_that_failed_it_listens_at_once_and_dials_after_connect_retry_time() {
    let mut session = session_in(State::Connect);
    session.step(NOW, Event::TcpConnectionFails, &mut Vec::new());
    assert_eq!(session.next_deadline(), Some(NOW));
    let mut effects = Vec::new();
    session.on_time(NOW, &mut effects);
    assert_eq!((session.state(), effects), (State::Active, vec![]));
    let wait = session.next_deadline().unwrap() - NOW;
    assert!((Duration::from_secs(90)..=Duration::from_mins(2)).contains(&wait), "{wait:?}");
    assert_eq!(session.failures, 0, "a peer that is away does not oscillate");
}

#[test]
fn a_passive_session_never_dials() {
    let mut session = Session::new(Timestamp::default(), true, Duration::from_secs(1), Rng::new(1));
    let mut effects = Vec::new();
    session.step(NOW, Event::ManualStart, &mut effects);
    assert_eq!((session.state(), session.next_deadline()), (State::Active, None));
    session.step(NOW, Event::TcpConnectionConfirmed, &mut effects);
    session.step(NOW, Event::TcpConnectionFails, &mut effects);
    assert_eq!((session.state(), session.next_deadline()), (State::Active, None));
    assert!(!effects.contains(&Effect::Dial), "{effects:?}");
}

#[test]
fn a_session_made_passive_finishes_its_dial_and_begins_none() {
    let mut session = session_in(State::Connect);
    session.reconfigure(NOW, true, Duration::from_secs(5));
    let mut effects = Vec::new();
    session.on_time(session.next_deadline().unwrap(), &mut effects);
    assert_eq!((session.state(), effects), (State::Active, vec![Effect::Close]));
    assert_eq!(session.next_deadline(), None);
    session.reconfigure(NOW, false, Duration::from_secs(5));
    assert!(session.next_deadline().is_some(), "made active again");
}

#[test]
fn a_hold_time_of_zero_runs_neither_timer() {
    let never = HoldTime::from_secs(0).unwrap();
    let mut session = session_in(State::OpenSent);
    session.step(NOW, Event::BgpOpen(never), &mut Vec::new());
    assert_eq!(session.next_deadline(), None);
    session.step(NOW, Event::KeepAliveMsg, &mut Vec::new());
    session.update_sent(NOW);
    assert_eq!((session.state(), session.next_deadline()), (State::Established, None));
}

#[test]
fn a_session_that_the_speaker_closed_comes_back_when_it_was_told_to() {
    let wait_after = |again| {
        let mut session = session_in(State::Established);
        let cease = Notification::MAXIMUM_PREFIXES_REACHED;
        session.step(NOW, Event::AutomaticStop(cease, again), &mut Vec::new());
        assert_eq!(session.state(), State::Idle);
        session.next_deadline().map(|next| next - NOW)
    };
    let wait = Duration::from_mins(7);
    assert_eq!(wait_after(Again::After(wait)), Some(wait));
    assert_eq!(wait_after(Again::Never), None);
    assert!(wait_after(Again::Soon).is_some_and(|wait| wait <= IDLE_HOLD_MIN));
}

#[test]
fn a_stopped_peer_does_not_start_by_itself() {
    let mut session = session_in(State::Established);
    session.step(NOW, Event::TcpConnectionFails, &mut Vec::new());
    assert!(session.next_deadline().is_some());
    session.step(NOW, Event::ManualStop(Notification::PEER_DE_CONFIGURED), &mut Vec::new());
    assert_eq!(session.next_deadline(), None);
}

/// `docs/reference/fsm.md`. `UPDATE_GOLDEN=1` writes it; somebody reads the difference.
#[test]
#[expect(clippy::disallowed_methods, reason = "a golden file")]
fn the_reference_is_what_the_machine_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/fsm.md");
    let reference = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &reference).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference, "docs/reference/fsm.md is old: UPDATE_GOLDEN=1 cargo test");
}

const REFERENCE_HEAD: &str = "\
# The BGP state machine

Written by a test from the code that runs; change the code, not this file.

For each of the six states of RFC 4271 §8.2.2: what every event does there. Numbers are the RFC's
(§8.1). A NOTIFICATION is shown as code/subcode; where an event brings its own, an example stands
in brackets behind the event's name. On the way to Idle every timer is stopped, and whatever was
promised to or learned from the peer is forgotten.

- *ConnectRetryTimer*: the configured `connect-retry`. *KeepaliveTimer*: a third of the agreed Hold
  Time. *IdleHoldTimer*: 1 s after the first failure, doubled by each further one up to 60 s, and
  back to 1 s by a session that lasted 10 s. Each is shortened by up to a quarter at random, so that
  speakers do not move in step.
- *HoldTimer*: 240 s while an OPEN is awaited, then the agreed Hold Time. Both it and the
  KeepaliveTimer stay off when the agreed Hold Time is 0.
- A `passive` peer never dials: ConnectRetryTimer stays off, and where this table dials from Idle,
  it goes to Active.
- *Listen first*: after a dial that failed, and after a Cease/7 from the peer, the IdleHoldTimer
  expires at once and leads to Active; the next dial waits for the ConnectRetryTimer.

Two connections with one peer are two of these machines. Which one stays is settled when an OPEN
arrives (§6.8, RFC 6286): the one dialled by the higher BGP Identifier, or by the higher AS number
between equal ones; the other is sent Cease/7. A connection that arrives while a session is
Established is answered with Cease/7 at once. One that arrives in Idle is closed without a word.
";

const REFERENCE_TAIL: &str = "
## Events that are not used

All of them are optional in RFC 4271 §8.1.

| event | why not |
| --- | --- |
| 3 AutomaticStart | the end of the IdleHoldTimer (13) is the automatic start |
| 5 AutomaticStart_with_PassiveTcpEstablishment | as 3, for passive peers and for *listen first* |
| 6 AutomaticStart_with_DampPeerOscillations | as 3: damping is always on |
| 7 AutomaticStart_with_DampPeerOscillations_and_PassiveTcpEstablishment | as 5 |
| 12 DelayOpenTimer_Expires | DelayOpen saves nothing where collisions are settled; OPEN goes out at once |
| 14 TcpConnection_Valid | the kernel completes connections before we see them (17) |
| 15 Tcp_CR_Invalid | an unknown address is refused before it can reach a peer |
| 20 BGPOpen with DelayOpenTimer running | as 12 |
";

fn reference() -> String {
    let mut text = REFERENCE_HEAD.to_owned();
    for state in State::ALL {
        writeln!(text, "\n## {}\n\n| event | next state | what it does |", state.name()).unwrap();
        writeln!(text, "| --- | --- | --- |").unwrap();
        for (number, name, event) in events() {
            let mut session = session_in(state);
            session.idle_hold = (state == State::Idle).then_some(NOW);
            let before = session.clone();
            let mut effects = Vec::new();
            session.step(NOW, event.clone(), &mut effects);
            let mut done: Vec<String> = effects.iter().filter_map(effect_in_words).collect();
            done.extend(timers_in_words(&before, &session));
            let next = if session.state() == state { "" } else { session.state().name() };
            if done.is_empty() && next.is_empty() {
                done.push("ignored".to_owned());
            }
            let done = done.join("; ");
            let example = example(&event);
            writeln!(text, "| {number} {name}{example} | {next} | {done} |").unwrap();
        }
    }
    text + REFERENCE_TAIL
}

fn example(event: &Event) -> String {
    match event {
        Event::ManualStop(n)
        | Event::AutomaticStop(n, _)
        | Event::BgpHeaderErr(n)
        | Event::BgpOpenMsgErr(n)
        | Event::NotifMsgVerErr(n)
        | Event::NotifMsg(n)
        | Event::UpdateMsgErr(n) => format!(" ({}/{})", n.code, n.subcode),
        _ => String::new(),
    }
}

fn effect_in_words(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Dial => "dial".to_owned(),
        Effect::Close => "close".to_owned(),
        Effect::SendOpen => "send OPEN".to_owned(),
        Effect::SendKeepAlive => "send KEEPALIVE".to_owned(),
        Effect::SendNotification(n) => format!("send NOTIFICATION {n}"),
        Effect::Up => "send all routes and End-of-RIB".to_owned(),
        Effect::Down(_) => return None, // Follows from the next state.
    })
}

fn timers_in_words(before: &Session, after: &Session) -> Vec<String> {
    let timers = [
        ("ConnectRetryTimer", before.connect_retry, after.connect_retry),
        ("HoldTimer", before.hold, after.hold),
        ("KeepaliveTimer", before.keepalive, after.keepalive),
        ("IdleHoldTimer", before.idle_hold, after.idle_hold),
    ];
    let resting = before.state != State::Idle && after.state == State::Idle;
    let stopped = |name| (!resting).then(|| format!("stop {name}"));
    let mut words: Vec<String> = timers
        .into_iter()
        .filter_map(|(name, was, is)| match (was, is) {
            (None, None) => None,
            (Some(_), None) => stopped(name),
            (was, is) if was == is => None,
            (None, Some(_)) => Some(format!("start {name}")),
            (Some(_), Some(_)) => Some(format!("restart {name}")),
        })
        .collect();
    words.extend(after.listen_first.map(|_| "listen first".to_owned()));
    words
}
