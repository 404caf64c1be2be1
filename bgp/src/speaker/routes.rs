//! Routes for people to look at, with the peers by their names.

use super::{PeerName, Speaker};
use crate::origin::{Origins, Validity};
use crate::rib::{FlowView, Page, PathState, Query, RouteView, View};
use crate::types::{Family, Prefix};
use crate::wire::AttributesRef;

/// Which routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutesQuery {
    /// In which state.
    pub view: View,
    /// Of one peer only; [`View::Advertised`] needs it.
    pub peer: Option<PeerName>,
    /// Of this family only; of a FlowSpec family, rules.
    pub family: Option<Family>,
    /// To this prefix only.
    pub prefix: Option<Prefix>,
    /// From here on; zero at first, then what the last page said.
    pub from: u64,
    /// Routes wanted, about.
    pub limit: usize,
}

/// A page of routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Each with the name of the peer who brought it, `None` for a VIP of ours, and of the peer who
    /// was preferred to it.
    pub routes: Vec<NamedRoute>,
    /// FlowSpec rules, each with the name of the peer who brought it.
    pub flows: Vec<(Option<PeerName>, FlowView)>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<u64>,
    /// Nobody has the name that was asked for.
    pub unknown_peer: bool,
}

/// A route and who brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRoute {
    /// Who brought it; `None`: we, it is a VIP.
    pub from: Option<PeerName>,
    /// Whether who originates it may; `None`: there are no VRPs.
    pub validity: Option<Validity>,
    /// Whose path was preferred, if another one was; `None`: ours, a VIP, or no other was.
    pub lost_to: Option<PeerName>,
    /// The rest.
    pub route: RouteView,
}

fn validity(origins: &Origins, route: &RouteView) -> Option<Validity> {
    let block = route.attributes.to_block();
    let path = AttributesRef::new(&block).as_path.octets();
    (!origins.vrps.is_empty()).then(|| origins.validate(route.prefix, path))
}

impl Speaker {
    /// Answers a question about routes.
    pub fn routes(&mut self, query: &RoutesQuery) -> Routes {
        let peer = match &query.peer {
            None => None,
            Some(name) => match self.peers.get(name).map(crate::fsm::Peer::rib_number) {
                None => return Routes { unknown_peer: true, ..Routes::default() },
                Some(None) => return Routes::default(), // It was never up.
                Some(number) => number,
            },
        };
        let RoutesQuery { view, prefix, family, from, limit, .. } = *query;
        let query = Query { view, family, peer, prefix, from, limit };
        let Page { routes, flows, next } = self.rib.page(&query);
        let name = |number| {
            let mut peers = self.peers.values();
            peers.find(|peer| peer.rib_number() == Some(number)).map(|it| it.config().name.clone())
        };
        let origins = self.rib.origins();
        let named = |route: RouteView| NamedRoute {
            from: route.from.and_then(name),
            validity: validity(origins, &route),
            lost_to: match route.state {
                PathState::Lost { to, .. } => to.and_then(name),
                _ => None,
            },
            route,
        };
        Routes {
            routes: routes.into_iter().map(named).collect(),
            flows: flows.into_iter().map(|flow| (name(flow.from), flow)).collect(),
            next,
            unknown_peer: false,
        }
    }
}
