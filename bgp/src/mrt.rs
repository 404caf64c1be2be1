//! MRT records (RFC 6396, with the path identifiers of RFC 8050): tables and messages for other
//! tools to read.
//!
//! Values to bytes; nothing is read.

use core::net::{IpAddr, Ipv4Addr};

use crate::bmp::WallTime;
use crate::rib::attrs::{attributes, push};
use crate::speaker::State;
use crate::types::{Family, PathId, Prefix, RouterId};
use crate::wire::{code, flag};

const TABLE_DUMP_V2: u16 = 13;
const BGP4MP_ET: u16 = 17;

/// A peer in the index of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedPeer {
    /// Its BGP Identifier; zero if it was never up.
    pub router_id: u32,
    /// Its address.
    pub addr: IpAddr,
    /// Its AS.
    pub asn: u32,
}

impl IndexedPeer {
    /// Nobody, for a number that is not in use.
    pub const NOBODY: Self = Self { router_id: 0, addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), asn: 0 };
}

/// A path to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The peer's place in the index.
    pub peer: u16,
    /// When it came, in seconds since 1970, as far as we know: when its session came up.
    pub originated: u32,
    /// Which of several that the peer has; `None`: there are no others, on its session.
    pub path_id: Option<PathId>,
    /// Its attributes, as a block.
    pub block: &'a [u8],
}

/// PEER_INDEX_TABLE (§4.3.1): the first record of a dump.
pub fn peer_index(time: WallTime, collector: RouterId, peers: &[IndexedPeer]) -> Vec<u8> {
    let mut body = collector.get().to_be_bytes().to_vec();
    body.extend([0, 0]); // The view has no name.
    body.extend(u16::try_from(peers.len()).unwrap_or(u16::MAX).to_be_bytes());
    for peer in peers.iter().take(u16::MAX.into()) {
        let is_v6 = peer.addr.is_ipv6();
        body.push(2 | u8::from(is_v6)); // AS numbers of four octets.
        body.extend(peer.router_id.to_be_bytes());
        push_addr(&mut body, peer.addr);
        body.extend(peer.asn.to_be_bytes());
    }
    record(time.secs, TABLE_DUMP_V2, 1, &body)
}

/// All paths to one destination (§4.3.2), those with path identifiers in a record of their own
/// (RFC 8050 §4): only their peers' sessions have any.
pub fn push_destination(
    out: &mut Vec<u8>,
    time: WallTime,
    sequence: u32,
    prefix: Prefix,
    entries: &[Entry<'_>],
) {
    for with_path_id in [false, true] {
        let of_kind = || entries.iter().filter(|it| it.path_id.is_some() == with_path_id);
        let count = of_kind().count();
        if count == 0 {
            continue;
        }
        let subtype = match (prefix.family(), with_path_id) {
            (Family::Ipv4Unicast | Family::Ipv4Flowspec, false) => 2,
            (Family::Ipv6Unicast | Family::Ipv6Flowspec, false) => 4,
            (Family::Ipv4Unicast | Family::Ipv4Flowspec, true) => 8,
            (Family::Ipv6Unicast | Family::Ipv6Flowspec, true) => 10,
        };
        let mut body = sequence.to_be_bytes().to_vec();
        push_prefix(&mut body, prefix);
        body.extend(u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        for entry in of_kind().take(u16::MAX.into()) {
            body.extend(entry.peer.to_be_bytes());
            body.extend(entry.originated.to_be_bytes());
            if let Some(PathId(number)) = entry.path_id {
                body.extend(number.to_be_bytes());
            }
            let block = for_dump(entry.block, prefix.family());
            body.extend(u16::try_from(block.len()).unwrap_or(u16::MAX).to_be_bytes());
            body.extend(block);
        }
        out.extend(record(time.secs, TABLE_DUMP_V2, subtype, &body));
    }
}

/// The attributes as a dump has them: a next hop that an UPDATE carries in MP_REACH_NLRI stands in
/// one that holds nothing else (§4.3.4).
fn for_dump(block: &[u8], family: Family) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 4);
    for attribute in attributes(block) {
        let value = attribute.value;
        if attribute.code == code::NEXT_HOP && (family == Family::Ipv6Unicast || value.len() > 4) {
            let mut next_hop = vec![u8::try_from(value.len()).unwrap_or(u8::MAX)];
            next_hop.extend_from_slice(value);
            push(&mut out, flag::OPTIONAL, code::MP_REACH_NLRI, &next_hop);
        } else {
            push(&mut out, attribute.flags, attribute.code, value);
        }
    }
    out
}

