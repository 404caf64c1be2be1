//! Two edges behind one router, and clients that use them through everything that operators do.

use tidegate_vm_tests::lab::pair::{Change, Noticed, Pair};

/// No client noticed anything, but those of a backend that was taken for dead.
fn check(change: Change, noticed: &Noticed) {
    let Noticed { outcome, dead, withdrawn, .. } = noticed;
    let what = format!("{change:?}: {noticed:#?}");
    assert!(outcome.answered > outcome.held && outcome.calls.answered > 0, "{what}");
    assert_eq!(outcome.broken_but_of(dead), 0, "{what}");
    assert!(dead.len() == 1 || outcome.calls.failed.is_empty(), "{what}");
    assert_eq!((outcome.moved_but_of(dead), *withdrawn), (0, 0), "{what}");
    let (sent, lost) = outcome.datagrams();
    assert!(sent > 0 && lost == 0, "{lost} of {sent} datagrams: {what}");
    assert!(outcome.streams.iter().all(|it| it.wrong == 0), "{what}");
}

#[test]
fn no_client_notices_what_operators_do() {
    let mut pair = Pair::new().unwrap();
    for (turn, change) in Change::ALL.into_iter().enumerate() {
        let noticed = pair.make(change, turn);
        assert!(noticed.is_ok(), "{change:?}: {noticed:?}\n{}", pair.lab.log_tails());
        check(change, &noticed.unwrap());
    }
}
