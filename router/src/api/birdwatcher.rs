//! `/birdwatcher/`: peers and routes in the shapes of birdwatcher, which puts BIRD's words into JSON,
//! for looking glasses that ask that, such as Alice-LG. Read only, and off unless it is configured.
//!
//! What is known under another name there has that name; what only BIRD has is left out. Routes are
//! sent a page at a time, so that a full table takes no more memory than a page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures::stream;
use serde_json::{Value, json};
use tidegate_bgp::rib::{PathState, View as Stage};
use tidegate_bgp::speaker::{NamedRoute, Routes, RoutesQuery};
use tidegate_bgp::types::{Asn, Community, ExtendedCommunity};
use tidegate_bgp::wire::{AsSegment, NextHop, Origin};
use tokio::sync::watch;

use super::extract::Path;
use super::problem::Problem;
use super::serve::Patience;
use super::{ANSWER_WITHIN, Answer as _, ViewSender, not_found};
use crate::access::Access;
use crate::bgp_io::Asker;
use crate::view::{Peer, Scope, View};

/// Routes that are asked for at a time.
const PAGE: usize = 1_000;
/// A full table may take so long.
const TABLE_WITHIN: Duration = Duration::from_mins(2);

#[derive(Clone)]
pub(super) struct Sources {
    pub(super) views: Arc<ViewSender>,
    pub(super) asker: Asker,
}

/// Its routes, which are there only while the configuration says so.
pub(super) fn router(sources: Sources, access: watch::Receiver<Arc<Access>>) -> Router {
    let is_on = move |request: Request, next: Next| {
        let is_on = access.borrow().birdwatcher;
        async move {
            if is_on {
                next.run(request).await
            } else {
                not_found(request.uri().clone()).await.into_response()
            }
        }
    };
    // Names of peers out of ranges hold slashes.
    Router::new()
        .route("/birdwatcher/status", get(status))
        .route("/birdwatcher/protocols/bgp", get(protocols))
        .route("/birdwatcher/routes/protocol/{*peer}", get(imported))
        .route("/birdwatcher/routes/filtered/{*peer}", get(filtered))
        .route("/birdwatcher/routes/export/{*peer}", get(exported))
        .route("/birdwatcher/routes/noexport/{*peer}", get(not_exported))
        .route("/birdwatcher/routes/table/{table}", get(table))
        .route("/birdwatcher/routes/table/{table}/filtered", get(table_filtered))
        .layer(middleware::from_fn(is_on))
        .with_state(sources)
}

/// What each answer begins with. Nothing is cached, so what is said is of now.
fn envelope(now: SystemTime) -> (Value, String) {
    let now = humantime::format_rfc3339_seconds(now).to_string();
    let api = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "result_from_cache": false,
        "cache_status": {
            "cached_at": { "date": now, "timezone_type": "UTC", "timezone": "UTC" },
        },
    });
    (api, now)
}

/// `2026-11-26 15:35:22`, as BIRD writes times.
fn time(rfc_3339: &str) -> String {
    let time = rfc_3339.split(['.', 'Z']).next().unwrap_or_default();
    time.replacen('T', " ", 1)
}

async fn status(State(sources): State<Sources>) -> Result<Json<Value>, Problem> {
    let view = State(sources.views).view(Scope::Node).await?;
    Ok(Json(status_of(&view, SystemTime::now())))
}

fn status_of(view: &View, now: SystemTime) -> Value {
    let ((api, ttl), status) = (envelope(now), &view.status);
    json!({
        "api": api,
        "ttl": ttl,
        "status": {
            "version": format!("tidegate {}", status.version),
            "router_id": status.router_id,
            "current_server": time(&ttl),
            "last_reboot": time(&status.started_at),
            "last_reconfig": time(&status.started_at),
            "message": if status.converged { "Daemon is up and running" } else { "Daemon converges" },
        },
    })
}

async fn protocols(State(sources): State<Sources>) -> Result<Json<Value>, Problem> {
    let view = State(sources.views).view(Scope::Node).await?;
    Ok(Json(protocols_of(&view, SystemTime::now())))
}

