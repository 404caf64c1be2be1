//! Finds out what `tidegate doctor` judges: asks the kernel, and sends probes to backends. What it
//! means is said by [`tidegate_plan::doctor`].
//!
//! Nothing is changed: an XDP program is loaded and let go of, and what the kernel learns of a
//! neighbour on the way is forgotten again.

mod node;
mod probe;
mod syn;
mod sys;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use tidegate_config::desired::{Desired, ForwardingMode, Protocol, Service};
use tidegate_plan::doctor::{BackendFacts, Clients, DaemonFacts, Facts, Mode};

use crate::link_io::look::Reached;
use crate::link_io::{self, Links};

/// Ways that are probed at most; who has more names the backends that matter.
pub(crate) const WAYS_MAX: usize = 2_000;
/// Probes in flight at a time.
const IN_FLIGHT_MAX: usize = 32;
/// VIPs that the link is asked for at most: each takes a second when all is well.
const VIPS_ASKED_MAX: usize = 256;
/// A neighbour answers within this time, or not at all.
const NEIGHBOURS_WITHIN: Duration = Duration::from_secs(3);
/// Who answers for a VIP on the link does so within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Largest packet that clients send: beyond the internet's MTU nobody is.
const CLIENT_MTU: u16 = 1_500;

/// What the daemon says, if it answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Daemon {
    /// What it says of itself.
    pub(crate) facts: DaemonFacts,
    /// Its process.
    pub(crate) pid: u32,
}

/// All that can be found out, and how many ways were left out.
///
/// # Errors
/// The kernel does not answer over netlink.
pub(crate) async fn facts(
    desired: &Desired,
    warnings: &str,
    daemon: Option<Daemon>,
    only: &[IpAddr],
) -> Result<(Facts, usize), link_io::Error> {
    let links = Links::unfollowed();
    let node = node::facts(desired, warnings, daemon, links).await?;
    let (ways, left_out) = ways(desired, only);
    let addrs: BTreeSet<IpAddr> = ways.iter().map(|way| way.addr).collect();
    let reached = links.reached(&addrs, NEIGHBOURS_WITHIN).await?;
    let vips: BTreeSet<IpAddr> = ways.iter().map(|way| way.vip).collect();
    let mut way_of_vip = BTreeMap::new();
    for vip in &vips {
        way_of_vip.insert(*vip, links.egress(*vip).await?);
    }
    let answers = who_has(links, &ways, &reached, |vip| node.own_vips.contains_key(&vip)).await?;
    let probes = ways.into_iter().map(|way| {
        let reached = reached.get(&way.addr).cloned();
        let of_vip = way_of_vip.get(&way.vip).cloned().flatten();
        let answers = &answers;
        async move {
            let mut facts = before_probes(way, reached.as_ref(), of_vip);
            let ifindex = reached.and_then(Result::ok).map(|reached| reached.ifindex);
            facts.arp = ifindex.and_then(|ifindex| answers.get(&(facts.vip, ifindex)).copied());
            probe::ask(&mut facts, ifindex).await;
            facts
        }
    });
    let backends = futures::stream::iter(probes).buffered(IN_FLIGHT_MAX).collect().await;
    Ok((Facts { node, backends }, left_out))
}

/// A way of a service to a backend, before anybody has looked.
#[derive(Clone, Debug)]
struct Way {
    services: Vec<String>,
    vip: IpAddr,
    addr: IpAddr,
    mode: Mode,
    clients: Clients,
    min_mtu: u16,
}

/// The ways to look at, each once however many services have it; and how many are too many.
fn ways(desired: &Desired, only: &[IpAddr]) -> (Vec<Way>, usize) {
    let mut ways: BTreeMap<(IpAddr, IpAddr, Mode), Way> = BTreeMap::new();
    for (name, service) in &desired.services {
        let backends = service.backends.iter().filter(|(_, backend)| !backend.disabled);
        for (addr, _) in backends.filter(|(addr, _)| only.is_empty() || only.contains(addr)) {
            let mode = mode(service, *addr, desired.datapath.gue_port);
            let vip = service.vip.addr();
            let clients = match (service.vip.protocol, service.vip.port) {
                (Protocol::Tcp, 1..) => Clients::Tcp(service.vip.port),
                _ => Clients::Other,
            };
            let way = ways.entry((*addr, vip, mode)).or_insert_with(|| Way {
                services: Vec::new(),
                vip,
                addr: *addr,
                mode,
                clients,
                min_mtu: service.min_mtu,
            });
            way.services.push(name.clone());
            way.clients = way.clients.min(clients); // TCP, if any service has it.
            way.min_mtu = way.min_mtu.max(service.min_mtu);
        }
    }
    let left_out = ways.len().saturating_sub(WAYS_MAX);
    (ways.into_values().take(WAYS_MAX).collect(), left_out)
}

