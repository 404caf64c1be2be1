use crate::view::API_VERSION;
use crate::view::change::{Covered, Generation, Route, Service, Session};

use super::*;

/// Compares with a screen, and keeps it within 80 columns.
fn check(found: &str, expected: &str) {
    assert_eq!(found, expected, "\n{found}");
    for line in found.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

fn setting(object: &str, key: Option<&str>, impact: &str, values: [Option<&str>; 2]) -> Setting {
    let [before, after] = values.map(|value| value.map(str::to_owned));
    let key = key.map(str::to_owned);
    Setting { object: object.into(), key, impact: impact.into(), before, after }
}

fn sample() -> Plan {
    let session = |peer: &str, what: &str, keys: &[&str], established| Session {
        peer: peer.into(),
        what: what.into(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        established,
    };
    let route = |prefix: &str, what: &str, reason: Option<&str>| Route {
        prefix: prefix.into(),
        what: what.into(),
        reason: reason.map(str::to_owned),
    };
    let service = |name: &str, what: &str, moved, slots, packets_per_sec| Service {
        service: name.into(),
        vip: "192.0.2.10:443/tcp".into(),
        what: what.into(),
        slots_moved: moved,
        slots,
        packets_per_sec,
        live_flows: packets_per_sec.map(|rate| rate / 10),
        drain_secs: 60,
    };
    Plan {
        drains: Vec::new(),
        api_version: API_VERSION.into(),
        from_generation: 3,
        source: "/etc/tidegate/tidegate.toml".into(),
        sessions: vec![
            session("tor-1", "reset", &["hold-time", "families"], true),
            session("tor-3", "opened", &[], false),
        ],
        routes: vec![
            route("192.0.2.10/32", "changed", None),
            route("192.0.2.11/32", "withdrawn", Some("not-configured")),
        ],
        services: vec![
            service("web", "moves", 341, 1024, Some(12_345)),
            service("old", "removed", 2048, 2048, None),
        ],
        settings: vec![
            setting("peer tor-1", Some("hold-time"), "session", [Some("90s"), Some("30s")]),
            setting("peer tor-3", None, "session", [None, Some("added")]),
            setting("service web", Some("advertise.med"), "soft", [None, Some("50")]),
            setting("service old", None, "soft", [Some("removed"), None]),
        ],
        restart: vec![],
        overlay: vec![Covered { object: "service web".into(), covers: "replaces".into() }],
        warnings: None,
    }
}

#[test]
fn a_plan_tells_sessions_routes_slots_and_keys() {
    let expected = "\
sessions
  PEER   WHAT    NOW          BECAUSE OF
  tor-1  reset   established  hold-time, families
  tor-3  opened  down
routes
  PREFIX         WHAT            REASON
  192.0.2.10/32  new attributes
  192.0.2.11/32  withdrawn       not-configured
services
  SERVICE  VIP                 WHAT     SLOTS    SHARE   PKT/S   FLOWS   STAY
  web      192.0.2.10:443/tcp  moves      341   33.30%  12,345  ~1,234  1m00s
  old      192.0.2.10:443/tcp  removed   2048  100.00%       -       -      -

changes, and what each costs
  session  peer tor-1 hold-time: 90s -> 30s
  session  peer tor-3 added
  soft     service web advertise.med: (none) -> 50
  soft     service old removed

changed over the API, which hides what the file says
  service web: what the file says of it is not in force
";
    check(&plan_text(&sample()), expected);
}

#[test]
fn a_plan_that_touches_nothing_says_so() {
    check(&plan_text(&Plan::default()), "nothing changes\n");
    let settings = vec![setting("router", Some("asn"), "restart", [Some("65001"), Some("65002")])];
    let restart = vec!["router.asn".into()];
    let expected = "\
REFUSED: only a restart of tidegate changes router.asn

sessions
  no session is touched
routes
  no route changes
services
  no slot moves

changes, and what each costs
  restart  router asn: 65001 -> 65002
";
    check(&plan_text(&Plan { settings, restart, ..Plan::default() }), expected);
}

#[test]
fn what_was_done_and_until_when_is_told_last() {
    let plan = Plan { source: "new.toml".into(), ..Plan::default() };
    let applied = Applied {
        api_version: API_VERSION.into(),
        generation: 4,
        confirm_within_secs: Some(300),
        plan,
    };
    let expected = "\
nothing changes

generation 4 is in force, and is undone in 5m00s unless you run 'tidegate
confirm'
";
    check(&applied_text(&applied), expected);
    let applied = Applied { confirm_within_secs: None, plan: Plan::default(), ..applied };
    check(&applied_text(&applied), "generation 4 is in force\n");
}

#[test]
fn the_history_is_one_line_each() {
    let generation = |generation, who: &str, cause: &str, comment: &str| Generation {
        generation,
        at: "2026-11-25T08:00:00Z".into(),
        who: who.into(),
        cause: cause.into(),
        comment: comment.into(),
        file: "/etc/tidegate/tidegate.toml".into(),
        overlay: 0,
    };
    let history = History {
        api_version: API_VERSION.into(),
        in_force: 9,
        generations: vec![
            generation(10, "root (uid 0, pid 42)", "apply", "move web to the new rack"),
            generation(
                9,
                "SIGHUP",
                "reload",
                "a comment that is so long that it does not fit in here",
            ),
            generation(1, "start", "start", "first start"),
        ],
    };
    let expected = "\
GEN  WHEN                 WHO     WHAT    COMMENT
 10  2026-11-25 08:00:00  root    apply   move web to the new rack
* 9  2026-11-25 08:00:00  SIGHUP  reload  a comment that is so long that it doe…
  1  2026-11-25 08:00:00  start   start   first start
* in force; times are UTC
";
    let found = history_text(&history);
    for line in found.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(found.lines().next(), expected.lines().next());
    assert_eq!(found.lines().nth(1), expected.lines().nth(1));
    assert!(found.lines().nth(2).unwrap().ends_with('…'), "{found}");
}
