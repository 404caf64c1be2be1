//! Connections in NAT (RFC 3022, RFC 5382, RFC 4787; ICMP errors by RFC 5508): one record for each,
//! found from both sides.

use core::net::IpAddr;
use std::collections::BTreeMap;

use tidegate_abi::{
    Backend, Counter, FlowKey, NAT_PROBES, NatFlow, Service, backend_flags, features, ip_proto,
    nat_port, service_flags,
};

use super::encap::{get, put, sum, wrap};
use super::packet::{Flow, Packet, Transport, quoted};
use super::pick::key;
use super::{Forwarded, Model, Outcome, answer};
use crate::entry;

/// All connections.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    by_client: BTreeMap<FlowKey, Connection>,
    /// The client's key, by what the answers are known by.
    by_answer: BTreeMap<FlowKey, FlowKey>,
    max: usize,
}

/// One of them.
#[derive(Clone, Debug)]
struct Connection {
    /// From the client to the VIP.
    outside: Flow,
    /// From us to the backend.
    inside: Flow,
    service: u32,
    backend: u32,
    /// The client's last frame: its link layer, and where it came in.
    link: Vec<u8>,
    ingress_ifindex: u32,
    /// Flags of all TCP segments of the client, and of the backend.
    flags: [u8; 2],
}

impl Connections {
    /// One that the map holds: a client's flow, and what it is translated to.
    pub fn put(&mut self, outside: Flow, flow: &NatFlow) {
        let addr = |octets: [u8; 16]| match outside.dst {
            IpAddr::V4(_) => {
                let [.., a, b, c, d] = octets;
                IpAddr::from([a, b, c, d])
            }
            IpAddr::V6(_) => IpAddr::from(octets),
        };
        let inside = Flow {
            src: addr(flow.source),
            dst: addr(flow.backend_addr),
            src_port: u16::from_be_bytes(flow.source_port),
            dst_port: u16::from_be_bytes(flow.backend_port),
            proto: outside.proto,
        };
        let connection = Connection {
            outside,
            inside,
            service: flow.service,
            backend: flow.backend,
            link: Vec::new(),
            ingress_ifindex: flow.ingress_ifindex,
            flags: [0; 2],
        };
        self.by_client.insert(key(&outside), connection);
    }

    /// None yet, of as many as there may be.
    pub fn none_of(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Who may answer whom: flows from backends that are translated, in the order of their keys.
    pub fn answers(&self) -> impl Iterator<Item = Flow> {
        let inside = |client| self.by_client.get(client).map(|connection| back(connection.inside));
        self.by_answer.values().filter_map(inside)
    }

    fn forget(&mut self, client: &FlowKey) {
        if let Some(gone) = self.by_client.remove(client) {
            self.by_answer.remove(&key(&back(gone.inside)));
        }
    }
}

/// The same flow, seen from the other end.
const fn back(flow: Flow) -> Flow {
    let Flow { src, dst, src_port, dst_port, proto } = flow;
    Flow { src: dst, dst: src, src_port: dst_port, dst_port: src_port, proto }
}

impl Model<'_> {
    /// Whether packets of this service are translated.
    pub(super) fn is_nat(&self, service: Service) -> bool {
        self.constants.features & features::NAT != 0 && service.flags & service_flags::NAT != 0
    }

    /// Whether connections come from this address.
    pub(super) fn is_nat_source(&self, addr: IpAddr) -> bool {
        let own = self.vip(addr).map_or(0, |own| own.flags);
        self.constants.features & features::NAT != 0 && own & service_flags::NAT_SOURCE != 0
    }

