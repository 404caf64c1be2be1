//! BMP stations (RFC 7854): who they know to be up, and what they are told next.
//!
//! Pulled, not pushed: a station that can take more is told the present state of what changed since
//! it asked last, sessions first. One that asks seldom hears of the last state only.

use std::collections::BTreeMap;

use super::{ConnId, PeerName, Speaker};
use crate::bmp::{self, About, Ends, Gone, Stat, View, Views, WallTime};
use crate::fsm::Peer;
use crate::rib::{PeerId, WatcherId};
use crate::types::{Asn, Family, HoldTime};
use crate::wire::{Capability, Open, encode_open};

/// A station is told about so much at a time.
const ANSWER_BYTES: usize = 64 << 10;

/// Stretches of a table that are looked at for one answer, at most: a few milliseconds.
const BATCHES_MAX: usize = 4;

/// A station has missed something that it cannot be told any more: it has to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// A station that listens.
#[derive(Debug)]
pub(super) struct Station {
    views: Views,
    /// It knows that our Loc-RIB is monitored.
    introduced: bool,
    known: BTreeMap<PeerName, Known>,
    /// It is to get figures with what it is told next.
    figures: bool,
}

/// A session that a station knows to be up.
#[derive(Clone, Copy, Debug)]
struct Known {
    conn: ConnId,
    rib: PeerId,
    about: About,
}

impl Speaker {
    /// A station listens from now on, and knows nothing yet.
    pub fn open_station(&mut self, id: WatcherId, views: Views) {
        self.rib.watch(id, views);
        self.stations.insert(
            id,
            Station { views, introduced: false, known: BTreeMap::new(), figures: false },
        );
    }

    /// It does not any more.
    pub fn close_station(&mut self, id: WatcherId) {
        self.rib.unwatch(id);
        self.stations.remove(&id);
    }

    /// Both ends of a connection, for stations.
    pub fn on_ends(&mut self, conn: ConnId, ends: Ends) {
        self.peers.values_mut().for_each(|peer| peer.set_ends(conn, ends));
    }

