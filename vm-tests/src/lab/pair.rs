//! Two edges that serve the same VIPs behind one router, which spreads flows over both (ECMP), and
//! what is done to such a pair while clients use it.
//!
//! ```text
//!   client ──access── router (BIRD) ──fabric─┬─ e1 (tidegate)
//!                                            ├─ e2 (tidegate)
//!                                            ├─ b1
//!                                            ├─ b2
//!                                            └─ b3
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::bird::{self, Bird, Session};
use super::main_job::{
    BACKENDS, EDGE_AS, ROUTER, ROUTER_AS, SOON, VIPS, Vip, of_family, start_decap,
};
use super::topology::{Host, Interface, SWITCH, Topology};
use super::traffic::{Outcome, Traffic};
use super::{Lab, Process, program};

/// The edges, with their addresses.
const EDGES: [(&str, [&str; 2]); 2] =
    [("e1", ["203.0.113.2", "2001:db8:f::2"]), ("e2", ["203.0.113.3", "2001:db8:f::3"])];
/// The service of datagrams is on the first VIP, at this port.
const UDP_PORT: u16 = 7;
/// How long old flows stay in slots that have moved; a change is watched for less.
const DRAIN: Duration = Duration::from_secs(8);
/// Connections to each VIP that stay through a change.
const CONNECTIONS: usize = 20;
/// Between two health checks of a backend.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two that fail.
const RETRY: Duration = Duration::from_millis(250);
/// So many of which make it down.
const FALL: u32 = 3;
/// Clients are watched for so long before a change, and after it.
const AROUND: Duration = Duration::from_millis(500);

/// What is done to the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A backend says that it is sick, though it still works.
    BackendDown,
    /// And is well again.
    BackendUp,
    /// A backend has another weight.
    Weight,
    /// A file with another program in the packet path is applied, then the one before.
    Reload,
    /// `drain node`, until its traffic has left, and `undrain`.
    Drain,
    /// `systemctl restart`: SIGUSR1, and a start.
    Restart,
    /// `tidegate upgrade`: another process takes over, sessions and all.
    Upgrade,
    /// `kill -9`, and a start.
    Kill,
    /// A node is stopped and taken off, packet path and all; then it comes back.
    Remove,
}

impl Change {
    /// All of them, those last that leave slots with two backends for a while.
    pub const ALL: [Self; 9] = [
        Self::Reload,
        Self::Upgrade,
        Self::Restart,
        Self::Kill,
        Self::Drain,
        Self::Remove,
        Self::Weight,
        Self::BackendDown,
        Self::BackendUp,
    ];

    /// Whether slots must have one backend before it. A node does not tell another whose a flow is
    /// that came while slots had two; and a second move of slots takes flows of datagrams along.
    const fn needs_settled(self) -> bool {
        matches!(self, Self::Drain | Self::Remove) || self.moves_slots()
    }

    /// Whether slots move.
    const fn moves_slots(self) -> bool {
        matches!(self, Self::Weight | Self::BackendDown | Self::BackendUp)
    }

    /// As in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BackendDown => "a backend is down",
            Self::BackendUp => "a backend is back",
            Self::Weight => "a weight changes",
            Self::Reload => "reload with another program",
            Self::Drain => "a node is drained",
            Self::Restart => "restart of a node",
            Self::Upgrade => "upgrade of a node",
            Self::Kill => "kill -9 on a node",
            Self::Remove => "a node is removed",
        }
    }
}

