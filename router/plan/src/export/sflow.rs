//! sFlow version 5 (sflow.org, "sFlow Version 5", July 2004): the headers of packets that were told of
//! by chance, as they came from the client.

use core::net::IpAddr;

use super::DATAGRAM_MAX;
use crate::record::{Record, Why};

const VERSION: u32 = 5;
const FLOW_SAMPLE: u32 = 1;
const RAW_HEADER: u32 = 1;
/// Header protocols (`enum header_protocol`).
const ETHERNET: u32 = 1;
const IPV4: u32 = 11;
const IPV6: u32 = 12;
/// Bytes of a packet, as much as agents send.
const HEADER_MAX: usize = 128;

/// Collects samples and writes them down.
#[derive(Debug)]
pub struct Exporter {
    agent: IpAddr,
    /// One in so many.
    sample: u32,
    datagrams: u32,
    samples: u32,
    /// Samples that wait, written down.
    waiting: Vec<u8>,
    count: u32,
}

impl Exporter {
    /// With the address by which collectors know the node.
    pub const fn new(agent: IpAddr, sample: u32) -> Self {
        Self { agent, sample, datagrams: 0, samples: 0, waiting: Vec::new(), count: 0 }
    }

    /// Adds a packet; a datagram when one is full.
    pub fn add(&mut self, record: &Record, uptime_ms: u32) -> Option<Vec<u8>> {
        if record.why != Why::Sampled {
            return None; // Those are no sample: nobody may reckon with them.
        }
        let full = self.waiting.len() + 96 + HEADER_MAX > DATAGRAM_MAX;
        let datagram = if full { self.flush(uptime_ms) } else { None };
        self.samples = self.samples.wrapping_add(1);
        let sample = self.sample_of(record);
        self.waiting.extend(sample);
        self.count += 1;
        datagram
    }

    /// What waits, if anything does.
    pub fn flush(&mut self, uptime_ms: u32) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        self.datagrams = self.datagrams.wrapping_add(1);
        let mut datagram = Vec::with_capacity(DATAGRAM_MAX);
        put(&mut datagram, &[VERSION]);
        match self.agent {
            IpAddr::V4(addr) => {
                put(&mut datagram, &[1]);
                datagram.extend(addr.octets());
            }
            IpAddr::V6(addr) => {
                put(&mut datagram, &[2]);
                datagram.extend(addr.octets());
            }
        }
        put(&mut datagram, &[0, self.datagrams, uptime_ms, self.count]);
        datagram.append(&mut self.waiting);
        self.count = 0;
        Some(datagram)
    }

    /// A flow sample with the start of the packet.
    fn sample_of(&self, record: &Record) -> Vec<u8> {
        /// Not known (`struct flow_sample`, output).
        const UNKNOWN: u32 = 0;
        let (protocol, header, len) = header(record);
        let padded = header.len().next_multiple_of(4);
        let narrow = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut raw = Vec::with_capacity(16 + padded);
        put(&mut raw, &[protocol, len, 0, narrow(header.len())]);
        raw.extend(header);
        raw.resize(16 + padded, 0);
        let mut body = Vec::with_capacity(40 + raw.len());
        let pool = self.samples.wrapping_mul(self.sample);
        let source = record.ingress_ifindex & 0x00ff_ffff;
        put(&mut body, &[self.samples, source, self.sample, pool, 0]);
        put(&mut body, &[record.ingress_ifindex, UNKNOWN, 1, RAW_HEADER, narrow(raw.len())]);
        body.extend(raw);
        let mut sample = Vec::with_capacity(8 + body.len());
        put(&mut sample, &[FLOW_SAMPLE, narrow(body.len())]);
        sample.extend(body);
        sample
    }
}

/// The client's packet: what it is, its first bytes, and how many there were.
fn header(record: &Record) -> (u32, &[u8], u32) {
    let (protocol, bytes, len) = match record.inner() {
        Some(inner) => {
            let protocol =
                if inner.first().is_some_and(|first| first >> 4 == 6) { IPV6 } else { IPV4 };
            (protocol, inner, record.len)
        }
        None => (ETHERNET, record.frame.as_slice(), record.frame_len),
    };
    (protocol, bytes.get(..HEADER_MAX).unwrap_or(bytes), len)
}

fn put(to: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        to.extend(word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use tidegate_abi::Counter;

    use super::*;
    use crate::export::tests::record;

    #[test]
    fn a_datagram_has_samples_in_multiples_of_four_bytes() {
        let agent = "192.0.2.1".parse().unwrap();
        let mut exporter = Exporter::new(agent, 1_000);
        assert_eq!(exporter.flush(0), None);
        assert_eq!(exporter.add(&record(1, Counter::DropNoService, Why::Dropped), 1), None);
        assert_eq!(exporter.flush(0), None, "no sample");
        exporter.add(&record(1, Counter::ForwardTx, Why::Sampled), 1);
        let datagram = exporter.flush(9).unwrap();
        let words: Vec<u32> =
            datagram.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
        assert_eq!(datagram.len() % 4, 0);
        assert_eq!(words[..7], [5, 1, 0xc000_0201, 0, 1, 9, 1]);
        let &[format, len, sequence, source, rate, pool, drops] = &words[7..14] else { panic!() };
        assert_eq!((format, len as usize), (1, datagram.len() - 36));
        assert_eq!((sequence, source, rate, pool, drops), (1, 4, 1_000, 1_000, 0));
        assert_eq!(words[14..18], [4, 0, 1, 1]);
        assert_eq!(words[19..23], [IPV4, 40, 0, 40]);
        assert_eq!(datagram[92..94], [0x45, 0]);
    }

    #[test]
    fn datagrams_have_a_bound() {
        let mut exporter = Exporter::new("2001:db8::1".parse().unwrap(), 1);
        let sampled = record(1, Counter::ForwardTx, Why::Sampled);
        let sent: Vec<Vec<u8>> = (0..100).filter_map(|_| exporter.add(&sampled, 0)).collect();
        assert!(sent.len() > 5 && sent.iter().all(|it| it.len() <= DATAGRAM_MAX));
    }
}
