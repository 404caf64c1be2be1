//! The main job in a lab: a client, a router that runs BIRD, an edge that runs tidegate, three
//! backends.
//!
//! ```text
//!   client ──access── router (BIRD) ──fabric─┬─ edge (tidegate)
//!                                            ├─ b1
//!                                            ├─ b2
//!                                            └─ b3
//! ```
//!
//! A request goes client, router, edge, backend; the answer goes backend, router, client. The
//! addresses are those that RFC 5737 and RFC 3849 set aside for documentation.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::bird::{self, Bird, Session};
use super::http::{Holding, Load, load};
use super::topology::{Host, Interface, SWITCH, Topology};
use super::{Lab, Process, program};

/// AS of the router.
pub const ROUTER_AS: u32 = 64_512;
/// AS of the edge.
pub const EDGE_AS: u32 = 64_513;

/// The router's end of the fabric.
pub(super) const ROUTER: [&str; 2] = ["203.0.113.1", "2001:db8:f::1"];
/// The edge's addresses, and so the next hops of what it announces.
pub const EDGE: [&str; 2] = ["203.0.113.2", "2001:db8:f::2"];
/// The client's addresses.
pub const CLIENT: [&str; 2] = ["198.51.100.2", "2001:db8:c::2"];
/// Peers that the edge is told of and that no router stands behind: all on host `rogue`.
pub const ROGUES: [&str; 8] = [
    "203.0.113.66",
    "203.0.113.67",
    "203.0.113.68",
    "203.0.113.69",
    "203.0.113.70",
    "203.0.113.71",
    "203.0.113.72",
    "203.0.113.73",
];

/// Where the edge's API listens beside its socket.
pub const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9179);

/// Something is expected to happen within this time. Much longer than it takes: a loaded machine
/// shall not fail a test.
pub const SOON: Duration = Duration::from_secs(30);

/// A service of the lab.
#[derive(Clone, Copy, Debug)]
pub struct Vip {
    /// Name of the service.
    pub service: &'static str,
    /// The address.
    pub addr: &'static str,
    /// The prefix that announces it.
    pub prefix: &'static str,
}

impl Vip {
    /// The VIP with its port.
    ///
    /// # Errors
    /// Never, as the constants are written.
    pub fn socket(self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.addr.parse()?, 80))
    }
}

/// The IPv4 service.
pub const VIP_V4: Vip = Vip { service: "web-v4", addr: "192.0.2.10", prefix: "192.0.2.10/32" };
/// The IPv6 service.
pub const VIP_V6: Vip =
    Vip { service: "web-v6", addr: "2001:db8:10::10", prefix: "2001:db8:10::10/128" };
/// Both.
pub const VIPS: [Vip; 2] = [VIP_V4, VIP_V6];

/// Hosts of the backends, with their addresses.
pub const BACKENDS: [(&str, [&str; 2]); 3] = [
    ("b1", ["203.0.113.11", "2001:db8:f::11"]),
    ("b2", ["203.0.113.12", "2001:db8:f::12"]),
    ("b3", ["203.0.113.13", "2001:db8:f::13"]),
];

/// What differs from lab to lab.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Weights of the backends, in both services.
    pub weights: [u16; 3],
    /// `ipip`, `gue`, `l2` or `nat`.
    pub mode: &'static str,
    /// Backends of the IPv4 service have IPv6 addresses and the other way round.
    pub crossed: bool,
    /// The BGP session runs over IPv6.
    pub session_over_v6: bool,
    /// The edge is told of the peers [`ROGUES`].
    pub rogues: bool,
    /// MTU of the fabric, in bytes. Packets between client and backend may have 1500, so with less
    /// than 1540 there is no room for every outer header.
    pub fabric_mtu: u16,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            weights: [10, 5, 1],
            mode: "ipip",
            crossed: false,
            session_over_v6: false,
            rogues: false,
            fabric_mtu: 1_600,
        }
    }
}

