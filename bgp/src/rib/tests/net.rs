//! A RIB and peers of any kind around it, which speak and hear in UPDATEs.

use super::*;
use crate::types::FamilySet;
use crate::wire::Role;

/// A peer, and all it has heard.
struct Side {
    /// Of our end of the session.
    context: Negotiated,
    terms: SessionTerms,
    heard: BTreeMap<(Prefix, PathId), Attributes>,
}

pub(super) struct Net {
    pub(super) rib: Rib,
    sides: BTreeMap<PeerId, Side>,
}

/// What a peer is like, beside its AS.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kind {
    pub(super) role: Option<Role>,
    /// We tell it so many paths to a prefix.
    pub(super) told: Option<u8>,
    /// It may tell us so many.
    pub(super) tells: Option<u8>,
}

pub(super) const PLAIN: Kind = Kind { role: None, told: None, tells: None };

impl Net {
    pub(super) fn new() -> Self {
        Self { rib: Rib::new(local(), &mut Rng::new(7)), sides: BTreeMap::new() }
    }

    /// A peer whose session is up, and that may say and hear everything.
    pub(super) fn peer(&mut self, number: u32, kind: Kind) -> PeerId {
        let external = number != OUR_AS;
        let host = u8::try_from(self.sides.len() + 1).unwrap();
        let policies = Policies { import: chain(1), export: chain(1), ..Policies::default() };
        let id = self.rib.add_peer(IpAddr::from([10, 0, 2, host]), external, policies);
        let several = |wanted: Option<u8>| match wanted {
            Some(_) => Family::UNICAST.into_iter().collect(),
            None => FamilySet::EMPTY,
        };
        let context = Negotiated {
            external,
            four_octet_as: true,
            families: FamilySet::ALL,
            remote_role: kind.role,
            add_path_send: several(kind.told),
            add_path_receive: several(kind.tells),
            ..Negotiated::NOTHING
        };
        let terms = SessionTerms {
            router_id: RouterId::new([10, 0, 2, host].into()).unwrap(),
            context: context.clone(),
            next_hops: OURS,
            local_as: asn(OUR_AS),
            remote_as: asn(number),
            paths: PathLimits { send: kind.told.unwrap_or(1), receive: kind.tells.unwrap_or(1) },
        };
        self.sides.insert(id, Side { context, terms, heard: BTreeMap::new() });
        self.up(id);
        id
    }

    /// A new session, the same as the last one.
    pub(super) fn up(&mut self, peer: PeerId) {
        let side = self.sides.get_mut(&peer).unwrap();
        side.heard.clear();
        self.rib.up(peer, side.terms.clone());
    }

    /// Another RIB goes on in the place of this one, from what this one writes down. Who knows
    /// everything is not told anything.
    pub(super) fn hand_over(&mut self) {
        while self.rib.work() {}
        let ids: Vec<PeerId> = self.sides.keys().copied().collect();
        let all_know = |rib: &Rib| !ids.iter().any(|id| rib.is_behind(*id));
        let (knew, counts) = (all_know(&self.rib), ids.iter().map(|id| self.rib.counts(*id)));
        let counts: Vec<Counts> = counts.collect();
        let bytes = postcard::to_allocvec(&self.rib.record()).unwrap();
        let record: RibRecord = postcard::from_bytes(&bytes).unwrap();
        let new = self.restored(record.clone()).unwrap();
        self.rib = new;
        assert_eq!(ids.iter().map(|id| self.rib.counts(*id)).collect::<Vec<_>>(), counts);
        assert!(!knew || all_know(&self.rib), "somebody is told what it knows");
        if knew {
            let again = self.rib.record();
            assert_eq!(postcard::to_allocvec(&again).unwrap().len(), bytes.len());
        }
    }

    /// A RIB of a record, with the sessions and policies that there are.
    pub(super) fn restored(&self, record: RibRecord) -> Result<Rib, Damaged> {
        let places = (0..).zip(&self.rib.peers);
        let policies = places.map(|(id, peer)| (id, peer.policies.clone())).collect();
        let up = |(id, _): &(&PeerId, &Side)| {
            self.rib.peers.get(usize::from(**id)).is_some_and(|peer| peer.session.is_some())
        };
        let sides = self.sides.iter().filter(up);
        let sessions = sides
            .map(|(id, side)| Resumed { peer: *id, terms: side.terms.clone(), again: false })
            .collect();
        Rib::restore(local(), &mut Rng::new(8), record, &policies, sessions)
    }

    /// The context at the peer's end.
    pub(super) fn mirror(&self, peer: PeerId) -> Negotiated {
        let context = self.sides[&peer].context.clone();
        Negotiated {
            add_path_receive: context.add_path_send,
            add_path_send: context.add_path_receive,
            ..context
        }
    }

