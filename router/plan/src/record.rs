//! Records of packets that the packet path tells of, taken apart.

use core::net::IpAddr;

use tidegate_abi::{Action, Counter, FLOW_SNAP, flow_why, ip_proto};

use crate::model::{Flow, Packet, Parsed, parse_ip, parse_start};

/// Why a packet is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It was dropped.
    Dropped,
    /// It opens a connection.
    Opens,
    /// It ends one.
    Ends,
    /// By chance.
    Sampled,
}

impl Why {
    /// As people see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Opens => "opens",
            Self::Ends => "ends",
            Self::Sampled => "sampled",
        }
    }
}

/// A packet that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, by the kernel's monotonic clock, in nanoseconds.
    pub at_ns: u64,
    /// What became of it.
    pub verdict: Counter,
    /// Why it is told of.
    pub why: Why,
    /// Row of its service's traffic, if it came as far as to a backend.
    pub service: Option<u32>,
    /// Index of its backend.
    pub backend: Option<u32>,
    /// Interface that it came in by.
    pub ingress_ifindex: u32,
    /// Length of the client's IP packet in bytes; of one that is none, of its frame.
    pub len: u32,
    /// Who talks to whom; `None` of what is no IP packet, or an unsound one.
    pub flow: Option<Flow>,
    /// Of TCP.
    pub tcp_flags: Option<u8>,
    /// Where the outer header sends it.
    pub towards: Option<IpAddr>,
    /// Where the client's IP packet starts in the frame.
    pub ip_at: Option<usize>,
    /// First bytes of the frame that left, or that came if none did.
    pub frame: Vec<u8>,
    /// How many the frame had.
    pub frame_len: u32,
}

impl Record {
    /// The client's IP packet, as much of it as there is.
    pub fn inner(&self) -> Option<&[u8]> {
        self.frame.get(self.ip_at?..)
    }
}

/// What people call a verdict.
pub const fn verdict_name(verdict: Counter) -> &'static str {
    match (verdict, verdict.action()) {
        (Counter::ForwardTx | Counter::ForwardRedirect, _) => "FORWARDED",
        (_, Some(Action::Drop)) => "DROPPED",
        (_, Some(Action::Tx | Action::Redirect)) => "ANSWERED",
        (_, Some(Action::Pass) | None) => "PASSED",
    }
}

/// Reads the bytes of a [`FlowRecord`](tidegate_abi::FlowRecord); `None`: they are none.
pub fn read(bytes: &[u8]) -> Option<Record> {
    let (at_ns, rest) = bytes.split_first_chunk()?;
    let (words, frame) = rest.split_at_checked(8 * 4)?;
    let mut words =
        words.as_chunks().0.iter().map(|word: &[u8; 4]| usize::try_from(u32::from_ne_bytes(*word)));
    let mut word = || words.next()?.ok();
    let (verdict, why, service, backend) = (word()?, word()?, word()?, word()?);
    let (ingress, frame_len, len, inner_at) = (word()?, word()?, word()?, word()?);
    let frame = frame.get(..FLOW_SNAP)?.get(..len)?;
    let verdict = *Counter::ALL.get(verdict)?;
    let is_sent = matches!(verdict, Counter::ForwardTx | Counter::ForwardRedirect);
    let inner_at = if is_sent { inner_at } else { 0 };
    let packet = if inner_at == 0 {
        whole(frame, frame_len)
    } else {
        parse_ip(frame.get(inner_at..)?, frame_len.saturating_sub(inner_at))
            .map(|packet| Packet { transport_at: packet.transport_at + inner_at, ..packet })
    };
    let outer = whole(frame, frame_len).filter(|outer| outer.ip_at < inner_at);
    let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
    Some(Record {
        at_ns: u64::from_ne_bytes(*at_ns),
        verdict,
        why: why_of(narrow(why))?,
        service: Some(narrow(service)).filter(|&index| index != u32::MAX),
        backend: Some(narrow(backend)).filter(|&index| index != 0),
        ingress_ifindex: narrow(ingress),
        len: narrow(packet.as_ref().map_or(frame_len, |packet| packet.ip_len)),
        flow: packet.as_ref().map(|packet| packet.flow),
        tcp_flags: packet.as_ref().and_then(|packet| tcp_flags(frame, packet)),
        ip_at: packet.as_ref().map(|packet| inner_at.max(packet.ip_at)),
        towards: outer.map(|packet| packet.flow.dst),
        frame: frame.to_vec(),
        frame_len: narrow(frame_len),
    })
}

