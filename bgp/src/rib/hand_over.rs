//! All routes as a successor gets them, who takes over the sessions too: what came in, what was told
//! to whom, and what the decisions stand on.
//!
//! Promise: a record that was made by [`Rib::record`] gives a RIB that has nothing to tell anybody
//! that had nothing to tell before; one that contradicts itself is refused, never half taken.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::decision::{DecisionRules, Standing};
use super::flows::FLOWS_MAX;
use super::peer::RibPeer;
use super::post::Post;
use super::sets::{SetId, Sets};
use super::table::Table;
use super::table::hand_over::TableRecord;
use super::{OURSELVES, PeerId, Policies, Rib, SessionTerms, around, of_family};
use crate::origin::{Vrp, Vrps};
use crate::policy::Source;
use crate::rng::Rng;
use crate::speaker::{Local, RouteAttributes};
use crate::types::{Family, Prefix};
use crate::wire::Role;

/// A record that cannot be what a speaker has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// A prefix in the table of another family.
    #[error("{0} is in the table of another family")]
    Prefix(Prefix),
    /// The same destination, path, peer or connection twice.
    #[error("something is there twice")]
    Twice,
    /// A number that nothing has.
    #[error("a number names nothing")]
    Number,
    /// A session in a state that none is handed over in.
    #[error("a session is not established")]
    State,
}

/// All routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RibRecord {
    rules: DecisionRules,
    vrps: Vec<Vrp>,
    metrics: BTreeMap<IpAddr, Option<u32>>,
    /// Sets of attributes before policy, and who answers for each.
    sets: Vec<(PeerId, Vec<u8>)>,
    /// By number; ourselves the first.
    places: Vec<Place>,
    v4: TableRecord,
    v6: TableRecord,
    originated: BTreeMap<Prefix, RouteAttributes>,
    flows: Vec<(Family, Vec<u8>, PeerId, u32, bool)>,
}

/// What the RIB knows of a peer, or of one that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    addr: IpAddr,
    router_id: u32,
    external: bool,
    vacant: bool,
    prefixes_max: u64,
    local_as: u32,
    remote: (Option<Role>, u32),
    /// Messages that are still to be sent before everything else, and when a family is said.
    words: Option<Words>,
}

/// First and last messages.
type Words = (Vec<Vec<u8>>, Vec<(Family, Vec<u8>)>);

/// A session that goes on.
#[derive(Debug)]
pub struct Resumed {
    /// Whose.
    pub peer: PeerId,
    /// What was agreed on.
    pub terms: SessionTerms,
    /// The peer is to be told everything again: what it may be told could be something else now.
    pub again: bool,
}

/// Dense numbers for the sets that are in use.
#[derive(Default)]
pub(super) struct Numbers {
    known: BTreeMap<u32, u32>,
    sets: Vec<(PeerId, Vec<u8>)>,
}

