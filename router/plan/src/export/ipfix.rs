//! IPFIX (RFC 7011): packets summed up to flows, in messages that explain themselves by templates.
//! Over UDP, where templates are said again from time to time (§8.1).

use core::net::IpAddr;
use std::collections::BTreeMap;

use tidegate_abi::{Action, Counter};

use super::DATAGRAM_MAX;
use crate::record::{Record, Why};

/// Flows that are summed up at a time. With one more, they are sent.
pub const FLOWS_MAX: usize = 4_096;

const VERSION: u16 = 10;
const TEMPLATE_SET: u16 = 2;
const IPV4: u16 = 256;
const IPV6: u16 = 257;

/// Elements of IANA's registry with their lengths, the addresses of the version in front.
const ADDRESSES: [[(u16, u16); 2]; 2] = [[(8, 4), (12, 4)], [(27, 16), (28, 16)]];
const FIELDS: [(u16, u16); 11] = [
    (7, 2),   // sourceTransportPort
    (11, 2),  // destinationTransportPort
    (4, 1),   // protocolIdentifier
    (6, 2),   // tcpControlBits
    (10, 4),  // ingressInterface
    (89, 1),  // forwardingStatus
    (34, 4),  // samplingInterval
    (2, 8),   // packetDeltaCount
    (1, 8),   // octetDeltaCount
    (152, 8), // flowStartMilliseconds
    (153, 8), // flowEndMilliseconds
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    src_port: u16,
    dst_port: u16,
    proto: u8,
    ingress: u32,
    status: u8,
    interval: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    packets: u64,
    bytes: u64,
    tcp_flags: u8,
    first_ms: u64,
    last_ms: u64,
}

/// Sums packets up to flows and writes them down.
#[derive(Debug)]
pub struct Exporter {
    domain: u32,
    /// One in so many of those that are told of by chance.
    sample: u32,
    /// Data records so far (§3.1).
    sequence: u32,
    flows: BTreeMap<Key, Sum>,
}

impl Exporter {
    /// With the number of its observation domain.
    pub const fn new(domain: u32, sample: u32) -> Self {
        Self { domain, sample, sequence: 0, flows: BTreeMap::new() }
    }

    /// Adds a packet, told of at so many milliseconds since 1970. True: there is no room for another
    /// flow.
    pub fn add(&mut self, record: &Record, at_ms: u64) -> bool {
        let Some(flow) = record.flow else { return false };
        let key = Key {
            src: flow.src,
            dst: flow.dst,
            src_port: flow.src_port,
            dst_port: flow.dst_port,
            proto: flow.proto,
            ingress: record.ingress_ifindex,
            status: status(record.verdict),
            interval: if record.why == Why::Sampled { self.sample } else { 1 },
        };
        let new = Sum { packets: 0, bytes: 0, tcp_flags: 0, first_ms: at_ms, last_ms: at_ms };
        let sum = self.flows.entry(key).or_insert(new);
        sum.packets += 1;
        sum.bytes += u64::from(record.len);
        sum.tcp_flags |= record.tcp_flags.unwrap_or(0);
        sum.first_ms = sum.first_ms.min(at_ms);
        sum.last_ms = sum.last_ms.max(at_ms);
        self.flows.len() >= FLOWS_MAX
    }

    /// A message that says the templates.
    pub fn templates(&self, now_secs: u32) -> Vec<u8> {
        let mut set = Vec::new();
        for (id, addresses) in [IPV4, IPV6].into_iter().zip(ADDRESSES) {
            let fields = addresses.into_iter().chain(FIELDS);
            set.extend(id.to_be_bytes());
            set.extend(short(addresses.len() + FIELDS.len()).to_be_bytes());
            fields.for_each(|(element, len)| {
                set.extend(element.to_be_bytes());
                set.extend(len.to_be_bytes());
            });
        }
        self.message(now_secs, TEMPLATE_SET, &set)
    }

    /// All flows, in messages; then there are none.
    pub fn flush(&mut self, now_secs: u32) -> Vec<Vec<u8>> {
        let flows = core::mem::take(&mut self.flows);
        let mut messages = Vec::new();
        for template in [IPV4, IPV6] {
            let mut set: Vec<u8> = Vec::new();
            let mut count = 0;
            for (key, sum) in flows.iter().filter(|(key, _)| template_of(key) == template) {
                let record = record(key, sum);
                if set.len() + record.len() + 20 > DATAGRAM_MAX {
                    messages.push(self.message(now_secs, template, &set));
                    self.sequence = self.sequence.wrapping_add(count);
                    set.clear();
                    count = 0;
                }
                set.extend(record);
                count += 1;
            }
            if count > 0 {
                messages.push(self.message(now_secs, template, &set));
                self.sequence = self.sequence.wrapping_add(count);
            }
        }
        messages
    }

