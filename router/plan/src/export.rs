//! Packets that are told of, as collectors of others take them.

pub mod ipfix;
pub mod pcapng;
pub mod sflow;

/// Bytes of a datagram that passes every path.
const DATAGRAM_MAX: usize = 1_400;

#[cfg(test)]
mod tests {
    use tidegate_abi::Counter;

    use crate::model::Flow;
    use crate::record::{Record, Why};

    /// A TCP segment of 40 bytes in IPv4, behind an outer header if it was sent on.
    pub(super) fn record(src_port: u16, verdict: Counter, why: Why) -> Record {
        let (src, dst) = ("198.51.100.7".parse().unwrap(), "192.0.2.10".parse().unwrap());
        let mut frame = vec![0; 34];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10]);
        frame.extend([0; 20]);
        Record {
            at_ns: 0,
            verdict,
            why,
            service: None,
            backend: None,
            ingress_ifindex: 4,
            len: 40,
            flow: Some(Flow { src, dst, src_port, dst_port: 80, proto: 6 }),
            tcp_flags: Some(0x10),
            towards: None,
            ip_at: Some(34),
            frame,
            frame_len: 74,
        }
    }
}
