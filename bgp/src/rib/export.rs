//! What peers are told: groups of peers that are told the same, and segments of it that are
//! encoded once for all of them.
//!
//! Nothing is queued for a peer. It has a cursor in the journal of changes and, at the start of a
//! session or after a refresh, a range of destinations still to be swept; whoever can write asks
//! for the next segment. A segment is what a stretch of either comes to for the whole group, apart
//! by the peer who brought a route, so that it is told to everybody else.

mod several;

use core::ops::Range;
use std::collections::VecDeque;
use std::sync::Arc;

use super::PeerId;
use super::decision::{DecisionRules, Standing};
use super::journal::Position;
use super::key::Key;
use super::otc;
use super::sets::{SetId, Sets};
use super::table::Table;
use crate::origin::Origins;
use crate::policy::{Border, Chain, Edits, Route, Source, rewrite};
use crate::speaker::NextHops;
use crate::types::{Asn, Community, Family};
use crate::wire::{Announcer, AttributesRef, EncodeError, Negotiated, pack_withdrawals};

/// Destinations looked at for one segment, at most.
const SEGMENT_DESTS: usize = 4096;

/// Segments that a group keeps for those of its peers that are a little behind.
const SEGMENTS_KEPT: usize = 8;

/// NO_EXPORT, NO_ADVERTISE and NO_EXPORT_SUBCONFED (RFC 1997).
const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
const LLGR_STALE: u32 = Community::LLGR_STALE.0;

/// All that decides how a route looks to a peer. Peers with equal ones form a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outlet {
    pub(super) context: Negotiated,
    pub(super) next_hops: NextHops,
    pub(super) local_as: Asn,
    /// Paths to one destination, where several are told.
    pub(super) paths_max: u8,
    pub(super) policy: Option<Arc<Chain>>,
    /// The peer knows what LLGR_STALE means (RFC 9494 §4.3).
    pub(super) takes_stale: bool,
    /// Everything leaves with GRACEFUL_SHUTDOWN (RFC 8326 §4.1).
    pub(super) shuts_down: bool,
}

impl Outlet {
    /// Whether nothing but VIPs can leave (RFC 8212).
    pub(super) const fn is_vips_only(&self) -> bool {
        self.policy.is_none() && self.context.external
    }
}

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Journal(Position),
    Sweep(u32),
    /// All VIPs at once: nothing else leaves, and there is no need to look at it.
    Vips,
}

/// Routes of one peer in a segment.
#[derive(Debug)]
struct Part {
    source: PeerId,
    bytes: Range<usize>,
    ids: Range<usize>,
}

#[derive(Debug)]
struct Segment {
    from: From,
    /// Where the next one begins.
    to: u64,
    /// The journal's count of changes when it was made.
    made_at: u64,
    bytes: Arc<Vec<u8>>,
    parts: Vec<Part>,
    ids: Vec<u32>,
    /// Destinations that the group is told nothing of: withdrawn from those who know them. Where
    /// several paths are told: all that the segment is about, ascending.
    hidden: Vec<u32>,
    /// Where several paths are told: which, by destination.
    several: Vec<Told>,
    /// Why some of them are hidden: they could not be written down.
    unsendable: Option<EncodeError>,
}

use several::Told;
pub(super) use several::path_id;

/// What a peer is told next, and why it is not told more.
pub(super) type Next = (Arc<Vec<u8>>, Option<EncodeError>);

/// What became of a route on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Hidden,
    /// With the edits of this number.
    Sent(u32),
}

/// Peers that are told the same.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) outlet: Outlet,
    /// Edits that the policy has come to so far: as many as there are ways through its terms.
    outcomes: Vec<Edits>,
    recent: [VecDeque<Arc<Segment>>; 2],
}

/// What [`Table::next_for`] needs of the rest of the RIB.
pub(super) struct Sending<'a> {
    pub(super) family: Family,
    pub(super) sets: &'a Sets,
    pub(super) sources: &'a [Source],
    pub(super) standings: &'a [Standing],
    pub(super) rules: DecisionRules,
    pub(super) origins: &'a Origins,
}

impl Segment {
    /// To be filled in.
    fn holding(bytes: Vec<u8>) -> Self {
        Self {
            from: From::Vips,
            to: 0,
            made_at: 0,
            bytes: Arc::new(bytes),
            parts: Vec::new(),
            ids: Vec::new(),
            hidden: Vec::new(),
            several: Vec::new(),
            unsendable: None,
        }
    }
}