    /// A packet of a client.
    pub(super) fn translate(
        &mut self,
        packet: &Packet,
        service: Service,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let client = key(&packet.flow);
        let opens = packet.transport == Transport::Ports { opens: true };
        if opens && !self.goes_on(&client, packet) {
            self.nat.forget(&client);
        }
        let link = frame.get(..packet.ip_at).unwrap_or_default().to_vec();
        let Some(known) = self.nat.by_client.get_mut(&client) else {
            if !opens && packet.flow.proto != ip_proto::UDP {
                return Err(Counter::DropNatUnknown);
            }
            return self.open(packet, service, frame, ingress_ifindex, outcome);
        };
        // Who sends the client's frames, and with which tag: if that is another one by now, or comes
        // by another interface, the answers go there.
        let told_by = |link: &[u8]| (part(link, 6, 8), part(link, 14, 4), link.len() > 14);
        let is_other = ingress_ifindex != known.ingress_ifindex
            || told_by(&link).0 != told_by(&known.link).0
            || told_by(&link).1 != told_by(&known.link).1;
        if is_other {
            (known.link, known.ingress_ifindex) = (link, ingress_ifindex);
        }
        let connection = known.clone();
        self.send_to_backend(packet, &connection, frame, ingress_ifindex, outcome)
    }

    /// Whether a SYN belongs to a connection that was not over.
    fn goes_on(&self, client: &FlowKey, packet: &Packet) -> bool {
        const FIN: u8 = 0x01;
        const RST: u8 = 0x04;
        self.nat.by_client.get(client).is_some_and(|known| {
            let [client, backend] = known.flags;
            let is_over = (client | backend) & RST != 0 || client & backend & FIN != 0;
            !is_over && self.entry_of(known.backend, packet).is_some()
        })
    }

    /// The entry of a backend that packets of this family can be sent to.
    fn entry_of(&self, backend: u32, packet: &Packet) -> Option<Backend> {
        let entry = *self.maps.backends.get(&backend)?;
        let is_of_family = entry::nat_source(&entry)?.is_ipv4() == packet.flow.dst.is_ipv4();
        (is_of_family && entry.flags & backend_flags::RESOLVED != 0).then_some(entry)
    }

    fn open(
        &mut self,
        packet: &Packet,
        service: Service,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let (_, slot, hash) = self.slot(packet, service)?;
        if slot.current == 0 {
            return Err(Counter::DropNoBackend);
        }
        let entry = self.entry_of(slot.current, packet).ok_or(Counter::DropUnresolved)?;
        if let Some(verdict) = self.may_not_pass(packet, &entry, frame, outcome) {
            return verdict;
        }
        let (Some(source), Some((_, to))) = (entry::nat_source(&entry), entry::identity(&entry))
        else {
            return Err(Counter::DropUnresolved);
        };
        let own_port = service.flags >> service_flags::BACKEND_PORT;
        let dst_port = match u16::try_from(own_port) {
            Ok(port) if port != 0 => port,
            _ => packet.flow.dst_port,
        };
        if self.nat.by_client.len() >= self.nat.max {
            return Err(Counter::DropNatFull);
        }
        let (first, count) = (self.constants.nat_port_first, self.constants.nat_port_count);
        let inside = (0..NAT_PROBES)
            .map(|probe| {
                let src_port = nat_port(hash, packet.flow.src_port, probe, first, count);
                let proto = packet.flow.proto;
                Flow { src: source, dst: to, src_port, dst_port, proto }
            })
            .find(|inside| !self.nat.by_answer.contains_key(&key(&back(*inside))));
        let inside = inside.ok_or(Counter::DropNatNoPort)?;
        let connection = Connection {
            outside: packet.flow,
            inside,
            service: service.index,
            backend: slot.current,
            link: frame.get(..packet.ip_at).unwrap_or_default().to_vec(),
            ingress_ifindex,
            flags: [0; 2],
        };
        let client = key(&packet.flow);
        self.nat.by_answer.insert(key(&back(inside)), client);
        self.nat.by_client.insert(client, connection.clone());
        outcome.events.push(Counter::NatOpened);
        self.send_to_backend(packet, &connection, frame, ingress_ifindex, outcome)
    }

