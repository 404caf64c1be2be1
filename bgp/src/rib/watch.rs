//! Somebody outside follows the tables (a BMP station): what is noted for it, and how it is told.
//!
//! Nothing is queued for a watcher. It has a bit for each route that is another one than it was
//! told of: per peer for what that brings and for what that is told, and one for what was chosen.
//! Whoever can take more asks for it, and is told the present state. So a watcher that is slow hears
//! less often, costs an eighth of an octet per route and peer, and slows nobody. Without a
//! watcher, a look at an empty list is all that a change costs.

use core::net::{IpAddr, Ipv4Addr};
use std::borrow::Cow;

use super::bitmap::Bitmap;
use super::key::Key;
use super::post::Post;
use super::sets::{SetId, next_hop_of};
use super::table::{Around, CHUNK, PathView, Table};
use super::{PeerId, Rib, around, of_family};
use crate::bmp::{View, Views};
use crate::policy::{Border, Edits, rewrite};
use crate::types::{Family, FamilySet, PathId, Prefix, RouterId};
use crate::wire::{Announcer, Negotiated, encode_end_of_rib, pack_withdrawals};

/// Routes that one answer looks at, at most: about a millisecond.
const ROUTES_PER_BATCH: usize = 1024;

/// Paths with identifiers that are withdrawn and not told of yet, at most; a watcher that lets more
/// come together has to begin anew.
const GONE_MAX: usize = 1 << 16;

/// Number of a watcher.
pub type WatcherId = u32;

/// What a watcher has still to be told of one family.
#[derive(Debug)]
pub(super) struct Marks {
    id: WatcherId,
    views: Views,
    /// By peer: what it brings.
    from: Vec<Bitmap>,
    /// By peer: of what it brings, what the watcher was told of after policy.
    told: Vec<Bitmap>,
    /// By peer: what it is told.
    to: Vec<Bitmap>,
    /// What was chosen.
    best: Bitmap,
    /// Paths that their destinations' bits do not tell of.
    gone: Vec<Vanished>,
    /// The destinations of these.
    gone_dests: Bitmap,
    /// Views whose first telling has not ended.
    ends: Vec<(View, Option<PeerId>)>,
    /// Something was lost.
    is_lost: bool,
}

/// To or from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

use Direction::{In, Out};

/// A path with an identifier that is gone, while others of its destination may be left.
#[derive(Clone, Copy, Debug)]
struct Vanished {
    peer: PeerId,
    path_id: PathId,
    dest: u32,
    direction: Direction,
}

/// UPDATEs of one view, of one peer or of Loc-RIB.
pub(crate) struct Batch {
    pub(crate) view: View,
    pub(crate) peer: Option<PeerId>,
    pub(crate) updates: Vec<u8>,
}

fn bits(of: &mut Vec<Bitmap>, peer: PeerId) -> Option<&mut Bitmap> {
    let at = usize::from(peer);
    if of.len() <= at {
        of.resize_with(at + 1, Bitmap::default);
    }
    of.get_mut(at)
}

impl Marks {
    fn new(id: WatcherId, views: Views) -> Self {
        Self {
            id,
            views,
            from: Vec::new(),
            told: Vec::new(),
            to: Vec::new(),
            best: Bitmap::default(),
            gone: Vec::new(),
            gone_dests: Bitmap::default(),
            ends: Vec::new(),
            is_lost: false,
        }
    }

    const fn wants_in(&self) -> bool {
        self.views.contains(View::PrePolicy) || self.views.contains(View::PostPolicy)
    }

    const fn wants(&self, direction: Direction) -> bool {
        match direction {
            In => self.wants_in(),
            Out => self.views.contains(View::AdjRibOut),
        }
    }

    fn holds(&self, id: u32) -> bool {
        let any = |of: &[Bitmap]| of.iter().any(|bits| bits.contains(id));
        self.best.contains(id) || any(&self.from) || any(&self.to) || self.gone_dests.contains(id)
    }