/// The lab. What runs in it goes before the lab does.
pub struct MainJob {
    /// tidegate on the edge, while it runs.
    pub edge: Option<Process>,
    /// Web servers by backend, while they run.
    servers: [Option<Process>; 3],
    /// `tidegate decap` on each backend, and on the edge's port.
    decap: Vec<Process>,
    /// BIRD on the router.
    pub bird: Bird,
    variant: Variant,
    /// Everything else of the lab.
    pub lab: Lab,
}

impl MainJob {
    /// Builds the network and starts everything but the edge.
    ///
    /// # Errors
    /// When something does not start.
    pub fn new(variant: Variant) -> Result<Self> {
        let lab = Lab::new(&topology(variant.fabric_mtu))?;
        let bird = Bird::start(&lab, "router", &bird_config(variant))?;
        // veth only wakes up for what an XDP program at the other end sends if it runs a program
        // of its own: without one, frames lie in its ring until something else is sent, and once
        // the ring is full for ever. A real wire has no such end. Any program will do.
        let mut decap = vec![start_decap(&lab, SWITCH, "edge-eth0")?];
        if !matches!(variant.mode, "l2" | "nat") {
            for (host, _) in BACKENDS {
                decap.push(start_decap(&lab, host, "eth0")?);
            }
        }
        let mut job = Self { edge: None, servers: [None, None, None], decap, bird, variant, lab };
        for backend in 0..BACKENDS.len() {
            job.start_server(backend)?;
        }
        Ok(job)
    }