    /// The verdict on a packet that cannot go on to a backend.
    fn may_not_pass(
        &self,
        packet: &Packet,
        entry: &Backend,
        frame: &[u8],
        outcome: &mut Outcome,
    ) -> Option<Result<Counter, Counter>> {
        if packet.ip_len > usize::from(entry.mtu) {
            let without_df = self.constants.features & features::TOO_BIG_WITHOUT_DF != 0;
            let answers = self.constants.features & features::TOO_BIG != 0;
            let features = self.constants.features;
            let made = answer::too_big(frame, packet, entry, without_df, features);
            return Some(match made.filter(|_| answers) {
                Some(made) => {
                    outcome.frame = made;
                    Ok(Counter::AnswerTooBig)
                }
                None => Err(Counter::DropTooBig),
            });
        }
        is_expired(frame, packet).then_some(Err(Counter::PassExpired))
    }

    fn send_to_backend(
        &mut self,
        packet: &Packet,
        to: &Connection,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let entry = self.entry_of(to.backend, packet).ok_or(Counter::DropUnresolved)?;
        if let Some(verdict) = self.may_not_pass(packet, &entry, frame, outcome) {
            return verdict;
        }
        self.saw(&key(&to.outside), frame, packet, 0);
        let translated = translated(frame, packet, to.inside).ok_or(Counter::DropMalformed)?;
        self.send_translated(&translated, packet, to, &entry, ingress_ifindex, outcome)
    }

    fn send_translated(
        &self,
        translated: &[u8],
        packet: &Packet,
        to: &Connection,
        entry: &Backend,
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        // No header is put in front that a flow could choose anything of.
        outcome.frame = wrap(translated, packet, entry, 0, &self.constants)?.frame;
        let verdict = self.way_out(entry.egress_ifindex, ingress_ifindex);
        let verdict = verdict.ok_or(Counter::DropUnresolved)?;
        // No slot was asked.
        let (service, backend, slot) = (to.service, to.backend, u32::MAX);
        outcome.forwarded = Some(Forwarded { service, slot, backend, is_named: false });
        Ok(if verdict { Counter::ForwardTx } else { Counter::ForwardRedirect })
    }

    /// Whether the way out is the way in; `None`: there is none.
    fn way_out(&self, egress: u32, ingress: u32) -> Option<bool> {
        (egress == ingress || self.devices.contains(&egress)).then_some(egress == ingress)
    }

    fn saw(&mut self, client: &FlowKey, frame: &[u8], packet: &Packet, end: usize) {
        let flags = frame.get(packet.transport_at + 13).filter(|_| packet.flow.proto == 6);
        let known = self.nat.by_client.get_mut(client).and_then(|it| it.flags.get_mut(end));
        if let (Some(known), Some(flags)) = (known, flags) {
            *known |= flags;
        }
    }

    /// A packet to an address that connections come from.
    pub(super) fn send_to_client(
        &mut self,
        packet: &Packet,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        if packet.is_for_group {
            return Err(Counter::PassNotOurs);
        }
        if packet.transport == Transport::Error {
            return self.error_to_client(packet, frame, ingress_ifindex, outcome);
        }
        if !matches!(packet.transport, Transport::Ports { .. }) {
            return Err(Counter::PassNotOurs);
        }
        let client = self.nat.by_answer.get(&key(&packet.flow)).copied();
        let client = client.ok_or(Counter::PassNotOurs)?;
        let known = self.nat.by_client.get(&client).cloned().ok_or(Counter::PassNotOurs)?;
        if is_expired(frame, packet) {
            return Err(Counter::DropExpired);
        }
        self.saw(&client, frame, packet, 1);
        let translated = translated(frame, packet, back(known.outside));
        let translated = translated.ok_or(Counter::DropMalformed)?;
        self.send_back(&translated, packet, &known, ingress_ifindex, outcome)
    }

    /// Back the way that the client's last frame came.
    fn send_back(
        &self,
        translated: &[u8],
        packet: &Packet,
        to: &Connection,
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let mut out = part(&to.link, 6, 6);
        out.extend(part(&to.link, 0, 6));
        out.extend(to.link.get(12..).unwrap_or_default());
        out.extend(translated.get(packet.ip_at..).unwrap_or_default());
        outcome.frame = out;
        match self.way_out(to.ingress_ifindex, ingress_ifindex) {
            Some(true) => Ok(Counter::AnswerTx),
            Some(false) => Ok(Counter::AnswerRedirect),
            None => Err(Counter::DropUnresolved),
        }
    }

