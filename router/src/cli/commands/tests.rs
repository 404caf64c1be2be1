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
    check(&status_text(&sample().status), "");
}

#[test]
fn peers_have_the_columns_that_network_engineers_know() {
    check(&peers_text(&sample().peers()), "");
}

#[test]
fn vips_nest_their_backends() {
    check(&vips_text(&sample().vips()), "");
}

#[test]
fn backends_are_one_line_each() {
    check(&backends_text(&sample().backends()), "");
}
