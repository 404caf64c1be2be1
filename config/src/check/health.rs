//! The health check of a service.

use core::ops::Range;
use core::time::Duration;

use crate::desired::{
    DnsProbe, ForwardingMode, HealthCheck, HttpProbe, Method, Probe, Protocol, Tls, Via,
};
use crate::diagnostic::Found;
use crate::raw::{HealthTable, ServiceTable};
use crate::read::At;
use crate::value::{ProbeKind, ServicePort, ViaWord, duration_text};

/// How long a check may take unless the file says so.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn check(
    service: &ServiceTable,
    at: &At<HealthTable>,
    found: &mut Found<'_>,
) -> Option<HealthCheck> {
    let raw = &at.value;
    let timeout = timeout(raw, found);
    let port = port(service, at, found);
    refuse_foreign_keys(raw, found);
    let via = via(service, raw, found);
    let probe = probe(at, found);
    Some(HealthCheck {
        probe: probe?,
        via: via?,
        port: port?,
        interval: raw.interval.as_ref()?.value.0,
        retry: raw.retry.as_ref()?.value.0.min(raw.interval.as_ref()?.value.0),
        timeout: timeout?,
        rise: raw.rise.as_ref()?.value.0,
        fall: raw.fall.as_ref()?.value.0,
    })
}

/// The way of the question. In NAT nobody answers for the VIP but the edge.
fn via(service: &ServiceTable, raw: &HealthTable, found: &mut Found<'_>) -> Option<Via> {
    let Some(via) = raw.via.as_ref().filter(|via| via.value == ViaWord::Tunnel) else {
        return Some(Via::Direct);
    };
    let mode = service.mode.as_ref()?.value;
    if mode == ForwardingMode::Nat {
        let sentence = "the backends of a service in mode \"nat\" have no VIP that could answer";
        let remedy = "remove it, or write mode = \"ipip\", \"gue\" or \"l2\" in the service";
        found.error(&via.span, &via.key, sentence, remedy);
        return None;
    }
    Some(Via::Tunnel(mode))
}

/// The port that is asked; 0 where there is none.
fn port(service: &ServiceTable, at: &At<HealthTable>, found: &mut Found<'_>) -> Option<u16> {
    let kind = at.value.kind.as_ref()?.value;
    let over = match kind {
        ProbeKind::Icmp => return Some(0),
        ProbeKind::Udp | ProbeKind::Dns => Protocol::Udp,
        ProbeKind::Tcp | ProbeKind::Http | ProbeKind::Https | ProbeKind::Grpc => Protocol::Tcp,
    };
    if let Some(port) = &at.value.port {
        return Some(port.value.0);
    }
    let word = if over == Protocol::Udp { "UDP" } else { "TCP" };
    let key = format!("{}.port", at.key);
    let remedy = format!("add port = …, where the backends answer {word}");
    if service.protocol.as_ref()?.value != over {
        let sentence = format!(
            "a service that is not {word} is checked over {word}: it needs a port of its own"
        );
        found.error(&at.span, &key, sentence, remedy);
        return None;
    }
    if let Some(port) = &service.backend_port {
        return Some(port.value.0);
    }
    let port = service.port.as_ref()?.value;
    if is_many(port) {
        let sentence = "a service of many ports is checked on one: it has to be named";
        found.error(&at.span, &key, sentence, remedy);
        return None;
    }
    Some(port.first)
}

const fn is_many(port: ServicePort) -> bool {
    port.first == 0 || port.first != port.last
}

fn timeout(raw: &HealthTable, found: &mut Found<'_>) -> Option<Duration> {
    let interval = raw.interval.as_ref()?.value.0;
    let Some(timeout) = &raw.timeout else { return Some(TIMEOUT.min(interval)) };
    if timeout.value.0 > interval {
        let sentence = format!(
            "a timeout of {} is longer than the interval of {}",
            duration_text(timeout.value.0),
            duration_text(interval)
        );
        let remedy = format!("write at most \"{}\"", duration_text(interval));
        found.error(&timeout.span, &timeout.key, sentence, remedy);
    }
    Some(timeout.value.0)
}

/// Where a key was typed, if it was.
type Typed<'a> = Option<(&'a Range<usize>, &'a str)>;

fn typed<T>(at: Option<&At<T>>) -> Typed<'_> {
    at.map(|at| (&at.span, at.key.as_str()))
}

