//! `/api/v1/why`: where a packet goes, and why. The packet path's part is told by the task that owns
//! it, the routes' part by the speaker.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use tidegate_abi::ip_proto;
use tidegate_bgp::rib::View as Side;
use tidegate_bgp::speaker::RoutesQuery;
use tidegate_bgp::types::Prefix;
use tidegate_plan::model::{Flow, Parsed, parse};
use tidegate_plan::proof::frame_of;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Writer;
use super::change::{ask, bad, json, unexpected};
use super::extract::{Body, Query};
use super::problem::Problem;
use super::{ANSWER_WITHIN, Answer as _, Look, ViewSender};
use crate::bgp_io::Asker;
use crate::change::{Answer, Asks, Candidate, Packet, What};
use crate::view::Scope;
use crate::view::routes::Route;
use crate::view::why::{Asked, Stage, Why};

/// The longest frame: more than any interface takes.
const FRAME_LEN_MAX: usize = 9_216;
/// Peers of which is told what they were told: an edge has a handful.
const PEERS_MAX: usize = 16;
/// Of a packet, unless the question says otherwise: what a connection begins with.
const LENGTH: u16 = 60;

#[derive(Clone)]
pub(super) struct Ways {
    asks: Asks,
    views: Arc<ViewSender>,
    asker: Asker,
}

pub(super) fn router(asks: Asks, views: ViewSender, asker: Asker) -> OpenApiRouter {
    paths().with_state(Ways { asks, views: Arc::new(views), asker })
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Ways> {
    OpenApiRouter::new().routes(routes!(by_flow, by_anything))
}

/// Where a packet of a flow goes, and why. Whoever may read may ask that.
#[utoipa::path(
    get,
    path = "/api/v1/why",
    operation_id = "why",
    tag = "packets",
    params(Asked),
    responses((status = 200, body = Why))
)]
async fn by_flow(ways: State<Ways>, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    if asked.text.is_some() || asked.name.is_some() {
        return Err(bad("/text", "a configuration is sent in the body of a POST".into()));
    }
    told(&ways, String::new(), asked).await
}

/// The same of any frame, and by a configuration that is not in force.
#[utoipa::path(
    post,
    path = "/api/v1/why",
    operation_id = "why_by",
    tag = "packets",
    request_body = Asked,
    responses((status = 200, body = Why))
)]
async fn by_anything(
    ways: State<Ways>,
    Writer(who): Writer,
    Body(body): Body,
) -> Result<Response, Problem> {
    told(&ways, who, json(&body)?).await
}

async fn told(ways: &Ways, who: String, mut asked: Asked) -> Result<Response, Problem> {
    let by = asked.text.take().map(|text| {
        let name = asked.name.take().unwrap_or_else(|| "(sent to the API)".into());
        Candidate::Text { name: PathBuf::from(name), text }
    });
    let frame = frame(&asked)?;
    let flow = match parse(&frame) {
        Parsed::Packet(packet) => Some((packet.flow.src, packet.flow.dst)),
        Parsed::NotIp | Parsed::BadHeader => None,
    };
    let is_candidate = by.is_some();
    let packet = Packet { frame, interface: asked.interface };
    let Answer::Why(mut why) = ask(&ways.asks, who, What::Why { packet, by }).await? else {
        return Err(unexpected());
    };
    let mut stages = Vec::new();
    if let Some((src, _)) = flow {
        stages.extend(client(ways, src).await?);
    }
    let vip = why.vip.as_deref().and_then(super::parse_prefix);
    if let Some(vip) = vip.filter(|_| !is_candidate) {
        stages.extend(announced(ways, vip).await?);
    }
    stages.append(&mut why.stages);
    Ok(Json(Why { stages, ..*why }).into_response())
}

/// The frame that is asked about.
fn frame(asked: &Asked) -> Result<Vec<u8>, Problem> {
    if let Some(text) = &asked.frame {
        if asked.from.is_some() || asked.to.is_some() {
            return Err(bad("/frame", "give a frame, or from and to, not both".into()));
        }
        return octets(text).ok_or_else(|| {
            let detail = format!("it is not 14 to {FRAME_LEN_MAX} octets in hexadecimal digits");
            bad("/frame", detail)
        });
    }
    let (Some(from), Some(to)) = (asked.from, asked.to) else {
        return Err(bad(
            "/from",
            "give from and to, such as 198.51.100.7:40000, or a frame".into(),
        ));
    };
    if from.is_ipv4() != to.is_ipv4() {
        return Err(bad("/to", format!("{from} and {to} are not of the same version of IP")));
    }
    let proto = match asked.protocol.as_deref() {
        None | Some("tcp") => ip_proto::TCP,
        Some("udp") => ip_proto::UDP,
        Some("sctp") => ip_proto::SCTP,
        Some(other) => return Err(bad("/protocol", format!("tcp, udp or sctp, not {other:?}"))),
    };
    let length = asked.length.unwrap_or(LENGTH);
    if usize::from(length) > FRAME_LEN_MAX {
        return Err(bad("/length", format!("a packet has {FRAME_LEN_MAX} octets at most here")));
    }
    let flow =
        Flow { src: from.ip(), dst: to.ip(), src_port: from.port(), dst_port: to.port(), proto };
    Ok(frame_of(&flow, !asked.established, length))
}

