//! How long failures last, seen on the wires on both sides of an edge:
//!
//! ```text
//!   client ──access── router (BIRD) ──uplink── edge (tidegate) ──fabric─┬─ b1
//!                                                                      └─ b2
//! ```
//!
//! The edge has a leg in the fabric that can fail without the session. A client sends datagrams all
//! the time; who gets them is seen in the fabric, what the router is told is seen on the uplink.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::bird::{self, Bird, Session};
use super::main_job::{SOON, start_decap};
use super::topology::{Host, Interface, SWITCH, Topology};
use super::wire::Wire;
use super::{Lab, Process, program};

const VIP: &str = "192.0.2.10";
const PREFIX: &str = "192.0.2.10/32";
const VIP_OCTETS: [u8; 4] = [192, 0, 2, 10];
const EDGE: &str = "198.51.100.2";
const ROUTER: &str = "198.51.100.1";
const BACKENDS: [(&str, &str); 2] = [("b1", "203.0.113.11"), ("b2", "203.0.113.12")];

/// Between two health checks of a backend.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Between two that fail.
pub const RETRY: Duration = Duration::from_millis(250);
/// So many of which make it down.
pub const FALL: u32 = 3;

/// Between two datagrams of the client.
const EVERY: Duration = Duration::from_millis(1);
/// So many sockets send them in turns, for flows to every backend.
const SOCKETS: usize = 32;
/// A backend that gets no datagram for so long gets none any more.
const QUIET: Duration = Duration::from_millis(300);

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server of one backend ends.
    OneBackend,
    /// Those of all backends do.
    AllBackends,
    /// The edge's leg in the fabric goes down.
    Link,
    /// Somebody deletes the service from the packet path.
    Map,
}

/// What a failure took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From the failure to the last datagram that a dead backend got, or to the withdraw on the wire.
    pub from_failure: Duration,
    /// The same from the daemon's own verdict, which the journal has.
    pub from_verdict: Duration,
}

/// The lab. What runs in it goes before the lab does.
pub struct Failover {
    edge: Process,
    bird: Bird,
    servers: [Option<Process>; 2],
    sends: Sends,
    /// UPDATEs that withdraw the VIP, at the router.
    withdraws: Wire,
    /// Datagrams of the client at the first backend.
    served: Wire,
    _others: Vec<Process>,
    lab: Lab,
}

