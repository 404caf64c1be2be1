//! The way of a packet, told: [`why()`](tidegate_plan::why::why) with the names that people know.

use std::borrow::Cow;
use std::net::IpAddr;

use nix::net::if_::if_nameindex;
use tidegate_abi::{Backend, Counter, Slot, admissions, backend_kinds, ip_proto};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Desired, Service, ServiceAddr};
use tidegate_plan::entry;
use tidegate_plan::explain::world_after;
use tidegate_plan::model::{self, Parsed, Trace, Transport, is_by_client, mode};
use tidegate_plan::observed::Datapath;
use tidegate_plan::proof::{self, Finding};
use tidegate_plan::why::{self, Remembered, remedy, why};

use super::Reconciler;
use super::view::protocol_name;
use crate::change::{Candidate, Packet, Refused};
use crate::view::why::{Program, Stage, Why};
use crate::view::{API_VERSION, service_name};

impl Reconciler {
    /// The way of a packet by the maps as they are, or as a configuration would make them.
    pub(super) async fn why(
        &mut self,
        packet: Packet,
        by: Option<Candidate>,
    ) -> Result<Why, Refused> {
        let ingress = self.ingress(packet.interface.as_deref())?;
        let world = |failure: anyhow::Error| Refused::World(format!("{failure:#}"));
        let mut observed = self.observe().await.map_err(world)?;
        let is_candidate = by.is_some();
        let desired = match by {
            None => Cow::Borrowed(&self.config.desired),
            Some(candidate) => {
                let new = self.candidate(candidate)?.desired;
                observed.ways.extend(self.ways_to(&new).await.map_err(world)?.0);
                let dst = destination(&packet.frame);
                let is_asked =
                    |vip: Prefix| dst.is_some_and(|dst| Prefix::new(dst, vip.bits()) == Some(vip));
                let now = self.clock.now();
                observed = world_after(&self.config.desired, &new, is_asked, &observed, now);
                Cow::Owned(new)
            }
        };
        let maps = &observed.datapath;
        let remembered = match why::key_of(&packet.frame) {
            Some(key) => self.parts.datapath.remembered(key)?,
            None => Remembered::default(),
        };
        let constants = tidegate_plan::constants(&desired);
        let found = why(constants, maps, remembered, &packet.frame, ingress);
        let said = found.expected.filter(|_| !is_candidate).map(|expected| {
            let said = self.parts.datapath.prove(&packet.frame, ingress);
            (said, said == expected)
        });
        let (program, program_said) = match said {
            None => (Program::NotAsked, None),
            Some((_, true)) => (Program::Agrees, None),
            Some((Finding::NotRun, false)) => (Program::NotRun, None),
            Some((said, false)) => (Program::Disagrees, Some(finding_text(&said))),
        };
        let story =
            Story { reconciler: self, desired: &desired, maps, trace: &found.trace, is_candidate };
        Ok(Why { program, program_said, ..story.told(&packet.frame) })
    }

    fn ingress(&self, interface: Option<&str>) -> Result<u32, Refused> {
        let mut links = self.parts.datapath.links().iter();
        let link = links.find(|link| interface.is_none_or(|name| link.interface == name));
        let missing = || Refused::NoInterface(interface.unwrap_or("any interface").to_owned());
        link.map(|link| link.ifindex).ok_or_else(missing)
    }
}

fn destination(frame: &[u8]) -> Option<IpAddr> {
    match model::parse(frame) {
        Parsed::Packet(packet) => Some(packet.flow.dst),
        Parsed::NotIp | Parsed::BadHeader => None,
    }
}

/// What is told, and what it is told from.
struct Story<'a> {
    reconciler: &'a Reconciler,
    desired: &'a Desired,
    maps: &'a Datapath,
    trace: &'a Trace,
    /// It is about a configuration that is not in force.
    is_candidate: bool,
}

