//! tidegate on one host, another BGP daemon on the other, a backend beside them:
//!
//! ```text
//!   peer (some daemon) ──┬── edge (tidegate)
//!                        └── b1
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::topology::{Host, Interface, Topology};
use super::{Lab, Process, program};

/// AS of the other daemon.
pub const PEER_AS: u32 = 64_512;
/// AS of tidegate.
pub const EDGE_AS: u32 = 64_513;
/// The other daemon's addresses.
pub const PEER: [&str; 2] = ["203.0.113.1", "2001:db8:f::1"];
/// tidegate's addresses.
pub const EDGE: [&str; 2] = ["203.0.113.2", "2001:db8:f::2"];
/// The VIPs, one of each family.
pub const VIPS: [&str; 2] = ["192.0.2.10/32", "2001:db8:10::10/128"];

/// Something is expected to happen within this time, however loaded the machine is.
pub const SOON: Duration = Duration::from_secs(30);

/// BIRD with a session to tidegate that carries both families: two routes of IPv4 and one of IPv6.
pub fn bird() -> String {
    let ([peer, peer6], [edge, _]) = (PEER, EDGE);
    format!(
        "log stderr all;\nrouter id {peer};\nprotocol device {{}}\n\
         protocol static {{ ipv4; route 198.18.0.0/24 blackhole; route 198.18.1.0/24 blackhole; }}\n\
         protocol static {{ ipv6; route 2001:db8:18::/48 blackhole; }}\n\
         protocol bgp edge {{\n local {peer} as {PEER_AS};\n neighbor {edge} as {EDGE_AS};\n \
         connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n \
         ipv4 {{ import all; export all; }};\n \
         ipv6 {{ import all; export all; next hop address {peer6}; }};\n}}\n"
    )
}

/// The lab. What runs in it goes before the lab does.
pub struct Interop {
    /// tidegate, while it runs.
    pub edge: Option<Process>,
    /// Everything else.
    pub lab: Lab,
}

impl Interop {
    /// Builds the network; nothing runs yet.
    ///
    /// # Errors
    /// When that cannot be done here.
    pub fn new() -> Result<Self> {
        Ok(Self { edge: None, lab: Lab::new(&topology())? })
    }

    /// Starts tidegate, with `peers` as its `[[peer]]` tables, or makes the one that runs reload.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn configure(&mut self, peers: &str) -> Result<()> {
        let config = self.lab.write("tidegate.toml", &self.config(peers))?.display().to_string();
        if let Some(edge) = &self.edge {
            return edge.signal(Signal::SIGHUP);
        }
        let tidegate = program("tidegate")?.display().to_string();
        let command = [&*tidegate, "run", "--config", &config];
        self.edge = Some(self.lab.start("edge", "tidegate", &command)?);
        Ok(())
    }

    /// Kills tidegate, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn crash(&mut self) -> Result<()> {
        self.edge.take().context("tidegate does not run")?.kill()
    }

    /// Stops tidegate as systemd does for a restart, and starts it again.
    ///
    /// # Errors
    /// When it does not end well and soon.
    pub fn restart(&mut self, peers: &str) -> Result<()> {
        let mut edge = self.edge.take().context("tidegate does not run")?;
        edge.signal(Signal::SIGUSR1)?;
        let status = edge.ended(SOON)?;
        ensure!(status.success(), "tidegate ended with {status}");
        self.configure(peers)
    }

    /// `tidegate upgrade`: the new process is `edge` afterwards. Gives what the command said.
    ///
    /// # Errors
    /// When it refuses, or the old process does not end well.
    pub fn upgrade(&mut self, arguments: &[&str]) -> Result<Value> {
        let command = [&["upgrade", "-o", "json"], arguments].concat();
        let upgraded: Value = serde_json::from_str(&self.tidegate(&command)?)?;
        let pid = upgraded.get("pid").and_then(Value::as_u64).context("no pid")?;
        let edge = self.edge.as_mut().context("tidegate does not run")?;
        edge.succeeded_by(u32::try_from(pid)?, SOON)?;
        Ok(upgraded)
    }

    fn config(&self, peers: &str) -> String {
        let mut config = format!(
            "[router]\nasn = {EDGE_AS}\nrouter-id = \"{}\"\ninterfaces = [\"eth0\"]\n\
             pin-dir = \"{}/edge\"\n[api]\nsocket = \"{}\"\n{peers}\n",
            EDGE[0],
            self.lab.bpffs().display(),
            self.lab.dir().join("api.sock").display(),
        );
        for (name, vip, backend) in
            [("web-v4", VIPS[0], "203.0.113.11"), ("web-v6", VIPS[1], "2001:db8:f::11")]
        {
            let vip = vip.split('/').next().unwrap_or_default();
            config += &format!(
                "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = 80\n\
                 advertise = {{ communities = [\"{EDGE_AS}:7\"], \
                 large-communities = [\"{EDGE_AS}:1:2\"], med = 50 }}\n\
                 [[service.backend]]\naddress = \"{backend}\"\n"
            );
        }
        config
    }

    /// What `tidegate peers` says of the first peer.
    ///
    /// # Errors
    /// When there is none, or the daemon does not answer.
    pub fn peer(&self) -> Result<Value> {
        let answer = self.peers()?;
        answer.pointer("/peers/0").cloned().with_context(|| answer.to_string())
    }

    /// What `tidegate peers` says.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn peers(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.tidegate(&["peers", "-o", "json"])?)?)
    }

    /// What a command of tidegate prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn tidegate(&self, arguments: &[&str]) -> Result<String> {
        let tidegate = program("tidegate")?.display().to_string();
        let socket = self.lab.dir().join("api.sock").display().to_string();
        let command = [&[&*tidegate], arguments, &["--socket", &socket]].concat();
        self.lab.run("edge", &command)
    }

    /// Waits until the first peer is Established.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn wait_until_established(&self) -> Result<Value> {
        self.lab.wait_for("the session", SOON, || {
            let peer = self.peer()?;
            ensure!(peer.get("state") == Some(&"Established".into()), "{peer}");
            Ok(peer)
        })
    }

    /// Waits until `look` finds what it wants.
    ///
    /// # Errors
    /// When that does not happen soon.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Result<T>) -> Result<T> {
        self.lab.wait_for(what, SOON, look)
    }
}

fn topology() -> Topology {
    let host = |name, addresses: [&str; 2]| {
        let addresses = vec![format!("{}/24", addresses[0]), format!("{}/64", addresses[1])];
        let interface = Interface { name: "eth0", segment: "lan", addresses, mtu: 1500 };
        Host { name, interfaces: vec![interface], ..Host::default() }
    };
    let backend = host("b1", ["203.0.113.11", "2001:db8:f::11"]);
    Topology { hosts: vec![host("edge", EDGE), host("peer", PEER), backend] }
}