    /// Starts everything and waits until the router has both VIPs and all backends are active.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn announced(variant: Variant) -> Result<Self> {
        let mut job = Self::new(variant)?;
        job.start_edge()?;
        job.wait_for_routes()?;
        job.wait_until_all_active()?;
        Ok(job)
    }

    /// Starts tidegate on the edge, with the configuration of [`MainJob::edge_config`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_edge(&mut self) -> Result<()> {
        let config = self.lab.write("tidegate.toml", &self.edge_config())?;
        self.restart_edge(&config)
    }

    /// Starts tidegate on the edge with a configuration that is there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart_edge(&mut self, config: &Path) -> Result<()> {
        let tidegate = program("tidegate")?;
        let command =
            [&tidegate.display().to_string(), "run", "--config", &config.display().to_string()];
        self.edge = Some(self.lab.start("edge", "tidegate", &command)?);
        Ok(())
    }

    /// tidegate on the edge.
    ///
    /// # Errors
    /// When it was not started.
    pub fn edge(&mut self) -> Result<&mut Process> {
        self.edge.as_mut().context("tidegate does not run")
    }

    /// Waits until the session is up and the router has a route to each VIP.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn wait_for_routes(&mut self) -> Result<()> {
        self.lab.wait_for("the BGP session", SOON, || {
            self.edge.as_mut().context("tidegate does not run")?.alive()?;
            self.bird.established(&self.lab, "edge")
        })?;
        for vip in VIPS {
            self.lab.wait_for(&format!("a route to {}", vip.prefix), SOON, || {
                self.bird.route(&self.lab, vip.prefix)
            })?;
        }
        Ok(())
    }

    /// Waits until the router has no route to any VIP.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn wait_for_no_routes(&self) -> Result<()> {
        for vip in VIPS {
            self.lab.wait_for(&format!("no route to {}", vip.prefix), SOON, || {
                self.bird.no_route(&self.lab, vip.prefix)
            })?;
        }
        Ok(())
    }

    /// Waits until the edge calls every backend active that has a weight.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn wait_until_all_active(&self) -> Result<()> {
        self.lab.wait_for("all backends to be active", SOON, || {
            let answer = self.tidegate(&["backends", "-o", "json"])?;
            let answer: serde_json::Value = serde_json::from_str(&answer)?;
            let backends = answer.get("backends").and_then(|backends| backends.as_array());
            let backends = backends.context("no list of backends")?;
            let up = |backend: &&serde_json::Value| {
                let field = |name| backend.get(name);
                field("weight") == Some(&0.into()) || field("state") == Some(&"active".into())
            };
            ensure!(backends.iter().filter(up).count() == 6, "{backends:?}");
            Ok(())
        })
    }

    /// Waits until the edge itself says that no VIP is announced, and why; what it says follows
    /// what it does by a moment. Returns the VIPs as it shows them.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn wait_until_none_announced(&self) -> Result<Vec<serde_json::Value>> {
        self.lab.wait_for("the edge to say that no VIP is announced", SOON, || {
            let answer = self.tidegate(&["vips", "-o", "json"])?;
            let answer: serde_json::Value = serde_json::from_str(&answer)?;
            let vips = answer.get("vips").and_then(|vips| vips.as_array());
            let vips = vips.context("no list of VIPs")?;
            let withdrawn = |vip: &serde_json::Value| {
                vip.get("announced") == Some(&false.into())
                    && vip.get("reason_text").is_some_and(serde_json::Value::is_string)
            };
            ensure!(vips.len() == VIPS.len() && vips.iter().all(withdrawn), "{vips:?}");
            Ok(vips.clone())
        })
    }

    /// Starts the web server of a backend.
    ///
    /// # Errors
    /// When it does not listen soon.
    pub fn start_server(&mut self, backend: usize) -> Result<()> {
        let (host, [addr, _]) = backend_host(backend)?;
        let sick_when = self.sick_file(backend)?.display().to_string();
        let serve = program("lab-http")?.display().to_string();
        let command = [&*serve, "serve", "--name", host, "--sick-when", &sick_when];
        let server = self.lab.start(host, "http", &command)?;
        let listens = SocketAddr::new(addr.parse()?, 80);
        self.lab.wait_for(&format!("the web server of {host}"), SOON, || {
            let load = self.lab.inside(host, || load(listens, 1, 1))?;
            ensure!(load.answered == 1, "{:?}", load.failed);
            Ok(())
        })?;
        *self.servers.get_mut(backend).context("no such backend")? = Some(server);
        Ok(())
    }

    /// Kills the web server of a backend.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_server(&mut self, backend: usize) -> Result<()> {
        let server = self.servers.get_mut(backend).and_then(Option::take);
        server.context("that web server does not run")?.kill()
    }

    /// Ends the tunnel at a backend; the web server goes on.
    ///
    /// # Errors
    /// When it has none.
    pub fn stop_tunnel(&mut self, backend: usize) -> Result<()> {
        // The first one is that of the edge's port.
        self.decap.get_mut(1 + backend).context("no such tunnel")?.kill()
    }

    /// Makes the health check of a backend fail, or work again, while all else works on.
    ///
    /// # Errors
    /// When the lab's directory can't be written to.
    pub fn make_sick(&self, backend: usize, sick: bool) -> Result<()> {
        let file = self.sick_file(backend)?;
        if sick {
            std::fs::write(file, "")?;
        } else {
            std::fs::remove_file(file)?;
        }
        Ok(())
    }

    fn sick_file(&self, backend: usize) -> Result<PathBuf> {
        Ok(self.lab.dir().join(format!("{}-is-sick", backend_host(backend)?.0)))
    }

    /// Requests from the client to a VIP, each on a connection of its own.
    ///
    /// # Errors
    /// When the client's namespace can't be entered; a request that fails is no error.
    pub fn load(&self, vip: Vip, requests: usize, concurrency: usize) -> Result<Load> {
        let to = vip.socket()?;
        self.lab.inside("client", || load(to, requests, concurrency))
    }

    /// Connections from the client to a VIP that stay.
    ///
    /// # Errors
    /// When not all of them are answered.
    pub fn hold(&self, vip: Vip, connections: usize) -> Result<Holding> {
        let to = vip.socket()?;
        Ok(self.lab.inside("client", || Holding::start(to, connections))??)
    }

    /// Leaves the lab up and everything in it running. `make clean-labs` removes it.
    ///
    /// # Errors
    /// When that can't be noted in the lab's directory.
    pub fn keep(mut self) -> Result<()> {
        let parts = self.edge.iter_mut().chain(self.servers.iter_mut().flatten());
        for process in parts.chain(&mut self.decap).chain([&mut self.bird.process]) {
            process.leave();
        }
        self.lab.keep()
    }

    /// What a command of tidegate prints on the edge, such as `peers`.
    ///
    /// # Errors
    /// When it fails.
    pub fn tidegate(&self, arguments: &[&str]) -> Result<String> {
        let tidegate = program("tidegate")?.display().to_string();
        let socket = self.api_socket().display().to_string();
        let mut command = vec![&*tidegate];
        command.extend(arguments);
        command.extend(["--socket", &socket]);
        self.lab.run("edge", &command)
    }

    /// Socket of tidegate's API.
    pub fn api_socket(&self) -> PathBuf {
        self.lab.dir().join("api.sock")
    }

    /// Where tidegate pins its program and maps.
    pub fn pin_dir(&self) -> PathBuf {
        self.lab.bpffs().join("edge")
    }

    /// What the maps hold that steers packets; counters and remembered flows are left out.
    ///
    /// # Errors
    /// When bpftool can't read a map.
    pub fn steering_maps(&self) -> Result<Vec<Dump>> {
        let maps = ["SERVICES_V4", "SERVICES_V6", "BACKENDS", "RING_SLOTS"];
        maps.into_iter().map(|map| Dump::of(map, &self.pin_dir().join(map))).collect()
    }

    /// The edge's configuration.
    pub fn edge_config(&self) -> String {
        let Variant { weights, mode, crossed, session_over_v6, rogues, .. } = self.variant;
        let router = of_family(session_over_v6, ROUTER);
        let mut config = format!(
            r#"[router]
asn = {EDGE_AS}
router-id = "{router_id}"
interfaces = ["eth0"]
attach = "native"
pin-dir = "{pin_dir}"
state-dir = "{state_dir}"

[api]
socket = "{socket}"
listen = "{API}"

[[peer]]
name = "router"
address = "{router}"
asn = {ROUTER_AS}
hold-time = "30s"
connect-retry = "1s"
"#,
            router_id = of_family(false, EDGE),
            pin_dir = self.pin_dir().display(),
            state_dir = self.lab.dir().join("state").display(),
            socket = self.api_socket().display(),
        );
        for rogue in ROGUES.into_iter().filter(|_| rogues) {
            config += &format!(
                "\n[[peer]]\nname = \"at-{rogue}\"\naddress = \"{rogue}\"\n\
                 asn = {ROUTER_AS}\npassive = true\n"
            );
        }
        for (vip, v6) in VIPS.into_iter().zip([false, true]) {
            config += &format!(
                r#"
[[service]]
name = "{name}"
vip = "{addr}"
port = 80
mode = "{mode}"
health = {{ type = "http", path = "/healthz", interval = "1s", timeout = "1s", rise = 1, fall = 2 }}
advertise = {{ communities = ["{EDGE_AS}:80"], med = 50, prepend = 1 }}
"#,
                name = vip.service,
                addr = vip.addr,
            );
            for ((_, addrs), weight) in BACKENDS.into_iter().zip(weights) {
                let addr = of_family(v6 != crossed, addrs);
                config +=
                    &format!("[[service.backend]]\naddress = \"{addr}\"\nweight = {weight}\n");
            }
        }
        config
    }
}