    /// What a station is told next, as whole messages; empty: it knows everything.
    ///
    /// # Errors
    /// [`Lost`]
    pub fn tell_station(&mut self, id: WatcherId, time: WallTime) -> Result<Vec<u8>, Lost> {
        let Some(mut station) = self.stations.remove(&id) else { return Err(Lost) };
        let mut out = Vec::new();
        if !station.introduced && station.views.contains(View::LocRib) {
            let loc_rib = self.loc_rib();
            out.extend(bmp::loc_rib_up(&loc_rib, time, &self.loc_rib_open()));
        }
        station.introduced = true;
        self.tell_downs(id, &mut station, time, &mut out);
        self.tell_ups(id, &mut station, time, &mut out);
        for _ in 0..BATCHES_MAX {
            // What is asked for is not told again: it must not be asked for in vain.
            if out.len() > ANSWER_BYTES {
                break;
            }
            let is_up = |peer| station.known.values().any(|known| known.rib == peer);
            let batches = self.rib.next_batches(id, is_up);
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                let of_peer = |peer| station.known.values().find(|known| known.rib == peer);
                let about = match batch.peer {
                    None => Some(self.loc_rib()),
                    Some(peer) => of_peer(peer).map(|known| known.about),
                };
                if let Some(about) = about {
                    bmp::push_routes(&mut out, &about, batch.view, time, &batch.updates);
                }
            }
        }
        if core::mem::take(&mut station.figures) {
            self.tell_figures(&station, time, &mut out);
        }
        self.stations.insert(id, station);
        if self.rib.has_lost(id) { Err(Lost) } else { Ok(out) }
    }

    /// Sessions that have ended, or are others by now.
    fn tell_downs(
        &mut self,
        id: WatcherId,
        station: &mut Station,
        time: WallTime,
        out: &mut Vec<u8>,
    ) {
        let peers = &self.peers;
        let rib = &mut self.rib;
        station.known.retain(|name, known| {
            let peer = peers.get(name);
            if peer.and_then(Peer::established_conn) == Some(known.conn) {
                return true;
            }
            let cause = peer.and_then(Peer::last_down);
            let gone = cause.map_or(Gone::Unconfigured, |cause| Gone::Down(cause.clone()));
            out.extend(bmp::peer_down(&known.about, time, &gone));
            rib.unwatch_peer(id, known.rib);
            false
        });
    }

    fn tell_ups(
        &mut self,
        id: WatcherId,
        station: &mut Station,
        time: WallTime,
        out: &mut Vec<u8>,
    ) {
        for (name, peer) in &self.peers {
            let Some(seen) = peer.monitored() else { continue };
            if station.known.contains_key(name) {
                continue;
            }
            out.extend(bmp::peer_up(&seen.about, time, seen.ends, seen.opens));
            let known = Known { conn: seen.conn, rib: seen.rib, about: seen.about };
            station.known.insert(name.clone(), known);
            self.rib.watch_peer(id, known.rib);
        }
    }

    /// With what a station is told next come figures of every peer that it knows to be up.
    pub fn want_figures(&mut self, id: WatcherId) {
        if let Some(station) = self.stations.get_mut(&id) {
            station.figures = true;
        }
    }

    fn tell_figures(&self, station: &Station, time: WallTime, out: &mut Vec<u8>) {
        for (name, known) in &station.known {
            let counts = self.rib.counts(known.rib);
            let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            let malformed =
                self.peers.get(name).map_or(0, |peer| peer.malformed().routes_withdrawn);
            let mut stats = vec![
                Stat::AdjRibIn(count(counts.received)),
                Stat::TreatedAsWithdraw(narrow(malformed)),
                Stat::AdjRibOut(count(counts.advertised)),
            ];
            let of_family = |family| count(self.rib.received(known.rib, family));
            let families = Family::UNICAST.into_iter();
            stats.extend(families.map(|family| Stat::AdjRibInOf(family, of_family(family))));
            out.extend(bmp::stats(&known.about, time, &stats));
        }
    }

    const fn loc_rib(&self) -> About {
        About { addr: None, asn: self.local.asn.get(), router_id: self.local.router_id }
    }

    /// What the routes of our Loc-RIB look like, as an OPEN.
    fn loc_rib_open(&self) -> Vec<u8> {
        let mut capabilities: Vec<Capability> = Vec::new();
        for family in Family::UNICAST {
            let (afi, safi) = family.afi_safi();
            capabilities.push(Capability::Multiprotocol { afi, safi });
        }
        capabilities.push(Capability::FourOctetAs(self.local.asn));
        encode_open(&Open {
            my_as: u16::try_from(self.local.asn.get()).unwrap_or(Asn::TRANS),
            hold_time: HoldTime::DEFAULT,
            router_id: self.local.router_id,
            capabilities,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::speaker::{Local, Order, RouteAttributes};
    use crate::time::Timestamp;
    use crate::types::{Prefix, RouterId};
    use crate::wire::{Message, Negotiated, Nlri, decode, next_message};

    const STATION: WatcherId = 7;

    /// The prefixes that the Route Monitoring messages among these announce.
    fn announced(mut messages: &[u8]) -> Vec<Prefix> {
        let families = Family::UNICAST.into_iter().collect();
        let context = Negotiated { four_octet_as: true, families, ..Negotiated::NOTHING };
        let mut prefixes = Vec::new();
        while let Some(len) = messages.get(1..5) {
            let len = usize::try_from(u32::from_be_bytes(len.try_into().unwrap())).unwrap();
            let (message, rest) = messages.split_at(len);
            messages = rest;
            if message[5] != 0 {
                continue;
            }
            let (raw, _) = next_message(&message[48..], 65_535).unwrap().unwrap();
            let Message::Update(update) = decode(raw, &context).unwrap() else { panic!() };
            let nlri = update.announced().map(|it| it.nlri);
            prefixes.extend(nlri.flat_map(Nlri::prefixes).map(|(_, prefix)| prefix));
        }
        prefixes
    }

    #[test]
    fn a_table_that_fills_many_answers_is_told_whole_and_once() {
        let router_id = RouterId::new([10, 0, 0, 1].into()).unwrap();
        let local = Local { asn: Asn::new(65_001).unwrap(), router_id };
        let mut speaker = Speaker::new(local, 1);
        // No two share their attributes, so that what is looked at for one batch is more than one
        // answer holds.
        let routes: BTreeSet<Prefix> =
            (0..5000_u32).map(|at| Prefix::host((0x0a00_0000 + at).to_be_bytes().into())).collect();
        for (med, prefix) in (0..).zip(&routes) {
            let route = RouteAttributes { med: Some(med), ..RouteAttributes::default() };
            let order = Order::Advertise(*prefix, route);
            speaker.on_order(Timestamp::default(), order, &mut Vec::new());
        }
        speaker.open_station(STATION, [View::LocRib].into_iter().collect());
        let mut told = Vec::new();
        loop {
            let answer = speaker.tell_station(STATION, WallTime::default()).unwrap();
            if answer.is_empty() {
                break;
            }
            assert!(answer.len() < 4 * ANSWER_BYTES, "{}", answer.len());
            told.extend(answer);
        }
        let announced = announced(&told);
        assert_eq!(announced.len(), routes.len());
        assert_eq!(announced.into_iter().collect::<BTreeSet<_>>(), routes);
    }
}
