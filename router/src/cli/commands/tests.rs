use crate::view::tests::sample;

use super::*;

/// Compares with a screen, and keeps it within 80 columns.
fn check(found: &str, expected: &str) {
    assert_eq!(found, expected, "\n{found}");
    for line in found.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn status_is_one_screen() {
    let expected = "\
tidegate 0.1.0, up 1d03h
  router     AS 65001, id 10.0.0.2
  config     /etc/tidegate/tidegate.toml, generation 3
  peers      1 of 2 established
  vips       1 of 2 announced
  backends   1 of 3 active
  interface  eth0 native
  state      converged

  PACKETS  VERDICT     MEANING
1,234,567  forward_tx  Sent to a backend through the interface it came in by.
";
    check(&status_text(&sample().status), expected);
}

#[test]
fn peers_have_the_columns_that_network_engineers_know() {
    let expected = "\
NEIGHBOR  ADDRESS      AS  MSGRCVD  MSGSENT  INQ  OUTQ  UP/DOWN  STATE/PFXRCD
tor-1     10.0.0.1  65000     3241     3239    0    19  1d03h              12
tor-2     10.0.0.3  65000     3241     3239    0    19  1d03h          Active
tor-2: last down: received Cease/Administrative Shutdown (6/2)
";
    check(&peers_text(&sample().peers()), expected);
}

#[test]
fn vips_nest_their_backends() {
    let expected = "\
SERVICE  VIP                STATE            WEIGHT    SHARE    PACKETS  SINCE
web      192.0.2.10:80/tcp  announced                         1,234,567  1m07s
           -> 10.0.0.11     active               10  100.00%      1,200  1h02m
           -> 10.0.0.12     down                 10    0.00%         34  1h02m
web-old  192.0.2.11:80/tcp  too-few-healthy                   1,234,567  1m07s
           -> 10.0.0.13     down                 10    0.00%          0  1h02m
web-old: not announced: too few healthy backends
";
    check(&vips_text(&sample().vips()), expected);
}

#[test]
fn backends_are_one_line_each() {
    let expected = "\
SERVICE  BACKEND    STATE   WEIGHT    SHARE  PACKETS  SINCE  REASON
web      10.0.0.11  active      10  100.00%    1,200  1h02m
web      10.0.0.12  down        10    0.00%       34  1h02m  connection refused
web-old  10.0.0.13  down        10    0.00%        0  1h02m  connection refused
";
    check(&backends_text(&sample().backends()), expected);
}
