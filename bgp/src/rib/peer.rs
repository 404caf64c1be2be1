//! What the RIB knows of a peer: its policies, and its session while there is one.

use core::net::IpAddr;
use std::collections::VecDeque;

use super::decision::Standing;
use super::export::{Group, Outlet};
use super::otc::{self, Inward};
use super::post::{Post, Rejected};
use super::sets::{SetId, Sets};
use super::{MaybeChain, OURSELVES, PeerId, Rib, Task, attrs, of_family};
use crate::origin::Origins;
use crate::policy::{Border, Edits, Route, Source, rewrite};
use crate::speaker::{Local, NextHops, PathLimits};
use crate::types::{Asn, Community, Family, Prefix, RouterId};
use crate::wire::{self, AttributesRef, EncodeError, Negotiated, RefreshKind, Role, code};

/// The policies of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// What is let in. Without one, nothing from another AS is (RFC 8212).
    pub import: MaybeChain,
    /// What is let out. Without one, nothing but VIPs goes to another AS.
    pub export: MaybeChain,
    /// The session is about to be shut down: everybody is told to prefer other routes than those
    /// over it (RFC 8326 §4).
    pub shuts_down: bool,
    /// The peer may ask for that: its routes with GRACEFUL_SHUTDOWN get LOCAL_PREF 0. External
    /// peers only.
    pub heeds_shutdown: bool,
}

/// A peer, or the place of one that is gone.
#[derive(Debug, Default)]
pub(super) struct RibPeer {
    pub(super) policies: Policies,
    pub(super) external: bool,
    pub(super) session: Option<RibSession>,
    pub(super) prefixes_max: usize,
    /// The AS that we are in for this peer, which must not be in its paths either.
    pub(super) local_as: u32,
    /// What it is to us (RFC 9234), and its AS.
    pub(super) remote: (Option<Role>, u32),
    pub(super) vacant: bool,
}

/// A session as far as routes go.
#[derive(Debug)]
pub(super) struct RibSession {
    pub(super) group: usize,
    pub(super) families: Vec<Family>,
    /// Messages that come before anything else.
    pub(super) firsts: VecDeque<Vec<u8>>,
    /// Messages that follow when a family has been told in full, oldest first.
    pub(super) finals: VecDeque<(Family, Vec<u8>)>,
    unsendable: Option<(Family, EncodeError)>,
    /// Families without a next hop, once that has been said.
    silent: Vec<Family>,
    pub(super) context: Negotiated,
}

/// What both sides agreed on, as far as it decides how routes look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTerms {
    /// The peer's.
    pub router_id: RouterId,
    /// From both OPENs.
    pub context: Negotiated,
    /// Our addresses, for what we announce.
    pub next_hops: NextHops,
    /// The AS that we are in for this peer.
    pub local_as: Asn,
    /// The peer's AS.
    pub remote_as: Asn,
    /// How many paths to one prefix it is told, and may tell, where that is agreed (RFC 7911).
    pub paths: PathLimits,
}

impl RibSession {
    /// Notes that routes could not be written down. A missing next hop is said once.
    pub(super) fn complain(&mut self, family: Family, error: EncodeError) {
        if matches!(error, EncodeError::NextHopFamily(_)) {
            if self.silent.contains(&family) {
                return;
            }
            self.silent.push(family);
        }
        self.unsendable = Some((family, error));
    }

    /// The message that says that all of a family has been told.
    pub(super) fn finish(&mut self, family: Family) -> Option<Vec<u8>> {
        let at = self.finals.iter().position(|(of, _)| *of == family)?;
        self.finals.remove(at).map(|(_, message)| message)
    }
}

/// Judges what one peer announces.
pub(super) struct Judge<'a> {
    peer: PeerId,
    local: Local,
    policies: &'a Policies,
    origins: &'a Origins,
    external: bool,
    local_as: u32,
    remote: (Option<Role>, u32),
}

impl RibPeer {
    pub(super) const fn judge<'a>(
        &'a self,
        peer: PeerId,
        local: Local,
        origins: &'a Origins,
    ) -> Judge<'a> {
        let Self { external, local_as, remote, .. } = *self;
        Judge { peer, local, origins, policies: &self.policies, external, local_as, remote }
    }

    /// Whether what it announces may fare otherwise under other VRPs.
    pub(super) fn import_looks_at_rpki(&self) -> bool {
        self.policies.import.as_ref().is_some_and(|chain| chain.looks_at_rpki())
    }
}