/// A key that says nothing to a check of this type is a mistake: whoever wrote it expects that it
/// counts.
fn refuse_foreign_keys(raw: &HealthTable, found: &mut Found<'_>) {
    use ProbeKind::{Dns, Grpc, Http, Https, Tcp, Udp};
    let Some(kind) = raw.kind.as_ref().map(|at| at.value) else { return };
    let keys: [(Typed<'_>, &[ProbeKind]); 14] = [
        (typed(raw.port.as_ref()), &[Tcp, Http, Https, Grpc, Udp, Dns]),
        (typed(raw.method.as_ref()), &[Http, Https]),
        (typed(raw.path.as_ref()), &[Http, Https]),
        (typed(raw.host.as_ref()), &[Http, Https, Grpc]),
        (typed(raw.status.as_ref()), &[Http, Https]),
        (typed(raw.body.as_ref()), &[Http, Https]),
        (typed(raw.server_name.as_ref()), &[Https]),
        (typed(raw.ca_file.as_ref()), &[Https]),
        (typed(raw.grpc_service.as_ref()), &[Grpc]),
        (typed(raw.send.as_ref()), &[Udp]),
        (typed(raw.expect.as_ref()), &[Udp]),
        (typed(raw.query.as_ref()), &[Dns]),
        (typed(raw.query_type.as_ref()), &[Dns]),
        (typed(raw.rcode.as_ref()), &[Dns]),
    ];
    for (typed, kinds) in keys {
        if let Some((span, key)) = typed
            && !kinds.contains(&kind)
        {
            let words: Vec<String> =
                kinds.iter().map(|kind| format!("{:?}", kind.name())).collect();
            let sentence = format!("a check of type {:?} has no such key", kind.name());
            let remedy = format!("remove it, or write type = {}", words.join(" or "));
            found.error(span, key, sentence, remedy);
        }
    }
}

fn probe(at: &At<HealthTable>, found: &mut Found<'_>) -> Option<Probe> {
    let raw = &at.value;
    Some(match raw.kind.as_ref()?.value {
        ProbeKind::Tcp => Probe::Tcp,
        ProbeKind::Icmp => Probe::Icmp,
        ProbeKind::Http => Probe::Http(http(raw, None, found)),
        ProbeKind::Https => {
            let tls = Tls {
                server_name: raw.server_name.as_ref().map(|name| name.value.0.clone()),
                ca_file: raw.ca_file.as_ref().map(|file| file.value.clone()),
            };
            Probe::Http(http(raw, Some(tls), found))
        }
        ProbeKind::Grpc => Probe::Grpc {
            service: raw.grpc_service.as_ref().map_or_else(String::new, |at| at.value.0.clone()),
            host: raw.host.as_ref().map(|host| host.value.0.clone()),
        },
        ProbeKind::Udp => {
            let Some(send) = &raw.send else {
                let key = format!("{}.send", at.key);
                let remedy = "add send = \"…\": what the backends answer to";
                found.error(&at.span, &key, "a check over UDP has to send something", remedy);
                return None;
            };
            let expect = raw.expect.as_ref().map(|at| at.value.0.clone()).unwrap_or_default();
            Probe::Udp { send: send.value.0.clone(), expect }
        }
        ProbeKind::Dns => {
            let Some(query) = &raw.query else {
                let key = format!("{}.query", at.key);
                let remedy = "add query = \"…\": a name that the backends know";
                found.error(&at.span, &key, "a check of DNS has to ask for a name", remedy);
                return None;
            };
            Probe::Dns(DnsProbe {
                query: query.value.0.clone(),
                query_type: raw.query_type.as_ref().map(|at| at.value).unwrap_or_default(),
                rcode: raw.rcode.as_ref().map(|at| at.value).unwrap_or_default(),
            })
        }
    })
}

fn http(raw: &HealthTable, tls: Option<Tls>, found: &mut Found<'_>) -> HttpProbe {
    let method = raw.method.as_ref().map(|at| at.value).unwrap_or_default();
    if let Some(body) = raw.body.as_ref().filter(|_| method == Method::Head) {
        let remedy = "remove it, or write method = \"GET\"";
        found.error(&body.span, &body.key, "an answer to HEAD has no body", remedy);
    }
    HttpProbe {
        method,
        path: raw.path.as_ref().map_or_else(|| "/".to_owned(), |path| path.value.0.clone()),
        host: raw.host.as_ref().map(|host| host.value.0.clone()),
        statuses: raw.status.as_ref().map_or_else(|| vec![200..=200], |at| at.value.0.clone()),
        body: raw.body.as_ref().map(|body| body.value.0.clone()),
        tls,
    }
}
