//! `/api/v1/flows`: packets that were told of, and those that are from now on (server-sent events).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use futures::stream::{self, Stream, StreamExt as _};
use tidegate_abi::ip_proto;
use tidegate_bgp::policy::PrefixSet;
use tidegate_bgp::rib::View as Side;
use tidegate_bgp::types::Prefix;
use tidegate_plan::model;
use tidegate_plan::record::verdict_name;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::events::{ALIVE_EVERY, FOLLOW_MAX, FOLLOWERS_MAX, follows};
use super::extract::Query;
use super::problem::Problem;
use super::serve::Patience;
use super::why::matching;
use super::{Answer as _, Look, ViewSender};
use crate::bgp_io::Asker;
use crate::flows_io::{FlowLog, Told};
use crate::view::flow as view;
use crate::view::flow::{Flow, Flows, Ip, L4, Origin, Ports, Tcp, Wanted};
use crate::view::{API_VERSION, Scope};

/// What an answer has without a word of how many.
const LAST: usize = 20;
/// What it has at most.
const LAST_MAX: usize = 1_000;
/// Clients of which it is remembered whose network they are. When there are more, all is forgotten.
const ORIGINS_MAX: usize = 1_024;
/// And how long.
const ORIGIN_LIVES: Duration = Duration::from_secs(30);
/// Clients of whom the speaker is asked in a second, by each who follows. A flood from addresses that
/// are made up must not keep it from its sessions: of those beyond, no network is told.
const ORIGINS_A_SECOND: u32 = 20;

#[derive(Clone)]
pub(super) struct Source {
    log: FlowLog,
    views: Arc<ViewSender>,
    asker: Asker,
    places: Arc<Semaphore>,
}

pub(super) fn router(log: FlowLog, views: ViewSender, asker: Asker) -> OpenApiRouter {
    let places = Arc::new(Semaphore::new(FOLLOWERS_MAX));
    paths().with_state(Source { log, views: Arc::new(views), asker, places })
}

/// The same before it is known whom they ask.
pub(super) fn paths() -> OpenApiRouter<Source> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// Packets that were told of; with `Accept: text/event-stream` also those that come.
#[utoipa::path(
    get,
    path = "/api/v1/flows",
    operation_id = "flows",
    tag = "packets",
    params(Wanted),
    responses((status = 200, content(
        (Flows = "application/json"),
        (String = "text/event-stream"),
    )))
)]
async fn answer(
    State(source): State<Source>,
    patience: Option<Extension<Patience>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    if let Some((_, sentence)) = wanted.mistake() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-query", sentence));
    }
    let look: Look = State(Arc::clone(&source.views));
    let flows = look.view(Scope::Node).await?.status.flows;
    if !follows(&headers) {
        let last = wanted.last.unwrap_or(LAST);
        let (told, _) = latest(&source.log, &wanted, last);
        let mut origins = Origins::new(source.asker, source.log.sets(), u32::MAX); // Of so many at most, and once.
        let mut shown = Vec::with_capacity(told.len());
        for told in told {
            shown.push(origins.with(self::shown(&told)).await);
        }
        let sums = source.log.sums().into_iter().map(|((counter, service), sum)| view::Sum {
            counter: counter.name().into(),
            service: service.as_deref().map(str::to_owned),
            packets: sum.packets,
            bytes: sum.bytes,
        });
        return Ok(Json(Flows {
            api_version: API_VERSION.into(),
            sampled_one_in: flows.sampled_one_in,
            flows: shown,
            sums: sums.collect(),
            told: flows.told,
        })
        .into_response());
    }
    if flows.sampled_one_in == 0 {
        let detail = "packets are not told of: write sample = 1000, or another number, in [flows]";
        return Err(Problem::new(StatusCode::CONFLICT, "off", detail.into()));
    }
    let place = Arc::clone(&source.places).try_acquire_owned().map_err(|_full| {
        let detail = format!("{FOLLOWERS_MAX} follow the packets already: end one of them");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    })?;
    if let Some(Extension(patience)) = patience {
        patience.give(FOLLOW_MAX);
    }
    let (before, news) = latest(&source.log, &wanted, wanted.last.unwrap_or(0));
    let follower = Follower {
        news,
        origins: Origins::new(source.asker, source.log.sets(), ORIGINS_A_SECOND),
        wanted,
        _place: place,
    };
    let before = before.iter().map(|told| Followed::Flow(Box::new(shown(told)))).collect();
    let messages = follow(before, follower).map(|it| Ok::<_, Infallible>(message(&it)));
    let alive = KeepAlive::new().interval(ALIVE_EVERY);
    Ok(Sse::new(messages).keep_alive(alive).into_response())
}

