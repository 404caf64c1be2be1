//! Routes for people to look at, a page at a time.
//!
//! A page goes on where the last one ended, by number of destination; so it costs the same
//! wherever it is and whatever the size of the table. Numbers are given in the order of arrival.

use super::decision::Filter;
use super::export::path_id;
use super::flows::FlowView;
use super::key::Key;
use super::post::{Post, Rejected};
use super::sets::SetId;
use super::table::{Around, PathView, Table};
use super::{OURSELVES, PeerId, Rib, around, of_family};
use crate::policy::{Edits, Route, Source};
use crate::types::{ExtendedCommunity, Family, PathId, Prefix};
use crate::wire::{Attributes, AttributesRef};

/// Destinations that are looked at for one page, at most: a page of a peer with few routes in a
/// large table may be short, or empty, and still not be the last.
const DESTS_PER_PAGE: u32 = 16_384;

/// Which routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What peers announced, before policy.
    Received,
    /// What policy let in, and how it fared in the decision.
    Available,
    /// What a peer was told.
    Advertised,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which routes.
    pub view: View,
    /// Of this family only; of a FlowSpec family, rules, which have one view.
    pub family: Option<Family>,
    /// Of one peer; [`View::Advertised`] needs it.
    pub peer: Option<PeerId>,
    /// To this prefix only.
    pub prefix: Option<Prefix>,
    /// From here on; zero at first, then what the last [`Page`] said.
    pub from: u64,
    /// Routes wanted, about: a destination is not torn apart.
    pub limit: usize,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In no particular order.
    pub routes: Vec<RouteView>,
    /// FlowSpec rules, if it was asked for those.
    pub flows: Vec<FlowView>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<u64>,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// To where.
    pub prefix: Prefix,
    /// Who brought it; `None`: we, it is a VIP.
    pub from: Option<PeerId>,
    /// Which of several that the peer has (RFC 7911); else zero.
    pub path_id: PathId,
    /// From an ended session, kept over a restart of the peer.
    pub stale: bool,
    /// Its attributes, in the state that was asked for.
    pub attributes: Attributes,
    /// How it fared.
    pub state: PathState,
    /// The policy and the term that kept it out.
    pub rejected_by: Option<(String, Option<String>)>,
    /// What it gets of the traffic beside others that are used, in ten-thousandths; `None`: it is
    /// not used, or alone.
    pub share: Option<u16>,
}

/// How a path fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// It is the one that is used and passed on.
    Best,
    /// It is used beside the best.
    Multipath,
    /// Another one was preferred.
    Lost {
        /// By what.
        by: Filter,
        /// To whose; `None`: ours.
        to: Option<PeerId>,
        /// Which of several that it has (RFC 7911); else zero.
        path_id: PathId,
    },
    /// Its next hop cannot be reached.
    Unusable,
    /// It did not get in.
    Rejected(Rejected),
}

impl PathState {
    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Multipath => "used beside the best",
            Self::Lost { by, .. } => by.reason(),
            Self::Unusable => "next hop unreachable",
            Self::Rejected(why) => why.reason(),
        }
    }
}

const fn learned(peer: PeerId) -> Option<PeerId> {
    if peer == OURSELVES { None } else { Some(peer) }
}