impl Story<'_> {
    /// All but what the loaded program says.
    fn told(&self, frame: &[u8]) -> Why {
        let Trace { outcome, .. } = self.trace;
        let verdict = outcome.verdict;
        let service = self.service();
        let owner = self.owner();
        let stages = [
            ("guard", self.guard()),
            ("service", self.service_text(service)),
            ("slot", self.slot_text()),
            ("backend", owner.map(|(index, entry)| self.backend_text(service, index, entry))),
            ("wrap", owner.and_then(|(_, entry)| self.wrap_text(entry?))),
            ("out", owner.and_then(|(_, entry)| Some(self.out_text(entry?)))),
        ];
        let stages = stages
            .into_iter()
            .filter_map(|(name, text)| Some(Stage { name: name.to_owned(), text: text? }));
        let counters = [verdict].into_iter().chain(outcome.events.iter().copied());
        let mut counters: Vec<String> = counters.map(|it| it.name().to_owned()).collect();
        if outcome.forwarded.is_some() {
            counters.extend(service.map(|(name, _)| format!("service {name}")));
            let addr = owner.and_then(|(_, entry)| address(entry?));
            counters.extend(addr.map(|addr| format!("backend {addr}")));
        }
        Why {
            api_version: API_VERSION.into(),
            packet: self.packet_text(frame),
            stages: stages.collect(),
            verdict: verdict.name().into(),
            verdict_text: verdict.help().trim().to_owned(),
            sent: outcome.forwarded.is_some(),
            remedy: remedy(verdict).map(str::to_owned),
            vip: self.vip().map(|vip| vip.to_string()),
            service: service.map(|(name, _)| name.to_owned()),
            backend: owner.and_then(|(_, entry)| address(entry?)),
            egress: owner.and_then(|(_, entry)| interface(entry?.egress_ifindex)),
            counters,
            ..Why::default()
        }
    }

    fn packet_text(&self, frame: &[u8]) -> String {
        let Some(packet) = &self.trace.packet else {
            return format!("a frame of {} octets that is no sound IP packet", frame.len());
        };
        let flow = packet.flow;
        let (len, protocol) = (packet.ip_len, protocol_text(flow.proto));
        let from_to = |what: &str| format!("{what}, {} -> {}, {len} octets", flow.src, flow.dst);
        match packet.transport {
            Transport::Ports { opens } => {
                let what = match (flow.proto, opens) {
                    (ip_proto::TCP, true) => "the first packet (SYN), ",
                    (ip_proto::SCTP, true) => "the first packet (INIT), ",
                    (ip_proto::UDP, _) => "",
                    (_, _) => "a later packet, ",
                };
                let (src, dst) = ((flow.src, flow.src_port), (flow.dst, flow.dst_port));
                format!("{protocol} {} -> {}, {what}{len} octets", socket(src), socket(dst))
            }
            Transport::Echo => from_to("ICMP echo request"),
            Transport::NeighbourDiscovery => from_to("neighbour discovery"),
            Transport::Error => from_to("ICMP error"),
            Transport::Fragment => from_to("a fragment"),
            Transport::Malformed => from_to("a packet with a broken transport header"),
            Transport::Other => from_to(&protocol),
        }
    }

    /// The service by its name.
    fn service(&self) -> Option<(&str, &Service)> {
        let (key, _) = self.trace.service?;
        let addr = key.service()?;
        let is_it = |service: &&Service| {
            let (vip, last) = (service.vip, service.last_port);
            vip.addrs == addr.addrs
                && vip.protocol == addr.protocol
                && (vip.port..=last.max(vip.port)).contains(&addr.port)
        };
        let mut services = self.desired.services.iter();
        services.find(|(_, service)| is_it(service)).map(|(name, it)| (name.as_str(), it))
    }

    /// The VIP that the destination lies in, the longest one.
    fn vip(&self) -> Option<Prefix> {
        let dst = self.trace.packet.as_ref()?.flow.dst;
        let vips = self.desired.services.values().map(|service| service.vip.addrs);
        let with = vips.filter(|vip| Prefix::new(dst, vip.bits()) == Some(*vip));
        with.max_by_key(|vip| vip.bits())
    }

    fn owner(&self) -> Option<(u32, Option<&Backend>)> {
        let forwarded = self.trace.outcome.forwarded.map(|it| it.backend);
        let index = forwarded.or(self.trace.owner.map(|(index, _)| index))?;
        (index != 0).then(|| (index, self.maps.backends.get(&index)))
    }

    fn guard(&self) -> Option<String> {
        self.vip()?;
        let client = match self.trace.admission {
            None => "not denied: no prefix of [guard] has this client".to_owned(),
            Some((prefix, admissions::DENY)) => format!("denied by {prefix}"),
            Some((prefix, admissions::ALLOW)) => format!("not denied: allowed by {prefix}"),
            Some((prefix, other)) => format!("{prefix} says {other}, which is nothing of ours"),
        };
        let rates = self.trace.service.and_then(|(_, entry)| self.maps.rates.get(&entry.index));
        let rates = match rates {
            None => "no limit of packets",
            Some(_) => "its packets are limited; whether it is over that is not looked at",
        };
        Some(format!("{client}; {rates}"))
    }

    fn service_text(&self, service: Option<(&str, &Service)>) -> Option<String> {
        let Some((_, entry)) = self.trace.service else {
            let vip = self.vip()?;
            let ports = self.trace.packet.as_ref().map(|it| it.transport);
            let is_asked = matches!(ports, Some(Transport::Ports { .. }));
            return is_asked.then(|| self.no_service(vip));
        };
        let Some((name, service)) = service else {
            return Some(format!("none of the configuration: row {} of the maps", entry.index));
        };
        let addr = service.vip;
        let last = Some(service.last_port).filter(|&last| last != addr.port);
        let vip = addr.addrs.to_string();
        let vip = if addr.prefix_len().is_none() { addr.addr().to_string() } else { vip };
        let known = service_name(&vip, addr.port, last, protocol_name(addr.protocol));
        let state = if self.is_candidate { None } else { self.state(addr) };
        Some(format!("{name}, {known}{}", state.map(|it| format!(", {it}")).unwrap_or_default()))
    }

    /// Whether its VIP is announced, or why not.
    fn state(&self, addr: ServiceAddr) -> Option<String> {
        let state = self.reconciler.last.vips.get(&addr)?;
        let seen = self.reconciler.seen.vip(&addr);
        let announced = seen.is_some_and(|seen| seen.state.announced);
        let why_not = state.withheld.map(|reason| format!("NOT announced: {reason}"));
        Some(match why_not {
            _ if announced => format!("announced, {}", state.proof.name()),
            Some(why_not) => why_not,
            None => "not announced yet".to_owned(),
        })
    }

    /// What the VIP has at other ports; or that the maps do not have what is configured here.
    fn no_service(&self, vip: Prefix) -> String {
        let flow = self.trace.packet.as_ref().map(|it| it.flow);
        let is_here = |service: &&Service| {
            let ports = service.vip.port..=service.last_port.max(service.vip.port);
            flow.is_some_and(|flow| {
                proof::proto(service.vip.protocol) == flow.proto
                    && (service.vip.port == 0 || ports.contains(&flow.dst_port))
            })
        };
        let mut at_vip = self.desired.services.iter().filter(|(_, it)| it.vip.addrs == vip);
        if let Some((name, service)) = at_vip.find(|(_, service)| is_here(service)) {
            let state = self.state(service.vip).unwrap_or_else(|| "not announced yet".into());
            return format!("{name} is configured here and not in the maps: {state}");
        }
        let here = self.desired.services.iter().filter(|(_, it)| it.vip.addrs == vip);
        let here = here.map(|(name, it)| {
            let last = Some(it.last_port).filter(|&last| last != it.vip.port);
            let protocol = protocol_name(it.vip.protocol);
            let port = match (it.vip.port, last) {
                (0, _) => "every port".to_owned(),
                (first, Some(last)) => format!("{first}-{last}"),
                (port, None) => port.to_string(),
            };
            format!("{name} at {port}/{protocol}")
        });
        let mut here: Vec<String> = here.collect();
        let more = here.len().saturating_sub(8);
        here.truncate(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("none at this port: {vip} has {}{more}", here.join(", "))
    }

    fn slot_text(&self) -> Option<String> {
        let (_, entry) = self.trace.service?;
        let Some((nth, slot)) = self.trace.slot else {
            return Some("none: the service has no ring".into());
        };
        let by = if is_by_client(&entry) { "the client's address" } else { "addresses and ports" };
        let by = if self.trace.named.is_some() { "not asked: a QUIC connection id" } else { by };
        let size = entry.ring_size;
        let of = format!("{nth} of {size}, by {by}");
        let name = |index: u32| self.backend_name(index);
        Some(match slot {
            _ if slot == Slot::settled(0) => format!("{of}: empty"),
            _ if slot.is_settled() => format!("{of}: {}", name(slot.current)),
            _ => {
                let remembered = match self.trace.remembered {
                    Some(index) => format!("this flow is remembered with {}", name(index)),
                    None => "this flow is not remembered".to_owned(),
                };
                let (new, old) = (name(slot.current), name(slot.older()));
                format!(
                    "{of}: in transition, new flows to {new}, older ones to {old}; {remembered}"
                )
            }
        })
    }

    fn backend_name(&self, index: u32) -> String {
        let entry = self.maps.backends.get(&index);
        match entry.and_then(address) {
            _ if index == 0 => "none".to_owned(),
            Some(addr) => addr.to_string(),
            None => format!("index {index}, which is free"),
        }
    }

    fn backend_text(
        &self,
        service: Option<(&str, &Service)>,
        index: u32,
        entry: Option<&Backend>,
    ) -> String {
        let name = self.backend_name(index);
        let Some(addr) = entry.and_then(address) else { return name };
        let Some((_, service)) = service else { return name };
        if self.is_candidate {
            return name;
        }
        let view = self.reconciler.last.vips.get(&service.vip);
        let view = view.and_then(|state| state.backends.get(&addr));
        let seen = self.reconciler.seen.backend(&(service.vip, addr));
        let since = seen.and_then(|seen| seen.since.elapsed().ok());
        let since = since.map(|since| {
            let secs = std::time::Duration::from_secs(since.as_secs());
            format!(" for {}", humantime::format_duration(secs))
        });
        let reason = seen.and_then(|seen| seen.state.reason.clone());
        let reason = reason.map(|reason| format!(": {reason}"));
        let state = view.map_or("no longer a backend of the service", |view| view.state.name());
        let (since, reason) = (since.unwrap_or_default(), reason.unwrap_or_default());
        format!("{name}, {state}{since}{reason}")
    }

    fn wrap_text(&self, entry: &Backend) -> Option<String> {
        let packet = self.trace.packet.as_ref()?;
        let outcome = &self.trace.outcome;
        let (mode, mtu) = (mode(entry), entry.mtu);
        let outer = match entry.kind {
            backend_kinds::L2 | backend_kinds::NAT_V4 | backend_kinds::NAT_V6 => String::new(),
            _ => match proof::addresses(&entry.ip) {
                Some((src, dst)) => format!(": {src} -> {dst}"),
                None => String::new(),
            },
        };
        let len = if outcome.forwarded.is_some() {
            let tag = if entry.vlan_tci == [0; 2] { 0 } else { 4 };
            outcome.frame.len().saturating_sub(14 + tag)
        } else {
            packet.ip_len
        };
        let room = match outcome.verdict {
            Counter::AnswerTooBig | Counter::DropTooBig => {
                format!("{len} octets and a header do not fit into {mtu}")
            }
            _ => format!("{len} of {mtu} octets"),
        };
        Some(format!("{mode}{outer}, {room}"))
    }

    fn out_text(&self, entry: &Backend) -> String {
        if !entry::is_resolved(entry) {
            return "next hop or its MAC address is not known".into();
        }
        let name = interface(entry.egress_ifindex);
        let name = name.unwrap_or_else(|| format!("interface {}", entry.egress_ifindex));
        let (to, from) = entry.macs.split_at(6);
        let tag = match u16::from_be_bytes(entry.vlan_tci) {
            0 => String::new(),
            tci => format!(", VLAN {}", tci & 0xfff),
        };
        let how = match self.trace.outcome.verdict {
            Counter::ForwardTx => ", back out where it came in",
            Counter::ForwardRedirect => ", redirected there",
            _ => "",
        };
        format!("{name}, {} -> {}{tag}{how}", mac(from), mac(to))
    }
}

/// What a program did with a packet.
fn finding_text(finding: &Finding) -> String {
    match finding {
        Finding::Sent(headers) => {
            let (to, _) = headers.macs.split_at(6);
            let inside = headers.ip.map(|(src, dst)| format!(" in {src} -> {dst}"));
            format!("sent to {}{}", mac(to), inside.unwrap_or_default())
        }
        Finding::Ended(counter) => format!("{}: {}", counter.name(), counter.help().trim()),
        Finding::NotRun => "not run".into(),
    }
}

fn address(entry: &Backend) -> Option<IpAddr> {
    entry::identity(entry).map(|(_, addr)| addr)
}

fn protocol_text(proto: u8) -> String {
    match proto {
        ip_proto::TCP => "tcp".into(),
        ip_proto::UDP => "udp".into(),
        ip_proto::SCTP => "sctp".into(),
        other => format!("IP protocol {other}"),
    }
}

fn socket((addr, port): (IpAddr, u16)) -> String {
    std::net::SocketAddr::new(addr, port).to_string()
}

fn interface(index: u32) -> Option<String> {
    let all = if_nameindex().ok()?;
    let found = all.iter().find(|it| it.index() == index)?;
    Some(found.name().to_string_lossy().into_owned())
}

fn mac(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}
