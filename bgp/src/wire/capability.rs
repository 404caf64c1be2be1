//! Capabilities of an OPEN (RFC 5492): their values, both ways.

use super::message::{Capability, GracefulRestart, LongLived, Role};
use super::notification::Notification;
use super::reader::Reader;
use crate::types::{Asn, Family, FamilySet};

/// Codes of the capabilities that we understand.
mod code {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const ROLE: u8 = 9;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_AS: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
}

/// The AFI of a next hop in an extended next hop capability that says IPv6.
const AFI_IPV6: u16 = 2;

/// The bit of forwarding state (F) in both restart capabilities.
const FORWARDING: u8 = 0x80;

/// # Errors
/// 2/0: a capability that we know has the wrong length. 2/2: AS zero (RFC 7607 §2). 2/11: a role
/// that is none (RFC 9234 §4.2).
pub(super) fn decode(code: u8, value: &[u8]) -> Result<Capability, Notification> {
    let known = match code {
        code::MULTIPROTOCOL => multiprotocol(value),
        code::ROUTE_REFRESH => value.is_empty().then_some(Capability::RouteRefresh),
        code::EXTENDED_NEXT_HOP => extended_next_hop(value),
        code::EXTENDED_MESSAGE => value.is_empty().then_some(Capability::ExtendedMessage),
        code::ROLE => return role(value),
        code::GRACEFUL_RESTART => graceful_restart(value),
        code::FOUR_OCTET_AS => return four_octet_as(value),
        code::ADD_PATH => add_path(value),
        code::ENHANCED_ROUTE_REFRESH => {
            value.is_empty().then_some(Capability::EnhancedRouteRefresh)
        }
        code::LONG_LIVED_GRACEFUL_RESTART => long_lived(value),
        _ => Some(Capability::Unknown { code, value: value.to_vec() }),
    };
    known.ok_or(Notification::OPEN_UNSPECIFIC)
}

/// AFI, a reserved octet, SAFI.
fn multiprotocol(value: &[u8]) -> Option<Capability> {
    let [afi_high, afi_low, _reserved, safi] = *value else { return None };
    Some(Capability::Multiprotocol { afi: u16::from_be_bytes([afi_high, afi_low]), safi })
}

/// AFI, two octets of SAFI, AFI of the next hop; as often as wanted (RFC 8950 §4).
fn extended_next_hop(value: &[u8]) -> Option<Capability> {
    let mut families = FamilySet::EMPTY;
    for tuple in exact_chunks::<6>(value)? {
        let mut reader = Reader::new(tuple);
        let (afi, safi, next_hop) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let family = u8::try_from(safi).ok().and_then(|safi| Family::from_afi_safi(afi, safi));
        if let Some(family) = family.filter(|_| next_hop == AFI_IPV6) {
            families.insert(family);
        }
    }
    Some(Capability::ExtendedNextHop(families))
}

fn role(value: &[u8]) -> Result<Capability, Notification> {
    let [number] = *value else { return Err(Notification::OPEN_UNSPECIFIC) };
    // RFC 9234 §4.2: one that is not in the table matches none.
    Role::from_number(number).map(Capability::Role).ok_or(Notification::ROLE_MISMATCH)
}

/// Four flag bits, twelve bits of seconds, then AFI, SAFI and flags of each family (RFC 4724 §3).
fn graceful_restart(value: &[u8]) -> Option<Capability> {
    let (head, tuples) = value.split_first_chunk::<2>()?;
    let head = u16::from_be_bytes(*head);
    let mut restart = GracefulRestart {
        restarting: head & 0x8000 != 0,
        notification: head & 0x4000 != 0,
        restart_time_secs: head & 0x0fff,
        ..GracefulRestart::default()
    };
    for tuple in exact_chunks::<4>(tuples)? {
        let Some((family, flags)) = family_and_octet(*tuple) else { continue };
        restart.families.insert(family);
        if flags & FORWARDING != 0 {
            restart.forwarding.insert(family);
        }
    }
    Some(Capability::GracefulRestart(restart))
}

fn four_octet_as(value: &[u8]) -> Result<Capability, Notification> {
    let number: &[u8; 4] = value.try_into().or(Err(Notification::OPEN_UNSPECIFIC))?;
    let asn = Asn::new(u32::from_be_bytes(*number)).ok_or(Notification::BAD_PEER_AS)?;
    Ok(Capability::FourOctetAs(asn))
}

/// AFI, SAFI, and 1 (receive), 2 (send) or 3 (both); another number is ignored (RFC 7911 §4).
fn add_path(value: &[u8]) -> Option<Capability> {
    let (mut send, mut receive) = (FamilySet::EMPTY, FamilySet::EMPTY);
    for tuple in exact_chunks::<4>(value)? {
        let Some((family, mode @ 1..=3)) = family_and_octet(*tuple) else { continue };
        if mode & 1 != 0 {
            receive.insert(family);
        }
        if mode & 2 != 0 {
            send.insert(family);
        }
    }
    Some(Capability::AddPath { send, receive })
}

