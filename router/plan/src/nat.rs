//! Services in mode `nat`: where their connections come from, and when one is over.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use tidegate_abi::{NatAnswer, NatFlow, Service as Entry, ip_proto, nat_state, service_flags};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{ForwardingMode, NatTimeouts, Service, ServiceAddr};

use crate::key::MapKey;
use crate::service::Shared;
use crate::step::Step;
use crate::view::{BackendState, VipState};

/// What tells a service and one of its backends in what is remembered of a connection: its row in
/// `SERVICE_TRAFFIC`, and its index.
pub type Place = (u32, u32);

/// The flags of a service's entry.
pub(crate) fn flags(spec: &Service) -> u32 {
    match spec.mode {
        ForwardingMode::Nat => {
            service_flags::NAT | u32::from(spec.backend_port) << service_flags::BACKEND_PORT
        }
        ForwardingMode::Ipip | ForwardingMode::Gue | ForwardingMode::L2 => 0,
    }
}

/// The own entries of addresses that connections come from, by which their answers are known.
/// Returns all keys of such that shall be there.
pub(crate) fn plan_sources(
    shared: &mut Shared<'_>,
    wanted: &BTreeMap<ServiceAddr, (&str, &Service)>,
    puts: &mut Vec<Step>,
) -> BTreeSet<MapKey> {
    let vips: BTreeSet<Prefix> = wanted.keys().map(|addr| addr.addrs).collect();
    let sources = shared.pool.nat_sources().into_iter().map(Prefix::host);
    // An address that is a VIP, too, is the VIP: nothing would know whose packets come.
    let keys: BTreeSet<MapKey> =
        sources.filter(|source| !vips.contains(source)).map(MapKey::of_vip).collect();
    let entry = Entry { flags: service_flags::NAT_SOURCE, ..Entry::default() };
    for &key in &keys {
        match shared.entries.get(&key) {
            Some(seen) if *seen == entry => {}
            Some(_) => puts.push(key.put(entry, false)),
            None if shared.take_room(key, 1) => puts.push(key.put(entry, false)),
            None => {}
        }
    }
    keys
}

/// How long a connection may be without packets, by what was seen of both ends ([`nat_state`]).
pub const fn idle_max(proto: u8, client: u32, backend: u32, timeouts: &NatTimeouts) -> Duration {
    const OPEN: u32 = nat_state::ACK;
    if proto != ip_proto::TCP {
        timeouts.udp
    } else if nat_state::is_over(client, backend) {
        timeouts.tcp_closed
    } else if (client | backend) & nat_state::FIN != 0 {
        timeouts.tcp_half_closed
    } else if client & backend & OPEN == 0 {
        timeouts.tcp_handshake
    } else {
        timeouts.tcp_established
    }
}

/// The least that it may be: of a connection that was seen since, nothing else has to be asked.
pub fn idle_min(timeouts: &NatTimeouts) -> Duration {
    let NatTimeouts { tcp_handshake, tcp_established, tcp_half_closed, tcp_closed, udp } =
        *timeouts;
    [tcp_handshake, tcp_established, tcp_half_closed, tcp_closed, udp]
        .into_iter()
        .fold(Duration::MAX, Duration::min)
}

/// Whether a connection is over, `now_ns` on the clock of the packet path. One without answers is
/// none: they are remembered first, and forgotten last.
pub fn is_over(
    proto: u8,
    flow: &NatFlow,
    answer: Option<&NatAnswer>,
    now_ns: u64,
    timeouts: &NatTimeouts,
) -> bool {
    answer.is_none_or(|answer| {
        let idle = now_ns.saturating_sub(flow.seen_ns.max(answer.seen_ns));
        Duration::from_nanos(idle) > idle_max(proto, flow.state, answer.state, timeouts)
    })
}

/// Backends whose connections end now: nobody is there who could go on with them.
pub fn dead(vips: &BTreeMap<ServiceAddr, VipState>) -> BTreeSet<Place> {
    let mut dead = BTreeSet::new();
    for vip in vips.values() {
        let Some(programmed) = vip.programmed else { continue };
        let is_dead = |state| matches!(state, BackendState::Down | BackendState::Disabled);
        let indices =
            vip.backends.values().filter(|it| is_dead(it.state)).filter_map(|it| it.index);
        dead.extend(indices.map(|index| (programmed.index, index)));
    }
    dead
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: NatTimeouts = NatTimeouts {
        tcp_handshake: Duration::from_secs(1),
        tcp_established: Duration::from_secs(2),
        tcp_half_closed: Duration::from_secs(3),
        tcp_closed: Duration::from_secs(4),
        udp: Duration::from_secs(5),
    };

    #[test]
    fn how_long_a_silent_connection_lasts_follows_from_what_both_ends_have_said() {
        use nat_state::{ACK, FIN, RST, SYN};
        const TCP: u8 = ip_proto::TCP;
        let cases = [
            ("a SYN that nobody answers", TCP, SYN, 0, 1),
            ("answered, and not yet confirmed", TCP, SYN, SYN | ACK, 1),
            ("a client that talks to nobody", TCP, SYN | ACK, 0, 1),
            ("open", TCP, SYN | ACK, SYN | ACK, 2),
            ("closed by the client", TCP, SYN | ACK | FIN, SYN | ACK, 3),
            ("closed by the backend", TCP, SYN | ACK, SYN | ACK | FIN, 3),
            ("closed by both", TCP, SYN | ACK | FIN, SYN | ACK | FIN, 4),
            ("refused", TCP, SYN, ACK | RST, 4),
            ("reset", TCP, SYN | ACK | RST, SYN | ACK, 4),
            ("UDP", ip_proto::UDP, ACK, 0, 5),
        ];
        for (name, proto, client, backend, secs) in cases {
            let found = idle_max(proto, client, backend, &TIMEOUTS);
            assert_eq!(found, Duration::from_secs(secs), "{name}");
        }
        assert_eq!(idle_min(&TIMEOUTS), Duration::from_secs(1));
    }

    #[test]
    fn the_end_that_was_seen_last_counts() {
        let second = 1_000_000_000;
        let flow = NatFlow { seen_ns: 9 * second, ..NatFlow::default() };
        let answer = NatAnswer { seen_ns: 10 * second, ..NatAnswer::default() };
        let over = |now| is_over(ip_proto::UDP, &flow, Some(&answer), now, &TIMEOUTS);
        assert!(!over(15 * second) && over(15 * second + 1));
        assert!(!over(0), "a clock that is behind ends nothing");
        assert!(is_over(ip_proto::UDP, &flow, None, 0, &TIMEOUTS), "nobody could be answered");
    }
}
