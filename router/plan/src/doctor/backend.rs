//! The ways of services to their backends.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::Severity::{Broken, Warning};
use super::{BackendFacts, Check, Clients, Mode, NodeFacts, Probed, Report};

const HERE: &str = "here";
/// What comes of most that is wrong with a backend.
const TIME_OUT: &str = "connections to the VIP that it gets time out";

pub(super) fn look(it: &BackendFacts, node: &NodeFacts, report: &mut Report) {
    let subject = format!("{} for {}", it.addr, it.services.join(", "));
    let check = |code| Check { code, subject: &subject };
    let mtu = match &it.way {
        Ok(mtu) => *mtu,
        Err(why) => {
            let found = [
                format!("there is no way to {}: {why}", it.addr),
                "it gets no traffic".into(),
                format!("ip route get {0}; ip neighbour show {0}; ping -c 3 {0}", it.addr),
            ];
            return report.check(&check("no-way"), Broken, Some(found), HERE);
        }
    };
    report.check(&check("no-way"), Broken, None, HERE);
    narrow(it, mtu, &check("narrow"), report);
    let overhead = match it.mode {
        Mode::Tunnel { overhead, .. } => overhead,
        Mode::L2 => 0,
        Mode::Nat => return, // Such a backend needs neither the VIP nor a tunnel.
    };
    match super::node::drops_answers(it, node) {
        Some(code) if it.as_client == Some(Probed::Silent) => {
            report.skip(&check("no-vip"), format!("answers are dropped here: see {code}"));
        }
        _ => as_client(it, &subject, report),
    }
    // One that answers nothing has a finding already.
    if it.as_client != Some(Probed::Silent) {
        size(it, overhead, &check("path-mtu"), report);
    }
}

/// What the kernel says of the way.
fn narrow(it: &BackendFacts, mtu: u16, check: &Check<'_>, report: &mut Report) {
    let Mode::Tunnel { overhead, .. } = it.mode else { return };
    let wanted = it.min_mtu.saturating_add(overhead);
    let found = (mtu < wanted).then(|| {
        [
            format!(
                "the way to {} carries {mtu} bytes, and a packet of {} (min-mtu) has {wanted} in \
                 its outer header",
                it.addr, it.min_mtu
            ),
            "it gets no traffic".into(),
            match &it.egress {
                Some(egress) => format!("ip link set dev {egress} mtu {wanted}"),
                None => format!("ip route get {}", it.addr),
            },
        ]
    });
    report.check(check, Broken, found, HERE);
}

/// Whether what is sent as clients' packets are comes out, and finds the VIP.
fn as_client(it: &BackendFacts, subject: &str, report: &mut Report) {
    let check = |code| Check { code, subject };
    let first = match it.mode {
        Mode::Tunnel { .. } => "no-decap",
        Mode::L2 | Mode::Nat => "no-vip",
    };
    match &it.as_client {
        None => return report.skip(&check(first), "it was not asked"),
        Some(Probed::NotSent(why)) => {
            return report.skip(&check(first), format!("a probe could not be sent: {why}"));
        }
        Some(Probed::Answered) => {
            report.check(&check(first), Broken, None, HERE);
            return report.check(&check("no-vip"), Broken, None, HERE);
        }
        Some(Probed::Silent) => {}
    }
    let addr = it.addr;
    let on = addr.to_string();
    match (it.mode, &it.own_in_tunnel, &it.ping) {
        (Mode::Tunnel { .. }, Some(Probed::Answered), _) => {
            report.check(&check("no-decap"), Broken, None, HERE);
            let found = no_vip(it, "takes packets out of their outer header, and");
            report.check(&check("no-vip"), Broken, Some(found), &on);
        }
        (Mode::L2, _, Some(Probed::Answered)) => {
            let found = no_vip(it, "answers pings, and");
            report.check(&check("no-vip"), Broken, Some(found), &on);
        }
        (Mode::Tunnel { gue_port, .. }, _, Some(Probed::Answered)) => {
            let port = gue_port.map(|port| format!(" --gue-port {port}")).unwrap_or_default();
            let found = [
                format!(
                    "{addr} answers pings, and nothing that comes in an outer header: no end of a \
                     tunnel is there, a filter drops it, or rp_filter is strict on the tunnel"
                ),
                TIME_OUT.into(),
                format!(
                    "tidegate decap --interface $(ip -o address show to {addr} | awk '{{print $2}}'){port}"
                ),
            ];
            report.check(&check("no-decap"), Broken, Some(found), &on);
            report.skip(&check("no-vip"), "nothing comes out of the tunnel");
        }
        (mode, ..) => {
            let tunnel = if mode == Mode::L2 { "for the VIP" } else { "in the tunnel" };
            let found = [
                format!("{addr} answers nothing, neither {tunnel} nor a ping"),
                TIME_OUT.into(),
                format!("ping -c 3 {addr}; ip neighbour show {addr}"),
            ];
            report.check(&check("silent"), Broken, Some(found), HERE);
        }
    }
}