/// AFI, SAFI, flags, and three octets of seconds (RFC 9494 §4.1).
fn long_lived(value: &[u8]) -> Option<Capability> {
    let mut families = Vec::new();
    for tuple in exact_chunks::<7>(value)? {
        let [a, b, c, flags, high, middle, low] = *tuple;
        let Some((family, flags)) = family_and_octet([a, b, c, flags]) else { continue };
        // A family named again adds nothing.
        if families.iter().all(|known: &LongLived| known.family != family) {
            families.push(LongLived {
                family,
                forwarding: flags & FORWARDING != 0,
                stale_time_secs: u32::from_be_bytes([0, high, middle, low]),
            });
        }
    }
    Some(Capability::LongLivedGracefulRestart(families))
}

/// `None`: a remainder.
fn exact_chunks<const LEN: usize>(value: &[u8]) -> Option<&[[u8; LEN]]> {
    let (chunks, rest) = value.as_chunks::<LEN>();
    rest.is_empty().then_some(chunks)
}

/// `None`: a family that we do not carry.
fn family_and_octet(tuple: [u8; 4]) -> Option<(Family, u8)> {
    let [afi_high, afi_low, safi, octet] = tuple;
    let family = Family::from_afi_safi(u16::from_be_bytes([afi_high, afi_low]), safi)?;
    Some((family, octet))
}

/// Code, length, value; empty when the value is too long to have a length.
pub(super) fn encode(capability: &Capability) -> Vec<u8> {
    let (code, value) = match capability {
        Capability::Multiprotocol { afi, safi } => {
            let [afi_high, afi_low] = afi.to_be_bytes();
            (code::MULTIPROTOCOL, vec![afi_high, afi_low, 0, *safi])
        }
        Capability::RouteRefresh => (code::ROUTE_REFRESH, Vec::new()),
        Capability::ExtendedNextHop(families) => {
            let tuple = |family: Family| {
                let (afi, safi) = family.afi_safi();
                [afi, u16::from(safi), AFI_IPV6].map(u16::to_be_bytes).concat()
            };
            (code::EXTENDED_NEXT_HOP, families.iter().flat_map(tuple).collect())
        }
        Capability::ExtendedMessage => (code::EXTENDED_MESSAGE, Vec::new()),
        Capability::Role(role) => (code::ROLE, vec![role.number()]),
        Capability::GracefulRestart(restart) => (code::GRACEFUL_RESTART, restart.encode()),
        Capability::FourOctetAs(asn) => (code::FOUR_OCTET_AS, asn.get().to_be_bytes().to_vec()),
        Capability::AddPath { send, receive } => {
            let families = Family::ALL.into_iter();
            let modes = families.map(|family| {
                (family, u8::from(receive.contains(family)) | u8::from(send.contains(family)) << 1)
            });
            let tuples = modes.filter(|(_, mode)| *mode != 0);
            (code::ADD_PATH, tuples.flat_map(|(family, mode)| tuple(family, mode)).collect())
        }
        Capability::EnhancedRouteRefresh => (code::ENHANCED_ROUTE_REFRESH, Vec::new()),
        Capability::LongLivedGracefulRestart(families) => {
            let value = families.iter().flat_map(|one| {
                let [_, time @ ..] = one.stale_time_secs.min(0x00ff_ffff).to_be_bytes();
                tuple(one.family, forwarding_bit(one.forwarding)).into_iter().chain(time)
            });
            (code::LONG_LIVED_GRACEFUL_RESTART, value.collect())
        }
        Capability::Unknown { code, value } => (*code, value.clone()),
    };
    match u8::try_from(value.len()) {
        Ok(len) => [code, len].into_iter().chain(value).collect(),
        Err(_) => Vec::new(),
    }
}

impl GracefulRestart {
    fn encode(self) -> Vec<u8> {
        let restarting = u16::from(self.restarting) << 15;
        let notification = u16::from(self.notification) << 14;
        let head = restarting | notification | self.restart_time_secs.min(0x0fff);
        let tuples = self
            .families
            .iter()
            .flat_map(|family| tuple(family, forwarding_bit(self.forwarding.contains(family))));
        head.to_be_bytes().into_iter().chain(tuples).collect()
    }
}

const fn forwarding_bit(forwarding: bool) -> u8 {
    if forwarding { FORWARDING } else { 0 }
}

fn tuple(family: Family, octet: u8) -> [u8; 4] {
    let (afi, safi) = family.afi_safi();
    let [afi_high, afi_low] = afi.to_be_bytes();
    [afi_high, afi_low, safi, octet]
}

impl Role {
    /// Its number on the wire (RFC 9234 §4.1).
    pub const fn number(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Provider),
            1 => Some(Self::RouteServer),
            2 => Some(Self::RouteServerClient),
            3 => Some(Self::Customer),
            4 => Some(Self::Peer),
            _ => None,
        }
    }

    /// What the peer must be when we are this (RFC 9234 §4.2).
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }
}