impl Judge<'_> {
    /// Whether prefixes of one set may fare differently.
    pub(super) fn looks_at_prefix(&self) -> bool {
        self.policies.import.as_ref().is_some_and(|chain| chain.looks_at_prefix())
    }

    /// What becomes of a path with this set. A set it makes or keeps is held once more, if it is
    /// another one than it was given.
    pub(super) fn post(&self, prefix: Prefix, pre: SetId, sets: &mut Sets) -> Post {
        let block = sets.bytes(pre);
        let only_to_customer = match self.check(block) {
            Ok(mark) => mark,
            Err(why) => return Post::Rejected(why),
        };
        let mut edits = match &self.policies.import {
            None if self.external => return Post::Rejected(Rejected::NoPolicy),
            None => Edits::default(),
            Some(chain) => {
                let source = if self.external { Source::External } else { Source::Internal };
                let attributes = AttributesRef::new(block);
                match chain.judge(&Route { prefix, attributes, source, origins: self.origins }) {
                    None => return Post::Rejected(Rejected::Policy),
                    Some(edits) => edits,
                }
            }
        };
        self.heed_shutdown(block, &mut edits);
        if edits.is_empty() && only_to_customer.is_none() {
            return Post::Accepted(pre);
        }
        let border = Border { only_to_customer, ..Border::default() };
        let changed = rewrite(block, &border, &edits);
        if changed == block {
            return Post::Accepted(pre);
        }
        Post::Accepted(sets.intern(&changed, self.peer))
    }

    /// After the policy: one that gives preferences must not hide that the route will go.
    fn heed_shutdown(&self, block: &[u8], edits: &mut Edits) {
        let Policies { shuts_down, heeds_shutdown, .. } = *self.policies;
        if !self.external || !(shuts_down || heeds_shutdown) {
            return;
        }
        let has_it = |community| community == Community::GRACEFUL_SHUTDOWN;
        if shuts_down {
            edits.add.push(Community::GRACEFUL_SHUTDOWN);
            edits.local_pref = Some(0);
        } else if AttributesRef::new(block).communities().any(has_it) {
            edits.local_pref = Some(0);
        }
    }

    /// Loops and leaks, which no policy lets in; what the route is to be marked with (RFC 9234).
    fn check(&self, block: &[u8]) -> Result<Option<u32>, Rejected> {
        let is_ours = |asn: u32| asn == self.local.asn.get() || asn == self.local_as;
        let our_id = self.local.router_id.get();
        let mut otc = None;
        for attribute in attrs::attributes(block) {
            match attribute.code {
                code::AS_PATH if attrs::path_asns(attribute.value).any(is_ours) => {
                    return Err(Rejected::AsLoop);
                }
                code::ORIGINATOR_ID if attrs::words(attribute.value).any(|id| id == our_id) => {
                    return Err(Rejected::OriginatorLoop);
                }
                code::CLUSTER_LIST if attrs::words(attribute.value).any(|id| id == our_id) => {
                    return Err(Rejected::ClusterLoop);
                }
                code::ONLY_TO_CUSTOMER => otc = attrs::words(attribute.value).next(),
                _ => {}
            }
        }
        let (role, remote_as) = self.remote;
        match otc::inward(role, remote_as, otc) {
            Inward::Leak => Err(Rejected::RouteLeak),
            Inward::Mark => Ok(Some(remote_as)),
            Inward::Pass => Ok(None),
        }
    }
}

/// How much of a peer is in the RIB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Paths it announces.
    pub received: usize,
    /// Of these, those that loop checks and policy let through.
    pub accepted: usize,
    /// Prefixes it has been told of and not told to forget.
    pub advertised: usize,
    /// Paths of it that were not taken, because it had enough to their prefixes already.
    pub refused: usize,
}

impl Rib {
    pub(super) fn add_ourselves(&mut self) {
        let addr = IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
        let router_id = self.local.router_id.get();
        let standing = Standing { local: true, external: false, router_id, addr };
        self.seat(OURSELVES, standing, Source::Vip, RibPeer::default());
    }