/// One of a host's two addresses.
pub(super) fn of_family(v6: bool, [v4_addr, v6_addr]: [&'static str; 2]) -> &'static str {
    if v6 { v6_addr } else { v4_addr }
}

/// A map as bpftool prints it. Whole dumps are too large to keep: a million slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The map.
    pub map: &'static str,
    /// How the dump begins.
    pub beginning: String,
    /// Number of its lines.
    lines: u64,
    /// Hash of all of it.
    digest: u64,
}

impl Dump {
    fn of(map: &'static str, pin: &Path) -> Result<Self> {
        const BEGINNING_BYTES: usize = 4096;
        let mut bpftool = Command::new("bpftool")
            .args(["map", "dump", "pinned"])
            .arg(pin)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start bpftool")?;
        let mut dump = Self { map, beginning: String::new(), lines: 0, digest: 0 };
        let mut hasher = DefaultHasher::new();
        for line in BufReader::new(bpftool.stdout.take().context("no pipe")?).lines() {
            let line = line?;
            if dump.beginning.len() < BEGINNING_BYTES {
                dump.beginning += &format!("{line}\n");
            }
            dump.lines += 1;
            line.hash(&mut hasher);
        }
        ensure!(bpftool.wait()?.success(), "bpftool cannot dump {}", pin.display());
        dump.digest = hasher.finish();
        Ok(dump)
    }
}

pub(super) fn backend_host(backend: usize) -> Result<(&'static str, [&'static str; 2])> {
    BACKENDS.get(backend).copied().context("no such backend")
}

