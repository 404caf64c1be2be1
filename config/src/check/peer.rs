//! One BGP peer, or a range of them.

mod bfd;
mod paths;
mod restart;
mod session;

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use tidegate_bgp::speaker::{NextHops, Offer, PeerConfig, PeerRange};
use tidegate_bgp::types::Family;

use super::policy::{Named, chains};
use super::{Role, check_address, distinct};
use crate::diagnostic::Found;
use crate::raw::{PeerTable, RouterTable};
use crate::read::At;
use crate::value::{Interface, Place};

/// A table that is good.
pub(super) enum Checked {
    One(PeerConfig),
    Range(PeerRange),
}

impl Checked {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::One(peer) => &peer.name,
            Self::Range(range) => &range.template.name,
        }
    }
}

/// Peers of a range at a time, unless it says otherwise.
const RANGE_LIMIT: u16 = 100;

pub(super) fn check(
    at: &At<PeerTable>,
    router: Option<&RouterTable>,
    named: &Named,
    found: &mut Found<'_>,
) -> Option<Checked> {
    let raw = &at.value;
    let policies = chains(raw, named, found);
    check_ends(raw, found);
    check_unnumbered(at, found);
    check_range(raw, found);
    check_listens(raw, router, found);
    let families = families(raw, found);
    let next_hops = next_hops(raw, families.as_deref(), found);
    let prefix_limits = session::prefix_limits(raw, families.as_deref(), found);
    let add_path = paths::add_path(raw, families.as_deref(), found);
    let extended_next_hop = paths::extended_next_hop(raw, families.as_deref(), found);
    let transport = session::transport(raw, router, found);
    session::check_local_asn(raw, router, found);
    let place = raw.address.as_ref()?.value;
    let address = match place {
        Place::Address(address) => address,
        Place::Range(prefix) => prefix.addr(),
        Place::Unnumbered => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let name = raw.name.as_ref()?.value.0.as_str().into();
    let remote = SocketAddr::new(address, raw.port.as_ref()?.value.0);
    let add_path = add_path?;
    let transport = transport?;
    let bfd = bfd::check(raw, &transport, found);
    let peer = PeerConfig {
        bfd: bfd?,
        local_addr: raw.local_address.as_ref().map(|at| at.value),
        local_as: raw.local_asn.as_ref().map(|at| at.value),
        passive: raw.passive.as_ref()?.value,
        hold_time: raw.hold_time.as_ref()?.value,
        connect_retry: raw.connect_retry.as_ref()?.value.0,
        families: families?,
        next_hops,
        policies: policies?,
        prefix_limits: prefix_limits?,
        shutdown: raw.shutdown.as_ref().map(|at| at.value.0.as_str().into()),
        transport,
        path_limits: add_path.limits,
        offer: Offer {
            add_path_send: add_path.send,
            add_path_receive: add_path.receive,
            extended_next_hop: extended_next_hop?,
            ..session::offer(raw, router, found)?
        },
        keeping: restart::keeping(raw)?,
        ..PeerConfig::new(name, remote, raw.asn.as_ref()?.value)
    };
    let Place::Range(prefix) = place else { return Some(Checked::One(peer)) };
    let limit = raw.range_limit.as_ref().map_or(RANGE_LIMIT, |at| at.value.0);
    let template = PeerConfig { passive: true, ..peer };
    Some(Checked::Range(PeerRange { prefix, limit: limit.into(), template }))
}

/// The interface of a peer that is at the other end of one.
pub(super) fn unnumbered(raw: &PeerTable) -> Option<&At<Interface>> {
    raw.interface.as_ref().filter(|_| is_unnumbered(raw))
}

fn is_unnumbered(raw: &PeerTable) -> bool {
    raw.address.as_ref().is_some_and(|place| place.value == Place::Unnumbered)
}

/// What a peer without an address needs, and what it cannot have.
fn check_unnumbered(at: &At<PeerTable>, found: &mut Found<'_>) {
    let raw = &at.value;
    let Some(place) = raw.address.as_ref().filter(|_| is_unnumbered(raw)) else { return };
    if raw.interface.is_none() {
        let sentence = "the peer has no address, and no interface to look for it";
        let remedy = "add address = …, or interface = … for the router at the other end of it";
        found.error(&place.span, &place.key, sentence, remedy);
    }
    if let Some(local) = &raw.local_address {
        let sentence = "an unnumbered session is between link-local addresses";
        found.error(&local.span, &local.key, sentence, "remove this key");
    }
    let by_password = raw.password_file.as_ref().map(|at| (&at.span, &at.key));
    let by_chain = raw.keychain.as_ref().map(|at| (&at.span, &at.key));
    if let Some((span, key)) = by_password.or(by_chain) {
        let sentence = "TCP signs for an address, and this peer has none that is known before";
        let remedy = "write an address of the peer that is not link-local, or remove this key";
        found.error(span, key, sentence, remedy);
    }
}

/// What only a range can have, and what it cannot.
fn check_range(raw: &PeerTable, found: &mut Found<'_>) {
    let Some(place) = &raw.address else { return };
    let is_range = matches!(place.value, Place::Range(_));
    if let Some(limit) = raw.range_limit.as_ref().filter(|_| !is_range) {
        let sentence = "this has no effect: the peer is not a range";
        found.warning(&limit.span, &limit.key, sentence, "write a prefix as address, or remove it");
    }
    if let Some(local) = raw.local_address.as_ref().filter(|_| is_range) {
        let sentence = "this has no effect: peers of a range are not dialled";
        found.warning(&local.span, &local.key, sentence, "remove this key");
    }
}

/// The peer's address, if it has one of its own.
pub(super) fn address(raw: &PeerTable) -> Option<At<IpAddr>> {
    let at = raw.address.as_ref()?;
    let Place::Address(value) = at.value else { return None };
    Some(At { value, span: at.span.clone(), key: at.key.clone() })
}

fn check_ends(raw: &PeerTable, found: &mut Found<'_>) {
    let address = address(raw);
    if let Some(address) = &address {
        check_address(address, "a peer", Role::Session, found);
    }
    let Some(local) = &raw.local_address else { return };
    check_address(local, "the source of a session", Role::Session, found);
    let Some(address) = &address else { return };
    if local.value.is_ipv4() != address.value.is_ipv4() {
        let sentence = format!("{} cannot talk to {}", local.value, address.value);
        let remedy = "write an address of the peer's family, or leave the key out";
        found.error(&local.span, &local.key, sentence, remedy);
    } else if local.value == address.value {
        let sentence = format!("{} is the peer's own address", local.value);
        let remedy = "write an address of this node, or leave the key out";
        found.error(&local.span, &local.key, sentence, remedy);
    }
}

/// A session that is not dialled needs somewhere to be accepted.
fn check_listens(raw: &PeerTable, router: Option<&RouterTable>, found: &mut Found<'_>) {
    let passive = raw.passive.as_ref().filter(|passive| passive.value);
    let Some(place) = &raw.address else { return };
    let (address, span, key) = match (place.value, passive) {
        (Place::Address(address), Some(passive)) => (address, &passive.span, &passive.key),
        (Place::Address(_) | Place::Unnumbered, None) => return,
        (Place::Unnumbered, Some(passive)) => {
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), &passive.span, &passive.key)
        }
        (Place::Range(prefix), _) => (prefix.addr(), &place.span, &place.key),
    };
    let Some(listen) = router.and_then(|router| router.listen.as_ref()) else { return };
    // An address that could not be read may be the one that is missed.
    if listen.value.read.len() < listen.value.typed {
        return;
    }
    let family = |addr: &SocketAddr| addr.is_ipv4() == address.is_ipv4();
    if !listen.value.read.iter().any(|at| family(&at.value.0)) {
        let version = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let sentence = format!(
            "this session can never come up: it is not dialled, and router.listen has no {version} \
             address"
        );
        let is_range = matches!(place.value, Place::Range(_));
        let instead = if is_range { "" } else { "write passive = false, or " };
        let remedy = format!("{instead}add an {version} address to router.listen");
        found.error(span, key, sentence, remedy);
    }
}