impl Group {
    pub(super) fn new(outlet: Outlet) -> Self {
        let outcomes = vec![Edits::default()];
        Self { outlet, outcomes, recent: Default::default() }
    }

    /// How a route leaves.
    fn way(&mut self, route: &Route<'_>) -> Way {
        let external = self.outlet.context.external;
        if route.source == Source::Internal && !external {
            return Way::Hidden; // RFC 4271 §9.2.1: we are no reflector.
        }
        let kept_home = |community: u32| match community {
            NO_ADVERTISE => true,
            NO_EXPORT | NO_EXPORT_SUBCONFED => external,
            LLGR_STALE => !self.outlet.takes_stale,
            _ => false,
        };
        // On a VIP they are meant for those who hear of it.
        if route.source != Source::Vip
            && route.attributes.communities().any(|community| kept_home(community.0))
        {
            return Way::Hidden;
        }
        let role = self.outlet.context.remote_role;
        if !otc::may_leave(role, route.attributes.only_to_customer) {
            return Way::Hidden;
        }
        match &self.outlet.policy {
            None if external && route.source != Source::Vip => Way::Hidden,
            None => Way::Sent(0),
            Some(chain) => match chain.judge(route) {
                None => Way::Hidden,
                Some(edits) => Way::Sent(self.outcome(edits)),
            },
        }
    }

    fn outcome(&mut self, edits: Edits) -> u32 {
        let known = self.outcomes.iter().position(|outcome| *outcome == edits);
        let at = known.unwrap_or_else(|| {
            self.outcomes.push(edits);
            self.outcomes.len() - 1
        });
        u32::try_from(at).unwrap_or(0)
    }

    /// Everything of a route's UPDATEs but the prefixes.
    fn announcer(
        &self,
        family: Family,
        block: &[u8],
        source: Source,
        outcome: u32,
    ) -> Result<Announcer, EncodeError> {
        let nothing = Edits::default();
        let edits = self.outcomes.get(outcome as usize).unwrap_or(&nothing);
        let block = self.outlet.block(family, block, source, edits)?;
        Announcer::new(family, &block, &self.outlet.context)
    }
}

impl Outlet {
    /// The attributes of a route as it leaves.
    pub(super) fn block(
        &self,
        family: Family,
        block: &[u8],
        source: Source,
        edits: &Edits,
    ) -> Result<Vec<u8>, EncodeError> {
        let external = self.context.external;
        let next_hop = if external || source == Source::Vip {
            let found = next_hop(family, self.next_hops, &self.context);
            Some(found.ok_or(EncodeError::NextHopFamily(family))?)
        } else {
            None
        };
        let border = Border {
            own_as: external.then_some(self.local_as),
            empty_path: !external && source == Source::Vip,
            next_hop: next_hop.as_deref(),
            ends_med: external && source != Source::Vip,
            local_pref: (!external).then_some(super::LOCAL_PREF_DEFAULT),
            only_to_customer: otc::mark_outward(self.context.remote_role, self.local_as),
        };
        if !self.shuts_down {
            return Ok(rewrite(block, &border, edits));
        }
        let mut edits = edits.clone();
        edits.add.push(Community::GRACEFUL_SHUTDOWN);
        if !external {
            edits.local_pref = Some(0);
        }
        Ok(rewrite(block, &border, &edits))
    }
}

/// Our own address as next hop of a family, as octets. Never an unspecified address, and never an
/// IPv4-mapped one, which no router could resolve.
pub(super) fn next_hop(
    family: Family,
    next_hops: NextHops,
    context: &Negotiated,
) -> Option<Vec<u8>> {
    let v4 = next_hops.v4.filter(|addr| !addr.is_unspecified());
    let v6 = next_hops.v6.filter(|it| !it.is_unspecified() && it.to_ipv4_mapped().is_none());
    match family {
        Family::Ipv4Unicast => match v4 {
            Some(addr) => Some(addr.octets().to_vec()),
            None if context.extended_next_hop.contains(family) => v6.map(|it| it.octets().to_vec()),
            None => None,
        },
        Family::Ipv6Unicast => v6.map(|addr| addr.octets().to_vec()),
        Family::Ipv4Flowspec | Family::Ipv6Flowspec => None,
    }
}

/// Where a route comes from and what it says, with the number of its destination.
struct Item {
    source: PeerId,
    set: SetId,
    outcome: u32,
    id: u32,
}

