//! Signals that a change which waits to be confirmed has gone wrong.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::Counter;

/// A signal that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// Sessions that were established stay so.
    PeersUp,
    /// The share of packets that are dropped does not rise.
    Drops,
}

impl Guard {
    /// Both.
    pub const ALL: [Self; 2] = [Self::PeersUp, Self::Drops];

    /// The word for it on the command line and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeersUp => "peers-up",
            Self::Drops => "drops",
        }
    }
}

/// Sessions while a change waits to be confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Established, and to stay so.
    must: BTreeSet<String>,
    /// Established before, and reset by the change: they may go down once and come back. True: seen
    /// down.
    may_return: BTreeMap<String, bool>,
}

impl Peers {
    /// `up` was established before the change; `reset` are the sessions that it resets, `closed`
    /// those that it ends.
    pub fn new(up: &BTreeSet<String>, reset: &BTreeSet<String>, closed: &BTreeSet<String>) -> Self {
        Self {
            must: &(up - reset) - closed,
            may_return: (up & reset).into_iter().map(|peer| (peer, false)).collect(),
        }
    }

    /// A peer that is down and should not be.
    pub fn bad(&mut self, up: &BTreeSet<String>) -> Option<String> {
        for (peer, seen_down) in &mut self.may_return {
            if up.contains(peer) && *seen_down {
                self.must.insert(peer.clone());
            }
            *seen_down |= !up.contains(peer);
        }
        self.may_return.retain(|peer, _| !self.must.contains(peer));
        self.must.difference(up).next().cloned()
    }
}

/// Packets for VIPs so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    dropped: u64,
    all: u64,
}

/// Fewer drops between two looks than this are no sign of anything.
const DROPS_MIN: u64 = 10;

impl Packets {
    /// From the counters of the packet path.
    pub fn of(counters: impl IntoIterator<Item = (Counter, u64)>) -> Self {
        let mut packets = Self::default();
        for (counter, count) in counters {
            let dropped = counter.name().starts_with("drop_");
            if dropped {
                packets.dropped = packets.dropped.saturating_add(count);
            }
            if dropped || counter.name().starts_with("forward_") {
                packets.all = packets.all.saturating_add(count);
            }
        }
        packets
    }

    /// Those since then.
    #[must_use]
    pub const fn since(self, then: Self) -> Self {
        Self {
            dropped: self.dropped.saturating_sub(then.dropped),
            all: self.all.saturating_sub(then.all),
        }
    }

    /// Whether many more of these are dropped than were before: twice the share, and one in a
    /// hundred on top.
    pub fn is_worse_than(self, before: Self) -> bool {
        let share = |packets: Self| -> u128 {
            u128::from(packets.dropped) * 10_000 / u128::from(packets.all.max(1))
        };
        self.dropped >= DROPS_MIN && share(self) > 2 * share(before) + 100
    }

    /// `dropped of all`, for people.
    pub fn words(self) -> String {
        format!("{} of {} packets dropped", self.dropped, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_session_may_be_down_if_the_change_resets_it_and_only_once() {
        let mut peers = Peers::new(&set(&["a", "b", "c"]), &set(&["b", "d"]), &set(&["c"]));
        assert_eq!(peers.bad(&set(&["a", "b", "c"])), None, "nothing has happened yet");
        assert_eq!(peers.bad(&set(&["a"])), None, "c is closed, d was down, b is being reset");
        assert_eq!(peers.bad(&set(&["a", "b"])), None, "b is back");
        assert_eq!(peers.bad(&set(&["a"])), Some("b".into()), "and down again");
        assert_eq!(peers.bad(&set(&["b"])), Some("a".into()));
    }

    #[test]
    fn drops_are_bad_when_their_share_rises() {
        let packets = |dropped, all| Packets { dropped, all };
        let cases = [
            ("none", packets(0, 1000), packets(0, 1000), false),
            ("a few", packets(0, 1000), packets(9, 9), false),
            ("one in a hundred", packets(0, 1000), packets(10, 1000), false),
            ("two in a hundred", packets(0, 1000), packets(20, 1000), true),
            ("as many as before", packets(500, 1000), packets(600, 1000), false),
            ("all", packets(100, 1000), packets(1000, 1000), true),
            ("all, after silence", packets(0, 0), packets(10, 10), true),
        ];
        for (name, before, now, bad) in cases {
            assert_eq!(now.is_worse_than(before), bad, "{name}");
        }
        let counters =
            [(Counter::ForwardTx, 7), (Counter::DropNoService, 2), (Counter::PassNotIp, 9)];
        assert_eq!(Packets::of(counters), packets(2, 9));
        assert_eq!(packets(5, 9).since(packets(2, 4)), packets(3, 5));
    }
}