fn protocols_of(view: &View, now: SystemTime) -> Value {
    let (api, ttl) = envelope(now);
    let protocols: BTreeMap<&str, Value> =
        view.peers.iter().map(|peer| (peer.name.as_str(), protocol(peer))).collect();
    json!({ "api": api, "ttl": ttl, "protocols": protocols })
}

fn protocol(peer: &Peer) -> Value {
    let sum =
        |of: fn(&crate::view::FamilyPrefixes) -> u64| peer.prefixes.iter().map(of).sum::<u64>();
    let is_up = peer.state == "Established";
    json!({
        "protocol": peer.name,
        "bird_protocol": "BGP",
        "table": "master",
        "state": if is_up { "up" } else { "start" },
        "connection": peer.state,
        "bgp_state": peer.state,
        "state_changed": time(&peer.since),
        "neighbor_address": peer.remote.ip().to_string(),
        "neighbor_as": peer.asn,
        "neighbor_id": peer.router_id,
        "hold_timer": peer.hold_time_secs,
        "description": peer.name,
        "last_error": peer.last_down.as_deref().unwrap_or_default(),
        "routes": {
            "imported": sum(|it| it.accepted),
            "accepted": sum(|it| it.accepted),
            "filtered": sum(|it| it.filtered),
            "exported": sum(|it| it.advertised),
        },
    })
}

type Asks = (State<Sources>, Option<Extension<Patience>>);

async fn imported(asks: Asks, Path(peer): Path<String>) -> Result<Response, Problem> {
    listed(asks, Listing { stage: Stage::Available, peer: Some(peer), is_filtered: false }).await
}

async fn filtered(asks: Asks, Path(peer): Path<String>) -> Result<Response, Problem> {
    listed(asks, Listing { stage: Stage::Received, peer: Some(peer), is_filtered: true }).await
}

async fn exported(asks: Asks, Path(peer): Path<String>) -> Result<Response, Problem> {
    listed(asks, Listing { stage: Stage::Advertised, peer: Some(peer), is_filtered: false }).await
}

async fn table(asks: Asks, Path(_name): Path<String>) -> Result<Response, Problem> {
    listed(asks, Listing { stage: Stage::Available, peer: None, is_filtered: false }).await
}

async fn table_filtered(asks: Asks, Path(_name): Path<String>) -> Result<Response, Problem> {
    listed(asks, Listing { stage: Stage::Received, peer: None, is_filtered: true }).await
}

/// What a peer is not told is no list that we have: it is always empty.
async fn not_exported(Path(_peer): Path<String>) -> Json<Value> {
    let (api, ttl) = envelope(SystemTime::now());
    Json(json!({ "api": api, "ttl": ttl, "routes": [] }))
}

/// Which routes.
struct Listing {
    stage: Stage,
    peer: Option<String>,
    /// Those alone that loop checks or policy did not let in.
    is_filtered: bool,
}

impl Listing {
    async fn page(&self, asker: &Asker, from: u64) -> Result<Routes, Problem> {
        let query = RoutesQuery {
            view: self.stage,
            family: None,
            peer: self.peer.as_deref().map(Into::into),
            prefix: None,
            from,
            limit: PAGE,
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, asker.ask(query)).await;
        let found = answer.map_err(|elapsed| Problem::busy(&elapsed))?;
        let found = found.map_err(|stopped| Problem::busy(&stopped))?;
        if found.unknown_peer {
            return Err(super::peer::unknown(self.peer.as_deref().unwrap_or_default()));
        }
        Ok(found)
    }

    /// The page in JSON, a comma before each route but the first of all.
    fn text(&self, page: &Routes, peers: &Peers, is_first: &mut bool) -> String {
        let mut text = String::new();
        for route in &page.routes {
            if self.is_filtered && !matches!(route.route.state, PathState::Rejected(_)) {
                continue;
            }
            if !std::mem::replace(is_first, false) {
                text.push(',');
            }
            text += &shown(route, peers).to_string();
        }
        text
    }
}

/// Address of each peer, and since when it is as it is.
type Peers = BTreeMap<String, (String, String)>;