/// What clients and the router noticed of a change.
#[derive(Clone, Debug, Default)]
pub struct Noticed {
    /// What became of traffic.
    pub outcome: Outcome,
    /// Backends that were taken for dead.
    pub dead: Vec<&'static str>,
    /// Segments that hosts sent again.
    pub retransmitted: u64,
    /// Routes to VIPs that the router had no way for at any time.
    pub withdrawn: usize,
    /// Packets that the kernel dropped since a queue was full, by host and place.
    pub overflown: BTreeMap<String, u64>,
    /// Packets that the edges dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// The lab. What runs in it goes before the lab does.
pub struct Pair {
    edges: [Option<Process>; 2],
    /// Weight of the first backend.
    weight: u16,
    /// Answers to packets that are too big, per second: a constant of the program.
    rate: u16,
    /// When the last slots with two backends have one again.
    settled_at: Instant,
    /// Lists the router's routes as they change.
    watch: Process,
    _others: Vec<Process>,
    /// Everything else of the lab.
    pub lab: Lab,
}

impl Pair {
    /// Starts everything and waits until both edges serve all VIPs.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn new() -> Result<Self> {
        let lab = Lab::new(&topology())?;
        for line in ["ipv4.fib_multipath_hash_policy=1", "ipv6.fib_multipath_hash_policy=1"] {
            lab.run("router", &["sysctl", "-qw", &format!("net.{line}")])?;
        }
        let bird = Bird::start(&lab, "router", &bird_config())?;
        let watch = lab.start("router", "routes", &["ip", "-o", "monitor", "route"])?;
        let mut others = vec![bird.process];
        for (edge, _) in EDGES {
            // See `MainJob`: veth at the other end.
            others.push(start_decap(&lab, SWITCH, &format!("{edge}-eth0"))?);
        }
        let http = program("lab-http")?.display().to_string();
        for (host, _) in BACKENDS {
            others.push(start_decap(&lab, host, "eth0")?);
            let sick = sick_file(&lab, host).display().to_string();
            let serve = [&*http, "serve", "--name", host, "--sick-when", &sick];
            others.push(lab.start(host, "http", &serve)?);
            let at = udp_service()?.to_string();
            others.push(lab.start(host, "echo", &[&http, "echo", "--name", host, "--at", &at])?);
        }
        let edges = [None, None];
        let (weight, rate) = (1, 100);
        let settled_at = Instant::now();
        let mut pair = Self { edges, weight, rate, settled_at, watch, _others: others, lab };
        pair.write_config()?;
        for edge in 0..EDGES.len() {
            pair.start(edge)?;
        }
        pair.wait_until_all_is_well()?;
        Ok(pair)
    }

    /// Does something to the pair while clients use it; `turn` says to which part of it. All is
    /// as before when it returns, but for what the change is.
    ///
    /// # Errors
    /// When the pair does not come back to serve all VIPs.
    pub fn make(&mut self, change: Change, turn: usize) -> Result<Noticed> {
        let (edge, backend) = (turn % EDGES.len(), turn % BACKENDS.len());
        let (host, _) = *BACKENDS.get(backend).context("no such backend")?;
        let sick = sick_file(&self.lab, host);
        if change == Change::BackendUp {
            fs::write(&sick, "")?;
            self.wait_until_active(BACKENDS.len() - 1)?;
            self.settled_at = Instant::now() + DRAIN * 9 / 8;
        }
        if change.needs_settled() {
            self.wait_until_settled()?;
        }
        let before = (self.retransmitted()?, self.lost_routes());
        let (queues, drops) = (self.overflown()?, self.dropped()?);
        let traffic = self.start_traffic()?;
        thread::sleep(AROUND);
        let mut dead = Vec::new();
        match change {
            Change::BackendDown => {
                fs::write(&sick, "")?;
                dead.push(host);
                self.wait_until_active(BACKENDS.len() - 1)?;
            }
            Change::BackendUp => {
                fs::remove_file(&sick)?;
                self.wait_until_active(BACKENDS.len())?;
            }
            Change::Weight => {
                self.weight = if self.weight == 1 { 3 } else { 1 };
                self.apply()?;
            }
            Change::Reload => {
                self.rate = 300 - self.rate;
                self.apply()?;
            }
            Change::Drain => self.drain(edge)?,
            Change::Restart => {
                let ended = self.edge(edge)?;
                ended.signal(Signal::SIGUSR1)?;
                ended.ended(SOON)?;
                self.start(edge)?;
            }
            Change::Upgrade => self.upgrade(edge)?,
            Change::Kill => {
                self.edge(edge)?.kill()?;
                self.start(edge)?;
            }
            Change::Remove => self.remove(edge)?,
        }
        if change != Change::BackendDown {
            self.wait_until_all_is_well()?;
        }
        thread::sleep(AROUND);
        let outcome = traffic.finish()?;
        let noticed = Noticed {
            outcome,
            dead,
            retransmitted: self.retransmitted()? - before.0,
            withdrawn: self.lost_routes() - before.1,
            overflown: more_than(&queues, self.overflown()?),
            dropped: more_than(&drops, self.dropped()?),
        };
        if change == Change::BackendDown {
            fs::remove_file(&sick)?;
            self.wait_until_all_is_well()?;
        }
        if change.moves_slots() {
            self.settled_at = Instant::now() + DRAIN * 9 / 8;
        }
        Ok(noticed)
    }

    fn start_traffic(&self) -> Result<Traffic> {
        let web = VIPS.map(Vip::socket);
        let web = web.into_iter().collect::<Result<Vec<_>>>()?;
        let udp = udp_service()?;
        Ok(self.lab.inside("client", || Traffic::start(&web, CONNECTIONS, udp))??)
    }

