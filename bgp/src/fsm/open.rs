//! What we say in an OPEN, and what we answer to the peer's (RFC 4271 §4.2, §6.2).

use crate::speaker::{Local, Offer, PeerConfig};
use crate::types::{Asn, Family, FamilySet};
use crate::wire::notification::Notification;
use crate::wire::{Capability, GracefulRestart, LongLived, Negotiated, Open, Role};

/// Our OPEN to this peer; `restarting`: we are back from a restart (R, RFC 4724 §3).
pub fn our_open(local: Local, config: &PeerConfig, restarting: bool) -> Open {
    Open {
        my_as: u16::try_from(local.asn.get()).unwrap_or(Asn::TRANS),
        hold_time: config.hold_time,
        router_id: local.router_id,
        capabilities: our_capabilities(local, config, restarting),
    }
}

fn our_capabilities(local: Local, config: &PeerConfig, restarting: bool) -> Vec<Capability> {
    let offer = &config.offer;
    let multiprotocol = config.families.iter().map(|family| {
        let (afi, safi) = family.afi_safi();
        Capability::Multiprotocol { afi, safi }
    });
    let mut capabilities: Vec<Capability> = multiprotocol.collect();
    capabilities.extend([
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::FourOctetAs(local.asn),
    ]);
    if offer.extended_messages {
        capabilities.push(Capability::ExtendedMessage);
    }
    if !offer.extended_next_hop.is_empty() {
        capabilities.push(Capability::ExtendedNextHop(offer.extended_next_hop));
    }
    let (send, receive) = (offer.add_path_send, offer.add_path_receive);
    if !(send.is_empty() && receive.is_empty()) {
        capabilities.push(Capability::AddPath { send, receive });
    }
    // RFC 9234 §4.1: on external sessions only.
    let role = offer.role.filter(|_| config.remote_as != local.asn);
    capabilities.extend(role.map(Capability::Role));
    if let Some(restart) = offer.graceful_restart {
        let restart = GracefulRestart { restarting, ..restart };
        capabilities.push(Capability::GracefulRestart(restart));
        if !offer.long_lived.is_empty() {
            capabilities.push(Capability::LongLivedGracefulRestart(offer.long_lived.clone()));
        }
    }
    capabilities
}

/// What both OPENs together allow.
///
/// # Errors
/// 2/2 when the peer is not in the AS that is configured; 2/3 when it has our BGP Identifier inside
/// our AS (RFC 6286 §2.2); 2/7 with our families as data when none is common (RFC 5492 §5); 2/11
/// when its role does not fit ours, or is missing where it is required (RFC 9234 §4.2).
pub fn negotiate(
    local: Local,
    config: &PeerConfig,
    open: &Open,
) -> Result<Negotiated, Notification> {
    let theirs = Theirs::of(open);
    let remote_as = theirs.asn.or(Asn::new(u32::from(open.my_as)));
    if remote_as != Some(config.remote_as) {
        return Err(Notification::BAD_PEER_AS);
    }
    let external = config.remote_as != local.asn;
    if !external && open.router_id == local.router_id {
        return Err(Notification::BAD_BGP_IDENTIFIER);
    }
    let ours: FamilySet = config.families.iter().copied().collect();
    let families = ours.intersection(theirs.families);
    if families.is_empty() {
        return Err(Notification::unsupported_capability(&family_capabilities(&config.families)));
    }
    let offer = &config.offer;
    let remote_role = if external { agree_on_role(offer, &theirs.roles)? } else { None };
    // RFC 9494 §4.2: without the capability of RFC 4724 beside it, it says nothing.
    let graceful_restart = theirs.graceful_restart.filter(|_| offer.graceful_restart.is_some());
    let long_lived = theirs.long_lived.iter().copied();
    let kept_long = |one: &LongLived| graceful_restart.is_some() && families.contains(one.family);
    Ok(Negotiated {
        external,
        four_octet_as: theirs.asn.is_some(),
        families,
        disabled: FamilySet::EMPTY,
        route_refresh: open.capabilities.contains(&Capability::RouteRefresh),
        enhanced_refresh: open.capabilities.contains(&Capability::EnhancedRouteRefresh),
        extended_messages: offer.extended_messages
            && open.capabilities.contains(&Capability::ExtendedMessage),
        add_path_receive: offer.add_path_receive.intersection(theirs.add_path_send),
        add_path_send: offer.add_path_send.intersection(theirs.add_path_receive),
        extended_next_hop: offer.extended_next_hop.intersection(theirs.extended_next_hop),
        graceful_restart,
        long_lived: long_lived.filter(kept_long).collect(),
        remote_role,
        hold_time: open.hold_time.min(config.hold_time),
    })
}

/// The capabilities of an OPEN, each kind gathered from however many there are.
#[derive(Default)]
struct Theirs<'a> {
    asn: Option<Asn>,
    families: FamilySet,
    add_path_send: FamilySet,
    add_path_receive: FamilySet,
    extended_next_hop: FamilySet,
    graceful_restart: Option<GracefulRestart>,
    long_lived: &'a [LongLived],
    roles: Vec<Role>,
}

impl<'a> Theirs<'a> {
    fn of(open: &'a Open) -> Self {
        let mut theirs = Self::default();
        let mut multiprotocol = false;
        for capability in &open.capabilities {
            match capability {
                Capability::Multiprotocol { afi, safi } => {
                    multiprotocol = true;
                    if let Some(family) = Family::from_afi_safi(*afi, *safi) {
                        theirs.families.insert(family);
                    }
                }
                Capability::FourOctetAs(asn) => theirs.asn = theirs.asn.or(Some(*asn)),
                Capability::AddPath { send, receive } => {
                    theirs.add_path_send = theirs.add_path_send.union(*send);
                    theirs.add_path_receive = theirs.add_path_receive.union(*receive);
                }
                Capability::ExtendedNextHop(families) => {
                    theirs.extended_next_hop = theirs.extended_next_hop.union(*families);
                }
                // RFC 4724 §3: of several the last one counts.
                Capability::GracefulRestart(restart) => theirs.graceful_restart = Some(*restart),
                Capability::LongLivedGracefulRestart(families) => theirs.long_lived = families,
                Capability::Role(role) => theirs.roles.push(*role),
                Capability::RouteRefresh
                | Capability::EnhancedRouteRefresh
                | Capability::ExtendedMessage
                | Capability::Unknown { .. } => {}
            }
        }
        if !multiprotocol {
            theirs.families.insert(Family::Ipv4Unicast); // RFC 4760 §8
        }
        theirs
    }
}

/// The peer's role (RFC 9234 §4.2): one that says nothing is taken for what it must be if we are
/// what we say; `None` when we say nothing.
fn agree_on_role(offer: &Offer, theirs: &[Role]) -> Result<Option<Role>, Notification> {
    let Some(ours) = offer.role else { return Ok(None) };
    match theirs {
        [] if offer.role_required => Err(Notification::ROLE_MISMATCH),
        [] => Ok(Some(ours.counterpart())),
        roles if roles.iter().all(|role| *role == ours.counterpart()) => {
            Ok(Some(ours.counterpart()))
        }
        _ => Err(Notification::ROLE_MISMATCH),
    }
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