fn latest(log: &FlowLog, wanted: &Wanted, last: usize) -> (Vec<Arc<Told>>, Receiver<Arc<Told>>) {
    let since = wanted.since.map(Duration::from_secs);
    let from = since.and_then(|since| SystemTime::now().checked_sub(since));
    log.after(wanted.after.unwrap_or(0), last.min(LAST_MAX), |told| {
        from.is_none_or(|from| told.at >= from) && wanted.takes(&shown(told))
    })
}

enum Followed {
    Flow(Box<Flow>),
    /// So many were missed, since who follows reads too slowly.
    Missed(u64),
}

struct Follower {
    news: Receiver<Arc<Told>>,
    origins: Origins,
    wanted: Wanted,
    /// Free again when nobody reads any more.
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// The next one that is wanted; `None`: there are no more.
    async fn next(&mut self) -> Option<Followed> {
        loop {
            match self.news.recv().await {
                Ok(told) => {
                    let flow = shown(&told);
                    if self.wanted.takes(&flow) {
                        return Some(Followed::Flow(Box::new(self.origins.with(flow).await)));
                    }
                }
                Err(RecvError::Lagged(missed)) => return Some(Followed::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn follow(before: Vec<Followed>, follower: Follower) -> impl Stream<Item = Followed> + Send {
    let news =
        stream::unfold(
            follower,
            |mut follower| async move { Some((follower.next().await?, follower)) },
        );
    Box::pin(stream::iter(before).chain(news))
}

fn message(followed: &Followed) -> Message {
    match followed {
        Followed::Flow(flow) => {
            let text = serde_json::to_string(flow).unwrap_or_default();
            Message::default().id(flow.id.to_string()).event("flow").data(text)
        }
        Followed::Missed(missed) => {
            Message::default().event("missed").data(format!("{{\"missed\":{missed}}}"))
        }
    }
}

/// Whose networks clients are, as the routes say; remembered for a while.
struct Origins {
    asker: Asker,
    sets: Arc<[Arc<PrefixSet>]>,
    known: HashMap<IpAddr, (Instant, Option<Origin>)>,
    /// So many were asked for since then.
    asked: (Instant, u32),
    a_second: u32,
}

impl Origins {
    fn new(asker: Asker, sets: Arc<[Arc<PrefixSet>]>, a_second: u32) -> Self {
        Self { asker, sets, known: HashMap::new(), asked: (Instant::now(), 0), a_second }
    }

    async fn with(&mut self, flow: Flow) -> Flow {
        let Some(src) = flow.ip.as_ref().map(|ip| ip.source) else { return flow };
        let sets = self.sets.iter().filter(|set| set.covers(src));
        let source_sets = sets.map(|set| set.name.clone()).collect();
        let origin = self.of(src).await;
        Flow { source_sets, origin, ..flow }
    }

    /// Takes one of the questions that this second has.
    fn may_ask(&mut self, now: Instant) -> bool {
        let (since, asked) = &mut self.asked;
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *asked) = (now, 0);
        }
        let has_one = *asked < self.a_second;
        *asked += u32::from(has_one);
        has_one
    }

    async fn of(&mut self, src: IpAddr) -> Option<Origin> {
        let now = Instant::now();
        if let Some((at, origin)) = self.known.get(&src)
            && now.duration_since(*at) < ORIGIN_LIVES
        {
            return origin.clone();
        }
        if !self.may_ask(now) {
            return None;
        }
        // A speaker that does not answer keeps nobody from hearing of packets; the next one asks again.
        let found = matching(&self.asker, src, Side::Available).await.ok()?;
        let origin = found.map(|(prefix, route)| origin(prefix, route));
        if self.known.len() >= ORIGINS_MAX {
            self.known.clear();
        }
        self.known.insert(src, (now, origin.clone()));
        origin
    }
}

fn origin(prefix: Prefix, route: crate::view::routes::Route) -> Origin {
    Origin {
        prefix: prefix.to_string(),
        asn: route.as_path.split_whitespace().last().map(str::to_owned),
        peer: route.peer.unwrap_or_default(),
        communities: route.communities,
    }
}

/// A packet as it is shown, without what the routes say.
fn shown(told: &Told) -> Flow {
    let record = &told.record;
    let verdict = record.verdict;
    let l4 = record.flow.map(|flow| l4(flow, record.tcp_flags));
    let summary = match (&l4, record.flow) {
        (Some(L4::TCP(tcp)), _) => {
            let flags: Vec<&str> = tcp.flags.keys().map(String::as_str).collect();
            format!("TCP Flags: {}", flags.join(", "))
        }
        (Some(L4::UDP(_)), _) => "UDP".into(),
        (Some(L4::SCTP(_)), _) => "SCTP".into(),
        (Some(L4::Protocol(proto)), _) => protocol_name(*proto),
        (None, _) => format!("a frame of {} octets that is no sound IP packet", record.frame_len),
    };
    Flow {
        time: humantime::format_rfc3339_micros(told.at).to_string(),
        verdict: verdict_name(verdict).into(),
        drop_reason_desc: verdict.name().strip_prefix("drop_").map(str::to_uppercase),
        ip: record.flow.map(|flow| Ip {
            source: flow.src,
            destination: flow.dst,
            version: if flow.src.is_ipv4() { "IPv4".into() } else { "IPv6".into() },
        }),
        l4,
        kind: "L3_L4".into(),
        summary,
        service: told.service.as_deref().map(str::to_owned),
        backend: told.backend,
        counter: verdict.name().into(),
        why: record.why.name().into(),
        length: record.len,
        id: told.id,
        ifindex: record.ingress_ifindex,
        source_sets: Vec::new(),
        origin: None,
    }
}

fn l4(flow: model::Flow, tcp_flags: Option<u8>) -> L4 {
    let (source_port, destination_port) = (flow.src_port, flow.dst_port);
    match flow.proto {
        ip_proto::TCP => {
            let flags = flags(tcp_flags.unwrap_or(0));
            L4::TCP(Tcp { source_port, destination_port, flags })
        }
        ip_proto::UDP => L4::UDP(Ports { source_port, destination_port }),
        ip_proto::SCTP => L4::SCTP(Ports { source_port, destination_port }),
        other => L4::Protocol(other),
    }
}

/// By the names of RFC 9293 §3.1, in the order of their bits.
fn flags(bits: u8) -> serde_json::Map<String, serde_json::Value> {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = names.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0);
    set.map(|(_, name)| (name.to_owned(), true.into())).collect()
}

fn protocol_name(proto: u8) -> String {
    match proto {
        ip_proto::ICMP => "ICMPv4".into(),
        ip_proto::ICMPV6 => "ICMPv6".into(),
        other => format!("IP protocol {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_clients_asks_the_speaker_only_so_often() {
        let mut origins = Origins::new(crate::bgp_io::alone().asker(), Arc::default(), 3);
        let start = origins.asked.0;
        let asks = |origins: &mut Origins, at| (0..10).filter(|_| origins.may_ask(at)).count();
        assert_eq!(asks(&mut origins, start), 3);
        assert_eq!(asks(&mut origins, start + Duration::from_millis(999)), 0);
        assert_eq!(asks(&mut origins, start + Duration::from_secs(1)), 3);
    }
}