    /// A place for a peer; the place of one that is gone, if there is one.
    pub fn add_peer(&mut self, addr: IpAddr, external: bool, policies: Policies) -> PeerId {
        let vacant = self.peers.iter().position(|peer| peer.vacant);
        let at = vacant.unwrap_or(self.peers.len());
        let id = PeerId::try_from(at).unwrap_or(PeerId::MAX);
        let standing = Standing { local: false, external, router_id: 0, addr };
        let source = if external { Source::External } else { Source::Internal };
        let prefixes_max = super::PREFIXES_MAX;
        let peer = RibPeer { policies, external, prefixes_max, ..RibPeer::default() };
        self.seat(id, standing, source, peer);
        id
    }

    pub(super) fn seat(&mut self, id: PeerId, standing: Standing, source: Source, peer: RibPeer) {
        let at = usize::from(id);
        if at == self.peers.len() {
            self.peers.push(peer);
            self.standings.push(standing);
            self.sources.push(source);
        } else if let (Some(old), Some(stands), Some(kind)) =
            (self.peers.get_mut(at), self.standings.get_mut(at), self.sources.get_mut(at))
        {
            (*old, *stands, *kind) = (peer, standing, source);
        }
        self.v4.add_lane(id);
        self.v6.add_lane(id);
    }

    /// The peer is gone for good, with all it brought.
    pub fn remove_peer(&mut self, id: PeerId) {
        self.down(id);
        for family in Family::UNICAST {
            self.drop_stale(id, family);
        }
        self.tasks.push_back(Task::Vacate(id)); // When its last path is gone.
    }

    /// At most this many prefixes, over all families, are taken from a peer.
    pub fn set_prefixes_max(&mut self, id: PeerId, max: usize) {
        if let Some(peer) = self.peers.get_mut(usize::from(id)) {
            peer.prefixes_max = max;
        }
    }

    /// Other policies: what the peer announced is judged again, what it was told of is told again
    /// as far as it looks different (soft reset, both ways).
    pub fn set_policies(&mut self, id: PeerId, policies: Policies) {
        let Some(peer) = self.peers.get_mut(usize::from(id)) else { return };
        let old = core::mem::replace(&mut peer.policies, policies);
        let new = &peer.policies;
        let both = old.shuts_down != new.shuts_down;
        let import = both || old.import != new.import || old.heeds_shutdown != new.heeds_shutdown;
        let export = both || old.export != new.export;
        if import {
            self.judge_again(id);
        }
        if export {
            self.regroup(id, None);
        }
    }

    /// Soft reset of what came in.
    pub fn judge_again(&mut self, id: PeerId) {
        for family in Family::UNICAST {
            let mut chunks = of_family!(self, family, table => table.chunks_of(id));
            chunks.extend(of_family!(self, family, table => {
                table.lane(id).map_or(Vec::new(), |lane| lane.stale.clone())
            }));
            if !chunks.is_empty() {
                self.tasks.push_back(Task::Judge { family, peer: id, chunks, aged: false });
            }
        }
    }

    /// A session is up: the peer is told everything, then End-of-RIB for each family.
    pub fn up(&mut self, id: PeerId, terms: SessionTerms) {
        self.down(id);
        let SessionTerms { router_id, context, next_hops, local_as, remote_as, paths } = terms;
        let families: Vec<Family> =
            Family::ALL.into_iter().filter(|it| context.families.contains(*it)).collect();
        let finals = families.iter().map(|it| (*it, wire::encode_end_of_rib(*it))).collect();
        let group = self.group_for(id, &context, (next_hops, local_as, paths.send));
        for family in &families {
            let several = context.add_path_send.contains(*family);
            of_family!(self, *family, table => {
                table.attach(id, several);
                if let Some(lane) = table.lane_mut(id) {
                    lane.paths_max = paths.receive.into();
                }
            });
        }
        if let Some(standing) = self.standings.get_mut(usize::from(id)) {
            standing.router_id = router_id.get();
        }
        if let Some(peer) = self.peers.get_mut(usize::from(id)) {
            peer.remote = (context.remote_role, remote_as.get());
            let (unsendable, silent) = (None, Vec::new());
            let firsts = VecDeque::new();
            let session =
                RibSession { group, families, firsts, finals, unsendable, silent, context };
            peer.session = Some(session);
            peer.local_as = local_as.get();
        }
    }