    /// An error about what was sent to a backend.
    fn error_to_client(
        &self,
        packet: &Packet,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let flow = quoted_by(frame, packet).ok_or(Counter::PassNotOurs)?;
        let client = self.nat.by_answer.get(&key(&flow)).ok_or(Counter::PassNotOurs)?;
        let known = self.nat.by_client.get(client).ok_or(Counter::PassNotOurs)?;
        if is_expired(frame, packet) {
            return Err(Counter::DropExpired);
        }
        // What the client has sent.
        let translated = translated_error(frame, packet, known.outside);
        let translated = translated.ok_or(Counter::PassNotOurs)?;
        let verdict = self.send_back(&translated, packet, known, ingress_ifindex, outcome)?;
        outcome.events.push(Counter::IcmpErrorForwarded);
        Ok(verdict)
    }

    /// An error about what was sent to a client.
    pub(super) fn error_to_backend(
        &self,
        packet: &Packet,
        frame: &[u8],
        ingress_ifindex: u32,
        outcome: &mut Outcome,
    ) -> Result<Counter, Counter> {
        let flow = quoted_by(frame, packet).ok_or(Counter::DropNatUnknown)?;
        let known = self.nat.by_client.get(&key(&flow)).ok_or(Counter::DropNatUnknown)?;
        let entry = self.entry_of(known.backend, packet).ok_or(Counter::DropUnresolved)?;
        if packet.ip_len > usize::from(entry.mtu) {
            return Err(Counter::DropTooBig);
        }
        if is_expired(frame, packet) {
            return Err(Counter::PassExpired);
        }
        let translated = translated_error(frame, packet, back(known.inside));
        let translated = translated.ok_or(Counter::DropNatUnknown)?;
        let verdict =
            self.send_translated(&translated, packet, known, &entry, ingress_ifindex, outcome)?;
        outcome.events.push(Counter::IcmpErrorForwarded);
        Ok(verdict)
    }
}

/// The flow that an error is about, from whom it was sent to back to who sent it; `None` if that is
/// not who the error comes to.
fn quoted_by(frame: &[u8], packet: &Packet) -> Option<Flow> {
    let at = packet.transport_at + 8;
    let room = (packet.ip_at + packet.ip_len).saturating_sub(at);
    let flow = quoted(frame, at, room, packet.flow.dst.is_ipv4())?;
    (flow.dst == packet.flow.dst).then_some(flow)
}

fn part(bytes: &[u8], at: usize, len: usize) -> Vec<u8> {
    bytes.get(at..).map(|rest| rest.iter().take(len).copied().collect()).unwrap_or_default()
}

/// TTL or hop limit, and where it stands.
fn hops(frame: &[u8], packet: &Packet) -> (u8, usize) {
    let at = packet.ip_at + if packet.flow.dst.is_ipv4() { 8 } else { 7 };
    (frame.get(at).copied().unwrap_or_default(), at)
}