    fn forget(&mut self, peer: PeerId) {
        for of in [&mut self.from, &mut self.told, &mut self.to] {
            if let Some(bits) = of.get_mut(usize::from(peer)) {
                *bits = Bitmap::default();
            }
        }
        drop(self.take_gone(peer));
        self.ends.retain(|(_, of)| *of != Some(peer));
    }

    fn add_gone(&mut self, path: Vanished) {
        if self.gone.len() < GONE_MAX {
            self.gone.push(path);
            self.gone_dests.insert(path.dest);
        } else {
            self.is_lost = true;
        }
    }

    fn take_gone(&mut self, peer: PeerId) -> Vec<Vanished> {
        let (taken, left): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.gone).into_iter().partition(|path| path.peer == peer);
        self.gone = left;
        if !taken.is_empty() {
            self.gone_dests = Bitmap::default();
            for path in &self.gone {
                self.gone_dests.insert(path.dest);
            }
        }
        taken
    }
}

impl<K: Key> Table<K> {
    /// A peer's paths to a destination are not what they were.
    #[inline]
    pub(super) fn mark_from(&mut self, peer: PeerId, id: u32) {
        for marks in &mut self.watchers {
            if marks.wants_in()
                && let Some(bits) = bits(&mut marks.from, peer)
            {
                bits.insert(id);
            }
        }
    }

    /// A path that a peer brought is gone.
    pub(super) fn mark_removed(&mut self, peer: PeerId, path_id: PathId, dest: u32) {
        self.mark_from(peer, dest);
        if self.lane(peer).is_some_and(|lane| lane.has_ids) {
            self.mark_gone(peer, path_id, dest, In);
        }
    }

    /// A path with an identifier is gone: others of the peer may be left.
    #[inline]
    pub(super) fn mark_gone(
        &mut self,
        peer: PeerId,
        path_id: PathId,
        dest: u32,
        direction: Direction,
    ) {
        for marks in self.watchers.iter_mut().filter(|marks| marks.wants(direction)) {
            marks.add_gone(Vanished { peer, path_id, dest, direction });
        }
    }

    /// A peer was told something else of these destinations.
    #[inline]
    pub(super) fn mark_to(&mut self, peer: PeerId, ids: &[u32]) {
        for marks in self.watchers.iter_mut().filter(|it| it.views.contains(View::AdjRibOut)) {
            if let Some(bits) = bits(&mut marks.to, peer) {
                for id in ids {
                    bits.insert(*id);
                }
            }
        }
    }

    /// Something else was chosen for a destination.
    #[inline]
    pub(super) fn mark_best(&mut self, id: u32) {
        for marks in &mut self.watchers {
            if marks.views.contains(View::LocRib) {
                marks.best.insert(id);
            }
        }
    }

    /// Whether a watcher has not been told yet of what became of a destination.
    pub(super) fn is_watched(&self, id: u32) -> bool {
        self.watchers.iter().any(|marks| marks.holds(id))
    }

    fn watch(&mut self, id: WatcherId, views: Views) {
        let mut marks = Marks::new(id, views);
        if views.contains(View::LocRib) {
            for id in (0..self.dests_end()).filter(|id| self.best(*id).is_some()) {
                marks.best.insert(id);
            }
            marks.ends.push((View::LocRib, None));
        }
        self.watchers.push(marks);
    }

    fn watch_peer(&mut self, id: WatcherId, peer: PeerId) {
        let Some(lane) = self.lanes.get(usize::from(peer)) else { return };
        // In the midst of a refresh, what has not been said again is there as well.
        let of_session = |chunk: &&u32| self.is_of_session(**chunk * CHUNK);
        let kept: Vec<u32> = lane.stale.iter().filter(of_session).copied().collect();
        let kept = self.dests_in(&kept);
        let Some(marks) = self.watchers.iter_mut().find(|marks| marks.id == id) else { return };
        marks.forget(peer);
        if marks.wants_in()
            && let Some(from) = bits(&mut marks.from, peer)
        {
            from.clone_from(&lane.has);
            for id in kept {
                from.insert(id);
            }
        }
        let views = [View::PrePolicy, View::PostPolicy, View::AdjRibOut];
        if marks.views.contains(View::AdjRibOut)
            && let Some(to) = bits(&mut marks.to, peer)
        {
            to.clone_from(&lane.told);
        }
        let wanted = views.into_iter().filter(|view| marks.views.contains(*view));
        marks.ends.extend(wanted.map(|view| (view, Some(peer))));
    }
}

