//! What we say in an OPEN, and what we answer to the peer's (RFC 4271 §4.2, §6.2).

use crate::speaker::{Local, PeerConfig};
use crate::types::{Asn, Family};
use crate::wire::notification::Notification;
use crate::wire::{Capability, Negotiated, Open};

/// Our OPEN to this peer.
pub fn our_open(local: Local, config: &PeerConfig) -> Open {
    let mut capabilities: Vec<Capability> = config
        .families
        .iter()
        .map(|family| {
            let (afi, safi) = family.afi_safi();
            Capability::Multiprotocol { afi, safi }
        })
        .collect();
    capabilities.extend([Capability::RouteRefresh, Capability::FourOctetAs(local.asn)]);
    Open {
        my_as: u16::try_from(local.asn.get()).unwrap_or(Asn::TRANS),
        hold_time: config.hold_time,
        router_id: local.router_id,
        capabilities,
    }
}

/// What both OPENs together allow.
///
/// # Errors
/// 2/2 when the peer is not in the AS that is configured; 2/3 when it has our BGP Identifier inside
/// our AS (RFC 6286 §2.2); 2/7 with our families as data when none is common (RFC 5492 §5).
pub fn negotiate(
    local: Local,
    config: &PeerConfig,
    open: &Open,
) -> Result<Negotiated, Notification> {
    let four_octet = open.capabilities.iter().find_map(|capability| match capability {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    });
    let remote_as = four_octet.or(Asn::new(u32::from(open.my_as)));
    if remote_as != Some(config.remote_as) {
        return Err(Notification::BAD_PEER_AS);
    }
    let external = config.remote_as != local.asn;
    if !external && open.router_id == local.router_id {
        return Err(Notification::BAD_BGP_IDENTIFIER);
    }
    let families = common_families(config, open);
    if families.is_empty() {
        return Err(Notification::unsupported_capability(&family_capabilities(&config.families)));
    }
    Ok(Negotiated {
        external,
        four_octet_as: four_octet.is_some(),
        families,
        route_refresh: open.capabilities.contains(&Capability::RouteRefresh),
        hold_time: open.hold_time.min(config.hold_time),
    })
}

/// In our order. A peer without the multiprotocol capability speaks IPv4 unicast (RFC 4760 §8).
fn common_families(config: &PeerConfig, open: &Open) -> Vec<Family> {
    let mut offered = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::Multiprotocol { afi, safi } => Some(Family::from_afi_safi(*afi, *safi)),
        _ => None,
    });
    let theirs: Vec<Option<Family>> = match offered.next() {
        None => vec![Some(Family::Ipv4Unicast)],
        Some(first) => core::iter::once(first).chain(offered).collect(),
    };
    config.families.iter().copied().filter(|family| theirs.contains(&Some(*family))).collect()
}

/// Multiprotocol capabilities as they stand in an OPEN: code 1, length 4, AFI, zero, SAFI.
fn family_capabilities(families: &[Family]) -> Vec<u8> {
    families
        .iter()
        .flat_map(|family| {
            let (afi, safi) = family.afi_safi();
            let [afi_high, afi_low] = afi.to_be_bytes();
            [1, 4, afi_high, afi_low, 0, safi]
        })
        .collect()
}

#[cfg(test)]
mod tests;