fn mode(service: &Service, backend: IpAddr, gue_port: u16) -> Mode {
    let header = if backend.is_ipv4() { 20 } else { 40 };
    match service.mode {
        ForwardingMode::Ipip => Mode::Tunnel { overhead: header, gue_port: None },
        ForwardingMode::Gue => Mode::Tunnel { overhead: header + 8, gue_port: Some(gue_port) },
        ForwardingMode::L2 => Mode::L2,
        ForwardingMode::Nat => Mode::Nat,
    }
}

fn before_probes(
    way: Way,
    reached: Option<&Result<Reached, link_io::NoWay>>,
    way_of_vip: Option<String>,
) -> BackendFacts {
    let known = reached.and_then(|reached| reached.as_ref().ok());
    let found = match reached {
        Some(Ok(reached)) => reached.way.as_ref().map(|way| way.mtu).map_err(ToString::to_string),
        Some(Err(no_way)) => Err(no_way.to_string()),
        None => Err("nobody has looked".into()),
    };
    BackendFacts {
        services: way.services,
        vip: way.vip,
        addr: way.addr,
        mode: way.mode,
        clients: way.clients,
        min_mtu: way.min_mtu,
        way: found,
        egress: known.map(|reached| reached.interface.clone()),
        gateway: known.and_then(|reached| reached.gateway),
        mac: known.and_then(|reached| Some(reached.way.as_ref().ok()?.next_hop_mac)),
        way_of_vip,
        as_client: None,
        own_in_tunnel: None,
        ping: None,
        size: None,
        arp: None,
    }
}

/// Who answers for each VIP on the links that backends of it are on.
async fn who_has(
    links: Links,
    ways: &[Way],
    reached: &BTreeMap<IpAddr, Result<Reached, link_io::NoWay>>,
    is_own: impl Fn(IpAddr) -> bool,
) -> Result<BTreeMap<(IpAddr, u32), Option<[u8; 6]>>, link_io::Error> {
    let questions: BTreeSet<(IpAddr, u32)> = ways
        .iter()
        .filter(|way| !is_own(way.vip))
        .filter_map(|way| {
            let reached = reached.get(&way.addr)?.as_ref().ok()?;
            (reached.gateway.is_none() && reached.way.is_ok()).then_some((way.vip, reached.ifindex))
        })
        .take(VIPS_ASKED_MAX)
        .collect();
    let asked = questions.into_iter().map(|(vip, ifindex)| async move {
        let answer = links.who_has(ifindex, vip, ANSWER_WITHIN).await?;
        Ok(((vip, ifindex), answer))
    });
    let answers: Vec<Result<_, link_io::Error>> =
        futures::stream::iter(asked).buffered(IN_FLIGHT_MAX).collect().await;
    answers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_share_a_way_are_asked_for_once() {
        let service = |name: &str, port: u16, protocol: &str, extra: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\nvip = \"192.0.2.10\"\nport = {port}\n\
                 protocol = \"{protocol}\"\n{extra}\n\
                 [[service.backend]]\naddress = \"10.0.0.11\"\n\
                 [[service.backend]]\naddress = \"2001:db8::11\"\n"
            )
        };
        let text = "[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"eth0\"]\n"
            .to_owned()
            + &service("dns", 53, "udp", "")
            + &service("web", 80, "tcp", "min-mtu = 1400")
            + &service("tls", 443, "tcp", "mode = \"gue\"");
        let desired = tidegate_config::check("tidegate.toml", &text).unwrap().desired;
        let (found, left_out) = ways(&desired, &[]);
        let found: Vec<_> = found
            .iter()
            .map(|way| {
                (way.services.join(" "), way.addr.is_ipv4(), way.mode, way.clients, way.min_mtu)
            })
            .collect();
        let ipip = |overhead| Mode::Tunnel { overhead, gue_port: None };
        let gue = |overhead| Mode::Tunnel { overhead, gue_port: Some(desired.datapath.gue_port) };
        let min_mtu = desired.services["tls"].min_mtu;
        let wanted = [
            ("dns web".to_owned(), true, ipip(20), Clients::Tcp(80), 1400),
            ("tls".to_owned(), true, gue(28), Clients::Tcp(443), min_mtu),
            ("dns web".to_owned(), false, ipip(40), Clients::Tcp(80), 1400),
            ("tls".to_owned(), false, gue(48), Clients::Tcp(443), min_mtu),
        ];
        assert_eq!((found.as_slice(), left_out), (wanted.as_slice(), 0));
        let (one, _) = ways(&desired, &["10.0.0.11".parse().unwrap()]);
        assert_eq!(one.len(), 2);
    }
}