    /// The session is over: its paths go, slice by slice.
    pub fn down(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(usize::from(id)) else { return };
        if peer.session.take().is_none() {
            return;
        }
        self.forget_flows(id, None);
        for family in Family::UNICAST {
            let chunks = of_family!(self, family, table => table.end_session(id));
            if !chunks.is_empty() {
                self.tasks.push_back(Task::Drop { family, chunks });
            }
        }
    }

    /// The session is over, but the peer has said that it would be back: its paths of these
    /// families stay in use until [`Self::drop_stale`] (RFC 4724 §4.2).
    pub fn down_keeping(&mut self, id: PeerId, kept: &[Family]) {
        for family in kept {
            self.drop_stale(id, *family); // Of the session before this one.
            of_family!(self, *family, table => {
                let chunks = table.end_session(id);
                if let Some(lane) = table.lane_mut(id) {
                    lane.stale = chunks;
                }
            });
        }
        self.down(id);
    }

    /// What is still left of an earlier session goes: the peer has sent its End-of-RIB, or has
    /// taken too long.
    pub fn drop_stale(&mut self, id: PeerId, family: Family) {
        self.drop_aged_flows(id, family);
        let chunks: Vec<u32> = of_family!(self, family, table => {
            table.lane_mut(id).map(|lane| core::mem::take(&mut lane.stale)).unwrap_or_default()
        });
        if !chunks.is_empty() {
            self.tasks.push_back(Task::Drop { family, chunks });
        }
    }

    /// What is kept of an earlier session has outlived the restart time: it is marked with
    /// LLGR_STALE and used where there is nothing else, until [`Self::drop_stale`]; what is marked
    /// with NO_LLGR goes (RFC 9494 §4.2).
    pub fn age_stale(&mut self, id: PeerId, family: Family) {
        let chunks: Vec<u32> = of_family!(self, family, table => {
            table.lane(id).map(|lane| lane.stale.clone()).unwrap_or_default()
        });
        if !chunks.is_empty() {
            self.tasks.push_back(Task::Judge { family, peer: id, chunks, aged: true });
        }
    }

    /// The peer says everything again, and what it does not say again is to go with
    /// [`Self::drop_stale`] (RFC 7313 §4). `false`: something is kept already, from an earlier
    /// beginning or a restart, and is all that goes then: a peer that begins over and over must not
    /// make us keep a table for each time.
    pub fn begin_refresh(&mut self, id: PeerId, family: Family) -> bool {
        let keeps = |lane: &super::table::Lane| !lane.stale.is_empty();
        if of_family!(self, family, table => table.lane(id).is_some_and(keeps)) {
            return false;
        }
        self.age_flows(id, family);
        let chunks = self.shed(id, family);
        of_family!(self, family, table => {
            if let Some(lane) = table.lane_mut(id) {
                lane.stale = chunks;
            }
        });
        true
    }

    /// Every path of a family goes, the session stays (AFI/SAFI-disable, RFC 7606 §2).
    pub fn forget_family(&mut self, id: PeerId, family: Family) {
        self.forget_flows(id, Some(family));
        let chunks = self.shed(id, family);
        if !chunks.is_empty() {
            self.tasks.push_back(Task::Drop { family, chunks });
        }
    }

    /// What the present session has brought so far; what the peer was told stays.
    fn shed(&mut self, id: PeerId, family: Family) -> Vec<u32> {
        of_family!(self, family, table => {
            let told = table.lane_mut(id).map(|lane| {
                let told = (core::mem::take(&mut lane.told), lane.told_paths.take());
                (told, lane.cursor, lane.attached_at, lane.sweep.clone())
            });
            let chunks = table.end_session(id);
            if let (Some(lane), Some(told)) = (table.lane_mut(id), told) {
                let (what, cursor, attached_at, sweep) = told;
                (lane.told, lane.told_paths) = what;
                (lane.cursor, lane.attached_at, lane.sweep) = (cursor, attached_at, sweep);
            }
            chunks
        })
    }

    /// The peer wants to hear all of a family again (RFC 2918, RFC 7313).
    pub fn refresh(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(usize::from(id)) else { return };
        let Some(session) = peer.session.as_mut() else { return };
        if !session.families.contains(&family) {
            return;
        }
        // Where the end of all is still to be said, that says it (RFC 7313 §4).
        if session.context.enhanced_refresh && !session.finals.iter().any(|(of, _)| *of == family) {
            let [begin, end] = [RefreshKind::Begin, RefreshKind::End]
                .map(|kind| wire::encode_route_refresh(family, kind));
            session.firsts.push_back(begin);
            session.finals.push_back((family, end));
        }
        of_family!(self, family, table => table.sweep_again(id));
    }