/// Starts the other end of the tunnel and waits until it is attached.
pub(super) fn start_decap(lab: &Lab, host: &str, interface: &str) -> Result<Process> {
    let tidegate = program("tidegate")?.display().to_string();
    let mut decap = lab.start(host, "decap", &[&tidegate, "decap", "--interface", interface])?;
    lab.wait_for(&format!("tidegate decap on {host}"), SOON, || {
        decap.alive()?;
        let link = lab.run(host, &["ip", "link", "show", "dev", interface])?;
        ensure!(link.contains("prog/xdp"), "{link}");
        Ok(())
    })?;
    Ok(decap)
}

fn bird_config(variant: Variant) -> String {
    let session = Session {
        name: "edge",
        local: of_family(variant.session_over_v6, ROUTER),
        local_as: ROUTER_AS,
        neighbor: of_family(variant.session_over_v6, EDGE),
        neighbor_as: EDGE_AS,
    };
    let [router_id, _] = ROUTER;
    bird::config(router_id, &[session])
}

/// The network of the lab, with this MTU on the fabric.
pub fn topology(fabric_mtu: u16) -> Topology {
    let fabric = |addresses: &[String]| Interface {
        name: "eth0",
        segment: "fabric",
        addresses: addresses.to_vec(),
        mtu: fabric_mtu,
    };
    let access = |name, addresses: [&str; 2]| Interface {
        name,
        segment: "access",
        addresses: addresses.map(str::to_owned).to_vec(),
        mtu: 1500,
    };
    let on_fabric = |[v4, v6]: [&str; 2]| fabric(&[format!("{v4}/24"), format!("{v6}/64")]);
    let mut hosts = vec![
        Host {
            name: "client",
            interfaces: vec![access("eth0", ["198.51.100.2/24", "2001:db8:c::2/64"])],
            gateways: vec!["198.51.100.1", "2001:db8:c::1"],
            ..Host::default()
        },
        Host {
            name: "router",
            interfaces: vec![
                on_fabric(ROUTER),
                access("eth1", ["198.51.100.1/24", "2001:db8:c::1/64"]),
            ],
            forwards: true,
            ..Host::default()
        },
        Host {
            name: "edge",
            interfaces: vec![on_fabric(EDGE)],
            gateways: ROUTER.to_vec(),
            ..Host::default()
        },
        Host {
            name: "rogue",
            interfaces: vec![fabric(&ROGUES.map(|rogue| format!("{rogue}/24")))],
            ..Host::default()
        },
    ];
    for (name, addresses) in BACKENDS {
        hosts.push(Host {
            name,
            interfaces: vec![on_fabric(addresses)],
            loopback: VIPS.iter().map(|vip| vip.prefix.to_owned()).collect(),
            gateways: ROUTER.to_vec(),
            forwards: false,
        });
    }
    Topology { hosts }
}