impl<K: Key> Table<K> {
    /// Whether a peer has something left to be told.
    pub(super) fn is_behind(&self, peer: PeerId) -> bool {
        self.lane(peer).is_some_and(|lane| {
            !lane.sweep.is_empty() || lane.cursor.is_some_and(|at| at < self.journal.tail())
        })
    }

    /// The next stretch of what a peer is to be told, empty if that comes to nothing; `None`: it
    /// has been told everything.
    pub(super) fn next_for(
        &mut self,
        peer: PeerId,
        group: &mut Group,
        sending: &Sending<'_>,
    ) -> Option<Next> {
        let segment = self.segment_for(peer, group, sending)?;
        let lane = self.lane_mut(peer)?;
        match segment.from {
            From::Journal(_) => lane.cursor = Some(segment.to),
            From::Sweep(_) => lane.sweep.start = u32::try_from(segment.to).unwrap_or(u32::MAX),
            From::Vips => lane.sweep = 0..0,
        }
        if group.outlet.context.add_path_send.contains(sending.family) {
            return self.tell_several(peer, &segment, group, sending);
        }
        let mut gone: Vec<u32> =
            segment.hidden.iter().copied().filter(|id| lane.told.remove(*id)).collect();
        let mut is_source = false;
        for part in &segment.parts {
            let ids = segment.ids.get(part.ids.clone()).unwrap_or_default();
            if part.source == peer {
                is_source = true;
                gone.extend(ids.iter().copied().filter(|id| lane.told.remove(*id)));
            } else {
                for id in ids {
                    lane.told.insert(*id);
                }
            }
        }
        if !self.watchers.is_empty() {
            self.mark_to(peer, &gone);
            for part in segment.parts.iter().filter(|part| part.source != peer) {
                self.mark_to(peer, segment.ids.get(part.ids.clone()).unwrap_or_default());
            }
        }
        if gone.is_empty() && !is_source {
            return Some((Arc::clone(&segment.bytes), segment.unsendable));
        }
        let mut bytes = Vec::with_capacity(segment.bytes.len());
        let prefixes = gone.iter().filter_map(|id| self.prefix(*id)).map(|it| (NO_PATH_ID, it));
        pack_withdrawals(sending.family, &group.outlet.context, prefixes, &mut bytes);
        for part in segment.parts.iter().filter(|part| part.source != peer) {
            bytes.extend_from_slice(segment.bytes.get(part.bytes.clone()).unwrap_or_default());
        }
        Some((Arc::new(bytes), segment.unsendable))
    }