fn whole(frame: &[u8], frame_len: usize) -> Option<Packet> {
    match parse_start(frame, frame_len) {
        Parsed::Packet(packet) => Some(packet),
        Parsed::NotIp | Parsed::BadHeader => None,
    }
}

fn tcp_flags(frame: &[u8], packet: &Packet) -> Option<u8> {
    const FLAGS_AT: usize = 13;
    let has = packet.flow.proto == ip_proto::TCP && packet.flow.src_port != 0;
    frame.get(packet.transport_at + FLAGS_AT).copied().filter(|_| has)
}

const fn why_of(bits: u32) -> Option<Why> {
    match bits {
        flow_why::DROPPED => Some(Why::Dropped),
        flow_why::OPENS => Some(Why::Opens),
        flow_why::ENDS => Some(Why::Ends),
        flow_why::SAMPLED => Some(Why::Sampled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An IPv4 packet of TCP from 198.51.100.7:40000 to 192.0.2.10:80 that says so many bytes.
    fn tcp(len: u16, flags: u8) -> Vec<u8> {
        let mut ip =
            vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10];
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        ip.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        ip
    }

    fn record(words: [u32; 8], frame: &[u8]) -> Vec<u8> {
        let mut bytes = 7_u64.to_ne_bytes().to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(frame);
        bytes.resize(40 + FLOW_SNAP, 0);
        bytes
    }

    fn link() -> Vec<u8> {
        [&[2; 12][..], &[8, 0]].concat()
    }

    #[test]
    fn a_packet_in_a_packet_tells_both_though_most_of_it_is_missing() {
        let outer = [0x45, 0, 5, 0xdc, 0, 0, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let frame = [&link()[..], &outer, &tcp(1_480, 0x02)].concat();
        let sent = Counter::ForwardTx as u32;
        let read = read(&record([sent, flow_why::OPENS, 3, 9, 4, 1_514, 74, 34], &frame)).unwrap();
        let flow = read.flow.unwrap();
        assert_eq!((flow.src.to_string(), flow.src_port), ("198.51.100.7".into(), 40_000));
        assert_eq!((flow.dst.to_string(), flow.dst_port), ("192.0.2.10".into(), 80));
        assert_eq!((read.service, read.backend, read.len), (Some(3), Some(9), 1_480));
        assert_eq!((read.tcp_flags, read.why), (Some(0x02), Why::Opens));
        assert_eq!(read.towards.unwrap().to_string(), "10.0.0.2");
        assert_eq!((read.at_ns, read.ingress_ifindex, read.frame_len), (7, 4, 1_514));
    }

    #[test]
    fn a_drop_is_read_as_it_came() {
        let frame = [&link()[..], &tcp(40, 0x10)].concat();
        let verdict = Counter::DropNoService as u32;
        let words = [verdict, flow_why::DROPPED, u32::MAX, 0, 4, 54, 54, 34];
        let read = read(&record(words, &frame)).unwrap();
        assert_eq!((read.service, read.backend, read.towards), (None, None, None));
        assert_eq!((read.tcp_flags, read.len, read.why), (Some(0x10), 40, Why::Dropped));
        assert_eq!(read.flow.unwrap().dst_port, 80);
    }

    #[test]
    fn what_is_no_packet_has_no_flow_and_what_is_no_record_is_none() {
        let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
        let words = [Counter::PassNotIp as u32, flow_why::SAMPLED, u32::MAX, 0, 4, 42, 42, 0];
        let found = read(&record(words, &arp)).unwrap();
        assert_eq!((found.flow, found.tcp_flags, found.len), (None, None, 42));
        for (at, wrong) in [(0, 999), (1, 0), (1, 3), (6, 257)] {
            let mut words = words;
            words[at] = wrong;
            assert_eq!(read(&record(words, &arp)), None, "word {at}");
        }
        assert_eq!(read(&record(words, &arp)[..100]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _either_way = read(&bytes);
        }
    }
}