    /// A message with one set (§3.1, §3.3).
    fn message(&self, now_secs: u32, set_id: u16, set: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(20 + set.len());
        message.extend(VERSION.to_be_bytes());
        message.extend(short(20 + set.len()).to_be_bytes());
        message.extend(now_secs.to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.domain.to_be_bytes());
        message.extend(set_id.to_be_bytes());
        message.extend(short(4 + set.len()).to_be_bytes());
        message.extend(set);
        message
    }
}

/// The forwarding status (RFC 7270 §4.12): forwarded, dropped, or consumed here.
const fn status(verdict: Counter) -> u8 {
    match verdict.action() {
        Some(Action::Tx | Action::Redirect) => 0b0100_0000,
        Some(Action::Drop) => 0b1000_0000,
        Some(Action::Pass) | None => 0b1100_0000,
    }
}

const fn template_of(key: &Key) -> u16 {
    if key.src.is_ipv4() { IPV4 } else { IPV6 }
}

fn record(key: &Key, sum: &Sum) -> Vec<u8> {
    let mut record = Vec::with_capacity(80);
    for addr in [key.src, key.dst] {
        match addr {
            IpAddr::V4(addr) => record.extend(addr.octets()),
            IpAddr::V6(addr) => record.extend(addr.octets()),
        }
    }
    record.extend(key.src_port.to_be_bytes());
    record.extend(key.dst_port.to_be_bytes());
    record.push(key.proto);
    record.extend([0, sum.tcp_flags]);
    record.extend(key.ingress.to_be_bytes());
    record.push(key.status);
    record.extend(key.interval.to_be_bytes());
    for long in [sum.packets, sum.bytes, sum.first_ms, sum.last_ms] {
        record.extend(long.to_be_bytes());
    }
    record
}

/// Lengths of datagrams are short.
fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::record;

    #[test]
    fn packets_of_a_flow_are_one_record_and_what_was_dropped_another() {
        let mut exporter = Exporter::new(7, 1_000);
        for at_ms in [5, 3, 9] {
            assert!(!exporter.add(&record(40_000, Counter::ForwardTx, Why::Sampled), at_ms));
        }
        exporter.add(&record(40_000, Counter::DropNoService, Why::Dropped), 4);
        let messages = exporter.flush(100);
        let [message] = &messages[..] else { panic!("{messages:?}") };
        // Version, length, time, sequence, domain, set, its length.
        let len = 56;
        let wanted = [&[0, 10][..], &[0, 20 + 2 * len], &[0, 0, 0, 100], &[0; 4], &[0, 0, 0, 7]];
        assert_eq!(message[..16], wanted.concat());
        assert_eq!(message[16..20], [1, 0, 0, 4 + 2 * len]);
        let forwarded = &message[20..20 + usize::from(len)];
        assert_eq!(forwarded[..8], [198, 51, 100, 7, 192, 0, 2, 10]);
        assert_eq!(forwarded[8..15], [0x9c, 0x40, 0, 80, 6, 0, 0x10]);
        assert_eq!(forwarded[15..24], [0, 0, 0, 4, 0x40, 0, 0, 3, 0xe8]);
        let longs = |n: usize| u64::from_be_bytes(*forwarded[24 + n * 8..].first_chunk().unwrap());
        assert_eq!([longs(0), longs(1), longs(2), longs(3)], [3, 120, 3, 9]);
        let dropped = &message[20 + usize::from(len)..];
        assert_eq!(dropped[19..24], [0x80, 0, 0, 0, 1], "told of for what it is");
        assert!(exporter.flush(100).is_empty());
        assert_eq!(exporter.templates(1)[8..12], [0, 0, 0, 2], "records so far");
    }

    #[test]
    fn messages_fit_into_datagrams_and_flows_have_a_bound() {
        let mut exporter = Exporter::new(7, 1);
        let last = u16::try_from(FLOWS_MAX).unwrap() - 1;
        for port in 0..=last {
            let full = exporter.add(&record(port, Counter::ForwardTx, Why::Sampled), 0);
            assert_eq!(full, port == last, "{port}");
        }
        let messages = exporter.flush(0);
        assert!(messages.iter().all(|message| message.len() <= DATAGRAM_MAX));
        let records: usize = messages.iter().map(|message| (message.len() - 20) / 56).sum();
        assert_eq!(records, FLOWS_MAX);
        assert!(exporter.templates(0).len() < DATAGRAM_MAX);
    }
}
