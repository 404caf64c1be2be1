//! Routes, as the API shows them.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use tidegate_bgp::rib::{FlowState, FlowView, PathState, RouteView};
use tidegate_bgp::speaker::{NamedRoute, PeerName, Routes as Found};
use tidegate_bgp::types::{Asn, PathId, Prefix};
use tidegate_bgp::wire::{AsSegment, NextHop, Origin};
use utoipa::ToSchema;

use super::API_VERSION;

/// Body of `/api/v1/routes`: one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Routes {
    /// [`API_VERSION`]
    pub api_version: String,
    /// In the order in which their prefixes were first heard of.
    pub routes: Vec<Route>,
    /// What to write as `from` for the next page; absent on the last one. A page may be short, or
    /// empty, without being the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Body of `/api/v1/refresh`: what a soft reset came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refresh {
    /// [`API_VERSION`]
    pub api_version: String,
    /// Name of the peer.
    pub peer: String,
    /// `in` or `out`.
    pub way: String,
    /// `asked`: the peer is asked for its routes again (RFC 2918); `judged`: it cannot say them
    /// again, and what it has said passes its policies again; `told`: it is told again.
    pub done: String,
    /// Of these families.
    pub families: Vec<String>,
}

/// A path to a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// To where; of a FlowSpec family, the rule.
    pub prefix: String,
    /// Name of the peer who brought it; absent: it is a VIP of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// `best`, `multipath`, `lost`, `unusable` or `rejected`; of a rule, `feasible` or
    /// `infeasible`.
    pub state: String,
    /// Why, in words.
    pub reason: String,
    /// The path that was preferred to one that lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_to: Option<Preferred>,
    /// Whether the AS that originates it may (RFC 6811): `valid`, `invalid` or `not-found`; absent
    /// while there is no word from an RPKI cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpki: Option<String>,
    /// Kept from a session that has ended, until the peer has restarted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Path Identifier (RFC 7911); zero without.
    pub path_id: u32,
    /// Where packets go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next_hop: Option<IpAddr>,
    /// What it gets of the traffic beside others that are used, in ten-thousandths; absent: it is
    /// not used, or alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u16>,
    /// AS path, nearest first; sets in braces.
    pub as_path: String,
    /// `igp`, `egp` or `incomplete`.
    pub origin: String,
    /// MULTI_EXIT_DISC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// Communities, large ones behind plain ones.
    pub communities: Vec<String>,
    /// Extended communities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended_communities: Vec<String>,
    /// ONLY_TO_CUSTOMER (RFC 9234): the AS that marked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_to_customer: Option<u32>,
    /// ORIGINATOR_ID (RFC 4456).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456), the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub cluster_list: Vec<Ipv4Addr>,
}

/// The path that was preferred to another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preferred {
    /// Name of the peer who brought it; absent: it is a VIP of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Path Identifier (RFC 7911); zero without.
    pub path_id: u32,
}

impl From<Found> for Routes {
    fn from(found: Found) -> Self {
        let routes = found.routes.into_iter().map(Route::from);
        let flows = found.flows.into_iter().map(|(from, flow)| Route::of_flow(from, flow));
        Self {
            api_version: API_VERSION.into(),
            routes: routes.chain(flows).collect(),
            next: found.next,
        }
    }
}

impl Route {
    /// A FlowSpec rule: it stands in the place of the prefix, and is `feasible` or `infeasible`.
    fn of_flow(from: Option<PeerName>, flow: FlowView) -> Self {
        let FlowView { rule, from: id, attributes, state } = flow;
        let feasible = state == FlowState::Feasible;
        // Made up, so that there is one way from attributes to text.
        let prefix = Prefix::host(Ipv4Addr::UNSPECIFIED.into());
        let (path_id, stale, share) = (PathId(0), false, None);
        let state_of = PathState::Unusable;
        let route = RouteView {
            rejected_by: None,
            prefix,
            from: Some(id),
            path_id,
            stale,
            attributes,
            state: state_of,
            share,
        };
        Self {
            prefix: rule,
            state: if feasible { "feasible" } else { "infeasible" }.into(),
            reason: state.reason().into(),
            ..Self::from(NamedRoute { from, validity: None, lost_to: None, route })
        }
    }
}

impl From<NamedRoute> for Route {
    fn from(named: NamedRoute) -> Self {
        let NamedRoute { from, validity, lost_to, route } = named;
        let RouteView { prefix, attributes, state, rejected_by, stale, path_id, share, from: _ } =
            route;
        let why = state.reason();
        let reason = match rejected_by {
            None => why.into(),
            Some((policy, None)) => format!("{why}: default of {policy}"),
            Some((policy, Some(term))) => format!("{why}: {term} of {policy}"),
        };
        let extended = attributes.extended_communities.iter().map(ToString::to_string);
        let plain = attributes.communities.iter().map(ToString::to_string);
        let large = attributes.large_communities.iter().map(ToString::to_string);
        Self {
            prefix: prefix.to_string(),
            peer: from.map(|name| name.to_string()),
            state: state_word(state).into(),
            reason,
            lost_to: match state {
                PathState::Lost { path_id, .. } => Some(Preferred {
                    peer: lost_to.map(|name| name.to_string()),
                    path_id: path_id.0,
                }),
                _ => None,
            },
            rpki: validity.map(|validity| validity.name().into()),
            stale,
            path_id: path_id.0,
            share,
            next_hop: attributes.next_hop.map(NextHop::addr),
            as_path: path_text(&attributes.as_path),
            origin: match attributes.origin {
                Origin::Igp => "igp".into(),
                Origin::Egp => "egp".into(),
                Origin::Incomplete => "incomplete".into(),
            },
            med: attributes.med,
            local_pref: attributes.local_pref,
            communities: plain.chain(large).collect(),
            extended_communities: extended.collect(),
            only_to_customer: attributes.only_to_customer,
            originator_id: attributes.originator_id,
            cluster_list: attributes.cluster_list,
        }
    }
}

const fn state_word(state: PathState) -> &'static str {
    match state {
        PathState::Best => "best",
        PathState::Multipath => "multipath",
        PathState::Lost { .. } => "lost",
        PathState::Unusable => "unusable",
        PathState::Rejected(_) => "rejected",
    }
}

/// `65010 65020 {65030 65040}`
fn path_text(segments: &[AsSegment]) -> String {
    let each = segments.iter().map(|segment| {
        let asns: Vec<String> = segment.asns().iter().map(Asn::to_string).collect();
        let asns = asns.join(" ");
        match segment {
            AsSegment::Sequence(_) => asns,
            AsSegment::Set(_) => format!("{{{asns}}}"),
            AsSegment::ConfedSequence(_) => format!("({asns})"),
            AsSegment::ConfedSet(_) => format!("[{asns}]"),
        }
    });
    each.collect::<Vec<_>>().join(" ")
}