async fn listed((sources, patience): Asks, listing: Listing) -> Result<Response, Problem> {
    let State(Sources { views, asker }) = sources;
    let view = State(views).view(Scope::Node).await?;
    let peers: Peers = view
        .peers
        .into_iter()
        .map(|peer| (peer.name, (peer.remote.ip().to_string(), time(&peer.since))))
        .collect();
    // Before the answer begins: who is unknown is told so.
    let first = listing.page(&asker, 0).await?;
    if let Some(Extension(patience)) = patience {
        patience.give(TABLE_WITHIN);
    }
    let (api, ttl) = envelope(SystemTime::now());
    let begin = format!("{{\"api\":{api},\"ttl\":\"{ttl}\",\"routes\":[");
    let telling = Telling { listing, asker, peers, is_first: true, begin, page: Some(first) };
    let chunks = stream::unfold(telling, Telling::chunk);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(chunks)).into_response())
}

/// A list that is being sent.
struct Telling {
    listing: Listing,
    asker: Asker,
    peers: Peers,
    is_first: bool,
    /// What comes before the first route; empty then.
    begin: String,
    /// What comes next; `None`: all has been said.
    page: Option<Routes>,
}

impl Telling {
    /// A page of it. A list that breaks off has no end, so that whoever asked sees it.
    async fn chunk(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        let page = self.page.take()?;
        let mut text = std::mem::take(&mut self.begin);
        text += &self.listing.text(&page, &self.peers, &mut self.is_first);
        let Some(from) = page.next else {
            text += "]}";
            return Some((Ok(text.into()), self));
        };
        match self.listing.page(&self.asker, from).await {
            Ok(page) => self.page = Some(page),
            Err(_busy) => return Some((Err(std::io::Error::other("too busy")), self)),
        }
        Some((Ok(text.into()), self))
    }
}

fn shown(named: &NamedRoute, peers: &Peers) -> Value {
    let NamedRoute { from, route, .. } = named;
    let attributes = &route.attributes;
    let peer = from.as_ref().map(ToString::to_string);
    let (learnt_from, age) =
        peer.as_ref().and_then(|peer| peers.get(peer)).cloned().unwrap_or_default();
    let next_hop = attributes.next_hop.map(NextHop::addr).map(|it| it.to_string());
    let asns = attributes.as_path.iter().flat_map(AsSegment::asns);
    let as_path: Vec<String> = asns.map(Asn::to_string).collect();
    let communities: Vec<_> = attributes.communities.iter().map(|it| halves(*it)).collect();
    let large: Vec<_> = attributes.large_communities.iter().map(|it| it.0).collect();
    let extended: Vec<_> = attributes.extended_communities.iter().map(|it| thirds(*it)).collect();
    json!({
        "network": route.prefix.to_string(),
        "gateway": next_hop,
        "interface": "",
        "from_protocol": peer.as_deref().unwrap_or("tidegate"),
        "learnt_from": learnt_from,
        "age": age,
        "primary": route.state == PathState::Best,
        "metric": 100,
        "type": ["BGP", "univ"],
        "bgp": {
            "origin": match attributes.origin {
                Origin::Igp => "IGP",
                Origin::Egp => "EGP",
                Origin::Incomplete => "Incomplete",
            },
            "as_path": as_path,
            "next_hop": next_hop,
            "local_pref": attributes.local_pref.unwrap_or(100).to_string(),
            "med": attributes.med.unwrap_or(0).to_string(),
            "communities": communities,
            "large_communities": large,
            "ext_communities": extended,
        },
    })
}

const fn halves(Community(value): Community) -> [u32; 2] {
    [value >> 16, value & 0xffff]
}

/// `rt:65000:100` in three strings; what has no such form stands as a whole in the last.
fn thirds(community: ExtendedCommunity) -> [String; 3] {
    let text = community.to_string();
    let mut parts = text.splitn(3, ':').map(str::to_owned);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(one), Some(other)) => [kind, one, other],
        _ => ["generic".into(), "0".into(), text],
    }
}

#[cfg(test)]
mod tests;
