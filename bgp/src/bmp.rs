//! BMP version 3 messages (RFC 7854, with the Adj-RIB-Out of RFC 8671 and the Loc-RIB of RFC 9069).
//!
//! Values to bytes: which of them a station gets, and when, is `speaker`'s matter. Nothing is read:
//! a station has nothing to say.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::speaker::DownCause;
use crate::types::{Family, RouterId};
use crate::wire::encode_notification;

/// Octets of the common header.
const COMMON_BYTES: usize = 6;

/// A moment as clocks on walls show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    /// Seconds since 1970.
    pub secs: u32,
    /// Microseconds of the next one.
    pub micros: u32,
}

/// Routes in one state of their way through us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Adj-RIB-In before policy.
    PrePolicy,
    /// Adj-RIB-In after policy.
    PostPolicy,
    /// Loc-RIB.
    LocRib,
    /// Adj-RIB-Out after policy.
    AdjRibOut,
}

/// Some of the views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views(u8);

impl Views {
    /// Whether it holds this one.
    pub const fn contains(self, view: View) -> bool {
        self.0 & 1 << view as u8 != 0
    }
}

impl FromIterator<View> for Views {
    fn from_iter<I: IntoIterator<Item = View>>(views: I) -> Self {
        Self(views.into_iter().fold(0, |bits, view| bits | 1 << view as u8))
    }
}

/// Whose routes a message is about: the per-peer header (RFC 7854 §4.2) but for view and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The peer's address; `None`: our own Loc-RIB (RFC 9069 §4.1).
    pub addr: Option<IpAddr>,
    /// Its AS, or ours.
    pub asn: u32,
    /// Its BGP Identifier, or ours.
    pub router_id: RouterId,
}

/// Both ends of a session, as far as a station wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

/// Why a peer is not monitored any more (RFC 7854 §4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its session has ended.
    Down(DownCause),
    /// It is not configured any more.
    Unconfigured,
}

/// A figure of a peer (RFC 7854 §4.8). Prefixes rejected by policy (type 0) are none of them: that
/// is a counter there, and we know how many are rejected now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// Paths in Adj-RIB-In.
    AdjRibIn(u64),
    /// The same of one family.
    AdjRibInOf(Family, u64),
    /// Routes withdrawn because their UPDATE was malformed (RFC 7606).
    TreatedAsWithdraw(u32),
    /// Routes in Adj-RIB-Out after policy (RFC 8671 §6.2).
    AdjRibOut(u64),
}

/// Begins a conversation (RFC 7854 §4.3): what we are, and what this node is called.
pub fn initiation(description: &str, name: &str) -> Vec<u8> {
    let mut message = begin(4);
    push_tlv(&mut message, 1, description.as_bytes());
    push_tlv(&mut message, 2, name.as_bytes());
    finished(message)
}

/// Ends it: closed by the administrator (RFC 7854 §4.5).
pub fn termination() -> Vec<u8> {
    let mut message = begin(5);
    push_tlv(&mut message, 1, &0_u16.to_be_bytes());
    finished(message)
}

/// A session is up (RFC 7854 §4.10). The OPENs are whole messages, ours first.
pub fn peer_up(about: &About, time: WallTime, ends: Ends, opens: [&[u8]; 2]) -> Vec<u8> {
    let mut message = begin(3);
    push_header(&mut message, about, View::PrePolicy, time);
    message.extend(sixteen(ends.local.ip()));
    message.extend(ends.local.port().to_be_bytes());
    message.extend(ends.remote.port().to_be_bytes());
    for open in opens {
        message.extend_from_slice(open);
    }
    finished(message)
}

/// Our Loc-RIB is monitored from here on (RFC 9069 §5.1). `open` stands for both: it says what
/// the routes that follow look like.
pub fn loc_rib_up(about: &About, time: WallTime, open: &[u8]) -> Vec<u8> {
    let mut message = begin(3);
    push_header(&mut message, about, View::LocRib, time);
    message.extend([0; 20]); // No address, no ports.
    message.extend_from_slice(open);
    message.extend_from_slice(open);
    push_tlv(&mut message, 3, b"global");
    finished(message)
}