impl Rib {
    /// Somebody follows these views from now on.
    pub(crate) fn watch(&mut self, id: WatcherId, views: Views) {
        self.unwatch(id);
        self.v4.watch(id, views);
        self.v6.watch(id, views);
    }

    /// Nobody does any more.
    pub(crate) fn unwatch(&mut self, id: WatcherId) {
        self.v4.watchers.retain(|marks| marks.id != id);
        self.v6.watchers.retain(|marks| marks.id != id);
        self.release_watched();
    }

    /// The watcher knows that a peer is up: all that it brings and is told follows.
    pub(crate) fn watch_peer(&mut self, id: WatcherId, peer: PeerId) {
        self.v4.watch_peer(id, peer);
        self.v6.watch_peer(id, peer);
    }

    /// The watcher knows that a peer is down, which says all about its routes.
    pub(crate) fn unwatch_peer(&mut self, id: WatcherId, peer: PeerId) {
        for marks in self.v4.watchers.iter_mut().chain(&mut self.v6.watchers) {
            if marks.id == id {
                marks.forget(peer);
            }
        }
    }

    /// Whether the watcher has missed something that it cannot be told any more.
    pub(crate) fn has_lost(&self, id: WatcherId) -> bool {
        let mut all = self.v4.watchers.iter().chain(&self.v6.watchers);
        all.any(|marks| marks.id == id && marks.is_lost)
    }

    /// What a watcher is told next; nothing: it knows everything. `is_up`: the peers that it knows
    /// to be up.
    pub(crate) fn next_batches(
        &mut self,
        id: WatcherId,
        is_up: impl Fn(PeerId) -> bool,
    ) -> Vec<Batch> {
        let mut batches = Vec::new();
        for family in Family::UNICAST {
            if !batches.is_empty() {
                break;
            }
            self.batches_of(id, family, &is_up, &mut batches);
        }
        if batches.is_empty() {
            self.release_watched();
        }
        batches
    }

    fn batches_of(
        &mut self,
        id: WatcherId,
        family: Family,
        is_up: &impl Fn(PeerId) -> bool,
        batches: &mut Vec<Batch>,
    ) {
        let peers = u16::try_from(self.peers.len()).unwrap_or(PeerId::MAX);
        for peer in 0..peers {
            let known = is_up(peer);
            let session = self.peers.get(usize::from(peer)).and_then(|it| it.session.as_ref());
            let contexts = session
                .filter(|_| known)
                .map(|it| [In, Out].map(|way| to_watcher(&it.context, way)));
            let Some((gone, from, told, to)) = of_family!(self, family, table => {
                take(table, id, peer)
            }) else {
                continue;
            };
            let Some([context, outward]) = contexts else { continue };
            let (gone, gone_out): (Vec<_>, Vec<_>) =
                gone.into_iter().partition(|path| path.direction == In);
            if !gone.is_empty() || !from.is_empty() {
                self.tell_from(id, family, peer, &context, (gone, from, told), batches);
            }
            if !to.is_empty() || !gone_out.is_empty() {
                let updates = self.updates_to(family, peer, &outward, (&gone_out, &to));
                batches.push(Batch { view: View::AdjRibOut, peer: Some(peer), updates });
            }
            if !batches.is_empty() {
                return;
            }
        }
        let best: Vec<u32> = of_family!(self, family, table => {
            let marks = table.watchers.iter_mut().find(|marks| marks.id == id);
            marks.map(|marks| marks.best.take(ROUTES_PER_BATCH)).unwrap_or_default()
        });
        if !best.is_empty() {
            let around = around!(self);
            let router_id = self.local.router_id;
            let updates: Vec<u8> = of_family!(self, family, table => {
                let mut routes = Routes::default();
                for id in best {
                    let Some(prefix) = table.prefix(id) else { continue };
                    match table.best(id) {
                        Some((_, set)) => routes.announced.push((set, PathId(0), prefix)),
                        None => routes.withdrawn.push((PathId(0), prefix)),
                    }
                }
                routes.updates(family, &everything(), &around, router_id)
            });
            batches.push(Batch { view: View::LocRib, peer: None, updates });
            return;
        }
        let ends: Vec<(View, Option<PeerId>)> = of_family!(self, family, table => {
            let marks = table.watchers.iter_mut().find(|marks| marks.id == id);
            marks.map(|marks| core::mem::take(&mut marks.ends)).unwrap_or_default()
        });
        let end = |(view, peer)| Batch { view, peer, updates: encode_end_of_rib(family) };
        batches.extend(ends.into_iter().map(end));
    }