    /// A new session with a peer who knows of begin and end of a refresh.
    pub(super) fn enhance(&mut self, peer: PeerId) {
        let context = Negotiated { enhanced_refresh: true, ..self.sides[&peer].context.clone() };
        let terms = SessionTerms {
            router_id: RouterId::new([10, 0, 2, 200].into()).unwrap(),
            context,
            next_hops: OURS,
            local_as: asn(OUR_AS),
            remote_as: asn(64_502),
            paths: PathLimits::default(),
        };
        self.rib.up(peer, terms);
    }

    pub(super) fn say(&mut self, peer: PeerId, id: u32, prefix: &str, attributes: &Attributes) {
        let (prefix, theirs) = (parse(prefix), self.mirror(peer));
        let announcer = Announcer::new(prefix.family(), &attributes.to_block(), &theirs).unwrap();
        let mut message = Vec::new();
        announcer.pack([(PathId(id), prefix)], &mut message);
        self.receive(peer, &message);
    }

    pub(super) fn unsay(&mut self, peer: PeerId, id: u32, prefix: &str) {
        let (prefix, theirs) = (parse(prefix), self.mirror(peer));
        let mut message = Vec::new();
        pack_withdrawals(prefix.family(), &theirs, [(PathId(id), prefix)], &mut message);
        self.receive(peer, &message);
    }

    fn receive(&mut self, peer: PeerId, message: &[u8]) {
        self.try_hear(peer, message).unwrap();
    }

    /// An UPDATE that the peer sends, as it stands on the wire.
    pub(super) fn hear(&mut self, peer: PeerId, message: &[u8]) {
        self.receive(peer, message);
    }

    pub(super) fn try_hear(&mut self, peer: PeerId, message: &[u8]) -> Result<(), TooMuch> {
        let (raw, _) = next_message(message, 4096).unwrap().unwrap();
        let Message::Update(update) = decode(raw, &self.sides[&peer].context).unwrap() else {
            panic!("no UPDATE");
        };
        assert!(update.repaired.is_empty(), "{:?}", update.repaired);
        self.rib.update(peer, &update)
    }

    /// Everything that a peer has been told and not told to forget.
    pub(super) fn heard(&mut self, peer: PeerId) -> BTreeMap<(Prefix, PathId), Attributes> {
        while self.rib.work() {}
        while self.hear_one(peer) {}
        self.sides[&peer].heard.clone()
    }

    /// What a peer is told next; `false`: nothing.
    pub(super) fn hear_one(&mut self, peer: PeerId) -> bool {
        let theirs = self.mirror(peer);
        let Some(bytes) = self.rib.transmit(peer) else { return false };
        let heard = &mut self.sides.get_mut(&peer).unwrap().heard;
        let mut rest = bytes.as_slice();
        while let Some((raw, len)) = next_message(rest, 4096).unwrap() {
            rest = &rest[len..];
            let Message::Update(update) = decode(raw, &theirs).unwrap() else { continue };
            for (id, prefix) in update.withdrawn().flat_map(Nlri::prefixes) {
                assert!(heard.remove(&(prefix, id)).is_some(), "{prefix} {id:?}: no promise");
            }
            for announced in update.announced() {
                let attributes = Attributes::from_block(&announced.block);
                for (id, prefix) in announced.nlri.prefixes() {
                    heard.insert((prefix, id), attributes.clone());
                }
            }
        }
        true
    }

    /// How each path to a prefix fares, in the order of peers and identifiers.
    pub(super) fn fates(&mut self, prefix: &str) -> Vec<RouteView> {
        while self.rib.work() {}
        let query = Query {
            view: View::Received,
            family: None,
            peer: None,
            prefix: Some(parse(prefix)),
            from: 0,
            limit: 100,
        };
        let mut routes = self.rib.page(&query).routes;
        routes.sort_by_key(|route| (route.from, route.path_id));
        routes
    }

    /// The same, only whose and why.
    pub(super) fn reasons(&mut self, prefix: &str) -> Vec<(PeerId, &'static str)> {
        let fates = self.fates(prefix);
        fates.iter().map(|route| (route.from.unwrap_or(0), route.state.reason())).collect()
    }
}

pub(super) fn parse(prefix: &str) -> Prefix {
    let (addr, bits) = prefix.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), bits.parse().unwrap()).unwrap()
}

/// A route with this path.
pub(super) fn path(asns: &[u32]) -> Attributes {
    let path: Vec<Asn> = asns.iter().copied().map(asn).collect();
    Attributes {
        as_path: if path.is_empty() { vec![] } else { vec![AsSegment::Sequence(path)] },
        next_hop: Some(NextHop::V4([10, 0, 2, 99].into())),
        ..Attributes::default()
    }
}