    fn edge(&mut self, edge: usize) -> Result<&mut Process> {
        self.edges.get_mut(edge).and_then(Option::as_mut).context("that edge does not run")
    }

    fn start(&mut self, edge: usize) -> Result<()> {
        let tidegate = program("tidegate")?.display().to_string();
        let config = self.config_file(edge).display().to_string();
        let command = [&*tidegate, "run", "--config", &config];
        let started = self.lab.start(host_of(edge)?, "tidegate", &command)?;
        *self.edges.get_mut(edge).context("no such edge")? = Some(started);
        Ok(())
    }

    fn upgrade(&mut self, edge: usize) -> Result<()> {
        let upgraded = self.tidegate(edge, &["upgrade", "-o", "json"])?;
        let upgraded: Value = serde_json::from_str(&upgraded)?;
        let pid = upgraded.get("pid").and_then(Value::as_u64).context("no pid")?;
        self.edge(edge)?.succeeded_by(u32::try_from(pid)?, SOON)
    }

    fn drain(&mut self, edge: usize) -> Result<()> {
        self.tidegate(edge, &["drain", "node", "--quiet", "1s", "--deadline", "20s", "--wait"])?;
        self.tidegate(edge, &["undrain", "node"])?;
        Ok(())
    }

    fn remove(&mut self, edge: usize) -> Result<()> {
        ensure!(self.edge(edge)?.stop(SOON)?.success(), "the edge did not stop as it should");
        let by_other = |pair: &Self| pair.wait_for_ways(&[1 - edge]);
        by_other(self)?;
        thread::sleep(AROUND);
        let config = self.config_file(edge).display().to_string();
        self.lab.run(
            host_of(edge)?,
            &[&program("tidegate")?.display().to_string(), "detach", "--config", &config],
        )?;
        self.start(edge)
    }

    fn apply(&self) -> Result<()> {
        self.write_config()?;
        (0..EDGES.len()).try_for_each(|edge| self.tidegate(edge, &["apply"]).map(drop))
    }

    fn tidegate(&self, edge: usize, arguments: &[&str]) -> Result<String> {
        let tidegate = program("tidegate")?.display().to_string();
        let socket = self.socket(edge).display().to_string();
        let command = [&[&*tidegate], arguments, &["--socket", &socket]].concat();
        self.lab.run(host_of(edge)?, &command)
    }