fn families(raw: &PeerTable, found: &mut Found<'_>) -> Option<Vec<Family>> {
    let list = raw.families.as_ref()?;
    if list.value.typed == 0 {
        let remedy = "name at least one, or leave the key out to offer both";
        found.error(&list.span, &list.key, "a session without families carries nothing", remedy);
    }
    Some(distinct(&list.value.read, found))
}

fn next_hops(raw: &PeerTable, families: Option<&[Family]>, found: &mut Found<'_>) -> NextHops {
    let idle = |family| families.is_some_and(|families| !families.contains(&family));
    let remedy = |family: Family| format!("add \"{family}\" to families, or remove this key");
    if let Some(v4) = &raw.next_hop_v4 {
        check_address(v4, "a next hop", Role::Network, found);
        if idle(Family::Ipv4Unicast) {
            let sentence = "this has no effect: the session carries no IPv4 prefixes";
            found.warning(&v4.span, &v4.key, sentence, remedy(Family::Ipv4Unicast));
        }
    }
    if let Some(v6) = &raw.next_hop_v6 {
        check_address(v6, "a next hop", Role::Network, found);
        if idle(Family::Ipv6Unicast) {
            let sentence = "this has no effect: the session carries no IPv6 prefixes";
            found.warning(&v6.span, &v6.key, sentence, remedy(Family::Ipv6Unicast));
        }
    }
    NextHops {
        v4: raw.next_hop_v4.as_ref().map(|at| at.value),
        v6: raw.next_hop_v6.as_ref().map(|at| at.value),
    }
}
