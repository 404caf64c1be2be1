//! One BGP peer.

use core::net::SocketAddr;

use tidegate_bgp::speaker::{NextHops, Offer, PeerConfig};
use tidegate_bgp::types::Family;

use super::{Role, check_address, distinct};
use crate::diagnostic::Found;
use crate::raw::{PeerTable, RouterTable};
use crate::read::At;

pub(super) fn check(
    at: &At<PeerTable>,
    router: Option<&RouterTable>,
    found: &mut Found<'_>,
) -> Option<PeerConfig> {
    let raw = &at.value;
    check_ends(raw, found);
    check_passive(raw, router, found);
    let families = families(raw, found);
    let next_hops = next_hops(raw, families.as_deref(), found);
    let (address, port) = (raw.address.as_ref()?, raw.port.as_ref()?);
    Some(PeerConfig {
        name: raw.name.as_ref()?.value.0.as_str().into(),
        remote: SocketAddr::new(address.value, port.value.0),
        remote_as: raw.asn.as_ref()?.value,
        local_addr: raw.local_address.as_ref().map(|at| at.value),
        passive: raw.passive.as_ref()?.value,
        hold_time: raw.hold_time.as_ref()?.value,
        connect_retry: raw.connect_retry.as_ref()?.value.0,
        families: families?,
        next_hops,
        offer: Offer::default(),
    })
}

fn check_ends(raw: &PeerTable, found: &mut Found<'_>) {
    if let Some(address) = &raw.address {
        check_address(address, "a peer", Role::Session, found);
    }
    let Some(local) = &raw.local_address else { return };
    check_address(local, "the source of a session", Role::Session, found);
    let Some(address) = &raw.address else { return };
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

/// A passive session needs somewhere to be accepted.
fn check_passive(raw: &PeerTable, router: Option<&RouterTable>, found: &mut Found<'_>) {
    let Some(passive) = raw.passive.as_ref().filter(|passive| passive.value) else { return };
    let Some(listen) = router.and_then(|router| router.listen.as_ref()) else { return };
    let Some(address) = &raw.address else { return };
    // An address that could not be read may be the one that is missed.
    if listen.value.read.len() < listen.value.typed {
        return;
    }
    let family = |addr: &SocketAddr| addr.is_ipv4() == address.value.is_ipv4();
    if !listen.value.read.iter().any(|at| family(&at.value.0)) {
        let version = if address.value.is_ipv4() { "IPv4" } else { "IPv6" };
        let sentence = format!(
            "this session can never come up: it is not dialled, and router.listen has no {version} \
             address"
        );
        let remedy = format!("write passive = false, or add an {version} address to router.listen");
        found.error(&passive.span, &passive.key, sentence, remedy);
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
