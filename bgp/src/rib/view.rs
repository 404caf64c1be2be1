//! Routes for people to look at, a page at a time.
//!
//! A page goes on where the last one ended, by number of destination; so it costs the same
//! wherever it is and whatever the size of the table. Numbers are given in the order of arrival.

use super::decision::Filter;
use super::key::Key;
use super::post::{Post, Rejected};
use super::table::{Around, PathView, Table};
use super::{OURSELVES, PeerId, Rib, of_family};
use crate::policy::Source;
use crate::types::{Family, PathId, Prefix};
use crate::wire::Attributes;

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
}

/// How a path fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// It is the one that is used and passed on.
    Best,
    /// It is used beside the best; its share of the traffic among the paths used.
    Multipath,
    /// Another one was preferred.
    Lost {
        /// By what.
        by: Filter,
        /// To whose; `None`: ours.
        to: Option<PeerId>,
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
        let (half, start) = (query.from >> 32, query.from & u64::from(u32::MAX));
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
            (false, Family::Ipv4Unicast) => Some(1 << 32),
            (false, _) => None,
        };
        page
    }

    fn show(&mut self, family: Family, id: u32, query: &Query, page: &mut Page) {
        if query.view == View::Advertised {
            page.routes.extend(query.peer.and_then(|peer| self.advertised(family, id, peer)));
            return;
        }
        let around = Around {
            sets: &mut self.sets,
            standings: &self.standings,
            rules: self.rules,
            hasher: self.hasher,
        };
        let routes: Vec<RouteView> =
            of_family!(self, family, table => states(table, id, query.view, &around));
        let wanted = |route: &RouteView| query.peer.is_none_or(|peer| route.from == learned(peer));
        page.routes.extend(routes.into_iter().filter(wanted));
    }

    /// How the best path to a destination was told to a peer.
    pub(super) fn advertised(
        &mut self,
        family: Family,
        id: u32,
        peer: PeerId,
    ) -> Option<RouteView> {
        let session = self.peers.get(usize::from(peer))?.session.as_ref()?;
        let outlet = &self.groups.get(session.group)?.outlet;
        let found: Option<_> = of_family!(self, family, table => {
            let told = table.lane(peer).is_some_and(|lane| lane.told.contains(id));
            if told { table.best(id).zip(table.prefix(id)) } else { None }
        });
        let ((source, set), prefix) = found?;
        let kind = self.sources.get(usize::from(source)).copied().unwrap_or(Source::Internal);
        let block = self.sets.bytes(set);
        let edits = match &outlet.policy {
            None => Some(crate::policy::Edits::default()),
            Some(chain) => chain.judge(&crate::policy::Route {
                prefix,
                attributes: crate::wire::AttributesRef::new(block),
                source: kind,
                origins: &self.origins,
            }),
        }?;
        let sent = outlet.block(family, block, kind, &edits).ok()?;
        let sent = Attributes::from_block(&sent);
        Some(RouteView {
            prefix,
            from: learned(source),
            path_id: PathId(0),
            stale: false,
            attributes: sent,
            state: PathState::Best,
        })
    }
}

/// Every path to a destination with how it fared.
fn states<K: Key>(table: &Table<K>, id: u32, view: View, around: &Around<'_>) -> Vec<RouteView> {
    let Some(prefix) = table.prefix(id) else { return Vec::new() };
    let all = table.candidates(id, around);
    let best = table.best_path(id).and_then(|best| all.iter().find(|one| one.path == best));
    let winner = table.best(id).map(|(peer, _)| learned(peer));
    let mut used = 0;
    let mut state = |path: &PathView| match path.post {
        Post::Rejected(why) => PathState::Rejected(why),
        Post::Accepted(_) => match (all.iter().find(|one| one.path == path.path), best) {
            (Some(one), Some(best)) if one.path == best.path => PathState::Best,
            (Some(one), Some(best)) if one.is_usable() => {
                let is_equal = around.rules.is_equal_cost(one, best, &all);
                if is_equal && used + 1 < around.rules.multipath {
                    used += 1;
                    return PathState::Multipath;
                }
                let to = winner.flatten();
                PathState::Lost { by: around.rules.why_lost(one, best, &all), to }
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
        Some(RouteView {
            prefix,
            from: learned(path.peer),
            path_id: path.path_id,
            stale: path.stale,
            attributes: Attributes::from_block(around.sets.bytes(set)),
            state: state(&path),
        })
    };
    table.paths_of(id).filter_map(shown).collect()
}
