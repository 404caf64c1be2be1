//! What a health check consists of.

use super::Rows;
use crate::desired::{DnsProbe, HealthCheck, HttpProbe, Probe, Tls, Via};
use crate::value::duration_text;

const TABLE: &str = "service.health";

pub(super) fn of_health(health: &HealthCheck, rows: &mut Rows) {
    let HealthCheck { probe, via, port, interval, timeout, retry, rise, fall } = health;
    of_probe(probe, rows);
    match via {
        Via::Direct => {}
        Via::Tunnel(_) => rows.put(TABLE, "via", "tunnel"),
    }
    if *probe != Probe::Icmp {
        rows.put(TABLE, "port", port);
    }
    rows.put(TABLE, "interval", duration_text(*interval));
    rows.put(TABLE, "timeout", duration_text(*timeout));
    rows.put(TABLE, "retry", duration_text(*retry));
    rows.put(TABLE, "rise", rise);
    rows.put(TABLE, "fall", fall);
}

fn of_probe(probe: &Probe, rows: &mut Rows) {
    match probe {
        Probe::Tcp => rows.put(TABLE, "type", "tcp"),
        Probe::Icmp => rows.put(TABLE, "type", "icmp"),
        Probe::Http(http) => of_http(http, rows),
        Probe::Grpc { service, host } => {
            rows.put(TABLE, "type", "grpc");
            rows.maybe(TABLE, "grpc-service", Some(service).filter(|name| !name.is_empty()));
            rows.maybe(TABLE, "host", host.as_ref());
        }
        Probe::Udp { send, expect } => {
            rows.put(TABLE, "type", "udp");
            rows.put(TABLE, "send", payload(send));
            rows.maybe(TABLE, "expect", Some(expect).filter(|it| !it.is_empty()).map(payload));
        }
        Probe::Dns(DnsProbe { query, query_type, rcode }) => {
            rows.put(TABLE, "type", "dns");
            rows.put(TABLE, "query", query);
            rows.put(TABLE, "query-type", query_type.name());
            rows.put(TABLE, "rcode", rcode.name());
        }
    }
}

fn of_http(http: &HttpProbe, rows: &mut Rows) {
    let HttpProbe { method, path, host, statuses: _, body, tls } = http;
    rows.put(TABLE, "type", if tls.is_some() { "https" } else { "http" });
    rows.put(TABLE, "method", method.name());
    rows.put(TABLE, "path", path);
    rows.maybe(TABLE, "host", host.as_ref());
    rows.put(TABLE, "status", http.statuses_text());
    rows.maybe(TABLE, "body", body.as_ref().map(|body| format!("{body:?}")));
    if let Some(Tls { server_name, ca_file }) = tls {
        rows.maybe(TABLE, "server-name", server_name.as_ref());
        rows.maybe(TABLE, "ca-file", ca_file.as_ref().map(|file| file.display()));
    }
}

/// Text as text, all else in digits, told apart as in the file.
fn payload(octets: impl AsRef<[u8]>) -> String {
    let octets = octets.as_ref();
    match str::from_utf8(octets) {
        Ok(text) if !text.starts_with("hex:") => format!("{text:?}"),
        _ => octets.iter().fold("hex:".to_owned(), |text, octet| format!("{text}{octet:02x}")),
    }
}