impl Failover {
    /// Starts everything and waits until the VIP is announced.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn new() -> Result<Self> {
        let lab = Lab::new(&topology())?;
        let session = Session {
            name: "edge",
            local: ROUTER,
            local_as: 64_512,
            neighbor: EDGE,
            neighbor_as: 64_513,
        };
        let bird = Bird::start(&lab, "router", &bird::config(ROUTER, &[session]))?;
        // See `MainJob`: veth at the other end.
        let others = vec![start_decap(&lab, SWITCH, "edge-eth1")?];
        let config = lab.write("tidegate.toml", &config(&lab))?.display().to_string();
        let tidegate = program("tidegate")?.display().to_string();
        let run = ["env", "TIDEGATE_LOG_FORMAT=json", &tidegate, "run", "--config", &config];
        let edge = lab.start("edge", "tidegate", &run)?;
        let sends = Sends::start(&lab)?;
        let withdraws = Wire::watch(&lab, "router", withdraws_the_vip)?;
        let served = Wire::watch(&lab, "b1", is_served)?;
        let servers = [None, None];
        let mut it = Self { edge, bird, servers, sends, withdraws, served, _others: others, lab };
        it.start_servers()?;
        it.wait_until_all_is_well()?;
        Ok(it)
    }

    /// Lets something fail, and mends it.
    ///
    /// # Errors
    /// When it has no consequence, or what is mended does not come back.
    pub fn fail(&mut self, failure: Failure) -> Result<Took> {
        let said = self.edge.printed().len();
        self.withdraws.forget();
        let begin = SystemTime::now();
        match failure {
            Failure::OneBackend => self.kill(0)?,
            Failure::AllBackends => {
                self.kill(0)?;
                self.kill(1)?;
            }
            Failure::Link => self.on_edge("ip link set eth1 down")?,
            Failure::Map => self.on_edge(&self.delete_service())?,
        }
        let (event, end) = if failure == Failure::OneBackend {
            ("backend-down", self.last_served()?)
        } else {
            ("vip-withdrawn", self.first_withdraw()?)
        };
        let verdict = self.verdict(said, event)?;
        if failure == Failure::Link {
            self.on_edge("ip link set eth1 up")?;
        }
        self.start_servers()?;
        self.wait_until_all_is_well()?;
        let since = |from: SystemTime| end.duration_since(from).unwrap_or_default();
        Ok(Took { from_failure: since(begin), from_verdict: since(verdict) })
    }

    fn kill(&mut self, at: usize) -> Result<()> {
        let server = self.servers.get_mut(at).and_then(Option::take);
        server.context("that server does not run")?.kill()
    }

    fn start_servers(&mut self) -> Result<()> {
        let http = program("lab-http")?.display().to_string();
        for ((host, _), server) in BACKENDS.into_iter().zip(&mut self.servers) {
            if server.is_none() {
                let serve = [&*http, "serve", "--name", host];
                *server = Some(self.lab.start(host, "http", &serve)?);
            }
        }
        Ok(())
    }

    /// When the dead backend got the last datagram: it gets none for a while after.
    fn last_served(&self) -> Result<SystemTime> {
        self.lab.wait_for("datagrams to leave the backend", SOON, || {
            let last = self.served.seen().last().copied().context("it got none")?;
            ensure!(last.elapsed().unwrap_or_default() > QUIET, "it still gets datagrams");
            Ok(last)
        })
    }

    fn first_withdraw(&self) -> Result<SystemTime> {
        self.lab.wait_for("the withdraw", SOON, || {
            self.withdraws.seen().first().copied().context("nothing was withdrawn")
        })
    }

    /// When the daemon first told of such an event after it had printed so much.
    fn verdict(&self, said: usize, event: &str) -> Result<SystemTime> {
        self.lab.wait_for(&format!("the journal to say {event}"), SOON, || {
            let printed = self.edge.printed();
            let news = printed.get(said..).unwrap_or_default().lines();
            let mut entries = news.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let entry = entries.find(|entry| entry.get("event") == Some(&event.into()));
            let time = entry.as_ref().and_then(|entry| entry.get("time")?.as_str());
            Ok(humantime::parse_rfc3339(time.context("not yet")?)?)
        })
    }

    fn delete_service(&self) -> String {
        let map = self.lab.bpffs().join("edge/SERVICES_V4").display().to_string();
        let [a, b, c, d] = VIP_OCTETS;
        let key = format!("{a} {b} {c} {d} 0 7 17 0");
        format!("bpftool map delete pinned {map} key {key}")
    }

    fn on_edge(&self, command: &str) -> Result<()> {
        let words: Vec<&str> = command.split_whitespace().collect();
        self.lab.run("edge", &words).map(drop)
    }

    /// The VIP is in the router, and the first backend gets datagrams.
    fn wait_until_all_is_well(&mut self) -> Result<()> {
        self.sends.alive()?;
        self.lab.wait_for("the route", SOON, || {
            self.edge.alive()?;
            self.bird.route(&self.lab, PREFIX)
        })?;
        self.served.forget();
        self.lab.wait_for("datagrams at the backend", SOON, || {
            ensure!(!self.served.seen().is_empty(), "none has come");
            Ok(())
        })
    }
}

/// A client that sends datagrams without end.
struct Sends {
    over: Arc<AtomicBool>,
    sending: Option<JoinHandle<()>>,
}

impl Sends {
    fn start(lab: &Lab) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let to = SocketAddr::new(VIP.parse()?, 7);
        let sending = lab.inside("client", move || {
            let bound = (0..SOCKETS).map(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)));
            let sockets = bound.collect::<std::io::Result<Vec<_>>>()?;
            Ok::<_, std::io::Error>(thread::spawn(move || {
                for socket in sockets.iter().cycle() {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    // Without a route it cannot be sent, and is not.
                    socket.send_to(b"datagram", to).unwrap_or_default();
                    thread::sleep(EVERY);
                }
            }))
        })??;
        Ok(Self { over, sending: Some(sending) })
    }

    fn alive(&self) -> Result<()> {
        let ended = self.sending.as_ref().is_none_or(JoinHandle::is_finished);
        ensure!(!ended, "the client has stopped sending");
        Ok(())
    }
}

impl Drop for Sends {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sending) = self.sending.take() {
            drop(sending.join());
        }
    }
}

/// What is in an Ethernet frame of IPv4: the number of its protocol, and the payload.
fn in_ipv4(frame: &[u8]) -> Option<(u8, &[u8])> {
    let packet = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
    let len = usize::from(packet.first()? & 15) * 4;
    Some((*packet.get(9)?, packet.get(len..)?))
}

/// A datagram of the client in a tunnel.
fn is_served(frame: &[u8]) -> bool {
    let Some((4, inner)) = in_ipv4(frame) else { return false };
    inner.get(9) == Some(&17) && inner.get(16..20) == Some(&VIP_OCTETS)
}