/// What a backend that does this, and does not answer for the VIP, needs.
fn no_vip(it: &BackendFacts, what_it_does: &str) -> [String; 3] {
    let (addr, vip) = (it.addr, it.vip);
    let length = if vip.is_ipv4() { 32 } else { 128 };
    let asks = match it.clients {
        Clients::Tcp(port) => format!("a connection to {vip}, port {port}"),
        Clients::Other => format!("a ping of {vip}"),
    };
    [
        format!(
            "{addr} {what_it_does} does not answer {asks}: it lacks the VIP, or drops what is for it"
        ),
        TIME_OUT.into(),
        format!("ip address add {vip}/{length} dev lo"),
    ]
}

/// Whether packets of the size that the kernel says fit.
fn size(it: &BackendFacts, overhead: u16, check: &Check<'_>, report: &mut Report) {
    let Some(size) = it.size else {
        return report.skip(check, "nothing came back to measure by");
    };
    let found = (size.answered < size.tried).then(|| {
        let fits = size.answered.saturating_add(overhead);
        let via = it.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let dev = it.egress.as_deref().map(|name| format!(" dev {name}")).unwrap_or_default();
        let length = if it.addr.is_ipv4() { 32 } else { 128 };
        [
            format!(
                "packets of up to {} bytes arrive at {}, which is {fits} with the outer header; \
                 {} do not, though the kernel thinks that they fit",
                size.answered, it.addr, size.tried
            ),
            "uploads stall: larger packets are lost on the way, and nobody tells the client".into(),
            format!("ip route replace {}/{length}{via}{dev} mtu {fits}", it.addr),
        ]
    });
    report.check(check, Broken, found, HERE);
}

/// Backends that answer for a VIP on the link: once for each VIP and link.
pub(super) fn look_for_arp(backends: &[BackendFacts], report: &mut Report) {
    // A host has addresses of both families; the one of the VIP's is looked for first.
    let macs: BTreeMap<([u8; 6], bool), IpAddr> = backends
        .iter()
        .filter(|it| it.gateway.is_none())
        .filter_map(|it| Some(((it.mac?, it.addr.is_ipv4()), it.addr)))
        .collect();
    let mut asked = BTreeSet::new();
    for it in backends {
        let (Some(egress), true) = (&it.egress, asked.insert((it.vip, &it.egress))) else {
            continue;
        };
        let subject = format!("{} on {egress}", it.vip);
        let check = Check { code: "vip-arp", subject: &subject };
        let Some(answer) = it.arp else {
            report.skip(&check, "nobody on the link was asked for it");
            continue;
        };
        let of = |mac, is_v4: bool| macs.get(&(mac, is_v4)).or_else(|| macs.get(&(mac, !is_v4)));
        let who = answer.map(|mac| (mac_text(mac), of(mac, it.vip.is_ipv4())));
        let on = who.as_ref().and_then(|(_, addr)| addr.map(ToString::to_string));
        let found = who.map(|(mac, addr)| {
            let whose = addr.map_or_else(|| "no backend".into(), |addr| format!("backend {addr}"));
            let command = if it.vip.is_ipv4() {
                "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2".into()
            } else {
                format!(
                    "ip address del {0}/128 dev {egress}; ip address add {0}/128 dev lo",
                    it.vip
                )
            };
            [
                format!("{mac} ({whose}) answers on the link of {egress} for the VIP {}", it.vip),
                "hosts on that link send what is for the VIP straight there, past this node: no \
                 balancing, no health checks"
                    .into(),
                command,
            ]
        });
        report.check(&check, Warning, found, on.as_deref().unwrap_or("the host with that address"));
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