fn octets(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let fits = (28..=2 * FRAME_LEN_MAX).contains(&digits.len()) && digits.len().is_multiple_of(2);
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let octet = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    fits.then(|| digits.chunks(2).map(octet).collect::<Option<Vec<u8>>>()).flatten()
}

/// What the peers say of the client: whose network it is.
async fn client(ways: &Ways, src: IpAddr) -> Result<Option<Stage>, Problem> {
    let Some((prefix, route)) = matching(&ways.asker, src, Side::Available).await? else {
        return Ok(None);
    };
    let peer = route.peer.as_deref().unwrap_or_default();
    let communities = route.communities.join(" ");
    let with = if communities.is_empty() { "" } else { ", communities " };
    let path = if route.as_path.is_empty() { "its own AS" } else { &route.as_path };
    let text = format!("{prefix} by {peer}, AS path {path}{with}{communities}");
    Ok(Some(Stage { name: "client".into(), text }))
}

/// The best route of a peer to an address, with its prefix.
pub(super) async fn matching(
    asker: &Asker,
    addr: IpAddr,
    side: Side,
) -> Result<Option<(Prefix, Route)>, Problem> {
    for len in (0..=Prefix::host(addr).bits()).rev() {
        let Some(prefix) = Prefix::new(addr, len) else { continue };
        let found = routes(asker, side, None, prefix).await?;
        let used = found.into_iter().find(|it| it.state == "best" && it.peer.is_some());
        if let Some(route) = used {
            return Ok(Some((prefix, route)));
        }
    }
    Ok(None)
}

/// What each peer was told of the VIP.
async fn announced(ways: &Ways, vip: Prefix) -> Result<Vec<Stage>, Problem> {
    let look: Look = State(Arc::clone(&ways.views));
    let view = look.view(Scope::Node).await?;
    let mut stages = Vec::new();
    for peer in view.peers.iter().take(PEERS_MAX) {
        let told = if peer.state == "Established" {
            let found = routes(&ways.asker, Side::Advertised, Some(&peer.name), vip).await?;
            match found.first() {
                Some(route) => format!("{vip} to {}{}", peer.name, attributes(route)),
                None => format!("{vip} NOT to {}: it has not been told of it", peer.name),
            }
        } else {
            format!("{vip} NOT to {}: its session is {}", peer.name, peer.state)
        };
        stages.push(Stage { name: "announced".into(), text: told });
    }
    if stages.is_empty() {
        let text = format!("{vip} to nobody: there is no peer");
        stages.push(Stage { name: "announced".into(), text });
    }
    Ok(stages)
}

fn attributes(route: &Route) -> String {
    let next_hop = route.next_hop.map(|next_hop| format!(", next hop {next_hop}"));
    let med = route.med.map(|med| format!(", MED {med}"));
    let communities = Some(route.communities.join(" ")).filter(|all| !all.is_empty());
    let communities = communities.map(|all| format!(", communities {all}"));
    [next_hop, med, communities].into_iter().flatten().collect()
}

async fn routes(
    asker: &Asker,
    view: Side,
    peer: Option<&str>,
    prefix: Prefix,
) -> Result<Vec<Route>, Problem> {
    let peer = peer.map(Into::into);
    let query = RoutesQuery { view, peer, family: None, prefix: Some(prefix), from: 0, limit: 16 };
    let answer = tokio::time::timeout(ANSWER_WITHIN, asker.ask(query)).await;
    let found = answer
        .map_err(|elapsed| Problem::busy(&elapsed))?
        .map_err(|stopped| Problem::busy(&stopped))?;
    Ok(crate::view::routes::Routes::from(found).routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_digits_and_nothing_else() {
        let good = "00".repeat(14);
        assert_eq!(octets(&good), Some(vec![0; 14]));
        assert_eq!(octets(&"fF".repeat(20)), Some(vec![0xff; 20]));
        for bad in ["", "0", &"00".repeat(13), &"0g".repeat(14), &"é".repeat(14), &"0".repeat(29)]
        {
            assert_eq!(octets(bad), None, "{bad}");
        }
        assert_eq!(octets(&"00".repeat(FRAME_LEN_MAX + 1)), None);
    }

    #[test]
    fn what_is_asked_makes_a_frame_or_says_what_is_wrong_where() {
        let from = Some("198.51.100.7:40000".parse().unwrap());
        let to = Some("192.0.2.10:80".parse().unwrap());
        let v6 = Some("[2001:db8::1]:80".parse().unwrap());
        let asked = Asked { from, to, ..Asked::default() };
        assert_eq!(frame(&asked).unwrap().len(), 14 + usize::from(LENGTH));
        let cases = [
            (Asked::default(), "#/from"),
            (Asked { to: v6, ..asked.clone() }, "#/to"),
            (Asked { protocol: Some("icmp".into()), ..asked.clone() }, "#/protocol"),
            (Asked { length: Some(60_000), ..asked.clone() }, "#/length"),
            (Asked { frame: Some("00".into()), ..Asked::default() }, "#/frame"),
            (Asked { frame: Some("00".repeat(14)), ..asked }, "#/frame"),
        ];
        for (asked, pointer) in cases {
            let problem = serde_json::to_value(frame(&asked).unwrap_err()).unwrap();
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{asked:?}");
        }
    }
}