    /// Other addresses of ours, or another policy: the peer is told everything again.
    pub fn regroup(&mut self, id: PeerId, next_hops: Option<NextHops>) {
        let Some(peer) = self.peers.get(usize::from(id)) else { return };
        let Some(session) = &peer.session else { return };
        let (old, context) = (session.group, session.context.clone());
        let families = session.families.clone();
        let Some(outlet) = self.groups.get(old).map(|group| &group.outlet) else { return };
        let next_hops = next_hops.unwrap_or(outlet.next_hops);
        let (local_as, paths_max) = (outlet.local_as, outlet.paths_max);
        let group = self.group_for(id, &context, (next_hops, local_as, paths_max));
        if group == old {
            return;
        }
        if let Some(session) =
            self.peers.get_mut(usize::from(id)).and_then(|peer| peer.session.as_mut())
        {
            session.group = group;
        }
        for family in families {
            of_family!(self, family, table => table.sweep_again(id));
        }
    }

    /// The group whose members are told the same as this peer. One that nobody is in is used
    /// again.
    fn group_for(
        &mut self,
        id: PeerId,
        context: &Negotiated,
        (next_hops, local_as, paths_max): (NextHops, Asn, u8),
    ) -> usize {
        let peer = self.peers.get(usize::from(id));
        let policy = peer.and_then(|peer| peer.policies.export.clone());
        let shuts_down = peer.is_some_and(|peer| peer.policies.shuts_down);
        let takes_stale = !context.long_lived.is_empty();
        // What does not change how routes look must not split groups.
        let context = Negotiated {
            graceful_restart: None,
            long_lived: Vec::new(),
            hold_time: crate::types::HoldTime::DEFAULT,
            route_refresh: false,
            enhanced_refresh: false,
            ..context.clone()
        };
        let outlet =
            Outlet { context, next_hops, local_as, paths_max, policy, takes_stale, shuts_down };
        if let Some(at) = self.groups.iter().position(|group| group.outlet == outlet) {
            return at;
        }
        let in_use = |at: &usize| {
            let mut sessions = self.peers.iter().filter_map(|peer| peer.session.as_ref());
            sessions.any(|session| session.group == *at)
        };
        let free = (0..self.groups.len()).find(|at| !in_use(at));
        let at = free.unwrap_or(self.groups.len());
        let group = Group::new(outlet);
        if let Some(place) = self.groups.get_mut(at) {
            *place = group;
        } else {
            self.groups.push(group);
        }
        at
    }

    /// How much of a peer is there.
    pub fn counts(&self, id: PeerId) -> Counts {
        let [v4, v6] = self.counts_by_family(id).map(|(_, counts)| counts);
        Counts {
            received: v4.received + v6.received,
            accepted: v4.accepted + v6.accepted,
            advertised: v4.advertised + v6.advertised,
            refused: v4.refused + v6.refused,
        }
    }

    /// The same of each family by itself.
    pub fn counts_by_family(&self, id: PeerId) -> [(Family, Counts); 2] {
        let counts = |lane: &super::table::Lane| Counts {
            received: lane.paths,
            accepted: lane.accepted,
            advertised: lane.told.len(),
            refused: lane.refused,
        };
        let (v4, v6) = (self.v4.lane(id), self.v6.lane(id));
        [
            (Family::Ipv4Unicast, v4.map_or_else(Counts::default, counts)),
            (Family::Ipv6Unicast, v6.map_or_else(Counts::default, counts)),
        ]
    }

    /// Paths of a family that a peer announces.
    pub fn received(&self, id: PeerId, family: Family) -> usize {
        let lane = match family {
            Family::Ipv4Unicast => self.v4.lane(id),
            Family::Ipv6Unicast => self.v6.lane(id),
            Family::Ipv4Flowspec | Family::Ipv6Flowspec => None,
        };
        lane.map_or(0, |lane| lane.paths)
    }

    /// Why some routes could not be written down for a peer, once.
    pub fn take_unsendable(&mut self, id: PeerId) -> Option<(Family, EncodeError)> {
        self.peers.get_mut(usize::from(id))?.session.as_mut()?.unsendable.take()
    }
}