/// A segment of the edge that holds an UPDATE with the VIP among its withdrawn routes (RFC 4271
/// §4.3). What is withdrawn is little: all of it is in the segment that the UPDATE begins in.
fn withdraws_the_vip(frame: &[u8]) -> bool {
    const UPDATE: u8 = 2;
    let Some((6, segment)) = in_ipv4(frame) else { return false };
    let Some(offset) = segment.get(12) else { return false };
    let mut rest = segment.get(usize::from(offset >> 4) * 4..).unwrap_or_default();
    let [a, b, c, d] = VIP_OCTETS;
    while let Some(&[high, low, kind]) = rest.get(16..19).and_then(|it| it.first_chunk::<3>()) {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let message = rest.get(19..len).unwrap_or_default();
        if let (UPDATE, Some(&[high, low])) = (kind, message.first_chunk::<2>()) {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let withdrawn = message.get(2..2 + len).unwrap_or_default();
            if withdrawn.windows(5).any(|route| route == [32, a, b, c, d]) {
                return true;
            }
        }
        rest = rest.get(len.max(19)..).unwrap_or_default();
    }
    false
}

fn config(lab: &Lab) -> String {
    let backends =
        BACKENDS.map(|(_, address)| format!("[[service.backend]]\naddress = \"{address}\"\n"));
    format!(
        "[router]\nasn = 64513\nrouter-id = \"{EDGE}\"\ninterfaces = [\"eth0\", \"eth1\"]\n\
         attach = \"native\"\npin-dir = \"{pins}\"\nstate-dir = \"{state}\"\n\
         [api]\nsocket = \"{socket}\"\n\
         [[peer]]\nname = \"router\"\naddress = \"{ROUTER}\"\nasn = 64512\nconnect-retry = \"1s\"\n\
         [[service]]\nname = \"echo\"\nvip = \"{VIP}\"\nport = 7\nprotocol = \"udp\"\n\
         drain = \"1s\"\n\
         advertise = {{ hold-down = \"200ms\", hold-down-max = \"200ms\" }}\n\
         health = {{ type = \"http\", path = \"/healthz\", port = 80, rise = 1, fall = {FALL}, \
         interval = \"{interval}ms\", timeout = \"{interval}ms\", retry = \"{retry}ms\" }}\n{backends}",
        pins = lab.bpffs().join("edge").display(),
        state = lab.dir().join("state").display(),
        socket = lab.dir().join("api.sock").display(),
        interval = INTERVAL.as_millis(),
        retry = RETRY.as_millis(),
        backends = backends.concat(),
    )
}

fn topology() -> Topology {
    let end = |name, segment, address: &str| Interface {
        name,
        segment,
        addresses: vec![format!("{address}/24")],
        mtu: 1_600,
    };
    let mut hosts = vec![
        Host {
            name: "client",
            interfaces: vec![end("eth0", "access", "10.0.0.2")],
            gateways: vec!["10.0.0.1"],
            ..Host::default()
        },
        Host {
            name: "router",
            interfaces: vec![end("eth0", "uplink", ROUTER), end("eth1", "access", "10.0.0.1")],
            forwards: true,
            ..Host::default()
        },
        Host {
            name: "edge",
            interfaces: vec![end("eth0", "uplink", EDGE), end("eth1", "fabric", "203.0.113.2")],
            ..Host::default()
        },
    ];
    let backend = |(name, address)| Host {
        name,
        interfaces: vec![end("eth0", "fabric", address)],
        ..Host::default()
    };
    hosts.extend(BACKENDS.map(backend));
    Topology { hosts }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of TCP that holds this.
    fn segment(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45]);
        frame.resize(14 + 9, 0);
        frame.push(6);
        frame.resize(14 + 20 + 12, 0);
        frame.push(5 << 4);
        frame.resize(14 + 40, 0);
        frame.extend(payload);
        frame
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(19 + body.len()).unwrap();
        [&[0xff; 16], &len.to_be_bytes()[..], &[kind], body].concat()
    }

    #[test]
    fn only_an_update_that_withdraws_the_vip_counts() {
        let withdraw = message(2, &[0, 5, 32, 192, 0, 2, 10, 0, 0]);
        let other = message(2, &[0, 5, 32, 192, 0, 2, 11, 0, 0]);
        let announce = message(2, &[0, 0, 0, 0, 32, 192, 0, 2, 10]);
        let keepalive = message(4, &[]);
        let cases = [
            ("a withdraw", withdraw.clone(), true),
            ("behind another message", [keepalive.clone(), withdraw.clone()].concat(), true),
            ("of another prefix", other, false),
            ("an announcement", announce, false),
            ("a KEEPALIVE", keepalive, false),
            ("cut off", withdraw[..22].to_vec(), false),
            ("nothing", Vec::new(), false),
        ];
        for (name, payload, counts) in cases {
            assert_eq!(withdraws_the_vip(&segment(&payload)), counts, "{name}");
        }
        assert!(!withdraws_the_vip(&[]) && !is_served(&segment(&withdraw)));
    }
}