fn is_expired(frame: &[u8], packet: &Packet) -> bool {
    hops(frame, packet).0 <= 1
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Overwrites bytes, and returns what that adds to a sum of words.
fn replace(bytes: &mut [u8], at: usize, with: &[u8]) -> Option<u16> {
    let old = bytes.get_mut(at..at + with.len())?;
    let words = |bytes: &[u8]| -> Vec<u16> {
        let (words, _) = bytes.as_chunks::<2>();
        words.iter().map(|&word| u16::from_be_bytes(word)).collect()
    };
    let added = sum(words(old).into_iter().map(|word| !word).chain(words(with)));
    old.copy_from_slice(with);
    Some(added)
}

/// Updates a checksum after something was added to what it covers (RFC 1624 §3); returns what that
/// adds itself.
fn update(bytes: &mut [u8], at: usize, added: u16) -> Option<u16> {
    let old = get(bytes, at)?;
    let new = !sum([!old, added]);
    put(bytes, at, new);
    Some(sum([!old, new]))
}

/// Other addresses in an IP header; returns what they add.
fn readdress(bytes: &mut [u8], ip_at: usize, src: IpAddr, dst: IpAddr) -> Option<u16> {
    let addrs = [octets(src), octets(dst)].concat();
    replace(bytes, ip_at + if src.is_ipv4() { 12 } else { 8 }, &addrs)
}

/// One hop further on, from other addresses to others; returns what they add to a pseudo header.
fn pass_on(out: &mut [u8], packet: &Packet, src: IpAddr, dst: IpAddr) -> Option<u16> {
    let addresses = readdress(out, packet.ip_at, src, dst)?;
    let (hops, at) = hops(out, packet);
    if src.is_ipv4() {
        let proto = *out.get(at + 1)?;
        let hop = replace(out, at, &[hops - 1, proto])?;
        update(out, packet.ip_at + 10, sum([addresses, hop]))?;
    } else {
        *out.get_mut(at)? = hops - 1;
    }
    Some(addresses)
}

/// A packet as it goes on in another flow.
fn translated(frame: &[u8], packet: &Packet, to: Flow) -> Option<Vec<u8>> {
    let mut out = frame.to_vec();
    let addresses = pass_on(&mut out, packet, to.src, to.dst)?;
    let at = packet.transport_at;
    let ports = [to.src_port.to_be_bytes(), to.dst_port.to_be_bytes()].concat();
    let ports = replace(&mut out, at, &ports)?;
    transport_checksum(&mut out, at, to.proto, sum([addresses, ports]))?;
    Some(out)
}

/// Updates the checksum of TCP or UDP; returns what that adds itself.
fn transport_checksum(out: &mut [u8], at: usize, proto: u8, added: u16) -> Option<u16> {
    if proto != ip_proto::UDP {
        return update(out, at + 16, added);
    }
    let old = get(out, at + 6)?;
    if old == 0 {
        return Some(sum([!0, 0])); // There is none (RFC 768), and that stays so.
    }
    update(out, at + 6, added)?;
    if get(out, at + 6)? == 0 {
        put(out, at + 6, u16::MAX);
    }
    Some(sum([!old, get(out, at + 6)?]))
}

/// An ICMP error as it goes on to who has sent a packet in this flow.
fn translated_error(frame: &[u8], packet: &Packet, sent: Flow) -> Option<Vec<u8>> {
    let mut out = frame.to_vec();
    let quoted_at = packet.transport_at + 8;
    let room = (packet.ip_at + packet.ip_len).checked_sub(quoted_at)?;
    let is_v4 = sent.src.is_ipv4();
    let header_len = match *frame.get(quoted_at)? {
        first if is_v4 => usize::from(first & 0xf) * 4,
        _ if *frame.get(quoted_at + 6)? == sent.proto => 40,
        _ => return None,
    };
    let at = quoted_at + header_len;
    frame.get(at..at + 8)?;
    // The quoted packet, one change after the other.
    let addresses = readdress(&mut out, quoted_at, sent.src, sent.dst)?;
    let mut added = vec![addresses];
    if is_v4 {
        added.push(update(&mut out, quoted_at + 10, addresses)?);
    }
    let ports = [sent.src_port.to_be_bytes(), sent.dst_port.to_be_bytes()].concat();
    let ports = replace(&mut out, at, &ports)?;
    added.push(ports);
    let has_checksum = sent.proto == ip_proto::UDP
        || (room - header_len >= 18 && frame.get(at + 16..at + 18).is_some());
    if has_checksum {
        added.push(transport_checksum(&mut out, at, sent.proto, sum([addresses, ports]))?);
    }
    // The error itself comes from the other end of the flow.
    let outer = pass_on(&mut out, packet, sent.dst, sent.src)?;
    if !is_v4 {
        added.push(outer);
    }
    update(&mut out, packet.transport_at + 2, sum(added))?;
    Some(out)
}