impl Rib {
    /// Answers a question about routes.
    pub fn page(&mut self, query: &Query) -> Page {
        let mut page = Page::default();
        if let Some(family @ (Family::Ipv4Flowspec | Family::Ipv6Flowspec)) = query.family {
            (page.flows, page.next) = self.flows_of(family, query.peer, (query.from, query.limit));
            return page;
        }
        if let Some(prefix) = query.prefix {
            let hasher = self.hasher;
            let ids = match prefix.family() {
                Family::Ipv4Unicast => {
                    super::key::V4::of(prefix).and_then(|it| self.v4.find(it, hasher))
                }
                _ => super::key::V6::of(prefix).and_then(|it| self.v6.find(it, hasher)),
            };
            if let Some(id) = ids {
                self.show(prefix.family(), id, query, &mut page);
            }
            return page;
        }
        let from = match (query.family, query.from) {
            (Some(Family::Ipv6Unicast), from) => from | 1 << 32,
            (_, from) => from,
        };
        let (half, start) = (from >> 32, from & u64::from(u32::MAX));
        let family = if half == 0 { Family::Ipv4Unicast } else { Family::Ipv6Unicast };
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        let end = of_family!(self, family, table => table.dests_end());
        let stop = end.min(start.saturating_add(DESTS_PER_PAGE));
        let mut id = start;
        while id < stop && page.routes.len() < query.limit {
            self.show(family, id, query, &mut page);
            id += 1;
        }
        page.next = match (id < end, family) {
            (true, _) => Some(half << 32 | u64::from(id)),
            (false, Family::Ipv4Unicast) if query.family.is_none() => Some(1 << 32),
            (false, _) => None,
        };
        page
    }

    fn show(&mut self, family: Family, id: u32, query: &Query, page: &mut Page) {
        if query.view == View::Advertised {
            if let Some(peer) = query.peer {
                page.routes.extend(self.advertised(family, id, peer));
            }
            return;
        }
        let around = around!(self);
        let routes: Vec<RouteView> =
            of_family!(self, family, table => states(table, id, query.view, &around));
        let wanted = |route: &RouteView| query.peer.is_none_or(|peer| route.from == learned(peer));
        let named = |route: RouteView| {
            let rejected_by = self.rejected_by(&route);
            RouteView { rejected_by, ..route }
        };
        page.routes.extend(routes.into_iter().filter(wanted).map(named));
    }

    /// Which term of its peer's policies keeps a route out; no term: the default of the policy. No
    /// policy decided: it ends the list (RFC 8212).
    fn rejected_by(&self, route: &RouteView) -> Option<(String, Option<String>)> {
        let by_policy = route.state == PathState::Rejected(Rejected::Policy);
        let id = route.from.filter(|_| by_policy)?;
        let chain = self.peers.get(usize::from(id))?.policies.import.as_ref()?;
        let source = self.sources.get(usize::from(id)).copied()?;
        let block = route.attributes.to_block();
        let attributes = AttributesRef::new(&block);
        let (prefix, origins) = (route.prefix, &self.origins);
        let (_, trace) = chain.explain(&Route { prefix, attributes, source, origins });
        let last = trace.last()?;
        Some((last.policy.to_owned(), last.term.map(|term| term.name.clone())))
    }

    /// How a destination was told to a peer.
    pub(super) fn advertised(&mut self, family: Family, id: u32, peer: PeerId) -> Vec<RouteView> {
        let session = self.peers.get(usize::from(peer)).and_then(|peer| peer.session.as_ref());
        let outlet = session.and_then(|it| self.groups.get(it.group)).map(|group| &group.outlet);
        let told: Option<_> = of_family!(self, family, table => told_of(table, id, peer));
        let (Some(outlet), Some((prefix, paths))) = (outlet, told) else { return Vec::new() };
        let sent = |(path_id, source, set): (PathId, PeerId, SetId)| {
            let kind = self.sources.get(usize::from(source)).copied().unwrap_or(Source::Internal);
            let block = self.sets.bytes(set);
            let attributes = AttributesRef::new(block);
            let edits = match &outlet.policy {
                None => Some(Edits::default()),
                Some(chain) => {
                    let origins = &self.origins.seen_as(outlet.local_as);
                    chain.judge(&Route { prefix, attributes, source: kind, origins })
                }
            }?;
            let sent = outlet.block(family, block, kind, &edits).ok()?;
            Some(RouteView {
                prefix,
                from: learned(source),
                path_id,
                stale: false,
                attributes: Attributes::from_block(&sent),
                state: PathState::Best,
                rejected_by: None,
                share: None,
            })
        };
        paths.into_iter().filter_map(sent).collect()
    }
}

/// Paths to a destination that a peer was told, by the identifiers that it knows them by.
type ToldPaths = (Prefix, Vec<(PathId, PeerId, SetId)>);

