//! What differs in a peer, and in the keychains that sign sessions.

use core::fmt::Display;
use core::time::Duration;

use tidegate_bgp::policy::Chain;
use tidegate_bgp::rib::Policies;
use tidegate_bgp::speaker::{
    Bfd, Distance, NextHops, Offer, PathLimits, PeerConfig, PeerRange, PrefixLimits, Transport,
};
use tidegate_bgp::types::{Family, FamilySet};
use tidegate_bgp::wire::Role;

use super::{Rows, duration_text, list};
use crate::desired::{AoAlgorithm, AoKey, Signing};

/// Where a peer is, as the file has it.
pub(super) fn place(peer: &PeerConfig) -> String {
    if peer.transport.unnumbered {
        return "unnumbered".to_owned();
    }
    peer.remote.ip().to_string()
}

pub(super) fn of_range(range: &PeerRange, signing: Option<&Signing>) -> Rows {
    let PeerRange { prefix, limit, template } = range;
    let mut rows = of_peer(template, prefix, signing);
    rows.put("peer", "range-limit", limit);
    rows
}

pub(super) fn of_peer(peer: &PeerConfig, place: &impl Display, signing: Option<&Signing>) -> Rows {
    let PeerConfig {
        name: _, // Which object it is.
        remote,
        remote_as,
        local_addr,
        passive,
        hold_time,
        connect_retry,
        families,
        next_hops: NextHops { v4, v6 },
        local_as,
        prefix_limits,
        path_limits,
        shutdown,
        transport,
        offer,
        policies: Policies { import, export, shuts_down, heeds_shutdown },
        keeping,
        bfd,
    } = peer;
    let mut rows = Rows::default();
    rows.put("peer", "address", place);
    rows.put("peer", "port", remote.port());
    rows.put("peer", "asn", remote_as);
    rows.maybe("peer", "local-asn", local_as.as_ref());
    rows.maybe("peer", "local-address", local_addr.as_ref());
    rows.put("peer", "passive", passive);
    rows.put("peer", "hold-time", format_args!("{}s", hold_time.as_secs()));
    rows.put("peer", "connect-retry", duration_text(*connect_retry));
    rows.put("peer", "families", list(families));
    rows.maybe("peer", "next-hop-v4", v4.as_ref());
    rows.maybe("peer", "next-hop-v6", v6.as_ref());
    match signing {
        Some(Signing::Md5(file)) => rows.put("peer", "password-file", file.display()),
        Some(Signing::Ao(chain)) => rows.put("peer", "keychain", chain),
        None => {}
    }
    rows.maybe("peer", "shutdown", shutdown.as_ref());
    of_offer(offer, &mut rows);
    rows.put("peer", "stale-time", duration_text(keeping.stale_max));
    rows.put("peer", "long-lived-stale-time", duration_text(keeping.long_lived_max));
    of_add_path(offer, *path_limits, &mut rows);
    rows.maybe("peer", "import", import.as_deref().map(names));
    rows.maybe("peer", "export", export.as_deref().map(names));
    rows.put("peer", "graceful-shutdown", shuts_down);
    rows.put("peer", "heed-graceful-shutdown", heeds_shutdown);
    of_transport(transport, &mut rows);
    of_limits(prefix_limits, &mut rows);
    if let Some(Bfd { timing, multihop }) = bfd {
        let interval = Duration::from_micros(timing.desired_min_tx_us.into());
        rows.put("peer.bfd", "interval", duration_text(interval));
        rows.put("peer.bfd", "multiplier", timing.detect_mult);
        rows.put("peer.bfd", "multihop", multihop);
    }
    rows
}

fn of_offer(offer: &Offer, rows: &mut Rows) {
    let restart = offer.graceful_restart.map_or(0, |restart| restart.restart_time_secs);
    rows.put("peer", "graceful-restart", format_args!("{restart}s"));
    let long = offer.long_lived.first().map_or(0, |long| long.stale_time_secs);
    rows.put("peer", "long-lived-graceful-restart", format_args!("{long}s"));
    let role = offer.role.map(|role| match role {
        Role::Provider => "provider",
        Role::Customer => "customer",
        Role::Peer => "peer",
        Role::RouteServer => "rs",
        Role::RouteServerClient => "rs-client",
    });
    rows.maybe("peer", "role", role.as_ref());
    rows.put("peer", "role-required", offer.role_required);
    rows.put("peer", "extended-next-hop", !offer.extended_next_hop.is_empty());
}

fn of_add_path(offer: &Offer, limits: PathLimits, rows: &mut Rows) {
    let families = |set: FamilySet| list(&set.iter().collect::<Vec<_>>());
    let PathLimits { send, receive } = limits;
    rows.put("peer.add-path", "receive", families(offer.add_path_receive));
    rows.put("peer.add-path", "send", families(offer.add_path_send));
    rows.put("peer.add-path", "send-max", send);
    rows.put("peer.add-path", "receive-max", receive);
}

fn of_transport(transport: &Transport, rows: &mut Rows) {
    let Transport { distance, interface, user_timeout, send_hold, unnumbered: _ } = transport;
    match distance {
        Distance::Ttl(hops) => rows.put("peer", "multihop", hops),
        Distance::Guarded(hops) => rows.put("peer", "ttl-security", hops),
    }
    rows.maybe("peer", "interface", interface.as_ref());
    rows.maybe("peer", "tcp-user-timeout", user_timeout.map(duration_text));
    rows.put("peer", "send-hold-time", duration_text(send_hold.unwrap_or_default()));
}

fn of_limits(limits: &PrefixLimits, rows: &mut Rows) {
    let PrefixLimits { max, warn_percent, restart } = limits;
    let table = "peer.max-prefixes";
    rows.maybe(table, "ipv4", max.get(&Family::Ipv4Unicast));
    rows.maybe(table, "ipv6", max.get(&Family::Ipv6Unicast));
    rows.maybe(table, "warn-percent", warn_percent.as_ref());
    rows.maybe(table, "restart", restart.map(duration_text));
}

/// The policies of a chain.
fn names(chain: &Chain) -> String {
    let names: Vec<&str> = chain.policies.iter().map(|policy| policy.name.as_str()).collect();
    list(&names)
}

/// Keys in their order, since the first one is preferred.
pub(super) fn of_keychain(keys: &[AoKey]) -> Rows {
    let keys: Vec<String> = keys
        .iter()
        .map(|AoKey { send_id, receive_id, algorithm, file }| {
            let algorithm = match algorithm {
                AoAlgorithm::HmacSha1 => "hmac-sha-1-96",
                AoAlgorithm::Aes128Cmac => "aes-128-cmac-96",
            };
            format!("{send_id}/{receive_id} {algorithm} {}", file.display())
        })
        .collect();
    let mut rows = Rows::default();
    rows.put("keychain.key", "id", list(&keys));
    rows
}
