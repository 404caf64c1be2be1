//! Sends packets that were told of to collectors.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_config::desired::FlowLog;
use tidegate_plan::export::{ipfix, sflow};
use tidegate_plan::record::Record;
use tracing::warn;

/// Flows are summed up for so long, and samples wait no longer.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Templates are said again after so long (RFC 7011 §8.1): a collector may have been away.
const TEMPLATES_EVERY: Duration = Duration::from_mins(1);

/// Who is sent to, and as what the node is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct To {
    pub(crate) flows: FlowLog,
    pub(crate) router_id: Ipv4Addr,
}

/// What is sent, and where.
pub(super) struct Exports {
    started: Instant,
    ipfix: Option<Ipfix>,
    sflow: Option<(Socket, sflow::Exporter)>,
}

struct Ipfix {
    socket: Socket,
    exporter: ipfix::Exporter,
    templates_at: Instant,
}

impl Exports {
    pub(super) fn new(to: To) -> Self {
        let To { flows, router_id } = to;
        let now = Instant::now();
        let ipfix = flows.ipfix.and_then(Socket::to).map(|socket| Ipfix {
            socket,
            exporter: ipfix::Exporter::new(router_id.to_bits(), flows.sample),
            templates_at: now,
        });
        let sflow = flows.sflow.and_then(Socket::to);
        let exporter = sflow::Exporter::new(IpAddr::V4(router_id), flows.sample);
        Self { started: now, ipfix, sflow: sflow.map(|socket| (socket, exporter)) }
    }

    pub(super) fn add(&mut self, record: &Record, at: SystemTime) {
        let uptime = self.uptime_ms();
        if let Some(Ipfix { exporter, .. }) = &mut self.ipfix {
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            if exporter.add(record, u64::try_from(at.as_millis()).unwrap_or(u64::MAX)) {
                self.flush_ipfix();
            }
        }
        if let Some((socket, exporter)) = &mut self.sflow
            && let Some(datagram) = exporter.add(record, uptime)
        {
            socket.send(&datagram);
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        self.flush_ipfix();
        let uptime = self.uptime_ms();
        if let Some((socket, exporter)) = &mut self.sflow
            && let Some(datagram) = exporter.flush(uptime)
        {
            socket.send(&datagram);
        }
    }

    fn flush_ipfix(&mut self) {
        let Some(Ipfix { socket, exporter, templates_at }) = &mut self.ipfix else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        if *templates_at <= Instant::now() {
            socket.send(&exporter.templates(now));
            *templates_at = Instant::now() + TEMPLATES_EVERY;
        }
        exporter.flush(now).iter().for_each(|message| socket.send(message));
    }

    /// sFlow counts these in 32 bits, which go round.
    fn uptime_ms(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_millis() % (1 << 32)).unwrap_or(0)
    }
}

/// A collector. What it is sent and does not get is not sent again.
struct Socket {
    udp: UdpSocket,
    to: SocketAddr,
    /// The last thing that was said of it.
    said: Option<io::ErrorKind>,
}

impl Socket {
    fn to(to: SocketAddr) -> Option<Self> {
        let from: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((from, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?; // A full queue loses, and nobody waits.
            Ok(socket)
        });
        match socket {
            Ok(udp) => Some(Self { udp, to, said: None }),
            Err(error) => {
                warn!(collector = %to, "no packets are sent to the collector until [flows] names it anew or the daemon is restarted: {error}");
                None
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) {
        let said = self.udp.send_to(datagram, self.to).err();
        let kind = said.as_ref().map(io::Error::kind);
        if let Some(error) = said
            && kind != self.said
        {
            warn!(collector = %self.to, "what the collector should have is lost until it can be reached: {error}; look at the route to it, and at its address in [flows]");
        }
        self.said = kind;
    }
}
