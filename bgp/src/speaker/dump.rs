//! All routes as MRT records, a stretch at a time.

use core::time::Duration;
use std::sync::Arc;

use super::Speaker;
use crate::bmp::WallTime;
use crate::mrt::{self, IndexedPeer};
use crate::time::Timestamp;

/// A stretch of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// Whole records.
    pub records: Vec<u8>,
    /// Destinations in it.
    pub destinations: u32,
    /// Where the next stretch begins; `None`: this was the last one.
    pub next: Option<DumpCursor>,
}

/// How far a dump is, and who is who in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpCursor {
    at: u64,
    /// As it was written: a peer that came later has no number in this dump.
    index: Arc<Vec<IndexedPeer>>,
}

impl Speaker {
    /// A stretch of a dump (TABLE_DUMP_V2, RFC 6396 §4.3) of what peers announced that policy let
    /// in, VIPs included. `from` is what the last stretch said; the first one begins with the index
    /// of peers. What changes between two stretches may be in it or not.
    pub fn dump(&mut self, now: Timestamp, time: WallTime, from: Option<DumpCursor>) -> Dump {
        let present = self.index();
        let mut records = Vec::new();
        let (at, index) = if let Some(DumpCursor { at, index }) = from {
            (at, index)
        } else {
            records = mrt::peer_index(time, self.local.router_id, &present);
            (0, Arc::new(present.clone()))
        };
        let is_same = |(old, new): (&IndexedPeer, &IndexedPeer)| {
            (old.addr, old.asn) == (new.addr, new.asn) && *old != IndexedPeer::NOBODY
        };
        let mut originated: Vec<Option<u32>> =
            index.iter().zip(&present).map(|both| is_same(both).then_some(time.secs)).collect();
        // When a session came up is the nearest that is known of when its routes came.
        for peer in self.peers.values() {
            let place =
                peer.rib_number().and_then(|number| originated.get_mut(usize::from(number)));
            if let Some(Some(place)) = place {
                let age: Duration = now.since(peer.status(&self.rib).since);
                let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
                *place = time.secs.saturating_sub(age);
            }
        }
        let (destinations, next) = self.rib.dump(at, time, &originated, &mut records);
        Dump { records, destinations, next: next.map(|at| DumpCursor { at, index }) }
    }

    /// Everybody at his place in the RIB; we stand at the first.
    fn index(&self) -> Vec<IndexedPeer> {
        let mut peers = vec![IndexedPeer::NOBODY; self.rib.places()];
        if let Some(ourselves) = peers.first_mut() {
            let router_id = self.local.router_id.get();
            *ourselves = IndexedPeer { router_id, asn: self.local.asn.get(), ..*ourselves };
        }
        for peer in self.peers.values() {
            let number = peer.rib_number().map(usize::from);
            if let Some(place) = number.and_then(|number| peers.get_mut(number)) {
                let config = peer.config();
                *place = IndexedPeer {
                    router_id: peer.monitored().map_or(0, |seen| seen.about.router_id.get()),
                    addr: config.remote.ip().to_canonical(),
                    asn: config.remote_as.get(),
                };
            }
        }
        peers
    }
}