fn told_of<K: Key>(table: &Table<K>, id: u32, peer: PeerId) -> Option<ToldPaths> {
    let lane = table.lane(peer).filter(|lane| lane.told.contains(id))?;
    let paths = match &lane.told_paths {
        None => table.best(id).map(|(source, set)| (PathId(0), source, set)).into_iter().collect(),
        Some(told) => {
            let told = table.paths_of(id).filter(|path| told.contains(&(id, path.path)));
            let known = told.filter_map(|path| match path.post {
                Post::Accepted(set) => Some((path_id(path.path), path.peer, set)),
                Post::Rejected(_) => None,
            });
            known.collect()
        }
    };
    Some((table.prefix(id)?, paths))
}

/// Every path to a destination with how it fared.
fn states<K: Key>(table: &Table<K>, id: u32, view: View, around: &Around<'_>) -> Vec<RouteView> {
    let Some(prefix) = table.prefix(id) else { return Vec::new() };
    let all = table.candidates(id, around.sets, around.standings);
    let best = table.best_path(id).and_then(|best| all.iter().find(|one| one.path == best));
    let used = best.map_or(Vec::new(), |best| around.rules.used(best, &all));
    let shares = shares(table, &used, around);
    let state = |path: &PathView| match path.post {
        Post::Rejected(why) => PathState::Rejected(why),
        Post::Accepted(_) => match (all.iter().find(|one| one.path == path.path), best) {
            (Some(one), Some(best)) if one.path == best.path => PathState::Best,
            (Some(one), Some(_)) if used.contains(&one.path) => PathState::Multipath,
            (Some(one), Some(best)) if one.is_usable() => {
                let (by, winner) = around.rules.why_lost(one, best, &all);
                let winner = table.paths_of(id).find(|path| path.path == winner);
                let (to, path_id) =
                    winner.map_or((None, PathId(0)), |it| (learned(it.peer), it.path_id));
                PathState::Lost { by, to, path_id }
            }
            _ => PathState::Unusable,
        },
    };
    let shown = |path: PathView| {
        let set = match (view, path.post) {
            (View::Received, _) => path.pre,
            (_, Post::Accepted(post)) => post,
            (_, Post::Rejected(_)) => return None,
        };
        let at = used.iter().position(|used| *used == path.path);
        Some(RouteView {
            prefix,
            from: learned(path.peer),
            path_id: path.path_id,
            stale: path.stale,
            attributes: Attributes::from_block(around.sets.bytes(set)),
            state: state(&path),
            rejected_by: None,
            share: at.and_then(|at| shares.get(at).copied()),
        })
    };
    table.paths_of(id).filter_map(shown).collect()
}

/// What each of the paths that are used together gets of the traffic, in ten-thousandths: by Link
/// Bandwidth where the rules say so and every path has one (draft-ietf-idr-link-bandwidth §3),
/// otherwise the same. Nothing for a path alone.
fn shares<K: Key>(table: &Table<K>, used: &[u32], around: &Around<'_>) -> Vec<u16> {
    if used.len() < 2 {
        return Vec::new();
    }
    let bandwidth = |path: &u32| {
        let (_, set) = table.path(*path)?;
        let mut communities = AttributesRef::new(around.sets.bytes(set)).extended_communities();
        let found = communities.find_map(ExtendedCommunity::link_bandwidth);
        found.map(|(_, bandwidth)| f64::from(bandwidth)).filter(|it| it.is_finite() && *it > 0.0)
    };
    let wanted = around.rules.link_bandwidth;
    let known: Option<Vec<f64>> =
        used.iter().map(|path| if wanted { bandwidth(path) } else { None }).collect();
    let each = known.unwrap_or_else(|| vec![1.0; used.len()]);
    let all: f64 = each.iter().sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive parts of a sum, times 10,000"
    )]
    let share = |part: &f64| (part / all * 10_000.0).round() as u16;
    each.iter().map(share).collect()
}