/// A session, as records of messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The peer's AS.
    pub remote_as: u32,
    /// Ours.
    pub local_as: u32,
    /// The peer's address.
    pub remote: IpAddr,
    /// Ours; of the same version.
    pub local: IpAddr,
}

/// How a message is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// AS numbers in its paths have four octets.
    pub four_octet_as: bool,
    /// Its NLRI have path identifiers.
    pub add_path: bool,
}

/// A message as it came (BGP4MP_ET, §4.4.2, §4.4.3; RFC 8050 §3).
pub fn message(time: WallTime, session: &Session, reading: Reading, bytes: &[u8]) -> Vec<u8> {
    let Reading { four_octet_as, add_path } = reading;
    let subtype = match (four_octet_as, add_path) {
        (false, false) => 1,
        (true, false) => 4,
        (false, true) => 8,
        (true, true) => 9,
    };
    let mut body = session_octets(time, session, four_octet_as);
    body.extend_from_slice(bytes);
    record(time.secs, BGP4MP_ET, subtype, &body)
}

/// A change of a session's state (§4.4.4).
pub fn state_change(time: WallTime, session: &Session, from: State, to: State) -> Vec<u8> {
    let mut body = session_octets(time, session, true);
    for state in [from, to] {
        let number: u16 = match state {
            State::Idle => 1,
            State::Connect => 2,
            State::Active => 3,
            State::OpenSent => 4,
            State::OpenConfirm => 5,
            State::Established => 6,
        };
        body.extend(number.to_be_bytes());
    }
    record(time.secs, BGP4MP_ET, 5, &body)
}

/// The microseconds, then who talks to whom.
fn session_octets(time: WallTime, session: &Session, four_octet_as: bool) -> Vec<u8> {
    let mut out = time.micros.to_be_bytes().to_vec();
    for asn in [session.remote_as, session.local_as] {
        if four_octet_as {
            out.extend(asn.to_be_bytes());
        } else {
            let narrow = u16::try_from(asn).unwrap_or(crate::types::Asn::TRANS);
            out.extend(narrow.to_be_bytes());
        }
    }
    let (remote, local) = (session.remote.to_canonical(), session.local.to_canonical());
    // An address that is not known, or of the other version, is the unspecified one.
    let local = match (remote, local) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => local,
        (IpAddr::V4(_), IpAddr::V6(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), IpAddr::V4(_)) => core::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    out.extend([0, 0]); // Interface index: not known.
    out.extend(if remote.is_ipv4() { 1_u16 } else { 2 }.to_be_bytes());
    push_addr(&mut out, remote);
    push_addr(&mut out, local);
    out
}

fn push_addr(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => out.extend(addr.octets()),
        IpAddr::V6(addr) => out.extend(addr.octets()),
    }
}

fn push_prefix(out: &mut Vec<u8>, prefix: Prefix) {
    out.push(prefix.bits());
    let octets = usize::from(prefix.bits().div_ceil(8));
    match prefix.addr() {
        IpAddr::V4(addr) => out.extend(addr.octets().iter().take(octets)),
        IpAddr::V6(addr) => out.extend(addr.octets().iter().take(octets)),
    }
}

fn record(secs: u32, kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + body.len());
    out.extend(secs.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(subtype.to_be_bytes());
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(body);
    out
}