/// A peer is not monitored any more.
pub fn peer_down(about: &About, time: WallTime, gone: &Gone) -> Vec<u8> {
    let mut message = begin(2);
    push_header(&mut message, about, View::PrePolicy, time);
    match gone {
        Gone::Down(DownCause::Sent(last)) => {
            message.push(1);
            message.extend(encode_notification(last));
        }
        Gone::Down(DownCause::Received(last)) => {
            message.push(3);
            message.extend(encode_notification(last));
        }
        Gone::Down(DownCause::ConnectionLost) => message.push(4),
        Gone::Unconfigured => message.push(5),
    }
    finished(message)
}

/// Appends a Route Monitoring message (RFC 7854 §4.6) for each of these UPDATEs.
pub fn push_routes(
    out: &mut Vec<u8>,
    about: &About,
    view: View,
    time: WallTime,
    mut updates: &[u8],
) {
    while let Some(len) = updates.get(16..18) {
        let len = len.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
        let Some((update, rest)) = updates.split_at_checked(len) else { return };
        let mut message = begin(0);
        push_header(&mut message, about, view, time);
        message.extend_from_slice(update);
        out.extend(finished(message));
        updates = rest;
    }
}

/// Figures of a peer.
pub fn stats(about: &About, time: WallTime, stats: &[Stat]) -> Vec<u8> {
    let mut message = begin(1);
    push_header(&mut message, about, View::PrePolicy, time);
    message.extend(u32::try_from(stats.len()).unwrap_or(0).to_be_bytes());
    for stat in stats {
        match *stat {
            Stat::AdjRibIn(count) => push_tlv(&mut message, 7, &count.to_be_bytes()),
            Stat::AdjRibInOf(family, count) => push_of_family(&mut message, 9, family, count),
            Stat::TreatedAsWithdraw(count) => push_tlv(&mut message, 11, &count.to_be_bytes()),
            Stat::AdjRibOut(count) => push_tlv(&mut message, 15, &count.to_be_bytes()),
        }
    }
    finished(message)
}

fn push_of_family(message: &mut Vec<u8>, kind: u16, family: Family, count: u64) {
    let (afi, safi) = family.afi_safi();
    let mut value = afi.to_be_bytes().to_vec();
    value.push(safi);
    value.extend(count.to_be_bytes());
    push_tlv(message, kind, &value);
}

/// The common header, its length still open.
fn begin(kind: u8) -> Vec<u8> {
    vec![3, 0, 0, 0, 0, kind]
}

fn finished(mut message: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    if let Some([_, field @ .., _]) = message.first_chunk_mut::<COMMON_BYTES>() {
        *field = len.to_be_bytes();
    }
    message
}

/// Type, length and value; a value that is too long is cut.
fn push_tlv(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    message.extend(kind.to_be_bytes());
    message.extend(len.to_be_bytes());
    message.extend(value.iter().take(len.into()));
}

fn push_header(message: &mut Vec<u8>, about: &About, view: View, time: WallTime) {
    let (kind, v6) = match about.addr {
        None => (3, 0),
        Some(IpAddr::V4(_)) => (0, 0),
        Some(IpAddr::V6(_)) => (0, 0x80),
    };
    // AS paths always have four octets for each AS: the A flag stays clear.
    let of_view = match view {
        View::PrePolicy | View::LocRib => 0,
        View::PostPolicy => 0x40,
        View::AdjRibOut => 0x50,
    };
    message.extend([kind, v6 | of_view]);
    message.extend([0; 8]); // Peer Distinguisher: of the global instance.
    message.extend(about.addr.map_or([0; 16], sixteen));
    message.extend(about.asn.to_be_bytes());
    message.extend(about.router_id.get().to_be_bytes());
    message.extend(time.secs.to_be_bytes());
    message.extend(time.micros.to_be_bytes());
}

/// An address in the field of an IPv6 one: IPv4 at its end.
fn sixteen(addr: IpAddr) -> [u8; 16] {
    match addr.to_canonical() {
        IpAddr::V4(addr) => u128::from(addr.to_bits()).to_be_bytes(),
        IpAddr::V6(addr) => addr.octets(),
    }
}