    fn json(&self, edge: usize, what: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.tidegate(edge, &[what, "-o", "json"])?)?)
    }

    /// Both edges are where they want to be, all backends are active, the router has both ways.
    fn wait_until_all_is_well(&mut self) -> Result<()> {
        for edge in self.edges.iter_mut().flatten() {
            edge.alive()?;
        }
        self.wait_until_active(BACKENDS.len())?;
        self.wait_for_ways(&[0, 1])?;
        for edge in 0..EDGES.len() {
            self.lab.wait_for("the edge to have converged", SOON, || {
                let status = self.json(edge, "status")?;
                ensure!(status.get("converged") == Some(&true.into()), "{status}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// No slot of any edge has two backends, and none had within the time that one edge may be behind
    /// the other.
    fn wait_until_settled(&self) -> Result<()> {
        thread::sleep(self.settled_at.saturating_duration_since(Instant::now()));
        for edge in 0..EDGES.len() {
            self.lab.wait_for("slots to have one backend", SOON, || {
                let shown = self.json(edge, "vips")?;
                let rows = shown.get("vips").and_then(Value::as_array).context("no list")?;
                let is_settled = |row: &Value| row.get("slots_in_transition") == Some(&0.into());
                ensure!(rows.iter().all(is_settled), "{shown}");
                Ok(())
            })?;
        }
        Ok(())
    }

    fn wait_until_active(&self, count: usize) -> Result<()> {
        for edge in 0..EDGES.len() {
            self.lab.wait_for(&format!("{count} backends to be active"), SOON, || {
                let shown = self.json(edge, "backends")?;
                let rows = shown.get("backends").and_then(Value::as_array).context("no list")?;
                let is_active = |row: &&Value| row.get("state") == Some(&"active".into());
                let active = rows.iter().filter(is_active).count();
                ensure!(active == count * (VIPS.len() + 1), "{shown}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The router's way to each VIP leads over these edges, and no other.
    fn wait_for_ways(&self, edges: &[usize]) -> Result<()> {
        for (vip, v6) in VIPS.into_iter().zip([false, true]) {
            let what = format!("the way to {} to lead over {edges:?}", vip.addr);
            self.lab.wait_for(&what, SOON, || {
                let family = if v6 { "-6" } else { "-4" };
                let shown = self.lab.run("router", &["ip", family, "route", "show", vip.prefix])?;
                for (at, (_, addrs)) in EDGES.iter().enumerate() {
                    let via = format!("via {} ", of_family(v6, *addrs));
                    ensure!(shown.contains(&via) == edges.contains(&at), "{shown}");
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Segments that client and backends have sent again so far.
    fn retransmitted(&self) -> Result<u64> {
        let hosts = BACKENDS.map(|(host, _)| host);
        let mut sum = 0;
        for host in hosts.into_iter().chain(["client"]) {
            sum += self.snmp(host, "Tcp:", "RetransSegs")?;
        }
        Ok(sum)
    }

    /// A counter of a host's kernel.
    fn snmp(&self, host: &str, protocol: &str, counter: &str) -> Result<u64> {
        let shown = self.lab.run(host, &["cat", "/proc/net/snmp"])?;
        let mut lines = shown.lines().filter(|line| line.starts_with(protocol));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            bail!("no {protocol} in {shown}")
        };
        let at = names.split(' ').position(|name| name == counter);
        let value = at.and_then(|at| values.split(' ').nth(at)).context("no such counter")?;
        Ok(value.parse()?)
    }

    /// What queues had no room for so far: those of each CPU, of sockets and of links.
    fn overflown(&self) -> Result<BTreeMap<String, u64>> {
        let mut found = BTreeMap::new();
        let softnet = fs::read_to_string("/proc/net/softnet_stat")?;
        let of_cpu = |line: &str| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok();
        found.insert("backlog of the CPUs".to_owned(), softnet.lines().filter_map(of_cpu).sum());
        let hosts = BACKENDS.map(|(host, _)| host).into_iter().chain(EDGES.map(|(host, _)| host));
        for host in hosts.chain(["client", "router"]) {
            let udp = self.snmp(host, "Udp:", "RcvbufErrors")?;
            found.insert(format!("sockets of {host}"), udp);
            let links = self.lab.run(host, &["ip", "-s", "-j", "link", "show"])?;
            let links: Vec<Value> = serde_json::from_str(&links)?;
            let of_link = |link: &Value, way: &str| {
                link.pointer(&format!("/stats64/{way}/dropped")).and_then(Value::as_u64)
            };
            let sum = |way| links.iter().filter_map(|link| of_link(link, way)).sum::<u64>();
            found.insert(format!("links of {host}"), sum("rx") + sum("tx"));
        }
        Ok(found)
    }

    /// What the edges have dropped so far.
    fn dropped(&self) -> Result<BTreeMap<String, u64>> {
        let mut found = BTreeMap::new();
        for edge in 0..EDGES.len() {
            let shown = self.json(edge, "drops")?;
            let rows = shown.get("drops").and_then(Value::as_array).context("no list")?;
            for row in rows {
                let reason = row.get("name").and_then(Value::as_str).unwrap_or_default();
                let packets = row.get("packets").and_then(Value::as_u64).unwrap_or_default();
                *found.entry(reason.to_owned()).or_default() += packets;
            }
        }
        Ok(found)
    }

    /// How often the router was without any way to a VIP.
    fn lost_routes(&self) -> usize {
        // A way more or less replaces the route.
        let is_loss = |line: &&str| {
            line.starts_with("Deleted") && VIPS.iter().any(|vip| line.contains(vip.addr))
        };
        self.watch.printed().lines().filter(is_loss).count()
    }

    fn socket(&self, edge: usize) -> PathBuf {
        self.lab.dir().join(format!("api-{edge}.sock"))
    }

    fn config_file(&self, edge: usize) -> PathBuf {
        self.lab.dir().join(format!("edge-{edge}.toml"))
    }

    fn write_config(&self) -> Result<()> {
        for (edge, (_, addrs)) in EDGES.into_iter().enumerate() {
            self.lab.write(&format!("edge-{edge}.toml"), &self.config(edge, addrs)?)?;
        }
        Ok(())
    }

    fn config(&self, edge: usize, [router_id, _]: [&str; 2]) -> Result<String> {
        let lab = &self.lab;
        let mut config = format!(
            "[router]\nasn = {EDGE_AS}\nrouter-id = \"{router_id}\"\ninterfaces = [\"eth0\"]\n\
             attach = \"native\"\npin-dir = \"{pins}\"\nstate-dir = \"{state}\"\n\
             [api]\nsocket = \"{socket}\"\n\
             [[peer]]\nname = \"router\"\naddress = \"{router}\"\nasn = {ROUTER_AS}\n\
             hold-time = \"30s\"\nconnect-retry = \"1s\"\n\
             [datapath]\ntoo-big-rate = {rate}\n",
            rate = self.rate,
            pins = lab.bpffs().join(format!("e{edge}")).display(),
            state = lab.dir().join(format!("state-{edge}")).display(),
            socket = self.socket(edge).display(),
            router = of_family(false, ROUTER),
        );
        let udp = udp_service()?;
        let services =
            [(VIPS[0].service, VIPS[0].addr, 80, false), (VIPS[1].service, VIPS[1].addr, 80, true)];
        let [web_v4, web_v6] = services;
        for (name, vip, port, v6) in [web_v4, web_v6, ("echo", VIPS[0].addr, udp.port(), false)] {
            let protocol = if port == 80 { "tcp" } else { "udp" };
            config += &format!(
                "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {port}\n\
                 protocol = \"{protocol}\"\nmode = \"ipip\"\ndrain = \"{drain}s\"\n\
                 health = {{ type = \"http\", path = \"/healthz\", port = 80, rise = 1, fall = {fall}, \
                 interval = \"{interval}ms\", timeout = \"{interval}ms\", retry = \"{retry}ms\" }}\n",
                fall = FALL,
                interval = INTERVAL.as_millis(),
                retry = RETRY.as_millis(),
                drain = DRAIN.as_secs(),
            );
            if port != 80 {
                config += "udp = \"flow\"\n";
            }
            for (at, (_, addrs)) in BACKENDS.into_iter().enumerate() {
                let weight = if at == 0 { self.weight } else { 1 };
                let addr = of_family(v6, addrs);
                config +=
                    &format!("[[service.backend]]\naddress = \"{addr}\"\nweight = {weight}\n");
            }
        }
        Ok(config)
    }
}

/// What has grown, and by how much. Counts of a program that is new begin anew.
fn more_than(
    before: &BTreeMap<String, u64>,
    after: BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let grown = after.into_iter().map(|(what, count)| {
        let grown = count.saturating_sub(before.get(&what).copied().unwrap_or_default());
        (what, grown)
    });
    grown.filter(|(_, grown)| *grown > 0).collect()
}

fn host_of(edge: usize) -> Result<&'static str> {
    EDGES.get(edge).map(|&(host, _)| host).context("no such edge")
}

fn udp_service() -> Result<SocketAddr> {
    Ok(SocketAddr::new(VIPS[0].addr.parse()?, UDP_PORT))
}

fn sick_file(lab: &Lab, host: &str) -> PathBuf {
    lab.dir().join(format!("{host}-is-sick"))
}

/// The router spreads flows over all ways that are as good.
fn bird_config() -> String {
    let [router, _] = ROUTER;
    let session = |(name, [neighbor, _]): (&'static str, [&'static str; 2])| Session {
        name,
        local: router,
        local_as: ROUTER_AS,
        neighbor,
        neighbor_as: EDGE_AS,
    };
    let config = bird::config(router, &EDGES.map(session));
    config
        .replace("kernel4 {", "kernel4 { merge paths on;")
        .replace("kernel6 {", "kernel6 { merge paths on;")
}

fn topology() -> Topology {
    let on = |name, segment, addresses: [String; 2], mtu| Interface {
        name,
        segment,
        addresses: addresses.to_vec(),
        mtu,
    };
    let fabric =
        |[v4, v6]: [&str; 2]| on("eth0", "fabric", [format!("{v4}/24"), format!("{v6}/64")], 1_600);
    let access = |name, host: u8| {
        on(
            name,
            "access",
            [format!("198.51.100.{host}/24"), format!("2001:db8:c::{host}/64")],
            1_500,
        )
    };
    let mut hosts = vec![
        Host {
            name: "client",
            interfaces: vec![access("eth0", 2)],
            gateways: vec!["198.51.100.1", "2001:db8:c::1"],
            ..Host::default()
        },
        Host {
            name: "router",
            interfaces: vec![fabric(ROUTER), access("eth1", 1)],
            forwards: true,
            ..Host::default()
        },
    ];
    let edge = |(name, addrs)| Host {
        name,
        interfaces: vec![fabric(addrs)],
        gateways: ROUTER.to_vec(),
        ..Host::default()
    };
    hosts.extend(EDGES.map(edge));
    let backend = |(name, addrs)| Host {
        loopback: VIPS.iter().map(|vip| vip.prefix.to_owned()).collect(),
        ..edge((name, addrs))
    };
    hosts.extend(BACKENDS.map(backend));
    Topology { hosts }
}
