//! Route leaks (RFC 9234 §5): what ONLY_TO_CUSTOMER says about a route that comes from, or goes
//! to, a peer of some role. Without roles it says nothing, and is passed on.

use crate::types::Asn;
use crate::wire::Role;

/// What becomes of a route on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inward {
    /// It should never have come from there.
    Leak,
    /// It is marked, from now on, with the peer's AS.
    Mark,
    /// It stays as it is.
    Pass,
}

/// A route from a peer of this role and AS, marked with `otc` (§5, ingress).
pub(super) fn inward(remote: Option<Role>, remote_as: u32, otc: Option<u32>) -> Inward {
    match (remote, otc) {
        (Some(Role::Customer | Role::RouteServerClient), Some(_)) => Inward::Leak,
        (Some(Role::Peer), Some(marked)) if marked != remote_as => Inward::Leak,
        (Some(Role::Provider | Role::Peer | Role::RouteServer), None) => Inward::Mark,
        _ => Inward::Pass,
    }
}

/// Whether a route marked with `otc` may go to a peer of this role (§5, egress 2).
pub(super) const fn may_leave(remote: Option<Role>, otc: Option<u32>) -> bool {
    otc.is_none() || !matches!(remote, Some(Role::Provider | Role::Peer | Role::RouteServer))
}

/// Our AS, where a route without a mark gets it on its way to a peer of this role (§5, egress 1).
pub(super) fn mark_outward(remote: Option<Role>, local_as: Asn) -> Option<u32> {
    let marks = matches!(remote, Some(Role::Customer | Role::Peer | Role::RouteServerClient));
    marks.then_some(local_as.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_go_down_and_across_once_only_as_rfc_9234_5_says() {
        use Inward::{Leak, Mark, Pass};
        // The peer's role; its routes without a mark, marked by itself, marked by another; whether
        // marked ones may go to it, and whether we mark what has none.
        let cases = [
            (Some(Role::Provider), [Mark, Pass, Pass], false, false),
            (Some(Role::RouteServer), [Mark, Pass, Pass], false, false),
            (Some(Role::Peer), [Mark, Pass, Leak], false, true),
            (Some(Role::Customer), [Pass, Leak, Leak], true, true),
            (Some(Role::RouteServerClient), [Pass, Leak, Leak], true, true),
            (None, [Pass, Pass, Pass], true, false),
        ];
        let local_as = Asn::new(64_500).unwrap();
        for (remote, [bare, own, other], leaves, marks) in cases {
            assert_eq!(inward(remote, 64_501, None), bare, "{remote:?}, no mark");
            assert_eq!(inward(remote, 64_501, Some(64_501)), own, "{remote:?}, its own mark");
            assert_eq!(inward(remote, 64_501, Some(64_502)), other, "{remote:?}, another's mark");
            assert_eq!(may_leave(remote, Some(64_502)), leaves, "{remote:?}, out");
            assert!(may_leave(remote, None), "{remote:?}, out without a mark");
            assert_eq!(mark_outward(remote, local_as).is_some(), marks, "{remote:?}, mark");
        }
    }
}