impl Numbers {
    pub(super) fn of(&mut self, id: SetId, sets: &Sets) -> u32 {
        *self.known.entry(id.0).or_insert_with(|| {
            self.sets.push((sets.owner(id), sets.bytes(id).to_vec()));
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

impl Rib {
    /// All routes; what work was left is done first.
    pub fn record(&mut self) -> RibRecord {
        while self.work() {}
        let mut numbers = Numbers::default();
        let v4 = self.v4.record(&mut numbers, &self.sets);
        let v6 = self.v6.record(&mut numbers, &self.sets);
        let flows = self.flows.all().map(|(family, octets, peer, set, aged)| {
            (family, octets.to_vec(), peer, numbers.of(set, &self.sets), aged)
        });
        let flows = flows.collect();
        let places = self.peers.iter().zip(&self.standings).map(|(peer, standing)| Place {
            addr: standing.addr,
            router_id: standing.router_id,
            external: peer.external,
            vacant: peer.vacant,
            prefixes_max: peer.prefixes_max as u64,
            local_as: peer.local_as,
            remote: peer.remote,
            words: peer.session.as_ref().map(|session| {
                let firsts = session.firsts.iter().cloned().collect();
                (firsts, session.finals.iter().cloned().collect())
            }),
        });
        RibRecord {
            rules: self.rules,
            vrps: self.origins.vrps.list(),
            metrics: self.sets.reach().metrics(),
            places: places.collect(),
            sets: numbers.sets,
            v4,
            v6,
            originated: self.originated.clone(),
            flows,
        }
    }

    /// The RIB of a record. `policies` are those of each place, by number.
    ///
    /// # Errors
    /// [`Damaged`]
    pub fn restore(
        local: Local,
        rng: &mut Rng,
        record: RibRecord,
        policies: &BTreeMap<PeerId, Policies>,
        sessions: Vec<Resumed>,
    ) -> Result<Self, Damaged> {
        let mut rib = Self::new(local, rng);
        rib.set_rules(record.rules);
        rib.tasks.clear();
        rib.origins.vrps = Arc::new(Vrps::new(&record.vrps));
        rib.seat_restored(&record.places, policies)?;
        let of_nobody = |(owner, _): &&(PeerId, Vec<u8>)| usize::from(*owner) >= rib.peers.len();
        if record.sets.iter().any(|set| of_nobody(&set)) {
            return Err(Damaged::Number);
        }
        let sets = record.sets.iter();
        let ids: Vec<SetId> = sets.map(|(owner, set)| rib.sets.intern(set, *owner)).collect();
        rib.sets.set_metrics(&record.metrics);
        rib.v4 = Table::restore(&record.v4, &ids, &mut rib.sets, rib.hasher)?;
        rib.v6 = Table::restore(&record.v6, &ids, &mut rib.sets, rib.hasher)?;
        for id in 0..rib.peers.len() {
            let id = PeerId::try_from(id).or(Err(Damaged::Number))?;
            rib.v4.add_lane(id);
            rib.v6.add_lane(id);
        }
        if record.flows.len() > FLOWS_MAX * rib.peers.len() {
            return Err(Damaged::Number);
        }
        for (family, octets, peer, set, aged) in &record.flows {
            let set = *ids.get(*set as usize).ok_or(Damaged::Number)?;
            rib.sets.hold(set);
            rib.flows.restore((*family, octets, *peer), (set, *aged));
        }
        rib.originated = record.originated;
        let changed = [
            rib.judge_restored(&record.v4, Family::Ipv4Unicast),
            rib.judge_restored(&record.v6, Family::Ipv6Unicast),
        ];
        for id in ids {
            rib.sets.release(id);
        }
        for session in sessions {
            rib.resume(session, (&record.v4, &record.v6), &record.places)?;
        }
        let [v4, v6] = changed;
        for id in v4.into_iter().chain(Table::<super::key::V4>::pending(&record.v4)) {
            rib.v4.enter(id, true);
        }
        for id in v6.into_iter().chain(Table::<super::key::V6>::pending(&record.v6)) {
            rib.v6.enter(id, true);
        }
        Ok(rib)
    }

    fn seat_restored(
        &mut self,
        places: &[Place],
        policies: &BTreeMap<PeerId, Policies>,
    ) -> Result<(), Damaged> {
        for (id, place) in places.iter().enumerate().skip(1) {
            let id = PeerId::try_from(id).or(Err(Damaged::Number))?;
            let Place { addr, router_id, external, vacant, local_as, remote, .. } = *place;
            let standing = Standing { local: false, external, router_id, addr };
            let source = if external { Source::External } else { Source::Internal };
            let prefixes_max = usize::try_from(place.prefixes_max).unwrap_or(usize::MAX);
            let policies = policies.get(&id).cloned().unwrap_or_default();
            let session = None;
            let peer =
                RibPeer { policies, external, session, prefixes_max, local_as, remote, vacant };
            self.seat(id, standing, source, peer);
        }
        Ok(())
    }

    /// Gives destinations whose best path is another one than in the record.
    fn judge_restored(&mut self, record: &TableRecord, family: Family) -> Vec<u32> {
        let mut around = around!(self);
        let (peers, local, origins) = (&self.peers, self.local, &self.origins);
        // Of paths in a row with one set, policy is asked once, if it can be.
        let mut last: Option<(PeerId, SetId, Post)> = None;
        let judge = |peer: PeerId, prefix, pre: SetId, sets: &mut Sets| {
            if peer == OURSELVES {
                return Post::Accepted(pre);
            }
            let Some(judge) = peers.get(usize::from(peer)).map(|it| it.judge(peer, local, origins))
            else {
                return Post::Rejected(super::Rejected::NoPolicy);
            };
            let same = last.filter(|(of, set, _)| (*of, *set) == (peer, pre));
            let post = match same.filter(|_| !judge.looks_at_prefix()) {
                Some((_, _, Post::Accepted(set))) if set != pre => {
                    sets.hold(set);
                    Post::Accepted(set)
                }
                Some((_, _, same)) => same,
                None => judge.post(prefix, pre, sets),
            };
            last = Some((peer, pre, post));
            post
        };
        of_family!(self, family, table => table.judge_restored(record, &mut around, judge))
    }

    /// A session goes on.
    fn resume(
        &mut self,
        Resumed { peer, terms, again }: Resumed,
        (v4, v6): (&TableRecord, &TableRecord),
        places: &[Place],
    ) -> Result<(), Damaged> {
        let words = places.get(usize::from(peer)).and_then(|place| place.words.clone());
        let (firsts, finals) = words.ok_or(Damaged::Number)?;
        if peer == OURSELVES
            || self.peers.get(usize::from(peer)).is_none_or(|it| it.session.is_some())
        {
            return Err(Damaged::Twice);
        }
        let families = terms.context.families;
        self.up(peer, terms);
        if families.contains(Family::Ipv4Unicast) {
            self.v4.restore_lane(v4, peer, again)?;
        }
        if families.contains(Family::Ipv6Unicast) {
            self.v6.restore_lane(v6, peer, again)?;
        }
        if let Some(session) =
            self.peers.get_mut(usize::from(peer)).and_then(|peer| peer.session.as_mut())
        {
            (session.firsts, session.finals) = (firsts.into(), finals.into());
        }
        Ok(())
    }
}