    /// What a peer brings, before and after policy.
    fn tell_from(
        &mut self,
        id: WatcherId,
        family: Family,
        peer: PeerId,
        context: &Negotiated,
        (gone, from, views): (Vec<Vanished>, Vec<u32>, Views),
        batches: &mut Vec<Batch>,
    ) {
        let around = around!(self);
        let router_id = self.local.router_id;
        let with_ids = context.add_path_send.contains(family);
        of_family!(self, family, table => {
            let (mut pre, mut post) = (Routes::default(), Routes::default());
            for Vanished { path_id, dest, .. } in gone {
                let Some(prefix) = table.prefix(dest) else { continue };
                pre.withdrawn.push((path_id, prefix));
                post.withdrawn.push((path_id, prefix));
            }
            let told = table.watchers.iter_mut().find(|marks| marks.id == id);
            let mut told = told.map(|marks| core::mem::take(&mut marks.told)).unwrap_or_default();
            for of in from {
                let Some(prefix) = table.prefix(of) else { continue };
                let (mut is_there, mut passes) = (false, false);
                let is_its = |path: &PathView| path.peer == peer && table.is_of_session(path.path);
                for path in table.paths_of(of).filter(is_its) {
                    is_there = true;
                    pre.announced.push((path.pre, path.path_id, prefix));
                    match path.post {
                        Post::Accepted(set) => {
                            passes = true;
                            post.announced.push((set, path.path_id, prefix));
                        }
                        Post::Rejected(_) if with_ids => {
                            post.withdrawn.push((path.path_id, prefix));
                        }
                        Post::Rejected(_) => {}
                    }
                }
                if !is_there && !with_ids {
                    pre.withdrawn.push((PathId(0), prefix));
                }
                let Some(known) = bits(&mut told, peer) else { continue };
                if passes {
                    known.insert(of);
                } else if known.remove(of) && !with_ids {
                    post.withdrawn.push((PathId(0), prefix));
                }
            }
            if let Some(marks) = table.watchers.iter_mut().find(|marks| marks.id == id) {
                marks.told = told;
            }
            for (view, routes) in [(View::PrePolicy, pre), (View::PostPolicy, post)] {
                if views.contains(view) {
                    let updates = routes.updates(family, context, &around, router_id);
                    batches.push(Batch { view, peer: Some(peer), updates });
                }
            }
        });
    }

    /// What a peer was told of these destinations.
    fn updates_to(
        &mut self,
        family: Family,
        peer: PeerId,
        context: &Negotiated,
        (gone, ids): (&[Vanished], &[u32]),
    ) -> Vec<u8> {
        let mut told: Vec<(Vec<u8>, PathId, Prefix)> = Vec::new();
        let mut withdrawn = Vec::new();
        let with_ids = context.add_path_send.contains(family);
        for Vanished { path_id, dest, .. } in gone {
            let prefix: Option<Prefix> = of_family!(self, family, table => table.prefix(*dest));
            withdrawn.extend(prefix.map(|prefix| (*path_id, prefix)));
        }
        for id in ids {
            let routes = self.advertised(family, *id, peer);
            if routes.is_empty() && !with_ids {
                let prefix: Option<Prefix> = of_family!(self, family, table => table.prefix(*id));
                withdrawn.extend(prefix.map(|prefix| (PathId(0), prefix)));
            }
            let each = routes.into_iter();
            told.extend(each.map(|it| (it.attributes.to_block(), it.path_id, it.prefix)));
        }
        told.sort();
        let mut updates = Vec::new();
        pack_withdrawals(family, context, withdrawn, &mut updates);
        for run in told.chunk_by(|(one, ..), (other, ..)| one == other) {
            let Some((block, ..)) = run.first() else { continue };
            if let Ok(announcer) = Announcer::new(family, block, context) {
                announcer.pack(run.iter().map(|(_, id, prefix)| (*id, *prefix)), &mut updates);
            }
        }
        updates
    }