    /// A segment that another peer has had already, or a new one.
    fn segment_for(
        &mut self,
        peer: PeerId,
        group: &mut Group,
        sending: &Sending<'_>,
    ) -> Option<Arc<Segment>> {
        let lane = self.lane(peer)?;
        let (cursor, sweep, attached) = (lane.cursor?, lane.sweep.clone(), lane.attached_at);
        let recent = group.recent.get(usize::from(sending.family == Family::Ipv6Unicast))?;
        let is_new = sweep.start == 0 && lane.told.is_empty();
        let from = if !sweep.is_empty() {
            if is_new && group.outlet.is_vips_only() {
                From::Vips
            } else {
                From::Sweep(sweep.start)
            }
        } else if cursor < self.journal.tail() {
            From::Journal(cursor)
        } else {
            return None;
        };
        let fits = |segment: &&Arc<Segment>| {
            segment.from == from
                && match from {
                    From::Journal(_) => true,
                    From::Vips => segment.made_at >= attached,
                    From::Sweep(_) => {
                        segment.made_at >= attached && segment.to <= u64::from(sweep.end)
                    }
                }
        };
        if let Some(segment) = recent.iter().find(fits) {
            return Some(Arc::clone(segment));
        }
        let several = group.outlet.context.add_path_send.contains(sending.family);
        let (ids, to) = self.stretch(from, sweep.end, several);
        let segment = if several {
            self.make_several(&ids, group, sending)
        } else {
            self.make(&ids, group, sending)
        };
        let made_at = self.journal.changes();
        let segment = Arc::new(Segment { from, to, made_at, ..segment });
        let recent = group.recent.get_mut(usize::from(sending.family == Family::Ipv6Unicast))?;
        if recent.len() == SEGMENTS_KEPT {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&segment));
        Some(segment)
    }

    /// The destinations of a segment, and where the next one begins.
    fn stretch(&mut self, from: From, sweep_end: u32, several: bool) -> (Vec<u32>, u64) {
        match from {
            From::Journal(at) => {
                let entries: Vec<_> = self.journal.read(at, SEGMENT_DESTS).collect();
                let to = entries.last().map_or(at, |(last, ..)| last + 1);
                let counts =
                    |(at, id, best): &(_, u32, bool)| (*best || several) && self.counts(*at, *id);
                (entries.into_iter().filter(counts).map(|(_, id, _)| id).collect(), to)
            }
            From::Vips => (self.dests_of(super::OURSELVES), sweep_end.into()),
            From::Sweep(start) => {
                let limit = u32::try_from(SEGMENT_DESTS).unwrap_or(u32::MAX);
                let end = sweep_end.min(start.saturating_add(limit));
                ((start..end).collect(), end.into())
            }
        }
    }

    fn make(&self, ids: &[u32], group: &mut Group, sending: &Sending<'_>) -> Segment {
        let (mut items, mut hidden) = self.sort_out(ids, group, sending);
        // Stable, and quick on what is in order already, as at the start of a session.
        items.sort_by_key(|item| (item.source, item.set, item.outcome));
        let mut bytes = Vec::with_capacity(items.len() * 16);
        let mut parts: Vec<Part> = Vec::new();
        let mut told = Vec::with_capacity(items.len());
        let mut unsendable = None;
        let same = |one: &Item, other: &Item| {
            (one.source, one.set, one.outcome) == (other.source, other.set, other.outcome)
        };
        for run in items.chunk_by(same) {
            let Some(Item { source, set, outcome, .. }) = run.first() else { continue };
            let kind = sending.sources.get(usize::from(*source)).copied();
            let block = sending.sets.bytes(*set);
            let kind = kind.unwrap_or(Source::Internal);
            match group.announcer(sending.family, block, kind, *outcome) {
                Ok(announcer) => {
                    let before = (bytes.len(), told.len());
                    told.extend(run.iter().map(|item| item.id));
                    let prefixes = run.iter().filter_map(|item| self.prefix(item.id));
                    announcer.pack(prefixes.map(|prefix| (NO_PATH_ID, prefix)), &mut bytes);
                    match parts.last_mut().filter(|part| part.source == *source) {
                        Some(part) => (part.bytes.end, part.ids.end) = (bytes.len(), told.len()),
                        None => parts.push(Part {
                            source: *source,
                            bytes: before.0..bytes.len(),
                            ids: before.1..told.len(),
                        }),
                    }
                }
                Err(error) => {
                    unsendable = Some(error);
                    hidden.extend(run.iter().map(|item| item.id));
                }
            }
        }
        Segment { parts, ids: told, hidden, unsendable, ..Segment::holding(bytes) }
    }

    /// Routes that leave, and destinations without one.
    fn sort_out(
        &self,
        ids: &[u32],
        group: &mut Group,
        sending: &Sending<'_>,
    ) -> (Vec<Item>, Vec<u32>) {
        let by_prefix = group.outlet.policy.as_ref().is_some_and(|it| it.looks_at_prefix());
        // A route without a path gets the AS that we are in for these peers.
        let origins = sending.origins.seen_as(group.outlet.local_as);
        let mut items = Vec::with_capacity(ids.len());
        let mut hidden = Vec::new();
        let mut last: Option<(PeerId, SetId, Way)> = None;
        for id in ids {
            let Some((source, set)) = self.best(*id) else {
                hidden.push(*id);
                continue;
            };
            let known = last.filter(|(peer, same, _)| (*peer, *same) == (source, set));
            let way = if let Some((_, _, way)) = known {
                way
            } else {
                let Some(prefix) = self.prefix(*id) else { continue };
                let Some(kind) = sending.sources.get(usize::from(source)) else { continue };
                let attributes = AttributesRef::new(sending.sets.bytes(set));
                let origins = &origins;
                group.way(&Route { prefix, attributes, source: *kind, origins })
            };
            if !by_prefix {
                last = Some((source, set, way));
            }
            match way {
                Way::Hidden => hidden.push(*id),
                Way::Sent(outcome) => items.push(Item { source, set, outcome, id: *id }),
            }
        }
        (items, hidden)
    }
}

/// Without ADD-PATH.
const NO_PATH_ID: crate::types::PathId = crate::types::PathId(0);