    /// Destinations that were kept for watchers alone are forgotten, if all know.
    fn release_watched(&mut self) {
        let hasher = self.hasher;
        self.v4.release_held(hasher);
        self.v6.release_held(hasher);
    }
}

/// What is taken of the marks of one peer at a time.
type Taken = (Vec<Vanished>, Vec<u32>, Views, Vec<u32>);

fn take<K: Key>(table: &mut Table<K>, id: WatcherId, peer: PeerId) -> Option<Taken> {
    let marks = table.watchers.iter_mut().find(|marks| marks.id == id)?;
    let taken = |of: &mut Vec<Bitmap>| {
        let bits = of.get_mut(usize::from(peer)).filter(|bits| !bits.is_empty());
        bits.map(|bits| bits.take(ROUTES_PER_BATCH)).unwrap_or_default()
    };
    let (from, to) = (taken(&mut marks.from), taken(&mut marks.to));
    Some((marks.take_gone(peer), from, marks.views, to))
}

/// How routes of a session are written for a watcher: as they are on the session, but with AS
/// numbers of four octets.
fn to_watcher(context: &Negotiated, direction: Direction) -> Negotiated {
    let add_path_send = match direction {
        In => context.add_path_receive,
        Out => context.add_path_send,
    };
    Negotiated { add_path_send, ..everything() }
}

/// How routes are written that no session limits.
fn everything() -> Negotiated {
    Negotiated {
        external: false,
        four_octet_as: true,
        families: FamilySet::ALL,
        extended_messages: true,
        extended_next_hop: FamilySet::ALL,
        ..Negotiated::NOTHING
    }
}

/// A VIP has no next hop here: each peer is told another one. A station gets what names us, an
/// unspecified one being none that it has to accept.
fn with_next_hop(block: &[u8], router_id: RouterId) -> Cow<'_, [u8]> {
    let octets = match next_hop_of(block) {
        Some(IpAddr::V4(addr)) if addr.is_unspecified() => router_id.get().to_be_bytes().to_vec(),
        Some(IpAddr::V6(addr)) if addr.is_unspecified() => {
            Ipv4Addr::from_bits(router_id.get()).to_ipv6_mapped().octets().to_vec()
        }
        _ => return Cow::Borrowed(block),
    };
    let border = Border { next_hop: Some(&octets), ..Border::default() };
    Cow::Owned(rewrite(block, &border, &Edits::default()))
}

/// Routes to be written down.
#[derive(Default)]
struct Routes {
    announced: Vec<(SetId, PathId, Prefix)>,
    withdrawn: Vec<(PathId, Prefix)>,
}

impl Routes {
    /// Withdraws first: what is in both stays.
    fn updates(
        mut self,
        family: Family,
        context: &Negotiated,
        around: &Around<'_>,
        router_id: RouterId,
    ) -> Vec<u8> {
        let mut updates = Vec::new();
        pack_withdrawals(family, context, self.withdrawn, &mut updates);
        self.announced.sort_by_key(|(set, _, _)| *set);
        for run in self.announced.chunk_by(|(one, ..), (other, ..)| one == other) {
            let Some((set, ..)) = run.first() else { continue };
            let block = with_next_hop(around.sets.bytes(*set), router_id);
            // What came in can be written down.
            if let Ok(announcer) = Announcer::new(family, &block, context) {
                announcer.pack(run.iter().map(|(_, id, prefix)| (*id, *prefix)), &mut updates);
            }
        }
        updates
    }
}
